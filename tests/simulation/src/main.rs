//! `cargo run --release -p angarium-simulation -- [--seeds N] [--from SEED] [--trace]`: runs many seeds, 10,000 if
//! nothing else is said. It prints the seeds that fail, each with what did not hold; with `--trace` all that happened in
//! them, and in a single seed in any case.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use angarium_simulation::{Plan, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok())
            .unwrap_or(default)
    };
    let (from, seeds) = (value("--from", 0), value("--seeds", 10_000));
    let show = arguments.iter().any(|argument| argument == "--trace");
    let next = AtomicU64::new(from);
    let failed = Mutex::new(0_u64);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Each run has a thread of its own from beginning to end; runs know nothing of each other.
    std::thread::scope(|scope| {
        for _ in 0..threads.min(seeds as usize) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let result = run(&Plan::new(seed));
                    let Ok(mut failed) = failed.lock() else {
                        return;
                    };
                    let trace = match &result {
                        Ok(outcome) => &outcome.trace,
                        Err(failure) => &failure.trace,
                    };
                    if show && (seeds == 1 || result.is_err()) {
                        trace.iter().for_each(|line| println!("{line}"));
                    }
                    if let Err(failure) = &result {
                        *failed += 1;
                        println!("{failure}");
                    }
                }
            });
        }
    });
    let failed = failed.lock().map_or(seeds, |failed| *failed);
    println!("simulated seeds: {} of {seeds}", seeds - failed);
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
