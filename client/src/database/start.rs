//! Starting a transactional producer: nothing is sent before database and group are known to be in order.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Pool;

use super::background::Background;
use super::checker::DatabaseChecker;
use super::departures::Departures;
use super::lingering::Lingering;
use super::marker::MarkerDb;
use super::producer::{BoundProducer, BoundSettings, Shared};
use super::start_up::{Refusal, Role, verify};
use crate::client::Client;
use crate::error::Error;
use crate::transaction::TransactionProducer;

/// Connections for asking the database what became of a transaction.
const DECIDING_CONNECTIONS: u32 = 2;

/// How long a check waits for one of them.
const DECIDING_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a transactional producer did not start. Nothing was sent, and the group was not joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database cannot be reached, or is not fit: the refusal names the cure.
    #[error("database: {0}")]
    Database(#[from] Refusal),
    /// No broker could be told that we answer for the group.
    #[error("the producer group cannot be joined: {0}")]
    Join(#[source] Error),
    /// The name servers know no broker that can be reached.
    #[error("the producer group cannot be joined: no broker can be reached")]
    NoBroker,
    /// This client has a producer for the group already. Two databases need two groups: any member may be asked about
    /// any half of its group.
    #[error("this client answers for producer group {0} already")]
    GroupTaken(String),
}

impl<DB: MarkerDb> BoundProducer<DB> {
    /// Checks the database behind `pool`, registers as the one who answers the broker's checks for `group`, and makes
    /// that known to all brokers.
    ///
    /// `pool` is the application's; markers are written through it, in the application's transactions. What became of a
    /// transaction is asked on two connections besides, opened with the same options when they are needed.
    ///
    /// # Errors
    /// See [`StartError`]; each says what to change.
    pub async fn start(
        client: &Client,
        group: impl Into<String>,
        pool: &Pool<DB>,
        settings: BoundSettings,
    ) -> Result<Self, StartError> {
        let group = group.into();
        let identity = verify(pool, Role::Producer, settings.domain).await?;
        let domain = identity.domain;
        let deciding = pool
            .options()
            .clone()
            .min_connections(0)
            .max_connections(DECIDING_CONNECTIONS)
            .acquire_timeout(DECIDING_ACQUIRE_TIMEOUT)
            .connect_lazy_with((*pool.connect_options()).clone());
        // Who sends halfs must be able to answer for them, and from the same database.
        verify(&deciding, Role::Checker, Some(domain)).await?;
        let name = format!("checker {}", client.id());
        let checker = DatabaseChecker::new(deciding.clone(), domain, &name);
        let Some(halfs) = TransactionProducer::claim(client, &group, checker) else {
            return Err(StartError::GroupTaken(group));
        };
        let joined = client.join_all().await;
        let refusal = match joined {
            Ok(0) => Some(StartError::NoBroker),
            Ok(_) => None,
            Err(error) => Some(StartError::Join(error)),
        };
        if let Some(refusal) = refusal {
            halfs.leave().await;
            return Err(refusal);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                halfs,
                background: Background::new(),
                departures: Departures::new(),
                client: client.clone(),
                pool: pool.clone(),
                lingering: Lingering::new(pool, settings.linger),
                deciding,
                domain,
                settings,
            }),
        })
    }
}
