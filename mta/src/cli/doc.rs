//! `doc` and `:help`: what there is to say of a function, class, method, predefined variable, keyword or hook.

use std::fmt::Write as _;

use angarium_runtime::library::Library;
use angarium_runtime::native::{ClassDecl, ContextDecl, FnDecl, VarDecl};
use angarium_stdlib::extras;
use angarium_stdlib::manual::{self, Article};

use super::failure::Failure;
use super::keywords;
use super::table::{name, summary};
use super::terminal::print;

/// `angarium doc`
#[derive(Debug, clap::Args)]
pub struct DocArgs {
    /// A function, class, method, variable, keyword or hook: str_find, File, File.readline, arguments.recipient, foreach, rcptto
    #[arg(value_name = "NAME")]
    name: String,
}

/// Prints what is known of a name.
///
/// # Errors
/// When nothing has the name.
pub fn doc(args: &DocArgs, library: &Library) -> Result<(), Failure> {
    match describe(library, &args.name) {
        Some(text) => print(&text),
        None => Err(Failure::Failed(unknown(library, &args.name))),
    }
}

/// Everything that is known of `wanted`, in every context that has it; none if nothing has the name.
#[must_use]
pub fn describe(library: &Library, wanted: &str) -> Option<String> {
    let wanted = bare(wanted);
    let mut entries = Entries::default();
    if let Some(keyword) = keywords::find(wanted) {
        let mut body = format!("  {}\n", keyword.doc);
        examples(&mut body, keyword.example);
        entries.add(
            "",
            keyword.form.to_owned(),
            vec!["keyword".to_owned()],
            body,
        );
    }
    if !wanted.starts_with('$') {
        callables(&mut entries, library, wanted);
    }
    // A shell takes `$` away: a variable is found without it when nothing else has the name.
    if entries.0.is_empty() {
        variables(&mut entries, library, wanted.trim_start_matches('$'));
    }
    if entries.0.is_empty()
        && let Some(module) = manual::module_text(wanted)
    {
        return Some(format!("{wanted}  (module)\n{module}"));
    }
    if entries.0.is_empty()
        && let Some(hook) = library.contexts().find(|context| context.name == wanted)
    {
        return Some(hook_entry(hook));
    }
    (!entries.0.is_empty()).then(|| entries.render())
}

/// What a hook adds to the core library.
fn hook_entry(hook: &ContextDecl) -> String {
    let mut text = format!("{}  (hook)\n", hook.name);
    if hook.name == "core" {
        text = "core  (what every script has)\n".to_owned();
    }
    let functions = hook.functions.iter().copied().flatten();
    let functions = functions.filter(|function| !function.legacy);
    for function in functions.chain(hook.classes.iter().map(|class| &class.constructor)) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}  {}", function.signature, summary(function.doc));
    }
    for variable in hook.variables {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {}: {}  {}",
            variable.path, variable.types, variable.doc
        );
    }
    text
}

/// The sentence for a name that nothing has, with the nearest ones.
#[must_use]
pub fn unknown(library: &Library, wanted: &str) -> String {
    let wanted = bare(wanted);
    let part = wanted
        .trim_start_matches('$')
        .to_lowercase()
        .replace("->", ".")
        .replace("::", ".");
    let mut near: Vec<(usize, String)> = names(library)
        .into_iter()
        .filter_map(|name| {
            let known = name.trim_start_matches('$').to_lowercase();
            let distance = strsim::damerau_levenshtein(&part, &known);
            let is_near = distance <= (part.chars().count() / 4).clamp(1, 3);
            (is_near || (part.len() > 2 && known.contains(&part)))
                .then_some((if is_near { distance } else { usize::MAX }, name))
        })
        .collect();
    near.sort();
    near.dedup();
    let list = |names: &[(usize, String)]| {
        let names: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
        names.join(", ")
    };
    let closest = near
        .iter()
        .take_while(|(distance, _)| *distance < usize::MAX);
    let closest = closest.count().min(SUGGESTIONS);
    let hint = match near.len() {
        0 => "`angarium functions` lists all names".to_owned(),
        _ if closest > 0 => format!(
            "did you mean {}?",
            list(near.get(..closest).unwrap_or_default())
        ),
        1..=12 => format!("names that contain it: {}", list(&near)),
        more => format!(
            "{more} names contain it, {} among them",
            list(near.get(..12).unwrap_or_default())
        ),
    };
    format!("there is no function, class, method, variable, keyword or hook `{wanted}`; {hint}")
}

/// Near names that are offered.
const SUGGESTIONS: usize = 5;

/// All names that [`describe`] knows.
#[must_use]
pub fn names(library: &Library) -> Vec<String> {
    let words = keywords::KEYWORDS.iter();
    let mut names: Vec<String> = words.map(|keyword| keyword.word.to_owned()).collect();
    let modules = extras::MODULES.iter();
    names.extend(modules.map(|(name, _)| format!("extras://{name}")));
    for context in library.contexts() {
        names.push(context.name.to_owned());
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
        for variable in context.variables {
            let root = variable.path.split('.').next().unwrap_or_default();
            names.push(root.to_owned());
            names.push(variable.path.to_owned());
        }
    }
    names.sort();
    names.dedup();
    names
}

/// The name alone, without the brackets of a call.
fn bare(wanted: &str) -> &str {
    let wanted = wanted.trim();
    let wanted = wanted.strip_suffix("()").unwrap_or(wanted);
    wanted.strip_suffix('(').unwrap_or(wanted)
}

fn split(wanted: &str) -> (&str, Option<&str>) {
    for sigil in ["->", "::", "."] {
        if let Some((class, member)) = wanted.split_once(sigil) {
            return (class, Some(member));
        }
    }
    (wanted, None)
}

/// What was found. The same text in several contexts is said once.
#[derive(Default)]
struct Entries(Vec<Entry>);

#[derive(PartialEq)]
struct Entry {
    head: String,
    notes: Vec<String>,
    body: String,
    /// The hooks that have it; none for what is always there.
    contexts: Vec<&'static str>,
}

impl Entries {
    fn add(&mut self, context: &'static str, head: String, notes: Vec<String>, body: String) {
        let contexts = match context {
            "" | "core" => Vec::new(),
            context => vec![context],
        };
        let same = self
            .0
            .iter_mut()
            .find(|entry| (&entry.head, &entry.notes, &entry.body) == (&head, &notes, &body));
        match same {
            Some(entry) => entry.contexts.extend(contexts),
            None => self.0.push(Entry {
                head,
                notes,
                body,
                contexts,
            }),
        }
    }

    fn render(&self) -> String {
        let mut text = String::new();
        for entry in &self.0 {
            if !text.is_empty() && !entry.body.is_empty() {
                text.push('\n');
            }
            text.push_str(&entry.head);
            let mut notes = entry.notes.clone();
            if !entry.contexts.is_empty() {
                notes.insert(0, format!("in {}", entry.contexts.join(", ")));
            }
            if !notes.is_empty() {
                // Writing to a string cannot fail.
                let _ = write!(text, "  ({})", notes.join(", "));
            }
            text.push('\n');
            text.push_str(&entry.body);
        }
        text
    }
}

fn callables(entries: &mut Entries, library: &Library, wanted: &str) {
    let (class, member) = split(wanted);
    for context in library.contexts() {
        let classes = context
            .classes
            .iter()
            .filter(|declared| name(&declared.constructor) == class);
        let Some(member) = member else {
            let functions = context.functions.iter().copied().flatten();
            for function in functions.filter(|function| name(function) == class) {
                add_function(entries, context.name, "", function, String::new());
            }
            for declared in classes {
                let members = members(declared);
                add_function(entries, context.name, "", &declared.constructor, members);
            }
            continue;
        };
        for declared in classes {
            let Some((declared, sigil, method)) = method_of(library, declared, member) else {
                continue;
            };
            let owner = format!("{}{sigil}", name(&declared.constructor));
            add_function(entries, context.name, &owner, method, String::new());
        }
    }
}

/// The method of a class or of the nearest class that it extends.
fn method_of<'a>(
    library: &'a Library,
    class: &'a ClassDecl,
    member: &str,
) -> Option<(&'a ClassDecl, &'static str, &'static FnDecl)> {
    let mut class = class;
    loop {
        for (sigil, methods) in [("->", class.methods), ("::", class.statics)] {
            if let Some(method) = methods.iter().find(|method| name(method) == member) {
                return Some((class, sigil, method));
            }
        }
        let base = class.extends?;
        let classes = library.contexts().flat_map(|context| context.classes);
        class = classes
            .into_iter()
            .find(|class| name(&class.constructor) == base)?;
    }
}

fn add_function(
    entries: &mut Entries,
    context: &'static str,
    owner: &str,
    function: &'static FnDecl,
    members: String,
) {
    let article = Article::new(owner, function);
    let body = article.text() + &members;
    entries.add(context, article.head(), article.notes(), body);
}

fn examples(text: &mut String, example: &str) {
    for line in example.lines() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  Example: {line}");
    }
}

/// A line for each method of a class.
fn members(class: &ClassDecl) -> String {
    let mut text = String::new();
    for (sigil, methods) in [("->", class.methods), ("::", class.statics)] {
        for method in methods {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {sigil}{}()  {}", name(method), summary(method.doc));
        }
    }
    if let Some(base) = class.extends {
        let _ = writeln!(text, "  and the methods of {base}");
    }
    text
}

/// Predefined variables: one of them, or all that lie below a name.
fn variables(entries: &mut Entries, library: &Library, wanted: &str) {
    for context in library.contexts() {
        for variable in context.variables {
            let path = variable.path.trim_start_matches('$');
            let below = path
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            if below {
                add_variable(entries, context.name, variable);
            }
        }
    }
}

fn add_variable(entries: &mut Entries, context: &'static str, variable: &VarDecl) {
    let mut notes = Vec::new();
    match variable.available {
        "" | "always" => {}
        available => notes.push(available.trim_matches(['(', ')']).to_owned()),
    }
    if variable.writable {
        notes.push("scripts may write it".to_owned());
    }
    let head = format!("{}: {}", variable.path, variable.types);
    entries.add(context, head, notes, format!("  {}\n", variable.doc));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> String {
        describe(&crate::scripts::library(), name).unwrap_or_default()
    }

    #[test]
    fn every_name_is_explained() {
        let library = crate::scripts::library();
        for name in names(&library) {
            assert!(describe(&library, &name).is_some(), "{name}");
        }
    }

    #[test]
    fn functions_methods_variables_and_keywords_are_found_however_they_are_written() {
        assert!(said("MailMessage.getHeader").starts_with("MIMEPart->getHeader("));
        assert!(said("extras://dmarc").contains("maxdkimheaders"));
        for name in ["str_find", "str_find()", " str_find( "] {
            assert!(said(name).starts_with("str_find("), "{name}");
        }
        for name in ["File.readline", "File->readline", "File->readline()"] {
            assert!(said(name).starts_with("File->readline("), "{name}");
        }
        assert!(said("File::String").starts_with("File::String("));
        for name in ["$connection.remoteip", "connection.remoteip"] {
            assert!(
                said(name).starts_with("$connection.remoteip: string"),
                "{name}"
            );
        }
        assert!(said("$connection").contains("$connection.remoteport: number"));
        assert!(said("foreach").contains("(keyword)"));
        assert!(said("rcptto").contains("$arguments.recipient: string"));
        assert!(said("isset").contains("isset("));
    }

    #[test]
    fn what_several_hooks_have_is_said_once() {
        let text = said("$connection.remoteip");
        assert_eq!(text.matches("$connection.remoteip").count(), 1, "{text}");
        assert!(text.contains("in proxy, helo, auth, mailfrom"), "{text}");
    }

    #[test]
    fn misspelt_names_bring_the_nearest_ones() {
        let library = crate::scripts::library();
        for (wrong, right) in [
            ("str_repalce", "did you mean str_replace"),
            ("Str_Find", "did you mean str_find"),
            ("forech", "did you mean foreach"),
            ("file.readlin", "did you mean File.readline"),
            ("$conection.remoteip", "did you mean $connection.remoteip"),
            ("readl", "names that contain it: File.readline"),
            ("zzzzzz", "`angarium functions` lists all names"),
        ] {
            let text = unknown(&library, wrong);
            assert!(text.contains(right), "{wrong}: {text}");
        }
    }
}
