//! The language, chapter by chapter: every script of `tests/hsl` run by the program, its output compared.
//!
//! A case is `tests/hsl/CHAPTER/NN-name.hsl`, or the `main.hsl` of a folder `NN-name` when it needs more files. Its
//! first line is a comment that names the sections it shows: `// §6.4 …` a section, `// §6.4b …` a point that
//! the section decides where its sources are silent; `tests/hsl/sections.txt` lists them all. Beside the script lie
//!
//! | file | what it says |
//! |---|---|
//! | `.out` | standard output, byte by byte; nothing when absent |
//! | `.has` | instead of `.out`: what standard output holds, in this order, a part a line |
//! | `.err` | what standard error holds, likewise; nothing when absent |
//! | `.status` | the exit status; 1 when there is an `.err`, else 0 |
//! | `.args` | the command line in words, where it is not `hsh -c /dev/null NAME.hsl` |
//! | `.in` | standard input |
//!
//! A part that starts with `^` stands at the beginning of a line. What the specification words is checked to the
//! letter, other messages by their place and the word that they cannot do without.
//!
//! `CASE=text` runs only the cases whose path holds the text and shows all that went wrong with each.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it starts real programs on real files; what fails here is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use angarium_tests::program::angarium;

/// The longest that a case may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One script and what is expected of it.
struct Case {
    /// Path without extension, below `tests/hsl`; of a folder, the folder's.
    name: String,
    /// The path of the script without its extension.
    stem: PathBuf,
    /// The sections of its first line.
    sections: Vec<String>,
}

impl Case {
    fn chapter(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// The content of a file beside the script.
    fn beside(&self, extension: &str) -> Option<Vec<u8>> {
        fs::read(self.stem.with_extension(extension)).ok()
    }

    fn beside_text(&self, extension: &str) -> Option<String> {
        self.beside(extension)
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hsl")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

fn cases() -> Vec<Case> {
    let root = folder();
    let mut cases = Vec::new();
    for chapter in entries(&root).iter().filter(|path| path.is_dir()) {
        for entry in entries(chapter) {
            let stem = if entry.is_dir() {
                entry.join("main")
            } else if entry.extension().is_some_and(|found| found == "hsl") {
                entry.with_extension("")
            } else {
                continue;
            };
            let name = entry.with_extension("");
            let name = name.strip_prefix(&root).unwrap().to_str().unwrap();
            cases.push(Case {
                name: name.to_owned(),
                sections: sections_of(&stem.with_extension("hsl")),
                stem,
            });
        }
    }
    cases
}

/// The sections that the first line of a script names.
fn sections_of(script: &Path) -> Vec<String> {
    let text = fs::read(script).unwrap();
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(first)
        .split_whitespace()
        .filter_map(|word| word.strip_prefix('§'))
        .map(str::to_owned)
        .collect()
}

/// What a run gave.
struct Ran {
    output: Vec<u8>,
    messages: String,
    status: Option<i32>,
}

fn run(case: &Case) -> Ran {
    let folder = case.stem.parent().unwrap();
    let script = case.stem.with_extension("hsl");
    let script = script.file_name().unwrap().to_str().unwrap();
    let words = case
        .beside_text("args")
        .unwrap_or_else(|| format!("hsh -c /dev/null {script}"));
    let mut words = words.split_whitespace();
    let mut command = Command::new(angarium());
    command
        .arg0(words.next().unwrap())
        .args(words)
        .current_dir(folder)
        .env("TZ", "UTC");
    let input = case.stem.with_extension("in");
    if input.is_file() {
        command.stdin(File::open(input).unwrap());
    } else {
        command.stdin(Stdio::null());
    }
    // Files instead of pipes: nobody has to read while the program writes, and it can be stopped when it hangs.
    let mut output = tempfile::tempfile().unwrap();
    let mut messages = tempfile::tempfile().unwrap();
    let mut child = command
        .stdout(output.try_clone().unwrap())
        .stderr(messages.try_clone().unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    Ran {
        output: read(&mut output),
        messages: String::from_utf8_lossy(&read(&mut messages)).into_owned(),
        status,
    }
}

/// What is wrong with a run, or nothing.
fn check(case: &Case) -> Result<(), String> {
    let ran = run(case);
    let wanted_output = case.beside("out").unwrap_or_default();
    let wanted_messages = case.beside_text("err").unwrap_or_default();
    let wanted_status = match case.beside_text("status") {
        Some(status) => status.trim().parse().unwrap(),
        None => i32::from(!wanted_messages.is_empty()),
    };
    let mut wrong = String::new();
    match case.beside_text("has") {
        Some(parts) => {
            let output = String::from_utf8_lossy(&ran.output);
            if let Some(part) = lacking(&output, &parts) {
                let _ = writeln!(wrong, "standard output lacks: {part}\n{output}");
            }
        }
        None if ran.output == wanted_output => {}
        None => {
            let _ = writeln!(wrong, "{}", difference(&wanted_output, &ran.output));
        }
    }
    if wanted_messages.is_empty() && !ran.messages.is_empty() {
        let _ = writeln!(wrong, "unexpected messages:");
    }
    if let Some(part) = lacking(&ran.messages, &wanted_messages) {
        let _ = writeln!(wrong, "standard error lacks: {part}");
    }
    match ran.status {
        None => {
            let _ = writeln!(wrong, "it hangs, or died of a signal");
        }
        Some(status) if status != wanted_status => {
            let _ = writeln!(wrong, "status {status}, wanted {wanted_status}");
        }
        Some(_) => {}
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(wrong + ran.messages.trim_end())
}

/// The first of the parts, a line each, that a text does not hold behind the one before.
fn lacking<'a>(text: &str, parts: &'a str) -> Option<&'a str> {
    let text = format!("\n{text}");
    let mut at = 0;
    for part in parts.lines() {
        let wanted = match part.strip_prefix('^') {
            Some(start) => format!("\n{start}"),
            None => part.to_owned(),
        };
        match text[at..].find(&wanted) {
            Some(found) => at += found + wanted.len(),
            None => return Some(part),
        }
    }
    None
}

/// The first line in which two outputs differ.
fn difference(wanted: &[u8], found: &[u8]) -> String {
    let (wanted, found) = (
        String::from_utf8_lossy(wanted),
        String::from_utf8_lossy(found),
    );
    let (mut wanted, mut found) = (wanted.split('\n'), found.split('\n'));
    let mut line = 1;
    loop {
        match (wanted.next(), found.next()) {
            (a, b) if a == b && a.is_some() => line += 1,
            (a, b) => return format!("output line {line}: wanted {a:?}, printed {b:?}"),
        }
    }
}

/// Cases that are known to fail, with the reason.
fn pending() -> BTreeMap<String, String> {
    fs::read_to_string(folder().join("pending.txt"))
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .map(|(case, reason)| (case.to_owned(), reason.to_owned()))
        .collect()
}

#[test]
fn every_case_prints_what_the_specification_says() {
    let only = std::env::var("CASE").ok();
    let mut cases = cases();
    cases.retain(|case| {
        only.as_ref()
            .is_none_or(|only| case.name.contains(only.as_str()))
    });
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = check(case);
                    results
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(&case.name, result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let pending = pending();
    let mut chapters: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut failures = String::new();
    for case in &cases {
        let result = results.get(&case.name).unwrap();
        let (passed, total) = chapters.entry(case.chapter()).or_default();
        *total += 1;
        *passed += usize::from(result.is_ok());
        match (result, pending.get(&case.name)) {
            (Ok(()), None) => {}
            (Err(_), Some(reason)) => println!("pending {}: {reason}", case.name),
            (Ok(()), Some(_)) => {
                let _ = writeln!(failures, "--- {}\npasses, but is called pending", case.name);
            }
            (Err(wrong), None) => {
                let _ = writeln!(failures, "--- {}\n{wrong}", case.name);
            }
        }
    }
    for (chapter, (passed, total)) in &chapters {
        println!("hsl {chapter}: {passed} of {total}");
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(
        only.is_some() || cases.len() >= 600,
        "{} cases",
        cases.len()
    );
    for name in pending.keys() {
        assert!(
            only.is_some() || results.contains_key(name),
            "{name} is called pending, but there is no such case"
        );
    }
}

#[test]
fn every_section_and_every_decided_point_has_a_case() {
    let list = fs::read_to_string(folder().join("sections.txt")).unwrap();
    let sections: BTreeSet<&str> = list
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .filter_map(|line| line.split(' ').next())
        .collect();
    let cases = cases();
    let shown: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| case.sections.iter().map(String::as_str))
        .collect();
    let without: Vec<_> = sections.difference(&shown).collect();
    assert!(without.is_empty(), "sections without a case: {without:?}");
    let unknown: Vec<_> = shown.difference(&sections).collect();
    assert!(unknown.is_empty(), "no such sections: {unknown:?}");
    let silent: Vec<_> = cases
        .iter()
        .filter(|case| case.sections.is_empty())
        .map(|case| &case.name)
        .collect();
    assert!(silent.is_empty(), "cases that name no section: {silent:?}");
    println!(
        "sections of the language with a case: {0} of {0}",
        sections.len()
    );
}
