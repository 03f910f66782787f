//! Speed of the language front in bytes of source a second: `lex` alone, and `parse` with everything.

#![allow(
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark reads its own data; criterion's macro has no docs"
)]

use angarium_syntax::lexer::lex;
use angarium_syntax::{FileId, parse};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// About a megabyte of the sample scripts.
fn source() -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("sample scripts")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let one: Vec<u8> = files
        .iter()
        // Imports stand at the top level and may repeat; classes of one name are for a later pass.
        .flat_map(|path| std::fs::read(path).expect("a readable script"))
        .collect();
    one.repeat((1 << 20) / one.len())
}

fn front(criterion: &mut Criterion) {
    let source = source();
    let mut group = criterion.benchmark_group("front");
    group.throughput(Throughput::Bytes(source.len() as u64));
    group.bench_function("lex", |bencher| {
        bencher.iter(|| lex(black_box(&source), FileId(0)))
    });
    group.bench_function("parse", |bencher| {
        bencher.iter(|| parse(black_box(&source), FileId(0)))
    });
    group.finish();
}

criterion_group!(benches, front);
criterion_main!(benches);
