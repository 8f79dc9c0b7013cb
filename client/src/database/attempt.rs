//! The messages of one attempt: drawn, sent as halfs, and given the fate of their transaction.
//!
//! All of them share it: their markers go in by one statement and leave by one COMMIT, so what the database says of
//! the first is true of all.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::delivering::Delivering;
use super::departures::Sibling;
use super::marker::{CheckQuery, MarkerDb, TxId};
use super::outcome::{Committed, Ids};
use super::producer::Shared;
use super::steps::tell;
use super::verdict::Verdict;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::transaction::{Delivery, Half};
use escrow_protocol::transaction::Resolution;

/// Halfs without a decision. Dropped as such, they are decided in the background.
pub(super) struct Attempt<DB: MarkerDb> {
    pub(super) shared: Arc<Shared<DB>>,
    pub(super) ids: Vec<TxId>,
    halfs: Vec<Half>,
    /// Before the first half was sent, in ms since 1970.
    born_ms: i64,
    /// A marker may be in the database: only the database can say what became of it.
    marked: bool,
    /// None once its transaction is over.
    under_way: Option<Sibling>,
    /// Not yet in the hands of a background task. One that is dropped, since its runtime ends, begins no other.
    armed: bool,
}

impl<DB: MarkerDb> Attempt<DB> {
    /// Draws a fresh id for each of `messages`; nothing is sent.
    pub(super) fn draw(shared: Arc<Shared<DB>>, messages: usize) -> Self {
        let ids = (0..messages).map(|_| shared.fresh_id()).collect();
        let under_way = Some(shared.departures.sibling());
        Self {
            shared,
            ids,
            under_way,
            halfs: Vec::new(),
            born_ms: now_ms(),
            marked: false,
            armed: true,
        }
    }

    /// Sends the halfs, at once. On failure those that the broker has taken are rolled back.
    pub(super) async fn send(&mut self, messages: Vec<Message>) -> Result<()> {
        if let [message] = &messages[..]
            && let [id] = &self.ids[..]
        {
            self.halfs
                .push(self.shared.send_half(message.clone(), id).await?);
        } else {
            self.send_all(messages).await?;
        }
        tell("half acked", &self.ids);
        Ok(())
    }

    async fn send_all(&mut self, messages: Vec<Message>) -> Result<()> {
        let mut sending = JoinSet::new();
        for (message, id) in messages.into_iter().zip(self.ids.clone()) {
            let shared = Arc::clone(&self.shared);
            sending.spawn(async move { shared.send_half(message, &id).await });
        }
        let mut outcome = Ok(());
        while let Some(sent) = sending.join_next().await {
            match sent {
                Ok(Ok(half)) => self.halfs.push(half),
                Ok(Err(error)) => outcome = Err(error),
                Err(_) => outcome = Err(Error::Closed),
            }
        }
        outcome
    }

    /// From now on the markers may be in the database.
    pub(super) fn will_mark(&mut self) {
        self.marked = true;
    }

    /// Asks the database, on another connection, what became of the transaction.
    pub(super) async fn decide(&self) -> Verdict {
        let Some(first) = self.ids.first() else {
            return Verdict::RolledBack;
        };
        let query = CheckQuery {
            tx_id: first.clone(),
            stored_at_ms: self.born_ms,
            decided_by: self.shared.name(),
            domain: Some(self.shared.domain),
            may_tombstone: true,
        };
        let verdict = DB::decide(&self.shared.deciding, &query).await;
        tell("decided", &self.ids);
        verdict
    }

    /// The transaction has committed: lets the messages out, in the background.
    pub(super) fn committed(mut self) -> Committed {
        // Should the runtime be shutting down, the broker will ask.
        self.armed = false;
        self.under_way = None;
        let tx_ids = self.ids.clone();
        let (tell, told) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        shared.background.spawn(async move {
            let delivery = self.end(Resolution::Commit).await;
            match &delivery {
                Delivery::Resolved => {}
                Delivery::Deferred(error) => {
                    tracing::debug!(tx_id = %Ids(&self.ids), %error, "committed, delivery waits for a check");
                }
                Delivery::Refused(error) => {
                    tracing::error!(tx_id = %Ids(&self.ids), %error, "committed, but the broker refuses to deliver");
                }
            }
            // Most callers do not wait for it.
            let _ = tell.send(delivery);
        });
        Committed {
            tx_ids,
            delivery: Delivering::new(told),
        }
    }

    /// The transaction can never commit: takes the messages back, in the background.
    pub(super) fn rolled_back(mut self) {
        self.marked = false;
        // Dropping says the rest.
    }

    /// Nobody can tell yet: leaves the messages to the broker's checks.
    pub(super) fn in_doubt(mut self) -> Vec<TxId> {
        self.halfs.clear();
        std::mem::take(&mut self.ids)
    }

    /// The transaction was given up before its COMMIT.
    pub(super) async fn abandon(mut self) {
        if !self.marked {
            self.end(Resolution::Rollback).await;
            return;
        }
        match self.decide().await {
            Verdict::RolledBack => {
                self.end(Resolution::Rollback).await;
            }
            Verdict::Committed => {
                tracing::error!(
                    tx_id = %Ids(&self.ids),
                    "rolled back, but the marker was committed before, by DDL or a COMMIT of the caller: delivered"
                );
                self.end(Resolution::Commit).await;
            }
            Verdict::Unknown(reason) => {
                tracing::debug!(tx_id = %Ids(&self.ids), %reason, "left to a check");
                self.halfs.clear();
            }
        }
    }

    /// Tells the broker about every half; afterwards there is nothing left to do.
    async fn end(&mut self, resolution: Resolution) -> Delivery {
        let mut halfs = std::mem::take(&mut self.halfs);
        let mut worst = Delivery::Resolved;
        if halfs.len() == 1
            && let Some(half) = halfs.pop()
        {
            worst = self.shared.settle(&half, resolution).await;
        }
        let mut ending = JoinSet::new();
        for half in halfs {
            let shared = Arc::clone(&self.shared);
            ending.spawn(async move { shared.settle(&half, resolution).await });
        }
        while let Some(delivery) = ending.join_next().await {
            let delivery = delivery.unwrap_or(Delivery::Deferred(Error::Closed));
            if rank(&delivery) > rank(&worst) {
                worst = delivery;
            }
        }
        tell("ended", &self.ids);
        worst
    }
}

impl<DB: MarkerDb> Drop for Attempt<DB> {
    fn drop(&mut self) {
        if self.halfs.is_empty() || !self.armed {
            return;
        }
        let rest = Self {
            shared: Arc::clone(&self.shared),
            ids: std::mem::take(&mut self.ids),
            halfs: std::mem::take(&mut self.halfs),
            born_ms: self.born_ms,
            marked: self.marked,
            under_way: None,
            armed: false,
        };
        self.shared.background.spawn(rest.abandon());
    }
}

fn rank(delivery: &Delivery) -> u8 {
    match delivery {
        Delivery::Resolved => 0,
        Delivery::Deferred(_) => 1,
        Delivery::Refused(_) => 2,
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
