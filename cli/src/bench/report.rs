//! What a run found, for people and for machines.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::usage::Used;
use crate::table::{Align, Table, bytes};

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) mode: &'static str,
    pub(super) broker: String,
    pub(super) topic: String,
    pub(super) queues: usize,
    pub(super) connections: usize,
    /// Sends outstanding at most, on each connection.
    pub(super) depth: usize,
    pub(super) threads: usize,
    pub(super) body_bytes: usize,
    /// Offered load in messages per second; none in a closed loop.
    pub(super) rate: Option<f64>,
    /// Length of the measured window.
    pub(super) seconds: f64,
    /// Growth of the topic's visible max offsets within the window.
    pub(super) visible: u64,
    /// The same per second: committed transactions, or plain messages.
    pub(super) visible_per_second: f64,
    /// Sends acknowledged per second, measured without the moments in which the queues were asked for their ends.
    pub(super) acknowledged_per_second: f64,
    /// From the write of a send to the read of its acknowledgement, within the window.
    pub(super) ack: Latency,
    /// From the END of a transaction to the message's arrival at a long-polling consumer, if there was one.
    pub(super) receipt: Option<Latency>,
    /// CPUs that the generator itself kept busy.
    pub(super) generator_cpus: f64,
    /// What the broker used within the window, if its process id was given.
    pub(super) broker_used: Option<Used>,
    /// Over the whole run, warm-up included.
    pub(super) total: Totals,
}

/// A latency distribution in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) count: u64,
    pub(super) mean_us: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) max_us: f64,
    /// Pairs of a quantile and the latency there, for a plot.
    pub(super) curve: Vec<(f64, f64)>,
}

/// Quantiles of the curve.
const QUANTILES: [f64; 14] = [
    0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999,
];

impl Latency {
    pub(super) fn of(nanoseconds: &Histogram<u64>) -> Self {
        let us = |ns: u64| ns as f64 / 1e3;
        Self {
            count: nanoseconds.len(),
            mean_us: nanoseconds.mean() / 1e3,
            p50_us: us(nanoseconds.value_at_quantile(0.5)),
            p99_us: us(nanoseconds.value_at_quantile(0.99)),
            p999_us: us(nanoseconds.value_at_quantile(0.999)),
            max_us: us(nanoseconds.max()),
            curve: QUANTILES
                .map(|quantile| (quantile, us(nanoseconds.value_at_quantile(quantile))))
                .to_vec(),
        }
    }
}

/// Counts from the first send until everything settled.
#[derive(Debug, Serialize)]
pub(super) struct Totals {
    pub(super) acknowledged: u64,
    /// END_TRANSACTION requests sent, answers to checks not counted.
    pub(super) ended: u64,
    pub(super) checks_answered: u64,
    pub(super) refused: BTreeMap<i32, Refused>,
    /// Growth of the visible max offsets.
    pub(super) visible: u64,
    /// Acknowledged and not visible when we stopped waiting. Not 0: the figures above are not to be trusted.
    pub(super) outstanding: u64,
    /// Visible more often than acknowledged: delivered twice. Inflates the figures above.
    pub(super) surplus: u64,
    /// How long the last ones took to become visible after the last send.
    pub(super) settle_seconds: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) count: u64,
    pub(super) first_remark: String,
}

impl Report {
    pub(super) fn table(&self) -> String {
        let mut table = Table::new(&[("", Align::Left), ("", Align::Right), ("", Align::Left)]);
        let mut row = |what: &str, value: String, note: String| {
            table.row([what.to_owned(), value, note]);
        };
        let kind = match self.mode {
            "tx" => "committed transactions/s",
            _ => "messages/s",
        };
        row(
            kind,
            format!("{:.0}", self.visible_per_second),
            format!("{} in {:.1} s", self.visible, self.seconds),
        );
        let ms = |us: f64| format!("{:.3} ms", us / 1e3);
        row("ack p50", ms(self.ack.p50_us), String::new());
        row("ack p99", ms(self.ack.p99_us), String::new());
        row("ack p99.9", ms(self.ack.p999_us), String::new());
        row("ack max", ms(self.ack.max_us), String::new());
        if let Some(receipt) = &self.receipt {
            row("END to receipt p50", ms(receipt.p50_us), String::new());
            row("END to receipt p99", ms(receipt.p99_us), String::new());
            row("END to receipt max", ms(receipt.max_us), String::new());
        }
        row(
            "generator CPUs",
            format!("{:.2}", self.generator_cpus),
            String::new(),
        );
        if let Some(used) = &self.broker_used {
            row("broker CPUs", format!("{:.2}", used.cpus), String::new());
            row(
                "broker resident",
                bytes(used.resident_bytes),
                format!("peak {}", bytes(used.resident_peak_bytes)),
            );
            let each = used.written_bytes.checked_div(self.visible).unwrap_or(0);
            row(
                "broker wrote",
                bytes(used.written_bytes),
                format!("{each} B each"),
            );
        }
        row(
            "outstanding",
            self.total.outstanding.to_string(),
            format!(
                "of {}, {:.1} s after the last send",
                self.total.acknowledged, self.total.settle_seconds
            ),
        );
        if self.total.surplus > 0 {
            row(
                "delivered twice",
                self.total.surplus.to_string(),
                "counted above".to_owned(),
            );
        }
        row(
            "checks answered",
            self.total.checks_answered.to_string(),
            String::new(),
        );
        for (code, refused) in &self.total.refused {
            row(
                &format!("refused with {code}"),
                refused.count.to_string(),
                refused.first_remark.clone(),
            );
        }
        let rate = self.rate.map_or("closed loop".to_owned(), |rate| {
            format!("{rate:.0}/s offered")
        });
        format!(
            "{} connections x {} deep, {} B bodies, {} queues, {rate}\n{}",
            self.connections,
            self.depth,
            self.body_bytes,
            self.queues,
            table.render().trim_start_matches('\n')
        )
    }
}
