//! Where a database is, without telling anybody its password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to read the URL of a database: `env:NAME`, `file:PATH`, or the URL itself.
///
/// Neither prints a password. What is in a file or a variable is read anew at each [`read`](Self::read), so that a
/// password can be changed without a restart.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UrlSource {
    /// The URL as given.
    Given(String),
    /// The environment variable that holds it.
    Variable(String),
    /// The file that holds it, white space around it ignored.
    File(PathBuf),
}

/// Why there is no URL to connect to.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// The environment has no such variable, or not as text.
    #[error("environment variable {0} holds no database URL: set it")]
    Variable(String),
    /// The file cannot be read.
    #[error("cannot read the database URL from {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// No engine of ours has such URLs.
    #[error(
        "{shown:?} is no database URL: use postgres://USER:PASSWORD@HOST/DATABASE, mysql://… or sqlite:PATH \
         (or env:NAME or file:PATH to read one from there)"
    )]
    Scheme {
        /// What of it may be shown.
        shown: String,
    },
    /// The engine's driver cannot read the URL.
    #[error("database URL {shown}: {reason}")]
    Unreadable {
        /// What of it may be shown.
        shown: String,
        /// What the driver said.
        reason: String,
    },
}

impl UrlSource {
    /// The URL, secrets included.
    ///
    /// # Errors
    /// The variable or the file cannot be read.
    pub fn read(&self) -> Result<String, UrlError> {
        match self {
            Self::Given(url) => Ok(url.clone()),
            Self::Variable(name) => {
                std::env::var(name).map_err(|_| UrlError::Variable(name.clone()))
            }
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim().to_owned()),
                Err(error) => Err(UrlError::File {
                    path: path.clone(),
                    error,
                }),
            },
        }
    }

    /// Whether the password stands where the process list shows it.
    #[must_use]
    pub fn shows_password(&self) -> bool {
        matches!(self, Self::Given(url) if Parts::of(url).password)
    }
}

impl FromStr for UrlSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some(("env", name)) => Self::Variable(name.to_owned()),
            Some(("file", path)) => Self::File(PathBuf::from(path)),
            _ => Self::Given(text.to_owned()),
        })
    }
}

impl fmt::Display for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(url) => f.write_str(&shown(url)),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl fmt::Debug for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL without its password and without its parameters, which may hold one too.
#[must_use]
pub fn shown(url: &str) -> String {
    let parts = Parts::of(url);
    let at = if parts.user.is_empty() { "" } else { "@" };
    format!("{}{}{at}{}", parts.scheme, parts.user, parts.rest)
}

struct Parts<'a> {
    scheme: &'a str,
    user: &'a str,
    rest: &'a str,
    password: bool,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Self {
        let start = url.find("://").map_or(0, |at| at + "://".len());
        let (scheme, rest) = url.split_at(start);
        // A password may hold an unescaped `/`, `?` or `@`: of what stands before the last `@` only the user is shown.
        let (userinfo, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let user = before(userinfo, &[':', '/', '?']);
        let rest = before(rest, &['?', '&']);
        let authority = before(rest, &['/']);
        let not_a_port = |port: &str| !port.bytes().all(|byte| byte.is_ascii_digit());
        let rest = match authority.rsplit_once(':') {
            // Where the `@` was forgotten, that is the password.
            Some((host, port))
                if !scheme.is_empty() && not_a_port(port) && !port.ends_with(']') =>
            {
                host
            }
            _ => rest,
        };
        Self {
            scheme,
            user,
            rest,
            password: userinfo.contains(':') || url.contains("password="),
        }
    }
}

/// What stands before the first of `marks`.
fn before<'a>(text: &'a str, marks: &[char]) -> &'a str {
    text.split(marks).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> UrlSource {
        text.parse().unwrap()
    }

    #[test]
    fn a_password_is_never_printed() {
        for (url, expected) in [
            (
                "postgres://app:s3cret@db:5432/orders",
                "postgres://app@db:5432/orders",
            ),
            (
                "postgres://db/orders?user=app&password=s3cret",
                "postgres://db/orders",
            ),
            ("mysql://app:a/s3cret@x@db/orders", "mysql://app@db/orders"),
            ("mysql://app:s3cret?x@db/orders", "mysql://app@db/orders"),
            ("postgres://app:s3cret/orders", "postgres://app"),
            (
                "postgres://db/orders?password=s3cret&user=a@b",
                "postgres://db@b",
            ),
            (
                "postgres://[::1]:5432/orders",
                "postgres://[::1]:5432/orders",
            ),
            ("sqlite:/var/orders.db?mode=rw", "sqlite:/var/orders.db"),
            ("postgres://db/orders", "postgres://db/orders"),
        ] {
            assert_eq!(source(url).to_string(), expected);
            assert_eq!(format!("{:?}", source(url)), expected);
        }
        assert!(source("postgres://app:s3cret@db/orders").shows_password());
        assert!(!source("postgres://app@db/orders").shows_password());
        assert!(!source("env:ORDERS_URL").shows_password());
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        let source = source(&format!("file:{}", path.display()));
        let missing = source.read().unwrap_err().to_string();
        assert!(missing.contains(path.to_str().unwrap()), "{missing}");
        for url in ["sqlite:a", "sqlite:b"] {
            std::fs::write(&path, format!("{url}\n")).unwrap();
            assert_eq!(source.read().unwrap(), url);
        }
    }
}
