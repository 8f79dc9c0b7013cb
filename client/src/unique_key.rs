//! The message id that a producer makes (`UNIQ_KEY`): what Java's `MessageClientIDSetter` and Go make, so that
//! stock tools can read it.
//!
//! | bytes | field |
//! |---|---|
//! | 4 or 16 | this host's address |
//! | 2 | process id, low 16 bits |
//! | 4 | a number drawn once per process, another one each month (Java: class-loader hash) |
//! | 4 | milliseconds since the start of the month (UTC) |
//! | 2 | counter within the millisecond |
//!
//! All big-endian, printed as upper-case hex: 32 or 56 characters. Process and draw tell two processes apart. Within
//! one process no key comes twice, whatever its clock does and however long it runs: time and counter together only
//! ever grow, and the draw tells the months apart. A database decides the fate of a message by this key.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Makes keys that no other generator makes.
#[derive(Debug)]
pub struct UniqueKeys {
    /// Address and process, already in hex.
    prefix: String,
    draw: u32,
    /// The last key's milliseconds since 1970, and its counter in the low 16 bits.
    last: AtomicU64,
}

impl UniqueKeys {
    /// A generator for this process, naming the host by `address`.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        // RandomState is seeded by the operating system: enough to tell two processes with one address and one
        // process id (two containers) apart.
        let draw = RandomState::new().build_hasher().finish();
        let [d0, d1, d2, d3, ..] = draw.to_be_bytes();
        Self::with(
            address,
            std::process::id(),
            u32::from_be_bytes([d0, d1, d2, d3]),
        )
    }

    fn with(address: IpAddr, process: u32, draw: u32) -> Self {
        let mut prefix = String::with_capacity(36);
        match address {
            IpAddr::V4(v4) => hex(&mut prefix, &v4.octets()),
            IpAddr::V6(v6) => hex(&mut prefix, &v6.octets()),
        }
        let [.., p1, p0] = process.to_be_bytes();
        hex(&mut prefix, &[p1, p0]);
        Self {
            prefix,
            draw,
            last: AtomicU64::new(0),
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
        let later = |last: u64| (now_ms << 16).max(last + 1);
        let step = |last| Some(later(last));
        // The closure always has a successor.
        let last = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .unwrap_or_default();
        let [.., c1, c0] = later(last).to_be_bytes();
        let ms = later(last) >> 16;
        let month = month_start_ms(ms);
        let mut key = String::with_capacity(self.prefix.len() + 20);
        key.push_str(&self.prefix);
        // Months are told apart by their first day, counted from 1970; far fewer than 2^32.
        let month_number = u32::try_from(month / DAY_MS).unwrap_or(u32::MAX);
        hex(&mut key, &(self.draw ^ month_number).to_be_bytes());
        // A month has fewer than 2^32 milliseconds.
        let in_month = u32::try_from(ms.saturating_sub(month)).unwrap_or(u32::MAX);
        hex(&mut key, &in_month.to_be_bytes());
        hex(&mut key, &[c1, c0]);
        key
    }
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02X}");
    }
}

const DAY_MS: u64 = 86_400_000;

/// Start of the UTC month that holds `now_ms`, after Howard Hinnant's `civil_from_days`.
fn month_start_ms(now_ms: u64) -> u64 {
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
        let keys = UniqueKeys::with(IpAddr::from([10, 0, 0, 1]), 0x1_2345, 0x0102_0000);
        // 2026-11-24T00:00:00.005Z: 23 days and 5 ms into the month, whose first day is number 20758.
        let now = 1_795_478_400_005;
        assert_eq!(keys.at(now), "0A000001234501025116767244050000");
        assert_eq!(keys.at(now), "0A000001234501025116767244050001");
    }

    #[test]
    fn no_key_comes_twice_when_the_clock_goes_back_or_a_month_later() {
        let keys = UniqueKeys::new(IpAddr::from([127, 0, 0, 1]));
        // 2025-12-01 and 2026-01-01, the same milliseconds into the month.
        let (december, january) = (1_764_547_200_000, 1_767_225_600_000);
        // More keys than the counter has values, then a clock that jumps to and fro.
        let mut clock = vec![december; 70_000];
        for jump in [december + 5, december, january, january - 1, january + 5] {
            clock.extend([jump; 100]);
        }
        let made: HashSet<String> = clock.iter().map(|now| keys.at(*now)).collect();
        assert_eq!(made.len(), clock.len());
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
