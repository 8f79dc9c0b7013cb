//! The connector: a connection needs nothing but a byte stream.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use escrow_client::connection::{
    Connecting, Connection, ConnectionSettings, Connector, IgnoreInbound, Wire,
};
use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Hands out the near ends of pipes.
#[derive(Debug)]
struct Pipes(Mutex<Vec<DuplexStream>>);

impl Connector for Pipes {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        let pipe = self.0.lock().unwrap().pop();
        Box::pin(async move {
            assert_eq!(address, "broker.example:10911");
            pipe.map(Wire::new)
                .ok_or_else(|| io::Error::other("no pipe left"))
        })
    }
}

async fn echo(mut far: DuplexStream) {
    let mut buffer = BytesMut::new();
    while far.read_buf(&mut buffer).await.unwrap() > 0 {
        while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
            let mut out = BytesMut::new();
            let reply = Frame::response_to(&frame, response::SUCCESS).with_body(frame.body);
            reply.encode(&mut out).unwrap();
            far.write_all(&out).await.unwrap();
        }
    }
}

#[tokio::test]
async fn requests_travel_over_whatever_the_connector_makes() {
    let (near, far) = tokio::io::duplex(64);
    let server = tokio::spawn(echo(far));
    let settings = ConnectionSettings {
        connector: Arc::new(Pipes(Mutex::new(vec![near]))),
        ..ConnectionSettings::default()
    };
    let address = "broker.example:10911".to_owned();
    let connection = Connection::new(address, settings, Arc::new(IgnoreInbound));
    let body = vec![b'x'; 1000];
    let frame = Frame::request(999).with_body(body.clone());
    let reply = connection
        .request(frame, Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(reply.body, body);
    connection.close().await;
    server.await.unwrap();
}
