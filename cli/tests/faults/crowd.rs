//! Thousands of connections that do nothing good, beside one producer that does.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::broker::{Serve, Setup, await_that};
use crate::ledger::{Decision, Ledger};
use crate::load::{GROUP, TOPIC};
use crate::producer::Producer;
use crate::random::Random;
use crate::scene::{Scene, times};
use crate::wire::{PULL_MESSAGE, pull, request};

const IDLE: usize = 5_000;
const SLOW_READERS: usize = 200;
const SLOW_WRITERS: usize = 200;
const HALF_FRAMES: usize = 100;
const HALF_FRAME_BYTES: usize = 64 * 1024;
/// Connections of the two loops, as many as a run makes at most.
const VISITS_MAX: u64 = 3_000;

const TRANSACTIONS_MIN: usize = 100;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// What a slow reader may cost: `outbox::PAUSE` waiting, and the answers of the pulls that may read at the same time
/// (`READING_MAX` times what one answer carries), all of it both as frames and as bytes to write.
const SLOW_READER_MAX: u64 = 2 * (4 * MIB + 16 * 256 * KIB);
/// What any other connection may cost: its tasks, and what it has sent of a frame in a buffer that grows by doubling.
const CONNECTION_MAX: u64 = 48 * KIB + 2 * HALF_FRAME_BYTES as u64;
const OTHERS: u64 = (IDLE + SLOW_WRITERS + HALF_FRAMES) as u64;

#[test]
fn a_crowd_of_bad_connections_takes_bounded_memory_and_a_good_producer_is_served_throughout() {
    descriptors(2 * (IDLE + SLOW_READERS + SLOW_WRITERS + HALF_FRAMES) as u64);
    let mut scene = Scene::set();
    let folder = tempfile::tempdir().unwrap();
    let serve = Setup::on(folder.path()).start();
    let address = serve.broker;
    fill(address);
    let ledger = &scene.ledger;
    let before = watch(&serve, ledger, Duration::from_secs(2));

    let go_on = AtomicBool::new(true);
    let mut random = Random::new(scene.random.below(u64::MAX));
    let (during, crowd) = std::thread::scope(|scope| {
        let _stop = Stop(&go_on);
        let go_on = &go_on;
        scope.spawn(move || visit(address, go_on, |_| {}));
        scope.spawn(move || visit(address, go_on, |stream| garbage(stream, &mut random)));
        let idle: Vec<TcpStream> = (0..IDLE).map(|_| connect(address)).collect();
        let readers: Vec<TcpStream> = (0..SLOW_READERS).map(|_| slow_reader(address)).collect();
        let halves: Vec<TcpStream> = (0..HALF_FRAMES).map(|_| half_frame(address)).collect();
        scope.spawn(move || write_slowly(address, go_on));
        let during = watch(&serve, ledger, Duration::from_secs(6 * times(1)));
        let status = serve.get("/api/status").1;
        let open = status["connections"].as_u64().unwrap();
        assert!(open > IDLE as u64, "the crowd is not there: {open}");
        (during, (idle, readers, halves, open))
    });
    let open = crowd.3;
    drop(crowd);
    await_that("the end of the crowd's connections", || {
        serve.get("/api/status").1["connections"].as_u64() < Some(10)
    });
    let after = watch(&serve, ledger, Duration::from_secs(2));

    let bound = before.resident + SLOW_READERS as u64 * SLOW_READER_MAX + OTHERS * CONNECTION_MAX;
    eprintln!(
        "{open} connections; at most {} MiB may be resident",
        bound / MIB
    );
    for (when, seen) in [("before", &before), ("during", &during), ("after", &after)] {
        eprintln!("{when}: {seen}");
    }
    assert!(during.resident < bound, "{during} of {} MiB", bound / MIB);
    // A broker that is silent for the connection's patience has failed as well.
    assert!(during.median() < Duration::from_secs(1), "{during}");
    scene.last_verdict(&serve);
}

/// How the good producer fared, and the broker's memory meanwhile.
struct Seen {
    latencies: Vec<Duration>,
    /// The most, in bytes.
    resident: u64,
}

impl Seen {
    fn median(&self) -> Duration {
        self.latencies[self.latencies.len() / 2]
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.latencies.len();
        let (median, resident) = (self.median(), self.resident / MIB);
        let p99 = self.latencies[count * 99 / 100];
        let slowest = self.latencies[count - 1];
        write!(
            f,
            "{count} transactions, median {median:.1?}, p99 {p99:.1?}, slowest {slowest:.1?}, {resident} MiB resident at most"
        )
    }
}

/// A good producer's transactions, one after the other, for so long, and so many that they say something.
fn watch(serve: &Serve, ledger: &Mutex<Ledger>, time: Duration) -> Seen {
    let mut producer = Producer::connect(serve.broker, GROUP, TOPIC).unwrap();
    let mut latencies = Vec::new();
    let mut resident = 0;
    let end = Instant::now() + time;
    while Instant::now() < end || latencies.len() < TRANSACTIONS_MIN {
        let begun = Instant::now();
        let halfs = producer.halfs(1, 1024).unwrap();
        let half = &halfs[0];
        let mut ledger = ledger.lock().unwrap();
        ledger.half_sent(&half.key);
        ledger.half_acked(&half.key, half.handle.clone());
        ledger.end_sent(&half.key, Decision::Commit);
        let ended = producer.end(&halfs, Decision::Commit).unwrap();
        assert_eq!(ended[0].code, 0, "{ended:?}");
        ledger.end_acked(&half.key, Decision::Commit);
        latencies.push(begun.elapsed());
        if latencies.len() % 50 == 1 {
            resident = resident.max(serve.resident());
        }
    }
    latencies.sort_unstable();
    Seen {
        latencies,
        resident: resident.max(serve.resident()),
    }
}

const LARGE: &str = "Large";

/// Something for the slow readers to ask for: 16 MiB.
fn fill(broker: SocketAddr) {
    let mut producer = Producer::connect(broker, "large", LARGE).unwrap();
    for _ in 0..16 {
        let halfs = producer.halfs(16, 64 * 1024).unwrap();
        producer.end(&halfs, Decision::Commit).unwrap();
    }
}

fn connect(broker: SocketAddr) -> TcpStream {
    TcpStream::connect(broker).unwrap()
}

/// Asks for 64 MiB, as far as its requests are taken, and reads none of it.
fn slow_reader(broker: SocketAddr) -> TcpStream {
    let mut requests = BytesMut::new();
    for _ in 0..256 {
        pull("slow", LARGE, 0, 0).encode(&mut requests).unwrap();
    }
    let mut stream = connect(broker);
    stream.set_nonblocking(true).unwrap();
    match stream.write(&requests) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => panic!("{error}"),
    }
    stream
}

/// The beginning of a frame of fifteen mebibytes.
fn half_frame(broker: SocketAddr) -> TcpStream {
    let mut frame = vec![b'{'; HALF_FRAME_BYTES];
    frame[..4].copy_from_slice(&(15_u32 << 20).to_be_bytes());
    frame[4..8].copy_from_slice(&1000_u32.to_be_bytes());
    let mut stream = connect(broker);
    stream.write_all(&frame).unwrap();
    stream
}

/// Many connections that write a byte of a good request at a time, one after the other.
fn write_slowly(broker: SocketAddr, go_on: &AtomicBool) {
    let mut frame = BytesMut::new();
    request(PULL_MESSAGE, &[("topic", LARGE.to_owned())])
        .encode(&mut frame)
        .unwrap();
    let mut writers: Vec<TcpStream> = (0..SLOW_WRITERS).map(|_| connect(broker)).collect();
    for byte in frame.iter().cycle() {
        for writer in &mut writers {
            // It is refused in the end, for want of the other fields, and goes on.
            writer.write_all(&[*byte]).unwrap();
        }
        if !go_on.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Connections that come, do something and go, one after the other.
fn visit(broker: SocketAddr, go_on: &AtomicBool, mut what: impl FnMut(&mut TcpStream)) {
    for _ in 0..VISITS_MAX {
        if !go_on.load(Ordering::Relaxed) {
            return;
        }
        what(&mut connect(broker));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Random bytes, a huge length, a huge header, or a frame that ends in its middle.
fn garbage(stream: &mut TcpStream, random: &mut Random) {
    let mut bytes: Vec<u8> = (0..64 + random.below(4096))
        .map(|_| random.below(256) as u8)
        .collect();
    match random.below(4) {
        0 => bytes[..4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]),
        1 => {
            bytes[..4].copy_from_slice(&[0, 0, 0x10, 0]);
            bytes[4..8].copy_from_slice(&[0, 0xff, 0xff, 0xff]);
        }
        2 => bytes[..8].copy_from_slice(&[0, 0, 0x10, 0, 0, 0, 0x01, 0]),
        _ => {}
    }
    // The broker may have closed it by then.
    let _ = stream.write_all(&bytes);
}

/// Lets this process, and the brokers that it starts, have so many file descriptors.
fn descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return;
    }
    let raised = Rlimit {
        current: Some(count),
        maximum: limit.maximum.map(|maximum| maximum.max(count)),
    };
    setrlimit(Resource::Nofile, raised).unwrap_or_else(|error| {
        panic!("{count} file descriptors are needed and {limit:?} allowed ({error}): run as root, or `ulimit -Hn {count}` before")
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
