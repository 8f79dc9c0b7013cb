//! The order worker: a process that places orders and is killed at it. It knows nothing of what is done to it.

use std::io::BufRead as _;
use std::time::Duration;

use escrow_client::database::{
    BeginError, BoundProducer, BoundSettings, CommitError, Committed, MarkerError, PrepareError,
    RunError, StartError,
};
use escrow_client::{Client, Delivery, Message, Settings};
use sqlx::Pool;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::engine::{Engine, insert};
use crate::steps::Steps;
use crate::talk::{Delivered, End, Event, GO};

pub(crate) const TOPIC: &str = "Orders";

/// How an order is placed. The number of the order says which way.
const WAYS: usize = 4;

/// An order that failed is not followed by the next one at once.
const PAUSE: Duration = Duration::from_millis(20);

/// Of an order that the application itself gives up.
#[derive(Debug)]
struct ChangedItsMind;

impl From<sqlx::Error> for ChangedItsMind {
    fn from(_: sqlx::Error) -> Self {
        Self
    }
}

struct Shop<DB: Engine> {
    producer: BoundProducer<DB>,
    name: String,
}

/// Works as the environment says. Ends when the parent does, or kills it.
pub(crate) fn run<DB: Engine>() {
    // The test harness has begun a line.
    println!();
    let steps = Steps::watch(variable("STEP"), variable("PARK") == "yes");
    let goes: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_ok_and(|line| line == GO) {
                steps.release();
                goes.add_permits(1);
            }
        }
        std::process::exit(0);
    });
    // More threads than a step that is held up can occupy.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work::<DB>(steps, goes));
}

/// A setting from the parent.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(format!("ORDER_WORKER_{name}")).unwrap_or_default()
}

async fn work<DB: Engine>(steps: Steps, goes: &Semaphore) {
    let number = |name: &str| variable(name).parse::<usize>().unwrap();
    let pool = DB::open(&variable("URL"), 4).await.unwrap();
    let mut settings = Settings::new(&variable("NAMESRV"));
    // A reply that somebody withholds shall not be given up before the kill.
    settings.request_timeout = Duration::from_secs(30);
    let client = Client::start(settings).await.unwrap();
    let shop: &'static Shop<DB> = Box::leak(Box::new(Shop {
        producer: start(&client, &pool).await,
        name: variable("NAME"),
    }));
    let first_way = number("WAY");
    for order in 0..number("BEFORE") {
        shop.place(&format!("before{order}"), first_way + order + 1)
            .await;
    }
    Event::Ready.tell();
    goes.acquire().await.unwrap().forget();
    match number("AT_ONCE") {
        0 => {}
        1 => {
            steps.arm();
            for order in 0.. {
                shop.place(&order.to_string(), first_way).await;
                if steps.reached() {
                    break;
                }
            }
        }
        at_once => {
            for lane in 0..at_once {
                tokio::spawn(async move {
                    for order in 0.. {
                        shop.place(&format!("{lane}-{order}"), lane + order).await;
                    }
                });
            }
        }
    }
    // Still a member of the group that answers checks.
    std::future::pending::<()>().await;
}

async fn start<DB: Engine>(client: &Client, pool: &Pool<DB>) -> BoundProducer<DB> {
    loop {
        let settings = BoundSettings::default();
        match BoundProducer::start(client, variable("GROUP"), pool, settings).await {
            // One that was restarted a moment ago, as Apache's, is not known to its name server yet.
            Err(StartError::NoBroker) => sleep(PAUSE).await,
            started => return started.unwrap(),
        }
    }
}

impl<DB: Engine> Shop<DB> {
    /// Places an order and tells what became of it.
    async fn place(&self, number: &str, way: usize) {
        let id = format!("{}.{number}", self.name);
        let several = [format!("{id}.a"), format!("{id}.b")];
        let ids = match way % WAYS {
            3 => several.as_slice(),
            _ => std::slice::from_ref(&id),
        };
        for id in ids {
            Event::Order(id.clone()).tell();
        }
        let end = match way % WAYS {
            1 => self.by_guard(&id).await,
            2 => self.late(&id).await,
            _ => self.by_run(ids, number.ends_with('9')).await,
        };
        for id in ids {
            Event::Ended(id.clone(), end).tell();
        }
        if !matches!(end, End::Committed(_)) {
            sleep(PAUSE).await;
        }
    }

    /// One or several messages, given up by the application itself or not.
    async fn by_run(&self, ids: &[String], given_up: bool) -> End {
        let messages: Vec<Message> = ids.iter().map(|id| placed(id)).collect();
        let work = async |connection: &mut DB::Connection| {
            for id in ids {
                insert::<DB>(connection, id).await?;
            }
            if given_up {
                return Err(ChangedItsMind);
            }
            Ok(())
        };
        match self.producer.run_many(messages, work).await {
            Ok(((), committed)) => ended(Ok(committed)).await,
            Err(RunError::Begin(error)) => begun_not(&error),
            Err(RunError::App(_)) => End::RolledBack,
            Err(RunError::Commit(error)) => ended(Err(error)).await,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn by_guard(&self, id: &str) -> End {
        let mut tx = match self.producer.begin(placed(id)).await {
            Ok(tx) => tx,
            Err(error) => return begun_not(&error),
        };
        if insert::<DB>(&mut tx, id).await.is_err() {
            tx.rollback().await;
            return End::RolledBack;
        }
        ended(tx.commit().await).await
    }

    async fn late(&self, id: &str) -> End {
        let mut tx = match self.producer.begin_late().await {
            Ok(tx) => tx,
            Err(error) => return begun_not(&error),
        };
        if insert::<DB>(&mut tx, id).await.is_err() {
            tx.rollback().await;
            return End::RolledBack;
        }
        match tx.prepare([placed(id)]).await {
            Ok(tx) => ended(tx.commit().await).await,
            Err(PrepareError::Marker(MarkerError::Split)) => End::Split,
            Err(_) => End::RolledBack,
        }
    }
}

/// The message that stands for an order.
fn placed(id: &str) -> Message {
    Message::new(TOPIC, id.to_owned())
}

fn begun_not(error: &BeginError) -> End {
    match error {
        BeginError::Marker(MarkerError::TooLate(_)) => End::TooLate,
        _ => End::RolledBack,
    }
}

async fn ended(outcome: Result<Committed, CommitError>) -> End {
    match outcome {
        Ok(committed) => End::Committed(match committed.delivery.await {
            Delivery::Resolved => Delivered::Resolved,
            Delivery::Deferred(_) => Delivered::Deferred,
            Delivery::Refused(_) => Delivered::Refused,
        }),
        Err(CommitError::RolledBack(_)) => End::RolledBack,
        Err(CommitError::InDoubt { .. }) => End::InDoubt,
        Err(_) => End::Split,
    }
}
