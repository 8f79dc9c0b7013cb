//! Tasks that a shutdown waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::future::block_on;
use shuttle::thread;

use crate::product::tasks::Tasks;

/// Some begin tasks while the end begins: what was begun has ended when it returns.
pub(crate) fn finish_waits() {
    let tasks = Arc::new(Tasks::new());
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let starters: Vec<_> = (0..2)
        .map(|_| {
            let (tasks, begun, ended) =
                (Arc::clone(&tasks), Arc::clone(&begun), Arc::clone(&ended));
            thread::spawn(move || {
                for _ in 0..2 {
                    let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
                    tasks.spawn(async move {
                        begun.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        ended.fetch_add(1, Ordering::SeqCst);
                    });
                }
            })
        })
        .collect();
    block_on(tasks.finish());
    assert_eq!(begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
    for starter in starters {
        starter.join().expect("it ends");
    }
    assert_eq!(
        begun.load(Ordering::SeqCst),
        ended.load(Ordering::SeqCst),
        "and none begins later"
    );
}
