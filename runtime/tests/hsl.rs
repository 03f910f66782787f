//! The language, case by case: `tests/hsl/*.hsl`, a file for each chapter of the specification.
//!
//! A line `//# SECTION NAME` starts a case. In it
//! * `// expect: TEXT` is the next line that the script prints,
//! * `// throws: TEXT` says how the script ends: what an uncaught exception says, `verdict …`, `script limit …`,
//! * `// error: TEXT` is a part of the compile error's text, `// warning: TEXT` a part of a warning,
//! * `// fuel: N` lets it use more fuel than 3 million,
//! * `//@ PATH` starts another file of the bundle, up to the next `//@` or case.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the cases are read from disk, and what fails here is a broken test"
)]

mod support;

use std::collections::HashMap;
use std::path::Path;

use angarium_runtime::Limits;

#[derive(Default)]
struct Case {
    name: String,
    text: String,
    files: HashMap<String, Vec<u8>>,
    lines: Vec<String>,
    throws: Option<String>,
    errors: Vec<String>,
    warnings: Vec<String>,
    fuel: Option<u64>,
}

fn cases(file: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut path: Option<String> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("//# ") {
            cases.push(Case {
                name: format!("{file}: {name}"),
                ..Case::default()
            });
            path = None;
            continue;
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        if let Some(name) = line.strip_prefix("//@ ") {
            path = Some(name.to_owned());
            case.files.insert(name.to_owned(), Vec::new());
            continue;
        }
        for (mark, list) in [
            ("// expect: ", &mut case.lines),
            ("// error: ", &mut case.errors),
            ("// warning: ", &mut case.warnings),
        ] {
            if let Some((_, text)) = line.split_once(mark) {
                list.push(text.to_owned());
            } else if line.trim_end().ends_with(mark.trim_end()) {
                list.push(String::new());
            }
        }
        if let Some((_, text)) = line.split_once("// throws: ") {
            case.throws = Some(text.to_owned());
        }
        if let Some((_, number)) = line.split_once("// fuel: ") {
            case.fuel = number.parse().ok();
        }
        match &path {
            Some(path) => {
                let file = case.files.entry(path.clone()).or_default();
                file.extend_from_slice(line.as_bytes());
                file.push(b'\n');
            }
            None => {
                case.text.push_str(line);
                case.text.push('\n');
            }
        }
    }
    cases
}

fn check(case: &Case) -> Result<(), String> {
    let limits = Limits {
        fuel: case.fuel.or(Some(3_000_000)),
        memory: Some(1 << 30),
        time: None,
    };
    let ran = match support::run(&case.text, &case.files, limits) {
        Ok(ran) => ran,
        Err(message) => {
            if case.errors.is_empty() {
                return Err(format!("does not compile:\n{message}"));
            }
            let missing: Vec<&String> = case
                .errors
                .iter()
                .filter(|text| !message.contains(*text))
                .collect();
            return if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("wanted {missing:?}, got\n{message}"))
            };
        }
    };
    if !case.errors.is_empty() {
        return Err(format!("compiles, printed {:?}", ran.lines));
    }
    if ran.lines != case.lines {
        let at = ran
            .lines
            .iter()
            .zip(&case.lines)
            .take_while(|(a, b)| a == b)
            .count();
        let wanted = case.lines.get(at);
        let printed: Vec<&String> = ran.lines.iter().skip(at).take(3).collect();
        return Err(format!(
            "line {at}: wanted {wanted:?}, printed {printed:?} …, ended {:?}",
            ran.result
        ));
    }
    match (&case.throws, ran.result) {
        (None, Ok(_)) => {}
        (Some(text), Err(message)) if message.contains(text) => {}
        (wanted, got) => return Err(format!("wanted end {wanted:?}, got {got:?}")),
    }
    for text in &case.warnings {
        if !ran.warnings.iter().any(|warning| warning.contains(text)) {
            return Err(format!("no warning {text:?} among {:?}", ran.warnings));
        }
    }
    Ok(())
}

#[test]
fn every_case_does_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hsl");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let only = std::env::var("CASE").ok();
    let mut failures = Vec::new();
    let mut count = 0;
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for case in cases(&name, &text) {
            if only.as_ref().is_some_and(|only| !case.name.contains(only)) {
                continue;
            }
            count += 1;
            let result = std::panic::catch_unwind(|| check(&case))
                .unwrap_or_else(|_| Err("panicked".to_owned()));
            if let Err(message) = result {
                failures.push(format!("--- {}\n{message}", case.name));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count} cases fail\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(only.is_some() || count >= 300, "{count} cases");
}
