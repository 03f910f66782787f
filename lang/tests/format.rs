//! Formatted code compiles to the same bytecode; only the lines differ.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test of the project's own files"
)]

#[path = "../syntax/tests/common/generate.rs"]
mod generate;

use std::path::{Path, PathBuf};

use angarium_lang::builtins::{Builtin, Builtins, Signature};
use angarium_lang::bytecode::Program;
use angarium_lang::listing::listing_without_lines;
use angarium_lang::modules::NoFiles;
use angarium_lang::{FileId, Source};
use angarium_syntax::format::format;
use proptest::prelude::*;

/// Knows every name as a function of any arguments, so that scripts compile without a library.
struct Anything(Signature);

impl Builtins for Anything {
    fn lookup(&self, name: &str) -> Option<Builtin> {
        // A debug point tells lines and columns, which formatting changes.
        (name != angarium_lang::DEBUG_HOOK).then_some(Builtin::Function(0))
    }
    fn signature(&self, _builtin: Builtin) -> &Signature {
        &self.0
    }
    fn is_construct(&self, _builtin: Builtin) -> bool {
        false
    }
    fn static_method(&self, _class: u32, _name: &str) -> Option<u32> {
        Some(0)
    }
    fn function_signature(&self, _function: u32) -> &Signature {
        &self.0
    }
    fn variables(&self) -> &[(&'static str, bool)] {
        &[]
    }
    fn names(&self) -> Vec<&'static str> {
        Vec::new()
    }
    fn option_names(&self, _builtin: Builtin) -> Option<Vec<&'static str>> {
        None
    }
    fn methods(&self) -> Vec<&'static str> {
        Vec::new()
    }
    fn method_options(&self, _method: &str, _place: usize) -> Option<Vec<&'static str>> {
        None
    }
}

fn compile(text: &[u8]) -> Option<Program> {
    let names = Anything(Signature::parse("anything(...arguments: any): any").unwrap());
    let source = Source {
        name: "main.hsl",
        path: "main.hsl",
        text,
    };
    let compiled = angarium_lang::compile(source, &names, &NoFiles).ok()?;
    Some(compiled.program)
}

/// Whether a program compiles; if so, formatted it must be the same code.
fn same_code(text: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(formatted) = format(text, FileId(0)) else {
        return Ok(false);
    };
    let (before, after) = (compile(text), compile(&formatted));
    let shown = String::from_utf8_lossy(&formatted);
    match (before, after) {
        (Some(before), Some(after)) => {
            prop_assert_eq!(
                listing_without_lines(&before),
                listing_without_lines(&after),
                "{}",
                shown
            );
            Ok(true)
        }
        (before, after) => {
            prop_assert_eq!(before.is_some(), after.is_some(), "{}", shown);
            Ok(false)
        }
    }
}

fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "hsl") {
            found.push(path);
        }
    }
}

#[test]
fn the_scripts_of_the_project_stay_the_same_code() {
    let mut found = Vec::new();
    for folder in ["../examples", "../runtime/tests/hsl", "syntax/tests"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        scripts(&root.join(folder), &mut found);
    }
    let mut same = 0;
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        // Every `//#` starts a program of its own in the suite of the language.
        for case in text.split("//#") {
            let case = format!("//{case}");
            let name = path.display();
            let done = same_code(case.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
            same += usize::from(done);
        }
    }
    println!("{same} programs");
    assert!(same > 150, "{same}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_stay_the_same_code(list in prop::collection::vec(generate::statement(), 1..4)) {
        same_code(list.join("\n").as_bytes())?;
    }
}
