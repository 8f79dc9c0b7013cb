//! `GET /health` and `GET /metrics` of a check server. Nothing can be changed here, and no secret is shown; still, pages
//! of other sites are refused as at the broker's admin API, since names of databases and brokers are.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use escrow_broker::{Bounded, names_this_machine};
use escrow_client::check_server::counts::{Counts, LATENCY_CLASSES_MS};
use escrow_client::check_server::{CheckServer, Health};
use escrow_client::database::OpenError;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How long an alarm keeps a server from being well.
const ALARM_STANDS: Duration = Duration::from_secs(600);

pub(super) async fn serve(listener: TcpListener, server: Arc<CheckServer>) {
    let address = listener.local_addr();
    let loopback_only = address.is_ok_and(|address| address.ip().is_loopback());
    let router = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(loopback_only, host))
        .with_state(server);
    if let Err(error) = axum::serve(Bounded::new(listener), router).await {
        tracing::error!(%error, "health and metrics are no longer served");
    }
}

/// Lets requests through that name this machine and come from no foreign page.
async fn host(State(loopback_only): State<bool>, request: Request, next: Next) -> Response {
    match names_this_machine(request.headers(), loopback_only) {
        Ok(()) => next.run(request).await,
        Err(refused) => (StatusCode::FORBIDDEN, refused).into_response(),
    }
}

async fn health(State(server): State<Arc<CheckServer>>) -> impl IntoResponse {
    let (well, body) = told(&server.health(), SystemTime::now());
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body))
}

/// Whether all is well, and everything there is to say.
fn told(health: &Health, now: SystemTime) -> (bool, Value) {
    let databases = health.databases.iter().map(|(source, wrong)| {
        let state = match wrong {
            None => "ready",
            Some(OpenError::Unreachable(_)) => "unreachable",
            Some(OpenError::Refused(_)) => "refused",
        };
        json!({"database": source, "state": state, "why": wrong.as_ref().map(ToString::to_string)})
    });
    let mut alarmed = false;
    let mut groups = Vec::new();
    for (group, counts) in &health.groups {
        let mut alarms = Vec::new();
        for (reason, alarm) in &counts.alarms {
            let ago = now.duration_since(alarm.last).unwrap_or_default();
            alarmed |= ago < ALARM_STANDS;
            alarms.push(json!({
                "reason": reason, "count": alarm.count, "ago_ms": ago.as_millis() as u64, "remark": alarm.remark,
            }));
        }
        groups.push(json!({
            "group": group, "answered": counts.answered(), "in_flight": counts.in_flight, "alarms": alarms,
        }));
    }
    let brokers = health.brokers.iter();
    let brokers = brokers.map(|(address, up)| json!({"broker": address, "connected": up}));
    let well = !alarmed
        && health.databases.iter().all(|(_, wrong)| wrong.is_none())
        && health.brokers.iter().any(|(_, up)| *up);
    let body = json!({
        "status": if well { "ok" } else { "degraded" },
        "brokers": brokers.collect::<Value>(),
        "databases": databases.collect::<Value>(),
        "groups": groups,
    });
    (well, body)
}

async fn metrics(State(server): State<Arc<CheckServer>>) -> impl IntoResponse {
    let content = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content, exposition(&server.health()))
}

fn exposition(health: &Health) -> String {
    let mut out = Exposition::default();
    out.name("escrow_check_answers_total", "counter", "Answers to checks");
    for (group, counts) in &health.groups {
        for ((outcome, reason), count) in &counts.answers {
            out.sample(
                &[("group", group), ("outcome", outcome), ("reason", reason)],
                count,
            );
        }
    }
    out.name(
        "escrow_check_in_flight",
        "gauge",
        "Checks that are being worked on",
    );
    for (group, counts) in &health.groups {
        out.sample(&[("group", group)], &counts.in_flight);
    }
    out.name(
        "escrow_check_alarms_total",
        "counter",
        "Checks that asking again will not cure",
    );
    for (group, counts) in &health.groups {
        for (reason, alarm) in &counts.alarms {
            out.sample(&[("group", group), ("reason", reason)], &alarm.count);
        }
    }
    out.name(
        "escrow_check_answer_seconds",
        "histogram",
        "Time from a check to its answer",
    );
    for (group, counts) in &health.groups {
        latency(&mut out, group, counts);
    }
    out.name(
        "escrow_check_database_up",
        "gauge",
        "Whether a database can be asked",
    );
    for (database, wrong) in &health.databases {
        out.sample(&[("database", database)], &u64::from(wrong.is_none()));
    }
    out.name(
        "escrow_check_broker_up",
        "gauge",
        "Whether a broker is connected",
    );
    for (broker, up) in &health.brokers {
        out.sample(&[("broker", broker)], &u64::from(*up));
    }
    out.text
}

fn latency(out: &mut Exposition, group: &str, counts: &Counts) {
    let mut below = 0;
    for (end, count) in LATENCY_CLASSES_MS.iter().zip(counts.by_latency) {
        below += count;
        let end = (*end as f64 / 1000.0).to_string();
        out.suffixed("_bucket", &[("group", group), ("le", &end)], &below);
    }
    out.suffixed(
        "_bucket",
        &[("group", group), ("le", "+Inf")],
        &counts.answered(),
    );
    out.suffixed("_sum", &[("group", group)], &counts.latency.as_secs_f64());
    out.suffixed("_count", &[("group", group)], &counts.answered());
}

/// Prometheus' text format.
#[derive(Default)]
struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    fn name(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: &dyn std::fmt::Display) {
        self.suffixed("", labels, value);
    }

    fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], value: &dyn std::fmt::Display) {
        let escape = |text: &str| {
            text.replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n")
        };
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
            .collect();
        let _ = writeln!(
            self.text,
            "{}{suffix}{{{}}} {value}",
            self.name,
            labels.join(",")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use escrow_client::check_server::counts::Alarm;

    fn healthy() -> Health {
        let mut counts = Counts::default();
        counts.answers.insert(("commit", ""), 3);
        counts.answers.insert(("unknown", "in_flight"), 1);
        counts.by_latency[2] = 4;
        counts.latency = Duration::from_millis(18);
        Health {
            brokers: vec![("a:10911".to_owned(), true), ("b:10911".to_owned(), false)],
            databases: vec![("env:ORDERS".to_owned(), None)],
            groups: vec![("orders".to_owned(), counts)],
        }
    }

    #[test]
    fn a_database_out_of_reach_or_an_alarm_is_not_well() {
        let now = SystemTime::now();
        assert!(told(&healthy(), now).0);
        let mut health = healthy();
        health.databases[0].1 = Some(OpenError::Unreachable("connection refused".to_owned()));
        let (well, body) = told(&health, now);
        assert!(!well);
        assert_eq!(body["databases"][0]["state"], "unreachable");
        assert_eq!(body["databases"][0]["why"], "connection refused");

        let mut health = healthy();
        let alarm = Alarm {
            count: 2,
            last: now,
            remark: "wrong_domain: …".to_owned(),
        };
        health.groups[0].1.alarms.insert("wrong_domain", alarm);
        let (well, body) = told(&health, now);
        assert!(!well);
        assert_eq!(body["groups"][0]["alarms"][0]["reason"], "wrong_domain");
        // What nobody met any more is history.
        assert!(told(&health, now + ALARM_STANDS).0);
        assert!(
            !told(
                &Health {
                    brokers: Vec::new(),
                    ..healthy()
                },
                now
            )
            .0
        );
    }

    #[test]
    fn metrics_are_in_the_text_format() {
        let text = exposition(&healthy());
        for line in [
            "# TYPE escrow_check_answers_total counter",
            "escrow_check_answers_total{group=\"orders\",outcome=\"commit\",reason=\"\"} 3",
            "escrow_check_answers_total{group=\"orders\",outcome=\"unknown\",reason=\"in_flight\"} 1",
            "escrow_check_answer_seconds_bucket{group=\"orders\",le=\"0.002\"} 0",
            "escrow_check_answer_seconds_bucket{group=\"orders\",le=\"0.005\"} 4",
            "escrow_check_answer_seconds_bucket{group=\"orders\",le=\"+Inf\"} 4",
            "escrow_check_answer_seconds_sum{group=\"orders\"} 0.018",
            "escrow_check_database_up{database=\"env:ORDERS\"} 1",
            "escrow_check_broker_up{broker=\"b:10911\"} 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} not in\n{text}"
            );
        }
    }
}
