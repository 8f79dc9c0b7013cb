//! Interning of topics, producer groups and client ids, so that a half queue entry holds numbers. Ids are given out in the
//! order in which the log names things, so replay gives out the same ones.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::NameId;

/// Names and their ids.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_id: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, NameId>,
}

impl Names {
    /// The id of a name, given out now if it has none.
    pub(crate) fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = u32::try_from(self.by_id.len()).map_or(NameId::UNKNOWN, NameId);
        let name: Arc<str> = name.into();
        self.by_id.push(name.clone());
        self.by_name.insert(name, id);
        id
    }

    pub(crate) fn id(&self, name: &str) -> Option<NameId> {
        self.by_name.get(name).copied()
    }

    /// The name, empty if unknown.
    pub(crate) fn name(&self, id: NameId) -> &str {
        self.get(id).map_or("", |name| name)
    }

    /// The name to keep, empty if unknown.
    pub(crate) fn shared(&self, id: NameId) -> Arc<str> {
        self.get(id).cloned().unwrap_or_default()
    }

    fn get(&self, id: NameId) -> Option<&Arc<str>> {
        self.by_id.get(usize::try_from(id.0).ok()?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.by_id.iter().map(|name| &**name)
    }
}
