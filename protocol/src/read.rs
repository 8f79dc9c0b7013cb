//! Bounds-checked big-endian reading.
//!
//! Every binary decoder of this crate goes through [`Reader`], so that a short or lying input always ends
//! in a [`DecodeError`] that names the field, the offset and how much was there.

/// What could not be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at offset {offset}: need {need} bytes, have {have}")]
pub struct DecodeError {
    /// The field that was being read.
    pub what: &'static str,
    /// Where it starts, in bytes from the start of the input.
    pub offset: usize,
    /// How many bytes the field takes.
    pub need: usize,
    /// How many bytes were left.
    pub have: usize,
}

/// A cursor over borrowed bytes; all integers are big-endian.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, offset: 0 }
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// True at the end of the input.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// Fewer than `len` bytes are left.
    pub fn bytes(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let taken = rest.get(..len).ok_or(DecodeError {
            what,
            offset: self.offset,
            need: len,
            have: rest.len(),
        })?;
        self.offset += len;
        Ok(taken)
    }

    /// Takes a fixed number of bytes.
    ///
    /// # Errors
    /// Fewer than `N` bytes are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(what, N)?);
        Ok(array)
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// The input is at its end.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(u8::from_be_bytes)
    }

    /// Takes a 16-bit integer.
    ///
    /// # Errors
    /// Fewer than 2 bytes are left.
    pub fn i16(&mut self, what: &'static str) -> Result<i16, DecodeError> {
        self.array(what).map(i16::from_be_bytes)
    }

    /// Takes a 32-bit integer.
    ///
    /// # Errors
    /// Fewer than 4 bytes are left.
    pub fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        self.array(what).map(i32::from_be_bytes)
    }

    /// Takes a 32-bit unsigned integer.
    ///
    /// # Errors
    /// Fewer than 4 bytes are left.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Takes a 64-bit integer.
    ///
    /// # Errors
    /// Fewer than 8 bytes are left.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.array(what).map(i64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_read_says_what_where_need_and_have() {
        let mut reader = Reader::new(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(reader.i32("first"), Ok(0x0001_0203));
        let error = reader.i64("second").unwrap_err();
        assert_eq!(
            error,
            DecodeError {
                what: "second",
                offset: 4,
                need: 8,
                have: 2
            }
        );
        assert_eq!(
            error.to_string(),
            "second at offset 4: need 8 bytes, have 2"
        );
        assert_eq!(
            reader.i16("third"),
            Ok(0x0405),
            "a failed read consumes nothing"
        );
        assert!(reader.is_empty());
    }

    #[test]
    fn a_length_near_the_address_limit_is_refused() {
        let mut reader = Reader::new(&[1, 2, 3]);
        reader.u8("one").unwrap();
        assert!(reader.bytes("huge", usize::MAX).is_err());
    }
}
