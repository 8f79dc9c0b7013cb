//! The load: plain messages, halfs, decisions, in batches of random size, until it is told to end, the connection breaks
//! or the broker refuses something.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use escrow_protocol::frame::Frame;

use crate::ledger::{Decision, Handle, Ledger};
use crate::random::Random;
use crate::wire::{
    CHECK_TRANSACTION_STATE, END_TRANSACTION, SEND_MESSAGE_V2, Wire, number, request,
};

pub(crate) const TOPIC: &str = "kill-nine";
pub(crate) const GROUP: &str = "kill-nine-producers";
pub(crate) const QUEUES: i32 = 4;

static NEXT_KEY: AtomicU64 = AtomicU64::new(0);

/// How a load came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was told to.
    Told,
    /// The connection broke, or could not be made: what was under way is in doubt.
    Broken,
    /// The broker answered, but not with success: what was under way is in doubt as well.
    Refused(Frame),
}

/// Runs on one connection until `go_on` is false, or something else ends it.
pub(crate) fn run(
    address: SocketAddr,
    ledger: &Mutex<Ledger>,
    mut random: Random,
    go_on: &AtomicBool,
) -> Ended {
    match load(address, ledger, &mut random, go_on) {
        Ok(None) => Ended::Told,
        Ok(Some(refusal)) => Ended::Refused(refusal),
        Err(_) => Ended::Broken,
    }
}

/// Gives the first refusal; what came with it is in the ledger.
fn load(
    address: SocketAddr,
    ledger: &Mutex<Ledger>,
    random: &mut Random,
    go_on: &AtomicBool,
) -> io::Result<Option<Frame>> {
    // Its first half makes the broker know this connection as one of the producer group: checks come here.
    let mut wire = Wire::connect(address)?;
    while go_on.load(Ordering::Relaxed) {
        let batch = 1 + random.below(16);
        let mut sent = Vec::new();
        for _ in 0..batch {
            let key = format!("K{:08}", NEXT_KEY.fetch_add(1, Ordering::Relaxed));
            sent.push((key, random.below(4) > 0));
        }
        let replies = send(&mut wire, ledger, random, &sent)?;
        let decided = acknowledge(ledger, random, &sent, &replies);
        let ended = end(&mut wire, ledger, &decided)?;
        for (at, check) in std::mem::take(&mut wire.checks) {
            check_received(ledger, at, &check);
        }
        let refused = replies
            .into_iter()
            .chain(ended)
            .find(|reply| reply.code != 0);
        if refused.is_some() {
            return Ok(refused);
        }
    }
    Ok(None)
}

/// Sends a batch of plain messages and halfs (`true`).
fn send(
    wire: &mut Wire,
    ledger: &Mutex<Ledger>,
    random: &mut Random,
    sent: &[(String, bool)],
) -> io::Result<Vec<Frame>> {
    let mut requests = Vec::new();
    {
        let mut ledger = ledger.lock().unwrap();
        for (key, half) in sent {
            if *half {
                ledger.half_sent(key)
            } else {
                ledger.plain_sent(key)
            }
            let queue = i32::try_from(random.below(QUEUES as u64)).unwrap();
            requests.push(message(key, *half, queue, random.below(2000)));
        }
    }
    wire.call_all(requests)
}

fn message(key: &str, half: bool, queue: i32, body: u64) -> Frame {
    let mut properties = format!("UNIQ_KEY\u{1}{key}\u{2}TAGS\u{1}T{queue}\u{2}");
    if half {
        properties.push_str(&format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}"));
    }
    let fields = [
        ("a", GROUP.to_owned()),
        ("b", TOPIC.to_owned()),
        ("c", "TBW102".to_owned()),
        ("d", QUEUES.to_string()),
        ("e", queue.to_string()),
        ("f", if half { "4" } else { "0" }.to_owned()),
        ("g", "1700000000000".to_owned()),
        ("h", "0".to_owned()),
        ("i", properties),
        ("j", "0".to_owned()),
        ("k", "false".to_owned()),
        ("m", "false".to_owned()),
    ];
    request(SEND_MESSAGE_V2, &fields).with_body(vec![b'x'; usize::try_from(body).unwrap() + 1])
}

/// Writes the replies into the ledger, refusals as what is in doubt, and draws decisions for some of the halfs; others stay undecided.
fn acknowledge(
    ledger: &Mutex<Ledger>,
    random: &mut Random,
    sent: &[(String, bool)],
    replies: &[Frame],
) -> Vec<(String, Handle, Decision)> {
    let mut decided = Vec::new();
    let mut ledger = ledger.lock().unwrap();
    for ((key, half), reply) in sent.iter().zip(replies) {
        if reply.code != 0 {
            continue;
        }
        if !half {
            ledger.plain_acked(key);
            continue;
        }
        let message_id = reply.ext.get("msgId").expect("msgId").to_owned();
        let commit_log_offset =
            i64::from_str_radix(&message_id[16..], 16).expect("an offset message id");
        let handle = Handle {
            message_id,
            commit_log_offset,
            half_offset: number(reply, "queueOffset"),
        };
        ledger.half_acked(key, handle.clone());
        let decision = match random.below(8) {
            0 => continue,
            1 | 2 => Decision::Rollback,
            _ => Decision::Commit,
        };
        ledger.end_sent(key, decision);
        decided.push((key.clone(), handle, decision));
    }
    decided
}

fn end(
    wire: &mut Wire,
    ledger: &Mutex<Ledger>,
    decided: &[(String, Handle, Decision)],
) -> io::Result<Vec<Frame>> {
    let requests = decided
        .iter()
        .map(|(key, handle, decision)| end_request(key, handle, *decision))
        .collect();
    let replies = wire.call_all(requests)?;
    let mut ledger = ledger.lock().unwrap();
    for ((key, _, decision), reply) in decided.iter().zip(&replies) {
        if reply.code == 0 {
            ledger.end_acked(key, *decision);
        }
    }
    Ok(replies)
}

/// END_TRANSACTION as the Java client sends it, but with a reply.
pub(crate) fn end_request(key: &str, handle: &Handle, decision: Decision) -> Frame {
    let fields = [
        ("producerGroup", GROUP.to_owned()),
        ("tranStateTableOffset", handle.half_offset.to_string()),
        ("commitLogOffset", handle.commit_log_offset.to_string()),
        ("commitOrRollback", decision.wire().to_string()),
        ("fromTransactionCheck", "false".to_owned()),
        ("msgId", handle.message_id.clone()),
        ("transactionId", key.to_owned()),
    ];
    request(END_TRANSACTION, &fields)
}

fn check_received(ledger: &Mutex<Ledger>, at: Instant, check: &Frame) {
    assert_eq!(check.code, CHECK_TRANSACTION_STATE, "{check:?}");
    let key = check
        .ext
        .get("transactionId")
        .expect("transactionId")
        .to_owned();
    let handle = Handle {
        message_id: check.ext.get("offsetMsgId").unwrap_or_default().to_owned(),
        commit_log_offset: number(check, "commitLogOffset"),
        half_offset: number(check, "tranStateTableOffset"),
    };
    ledger.lock().unwrap().check_received(&key, &handle, at);
}
