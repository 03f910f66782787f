//! How long a hook of one millisecond takes beside a script that runs away on the same worker.
//!
//! `cargo run --release -p angarium-sandbox --example beside [NAME [ROUNDS]]` runs each script of the sandbox's list again and again
//! for three times a second, with the limits that a server has by default, while a hook begins every few milliseconds. It prints
//! the median, the 99th percentile and the worst time of the hooks, in milliseconds, and how often the script was started. Time
//! that other programs took from the thread is left out. A NAME that ends with `.hsl` is a file: that script is measured, and how
//! it ended is printed.
//!
//! What the machine does besides counts less in the columns behind them, which are processor time of the thread. `p99 cpu` is that
//! of the hooks again, from a millisecond before they were due. `step` is the longest step of the script, in the quietest of the
//! rounds, and `turns` the length that turns of only a hundredth of its time exceed. Behind the name stands what the longest step
//! did.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a measurement, of real time"
)]

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::cell::{Cell, RefCell};
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
/// How often a script has its second.
const ROUNDS: usize = 3;
/// A step of this length is worth a look.
const LONG: Duration = Duration::from_millis(2);

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

/// Processor time of this thread.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The turns that a script had.
#[derive(Default)]
struct Turns {
    times: RefCell<Vec<Duration>>,
    /// When the step that goes on began.
    begun: Cell<Duration>,
    /// The longest step of a turn, and what it did.
    longest: Cell<Duration>,
    did: RefCell<String>,
    /// What the script ended with, if not well.
    ended: RefCell<Option<String>>,
}

impl Turns {
    /// A step is done.
    fn look(&self, did: impl FnOnce() -> String) {
        let now = processor_time();
        let took = now.saturating_sub(self.begun.replace(now));
        if took > self.longest.get() {
            self.longest.set(took);
            *self.did.borrow_mut() = did();
            self.begun.set(processor_time());
        }
    }

    /// Counts every turn of `future`.
    async fn count<T>(&self, step: &str, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| {
            let begun = processor_time();
            self.begun.set(begun);
            let polled = future.as_mut().poll(context);
            self.look(|| step.into());
            let took = processor_time().saturating_sub(begun);
            self.times.borrow_mut().push(took);
            polled
        })
        .await
    }

    /// The time that only turns of a hundredth of all the time exceed.
    fn p99(&self) -> Duration {
        let mut times = self.times.borrow_mut();
        times.sort();
        let most = times.iter().sum::<Duration>() / 100;
        let mut above = Duration::ZERO;
        let mut below = times.iter().rev().skip_while(|time| {
            above += **time;
            above <= most
        });
        below.next().copied().unwrap_or_default()
    }
}

/// Runs a program, as a worker does.
async fn run(unit: &Arc<Unit>, pool: &Arc<Heavy>, turns: &Turns) {
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
    let watch = |execution: &Execution| turns.look(|| execution.last_step());
    let outcome = turns
        .count("between slices", execution.drive_watched(watch))
        .await;
    *turns.ended.borrow_mut() = outcome.err().map(|ended| ended.to_string());
    turns.count("the end", execution.close()).await;
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
            run(&unit, pool, &Turns::default()).await;
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

/// How long the hooks took.
#[derive(Default)]
struct Times {
    /// From when they were due, without the time in which the system ran others.
    real: Vec<Duration>,
    /// Processor time of the thread, from a millisecond before they were due.
    processor: Vec<Duration>,
}

/// Runs a script again and again for [`SPAN`], and hooks beside it, whose times are added to `times`; how often it was started.
async fn beside(
    text: Option<&str>,
    hook: &Arc<Unit>,
    pool: &Arc<Heavy>,
    turns: &Rc<Turns>,
    times: &mut Times,
) -> usize {
    let starts = Rc::new(Cell::new(0));
    let beside = text.map(|text| {
        let (unit, pool, starts) = (unit(text), Arc::clone(pool), Rc::clone(&starts));
        let turns = Rc::clone(turns);
        tokio::task::spawn_local(async move {
            loop {
                starts.set(starts.get() + 1);
                run(&unit, &pool, &turns).await;
                tokio::task::yield_now().await;
            }
        })
    });
    let begin = Instant::now();
    while begin.elapsed() < SPAN {
        tokio::time::sleep(Duration::from_millis(4)).await;
        let (due, waited) = (Instant::now() + Duration::from_millis(1), waited());
        let processor = processor_time();
        let (unit, pool) = (Arc::clone(hook), Arc::clone(pool));
        // A task as the runaway is one; its time counts from when it was due.
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep_until(due.into()).await;
            run(&unit, &pool, &Turns::default()).await;
            due.elapsed()
        });
        let took = task.await.unwrap();
        times
            .real
            .push(took.saturating_sub(self::waited() - waited));
        times.processor.push(processor_time() - processor);
    }
    if let Some(beside) = beside {
        beside.abort();
        let _ = beside.await;
    }
    starts.get()
}

fn main() {
    let only = std::env::args().nth(1);
    let file = only.as_deref().filter(|name| name.ends_with(".hsl"));
    let file = file.map(|name| (name, std::fs::read_to_string(name).unwrap()));
    let count = std::env::args().nth(2);
    let count = count.map_or(ROUNDS, |text| text.parse().unwrap());
    let pool = Heavy::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        let hook = hook(&pool).await;
        println!(
            "{:>8} {:>8} {:>8} {:>8} {:>7} {:>8} {:>8}",
            "p50", "p99", "worst", "p99 cpu", "starts", "step", "turns"
        );
        let (mut slow, mut slow_processor, mut long) = (0, 0, 0);
        let alone = ("nothing", None);
        let scripts = RUNAWAYS
            .iter()
            .map(|runaway| (runaway.name, Some(runaway.text)));
        let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only));
        let file = file.iter().map(|(name, text)| (*name, Some(text.as_str())));
        for (name, text) in std::iter::once(alone).chain(scripts).chain(file) {
            if !wanted(name) {
                continue;
            }
            let mut times = Times::default();
            let mut starts = 0;
            let mut rounds = Vec::new();
            for _ in 0..count {
                let turns = Rc::new(Turns::default());
                starts += beside(text, &hook, &pool, &turns, &mut times).await;
                if let (true, Some(ended)) = (name.ends_with(".hsl"), turns.ended.take()) {
                    println!("{ended}");
                }
                rounds.push((turns.longest.get(), turns.p99(), turns.did.take()));
            }
            let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
            let at = |times: &mut Vec<Duration>, part: f64| {
                times.sort();
                let index = ((times.len() as f64 * part) as usize).min(times.len() - 1);
                milliseconds(times[index])
            };
            let processor = at(&mut times.processor, 0.99);
            slow += usize::from(at(&mut times.real, 0.99) >= 10.0);
            slow_processor += usize::from(processor >= 10.0);
            let p99 = rounds.iter().map(|(_, p99, _)| *p99).min().unwrap();
            let (longest, _, did) = rounds.into_iter().min().unwrap();
            long += usize::from(longest >= LONG);
            println!(
                "{:8.2} {:8.2} {:8.2} {processor:8.2} {:7} {:8.2} {:8.2}  {name}: {did}",
                at(&mut times.real, 0.5),
                at(&mut times.real, 0.99),
                at(&mut times.real, 1.0),
                starts,
                milliseconds(longest),
                milliseconds(p99),
            );
        }
        println!("{slow} scripts hold a hook up for 10 ms or more at the 99th percentile");
        println!("{slow_processor} of them or others when processor time counts");
        println!("{long} scripts had a step of {LONG:?} or more of processor time");
    }));
}
