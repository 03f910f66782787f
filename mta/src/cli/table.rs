//! `functions` and `doc`: the table of built-ins for people and for programs.

use std::fmt::Write as _;

use angarium_lang::builtins::Signature;
use angarium_runtime::library::Library;
use angarium_runtime::native::{ClassDecl, ContextDecl, FnDecl, OptDecl};

use super::failure::Failure;
use super::terminal::print;
use crate::listing::listing;

/// `angarium functions`
#[derive(Debug, clap::Args)]
pub struct FunctionsArgs {
    /// Print the whole table as JSON
    #[arg(long)]
    json: bool,
    /// Only what this context adds: core, or the name of a hook
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    context: Option<String>,
}

/// Prints the table: names with their first sentence, or everything as JSON.
///
/// # Errors
/// When no context has the name.
pub fn functions(args: &FunctionsArgs, library: &Library) -> Result<(), Failure> {
    if args.json {
        let text = serde_json::to_string_pretty(&listing(library))
            .map_err(|error| Failure::Failed(error.to_string()))?;
        return print(&(text + "\n"));
    }
    let mut text = String::new();
    let mut found = false;
    for context in library.contexts() {
        if args
            .context
            .as_deref()
            .is_some_and(|wanted| wanted != context.name)
        {
            continue;
        }
        found = true;
        overview(&mut text, context);
    }
    if !found {
        let names: Vec<&str> = library.contexts().map(|context| context.name).collect();
        return Err(Failure::Usage(format!(
            "there is no context `{}`: choose one of {}",
            args.context.as_deref().unwrap_or_default(),
            names.join(", ")
        )));
    }
    print(&text)
}

fn overview(text: &mut String, context: &ContextDecl) {
    let mut lines: Vec<(String, &str)> = Vec::new();
    for function in context.functions.iter().copied().flatten() {
        if !function.legacy {
            lines.push((format!("{}()", name(function)), summary(function.doc)));
        }
    }
    for class in context.classes {
        let class_name = name(&class.constructor);
        lines.push((
            format!("class {class_name}"),
            summary(class.constructor.doc),
        ));
        for method in class.methods {
            lines.push((
                format!("{class_name}->{}()", name(method)),
                summary(method.doc),
            ));
        }
        for method in class.statics {
            lines.push((
                format!("{class_name}::{}()", name(method)),
                summary(method.doc),
            ));
        }
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", context.name);
    for (name, summary) in lines {
        let _ = writeln!(text, "  {name:<width$}  {summary}");
    }
    text.push('\n');
}

/// `angarium doc`
#[derive(Debug, clap::Args)]
pub struct DocArgs {
    /// A function, class or method: `str_find`, `File`, `File.readline`, `Try`
    #[arg(value_name = "NAME")]
    name: String,
}

/// Prints what the table says of a name.
///
/// # Errors
/// When nothing has the name.
pub fn doc(args: &DocArgs, library: &Library) -> Result<(), Failure> {
    match describe(library, &args.name) {
        Some(text) => print(&text),
        None => Err(Failure::Failed(unknown(library, &args.name))),
    }
}

/// Everything that the table says of `wanted`, in every context that has it; none if nothing has the name.
#[must_use]
pub fn describe(library: &Library, wanted: &str) -> Option<String> {
    let wanted = wanted.trim().trim_end_matches("()");
    let (class, member) = split(wanted);
    let mut text = String::new();
    for context in library.contexts() {
        match member {
            None => {
                for function in context.functions.iter().copied().flatten() {
                    if name(function) == class {
                        entry(&mut text, context.name, "", function);
                    }
                }
                for declared in context.classes {
                    if name(&declared.constructor) == class {
                        class_entry(&mut text, context.name, declared);
                    }
                }
            }
            Some(member) => {
                for declared in context.classes {
                    if name(&declared.constructor) != class {
                        continue;
                    }
                    for (sigil, methods) in [("->", declared.methods), ("::", declared.statics)] {
                        for method in methods.iter().filter(|method| name(method) == member) {
                            entry(&mut text, context.name, &format!("{class}{sigil}"), method);
                        }
                    }
                }
            }
        }
    }
    (!text.is_empty()).then_some(text)
}

/// The sentence for a name that nothing has, with the nearest ones.
#[must_use]
pub fn unknown(library: &Library, wanted: &str) -> String {
    let part = wanted.to_lowercase();
    let mut near: Vec<String> = names(library)
        .into_iter()
        .filter(|name| name.to_lowercase().contains(&part))
        .collect();
    near.sort();
    near.dedup();
    let hint = match near.len() {
        0 => "`angarium functions` lists all names".to_owned(),
        1..=12 => format!("names that contain it: {}", near.join(", ")),
        more => format!(
            "{more} names contain it, {} among them",
            near[..12].join(", ")
        ),
    };
    format!("there is no function, class or method `{wanted}`; {hint}")
}

/// All names that [`describe`] knows.
#[must_use]
pub fn names(library: &Library) -> Vec<String> {
    let mut names = Vec::new();
    for context in library.contexts() {
        for function in context.functions.iter().copied().flatten() {
            names.push(name(function).to_owned());
        }
        for class in context.classes {
            let class_name = name(&class.constructor);
            names.push(class_name.to_owned());
            for method in class.methods.iter().chain(class.statics) {
                names.push(format!("{class_name}.{}", name(method)));
            }
        }
    }
    names
}

fn split(wanted: &str) -> (&str, Option<&str>) {
    for sigil in ["->", "::", "."] {
        if let Some((class, member)) = wanted.split_once(sigil) {
            return (class, Some(member));
        }
    }
    (wanted, None)
}

/// The name in a declaration's signature.
pub(crate) fn name(function: &FnDecl) -> &'static str {
    function
        .signature
        .split('(')
        .next()
        .unwrap_or_default()
        .trim()
}

fn summary(doc: &str) -> &str {
    match doc.find(". ") {
        Some(end) => &doc[..=end],
        None => doc,
    }
}

fn entry(text: &mut String, context: &str, owner: &str, function: &FnDecl) {
    if !text.is_empty() {
        text.push('\n');
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{owner}{}", function.signature);
    let mut notes = Vec::new();
    if context != "core" {
        notes.push(format!("in {context}"));
    }
    if !function.since.is_empty() {
        notes.push(format!("since {}", function.since));
    }
    if function.legacy {
        notes.push("older name".to_owned());
    }
    if !notes.is_empty() {
        let _ = write!(text, "  ({})", notes.join(", "));
    }
    let _ = writeln!(text, "\n  {}", function.doc);
    options(text, function.options);
    for line in function.example.lines() {
        let _ = writeln!(text, "  Example: {line}");
    }
}

fn options(text: &mut String, options: &[OptDecl]) {
    for option in options {
        // Writing to a string cannot fail.
        let _ = write!(text, "  - {} ({}", option.name, option.types);
        if !option.default.is_empty() {
            let _ = write!(text, ", default {}", option.default);
        }
        let _ = writeln!(text, "): {}", option.doc);
    }
}

fn class_entry(text: &mut String, context: &str, class: &ClassDecl) {
    entry(text, context, "", &class.constructor);
    for (sigil, methods) in [("->", class.methods), ("::", class.statics)] {
        for method in methods {
            let signature = Signature::parse(method.signature).map_or_else(
                |_| method.signature.to_owned(),
                |found| found.name.to_owned(),
            );
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {sigil}{signature}()  {}", summary(method.doc));
        }
    }
    if let Some(base) = class.extends {
        let _ = writeln!(text, "  and the methods of {base}");
    }
}
