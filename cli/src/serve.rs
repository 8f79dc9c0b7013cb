//! `escrow serve`: name server, broker, coordinator and admin API in one process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use escrow_broker::Broker;
use escrow_broker::config::{DOCS, Settings, Sources};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The setting that must not show up in a process list: given by file only.
const TOKEN: &str = "admin-token";
/// What is still running after the broker's own ten seconds is abandoned.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One flag per setting, and where to read more settings from.
#[derive(Debug, Default)]
pub(crate) struct ServeArgs {
    config: Option<PathBuf>,
    token_file: Option<PathBuf>,
    flags: Vec<(String, String)>,
}

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let file = |name: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(help)
        };
        let command = command
            .arg(file(
                "config",
                "TOML file with settings; flags and environment override it",
            ))
            .arg(file(
                "admin-token-file",
                "File that holds the bearer token of the admin API",
            ));
        let defaults = Settings::default().shown();
        DOCS.iter()
            .zip(&defaults)
            .filter(|(doc, _)| doc.flag() != TOKEN)
            .fold(command, |command, (doc, (_, default))| {
                let default = if default.is_empty() { "none" } else { default };
                let help = format!(
                    "{} [default: {default}] [file: {}] [env: {}]",
                    doc.text.trim(),
                    doc.key,
                    doc.variable()
                );
                let arg = Arg::new(doc.field)
                    .long(doc.flag())
                    .value_name("VALUE")
                    .help(help);
                command.arg(arg)
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one("config").cloned();
        self.token_file = matches.get_one("admin-token-file").cloned();
        self.flags = DOCS
            .iter()
            .filter(|doc| doc.flag() != TOKEN)
            .filter_map(|doc| Some((doc.flag(), matches.get_one::<String>(doc.field)?.clone())))
            .collect();
        Ok(())
    }
}

impl ServeArgs {
    fn settings(self) -> anyhow::Result<Settings> {
        let mut flags = self.flags;
        if let Some(path) = &self.token_file {
            flags.push((TOKEN.to_owned(), crate::admin::read_token(path)?));
        }
        let sources = Sources {
            file: self.config.map(read).transpose()?,
            environment: environment(),
            flags,
        };
        Ok(Settings::load(&sources)?)
    }
}

fn read(path: PathBuf) -> anyhow::Result<(PathBuf, String)> {
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path, text))
}

/// What of the environment is text; a setting is always text.
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let settings = args.settings()?;
    log_to_stderr();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(LAST_WORDS);
    served
}

/// Every connection and every file takes a descriptor, and the usual soft limit, 1,024, is meant for programs that use
/// `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, ?limit, "cannot raise the limit of file descriptors");
    }
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    // Asked for before the start, so that no signal finds the default action in place.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let broker = Broker::start(settings).await?;
    announce(&broker)?;
    let received = first_of(&mut terminate, &mut interrupt).await;
    tracing::info!("{received} received, shutting down");
    broker.shutdown().await;
    tracing::info!("shut down");
    Ok(())
}

/// The one line on stdout: scripts wait for it and read the real ports from it.
fn announce(broker: &Broker) -> anyhow::Result<()> {
    use std::io::Write as _;
    let at = broker.addresses();
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        "escrow ready namesrv={} broker={} admin={}",
        at.namesrv, at.broker, at.admin
    )
    .and_then(|()| stdout.flush())
    .context("cannot write to stdout")
}

async fn first_of(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Logs go to stderr; `ESCROW_LOG` filters them as `RUST_LOG` does elsewhere. Default: info.
pub(crate) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ESCROW_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A second call, in a test, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}

/// Settings for a broker that lives in `folder` on free ports, for the demo.
pub(crate) fn embedded(folder: &Path, more: &[(&str, &str)]) -> anyhow::Result<Settings> {
    let free_port = "127.0.0.1:0".to_owned();
    let mut flags = vec![
        ("data-dir".to_owned(), folder.display().to_string()),
        ("namesrv-addr".to_owned(), free_port.clone()),
        ("broker-addr".to_owned(), free_port.clone()),
        ("admin-addr".to_owned(), free_port),
    ];
    flags.extend(
        more.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let sources = Sources {
        flags,
        ..Sources::default()
    };
    Ok(Settings::load(&sources)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Serve {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn parse(line: &str) -> Result<ServeArgs, clap::Error> {
        let words = ["serve"].into_iter().chain(line.split_whitespace());
        Serve::try_parse_from(words).map(|serve| serve.args)
    }

    #[test]
    fn every_setting_but_the_token_is_a_flag() {
        let args =
            parse("--flush-disk-type sync --transaction-flush follow --data-dir /tmp/x").unwrap();
        let given: Vec<&str> = args.flags.iter().map(|(flag, _)| flag.as_str()).collect();
        assert_eq!(given, ["data-dir", "flush-disk-type", "transaction-flush"]);
        assert!(parse("--admin-token secret").is_err());
        assert!(parse("--no-such-flag 1").is_err());
    }

    #[test]
    fn a_flag_overrides_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("escrow.toml");
        std::fs::write(
            &file,
            "brokerName = \"from-file\"\nflushDiskType = \"sync\"\n",
        )
        .unwrap();
        let args = parse(&format!(
            "--config {} --broker-name from-flag",
            file.display()
        ))
        .unwrap();
        let settings = args.settings().unwrap();
        assert_eq!(settings.broker_name, "from-flag");
        assert!(
            settings
                .shown()
                .contains(&("flushDiskType", "sync".to_owned()))
        );
    }

    #[test]
    fn an_unknown_key_of_the_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("escrow.toml");
        std::fs::write(&file, "flushDisk = \"sync\"\n").unwrap();
        let args = parse(&format!("--config {}", file.display())).unwrap();
        let error = args.settings().unwrap_err().to_string();
        assert!(error.contains("unknown key `flushDisk`"), "{error}");
    }
}
