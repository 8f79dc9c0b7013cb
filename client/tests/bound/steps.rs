//! The steps of the protocol, as whoever traces them sees them.

use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;
use sqlx::Sqlite;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::engine::order;
use crate::shop::{NEVER, Shop, placed};

/// Steps and the transactions that took them, in order.
type Steps = Arc<Mutex<Vec<(String, String)>>>;

struct Recorder(Steps);

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "escrow_client::database" {
            let mut fields = Fields::default();
            event.record(&mut fields);
            if let Some(step) = fields.step {
                self.0.lock().push((step, fields.tx_id));
            }
        }
    }
}

#[derive(Default)]
struct Fields {
    step: Option<String>,
    tx_id: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "step" {
            self.step = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "tx_id" {
            self.tx_id = format!("{value:?}");
        }
    }
}

/// The steps of the transaction with these ids.
fn of(steps: &Steps, ids: &str) -> Vec<String> {
    let steps = steps.lock();
    let ours = steps.iter().filter(|(_, tx_id)| tx_id == ids);
    ours.map(|(step, _)| step.clone()).collect()
}

#[tokio::test]
async fn every_step_is_told_in_order() {
    let steps = Steps::default();
    let subscriber = tracing_subscriber::registry().with(Recorder(Arc::clone(&steps)));
    // The whole process: a subscriber of one thread may be passed over once another thread has met the events first.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let shop = Shop::<Sqlite>::open(NEVER).await;

    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<Sqlite>(&mut tx, "a").await.unwrap();
    let committed = tx.commit().await.unwrap();
    let early = [
        "half acked",
        "beginning",
        "marked",
        "work done",
        "committing",
        "committed",
        "ended",
    ];
    assert!(committed.delivery.await.is_resolved());
    assert_eq!(of(&steps, committed.tx_ids[0].as_str()), early);

    let tx = shop.producer.begin_late().await.unwrap();
    let tx = tx.prepare(["b", "c"].map(placed)).await.unwrap();
    let ids = tx.tx_ids().iter().map(|id| id.as_str());
    let ids = ids.collect::<Vec<_>>().join(",");
    drop(tx);
    shop.producer.close().await;
    let late = ["marked", "half acked", "decided", "ended"];
    assert_eq!(of(&steps, &ids), late);
}
