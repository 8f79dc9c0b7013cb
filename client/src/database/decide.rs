//! The check, as far as it is the same for every engine: bounds on time, and what a reading of the table means.
//!
//! An engine inserts a tombstone unless a row is there, reads, commits, and only then answers. Everything
//! unexpected is [`Verdict::Unknown`]: asking again is cheap, a wrong answer is final.

use std::time::Duration;

use sqlx::Pool;
use tokio::time::timeout;

use super::marker::{CheckQuery, MarkerDb};
use super::verdict::{Reason, Verdict};

/// How far the clocks of broker and database, and a half and its marker, may lie apart: what was stored this
/// little after the horizon of a purge is not ruled out, and a purge keeps this much more.
pub const PURGE_MARGIN: Duration = Duration::from_secs(3600);

/// How long a check may wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// How long a check may take from there. The statements have tighter limits of their own; this one is for a
/// database that does not answer at all. The broker waits 8 s for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

pub(super) async fn decide<DB: MarkerDb>(pool: &Pool<DB>, query: &CheckQuery) -> Verdict {
    let connection = match timeout(CONNECT_WITHIN, pool.acquire()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Verdict::Unknown(Reason::Unreachable(error.to_string())),
        Err(_) => {
            let why = format!("no connection within {CONNECT_WITHIN:?}");
            return Verdict::Unknown(Reason::Unreachable(why));
        }
    };
    // A task of its own, since a future dropped half-way through BEGIN leaves the transaction open in the pool.
    // They are no more than the pool has connections.
    let asked = tokio::spawn(DB::ask(connection, pool.clone(), query.clone()));
    match timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(failed)) => Verdict::Unknown(Reason::Refused(failed.to_string())),
        Err(_) => Verdict::Unknown(Reason::Timeout),
    }
}

/// What the table holds, read in the transaction that tried to insert the tombstone.
pub(super) struct Reading {
    pub(super) domain: String,
    /// Whether the half is young enough for a missing marker to mean something.
    pub(super) above_horizon: bool,
    pub(super) state: Option<i64>,
}

/// What `reading` means; none at all means that the meta row is missing.
pub(super) fn judge(query: &CheckQuery, reading: Option<Reading>) -> Verdict {
    let unknown = Verdict::Unknown;
    let Some(reading) = reading else {
        return unknown(Reason::NotMigrated("escrow_meta is empty".to_owned()));
    };
    if let Some(asked) = query.domain.map(|domain| domain.to_string())
        && !asked.eq_ignore_ascii_case(&reading.domain)
    {
        let found = reading.domain;
        return unknown(Reason::WrongDomain { asked, found });
    }
    match reading.state {
        Some(1) => Verdict::Committed,
        Some(2) if query.may_tombstone => Verdict::RolledBack,
        Some(2) => unknown(Reason::NoRow),
        Some(other) => unknown(Reason::Refused(format!("marker with state {other}"))),
        None if !query.may_tombstone => unknown(Reason::NoRow),
        None if !reading.above_horizon => unknown(Reason::Purged),
        None => unknown(Reason::Swallowed),
    }
}

/// What the horizon of the last purge is compared with: a marker of this half is younger than that.
pub(super) fn marker_not_before_ms(query: &CheckQuery) -> i64 {
    let margin = i64::try_from(PURGE_MARGIN.as_millis()).unwrap_or(i64::MAX);
    query.stored_at_ms.saturating_sub(margin)
}

/// `decided_by` cut to what the column holds.
pub(super) fn decided_by(query: &CheckQuery) -> &str {
    let text = query.decided_by.as_str();
    &text[..text.floor_char_boundary(64)]
}

/// Why there is no connection any more, if that is what `error` says.
pub(super) fn unreachable(error: &sqlx::Error) -> Option<Reason> {
    match error {
        sqlx::Error::Database(_) => None,
        other => Some(Reason::Unreachable(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::marker::Domain;
    use super::*;

    fn asked(domain: Option<Domain>, may_tombstone: bool) -> CheckQuery {
        CheckQuery {
            tx_id: "x".parse().unwrap(),
            stored_at_ms: 0,
            decided_by: "é".repeat(64),
            domain,
            may_tombstone,
        }
    }

    fn read(domain: Domain, above_horizon: bool, state: Option<i64>) -> Option<Reading> {
        Some(Reading {
            domain: domain.to_string(),
            above_horizon,
            state,
        })
    }

    fn keyword(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Committed => "committed",
            Verdict::RolledBack => "rolled back",
            Verdict::Unknown(reason) => reason.keyword(),
        }
    }

    #[test]
    fn only_a_row_of_the_right_database_decides() {
        let (here, elsewhere) = (Domain::draw(), Domain::draw());
        for (state, right) in [
            (Some(1), "committed"),
            (Some(2), "rolled back"),
            (Some(3), "db_error"),
            (None, "no_row"),
        ] {
            let says = |domain| keyword(judge(&asked(domain, true), read(here, true, state)));
            assert_eq!(says(Some(here)), right);
            assert_eq!(says(None), right);
            assert_eq!(says(Some(elsewhere)), "wrong_domain");
        }
        assert_eq!(keyword(judge(&asked(None, true), None)), "not_migrated");
    }

    #[test]
    fn who_may_not_rule_out_only_ever_commits() {
        let here = Domain::draw();
        let says = |state| keyword(judge(&asked(Some(here), false), read(here, true, state)));
        assert_eq!(says(Some(1)), "committed");
        assert_eq!(says(Some(2)), "no_row");
        assert_eq!(says(None), "no_row");
    }

    #[test]
    fn the_name_of_the_checker_is_cut_between_characters() {
        assert_eq!(decided_by(&asked(None, true)), "é".repeat(32));
    }
}
