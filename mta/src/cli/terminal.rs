//! Standard output and standard error.
//!
//! A reader that goes away (`angarium functions | head`) ends a command quietly. Standard output is flushed before
//! anything goes to standard error, so that both appear in the order in which they were written.

use std::io::{self, Write as _};

use super::failure::Failure;

/// Writes to standard output.
///
/// # Errors
/// When it cannot be written; silently with status 0 when nobody reads any more.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// As [`print`], for bytes.
///
/// # Errors
/// As [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Status(0),
            _ => Failure::Failed(format!("cannot write to standard output: {error}")),
        })
}

/// Writes to standard error. When even that fails there is nobody left to tell.
pub fn error(text: &str) {
    let _ = io::stdout().lock().flush();
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
