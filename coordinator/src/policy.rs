//! How soon, how often and how long a half is checked: the rules, and whose rules they are.
//!
//! | | default | with Apache's property | Apache 5.3 |
//! |---|---|---|---|
//! | first check, after the broker's store time | 10 s | `transactionTimeOut` | 6 s, found by a scan every 30 s |
//! | between checks | 10 s x 2^n, at most 5 min, +-20 % | `transactionCheckInterval`, fixed | 30 s |
//! | parked after | 15 answered UNKNOWN and 1 h | `transactionCheckMax`, no age | 15 rounds, asked or not |
//!
//! The most specific level that says something wins, for each of the three by itself: message
//! (`CHECK_IMMUNITY_TIME_IN_SECONDS`, first check only), producer group, topic, broker.

use std::collections::HashMap;

/// First check when nothing is configured: later than nearly every local transaction takes, and still sooner
/// than Apache's scan gets there on average.
pub const FIRST_CHECK_MS: u64 = 10_000;
/// The shortest immunity that a message may ask for.
pub const IMMUNITY_MIN_MS: u64 = 1_000;
/// First interval of the backoff.
pub const BACKOFF_BASE_MS: u64 = 10_000;
/// Longest interval of the backoff, before jitter.
pub const BACKOFF_CAP_MS: u64 = 300_000;
/// Answered UNKNOWNs after which a half may be parked.
pub const ANSWERED_MAX: u32 = 15;
/// The age that a half must have, besides, to be parked.
pub const PARK_AGE_MS: u64 = 3_600_000;
/// How often a parked half is asked about.
pub const PARKED_INTERVAL_MS: u64 = 3_600_000;
/// How long after the sending client is gone its halfs are asked about.
pub const EXPEDITE_AFTER_CLOSE_MS: u64 = 1_000;
/// No half is asked about sooner than this because its sender is gone. A stock listener may answer ROLLBACK
/// for a row that its database is just committing, and we would keep to it. Where the database itself is asked, about a half
/// that says which one, this does not hold.
pub const EXPEDITE_AGE_MIN_MS: u64 = 6_000;

/// What one level has to say; `None` leaves it to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Apache's `transactionTimeOut`: age at which a half is first checked.
    pub first_check_ms: Option<u64>,
    /// Apache's `transactionCheckInterval`: fixed, so neither backoff nor jitter.
    pub interval_ms: Option<u64>,
    /// Apache's `transactionCheckMax`: answered UNKNOWNs until a half is parked, at any age.
    pub checks_max: Option<u32>,
}

/// The level that a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The message's own `CHECK_IMMUNITY_TIME_IN_SECONDS`.
    Message,
    /// The producer group's settings.
    Group,
    /// The topic's settings.
    Topic,
    /// The broker's settings.
    Broker,
    /// Nothing was configured.
    Default,
}

impl Level {
    /// The level's name as operators see it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Message => "message",
            Level::Group => "group",
            Level::Topic => "topic",
            Level::Broker => "broker",
            Level::Default => "default",
        }
    }
}

/// The time between two checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// Always the same.
    Fixed(u64),
    /// [`BACKOFF_BASE_MS`] doubled at each check up to [`BACKOFF_CAP_MS`], with jitter.
    Backoff,
}

impl Interval {
    /// How long after its check number `attempt`, counted from 1, the half `seq` is due again.
    pub(crate) fn after(self, seq: u64, attempt: u32) -> u64 {
        match self {
            Interval::Fixed(ms) => ms,
            Interval::Backoff => {
                let doublings = attempt.saturating_sub(1).min(16);
                jittered(
                    (BACKOFF_BASE_MS << doublings).min(BACKOFF_CAP_MS),
                    seq,
                    attempt,
                )
            }
        }
    }
}

/// The rules that hold for one half, each with the level that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Age at which the half is first checked.
    pub first_check_ms: (u64, Level),
    /// Time between two checks.
    pub interval: (Interval, Level),
    /// Answered UNKNOWNs until it may be parked.
    pub checks_max: (u32, Level),
    /// The age that it must have to be parked; from the same level as `checks_max`.
    pub park_age_ms: u64,
}

impl Policy {
    /// The time that somebody asked for before the first check; the built-in default is nobody's wish.
    pub(crate) fn immunity_ms(&self) -> u64 {
        match self.first_check_ms {
            (_, Level::Default) => 0,
            (ms, _) => ms,
        }
    }

    /// The time from the event that made a half wait to its check: from its storing for the first, from the
    /// outcome of check number `attempt` for the next.
    pub(crate) fn delay_ms(&self, seq: u64, attempt: u32) -> u64 {
        match attempt {
            0 => self.first_check_ms.0,
            _ => self.interval.0.after(seq, attempt),
        }
    }

    /// From a half's storing to the check that follows `attempts` others, if each of those was answered as soon
    /// as it was sent: the earliest time for it, which is what is known after a restart.
    pub(crate) fn elapsed_ms(&self, seq: u64, attempts: u32) -> u64 {
        // The backoff has reached its cap long before, so what lies beyond is counted at that.
        let counted = attempts.min(64);
        let each = (0..=counted).map(|attempt| self.delay_ms(seq, attempt));
        let beyond = u64::from(attempts - counted) * self.delay_ms(seq, counted.max(1));
        each.fold(beyond, u64::saturating_add)
    }

    /// Whether a half with this many answered UNKNOWNs and this age is to be parked.
    pub(crate) fn is_over(&self, answered: u32, age_ms: u64) -> bool {
        answered >= self.checks_max.0 && age_ms >= self.park_age_ms
    }
}

/// Everything that is configured about checks.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// For every half.
    pub broker: Rules,
    /// By topic.
    pub topics: HashMap<String, Rules>,
    /// By producer group.
    pub groups: HashMap<String, Rules>,
}

impl Policies {
    /// The rules for a half of `group` to `topic` that brought `immunity_ms` along.
    pub fn resolve(&self, group: &str, topic: &str, immunity_ms: Option<u32>) -> Policy {
        let levels = [
            (self.groups.get(group), Level::Group),
            (self.topics.get(topic), Level::Topic),
            (Some(&self.broker), Level::Broker),
        ];
        let first = immunity_ms.map(|ms| (u64::from(ms).max(IMMUNITY_MIN_MS), Level::Message));
        let checks_max = pick(&levels, |rules| rules.checks_max);
        Policy {
            first_check_ms: first
                .or_else(|| pick(&levels, |rules| rules.first_check_ms))
                .unwrap_or((FIRST_CHECK_MS, Level::Default)),
            interval: pick(&levels, |rules| rules.interval_ms)
                .map_or((Interval::Backoff, Level::Default), |(ms, level)| {
                    (Interval::Fixed(ms.max(1)), level)
                }),
            checks_max: checks_max.unwrap_or((ANSWERED_MAX, Level::Default)),
            park_age_ms: if checks_max.is_some() { 0 } else { PARK_AGE_MS },
        }
    }
}

/// The first level that says something about one of the rules.
fn pick<T>(
    levels: &[(Option<&Rules>, Level)],
    rule: impl Fn(&Rules) -> Option<T>,
) -> Option<(T, Level)> {
    levels
        .iter()
        .find_map(|(rules, level)| Some((rule((*rules)?)?, *level)))
}

/// The immunity that a message's `CHECK_IMMUNITY_TIME_IN_SECONDS` asks for; what is no number of seconds, or
/// negative, asks for none, as in Apache.
pub(crate) fn immunity_ms(property: Option<&str>) -> Option<u32> {
    let seconds: u64 = property?.trim().parse().ok()?;
    let ms = seconds.saturating_mul(1_000);
    Some(u32::try_from(ms).unwrap_or(u32::MAX))
}

/// `ms` changed by up to a fifth, always alike for the same half and attempt.
fn jittered(ms: u64, seq: u64, attempt: u32) -> u64 {
    let span = ms / 5;
    let roll = mix(seq ^ u64::from(attempt) << 48) % (2 * span + 1);
    ms - span + roll
}

/// A well-spread function of a number (the finaliser of SplitMix64): randomness that can be repeated.
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn configured(first: u64, interval: u64, max: u32) -> Rules {
        Rules {
            first_check_ms: Some(first),
            interval_ms: Some(interval),
            checks_max: Some(max),
        }
    }

    #[test]
    fn nothing_configured_means_ten_seconds_backoff_and_fifteen_answers_in_an_hour() {
        let policy = Policies::default().resolve("g", "t", None);
        assert_eq!(policy.first_check_ms, (10_000, Level::Default));
        assert_eq!(policy.interval, (Interval::Backoff, Level::Default));
        assert_eq!(policy.immunity_ms(), 0);
        assert!(!policy.is_over(15, 3_599_999));
        assert!(!policy.is_over(14, 10_000_000));
        assert!(policy.is_over(15, 3_600_000));
    }

    #[test]
    fn message_beats_group_beats_topic_beats_broker_each_rule_by_itself() {
        let mut policies = Policies {
            broker: configured(1, 2, 3),
            ..Policies::default()
        };
        policies.topics.insert(
            "t".into(),
            Rules {
                interval_ms: Some(20),
                ..Rules::default()
            },
        );
        policies.groups.insert(
            "g".into(),
            Rules {
                first_check_ms: Some(300),
                ..Rules::default()
            },
        );
        let policy = policies.resolve("g", "t", None);
        assert_eq!(policy.first_check_ms, (300, Level::Group));
        assert_eq!(policy.interval, (Interval::Fixed(20), Level::Topic));
        assert_eq!(policy.checks_max, (3, Level::Broker));
        let immune = policies.resolve("g", "t", Some(4_000));
        assert_eq!(immune.first_check_ms, (4_000, Level::Message));
        assert_eq!(
            policies.resolve("x", "y", None).first_check_ms,
            (1, Level::Broker)
        );
    }

    #[test]
    fn with_apaches_interval_there_is_no_backoff_and_no_jitter() {
        let policy = Policies {
            broker: configured(1_000, 1_000, 2),
            ..Policies::default()
        }
        .resolve("g", "t", None);
        for attempt in 1..100 {
            assert_eq!(policy.delay_ms(77, attempt), 1_000);
        }
    }

    #[test]
    fn with_apaches_check_max_age_does_not_matter() {
        let policy = Policies {
            broker: configured(1_000, 1_000, 2),
            ..Policies::default()
        }
        .resolve("g", "t", None);
        assert!(!policy.is_over(1, u64::MAX));
        assert!(policy.is_over(2, 0));
    }

    #[test]
    fn an_immunity_is_read_as_seconds_and_is_a_second_at_least() {
        for (text, expected) in [
            (Some("30"), Some(30_000)),
            (Some(" 5 "), Some(5_000)),
            (Some("-1"), None),
            (Some("soon"), None),
            (Some(""), None),
            (None, None),
            (Some("99999999999999999999999"), None),
            (Some("9999999999"), Some(u32::MAX)),
        ] {
            assert_eq!(immunity_ms(text), expected, "{text:?}");
        }
        let policy = Policies::default().resolve("g", "t", Some(0));
        assert_eq!(policy.first_check_ms, (1_000, Level::Message));
    }

    proptest! {
        #[test]
        fn the_first_check_has_no_jitter(seq: u64) {
            let policy = Policies::default().resolve("g", "t", None);
            prop_assert_eq!(policy.delay_ms(seq, 0), FIRST_CHECK_MS);
        }

        #[test]
        fn backoff_doubles_to_five_minutes_within_a_fifth(seq: u64, attempt in 1_u32..100_000) {
            let base = (10_000_u64 << (attempt - 1).min(16)).min(300_000);
            let delay = Interval::Backoff.after(seq, attempt);
            prop_assert!(delay >= base - base / 5 && delay <= base + base / 5, "{} for {}", delay, base);
            prop_assert_eq!(delay, Interval::Backoff.after(seq, attempt), "pure");
        }
    }

    #[test]
    fn jitter_uses_its_whole_range() {
        let delays: Vec<u64> = (0..10_000)
            .map(|seq| Interval::Backoff.after(seq, 1))
            .collect();
        let (min, max) = (delays.iter().min(), delays.iter().max());
        assert!(
            min.is_some_and(|ms| *ms < 8_050) && max.is_some_and(|ms| *ms > 11_950),
            "{min:?} {max:?}"
        );
        let mean: u64 = delays.iter().sum::<u64>() / 10_000;
        assert!((9_950..10_050).contains(&mean), "{mean}");
    }
}
