//! Consumers.
//!
//! | consumer | queues | offsets | failures |
//! |---|---|---|---|
//! | [`PushConsumer::concurrent`] | shared among the members of the group | the broker's, as messages get done | come again later, at last as dead letters |
//! | [`PushConsumer::orderly`] | shared, each locked by one member | the same | hold up their queue |
//! | [`PushConsumer::broadcasting`] | every member has all | each member's own | logged |
//! | [`PullConsumer`] | those of a topic, or those it is given | when the application says so | the application's business |
//!
//! All deliver at least once: a message may come again after a crash, or when its queue changes hands.

mod allocation;
mod cache;
mod concurrent;
mod fill;
mod handler;
mod lock;
mod member;
mod offsets;
mod orderly;
mod pull;
mod pull_consumer;
mod puller;
mod push_consumer;
mod rebalance;
mod retry;
mod settings;
mod subscription;

pub use handler::{Handler, Outcome};
pub use offsets::LocalOffsets;
pub use pull_consumer::{Batch, PullConsumer};
pub use push_consumer::PushConsumer;
pub use settings::{PullSettings, PushSettings, Start};
pub use subscription::Subscription;
