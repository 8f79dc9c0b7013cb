//! Who waits for a message to appear in a queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::future::block_on;
use shuttle::thread;

use crate::product::long_polls::LongPolls;

/// Two wait for two messages, each as a pull does: bell, then a look, then the wait. Bells come and go meanwhile.
pub(crate) fn wakes() {
    const MESSAGES: usize = 2;
    let polls = Arc::new(LongPolls::default());
    let end = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let (polls, end) = (Arc::clone(&polls), Arc::clone(&end));
            thread::spawn(move || {
                for wanted in 1..=MESSAGES {
                    let bell = polls.bell("T", 0);
                    loop {
                        let rung = bell.rung().notified();
                        if end.load(Ordering::SeqCst) >= wanted {
                            break;
                        }
                        block_on(rung);
                    }
                }
            })
        })
        .collect();
    for _ in 0..MESSAGES {
        end.fetch_add(1, Ordering::SeqCst);
        polls.arrived([("T", 0)]);
    }
    for waiter in waiters {
        waiter.join().expect("nobody waits for ever");
    }
}
