//! Futures that are dropped at every point at which they wait: database and broker agree afterwards, and the pool is whole.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use escrow_client::Message;
use escrow_client::database::BoundProducer;

use crate::broker::in_time;
use crate::engine::{Engine, on_every_engine, order};
use crate::shop::{A_WHILE, Shop, placed};

on_every_engine!(
    run_may_be_dropped_anywhere,
    a_guard_may_be_dropped_anywhere,
    a_guard_may_be_dropped_anywhere_on_its_way_back,
    a_late_half_may_be_dropped_anywhere,
    several_messages_may_be_dropped_anywhere,
);

/// When a future is dropped.
#[derive(Debug, Clone, Copy)]
enum Drop {
    /// So many microseconds after it began to wait: what it waits for is under way, more or less far.
    Waiting(u64),
    /// When it could go on: what it waited for is done, and nobody has seen the result.
    Woken,
}

const MOMENTS: [Drop; 7] = [
    Drop::Waiting(0),
    Drop::Waiting(200),
    Drop::Waiting(500),
    Drop::Waiting(1000),
    Drop::Waiting(2000),
    Drop::Waiting(5000),
    Drop::Woken,
];

/// Polls `future` so many times, then drops it. Answers what it came to, if it did.
async fn polled<T>(future: impl Future<Output = T>, times: usize, when: Drop) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => match when {
                Drop::Waiting(us) if polls == times => {
                    // On purpose without a wake-up: the tasks of the producer run on other threads.
                    std::thread::sleep(Duration::from_micros(us));
                    Poll::Ready(None)
                }
                _ => Poll::Pending,
            },
        }
    })
    .await
}

/// Drops `story` at each moment after 1, 2, 3 … polls until it completes; each time it tells of another order. Answers at how many
/// points that was at most.
async fn each_moment<DB, S>(shop: &Shop<DB>, round: usize, story: &S) -> usize
where
    DB: Engine,
    S: AsyncFn(&BoundProducer<DB>, &str),
{
    let mut most = 0;
    for when in MOMENTS {
        for times in 1.. {
            let id = format!("{round:02} {when:?} {times:03}");
            let told = polled(story(&shop.producer, &id), times, when);
            if in_time(told).await.is_some() {
                break;
            }
            most = most.max(times);
        }
    }
    most
}

/// Drops `story` at every point, until it has had more than two.
async fn at_every_point<DB, S>(story: S)
where
    DB: Engine,
    S: AsyncFn(&BoundProducer<DB>, &str),
{
    let shop = Shop::<DB>::open(A_WHILE).await;
    let (mut round, mut most) = (0, 0);
    // A reply that is there at once is no point to wait at: on a busy machine some rounds have few.
    while most <= 2 {
        round += 1;
        assert!(round < 50, "dropped at {most} points only");
        most = most.max(each_moment(&shop, round, &story).await);
    }
    shop.agree().await;
    // Every connection is back, or has been replaced.
    let work = async |id: &str| {
        let work = async |connection: &mut DB::Connection| order::<DB>(connection, id).await;
        shop.producer.run(placed(id), work).await.map(|_| ())
    };
    let (a, b, c, d) = tokio::join!(work("w"), work("x"), work("y"), work("z"));
    for done in [a, b, c, d] {
        done.unwrap();
    }
    in_time(shop.producer.close()).await;
    let orders = shop.agree().await;
    assert!(orders.ends_with(&["w", "x", "y", "z"].map(str::to_owned)));
}

async fn run_may_be_dropped_anywhere<DB: Engine>() {
    at_every_point::<DB, _>(async |producer, id| {
        let work = async |connection: &mut DB::Connection| {
            order::<DB>(&mut *connection, id).await?;
            DB::statement(connection, "SELECT 1".to_owned()).await
        };
        let done = producer.run(placed(id), work).await;
        done.unwrap();
    })
    .await;
}

async fn a_guard_may_be_dropped_anywhere<DB: Engine>() {
    at_every_point::<DB, _>(async |producer, id| {
        let mut tx = producer.begin(placed(id)).await.unwrap();
        order::<DB>(&mut tx, id).await.unwrap();
        tx.commit().await.unwrap();
    })
    .await;
}

async fn a_guard_may_be_dropped_anywhere_on_its_way_back<DB: Engine>() {
    at_every_point::<DB, _>(async |producer, id| {
        let mut tx = producer.begin(placed(id)).await.unwrap();
        order::<DB>(&mut tx, id).await.unwrap();
        tx.rollback().await;
    })
    .await;
}

async fn a_late_half_may_be_dropped_anywhere<DB: Engine>() {
    at_every_point::<DB, _>(async |producer, id| {
        let mut tx = producer.begin_late().await.unwrap();
        order::<DB>(&mut tx, id).await.unwrap();
        let tx = tx.prepare([placed(id)]).await.unwrap();
        tx.commit().await.unwrap();
    })
    .await;
}

async fn several_messages_may_be_dropped_anywhere<DB: Engine>() {
    at_every_point::<DB, _>(async |producer, id| {
        let ids = ["a", "b", "c"].map(|part| format!("{id} {part}"));
        let messages: Vec<Message> = ids.iter().map(|id| placed(id)).collect();
        let mut tx = producer.begin_many(messages).await.unwrap();
        for id in &ids {
            order::<DB>(&mut tx, id).await.unwrap();
        }
        tx.commit().await.unwrap();
    })
    .await;
}
