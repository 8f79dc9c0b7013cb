//! The two clocks that the broker hands in, and how they relate.
//!
//! Deadlines run on the monotonic clock, so that a step of the wall clock neither hastens nor delays a
//! check. Store timestamps are wall time, so an age needs the way back: [`Timeline`] remembers which
//! wall times belong to which stretch of monotonic time.

use std::collections::VecDeque;

/// The present on both clocks, read once by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Milliseconds on a clock that never steps, from an origin of the caller's choice.
    pub mono_ms: u64,
}

impl Now {
    /// Wall time minus monotonic time.
    fn offset(self) -> i64 {
        self.wall_ms.saturating_sub_unsigned(self.mono_ms)
    }

    /// The wall time at which the monotonic clock will show `mono_ms`, if the wall clock does not step.
    pub(crate) fn wall_at(self, mono_ms: u64) -> i64 {
        self.offset().saturating_add_unsigned(mono_ms)
    }
}

/// A wall time as people read it: `2026-11-24T09:27:31.123Z`.
pub(crate) fn utc(wall_ms: i64) -> String {
    let (days, ms) = (
        wall_ms.div_euclid(86_400_000),
        wall_ms.rem_euclid(86_400_000),
    );
    // Days since 1 March of the year 0, so that the leap day is the last of its year; 146097 days are 400 years.
    let day = days + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, ms) = (ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// A change of the wall clock against the monotonic one between two looks that counts as a step.
const STEP_MS: u64 = 500;
/// Steps remembered; ages from before the oldest of them are reckoned as if it had not happened.
const STRETCHES_MAX: usize = 16;

/// A time without steps.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from_mono: i64,
    offset: i64,
}

/// The wall clock's steps since this coordinator was opened.
#[derive(Debug)]
pub(crate) struct Timeline {
    earlier: VecDeque<Stretch>,
    present: Stretch,
    /// The store timestamp that stands still since the clock stepped back, and when it was last given out.
    frozen: Option<(i64, i64)>,
}

fn signed(mono_ms: u64) -> i64 {
    i64::try_from(mono_ms).unwrap_or(i64::MAX)
}

impl Timeline {
    pub(crate) fn start(now: Now) -> Self {
        let present = Stretch {
            from_mono: signed(now.mono_ms),
            offset: now.offset(),
        };
        Timeline {
            earlier: VecDeque::new(),
            present,
            frozen: None,
        }
    }

    /// Takes note of the present; answers by how many milliseconds the wall clock has stepped, if it has.
    ///
    /// A slow drift is no step: it moves the present stretch along.
    pub(crate) fn observe(&mut self, now: Now) -> Option<i64> {
        let step = now.offset().saturating_sub(self.present.offset);
        if step.unsigned_abs() < STEP_MS {
            self.present.offset = now.offset();
            return None;
        }
        if self.earlier.len() == STRETCHES_MAX {
            self.earlier.pop_front();
        }
        self.earlier.push_back(self.present);
        self.present = Stretch {
            from_mono: signed(now.mono_ms),
            offset: now.offset(),
        };
        Some(step)
    }

    /// Takes note of a store timestamp. After a step back the store repeats the latest one until the clock has
    /// caught up, and then it is no time at all.
    pub(crate) fn stored(&mut self, now: Now, store_timestamp: i64) {
        if store_timestamp > now.wall_ms {
            self.frozen = Some((store_timestamp, signed(now.mono_ms)));
        }
    }

    /// The monotonic time of the moment whose wall time was written down as `wall_ms`; negative for moments
    /// before the monotonic clock began.
    ///
    /// Where a step back makes one wall time mean two moments, the later one is taken: to think a half younger
    /// than it is only delays its check.
    fn mono_of(&self, now: Now, wall_ms: i64) -> i64 {
        if let Some((frozen, last)) = self.frozen
            && frozen == wall_ms
        {
            return last;
        }
        let mut end = signed(now.mono_ms);
        let mut too_late = end;
        for stretch in std::iter::once(&self.present).chain(self.earlier.iter().rev()) {
            let moment = wall_ms.saturating_sub(stretch.offset);
            if (stretch.from_mono..=end).contains(&moment) {
                return moment;
            }
            // A time that was jumped over belongs to the end of what was before.
            too_late = if moment > end { end } else { too_late };
            end = stretch.from_mono;
        }
        let first = self.earlier.front().unwrap_or(&self.present);
        let before = wall_ms.saturating_sub(first.offset);
        if before < first.from_mono {
            before
        } else {
            too_late
        }
    }

    /// Milliseconds on the monotonic clock since the moment written down as `wall_ms`.
    pub(crate) fn age_ms(&self, now: Now, wall_ms: i64) -> u64 {
        let age = signed(now.mono_ms).saturating_sub(self.mono_of(now, wall_ms));
        u64::try_from(age).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: i64, mono_ms: u64) -> Now {
        Now { wall_ms, mono_ms }
    }

    #[test]
    fn without_steps_an_age_is_a_difference_of_wall_times() {
        let mut line = Timeline::start(at(1_000_000, 50));
        let now = at(1_060_000, 60_050);
        assert_eq!(line.observe(now), None);
        assert_eq!(line.age_ms(now, 1_000_000), 60_000);
        assert_eq!(line.age_ms(now, 900_000), 160_000, "before we were opened");
        assert_eq!(line.age_ms(now, 2_000_000), 0, "a time to come");
    }

    #[test]
    fn a_step_forward_does_not_age_what_was_stored_before_it() {
        let mut line = Timeline::start(at(1_000_000, 0));
        let now = at(1_000_000 + 3_600_000 + 10_000, 10_000);
        assert_eq!(line.observe(now), Some(3_600_000));
        assert_eq!(line.age_ms(now, 1_004_000), 6_000);
        let later = at(now.wall_ms + 1_000, 11_000);
        assert_eq!(line.observe(later), None);
        assert_eq!(line.age_ms(later, now.wall_ms), 1_000, "stored after it");
    }

    #[test]
    fn a_step_back_makes_an_ambiguous_time_the_later_moment() {
        let mut line = Timeline::start(at(1_000_000, 0));
        let now = at(1_000_000, 60_000);
        assert_eq!(line.observe(now), Some(-60_000));
        assert_eq!(line.age_ms(now, 1_030_000), 30_000, "stored before it");
        assert_eq!(line.age_ms(now, 999_000), 61_000);
        let later = at(1_040_000, 100_000);
        assert_eq!(line.age_ms(later, 1_030_000), 10_000, "before or after it");
    }

    #[test]
    fn a_timestamp_that_stands_still_is_as_young_as_its_last_half() {
        let mut line = Timeline::start(at(1_000_000, 0));
        let now = at(950_000, 60_000);
        line.observe(now);
        line.stored(now, 1_060_000);
        assert_eq!(line.age_ms(now, 1_060_000), 0);
        assert_eq!(line.age_ms(at(955_000, 65_000), 1_060_000), 5_000);
        assert_eq!(line.age_ms(now, 1_059_999), 1);
    }

    #[test]
    fn a_time_that_was_jumped_over_is_the_moment_of_the_jump() {
        let mut line = Timeline::start(at(1_000_000, 0));
        let now = at(2_000_000, 10_000);
        line.observe(now);
        assert_eq!(line.age_ms(at(2_005_000, 15_000), 1_500_000), 5_000);
    }

    #[test]
    fn times_are_told_in_utc() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }

    #[test]
    fn a_drift_is_no_step() {
        let mut line = Timeline::start(at(0, 0));
        for second in 1..10_000_u64 {
            let drifted = at(i64::try_from(second * 1_001).unwrap_or(0), second * 1_000);
            assert_eq!(line.observe(drifted), None);
        }
    }

    #[test]
    fn steps_without_end_take_bounded_memory() {
        let mut line = Timeline::start(at(0, 0));
        for n in 1..1_000_u64 {
            let wall = if n % 2 == 0 { 0 } else { 1_000_000 };
            line.observe(at(wall, n));
        }
        assert!(line.earlier.len() <= STRETCHES_MAX);
    }
}
