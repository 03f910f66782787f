//! Every script that runs away ends with the documented error, in bounded time and memory.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the test is about real time and real memory"
)]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use angarium_runtime::Limits;
use angarium_sandbox::runaways::RUNAWAYS;
use angarium_sandbox::script;

const LIMITS: Limits = Limits {
    fuel: Some(1_000_000),
    memory: Some(32 << 20),
    time: Some(Duration::from_secs(300)),
};

/// Most time that one may take here: the machine may be busy and the build is not optimised.
const TIME: Duration = Duration::from_secs(20);
/// Most memory that one may take beyond what the process has: twice the budget, and what a single step may have in hand.
const MEMORY: usize = 128 << 20;

/// The highest resident size since the last call, in bytes; none where the system does not tell.
fn peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    Some(kilobytes * 1024)
}

#[test]
fn every_runaway_ends_with_its_error_in_bounded_time_and_memory() {
    let only = std::env::var("RUNAWAY").ok();
    let mut wrong = Vec::new();
    for runaway in RUNAWAYS {
        if only
            .as_ref()
            .is_some_and(|only| !runaway.name.contains(only.as_str()))
        {
            continue;
        }
        peak();
        let before = peak();
        let begin = Instant::now();
        let ran = script::run(runaway.text.as_bytes(), &HashMap::new(), LIMITS);
        let took = begin.elapsed();
        let after = peak();
        let taken = after
            .zip(before)
            .map_or(0, |(after, before)| after.saturating_sub(before));
        let end = match &ran {
            Err(refused) => format!("refused: {refused}"),
            Ok(ran) => match &ran.result {
                Ok(_) => String::new(),
                Err(end) => end.lines().next().unwrap_or_default().to_owned(),
            },
        };
        let fits = |wanted: &&str| match *wanted {
            "" => end.is_empty(),
            wanted => end.starts_with(wanted),
        };
        let ends = if runaway.ends.is_empty() {
            &[""][..]
        } else {
            runaway.ends
        };
        let mut say = |what: String| wrong.push(format!("{}: {what}", runaway.name));
        let shown: String = end.chars().take(150).collect();
        if !ends.iter().any(fits) {
            say(format!("ended with {shown:?}, expected {ends:?}"));
        }
        if took > TIME {
            say(format!("took {took:?}"));
        }
        if taken > MEMORY {
            say(format!("took {} MiB", taken >> 20));
        }
        let fuel = ran.as_ref().map_or(0, |ran| ran.fuel);
        println!(
            "{:6} ms {:4} MiB {fuel:9} fuel  {}: {shown}",
            took.as_millis(),
            taken >> 20,
            runaway.name
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
