//! Makes the tables and brings them up to date.
//!
//! The SQL stands in `migrations/` and can as well be run by any other tool; which version the tables are at is
//! noted in `escrow_meta`. Our own bookkeeping is in `escrow_migrations`, apart from the application's.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Pool, SqlSafeStr};

use super::marker::{Domain, MarkerDb};

/// The version that this crate works with: that of the last migration.
pub const VERSION: i32 = 1;

const BOOKKEEPING: &str = "escrow_migrations";

/// Who the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Which database this is.
    pub domain: Domain,
    /// The version of the tables.
    pub version: i32,
}

/// Why the tables could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// A newer program has migrated this database.
    #[error(
        "the tables are at version {found} and this program knows {VERSION}: use a newer program"
    )]
    Newer {
        /// The version found.
        found: i32,
    },
    /// An earlier run was cut short, on an engine that cannot undo DDL.
    #[error(
        "migration {version} stopped half-way: drop what it made (see migrations/mysql), delete its row from \
         {BOOKKEEPING}, and migrate again"
    )]
    HalfWay {
        /// The migration that stopped.
        version: i64,
    },
    /// The tables are there and hold no identity.
    #[error(
        "escrow_meta holds no row that can be read ({0}): restore it, or drop the three tables and migrate again"
    )]
    NoIdentity(String),
    /// The migration itself failed.
    #[error(transparent)]
    Migration(sqlx::migrate::MigrateError),
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<sqlx::migrate::MigrateError> for MigrateError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Dirty(version) => Self::HalfWay { version },
            other => Self::Migration(other),
        }
    }
}

/// Brings the tables up to [`VERSION`]; does nothing if they are. Two runs at once are safe.
///
/// Tables that another tool made from the same SQL are recognised by their version. Needs the right to create
/// tables.
///
/// # Errors
/// Also when the tables are newer than this program.
pub async fn migrate<DB: MarkerDb>(pool: &Pool<DB>) -> Result<Identity, MigrateError> {
    let mut connection = pool.acquire().await?;
    // A task of its own: a run dropped half-way would leave its lock in the pool.
    let run = tokio::spawn(async move {
        let migrated = run::<DB>(&mut connection).await;
        if migrated.is_err() {
            // The session may still hold the lock.
            connection.close_on_drop();
        }
        migrated
    });
    run.await
        .map_err(|failed| MigrateError::Database(sqlx::Error::Protocol(failed.to_string())))?
}

async fn run<DB: MarkerDb>(connection: &mut DB::Connection) -> Result<Identity, MigrateError> {
    let found = DB::identity(connection).await?.map(|(_, version)| version);
    if let Some(found) = found.filter(|found| *found > VERSION) {
        return Err(MigrateError::Newer { found });
    }
    DB::migrate(connection, &migrator(DB::MIGRATIONS), found).await?;
    identity::<DB>(connection).await
}

async fn identity<DB: MarkerDb>(connection: &mut DB::Connection) -> Result<Identity, MigrateError> {
    let (domain, version) = DB::identity(connection)
        .await?
        .ok_or_else(|| MigrateError::NoIdentity("no row".to_owned()))?;
    let domain = domain
        .parse()
        .map_err(|error| MigrateError::NoIdentity(format!("domain {domain:?}: {error}")))?;
    Ok(Identity { domain, version })
}

/// Gives the database a new [`Domain`]: after a backup of another one, or an older state of this one, was
/// restored. From then on halfs of the former domain are no longer ruled out here.
///
/// # Errors
/// The tables are missing, or the database refused.
pub async fn adopt<DB: MarkerDb>(pool: &Pool<DB>) -> Result<Identity, MigrateError> {
    let mut connection = pool.acquire().await?;
    DB::adopt(&mut connection, &Domain::draw().to_string()).await?;
    identity::<DB>(&mut connection).await
}

fn migrator(migrations: &[(&'static str, &'static str)]) -> Migrator {
    let numbered = (1..).zip(migrations).map(|(version, (name, sql))| {
        let simple = MigrationType::Simple;
        Migration::new(
            version,
            Cow::Borrowed(*name),
            simple,
            sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(numbered.collect());
    migrator.dangerous_set_table_name(BOOKKEEPING);
    migrator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "sqlite")]
    #[test]
    fn the_version_is_that_of_the_last_migration() {
        use super::super::marker::sealed::Sealed;
        assert_eq!(usize::try_from(VERSION), Ok(sqlx::Sqlite::MIGRATIONS.len()));
    }
}
