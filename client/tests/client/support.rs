//! A fake server on a real socket: answers frames as a test tells it to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use escrow_protocol::body::{self, BrokerData, QueueData, TopicRouteData};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

/// What the fake does with one request.
pub(crate) enum Reaction {
    /// Send this.
    Reply(Frame),
    /// Send nothing.
    Silence,
    /// Close the connection.
    Hangup,
}

pub(crate) type Script = Arc<dyn Fn(&Frame) -> Reaction + Send + Sync>;

pub(crate) struct FakeServer {
    pub(crate) address: String,
    /// Every request that came in, in order.
    pub(crate) seen: mpsc::UnboundedReceiver<Frame>,
    /// Frames sent here go to every connected client.
    pub(crate) push: broadcast::Sender<Frame>,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl FakeServer {
    pub(crate) async fn start(script: impl Fn(&Frame) -> Reaction + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", script).await
    }

    pub(crate) async fn start_on(
        address: &str,
        script: impl Fn(&Frame) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (seen_in, seen) = mpsc::unbounded_channel();
        let (push, _) = broadcast::channel(16);
        let connections = Arc::new(AtomicUsize::new(0));
        let script: Script = Arc::new(script);
        let (count, pushed) = (Arc::clone(&connections), push.clone());
        let accepting = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(
                    stream,
                    Arc::clone(&script),
                    seen_in.clone(),
                    pushed.subscribe(),
                ));
            }
        });
        Self {
            address,
            seen,
            push,
            connections,
            accepting,
        }
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Closes the port and every connection.
    pub(crate) async fn stop(self) -> String {
        self.accepting.abort();
        let _ = self.accepting.await;
        self.address
    }

    /// Waits for the next request with this code, skipping others.
    pub(crate) async fn expect(&mut self, code: i32) -> Frame {
        let wait = async {
            loop {
                let frame = self.seen.recv().await.expect("the fake serves");
                if frame.code == code {
                    return frame;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .unwrap_or_else(|_| panic!("no request with code {code} came"))
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Script,
    seen: mpsc::UnboundedSender<Frame>,
    mut push: broadcast::Receiver<Frame>,
) {
    let mut buffer = BytesMut::new();
    loop {
        let mut out = BytesMut::new();
        tokio::select! {
            read = stream.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
                while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
                    let _ = seen.send(frame.clone());
                    match script(&frame) {
                        Reaction::Reply(reply) => reply.encode(&mut out).unwrap(),
                        Reaction::Silence => {}
                        Reaction::Hangup => return,
                    }
                }
            }
            frame = push.recv() => frame.unwrap().encode(&mut out).unwrap(),
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// Success, without header and body.
pub(crate) fn ok(request: &Frame) -> Frame {
    Frame::response_to(request, response::SUCCESS)
}

/// The route of every topic: one broker `broker-a` with two queues at `address`.
pub(crate) fn route_to(request: &Frame, address: &str) -> Frame {
    route(request, &[("broker-a".to_owned(), address.to_owned())])
}

/// The route of every topic: the brokers `broker-0`, `broker-1`, … with two queues each.
pub(crate) fn route_to_brokers(request: &Frame, addresses: &[String]) -> Frame {
    let named = |(number, address): (usize, &String)| (format!("broker-{number}"), address.clone());
    let brokers: Vec<_> = addresses.iter().enumerate().map(named).collect();
    route(request, &brokers)
}

fn route(request: &Frame, brokers: &[(String, String)]) -> Frame {
    let broker_data = |(name, address): &(String, String)| BrokerData {
        broker_addrs: [(0, address.clone())].into(),
        broker_name: name.clone(),
        cluster: "C".to_owned(),
        ..BrokerData::default()
    };
    let queue_data = |(name, _): &(String, String)| QueueData {
        broker_name: name.clone(),
        perm: 6,
        read_queue_nums: 2,
        write_queue_nums: 2,
        topic_sys_flag: 0,
    };
    let route = TopicRouteData {
        broker_datas: brokers.iter().map(broker_data).collect(),
        queue_datas: brokers.iter().map(queue_data).collect(),
        ..TopicRouteData::default()
    };
    ok(request).with_body(body::encode(&route).unwrap())
}

/// A name server that sends every client to the broker at `address`, but knows no topic `Absent`.
pub(crate) async fn name_server(address: &str) -> FakeServer {
    let address = address.to_owned();
    FakeServer::start(move |frame| match frame.code {
        request::GET_ROUTEINFO_BY_TOPIC if frame.ext.get("topic") == Some("Absent") => {
            Reaction::Reply(Frame::response_to(frame, response::TOPIC_NOT_EXIST))
        }
        request::GET_ROUTEINFO_BY_TOPIC => Reaction::Reply(route_to(frame, &address)),
        _ => Reaction::Reply(ok(frame)),
    })
    .await
}

/// The reply to a stored message.
pub(crate) fn stored(request: &Frame, physical_offset: i64, queue_offset: i64) -> Frame {
    let mut reply = ok(request);
    let host = "127.0.0.1:10911".parse().unwrap();
    let id = escrow_protocol::ids::offset_message_id(host, physical_offset);
    reply.ext.insert("msgId", id);
    reply
        .ext
        .insert("queueId", request.ext.get("e").unwrap_or("0"));
    reply.ext.insert_display("queueOffset", queue_offset);
    reply
}
