//! One connection: a task that reads and a task that writes, as in the broker.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::log::{Batch, Log, Written};
use crate::reply::{self, SendReplies};
use crate::request::{Request, Scanner};

/// Room made for reads, and the least that one is given.
const BUFFER_BYTES: usize = 256 * 1024;
const READ_MIN: usize = 32 * 1024;

/// What the writing task is to write.
enum Outgoing {
    Sends(Written),
    Answer(Vec<u8>),
}

/// Serves until the peer closes.
pub(crate) async fn serve(stream: TcpStream, address: SocketAddr, log: Log) {
    if let Err(error) = answer(stream, address, log).await {
        eprintln!("bench-ceiling: connection ended: {error:#}");
    }
}

async fn answer(stream: TcpStream, address: SocketAddr, log: Log) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (input, output) = stream.into_split();
    let (done, written) = mpsc::unbounded_channel();
    let (answers, other) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write_all(output, address, written, other));
    read_all(input, address, &log, done, answers).await?;
    writer.await?
}

async fn read_all(
    mut input: OwnedReadHalf,
    address: SocketAddr,
    log: &Log,
    done: mpsc::UnboundedSender<Written>,
    answers: mpsc::UnboundedSender<Vec<u8>>,
) -> anyhow::Result<()> {
    let scanner = Scanner::new();
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() - buffer.len() < READ_MIN {
            buffer.reserve(BUFFER_BYTES);
        }
        if input.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let (mut length, mut visible, mut appended) = (0, 0, false);
        let mut sends = Vec::new();
        let mut answer = Vec::new();
        while let Some((request, taken)) = scanner.take(&buffer[length..])? {
            match request {
                Request::Send(send) => {
                    visible += u64::from(!send.half);
                    sends.push((length, send));
                    appended = true;
                }
                Request::End => {
                    visible += 1;
                    appended = true;
                }
                Request::Other(frame) => {
                    let visible = log.visible.load(Ordering::Acquire);
                    reply::other(&mut answer, &frame, address, visible)?;
                }
            }
            length += taken;
        }
        let frames = buffer.split_to(length).freeze();
        if appended {
            let batch = Batch {
                frames,
                sends,
                visible,
                done: done.clone(),
            };
            if log.batches.send(batch).await.is_err() {
                return Ok(());
            }
        }
        if !answer.is_empty() && answers.send(answer).is_err() {
            return Ok(());
        }
    }
}

/// Writes what is there with one call, until both senders are gone.
async fn write_all(
    mut output: OwnedWriteHalf,
    address: SocketAddr,
    mut written: mpsc::UnboundedReceiver<Written>,
    mut answers: mpsc::UnboundedReceiver<Vec<u8>>,
) -> anyhow::Result<()> {
    let replies = SendReplies::new(address);
    let mut out = Vec::new();
    loop {
        let first = tokio::select! {
            Some(batch) = written.recv() => Outgoing::Sends(batch),
            Some(answer) = answers.recv() => Outgoing::Answer(answer),
            else => return Ok(()),
        };
        put(&replies, first, &mut out);
        while let Ok(batch) = written.try_recv() {
            put(&replies, Outgoing::Sends(batch), &mut out);
        }
        if !out.is_empty() {
            output.write_all(&out).await?;
            out.clear();
        }
    }
}

fn put(replies: &SendReplies, outgoing: Outgoing, out: &mut Vec<u8>) {
    match outgoing {
        Outgoing::Answer(answer) => out.extend_from_slice(&answer),
        Outgoing::Sends(batch) => {
            for (at, send) in &batch.sends {
                let key = at + send.key.0..at + send.key.1;
                let key = batch.frames.get(key).unwrap_or_default();
                let position = batch.position + *at as u64;
                replies.write(out, send.opaque, send.queue_id, position, key);
            }
        }
    }
}
