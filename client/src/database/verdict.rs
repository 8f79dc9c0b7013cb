//! What a database says of a transaction, and why it sometimes cannot say.

use std::fmt;

use super::marker::{Domain, NotAnId};

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It committed, and its marker with it. Final.
    Committed,
    /// It did not commit and never will. Final.
    RolledBack,
    /// Nothing can be said now; ask again.
    Unknown(Reason),
}

/// Why a database could not say what became of a transaction.
///
/// Each prints as a keyword and an explanation: the remark that a broker keeps with the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The transaction is still open.
    InFlight {
        /// The session that holds it, as far as the database tells us.
        blocked_by: Option<String>,
    },
    /// The database rolled our own transaction back in favour of another.
    Serialization,
    /// The database takes no writes: a replica, for instance.
    ReadOnly,
    /// No connection, or it was lost.
    Unreachable(String),
    /// The database did not answer in time.
    Timeout,
    /// No marker, and we were asked not to rule the transaction out.
    NoRow,
    /// No marker, and the half is so old that its marker may have been purged.
    Purged,
    /// A tombstone went in and is not there: a trigger, a rule or a row policy swallowed it.
    Swallowed,
    /// The half's transaction id fits into no marker.
    NotAnId(NotAnId),
    /// What the half names as its database is no domain.
    NotADomain(String),
    /// No database is configured for the shard that the half names.
    UnknownShard(String),
    /// None of the databases is the one that the half names.
    NoSuchDomain(Domain),
    /// Several databases say that they are the one that the half names.
    AmbiguousDomain(Domain),
    /// This is not the database that the half names.
    WrongDomain {
        /// What the half names.
        asked: String,
        /// What is here.
        found: String,
    },
    /// The tables are missing or hold no identity.
    NotMigrated(String),
    /// A privilege is missing.
    Forbidden(String),
    /// Any other refusal of the database.
    Refused(String),
}

impl Reason {
    /// The keyword with which it prints.
    #[must_use]
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::InFlight { .. } => "in_flight",
            Self::Serialization => "serialization",
            Self::ReadOnly => "read_only",
            Self::Unreachable(_) => "db_unreachable",
            Self::Timeout => "timeout",
            Self::NoRow | Self::Swallowed => "no_row",
            Self::Purged => "purged",
            Self::NotAnId(_) => "bad_id",
            Self::NotADomain(_) | Self::NoSuchDomain(_) | Self::WrongDomain { .. } => {
                "wrong_domain"
            }
            Self::UnknownShard(_) => "unknown_shard",
            Self::AmbiguousDomain(_) => "ambiguous_domain",
            Self::NotMigrated(_) => "not_migrated",
            Self::Forbidden(_) => "forbidden",
            Self::Refused(_) => "db_error",
        }
    }

    /// Whether somebody has to act: asking again will not cure it.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        match self {
            Self::InFlight { .. }
            | Self::Serialization
            | Self::Unreachable(_)
            | Self::Timeout
            // Without leave to rule a transaction out, having no row is the ordinary course of a rollback.
            | Self::NoRow => false,
            Self::ReadOnly
            | Self::Purged
            | Self::Swallowed
            | Self::NotAnId(_)
            | Self::NotADomain(_)
            | Self::UnknownShard(_)
            | Self::NoSuchDomain(_)
            | Self::AmbiguousDomain(_)
            | Self::WrongDomain { .. }
            | Self::NotMigrated(_)
            | Self::Forbidden(_)
            | Self::Refused(_) => true,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.keyword())?;
        match self {
            Self::InFlight {
                blocked_by: Some(session),
            } => write!(f, "the transaction is open in {session}"),
            Self::InFlight { blocked_by: None } => f.write_str("the transaction is open"),
            Self::Serialization => f.write_str("another transaction came first"),
            Self::ReadOnly => f.write_str("the database takes no writes"),
            Self::Unreachable(why)
            | Self::NotMigrated(why)
            | Self::Forbidden(why)
            | Self::Refused(why) => f.write_str(why),
            Self::Timeout => f.write_str("the database did not answer in time"),
            Self::NoRow => f.write_str("no marker, and not asked to rule the transaction out"),
            Self::Purged => f.write_str("no marker, and it may have been purged"),
            Self::Swallowed => f.write_str("the tombstone vanished: a trigger, rule or row policy"),
            Self::NotAnId(why) => write!(f, "{why}"),
            Self::NotADomain(named) => write!(f, "ESCROW_DOMAIN is no UUID: {named:?}"),
            Self::UnknownShard(shard) => write!(f, "no database for shard {shard:?}"),
            Self::NoSuchDomain(domain) => write!(
                f,
                "the half names database {domain}, which is none of this group's"
            ),
            Self::AmbiguousDomain(domain) => write!(
                f,
                "two databases are {domain}: one is a copy, run `escrow migrate --adopt` on it"
            ),
            Self::WrongDomain { asked, found } => {
                write!(f, "the half names database {asked}, this is {found}")
            }
        }
    }
}
