//! Times and sizes: a number and a suffix.

use std::time::Duration;

use super::{ByteSize, Unit, Value};

impl Value for Duration {
    fn parse(text: &str, unit: Unit) -> Result<Duration, String> {
        let (number, suffix) = split_number(text);
        let millis_each = match (suffix, unit) {
            ("ms", _) | ("", Unit::Milliseconds) => 1,
            ("s", _) | ("", Unit::Seconds) => 1_000,
            ("m" | "min", _) => 60_000,
            ("h", _) | ("", Unit::Hours) => 3_600_000,
            ("d", _) => 86_400_000,
            _ => {
                return Err(format!(
                    "`{text}` is not a duration like 500ms, 6s, 5m, 72h or 3d"
                ));
            }
        };
        let millis = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(millis_each));
        millis
            .map(Duration::from_millis)
            .ok_or_else(|| format!("`{text}` is not a duration like 500ms, 6s, 5m, 72h or 3d"))
    }

    fn show(&self) -> String {
        let millis = self.as_millis();
        for (each, suffix) in [(3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
            if millis > 0 && millis.is_multiple_of(each) {
                return format!("{}{suffix}", millis / each);
            }
        }
        format!("{millis}ms")
    }
}

impl Value for ByteSize {
    fn parse(text: &str, _: Unit) -> Result<ByteSize, String> {
        let (number, suffix) = split_number(text);
        let shift = match suffix {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => {
                return Err(format!(
                    "`{text}` is not a size like 4194304, 64KiB, 4MiB or 1GiB"
                ));
            }
        };
        let bytes = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(1 << shift));
        bytes
            .map(ByteSize)
            .ok_or_else(|| format!("`{text}` is not a size like 4194304, 64KiB, 4MiB or 1GiB"))
    }

    fn show(&self) -> String {
        for (shift, suffix) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return format!("{}{suffix}", self.0 >> shift);
            }
        }
        self.0.to_string()
    }
}

/// Splits "64KiB" into "64" and "KiB".
fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    (number, suffix.trim_start())
}
