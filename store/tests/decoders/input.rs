//! Bytes of a fuzzer, taken apart. At the end there are zeros for ever.

/// Reads forward.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Input { rest: data }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub(super) fn u64(&mut self) -> u64 {
        let mut word = [0; 8];
        for (place, byte) in word.iter_mut().zip(self.bytes(8)) {
            *place = *byte;
        }
        u64::from_le_bytes(word)
    }

    /// Mostly small; sometimes anything.
    pub(super) fn number(&mut self) -> u64 {
        match self.u8() {
            0xFF => self.u64(),
            small => u64::from(small),
        }
    }

    /// Up to 255 bytes behind their length.
    pub(super) fn short(&mut self) -> &'a [u8] {
        let len = usize::from(self.u8());
        self.bytes(len)
    }

    pub(super) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.short()).into_owned()
    }

    /// One of a few.
    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        let index = usize::from(self.u8());
        of.get(index.checked_rem(of.len())?).cloned()
    }
}
