//! Runs every test of the workspace and prints one table of what passed.
//!
//! `cargo run --locked -p angarium-tests` is the one command of the README. It fails when a test fails, when a suite
//! passes fewer cases than `tests/passes.txt` keeps for it, and when a test that ran on the machine that kept the
//! numbers is skipped. `--keep` writes the numbers of this run.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people and for CI"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts processes and reads its own list"
)]

mod report;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode};

use report::{Kept, Report};

fn main() -> ExitCode {
    let keep = std::env::args().any(|argument| argument == "--keep");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // The programs first: tests start them.
    let build = Command::new(&cargo)
        .current_dir(&root)
        .args(["build", "--locked", "--workspace", "--bins"])
        .status();
    if !build.is_ok_and(|status| status.success()) {
        eprintln!("the workspace does not build");
        return ExitCode::FAILURE;
    }
    // cargo names the running test binary on standard error and the tests print on standard output: one pipe for both
    // keeps the order in which they were written.
    let child = std::io::pipe().and_then(|(output, input)| {
        Command::new(&cargo)
            .current_dir(&root)
            .args([
                "test",
                "--locked",
                "--workspace",
                "--no-fail-fast",
                "--",
                "--show-output",
            ])
            .stdout(input.try_clone()?)
            .stderr(input)
            .spawn()
            .map(|child| (child, BufReader::new(output)))
    });
    let (mut child, mut output) = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cannot start {cargo}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::default();
    let mut line = Vec::new();
    while output
        .read_until(b'\n', &mut line)
        .is_ok_and(|count| count > 0)
    {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        println!("{text}");
        report.read(&text);
    }
    let passed = child.wait().is_ok_and(|status| status.success());
    let path = root.join("tests/passes.txt");
    let mut kept = read_kept(&path);
    if keep {
        kept = report.to_kept(&kept);
        if let Err(error) = std::fs::write(&path, kept.to_string()) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    println!("\n{report}");
    let complaints = report.compare(&kept);
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        report.passed(),
        report.failed(),
        report.skipped()
    );
    if passed && complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn read_kept(path: &Path) -> Kept {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .parse()
        .unwrap_or_default()
}
