//! Unique keys for messages whose sender gave none, in the clients' own form.
//!
//! | hex digits | field |
//! |---|---|
//! | 8 or 32 | the broker's address |
//! | 4 | process id, lowest 16 bits |
//! | 8 | a number drawn once per run, where clients have their class loader's hash |
//! | 8 | milliseconds of this run |
//! | 4 | counter |

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub(crate) struct UniqueKeys {
    prefix: String,
    counter: AtomicU32,
}

impl UniqueKeys {
    pub(crate) fn new(host: IpAddr) -> UniqueKeys {
        let mut prefix = String::with_capacity(44);
        let bytes = match host {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        // Writing to a String cannot fail.
        for byte in bytes {
            let _ = write!(prefix, "{byte:02X}");
        }
        let run = RandomState::new().hash_one(std::process::id());
        let _ = write!(
            prefix,
            "{:04X}{:08X}",
            std::process::id() & 0xFFFF,
            run & 0xFFFF_FFFF
        );
        UniqueKeys {
            prefix,
            counter: AtomicU32::new(0),
        }
    }

    /// `mono_ms`: milliseconds of this run. A repetition would need 65536 keys in one of them.
    pub(crate) fn next(&self, mono_ms: u64) -> String {
        let count = self.counter.fetch_add(1, Ordering::Relaxed) & 0xFFFF;
        format!("{}{:08X}{count:04X}", self.prefix, mono_ms & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_clients_length_and_differ() {
        let keys = UniqueKeys::new(IpAddr::from([127, 0, 0, 1]));
        let first = keys.next(5);
        assert_eq!(first.len(), 32);
        assert!(first.starts_with("7F000001"));
        assert_ne!(first, keys.next(5));
    }
}
