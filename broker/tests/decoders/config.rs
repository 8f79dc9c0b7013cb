//! Settings from a file, the environment and flags.

use std::path::PathBuf;

use escrow_broker::config::{DOCS, Settings, Sources};

use super::{pairs, sections};

/// A TOML file; behind a zero byte the environment, behind another the flags. What is accepted can be shown, and is read back
/// from what is shown.
pub(crate) fn config(data: &[u8]) {
    let [file, environment, flags] = sections(data);
    let sources = Sources {
        file: Some((PathBuf::from("escrow.toml"), file)),
        environment: pairs(&environment),
        flags: pairs(&flags),
    };
    match Settings::load(&sources) {
        Ok(settings) => {
            let again = Settings::load(&Sources {
                flags: shown(&settings),
                ..Sources::default()
            });
            assert_eq!(again, Ok(settings), "what is shown is read back");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal says why"),
    }
}

fn shown(settings: &Settings) -> Vec<(String, String)> {
    let shown = settings.shown().into_iter().zip(DOCS);
    shown
        .map(|((key, value), doc)| {
            assert_eq!(key, doc.key);
            let value = match (&settings.admin_token, key) {
                (Some(token), "adminToken") => token.0.clone(),
                _ => value,
            };
            (doc.flag(), value)
        })
        .collect()
}
