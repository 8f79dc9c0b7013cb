//! META, DROP TOPIC and CUT: durable key/value pairs, the end of a topic, and the scar of a cut.
//! (MARK and PAD have no body; a DROP TOPIC body is the topic's name.)

use crate::le::{Le, put_bytes32, put_str16};

/// Flag of a META record that removes its key.
pub(crate) const META_DELETE: u16 = 1;

/// Body of a META record, little-endian:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 2 + n | key |
/// | | 4 + n | value; empty when the flag says delete |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetaBody<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a [u8],
}

impl<'a> MetaBody<'a> {
    pub(crate) fn len(&self) -> usize {
        2 + self.key.len() + 4 + self.value.len()
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_str16(out, self.key);
        put_bytes32(out, self.value);
    }

    pub(crate) fn decode(body: &'a [u8]) -> Option<MetaBody<'a>> {
        let mut le = Le::new(body);
        Some(MetaBody {
            key: le.str16()?,
            value: le.bytes32()?,
        })
    }
}

/// Body of a CUT record, little-endian: the log went on from here after a crash, and what lay behind was taken away.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | bytes cut (saved under `lost+found/`) |
/// | 8 | 8 | whole records among them, which an unsynced hole cost |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutBody {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl CutBody {
    pub(crate) const LEN: usize = 16;

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.records.to_le_bytes());
    }

    #[cfg(test)]
    pub(crate) fn decode(body: &[u8]) -> Option<CutBody> {
        let mut le = Le::new(body);
        Some(CutBody {
            bytes: le.u64()?,
            records: le.u64()?,
        })
    }
}
