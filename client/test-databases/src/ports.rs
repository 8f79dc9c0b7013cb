//! Ports for servers that are restarted.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which connections that go out take theirs: one of those must not sit on the port of a server
/// that is down for a moment.
const FIRST: u16 = 10_000;
const PORTS: u16 = 22_000;

/// The first of `count` ports in a row that are free at 127.0.0.1, and stay so unless another server takes them.
///
/// # Errors
/// There are none.
pub fn free_ports(count: u16) -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes begin at places of their own.
    let place = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(PORTS));
    let place = place.unwrap_or_default();
    for _ in 0..PORTS {
        let next = NEXT.fetch_add(count, Ordering::Relaxed);
        let offset = (u32::from(place) + u32::from(next)) % u32::from(PORTS - count);
        let first = FIRST + u16::try_from(offset).unwrap_or_default();
        let all = first..first + count;
        let taken: Result<Vec<_>, _> = all
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
            .collect();
        if taken.is_ok() {
            return Ok(first);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
