//! How long a hook of one millisecond takes beside a script that runs away on the same worker.
//!
//! `cargo run --release -p angarium-sandbox --example beside [NAME]` runs each script of the sandbox's list again and again for a
//! second, with the limits that a server has by default, while a hook begins every few milliseconds. It prints the median, the
//! 99th percentile and the worst time of the hooks, in milliseconds, and how often the script was started. Time that other
//! programs took from the thread is left out.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a measurement, of real time"
)]

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use angarium_effects::SeededRandom;
use angarium_effects::dns::TableDns;
use angarium_effects::system::SystemClock;
use angarium_runtime::cache::Caches;
use angarium_runtime::host::{Host, NoFiles, Output, Pool};
use angarium_runtime::native::{Finish, Job, LocalFuture, Throw};
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::{Execution, Limits, Unit};
use angarium_sandbox::{runaways::RUNAWAYS, script};
use angarium_stdlib::regexp;

const LIMITS: Limits = Limits {
    fuel: Some(500_000_000),
    memory: Some(256 << 20),
    time: Some(Duration::from_secs(300)),
};
const SPAN: Duration = Duration::from_secs(1);

/// One thread for heavy work, as slow as a busy pool.
struct Heavy(std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>);

impl Heavy {
    fn start() -> Arc<Heavy> {
        let (sender, jobs) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        Arc::new(Heavy(sender))
    }
}

impl Pool for Heavy {
    fn run(&self, job: Job) -> LocalFuture<Finish> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let sent = self.0.send(Box::new(move || {
            if !tell.is_closed() {
                let _ = tell.send(job());
            }
        }));
        Box::pin(async move {
            match (sent, told.await) {
                (Ok(()), Ok(finish)) => finish,
                _ => {
                    let gone: Finish = Box::new(|_| Err(Throw::error("the pool is gone")));
                    gone
                }
            }
        })
    }
}

struct Silent;

impl Output for Silent {
    fn echo(&self, _text: &[u8]) {}
    fn syslog(&self, _priority: u32, _message: &[u8]) {}
}

/// Runs a program, as a worker does.
async fn run(unit: &Arc<Unit>, pool: &Arc<Heavy>) {
    let host = Host::new(
        Rc::new(SystemClock),
        Rc::new(SeededRandom::new(1)),
        Rc::new(TableDns::default()),
        Arc::<Heavy>::clone(pool),
        Rc::new(Silent),
        Rc::new(NoFiles),
        &regexp::ENGINE,
        "beside.example".into(),
    );
    host.extend(Rc::new(SharedMemory::default()));
    host.extend(Rc::new(Caches::default()));
    let mut execution = Execution::new(unit, Rc::new(host), Vec::new(), LIMITS);
    let _ = execution.drive().await;
    execution.close().await;
}

fn unit(text: &str) -> Arc<Unit> {
    script::unit(text.as_bytes(), &HashMap::new()).unwrap()
}

/// A hook that takes about a millisecond on this machine.
async fn hook(pool: &Arc<Heavy>) -> Arc<Unit> {
    let of = |rounds: usize| {
        unit(&format!(
            "$n = 0; $l = []; for ($i = 0; $i < {rounds}; $i += 1) {{ $n += length(\"$i\"); $l[$i % 16] = $n; }}"
        ))
    };
    let mut rounds = 1000;
    loop {
        let unit = of(rounds);
        let mut times = Vec::new();
        for _ in 0..15 {
            let begin = Instant::now();
            run(&unit, pool).await;
            times.push(begin.elapsed());
        }
        times.sort();
        if times[7] >= Duration::from_micros(950) {
            return unit;
        }
        rounds += rounds / 10;
    }
}

/// How long this thread was ready and the system ran others: that is not the runaway's doing. Nothing where the system does
/// not tell.
fn waited() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told.split_whitespace().nth(1);
    Duration::from_nanos(nanoseconds.and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn main() {
    let only = std::env::args().nth(1);
    let pool = Heavy::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        let hook = hook(&pool).await;
        println!("{:>8} {:>8} {:>8} {:>7}", "p50", "p99", "worst", "starts");
        let mut slow = 0;
        let alone = ("nothing", None);
        let scripts = RUNAWAYS
            .iter()
            .map(|runaway| (runaway.name, Some(runaway.text)));
        for (name, text) in std::iter::once(alone).chain(scripts) {
            if only
                .as_ref()
                .is_some_and(|only| !name.contains(only.as_str()))
            {
                continue;
            }
            let starts = Rc::new(std::cell::Cell::new(0));
            let beside = text.map(|text| {
                let (unit, pool, starts) = (unit(text), Arc::clone(&pool), Rc::clone(&starts));
                tokio::task::spawn_local(async move {
                    loop {
                        starts.set(starts.get() + 1);
                        run(&unit, &pool).await;
                        tokio::task::yield_now().await;
                    }
                })
            });
            let begin = Instant::now();
            let mut times = Vec::new();
            while begin.elapsed() < SPAN {
                tokio::time::sleep(Duration::from_millis(4)).await;
                let (due, waited) = (Instant::now() + Duration::from_millis(1), waited());
                let (unit, pool) = (Arc::clone(&hook), Arc::clone(&pool));
                // A task as the runaway is one; its time counts from when it was due.
                let task = tokio::task::spawn_local(async move {
                    tokio::time::sleep_until(due.into()).await;
                    run(&unit, &pool).await;
                    due.elapsed()
                });
                let took = task.await.unwrap();
                times.push(took.saturating_sub(self::waited() - waited));
            }
            if let Some(beside) = beside {
                beside.abort();
                let _ = beside.await;
            }
            times.sort();
            let at = |part: f64| {
                let index = ((times.len() as f64 * part) as usize).min(times.len() - 1);
                times[index].as_secs_f64() * 1000.0
            };
            slow += usize::from(at(0.99) >= 10.0);
            println!(
                "{:8.2} {:8.2} {:8.2} {:7}  {name}",
                at(0.5),
                at(0.99),
                at(1.0),
                starts.get()
            );
        }
        println!("{slow} scripts hold a hook up for 10 ms or more at the 99th percentile");
    }));
}
