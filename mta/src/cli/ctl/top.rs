//! `ctl top`: the counters of a running server, as they change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use angarium_control::Message as _;
use angarium_control::proto::{
    PagingRequest, ProcessStatsResponse, QueueConnectionsListRequest, QueueConnectionsListResponse,
    process_stats_response as response,
};
use angarium_effects::Clock as _;
use angarium_effects::system::SystemClock;
use clap::Args;

use super::Ctl;
use super::table::span;
use crate::cli::Failure;
use crate::cli::terminal::print;

/// `ctl top`
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Seconds between looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// End after so many looks; without it the next Ctrl-C ends it
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

pub(super) async fn run(ctl: &mut Ctl, args: &Top) -> Result<(), Failure> {
    let interval = Duration::try_from_secs_f64(args.interval.max(0.1))
        .map_err(|_| Failure::Usage("--interval: is no number of seconds".to_owned()))?;
    let live = std::io::stdout().is_terminal();
    let mut before: Option<ProcessStatsResponse> = None;
    let mut looks = 0_u64;
    loop {
        let bytes = ctl.send(b'q', None).await?;
        let now = ProcessStatsResponse::decode(&bytes[..]).map_err(super::failed)?;
        let wanted = QueueConnectionsListRequest {
            paging: Some(PagingRequest {
                offset: 0,
                limit: u64::MAX,
            }),
            ..QueueConnectionsListRequest::default()
        };
        let bytes = ctl.send(b'R', Some(&wanted.encode_to_vec())).await?;
        let open = QueueConnectionsListResponse::decode(&bytes[..]).map_err(super::failed)?;
        let mut screen = screen(&now, before.as_ref());
        pane(&mut screen, "CONNECTIONS BY STATE", &by_state(&open));
        // Home, the screen, and what an earlier one left below and behind.
        let text = match live {
            true => format!("\x1b[H{}\x1b[J", screen.replace('\n', "\x1b[K\n")),
            false => format!("{screen}\n"),
        };
        print(&text)?;
        looks = looks.saturating_add(1);
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        before = Some(now);
        SystemClock.sleep(interval).await;
    }
}

/// A value with its change per second.
struct Line {
    name: String,
    value: String,
    rate: Option<f64>,
}

/// Numbers of two looks.
struct Panes<'a> {
    now: &'a ProcessStatsResponse,
    before: Option<&'a ProcessStatsResponse>,
    seconds: f64,
}

impl Panes<'_> {
    fn gauge(name: &str, value: u64, most: u64) -> Line {
        let value = match most {
            0 => value.to_string(),
            most => format!("{value}/{most} ({}%)", value.saturating_mul(100) / most),
        };
        Line {
            name: name.to_owned(),
            value,
            rate: None,
        }
    }

    /// A counter that only grows.
    fn counter(&self, name: &str, of: impl Fn(&ProcessStatsResponse) -> u64) -> Line {
        let value = of(self.now);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self
            .before
            .filter(|_| self.seconds > 0.0)
            .map(|before| value.saturating_sub(of(before)) as f64 / self.seconds);
        Line {
            name: name.to_owned(),
            value: value.to_string(),
            rate,
        }
    }
}

fn queue(stats: &ProcessStatsResponse) -> response::Queue {
    stats.queue.clone().unwrap_or_default()
}

fn screen(now: &ProcessStatsResponse, before: Option<&ProcessStatsResponse>) -> String {
    let process = now.process.unwrap_or_default();
    let earlier = before.and_then(|before| before.process).unwrap_or_default();
    let panes = Panes {
        now,
        before,
        seconds: process.runtime - earlier.runtime,
    };
    let version = process.version.unwrap_or_default();
    let mut text = format!(
        "angarium {}.{}.{}  pid {}  up {}\n",
        version.major,
        version.minor,
        version.patch,
        process.pid,
        span(process.runtime)
    );
    let size = |size: Option<response::queue::Size>| size.unwrap_or_default().size;
    let all = queue(now);
    let states = all.queue.clone().unwrap_or_default();
    let freeze = all.freeze.unwrap_or_default();
    let update = freeze.update.unwrap_or_default();
    let loader = all.loader.unwrap_or_default();
    let active = states.active.clone().unwrap_or_default();
    let priorities: Vec<String> = active
        .priorities
        .iter()
        .map(|of| of.size.to_string())
        .collect();
    let connections = all.connections.unwrap_or_default();
    let policy = all.policy.unwrap_or_default();
    let concurrency = policy.concurrency.unwrap_or_default();
    let rate = policy.rate.unwrap_or_default();
    let dynamic = policy.dynamic.unwrap_or_default();
    let delivery = |stats: &ProcessStatsResponse| queue(stats).delivery.unwrap_or_default();
    let pickup = |stats: &ProcessStatsResponse| queue(stats).pickup.unwrap_or_default();
    let cache = |stats: &ProcessStatsResponse| {
        let resolver = stats.resolver.unwrap_or_default();
        resolver.cache.unwrap_or_default()
    };
    let servers = now.servers.iter().map(|server| {
        let open = server.connections.unwrap_or_default();
        Panes::gauge(&server.serverid, open.concurrent, open.maxconcurrent)
    });
    pane(&mut text, "SERVERS", &servers.collect::<Vec<_>>());
    pane(&mut text, "SCRIPTS", &scripts(&panes));
    pane(
        &mut text,
        "QUEUES",
        &[
            Panes::gauge("messages", loader.count, loader.maxactive),
            Line {
                name: "active".to_owned(),
                value: format!("{} (by priority {})", active.size, priorities.join(", ")),
                rate: None,
            },
            Panes::gauge("defer", size(states.defer), 0),
            Panes::gauge("hold", size(freeze.hold), 0),
            Panes::gauge("update", update.size, 0),
            Panes::gauge(
                "being loaded",
                loader.pending.saturating_add(loader.active),
                0,
            ),
            Panes::gauge("quotas", size(all.quota), 0),
        ],
    );
    pane(
        &mut text,
        "DELIVERY",
        &[
            Panes::gauge(
                "deliveries",
                connections.concurrent,
                connections.maxconcurrent,
            ),
            panes.counter("delivered", |stats| delivery(stats).delivered),
            panes.counter("delayed", |stats| delivery(stats).delayed),
            panes.counter("failed", |stats| delivery(stats).failed),
        ],
    );
    pane(
        &mut text,
        "PICKUP",
        &[
            panes.counter("picked up", |stats| pickup(stats).count),
            panes.counter("skips", |stats| pickup(stats).skips),
            panes.counter("misses", |stats| pickup(stats).misses),
            Panes::gauge("rows", pickup(now).pending, 0),
        ],
    );
    pane(
        &mut text,
        "POLICIES",
        &[
            Panes::gauge(
                "limits reached",
                concurrency.suspends.saturating_add(rate.suspends),
                0,
            ),
            Panes::gauge("counters", concurrency.counters, 0),
            Panes::gauge("conditions set", dynamic.conditions, 0),
            Panes::gauge("suspends set", dynamic.suspends, 0),
        ],
    );
    let pooling = |stats: &ProcessStatsResponse| {
        let connections = queue(stats).connections.unwrap_or_default();
        connections.pooling.unwrap_or_default()
    };
    pane(
        &mut text,
        "POOLING",
        &[
            Panes::gauge("idle connections", pooling(now).size, pooling(now).maxsize),
            panes.counter("used again", |stats| pooling(stats).hits),
            panes.counter("new", |stats| pooling(stats).misses),
            panes.counter("idle too long", |stats| pooling(stats).expires),
            panes.counter("made room", |stats| pooling(stats).evicts),
            panes.counter("found no room", |stats| pooling(stats).skips),
        ],
    );
    let threads = now.threads.clone().unwrap_or_default();
    let threads = threads.scripts.iter().map(|of| Line {
        name: of.id.clone(),
        value: format!(
            "{}/{} running, {} scripts, {} waiting",
            of.running, of.maxrunning, of.scripts, of.pending
        ),
        rate: None,
    });
    pane(&mut text, "THREADS", &threads.collect::<Vec<_>>());
    pane(
        &mut text,
        "RESOLVER",
        &[
            Panes::gauge("answers kept", cache(now).size, cache(now).maxsize),
            panes.counter("hits", |stats| cache(stats).hits),
            panes.counter("misses", |stats| cache(stats).misses),
        ],
    );
    text
}

/// How many connections to other servers await what.
fn by_state(open: &QueueConnectionsListResponse) -> Vec<Line> {
    let mut states = BTreeMap::<&str, u64>::new();
    for connection in &open.connections {
        *states.entry(&connection.state).or_default() += 1;
    }
    let line = |(state, count): (&str, u64)| Panes::gauge(state, count, 0);
    states.into_iter().map(line).collect()
}

/// The hooks that ran.
fn scripts(panes: &Panes<'_>) -> Vec<Line> {
    type Pick = fn(&response::server::Scripts) -> Option<response::Script>;
    let session: [(&str, Pick); 8] = [
        ("connect", |of| of.connect.clone()),
        ("proxy", |of| of.proxy.clone()),
        ("helo", |of| of.helo.clone()),
        ("auth", |of| of.auth.clone()),
        ("mailfrom", |of| of.mailfrom.clone()),
        ("rcptto", |of| of.rcptto.clone()),
        ("eod", |of| of.eod.clone()),
        ("disconnect", |of| of.disconnect.clone()),
    ];
    let mut lines = Vec::new();
    let mut add = |name: String, of: &dyn Fn(&ProcessStatsResponse) -> response::Script| {
        let script = of(panes.now);
        if script.running + script.suspended + script.finished == 0 {
            return;
        }
        let mut line = panes.counter(&name, |stats| of(stats).finished);
        _ = write!(
            line.value,
            " ({} now, {} waiting, {} errors)",
            script.running, script.suspended, script.errors
        );
        lines.push(line);
    };
    for server in &panes.now.servers {
        for (name, pick) in session {
            let id = &server.serverid;
            add(format!("{id} {name}"), &|stats| {
                let mut servers = stats.servers.iter();
                let found = servers.find(|server| server.serverid == *id);
                let scripts = found.and_then(|server| server.scripts.as_ref());
                scripts.and_then(pick).unwrap_or_default()
            });
        }
    }
    let scripts = |stats: &ProcessStatsResponse| queue(stats).scripts.unwrap_or_default();
    add("predelivery".to_owned(), &|stats| {
        scripts(stats).predelivery.unwrap_or_default()
    });
    add("postdelivery".to_owned(), &|stats| {
        scripts(stats).postdelivery.unwrap_or_default()
    });
    lines
}

fn pane(text: &mut String, title: &str, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    _ = writeln!(text, "{title}");
    for line in lines {
        _ = write!(text, "  {:<24} {:>28}", line.name, line.value);
        if let Some(rate) = line.rate {
            _ = write!(text, " {rate:>12.1}/s");
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(runtime: f64, delivered: u64) -> ProcessStatsResponse {
        ProcessStatsResponse {
            process: Some(response::Process {
                pid: 7,
                runtime,
                version: None,
            }),
            queue: Some(response::Queue {
                delivery: Some(response::queue::Delivery {
                    delivered,
                    ..Default::default()
                }),
                connections: Some(response::queue::Connections {
                    concurrent: 5,
                    maxconcurrent: 10,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn counters_have_a_rate_and_gauges_a_share() {
        let text = screen(&stats(12.0, 100), Some(&stats(10.0, 50)));
        let line = |name: &str| {
            text.lines()
                .find(|line| line.trim_start().starts_with(name))
                .unwrap()
        };
        assert!(line("delivered").ends_with("100         25.0/s"), "{text}");
        assert!(line("deliveries").ends_with("5/10 (50%)"), "{text}");
        assert!(!screen(&stats(1.0, 1), None).contains("/s"));
    }
}
