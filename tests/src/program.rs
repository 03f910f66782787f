//! The programs under test, and the real clients that are installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The `angarium` program: `$ANGARIUM_BIN`, or the one that was built beside this test.
///
/// # Panics
/// If there is none: the test command builds it first.
#[must_use]
pub fn angarium() -> PathBuf {
    if let Some(path) = std::env::var_os("ANGARIUM_BIN") {
        return PathBuf::from(path);
    }
    let this = std::env::current_exe().expect("a program knows its own path");
    let found = this
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join("angarium"))
        .find(|path| path.is_file());
    found.expect("target/debug/angarium is not there; build it first: cargo build -p angarium")
}

/// Python, of which only the standard library is used: `$PYTHON`, or `python3`.
#[must_use]
pub fn python() -> OsString {
    std::env::var_os("PYTHON").unwrap_or_else(|| OsString::from("python3"))
}

/// A script of `tests/python`.
#[must_use]
pub fn python_script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("python")
        .join(name)
}

/// Whether a program can be started. If not, the reason is printed for the table of the test command.
#[must_use]
pub fn installed(program: &str) -> bool {
    let found = ["--version", "version", "-h"].iter().any(|flag| {
        Command::new(program)
            .arg(flag)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    });
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Whether the process has the rights of root, which mounting needs.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
