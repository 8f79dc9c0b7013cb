//! One producer group: its databases, and what is answered in its name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use escrow_protocol::properties::name;
use parking_lot::Mutex;

use crate::check::{Answer, Check};
use crate::database::{CheckQuery, Reason, Untagged, Verdict};

use super::choice::{Choice, Place, choose};
use super::counts::Counts;
use super::database::Database;

/// The same alarm is logged again after this time.
const QUIET: Duration = Duration::from_secs(60);

pub(super) struct Group {
    pub(super) name: String,
    pub(super) untagged: Untagged,
    /// By shard; without one where the group has no shards.
    pub(super) databases: Vec<(Option<String>, Arc<Database>)>,
    /// Who we are, for whoever reads a tombstone.
    pub(super) decided_by: String,
    pub(super) counts: Mutex<Counts>,
}

impl Group {
    pub(super) async fn check(&self, check: Check) -> Answer {
        let _working = Working::on(self);
        let begun = Instant::now();
        let verdict = self.find(&check).await;
        let mut counts = self.counts.lock();
        counts.count(&verdict, begun.elapsed());
        if let Verdict::Unknown(reason) = &verdict
            && reason.needs_attention()
            && counts.alarm(reason.keyword(), &reason.to_string(), QUIET)
        {
            tracing::error!(
                group = self.name, transaction = check.transaction_id, %reason,
                "check cannot be answered"
            );
        }
        verdict.into()
    }

    async fn find(&self, check: &Check) -> Verdict {
        let query = match CheckQuery::about(check, self.untagged, &self.decided_by) {
            Ok(query) => query,
            Err(reason) => return Verdict::Unknown(reason),
        };
        let shard = check.message.get(name::ESCROW_SHARD);
        match choose(query.domain, shard, &self.places()) {
            Ok(Choice::Ask(place)) => {
                let (_, database) = &self.databases[place];
                database.decide(&query).await
            }
            Ok(Choice::LookEverywhere) => self.look_everywhere(query).await,
            Err(reason) => Verdict::Unknown(reason),
        }
    }

    /// A row in any database is a commit; no row in all of them says nothing.
    async fn look_everywhere(&self, query: CheckQuery) -> Verdict {
        let query = CheckQuery {
            may_tombstone: false,
            ..query
        };
        let mut cannot_say = Reason::NoRow;
        for (_, database) in &self.databases {
            match database.decide(&query).await {
                Verdict::Unknown(Reason::NoRow) => {}
                Verdict::Unknown(reason) => cannot_say = reason,
                decided => return decided,
            }
        }
        Verdict::Unknown(cannot_say)
    }

    fn places(&self) -> Vec<Place<'_>> {
        let first_of = |database: &Arc<Database>| {
            let same = |(_, other): &(_, Arc<Database>)| Arc::ptr_eq(other, database);
            self.databases.iter().position(same).unwrap_or_default()
        };
        let places = self.databases.iter().map(|(shard, database)| Place {
            shard: shard.as_deref(),
            database: first_of(database),
            domain: database.domain(),
        });
        places.collect()
    }

    /// Two databases of this group that say they are the same one.
    pub(super) fn twins(&self) -> Option<(&Database, &Database)> {
        let all = || self.databases.iter().map(|(_, database)| database);
        all().enumerate().find_map(|(index, one)| {
            let domain = one.domain()?;
            let twin = all()
                .take(index)
                .find(|other| other.domain() == Some(domain) && !Arc::ptr_eq(other, one))?;
            Some((&**twin, &**one))
        })
    }
}

/// Counts a check as being worked on, for as long as it lives.
struct Working<'a>(&'a Group);

impl<'a> Working<'a> {
    fn on(group: &'a Group) -> Self {
        group.counts.lock().in_flight += 1;
        Self(group)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.counts.lock().in_flight -= 1;
    }
}
