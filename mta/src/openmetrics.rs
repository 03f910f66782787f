//! The counters of the process as OpenMetrics text (mta.md 5.9).
//!
//! One source, the message of `process-stats`, so that every way to these numbers shows the same.

use std::fmt::Write as _;

use angarium_control::proto::{ProcessStatsResponse, process_stats_response as response};

/// What the names begin with.
pub const PREFIX: &str = "mta_";

/// How a value changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It only grows, or is fixed.
    Counter,
    /// It goes up and down.
    Gauge,
}

use Kind::{Counter, Gauge};

/// One value of a metric.
struct Sample {
    /// `name="value"` pairs.
    labels: String,
    value: f64,
}

/// A metric with its values, in the order in which they came.
struct Family {
    name: String,
    kind: Kind,
    unit: Option<&'static str>,
    samples: Vec<Sample>,
}

/// The metrics in the order in which they came first.
#[derive(Default)]
struct Page(Vec<Family>);

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    fn add(&mut self, name: &str, kind: Kind, labels: Labels<'_>, value: f64) {
        let shown = |(name, value): &(&str, &str)| format!("{name}=\"{}\"", escaped(value));
        let labels: Vec<String> = labels.iter().map(shown).collect();
        let sample = Sample {
            labels: labels.join(","),
            value,
        };
        match self.0.iter_mut().find(|family| family.name == name) {
            Some(family) => family.samples.push(sample),
            None => self.0.push(Family {
                name: name.to_owned(),
                kind,
                unit: None,
                samples: vec![sample],
            }),
        }
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
        for family in &self.0 {
            let name = format!("{PREFIX}{}", family.name);
            let (kind, suffix) = match family.kind {
                // The format wants this at the end of every sample of a counter.
                Counter => ("counter", "_total"),
                Gauge => ("gauge", ""),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# TYPE {name} {kind}");
            if let Some(unit) = family.unit {
                let _ = writeln!(text, "# UNIT {name} {unit}");
            }
            for Sample { labels, value } in &family.samples {
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

/// The value of a label.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The page for these counters.
#[must_use]
pub fn page(stats: &ProcessStatsResponse) -> String {
    let mut page = Page::default();
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
    page.text()
}

fn process(page: &mut Page, stats: &ProcessStatsResponse) {
    let of = stats.process.unwrap_or_default();
    page.number("process_pid", Gauge, &[], of.pid);
    // The name of a metric with a unit ends in it.
    page.add("process_runtime_seconds", Gauge, &[], of.runtime);
    if let Some(family) = page.0.last_mut() {
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
    let monitor = stats.monitor.unwrap_or_default();
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
        ] {
            page.number(&format!("servers_connections_{name}"), kind, labels, value);
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
                }),
                scripts: None,
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
        has(r#"mta_servers_scripts_eod_finished_total{serverid="a\"\\",threadid=""} 0"#);
        assert!(page.ends_with("# EOF\n"));
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
}
