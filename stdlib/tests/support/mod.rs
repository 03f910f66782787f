//! What the tests of the library share: the suites' folder, and scripts that are run as their users run them.
#![allow(clippy::print_stdout, reason = "a suite says how much of it passed")]
#![allow(clippy::disallowed_methods, reason = "tests read their data from disk")]
#![allow(dead_code, reason = "each test uses what it needs")]

use std::fmt::Write as _;
use std::future::Future as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use angarium_effects::clock::VirtualClock;
use angarium_effects::dns::TableDns;
use angarium_effects::random::SeededRandom;
use angarium_lang::Source;
use angarium_lang::modules::NoFiles;
use angarium_runtime::host::{self, Host, Inline, Output};
use angarium_runtime::library::Library;
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::value::Value;
use angarium_runtime::{Execution, Limits, Unit, convert};
use angarium_stdlib::{CORE, regexp};

/// The folder of a suite; none, with a line that says so, when it is absent.
pub fn suite(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ANGARIUM_SUITES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/suites"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no suite at {}", folder.display());
    None
}

/// The rows of a file with a JSON value a line; none when the suite is absent.
pub fn rows(suite_name: &str, file: &str) -> Vec<serde_json::Value> {
    let Some(folder) = suite(suite_name) else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(folder.join(file)).expect("a file of the suite");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect()
}

/// Counts rows, prints those that miss.
#[derive(Default)]
pub struct Score {
    pub good: usize,
    pub total: usize,
    /// The names of the rows that miss.
    pub misses: Vec<String>,
}

impl Score {
    pub fn row(&mut self, name: &str, right: bool, found: impl FnOnce() -> String) {
        self.total += 1;
        if right {
            self.good += 1;
        } else {
            println!("miss: {name}: {}", found());
            self.misses.push(name.to_owned());
        }
    }

    /// Prints `N of M`, and fails unless the misses are exactly those that are explained in docs/conformance.md, as far as
    /// the suite has them.
    pub fn end(self, suite: &str, explained: &[&str]) {
        println!("{suite}: {} of {}", self.good, self.total);
        let unexplained: Vec<&String> = self
            .misses
            .iter()
            .filter(|name| !explained.contains(&name.as_str()))
            .collect();
        assert!(unexplained.is_empty(), "{suite} misses {unexplained:?}");
    }
}

struct Silent;

impl Output for Silent {
    fn echo(&self, text: &[u8]) {
        println!("{}", String::from_utf8_lossy(text));
    }
    fn syslog(&self, _priority: u32, _message: &[u8]) {}
}

/// Runs a script; gives what it returns, or how it ended.
pub fn run_within(text: &str, limits: Limits) -> Result<Value, String> {
    thread_local! {
        static LIBRARY: Arc<Library> = Arc::new(Library::new(&[&CORE]).expect("a well-formed table"));
    }
    let library = LIBRARY.with(Arc::clone);
    let names = library.context("core").expect("the core");
    let source = Source {
        name: "main.hsl",
        path: "main.hsl",
        text: text.as_bytes(),
    };
    let compiled =
        angarium_lang::compile(source, &names, &NoFiles).map_err(|rejected| rejected.render())?;
    let unit = Unit::link(compiled.program, Arc::clone(&library), &regexp::ENGINE)
        .map_err(|error| error.render())?;
    let host = Host::new(
        Rc::new(VirtualClock::new(std::time::Duration::from_secs(
            1_700_000_000,
        ))),
        Rc::new(SeededRandom::new(1)),
        Rc::new(TableDns::default()),
        Arc::new(Inline),
        Rc::new(Silent),
        Rc::new(host::NoFiles),
        &regexp::ENGINE,
        "host.example".into(),
    );
    host.extend(Rc::new(SharedMemory::default()));
    let mut execution = Execution::new(&unit, Rc::new(host), Vec::new(), limits);
    let mut driven = std::pin::pin!(execution.drive());
    let mut context = Context::from_waker(Waker::noop());
    // Long work gives others their turn: nobody else is here, so it goes on at once.
    for _ in 0..1_000_000 {
        if let Poll::Ready(ended) = driven.as_mut().poll(&mut context) {
            return ended.map_err(|ended| ended.to_string());
        }
    }
    Err("it waits for something".to_owned())
}

/// As [`run_within`], without limits.
pub fn run(text: &str) -> Result<Value, String> {
    run_within(text, Limits::default())
}

/// What a script returns, in dump form.
pub fn dumped(text: &str) -> Result<String, String> {
    run(text).map(|value| String::from_utf8_lossy(&convert::dump(&value)).into_owned())
}

/// Bytes as a string of the language.
pub fn literal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 + 2);
    text.push('"');
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}

/// The value of `name(arguments…)` with strings as arguments.
pub fn call(name: &str, arguments: &[&[u8]]) -> Result<Value, String> {
    let arguments: Vec<String> = arguments.iter().map(|bytes| literal(bytes)).collect();
    run(&format!("return {name}({});", arguments.join(", ")))
}
