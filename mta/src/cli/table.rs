//! `functions`: the table of built-ins for people and for programs.

use std::fmt::Write as _;

use angarium_runtime::library::Library;
use angarium_runtime::native::{ContextDecl, FnDecl};

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

/// The name in a declaration's signature.
pub(crate) fn name(function: &FnDecl) -> &'static str {
    function
        .signature
        .split('(')
        .next()
        .unwrap_or_default()
        .trim()
}

/// The first sentence of a description.
pub(crate) fn summary(doc: &str) -> &str {
    match doc.find(". ") {
        Some(end) => &doc[..=end],
        None => doc,
    }
}
