//! What MySQL or MariaDB says of itself and of our tables.

use futures_core::future::BoxFuture;
use sqlx::{MySql, MySqlConnection};

use super::{Found, Inspect, Refusal, Table, plain_sql};

const SERVER: &str = "SELECT VERSION(), CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS CHAR)";

const TABLE: &str = "SELECT CAST(COALESCE(engine, 'no engine') AS CHAR), \
       COALESCE(create_options LIKE '%partitioned%', FALSE) \
     FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";

/// A part of a column is named with its length, as in `tx_id(8)`.
const KEY: &str = "SELECT CAST(COALESCE(GROUP_CONCAT(\
       CONCAT(column_name, COALESCE(CONCAT('(', sub_part, ')'), '')) ORDER BY seq_in_index), '') AS CHAR) \
     FROM information_schema.statistics \
     WHERE table_schema = DATABASE() AND table_name = ? AND index_name = 'PRIMARY'";

/// Columns of the key that are short or compare otherwise than byte for byte.
const KEY_TYPE: &str = "SELECT CAST(CONCAT(column_name, ' ', column_type, \
       COALESCE(CONCAT(' COLLATE ', collation_name), '')) AS CHAR) \
     FROM information_schema.columns \
     WHERE table_schema = DATABASE() AND table_name = ? AND FIND_IN_SET(column_name, ?) \
       AND (data_type NOT IN ('varbinary', 'varchar') OR character_maximum_length < 64 \
         OR COALESCE(collation_name, '_bin') NOT LIKE '%\\_bin') LIMIT 1";

impl Inspect for MySql {
    fn inspect_server(connection: &mut MySqlConnection) -> BoxFuture<'_, Result<(), Found>> {
        Box::pin(async move {
            let (found, flush): (String, String) =
                sqlx::query_as(SERVER).fetch_one(connection).await?;
            if let Some(needed) = too_old(&found) {
                return Err(Refusal::ServerTooOld { found, needed }.into());
            }
            if flush != "1" {
                return Err(Found::Unfit(Refusal::NotDurable {
                    setting: "innodb_flush_log_at_trx_commit",
                    found: flush,
                    needed: "1",
                }));
            }
            Ok(())
        })
    }

    fn inspect_table(
        connection: &mut MySqlConnection,
        table: Table,
    ) -> BoxFuture<'_, Result<(), Found>> {
        Box::pin(async move {
            let row: Option<(String, bool)> = sqlx::query_as(TABLE)
                .bind(table.name())
                .fetch_optional(&mut *connection)
                .await?;
            let Some((engine, partitioned)) = row else {
                return Err(Refusal::NotMigrated(format!("no table {table}")).into());
            };
            if partitioned {
                return Err(Refusal::Partitioned(table).into());
            }
            if engine != "InnoDB" {
                return Err(Found::Unfit(Refusal::Storage {
                    table,
                    found: engine,
                    needed: "InnoDB (ALTER TABLE … ENGINE = InnoDB)",
                }));
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
                .bind(table.key())
                .fetch_optional(connection)
                .await?;
            match odd {
                None => Ok(()),
                Some(found) => Err(Found::Unfit(Refusal::KeyType {
                    table,
                    found,
                    needed: "VARBINARY, of 64 bytes at least",
                })),
            }
        })
    }

    plain_sql!();
}

/// What is needed instead of a server that calls itself `version`.
fn too_old(version: &str) -> Option<&'static str> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    let found: (u32, u32) = (next(), next());
    let (oldest, needed) = if version.contains("MariaDB") {
        ((10, 5), "MariaDB 10.5")
    } else {
        ((8, 0), "MySQL 8.0")
    };
    (found < oldest).then_some(needed)
}

#[cfg(test)]
mod tests {
    use super::too_old;

    #[test]
    fn versions_are_read_as_servers_print_them() {
        assert_eq!(too_old("10.11.14-MariaDB-0+deb12u2"), None);
        assert_eq!(too_old("10.4.34-MariaDB-log"), Some("MariaDB 10.5"));
        assert_eq!(too_old("8.0.36-0ubuntu0.22.04.1"), None);
        assert_eq!(too_old("8.4.0"), None);
        assert_eq!(too_old("5.7.44-log"), Some("MySQL 8.0"));
    }
}
