//! Benchmarks of the machine: `cargo bench -p angarium-runtime`.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::VirtualClock;
use angarium_runtime::value::Value;
use angarium_runtime::{Execution, Limits, Suspend};
use criterion::{Criterion, criterion_group, criterion_main};

/// Runs a program that never waits.
fn run(unit: &std::sync::Arc<angarium_runtime::Unit>) -> Value {
    let lines = Rc::new(support::Lines::default());
    let clock = VirtualClock::new(Duration::from_secs(1));
    let mut execution = Execution::new(
        unit,
        support::host(&lines, &clock),
        Vec::new(),
        Limits::default(),
    );
    loop {
        match execution.run() {
            Suspend::Done(value) => return value,
            Suspend::Yield => {}
            Suspend::Ended(ended) => panic!("{ended}"),
            Suspend::Wait(_) | Suspend::Offload(_) => panic!("waits"),
        }
    }
}

const PROGRAMS: [(&str, &str); 9] = [
    (
        "vm_loop",
        "$s = 0; for ($i = 0; $i < 1000000; $i++) { $s = ($s * 7 + $i) % 1000003; } return $s;",
    ),
    (
        "vm_call",
        "function fib($n) { if ($n < 2) return $n; return fib($n - 1) + fib($n - 2); } return fib(24);",
    ),
    (
        "vm_closure",
        "$n = 0; $f = function ($x) closure ($n) { $n += $x; }; for ($i = 0; $i < 100000; $i++) $f($i); return $n;",
    ),
    (
        "vm_array",
        "$a = []; for ($i = 0; $i < 100000; $i++) $a[] = $i; $s = 0; foreach ($a as $v) $s += $v; for ($i = 0; $i < 100000; $i++) $a[$i] = $a[$i] + 1; return $s;",
    ),
    (
        "vm_hash",
        "$a = []; for ($i = 0; $i < 50000; $i++) $a[\"key$i\"] = $i; $s = 0; for ($i = 0; $i < 50000; $i++) $s += $a[\"key$i\"]; return $s;",
    ),
    (
        "vm_string",
        "$s = \"\"; for ($i = 0; $i < 200000; $i++) { $s .= \"ab\"; $s = $s . $i; } return length($s);",
    ),
    (
        "vm_native",
        "$n = 0; for ($i = 0; $i < 200000; $i++) $n += length(\"abc\"); return $n;",
    ),
    (
        "vm_cow",
        "function touch($a, $i) { $a[$i] = $i; return $a; } $a = [1] * 1000; for ($i = 0; $i < 20000; $i++) $a = touch($a, $i % 1000); return $a[5];",
    ),
    (
        "vm_exception",
        "$n = 0; for ($i = 0; $i < 20000; $i++) { try { throw Exception(\"x\"); } catch ($e) { $n++; } } return $n;",
    ),
];

fn vm(criterion: &mut Criterion) {
    for (name, text) in PROGRAMS {
        let (unit, _) = support::unit(text, &HashMap::new()).expect("the program compiles");
        criterion.bench_function(name, |bencher| bencher.iter(|| black_box(run(&unit))));
    }
    let hook = "if ($connection[\"ip\"] == \"192.0.2.9\") echo \"no\"; $l = [1, 2, 3]; foreach ($l as $v) { if ($v > 2) return $v; }";
    let (unit, _) = support::unit(hook, &HashMap::new()).expect("the program compiles");
    criterion.bench_function("vm_hook", |bencher| {
        bencher.iter(|| black_box(run_with_variables(&unit)))
    });
}

fn run_with_variables(unit: &std::sync::Arc<angarium_runtime::Unit>) -> Value {
    let lines = Rc::new(support::Lines::default());
    let clock = VirtualClock::new(Duration::from_secs(1));
    let connection: angarium_runtime::array::Array = [(
        angarium_runtime::array::Key::from("ip"),
        Value::from("192.0.2.1"),
    )]
    .into_iter()
    .collect();
    let variables = vec![("connection", Value::from(connection))];
    let mut execution = Execution::new(
        unit,
        support::host(&lines, &clock),
        variables,
        Limits::default(),
    );
    match execution.run() {
        Suspend::Done(value) => value,
        _ => Value::None,
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    targets = vm
}
criterion_main!(benches);
