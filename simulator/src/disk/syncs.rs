//! Syncs: what each takes with it when it begins, and what the platter has when it is over. Whoever writes meanwhile writes for
//! the next one.

use std::io;

use super::image::Scope;
use super::{Fate, Inner, Op, SimDisk, gone};

/// A sync that has begun, and how it is to end.
#[derive(Debug)]
pub(super) struct Begun {
    target: Target,
    /// So much of it will have happened: out of 1000.
    part: u64,
    /// Of what did not happen, some is never tried again although it is not reported any more.
    forgets: bool,
}

#[derive(Debug)]
enum Target {
    File { number: u64, scope: Scope },
    Folder { name: String, until: u64 },
}

impl SimDisk {
    /// Lets `run` begin syncs. They are over when [`SimDisk::end_syncs`] says so.
    pub(crate) fn begin_syncs<T>(&self, run: impl FnOnce() -> T) -> T {
        self.inner.lock().runs_beside = true;
        let done = run();
        self.inner.lock().runs_beside = false;
        done
    }

    /// The syncs that are on their way are over.
    pub(crate) fn end_syncs(&self) {
        let mut inner = self.inner.lock();
        for begun in std::mem::take(&mut inner.begun) {
            inner.end(begun);
        }
    }
}

impl Inner {
    pub(super) fn sync_file(&mut self, number: u64) -> io::Result<()> {
        let fate = self.fate(Op::Sync);
        let content = self.image.files.get(&number).ok_or_else(gone)?;
        let target = Target::File {
            number,
            scope: content.scope(),
        };
        let (part, forgets, result) = match fate {
            Fate::Whole => (1_000, false, Ok(())),
            Fate::Part(part, error) => (part, false, Err(error)),
            Fate::Forgotten(part, error) => (part, true, Err(error)),
        };
        self.begin(Begun {
            target,
            part,
            forgets,
        });
        result
    }

    pub(super) fn sync_folder(&mut self, name: &str) -> io::Result<()> {
        self.whole(Op::Sync)?;
        let target = Target::Folder {
            name: name.to_owned(),
            until: self.image.changes(),
        };
        self.begin(Begun {
            target,
            part: 1_000,
            forgets: false,
        });
        Ok(())
    }

    fn begin(&mut self, begun: Begun) {
        if self.runs_beside && !self.is_dead {
            self.begun.push(begun);
        } else {
            self.end(begun);
        }
    }

    fn end(&mut self, begun: Begun) {
        match begun.target {
            Target::Folder { name, until } => self.image.sync_folder(&name, until),
            Target::File { number, scope } => {
                let Some(content) = self.image.files.get_mut(&number) else {
                    return;
                };
                content.sync(scope, begun.part);
                if begun.forgets {
                    content.forget(scope, &mut self.dice);
                }
            }
        }
    }

    /// The process is gone, and what it had begun may come to its end all the same.
    pub(super) fn end_some_syncs(&mut self) {
        for begun in std::mem::take(&mut self.begun) {
            if self.dice.one_in(2) {
                self.end(begun);
            }
        }
    }
}
