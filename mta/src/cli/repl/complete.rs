//! What Tab offers: functions, classes, keywords, variables, members, keys of arrays, options of functions, and the
//! commands of the REPL.

use std::collections::BTreeMap;

use angarium_runtime::library::Library;
use angarium_runtime::native::{FnDecl, OptDecl};
use angarium_runtime::value::Value;
use angarium_runtime::{Session, array::Key};

use crate::cli::keywords::KEYWORDS;
use crate::cli::{doc, files, table};

/// Keys of an array that are offered at most.
const MAX_KEYS: usize = 1000;

/// The names that completion offers: those of the table, and what the session has defined.
#[derive(Default)]
pub(super) struct Names {
    /// Keywords, functions and classes.
    words: Vec<String>,
    /// Methods of all classes of the library, for objects that are not known.
    methods: Vec<String>,
    /// Static methods by class.
    statics: BTreeMap<String, Vec<String>>,
    /// Options by function, method (`->name`) and static method (`Class::name`).
    options: BTreeMap<String, &'static [OptDecl]>,
    /// What `:help` knows.
    topics: Vec<String>,
    commands: Vec<&'static str>,
    /// Functions and classes of the session.
    functions: Vec<String>,
    session_statics: BTreeMap<String, Vec<String>>,
    variables: BTreeMap<String, Variable>,
}

/// A variable of the session.
#[derive(Default)]
struct Variable {
    /// The keys of an array.
    keys: Vec<String>,
    /// What `->` finds on an object.
    members: Vec<(String, bool)>,
}

impl Names {
    /// The names of the core library, and of the REPL's `commands`.
    pub(super) fn of(library: &Library, commands: Vec<&'static str>) -> Names {
        let mut names = Names {
            commands,
            topics: doc::names(library),
            ..Names::default()
        };
        names
            .words
            // `object` is reserved for a statement that is gone.
            .extend(
                KEYWORDS
                    .iter()
                    .map(|keyword| keyword.word.to_owned())
                    .filter(|word| word != "object"),
            );
        let core = library.contexts().filter(|context| context.name == "core");
        for context in core {
            for function in context.functions.iter().copied().flatten() {
                names.add_options(table::name(function).to_owned(), function);
                if !function.legacy {
                    names.words.push(format!("{}(", table::name(function)));
                }
            }
            for class in context.classes {
                let owner = table::name(&class.constructor);
                names.words.push(format!("{owner}("));
                names.add_options(owner.to_owned(), &class.constructor);
                for method in class.methods {
                    names.methods.push(table::name(method).to_owned());
                    names.add_options(format!("->{}", table::name(method)), method);
                }
                for method in class.statics {
                    let name = table::name(method);
                    names.add_options(format!("{owner}::{name}"), method);
                    let statics = names.statics.entry(owner.to_owned()).or_default();
                    statics.push(name.to_owned());
                }
            }
        }
        for list in [&mut names.words, &mut names.methods, &mut names.topics] {
            list.sort();
            list.dedup();
        }
        names
    }

    fn add_options(&mut self, name: String, function: &FnDecl) {
        if !function.options.is_empty() {
            self.options.insert(name, function.options);
        }
    }

    /// Takes over what the session has defined.
    pub(super) fn update(&mut self, session: &Session) {
        self.functions = session.functions();
        self.session_statics = self
            .functions
            .iter()
            .map(|name| (name.clone(), session.statics(name)))
            .filter(|(_, statics)| !statics.is_empty())
            .collect();
        let variables = session.variables().into_iter();
        self.variables = variables
            .map(|(name, value)| {
                let variable = Variable {
                    keys: keys(&value),
                    members: session.members(&value),
                };
                (name, variable)
            })
            .collect();
    }

    /// The length in bytes of the word at the end of `text`, and what it may become.
    pub(super) fn matching(&self, text: &str) -> (usize, Vec<String>) {
        if let Some(command) = text.strip_prefix(':') {
            return self.command(command);
        }
        let open = Open::of(text);
        match open.inside {
            Inside::Nothing => {}
            Inside::Opaque => return (0, Vec::new()),
            Inside::String(start) => {
                let part = text.get(start..).unwrap_or_default();
                let keys = self.keys_at(&open).into_iter();
                return (
                    part.len(),
                    keys.filter(|key| key.starts_with(part))
                        .map(|key| key + "\"")
                        .collect(),
                );
            }
        }
        let word = trailing(text, |c| c.is_ascii_alphanumeric() || c == '_');
        let before = text.strip_suffix(word).unwrap_or_default();
        let (sigil, owner) = if let Some(rest) = before.strip_suffix("->") {
            ("->", rest)
        } else if let Some(rest) = before.strip_suffix("::") {
            ("::", rest)
        } else if let Some(rest) = before.strip_suffix("::$") {
            ("::$", rest)
        } else if let Some(rest) = before.strip_suffix('$') {
            ("$", rest)
        } else {
            ("", before)
        };
        let owner_word = trailing(owner, |c| c.is_ascii_alphanumeric() || c == '_');
        let is_variable = owner
            .strip_suffix(owner_word)
            .is_some_and(|rest| rest.ends_with('$'));
        let all: Vec<String> = match sigil {
            "->" => match self.variables.get(owner_word).filter(|_| is_variable) {
                Some(variable) => variable.members.iter().map(call).collect(),
                None => self
                    .methods
                    .iter()
                    .map(|name| call(&(name.clone(), true)))
                    .collect(),
            },
            "::" | "::$" => {
                let own = self.statics.get(owner_word).into_iter().flatten();
                let defined = self.session_statics.get(owner_word).into_iter().flatten();
                let statics = own
                    .chain(defined)
                    .map(|name| call(&(name.clone(), !name.starts_with('$'))));
                match sigil {
                    "::" => statics.collect(),
                    _ => statics
                        .filter_map(|name| name.strip_prefix('$').map(str::to_owned))
                        .collect(),
                }
            }
            "$" => self.variables.keys().cloned().collect(),
            _ if word.is_empty() => {
                let options = self.keys_at(&open).into_iter();
                return (
                    0,
                    options
                        .filter(|_| text.ends_with(['[', ',', ' ']))
                        .map(|key| format!("\"{key}\""))
                        .collect(),
                );
            }
            _ => {
                let functions = self.functions.iter().map(|name| format!("{name}("));
                self.words.iter().cloned().chain(functions).collect()
            }
        };
        let mut found: Vec<String> = all
            .into_iter()
            .filter(|name| name.starts_with(word))
            .collect();
        found.sort();
        found.dedup();
        (word.len(), found)
    }

    /// What may stand as a key where `open` ends: keys of the array that is indexed, or options of the function
    /// whose argument is an array.
    fn keys_at(&self, open: &Open<'_>) -> Vec<String> {
        let Some(bracket) = open.brackets.last().filter(|open| open.kind == b'[') else {
            return Vec::new();
        };
        if let Some(name) = bracket.before.strip_prefix('$') {
            let variable = self.variables.get(name);
            return variable.map_or_else(Vec::new, |variable| variable.keys.clone());
        }
        let outer = open.brackets.len().checked_sub(2);
        let call = outer
            .and_then(|outer| open.brackets.get(outer))
            .filter(|open| open.kind == b'(' && bracket.before.is_empty());
        let Some(call) = call else {
            return Vec::new();
        };
        let name = match call.before.rsplit_once("->") {
            Some((_, method)) => format!("->{method}"),
            None => call.before.to_owned(),
        };
        let options = self.options.get(&name).copied().unwrap_or_default();
        options
            .iter()
            .map(|option| option.name.to_owned())
            .collect()
    }

    /// A command of the REPL, or its argument.
    fn command(&self, text: &str) -> (usize, Vec<String>) {
        let fitting = |part: &str, all: &mut dyn Iterator<Item = String>| {
            (
                part.len(),
                all.filter(|name| name.starts_with(part)).collect(),
            )
        };
        match text.split_once(' ') {
            None => fitting(
                text,
                &mut self.commands.iter().map(|name| (*name).to_owned()),
            ),
            Some(("help", part)) => fitting(part, &mut self.topics.iter().cloned()),
            Some(("load", part)) => fitting(part, &mut files::beginning_with(part).into_iter()),
            Some(("time", part)) => self.matching(part),
            Some(_) => (0, Vec::new()),
        }
    }
}

fn keys(value: &Value) -> Vec<String> {
    let Some(array) = value.as_array() else {
        return Vec::new();
    };
    let names = array.iter().filter_map(|(key, _)| match key {
        Key::String(name) => std::str::from_utf8(name.as_bytes()).ok().map(str::to_owned),
        _ => None,
    });
    // A key that would have to be escaped is not worth the trouble.
    names
        .filter(|name| !name.contains(['"', '\\', '$']) && !name.contains(char::is_control))
        .take(MAX_KEYS)
        .collect()
}

/// A member as it is written: a function with the bracket of its call.
fn call((name, is_function): &(String, bool)) -> String {
    if *is_function {
        format!("{name}(")
    } else {
        name.clone()
    }
}

/// The end of `text` that consists of such characters.
fn trailing(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    let start = text
        .char_indices()
        .rev()
        .take_while(|(_, c)| belongs(*c))
        .last()
        .map_or(text.len(), |(at, _)| at);
    text.get(start..).unwrap_or_default()
}

/// Where a text ends.
#[derive(Debug, PartialEq)]
enum Inside {
    /// Among tokens.
    Nothing,
    /// In a string whose content begins there.
    String(usize),
    /// In a comment, a raw string or a regular expression: nothing is offered.
    Opaque,
}

/// A bracket that is open.
struct Bracket<'a> {
    kind: u8,
    /// The name right before it: `$x`, `f`, `$x->f`, `C::f`; empty for others.
    before: &'a str,
}

/// What is open at the end of a text.
struct Open<'a> {
    brackets: Vec<Bracket<'a>>,
    inside: Inside,
}

impl<'a> Open<'a> {
    fn of(text: &'a str) -> Open<'a> {
        let bytes = text.as_bytes();
        let mut brackets = Vec::new();
        let mut inside = Inside::Nothing;
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let rest = bytes.get(at..).unwrap_or_default();
            at = match byte {
                b'"' => match closing(bytes, at + 1, b'"') {
                    Some(end) => end + 1,
                    None => {
                        inside = Inside::String(at + 1);
                        break;
                    }
                },
                b'#' if rest.starts_with(b"#/") => match closing(bytes, at + 2, b'/') {
                    Some(end) => end + 1,
                    None => {
                        inside = Inside::Opaque;
                        break;
                    }
                },
                b'/' if rest.starts_with(b"//") => {
                    match rest.iter().position(|byte| *byte == b'\n') {
                        Some(line) => at + line,
                        None => {
                            inside = Inside::Opaque;
                            break;
                        }
                    }
                }
                b'/' if rest.starts_with(b"/*") => {
                    match text.get(at + 2..).and_then(|text| text.find("*/")) {
                        Some(end) => at + 2 + end + 2,
                        None => {
                            inside = Inside::Opaque;
                            break;
                        }
                    }
                }
                b'\'' => match raw_mark(rest) {
                    Some(mark) => match find(rest, mark, mark.len()) {
                        Some(end) => at + end + mark.len(),
                        None => {
                            inside = Inside::Opaque;
                            break;
                        }
                    },
                    None => at + 1,
                },
                b'(' | b'[' | b'{' => {
                    brackets.push(Bracket {
                        kind: *byte,
                        before: name_before(text.get(..at).unwrap_or_default()),
                    });
                    at + 1
                }
                b')' | b']' | b'}' => {
                    brackets.pop();
                    at + 1
                }
                _ => at + 1,
            };
        }
        Open { brackets, inside }
    }
}

/// The first `end` from `at` that no backslash stands before.
fn closing(bytes: &[u8], mut at: usize, end: u8) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            byte if *byte == end => return Some(at),
            _ => at += 1,
        }
    }
}

/// The quotes and the delimiter that `text` begins with, if it begins a raw string (language.md 1.6).
fn raw_mark(text: &[u8]) -> Option<&[u8]> {
    let delimiter = text.iter().skip(1);
    let length = delimiter.take_while(|byte| byte.is_ascii_graphic() && **byte != b'\'');
    let mark = text.get(..length.count() + 2)?;
    mark.ends_with(b"'").then_some(mark)
}

/// The first place of `mark` in `text` from `from` on.
fn find(text: &[u8], mark: &[u8], from: usize) -> Option<usize> {
    let found = text.get(from..)?.windows(mark.len());
    Some(from + found.into_iter().position(|window| window == mark)?)
}

/// The name at the end of `text`, with the object or class that it belongs to.
fn name_before(text: &str) -> &str {
    let word = |text| {
        trailing(text, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '$')
        })
    };
    let name = word(text);
    let owner = text.strip_suffix(name).unwrap_or_default();
    let sigil = ["->", "::"]
        .into_iter()
        .find(|sigil| owner.ends_with(sigil));
    let length = match sigil {
        Some(sigil) if !name.is_empty() => {
            let owner = owner.strip_suffix(sigil).unwrap_or_default();
            word(owner).len() + sigil.len() + name.len()
        }
        _ => name.len(),
    };
    text.get(text.len() - length..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::of(&crate::scripts::library(), vec!["help", "quit"]);
        let variable = |keys: &[&str], members: &[(&str, bool)]| Variable {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            members: members
                .iter()
                .map(|(name, function)| ((*name).to_owned(), *function))
                .collect(),
        };
        let variables = [
            ("message", variable(&["sender", "size"], &[])),
            ("user", variable(&[], &[("login", true), ("name", false)])),
        ];
        for (name, variable) in variables {
            names.variables.insert(name.to_owned(), variable);
        }
        names.functions.push("my_filter".to_owned());
        let statics = vec!["$count".to_owned(), "create".to_owned()];
        names.session_statics.insert("User".to_owned(), statics);
        names
    }

    #[test]
    fn completion_knows_where_it_stands() {
        let names = names();
        let cases: &[(&str, usize, &[&str])] = &[
            ("$x = str_repl", 8, &["str_replace("]),
            ("forev", 5, &["forever"]),
            ("echo $mes", 3, &["message"]),
            ("echo $", 0, &["message", "user"]),
            ("my_f", 4, &["my_filter("]),
            ("$f->readl", 5, &["readline("]),
            ("$user->", 0, &["login(", "name"]),
            ("$user->n", 1, &["name"]),
            ("File::Str", 3, &["String("]),
            ("User::", 0, &["$count", "create("]),
            ("User::$c", 1, &["count"]),
            ("$message[\"s", 1, &["sender\"", "size\""]),
            ("$message[\"se", 2, &["sender\""]),
            ("f($message[", 0, &["\"sender\"", "\"size\""]),
            ("{ $x = \"}\"; // (\n my_f", 4, &["my_filter("]),
            ("echo \"my_f", 4, &[]),
            ("// my_f", 0, &[]),
            ("''my_f", 0, &[]),
            ("'#'it's a('#' . my_f", 4, &["my_filter("]),
            ("'two words' my_f", 4, &["my_filter("]),
            ("é = ", 0, &[]),
            ("é", 0, &[]),
            ("", 0, &[]),
            (":qu", 2, &["quit"]),
            (":help str_repl", 8, &["str_replace"]),
            (":time my_f", 4, &["my_filter("]),
        ];
        for (text, length, found) in cases {
            let (at, offered) = names.matching(text);
            assert_eq!(
                (at, offered.as_slice()),
                (
                    *length,
                    &found
                        .iter()
                        .map(|name| (*name).to_owned())
                        .collect::<Vec<_>>()[..]
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn options_are_offered_where_an_array_is_the_argument() {
        let names = names();
        let offered = |text| names.matching(text).1;
        assert!(offered("dns_query(\"a\", [\"ty").contains(&"type\"".to_owned()));
        assert!(offered("dns_query(\"a\", [").contains(&"\"type\"".to_owned()));
        assert!(offered("dns_query(\"a\", [\"type\" => \"A\", ").contains(&"\"type\"".to_owned()));
        assert_eq!(offered("[\"ty"), Vec::<String>::new());
        assert_eq!(offered("f([[\"ty"), Vec::<String>::new());
    }

    #[test]
    fn names_before_brackets_keep_their_owner() {
        for (text, name) in [
            ("a - f", "f"),
            ("1 + $x->f", "$x->f"),
            ("C::f", "C::f"),
            ("g()->f", "->f"),
            ("if ", ""),
            ("->", ""),
        ] {
            assert_eq!(name_before(text), name, "{text}");
        }
    }
}
