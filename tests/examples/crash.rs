//! Rounds of SIGKILL under twenty sessions, as many as wanted:
//! `cargo run -p angarium-tests --example crash -- --rounds 1000 [--seed N]`.
//!
//! Build the server first: `cargo build -p angarium`, or name one in `$ANGARIUM_BIN`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

use std::io::Write;
use std::process::ExitCode;

use angarium_tests::crash;

fn main() -> ExitCode {
    let (mut rounds, mut seed) = (1000, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|number| number.parse().ok());
        match (argument.as_str(), number) {
            ("--rounds", Some(number)) => rounds = number,
            ("--seed", Some(number)) => seed = number as u64,
            _ => {
                eprintln!("usage: crash [--rounds N] [--seed N]");
                return ExitCode::FAILURE;
            }
        }
    }
    let outcome = crash::rounds(rounds, seed, |round| {
        print!("\rround {} of {rounds}", round + 1);
        let _ = std::io::stdout().flush();
    });
    println!("\n{outcome}");
    for id in outcome.lost.iter().chain(&outcome.damaged) {
        println!("{id}");
    }
    if outcome.lost.is_empty() && outcome.damaged.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
