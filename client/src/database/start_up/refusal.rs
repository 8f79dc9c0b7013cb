//! What makes a database unfit, and the cure.

use super::super::marker::Domain;
use super::super::migrate::VERSION;
use super::super::verdict::Reason;
use super::{Role, Table};

/// Why a program must not rely on this database, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It cannot be asked, at least now.
    #[error("the database cannot be checked: {0}")]
    Unavailable(Reason),
    /// The tables are missing, or parts of them.
    #[error("the tables are missing or incomplete ({0}): run `escrow migrate`")]
    NotMigrated(String),
    /// The tables are older than this program.
    #[error(
        "the tables are at version {found}, this program needs {VERSION}: run `escrow migrate`"
    )]
    Older {
        /// Their version.
        found: i32,
    },
    /// The tables are newer than this program.
    #[error("the tables are at version {found}, this program knows {VERSION}: use a newer program")]
    Newer {
        /// Their version.
        found: i32,
    },
    /// It is another database than expected.
    #[error(
        "this database is {found}, not {expected}: correct the URL or the expected domain; a restored backup keeps \
         its domain until it is adopted"
    )]
    WrongDomain {
        /// Which database was expected.
        expected: Domain,
        /// Which it is.
        found: Domain,
    },
    /// The server is too old.
    #[error("the server is {found}: {needed} or newer is needed")]
    ServerTooOld {
        /// What it says it is.
        found: String,
        /// What it must be at least.
        needed: &'static str,
    },
    /// It takes no writes.
    #[error(
        "the database takes no writes: connect to the primary, and let transactions write by default"
    )]
    ReadOnly,
    /// Commits may be lost after they were reported.
    #[error("{setting} is {found}, and a reported commit could be lost: set it to {needed}")]
    NotDurable {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        needed: &'static str,
    },
    /// The table is not one whose rows vanish with their transaction and survive with it.
    #[error("{table} is {found}: make it {needed}")]
    Storage {
        /// Which table.
        table: Table,
        /// What it is.
        found: String,
        /// What it must be.
        needed: &'static str,
    },
    /// The primary key lets one id have two rows.
    #[error("the primary key of {table} is ({found}): it must be ({}) and nothing else", .table.key())]
    PrimaryKey {
        /// Which table.
        table: Table,
        /// Its columns, joined by commas.
        found: String,
    },
    /// The table is partitioned, or part of such a table.
    #[error("{0} is partitioned or inherits: make it one plain table")]
    Partitioned(Table),
    /// The key folds different ids together or cuts them.
    #[error("the key of {table} is {found}, which can take two ids for one: make it {needed}")]
    KeyType {
        /// Which table.
        table: Table,
        /// Type and collation.
        found: String,
        /// What it must be.
        needed: &'static str,
    },
    /// An insert was reported as done and left nothing, or something else.
    #[error(
        "a row inserted into {0} is not there: remove triggers, rules and row security from the table"
    )]
    Swallowed(Table),
    /// A row outlived the rollback of its transaction.
    #[error("a row inserted into {0} outlived its rollback: the table must be transactional")]
    Indelible(Table),
    /// A privilege is missing.
    #[error("this user may not do what {role} does ({why}): see `escrow migrate --grants`")]
    Forbidden {
        /// What it was meant to do.
        role: Role,
        /// What the database said.
        why: String,
    },
}
