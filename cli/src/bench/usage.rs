//! What a process uses, out of `/proc`: the generator itself, and the broker if it is on this machine.

use anyhow::Context as _;
use serde::Serialize;

/// Linux gives CPU times to programs in this unit, whatever the kernel ticks at.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters of one process at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
    resident_peak_bytes: u64,
    /// Bytes that the process caused to be written to disk, mapped files included.
    written_bytes: u64,
}

impl Usage {
    /// `None` for this process.
    pub(super) fn of(pid: Option<u32>) -> anyhow::Result<Self> {
        let folder = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
        let read = |name: &str| {
            let path = format!("{folder}/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (stat, status, io) = (read("stat")?, read("status")?, read("io")?);
        let kib = |name| number_after(&status, name).map(|kib| kib * 1024);
        Ok(Self {
            cpu_seconds: cpu_ticks(&stat).context("unreadable stat")? as f64 / TICKS_PER_SECOND,
            resident_bytes: kib("VmRSS:").context("no VmRSS")?,
            resident_peak_bytes: kib("VmHWM:").context("no VmHWM")?,
            written_bytes: number_after(&io, "write_bytes:").context("no write_bytes")?,
        })
    }
}

/// What a process used within the measured window.
#[derive(Debug, Serialize)]
pub(super) struct Used {
    /// CPUs kept busy.
    pub(super) cpus: f64,
    pub(super) resident_bytes: u64,
    pub(super) resident_peak_bytes: u64,
    pub(super) written_bytes: u64,
}

impl Used {
    pub(super) fn between(before: Usage, after: Usage, seconds: f64) -> Self {
        Self {
            cpus: (after.cpu_seconds - before.cpu_seconds) / seconds,
            resident_bytes: after.resident_bytes,
            resident_peak_bytes: after.resident_peak_bytes,
            written_bytes: after.written_bytes - before.written_bytes,
        }
    }
}

/// User and system time. The program's name, field 2, may hold anything but ends with the last `)`.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(200));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(None).unwrap();
        assert!(usage.resident_bytes > 0);
        assert!(usage.resident_peak_bytes >= usage.resident_bytes / 2);
    }
}
