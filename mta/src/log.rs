//! The log: one line per event, keys fixed, so that tools and tests read what people read (mta.md 5.10).

mod json;
pub mod syslog;

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use angarium_config::HookType;

pub use json::JsonFile;
pub use syslog::Syslog;

/// How bad an event is; the numbers are those of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work.
    Error = 3,
    /// Something may not work.
    Warning = 4,
    /// An event worth knowing.
    Notice = 5,
    /// An ordinary event.
    Info = 6,
    /// What scripts print.
    Debug = 7,
}

impl Severity {
    /// The word of syslog(3) for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "err",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
            Severity::Info => "info",
            Severity::Debug => "debug",
        }
    }
}

/// Takes log lines. Cheap to call from any thread; it never fails and never waits for long.
pub trait Log: Send + Sync {
    /// Logs `body` about the connection or transaction `id` (empty for none).
    fn line(&self, severity: Severity, id: &str, body: &str);

    /// Logs what a script says about `id`: a text, however much it looks like an event.
    fn text(&self, severity: Severity, id: &str, text: &str) {
        self.line(severity, id, text);
    }

    /// Hears that a hook has ended: where (`FILE:LINE` of the terminating function) and how much fuel it took.
    /// For tools that show scripts at work; a server's log passes it over.
    fn hook(&self, hook: HookType, id: &str, decided: Option<&str>, fuel: u64) {
        let _ = (hook, id, decided, fuel);
    }
}

/// Logs to standard error: RFC 3339 time with milliseconds, `[id]`, body.
pub struct Stderr {
    /// Bit n: severity n is logged (`environment.syslog.mask`).
    mask: u8,
    clock: fn() -> Duration,
}

impl Stderr {
    /// A log of the severities in `mask`; `clock` gives the time since 1970.
    #[must_use]
    pub fn new(mask: u8, clock: fn() -> Duration) -> Stderr {
        Stderr { mask, clock }
    }
}

impl Log for Stderr {
    fn line(&self, severity: Severity, id: &str, body: &str) {
        if self.mask & (1 << severity as u8) == 0 {
            return;
        }
        let mut line = stamp((self.clock)());
        if !id.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(line, " [{id}]");
        }
        let _ = write!(line, " {}", OneLine(body));
        line.push('\n');
        // A log that cannot be written has nobody to tell.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// The UTC time in RFC 3339 form with milliseconds.
#[must_use]
pub fn stamp(unix: Duration) -> String {
    let zone = angarium_stdlib::calendar::Zone {
        offset: 0,
        name: "UTC".to_owned(),
    };
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    let text = angarium_stdlib::calendar::format(b"%Y-%m-%dT%H:%M:%S", seconds, &zone);
    format!(
        "{}.{:03}Z",
        String::from_utf8_lossy(&text),
        unix.subsec_millis()
    )
}

/// Shows as `?` what could start a line of its own or change the order in which one is read, whoever said it: control
/// characters, the separators of lines and paragraphs, and what turns the direction of a text.
struct OneLine<'a>(&'a str);

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(is_hidden) {
            match part.strip_suffix(is_hidden) {
                Some(head) => write!(f, "{head}?")?,
                None => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Logs to several places.
pub struct Several(pub Vec<Arc<dyn Log>>);

impl Log for Several {
    fn line(&self, severity: Severity, id: &str, body: &str) {
        for log in &self.0 {
            log.line(severity, id, body);
        }
    }

    fn text(&self, severity: Severity, id: &str, text: &str) {
        for log in &self.0 {
            log.text(severity, id, text);
        }
    }

    fn hook(&self, hook: HookType, id: &str, decided: Option<&str>, fuel: u64) {
        for log in &self.0 {
            log.hook(hook, id, decided, fuel);
        }
    }
}

/// Keeps lines in memory: for tests and `angarium try`.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Vec<String>>>);

impl Memory {
    /// The lines so far, `[id] body`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Log for Memory {
    fn line(&self, _severity: Severity, id: &str, body: &str) {
        let line = if id.is_empty() {
            OneLine(body).to_string()
        } else {
            format!("[{id}] {}", OneLine(body))
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

/// A value for `key="…"`: quotes and backslashes escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        assert_eq!(
            stamp(Duration::from_millis(1_136_214_245_007)),
            "2006-01-02T15:04:05.007Z"
        );
    }

    #[test]
    fn a_line_stays_one_line() {
        let log = Memory::default();
        log.line(Severity::Info, "id", "a\r\n[other] forged\u{85}x");
        log.line(Severity::Info, "id", "a\u{2028}[other] \u{202e}degrof");
        assert_eq!(
            log.lines(),
            ["[id] a??[other] forged?x", "[id] a?[other] ?degrof"]
        );
    }
}
