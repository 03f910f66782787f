//! The protocol of editors (language.md 18.2): one YAML document on standard input, the script and what stands around
//! it; nothing on success, the first error in YAML on standard error otherwise.
//!
//! Status 0: no error. 1: an error. 2: the document could not be checked.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use angarium_config::emit;
use angarium_config::yaml::{Entry, Node, Value, parse};
use angarium_lang::{Diagnostic, Source, SourceMap};
use base64::Engine as _;

use super::check;
use crate::bundle_loader::{ScriptFiles, SystemRoot};
use crate::cli::failure::Failure;
use crate::cli::terminal;
use crate::scripts::Root;

/// Reads the document, checks the script and says what is wrong with it.
///
/// # Errors
/// Status 1 for a script with an error, 2 for a document that could not be checked. Everything has been said by then.
pub(super) fn answer() -> Result<(), Failure> {
    let mut text = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut text)
        .map_err(|error| Failure::Usage(format!("cannot read standard input: {error}")))?;
    let document = parse(&text).map_err(|faults| {
        let what: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
        Failure::Usage(format!(
            "standard input is no YAML document: {}",
            what.join("; ")
        ))
    })?;
    let request = Request::read(&document).map_err(Failure::Usage)?;
    let mut roots: Vec<Arc<dyn Root>> = vec![Arc::new(request.files)];
    if let Some(rootpath) = &request.rootpath {
        roots.push(Arc::new(ServerFiles(SystemRoot::new(Path::new(rootpath)))));
    }
    let source = Source {
        name: "",
        path: "",
        text: request.script.as_bytes(),
    };
    let findings = check(source, &request.phase, 6, &ScriptFiles::new(None, roots))?;
    match findings.error() {
        None => Ok(()),
        Some(error) => {
            terminal::error(&emit::emit(&report(error, &findings.sources)));
            Err(Failure::Status(1))
        }
    }
}

/// What an editor sends. `version` and `plugins` change nothing: one language is checked for all versions, and the
/// functions of a plugin that is not there are unknown.
struct Request {
    /// The hook; empty for a plain file.
    phase: String,
    script: String,
    files: SentFiles,
    /// The folder of the server's own files.
    rootpath: Option<String>,
}

impl Request {
    fn read(document: &Node) -> Result<Request, String> {
        let field = |node: &Node, name: &str| match node.get(name) {
            None => Ok(None),
            Some(node) => scalar(node)
                .map(Some)
                .ok_or_else(|| format!("`{name}` is no text")),
        };
        if !matches!(document.value, Value::Map(_)) {
            return Err("the document is no map".to_owned());
        }
        let Some(script) = field(document, "data")? else {
            return Err("the document has no script under `data`".to_owned());
        };
        field(document, "version")?;
        let mut files = HashMap::new();
        let listed = document.get("files");
        if listed.is_some_and(|node| !matches!(node.value, Value::List(_) | Value::Null)) {
            return Err("`files` is no list".to_owned());
        }
        for file in listed.into_iter().flat_map(Node::items) {
            let (Some(id), Some(data)) = (field(file, "id")?, field(file, "data")?) else {
                return Err("every entry of `files` needs `id` and `data`".to_owned());
            };
            let data = match file.get("binary").map(|flag| &flag.value) {
                Some(Value::Bool(true)) => unpack(&data)
                    .map_err(|error| format!("the file {id} is not base64: {error}"))?,
                None | Some(Value::Bool(false) | Value::Null) => data.into_bytes(),
                Some(_) => return Err(format!("`binary` of the file {id} is no boolean")),
            };
            files.insert(id, data.into());
        }
        let rootpath = document.at(&["scripting", "rootpath"]);
        Ok(Request {
            phase: field(document, "phase")?.unwrap_or_default(),
            script,
            files: SentFiles(files),
            rootpath: rootpath.and_then(Node::text).map(str::to_owned),
        })
    }
}

/// A scalar as text: editors do not always put quotes around the name `1` or an empty script.
fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Null => Some(String::new()),
        Value::Text(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::List(_) | Value::Map(_) => None,
    }
}

/// Base64 that may be folded into lines.
fn unpack(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let packed: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    base64::engine::general_purpose::STANDARD.decode(packed)
}

/// The files that came with the document.
struct SentFiles(HashMap<String, Arc<[u8]>>);

impl Root for SentFiles {
    fn read(&self, path: &str) -> Option<Arc<[u8]>> {
        self.0.get(path).cloned()
    }
}

/// The server's own files. Editors know them by their path below the root, not by where they lie on the machine.
struct ServerFiles(SystemRoot);

impl Root for ServerFiles {
    fn read(&self, path: &str) -> Option<Arc<[u8]>> {
        self.0.read(path)
    }
}

/// An error as editors read it: `file` is absent for the script itself, `path` for what no other file includes.
fn report(error: &Diagnostic, sources: &SourceMap) -> Node {
    let record = error.record(sources);
    let place = |file: &str, line: u32, column: u32| {
        let mut entries = vec![entry("line", number(line)), entry("column", number(column))];
        if !file.is_empty() {
            entries.push(entry("file", file.into()));
        }
        entries
    };
    let mut entries = place(&record.place.file, record.place.line, record.place.column);
    entries.insert(2, entry("message", record.message.as_str().into()));
    if !record.included_from.is_empty() {
        let chain = record.included_from.iter();
        let chain = chain.map(|at| Value::Map(place(&at.file, at.line, at.column)).into());
        entries.push(entry("path", Value::List(chain.collect()).into()));
    }
    Value::Map(entries).into()
}

fn entry(key: &str, node: Node) -> Entry {
    Entry {
        key: key.to_owned(),
        position: None,
        node,
    }
}

fn number(number: u32) -> Node {
    Value::Number(number.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match Request::read(&parse(text.as_bytes()).unwrap()) {
            Ok(_) => String::new(),
            Err(what) => what,
        }
    }

    #[test]
    fn what_is_not_as_agreed_is_named() {
        for (text, what) in [
            ("[]", "no map"),
            ("", "no script under `data`"),
            ("data: []", "`data` is no text"),
            ("data: x\nfiles: x", "`files` is no list"),
            ("data: x\nfiles: [{id: a}]", "needs `id` and `data`"),
            (
                "data: x\nfiles: [{id: a, data: '!', binary: true}]",
                "a is not base64",
            ),
            (
                "data: x\nfiles: [{id: a, data: x, binary: 7}]",
                "`binary` of the file a",
            ),
            ("data: x\nphase: {}", "`phase` is no text"),
            ("data: x\nversion: []", "`version` is no text"),
        ] {
            assert!(refused(text).contains(what), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn files_are_text_or_base64_in_lines() {
        let text = "data:\nfiles:\n  - {id: 1, data: a}\n  - {id: b, data: \"Yg\\n==\", binary: true}\n  - {id: c, data: ''}\nplugins: []\n";
        let request = Request::read(&parse(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(request.script, "");
        for (id, data) in [("1", "a"), ("b", "b"), ("c", "")] {
            assert_eq!(
                request.files.read(id).as_deref(),
                Some(data.as_bytes()),
                "{id}"
            );
        }
    }
}
