//! The connection keeps its promises when servers are slow, silent, gone or back again.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{FakeServer, Reaction, ok};
use escrow_client::Error;
use escrow_client::connection::{Connection, ConnectionSettings, IgnoreInbound};
use escrow_protocol::frame::Frame;

const SOON: Duration = Duration::from_secs(5);

fn connection(address: &str, settings: ConnectionSettings) -> Connection {
    Connection::new(address.to_owned(), settings, Arc::new(IgnoreInbound))
}

/// A port that nobody listens on.
async fn closed_port() -> String {
    let server = FakeServer::start(|_| Reaction::Silence).await;
    server.stop().await
}

#[tokio::test]
async fn many_requests_share_a_connection_and_each_gets_its_own_reply() {
    let server =
        FakeServer::start(|frame| Reaction::Reply(ok(frame).with_body(frame.body.clone()))).await;
    let connection = connection(&server.address, ConnectionSettings::default());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..500u32 {
        let connection = connection.clone();
        tasks.spawn(async move {
            let body = n.to_string().into_bytes();
            let reply = connection
                .request(Frame::request(1).with_body(body.clone()), SOON)
                .await;
            assert_eq!(reply.unwrap().body[..], body[..]);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_refused_dial_says_that_nothing_was_sent() {
    let connection = connection(&closed_port().await, ConnectionSettings::default());
    let error = connection
        .request(Frame::request(1), SOON)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time_and_its_room_is_free_again() {
    let server = FakeServer::start(|frame| match frame.code {
        1 => Reaction::Silence,
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let settings = ConnectionSettings {
        in_flight_max: 1,
        ..ConnectionSettings::default()
    };
    let connection = connection(&server.address, settings);
    let error = connection
        .request(Frame::request(1), Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.outcome_unknown());
    connection.request(Frame::request(2), SOON).await.unwrap();
}

#[tokio::test]
async fn requests_over_the_bound_wait_and_are_never_sent_if_there_is_no_room() {
    let mut server = FakeServer::start(|_| Reaction::Silence).await;
    let settings = ConnectionSettings {
        in_flight_max: 1,
        ..ConnectionSettings::default()
    };
    let connection = connection(&server.address, settings);
    let first = connection.clone();
    let holding = tokio::spawn(async move { first.request(Frame::request(1), SOON).await });
    server.expect(1).await;
    let error = connection
        .request(Frame::request(2), Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    holding.abort();
    let _ = holding.await;
    assert!(server.seen.try_recv().is_err(), "the second was not sent");
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_open_and_is_dialled_again() {
    let server = FakeServer::start(|frame| match frame.code {
        1 => Reaction::Hangup,
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let connection = connection(&server.address, ConnectionSettings::default());
    let error = connection
        .request(Frame::request(1), SOON)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    assert!(error.outcome_unknown());
    connection.request(Frame::request(2), SOON).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again_without_a_request() {
    let server = FakeServer::start(|frame| Reaction::Reply(ok(frame))).await;
    let settings = ConnectionSettings {
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(20),
        ..ConnectionSettings::default()
    };
    let connection = connection(&server.address, settings);
    connection.request(Frame::request(1), SOON).await.unwrap();
    let address = server.stop().await;
    let server = FakeServer::start_on(&address, |frame| Reaction::Reply(ok(frame))).await;
    let found = async {
        while server.connections() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, found).await.unwrap();
}

#[tokio::test]
async fn closing_writes_what_was_handed_over_before() {
    let mut server = FakeServer::start(|_| Reaction::Silence).await;
    let connection = connection(&server.address, ConnectionSettings::default());
    for code in 1..=100 {
        connection.oneway(Frame::request(code), SOON).await.unwrap();
    }
    connection.close().await;
    for code in 1..=100 {
        let frame = server.seen.recv().await.unwrap();
        assert_eq!(frame.code, code);
        assert!(frame.is_oneway());
    }
    let error = connection
        .request(Frame::request(1), SOON)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_and_the_connection_lives() {
    let server = FakeServer::start(|frame| Reaction::Reply(ok(frame))).await;
    let connection = connection(&server.address, ConnectionSettings::default());
    let huge = Frame::request(1).with_body(vec![0; escrow_protocol::frame::FRAME_BYTES_MAX]);
    let error = connection.request(huge, SOON).await.unwrap_err();
    assert!(matches!(error, Error::Encode(_)), "{error}");
    connection.request(Frame::request(2), SOON).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn garbage_from_the_server_closes_the_connection() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(&[0xFF; 64]).await;
        }
    });
    let connection = connection(&address, ConnectionSettings::default());
    let error = connection
        .request(Frame::request(1), Duration::from_millis(200))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Lost { .. } | Error::Connect { .. } | Error::Timeout { .. }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_was_never_used_closes_without_dialling() {
    let server = FakeServer::start(|_| Reaction::Silence).await;
    let unused = connection(&server.address, ConnectionSettings::default());
    tokio::time::timeout(SOON, unused.close()).await.unwrap();
    assert_eq!(server.connections(), 0);
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_request_that_can_wait_leaves_with_the_next_that_cannot() {
    let mut server = FakeServer::start(|frame| Reaction::Reply(ok(frame))).await;
    let connect = || connection(&server.address, ConnectionSettings::default());
    let (connection, other) = (connect(), connect());
    connection.request(Frame::request(1), SOON).await.unwrap();
    let patient = connection.request_patiently(Frame::request(2), LONG, LONG);
    let urgent = async {
        // Time enough to come first, for one that does not wait.
        for _ in 0..10 {
            other.request(Frame::request(3), SOON).await.unwrap();
        }
        connection.request(Frame::request(4), SOON).await.unwrap();
    };
    let (patient, ()) = tokio::join!(patient, urgent);
    patient.unwrap();
    server.seen.close();
    let mut codes = Vec::new();
    while let Some(frame) = server.seen.recv().await {
        codes.push(frame.code);
    }
    assert_eq!(codes, [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 4]);
}

#[tokio::test]
async fn of_requests_that_wait_the_least_patient_says_when_they_leave() {
    let server = FakeServer::start(|frame| Reaction::Reply(ok(frame))).await;
    let connection = connection(&server.address, ConnectionSettings::default());
    let patience = [LONG, Duration::from_millis(10), LONG];
    let [a, b, c] =
        patience.map(|patience| connection.request_patiently(Frame::request(1), LONG, patience));
    let all = async { tokio::join!(a, b, c) };
    let (a, b, c) = tokio::time::timeout(SOON, all).await.unwrap();
    for reply in [a, b, c] {
        reply.unwrap();
    }
}

#[tokio::test]
async fn closing_writes_what_still_waits() {
    let mut server = FakeServer::start(|_| Reaction::Silence).await;
    let connection = connection(&server.address, ConnectionSettings::default());
    connection.oneway(Frame::request(1), SOON).await.unwrap();
    let waiting = connection.request_patiently(Frame::request(2), LONG, LONG);
    let (lost, ()) = tokio::join!(waiting, connection.close());
    assert!(matches!(lost, Err(Error::Lost { .. })), "{lost:?}");
    server.expect(2).await;
}
