//! The steps of the protocol, told to whoever listens.

use super::marker::TxId;
use super::outcome::Ids;

/// Tells that `step` has been taken by the transaction with these ids.
pub(super) fn tell(step: &'static str, ids: &[TxId]) {
    tracing::trace!(target: "escrow_client::database", step, tx_id = %Ids(ids));
}
