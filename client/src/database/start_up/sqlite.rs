//! What SQLite says of the file and of our tables.

use futures_core::future::BoxFuture;
use sqlx::{Sqlite, SqliteConnection};

use super::{Found, Inspect, Refusal, Table, plain_sql};

const TABLE: &str = "SELECT type FROM sqlite_schema WHERE name = ?1";

const KEY: &str = "SELECT COALESCE(group_concat(name, ','), '') \
     FROM (SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk)";

/// Columns of the key that compare otherwise than byte for byte.
const KEY_TYPE: &str = "SELECT x.name || ' COLLATE ' || x.coll \
     FROM pragma_index_list(?1) l JOIN pragma_index_xinfo(l.name) x \
     WHERE l.origin = 'pk' AND x.key AND x.coll <> 'BINARY' LIMIT 1";

impl Inspect for Sqlite {
    fn inspect_server(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<(), Found>> {
        Box::pin(async move {
            let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
                .fetch_one(&mut *connection)
                .await?;
            if synchronous < 2 {
                return Err(Found::Unfit(Refusal::NotDurable {
                    setting: "PRAGMA synchronous",
                    found: synchronous.to_string(),
                    needed: "FULL (2) on every connection",
                }));
            }
            let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
                .fetch_one(connection)
                .await?;
            if matches!(journal.as_str(), "memory" | "off") {
                return Err(Found::Unfit(Refusal::NotDurable {
                    setting: "PRAGMA journal_mode",
                    found: journal,
                    needed: "WAL, or DELETE, TRUNCATE or PERSIST, in a file",
                }));
            }
            Ok(())
        })
    }

    fn inspect_table(
        connection: &mut SqliteConnection,
        table: Table,
    ) -> BoxFuture<'_, Result<(), Found>> {
        Box::pin(async move {
            let kind: Option<String> = sqlx::query_scalar(TABLE)
                .bind(table.name())
                .fetch_optional(&mut *connection)
                .await?;
            match kind.as_deref() {
                Some("table") => {}
                None => return Err(Refusal::NotMigrated(format!("no table {table}")).into()),
                Some(other) => {
                    return Err(Found::Unfit(Refusal::Storage {
                        table,
                        found: format!("a {other}"),
                        needed: "a table",
                    }));
                }
            }
            let key: String = sqlx::query_scalar(KEY)
                .bind(table.name())
                .fetch_one(&mut *connection)
                .await?;
            if key != table.key() {
                return Err(Refusal::PrimaryKey { table, found: key }.into());
            }
            let odd: Option<String> = sqlx::query_scalar(KEY_TYPE)
                .bind(table.name())
                .fetch_optional(connection)
                .await?;
            match odd {
                None => Ok(()),
                Some(found) => Err(Found::Unfit(Refusal::KeyType {
                    table,
                    found,
                    needed: "TEXT with the collation BINARY",
                })),
            }
        })
    }

    plain_sql!();
}
