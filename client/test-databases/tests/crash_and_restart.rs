//! A server keeps what it committed over a crash.

use escrow_test_databases::{Engine, Server};
use sqlx::{Connection, Executor, MySqlConnection, PgConnection};

#[tokio::test]
async fn postgres_keeps_what_it_committed() {
    let server = Server::start(Engine::Postgres, &["fsync=on"]).unwrap();
    let url = server.fresh_database().await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute("CREATE TABLE t (n int)").await.unwrap();
    connection
        .execute("INSERT INTO t VALUES (7)")
        .await
        .unwrap();
    connection.execute("BEGIN").await.unwrap();
    connection
        .execute("INSERT INTO t VALUES (8)")
        .await
        .unwrap();
    server.crash();
    assert!(connection.execute("COMMIT").await.is_err());
    server.restart().unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let rows = sqlx::query_scalar::<_, i32>("SELECT n FROM t").fetch_all(&mut connection);
    assert_eq!(rows.await.unwrap(), [7]);
}

#[tokio::test]
async fn mariadb_keeps_what_it_committed() {
    let server = Server::start(Engine::MariaDb, &[]).unwrap();
    let url = server.fresh_database().await.unwrap();
    let mut connection = MySqlConnection::connect(&url).await.unwrap();
    connection.execute("CREATE TABLE t (n int)").await.unwrap();
    connection
        .execute("INSERT INTO t VALUES (7)")
        .await
        .unwrap();
    connection.execute("START TRANSACTION").await.unwrap();
    connection
        .execute("INSERT INTO t VALUES (8)")
        .await
        .unwrap();
    server.crash();
    assert!(connection.execute("COMMIT").await.is_err());
    server.restart().unwrap();
    let mut connection = MySqlConnection::connect(&url).await.unwrap();
    let rows = sqlx::query_scalar::<_, i32>("SELECT n FROM t").fetch_all(&mut connection);
    assert_eq!(rows.await.unwrap(), [7]);
}

#[tokio::test]
async fn the_shared_server_gives_each_test_a_database_of_its_own() {
    for engine in [Engine::Postgres, Engine::MariaDb] {
        let server = Server::shared(engine).unwrap();
        let first = server.fresh_database().await.unwrap();
        assert_ne!(server.fresh_database().await.unwrap(), first);
    }
}
