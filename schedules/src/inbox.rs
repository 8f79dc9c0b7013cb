//! The queue in front of the log thread.

use std::sync::Arc;
use std::time::Instant;

use shuttle::future::block_on;
use shuttle::thread;
use tokio::sync::Semaphore;

use crate::product::log_thread::command::Command;
use crate::product::log_thread::inbox::{CREDIT, Inbox};

/// Takes until the queue is closed and empty.
fn log_thread(inbox: &Inbox) -> Vec<Command> {
    let mut all = Vec::new();
    let mut taken = Vec::new();
    while inbox.take(Instant::now(), &mut taken) {
        all.append(&mut taken);
    }
    all
}

fn pushes(inbox: &Arc<Inbox>, who: usize, cost: u32, count: usize) -> thread::JoinHandle<usize> {
    let inbox = Arc::clone(inbox);
    thread::spawn(move || {
        for number in 0..count {
            let Ok(room) = block_on(inbox.reserve(cost, None)) else {
                return number;
            };
            inbox.push(room, vec![Command(who, number)]);
        }
        count
    })
}

/// The numbers of one of those who push, as they were taken.
fn of(all: &[Command], who: usize) -> Vec<usize> {
    all.iter()
        .filter(|command| command.0 == who)
        .map(|command| command.1)
        .collect()
}

pub(crate) fn delivers() {
    let inbox = Arc::new(Inbox::new());
    let pushers: Vec<_> = (0..3).map(|who| pushes(&inbox, who, 1, 2)).collect();
    let taker = {
        let inbox = Arc::clone(&inbox);
        thread::spawn(move || log_thread(&inbox))
    };
    for pusher in pushers {
        assert_eq!(pusher.join().expect("it ends"), 2);
    }
    inbox.push_at_once(Command(3, 0));
    inbox.close();
    let all = taker.join().expect("it ends");
    for who in 0..3 {
        assert_eq!(of(&all, who), [0, 1]);
    }
    assert_eq!(all.len(), 7);
    assert_eq!(inbox.waiting(), 0, "all the room is back");
}

/// Each push takes most of the room, so that all others wait; then the close comes at any time.
pub(crate) fn room_comes_back() {
    let inbox = Arc::new(Inbox::new());
    let pushers: Vec<_> = (0..3)
        .map(|who| pushes(&inbox, who, 40 * 1024, 2))
        .collect();
    let flood = {
        let (inbox, credit) = (
            Arc::clone(&inbox),
            Arc::new(Semaphore::new(CREDIT as usize)),
        );
        thread::spawn(move || {
            let mut number = 0;
            while number < 2
                && let Ok(room) = block_on(inbox.reserve(CREDIT, Some(Arc::clone(&credit))))
            {
                inbox.push(room, vec![Command(3, number)]);
                number += 1;
            }
            number
        })
    };
    let closer = {
        let inbox = Arc::clone(&inbox);
        thread::spawn(move || {
            thread::yield_now();
            inbox.close();
        })
    };
    let all = log_thread(&inbox);
    closer.join().expect("it ends");
    for (who, pusher) in pushers.into_iter().chain([flood]).enumerate() {
        let pushed = pusher.join().expect("nobody waits for ever");
        // What was pushed after the close is dropped, and nothing before it.
        let taken = of(&all, who);
        assert!(taken.len() <= pushed);
        assert!(taken.iter().copied().eq(0..taken.len()), "{taken:?}");
    }
}

/// Somebody who pushes nothing ends the wait for commands.
pub(crate) fn wakes() {
    let inbox = Arc::new(Inbox::new());
    let waker = {
        let inbox = Arc::clone(&inbox);
        thread::spawn(move || inbox.wake())
    };
    let mut taken = Vec::new();
    assert!(inbox.take(Instant::now(), &mut taken), "it is open");
    assert!(taken.is_empty());
    waker.join().expect("it ends");
}

/// The log thread dies while others push: they end, and nothing stays behind.
pub(crate) fn abandoned() {
    let inbox = Arc::new(Inbox::new());
    let pushers: Vec<_> = (0..3)
        .map(|who| pushes(&inbox, who, 40 * 1024, 2))
        .collect();
    let mut taken = Vec::new();
    inbox.take(Instant::now(), &mut taken);
    inbox.abandon();
    for pusher in pushers {
        pusher.join().expect("nobody waits for ever");
    }
    taken.clear();
    assert!(!inbox.take(Instant::now(), &mut taken), "it is closed");
    assert!(taken.is_empty(), "and empty");
}
