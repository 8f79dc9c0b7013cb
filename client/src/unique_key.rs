//! The message id that a producer makes (`UNIQ_KEY`): what Java's `MessageClientIDSetter` and Go make, so that
//! stock tools can read it.
//!
//! | bytes | field |
//! |---|---|
//! | 4 or 16 | this host's address |
//! | 2 | process id, low 16 bits |
//! | 4 | a number drawn once per process (Java: class-loader hash) |
//! | 4 | milliseconds since the start of the month (UTC) |
//! | 2 | counter |
//!
//! All big-endian, printed as upper-case hex: 32 or 56 characters. Process and draw tell two processes apart,
//! the counter two keys of one millisecond.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Makes keys that no other generator makes.
#[derive(Debug)]
pub struct UniqueKeys {
    /// Everything before the time, already in hex.
    prefix: String,
    counter: AtomicU16,
}

impl UniqueKeys {
    /// A generator for this process, naming the host by `address`.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        // RandomState is seeded by the operating system: enough to tell two processes with one address and one
        // process id (two containers) apart.
        let draw = RandomState::new().build_hasher().finish();
        Self::with(address, std::process::id(), draw)
    }

    fn with(address: IpAddr, process: u32, draw: u64) -> Self {
        let mut prefix = String::with_capacity(44);
        match address {
            IpAddr::V4(v4) => hex(&mut prefix, &v4.octets()),
            IpAddr::V6(v6) => hex(&mut prefix, &v6.octets()),
        }
        let [.., p1, p0] = process.to_be_bytes();
        hex(&mut prefix, &[p1, p0]);
        let [d0, d1, d2, d3, d4, d5, ..] = draw.to_be_bytes();
        hex(&mut prefix, &[d0, d1, d2, d3]);
        Self {
            prefix,
            counter: AtomicU16::new(u16::from_be_bytes([d4, d5])),
        }
    }

    /// A fresh key. One attempt to send a message uses one key; a new attempt draws a new one.
    #[must_use]
    pub fn next(&self) -> String {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.at(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn at(&self, now_ms: u64) -> String {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let in_month = now_ms.saturating_sub(month_start_ms(now_ms));
        let mut key = String::with_capacity(self.prefix.len() + 12);
        key.push_str(&self.prefix);
        // A month has fewer than 2^32 milliseconds.
        hex(
            &mut key,
            &u32::try_from(in_month).unwrap_or(u32::MAX).to_be_bytes(),
        );
        hex(&mut key, &count.to_be_bytes());
        key
    }
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02X}");
    }
}

/// Start of the UTC month that holds `now_ms`, after Howard Hinnant's `civil_from_days`.
fn month_start_ms(now_ms: u64) -> u64 {
    const DAY_MS: u64 = 86_400_000;
    let days = now_ms / DAY_MS;
    // Days since 0000-03-01, in eras of 400 years; the day of a month counts from zero in each.
    let shifted = days + 719_468;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5;
    (days - day_of_month) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_key_spells_address_process_draw_time_and_counter() {
        let keys = UniqueKeys::with(IpAddr::from([10, 0, 0, 1]), 0x1_2345, 0x0102_0304_0A0B_0000);
        // 2026-11-24T00:00:00.005Z: 23 days and 5 ms into the month.
        let now = 1_795_478_400_005;
        assert_eq!(keys.at(now), "0A000001234501020304767244050A0B");
        assert_eq!(keys.at(now), "0A000001234501020304767244050A0C");
    }

    #[test]
    fn months_begin_where_the_calendar_says() {
        let check = |now: u64, start: u64| assert_eq!(month_start_ms(now), start);
        check(0, 0);
        // 2024-02-29T23:59:59.999Z and the millisecond after.
        check(1_709_251_199_999, 1_706_745_600_000);
        check(1_709_251_200_000, 1_709_251_200_000);
        // 2025-12-31T23:59:59.999Z, 2026-01-01.
        check(1_767_225_599_999, 1_764_547_200_000);
        check(1_767_225_600_000, 1_767_225_600_000);
    }

    #[test]
    fn keys_of_one_millisecond_differ() {
        let keys = UniqueKeys::new(IpAddr::from([127, 0, 0, 1]));
        let made: HashSet<String> = (0..10_000).map(|_| keys.at(1_000)).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|k| k.len() == 32));
    }

    #[test]
    fn an_ipv6_host_makes_longer_keys() {
        let keys = UniqueKeys::new(IpAddr::from([0u16; 8]));
        assert_eq!(keys.next().len(), 56);
    }
}
