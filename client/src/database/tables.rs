//! The tables of one database, whichever engine it is: for programs that are given a URL.

use std::time::Duration;

use sqlx::pool::PoolOptions;

use super::grants::GrantsFor;
use super::listing::{self, Marker, Range};
use super::marker::{CheckQuery, MarkerDb};
use super::migrate::{self, Identity, MigrateError};
use super::parameters;
use super::purge::{self, Limit, Purged};
use super::start_up::{self, Refusal, Role};
use super::url::{UrlError, shown};
use super::verdict::{Reason, Verdict};

/// How long a call may wait for a connection; a check waits less.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Runs `$body` with the pool of whatever engine `$tables` is.
macro_rules! with_pool {
    ($tables:expr, $pool:ident => $body:expr) => {
        match $tables {
            #[cfg(feature = "postgres")]
            Tables::Postgres($pool) => $body,
            #[cfg(feature = "mysql")]
            Tables::MySql($pool) => $body,
            #[cfg(feature = "sqlite")]
            Tables::Sqlite($pool) => $body,
        }
    };
}

/// A small pool of connections to one database with our tables. Clones share it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Tables {
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
    /// MySQL or MariaDB.
    #[cfg(feature = "mysql")]
    MySql(sqlx::MySqlPool),
    /// SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
}

/// Why a database cannot be worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It could not be reached: that may pass.
    #[error("{0}")]
    Unreachable(String),
    /// It, or what it was given, is not as it has to be: somebody must act. The text says how.
    #[error("{0}")]
    Refused(String),
}

impl Tables {
    /// The database at `url`. Connects when first used, with at most `connections` at a time.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn at(url: &str, connections: u32) -> Result<Self, UrlError> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let options = parameters::postgres(url)?;
                let options = options.application_name("escrow");
                Ok(Self::Postgres(pool(connections).connect_lazy_with(options)))
            }
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => Ok(Self::MySql(
                pool(connections).connect_lazy_with(parameters::mysql(url)?),
            )),
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(Self::Sqlite(
                pool(connections).connect_lazy_with(parameters::sqlite(url)?),
            )),
            _ => Err(UrlError::Scheme { shown: shown(url) }),
        }
    }

    /// As [`MarkerDb::decide`].
    pub async fn decide(&self, query: &CheckQuery) -> Verdict {
        with_pool!(self, pool => MarkerDb::decide(pool, query).await)
    }

    /// Who the tables are.
    ///
    /// # Errors
    /// They are missing, newer or older than this program, or out of reach.
    pub async fn identity(&self) -> Result<Identity, OpenError> {
        with_pool!(self, pool => identity(pool).await)
    }

    /// Who the tables are, once it is sure that checks can be answered from them.
    ///
    /// # Errors
    /// As [`Self::identity`], and whatever makes a database unfit for it (see [`start_up::verify`]).
    pub async fn ready_for_checks(&self) -> Result<Identity, OpenError> {
        with_pool!(self, pool => {
            // Whether it cannot be reached or does not let us in is told apart here.
            drop(pool.acquire().await?);
            Ok(start_up::verify(pool, Role::Checker, None).await?)
        })
    }

    /// As [`migrate::migrate`].
    ///
    /// # Errors
    /// As there.
    pub async fn migrate(&self) -> Result<Identity, MigrateError> {
        with_pool!(self, pool => migrate::migrate(pool).await)
    }

    /// As [`migrate::adopt`].
    ///
    /// # Errors
    /// As there.
    pub async fn adopt(&self) -> Result<Identity, MigrateError> {
        with_pool!(self, pool => migrate::adopt(pool).await)
    }

    /// As [`purge::purge`].
    ///
    /// # Errors
    /// As there.
    pub async fn purge(&self, limit: Limit) -> Result<Purged, OpenError> {
        with_pool!(self, pool => Ok(purge::purge(pool, limit).await?))
    }

    /// What [`Self::purge`] would do: changes nothing.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn would_purge(&self, limit: Limit) -> Result<Purged, OpenError> {
        with_pool!(self, pool => Ok(purge::would_purge(pool, limit).await?))
    }

    /// The time by the database's clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn now_ms(&self) -> Result<i64, OpenError> {
        with_pool!(self, pool => Ok(listing::now_ms(pool).await?))
    }

    /// Up to when markers may be gone, in milliseconds since 1970.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn horizon_ms(&self) -> Result<i64, OpenError> {
        with_pool!(self, pool => Ok(listing::horizon_ms(pool).await?))
    }

    /// The markers that are asked for, at most [`listing::PAGE`], in the order of their ids.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn markers(&self, range: &Range<'_>) -> Result<Vec<Marker>, OpenError> {
        with_pool!(self, pool => Ok(listing::markers(pool, range).await?))
    }

    /// Those of `ids` that have a marker or tombstone.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn find(&self, ids: &[String]) -> Result<Vec<Marker>, OpenError> {
        with_pool!(self, pool => Ok(listing::find(pool, ids).await?))
    }

    /// The kind of database, for [`grants`](super::grants::grants).
    #[must_use]
    pub fn engine(&self) -> GrantsFor {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => GrantsFor::Postgres,
            #[cfg(feature = "mysql")]
            Self::MySql(_) => GrantsFor::MySql,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => GrantsFor::Sqlite,
        }
    }

    /// Closes all connections.
    pub async fn close(&self) {
        with_pool!(self, pool => pool.close().await);
    }
}

fn pool<DB: MarkerDb>(connections: u32) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_WITHIN)
}

async fn identity<DB: MarkerDb>(pool: &sqlx::Pool<DB>) -> Result<Identity, OpenError> {
    let mut connection = pool.acquire().await?;
    let (domain, version) = DB::identity(&mut connection).await?.ok_or_else(|| {
        OpenError::Refused("there is no escrow_meta: run `escrow migrate`".to_owned())
    })?;
    if version != migrate::VERSION {
        let cure = if version < migrate::VERSION {
            "run `escrow migrate`"
        } else {
            "use a newer program"
        };
        return Err(OpenError::Refused(format!(
            "the tables are at version {version}, this program works with {}: {cure}",
            migrate::VERSION
        )));
    }
    match domain.parse() {
        Ok(domain) => Ok(Identity { domain, version }),
        Err(error) => Err(OpenError::Refused(format!(
            "escrow_meta.domain is no UUID ({error}): run `escrow migrate --adopt`"
        ))),
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        match &error {
            sqlx::Error::Configuration(_) => Self::Refused(text),
            sqlx::Error::Database(refusal) if !passes(refusal.code().as_deref()) => {
                Self::Refused(text)
            }
            _ => Self::Unreachable(text),
        }
    }
}

impl From<Refusal> for OpenError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Unavailable(
                Reason::Unreachable(_)
                | Reason::InFlight { .. }
                | Reason::Serialization
                | Reason::Timeout,
            ) => Self::Unreachable(text),
            _ => Self::Refused(text),
        }
    }
}

/// Whether a refusal with this SQLSTATE (SQLite: extended result code) passes by itself: connections, shutdown and
/// start of the server, want of resources, locks.
fn passes(code: Option<&str>) -> bool {
    match code {
        Some("5" | "6" | "261" | "517") => true,
        Some(code) => ["08", "53", "55", "57P", "40"]
            .iter()
            .any(|class| code.len() == 5 && code.starts_with(class)),
        None => false,
    }
}

impl From<OpenError> for Reason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unreachable(why) => Self::Unreachable(why),
            OpenError::Refused(why) => Self::Refused(why),
        }
    }
}
