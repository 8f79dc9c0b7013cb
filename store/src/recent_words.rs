//! Hashes of the key words of the newest halfs. Most halfs are committed soon after they were stored, and need not be read
//! again then.

use crate::HalfSeq;

/// Halfs that are remembered.
const HALFS: usize = 4096;

/// A half with more words than this is read again.
const WORDS_MAX: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Words {
    seq: HalfSeq,
    count: usize,
    hashes: [u64; WORDS_MAX],
}

#[derive(Debug)]
pub(crate) struct RecentWords {
    /// By sequence, modulo their number.
    halfs: Vec<Option<Words>>,
}

impl RecentWords {
    pub(crate) fn new() -> RecentWords {
        RecentWords {
            halfs: vec![None; HALFS],
        }
    }

    fn place(&self, seq: HalfSeq) -> usize {
        crate::ids::narrow(seq.0 % crate::ids::wide(self.halfs.len()))
    }

    /// Takes note of a half that was just stored.
    pub(crate) fn note(&mut self, seq: HalfSeq, words: &[u64]) {
        let mut hashes = [0; WORDS_MAX];
        let fits = hashes.get_mut(..words.len()).map(|fits| {
            fits.copy_from_slice(words);
        });
        let at = self.place(seq);
        if let Some(place) = self.halfs.get_mut(at) {
            *place = fits.map(|()| Words {
                seq,
                count: words.len(),
                hashes,
            });
        }
    }

    /// The hashes of a half's words, in order; `None` if they are not remembered.
    pub(crate) fn of(&self, seq: HalfSeq) -> Option<&[u64]> {
        let words = self.halfs.get(self.place(seq))?.as_ref()?;
        words.hashes.get(..words.count).filter(|_| words.seq == seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_halfs_are_remembered_and_no_other_is_taken_for_one() {
        let mut recent = RecentWords::new();
        assert_eq!(recent.of(HalfSeq(0)), None);
        recent.note(HalfSeq(0), &[7, 8]);
        recent.note(HalfSeq(1), &[]);
        assert_eq!(recent.of(HalfSeq(0)), Some(&[7, 8][..]));
        assert_eq!(recent.of(HalfSeq(1)), Some(&[][..]));
        recent.note(HalfSeq(4096), &[9]);
        assert_eq!(recent.of(HalfSeq(0)), None);
        assert_eq!(recent.of(HalfSeq(4096)), Some(&[9][..]));
        recent.note(HalfSeq(4096 + 4096), &[1, 2, 3, 4, 5]);
        assert_eq!(recent.of(HalfSeq(4096 + 4096)), None, "too many to keep");
    }
}
