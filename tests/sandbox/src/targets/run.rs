//! Compiler and machine: every text is refused or runs, and ends within its budget.

use std::collections::HashMap;
use std::time::Duration;

use angarium_runtime::Limits;

use crate::script;

/// What a fuzzed script may use.
pub const LIMITS: Limits = Limits {
    fuel: Some(200_000),
    memory: Some(16 << 20),
    time: Some(Duration::from_secs(60)),
};

/// Compiles and runs a program. A line `//// NAME` begins a further file, which the program may include or import.
pub fn compile_and_run(data: &[u8]) {
    let (main, files) = split(data);
    let Ok(ran) = script::run(main, &files, LIMITS) else {
        return;
    };
    // One more built-in than the budget allows may be under way when it ends, and it charges at most what it touches.
    assert!(ran.fuel < 4_000_000, "{} fuel was used", ran.fuel);
    assert_ne!(
        ran.result,
        Err("it waits for what never comes".to_owned()),
        "a budget of time always ends a wait"
    );
}

fn split(data: &[u8]) -> (&[u8], HashMap<String, Vec<u8>>) {
    let mut files = HashMap::new();
    let mut main = None;
    let mut name = String::new();
    let mut start = 0;
    let mut at = 0;
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        if let Some(next) = line.strip_prefix(b"//// ") {
            let text = &data[start..at];
            match main {
                None => main = Some(text),
                Some(_) => {
                    files.insert(std::mem::take(&mut name), text.to_vec());
                }
            }
            name = String::from_utf8_lossy(next).trim().to_owned();
            start = at + line.len();
        }
        at += line.len();
    }
    let rest = &data[start..];
    match main {
        None => (rest, files),
        Some(main) => {
            files.insert(name, rest.to_vec());
            (main, files)
        }
    }
}
