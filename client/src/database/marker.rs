//! What every engine does: put markers into a transaction, fence it, and decide what became of it.

use std::fmt;
use std::str::FromStr;

use futures_core::future::BoxFuture;
use sqlx::{Database, Pool};
use uuid::Uuid;

use super::decide;
use super::outcome::Cause;
use super::verdict::{Reason, Verdict};

/// The key of a marker: the half's transaction id (`UNIQ_KEY`), 1 to 64 bytes.
///
/// It belongs to one attempt to send one message. The producer draws it; a checker takes it from the question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TxId(String);

impl TxId {
    /// The longest id in bytes.
    pub const LEN_MAX: usize = 64;

    /// The id that the producer drew for a half.
    pub(super) fn drawn(key: String) -> Self {
        Self(key)
    }

    /// The id for a place between quotes: scripts of several statements take no parameters.
    ///
    /// # Errors
    /// [`sqlx::Error::Encode`] unless it has letters and digits only, as all that a producer draws: such a literal does
    /// not end early, in any dialect.
    pub(super) fn literally(&self) -> Result<&str, sqlx::Error> {
        if self.0.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(&self.0)
        } else {
            Err(sqlx::Error::Encode(
                "not an id that a producer has drawn: it has other characters than letters and digits".into(),
            ))
        }
    }

    /// The id as it stands in the table.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `ids` as SQL literals with `between` in between.
///
/// # Errors
/// See [`TxId::literally`].
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(super) fn literals(ids: &[TxId], between: &str) -> Result<String, sqlx::Error> {
    let mut list = String::new();
    for id in ids {
        if !list.is_empty() {
            list.push_str(between);
        }
        list.push('\'');
        list.push_str(id.literally()?);
        list.push('\'');
    }
    Ok(list)
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TxId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let length = text.len();
        // A NUL fits into no PostgreSQL text.
        if (1..=Self::LEN_MAX).contains(&length) && !text.contains('\0') {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAnId { length })
        }
    }
}

/// A transaction id that fits into no marker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a transaction id has 1 to 64 bytes and no NUL; this one has {length} bytes")]
pub struct NotAnId {
    /// Its length in bytes.
    pub length: usize,
}

/// Which database a marker table is in: drawn when the table is made, and anew by
/// [`adopt`](super::migrate::adopt) after a backup was restored.
///
/// A half carries its producer's, so that no checker of another database can rule it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Domain(Uuid);

impl Domain {
    /// A fresh one.
    pub(super) fn draw() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.hyphenated())
    }
}

impl FromStr for Domain {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// What a checker wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckQuery {
    /// Whose fate.
    pub tx_id: TxId,
    /// When the half was stored, in milliseconds since 1970. Where the broker renews that time at each check
    /// (Apache does), the earlier of it and the time of birth.
    pub stored_at_ms: i64,
    /// Who asks, for whoever reads a tombstone later; cut to 64 bytes.
    pub decided_by: String,
    /// The database that the half names. A database that is another one answers nothing.
    pub domain: Option<Domain>,
    /// Whether the transaction may be ruled out if it has left no marker. Without it the answer is
    /// [`Verdict::Committed`] or unknown.
    pub may_tombstone: bool,
}

/// Why markers could not be put into a transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarkerError {
    /// One of the ids is in the table already: a check came first and ruled the transaction out.
    #[error("a check has ruled this transaction out before it began")]
    TooLate(#[source] sqlx::Error),
    /// The database reported success and inserted another number of rows: a trigger, a rule or a policy.
    #[error(
        "{inserted} of {expected} markers went into escrow_marker: remove triggers, rules and row security from it"
    )]
    Swallowed {
        /// Rows the database says it inserted.
        inserted: u64,
        /// Rows there had to be.
        expected: usize,
    },
    /// This is no longer the transaction in which [`MarkerDb::open_fence`] ran.
    #[error(
        "the transaction ended behind our back: by a COMMIT or ROLLBACK of its own, DDL, or a deadlock"
    )]
    Split,
    /// The database refused or could not be reached.
    #[error("cannot insert the marker: {0}")]
    Database(#[source] sqlx::Error),
}

impl MarkerError {
    pub(super) fn of(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(refusal) if refusal.is_unique_violation() => Self::TooLate(error),
            _ => Self::Database(error),
        }
    }

    pub(super) fn unless(inserted: u64, expected: usize) -> Result<(), Self> {
        if usize::try_from(inserted) == Ok(expected) {
            Ok(())
        } else {
            Err(Self::Swallowed { inserted, expected })
        }
    }
}

pub(crate) mod sealed {
    use super::super::inbox::InboxSql;
    use super::super::listing::ListingSql;
    use super::super::purge::PurgeSql;
    use super::super::start_up::Inspect;
    use super::{BoxFuture, Cause, CheckQuery, Database, MarkerError, Pool, Reason, TxId, Verdict};
    use sqlx::migrate::{MigrateError, Migrator};
    use sqlx::pool::PoolConnection;

    /// What only this crate may call or implement.
    pub trait Sealed: Database + Inspect + PurgeSql + ListingSql + InboxSql {
        /// Name and SQL of each migration, from version 1 on.
        const MIGRATIONS: &'static [(&'static str, &'static str)];

        /// Marks the migrations up to `done` as applied, and applies the others, alone.
        fn migrate<'c>(
            connection: &'c mut Self::Connection,
            migrator: &'c Migrator,
            done: Option<i32>,
        ) -> BoxFuture<'c, Result<(), MigrateError>>;

        /// Domain and version as they stand in the meta row; none if row or table is missing.
        fn identity(
            connection: &mut Self::Connection,
        ) -> BoxFuture<'_, Result<Option<(String, i32)>, sqlx::Error>>;

        /// Puts another domain into the meta row.
        fn adopt<'c>(
            connection: &'c mut Self::Connection,
            domain: &'c str,
        ) -> BoxFuture<'c, Result<(), sqlx::Error>>;

        /// [`BEGIN`](super::MarkerDb::BEGIN) and [`mark`](super::MarkerDb::mark) in one round trip. After an error the
        /// connection may be within a transaction that sqlx does not know of. A row that was swallowed is found by the
        /// [`fence`](super::MarkerDb::fence).
        fn begin_marked<'c>(
            connection: &'c mut Self::Connection,
            ids: &'c [TxId],
        ) -> BoxFuture<'c, Result<(), MarkerError>>;

        /// [`BEGIN`](super::MarkerDb::BEGIN) and [`open_fence`](super::MarkerDb::open_fence) in one round trip. After an
        /// error the connection may be within a transaction that sqlx does not know of.
        fn begin_open(connection: &mut Self::Connection) -> BoxFuture<'_, Result<(), sqlx::Error>>;

        /// The [`fence`](super::MarkerDb::fence) and COMMIT, in as few round trips as the engine can. An error of COMMIT
        /// says nothing about the outcome.
        fn commit_fenced<'c>(
            connection: &'c mut Self::Connection,
            ids: &'c [TxId],
        ) -> BoxFuture<'c, Result<(), Cause>>;

        /// Whether the transaction in which [`open_fence`](super::MarkerDb::open_fence) ran is still the current one.
        fn close_fence(
            connection: &mut Self::Connection,
        ) -> BoxFuture<'_, Result<bool, sqlx::Error>>;

        /// What `error` means.
        fn reason(error: sqlx::Error) -> Reason;

        /// Asks the table on `connection`; `pool` is for a look at who blocks it.
        fn ask(
            connection: PoolConnection<Self>,
            pool: Pool<Self>,
            query: CheckQuery,
        ) -> BoxFuture<'static, Verdict>;
    }
}

/// A database that can hold markers: PostgreSQL, MySQL/MariaDB or SQLite, each behind its feature.
///
/// The order within a transaction is: [`BEGIN`](Self::BEGIN), [`mark`](Self::mark), the work,
/// [`fence`](Self::fence), `COMMIT`; or, where the ids are known late, [`BEGIN`](Self::BEGIN),
/// [`open_fence`](Self::open_fence), the work, [`mark_late`](Self::mark_late), [`fence`](Self::fence), `COMMIT`.
/// All on one connection, and no marker inside a savepoint of the caller.
pub trait MarkerDb: sealed::Sealed {
    /// What opens a transaction.
    const BEGIN: &'static str;

    /// Inserts a marker for each of `ids`, in one statement, right after [`Self::BEGIN`].
    ///
    /// # Errors
    /// Unless exactly one row for each id went in: the transaction must then be rolled back.
    fn mark<'c>(
        connection: &'c mut Self::Connection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>>;

    /// Remembers, right after [`Self::BEGIN`], which transaction this is.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    fn open_fence(connection: &mut Self::Connection) -> BoxFuture<'_, Result<(), sqlx::Error>>;

    /// [`mark`](Self::mark) in a transaction whose fence is open.
    ///
    /// # Errors
    /// As those of [`mark`](Self::mark), and [`MarkerError::Split`], without inserting anything, if it is another
    /// transaction by now or none.
    fn mark_late<'c>(
        connection: &'c mut Self::Connection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>>;

    /// Whether the transaction of `connection` is still the one that holds the markers of all `ids`: the last
    /// statement before `COMMIT`. If it is not, roll back and [`decide`](Self::decide).
    ///
    /// # Errors
    /// The database could not say, or an id has other characters than letters and digits, unlike all that producers
    /// draw.
    fn fence<'c>(
        connection: &'c mut Self::Connection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<bool, sqlx::Error>>;

    /// What became of a transaction, asked on a connection of its own.
    ///
    /// [`Verdict::Committed`] and [`Verdict::RolledBack`] are final. The latter means that a committed row rules
    /// the transaction out for good; if need be this call inserts it. Answers within a few seconds. Dropping the
    /// future does not stop what it began.
    fn decide<'c>(pool: &'c Pool<Self>, query: &'c CheckQuery) -> BoxFuture<'c, Verdict> {
        Box::pin(decide::decide(pool, query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_1_to_64_bytes_and_no_nul() {
        let refused = |text: &str| assert!(text.parse::<TxId>().is_err(), "{text:?}");
        refused("");
        refused(&"x".repeat(65));
        refused("a\0b");
        for good in ["x", "0A000001234501020304767244050A0B", &"x".repeat(64)] {
            assert_eq!(good.parse::<TxId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn only_letters_and_digits_are_taken_literally() {
        let drawn: TxId = "0A00000123".parse().unwrap();
        assert_eq!(drawn.literally().unwrap(), "0A00000123");
        for other in ["a'b", "a\\", "a b", "é", "a;"] {
            let other: TxId = other.parse().unwrap();
            assert!(other.literally().is_err(), "{other}");
        }
    }

    #[test]
    fn a_domain_reads_what_it_prints() {
        let domain = Domain::draw();
        assert_eq!(domain.to_string().parse(), Ok(domain));
        assert_ne!(Domain::draw(), domain);
    }
}
