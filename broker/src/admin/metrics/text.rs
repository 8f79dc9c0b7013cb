//! Prometheus' text format: help and type once per name, then its samples.

use std::fmt::{Display, Write};

use crate::histogram::Histogram;

/// A scrape in the making. Samples of one name are to be given together.
#[derive(Debug)]
pub(super) struct Text {
    out: String,
    /// Labels of every sample.
    common: String,
    last: &'static str,
}

impl Text {
    pub(super) fn new(cluster: &str, node: &str) -> Text {
        let mut common = String::new();
        put_label(&mut common, "cluster", cluster);
        put_label(&mut common, "node_type", "broker");
        put_label(&mut common, "node_id", node);
        Text {
            out: String::with_capacity(16 * 1024),
            common,
            last: "",
        }
    }

    pub(super) fn gauge(
        &mut self,
        name: &'static str,
        help: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        self.head(name, "gauge", help);
        self.sample(name, labels, &value);
    }

    pub(super) fn counter(
        &mut self,
        name: &'static str,
        help: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        self.head(name, "counter", help);
        self.sample(name, labels, &value);
    }

    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        labels: &[(&str, &str)],
        histogram: &Histogram,
    ) {
        self.head(name, "histogram", help);
        let mut count = 0;
        for (at, bucket) in histogram.buckets.iter().enumerate() {
            count += bucket;
            let bound = histogram.bounds.get(at);
            let bound = bound.map_or_else(|| "+Inf".to_owned(), u64::to_string);
            let mut with_bound = labels.to_vec();
            with_bound.push(("le", &bound));
            self.sample(&format!("{name}_bucket"), &with_bound, &count);
        }
        self.sample(&format!("{name}_sum"), labels, &histogram.sum);
        self.sample(&format!("{name}_count"), labels, &count);
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    fn head(&mut self, name: &'static str, kind: &str, help: &str) {
        if self.last != name {
            self.last = name;
            // Writing to a String cannot fail.
            let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &dyn Display) {
        let mut own = self.common.clone();
        for (label, text) in labels {
            put_label(&mut own, label, text);
        }
        let _ = writeln!(self.out, "{name}{{{own}}} {value}");
    }
}

fn put_label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            other => labels.push(other),
        }
    }
    labels.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_type_come_once_per_name() {
        let mut text = Text::new("c", "b");
        text.gauge("a", "what a is", &[("topic", "x")], 1);
        text.gauge("a", "what a is", &[("topic", "y\"\\\n")], 2);
        text.counter("b_total", "what b is", &[], 3);
        let common = "cluster=\"c\",node_type=\"broker\",node_id=\"b\"";
        assert_eq!(
            text.finish(),
            format!(
                "# HELP a what a is\n# TYPE a gauge\na{{{common},topic=\"x\"}} 1\n\
                 a{{{common},topic=\"y\\\"\\\\\\n\"}} 2\n\
                 # HELP b_total what b is\n# TYPE b_total counter\nb_total{{{common}}} 3\n"
            )
        );
    }

    #[test]
    fn a_histogram_adds_its_buckets_up() {
        let mut text = Text::new("c", "b");
        let mut histogram = Histogram::new(&[1, 5]);
        for (size, times) in [(1, 2), (4, 3), (26, 1)] {
            histogram.add(size, times);
        }
        text.histogram("h", "what h is", &[("topic", "x")], &histogram);
        let lines: Vec<String> = text
            .finish()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.replace("cluster=\"c\",node_type=\"broker\",node_id=\"b\"", ""))
            .collect();
        assert_eq!(
            lines,
            [
                "h_bucket{,topic=\"x\",le=\"1\"} 2",
                "h_bucket{,topic=\"x\",le=\"5\"} 5",
                "h_bucket{,topic=\"x\",le=\"+Inf\"} 6",
                "h_sum{,topic=\"x\"} 40",
                "h_count{,topic=\"x\"} 6",
            ]
        );
    }
}
