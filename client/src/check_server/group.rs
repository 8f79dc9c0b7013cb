//! One producer group: its databases, and what is answered in its name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use escrow_protocol::properties::name;
use escrow_protocol::transaction::Resolution;
use parking_lot::Mutex;

use crate::check::{Answer, Check};
use crate::database::{CheckQuery, Domain, Reason, TxId, Verdict};

use super::Untagged;
use super::choice::{Choice, Place, Tags, choose};
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

/// What was found, and why it cannot be said.
struct Finding {
    resolution: Resolution,
    /// Keyword, explanation, and whether asking again will not cure it.
    unknown: Option<(&'static str, String, bool)>,
}

impl Group {
    pub(super) async fn check(&self, check: Check) -> Answer {
        let _working = Working::on(self);
        let begun = Instant::now();
        let finding = self.find(&check).await;
        let mut counts = self.counts.lock();
        let Some((reason, remark, alarm)) = finding.unknown else {
            counts.count(finding.resolution, "", begun.elapsed());
            return Answer::from(finding.resolution);
        };
        counts.count(finding.resolution, reason, begun.elapsed());
        if alarm && counts.alarm(reason, &remark, QUIET) {
            tracing::error!(
                group = self.name, transaction = check.transaction_id, %remark,
                "check cannot be answered"
            );
        }
        Answer::from(finding.resolution).because(remark)
    }

    async fn find(&self, check: &Check) -> Finding {
        let tx_id: TxId = match check.transaction_id.parse() {
            Ok(id) => id,
            Err(error) => return Finding::nobody("bad_id", &format!("{error}")),
        };
        let tags = Tags {
            domain: check.message.get(name::ESCROW_DOMAIN),
            shard: check.message.get(name::ESCROW_SHARD),
        };
        let query = |domain: Option<Domain>, may_tombstone| CheckQuery {
            tx_id: tx_id.clone(),
            stored_at_ms: check.stored_at_ms,
            decided_by: self.decided_by.clone(),
            domain,
            may_tombstone,
        };
        match choose(tags, &self.places(), self.untagged) {
            Choice::Ask {
                place,
                domain,
                may_tombstone,
            } => {
                let (_, database) = &self.databases[place];
                database.decide(&query(domain, may_tombstone)).await.into()
            }
            Choice::LookEverywhere => self.look_everywhere(&query(None, false)).await,
            Choice::Nobody(reason, why) => Finding::nobody(reason, &why),
        }
    }

    /// A row in any database is a commit; no row in all of them says nothing.
    async fn look_everywhere(&self, query: &CheckQuery) -> Finding {
        let mut cannot_say = Reason::NoRow;
        for (_, database) in &self.databases {
            match database.decide(query).await {
                Verdict::Unknown(Reason::NoRow) => {}
                Verdict::Unknown(reason) => cannot_say = reason,
                decided => return decided.into(),
            }
        }
        Verdict::Unknown(cannot_say).into()
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

impl Finding {
    fn nobody(reason: &'static str, why: &str) -> Self {
        Self {
            resolution: Resolution::Unknown,
            unknown: Some((
                reason,
                format!("{reason}: {why}"),
                reason != "db_unreachable",
            )),
        }
    }
}

impl From<Verdict> for Finding {
    fn from(verdict: Verdict) -> Self {
        let (resolution, reason) = match verdict {
            Verdict::Committed => (Resolution::Commit, None),
            Verdict::RolledBack => (Resolution::Rollback, None),
            Verdict::Unknown(reason) => (Resolution::Unknown, Some(reason)),
        };
        let unknown = reason.map(|reason| {
            // Without leave to rule a transaction out, having no row is the ordinary course of a rollback.
            let alarm = reason.needs_attention() && reason != Reason::NoRow;
            (reason.keyword(), reason.to_string(), alarm)
        });
        Self {
            resolution,
            unknown,
        }
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
