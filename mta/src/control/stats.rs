//! `process-stats`: counters of the process.

use angarium_config::HookType;
use angarium_control::proto::{ProcessStatsResponse, Version, process_stats_response as response};
use angarium_queue::gate::BlockKind;
use angarium_queue::index::State;
use angarium_queue::item::Priority;
use angarium_queue::policy::Change;

use super::server::Desk;
use crate::counts::ScriptCount;

fn number(count: usize) -> u64 {
    count as u64
}

/// Gathers everything.
pub(super) async fn stats(desk: &Desk) -> Result<ProcessStatsResponse, String> {
    let backend = &desk.backend;
    let process = backend.admin.process();
    let script = |server: &str, hook: HookType| {
        let ScriptCount {
            running,
            finished,
            errors,
        } = backend.scripts.of(server, hook);
        Some(response::Script {
            running,
            finished,
            errors,
            threads: process.workers,
            ..Default::default()
        })
    };
    let servers = process
        .servers
        .iter()
        .map(|(id, open, most)| response::Server {
            serverid: id.clone(),
            connections: Some(response::server::Connections {
                concurrent: *open,
                maxconcurrent: *most,
            }),
            scripts: Some(response::server::Scripts {
                connect: script(id, HookType::Connect),
                proxy: script(id, HookType::Proxy),
                helo: script(id, HookType::Helo),
                auth: script(id, HookType::Auth),
                mailfrom: script(id, HookType::MailFrom),
                rcptto: script(id, HookType::RcptTo),
                eod: script(id, HookType::Eod),
                disconnect: script(id, HookType::Disconnect),
            }),
        });
    let mut queue = queue(desk).await?;
    queue.scripts = Some(response::queue::Scripts {
        predelivery: script("", HookType::PreDelivery),
        postdelivery: script("", HookType::PostDelivery),
    });
    Ok(ProcessStatsResponse {
        process: Some(response::Process {
            pid: u64::from(std::process::id()),
            runtime: desk.clock.monotonic().since(desk.started).as_secs_f64(),
            version: Some(version()),
        }),
        resolver: resolver(desk, process.resolver),
        servers: servers.collect(),
        queue: Some(queue),
        threads: None,
    })
}

fn version() -> Version {
    let part = |text: &str| text.parse().unwrap_or(0);
    Version {
        major: part(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: part(env!("CARGO_PKG_VERSION_MINOR")),
        patch: part(env!("CARGO_PKG_VERSION_PATCH")),
    }
}

fn resolver(desk: &Desk, (maxsize, maxrunning): (u64, u64)) -> Option<response::Resolver> {
    let resolver = desk.backend.resolver.as_ref()?;
    let (cache, activity) = (resolver.cache_stats(), resolver.activity());
    Some(response::Resolver {
        cache: Some(response::Cache {
            size: number(cache.size),
            hits: cache.hits,
            misses: cache.misses,
            expires: cache.expires,
            evicts: cache.evicts,
            skips: 0,
            maxsize,
        }),
        pending: activity.pending,
        running: activity.running,
        dedup: activity.shared,
        maxrunning,
        // Answers are kept by question alone.
        domain: None,
    })
}

async fn queue(desk: &Desk) -> Result<response::Queue, String> {
    use response::queue as of;
    let handle = &desk.backend.queue;
    let policy = handle.policies(|policies, now| {
        let reached = policies.reached(now);
        let kind = |kind| number(reached.iter().filter(|of| of.kind == kind).count());
        let (counters, buckets) = policies.counters();
        let dynamic = policies.list_suspends();
        let dynamic = dynamic.iter().filter(|of| of.id.is_some()).count();
        let policy = of::Policy {
            concurrency: Some(of::policy::Concurrency {
                counters: number(counters),
                suspends: kind(BlockKind::Concurrency),
            }),
            rate: Some(of::policy::Rate {
                buckets: number(buckets),
                suspends: kind(BlockKind::Rate),
            }),
            dynamic: Some(of::policy::Dynamic {
                suspends: number(dynamic),
                conditions: number(policies.list_policies().len()),
            }),
            connectinterval: Some(of::policy::ConnectInterval {
                suspends: kind(BlockKind::ConnectInterval),
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
        response::Queue {
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
        }
    });
    let gathered = gathered.await.map_err(|stopped| stopped.to_string())?;
    Ok(response::Queue {
        policy: Some(policy),
        ..gathered
    })
}
