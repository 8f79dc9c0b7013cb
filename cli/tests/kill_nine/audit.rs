//! What must hold after every restart.

use std::io;
use std::net::SocketAddr;

use escrow_protocol::frame::Frame;

use crate::ledger::{Decision, Half, Handle, Ledger};
use crate::load::{GROUP, QUEUES, TOPIC, end_request};
use crate::wire::{Wire, number, pull};

const FOUND: i32 = 0;
/// Requests outstanding at most.
const BATCH: usize = 256;
const ILLEGAL_OPERATION: i32 = 604;

/// Reads the queues on from where the last audit ended.
#[derive(Default)]
pub(crate) struct Audit {
    next: [i64; QUEUES as usize],
}

impl Audit {
    /// Everything new in the queues is legitimate and dense, and nothing acknowledged is missing.
    pub(crate) fn queues(&mut self, address: SocketAddr, ledger: &mut Ledger) -> io::Result<()> {
        let mut wire = Wire::connect(address)?;
        let group = format!("{GROUP}-audit");
        for queue in 0..QUEUES {
            let next = &mut self.next[queue as usize];
            loop {
                let reply = wire.call(pull(&group, TOPIC, queue, *next))?;
                if reply.code != FOUND {
                    assert_eq!(
                        number(&reply, "maxOffset"),
                        *next,
                        "queue {queue} ends elsewhere: {reply:?}"
                    );
                    break;
                }
                for message in escrow_protocol::message::decode_all(&reply.body)
                    .map(|view| view.unwrap().message)
                {
                    assert_eq!(message.queue_offset, *next, "queue {queue} has a gap");
                    let properties = escrow_protocol::properties::Properties(message.properties);
                    let key = properties.get("UNIQ_KEY").expect("UNIQ_KEY");
                    ledger.delivered(key, queue, message.queue_offset);
                    *next += 1;
                }
            }
        }
        ledger.assert_nothing_lost();
        Ok(())
    }

    /// Acknowledged decisions stand: the same again succeeds, the opposite is refused.
    pub(crate) fn decisions_stand(
        address: SocketAddr,
        ledger: &Ledger,
        sample: usize,
    ) -> io::Result<()> {
        let mut wire = Wire::connect(address)?;
        for decision in [Decision::Commit, Decision::Rollback] {
            let decided = |half: &Half| matches!(half.acked, Some((acked, _)) if acked == decision);
            for halfs in ledger.halfs(sample, decided).chunks(BATCH) {
                for (key, same) in end_all(&mut wire, halfs, decision)? {
                    assert_eq!(same.code, 0, "{key}: {decision:?} again: {same:?}");
                }
                let opposite = decision.opposite();
                for (key, refused) in end_all(&mut wire, halfs, opposite)? {
                    let code = refused.code;
                    assert_eq!(code, ILLEGAL_OPERATION, "{key}: {opposite:?}: {refused:?}");
                }
            }
        }
        Ok(())
    }

    /// Acknowledged halfs that nobody decided are still there to be decided, and a decision whose reply was lost
    /// can be repeated.
    pub(crate) fn settle(address: SocketAddr, ledger: &mut Ledger, count: usize) -> io::Result<()> {
        let mut wire = Wire::connect(address)?;
        for sent in [None, Some(Decision::Commit), Some(Decision::Rollback)] {
            let decision = sent.unwrap_or(Decision::Commit);
            let open = ledger.halfs(count, |half| half.acked.is_none() && half.sent == sent);
            for halfs in open.chunks(BATCH) {
                for (key, _) in halfs {
                    ledger.end_sent(key, decision);
                }
                let replies = end_all(&mut wire, halfs, decision)?;
                for ((_, handle), (key, reply)) in halfs.iter().zip(replies) {
                    assert_eq!(
                        reply.code, 0,
                        "{key}: an acknowledged half is gone ({sent:?} was sent, {handle:?}): {reply:?}"
                    );
                    ledger.end_acked(key, decision);
                }
            }
        }
        Ok(())
    }
}

/// Ends all of them with one write and gives each key with its reply.
fn end_all<'a>(
    wire: &mut Wire,
    halfs: &'a [(String, Handle)],
    decision: Decision,
) -> io::Result<Vec<(&'a str, Frame)>> {
    let requests = halfs
        .iter()
        .map(|(key, handle)| end_request(key, handle, decision));
    let replies = wire.call_all(requests.collect())?;
    Ok(halfs
        .iter()
        .map(|(key, _)| key.as_str())
        .zip(replies)
        .collect())
}
