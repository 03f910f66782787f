//! The reference manual: it is whole, its examples give what they say, and its pages are those of the repository.
//!
//! A one-line example is `EXPR // DUMP`: the expression's value in dump form is DUMP. A script is followed by what it echoes.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it reads files of the repository and says how many examples there are"
)]

mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use angarium_stdlib::extras;
use angarium_stdlib::manual::{self, Article, Entry, Family, Needs};
use world::World;

fn families() -> Vec<Family> {
    manual::read().unwrap_or_else(|error| panic!("{error}"))
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_one_line_example_gives_what_it_says() {
    let world = World::new();
    let (mut run, mut wrong) = (0, Vec::new());
    for article in manual::declared() {
        for example in article.function.example.lines() {
            run += 1;
            let Some((expression, expected)) = example.rsplit_once(" // ") else {
                wrong.push(format!("no expectation: {example}"));
                continue;
            };
            match world.run("core", &format!("return {expression};")) {
                Ok((found, _)) if found == expected => {}
                Ok((found, _)) => {
                    wrong.push(format!("{expression}\n   says {expected}\n  gives {found}"))
                }
                Err(why) => wrong.push(format!("{expression}\n   says {expected}\n  fails {why}")),
            }
        }
    }
    println!("{run} examples of one line");
    assert!(run > 150, "only {run} examples were found");
    none(&wrong);
}

#[test]
fn every_script_echoes_what_it_says() {
    let world = World::new();
    let (mut run, mut compiled, mut wrong) = (0, 0, Vec::new());
    for family in families() {
        for entry in &family.entries {
            for example in &entry.examples {
                let place = format!("{}.md, {}:\n{}", family.name, entry.name, example.script);
                let context = if example.needs == Needs::Eod {
                    "eod"
                } else {
                    "core"
                };
                let Some(expected) = example.output else {
                    compiled += 1;
                    if let Err(why) = world.compile("core", &with_arguments(example.script)) {
                        wrong.push(format!("{place} is refused: {why}"));
                    }
                    continue;
                };
                run += 1;
                match world.run(context, example.script) {
                    Ok((_, found)) if found.replace("\r\n", "\n") == expected => {}
                    Ok((_, found)) => {
                        wrong.push(format!("{place} says {expected:?}\ngives {found:?}\n"))
                    }
                    Err(why) => wrong.push(format!("{place} fails: {why}")),
                }
            }
        }
    }
    println!("{run} scripts were run, {compiled} that need a server compiled");
    assert!(run > 250 && compiled < run / 5, "{run} {compiled}");
    none(&wrong);
}

/// A script of a hook has its arguments.
fn with_arguments(script: &str) -> String {
    if script.contains("$arguments") {
        return format!("$arguments = [];\n{script}");
    }
    script.to_owned()
}

#[test]
fn everything_is_described_once_and_nothing_else() {
    let families = families();
    let entries: Vec<&Entry> = families.iter().flat_map(|family| &family.entries).collect();
    let mut described = BTreeSet::new();
    let mut problems: Vec<String> = entries
        .iter()
        .filter(|entry| !described.insert(entry.name))
        .map(|entry| format!("{} is described twice", entry.name))
        .collect();
    let mut known: BTreeSet<String> = manual::declared().map(|article| article.name()).collect();
    known.extend(
        extras::MODULES
            .iter()
            .map(|(name, _)| format!("extras://{name}")),
    );
    for name in &known {
        if !described.contains(name.as_str()) {
            problems.push(format!("{name} stands in no family"));
        }
    }
    for name in described {
        if !known.contains(name) {
            problems.push(format!("{name} is no built-in"));
        }
    }
    none(&problems);
}

#[test]
fn every_entry_is_whole() {
    let mut problems = Vec::new();
    for article in manual::declared() {
        let name = article.name();
        let Some(entry) = article.entry else {
            continue;
        };
        if entry.examples.is_empty() && article.function.example.is_empty() {
            problems.push(format!("{name} has no example"));
        }
        for (param, options) in article.options() {
            let bad = options.iter().filter(|option| option.doc.is_empty());
            problems.extend(bad.map(|option| {
                format!(
                    "{name}: the option {} of {param} is not described",
                    option.name
                )
            }));
        }
        // Of another name all is said under the name that it stands for.
        if article.is_alias() && entry.params.is_empty() {
            continue;
        }
        let (wanted, found) = (
            described_params(&article),
            entry.params.iter().map(|(name, _)| *name),
        );
        let found: Vec<&str> = found.collect();
        if wanted != found {
            problems.push(format!(
                "{name} has the parameters {wanted:?}, described are {found:?}"
            ));
        }
        if article.gives() && entry.returns.is_empty() {
            problems.push(format!("{name}: what it returns is not described"));
        }
    }
    none(&problems);
}

/// The parameters of a built-in, without the one that has its options.
fn described_params(article: &Article) -> Vec<&'static str> {
    let has_options = article
        .options()
        .iter()
        .any(|(param, _)| *param == "options");
    let params = article.params().iter().map(|param| param.name);
    params
        .filter(|name| !(has_options && *name == "options"))
        .collect()
}

#[test]
fn what_modules_export_is_named() {
    for (module, source) in extras::MODULES {
        let entry =
            manual::entry(&format!("extras://{module}")).unwrap_or_else(|| panic!("{module}"));
        // What the examples in the module's own comments import is what it is for.
        let lines = source
            .lines()
            .filter_map(|line| line.strip_prefix("//   import { "));
        let names: Vec<&str> = lines.filter_map(|line| line.split(" }").next()).collect();
        assert!(!names.is_empty(), "{module}");
        for name in names.iter().flat_map(|names| names.split(", ")) {
            assert!(entry.text.contains(name), "{module}: {name}");
        }
    }
}

/// Names that are read from arrays which are no options, or whose options another family declares, with the file.
const NO_OPTIONS: &[(&str, &[&str])] = &[
    // Members of a schema for a column of CSV.
    ("csv.rs", &["nullable", "type"]),
    ("data.rs", &["array"]),
    // Tags of a signature.
    ("dkim/legacy.rs", &["d"]),
    ("dns_lists.rs", &["dnsbl"]),
    // Members of an address.
    ("mailtext.rs", &["address"]),
    ("smtp.rs", &["domain", "localpart", "params"]),
    ("mime.rs", &["transaction"]),
    // `policy.rate` and so on.
    (
        "queue.rs",
        &["concurrency", "connectinterval", "rate", "stop"],
    ),
    // Of http and TLSSocket.
    (
        "tls/pair.rs",
        &["tls_client_cert", "x509", "privatekey", "chain"],
    ),
];

/// The families that have the options of others besides: where they are declared.
const SHARED: &[(&str, &str)] = &[
    ("smtp", "mailer"),
    ("message", "mailer"),
    ("mime", "mailer"),
];

#[test]
fn every_option_that_is_read_is_described() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: Vec<(String, String)> = sources(&folder)
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source");
            let name = path.strip_prefix(&folder).expect("a source");
            (name.to_string_lossy().into_owned(), code(&text))
        })
        .collect();
    // A family is a file and the folder of the same name.
    let family = |file: &str| file.split(['/', '.']).next().unwrap_or_default().to_owned();
    let described = |wanted: &str, option: &str| {
        let shared = SHARED.iter().filter(|(family, _)| *family == wanted);
        let places: Vec<&str> = shared.map(|(_, other)| *other).chain([wanted]).collect();
        let files = files
            .iter()
            .filter(|(file, _)| places.contains(&family(file).as_str()));
        // Older names of options stand in the text of the newer ones.
        files.into_iter().any(|(_, text)| {
            text.contains(&format!("opt(\"{option}\"")) || text.contains(&format!("`{option}`"))
        })
    };
    let (mut read, mut missing) = (0, Vec::new());
    for (file, text) in &files {
        for option in options_read(text) {
            read += 1;
            let mut others = NO_OPTIONS.iter().filter(|(name, _)| name == file);
            let is_none = others.any(|(_, names)| names.contains(&option.as_str()));
            if !is_none && !described(&family(file), &option) {
                missing.push(format!(
                    "{file} reads {option:?}, which no option is described as"
                ));
            }
        }
    }
    assert!(read > 90, "only {read} options were found");
    none(&missing);
}

/// A source without tests, comments and line ends.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = source
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"));
    let text: String = lines.collect::<Vec<_>>().join(" ");
    text.replace("( \"", "(\"")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// What options are read with.
const READERS: [&str; 9] = [
    "get", "get_str", "boolean", "number", "string", "switch", "names", "canon", "text",
];

/// The names in `.boolean("NAME", …)` and its like.
fn options_read(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = source;
    while let Some(at) = rest.find("\"") {
        let (before, after) = rest.split_at(at);
        let Some(end) = after[1..].find('"') else {
            break;
        };
        let word = &after[1..=end];
        let call = before
            .trim_end_matches("options, ")
            .trim_end_matches('&')
            .strip_suffix('(');
        let reader = call.map(|call| {
            call.rsplit(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default()
        });
        let is_name = !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if is_name && reader.is_some_and(|reader| READERS.contains(&reader) || reader == "seconds")
        {
            found.insert(word.to_owned());
            // `switch("name", "older name", …)`.
            let second = after[end + 2..]
                .strip_prefix(", \"")
                .and_then(|second| second.split('"').next());
            if reader == Some("switch") {
                found.extend(second.map(str::to_owned));
            }
        }
        rest = &after[end + 2..];
    }
    found
}

#[test]
fn the_pages_are_those_of_the_repository() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    for (name, text) in manual::pages().unwrap_or_else(|error| panic!("{error}")) {
        let there = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(
            there == text,
            "{name} is out of date: run `cargo run -p angarium-stdlib --example manual`"
        );
    }
}

#[test]
fn every_link_leads_somewhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    let pages = manual::pages().unwrap_or_else(|error| panic!("{error}"));
    let mut problems = Vec::new();
    for (name, text) in &pages {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
            let page = if page.is_empty() { name.as_str() } else { page };
            if !folder.join(page).exists() {
                problems.push(format!("{name}: there is no {page}"));
            }
            let target = pages.iter().find(|(name, _)| name == page);
            let headings = target.into_iter().flat_map(|(_, text)| text.lines());
            let headings = headings.filter_map(|line| line.strip_prefix("## "));
            let is_there = |heading: &str| {
                let kept = heading.replace(">", "").replace([':', '/'], "");
                kept.to_lowercase() == anchor
            };
            if !anchor.is_empty() && !headings.into_iter().any(is_there) {
                problems.push(format!("{name}: {page} has no #{anchor}"));
            }
        }
    }
    none(&problems);
}

#[test]
fn a_page_says_what_the_terminal_says() {
    let pages = manual::pages().unwrap_or_else(|error| panic!("{error}"));
    let all: String = pages
        .into_iter()
        .map(|(_, text)| text.replace('`', ""))
        .collect();
    for article in manual::declared() {
        for line in article.text().replace('`', "").lines() {
            let line = line
                .trim()
                .trim_start_matches("- ")
                .trim_start_matches("Example: ");
            let is_heading = line.ends_with(':') || line.is_empty();
            assert!(
                is_heading || all.contains(line),
                "{}: {line}",
                article.name()
            );
        }
    }
}
