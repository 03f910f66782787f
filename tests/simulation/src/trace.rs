//! What happened, in order: the same seed gives the same trace, to the byte.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use angarium::log::{Log, Severity};

/// The trace of a run. Clones are the same one.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    now: Duration,
    lines: Vec<String>,
    hasher: DefaultHasher,
    /// Lines of the machine's log that nobody has looked at.
    logged: Vec<String>,
}

impl Trace {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the time of the lines to come.
    pub fn set_now(&self, now: Duration) {
        self.lines().now = now;
    }

    /// Adds a line.
    pub fn note(&self, text: impl AsRef<str>) {
        let mut lines = self.lines();
        let line = format!("{:>12.6} {}", lines.now.as_secs_f64(), text.as_ref());
        lines.hasher.write(line.as_bytes());
        lines.hasher.write_u8(b'\n');
        lines.lines.push(line);
    }

    /// What the machine has logged since the last call.
    pub fn take_logged(&self) -> Vec<String> {
        std::mem::take(&mut self.lines().logged)
    }

    /// The hash of all lines.
    pub fn hash(&self) -> u64 {
        self.lines().hasher.finish()
    }

    /// All lines.
    pub fn all(&self) -> Vec<String> {
        self.lines().lines.clone()
    }
}

impl Log for Trace {
    fn line(&self, severity: Severity, id: &str, body: &str) {
        self.note(format!("log {severity:?} [{id}] {body}"));
        self.lines().logged.push(body.to_owned());
    }
}
