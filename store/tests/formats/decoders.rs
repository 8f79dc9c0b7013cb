//! What the store's files are made of: heads and bodies of records, checkpoints, pages. No bytes may make a decoder panic, and
//! what one accepts must survive being written and read again. Shared by the corpus test and the fuzz targets.

#[allow(dead_code, reason = "no segments here")]
#[path = "../decoders/seal.rs"]
mod seal;

use crate::codec::Content;
use crate::record::half::{HalfBody, RELOCATE_PREFIX, RelocateBody};
use crate::record::header::{HEADER_BYTES, Header};
use crate::record::image::Searchable;
use crate::record::meta::MetaBody;
use crate::record::op::{CommitBody, OpBody, REASON_BYTES_MAX, op_flags, read_op_flags};
use crate::{consume_queue, half_queue, le};

/// A name and a function that takes any bytes.
pub(crate) type Decoder = (&'static str, fn(&[u8]));

/// All of them, by the name of their corpus folder.
pub(crate) const ALL: [Decoder; 3] = [
    ("record", record),
    ("checkpoint_bytes", checkpoint_bytes),
    ("page", page),
];

/// A record's head behind a good checksum, and the body of every kind.
pub(crate) fn record(data: &[u8]) {
    head(data);
    op(data);
    half(data);
    relocate(data);
    meta(data);
    let mut searchable = Searchable::default();
    searchable.read(&String::from_utf8_lossy(data));
    assert!(searchable.hashes().count() <= 257, "hostile keys are cut");
}

fn head(data: &[u8]) {
    let mut bytes = [0; HEADER_BYTES];
    let len = data.len().min(HEADER_BYTES);
    bytes[..len].copy_from_slice(&data[..len]);
    seal::record(&mut bytes);
    let offset = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
    let Ok(mut header) = Header::decode(&bytes, offset) else {
        return;
    };
    assert_eq!(header.seal(), bytes);
    assert!(Header::decode(&bytes, offset ^ 8).is_err(), "misdirected");
    assert!(header.end() >= offset);
    if header.is_possible() {
        assert!(header.durable <= offset);
    }
    let (source, resolution) = read_op_flags(header.flags);
    let flags = op_flags(source, resolution);
    assert_eq!(read_op_flags(flags), (source, resolution));
}

/// An op, and what a COMMIT has behind it.
fn op(body: &[u8]) {
    let Some((op, _)) = OpBody::decode(body) else {
        return;
    };
    let mut out = Vec::new();
    op.put(&mut out);
    assert_eq!(out.len(), op.len());
    // Of a longer reason, which we would not have written, the beginning is kept.
    let reason = le::clip(op.reason, REASON_BYTES_MAX);
    let kept = OpBody { reason, ..op };
    assert_eq!(OpBody::decode(&out), Some((kept, &[][..])));
    let Some((_, commit)) = CommitBody::decode(body) else {
        return;
    };
    let op_len = out.len();
    commit.put(op.handle, &mut out);
    assert_eq!(out.len() - op_len, commit.len(op.handle));
    assert_eq!(CommitBody::decode(&out), Some((kept, commit)));
    assert_eq!(commit.word_hashes().count() * 8, commit.words.len());
}

fn half(body: &[u8]) {
    let Some(half) = HalfBody::decode(body) else {
        return;
    };
    let (immunity, group, client) = (half.immunity_ms, half.group, half.client_id);
    let mut out = Vec::new();
    HalfBody::put_prefix(&mut out, immunity, group, client);
    assert_eq!(out.len(), HalfBody::prefix_len(immunity, group, client));
    out.extend_from_slice(half.image);
    assert_eq!(HalfBody::decode(&out), Some(half));
}

fn relocate(body: &[u8]) {
    let Some(relocate) = RelocateBody::decode(body) else {
        return;
    };
    let mut out = Vec::new();
    relocate.put(&mut out, &body[RELOCATE_PREFIX..]);
    assert_eq!(RelocateBody::decode(&out), Some(relocate));
}

fn meta(body: &[u8]) {
    let Some(meta) = MetaBody::decode(body) else {
        return;
    };
    let mut out = Vec::new();
    meta.put(&mut out);
    assert_eq!(out.len(), meta.len());
    assert_eq!(MetaBody::decode(&out), Some(meta));
}

/// A checkpoint: as it comes, and behind a good head and checksum.
pub(crate) fn checkpoint_bytes(data: &[u8]) {
    const HEAD: &[u8] = b"ESCROWCP\0\0\0\0\x02\0\0\0";
    let mut sealed = [HEAD, data].concat();
    seal::checkpoint(&mut sealed);
    for bytes in [data, &sealed] {
        let Ok(Some(content)) = Content::decode(bytes, "checkpoint") else {
            continue;
        };
        content.is_sane();
        let again = Content::decode(&content.encode(), "checkpoint");
        assert_eq!(again.expect("our own format"), Some(content));
    }
}

/// A page of the half queue and of a consume queue, behind a good head and checksum.
pub(crate) fn page(data: &[u8]) {
    const PAGE: usize = 4096;
    const FORMAT: [u8; 4] = [2, 0, 0, 0];
    let mut page = vec![0; PAGE];
    let len = data.len().min(PAGE - 8);
    page[8..8 + len].copy_from_slice(&data[..len]);
    page[4..8].copy_from_slice(&FORMAT);
    seal::page(&mut page);
    let number = u32::from_le_bytes(page[8..12].try_into().expect("four bytes"));
    let first_at = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().expect("eight"));
    let first = first_at(8);
    let rows = half_queue::page::decode(&page, first).expect("the head is good");
    let again = half_queue::page::encode(first, &rows);
    assert_eq!(half_queue::page::decode(&again, first), Some(rows));
    let first = first_at(16);
    if let Some(entries) = consume_queue::page::decode(&page, number, first) {
        let again = consume_queue::page::encode(number, first, &entries);
        let again = consume_queue::page::decode(&again, number, first);
        assert_eq!(again, Some(entries));
    }
}
