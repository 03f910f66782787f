//! What a waiting script costs: 10,000 executions wait in a built-in, then all of them go on.
//!
//!     cargo run --release -p angarium-runtime --example parked
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for people"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::VirtualClock;
use angarium_runtime::{Execution, Limits};

const COUNT: usize = 10_000;

const SCRIPT: &str = "function wait($seconds) { sleep($seconds); return $seconds; }
$sum = 0; $name = \"a hook that waits\"; $list = [1, 2, 3];
foreach ($list as $n) $sum += $n;
$sum += wait(60);
return $sum;";

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn main() {
    let (unit, _) = support::unit(SCRIPT, &HashMap::new()).unwrap();
    let clock = VirtualClock::new(Duration::from_secs(1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let done = Rc::new(Cell::new(0));
    // One of each first, so that what is made once is not counted.
    let mut before = 0;
    for round in [1, COUNT] {
        before = resident();
        for _ in 0..round {
            let (unit, done, clock) = (unit.clone(), Rc::clone(&done), clock.clone());
            local.spawn_local(async move {
                let lines = Rc::default();
                let host = support::host(&lines, &clock);
                let mut execution = Execution::new(&unit, host, Vec::new(), Limits::default());
                let value = execution.drive().await.unwrap();
                assert_eq!(value.as_number(), Some(66.0));
                done.set(done.get() + 1);
            });
        }
        runtime.block_on(local.run_until(async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        }));
    }
    let parked = resident() - before;
    println!("{COUNT} waiting: {} bytes each", parked / COUNT);
    clock.advance(Duration::from_secs(61));
    runtime.block_on(local);
    println!("{} went on and ended", done.get());
}
