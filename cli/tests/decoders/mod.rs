//! What `escrow check-server` is told. Shared by the corpus test and the fuzz target, each of which has the sources of the
//! binary as modules of its own: a binary has no other door.

use std::fs;
use std::path::PathBuf;

use clap::Parser;

use crate::config::CheckServerArgs;

/// A name and a function that takes any bytes.
pub(crate) type Decoder = (&'static str, fn(&[u8]));

/// All of them, by the name of their corpus folder.
pub(crate) const ALL: [Decoder; 1] = [("check_server", check_server)];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CheckServerArgs,
}

/// A TOML file; behind a zero byte values of `--group`, one a line. What is wrong is said in one line, without a password.
pub(crate) fn check_server(data: &[u8]) {
    const SECRET: &str = "Zq7Zq7Zq";
    let text = String::from_utf8_lossy(data).replace('\u{1}', SECRET);
    let (file, groups) = text.split_once('\0').unwrap_or((&text, ""));
    let path = path();
    fs::write(&path, file).expect("room");
    let flags = groups.lines().map(|group| format!("--group={group}"));
    let fixed = [
        "check-server".to_owned(),
        format!("--config={}", path.display()),
    ];
    let Ok(cli) = Cli::try_parse_from(fixed.into_iter().chain(flags)) else {
        return;
    };
    match cli.args.told() {
        Ok(told) => {
            told.passwords_in_sight();
        }
        Err(error) => {
            let error = format!("{error:#}");
            assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
        }
    }
}

/// One file for all runs of this process.
fn path() -> PathBuf {
    static FOLDER: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder"));
    folder.path().join("check-server.toml")
}
