//! Answers a broker's checks from one database's markers.

use std::sync::Arc;

use sqlx::Pool;

use escrow_protocol::properties::name;
use escrow_protocol::transaction::Resolution;

use super::marker::{CheckQuery, Domain, MarkerDb};
use super::verdict::{Reason, Verdict};
use crate::check::{Answer, Check, Checker};

/// What is said of halfs that do not name their database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Untagged {
    /// Commit if the marker is there, else unknown: perhaps their producer writes no markers at all.
    #[default]
    CommitOnly,
    /// As of others: a half without marker is ruled out. Only for groups all of whose producers write markers.
    Decide,
}

impl CheckQuery {
    /// What `check` asks of the database that its half names, or of any if it names none; tombstones are signed with
    /// `decided_by`.
    pub(crate) fn about(
        check: &Check,
        untagged: Untagged,
        decided_by: &str,
    ) -> Result<Self, Reason> {
        let domain: Option<Domain> = match check.message.get(name::ESCROW_DOMAIN) {
            Some(named) => {
                let domain = named.parse();
                Some(domain.map_err(|_| Reason::NotADomain(named.to_owned()))?)
            }
            None => None,
        };
        Ok(Self {
            tx_id: check.transaction_id.parse().map_err(Reason::NotAnId)?,
            stored_at_ms: check.stored_at_ms,
            decided_by: decided_by.to_owned(),
            domain,
            may_tombstone: domain.is_some() || untagged == Untagged::Decide,
        })
    }
}

/// Answers checks from one database. Several may run side by side, in any number of processes.
///
/// A half that names another database is answered "unknown", and so is one that names none unless its marker is
/// here: it may be elsewhere.
#[derive(Debug, Clone)]
pub struct DatabaseChecker<DB: MarkerDb> {
    pool: Pool<DB>,
    domain: Domain,
    name: Arc<str>,
}

impl<DB: MarkerDb> DatabaseChecker<DB> {
    /// A checker that asks `pool`, better one of its own than the application's, which may be exhausted when checks
    /// come. `domain` is what [`verify`](super::start_up::verify) found it to be; tombstones are signed with `name`.
    #[must_use]
    pub fn new(pool: Pool<DB>, domain: Domain, name: &str) -> Self {
        let name = name.into();
        Self { pool, domain, name }
    }

    /// What became of the transaction behind `check`.
    pub async fn decide(&self, check: &Check) -> Verdict {
        match CheckQuery::about(check, Untagged::CommitOnly, &self.name) {
            Ok(mut query) => {
                // The pool may lead elsewhere by now, or the database have been adopted.
                query.domain.get_or_insert(self.domain);
                DB::decide(&self.pool, &query).await
            }
            Err(reason) => Verdict::Unknown(reason),
        }
    }
}

impl<DB: MarkerDb> Checker for DatabaseChecker<DB> {
    async fn check(&self, check: Check) -> Answer {
        let verdict = self.decide(&check).await;
        let id = &check.transaction_id;
        match &verdict {
            Verdict::Unknown(reason) if reason.needs_attention() => {
                tracing::warn!(%id, %reason, "check not answered");
            }
            Verdict::Unknown(reason) => tracing::debug!(%id, %reason, "check not answered yet"),
            Verdict::Committed | Verdict::RolledBack => tracing::debug!(%id, ?verdict, "checked"),
        }
        verdict.into()
    }
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Committed => Resolution::Commit.into(),
            Verdict::RolledBack => Resolution::Rollback.into(),
            Verdict::Unknown(reason) => {
                Answer::from(Resolution::Unknown).because(reason.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use escrow_protocol::message::Message as Record;

    use super::*;
    use crate::message::ReceivedMessage;

    const DOMAIN: &str = "11111111-1111-4111-8111-111111111111";

    fn check(id: &str, domain: Option<&str>) -> Check {
        let host = "127.0.0.1:10911".parse().unwrap();
        let properties = domain.map(|domain| format!("ESCROW_DOMAIN\u{1}{domain}\u{2}"));
        let record = Record {
            queue_id: 1,
            flag: 0,
            queue_offset: 7,
            physical_offset: 4096,
            sys_flag: 0,
            born_timestamp: 7,
            born_host: host,
            store_timestamp: 7,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"order 42",
            topic: "Orders",
            properties: &properties.unwrap_or_default(),
        };
        Check {
            message: ReceivedMessage::from_record(&record).unwrap(),
            transaction_id: id.to_owned(),
            attempt: Some(1),
            stored_at_ms: 7,
        }
    }

    fn about(check: &Check, untagged: Untagged) -> Result<CheckQuery, Reason> {
        CheckQuery::about(check, untagged, "test")
    }

    #[test]
    fn a_half_that_names_its_database_may_be_ruled_out_there() {
        for untagged in [Untagged::CommitOnly, Untagged::Decide] {
            let query = about(&check("A", Some(DOMAIN)), untagged).unwrap();
            assert_eq!(query.domain, Some(DOMAIN.parse().unwrap()));
            assert!(query.may_tombstone);
            assert_eq!((query.tx_id.as_str(), query.stored_at_ms), ("A", 7));
        }
    }

    #[test]
    fn a_half_that_names_none_may_not_unless_it_was_said_so() {
        for (untagged, may) in [(Untagged::CommitOnly, false), (Untagged::Decide, true)] {
            let query = about(&check("A", None), untagged).unwrap();
            assert_eq!((query.domain, query.may_tombstone), (None, may));
        }
    }

    #[test]
    fn what_cannot_be_asked_says_why() {
        let keyword = |check| about(&check, Untagged::Decide).unwrap_err().keyword();
        assert_eq!(keyword(check("A", Some("orders"))), "wrong_domain");
        assert_eq!(keyword(check("", None)), "bad_id");
        assert_eq!(keyword(check(&"x".repeat(65), Some(DOMAIN))), "bad_id");
    }
}
