//! The database side of a transactional message: PostgreSQL, MySQL/MariaDB and SQLite, each behind its feature.
//!
//! A local transaction that is bound to a message inserts one row, its *marker*, whose key is the message's
//! transaction id. A checker that finds no marker inserts a *tombstone* under the same key before it says
//! "rolled back". The key is unique, so exactly one of the two can ever be committed, whatever crashes: the
//! outcome of the database is the outcome of the message.
//!
//! | module | what |
//! |---|---|
//! | [`marker`] ([`MarkerDb`]) | markers, the fence before COMMIT, the check; the SQL is in one file per engine |
//! | [`verdict`] | what a check finds, and why it sometimes cannot say |
//! | [`producer`] ([`BoundProducer`], [`BoundTx`], [`LateTx`]), [`outcome`] | transactions that messages stand or fall with |
//! | [`checker`] ([`DatabaseChecker`]) | answers a broker's checks |
//! | [`inbox`] ([`Inbox`]) | the consumer's side: work done once however often its message comes |
//! | [`mod@migrate`], [`mod@purge`], [`grants`] | makes the tables, deletes old markers, who needs which privileges |
//! | [`start_up`] | whether a database is fit for all this |
//! | [`url`], [`tables`] | for programs that are given a URL: any engine, and no password in a log |

mod attempt;
mod background;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod blocker;
pub mod checker;
mod decide;
pub mod grants;
mod guard;
pub mod inbox;
mod late;
pub mod marker;
pub mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
pub mod outcome;
#[cfg(feature = "postgres")]
mod postgres;
pub mod producer;
pub mod purge;
mod session;
#[cfg(feature = "sqlite")]
mod sqlite;
mod start;
pub mod start_up;
pub mod tables;
pub mod url;
pub mod verdict;

pub use checker::DatabaseChecker;
pub use decide::PURGE_MARGIN;
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
