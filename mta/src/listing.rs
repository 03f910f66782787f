//! The table of built-ins as data, in the structure of the reference's own listing.

use angarium_lang::builtins::{Param, Signature};
use angarium_runtime::library::Library;
use angarium_runtime::native::{ClassDecl, ContextDecl, FnDecl, OptDecl, VarDecl};
use angarium_stdlib::manual::{Article, Entry};
use serde_json::{Map, Value, json};

/// Every context with its functions, classes and variables.
///
/// `contexts` → name → `functions`, `classes` (with `methods` and `static`) and `variables`; functions have `params`,
/// `returns`, `options`, `since` and `doc`. Older names stand in `legacy`.
#[must_use]
pub fn listing(library: &Library) -> Value {
    let contexts: Map<String, Value> = library
        .contexts()
        .map(|context| (context.name.to_owned(), context_value(context)))
        .collect();
    let legacy: Vec<Value> = library
        .contexts()
        .flat_map(|context| context.functions.iter().copied().flatten())
        .filter(|function| function.legacy)
        .map(|declared| function("", declared))
        .chain(legacy_methods(library))
        .collect();
    json!({ "format": 1, "contexts": contexts, "legacy": legacy })
}

/// Older methods, by class and name.
fn legacy_methods(library: &Library) -> impl Iterator<Item = Value> + '_ {
    let classes = library.contexts().flat_map(|context| context.classes);
    classes.flat_map(|class| {
        let owner = signature(&class.constructor).name;
        let legacy = class.methods.iter().filter(|method| method.legacy);
        legacy.map(move |method| {
            let mut entry = function(&format!("{owner}->"), method);
            entry["name"] = format!("{owner}.{}", signature(method).name).into();
            entry
        })
    })
}

fn context_value(context: &ContextDecl) -> Value {
    let functions: Vec<Value> = context
        .functions
        .iter()
        .copied()
        .flatten()
        .filter(|function| !function.legacy)
        .map(|declared| function("", declared))
        .collect();
    let classes: Vec<Value> = context
        .classes
        .iter()
        .filter(|class| is_listed(class))
        .map(class)
        .collect();
    json!({
        "functions": functions,
        "classes": classes,
        "variables": variables(context.variables),
        "spec_variables": context.variables.iter().map(spec_variable).collect::<Vec<_>>(),
    })
}

/// A class that scripts neither construct nor call anything of is a type only.
fn is_listed(class: &ClassDecl) -> bool {
    !class.methods.is_empty() || !class.statics.is_empty()
}

/// Splits written types; what does not parse cannot be in the library.
fn signature(function: &FnDecl) -> Signature {
    Signature::parse(function.signature).unwrap_or(Signature {
        name: "",
        params: Vec::new(),
        returns: Vec::new(),
    })
}

/// A function, or with an owner such as `File->` or `File::` a method.
fn function(owner: &str, function: &'static FnDecl) -> Value {
    let signature = signature(function);
    let article = Article::new(owner, function);
    let mut entry = Map::new();
    entry.insert("name".into(), signature.name.into());
    let params = signature.params.iter();
    entry.insert(
        "params".into(),
        params.map(|declared| param(declared, &article)).collect(),
    );
    if !signature.returns.is_empty() {
        entry.insert(
            "returns".into(),
            signature.returns.iter().copied().collect(),
        );
    }
    if !function.since.is_empty() {
        entry.insert("since".into(), function.since.into());
    }
    let options: Vec<Value> = article
        .options()
        .iter()
        .flat_map(|(_, options)| options.iter().map(|declared| option(declared)))
        .collect();
    if !options.is_empty() {
        entry.insert("options".into(), options.into());
    }
    if !function.groups.is_empty() {
        entry.insert(
            "option_groups".into(),
            function.groups.iter().copied().collect(),
        );
    }
    entry.insert("doc".into(), function.doc.into());
    if !function.example.is_empty() {
        entry.insert("example".into(), function.example.into());
    }
    if let Some(said) = article.entry {
        described(&mut entry, said);
    }
    Value::Object(entry)
}

/// What the manual says besides.
fn described(entry: &mut Map<String, Value>, said: &Entry) {
    if !said.text.is_empty() {
        entry.insert("details".into(), said.text.into());
    }
    if !said.returns.is_empty() {
        entry.insert("result".into(), said.returns.into());
    }
    if !said.errors.is_empty() {
        entry.insert("errors".into(), said.errors.iter().copied().collect());
    }
    let examples = said.examples.iter();
    let examples = examples.map(|example| match example.output {
        Some(output) => json!({ "script": example.script, "output": output }),
        None => json!({ "script": example.script }),
    });
    entry.insert("examples".into(), examples.collect());
}

fn param(param: &Param, article: &Article) -> Value {
    let mut entry = Map::new();
    entry.insert("name".into(), param.name.into());
    entry.insert("types".into(), param.written.iter().copied().collect());
    entry.insert("optional".into(), (param.optional || param.variadic).into());
    if let Some(default) = param.default {
        entry.insert("default".into(), literal(default));
    }
    if param.variadic {
        entry.insert("variadic".into(), true.into());
    }
    let mut said = article.entry.iter().flat_map(|entry| &entry.params);
    if let Some((_, text)) = said.find(|(name, _)| *name == param.name) {
        entry.insert("doc".into(), (*text).into());
    }
    Value::Object(entry)
}

fn option(option: &OptDecl) -> Value {
    let mut entry = Map::new();
    entry.insert("name".into(), option.name.into());
    entry.insert("types".into(), option.types.split('|').collect());
    if !option.default.is_empty() {
        entry.insert("default".into(), literal(option.default));
    }
    entry.insert("doc".into(), option.doc.into());
    Value::Object(entry)
}

/// A printed default as JSON: numbers, booleans, lists and quoted strings are themselves, the rest is text.
fn literal(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn class(class: &'static ClassDecl) -> Value {
    let name = signature(&class.constructor).name;
    let mut entry = function("", &class.constructor);
    let methods = class.methods.iter().filter(|method| !method.legacy);
    let methods = methods.map(|method| function(&format!("{name}->"), method));
    entry["methods"] = methods.collect();
    let statics = class.statics.iter();
    let statics = statics.map(|method| function(&format!("{name}::"), method));
    entry["static"] = statics.collect();
    if let Some(base) = class.extends {
        entry["extends"] = base.into();
    }
    entry
}

fn spec_variable(variable: &VarDecl) -> Value {
    json!({
        "path": variable.path,
        "types": variable.types.split('|').collect::<Vec<_>>(),
        "available": variable.available,
        "doc": variable.doc,
    })
}

/// The variables as trees of keys.
fn variables(list: &[VarDecl]) -> Vec<Value> {
    let mut roots: Vec<Value> = Vec::new();
    for variable in list {
        let mut level = &mut roots;
        let steps: Vec<&str> = variable.path.split('.').collect();
        for (depth, step) in steps.iter().enumerate() {
            let last = depth + 1 == steps.len();
            let at = match level.iter().position(|entry| entry["name"] == **step) {
                Some(at) => at,
                None => {
                    let types: Vec<&str> = if last {
                        variable.types.split('|').collect()
                    } else {
                        vec!["array"]
                    };
                    let mut entry = json!({ "name": step, "types": types });
                    if depth == 0 && !variable.writable {
                        entry["readonly"] = true.into();
                    }
                    level.push(entry);
                    level.len() - 1
                }
            };
            let Value::Object(entry) = &mut level[at] else {
                break;
            };
            if last {
                break;
            }
            let keys = entry
                .entry("keys")
                .or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(keys) = keys else { break };
            level = keys;
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library() -> Library {
        let mut contexts = vec![&angarium_stdlib::CORE];
        contexts.extend(crate::hooks::CONTEXTS);
        Library::new(&contexts).unwrap()
    }

    #[test]
    fn the_listing_has_every_context_with_its_names() {
        let listing = listing(&library());
        let names = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["name"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            names(&listing["contexts"]["rcptto"]["functions"]),
            ["Accept", "Reject", "Defer"]
        );
        assert_eq!(
            names(&listing["contexts"]["rcptto"]["variables"]),
            ["$arguments", "$connection", "$transaction", "$context"]
        );
        assert!(names(&listing["legacy"]).contains(&"strtolower".to_owned()));
        assert!(
            !names(&listing["contexts"]["core"]["functions"]).contains(&"strtolower".to_owned())
        );
        assert_eq!(
            names(&listing["contexts"]["eod"]["classes"]),
            ["EODMailMessage"]
        );
    }
}
