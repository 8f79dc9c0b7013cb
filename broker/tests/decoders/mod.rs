//! What an operator hands to a broker, as any bytes: settings, requests to the admin API, a data folder. Nothing may panic or
//! hang, and each refusal is in words. Shared by the corpus test and the fuzz targets.

mod admin;
mod config;
mod folder;
mod http;
#[path = "../support/mod.rs"]
mod support;

pub(crate) use admin::admin;
pub(crate) use config::config;
pub(crate) use folder::folder;

/// A name and a function that takes any bytes.
pub(crate) type Decoder = (&'static str, fn(&[u8]));

/// All of them, by the name of their corpus folder.
pub(crate) const ALL: [Decoder; 3] = [("config", config), ("admin", admin), ("folder", folder)];

/// Text as it comes, cut at zero bytes.
fn sections<const N: usize>(data: &[u8]) -> [String; N] {
    let mut parts = data.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned())
}

/// `name=value`, one a line.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
