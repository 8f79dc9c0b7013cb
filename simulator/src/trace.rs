//! What happened, line by line, and a hash of it: two runs of one seed must agree to the last byte.

use std::fmt;

const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The history of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u128,
    lines: u64,
    /// Where the lines go besides into the hash.
    kept: Option<String>,
    is_printed: bool,
}

impl Trace {
    pub(crate) fn new(is_kept: bool, is_printed: bool) -> Trace {
        Trace {
            hash: FNV_OFFSET,
            lines: 0,
            kept: is_kept.then(String::new),
            is_printed,
        }
    }

    pub(crate) fn line(&mut self, at_ms: u64, what: fmt::Arguments<'_>) {
        let line = format!("{at_ms:>10} {what}\n");
        for byte in line.bytes() {
            self.hash = (self.hash ^ u128::from(byte)).wrapping_mul(FNV_PRIME);
        }
        self.lines += 1;
        if self.is_printed {
            print!("{line}");
        }
        if let Some(kept) = &mut self.kept {
            kept.push_str(&line);
        }
    }

    pub(crate) fn hash(&self) -> u128 {
        self.hash
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    pub(crate) fn into_text(self) -> String {
        self.kept.unwrap_or_default()
    }
}
