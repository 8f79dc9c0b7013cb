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

    /// Adds the batch that was written at `offset`. Gives back one that had to make room for it: its memory may do for the
    /// next batch, and fresh memory costs more than the copy into it.
    pub(crate) fn push(&mut self, offset: u64, batch: Bytes) -> Option<Bytes> {
        self.bytes += batch.len();
        self.batches.push_back((offset, batch));
        let mut last = None;
        while self.bytes > self.bytes_max {
            let Some((_, dropped)) = self.batches.pop_front() else {
                break;
            };
            self.bytes -= dropped.len();
            last = Some(dropped);
        }
        last
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

/// Empty memory for a batch of this size: that of a batch that is left, if nobody reads it and not more than half would be idle.
pub(crate) fn memory_for(bytes: usize, left: Option<Bytes>) -> BytesMut {
    let left = left.and_then(|left| left.try_into_mut().ok());
    match left.filter(|left| (bytes..=2 * bytes).contains(&left.capacity())) {
        Some(mut left) => {
            left.clear();
            left
        }
        None => BytesMut::with_capacity(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_batch_that_left_is_used_again_unless_it_is_read_or_does_not_fit() {
        let batch = || Bytes::from(vec![1; 100]);
        let is_used = |left: Bytes, bytes| {
            let memory = memory_for(bytes, Some(left));
            assert!(memory.is_empty() && memory.capacity() >= bytes);
            memory.capacity() == 100
        };
        assert!(is_used(batch(), 60));
        assert!(!is_used(batch(), 101));
        assert!(!is_used(batch(), 49));
        let read = batch();
        assert!(!is_used(read.clone(), 60));
        assert_eq!(read, batch());
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
