//! A half message in the API's JSON form, and the names by which it can be asked for.

use escrow_coordinator::{Asked, HalfView, Waits, source_name};
use escrow_protocol::ids::{decode_offset_message_id, offset_message_id};
use escrow_protocol::message;
use escrow_protocol::properties::{Properties, name};
use escrow_store::{
    HalfLookup, HalfSeq, HalfState, OpRecord, OpRecordKind, PhysicalOffset, Reader,
};
use serde::Serialize;

use super::failure::Failure;
use super::time::utc;
use crate::shared::Shared;

/// A half as a list shows it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The message id that its producer was answered with; it never changes.
    pub(super) id: String,
    pub(super) state: &'static str,
    pub(super) topic: String,
    pub(super) queue_id: i32,
    pub(super) group: String,
    /// The id that its producer gave it.
    pub(super) unique_key: Option<String>,
    pub(super) keys: Option<String>,
    pub(super) tags: Option<String>,
    /// Bytes of its record.
    pub(super) size: u32,
    pub(super) age_ms: u64,
    pub(super) stored_at: String,
    /// The client that sent it.
    pub(super) sender: String,
    /// Checks answered with UNKNOWN.
    pub(super) answered: u32,
    /// Checks in a row that nobody answered.
    pub(super) silent: u32,
    pub(super) next_check_in_ms: Option<i64>,
    /// What it waits for, in words.
    pub(super) waits: String,
    pub(super) last_asked: Option<LastAsked>,
    /// Its place among all halfs; takes the place of the id where that is asked for.
    pub(super) half_offset: u64,
    pub(super) commit_log_offset: u64,
}

/// Who was asked about a half last.
#[derive(Debug, Serialize)]
pub(super) struct LastAsked {
    client_id: String,
    address: String,
    at: String,
}

impl From<Asked> for LastAsked {
    fn from(asked: Asked) -> LastAsked {
        LastAsked {
            client_id: asked.client_id,
            address: asked.address,
            at: utc(asked.at_ms),
        }
    }
}

/// One thing that happened to a half.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    time: String,
    kind: &'static str,
    source: &'static str,
    client_id: String,
    address: String,
    reason: String,
}

impl From<OpRecord> for Step {
    fn from(op: OpRecord) -> Step {
        Step {
            time: utc(op.store_timestamp),
            kind: match op.kind {
                OpRecordKind::Commit => "committed",
                OpRecordKind::Rollback => "rolled back",
                OpRecordKind::Park => "parked",
                OpRecordKind::Resume => "resumed",
                OpRecordKind::Answer => "answered unknown",
                OpRecordKind::Conflict => "conflict refused",
                OpRecordKind::Damaged => "unreadable",
            },
            source: source_name(op.source),
            client_id: op.client_id,
            address: op.address,
            reason: op.reason,
        }
    }
}

/// What only the half's own record says.
#[derive(Debug, Default)]
struct Words {
    unique_key: Option<String>,
    keys: Option<String>,
    tags: Option<String>,
}

impl Words {
    /// Reads the record. A half whose record cannot be read is still shown.
    fn read(reader: &Reader, seq: HalfSeq) -> Words {
        let Ok(image) = reader.half_image(seq) else {
            return Words::default();
        };
        let Ok(message) = message::decode(&image) else {
            return Words::default();
        };
        let properties = Properties(message.properties);
        let get = |name| properties.get(name).map(str::to_owned);
        Words {
            unique_key: get(name::UNIQ_KEY),
            keys: get(name::KEYS),
            tags: get(name::TAGS),
        }
    }
}

/// The row of a half. Reads its record, which may wait for the disk.
pub(super) fn row(shared: &Shared, view: HalfView, now_ms: i64) -> Row {
    let words = Words::read(&shared.reader, view.seq);
    Row {
        id: id(shared, view.handle),
        state: state_name(view.state),
        queue_id: view.queue_id,
        unique_key: words.unique_key,
        keys: words.keys,
        tags: words.tags,
        size: view.size,
        age_ms: view.age_ms,
        stored_at: utc(view.store_timestamp),
        answered: view.answered,
        silent: view.silent,
        next_check_in_ms: view
            .next_check_ms
            .map(|at| at.saturating_sub(now_ms).max(0)),
        waits: waits(&view, now_ms),
        last_asked: view.last_asked.map(LastAsked::from),
        half_offset: view.seq.0,
        commit_log_offset: view.handle.0,
        topic: view.topic,
        group: view.group,
        sender: view.sender,
    }
}

/// The message id that the half's producer was answered with.
pub(super) fn id(shared: &Shared, handle: PhysicalOffset) -> String {
    offset_message_id(
        shared.store_host,
        i64::try_from(handle.0).unwrap_or(i64::MAX),
    )
}

/// How many rows a page may have.
pub(super) fn limit(value: &str, max: usize) -> Result<usize, Failure> {
    match value.parse() {
        Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(Failure::bad_request(format!(
            "limit: not a number from 1 to {max}"
        ))),
    }
}

/// The half that `id` names: a message id, or the number of its place among all halfs.
pub(super) async fn find(shared: &Shared, id: &str) -> Result<HalfSeq, Failure> {
    if id.len() < 20
        && let Ok(seq) = id.parse()
    {
        return Ok(HalfSeq(seq));
    }
    let unknown = || Failure::bad_request("the id is neither a message id nor a half offset");
    let (_, offset) = decode_offset_message_id(id).map_err(|_| unknown())?;
    let handle = PhysicalOffset(u64::try_from(offset).map_err(|_| unknown())?);
    let found = shared
        .log
        .look(move |store, _, _| store.half_at(handle))
        .await?;
    match found {
        Ok(HalfLookup::Half(seq, ..)) => Ok(seq),
        Ok(_) => Err(Failure::not_found(
            "no half message has this id, or it is gone",
        )),
        Err(error) => Err(Failure::internal(error.to_string())),
    }
}

pub(super) fn state_name(state: HalfState) -> &'static str {
    match state {
        HalfState::Pending => "pending",
        HalfState::Parked => "parked",
        HalfState::Committed => "committed",
        HalfState::RolledBack => "rolled back",
    }
}

fn waits(view: &HalfView, now_ms: i64) -> String {
    let reason = view.waits.reason();
    let seconds = |since_ms: i64| now_ms.saturating_sub(since_ms).max(0) / 1_000;
    let mut text = match &view.waits {
        Waits::Answer(asked) => format!("{reason}: {} for {} s", whom(asked), seconds(asked.at_ms)),
        Waits::AnotherInstance(asked) => format!("{reason}; {} was silent", whom(asked)),
        Waits::NobodyToAsk { since_ms } => format!("{reason} for {} s", seconds(*since_ms)),
        Waits::Nothing | Waits::NotDue | Waits::Turn | Waits::LogDamaged => reason.to_owned(),
    };
    if view.topic_missing && view.state.is_undecided() {
        text.push_str("; topic missing");
    }
    text
}

fn whom(asked: &Asked) -> &str {
    if asked.client_id.is_empty() {
        &asked.address
    } else {
        &asked.client_id
    }
}
