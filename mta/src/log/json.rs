//! The log as a file with one JSON object a line (`logging.json.path`), for tools.
//!
//! The keys are those of the lines that people read: `{"time": …, "severity": …, "about": …, "event": "delivery",
//! "recipient": …}`. `about` is the connection or transaction. What is no event with keys is a `text`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use angarium_effects::disk::{Disk, DiskFile, OpenMode};
use serde_json::{Map, Value};

use super::{Log, Severity, stamp};

/// The log as a file of JSON.
#[derive(Debug)]
pub struct JsonFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Mutex<Arc<dyn DiskFile>>,
    /// Bit n: severity n is logged.
    mask: u8,
    clock: fn() -> Duration,
}

impl JsonFile {
    /// Opens the file at its end.
    ///
    /// # Errors
    /// As the system reports it.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        mask: u8,
        clock: fn() -> Duration,
    ) -> io::Result<JsonFile> {
        let file = disk.open(path, OpenMode::Append)?;
        Ok(JsonFile {
            disk,
            path: path.to_owned(),
            file: Mutex::new(file),
            mask,
            clock,
        })
    }

    /// Goes on in the file that the path names now: the old one was moved away.
    ///
    /// # Errors
    /// As the system reports it; it goes on in the old file then.
    pub fn reopen(&self) -> io::Result<()> {
        let file = self.disk.open(&self.path, OpenMode::Append)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

impl Log for JsonFile {
    fn line(&self, severity: Severity, id: &str, body: &str) {
        self.write(severity, id, body, keys(body));
    }

    fn text(&self, severity: Severity, id: &str, text: &str) {
        self.write(severity, id, text, None);
    }
}

impl JsonFile {
    fn write(&self, severity: Severity, id: &str, body: &str, event: Option<(&str, Keys)>) {
        if self.mask & (1 << severity as u8) == 0 {
            return;
        }
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
        put("time", stamp((self.clock)()).into());
        put("severity", severity.name().into());
        if !id.is_empty() {
            put("about", id.into());
        }
        match event {
            Some((event, keys)) => {
                put("event", event.into());
                for (key, value) in keys {
                    // Those are the log's own.
                    if !matches!(key.as_str(), "time" | "severity" | "about" | "event") {
                        put(&key, value);
                    }
                }
            }
            None => put("text", body.into()),
        }
        let mut line = Value::Object(map).to_string();
        line.push('\n');
        let file = Arc::clone(&self.file.lock().unwrap_or_else(PoisonError::into_inner));
        // One write for a line, so that lines of several threads do not mix. A log that cannot be written has
        // nobody to tell.
        let _ = file.append(line.as_bytes());
    }
}

type Keys = Vec<(String, Value)>;

/// The event and the keys of a line that is made of them.
fn keys(body: &str) -> Option<(&str, Keys)> {
    let word = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        !text.is_empty() && text.chars().all(plain)
    };
    let (event, mut rest) = body.split_once(' ')?;
    let mut keys = Keys::new();
    while !rest.is_empty() {
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let (key, after) = rest.split_at_checked(end)?;
        if !word(key) {
            return None;
        }
        let Some(value) = after.strip_prefix('=') else {
            // A word without a value.
            keys.push((key.to_owned(), true.into()));
            rest = after.trim_start_matches(' ');
            continue;
        };
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (value, after) = value.split_once(' ').unwrap_or((value, ""));
                (value.to_owned(), after)
            }
        };
        keys.push((key.to_owned(), value.into()));
        rest = after.trim_start_matches(' ');
    }
    let has_value = keys.iter().any(|(_, value)| value.is_string());
    (word(event) && has_value).then_some((event, keys))
}

/// A value up to its closing quote, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                // `u{…}` stays as it is written.
                'u' => value.push_str("\\u"),
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use angarium_effects::disk::SimDisk;
    use serde_json::json;

    use super::*;
    use crate::delivery::log::Line;

    fn object(body: &str) -> Value {
        let keys = keys(body).map(|(event, keys)| {
            let mut map = Map::from_iter(keys);
            map.insert("event".to_owned(), event.into());
            Value::Object(map)
        });
        keys.unwrap_or(Value::Null)
    }

    #[test]
    fn lines_with_keys_are_taken_apart_and_others_are_texts() {
        let line = Line::new("delivery")
            .with("recipient", "b@a.test")
            .text("reason", "250 \"Ok\" \\ a=b\nx")
            .flag(true, "hold")
            .with("retry", 0);
        assert_eq!(
            object(line.as_str()),
            json!({
                "event": "delivery",
                "recipient": "b@a.test",
                "reason": "250 \"Ok\" \\ a=b\nx",
                "hold": true,
                "retry": "0",
            })
        );
        for text in [
            "ready",
            "server x: listening on 1",
            "a b",
            "x \"y\"=1",
            "x y=\"z",
        ] {
            assert_eq!(object(text), Value::Null, "{text}");
        }
    }

    #[test]
    fn what_a_script_says_is_no_event_and_no_key_is_taken_from_another() {
        let disk = Arc::new(SimDisk::new(1));
        let path = Path::new("/log.json");
        let opened: Arc<dyn Disk> = Arc::<SimDisk>::clone(&disk);
        let log = JsonFile::open(opened, path, 255, || Duration::ZERO).unwrap();
        let forged = "delivery id=1 result=DELIVERED";
        log.text(Severity::Debug, "T", forged);
        // A peer's name, whatever is in it, is one value.
        let line = Line::new("message").with("helo", "x\" code=250 time=\"0\n{}");
        log.line(Severity::Info, "T", line.as_str());
        let keys = Line::new("x")
            .with("time", 1)
            .with("about", "y")
            .with("severity", "z");
        log.line(Severity::Info, "T", keys.as_str());
        let bytes = angarium_effects::disk::read_file(&*disk, path, 4096).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let time = "1970-01-01T00:00:00.000Z";
        assert_eq!(
            lines,
            [
                json!({"time": time, "severity": "debug", "about": "T", "text": forged}),
                json!({
                    "time": time, "severity": "info", "about": "T", "event": "message",
                    "helo": "x\" code=250 time=\"0\n{}",
                }),
                json!({"time": time, "severity": "info", "about": "T", "event": "x"}),
            ]
        );
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let disk = Arc::new(SimDisk::new(1));
        let path = Path::new("/log.json");
        let opened: Arc<dyn Disk> = Arc::<SimDisk>::clone(&disk);
        let log = JsonFile::open(opened, path, 1 << 6, || Duration::ZERO).unwrap();
        log.line(Severity::Info, "T", "queue id=1");
        log.line(Severity::Debug, "T", "left out");
        disk.rename(path, Path::new("/old.json")).unwrap();
        log.line(Severity::Info, "", "still the old one");
        log.reopen().unwrap();
        log.line(Severity::Info, "", "the new one");
        let read = |path: &str| {
            let bytes = angarium_effects::disk::read_file(&*disk, Path::new(path), 4096).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let time = "1970-01-01T00:00:00.000Z";
        let old = read("/old.json");
        let lines: Vec<Value> = old
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                json!({"time": time, "severity": "info", "about": "T", "event": "queue", "id": "1"}),
                json!({"time": time, "severity": "info", "text": "still the old one"}),
            ]
        );
        assert_eq!(read("/log.json").lines().count(), 1);
    }
}
