//! What a user hands to the client as text. Shared by the corpus test and the fuzz targets.

use escrow_client::database::{Tables, UrlSource, url::shown};

/// A name and a function that takes any bytes.
pub(crate) type Decoder = (&'static str, fn(&[u8]));

/// All of them, by the name of their corpus folder.
pub(crate) const ALL: [Decoder; 1] = [("url", url)];

const SECRET: &str = "Zq7Zq7Zq";

const SCHEMES: [&str; 7] = [
    "postgres",
    "postgresql",
    "mysql",
    "mariadb",
    "sqlite",
    "http",
    "oracle",
];

/// The first byte chooses: any text as a URL, or one with a password where passwords stand. What follows is user, rest of the
/// password, and what stands behind the `@`, each up to a line break. A password is printed nowhere, errors included.
pub(crate) fn url(data: &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let text = String::from_utf8_lossy(rest);
    if first & 0x80 != 0 {
        read(&text);
        return;
    }
    let scheme = SCHEMES[usize::from(*first) % SCHEMES.len()];
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (user, password, host) = (part(), part(), part());
    // A user name with a `:` or a URL in it is none. A fuzzer finds the password out, and calls a host by it.
    if user.contains([':', '@', '/', '?', '#']) || text.contains(SECRET) {
        return;
    }
    for url in [
        format!("{scheme}://{user}:{SECRET}{password}@{host}"),
        format!("{scheme}://{user}:{password}{SECRET}@{host}"),
        format!("{scheme}://{host}?user={user}&password={SECRET}{password}"),
    ] {
        for told in read(&url) {
            assert!(!told.contains(SECRET), "{url:?} is told as {told:?}");
        }
    }
}

/// Everything that is ever printed about a URL.
fn read(text: &str) -> Vec<String> {
    let Ok(source) = text.parse::<UrlSource>();
    let mut told = vec![source.to_string(), format!("{source:?}"), shown(text)];
    if let UrlSource::Given(url) = &source {
        let error = runtime().block_on(async {
            let error = Tables::at(url, 1).err();
            // What the pool has left behind ends now, not with the process.
            tokio::task::yield_now().await;
            error
        });
        if let Some(error) = error {
            told.extend([error.to_string(), format!("{error:?}")]);
        }
    }
    told
}

/// A pool that is made wants to be within one.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    let make = || tokio::runtime::Builder::new_current_thread().build();
    RUNTIME.get_or_init(|| make().expect("it needs nothing"))
}
