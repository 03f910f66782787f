//! dkimpy, another implementation of DKIM and ARC.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{installed, python, python_script};

/// The outcomes of jobs for `tests/python/mailauth.py`; none, with a line that says so, where what does them is not
/// installed.
///
/// # Panics
/// When Python fails.
#[must_use]
pub fn outcomes(jobs: &[Value]) -> Option<Vec<Value>> {
    if !installed("python3") {
        return None;
    }
    let mut child = Command::new(python())
        .arg(python_script("mailauth.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let list = serde_json::to_vec(jobs).expect("jobs are JSON");
    let mut input = child.stdin.take().expect("a pipe");
    // It reads everything before it writes anything.
    input.write_all(&list).expect("Python reads");
    drop(input);
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "mailauth.py failed");
    let outcomes: Vec<Value> = serde_json::from_slice(&output.stdout).expect("outcomes are JSON");
    if outcomes.iter().any(Value::is_null) {
        println!("skipped: dkimpy is not installed");
        return None;
    }
    Some(outcomes)
}
