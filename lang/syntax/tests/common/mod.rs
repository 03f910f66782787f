//! What the tests of this crate share.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "not every test uses all of it; tests read their own data"
)]

pub mod generate;

use angarium_syntax::{Diagnostic, Program, SourceMap, parse};

/// Parses a text that has a file of its own.
pub fn parsed(text: &[u8]) -> (Program, Vec<Diagnostic>, SourceMap) {
    let mut sources = SourceMap::new();
    let id = sources.add("script.hsl", text).expect("small");
    let (program, errors) = parse(text, id);
    (program, errors, sources)
}

/// All messages about a text, as a user sees them.
pub fn rendered(text: &[u8]) -> String {
    let (_, errors, sources) = parsed(text);
    errors.iter().map(|error| error.render(&sources)).collect()
}

/// The sample scripts, by name.
pub fn scripts() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut scripts: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .expect("the folder of sample scripts")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let text = std::fs::read(entry.path()).expect("a readable script");
            (entry.file_name().to_string_lossy().into_owned(), text)
        })
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no sample scripts");
    scripts
}
