//! Bounds-checked little-endian cursor: everything the store reads back from a disk goes through it.

use crate::ids::wide;

/// Reads forward through bytes from a disk; `None` means too short or not what was promised, never a panic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Le<'a> {
    rest: &'a [u8],
}

impl<'a> Le<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Le { rest: bytes }
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Seven bytes, the highest taken for zero.
    pub(crate) fn u56(&mut self) -> Option<u64> {
        let [a, b, c, d, e, f, g] = self.array()?;
        Some(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A string behind its u16 length.
    pub(crate) fn str16(&mut self) -> Option<&'a str> {
        let length = usize::from(self.u16()?);
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// An unsigned LEB128 number: seven bits a byte, the lowest first, at most ten bytes.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            (bits << shift >> shift == bits).then_some(())?;
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A string behind its length as a varint.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.varint()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// Bytes behind their u32 length.
    pub(crate) fn bytes32(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// A count of things of `size` bytes each, refused when the bytes cannot hold them: no allocation is sized by disk alone.
    pub(crate) fn count32(&mut self, size: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count.checked_mul(size)? <= self.rest.len()).then_some(count)
    }
}

/// Appends a string behind its u16 length. Longer strings are cut at a character boundary; callers check what must not be cut.
pub(crate) fn put_str16(out: &mut Vec<u8>, text: &str) {
    let text = clip(text, usize::from(u16::MAX));
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Bytes of a number as a varint.
pub(crate) fn varint_len(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    usize::try_from(bits.div_ceil(7)).unwrap_or(usize::MAX)
}

/// Appends a number as [`Le::varint`] reads it.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Bytes of a string as [`Le::text`] reads it.
pub(crate) fn text_len(text: &str) -> usize {
    varint_len(wide(text.len())) + text.len()
}

/// Appends a string as [`Le::text`] reads it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, wide(text.len()));
    out.extend_from_slice(text.as_bytes());
}

/// Appends bytes behind their u32 length.
pub(crate) fn put_bytes32(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The longest prefix of `text` that has at most `bytes_max` bytes and ends at a character boundary.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_takes_no_more_bytes_than_it_needs_and_is_read_back() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (
                u64::MAX,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(varint_len(value), bytes.len());
            let mut le = Le::new(bytes);
            assert_eq!((le.varint(), le.rest()), (Some(value), &[][..]));
        }
    }

    #[test]
    fn a_varint_that_is_cut_or_too_large_is_none() {
        assert_eq!(Le::new(&[0x80]).varint(), None);
        assert_eq!(Le::new(&[0xff; 10]).varint(), None);
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(Le::new(&too_large).varint(), None);
        assert_eq!(Le::new(&[5, b'a']).text(), None);
    }
}
