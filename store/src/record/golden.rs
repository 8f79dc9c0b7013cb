//! The bytes of every kind of record, pinned: a log written today is read for ever.

use std::sync::Arc;

use escrow_protocol::message::Message;
use escrow_protocol::transaction::Resolution;

use super::*;
use crate::checkpoint::codec::{Content, QueueTail};
use crate::commit_log::Resume;
use crate::consume_queue::QueueEntry;
use crate::half_queue::Row;
use crate::queues::Lost;
use crate::segment::Segment;
use crate::state::SegmentUse;
use crate::{
    Durability, HalfSeq, MemoryDisk, NewHalf, Op, OpKind, PhysicalOffset, ScheduleSource, Settings,
    Source, Store,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn message<'a>(properties: &'a str) -> Message<'a> {
    Message {
        queue_id: 1,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp: 1000,
        born_host: "127.0.0.1:9999".parse().unwrap(),
        store_timestamp: 0,
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"hello",
        topic: "T",
        properties,
    }
}

/// One record of each kind that a store appends, in a log that was cut once and rolled once.
fn log() -> Vec<(Header, String)> {
    let settings = Settings {
        segment_bytes: 12 << 10,
        record_bytes_max: 4 << 10,
        ..Settings::tiny()
    };
    let disk = MemoryDisk::new();
    let (store, _) = Store::open(Arc::new(disk.clone()), settings.clone(), 2000).unwrap();
    drop(store);
    let name = Segment::name(0);
    let mut bytes = disk.bytes(&name).unwrap();
    bytes.extend_from_slice(&[0xEE; 3]);
    disk.set_bytes(&name, bytes);
    let (mut store, _) = Store::open(Arc::new(disk.clone()), settings, 2000).unwrap();
    append_each(&mut store);
    let mut records = Vec::new();
    let mut at = 4096;
    while at < store.written().0 {
        let stored = store.log.read(at, 0).unwrap();
        let name = Segment::name(if at < 12 << 10 { 0 } else { 12 << 10 });
        let file = disk.bytes(&name).unwrap();
        let start = usize::try_from(at % (12 << 10)).unwrap();
        let len = usize::try_from(stored.header.len).unwrap();
        records.push((stored.header, hex(&file[start..start + len])));
        at = if stored.header.kind == Kind::Pad {
            (12 << 10) + 4096
        } else {
            stored.header.end()
        };
    }
    records
}

fn append_each(store: &mut Store) {
    let properties = "UNIQ_KEY\u{1}K\u{2}KEYS\u{1}a b\u{2}TAGS\u{1}TagA\u{2}";
    store
        .append_message(2000, &message(""), Durability::Written)
        .unwrap();
    let half = NewHalf {
        message: message(properties),
        group: "G",
        client_id: "c",
        immunity_ms: Some(6000),
    };
    for _ in 0..2 {
        store.append_half(2001, &half, Durability::Synced).unwrap();
    }
    let op = |kind, source| Op {
        kind,
        source,
        client_id: "c",
        address: "1.2.3.4:5",
        reason: "why",
    };
    let answer = OpKind::Answer {
        resolution: Resolution::Unknown,
    };
    let parked = Op {
        client_id: "",
        ..op(OpKind::Park, Source::Policy)
    };
    for (seq, op) in [
        (1, op(answer, Source::Check)),
        (1, parked),
        (1, op(OpKind::Resume, Source::Operator)),
    ] {
        store
            .append_op(2002, HalfSeq(seq), &op, Durability::Synced)
            .unwrap();
    }
    store.relocate(2003, HalfSeq(1)).unwrap();
    for (seq, kind) in [
        (0, OpKind::Commit { queue_id: 1 }),
        (1, OpKind::Rollback),
        (
            0,
            OpKind::Conflict {
                attempted: Resolution::Rollback,
            },
        ),
    ] {
        store
            .append_op(
                2004,
                HalfSeq(seq),
                &op(kind, Source::Producer),
                Durability::Synced,
            )
            .unwrap();
    }
    store.set_meta(2005, "topic/T", b"{}").unwrap();
    store.delete_meta(2005, "topic/T").unwrap();
    let from = ScheduleSource {
        level_queue: 3,
        queue_offset: 9,
    };
    store
        .append_delivery(2006, &message(""), from, Durability::Written)
        .unwrap();
    store.drop_topic(2007, "T").unwrap();
    store.write().unwrap();
    store.sync().unwrap();
    store.mark_durable_if_idle(2008).unwrap();
    while store.end().0 < 12 << 10 {
        store.set_meta(2009, "fill", &[7; 1000]).unwrap();
    }
    store.write().unwrap();
}

#[test]
fn every_kind_of_record_has_the_known_bytes() {
    let mut text = String::new();
    for (header, bytes) in log().iter().filter(|(header, _)| header.len < 1000) {
        text.push_str(&format!(
            "{} {}\n",
            header.kind.name().replace(' ', "-"),
            bytes
        ));
    }
    assert_eq!(text, include_str!("golden/records.txt"));
    for kind in (1..=15).filter_map(Kind::from_code) {
        let name = kind.name().replace(' ', "-");
        assert!(
            text.lines().any(|line| line.starts_with(&name)),
            "{name} is pinned"
        );
    }
}

#[test]
fn a_record_of_today_is_read_for_ever() {
    for line in include_str!("golden/records.txt").lines() {
        let (_, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let offset = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
        let header = Header::decode(&bytes, offset).unwrap();
        let body = &bytes[HEADER_BYTES..];
        assert_eq!(crate::hash::crc32c(body), header.body_crc);
        let is_read = match header.kind {
            Kind::Normal | Kind::Delivery => escrow_protocol::message::decode(body).is_ok(),
            Kind::Half => HalfBody::decode(body).is_some(),
            Kind::Relocate => RelocateBody::decode(body).is_some(),
            Kind::Commit => CommitBody::decode(body).is_some(),
            Kind::Meta => MetaBody::decode(body).is_some(),
            Kind::Cut => {
                CutBody::decode(body)
                    == Some(CutBody {
                        bytes: 3,
                        records: 0,
                    })
            }
            Kind::DropTopic => body == b"T",
            Kind::Mark | Kind::Pad => body.is_empty(),
            _ => OpBody::decode(body).is_some_and(|(_, rest)| rest.is_empty()),
        };
        assert!(is_read, "{line}");
    }
}

#[test]
fn a_flipped_byte_in_a_head_is_explained() {
    let line = include_str!("golden/records.txt")
        .lines()
        .find(|line| line.starts_with("commit"))
        .unwrap();
    let (_, hex) = line.split_once(' ').unwrap();
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let offset = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let header = Header::decode(&bytes, offset).unwrap();
    for at in 0..HEADER_BYTES {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x5A;
        assert_eq!(Header::decode(&damaged, offset), Err(HeaderError::Bad));
        assert_eq!(Header::repair(&damaged, offset), Some(header), "byte {at}");
    }
}

/// The bytes up to the last one that is not zero.
fn used(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    hex(&bytes[..end])
}

#[test]
fn every_derived_file_has_the_known_bytes() {
    let mut entry = crate::half_queue::tests::entry(52);
    entry.last_op = PhysicalOffset(99);
    entry.answered = 2;
    entry.state = crate::HalfState::Parked;
    let half = crate::half_queue::page::encode(51, &[None, Some(Row { entry, place: 7777 })]);
    let place = PhysicalOffset(4096);
    let plain = QueueEntry {
        physical: place,
        size: 10,
        tags: -2,
        store_timestamp: 3,
        damaged: false,
    };
    let lost = QueueEntry {
        damaged: true,
        ..plain
    };
    let queue = crate::consume_queue::page::encode(5, 127, &[plain, lost]);
    let run = crate::key_index::run::encode_items(2, &[(1, 4096), (u64::MAX, 5000)]);
    let content = Content {
        generation: 3,
        position: Resume {
            end: 8192,
            previous_crc: 4,
            last_timestamp: 5,
        },
        half_next: 6,
        half_first_kept: 1,
        last_half_at: 4200,
        undecided_pages: vec![(0, 1)],
        names: vec!["T".into(), "G".into()],
        meta: vec![("k".into(), vec![1, 2], 4104)],
        schedule: vec![(3, 10)],
        segments: vec![(
            0,
            SegmentUse {
                newest: 7,
                referred: 8,
            },
        )],
        next_number: 9,
        queues: vec![QueueTail {
            topic: "T".into(),
            id: 1,
            number: 0,
            min: 2,
            end: 11,
        }],
        lost: vec![Lost {
            hash: 12,
            offset: 13,
            physical: 14,
            store_timestamp: 15,
        }],
        next_run: 16,
        runs: vec![(15, 17, 18)],
    };
    let checkpoint = content.encode();
    assert_eq!(Content::decode(&checkpoint, "c").unwrap(), Some(content));
    let text = format!(
        "half {}\nqueue {}\nrun {}\ncheckpoint {}\n",
        used(&half),
        used(&queue),
        used(&run),
        hex(&checkpoint)
    );
    assert_eq!(text, include_str!("golden/files.txt"));
}
