//! What `escrow check-server` is told: by flags, and by a TOML file that flags override.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use escrow_client::Settings;
use escrow_client::check_server::{CheckServerSettings, GroupSettings};
use escrow_client::database::{Untagged, UrlSource};
use serde::Deserialize;

use crate::age::Age;

const NAMESRV_ADDR: &str = "127.0.0.1:9876";
const ADMIN_ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8089);
const CHECKS_MAX: usize = 64;
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Args, Debug, Default)]
pub(crate) struct CheckServerArgs {
    /// TOML file; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name servers, joined by ';' [default: 127.0.0.1:9876] [file: namesrvAddr]
    #[arg(short = 'n', long, env = "NAMESRV_ADDR", value_name = "ADDR")]
    namesrv_addr: Option<String>,
    /// A producer group and the database that holds its markers; DATABASE_URL may be env:NAME or file:PATH, so that
    /// no password stands in a process list. Once for each group; with shards, once for each shard. [file: group]
    #[arg(long, value_name = "GROUP[/SHARD]=DATABASE_URL")]
    group: Vec<GroupFlag>,
    /// What to say of halfs that do not name their database (ESCROW_DOMAIN) [default: commit-only] [file: untagged]
    #[arg(long)]
    untagged: Option<UntaggedFlag>,
    /// Where /health and /metrics are served; port 0 takes a free one [default: 127.0.0.1:8089] [file: adminAddr]
    #[arg(long, value_name = "ADDR")]
    admin_addr: Option<SocketAddr>,
    /// Checks of one group that are worked on at a time; more are left for the broker to repeat [default: 64]
    /// [file: checksMax]
    #[arg(long, value_name = "COUNT")]
    checks_max: Option<usize>,
    /// Pause between two looks at a database that answers, and for new brokers [default: 5s] [file: probeInterval]
    #[arg(long, value_name = "TIME")]
    probe_interval: Option<Age>,
}

/// What is said of halfs that do not name their database.
#[derive(ValueEnum, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum UntaggedFlag {
    /// Commit if the marker is there, else unknown
    CommitOnly,
    /// As of others: roll back what has no marker. Only if every producer of the group writes markers
    Decide,
}

impl From<UntaggedFlag> for Untagged {
    fn from(flag: UntaggedFlag) -> Self {
        match flag {
            UntaggedFlag::CommitOnly => Self::CommitOnly,
            UntaggedFlag::Decide => Self::Decide,
        }
    }
}

/// `GROUP=URL` or `GROUP/SHARD=URL`: no group name holds a slash.
#[derive(Debug, Clone)]
pub(crate) struct GroupFlag {
    pub(crate) group: String,
    pub(crate) shard: Option<String>,
    pub(crate) database: UrlSource,
}

impl FromStr for GroupFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Not to be repeated in an error: it may hold a password.
        let wrong = "write GROUP=DATABASE_URL or GROUP/SHARD=DATABASE_URL";
        let (name, url) = text.split_once('=').ok_or(wrong)?;
        let (group, shard) = match name.split_once('/') {
            Some((group, shard)) => (group, Some(shard)),
            None => (name, None),
        };
        if group.is_empty() || shard == Some("") || url.is_empty() {
            return Err(wrong.to_owned());
        }
        let Ok(database) = url.parse();
        Ok(Self {
            group: group.to_owned(),
            shard: shard.map(str::to_owned),
            database,
        })
    }
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    namesrv_addr: Option<String>,
    admin_addr: Option<SocketAddr>,
    untagged: Option<UntaggedFlag>,
    checks_max: Option<usize>,
    probe_interval: Option<String>,
    #[serde(default)]
    group: Vec<FileGroup>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileGroup {
    name: String,
    untagged: Option<UntaggedFlag>,
    #[serde(default)]
    database: Databases,
    #[serde(default)]
    shards: BTreeMap<String, String>,
}

/// One database, or several that are told apart by their domain.
#[derive(Deserialize, Debug)]
#[serde(untagged)]
enum Databases {
    One(String),
    Several(Vec<String>),
}

impl Default for Databases {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl FileGroup {
    fn settings(self, untagged: UntaggedFlag) -> GroupSettings {
        let source = |text: String| {
            let Ok(source) = text.parse();
            source
        };
        let databases = match self.database {
            Databases::One(url) => vec![url],
            Databases::Several(urls) => urls,
        };
        let databases = databases.into_iter().map(|url| (None, source(url)));
        let shards = self.shards.into_iter();
        let shards = shards.map(|(shard, url)| (Some(shard), source(url)));
        GroupSettings {
            name: self.name,
            databases: databases.chain(shards).collect(),
            untagged: self.untagged.unwrap_or(untagged).into(),
        }
    }
}

/// All that is needed to run.
pub(super) struct Told {
    pub(super) server: CheckServerSettings,
    pub(super) admin_addr: SocketAddr,
}

impl Told {
    /// Group and database where the URL is on the command line or in the file with its password: every process, or
    /// every reader of that file, sees it.
    pub(super) fn passwords_in_sight(&self) -> Vec<(String, String)> {
        let all = self.server.groups.iter().flat_map(|group| {
            let sources = group.databases.iter().map(|(_, source)| source);
            let in_sight = sources.filter(|source| source.shows_password());
            in_sight.map(|source| (group.name.clone(), source.to_string()))
        });
        all.collect()
    }
}

impl CheckServerArgs {
    pub(super) fn told(self) -> anyhow::Result<Told> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let untagged = self.untagged.or(file.untagged);
        let untagged = untagged.unwrap_or(UntaggedFlag::CommitOnly);
        let namesrv_addr = self.namesrv_addr.or(file.namesrv_addr);
        let checks_max = self.checks_max.or(file.checks_max).unwrap_or(CHECKS_MAX);
        if checks_max == 0 {
            bail!("checksMax is 0: no check would ever be answered");
        }
        let probe_interval = match (self.probe_interval, file.probe_interval) {
            (Some(Age(given)), _) => given,
            (None, Some(text)) => {
                text.parse::<Age>()
                    .map_err(|e| anyhow!("probeInterval: {e}"))?
                    .0
            }
            (None, None) => PROBE_INTERVAL,
        };
        let mut groups = grouped(self.group, untagged);
        for group in file.group {
            // A flag replaces what the file says of that group.
            if !groups
                .iter()
                .any(|given| given.name == group.name && given.flag)
            {
                groups.push(Given {
                    name: group.name.clone(),
                    flag: false,
                    settings: group.settings(untagged),
                });
            }
        }
        let client = Settings {
            checks_max,
            // Brokers that are new, or that were not there at the start, are to be met soon.
            route_interval: probe_interval,
            ..Settings::new(namesrv_addr.as_deref().unwrap_or(NAMESRV_ADDR))
        };
        Ok(Told {
            server: CheckServerSettings {
                client,
                groups: groups.into_iter().map(|given| given.settings).collect(),
                probe_interval,
            },
            admin_addr: self.admin_addr.or(file.admin_addr).unwrap_or(ADMIN_ADDR),
        })
    }
}

struct Given {
    name: String,
    flag: bool,
    settings: GroupSettings,
}

/// The flags of one group together, in the order in which the groups are first named.
fn grouped(flags: Vec<GroupFlag>, untagged: UntaggedFlag) -> Vec<Given> {
    let mut groups: Vec<Given> = Vec::new();
    for flag in flags {
        let place = (flag.shard, flag.database);
        if let Some(given) = groups.iter_mut().find(|given| given.name == flag.group) {
            given.settings.databases.push(place);
            continue;
        }
        groups.push(Given {
            name: flag.group.clone(),
            flag: true,
            settings: GroupSettings {
                name: flag.group,
                databases: vec![place],
                untagged: untagged.into(),
            },
        });
    }
    groups
}

fn read(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| {
            1 + text
                .bytes()
                .take(span.start)
                .filter(|byte| *byte == b'\n')
                .count()
        });
        // Only the message: the line itself may hold a password.
        anyhow!("{shown}, line {line}: {}", error.message())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(groups: &[&str]) -> CheckServerArgs {
        CheckServerArgs {
            group: groups.iter().map(|text| text.parse().unwrap()).collect(),
            ..CheckServerArgs::default()
        }
    }

    fn with_file(mut args: CheckServerArgs, text: &str) -> anyhow::Result<Told> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("check-server.toml");
        std::fs::write(&path, text).unwrap();
        args.config = Some(path);
        args.told()
    }

    fn shown(groups: &[GroupSettings]) -> Vec<String> {
        let show = |group: &GroupSettings| {
            let databases = group.databases.iter().map(|(shard, source)| match shard {
                Some(shard) => format!("{shard} {source}"),
                None => source.to_string(),
            });
            let databases: Vec<String> = databases.collect();
            format!(
                "{}: {} ({:?})",
                group.name,
                databases.join(", "),
                group.untagged
            )
        };
        groups.iter().map(show).collect()
    }

    #[test]
    fn flags_of_one_group_belong_together() {
        let told = flags(&["a/eu=env:A_EU", "b=sqlite:b.db", "a/us=file:/run/a-us"])
            .told()
            .unwrap();
        assert_eq!(
            shown(&told.server.groups),
            [
                "a: eu env:A_EU, us file:/run/a-us (CommitOnly)",
                "b: sqlite:b.db (CommitOnly)"
            ]
        );
        assert_eq!(told.admin_addr, ADMIN_ADDR);
        assert_eq!(told.server.client.name_servers, [NAMESRV_ADDR]);
    }

    #[test]
    fn a_flag_replaces_what_the_file_says() {
        let file = r#"
            namesrvAddr = "a:9876;b:9876"
            adminAddr = "127.0.0.1:0"
            untagged = "decide"
            probeInterval = "250ms"
            [[group]]
            name = "orders"
            database = "env:ORDERS"
            [[group]]
            name = "payments"
            untagged = "commit-only"
            shards = { eu = "env:EU", us = "env:US" }
            [[group]]
            name = "stock"
            database = ["env:OLD", "env:NEW"]
            untagged = "commit-only"
        "#;
        let told = with_file(flags(&["orders=env:MINE"]), file).unwrap();
        assert_eq!(
            shown(&told.server.groups),
            [
                "orders: env:MINE (Decide)",
                "payments: eu env:EU, us env:US (CommitOnly)",
                "stock: env:OLD, env:NEW (CommitOnly)"
            ]
        );
        assert_eq!(told.server.client.name_servers, ["a:9876", "b:9876"]);
        assert_eq!(told.server.probe_interval, Duration::from_millis(250));
        assert_eq!(told.admin_addr.port(), 0);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_in_one_line_without_its_secrets() {
        let file = "[[group]]\nname = \"a\"\npassword = \"s3cret\"\n";
        let error = with_file(flags(&[]), file).err().unwrap().to_string();
        assert!(
            error.contains("line 3: unknown field `password`"),
            "{error}"
        );
        assert!(
            !error.contains("s3cret") && !error.contains('\n'),
            "{error}"
        );
        let error = "orders:postgres://a:s3cret@db/x"
            .parse::<GroupFlag>()
            .unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
