//! Work that a message causes, done once however often the message is delivered.
//!
//! The work and a row with the message's identity commit together. A delivery that finds the row has nothing left
//! to do; one that finds another instance at work comes back later.

use std::time::Duration;

use futures_core::future::BoxFuture;
use sqlx::{Database, Pool};

use escrow_protocol::properties::name;

use super::marker::MarkerDb;
use super::session::{FenceError, Session};
use super::verdict::Reason;
use crate::message::ReceivedMessage;

/// The longest identity and the longest group, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// How long a delivery may wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// Rows a statement deletes, so that none holds its locks for long.
const BATCH: u32 = 5_000;

/// The inbox of one consumer group, in the group's own database.
///
/// ```no_run
/// # async fn ship(message: escrow_client::ReceivedMessage, pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// use escrow_client::database::inbox::{Inbox, Outcome};
/// let inbox = Inbox::new(pool, "shipping")?;
/// let outcome = inbox
///     .once(&message, async |connection| {
///         sqlx::query("INSERT INTO parcels (order_id) VALUES ($1)")
///             .bind(7_i64)
///             .execute(connection)
///             .await
///     })
///     .await?;
/// match outcome {
///     Outcome::Done(_) => println!("shipped"),
///     Outcome::Already => println!("shipped before"),
/// }
/// # Ok(()) }
/// ```
pub struct Inbox<DB: MarkerDb> {
    pool: Pool<DB>,
    group: String,
}

/// What became of one delivery. Either way the message is consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// The work is committed.
    Done(T),
    /// It was done by an earlier delivery; this call did nothing.
    Already,
}

/// Why a delivery was not consumed. After each of them the message has to be delivered again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError<E> {
    /// Another instance is at work on this message, or (on SQLite) the database is being written: come back later.
    #[error("the message is being worked on elsewhere: {0}")]
    InFlight(Reason),
    /// The work failed and was rolled back.
    #[error("the work failed and was rolled back: {0}")]
    Work(E),
    /// The work's transaction ended behind our back, or holds another one that is still open. In the former case a part
    /// of what the work wrote may be committed.
    #[error("the work was not committed: {0}")]
    Split(#[source] FenceError),
    /// The outcome of the COMMIT is unknown; the next delivery will find out.
    #[error("the outcome of the commit is unknown, the next delivery will find out: {0}")]
    InDoubt(#[source] sqlx::Error),
    /// The message or group does not fit into the inbox.
    #[error(transparent)]
    Key(#[from] KeyTooLong),
    /// The database refused or could not be reached; nothing was done.
    #[error("the inbox cannot be asked: {0}")]
    Database(Reason),
}

/// A name that does not fit into the inbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key:?} has no place in the inbox: it must have 1 to {KEY_BYTES_MAX} bytes and no NUL")]
pub struct KeyTooLong {
    /// The name.
    pub key: String,
}

fn fitting(key: String) -> Result<String, KeyTooLong> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.contains('\0') {
        Ok(key)
    } else {
        Err(KeyTooLong { key })
    }
}

impl<DB: MarkerDb> Inbox<DB> {
    /// The inbox of consumer group `group`.
    ///
    /// # Errors
    /// The name does not fit.
    pub fn new(pool: Pool<DB>, group: impl Into<String>) -> Result<Self, KeyTooLong> {
        let group = fitting(group.into())?;
        Ok(Self { pool, group })
    }

    /// Runs `work` in a transaction together with a record that `message` was consumed, unless it was before.
    ///
    /// Dropping the future before it is done rolls back, or lets a commit that has begun come to its end.
    ///
    /// # Errors
    /// The message must be delivered again.
    pub async fn once<T, E, F>(
        &self,
        message: &ReceivedMessage,
        work: F,
    ) -> Result<Outcome<T>, OnceError<E>>
    where
        F: AsyncFnOnce(&mut DB::Connection) -> Result<T, E>,
    {
        let id = fitting(identity(message))?;
        let Some(mut session) = self.begin(id).await? else {
            return Ok(Outcome::Already);
        };
        let done = match work(&mut session).await {
            Ok(done) => done,
            Err(error) => {
                session.rollback().await;
                return Err(OnceError::Work(error));
            }
        };
        // A task of its own, so that dropping our future cannot put a ROLLBACK behind a COMMIT on its way.
        let ended = tokio::spawn(async move {
            let intact = session.close_fence().await;
            match intact {
                Ok(()) => Ok(session.commit().await),
                Err(fence) => {
                    session.rollback().await;
                    Err(fence)
                }
            }
        });
        match ended.await {
            Ok(Ok(Ok(()))) => Ok(Outcome::Done(done)),
            Ok(Ok(Err(error))) => Err(OnceError::InDoubt(error)),
            Ok(Err(FenceError::Database(error))) => Err(OnceError::Database(DB::reason(error))),
            Ok(Err(fence)) => Err(OnceError::Split(fence)),
            Err(failed) => Err(OnceError::InDoubt(lost(failed))),
        }
    }

    /// A transaction that holds the record of `id`; none if it was there already.
    async fn begin<E>(&self, id: String) -> Result<Option<Session<DB>>, OnceError<E>> {
        let (pool, group) = (self.pool.clone(), self.group.clone());
        // A task of its own, which gives the connection back in order also if nobody waits for it any more.
        let begun = tokio::spawn(async move {
            let mut session = Session::<DB>::acquire(&pool, CONNECT_WITHIN).await?;
            session.begin().await?;
            let first = DB::record(&mut session, &group, &id).await?;
            if first == Some(true) {
                session.open_fence().await?;
                return Ok((first, Some(session)));
            }
            session.rollback().await;
            Ok::<_, sqlx::Error>((first, None))
        });
        let reason = match begun.await.map_err(lost).and_then(|begun| begun) {
            Ok((Some(_), session)) => return Ok(session),
            Ok((None, _)) => Reason::InFlight { blocked_by: None },
            Err(error) => DB::reason(error),
        };
        Err(match reason {
            Reason::InFlight { .. } | Reason::Serialization => OnceError::InFlight(reason),
            reason => OnceError::Database(reason),
        })
    }

    /// Forgets what was done longer than `keep` ago; answers how much. A message that is delivered again after
    /// that is consumed again: keep for longer than the broker keeps messages.
    ///
    /// # Errors
    /// The database refused or could not be reached; what was deleted until then stays deleted.
    pub async fn purge(&self, keep: Duration) -> Result<u64, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let before_ms = DB::now_ms(&mut connection)
            .await?
            .saturating_sub(keep_ms)
            .max(0);
        let mut rows = 0;
        loop {
            let deleted = DB::delete_done(&mut connection, before_ms, BATCH).await?;
            rows += deleted;
            if deleted < u64::from(BATCH) {
                return Ok(rows);
            }
        }
    }
}

/// A task that ended without a result: it panicked, or the runtime shuts down.
fn lost(failed: tokio::task::JoinError) -> sqlx::Error {
    sqlx::Error::Protocol(failed.to_string())
}

/// By what a message is known, however often and on whatever way it comes: topic and unique key, or the broker's
/// id of the first delivery. (One message object sent to two topics has one key.)
fn identity(message: &ReceivedMessage) -> String {
    let topic = message.get(name::RETRY_TOPIC).unwrap_or(&message.topic);
    let id = message
        .get(name::UNIQ_KEY)
        .or_else(|| message.get(name::ORIGIN_MESSAGE_ID))
        .unwrap_or_else(|| message.offset_id());
    format!("{topic}/{id}")
}

/// The SQL of one engine.
pub trait InboxSql: Database {
    /// Inserts the record of a message: whether it is the first one, or none if somebody else is at it.
    fn record<'c>(
        connection: &'c mut Self::Connection,
        group: &'c str,
        id: &'c str,
    ) -> BoxFuture<'c, Result<Option<bool>, sqlx::Error>>;
}

#[cfg(feature = "postgres")]
impl InboxSql for sqlx::Postgres {
    fn record<'c>(
        connection: &'c mut sqlx::PgConnection,
        group: &'c str,
        id: &'c str,
    ) -> BoxFuture<'c, Result<Option<bool>, sqlx::Error>> {
        // The lock, which ends with the transaction, tells without waiting that another one is at work.
        const RECORD: &str = "WITH mine AS MATERIALIZED \
               (SELECT pg_try_advisory_xact_lock(hashtextextended($1 || chr(10) || $2, 0)) AS free), \
             first AS (INSERT INTO escrow_inbox (consumer_group, message_id) \
               SELECT $1, $2 FROM mine WHERE free ON CONFLICT DO NOTHING RETURNING true) \
             SELECT free, EXISTS (SELECT FROM first) FROM mine";
        Box::pin(async move {
            let (free, first): (bool, bool) = sqlx::query_as(RECORD)
                .bind(group)
                .bind(id)
                .fetch_one(connection)
                .await?;
            Ok(free.then_some(first))
        })
    }
}

#[cfg(feature = "mysql")]
impl InboxSql for sqlx::MySql {
    fn record<'c>(
        connection: &'c mut sqlx::MySqlConnection,
        group: &'c str,
        id: &'c str,
    ) -> BoxFuture<'c, Result<Option<bool>, sqlx::Error>> {
        Box::pin(async move {
            super::mysql::bound_waits(connection).await?;
            let inserted =
                sqlx::query("INSERT INTO escrow_inbox (consumer_group, message_id) VALUES (?, ?)")
                    .bind(group.as_bytes())
                    .bind(id.as_bytes())
                    .execute(&mut *connection)
                    .await;
            super::mysql::unbound_waits(connection).await?;
            first(inserted.map(|done| done.rows_affected()))
        })
    }
}

#[cfg(feature = "sqlite")]
impl InboxSql for sqlx::Sqlite {
    fn record<'c>(
        connection: &'c mut sqlx::SqliteConnection,
        group: &'c str,
        id: &'c str,
    ) -> BoxFuture<'c, Result<Option<bool>, sqlx::Error>> {
        Box::pin(async move {
            let inserted = sqlx::query(
                "INSERT INTO escrow_inbox (consumer_group, message_id) VALUES (?1, ?2)",
            )
            .bind(group)
            .bind(id)
            .execute(connection)
            .await;
            first(inserted.map(|done| done.rows_affected()))
        })
    }
}

/// Plain insert: one row, or the key was there.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn first(inserted: Result<u64, sqlx::Error>) -> Result<Option<bool>, sqlx::Error> {
    match inserted {
        Ok(1) => Ok(Some(true)),
        Ok(rows) => Err(sqlx::Error::Protocol(format!(
            "{rows} rows went into escrow_inbox: remove triggers from it"
        ))),
        Err(sqlx::Error::Database(refusal)) if refusal.is_unique_violation() => Ok(Some(false)),
        Err(error) => Err(error),
    }
}
