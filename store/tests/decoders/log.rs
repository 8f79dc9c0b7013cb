//! A log written record by record, each with a good checksum unless its input says otherwise.

use escrow_protocol::message::{self, Message};
use escrow_store::{MemoryDisk, key_hash};

use super::input::Input;
use super::{NOW, SEGMENT_BYTES, seal};

const HEAD: usize = 72;
const PAD: u8 = 15;
const TOPICS: [&str; 3] = ["T", "U", "fill"];
const PROPERTIES: [&str; 4] = [
    "",
    "UNIQ_KEY\u{1}U0\u{2}",
    "UNIQ_KEY\u{1}U0\u{2}KEYS\u{1}a k1\u{2}TAGS\u{1}t\u{2}",
    "ESCROW_DOMAIN\u{1}d\u{2}KEYS\u{1}a\u{2}",
];
const OWN_KEYS: [&str; 4] = [
    "\u{1}store/half",
    "\u{1}store/level/1",
    "\u{1}store/queue/0/T",
    "\u{1}store/queue/1/U",
];

/// The name of the segment that begins at `start`.
pub(super) fn name(start: u64) -> String {
    format!("log/{start:020}")
}

/// The first byte says where the log begins, or (255) that what follows is the file as it stands.
pub(super) fn write(data: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut input = Input::new(data);
    let first = input.u8();
    if first == u8::MAX {
        disk.set_bytes(&name(0), input.rest().to_vec());
        return disk;
    }
    let mut log = Log::new(u64::from(first % 3) * SEGMENT_BYTES as u64);
    while !input.is_empty() {
        log.record(&mut input);
    }
    log.close();
    for (start, file) in log.files {
        disk.set_bytes(&name(start), file);
    }
    disk
}

struct Log {
    files: Vec<(u64, Vec<u8>)>,
    start: u64,
    file: Vec<u8>,
    previous: u32,
    durable: u64,
    /// Where records are, for bodies that name one.
    offsets: Vec<u64>,
}

impl Log {
    fn new(start: u64) -> Self {
        Log {
            files: Vec::new(),
            start,
            file: seal::segment_page(start, SEGMENT_BYTES as u64),
            previous: 0,
            durable: 0,
            offsets: vec![0],
        }
    }

    fn close(&mut self) {
        self.files
            .push((self.start, std::mem::take(&mut self.file)));
    }

    fn roll(&mut self) {
        self.close();
        self.start += SEGMENT_BYTES as u64;
        self.file = seal::segment_page(self.start, SEGMENT_BYTES as u64);
    }

    fn here(&self) -> u64 {
        self.start + self.file.len() as u64
    }

    /// Low four bits: the kind, 0 for a hole. Then: what is wrong with it; its place in the chain; wild numbers.
    fn record(&mut self, input: &mut Input<'_>) {
        let control = input.u8();
        let kind = control & 0x0F;
        if kind == 0 {
            let len = self.file.len() + usize::from(input.u8()) * 8;
            self.file.resize(len.min(SEGMENT_BYTES), 0);
            return;
        }
        let (offset, chain_is_broken) = (self.here(), control & 0x40 != 0);
        let (flags, position, link) = (input.u8(), input.number(), input.number());
        let wild = control & 0x80 != 0;
        let durable = if wild { input.u64() } else { self.durable };
        let time = if wild {
            input.u64().cast_signed()
        } else {
            NOW + i64::from(input.u8())
        };
        let (subject, body) = self.body(kind, input);
        let mut record = vec![0; HEAD];
        record[8..12].copy_from_slice(&((HEAD + body.len()) as u32).to_le_bytes());
        record[12..14].copy_from_slice(&[kind, 2]);
        record[14] = flags;
        record[15] = if wild { flags } else { 0 };
        record[16..24].copy_from_slice(&offset.to_le_bytes());
        let previous = if chain_is_broken { 7 } else { self.previous };
        record[28..32].copy_from_slice(&previous.to_le_bytes());
        record[32..40].copy_from_slice(&durable.to_le_bytes());
        record[40..48].copy_from_slice(&time.to_le_bytes());
        record[48..56].copy_from_slice(&subject.to_le_bytes());
        record[56..64].copy_from_slice(&position.to_le_bytes());
        record[64..72].copy_from_slice(&link.to_le_bytes());
        record.extend_from_slice(&body);
        seal::record(&mut record);
        if self.file.len() + record.len() > SEGMENT_BYTES {
            self.roll();
            return;
        }
        self.previous = u32::from_le_bytes([record[0], record[1], record[2], record[3]]);
        match control >> 4 & 3 {
            1 => *record.last_mut().expect("a record has a head") ^= 1,
            2 => record[20] ^= 1,
            3 => {
                record[21] ^= 1;
                record[50] ^= 1;
            }
            _ => self.durable = offset,
        }
        self.offsets.push(offset);
        self.file.extend_from_slice(&record);
        let padded = self.file.len().next_multiple_of(8);
        self.file.resize(padded, 0);
        if kind == PAD {
            self.roll();
        }
    }

    /// What the record is about, and its body: bytes as they come, or in the form that the kind has.
    fn body(&self, kind: u8, input: &mut Input<'_>) -> (u64, Vec<u8>) {
        let form = input.u8();
        if form & 1 != 0 {
            return (input.number(), input.short().to_vec());
        }
        match kind {
            1 | 12 => image(input),
            2 => half(input),
            3 => self.commit(input),
            4 | 6..=9 => (0, self.op(input)),
            5 => self.relocate(input),
            10 => (0, meta(form, input)),
            11 => topic_end(input),
            _ => (0, Vec::new()),
        }
    }

    fn offset(&self, input: &mut Input<'_>) -> u64 {
        match input.u8() {
            0xFF => input.u64(),
            index => {
                let index = usize::from(index) % self.offsets.len();
                self.offsets[index]
            }
        }
    }

    fn op(&self, input: &mut Input<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..3 {
            put_varint(&mut body, self.offset(input));
        }
        // The client id's length counts from 1: of an empty text it says that the half's sender is meant.
        let client = input.text();
        put_varint(
            &mut body,
            client.len() as u64 + u64::from(!client.is_empty()),
        );
        body.extend_from_slice(client.as_bytes());
        for _ in 0..2 {
            put_short_text(&mut body, &input.text());
        }
        body
    }

    fn commit(&self, input: &mut Input<'_>) -> (u64, Vec<u8>) {
        let mut body = self.op(input);
        let topic = input.pick(&TOPICS).unwrap_or_default();
        let queue = i32::from(input.u8() & 3);
        put_varint(&mut body, self.offset(input));
        put_varint(&mut body, u64::from(input.number() as u32));
        put_varint(&mut body, u64::from(queue.cast_unsigned()));
        body.extend_from_slice(&(input.number() as u32).to_le_bytes());
        put_varint(&mut body, input.number());
        body.extend_from_slice(&input.number().to_le_bytes());
        put_short_text(&mut body, topic);
        body.extend_from_slice(input.short());
        (queue_hash(topic, queue), body)
    }

    fn relocate(&self, input: &mut Input<'_>) -> (u64, Vec<u8>) {
        let mut body = Vec::new();
        body.extend_from_slice(&self.offset(input).to_le_bytes());
        body.extend_from_slice(&NOW.to_le_bytes());
        body.extend_from_slice(&self.offset(input).to_le_bytes());
        body.extend_from_slice(input.bytes(4));
        let (_, half) = half(input);
        body.extend_from_slice(&half);
        (0, body)
    }
}

fn image(input: &mut Input<'_>) -> (u64, Vec<u8>) {
    let topic = input.pick(&TOPICS).unwrap_or_default();
    let queue_id = i32::from(input.u8() & 3);
    let properties = match input.u8() {
        0xFF => input.text(),
        index => PROPERTIES[usize::from(index) % PROPERTIES.len()].to_owned(),
    };
    let message = Message {
        body: input.short(),
        ..super::common::plain(topic, queue_id, b"", &properties)
    };
    let mut image = Vec::new();
    message::encode(&message, &mut image).expect("it is small");
    (queue_hash(topic, queue_id), image)
}

fn half(input: &mut Input<'_>) -> (u64, Vec<u8>) {
    let mut body = Vec::new();
    put_varint(&mut body, u64::from(input.number() as u32));
    put_short_text(&mut body, input.pick(&["G", "H"]).unwrap_or_default());
    put_short_text(&mut body, "c@1");
    let (_, image) = image(input);
    body.extend_from_slice(&image);
    (0, body)
}

fn meta(form: u8, input: &mut Input<'_>) -> Vec<u8> {
    let key = if form & 2 != 0 {
        input.pick(&OWN_KEYS).unwrap_or_default().to_owned()
    } else {
        input.text()
    };
    let mut body = Vec::new();
    put_text(&mut body, &key);
    let value = if form & 4 != 0 {
        input.number().to_le_bytes().to_vec()
    } else {
        input.short().to_vec()
    };
    body.extend_from_slice(&(value.len() as u32).to_le_bytes());
    body.extend_from_slice(&value);
    body
}

fn topic_end(input: &mut Input<'_>) -> (u64, Vec<u8>) {
    let topic = input.pick(&TOPICS).unwrap_or_default();
    (key_hash(topic), topic.as_bytes().to_vec())
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&(text.len() as u16).to_le_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// As `store/src/le.rs`.
fn put_varint(body: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        body.push(value as u8 | 0x80);
        value >>= 7;
    }
    body.push(value as u8);
}

fn put_short_text(body: &mut Vec<u8>, text: &str) {
    put_varint(body, text.len() as u64);
    body.extend_from_slice(text.as_bytes());
}

/// As `store/src/hash.rs`: by it the head of a record names its queue.
fn queue_hash(topic: &str, queue: i32) -> u64 {
    let word = key_hash(topic) ^ (u64::from(queue.cast_unsigned()) | 1 << 32);
    let product = word.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ (product >> 32)
}
