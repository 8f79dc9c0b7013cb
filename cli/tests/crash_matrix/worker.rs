//! A running order worker, as its parent sees it.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::talk::{End, Event, GO};

/// Nothing here takes as long; what does has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The ignored test that is an order worker.
const ENTRY: &str = "order_worker_process";

/// What a worker is to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orders {
    /// Each order's id begins with it.
    pub(crate) name: String,
    /// 0: only answer checks. 1: place orders until the step is reached. More: place orders for ever, so many at once.
    pub(crate) at_once: usize,
    /// Orders that are placed in peace before that.
    pub(crate) before: usize,
    /// The way of placing the first order, see `order_worker`.
    pub(crate) way: usize,
    /// The step that is told, and whether the worker waits there.
    pub(crate) step: &'static str,
    pub(crate) park: bool,
}

/// Where a worker works.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) engine: &'static str,
    pub(crate) url: String,
    pub(crate) namesrv: String,
    pub(crate) group: &'static str,
}

pub(crate) struct Worker {
    child: Child,
    stdin: ChildStdin,
    /// Read all the time: a worker that cannot tell anything stands still.
    lines: UnboundedReceiver<Event>,
    /// Everything of it that was looked at.
    said: Vec<Event>,
}

impl Worker {
    /// Starts one and waits until it is ready.
    pub(crate) async fn ready(place: &Place, orders: &Orders) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", ENTRY, "--ignored", "--nocapture"])
            .args(["--test-threads", "1"]);
        let settings = [
            ("ENGINE", place.engine.to_owned()),
            ("URL", place.url.clone()),
            ("NAMESRV", place.namesrv.clone()),
            ("GROUP", place.group.to_owned()),
            ("NAME", orders.name.clone()),
            ("AT_ONCE", orders.at_once.to_string()),
            ("BEFORE", orders.before.to_string()),
            ("WAY", orders.way.to_string()),
            ("STEP", orders.step.to_owned()),
            ("PARK", if orders.park { "yes" } else { "no" }.to_owned()),
        ];
        for (name, value) in settings {
            command.env(format!("ORDER_WORKER_{name}"), value);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut worker = Self {
            stdin: child.stdin.take().unwrap(),
            lines: read(child.stdout.take().unwrap()),
            child,
            said: Vec::new(),
        };
        worker
            .until(|event| (*event == Event::Ready).then_some(()))
            .await;
        worker
    }

    /// Lets it begin, or go on from where it is parked.
    pub(crate) async fn go(&mut self) {
        let line = format!("{GO}\n");
        self.stdin.write_all(line.as_bytes()).await.unwrap();
    }

    /// Waits until it is at its step: the transaction id there.
    pub(crate) async fn step(&mut self) -> String {
        self.until(|event| match event {
            Event::Step(tx_id) => Some(tx_id.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until an order has ended: how.
    pub(crate) async fn ended(&mut self) -> End {
        self.until(|event| match event {
            Event::Ended(_, end) => Some(*end),
            _ => None,
        })
        .await
    }

    /// Waits until another order is committed.
    pub(crate) async fn committed(&mut self) {
        while let Ok(event) = self.lines.try_recv() {
            self.said.push(event);
        }
        self.until(|event| matches!(event, Event::Ended(_, End::Committed(_))).then_some(()))
            .await;
    }

    /// Kills it, and gives everything that it ever said.
    pub(crate) async fn kill(mut self) -> Vec<Event> {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
        while self.next().await.is_some() {}
        self.said
    }

    async fn until<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let found = async {
            while let Some(event) = self.next().await {
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
            panic!("the worker ended by itself: {:?}", self.said);
        };
        if let Ok(found) = timeout(PATIENCE, found).await {
            return found;
        }
        let last = &self.said[self.said.len().saturating_sub(6)..];
        panic!("not in time; the last that the worker said: {last:?}");
    }

    async fn next(&mut self) -> Option<Event> {
        let event = self.lines.recv().await?;
        self.said.push(event.clone());
        Some(event)
    }
}

fn read(stdout: ChildStdout) -> UnboundedReceiver<Event> {
    let (events, said) = unbounded_channel();
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(event) = Event::read(&line) {
                // Nobody listens any more, if this fails.
                let _ = events.send(event);
            }
        }
    });
    said
}
