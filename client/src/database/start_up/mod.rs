//! What is checked before a program relies on a database: that a marker vanishes with its transaction and only so,
//! that one id has one row, that commits are durable, and that this is the right database.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod refusal;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt;

use futures_core::future::BoxFuture;
use sqlx::{Connection, Database, Pool};
use uuid::Uuid;

use super::marker::{Domain, MarkerDb};
use super::migrate::{Identity, VERSION};
use super::verdict::Reason;

pub use refusal::Refusal;

/// What a program is going to do with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Insert markers.
    Producer,
    /// Read markers and insert tombstones.
    Checker,
    /// Record consumed messages in the inbox.
    Consumer,
}

impl Role {
    fn table(self) -> Table {
        match self {
            Self::Producer | Self::Checker => Table::Marker,
            Self::Consumer => Table::Inbox,
        }
    }

    /// An insert as the role does it, under a key that nobody uses, and a count of what it left.
    fn rehearsal(self) -> (String, String) {
        let key = format!("start-up-{}", Uuid::new_v4().simple());
        let marker = |columns, values, state| {
            (
                format!("INSERT INTO escrow_marker (tx_id{columns}) VALUES ('{key}'{values})"),
                format!(
                    "SELECT COUNT(*) FROM escrow_marker \
                     WHERE tx_id = '{key}' AND state = {state} AND born_at IS NOT NULL"
                ),
            )
        };
        match self {
            Self::Producer => marker("", "", 1),
            Self::Checker => marker(", state, decided_by", ", 2, 'start-up'", 2),
            Self::Consumer => (
                format!(
                    "INSERT INTO escrow_inbox (consumer_group, message_id) VALUES ('{key}', '{key}')"
                ),
                format!("SELECT COUNT(*) FROM escrow_inbox WHERE consumer_group = '{key}'"),
            ),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Producer => "a producer",
            Self::Checker => "a checker",
            Self::Consumer => "a consumer with an inbox",
        })
    }
}

/// One of our tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `escrow_marker`
    Marker,
    /// `escrow_inbox`
    Inbox,
}

impl Table {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Marker => "escrow_marker",
            Self::Inbox => "escrow_inbox",
        }
    }

    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Marker => "tx_id",
            Self::Inbox => "consumer_group,message_id",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Checks that `pool`'s database is fit for `role`, and is `expected` if that is given.
///
/// Inserts a row and rolls it back. Answers which database it is.
///
/// # Errors
/// It is not fit; each error says what to do.
pub async fn verify<DB: MarkerDb>(
    pool: &Pool<DB>,
    role: Role,
    expected: Option<Domain>,
) -> Result<Identity, Refusal> {
    let unavailable = |why: String| Refusal::Unavailable(Reason::Unreachable(why));
    let connection = pool.acquire().await;
    let mut connection = connection.map_err(|error| unavailable(error.to_string()))?;
    // A task of its own: a future dropped within BEGIN would leave the transaction open in the pool.
    tokio::spawn(async move { inspect::<DB>(&mut connection, role, expected).await })
        .await
        .map_err(|failed| unavailable(failed.to_string()))?
}

async fn inspect<DB: MarkerDb>(
    connection: &mut DB::Connection,
    role: Role,
    expected: Option<Domain>,
) -> Result<Identity, Refusal> {
    let refused = |error| refusal::<DB>(role, error);
    DB::inspect_server(connection)
        .await
        .map_err(|found| found.refusal(refused))?;
    let identity = identity::<DB>(connection, role).await?;
    if let Some(expected) = expected.filter(|expected| *expected != identity.domain) {
        let found = identity.domain;
        return Err(Refusal::WrongDomain { expected, found });
    }
    let table = role.table();
    DB::inspect_table(connection, table)
        .await
        .map_err(|found| found.refusal(refused))?;

    let (insert, count) = role.rehearsal();
    let mut tx = connection.begin_with(DB::BEGIN).await.map_err(refused)?;
    let inserted = DB::execute(&mut tx, insert).await.map_err(refused)?;
    let within = DB::count(&mut tx, count.clone()).await.map_err(refused)?;
    tx.rollback().await.map_err(refused)?;
    if (inserted, within) != (1, 1) {
        return Err(Refusal::Swallowed(table));
    }
    match DB::count(connection, count).await.map_err(refused)? {
        0 => Ok(identity),
        _ => Err(Refusal::Indelible(table)),
    }
}

async fn identity<DB: MarkerDb>(
    connection: &mut DB::Connection,
    role: Role,
) -> Result<Identity, Refusal> {
    let row = DB::identity(connection).await;
    let missing = || Refusal::NotMigrated("no identity in escrow_meta".to_owned());
    let (domain, version) = row
        .map_err(|error| refusal::<DB>(role, error))?
        .ok_or_else(missing)?;
    match version {
        found if found < VERSION => Err(Refusal::Older { found }),
        found if found > VERSION => Err(Refusal::Newer { found }),
        version => Ok(Identity {
            domain: domain.parse().map_err(|_| missing())?,
            version,
        }),
    }
}

fn refusal<DB: MarkerDb>(role: Role, error: sqlx::Error) -> Refusal {
    match DB::reason(error) {
        Reason::ReadOnly => Refusal::ReadOnly,
        Reason::NotMigrated(what) => Refusal::NotMigrated(what),
        Reason::Forbidden(why) => Refusal::Forbidden { role, why },
        reason => Refusal::Unavailable(reason),
    }
}

/// What an inspection ran into.
#[derive(Debug)]
pub enum Found {
    /// Something that must be changed.
    Unfit(Refusal),
    /// The inspection itself failed.
    Error(sqlx::Error),
}

impl Found {
    fn refusal(self, refused: impl Fn(sqlx::Error) -> Refusal) -> Refusal {
        match self {
            Self::Unfit(refusal) => refusal,
            Self::Error(error) => refused(error),
        }
    }
}

impl From<sqlx::Error> for Found {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(error)
    }
}

impl From<Refusal> for Found {
    fn from(refusal: Refusal) -> Self {
        Self::Unfit(refusal)
    }
}

/// How an engine is inspected.
pub trait Inspect: Database {
    /// Version and durability.
    fn inspect_server(connection: &mut Self::Connection) -> BoxFuture<'_, Result<(), Found>>;

    /// Storage, key and partitions of `table`.
    fn inspect_table(
        connection: &mut Self::Connection,
        table: Table,
    ) -> BoxFuture<'_, Result<(), Found>>;

    /// Runs one statement; answers how many rows it touched.
    fn execute(
        connection: &mut Self::Connection,
        sql: String,
    ) -> BoxFuture<'_, Result<u64, sqlx::Error>>;

    /// Reads one number.
    fn count(
        connection: &mut Self::Connection,
        sql: String,
    ) -> BoxFuture<'_, Result<i64, sqlx::Error>>;
}

/// The two functions of [`Inspect`] that read the same on every engine.
macro_rules! plain_sql {
    () => {
        fn execute(
            connection: &mut Self::Connection,
            sql: String,
        ) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
            Box::pin(async move {
                let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(connection);
                Ok(done.await?.rows_affected())
            })
        }

        fn count(
            connection: &mut Self::Connection,
            sql: String,
        ) -> BoxFuture<'_, Result<i64, sqlx::Error>> {
            Box::pin(async move {
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                    .fetch_one(connection)
                    .await
            })
        }
    };
}
use plain_sql;
