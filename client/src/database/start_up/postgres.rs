//! What PostgreSQL says of itself and of our tables.

use futures_core::future::BoxFuture;
use sqlx::{PgConnection, Postgres};

use super::{Found, Inspect, Refusal, Table, plain_sql};

/// `pg_current_xact_id_if_assigned` came with it.
const OLDEST: i32 = 130_000;

const SERVER: &str = "SELECT current_setting('server_version_num')::int, version(), \
     current_setting('synchronous_commit'), pg_is_in_recovery()";

/// Kind, persistence, whether it is part of another table or has such parts, and its key.
const TABLE: &str = "SELECT c.relkind::text, c.relpersistence::text, \
       EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)), \
       COALESCE((SELECT string_agg(a.attname, ',' ORDER BY k.place) \
         FROM pg_index x, unnest(x.indkey) WITH ORDINALITY k (attnum, place), pg_attribute a \
         WHERE x.indrelid = c.oid AND x.indisprimary AND k.place <= x.indnkeyatts \
           AND a.attrelid = c.oid AND a.attnum = k.attnum), '') \
     FROM pg_class c WHERE c.oid = to_regclass($1)";

/// Columns of the key that are no text, are short, or compare by a collation that is not byte for byte.
const KEY_TYPE: &str = "SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) \
       || COALESCE(' COLLATE \"' || l.collname || '\"', '') \
     FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation \
     WHERE a.attrelid = to_regclass($1) AND a.attname = ANY(string_to_array($2, ',')) \
       AND (a.atttypid NOT IN ('text'::regtype, 'varchar'::regtype) \
         OR a.atttypmod BETWEEN 0 AND 67 OR NOT COALESCE(l.collisdeterministic, false)) LIMIT 1";

impl Inspect for Postgres {
    fn inspect_server(connection: &mut PgConnection) -> BoxFuture<'_, Result<(), Found>> {
        Box::pin(async move {
            let (number, found, synchronous_commit, replica): (i32, String, String, bool) =
                sqlx::query_as(SERVER).fetch_one(connection).await?;
            if number < OLDEST {
                let needed = "PostgreSQL 13";
                return Err(Refusal::ServerTooOld { found, needed }.into());
            }
            if replica {
                return Err(Refusal::ReadOnly.into());
            }
            if synchronous_commit == "off" {
                return Err(Found::Unfit(Refusal::NotDurable {
                    setting: "synchronous_commit",
                    found: synchronous_commit,
                    needed: "on (or local, remote_write, remote_apply)",
                }));
            }
            Ok(())
        })
    }

    fn inspect_table(
        connection: &mut PgConnection,
        table: Table,
    ) -> BoxFuture<'_, Result<(), Found>> {
        Box::pin(async move {
            let row: Option<(String, String, bool, String)> = sqlx::query_as(TABLE)
                .bind(table.name())
                .fetch_optional(&mut *connection)
                .await?;
            let Some((kind, persistence, inherits, key)) = row else {
                return Err(Refusal::NotMigrated(format!("no table {table}")).into());
            };
            if kind == "p" || inherits {
                return Err(Refusal::Partitioned(table).into());
            }
            if kind != "r" || persistence != "p" {
                return Err(Found::Unfit(Refusal::Storage {
                    table,
                    found: match persistence.as_str() {
                        "u" => "UNLOGGED".to_owned(),
                        "t" => "TEMPORARY".to_owned(),
                        _ => format!("a relation of kind {kind}"),
                    },
                    needed: "a plain, logged table (ALTER TABLE … SET LOGGED)",
                }));
            }
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
                    needed: "text COLLATE \"C\"",
                })),
            }
        })
    }

    plain_sql!();
}
