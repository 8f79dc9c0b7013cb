//! Settings: what there is to set, where each value comes from, and what is refused.
//!
//! Defaults are overridden by the TOML file, that by the environment, that by flags. File keys are Apache's
//! property names where one exists; a flag is the field name in kebab case (`--flush-disk-type`), an
//! environment variable the field name in capitals after `ESCROW_`. All problems are reported together.
//! [`DOCS`] lists every setting for the command line and the documentation.

mod reference;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use escrow_protocol::names;

pub use reference::reference;
use value::Value;
pub use value::{
    Advertised, ByteSize, DelayLevels, FlushDiskType, HoursOfDay, Secret, TransactionFlush, Unit,
};

/// One setting as the documentation shows it.
#[derive(Debug, Clone, Copy)]
pub struct SettingDoc {
    /// The key in the TOML file; Apache's property name where one exists.
    pub key: &'static str,
    /// The field of [`Settings`]; flag and environment variable derive from it.
    pub field: &'static str,
    /// What a bare number means.
    pub unit: Unit,
    /// What it does.
    pub text: &'static str,
    /// Where the default comes from.
    pub source: &'static str,
}

impl SettingDoc {
    /// The flag without its dashes: `flush-disk-type`.
    pub fn flag(&self) -> String {
        self.field.replace('_', "-")
    }

    /// The environment variable: `ESCROW_FLUSH_DISK_TYPE`.
    pub fn variable(&self) -> String {
        format!("ESCROW_{}", self.field.to_ascii_uppercase())
    }
}

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $key:literal, $unit:ident, $source:literal; )+) => {
        /// Everything that can be set. Data only: disk and clock are components, handed over separately.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct Settings {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $( $field: $default, )+ }
            }
        }

        impl Settings {
            /// `None` if there is no such field.
            fn set(&mut self, field: &str, text: &str) -> Option<Result<(), String>> {
                match field {
                    $( stringify!($field) =>
                        Some(<$type as Value>::parse(text, Unit::$unit).map(|value| self.$field = value)), )+
                    _ => None,
                }
            }

            /// Every setting with its value in text form, in the order of [`DOCS`]. Secrets are not shown.
            pub fn shown(&self) -> Vec<(&'static str, String)> {
                vec![ $( ($key, self.$field.show()), )+ ]
            }
        }

        /// Every setting, in the order in which the documentation shows them.
        pub const DOCS: &[SettingDoc] = &[ $( SettingDoc {
            key: $key,
            field: stringify!($field),
            unit: Unit::$unit,
            text: concat!($($doc),+),
            source: $source,
        }, )+ ];
    };
}

settings! {
    /// The folder that holds all state. Created if it is missing; locked while in use.
    data_dir: PathBuf = PathBuf::from("./escrow-data"), "dataDir", Text, "ours";
    /// Where the name server listens. Port 0 takes a free one.
    namesrv_addr: SocketAddr = loopback(9876), "namesrvAddr", Text, "Apache's port";
    /// Where the broker listens. Port 0 takes a free one.
    broker_addr: SocketAddr = loopback(10911), "brokerAddr", Text, "Apache's listenPort";
    /// Where the admin API listens. Not on loopback: `adminToken` is needed.
    admin_addr: SocketAddr = loopback(8088), "adminAddr", Text, "ours";
    /// The bearer token that admin requests must carry. Empty: none, loopback only.
    admin_token: Option<Secret> = None, "adminToken", Text, "ours";
    /// The address that clients are sent to and that is part of every message id. Needed when the broker
    /// listens on 0.0.0.0; otherwise the address it listens on.
    advertised_addr: Option<Advertised> = None, "brokerIP1", Text, "Apache guesses one; a wrong guess is in every id";
    /// The broker's name. Kept in the data folder; starting with another name later is refused.
    broker_name: String = "broker-a".to_owned(), "brokerName", Text, "Apache's shipped broker.conf";
    /// The cluster that the broker says it belongs to.
    broker_cluster_name: String = "DefaultCluster".to_owned(), "brokerClusterName", Text, "Apache BrokerConfig";

    /// When plain messages are acknowledged: after the write (async) or after the disk has them (sync).
    flush_disk_type: FlushDiskType = FlushDiskType::Async, "flushDiskType", Text, "Apache MessageStoreConfig";
    /// What halfs and decisions wait for: the disk (sync), or the same as plain messages (follow).
    transaction_flush: TransactionFlush = TransactionFlush::Sync, "transactionFlush", Text, "ours: a lost half is an order's message lost for ever";
    /// The size of one commit-log segment.
    segment_size: ByteSize = ByteSize::gib(1), "mappedFileSizeCommitLog", Bytes, "Apache MessageStoreConfig";
    /// How long messages are kept, counted from the newest message or commit in a segment.
    file_reserved_time: Duration = Duration::from_secs(72 * 3600), "fileReservedTime", Hours, "Apache MessageStoreConfig; its shipped broker.conf says 48";
    /// The hours of the day in which expired segments are removed, as `04` or `04;16`, always UTC. Empty: as soon as they
    /// expire.
    delete_when: Option<HoursOfDay> = Some(HoursOfDay(vec![4])), "deleteWhen", Text, "Apache MessageStoreConfig, which takes them in the machine's time zone";
    /// If given: the part of the disk in use, from 10 to 95, above which expired segments are removed at any hour, as in
    /// Apache (which has 75), and above 85 also those that are not expired. `freeSpaceClean` then counts for nothing.
    disk_max_used_space_ratio: Option<u32> = None, "diskMaxUsedSpaceRatio", Percent, "not set: freeSpaceClean; a part of a large disk is a lot, of a small one nothing";
    /// Below this much free space segments are removed at any hour, oldest first, expired or not.
    free_space_clean: ByteSize = ByteSize::gib(8), "freeSpaceClean", Bytes, "ours; Apache has ratios only";
    /// Below this much free space halfs and messages are refused; decisions still pass.
    free_space_refuse: ByteSize = ByteSize::gib(2), "freeSpaceRefuse", Bytes, "ours; Apache has ratios only";
    /// Kept back in a file of its own and given up when the disk is full, so that decisions can still be written.
    free_space_reserve: ByteSize = ByteSize::mib(64), "freeSpaceReserve", Bytes, "ours";

    /// The largest message body.
    max_message_size: ByteSize = ByteSize::mib(4), "maxMessageSize", Bytes, "Apache MessageStoreConfig";
    /// The delay levels, level 1 first.
    message_delay_level: DelayLevels = delay_levels(), "messageDelayLevel", Text, "Apache MessageStoreConfig";
    /// Whether a send to an unknown topic creates it from `TBW102`.
    auto_create_topic_enable: bool = true, "autoCreateTopicEnable", Text, "Apache BrokerConfig";
    /// The queues of `TBW102`: the most that an automatically created topic gets.
    default_topic_queue_nums: u32 = 8, "defaultTopicQueueNums", Count, "Apache BrokerConfig";
    /// Whether a heartbeat or pull of an unknown consumer group creates it.
    auto_create_subscription_group: bool = true, "autoCreateSubscriptionGroup", Text, "Apache BrokerConfig";
    /// Whether the topic named like the cluster can be read and written.
    cluster_topic_enable: bool = true, "clusterTopicEnable", Text, "Apache BrokerConfig";
    /// Whether the topic named like the broker can be read and written.
    broker_topic_enable: bool = true, "brokerTopicEnable", Text, "Apache BrokerConfig";
    /// Whether the message-trace topic exists from the start.
    trace_topic_enable: bool = false, "traceTopicEnable", Text, "Apache BrokerConfig";
    /// How often consumer offsets are written to disk. `kill -9` redelivers at most this much.
    flush_consumer_offset_interval: Duration = Duration::from_secs(5), "flushConsumerOffsetInterval", Milliseconds, "Apache BrokerConfig";
    /// Whether half messages are refused.
    reject_transaction_message: bool = false, "rejectTransactionMessage", Text, "Apache BrokerConfig";

    /// If given: the fixed time from a half to its first check, as in Apache (which has 6s).
    transaction_time_out: Option<Duration> = None, "transactionTimeOut", Milliseconds, "not set: 10s, exact; Apache's 6s is 6s to 36s in effect";
    /// If given: the fixed time between two checks, as in Apache (which has 30s); no back-off.
    transaction_check_interval: Option<Duration> = None, "transactionCheckInterval", Milliseconds, "not set: 10s, doubled each time, at most 5m";
    /// If given: the number of checks after which a half is parked, as in Apache (which has 15); no age floor.
    transaction_check_max: Option<u32> = None, "transactionCheckMax", Count, "not set: 15 answered checks and at least 1h";
    /// Checks a second at most, over all groups: what keeps a storm of halfs that come due at once from the producers.
    checks_per_second: u32 = 1_000, "checksPerSecond", Count, "ours; Apache has no such limit";
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn delay_levels() -> DelayLevels {
    let seconds = [
        1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
    ];
    DelayLevels(seconds.into_iter().map(Duration::from_secs).collect())
}

/// Reads a duration with its unit: "500ms", "6s", "5m", "72h", "3d".
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    Value::parse(text, Unit::Text)
}

/// Where settings come from, in rising order of precedence.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The name and text of the TOML file, if one was given.
    pub file: Option<(PathBuf, String)>,
    /// The process environment; variables without the prefix `ESCROW_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Flag names without dashes, and their values.
    pub flags: Vec<(String, String)>,
}

/// Every problem with the settings, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.problems.join("\n"))]
pub struct SettingsError {
    /// One line per problem: where it was found, and what would be right.
    pub problems: Vec<String>,
}

impl Settings {
    /// Merges all sources over the defaults and checks the result.
    ///
    /// # Errors
    /// All problems of all sources together, unknown keys among them.
    pub fn load(sources: &Sources) -> Result<Settings, SettingsError> {
        let mut merge = Merge {
            settings: Settings::default(),
            problems: Vec::new(),
        };
        if let Some((path, text)) = &sources.file {
            merge.file(&path.display().to_string(), text);
        }
        merge.environment(&sources.environment);
        merge.flags(&sources.flags);
        merge.problems.extend(merge.settings.contradictions());
        if merge.problems.is_empty() {
            Ok(merge.settings)
        } else {
            Err(SettingsError {
                problems: merge.problems,
            })
        }
    }

    /// Checks what no single value shows. Empty: all is well.
    fn contradictions(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: fmt::Arguments<'_>| {
            if !holds {
                problems.push(problem.to_string());
            }
        };
        self.check_addresses(&mut require);
        self.check_sizes(&mut require);
        require(
            names::validate_topic(&self.broker_name).is_ok(),
            format_args!(
                "brokerName: `{}` may hold only %|a-zA-Z0-9_- and at most 127 characters",
                self.broker_name
            ),
        );
        require(
            names::validate_topic(&self.broker_cluster_name).is_ok(),
            format_args!(
                "brokerClusterName: `{}` may hold only %|a-zA-Z0-9_- and at most 127 characters",
                self.broker_cluster_name
            ),
        );
        require(
            (1..=1024).contains(&self.default_topic_queue_nums),
            format_args!(
                "defaultTopicQueueNums: {} is not from 1 to 1024",
                self.default_topic_queue_nums
            ),
        );
        require(
            (1..=1_000_000).contains(&self.checks_per_second),
            format_args!(
                "checksPerSecond: {} is not from 1 to 1000000",
                self.checks_per_second
            ),
        );
        require(
            !self.flush_consumer_offset_interval.is_zero(),
            format_args!("flushConsumerOffsetInterval: must be more than 0"),
        );
        problems
    }

    fn check_addresses(&self, require: &mut impl FnMut(bool, fmt::Arguments<'_>)) {
        require(
            self.advertised_addr.is_some() || !self.broker_addr.ip().is_unspecified(),
            format_args!(
                "brokerIP1 (--advertised-addr): needed because the broker listens on {}; give the address that \
                 clients reach",
                self.broker_addr
            ),
        );
        require(
            self.advertised_addr
                .is_none_or(|advertised| !advertised.ip.is_unspecified()),
            format_args!("brokerIP1 (--advertised-addr): clients cannot connect to 0.0.0.0"),
        );
        require(
            self.admin_token.is_some() || self.admin_addr.ip().is_loopback(),
            format_args!(
                "adminToken: needed because the admin API listens on {}",
                self.admin_addr
            ),
        );
        require(
            self.admin_token
                .as_ref()
                .is_none_or(|token| token.0.len() >= 16),
            format_args!("adminToken: shorter than 16 characters"),
        );
    }

    fn check_sizes(&self, require: &mut impl FnMut(bool, fmt::Arguments<'_>)) {
        // A frame holds the body, up to 32 KiB of properties twice escaped, and the header.
        let message_max = ByteSize::mib(15);
        require(
            self.max_message_size <= message_max && self.max_message_size.0 > 0,
            format_args!(
                "maxMessageSize: {} is not from 1 to {}; a frame holds no more",
                self.max_message_size.show(),
                message_max.show()
            ),
        );
        let segment_min = ByteSize(self.max_message_size.0.saturating_add(ByteSize::kib(128).0));
        require(
            self.segment_size >= segment_min && self.segment_size <= ByteSize::gib(2),
            format_args!(
                "mappedFileSizeCommitLog: {} is not from {} (the largest message must fit) to 2GiB",
                self.segment_size.show(),
                segment_min.show()
            ),
        );
        require(
            self.disk_max_used_space_ratio
                .is_none_or(|ratio| (10..=95).contains(&ratio)),
            format_args!("diskMaxUsedSpaceRatio: not from 10 to 95"),
        );
        require(
            self.free_space_clean >= self.free_space_refuse
                && self.free_space_refuse >= self.free_space_reserve,
            format_args!(
                "freeSpaceClean, freeSpaceRefuse, freeSpaceReserve: {}, {}, {} do not fall in this order",
                self.free_space_clean.show(),
                self.free_space_refuse.show(),
                self.free_space_reserve.show()
            ),
        );
    }
}

struct Merge {
    settings: Settings,
    problems: Vec<String>,
}

impl Merge {
    fn file(&mut self, name: &str, text: &str) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                let before = error.span().and_then(|span| text.get(..span.start));
                let line = 1 + before.unwrap_or_default().matches('\n').count();
                self.problems.push(format!(
                    "{name}: line {line}: {}",
                    error.message().replace('\n', "; ")
                ));
                return;
            }
        };
        for (key, value) in &table {
            let Some(doc) = DOCS.iter().find(|doc| doc.key == key) else {
                self.problems
                    .push(format!("{name}: unknown key `{key}`{}", suggestion(key)));
                continue;
            };
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(truth) => truth.to_string(),
                other => {
                    self.problems.push(format!(
                        "{name}: {key}: a {} is not possible here",
                        other.type_str()
                    ));
                    continue;
                }
            };
            self.set(doc, &text, &format!("{name}: {key}"));
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for doc in DOCS {
            let name = doc.variable();
            if let Some((_, text)) = variables.iter().find(|(variable, _)| *variable == name) {
                self.set(doc, text, &name);
            }
        }
    }

    fn flags(&mut self, flags: &[(String, String)]) {
        for (flag, text) in flags {
            match DOCS.iter().find(|doc| doc.flag() == *flag) {
                Some(doc) => self.set(doc, text, &format!("--{flag}")),
                None => self.problems.push(format!("--{flag}: no such flag")),
            }
        }
    }

    fn set(&mut self, doc: &SettingDoc, text: &str, origin: &str) {
        if let Some(Err(problem)) = self.settings.set(doc.field, text) {
            self.problems.push(format!("{origin}: {problem}"));
        }
    }
}

/// A known key that differs only in case or separators: the likeliest slip.
fn suggestion(key: &str) -> String {
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    DOCS.iter()
        .find(|doc| plain(doc.key) == plain(key) || plain(doc.field) == plain(key))
        .map_or_else(String::new, |doc| format!("; did you mean `{}`?", doc.key))
}

#[cfg(test)]
mod tests;
