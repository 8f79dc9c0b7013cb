//! The newest bytes of the log, in memory: consumers that keep up never touch the page cache or the disk.

use std::collections::VecDeque;

use bytes::Bytes;

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

    /// Adds the batch that was written at `offset`.
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

#[cfg(test)]
mod tests {
    use super::*;

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
