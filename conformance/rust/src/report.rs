//! What one scenario saw, as one JSON line of the same form as the other clients print.

use std::time::Instant;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

pub(crate) struct Report {
    scenario: String,
    start: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    outcomes: Map<String, Value>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            start: Instant::now(),
            seen: Mutex::default(),
        }
    }

    /// Records what was seen; a comparison judges it.
    pub(crate) fn observe(&self, name: &str, seen: impl Into<Value>) {
        let mut state = self.seen.lock();
        state.outcomes.insert(name.to_owned(), seen.into());
    }

    /// Records what was seen and fails the scenario if it is not what any correct broker shows.
    pub(crate) fn expect(&self, name: &str, expected: impl Into<Value>, seen: impl Into<Value>) {
        let (expected, seen) = (expected.into(), seen.into());
        if expected != seen {
            self.fail(format!("{name}: expected {expected}, saw {seen}"));
        }
        self.observe(name, seen);
    }

    /// For what differs from run to run, as ids do: records only whether both are the same.
    pub(crate) fn expect_same(&self, name: &str, expected: &str, seen: &str) {
        if expected != seen {
            self.fail(format!("{name}: expected {expected}, saw {seen}"));
        }
        self.observe(name, expected == seen);
    }

    pub(crate) fn fail(&self, why: String) {
        self.seen.lock().failures.push(why);
    }

    pub(crate) fn line(&self) -> String {
        let seen = self.seen.lock();
        let status = if seen.failures.is_empty() {
            "passed"
        } else {
            "failed"
        };
        let line = json!({
            "scenario": self.scenario,
            "status": status,
            "outcomes": seen.outcomes,
            "failures": seen.failures,
            "millis": self.start.elapsed().as_millis() as u64,
        });
        line.to_string()
    }

    pub(crate) fn not_applicable(scenario: &str, reason: &str) -> String {
        let line = json!({"scenario": scenario, "status": "n/a", "reason": reason, "outcomes": {}, "failures": []});
        line.to_string()
    }
}
