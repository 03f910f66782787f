//! Prints the reference page of the commands:
//!
//! `cargo run -p angarium --example commands > docs/reference/commands.md`

#![allow(clippy::print_stdout, reason = "it prints a page")]

fn main() {
    print!("{}", angarium::cli::reference::page());
}
