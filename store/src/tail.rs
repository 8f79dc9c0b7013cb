//! The newest bytes of the log, in memory: consumers that keep up never touch the page cache or the disk.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::ids::{narrow, wide};

/// Written batches, newest last, contiguous, bounded in bytes. A record lies within one batch.
#[derive(Debug)]
pub(crate) struct Tail {
    batches: VecDeque<(u64, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Tail {
            batches: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Adds the batch that was written at `offset`; the oldest make room for it.
    pub(crate) fn push(&mut self, offset: u64, batch: Bytes) {
        self.bytes += batch.len();
        self.batches.push_back((offset, batch));
        while self.bytes > self.bytes_max {
            let Some((_, dropped)) = self.batches.pop_front() else {
                break;
            };
            self.bytes -= dropped.len();
        }
    }

    /// The bytes from `offset` to the end of their batch.
    pub(crate) fn at(&self, offset: u64) -> Option<Bytes> {
        let index = self
            .batches
            .partition_point(|(start, _)| *start <= offset)
            .checked_sub(1)?;
        let (start, batch) = self.batches.get(index)?;
        let skip = narrow(offset - start);
        (wide(skip) < wide(batch.len())).then(|| batch.slice(skip..))
    }
}

/// What batches are copied into: blocks of one size, which an allocator gives out again as they come back. Memory of each
/// batch's own size it mostly has to make anew, and fresh memory costs several times the copy into it.
#[derive(Debug, Default)]
pub(crate) struct TailMemory(BytesMut);

/// Few enough bytes that a reader who keeps one of its records keeps little else.
const BLOCK: usize = 1 << 20;

impl TailMemory {
    /// A copy of a batch that can be shared.
    pub(crate) fn copy(&mut self, batch: &[u8]) -> Bytes {
        if self.0.capacity() < batch.len() {
            self.0 = BytesMut::with_capacity(batch.len().max(BLOCK));
        }
        self.0.extend_from_slice(batch);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_lie_side_by_side_in_blocks_and_what_does_not_fit_has_its_own() {
        let mut memory = TailMemory::default();
        let first = memory.copy(&[1; 100]);
        let second = memory.copy(&[2; 100]);
        assert_eq!(first.as_ptr().wrapping_add(100), second.as_ptr());
        let large = memory.copy(&vec![3; 2 * BLOCK]);
        assert!(first.iter().all(|byte| *byte == 1) && second.iter().all(|byte| *byte == 2));
        assert!(large.len() == 2 * BLOCK && large.iter().all(|byte| *byte == 3));
    }

    #[test]
    fn serves_what_fits_and_forgets_the_oldest() {
        let mut tail = Tail::new(8);
        tail.push(100, Bytes::from_static(b"abcd"));
        tail.push(104, Bytes::from_static(b"efgh"));
        assert_eq!(tail.at(102).as_deref(), Some(&b"cd"[..]));
        assert_eq!(tail.at(99), None);
        assert_eq!(tail.at(108), None);
        tail.push(108, Bytes::from_static(b"i"));
        assert_eq!(tail.at(102), None);
        assert_eq!(tail.at(104).as_deref(), Some(&b"efgh"[..]));
        assert_eq!(tail.at(108).as_deref(), Some(&b"i"[..]));
    }
}
