//! HALF and RELOCATE: a half message, and its copy that retention carries forward.

use crate::le::{Le, put_text, put_varint, text_len, varint_len};

/// Body of a HALF record; numbers are varints ([`Le::varint`]), text stands behind its length as a varint:
///
/// | size | field |
/// |---|---|
/// | 1..5 | immunity in ms before the first check, plus 1; 0: none asked for |
/// | 1.. + n | producer group |
/// | 1.. + n | client id, may be empty |
/// | rest | wire image (`protocol::message`): real topic and queue id, queue offset = half sequence, physical offset = handle |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfBody<'a> {
    pub(crate) immunity_ms: Option<u32>,
    pub(crate) group: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) image: &'a [u8],
}

impl<'a> HalfBody<'a> {
    /// Bytes before the image.
    pub(crate) fn prefix_len(immunity_ms: Option<u32>, group: &str, client_id: &str) -> usize {
        varint_len(immunity_code(immunity_ms)) + text_len(group) + text_len(client_id)
    }

    /// Writes what comes before the image.
    pub(crate) fn put_prefix(
        out: &mut Vec<u8>,
        immunity_ms: Option<u32>,
        group: &str,
        client_id: &str,
    ) {
        put_varint(out, immunity_code(immunity_ms));
        put_text(out, group);
        put_text(out, client_id);
    }

    pub(crate) fn decode(body: &'a [u8]) -> Option<HalfBody<'a>> {
        let mut le = Le::new(body);
        let immunity_ms = match le.varint()? {
            0 => None,
            code => Some(u32::try_from(code - 1).ok()?),
        };
        let (group, client_id) = (le.text()?, le.text()?);
        Some(HalfBody {
            immunity_ms,
            group,
            client_id,
            image: le.rest(),
        })
    }
}

fn immunity_code(immunity_ms: Option<u32>) -> u64 {
    immunity_ms.map_or(0, |ms| u64::from(ms) + 1)
}

/// Body of a RELOCATE record, little-endian. The original may be gone, so it carries what the half queue knew:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | handle: offset of the original HALF record |
/// | 8 | 8 | store timestamp of the original, ms |
/// | 16 | 8 | last op, 0 if none |
/// | 24 | 2 | answered checks |
/// | 26 | 1 | 1 = parked |
/// | 27 | 1 | flags of the half queue entry |
/// | 28 | rest | body of the HALF record, unchanged |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RelocateBody<'a> {
    pub(crate) handle: u64,
    pub(crate) store_timestamp: i64,
    pub(crate) last_op: u64,
    pub(crate) answered: u16,
    pub(crate) parked: bool,
    pub(crate) flags: u8,
    pub(crate) half: HalfBody<'a>,
}

/// Flag of a RELOCATE record without a body: the half's bytes could not be read any more, and only that it exists is carried
/// forward. Its head says which half it is, by sequence (link) and handle (position), as that of every RELOCATE does.
pub(crate) const WITHOUT_BYTES: u16 = 1;

/// Bytes of a RELOCATE body before the half's own body.
pub(crate) const RELOCATE_PREFIX: usize = 28;

impl<'a> RelocateBody<'a> {
    /// Writes the body; `half` is the body of the HALF record, byte for byte.
    pub(crate) fn put(&self, out: &mut Vec<u8>, half: &[u8]) {
        out.extend_from_slice(&self.handle.to_le_bytes());
        out.extend_from_slice(&self.store_timestamp.to_le_bytes());
        out.extend_from_slice(&self.last_op.to_le_bytes());
        out.extend_from_slice(&self.answered.to_le_bytes());
        out.push(u8::from(self.parked));
        out.push(self.flags);
        out.extend_from_slice(half);
    }

    pub(crate) fn decode(body: &'a [u8]) -> Option<RelocateBody<'a>> {
        let mut le = Le::new(body);
        let (handle, store_timestamp, last_op) = (le.u64()?, le.i64()?, le.u64()?);
        let (answered, parked, flags) = (le.u16()?, le.u8()? == 1, le.u8()?);
        let half = HalfBody::decode(le.rest())?;
        Some(RelocateBody {
            handle,
            store_timestamp,
            last_op,
            answered,
            parked,
            flags,
            half,
        })
    }
}
