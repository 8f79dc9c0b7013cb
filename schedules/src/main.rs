//! Each hand-over is run many times; shuttle chooses who takes the next step, at random and by rare switches (PCT). A lost
//! wake-up shows as a deadlock, a lost or doubled item as a failed assertion; the seed that is printed runs the same order again.

use std::time::Instant;

mod inbox;
mod long_polls;
mod outbox;
mod product;
mod tasks;

/// As in the broker.
mod rpc_latency {
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Asked;
}

/// Orders that are tried of each, per scheduler.
const ORDERS: usize = 100_000;

/// Places at which PCT switches.
const SWITCHES: usize = 3;

fn main() {
    let orders = std::env::args().nth(1).map(|text| text.parse());
    let orders = orders
        .transpose()
        .expect("a number of orders")
        .unwrap_or(ORDERS);
    for (name, run) in [
        (
            "inbox: what is pushed is taken, in order",
            inbox::delivers as fn(),
        ),
        (
            "inbox: who waits for room gets it or is told",
            inbox::room_comes_back,
        ),
        ("inbox: abandoned while used", inbox::abandoned),
        ("inbox: who is woken ends its wait", inbox::wakes),
        (
            "outbox: what is pushed is written, in order",
            outbox::delivers,
        ),
        (
            "outbox: who waits for the peer goes on",
            outbox::room_comes_back,
        ),
        (
            "outbox: a peer that does not read is given up",
            outbox::overflows,
        ),
        ("long polls: no arrival is missed", long_polls::wakes),
        (
            "tasks: the end waits for what was begun",
            tasks::finish_waits,
        ),
    ] {
        let began = Instant::now();
        shuttle::check_random(run, orders);
        shuttle::check_pct(run, orders, SWITCHES);
        println!(
            "{name}: {} orders, {:.1} s",
            2 * orders,
            began.elapsed().as_secs_f64()
        );
    }
}
