//! How the text of one setting becomes a typed value, and back.
//!
//! The same text form serves flags, environment and TOML strings. A bare number takes the setting's own
//! [`Unit`], which is the unit of the Apache property of that name; a suffix ("6s", "1GiB") overrides it.

mod quantity;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What a bare number means for a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// The value is no quantity: a name, an address, a choice.
    Text,
    /// A plain number of things.
    Count,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Hours.
    Hours,
    /// Bytes.
    Bytes,
    /// Parts of a hundred.
    Percent,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Text => "text",
            Unit::Count => "count",
            Unit::Milliseconds => "milliseconds",
            Unit::Seconds => "seconds",
            Unit::Hours => "hours",
            Unit::Bytes => "bytes",
            Unit::Percent => "percent",
        })
    }
}

/// A type that a setting may have.
pub(super) trait Value: Sized {
    /// Reads the text form; the error says what would have been right.
    fn parse(text: &str, unit: Unit) -> Result<Self, String>;
    /// The text form that [`Value::parse`] reads back as this value.
    fn show(&self) -> String;
}

/// A number of bytes: "4194304", "4MiB", "1GiB".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` times 1024 bytes.
    pub const fn kib(n: u64) -> ByteSize {
        ByteSize(n << 10)
    }

    /// `n` times 1024 * 1024 bytes.
    pub const fn mib(n: u64) -> ByteSize {
        ByteSize(n << 20)
    }

    /// `n` times 1024 * 1024 * 1024 bytes.
    pub const fn gib(n: u64) -> ByteSize {
        ByteSize(n << 30)
    }
}

/// When appended bytes are forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushDiskType {
    /// Acknowledge after the write; the operating system decides when the disk gets it.
    Async,
    /// Acknowledge after the disk has it.
    Sync,
}

/// What halfs and decisions wait for before they are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionFlush {
    /// The disk, whatever plain messages wait for.
    Sync,
    /// The same as plain messages.
    Follow,
}

/// The delay levels: level 1 is the first. From one to eighteen of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels(pub Vec<Duration>);

/// The address that clients are told to connect to; without a port, the port that is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertised {
    /// Where clients reach this broker.
    pub ip: IpAddr,
    /// The port clients use, when it is not the one listened on.
    pub port: Option<u16>,
}

/// Hours of the day, each 0 to 23; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoursOfDay(pub Vec<u8>);

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Value for bool {
    fn parse(text: &str, _: Unit) -> Result<bool, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is neither true nor false"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    fn parse(text: &str, _: Unit) -> Result<u32, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not a whole number from 0 to {}", u32::MAX))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn parse(text: &str, _: Unit) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    fn parse(text: &str, _: Unit) -> Result<PathBuf, String> {
        if text.is_empty() {
            return Err("a path may not be empty".to_owned());
        }
        Ok(PathBuf::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for SocketAddr {
    fn parse(text: &str, _: Unit) -> Result<SocketAddr, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not an address like 127.0.0.1:10911"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Advertised {
    fn parse(text: &str, _: Unit) -> Result<Advertised, String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Advertised { ip, port: None });
        }
        let address: SocketAddr = text
            .parse()
            .map_err(|_| format!("`{text}` is not an address like 10.0.0.5 or 10.0.0.5:10911"))?;
        Ok(Advertised {
            ip: address.ip(),
            port: Some(address.port()),
        })
    }

    fn show(&self) -> String {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).to_string(),
            None => self.ip.to_string(),
        }
    }
}

impl Value for Secret {
    fn parse(text: &str, _: Unit) -> Result<Secret, String> {
        Ok(Secret(text.to_owned()))
    }

    fn show(&self) -> String {
        "(set)".to_owned()
    }
}

impl<T: Value> Value for Option<T> {
    fn parse(text: &str, unit: Unit) -> Result<Option<T>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        T::parse(text, unit).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, Value::show)
    }
}

impl Value for FlushDiskType {
    /// Also takes the spelling of Apache's configuration files, `ASYNC_FLUSH` and `SYNC_FLUSH`.
    fn parse(text: &str, _: Unit) -> Result<FlushDiskType, String> {
        match text.to_ascii_lowercase().as_str() {
            "async" | "async_flush" => Ok(FlushDiskType::Async),
            "sync" | "sync_flush" => Ok(FlushDiskType::Sync),
            _ => Err(format!("`{text}` is neither async nor sync")),
        }
    }

    fn show(&self) -> String {
        match self {
            FlushDiskType::Async => "async".to_owned(),
            FlushDiskType::Sync => "sync".to_owned(),
        }
    }
}

impl Value for TransactionFlush {
    fn parse(text: &str, _: Unit) -> Result<TransactionFlush, String> {
        match text {
            "sync" => Ok(TransactionFlush::Sync),
            "follow" => Ok(TransactionFlush::Follow),
            _ => Err(format!("`{text}` is neither sync nor follow")),
        }
    }

    fn show(&self) -> String {
        match self {
            TransactionFlush::Sync => "sync".to_owned(),
            TransactionFlush::Follow => "follow".to_owned(),
        }
    }
}

impl Value for DelayLevels {
    fn parse(text: &str, _: Unit) -> Result<DelayLevels, String> {
        let levels: Result<Vec<Duration>, String> = text
            .split_whitespace()
            .map(|level| Duration::parse(level, Unit::Text))
            .collect();
        let levels = levels?;
        // The schedule topic has eighteen queues, one per level, in Apache as here.
        if levels.is_empty() || levels.len() > 18 {
            return Err(format!(
                "from 1 to 18 delay levels are possible, not {}",
                levels.len()
            ));
        }
        Ok(DelayLevels(levels))
    }

    fn show(&self) -> String {
        self.0.iter().map(Value::show).collect::<Vec<_>>().join(" ")
    }
}

impl Value for HoursOfDay {
    /// Apache's form, "04" or "04;16".
    fn parse(text: &str, _: Unit) -> Result<HoursOfDay, String> {
        let hour = |text: &str| {
            let hour = text.trim().parse::<u8>().ok();
            hour.filter(|hour| *hour < 24)
        };
        let hours: Option<Vec<u8>> = text.split(';').map(hour).collect();
        hours.map(HoursOfDay).ok_or_else(|| {
            format!("`{text}` is no hour of the day like 04, nor several like 04;16")
        })
    }

    fn show(&self) -> String {
        let hours: Vec<_> = self.0.iter().map(|hour| format!("{hour:02}")).collect();
        hours.join(";")
    }
}

#[cfg(test)]
mod tests;
