//! `GET /metrics`: Prometheus text, under the names of RocketMQ 5 where there is one and `escrow_` otherwise.

mod clients;
mod halfs;
mod node;
mod text;
mod traffic;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Admin;
use super::failure::Failure;
use text::Text;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

pub(super) async fn show(State(admin): State<Admin>) -> Result<impl IntoResponse, Failure> {
    let shared = &admin.shared;
    let seen = halfs::look(shared).await?;
    let settings = &shared.settings;
    let mut text = Text::new(&settings.broker_cluster_name, &settings.broker_name);
    halfs::put(&mut text, &seen, shared.clock.wall_ms());
    node::put(&mut text, shared);
    node::latency(&mut text, shared);
    traffic::put(&mut text, &shared.counters.traffic(), &|topic| {
        shared.topics.is_system(topic)
    });
    clients::put(&mut text, shared);
    clients::lag(&mut text, shared);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text.finish()))
}

fn truth(it: bool) -> &'static str {
    if it { "true" } else { "false" }
}
