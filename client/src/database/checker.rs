//! Answers a broker's checks from one database's markers.

use std::sync::Arc;

use sqlx::Pool;

use escrow_protocol::properties::name;
use escrow_protocol::transaction::Resolution;

use super::marker::{CheckQuery, Domain, MarkerDb};
use super::verdict::{Reason, Verdict};
use crate::check::{Answer, Check, Checker};

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
        match self.query(check) {
            Ok(query) => DB::decide(&self.pool, &query).await,
            Err(reason) => Verdict::Unknown(reason),
        }
    }

    fn query(&self, check: &Check) -> Result<CheckQuery, Reason> {
        let id = check.transaction_id.parse();
        let asked = check.message.get(name::ESCROW_DOMAIN);
        if let Some(asked) = asked.filter(|asked| asked.parse() != Ok(self.domain)) {
            return Err(Reason::WrongDomain {
                asked: asked.to_owned(),
                found: self.domain.to_string(),
            });
        }
        Ok(CheckQuery {
            tx_id: id
                .map_err(|error: super::marker::NotAnId| Reason::Refused(error.to_string()))?,
            stored_at_ms: check.stored_at_ms,
            decided_by: self.name.to_string(),
            // The pool may lead elsewhere by now, or the database have been adopted.
            domain: Some(self.domain),
            may_tombstone: asked.is_some(),
        })
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
