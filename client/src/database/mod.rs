//! The database side of a transactional message: PostgreSQL, MySQL/MariaDB and SQLite, each behind its feature.
//!
//! A local transaction that is bound to a message inserts one row, its *marker*, whose key is the message's
//! transaction id. A checker that finds no marker inserts a *tombstone* under the same key before it says
//! "rolled back". The key is unique, so exactly one of the two can ever be committed, whatever crashes: the
//! outcome of the database is the outcome of the message.
//!
//! How, why, and what remains the user's risk: `docs/binding.md`.
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let mut broker = escrow_broker::config::Settings::default();
//! # broker.data_dir = folder.path().join("broker");
//! # (broker.namesrv_addr, broker.broker_addr, broker.admin_addr) =
//! #     ("127.0.0.1:0".parse()?, "127.0.0.1:0".parse()?, "127.0.0.1:0".parse()?);
//! # let broker = escrow_broker::Broker::start(broker).await?;
//! # let name_server = broker.addresses().namesrv.to_string();
//! # let file = sqlx::sqlite::SqliteConnectOptions::new()
//! #     .filename(folder.path().join("orders.db"))
//! #     .create_if_missing(true);
//! # let pool = sqlx::SqlitePool::connect_with(file).await?;
//! # sqlx::raw_sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)").execute(&pool).await?;
//! use escrow_client::database::{BoundProducer, BoundSettings, migrate};
//! use escrow_client::{Client, Message, Settings};
//! use sqlx::SqliteConnection;
//!
//! migrate(&pool).await?;
//! let client = Client::start(Settings::new(&name_server)).await?;
//! let settings = BoundSettings::default();
//! let producer = BoundProducer::start(&client, "order-service", &pool, settings).await?;
//!
//! // The order is in the database if, and only if, the message is delivered.
//! let message = Message::new("Orders", "a hat").keys("order-1")?;
//! let work = async |connection: &mut SqliteConnection| {
//!     sqlx::query("INSERT INTO orders (item) VALUES ('hat')").execute(connection).await
//! };
//! let (_, committed) = producer.run(message, work).await?;
//! // The order is safe. Whoever wants to know waits until the broker has taken note; nobody has to.
//! assert!(committed.delivery.await.is_resolved());
//!
//! // The same by hand. Dropped instead of committed, it rolls back.
//! let mut tx = producer.begin(Message::new("Orders", "a scarf")).await?;
//! sqlx::query("INSERT INTO orders (item) VALUES ('scarf')").execute(&mut *tx).await?;
//! tx.commit().await?;
//!
//! // With a message that says what the database has generated.
//! let mut tx = producer.begin_late().await?;
//! let insert = "INSERT INTO orders (item) VALUES ('gloves') RETURNING id";
//! let order: i64 = sqlx::query_scalar(insert).fetch_one(&mut *tx).await?;
//! let tx = tx.prepare([Message::new("Orders", format!("order {order}"))]).await?;
//! tx.commit().await?;
//!
//! producer.close().await;
//! # client.close().await;
//! # broker.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`marker`] ([`MarkerDb`]) | markers, the fence before COMMIT, the check; the SQL is in one file per engine |
//! | [`verdict`] | what a check finds, and why it sometimes cannot say |
//! | [`producer`] ([`BoundProducer`], [`BoundTx`], [`LateTx`]), [`outcome`] | transactions that messages stand or fall with |
//! | [`checker`] ([`DatabaseChecker`]) | answers a broker's checks |
//! | [`inbox`] ([`Inbox`]) | the consumer's side: work done once however often its message comes |
//! | [`mod@migrate`], [`mod@purge`], [`grants`] | makes the tables, deletes old markers, who needs which privileges |
//! | [`listing`] | reading markers page by page, to compare them with what a broker decided |
//! | [`start_up`] | whether a database is fit for all this |
//! | [`url`], [`tables`] | for programs that are given a URL: any engine, and no password in a log |

mod attempt;
mod background;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod blocker;
pub mod checker;
mod decide;
mod delivering;
mod departures;
pub mod grants;
mod guard;
pub mod inbox;
mod late;
mod lingering;
pub mod listing;
pub mod marker;
pub mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
pub mod outcome;
mod parameters;
#[cfg(feature = "postgres")]
mod postgres;
pub mod producer;
pub mod purge;
mod session;
#[cfg(feature = "sqlite")]
mod sqlite;
mod start;
pub mod start_up;
mod steps;
pub mod tables;
pub mod url;
pub mod verdict;

pub use checker::{DatabaseChecker, Untagged};
pub use decide::PURGE_MARGIN;
pub use delivering::Delivering;
pub use guard::BoundTx;
pub use inbox::Inbox;
pub use late::LateTx;
pub use marker::{CheckQuery, Domain, MarkerDb, MarkerError, TxId};
pub use migrate::{Identity, adopt, migrate};
pub use outcome::{BeginError, Cause, CommitError, Committed, PrepareError, RunError};
pub use producer::{BoundProducer, BoundSettings};
pub use session::FenceError;
pub use start::StartError;
pub use tables::{OpenError, Tables};
pub use url::{UrlError, UrlSource};
pub use verdict::{Reason, Verdict};

/// The guide's own example, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/binding.md")]
struct Guide;
