//! Who may use the admin API.
//!
//! A page in somebody's browser can send requests to this machine, and by pointing a name of its own at
//! 127.0.0.1 even read the answers. So requests must name this machine by address or `localhost`, and if they
//! come from a page, that page must be ours. Where others can connect, a token is needed besides; the
//! settings see to it that there is one.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Admin;
use super::failure::Failure;

/// Lets requests through that name this machine and come from no foreign page.
pub(super) async fn host(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let loopback_only = admin.shared.settings.admin_addr.ip().is_loopback();
    match names_this_machine(request.headers(), loopback_only) {
        Ok(()) => next.run(request).await,
        Err(refused) => Failure::forbidden(refused).into_response(),
    }
}

/// Lets requests through that carry the token, if there is one.
pub(super) async fn token(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let expected = admin.shared.settings.admin_token.as_ref();
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    match expected {
        Some(expected) if !given.is_some_and(|given| same(given, &expected.0)) => {
            Failure::unauthorized().into_response()
        }
        _ => next.run(request).await,
    }
}

/// Compares in a time that does not tell how much was right.
fn same(given: &str, expected: &str) -> bool {
    let differences = given
        .bytes()
        .zip(expected.bytes())
        .fold(0, |found, (a, b)| found | (a ^ b));
    given.len() == expected.len() && differences == 0
}

/// Whether a request names this machine and, if it comes from a page, a page of this machine; the check server wants the
/// same. Where only the machine itself can connect (`loopback_only`), other addresses are foreign too.
///
/// # Errors
/// What is foreign, for whoever sent it.
pub fn names_this_machine(headers: &HeaderMap, loopback_only: bool) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|value| value.to_str().ok());
    let ours = |authority: &str| is_ours(authority, loopback_only);
    if !host.is_some_and(ours) || hosts.next().is_some() {
        return Err("foreign Host: use the address that is listened on");
    }
    for origin in headers.get_all(header::ORIGIN) {
        let authority = origin.to_str().ok().and_then(|origin| {
            origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"))
        });
        if !authority.is_some_and(ours) {
            return Err("foreign Origin: this API does not serve pages of other sites");
        }
    }
    Ok(())
}

/// Whether `host[:port]` names this machine: `localhost`, or an address, which no foreign name can stand for.
fn is_ours(authority: &str, loopback_only: bool) -> bool {
    let host = match authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, _)) => host,
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    host.parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_loopback() || !loopback_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn allowed(pairs: &[(&'static str, &str)], loopback_only: bool, expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        assert_eq!(
            names_this_machine(&headers, loopback_only).is_ok(),
            expected,
            "{pairs:?}"
        );
    }

    #[test]
    fn a_request_must_name_this_machine() {
        for host in [
            "127.0.0.1:8088",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8088",
            "127.1.2.3",
        ] {
            allowed(&[("host", host)], true, true);
        }
        for host in [
            "evil.example:8088",
            "",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[fe80::1]:8088",
        ] {
            allowed(&[("host", host)], true, false);
        }
        allowed(&[], true, false);
        allowed(
            &[("host", "localhost"), ("host", "evil.example")],
            true,
            false,
        );
    }

    #[test]
    fn listening_for_others_any_address_will_do_but_no_name() {
        allowed(&[("host", "10.0.0.1:8088")], false, true);
        allowed(&[("host", "evil.example:8088")], false, false);
    }

    #[test]
    fn a_page_must_be_ours() {
        let with = |origin| [("host", "127.0.0.1:8088"), ("origin", origin)];
        allowed(&with("http://127.0.0.1:8088"), true, true);
        allowed(&with("https://localhost"), true, true);
        for origin in [
            "http://evil.example",
            "null",
            "file://",
            "http://127.0.0.1.evil.example",
        ] {
            allowed(&with(origin), true, false);
        }
    }

    #[test]
    fn a_token_is_the_same_or_not() {
        assert!(same("0123456789abcdef", "0123456789abcdef"));
        for given in [
            "",
            "0123456789abcde",
            "0123456789abcdeg",
            "0123456789abcdef0",
        ] {
            assert!(!same(given, "0123456789abcdef"), "{given}");
        }
    }
}
