//! Mistakes as people make them: a token of the example scripts is misspelt, dropped or swapped with its neighbour, or
//! an option or method gets a wrong name. The compiler, with the functions and variables of the hook, must point at the
//! line.
#![allow(clippy::print_stdout, reason = "the score is worth reading")]
#![allow(clippy::disallowed_methods, reason = "the examples are read from disk")]
#![allow(clippy::unwrap_used, reason = "what fails here is a broken test")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use angarium::scripts::library;
use angarium_lang::{FileId, Source, SourceMap};
use angarium_syntax::lexer::lex;
use angarium_syntax::token::{Token, TokenKind};

struct Script {
    name: String,
    hook: &'static str,
    text: Vec<u8>,
    files: HashMap<String, Vec<u8>>,
}

/// The hooks of the example bundles.
fn scripts() -> Vec<Script> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut scripts = Vec::new();
    for bundle in ["filtering-relay", "quickstart"] {
        let src = root.join(bundle).join("src");
        let mut files = HashMap::new();
        for path in hsl_files(&src.join("files")) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read(&path).unwrap());
        }
        for path in hsl_files(&src.join("hooks")) {
            let folder = path.parent().unwrap().file_name().unwrap();
            let word = match folder.to_str().unwrap() {
                "queue" => path.file_stem().unwrap().to_str().unwrap(),
                word => word,
            };
            let hook = library()
                .contexts()
                .map(|context| context.name)
                .find(|name| *name == word)
                .unwrap();
            scripts.push(Script {
                name: format!("{bundle}/{hook}"),
                hook,
                text: std::fs::read(&path).unwrap(),
                files: files.clone(),
            });
        }
    }
    scripts
}

fn hsl_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "hsl") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What is said about a text: whether it is refused, the lines that are pointed at, the first message as it is shown.
fn said(script: &Script, text: &[u8]) -> Option<(Vec<u32>, String)> {
    let library = library();
    let names = library.context(script.hook).unwrap();
    let source = Source {
        name: script.hook,
        path: "",
        text,
    };
    let (diagnostics, sources) = match angarium_lang::compile(source, &names, &script.files) {
        Ok(compiled) => (compiled.warnings, compiled.program.sources),
        Err(rejected) => (rejected.diagnostics, rejected.sources),
    };
    let first = diagnostics.first()?;
    let spans = std::iter::once(&first.primary).chain(&first.secondary);
    let lines = spans.map(|label| sources.position(label.span).line);
    Some((lines.collect(), first.render(&sources)))
}

/// A word with two neighbouring letters swapped, or the last one dropped where that changes nothing.
fn misspelt(word: &[u8]) -> Vec<u8> {
    let mut wrong = word.to_vec();
    let middle = word.len() / 2;
    if word.len() >= 4 && word[middle] != word[middle - 1] {
        wrong.swap(middle, middle - 1);
    } else {
        wrong.push(b'x');
    }
    wrong
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Function,
    Method,
    Option,
    Variable,
    Keyword,
    Dropped,
    Swapped,
}

/// What becomes of the tokens from `index` on: the kind of mistake, the new text, the last token that it touches.
fn mistakes(text: &[u8], tokens: &[Token], index: usize) -> Vec<(Kind, Vec<u8>, usize)> {
    let token = tokens[index];
    let replaced = |from: Token, to: Token, by: &[u8]| {
        let mut changed = text[..from.start as usize].to_vec();
        changed.extend_from_slice(by);
        changed.extend_from_slice(&text[to.end as usize..]);
        changed
    };
    let before = index.checked_sub(1).map(|at| tokens[at].kind);
    let after = tokens.get(index + 1).map(|token| token.kind);
    let word = token.text(text);
    let spelling = match token.kind {
        TokenKind::Name if before == Some(TokenKind::Arrow) => {
            (after == Some(TokenKind::LParen)).then_some(Kind::Method)
        }
        TokenKind::Name if before != Some(TokenKind::Function) => Some(Kind::Function),
        TokenKind::Variable => Some(Kind::Variable),
        TokenKind::Str if after == Some(TokenKind::FatArrow) => Some(Kind::Option),
        kind if kind.is_keyword() => Some(Kind::Keyword),
        _ => None,
    };
    let mut found = Vec::new();
    if let Some(kind) = spelling {
        let wrong = match kind {
            Kind::Variable => [b"$", misspelt(&word[1..]).as_slice()].concat(),
            Kind::Option => [b"\"", misspelt(&word[1..word.len() - 1]).as_slice(), b"\""].concat(),
            _ => misspelt(word),
        };
        found.push((kind, replaced(token, token, &wrong), index));
    }
    found.push((Kind::Dropped, replaced(token, token, b""), index));
    if let Some(next) = tokens.get(index + 1) {
        let between = &text[token.end as usize..next.start as usize];
        let swapped = [next.text(text), between, word].concat();
        found.push((Kind::Swapped, replaced(token, *next, &swapped), index + 1));
    }
    found
}

/// The partner of a closing bracket.
fn opener(tokens: &[Token], index: usize) -> Option<usize> {
    if !tokens[index].kind.is_closer() {
        return None;
    }
    let mut depth = 0;
    (0..=index).rev().find(|at| {
        let kind = tokens[*at].kind;
        depth += i32::from(kind.is_closer()) - i32::from(kind.is_opener());
        depth == 0
    })
}

#[test]
fn mistakes_in_the_examples_are_reported_at_their_line() {
    let mut counts: HashMap<Kind, [usize; 3]> = HashMap::new();
    let mut all: Vec<(Kind, String)> = Vec::new();
    for script in scripts() {
        let mut sources = SourceMap::new();
        let id = sources.add("s", script.text.as_slice()).unwrap();
        let tokens = lex(&script.text, FileId(0)).tokens;
        let line = |at: usize| sources.position(tokens[at].span(id)).line;
        for index in 0..tokens.len() {
            for (kind, changed, last) in mistakes(&script.text, &tokens, index) {
                let count = counts.entry(kind).or_default();
                let Some((lines, shown)) = said(&script, &changed) else {
                    // Still a program.
                    count[2] += 1;
                    continue;
                };
                // What is missing at the start of a line may be reported at the end of the line before.
                let first = index.checked_sub(1).map_or(1, line).min(line(index));
                let partner = opener(&tokens, index).map(line);
                let right = lines
                    .iter()
                    .any(|at| (first..=line(last)).contains(at) || Some(*at) == partner);
                count[1] += 1;
                count[0] += usize::from(right);
                if !right {
                    println!(
                        "{kind:?} in {}, line {}:\n{shown}",
                        script.name,
                        line(index)
                    );
                }
                all.push((kind, format!("{kind:?}, line {}: {shown}", line(index))));
            }
        }
    }
    for (kind, [right, reported, silent]) in &counts {
        println!("{kind:?}: {right} of {reported} at the right line, {silent} are still programs");
        assert!(
            right * 100 >= reported * 95,
            "{kind:?}: {right} of {reported}"
        );
    }
    assert_eq!(
        counts[&Kind::Function][2],
        0,
        "unknown functions are errors"
    );
    // A variable that is assigned again elsewhere, or only assigned, may have any name.
    let [_, reported, silent] = counts[&Kind::Variable];
    assert!(
        reported * 100 >= (reported + silent) * 90,
        "unknown variables are seen"
    );

    // Two hundred of them, evenly over the kinds and the scripts.
    let mut report = String::new();
    let kinds = [
        (Kind::Function, 35),
        (Kind::Method, 15),
        (Kind::Option, 15),
        (Kind::Variable, 35),
        (Kind::Keyword, 20),
        (Kind::Dropped, 52),
        (Kind::Swapped, 52),
    ];
    let mut count = 0;
    for (kind, wanted) in kinds {
        let of_kind: Vec<&String> = all
            .iter()
            .filter(|(other, _)| *other == kind)
            .map(|(_, text)| text)
            .collect();
        let step = (of_kind.len() as f64 / f64::from(wanted)).max(1.0);
        let mut at = 0.0;
        while (at as usize) < of_kind.len() {
            writeln!(report, "{}", of_kind[at as usize]).unwrap();
            count += 1;
            at += step;
        }
    }
    println!("{count} mistakes in the snapshot");
    assert!(count >= 200, "{count} mistakes");
    insta::assert_snapshot!(report);
}
