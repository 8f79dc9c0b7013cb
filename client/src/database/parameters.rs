//! What a database URL tells its driver, and what of that may be told.

use std::str::FromStr;

use super::url::{UrlError, shown};

/// What sqlx reads in a URL of PostgreSQL. It goes on without anything else, a mistyped `sslmode` among it, and writes the value
/// to the log, which may be a password.
#[cfg(feature = "postgres")]
const POSTGRES: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[…]",
];

/// What it reads in one of MySQL; it says nothing of the rest.
#[cfg(feature = "mysql")]
const MYSQL: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslca",
    "ssl-ca",
    "charset",
    "collation",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];

#[cfg(feature = "postgres")]
pub(super) fn postgres(url: &str) -> Result<sqlx::postgres::PgConnectOptions, UrlError> {
    only(url, &POSTGRES)?;
    options(url)
}

#[cfg(feature = "mysql")]
pub(super) fn mysql(url: &str) -> Result<sqlx::mysql::MySqlConnectOptions, UrlError> {
    only(url, &MYSQL)?;
    options(url)
}

/// sqlx itself refuses what it does not know.
#[cfg(feature = "sqlite")]
pub(super) fn sqlite(url: &str) -> Result<sqlx::sqlite::SqliteConnectOptions, UrlError> {
    options(url)
}

/// Refuses parameters other than `known`. What it is called is not said: it may be a part of a password that holds a `?`.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn only(url: &str, known: &[&str]) -> Result<(), UrlError> {
    let Ok(parsed) = sqlx_core::Url::parse(url) else {
        // The driver says why.
        return Ok(());
    };
    let is_known = |name: &str| {
        let name = if name.starts_with("options[") && name.ends_with(']') {
            "options[…]"
        } else {
            name
        };
        known.contains(&name)
    };
    if parsed.query_pairs().all(|(name, _)| is_known(&name)) {
        return Ok(());
    }
    Err(UrlError::Unreadable {
        shown: shown(url),
        reason: format!(
            "one of its parameters is unknown and would have no effect; known are {}",
            known.join(", ")
        ),
    })
}

fn options<O: FromStr<Err = sqlx::Error>>(url: &str) -> Result<O, UrlError> {
    url.parse()
        .map_err(|error: sqlx::Error| UrlError::Unreadable {
            shown: shown(url),
            reason: without_quotes(&error.to_string()),
        })
}

/// What a driver quotes is a part of the URL, and may be one of the password that it took for something else. It may hold such
/// marks itself: nothing is left between the first and the last.
fn without_quotes(reason: &str) -> String {
    let Some(first) = reason.find(['"', '`']) else {
        return reason.to_owned();
    };
    let (before, quoted) = reason.split_at(first);
    let mark = if quoted.starts_with('"') { '"' } else { '`' };
    let after = quoted[1..].rsplit_once(mark).map_or("", |(_, after)| after);
    format!("{before}{mark}…{mark}{after}")
}

#[cfg(all(test, feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_quotes_is_not_told() {
        let quoted = [
            ("sqlite:a?mode=s3cret", "unknown value \"…\" for `mode`"),
            ("sqlite://a:x?mode=\"s3cret\"@b", "for `mode`"),
            ("sqlite://a:x?s3cret@b", "unknown query parameter `…` while"),
            (
                "sqlite://a:x?`s3cret`@b",
                "unknown query parameter `…` while",
            ),
        ];
        for (url, said) in quoted {
            let told = sqlite(url).unwrap_err().to_string();
            assert!(told.contains(said), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn a_parameter_that_would_have_no_effect_is_refused_without_being_told() {
        for url in [
            "postgres://db/orders?sslmod=require",
            "postgres://app@db/orders?sslmode=require&passwrd=s3cret",
            "postgres://app:1?s3cret@db/orders",
        ] {
            let told = postgres(url).unwrap_err().to_string();
            assert!(
                told.contains("unknown") && told.contains("sslrootcert"),
                "{told}"
            );
            assert!(
                !told.contains("s3cret") && !told.contains("passwrd"),
                "{told}"
            );
        }
        assert!(mysql("mysql://db/orders?ssl-mod=REQUIRED").is_err());
        for url in [
            "postgres://db/orders?sslmode=require&options[lock_timeout]=1s&application_name=x",
            "postgres://db/orders",
        ] {
            assert!(postgres(url).is_ok(), "{url}");
        }
        assert!(mysql("mysql://db/orders?ssl-mode=REQUIRED&timezone=%2B00:00").is_ok());
    }
}
