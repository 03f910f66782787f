//! `process-stats`: counters of the process.

use std::collections::BTreeMap;

use angarium_config::HookType;
use angarium_control::proto::{ProcessStatsResponse, Version, process_stats_response as response};
use angarium_effects::Monotonic;
use angarium_queue::gate::BlockKind;
use angarium_queue::index::State;
use angarium_queue::item::Priority;
use angarium_queue::policy::Change;
use angarium_queue::scheduler::Running;
use angarium_stdlib::metrics::{Kinds, Metrics, Sample};

use super::dispatch::{Backend, Process};
use crate::counts::{Distribution, ScriptCount};
use crate::resolver::CacheStats;
use crate::server::Counters;
use crate::server::event::Counter;

fn number(count: usize) -> u64 {
    count as u64
}

/// Gathers everything; `now` and `started` are readings of the monotonic clock.
pub(crate) async fn stats(
    backend: &Backend,
    now: Monotonic,
    started: Monotonic,
) -> Result<ProcessStatsResponse, String> {
    let process = backend.admin.process();
    let script = |server: &str, hook: HookType| {
        let ScriptCount {
            running,
            suspended,
            finished,
            errors,
            resumed: _,
        } = backend.scripts.of(server, hook);
        // A session's hook begins as soon as the session comes to it.
        response::Script {
            pending: 0,
            running,
            finished,
            errors,
            threads: process.workers,
            suspended,
            threadid: WORKERS.to_owned(),
        }
    };
    let of_server = |server: &str, hook| Some(script(server, hook));
    let servers = process
        .servers
        .iter()
        .map(|(id, open, most)| response::Server {
            serverid: id.clone(),
            connections: Some(connections(backend, id, *open, *most)),
            messages: Some(messages(backend, id)),
            scripts: Some(response::server::Scripts {
                connect: of_server(id, HookType::Connect),
                proxy: of_server(id, HookType::Proxy),
                helo: of_server(id, HookType::Helo),
                auth: of_server(id, HookType::Auth),
                mailfrom: of_server(id, HookType::MailFrom),
                rcptto: of_server(id, HookType::RcptTo),
                eod: of_server(id, HookType::Eod),
                disconnect: of_server(id, HookType::Disconnect),
            }),
        });
    let (mut queue, waiting) = queue(backend).await?;
    let of_queue = |hook, pending| {
        let script = script("", hook);
        Some(response::Script { pending, ..script })
    };
    queue.scripts = Some(response::queue::Scripts {
        predelivery: of_queue(HookType::PreDelivery, number(waiting.loader)),
        postdelivery: of_queue(HookType::PostDelivery, number(waiting.finisher)),
    });
    let monitoring = backend.admin.monitoring();
    let healthy = backend.health.check(backend, &monitoring, now).is_ok();
    Ok(ProcessStatsResponse {
        process: Some(response::Process {
            pid: u64::from(std::process::id()),
            runtime: now.since(started).as_secs_f64(),
            version: Some(version()),
        }),
        resolver: resolver(backend, process.resolver),
        servers: servers.collect(),
        queue: Some(queue),
        threads: Some(threads(backend, &process)),
        monitor: Some(response::Monitor {
            ready: backend.health.is_ready(),
            healthy,
            prefix: monitoring.prefix,
        }),
        metrics: custom(&backend.metrics),
        histograms: histograms(backend),
    })
}

fn counters<'a>(backend: &'a Backend, server: &str) -> Option<&'a Counters> {
    let mut servers = backend.admin.servers().iter();
    let found = servers.find(|found| found.id == server)?;
    Some(&found.counters)
}

fn connections(
    backend: &Backend,
    server: &str,
    open: u64,
    most: u64,
) -> response::server::Connections {
    let of = counters(backend, server);
    let count = |which: fn(&Counters) -> &Counter| of.map_or(0, |of| which(of).get());
    response::server::Connections {
        concurrent: open,
        maxconcurrent: most,
        accepted: count(|of| &of.connections),
        refused: count(|of| &of.refused),
        turnedaway: count(|of| &of.turned_away),
        proxyfailed: count(|of| &of.proxy_failed),
        tls: count(|of| &of.tls),
        tlsfailed: count(|of| &of.tls_failed),
    }
}

fn messages(backend: &Backend, server: &str) -> response::server::Messages {
    let of = counters(backend, server);
    let count = |which: fn(&Counters) -> &Counter| of.map_or(0, |of| which(of).get());
    response::server::Messages {
        accepted: count(|of| &of.accepted),
        rejected: count(|of| &of.rejected),
        queued: count(|of| &of.queued),
        bytes: count(|of| &of.bytes),
    }
}

/// The pool of the workers in the message.
const WORKERS: &str = "_default";
/// The pool of heavy work.
const HEAVY: &str = "_heavy";

fn threads(backend: &Backend, process: &Process) -> response::Threads {
    let total = backend.scripts.total();
    let heavy = backend.pool.activity();
    response::Threads {
        scripts: vec![
            response::threads::Scripts {
                id: WORKERS.to_owned(),
                pending: process.waiting,
                rescheduled: total.resumed,
                running: total.running,
                maxrunning: process.workers,
                scripts: total.running.saturating_add(total.suspended),
                maxscripts: 0,
            },
            response::threads::Scripts {
                id: HEAVY.to_owned(),
                pending: number(heavy.pending),
                rescheduled: 0,
                running: number(heavy.running),
                maxrunning: number(heavy.threads),
                scripts: number(heavy.pending.saturating_add(heavy.running)),
                maxscripts: 0,
            },
        ],
    }
}

/// The metrics that scripts move.
fn custom(metrics: &Metrics) -> Vec<response::Metric> {
    let families = metrics.families().into_iter();
    let shown = families.map(|family| response::Metric {
        name: family.declaration.name,
        r#type: match family.declaration.kind {
            Kinds::Counter => "counter",
            Kinds::Gauge => "gauge",
            Kinds::Histogram(_) => "histogram",
        }
        .to_owned(),
        help: family.declaration.help,
        samples: (family.samples.into_iter())
            .map(|(labels, sample)| match sample {
                Sample::Number(value) => response::metric::Sample {
                    labels,
                    value,
                    ..Default::default()
                },
                Sample::Histogram {
                    count,
                    sum,
                    buckets,
                } => of_histogram(labels, count, sum, buckets),
            })
            .collect(),
    });
    shown.collect()
}

fn of_histogram(
    labels: BTreeMap<String, String>,
    count: u64,
    sum: f64,
    buckets: Vec<(f64, u64)>,
) -> response::metric::Sample {
    let buckets = buckets.into_iter();
    response::metric::Sample {
        labels,
        value: 0.0,
        count,
        sum,
        buckets: buckets
            .map(|(upper, count)| response::metric::Bucket { upper, count })
            .collect(),
    }
}

/// How long commands and attempts took.
fn histograms(backend: &Backend) -> Vec<response::Metric> {
    let sample = |labels: &[(&str, &str)], of: Distribution| {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        of_histogram(labels.collect(), of.count, of.sum, of.buckets)
    };
    let histogram = |name: &str, help: &str, samples| response::Metric {
        name: name.to_owned(),
        r#type: "histogram".to_owned(),
        help: help.to_owned(),
        samples,
    };
    let servers = backend.admin.servers().iter();
    let commands = servers.flat_map(|server| {
        let of = server.counters.commands.read();
        of.map(|(verb, times)| sample(&[("serverid", &server.id), ("command", verb)], times))
    });
    vec![
        histogram(
            "smtp_command_seconds",
            "From the end of a command to its reply",
            commands.collect(),
        ),
        histogram(
            "delivery_seconds",
            "Attempts to deliver a message",
            vec![sample(&[], backend.queue.times())],
        ),
    ]
}

fn version() -> Version {
    let part = |text: &str| text.parse().unwrap_or(0);
    Version {
        major: part(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: part(env!("CARGO_PKG_VERSION_MINOR")),
        patch: part(env!("CARGO_PKG_VERSION_PATCH")),
    }
}

fn resolver(backend: &Backend, (maxsize, maxrunning): (u64, u64)) -> Option<response::Resolver> {
    let resolver = backend.resolver.as_ref()?;
    let activity = resolver.activity();
    let shown = |cache: CacheStats| response::Cache {
        size: number(cache.size),
        hits: cache.hits,
        misses: cache.misses,
        expires: cache.expires,
        evicts: cache.evicts,
        // There is always room for one more: another goes.
        skips: 0,
        maxsize,
    };
    Some(response::Resolver {
        cache: Some(shown(resolver.cache_stats())),
        pending: activity.pending,
        running: activity.running,
        dedup: activity.shared,
        maxrunning,
        domain: Some(response::Domain {
            cache: Some(shown(resolver.domain_stats())),
        }),
    })
}

/// The queue's part, and what goes on there.
async fn queue(backend: &Backend) -> Result<(response::Queue, Running), String> {
    use response::queue as of;
    let handle = &backend.queue;
    let policy = handle.policies(|policies, now| {
        let reached = policies.reached(now);
        let kind = |kind| number(reached.iter().filter(|of| of.kind == kind).count());
        let counters = policies.counters();
        let dynamic = policies.list_suspends();
        let dynamic = dynamic.iter().filter(|of| of.id.is_some()).count();
        let policy = of::Policy {
            concurrency: Some(of::policy::Concurrency {
                counters: number(counters.all),
                suspends: kind(BlockKind::Concurrency),
            }),
            rate: Some(of::policy::Rate {
                buckets: number(counters.rates),
                suspends: kind(BlockKind::Rate),
            }),
            dynamic: Some(of::policy::Dynamic {
                suspends: number(dynamic),
                conditions: number(policies.list_policies().len()),
            }),
            connectinterval: Some(of::policy::ConnectInterval {
                suspends: kind(BlockKind::ConnectInterval),
                buckets: number(counters.intervals),
            }),
        };
        (policy, Change::None)
    });
    let policy = policy.await.map_err(|stopped| stopped.to_string())?;
    let idle = handle.idle();
    let pooling = response::Cache {
        size: number(idle.size),
        hits: idle.totals.hits,
        misses: idle.totals.misses,
        expires: idle.totals.expires,
        evicts: idle.totals.evicts,
        skips: idle.totals.skips,
        maxsize: number(idle.most),
    };
    let gathered = handle.inspect(move |queue| {
        let size = |size: usize| Some(of::Size { size: number(size) });
        let running = queue.running();
        let counters = queue.counters();
        let limits = queue.limits();
        let (skips, misses) = queue.skips_and_misses();
        let priorities = [Priority::Normal, Priority::High];
        let gathered = response::Queue {
            loader: Some(of::Loader {
                count: number(queue.len()),
                pending: number(running.loader),
                active: number(running.preparing + running.resolving),
                maxactive: number(limits.messages),
            }),
            queue: Some(of::Queues {
                defer: size(queue.count(State::Defer)),
                active: Some(of::Active {
                    size: number(queue.count(State::Active)),
                    priorities: (priorities.into_iter())
                        .filter_map(|class| size(queue.active(class)))
                        .collect(),
                }),
            }),
            freeze: Some(of::Freeze {
                hold: size(queue.count(State::Hold)),
                update: Some(of::Update {
                    size: number(queue.count(State::Update)),
                    pending: number(queue.freezing()),
                }),
            }),
            pickup: Some(of::Pickup {
                skips,
                misses,
                count: counters.pickups,
                pending: number(queue.nodes()),
                evals: counters.pickups.saturating_add(skips),
                putback: counters.putbacks,
            }),
            connections: Some(of::Connections {
                concurrent: number(running.deliveries),
                pooling: Some(pooling),
                maxconcurrent: number(limits.deliveries),
            }),
            quota: size(queue.quotas()),
            delivery: Some(of::Delivery {
                delivered: counters.delivered,
                delayed: counters.delayed,
                failed: counters.failed,
            }),
            release: Some(of::Release {
                pending: number(running.finisher),
            }),
            ..Default::default()
        };
        (gathered, running)
    });
    let (gathered, running) = gathered.await.map_err(|stopped| stopped.to_string())?;
    let queue = response::Queue {
        policy: Some(policy),
        ..gathered
    };
    Ok((queue, running))
}
