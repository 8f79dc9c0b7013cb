//! What a program refuses to work with, and that each refusal names its cure.

use escrow_client::database::start_up::{Refusal, Role, Table, verify};
use escrow_client::database::{Domain, adopt};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{MySql, Postgres, Sqlite};

use crate::support::{Database, TestDb, migrated, on_each_engine, sqlite_file, with_tables};

on_each_engine!(
    a_migrated_database_is_fit_for_every_role,
    an_empty_database_is_not_migrated,
    another_database_than_expected_is_refused,
    older_and_newer_tables_are_refused,
    a_missing_identity_is_refused,
    a_missing_column_is_refused,
    a_primary_key_that_lets_one_id_have_two_rows_is_refused,
);

/// What `database` is refused for, as the place of markers.
async fn refusal<DB: TestDb>(database: &Database<DB>) -> Refusal {
    let refusal = verify(&database.pool, Role::Producer, None)
        .await
        .unwrap_err();
    assert_eq!(
        verify(&database.pool, Role::Checker, None)
            .await
            .unwrap_err(),
        refusal
    );
    refusal
}

async fn a_migrated_database_is_fit_for_every_role<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let known = verify(&database.pool, Role::Producer, None).await.unwrap();
    for role in [Role::Producer, Role::Checker, Role::Consumer] {
        let verified = verify(&database.pool, role, Some(known.domain)).await;
        assert_eq!(verified.unwrap(), known);
    }
    for table in ["escrow_marker", "escrow_inbox"] {
        let left = database
            .number(&format!("SELECT COUNT(*) FROM {table}"))
            .await;
        assert_eq!(left, 0);
    }
}

async fn an_empty_database_is_not_migrated<DB: TestDb>() {
    let refusal = refusal(&DB::empty().await).await;
    assert!(matches!(refusal, Refusal::NotMigrated(_)), "{refusal:?}");
    assert!(refusal.to_string().contains("escrow migrate"));
}

async fn another_database_than_expected_is_refused<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let former = verify(&database.pool, Role::Producer, None)
        .await
        .unwrap()
        .domain;
    let adopted = adopt(&database.pool).await.unwrap().domain;
    assert_ne!(adopted, former);
    let expected: Domain = former;
    let refusal = verify(&database.pool, Role::Checker, Some(expected))
        .await
        .unwrap_err();
    let found = adopted;
    assert_eq!(refusal, Refusal::WrongDomain { expected, found });
}

async fn older_and_newer_tables_are_refused<DB: TestDb>() {
    let database = migrated::<DB>().await;
    for (version, right) in [
        (0, Refusal::Older { found: 0 }),
        (2, Refusal::Newer { found: 2 }),
    ] {
        let set = format!("UPDATE escrow_meta SET version = {version}");
        database.run(&set).await.unwrap();
        assert_eq!(refusal(&database).await, right);
    }
}

async fn a_missing_identity_is_refused<DB: TestDb>() {
    let database = migrated::<DB>().await;
    database.run("DELETE FROM escrow_meta").await.unwrap();
    let refusal = refusal(&database).await;
    assert!(matches!(refusal, Refusal::NotMigrated(_)), "{refusal:?}");
}

async fn a_missing_column_is_refused<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let drop = "ALTER TABLE escrow_marker DROP COLUMN decided_by";
    database.run(drop).await.unwrap();
    let refused = verify(&database.pool, Role::Checker, None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Refusal::NotMigrated(_)), "{refused:?}");
}

async fn a_primary_key_that_lets_one_id_have_two_rows_is_refused<DB: TestDb>() {
    let database = migrated::<DB>().await;
    database.run("DROP TABLE escrow_marker").await.unwrap();
    let collation = if DB::NAME == "PostgreSQL" {
        "text COLLATE \"C\""
    } else {
        "VARCHAR(64)"
    };
    let create = format!(
        "CREATE TABLE escrow_marker (tx_id {collation} NOT NULL, state SMALLINT NOT NULL DEFAULT 1, \
         born_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, decided_by VARCHAR(64), PRIMARY KEY (tx_id, state))"
    );
    database.run(&create).await.unwrap();
    let (table, found) = (Table::Marker, "tx_id,state".to_owned());
    assert_eq!(
        refusal(&database).await,
        Refusal::PrimaryKey { table, found }
    );
}

#[tokio::test]
async fn a_partitioned_table_of_postgres_is_refused() {
    let database = migrated::<Postgres>().await;
    for statement in [
        "DROP TABLE escrow_marker",
        "CREATE TABLE escrow_marker (tx_id text COLLATE \"C\", state smallint NOT NULL DEFAULT 1, \
         born_at timestamptz NOT NULL DEFAULT clock_timestamp(), decided_by text, PRIMARY KEY (tx_id, born_at)) \
         PARTITION BY RANGE (born_at)",
        "CREATE TABLE escrow_marker_all PARTITION OF escrow_marker DEFAULT",
    ] {
        database.run(statement).await.unwrap();
    }
    assert_eq!(
        refusal(&database).await,
        Refusal::Partitioned(Table::Marker)
    );
}

#[tokio::test]
async fn a_partitioned_table_of_mariadb_is_refused() {
    let database = migrated::<MySql>().await;
    let partition = "ALTER TABLE escrow_marker PARTITION BY KEY (tx_id) PARTITIONS 2";
    database.run(partition).await.unwrap();
    assert_eq!(
        refusal(&database).await,
        Refusal::Partitioned(Table::Marker)
    );
}

#[tokio::test]
async fn tables_of_mariadb_that_are_not_transactional_are_refused() {
    let database = migrated::<MySql>().await;
    for engine in ["MyISAM", "Aria"] {
        for (table, role) in [
            (Table::Marker, Role::Producer),
            (Table::Inbox, Role::Consumer),
        ] {
            let alter = format!("ALTER TABLE {table} ENGINE = {engine}");
            database.run(&alter).await.unwrap();
            let refusal = verify(&database.pool, role, None).await.unwrap_err();
            let (found, needed) = (engine.to_owned(), "InnoDB (ALTER TABLE … ENGINE = InnoDB)");
            assert_eq!(
                refusal,
                Refusal::Storage {
                    table,
                    found,
                    needed
                }
            );
        }
    }
}

#[tokio::test]
async fn an_unlogged_table_of_postgres_is_refused() {
    let database = migrated::<Postgres>().await;
    database
        .run("ALTER TABLE escrow_marker SET UNLOGGED")
        .await
        .unwrap();
    let refusal = refusal(&database).await;
    assert!(refusal.to_string().contains("UNLOGGED"), "{refusal}");
}

#[tokio::test]
async fn a_key_that_folds_ids_is_refused_on_each_engine() {
    let database = migrated::<Postgres>().await;
    for statement in [
        "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "ALTER TABLE escrow_marker ALTER COLUMN tx_id TYPE text COLLATE folding",
    ] {
        database.run(statement).await.unwrap();
    }
    assert!(matches!(refusal(&database).await, Refusal::KeyType { .. }));

    let database = migrated::<MySql>().await;
    let alter = "ALTER TABLE escrow_marker MODIFY tx_id VARCHAR(64) COLLATE utf8mb4_general_ci";
    database.run(alter).await.unwrap();
    assert!(matches!(refusal(&database).await, Refusal::KeyType { .. }));

    let database = migrated::<Sqlite>().await;
    for statement in [
        "DROP TABLE escrow_marker",
        "CREATE TABLE escrow_marker (tx_id TEXT COLLATE NOCASE PRIMARY KEY, state INTEGER DEFAULT 1, \
         born_at INTEGER DEFAULT 0, decided_by TEXT)",
    ] {
        database.run(statement).await.unwrap();
    }
    assert!(matches!(refusal(&database).await, Refusal::KeyType { .. }));
}

#[tokio::test]
async fn a_key_that_cuts_ids_is_refused() {
    let database = migrated::<MySql>().await;
    let alter = "ALTER TABLE escrow_marker MODIFY tx_id VARBINARY(32)";
    database.run(alter).await.unwrap();
    assert!(matches!(refusal(&database).await, Refusal::KeyType { .. }));

    let database = migrated::<Postgres>().await;
    let alter = "ALTER TABLE escrow_marker ALTER COLUMN tx_id TYPE varchar(32) COLLATE \"C\"";
    database.run(alter).await.unwrap();
    assert!(matches!(refusal(&database).await, Refusal::KeyType { .. }));
}

#[tokio::test]
async fn a_trigger_that_swallows_rows_is_refused() {
    let database = migrated::<Postgres>().await;
    for statement in [
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER swallow BEFORE INSERT ON escrow_marker FOR EACH ROW EXECUTE FUNCTION swallow()",
    ] {
        database.run(statement).await.unwrap();
    }
    assert_eq!(refusal(&database).await, Refusal::Swallowed(Table::Marker));

    let database = migrated::<Sqlite>().await;
    let trigger =
        "CREATE TRIGGER swallow BEFORE INSERT ON escrow_marker BEGIN SELECT RAISE(IGNORE); END";
    database.run(trigger).await.unwrap();
    assert_eq!(refusal(&database).await, Refusal::Swallowed(Table::Marker));
}

#[tokio::test]
async fn a_trigger_of_mariadb_that_changes_the_state_is_refused() {
    let database = migrated::<MySql>().await;
    let trigger = "CREATE TRIGGER inverts BEFORE INSERT ON escrow_marker FOR EACH ROW \
         SET NEW.state = 3 - NEW.state";
    database.run(trigger).await.unwrap();
    assert_eq!(refusal(&database).await, Refusal::Swallowed(Table::Marker));
}

#[tokio::test]
async fn row_security_of_postgres_that_hides_rows_is_refused() {
    let database = migrated::<Postgres>().await;
    for statement in [
        "CREATE ROLE start_up_hidden LOGIN",
        "GRANT SELECT, INSERT ON escrow_marker TO start_up_hidden",
        "GRANT SELECT ON escrow_meta TO start_up_hidden",
        "ALTER TABLE escrow_marker ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY writing ON escrow_marker FOR INSERT WITH CHECK (true)",
    ] {
        database.run(statement).await.unwrap();
    }
    let options: PgConnectOptions = database.url.parse().unwrap();
    let pool = PgPoolOptions::new().connect_with(options.username("start_up_hidden"));
    let refusal = verify(&pool.await.unwrap(), Role::Checker, None).await;
    assert_eq!(refusal.unwrap_err(), Refusal::Swallowed(Table::Marker));
}

#[tokio::test]
async fn a_commit_that_may_be_lost_is_refused() {
    let database = migrated::<Postgres>().await;
    let options: PgConnectOptions = database.url.parse().unwrap();
    let careless = options.options([("synchronous_commit", "off")]);
    let pool = PgPoolOptions::new().connect_with(careless).await.unwrap();
    let refusal = verify(&pool, Role::Producer, None).await.unwrap_err();
    assert!(
        refusal.to_string().starts_with("synchronous_commit is off"),
        "{refusal}"
    );

    let database = migrated::<Sqlite>().await;
    let careless = SqliteConnectOptions::new()
        .filename(database.url.trim_start_matches("sqlite://"))
        .synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePoolOptions::new()
        .connect_with(careless)
        .await
        .unwrap();
    let refusal = verify(&pool, Role::Producer, None).await.unwrap_err();
    assert!(
        refusal.to_string().starts_with("PRAGMA synchronous is 1"),
        "{refusal}"
    );

    let database = with_tables(sqlite_file(SqliteJournalMode::Memory).await).await;
    let refusal = verify(&database.pool, Role::Producer, None)
        .await
        .unwrap_err();
    assert!(
        refusal
            .to_string()
            .starts_with("PRAGMA journal_mode is memory"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_refused() {
    let database = migrated::<Postgres>().await;
    let options: PgConnectOptions = database.url.parse().unwrap();
    let read_only = options.options([("default_transaction_read_only", "on")]);
    let pool = PgPoolOptions::new().connect_with(read_only).await.unwrap();
    assert_eq!(
        verify(&pool, Role::Producer, None).await,
        Err(Refusal::ReadOnly)
    );

    let database = migrated::<Sqlite>().await;
    let read_only = SqliteConnectOptions::new()
        .filename(database.url.trim_start_matches("sqlite://"))
        .read_only(true);
    let pool = SqlitePoolOptions::new()
        .connect_with(read_only)
        .await
        .unwrap();
    assert_eq!(
        verify(&pool, Role::Producer, None).await,
        Err(Refusal::ReadOnly)
    );
}

#[tokio::test]
async fn a_user_of_mariadb_without_the_privilege_is_refused() {
    let database = migrated::<MySql>().await;
    let name = database.url.rsplit_once('/').unwrap().1.to_owned();
    for statement in [
        "CREATE USER start_up_reader@'127.0.0.1' IDENTIFIED BY 'x'".to_owned(),
        format!("GRANT SELECT ON {name}.* TO start_up_reader@'127.0.0.1'"),
    ] {
        database.run(&statement).await.unwrap();
    }
    let url = database.url.replace("escrow:escrow@", "start_up_reader:x@");
    let pool = MySqlPoolOptions::new().connect(&url).await.unwrap();
    let refusal = verify(&pool, Role::Producer, None).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Forbidden { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("--grants"));
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_not_unfit() {
    let nobody = PgPoolOptions::new()
        .acquire_timeout(std::time::Duration::from_secs(1))
        .connect_lazy("postgres://postgres@127.0.0.1:1/postgres")
        .unwrap();
    let refusal = verify(&nobody, Role::Checker, None).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
}
