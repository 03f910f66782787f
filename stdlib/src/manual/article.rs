//! All that is to be said of one built-in: its declaration and what the manual's files say of it.

use angarium_lang::builtins::{Param, Signature};
use angarium_runtime::native::{FnDecl, OptDecl};

use super::{Entry, Needs};
use crate::{CORE, dkim, dmarc, mailer};

/// One line of an article.
pub enum Fact {
    /// What is said of the whole, under this word.
    Said(&'static str, &'static str),
    /// The options in this parameter follow.
    Options(&'static str),
    /// A parameter or an option.
    Item {
        /// Its name.
        name: &'static str,
        /// Types and default of an option.
        detail: String,
        /// What it is.
        text: &'static str,
    },
}

/// A built-in with what is said of it.
pub struct Article {
    /// The class and the sigil before a method, `File->`; empty for a function.
    pub owner: String,
    /// The declaration.
    pub function: &'static FnDecl,
    /// What the files say; nothing for what has no entry.
    pub entry: Option<&'static Entry>,
    signature: Option<Signature>,
}

/// Every built-in that the manual describes: the core library, and what this library gives to the hook eod.
pub fn declared() -> impl Iterator<Item = Article> {
    let functions = CORE.functions.iter().copied().flatten();
    let functions = functions.chain(dkim::LEGACY_EOD).chain(dmarc::LEGACY_EOD);
    let methods = CORE.classes.iter().flat_map(|class| {
        let name = name(&class.constructor);
        let methods = class
            .methods
            .iter()
            .map(move |method| Article::new(&format!("{name}->"), method));
        let statics = class
            .statics
            .iter()
            .map(move |method| Article::new(&format!("{name}::"), method));
        std::iter::once(Article::new("", &class.constructor))
            .chain(methods)
            .chain(statics)
    });
    functions
        .map(|function| Article::new("", function))
        .chain(methods)
}

fn name(function: &FnDecl) -> &'static str {
    function.signature.split('(').next().unwrap_or_default()
}

impl Article {
    /// The article of a function, or with an owner such as `File->` or `File::` of a method.
    #[must_use]
    pub fn new(owner: &str, function: &'static FnDecl) -> Article {
        Article {
            owner: owner.to_owned(),
            function,
            entry: super::entry(&format!("{owner}{}", name(function))),
            signature: Signature::parse(function.signature).ok(),
        }
    }

    /// `NAME`, `CLASS->METHOD` or `CLASS::METHOD`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{}", self.owner, name(self.function))
    }

    /// The signature with the class.
    #[must_use]
    pub fn head(&self) -> String {
        format!("{}{}", self.owner, self.function.signature)
    }

    /// What is remarkable about its age.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.function.since.is_empty() {
            notes.push(format!("since {}", self.function.since));
        }
        if self.function.legacy {
            notes.push("older name".to_owned());
        }
        notes
    }

    /// The parameters of its signature.
    #[must_use]
    pub fn params(&self) -> &[Param] {
        self.signature
            .as_ref()
            .map_or(&[], |signature| &signature.params)
    }

    /// Whether it gives something besides none.
    #[must_use]
    pub fn gives(&self) -> bool {
        let returns = self
            .signature
            .as_ref()
            .map_or(&[][..], |signature| &signature.returns);
        returns.iter().any(|kind| *kind != "none")
    }

    /// Whether it is just another name, of which all is said elsewhere.
    #[must_use]
    pub fn is_alias(&self) -> bool {
        self.function.legacy && self.function.doc.starts_with("Older name of ")
    }

    /// Its options by the parameter that has them.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, Vec<&'static OptDecl>)> {
        let mut lists: Vec<(&str, Vec<&OptDecl>)> = Vec::new();
        // `send` declares the members of `server` besides, the questions to servers name the group alone.
        if self.function.groups.contains(&"SERVER") {
            lists.push(("server", mailer::SERVER.iter().collect()));
        }
        for option in self.function.options {
            let mut listed = lists.iter().flat_map(|(_, list)| list);
            if listed.any(|other| other.name == option.name) {
                continue;
            }
            // `policy.rate` is one of the parameter `policy`.
            let prefix = option.name.split_once('.').map(|(prefix, _)| prefix);
            let mut params = self.params().iter().map(|param| param.name);
            let param = params
                .find(|name| Some(*name) == prefix)
                .unwrap_or("options");
            match lists.iter_mut().find(|(name, _)| *name == param) {
                Some((_, list)) => list.push(option),
                None => lists.push((param, vec![option])),
            }
        }
        lists
    }

    /// Parameters, options, result and errors.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        let mut said = self.entry.map(of_entry).unwrap_or_default();
        let params = said
            .iter()
            .take_while(|fact| matches!(fact, Fact::Item { .. }));
        let after = said.split_off(params.count());
        for (param, options) in self.options() {
            said.push(Fact::Options(param));
            said.extend(options.iter().map(|option| Fact::Item {
                name: option.name,
                detail: match option.default {
                    "" => option.types.to_owned(),
                    default => format!("{}, default {default}", option.types),
                },
                text: option.doc,
            }));
        }
        said.extend(after);
        said
    }

    /// The text below the signature, as `angarium doc` and `:help` print it: what the page says, without its marks.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = self.function.doc.lines().map(str::to_owned).collect();
        if let Some(entry) = self.entry.filter(|entry| !entry.text.is_empty()) {
            lines.push(String::new());
            lines.extend(entry.text.lines().map(str::to_owned));
        }
        lines.extend(self.facts().iter().map(Fact::line));
        let one_line = self.function.example.lines();
        lines.extend(one_line.map(|example| format!("Example: {example}")));
        if let Some(entry) = self.entry {
            scripts(&mut lines, entry);
        }
        indented(&lines)
    }
}

/// The text of a module, `extras://NAME`.
#[must_use]
pub fn module_text(name: &str) -> Option<String> {
    let entry = super::entry(name).filter(|entry| entry.name.contains("://"))?;
    let mut lines: Vec<String> = entry.text.lines().map(str::to_owned).collect();
    lines.extend(of_entry(entry).iter().map(Fact::line));
    scripts(&mut lines, entry);
    Some(indented(&lines))
}

/// What an entry says, for one that has no declaration.
pub(super) fn of_entry(entry: &Entry) -> Vec<Fact> {
    let params = entry.params.iter().map(|(name, text)| Fact::Item {
        name,
        detail: String::new(),
        text,
    });
    let returns = Fact::Said("Returns", entry.returns);
    let errors = entry.errors.iter().map(|error| Fact::Said("Error", error));
    let returns = (!entry.returns.is_empty()).then_some(returns);
    params.chain(returns).chain(errors).collect()
}

impl Fact {
    fn line(&self) -> String {
        match self {
            Fact::Said(what, text) => format!("{what}: {text}"),
            Fact::Options("options") => "Options:".to_owned(),
            Fact::Options(param) => format!("Options in {param}:"),
            Fact::Item { name, detail, text } if detail.is_empty() => format!("- {name}: {text}"),
            Fact::Item { name, detail, text } => format!("- {name} ({detail}): {text}"),
        }
    }
}

fn scripts(lines: &mut Vec<String>, entry: &Entry) {
    for example in &entry.examples {
        let heading = match example.needs {
            Needs::Server => "Example, which needs a server:",
            Needs::Eod => "Example, in the hook eod:",
            Needs::Nothing => "Example:",
        };
        lines.push(heading.to_owned());
        lines.extend(example.script.lines().map(|line| format!("  {line}")));
        if let Some(output) = example.output {
            lines.push("echoes:".to_owned());
            lines.extend(output.lines().map(|line| format!("  {line}")));
        }
    }
}

/// The lines two columns to the right, the empty ones without white space.
fn indented(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        if !line.trim().is_empty() {
            text.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
