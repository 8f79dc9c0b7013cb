//! How long a connection is borne with, on a clock that jumps ahead whenever nothing else is to be done.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::Broker;
use crate::remoting::outbox::Outgoing;

/// A connection that is served, and its other end.
struct Served {
    broker: Broker,
    peer: Arc<Peer>,
    client: TcpStream,
    /// Answers how long it was served.
    ended: JoinHandle<Duration>,
    _folder: tempfile::TempDir,
}

impl Served {
    async fn start() -> Served {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let broker = Broker::start_in(folder.path()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).await.expect("it listens");
        let (stream, from) = listener.accept().await.expect("a connection");
        let peer = broker.shared().connections.open(from);
        let (shared, served) = (Arc::clone(broker.shared()), Arc::clone(&peer));
        tokio::time::pause();
        let ended = tokio::spawn(async move {
            let began = Instant::now();
            serve(&shared, &served, Role::Broker, stream).await;
            began.elapsed()
        });
        Served {
            broker,
            peer,
            client,
            ended,
            _folder: folder,
        }
    }

    /// Whole seconds for which it was served.
    async fn seconds(self) -> u64 {
        let served = self.ended.await.expect("no panic");
        tokio::time::resume();
        self.broker.shutdown().await;
        served.as_secs()
    }
}

async fn at(second: u64, began: Instant) {
    tokio::time::sleep_until(began + Duration::from_secs(second)).await;
}

#[tokio::test]
async fn a_connection_without_traffic_is_closed_after_two_minutes() {
    let mut served = Served::start().await;
    let mut rest = Vec::new();
    let read = served.client.read_to_end(&mut rest).await;
    assert_eq!(read.expect("closed in good order"), 0);
    assert!((120..=122).contains(&served.seconds().await));
}

#[tokio::test]
async fn half_a_frame_does_not_keep_a_connection_open() {
    let mut served = Served::start().await;
    let head = [0, 0, 1, 0];
    served.client.write_all(&head).await.expect("it reads");
    assert!((120..=122).contains(&served.seconds().await));
}

#[tokio::test]
async fn two_minutes_count_from_what_was_read_last() {
    let mut served = Served::start().await;
    let began = Instant::now();
    let mut frame = BytesMut::new();
    let unsupported = Frame::request(9999);
    unsupported.encode(&mut frame).expect("a small frame");
    at(100, began).await;
    served.client.write_all(&frame).await.expect("it reads");
    assert!((220..=222).contains(&served.seconds().await));
}

#[tokio::test]
async fn a_peer_that_is_only_written_to_is_not_idle() {
    let served = Served::start().await;
    let began = Instant::now();
    at(100, began).await;
    assert!(served.peer.notify(Frame::request(40)));
    let ended = served.seconds().await;
    // What was written is looked at when a wait for something to read is over.
    assert!((220..=242).contains(&ended), "{ended}");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_for_two_minutes_is_given_up_however_much_it_asks() {
    let mut served = Served::start().await;
    let began = Instant::now();
    // More than the two sockets hold, less than what ends a connection at once.
    let answers = (0..32).map(|_| {
        let frame = Frame::request(0).with_body(vec![0; 1 << 20]);
        Outgoing::Frame(frame)
    });
    assert!(served.peer.outbox.push(answers));
    let mut frame = BytesMut::new();
    let unsupported = Frame::request(9999);
    unsupported.encode(&mut frame).expect("a small frame");
    at(60, began).await;
    served.client.write_all(&frame).await.expect("it is taken");
    let seconds = served.seconds().await;
    assert!((120..=122).contains(&seconds), "{seconds}");
}
