//! The play itself: broker, order service and shipping service on one stage.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use escrow_broker::Broker;
use escrow_client::{Batch, Client, PullConsumer, PullSettings, Settings, Subscription};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::database::Database;
use super::fate::Fate;
use super::shop::{Event, Order, Told};
use super::verdict::Verdict;
use super::{SHIPPING, TOPIC};
use crate::admin::Admin;
use crate::serve;

const QUEUES: i32 = 4;
/// First check and all later ones: short, so that the audience need not wait.
const CHECK_EVERY: &str = "1s";
/// Once all is shipped: wait this much longer for what must not come.
const ENCORE: Duration = Duration::from_millis(1500);
/// SIGABRT.
const ABORTED: i32 = 6;

/// Plays the story and prints the verdict.
pub(super) async fn play(folder: &Path, orders: u64, within: Duration) -> anyhow::Result<()> {
    let settings = serve::embedded(
        &folder.join("broker"),
        &[
            ("transaction-time-out", CHECK_EVERY),
            ("transaction-check-interval", CHECK_EVERY),
        ],
    )?;
    let broker = Broker::start(settings).await?;
    let at = broker.addresses();
    println!(
        "broker {} and name server {} in {}",
        at.broker,
        at.namesrv,
        folder.display()
    );
    let stage = Stage::set(
        &at.namesrv.to_string(),
        &at.admin.to_string(),
        folder,
        orders,
    )
    .await?;
    let verdict = tokio::time::timeout(within, stage.run())
        .await
        .with_context(|| format!("the story did not end within {within:?}"))??;
    broker.shutdown().await;
    print!("\n{}", verdict.table());
    verdict.judge()
}

struct Stage {
    client: Client,
    admin: Admin,
    shipping: PullConsumer,
    shop: Shop,
    database: PathBuf,
    orders: u64,
    bar: ProgressBar,
    /// Fate of each order, as the order service told.
    placed: BTreeMap<u64, Fate>,
    /// How often each order was shipped.
    shipped: BTreeMap<u64, u64>,
    crashes: u64,
    checks: u64,
    started: Instant,
}

impl Stage {
    async fn set(namesrv: &str, admin: &str, folder: &Path, orders: u64) -> anyhow::Result<Self> {
        let client = Client::start(Settings::new(namesrv)).await?;
        client
            .create_topic(TOPIC, QUEUES)
            .await
            .context("cannot create the topic")?;
        let topic = Subscription::all(TOPIC);
        let shipping = PullConsumer::subscribe(&client, SHIPPING, topic, PullSettings::default())?;
        let database = folder.join("orders.db");
        let shop = Shop::open(namesrv, &database, 1, orders)?;
        let bar = ProgressBar::new(orders).with_style(ProgressStyle::with_template(
            "{bar:32} {pos}/{len} orders placed, {msg}, {elapsed}",
        )?);
        Ok(Self {
            client,
            admin: Admin::at(admin),
            shipping,
            shop,
            database,
            orders,
            bar,
            placed: BTreeMap::new(),
            shipped: BTreeMap::new(),
            crashes: 0,
            checks: 0,
            started: Instant::now(),
        })
    }

    async fn run(mut self) -> anyhow::Result<Verdict> {
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let mut all_placed = false;
        let mut settled: Option<Instant> = None;
        loop {
            tokio::select! {
                event = self.shop.events.next_line() => match event? {
                    Some(line) => all_placed |= self.heard(&serde_json::from_str(&line)?),
                    None => self.reopen().await?,
                },
                batch = self.shipping.next() => self.ship(&batch?).await?,
                _ = look.tick() => {
                    if all_placed && settled.is_none() && self.admin.undecided().await? == 0 {
                        settled = Some(Instant::now());
                    }
                    if settled.is_some_and(|since| since.elapsed() > ENCORE) {
                        break;
                    }
                }
            }
            self.show();
        }
        self.bar.finish();
        self.close().await
    }

    /// Takes news of the order service; true when all orders are placed.
    fn heard(&mut self, event: &Event) -> bool {
        match event {
            Event::Ready => {}
            Event::AllPlaced => return true,
            Event::Placed { order, fate } => {
                self.placed.insert(*order, *fate);
                match fate {
                    Fate::CrashedAfterCommit => {
                        self.say(*order, "in the database, then the order service aborted before END_TRANSACTION");
                    }
                    Fate::CrashedBeforeCommit => {
                        self.say(*order, "half message sent, then the order service aborted before its database commit");
                    }
                    Fate::EndLost => {
                        self.say(*order, "in the database, but END_TRANSACTION is lost")
                    }
                    Fate::Committed | Fate::RolledBack => {}
                }
            }
            Event::Checked { order, answer } => {
                self.checks += 1;
                let text = match answer {
                    Told::Commit => "the broker asked back: the database has it, COMMIT",
                    Told::Rollback => {
                        "the broker asked back: the database has it not and never will, ROLLBACK"
                    }
                    Told::Unknown => "the broker asked back: not known yet",
                };
                self.say(*order, text);
            }
        }
        false
    }

    /// The order service is gone: looks why, and starts it again where it was.
    async fn reopen(&mut self) -> anyhow::Result<()> {
        let status = self.shop.process.wait().await?;
        ensure!(
            status.signal() == Some(ABORTED),
            "the order service ended: {status}"
        );
        self.crashes += 1;
        let next = self
            .placed
            .last_key_value()
            .map_or(1, |(order, _)| order + 1);
        let namesrv = self.shop.namesrv.clone();
        self.shop = Shop::open(&namesrv, &self.database, next, self.orders)?;
        Ok(())
    }

    async fn ship(&mut self, batch: &Batch) -> anyhow::Result<()> {
        for message in batch.messages() {
            let Order { order, .. } =
                serde_json::from_slice(&message.body).context("shipping cannot read a message")?;
            *self.shipped.entry(order).or_default() += 1;
            if self
                .placed
                .get(&order)
                .is_some_and(|fate| *fate != Fate::Committed)
            {
                self.say(order, "shipped");
            }
        }
        self.shipping.commit(batch).await?;
        Ok(())
    }

    fn say(&self, order: u64, what: &str) {
        let at = self.started.elapsed().as_secs_f64();
        self.bar
            .suspend(|| println!("{at:6.2} s  order {order:>4}: {what}"));
    }

    fn show(&self) {
        self.bar.set_position(self.placed.len() as u64);
        self.bar.set_message(format!(
            "{} shipped, {} crashes",
            self.shipped.len(),
            self.crashes
        ));
    }

    async fn close(self) -> anyhow::Result<Verdict> {
        self.shop.close().await?;
        self.shipping.close().await;
        self.client.close().await;
        let database = Database::open(&self.database).await?;
        let in_database = database.orders().await?;
        database.close().await;
        Ok(Verdict {
            orders: self.orders,
            placed: self.placed,
            in_database,
            shipped: self.shipped,
            crashes: self.crashes,
            checks: self.checks,
            seconds: self.started.elapsed().as_secs_f64(),
        })
    }
}

/// The order service as seen from outside.
struct Shop {
    process: Child,
    events: Lines<BufReader<ChildStdout>>,
    namesrv: String,
}

impl Shop {
    fn open(namesrv: &str, database: &Path, from: u64, to: u64) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("demo-shop")
            .args(["--namesrv", namesrv])
            .args(["--from", &from.to_string(), "--to", &to.to_string()])
            .arg("--database")
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the order service")?;
        let Some(stdout) = process.stdout.take() else {
            bail!("the order service has no standard output");
        };
        Ok(Self {
            process,
            events: BufReader::new(stdout).lines(),
            namesrv: namesrv.to_owned(),
        })
    }

    async fn close(mut self) -> anyhow::Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait().await?;
        ensure!(status.success(), "the order service ended: {status}");
        Ok(())
    }
}
