//! The transactional producer: one outcome for a database transaction and its messages.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Pool;

use super::attempt::Attempt;
use super::background::Background;
use super::departures::{DECISION_WAITS, Departures};
use super::guard::BoundTx;
use super::late::LateTx;
use super::lingering::Lingering;
use super::marker::{Domain, MarkerDb, MarkerError, TxId};
use super::outcome::{BeginError, Committed, RunError};
use super::session::Session;
use super::steps::tell;
use crate::client::Client;
use crate::error::Result as ClientResult;
use crate::message::Message;
use crate::transaction::{Delivery, Half, TransactionProducer};
use escrow_protocol::properties::name;
use escrow_protocol::transaction::Resolution;

/// Messages that one transaction may be bound to.
pub const MESSAGES_MAX: usize = 256;

/// What may be set about a [`BoundProducer`].
#[derive(Debug, Clone)]
pub struct BoundSettings {
    /// The database that it must be: any other is refused at the start. Default any.
    pub domain: Option<Domain>,
    /// Which shard of the application's database this is, where there are several: halfs carry it as `ESCROW_SHARD`, for
    /// a check server that has to choose. Default none.
    pub shard: Option<String>,
    /// How long a transaction may wait for a connection of the pool. Default 5 s: well before the broker's first check,
    /// 10 s after the half, would rule the transaction out.
    pub acquire_timeout: Duration,
    /// How long a connection that has committed stays for the producer's next transaction before it goes back to the
    /// pool, for as long as the pool has others to give. It saves a pool's tests in between: with sqlx's defaults two round
    /// trips to the database, of five that a short transaction has. 5 ms are enough for a busy service.
    ///
    /// Default none, since the pool's hooks (`after_release`, `before_acquire`) do not run in between: an application
    /// that leaves it to them to reset sessions must not set this.
    pub linger: Duration,
}

impl Default for BoundSettings {
    fn default() -> Self {
        Self {
            domain: None,
            shard: None,
            acquire_timeout: Duration::from_secs(5),
            linger: Duration::ZERO,
        }
    }
}

/// Sends messages that are delivered if, and only if, a database transaction commits.
///
/// Clones share it. It answers the broker's checks for its group for as long as the [`Client`] lives or until
/// [`close`](BoundProducer::close), so a service cannot send what it could not answer for.
pub struct BoundProducer<DB: MarkerDb> {
    pub(super) shared: Arc<Shared<DB>>,
}

impl<DB: MarkerDb> Clone for BoundProducer<DB> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// What guards and background tasks need of their producer.
pub(super) struct Shared<DB: MarkerDb> {
    pub(super) halfs: TransactionProducer,
    pub(super) background: Background,
    pub(super) departures: Departures,
    pub(super) client: Client,
    pub(super) pool: Pool<DB>,
    pub(super) lingering: Lingering<DB>,
    /// Own connections for asking the database what became of a transaction: the application's pool may be exhausted
    /// just when that matters.
    pub(super) deciding: Pool<DB>,
    pub(super) domain: Domain,
    pub(super) settings: BoundSettings,
}

impl<DB: MarkerDb> BoundProducer<DB> {
    /// The producer group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.shared.halfs.group()
    }

    /// The database that its halfs name.
    #[must_use]
    pub fn domain(&self) -> Domain {
        self.shared.domain
    }

    /// Does `work` in a transaction that `message` stands or falls with.
    ///
    /// The half is stored before the transaction begins; `Ok` from `work` commits, `Err` rolls back. `work` gets the
    /// connection, which it cannot commit. Dropping the future before `work` is done rolls back; afterwards the commit
    /// runs to its end.
    ///
    /// # Errors
    /// See [`RunError`]; each says in which state database and message are.
    pub async fn run<T, E>(
        &self,
        message: Message,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, E>,
    ) -> Result<(T, Committed), RunError<E>> {
        self.run_many([message], work).await
    }

    /// As [`run`](BoundProducer::run), with up to [`MESSAGES_MAX`] messages: all are delivered, or none.
    ///
    /// # Errors
    /// As those of [`run`](BoundProducer::run).
    pub async fn run_many<T, E>(
        &self,
        messages: impl IntoIterator<Item = Message>,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, E>,
    ) -> Result<(T, Committed), RunError<E>> {
        let mut tx = self.begin_many(messages).await?;
        match work(&mut tx).await {
            Ok(done) => Ok((done, tx.commit().await?)),
            Err(error) => {
                tx.rollback().await;
                Err(RunError::App(error))
            }
        }
    }

    /// Begins a transaction that `message` stands or falls with: stores the half, then begins and inserts the marker.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub async fn begin(&self, message: Message) -> Result<BoundTx<DB>, BeginError> {
        self.begin_many([message]).await
    }

    /// As [`begin`](BoundProducer::begin), with up to [`MESSAGES_MAX`] messages.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub async fn begin_many(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<BoundTx<DB>, BeginError> {
        let messages: Vec<Message> = messages.into_iter().collect();
        let given = messages.len();
        if !(1..=MESSAGES_MAX).contains(&given) {
            return Err(BeginError::Messages { given });
        }
        let background = &self.shared.background;
        if background.is_closed() {
            return Err(BeginError::Closed);
        }
        let shared = Arc::clone(&self.shared);
        let sent = background.step(async move {
            let mut attempt = Attempt::draw(shared, given);
            attempt.send(messages).await.map_err(BeginError::Half)?;
            Ok(attempt)
        });
        // Two steps, so that a caller who went away in between occupies no connection.
        let attempt = sent.await?;
        background.step(open(attempt)).await
    }

    /// Begins a transaction whose messages are given later, just before COMMIT.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub async fn begin_late(&self) -> Result<LateTx<DB>, BeginError> {
        let background = &self.shared.background;
        if background.is_closed() {
            return Err(BeginError::Closed);
        }
        let shared = Arc::clone(&self.shared);
        let begun = background.step(async move {
            let mut session = shared.session().await?;
            tell("beginning", &[]);
            let begun = session.begin_open().await;
            begun.map_err(BeginError::Database)?;
            Ok(LateTx::new(shared, session))
        });
        begun.await
    }

    /// Begins nothing new, waits for what runs in the background, and leaves the group: checks are no longer answered
    /// here. What is still undecided waits for another member of the group, or for the check server.
    ///
    /// Transactions that are open can still be committed, but not found out about if that fails.
    pub async fn close(&self) {
        self.shared.background.close().await;
        self.shared.lingering.clear();
        self.shared.halfs.leave().await;
        self.shared.deciding.close().await;
    }
}

/// Begins and marks. Half-way through, nobody may drop it.
async fn open<DB: MarkerDb>(mut attempt: Attempt<DB>) -> Result<BoundTx<DB>, BeginError> {
    let shared = Arc::clone(&attempt.shared);
    if let Some(session) = shared.lingering.take() {
        match mark(session, &mut attempt).await {
            Ok(session) => return Ok(BoundTx::new(session, attempt)),
            Err(error @ MarkerError::TooLate(_)) => return Err(BeginError::Marker(error)),
            // A pool would have found out that it is dead. It is closed, so what it began can never commit.
            Err(error) => tracing::debug!(%error, "another connection is taken"),
        }
    }
    let session = shared.session().await?;
    let marked = mark(session, &mut attempt).await;
    Ok(BoundTx::new(marked.map_err(BeginError::Marker)?, attempt))
}

async fn mark<DB: MarkerDb>(
    mut session: Session<DB>,
    attempt: &mut Attempt<DB>,
) -> Result<Session<DB>, MarkerError> {
    tell("beginning", &attempt.ids);
    attempt.will_mark();
    session.begin_marked(&attempt.ids).await?;
    tell("marked", &attempt.ids);
    Ok(session)
}

impl<DB: MarkerDb> Shared<DB> {
    /// An id that no message has had.
    pub(super) fn fresh_id(&self) -> TxId {
        TxId::drawn(self.halfs.fresh_id())
    }

    /// Sends `message` as a half that says where its marker is to be looked for.
    pub(super) async fn send_half(&self, message: Message, id: &TxId) -> ClientResult<Half> {
        let mut message = message.property(name::ESCROW_DOMAIN, &self.domain.to_string())?;
        if let Some(shard) = &self.settings.shard {
            message = message.property(name::ESCROW_SHARD, shard)?;
        }
        let patience = self.departures.half_waits();
        self.halfs
            .send_half_as(&message, id.as_str(), patience)
            .await
    }

    /// Tells the broker what is to become of `half`, when something leaves for it, and says how far that got.
    pub(super) async fn settle(&self, half: &Half, resolution: Resolution) -> Delivery {
        let settled = self
            .halfs
            .settle_patiently(half, resolution, DECISION_WAITS);
        settled.await
    }

    /// Whom a tombstone names.
    pub(super) fn name(&self) -> String {
        format!("producer {}", self.client.id())
    }

    async fn session(&self) -> Result<Session<DB>, BeginError> {
        let acquired = Session::acquire(&self.pool, self.settings.acquire_timeout).await;
        acquired.map_err(BeginError::Database)
    }
}
