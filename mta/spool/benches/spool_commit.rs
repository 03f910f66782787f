//! Durable commits per second, and syncs, with 1, 16, 64 and 256 committers at the same time.
//!
//! Each commit is a message of 4 KiB with one item of 500 bytes, completed after it is durable, as in a
//! relay. `cargo bench -p angarium-spool`; the spool lies in `ANGARIUM_BENCH_DIR`, or the system's
//! directory of temporary files, which must be on a real disk for the figures to mean anything.

// A measurement needs real time, and tells what it found.
#![allow(clippy::disallowed_methods, clippy::print_stderr, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::SystemDisk;
use angarium_spool::{Config, ItemId, Now, Spool};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn open(dir: &std::path::Path) -> Spool {
    let config = Config::new(dir.join("queue"), dir.join("tmp"));
    let start = Instant::now();
    let now: Now = Arc::new(move || Monotonic(start.elapsed()));
    Spool::open(Arc::new(SystemDisk), config, now)
        .expect("open")
        .0
}

/// Commits `total` messages from `committers` threads.
fn commit(spool: &Spool, committers: u64, total: u64, next: &AtomicU64) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for committer in 0..committers {
            let mine = total / committers + u64::from(committer < total % committers);
            scope.spawn(move || {
                let content = [b'm'; 4096];
                for _ in 0..mine {
                    let id = ItemId {
                        transaction: [9; 16],
                        queue: next.fetch_add(1, Ordering::Relaxed),
                    };
                    let body = spool.body(black_box(&content)).expect("a body");
                    let mut transaction = spool.transaction();
                    let body = transaction.add_body(&body);
                    transaction.add_item(id, &[body], vec![b'i'; 500]);
                    spool.commit(transaction).wait().expect("commit");
                    spool.complete(id);
                }
            });
        }
    });
    start.elapsed()
}

fn bench(criterion: &mut Criterion) {
    let base = std::env::var_os("ANGARIUM_BENCH_DIR")
        .unwrap_or_else(|| std::env::temp_dir().into_os_string());
    let dir = tempfile::tempdir_in(base).expect("a temporary directory");
    let spool = open(dir.path());
    let next = AtomicU64::new(0);
    let mut group = criterion.benchmark_group("spool_commit");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5))
        .throughput(Throughput::Elements(1));
    for committers in [1, 16, 64, 256] {
        let before = spool.stats();
        group.bench_function(BenchmarkId::from_parameter(committers), |bencher| {
            bencher.iter_custom(|iterations| commit(&spool, committers, iterations, &next));
        });
        let after = spool.stats();
        let commits = after.commits - before.commits;
        let syncs = after.syncs - before.syncs;
        eprintln!("{committers} committers: {commits} commits with {syncs} syncs");
    }
    group.finish();
}

/// A start with 100,000 live items of 500 bytes, each with a body of 4 KiB, until all items were handed over.
fn start(criterion: &mut Criterion) {
    const ITEMS: u64 = 100_000;
    let base = std::env::var_os("ANGARIUM_BENCH_DIR")
        .unwrap_or_else(|| std::env::temp_dir().into_os_string());
    let dir = tempfile::tempdir_in(base).expect("a temporary directory");
    let spool = open(dir.path());
    let content = spool.body(&[b'm'; 4096]).expect("a body");
    for first in (0..ITEMS).step_by(1000) {
        let mut transaction = spool.transaction();
        for queue in first..first + 1000 {
            let body = transaction.add_body(&content);
            transaction.add_item(
                ItemId {
                    transaction: [9; 16],
                    queue,
                },
                &[body],
                vec![b'i'; 500],
            );
        }
        spool.commit(transaction).wait().expect("commit");
    }
    drop(spool);
    let mut group = criterion.benchmark_group("spool_start");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(ITEMS));
    group.bench_function(BenchmarkId::from_parameter(ITEMS), |bencher| {
        bencher.iter(|| {
            let config = Config::new(dir.path().join("queue"), dir.path().join("tmp"));
            let (_spool, recovered, _stepper) =
                Spool::open_stepped(Arc::new(SystemDisk), config).expect("open");
            assert_eq!(recovered.filter(Result::is_ok).count() as u64, ITEMS);
        });
    });
    group.finish();
}

criterion_group!(benches, bench, start);
criterion_main!(benches);
