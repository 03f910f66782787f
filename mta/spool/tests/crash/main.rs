//! Nothing acknowledged is lost: the spool on a disk that drops, tears and reorders what was not
//! synced, stops in the middle of any call, and fails with EIO, ENOSPC, EMFILE and short writes.
//!
//! A schedule is a seed: it decides the work, the faults, the call at which the machine stops and what
//! the disk keeps. After each stop the spool is opened again and compared with the model; see
//! [`model`] for what must hold. A failure prints its seed.

mod model;
mod run;

use angarium_effects::disk::Loss;
use run::{Plan, Trouble, run};

/// How many schedules the tests run; the environment variable asks for more.
fn schedules(default: u64) -> u64 {
    std::env::var("ANGARIUM_SCHEDULES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

fn all(name: &str, seeds: impl IntoIterator<Item = u64>, plan: impl Fn(u64) -> Plan) {
    for seed in seeds {
        if let Err(failure) = run(&plan(seed)) {
            panic!("{name}, seed {seed}: {failure}");
        }
    }
}

#[test]
fn nothing_is_lost_when_the_power_fails_at_any_call() {
    all("power loss", 0..schedules(1000), |seed| {
        Plan::new(seed, Trouble::Stops, Loss::Power)
    });
}

#[test]
fn nothing_is_lost_when_writes_and_syncs_fail() {
    all("faults", 10_000..10_000 + schedules(400), |seed| {
        Plan::new(seed, Trouble::Faults, Loss::Power)
    });
}

#[test]
fn nothing_is_lost_when_calls_fail_and_then_the_power() {
    all(
        "faults and power loss",
        20_000..20_000 + schedules(600),
        |seed| Plan::new(seed, Trouble::FaultsAndStops, Loss::Power),
    );
}

#[test]
fn a_killed_process_loses_nothing_even_without_fsync() {
    all("kill", 30_000..30_000 + schedules(200), |seed| Plan {
        fsync: seed % 2 == 0,
        ..Plan::new(seed, Trouble::Stops, Loss::Process)
    });
}

#[test]
fn undisturbed_work_loses_nothing() {
    all("undisturbed", 40_000..40_100, |seed| Plan {
        stop_after: Some(u64::MAX),
        ..Plan::new(seed, Trouble::Stops, Loss::Power)
    });
}

#[test]
fn one_run_is_stopped_after_each_of_its_calls() {
    let whole = Plan {
        rounds: 1,
        stop_after: Some(u64::MAX),
        ..Plan::new(7, Trouble::Stops, Loss::Power)
    };
    let calls = run(&whole).expect("the run without a stop");
    assert!(calls > 100, "{calls} calls");
    for stop in 0..calls {
        let plan = Plan {
            stop_after: Some(stop),
            ..whole
        };
        if let Err(failure) = run(&plan) {
            panic!("stopped after call {stop} of {calls}: {failure}");
        }
    }
}

/// Counts the schedules that fail; `--nocapture` shows how many.
#[allow(clippy::print_stdout)]
fn failures(plan: impl Fn(u64) -> Plan) -> usize {
    let found = (0..200).filter(|&seed| run(&plan(seed)).is_err()).count();
    println!("the loss was found in {found} of 200 schedules");
    found
}

// The three tests below take a sync out. If they find nothing, the tests above prove nothing.

#[test]
fn without_the_sync_before_the_answer_the_loss_is_found() {
    let found = failures(|seed| Plan {
        fsync: false,
        ..Plan::new(seed, Trouble::Stops, Loss::Power)
    });
    assert!(found > 50, "found in {found} of 200 schedules");
}

#[test]
fn with_a_disk_that_ignores_syncs_the_loss_is_found() {
    let found = failures(|seed| Plan {
        ignore_syncs: true,
        ..Plan::new(seed, Trouble::Stops, Loss::Power)
    });
    assert!(found > 50, "found in {found} of 200 schedules");
}

#[test]
fn without_the_syncs_of_directories_the_loss_is_found() {
    let found = failures(|seed| Plan {
        ignore_directory_syncs: true,
        ..Plan::new(seed, Trouble::Stops, Loss::Power)
    });
    assert!(found > 50, "found in {found} of 200 schedules");
}
