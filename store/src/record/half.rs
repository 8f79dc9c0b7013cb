//! HALF and RELOCATE: a half message, and its copy that retention carries forward.

use crate::le::{Le, put_str16};

/// Body of a HALF record, little-endian:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | immunity in ms before the first check; 0xFFFF_FFFF: none asked for |
/// | 4 | 2 + n | producer group |
/// | | 2 + n | client id, may be empty |
/// | | rest | wire image (`protocol::message`): real topic and queue id, queue offset = half sequence, physical offset = handle |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfBody<'a> {
    pub(crate) immunity_ms: Option<u32>,
    pub(crate) group: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) image: &'a [u8],
}

const NO_IMMUNITY: u32 = u32::MAX;

impl<'a> HalfBody<'a> {
    /// Bytes before the image.
    pub(crate) fn prefix_len(group: &str, client_id: &str) -> usize {
        4 + 2 + group.len() + 2 + client_id.len()
    }

    /// Writes what comes before the image.
    pub(crate) fn put_prefix(
        out: &mut Vec<u8>,
        immunity_ms: Option<u32>,
        group: &str,
        client_id: &str,
    ) {
        out.extend_from_slice(&immunity_ms.unwrap_or(NO_IMMUNITY).to_le_bytes());
        put_str16(out, group);
        put_str16(out, client_id);
    }

    pub(crate) fn decode(body: &'a [u8]) -> Option<HalfBody<'a>> {
        let mut le = Le::new(body);
        let immunity = le.u32()?;
        let immunity_ms = (immunity != NO_IMMUNITY).then_some(immunity);
        let (group, client_id) = (le.str16()?, le.str16()?);
        Some(HalfBody {
            immunity_ms,
            group,
            client_id,
            image: le.rest(),
        })
    }
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
