//! What was answered, how fast, and what somebody should look at.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::database::Verdict;

/// Upper ends of the classes in which answering times are counted, in milliseconds.
pub const LATENCY_CLASSES_MS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 1000, 2500, 8000];

/// The numbers of one group.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Answers by what was found and, of what could not be said, the keyword of the reason (else empty).
    pub answers: BTreeMap<(&'static str, &'static str), u64>,
    /// Checks that are being worked on.
    pub in_flight: u64,
    /// Answers by time, in the classes of [`LATENCY_CLASSES_MS`]; slower ones are in none.
    pub by_latency: [u64; LATENCY_CLASSES_MS.len()],
    /// All the time that answers took.
    pub latency: Duration,
    /// What asking again will not cure, by keyword.
    pub alarms: BTreeMap<&'static str, Alarm>,
}

/// Something that somebody has to cure.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// How often it was met.
    pub count: u64,
    /// When it was met last.
    pub last: SystemTime,
    /// What was said then.
    pub remark: String,
}

impl Counts {
    /// All answers.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    pub(super) fn count(&mut self, found: &Verdict, took: Duration) {
        let answer = match found {
            Verdict::Committed => ("commit", ""),
            Verdict::RolledBack => ("rollback", ""),
            Verdict::Unknown(reason) => ("unknown", reason.keyword()),
        };
        *self.answers.entry(answer).or_default() += 1;
        self.latency += took;
        let class = LATENCY_CLASSES_MS
            .iter()
            .position(|end| took <= Duration::from_millis(*end));
        if let Some(class) = class {
            self.by_latency[class] += 1;
        }
    }

    /// Takes note of an alarm; says whether nobody was told of it in the last `quiet`.
    pub(super) fn alarm(&mut self, reason: &'static str, remark: &str, quiet: Duration) -> bool {
        let now = SystemTime::now();
        let alarm = self.alarms.entry(reason).or_insert(Alarm {
            count: 0,
            last: SystemTime::UNIX_EPOCH,
            remark: String::new(),
        });
        // A clock that went back is no reason to be silent.
        let since = now.duration_since(alarm.last).unwrap_or(quiet);
        alarm.count += 1;
        alarm.last = now;
        remark.clone_into(&mut alarm.remark);
        since >= quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Reason;

    #[test]
    fn an_answer_is_in_one_class_of_time() {
        let mut counts = Counts::default();
        for ms in [0, 1, 9, 10, 60_000] {
            counts.count(&Verdict::Committed, Duration::from_millis(ms));
        }
        let open = Verdict::Unknown(Reason::InFlight { blocked_by: None });
        counts.count(&open, Duration::ZERO);
        assert_eq!(counts.answered(), 6);
        assert_eq!(counts.by_latency[0], 3);
        assert_eq!(counts.by_latency[3], 2);
        assert_eq!(counts.by_latency.iter().sum::<u64>(), 5);
        assert_eq!(counts.answers[&("unknown", "in_flight")], 1);
    }

    #[test]
    fn an_alarm_is_told_once_in_a_while() {
        let mut counts = Counts::default();
        let hour = Duration::from_secs(3600);
        assert!(counts.alarm("read_only", "a", hour));
        assert!(!counts.alarm("read_only", "b", hour));
        assert!(counts.alarm("read_only", "c", Duration::ZERO));
        let alarm = &counts.alarms["read_only"];
        assert_eq!((alarm.count, alarm.remark.as_str()), (3, "c"));
    }
}
