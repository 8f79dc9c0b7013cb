//! What waits to be written to one peer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use escrow_protocol::frame::Frame;
use shuttle::future::block_on;
use shuttle::thread;

use crate::product::remoting::outbox::{Outbox, Outgoing, PAUSE};

fn frame(opaque: i32, body: Bytes) -> Outgoing {
    let mut frame = Frame::request(0).with_body(body);
    frame.opaque = opaque;
    Outgoing::Frame(frame)
}

/// The connection's writer task; gives the opaques in the order in which they were written.
fn write_all(outbox: &Outbox) -> Vec<i32> {
    let mut written = Vec::new();
    let mut buffer = BytesMut::new();
    while let Some(bytes) = block_on(outbox.take(&mut buffer, &mut Vec::new())) {
        while let Ok(Some(frame)) = Frame::decode(&mut buffer) {
            written.push(frame.opaque);
        }
        thread::yield_now();
        outbox.written(bytes);
    }
    written
}

fn writer(outbox: &Arc<Outbox>) -> thread::JoinHandle<Vec<i32>> {
    let outbox = Arc::clone(outbox);
    thread::spawn(move || write_all(&outbox))
}

fn pushes(outbox: &Arc<Outbox>, who: i32, count: i32) -> thread::JoinHandle<bool> {
    let outbox = Arc::clone(outbox);
    thread::spawn(move || (0..count).all(|n| outbox.push([frame(who * 10 + n, Bytes::new())])))
}

pub(crate) fn delivers() {
    let outbox = Arc::new(Outbox::default());
    let writer = writer(&outbox);
    let pushers: Vec<_> = (0..3).map(|who| pushes(&outbox, who, 2)).collect();
    for pusher in pushers {
        assert!(pusher.join().expect("it ends"));
    }
    outbox.close();
    let mut written = writer.join().expect("it ends");
    for who in 0..3 {
        let of = written.iter().filter(|opaque| **opaque / 10 == who);
        assert!(of.is_sorted(), "{written:?}");
    }
    written.sort_unstable();
    assert_eq!(written, [0, 1, 10, 11, 20, 21]);
    assert_eq!(outbox.bytes(), 0);
}

/// Two frames of half the pause are too much; the reader waits until they are written, or the connection is closed.
pub(crate) fn room_comes_back() {
    let body = Bytes::from(vec![0; PAUSE / 2]);
    let outbox = Arc::new(Outbox::default());
    let writer = writer(&outbox);
    let reader = {
        let outbox = Arc::clone(&outbox);
        thread::spawn(move || {
            for opaque in 0..3 {
                block_on(outbox.room());
                outbox.push([frame(opaque, body.clone())]);
            }
        })
    };
    let closer = {
        let outbox = Arc::clone(&outbox);
        thread::spawn(move || {
            for _ in 0..4 {
                thread::yield_now();
            }
            outbox.close();
        })
    };
    reader.join().expect("it does not wait for ever");
    closer.join().expect("it ends");
    let written = writer.join().expect("it ends");
    assert!(
        written.iter().copied().eq(0..written.len() as i32),
        "{written:?}"
    );
}

/// Nobody writes: whoever waits for the overflow, or for room, hears of it.
pub(crate) fn overflows() {
    let body = Bytes::from_static(&[0; 4 << 20]);
    let outbox = Arc::new(Outbox::default());
    let watchers = [false, true].map(|for_room| {
        let outbox = Arc::clone(&outbox);
        thread::spawn(move || {
            if for_room {
                block_on(outbox.room());
            } else {
                block_on(outbox.overflow());
                assert!(outbox.is_closed());
            }
        })
    });
    let mut opaque = 0;
    while outbox.push([frame(opaque, body.clone())]) {
        opaque += 1;
    }
    for watcher in watchers {
        watcher.join().expect("nobody waits for ever");
    }
    assert_eq!(
        block_on(outbox.take(&mut BytesMut::new(), &mut Vec::new())),
        None
    );
}
