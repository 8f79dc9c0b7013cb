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
//! | [`mod@migrate`] | the tables |
//! | [`producer`] ([`BoundProducer`], [`BoundTx`], [`LateTx`]), [`outcome`] | transactions that messages stand or fall with |
//! | [`url`], [`tables`] | for programs that are given a URL: any engine, and no password in a log |

mod attempt;
mod background;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod blocker;
mod decide;
mod guard;
mod late;
pub mod marker;
pub mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
pub mod outcome;
#[cfg(feature = "postgres")]
mod postgres;
pub mod producer;
mod session;
#[cfg(feature = "sqlite")]
mod sqlite;
mod start;
pub mod tables;
pub mod url;
pub mod verdict;

pub use decide::PURGE_MARGIN;
pub use guard::BoundTx;
pub use late::LateTx;
pub use marker::{CheckQuery, Domain, MarkerDb, MarkerError, TxId};
pub use migrate::migrate;
pub use outcome::{BeginError, Cause, CommitError, Committed, PrepareError, RunError};
pub use producer::{BoundProducer, BoundSettings};
pub use session::FenceError;
pub use start::StartError;
pub use tables::{OpenError, Tables};
pub use url::{UrlError, UrlSource};
pub use verdict::{Reason, Verdict};
