//! The database of an order service, on any engine.

use std::path::{Path, PathBuf};

use escrow_test_databases::Server;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, SqliteConnection};

use crate::support::{escrow, printed};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    MariaDb,
    Sqlite,
}

/// A database with our tables.
pub(crate) struct Orders {
    pub(crate) url: String,
    pub(crate) domain: String,
    engine: Engine,
}

/// Runs `$body` with a connection to whatever engine it is.
macro_rules! connected {
    ($orders:expr, $connection:ident => $body:expr) => {
        match $orders.engine {
            Engine::Postgres => {
                let mut $connection = PgConnection::connect(&$orders.url).await.unwrap();
                $body
            }
            Engine::MariaDb => {
                let mut $connection = MySqlConnection::connect(&$orders.url).await.unwrap();
                $body
            }
            Engine::Sqlite => {
                let mut $connection = SqliteConnection::connect(&$orders.url).await.unwrap();
                $body
            }
        }
    };
}

impl Orders {
    pub(crate) fn in_file(path: PathBuf) -> Self {
        let url = format!("sqlite:{}", path.display());
        let domain = migrated(&format!("{url}?mode=rwc"));
        Self {
            url,
            domain,
            engine: Engine::Sqlite,
        }
    }

    /// A new one; that of SQLite is a file in `folder`.
    pub(crate) async fn fresh(engine: Engine, folder: &Path) -> Self {
        use escrow_test_databases::Engine::{MariaDb, Postgres};
        let server = match engine {
            Engine::Postgres => Server::shared(Postgres),
            Engine::MariaDb => Server::shared(MariaDb),
            Engine::Sqlite => return Self::in_file(folder.join("orders.db")),
        };
        let url = server.unwrap().fresh_database().await.unwrap();
        let domain = migrated(&url);
        Self {
            url,
            domain,
            engine,
        }
    }

    /// Runs statements as they stand.
    pub(crate) async fn run(&self, sql: &str) {
        self.attempt(sql).await.unwrap();
    }

    /// Runs statements that may be refused.
    pub(crate) async fn attempt(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        connected!(self, connection => {
            sql.execute(&mut connection).await?;
            connection.close().await
        })
    }

    /// Makes a user who may connect and nothing else.
    pub(crate) async fn admit(&self, user: &str) {
        let create = match self.engine {
            Engine::Postgres => format!("CREATE ROLE {user} LOGIN"),
            Engine::MariaDb => format!("CREATE USER {user}@127.0.0.1 IDENTIFIED BY 'x'"),
            Engine::Sqlite => panic!("SQLite has no users"),
        };
        self.run(&create).await;
    }

    /// The same database as a user sees it who was admitted.
    pub(crate) fn seen_by(&self, user: &str) -> Self {
        let (_, address) = self.url.split_once('@').unwrap();
        let url = match self.engine {
            Engine::Postgres => format!("postgres://{user}@{address}"),
            Engine::MariaDb => format!("mysql://{user}:x@{address}"),
            Engine::Sqlite => panic!("SQLite has no users"),
        };
        Self {
            url,
            domain: self.domain.clone(),
            engine: self.engine,
        }
    }

    /// The service's transaction: its marker, and COMMIT.
    pub(crate) async fn commit(&self, transaction: &str) {
        self.insert(transaction, 1).await;
    }

    /// A row of this state: 1 committed, 2 ruled out.
    pub(crate) async fn insert(&self, transaction: &str, state: i64) {
        let row = format!("('{transaction}', {state})");
        self.run(&format!(
            "INSERT INTO escrow_marker (tx_id, state) VALUES {row}"
        ))
        .await;
    }

    /// Makes a row older.
    pub(crate) async fn age(&self, transaction: &str, seconds: u32) {
        let earlier = match self.engine {
            Engine::Postgres => format!("interval '{seconds} seconds'"),
            Engine::MariaDb => format!("INTERVAL {seconds} SECOND"),
            Engine::Sqlite => format!("{seconds} * 1000"),
        };
        let set = format!("UPDATE escrow_marker SET born_at = born_at - {earlier}");
        self.run(&format!("{set} WHERE tx_id = '{transaction}'"))
            .await;
    }

    /// State of the row of a transaction, and who wrote it.
    pub(crate) async fn row(&self, transaction: &str) -> Option<(i64, Option<String>)> {
        let state = match self.engine {
            Engine::Postgres => "state::bigint",
            Engine::MariaDb | Engine::Sqlite => "state",
        };
        let from = format!("FROM escrow_marker WHERE tx_id = '{transaction}'");
        let sql = AssertSqlSafe(format!("SELECT {state}, decided_by {from}"));
        connected!(self, connection => {
            let row = sqlx::query_as(sql).fetch_optional(&mut connection);
            row.await.unwrap()
        })
    }
}

/// Runs `escrow migrate` and returns the domain that it prints.
pub(crate) fn migrated(url: &str) -> String {
    let text = printed(escrow().args(["migrate", "--database-url", url]));
    let domain = text
        .strip_prefix("domain ")
        .and_then(|rest| rest.split_once(' '));
    domain.unwrap_or_else(|| panic!("{text:?}")).0.to_owned()
}

/// Makes a test on each engine out of each of these functions.
macro_rules! on_each_engine {
    ($($test:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[tokio::test] async fn $test() { super::$test(crate::orders::Engine::Postgres).await; })+
        }
        mod on_mariadb {
            $(#[tokio::test] async fn $test() { super::$test(crate::orders::Engine::MariaDb).await; })+
        }
        mod on_sqlite {
            $(#[tokio::test] async fn $test() { super::$test(crate::orders::Engine::Sqlite).await; })+
        }
    };
}
pub(crate) use on_each_engine;
