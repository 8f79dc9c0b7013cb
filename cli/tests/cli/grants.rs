//! What `escrow migrate --grants` prints, given to roles that have nothing else.

use escrow_client::database::{BoundProducer, BoundSettings, MarkerDb};
use escrow_client::{Client, Message, Settings};
use sqlx::{Executor, MySql, Pool, Postgres};

use crate::check_server::{GROUP, Scene};
use crate::orders::{Engine, Orders};
use crate::support::{Running, escrow, printed};

const APPLICATION: &str = "granted_app";
const CHECKER: &str = "granted_checker";
const PURGER: &str = "granted_purger";

/// What nobody but the owner may do.
const FORBIDDEN: [&str; 3] = [
    "UPDATE escrow_marker SET state = 2",
    "UPDATE escrow_meta SET version = 2",
    "DROP TABLE escrow_marker",
];

/// A bound transaction of an application whose role is `APPLICATION`; the transaction's id.
async fn bound<DB: MarkerDb>(scene: &Scene, orders: &Orders) -> String
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let client = Client::start(Settings::new(&scene.served.namesrv))
        .await
        .unwrap();
    let url = orders.seen_by(APPLICATION).url;
    let pool = Pool::<DB>::connect(&url).await.unwrap();
    let producer = BoundProducer::start(&client, GROUP, &pool, BoundSettings::default())
        .await
        .unwrap();
    let mut tx = producer
        .begin(Message::new("Orders", "an order"))
        .await
        .unwrap();
    sqlx::raw_sql("INSERT INTO orders (id) VALUES (1)")
        .execute(&mut *tx)
        .await
        .unwrap();
    let id = tx.tx_ids()[0].to_string();
    let committed = tx.commit().await.unwrap();
    assert!(committed.delivery.await.is_resolved());
    producer.close().await;
    pool.close().await;
    client.close().await;
    id
}

/// Applies what is printed for users who are named so, and has each do its work and nothing else.
async fn the_printed_grants_are_enough_and_not_more<DB: MarkerDb>(engine: Engine, host: &str)
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    // Time for the application to insert its marker before the first check.
    let scene = Scene::set_with("2s");
    let orders = Orders::fresh(engine, &scene.path("")).await;
    for user in [APPLICATION, CHECKER, PURGER] {
        orders.admit(user).await;
    }
    let mut migrate = escrow();
    migrate.args(["migrate", "--grants", "--database-url", &orders.url]);
    for (flag, user) in [
        ("--application", APPLICATION),
        ("--checker", CHECKER),
        ("--purger", PURGER),
    ] {
        migrate.args([flag, &format!("{user}{host}")]);
    }
    orders.run(&printed(&mut migrate)).await;
    orders.run("CREATE TABLE orders (id INTEGER)").await;
    let own = format!("GRANT INSERT ON orders TO {APPLICATION}{host}");
    orders.run(&own).await;

    let bound = bound::<DB>(&scene, &orders).await;
    assert_eq!(orders.row(&bound).await, Some((1, None)));
    assert_eq!(scene.decision(&bound).await, "commit");

    let checker = orders.seen_by(CHECKER);
    let group = format!("{GROUP}={}", checker.url);
    let server = Running::start(&mut scene.check_server(&[group]));
    let crashed = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    assert_eq!(scene.decision(&crashed).await, "rollback");
    assert_eq!(orders.row(&crashed).await.map(|(state, _)| state), Some(2));
    drop(server);

    orders.commit("old").await;
    orders.age("old", 8 * 24 * 3600).await;
    let purger = orders.seen_by(PURGER);
    let group = format!("{GROUP}={}", purger.url);
    let admin = &scene.served.admin;
    let said = printed(escrow().args(["purge", "--group", &group, "--broker-admin", admin]));
    assert!(said.contains(": deleted 1 markers"), "{said}");
    assert_eq!(orders.row("old").await, None);

    for user in [APPLICATION, CHECKER, PURGER] {
        let role = orders.seen_by(user);
        let no_delete = ["DELETE FROM escrow_marker"];
        let no_insert = ["INSERT INTO escrow_marker (tx_id) VALUES ('mine')"];
        let besides = if user == PURGER { no_insert } else { no_delete };
        for statement in FORBIDDEN.into_iter().chain(besides) {
            let refusal = role.attempt(statement).await;
            let said = refusal.expect_err(statement).to_string();
            assert!(
                ["permission denied", "must be owner", "denied to user"]
                    .iter()
                    .any(|words| said.contains(words)),
                "{user}: {statement}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn the_grants_printed_for_postgresql_are_enough_and_not_more() {
    the_printed_grants_are_enough_and_not_more::<Postgres>(Engine::Postgres, "").await;
}

#[tokio::test]
async fn the_grants_printed_for_mariadb_are_enough_and_not_more() {
    the_printed_grants_are_enough_and_not_more::<MySql>(Engine::MariaDb, "@127.0.0.1").await;
}
