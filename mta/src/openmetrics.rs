//! The counters of the process as OpenMetrics text (mta.md 5.9).
//!
//! One source, the message of `process-stats`, so that every way to these numbers shows the same.

use std::fmt::Write as _;

use angarium_control::proto::{ProcessStatsResponse, process_stats_response as response};

/// What the names begin with, unless the configuration says otherwise.
pub const PREFIX: &str = "mta_";

/// How a value changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It only grows, or is fixed.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many values were at most as large as each of some bounds.
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// One value of a metric.
struct Sample {
    /// What follows the name of the metric.
    suffix: &'static str,
    /// `name="value"` pairs.
    labels: String,
    value: f64,
}

/// A metric with its values, in the order in which they came.
struct Family {
    /// With its beginning.
    name: String,
    kind: Kind,
    help: String,
    unit: Option<&'static str>,
    samples: Vec<Sample>,
}

/// The metrics in the order in which they came first.
struct Page {
    prefix: String,
    families: Vec<Family>,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    fn add(&mut self, name: &str, kind: Kind, labels: Labels<'_>, value: f64) {
        let sample = Sample {
            // The format wants this at the end of every sample of a counter.
            suffix: if kind == Counter { "_total" } else { "" },
            labels: joined(labels.iter().copied()),
            value,
        };
        let name = format!("{}{name}", self.prefix);
        match self.families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.samples.push(sample),
            None => self.families.push(Family {
                name,
                kind,
                help: String::new(),
                unit: None,
                samples: vec![sample],
            }),
        }
    }

    /// A metric as the message has it. One that would stand twice is left out.
    fn metric(&mut self, name: String, metric: &response::Metric) {
        let (kind, name) = match metric.r#type.as_str() {
            "counter" => match name.strip_suffix("_total") {
                Some(base) => (Counter, base.to_owned()),
                None => (Counter, name),
            },
            "histogram" => (Histogram, name),
            _ => (Gauge, name),
        };
        if self.families.iter().any(|family| family.name == name) {
            return;
        }
        let unit = name.ends_with("_seconds").then_some("seconds");
        let samples = metric.samples.iter().flat_map(|sample| match kind {
            Histogram => of_histogram(sample),
            _ => vec![Sample {
                suffix: if kind == Counter { "_total" } else { "" },
                labels: joined(pairs(sample)),
                value: sample.value,
            }],
        });
        self.families.push(Family {
            samples: samples.collect(),
            name,
            kind,
            help: metric.help.clone(),
            unit,
        });
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the format has floating point numbers"
    )]
    fn number(&mut self, name: &str, kind: Kind, labels: Labels<'_>, value: u64) {
        self.add(name, kind, labels, value as f64);
    }

    /// Values without labels, their names after a common beginning.
    fn numbers(&mut self, start: &str, list: &[(&str, Kind, u64)]) {
        for (name, kind, value) in list {
            self.number(&format!("{start}{name}"), *kind, &[], *value);
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            let name = &family.name;
            let kind = match family.kind {
                Counter => "counter",
                Gauge => "gauge",
                Histogram => "histogram",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# TYPE {name} {kind}");
            if let Some(unit) = family.unit {
                let _ = writeln!(text, "# UNIT {name} {unit}");
            }
            if !family.help.is_empty() {
                let _ = writeln!(text, "# HELP {name} {}", escaped(&family.help));
            }
            for Sample {
                suffix,
                labels,
                value,
            } in &family.samples
            {
                let value = number(*value);
                let _ = match labels.is_empty() {
                    true => writeln!(text, "{name}{suffix} {value}"),
                    false => writeln!(text, "{name}{suffix}{{{labels}}} {value}"),
                };
            }
        }
        text.push_str("# EOF\n");
        text
    }
}

/// Labels and their values.
fn joined<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let labels = labels.into_iter();
    let shown = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    shown.collect::<Vec<_>>().join(",")
}

fn pairs(sample: &response::metric::Sample) -> impl Iterator<Item = (&str, &str)> {
    let labels = sample.labels.iter();
    labels.map(|(name, value)| (name.as_str(), value.as_str()))
}

/// The buckets, the number and the sum of a histogram.
#[expect(
    clippy::cast_precision_loss,
    reason = "the format has floating point numbers"
)]
fn of_histogram(of: &response::metric::Sample) -> Vec<Sample> {
    let bucket = |upper: &str, count: u64| Sample {
        suffix: "_bucket",
        labels: joined(pairs(of).chain([("le", upper)])),
        value: count as f64,
    };
    let rest = |suffix, value| Sample {
        suffix,
        labels: joined(pairs(of)),
        value,
    };
    let buckets = of.buckets.iter();
    let mut samples: Vec<Sample> = buckets
        .map(|of| bucket(&bound(of.upper), of.count))
        .collect();
    samples.push(bucket("+Inf", of.count));
    samples.push(rest("_count", of.count as f64));
    samples.push(rest("_sum", of.sum));
    samples
}

/// A bound, which the format wants with a fraction.
fn bound(upper: f64) -> String {
    match upper.fract() == 0.0 {
        true => format!("{upper:.1}"),
        false => upper.to_string(),
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    match value.is_infinite() {
        true if value > 0.0 => "+Inf".to_owned(),
        true => "-Inf".to_owned(),
        false => value.to_string(),
    }
}

/// The value of a label, or a text.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The page for these counters.
#[must_use]
pub fn page(stats: &ProcessStatsResponse) -> String {
    let monitor = stats.monitor.clone().unwrap_or_default();
    let mut page = Page {
        prefix: match monitor.prefix.is_empty() {
            true => PREFIX.to_owned(),
            false => monitor.prefix,
        },
        families: Vec::new(),
    };
    process(&mut page, stats);
    resolver(&mut page, stats);
    servers(&mut page, stats);
    queue(&mut page, stats);
    for of in stats.threads.iter().flat_map(|threads| &threads.scripts) {
        let labels: Labels<'_> = &[("id", &of.id)];
        for (name, kind, value) in [
            ("pending", Gauge, of.pending),
            ("rescheduled", Counter, of.rescheduled),
            ("running", Gauge, of.running),
            ("maxrunning", Counter, of.maxrunning),
            ("scripts", Gauge, of.scripts),
            ("maxscripts", Counter, of.maxscripts),
        ] {
            page.number(&format!("threads_scripts_{name}"), kind, labels, value);
        }
    }
    for histogram in &stats.histograms {
        page.metric(format!("{}{}", page.prefix, histogram.name), histogram);
    }
    for metric in &stats.metrics {
        page.metric(metric.name.clone(), metric);
    }
    page.text()
}

fn process(page: &mut Page, stats: &ProcessStatsResponse) {
    let of = stats.process.unwrap_or_default();
    page.number("process_pid", Gauge, &[], of.pid);
    // The name of a metric with a unit ends in it.
    page.add("process_runtime_seconds", Gauge, &[], of.runtime);
    if let Some(family) = page.families.last_mut() {
        family.unit = Some("seconds");
    }
    let version = of.version.unwrap_or_default();
    page.numbers(
        "process_version_",
        &[
            ("major", Counter, version.major.into()),
            ("minor", Counter, version.minor.into()),
            ("patch", Counter, version.patch.into()),
        ],
    );
    let monitor = stats.monitor.clone().unwrap_or_default();
    page.numbers(
        "monitor_",
        &[
            ("ready", Gauge, monitor.ready.into()),
            ("healthy", Gauge, monitor.healthy.into()),
        ],
    );
    // There is no cluster: this host alone.
    page.numbers("cluster_", &[("connected", Gauge, 0), ("hosts", Gauge, 1)]);
}

fn cache(page: &mut Page, start: &str, of: Option<response::Cache>, skips: bool) {
    let of = of.unwrap_or_default();
    page.numbers(
        start,
        &[
            ("size", Gauge, of.size),
            ("maxsize", Counter, of.maxsize),
            ("hits", Counter, of.hits),
            ("misses", Counter, of.misses),
            ("expires", Counter, of.expires),
            ("evicts", Counter, of.evicts),
        ],
    );
    if skips {
        page.numbers(start, &[("skips", Counter, of.skips)]);
    }
}

fn resolver(page: &mut Page, stats: &ProcessStatsResponse) {
    let of = stats.resolver.unwrap_or_default();
    page.numbers(
        "resolver_",
        &[
            ("pending", Gauge, of.pending),
            ("running", Gauge, of.running),
            ("maxrunning", Counter, of.maxrunning),
            ("dedup", Counter, of.dedup),
        ],
    );
    cache(page, "resolver_cache_", of.cache, true);
    let domain = of.domain.unwrap_or_default();
    cache(page, "resolver_domain_cache_", domain.cache, false);
}

fn script(page: &mut Page, start: &str, server: Option<&str>, of: Option<&response::Script>) {
    let none = response::Script::default();
    let of = of.unwrap_or(&none);
    let thread = ("threadid", of.threadid.as_str());
    let with_server = server.map(|server| [("serverid", server), thread]);
    let without = [thread];
    let labels: Labels<'_> = match &with_server {
        Some(labels) => labels,
        None => &without,
    };
    for (name, kind, value) in [
        ("pending", Gauge, of.pending),
        ("running", Gauge, of.running),
        ("suspended", Gauge, of.suspended),
        ("finished", Counter, of.finished),
        ("errors", Counter, of.errors),
        ("threads", Gauge, of.threads),
    ] {
        page.number(&format!("{start}{name}"), kind, labels, value);
    }
}

fn servers(page: &mut Page, stats: &ProcessStatsResponse) {
    for server in &stats.servers {
        let id = server.serverid.as_str();
        let labels: Labels<'_> = &[("serverid", id)];
        let open = server.connections.unwrap_or_default();
        for (name, kind, value) in [
            ("concurrent", Gauge, open.concurrent),
            ("maxconcurrent", Counter, open.maxconcurrent),
            ("accepted", Counter, open.accepted),
            ("refused", Counter, open.refused),
            ("turned_away", Counter, open.turnedaway),
            ("proxy_failed", Counter, open.proxyfailed),
            ("tls", Counter, open.tls),
            ("tls_failed", Counter, open.tlsfailed),
        ] {
            page.number(&format!("servers_connections_{name}"), kind, labels, value);
        }
        let ended = server.messages.unwrap_or_default();
        for (name, value) in [
            ("accepted", ended.accepted),
            ("rejected", ended.rejected),
            ("queued", ended.queued),
            ("bytes", ended.bytes),
        ] {
            page.number(&format!("servers_messages_{name}"), Counter, labels, value);
        }
        let of = server.scripts.clone().unwrap_or_default();
        for (hook, script) in [
            ("connect", &of.connect),
            ("proxy", &of.proxy),
            ("helo", &of.helo),
            ("auth", &of.auth),
            ("mailfrom", &of.mailfrom),
            ("rcptto", &of.rcptto),
            ("eod", &of.eod),
            ("disconnect", &of.disconnect),
        ] {
            let start = format!("servers_scripts_{hook}_");
            self::script(page, &start, Some(id), script.as_ref());
        }
    }
}

fn queue(page: &mut Page, stats: &ProcessStatsResponse) {
    let of = stats.queue.clone().unwrap_or_default();
    let size = |of: Option<response::queue::Size>| of.unwrap_or_default().size;
    let loader = of.loader.unwrap_or_default();
    page.numbers(
        "queue_loader_",
        &[
            ("count", Counter, loader.count),
            ("pending", Gauge, loader.pending),
            ("active", Gauge, loader.active),
            ("maxactive", Counter, loader.maxactive),
        ],
    );
    let scripts = of.scripts.unwrap_or_default();
    for (hook, script) in [
        ("predelivery", &scripts.predelivery),
        ("postdelivery", &scripts.postdelivery),
    ] {
        let start = format!("queue_scripts_{hook}_");
        self::script(page, &start, None, script.as_ref());
    }
    let queues = of.queue.unwrap_or_default();
    let active = queues.active.unwrap_or_default();
    page.numbers(
        "queue_queue_",
        &[
            ("active_size", Gauge, active.size),
            ("defer_size", Gauge, size(queues.defer)),
        ],
    );
    for (priority, of) in active.priorities.iter().enumerate() {
        let priority = priority.to_string();
        let labels: Labels<'_> = &[("priority", &priority)];
        page.number("queue_queue_active_priorities_size", Gauge, labels, of.size);
    }
    let freeze = of.freeze.unwrap_or_default();
    let update = freeze.update.unwrap_or_default();
    page.numbers(
        "queue_freeze_",
        &[
            ("hold_size", Gauge, size(freeze.hold)),
            ("update_size", Gauge, update.size),
            ("update_pending", Gauge, update.pending),
        ],
    );
    let policy = of.policy.unwrap_or_default();
    let concurrency = policy.concurrency.unwrap_or_default();
    let rate = policy.rate.unwrap_or_default();
    let interval = policy.connectinterval.unwrap_or_default();
    let dynamic = policy.dynamic.unwrap_or_default();
    page.numbers(
        "queue_policy_",
        &[
            ("concurrency_counters", Gauge, concurrency.counters),
            ("concurrency_suspends", Gauge, concurrency.suspends),
            ("rate_buckets", Gauge, rate.buckets),
            ("rate_suspends", Gauge, rate.suspends),
            ("connectinterval_buckets", Gauge, interval.buckets),
            ("connectinterval_suspends", Gauge, interval.suspends),
            ("dynamic_conditions", Gauge, dynamic.conditions),
            ("dynamic_suspends", Gauge, dynamic.suspends),
        ],
    );
    let pickup = of.pickup.unwrap_or_default();
    page.numbers(
        "queue_pickup_",
        &[
            ("count", Counter, pickup.count),
            ("skips", Counter, pickup.skips),
            ("misses", Counter, pickup.misses),
            ("pending", Gauge, pickup.pending),
            ("evals", Counter, pickup.evals),
            ("putback", Counter, pickup.putback),
        ],
    );
    let connections = of.connections.unwrap_or_default();
    page.numbers(
        "queue_connections_",
        &[
            ("concurrent", Gauge, connections.concurrent),
            ("maxconcurrent", Counter, connections.maxconcurrent),
        ],
    );
    cache(
        page,
        "queue_connections_pooling_",
        connections.pooling,
        true,
    );
    let delivery = of.delivery.unwrap_or_default();
    page.numbers(
        "queue_",
        &[
            ("quota_size", Gauge, size(of.quota)),
            ("delivery_delivered", Counter, delivery.delivered),
            ("delivery_delayed", Counter, delivery.delayed),
            ("delivery_failed", Counter, delivery.failed),
            (
                "release_pending",
                Gauge,
                of.release.unwrap_or_default().pending,
            ),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_end_in_total_and_labels_are_escaped() {
        let stats = ProcessStatsResponse {
            process: Some(response::Process {
                pid: 7,
                runtime: 1.5,
                version: None,
            }),
            servers: vec![response::Server {
                serverid: "a\"\\".to_owned(),
                connections: Some(response::server::Connections {
                    concurrent: 3,
                    maxconcurrent: 9,
                    proxyfailed: 2,
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..ProcessStatsResponse::default()
        };
        let page = page(&stats);
        let has = |line: &str| assert!(page.lines().any(|of| of == line), "{line}\n{page}");
        has("# TYPE mta_process_pid gauge");
        has("mta_process_pid 7");
        has("# UNIT mta_process_runtime_seconds seconds");
        has("mta_process_runtime_seconds 1.5");
        has("# TYPE mta_queue_delivery_delivered counter");
        has("mta_queue_delivery_delivered_total 0");
        has(r#"mta_servers_connections_concurrent{serverid="a\"\\"} 3"#);
        has(r#"mta_servers_connections_proxy_failed_total{serverid="a\"\\"} 2"#);
        has(r#"mta_servers_scripts_eod_finished_total{serverid="a\"\\",threadid=""} 0"#);
        assert!(page.ends_with("# EOF\n"));
        assert!(!page.contains("le="), "{page}");
        // A name is said once, before its values.
        let mut types: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let all = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), all);
    }

    #[test]
    fn histograms_and_the_operators_own_metrics_are_shown() {
        use response::Metric;
        use response::metric::{Bucket, Sample};
        let labels = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let owned = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            owned.collect::<std::collections::BTreeMap<_, _>>()
        };
        let metric = |name: &str, kind: &str, help: &str, samples| Metric {
            name: name.to_owned(),
            r#type: kind.to_owned(),
            help: help.to_owned(),
            samples,
        };
        let times = Sample {
            labels: labels(&[("command", "RCPT")]),
            value: 0.0,
            count: 3,
            sum: 1.25,
            buckets: vec![
                Bucket {
                    upper: 0.5,
                    count: 1,
                },
                Bucket {
                    upper: 1.0,
                    count: 2,
                },
            ],
        };
        let plain = |value| Sample {
            labels: labels(&[("tenant", "a\"\n\\")]),
            value,
            ..Sample::default()
        };
        let stats = ProcessStatsResponse {
            monitor: Some(response::Monitor {
                prefix: "x_".to_owned(),
                ..Default::default()
            }),
            histograms: vec![metric("smtp_command_seconds", "histogram", "", vec![times])],
            metrics: vec![
                metric("mails_total", "counter", "of\n\"mine\"", vec![plain(2.0)]),
                metric("load", "gauge", "", vec![plain(f64::INFINITY)]),
                metric("x_process_pid", "gauge", "", vec![plain(1.0)]),
            ],
            ..ProcessStatsResponse::default()
        };
        let page = page(&stats);
        let own = page.find("# TYPE x_smtp_command_seconds").unwrap();
        insta::assert_snapshot!(page[own..], @r#"
        # TYPE x_smtp_command_seconds histogram
        # UNIT x_smtp_command_seconds seconds
        x_smtp_command_seconds_bucket{command="RCPT",le="0.5"} 1
        x_smtp_command_seconds_bucket{command="RCPT",le="1.0"} 2
        x_smtp_command_seconds_bucket{command="RCPT",le="+Inf"} 3
        x_smtp_command_seconds_count{command="RCPT"} 3
        x_smtp_command_seconds_sum{command="RCPT"} 1.25
        # TYPE mails counter
        # HELP mails of\n\"mine\"
        mails_total{tenant="a\"\n\\"} 2
        # TYPE load gauge
        load{tenant="a\"\n\\"} +Inf
        # EOF
        "#);
        assert_eq!(page.matches("x_process_pid").count(), 2);
    }
}
