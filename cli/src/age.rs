//! Spans of time as people write them: `7d`, `1h`, `30m`, `15s`, `500ms`.

use std::str::FromStr;
use std::time::Duration;

/// A span of time from the command line or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age(pub(crate) Duration);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no span of time: write 7d, 1h, 30m, 15s or 500ms");
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(unit_at);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let ms = number.checked_mul(ms).ok_or_else(wrong)?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_in_every_unit_and_nothing_else_is() {
        let check = |text: &str, ms| assert_eq!(text.parse(), Ok(Age(Duration::from_millis(ms))));
        check("7d", 604_800_000);
        check("1h", 3_600_000);
        check("30m", 1_800_000);
        check("15s", 15_000);
        check("500ms", 500);
        for wrong in [
            "",
            "7",
            "d",
            "1w",
            "-1h",
            "1.5h",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(wrong.parse::<Age>().is_err(), "{wrong}");
        }
    }
}
