//! The reference manual: what is said of built-ins beside their declarations.
//!
//! The declaration of a built-in has its signature, a description, its options and one-line examples. Longer texts stand in
//! `stdlib/docs`, a Markdown file for each family: what the parameters are, what is returned, which errors there are, and
//! examples of several lines with what they echo. [`Article`] puts both together; `angarium doc`, `:help` and the pages in
//! `docs/reference` are made of it.
//!
//! The form of a file:
//!
//! ````text
//! # Title of the family
//!
//! Text about all of it.
//!
//! ## NAME, CLASS->METHOD or CLASS::METHOD
//!
//! More text, if need be.
//!
//! - PARAMETER: what it is
//! - returns: what comes back
//! - error: what raises an Exception
//!
//! ```hsl
//! a script
//! ```
//! ```text
//! what it echoes
//! ```
//! ````
//!
//! `hsl eod` is a script of the hook eod, and `hsl server` one that needs a server: it is compiled and not run.

mod article;
mod page;

use std::sync::LazyLock;

pub use article::{Article, declared, module_text};
pub use page::pages;

/// The families in the order of the manual: name of the file and its text.
const FILES: &[(&str, &str)] = &[
    ("strings", include_str!("../docs/strings.md")),
    ("arrays", include_str!("../docs/arrays.md")),
    ("numbers", include_str!("../docs/numbers.md")),
    ("types", include_str!("../docs/types.md")),
    ("tables", include_str!("../docs/tables.md")),
    ("exceptions", include_str!("../docs/exceptions.md")),
    ("patterns", include_str!("../docs/patterns.md")),
    ("encodings", include_str!("../docs/encodings.md")),
    ("data", include_str!("../docs/data.md")),
    ("hashes", include_str!("../docs/hashes.md")),
    ("certificates", include_str!("../docs/certificates.md")),
    ("time", include_str!("../docs/time.md")),
    ("messages", include_str!("../docs/messages.md")),
    ("mime", include_str!("../docs/mime.md")),
    ("addresses", include_str!("../docs/addresses.md")),
    ("authentication", include_str!("../docs/authentication.md")),
    ("dns", include_str!("../docs/dns.md")),
    ("network", include_str!("../docs/network.md")),
    ("http", include_str!("../docs/http.md")),
    ("sockets", include_str!("../docs/sockets.md")),
    ("smtp", include_str!("../docs/smtp.md")),
    ("files", include_str!("../docs/files.md")),
    ("memory", include_str!("../docs/memory.md")),
    ("queue", include_str!("../docs/queue.md")),
    ("metrics", include_str!("../docs/metrics.md")),
    ("system", include_str!("../docs/system.md")),
    ("extras", include_str!("../docs/extras.md")),
    ("legacy", include_str!("../docs/legacy.md")),
];

/// One page of the manual.
#[derive(Debug)]
pub struct Family {
    /// Name of the page.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What is said of all of the family, in Markdown.
    pub text: &'static str,
    /// Its built-ins, in the order of the page.
    pub entries: Vec<Entry>,
}

/// What a file says of one built-in.
#[derive(Debug, Default)]
pub struct Entry {
    /// `NAME`, `CLASS->METHOD`, `CLASS::METHOD` or `extras://MODULE`.
    pub name: &'static str,
    /// More text.
    pub text: &'static str,
    /// Parameters with what they are, in the order of the file.
    pub params: Vec<(&'static str, &'static str)>,
    /// What comes back.
    pub returns: &'static str,
    /// What raises an Exception.
    pub errors: Vec<&'static str>,
    /// Scripts.
    pub examples: Vec<Example>,
}

/// A script that shows how a built-in is used.
#[derive(Debug)]
pub struct Example {
    /// The script.
    pub script: &'static str,
    /// What it takes to run it.
    pub needs: Needs,
    /// What it echoes, a line for each `echo`; nothing is expected of a script that is not run.
    pub output: Option<&'static str>,
}

/// What it takes to run an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but the library.
    Nothing,
    /// A message in the hook eod.
    Eod,
    /// A server that answers.
    Server,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}.md:{line}: {message}")]
pub struct ManualError {
    file: &'static str,
    line: usize,
    message: &'static str,
}

/// All families.
///
/// # Errors
/// The first place that does not have the form of these files.
pub fn read() -> Result<Vec<Family>, ManualError> {
    FILES
        .iter()
        .map(|(name, text)| family(name, text))
        .collect()
}

/// What the files say of a built-in: `NAME`, `CLASS->METHOD`, `CLASS::METHOD` or `extras://MODULE`.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| read().unwrap_or_default());
    FAMILIES
        .iter()
        .flat_map(|family| &family.entries)
        .find(|entry| entry.name == name)
}

/// A text and where in it the reader is.
struct Reader {
    file: &'static str,
    text: &'static str,
    at: usize,
    line: usize,
}

impl Reader {
    /// The next line, which stays.
    fn peek(&self) -> Option<&'static str> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        rest.split('\n').next()
    }

    fn next(&mut self) -> Option<&'static str> {
        let line = self.peek()?;
        self.at += line.len() + 1;
        self.line += 1;
        Some(line)
    }

    fn error(&self, message: &'static str) -> ManualError {
        ManualError {
            file: self.file,
            line: self.line,
            message,
        }
    }

    /// The text up to a line that `ends` it, without white space around it.
    fn until(&mut self, ends: impl Fn(&str) -> bool) -> &'static str {
        let start = self.at;
        while self.peek().is_some_and(|line| !ends(line)) {
            self.next();
        }
        let text = self.text.get(start..self.at.min(self.text.len()));
        text.unwrap_or_default().trim()
    }

    /// The lines of a fenced block whose first line was read, each with its end.
    fn block(&mut self) -> Result<&'static str, ManualError> {
        let start = self.at;
        loop {
            let end = self.at;
            match self.next() {
                Some("```") => return Ok(self.text.get(start..end).unwrap_or_default()),
                Some(_) => {}
                None => return Err(self.error("a block does not end")),
            }
        }
    }
}

fn family(name: &'static str, text: &'static str) -> Result<Family, ManualError> {
    let mut reader = Reader {
        file: name,
        text,
        at: 0,
        line: 0,
    };
    let title = reader.next().and_then(|line| line.strip_prefix("# "));
    let title = title.ok_or_else(|| reader.error("a title is missing"))?;
    let text = reader.until(|line| line.starts_with("## "));
    let mut entries = Vec::new();
    while let Some(line) = reader.next() {
        let Some(name) = line.strip_prefix("## ") else {
            return Err(reader.error("a name is expected"));
        };
        entries.push(read_entry(name, &mut reader)?);
    }
    Ok(Family {
        name,
        title,
        text,
        entries,
    })
}

fn read_entry(name: &'static str, reader: &mut Reader) -> Result<Entry, ManualError> {
    let mut entry = Entry {
        name,
        text: reader.until(|line| {
            ["- ", "```", "## "]
                .iter()
                .any(|head| line.starts_with(head))
        }),
        ..Entry::default()
    };
    while let Some(line) = reader.peek() {
        if line.starts_with("## ") {
            break;
        }
        reader.next();
        if let Some(item) = line.strip_prefix("- ") {
            let Some((key, text)) = item.split_once(": ") else {
                return Err(reader.error("`- NAME: TEXT` is expected"));
            };
            match key {
                "returns" if entry.returns.is_empty() => entry.returns = text,
                "returns" => return Err(reader.error("`returns` is there twice")),
                "error" => entry.errors.push(text),
                param => entry.params.push((param, text)),
            }
        } else if let Some(needs) = line.strip_prefix("```hsl") {
            entry.examples.push(example(needs, reader)?);
        } else if !line.is_empty() {
            return Err(reader.error("text behind the list of parameters"));
        }
    }
    Ok(entry)
}

fn example(needs: &str, reader: &mut Reader) -> Result<Example, ManualError> {
    let needs = match needs {
        "" => Needs::Nothing,
        " eod" => Needs::Eod,
        " server" => Needs::Server,
        _ => return Err(reader.error("an example needs `eod` or `server`, or nothing")),
    };
    let script = reader.block()?;
    let output = match reader.peek() {
        Some("```text") => {
            reader.next();
            Some(reader.block()?)
        }
        _ => None,
    };
    if output.is_none() != (needs == Needs::Server) {
        return Err(reader.error("an example that is run echoes something, another one does not"));
    }
    Ok(Example {
        script,
        needs,
        output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &'static str) -> Result<Family, ManualError> {
        family("test", text)
    }

    #[test]
    fn the_files_can_be_read() {
        assert!(read().is_ok_and(|families| families.len() == FILES.len()));
    }

    #[test]
    fn an_entry_is_taken_apart() {
        let text = "# Title\n\nAll.\n\n## f\n\nMore.\n\n- a: first\n- returns: it\n- error: bad\n\n```hsl\necho 1;\n```\n```text\n1\n```\n\n\
                    ## C->m\n```hsl server\nf();\n```\n";
        let family = said(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((family.title, family.text), ("Title", "All."));
        let [first, second] = &family.entries[..] else {
            panic!("{family:?}")
        };
        assert_eq!((first.name, first.text), ("f", "More."));
        assert_eq!(first.params, [("a", "first")]);
        assert_eq!((first.returns, &first.errors[..]), ("it", &["bad"][..]));
        assert_eq!(first.examples[0].script, "echo 1;\n");
        assert_eq!(first.examples[0].output, Some("1\n"));
        assert_eq!(second.examples[0].needs, Needs::Server);
    }

    #[test]
    fn what_has_another_form_is_named_with_its_line() {
        for (text, line) in [
            ("no title\n", 1),
            ("# T\n\n## f\n\n- nothing\n", 5),
            ("# T\n\n## f\n\n- a: b\n\nmore\n", 7),
            ("# T\n\n## f\n\n- returns: b\n- returns: c\n", 6),
            ("# T\n\n## f\n\n```hsl\necho 1;\n", 6),
            ("# T\n\n## f\n\n```hsl\necho 1;\n```\n", 7),
            ("# T\n\n## f\n\n```hsl moon\necho 1;\n```\n", 5),
        ] {
            assert_eq!(
                said(text).map_err(|error| error.line).err(),
                Some(line),
                "{text}"
            );
        }
    }
}
