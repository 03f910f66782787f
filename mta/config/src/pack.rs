//! A source tree to packed files and back.
//!
//! Packing puts the scripts and files of a tree into `smtpd-app.yaml`; every other configuration
//! file goes along as it is. Unpacking takes them out again. What a tree cannot hold (an id that is
//! no safe path, a hidden file, a text that is marked as binary) stays in the YAML, so nothing is
//! lost either way.

use std::path::{Path, PathBuf};

use base64::Engine as _;

use crate::document::Document;
use crate::emit::emit;
use crate::error::{ConfigError, ConfigErrors, Problem};
use crate::load::{decode_base64, script};
use crate::schema::FileKind;
use crate::script::{HookType, Script};
use crate::source::{FileSource, Tree, is_absent, unreadable};
use crate::tree::{HookSource, Sources, gather};
use crate::types::{FileId, Id, is_inside};
use crate::yaml::{Entry, Node, Value, parse};

/// Configuration files that belong to a bundle, by name. Those without a schema go along unchecked.
const KNOWN_FILES: &[&str] = &[
    "smtpd.yaml",
    "smtpd-app.yaml",
    "smtpd-policy.yaml",
    "smtpd-suspend.yaml",
    "smtpd-delivery.yaml",
    "halonctl.yaml",
    "rated.yaml",
    "rated-app.yaml",
    "ratectl.yaml",
    "dlpd.yaml",
    "dlpd-app.yaml",
    "dlpctl.yaml",
    "api.yaml",
    "web.yaml",
    "web-history.yaml",
    "submission-tracking.yaml",
    "clusterd.yaml",
    "policyd.yaml",
    "policyd-app.yaml",
];

/// How to pack.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// Patterns of files that are left out, besides those of `.halonignore` and the settings.
    pub exclude: Vec<String>,
    /// Keys that are unknown, or not available yet, are no errors.
    pub ignore_unknown: bool,
}

/// A packed bundle.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Names and texts of the files for the output folder.
    pub files: Vec<(String, Vec<u8>)>,
    /// The hooks that were packed, for whoever wants to check them.
    pub scripts: Vec<Script>,
    /// What looks like a mistake.
    pub warnings: Vec<ConfigError>,
}

/// An unpacked bundle.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// Paths below the source folder, and contents.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What looks like a mistake.
    pub warnings: Vec<ConfigError>,
}

/// Packs the source tree that `dir` names.
///
/// # Errors
/// Everything that is wrong with its files: YAML, schema, missing hooks, bad patterns.
pub fn pack(
    files: &dyn FileSource,
    dir: &Path,
    options: &PackOptions,
) -> Result<Packed, ConfigErrors> {
    let tree = Tree::find(files, dir)?;
    let mut packed = Packed {
        files: Vec::new(),
        scripts: Vec::new(),
        warnings: Vec::new(),
    };
    let mut errors = Vec::new();
    for (name, path, bytes) in config_files(
        files,
        &tree.src.join("config"),
        &mut errors,
        &mut packed.warnings,
    )? {
        let kind = FileKind::ALL
            .into_iter()
            .find(|kind| kind.file_name() == name);
        let Some(kind) = kind else {
            if let Err(faults) = parse(&bytes) {
                let message = faults
                    .into_iter()
                    .next()
                    .map_or_else(String::new, |fault| fault.message);
                errors.push(ConfigError::of_file(
                    path.display().to_string(),
                    Problem::Syntax(message),
                ));
            }
            packed.files.push((name, bytes));
            continue;
        };
        let mut document = match Document::parse(&bytes, &path, kind) {
            Ok(document) => document,
            Err(found) => {
                errors.extend(found);
                continue;
            }
        };
        let mut text = bytes;
        if kind == FileKind::Running {
            let (sources, found) = gather(files, &tree, &document, &options.exclude);
            errors.extend(found);
            packed.scripts.extend(scripts_of(&sources));
            put_in(&mut document.root, &sources);
            text = emit(&document.root).into_bytes();
        }
        let outcome = document.validate(options.ignore_unknown);
        errors.extend(
            outcome
                .errors
                .into_iter()
                .map(|found| document.found(found)),
        );
        packed.warnings.extend(
            outcome
                .warnings
                .into_iter()
                .map(|found| document.found(found)),
        );
        packed.files.push((name, text));
    }
    if errors.is_empty() {
        Ok(packed)
    } else {
        Err(ConfigErrors::sorted(errors))
    }
}

/// Unpacks the packed files in the folder `dist`.
///
/// # Errors
/// A file cannot be read or is not YAML.
pub fn unpack(files: &dyn FileSource, dist: &Path) -> Result<Unpacked, ConfigErrors> {
    let mut unpacked = Unpacked {
        files: Vec::new(),
        warnings: Vec::new(),
    };
    let mut errors = Vec::new();
    let config = Path::new("config");
    for (name, path, bytes) in config_files(files, dist, &mut errors, &mut unpacked.warnings)? {
        if name != FileKind::Running.file_name() {
            unpacked.files.push((config.join(name), bytes));
            continue;
        }
        match Document::parse(&bytes, &path, FileKind::Running) {
            Ok(mut document) => {
                unpacked.files.extend(take_out(&mut document.root));
                unpacked
                    .files
                    .push((config.join(name), emit(&document.root).into_bytes()));
            }
            Err(found) => errors.extend(found),
        }
    }
    if unpacked.files.is_empty() && errors.is_empty() {
        let problem = Problem::Invalid("holds no configuration file".to_owned());
        errors.push(ConfigError::of_file(dist.display().to_string(), problem));
    }
    if errors.is_empty() {
        Ok(unpacked)
    } else {
        Err(ConfigErrors::sorted(errors))
    }
}

/// The YAML files of a folder: name, path and content.
fn config_files(
    files: &dyn FileSource,
    folder: &Path,
    errors: &mut Vec<ConfigError>,
    warnings: &mut Vec<ConfigError>,
) -> Result<Vec<(String, PathBuf, Vec<u8>)>, ConfigErrors> {
    let mut entries = files
        .list(folder)
        .map_err(|error| unreadable(folder, &error))?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries.into_iter().filter(|entry| !entry.folder) {
        let path = folder.join(&entry.name);
        let Some(name) = entry
            .name
            .to_str()
            .filter(|name| name.ends_with(".yaml") && !name.starts_with('.'))
        else {
            continue;
        };
        if !KNOWN_FILES.contains(&name) {
            let problem = Problem::Invalid(
                "is no configuration file of this program; it goes along as it is".to_owned(),
            );
            warnings.push(ConfigError::of_file(path.display().to_string(), problem));
        }
        match files.read(&path) {
            Ok(bytes) => found.push((name.to_owned(), path, bytes)),
            Err(error) if is_absent(&error) => {}
            Err(error) => errors.push(unreadable(&path, &error)),
        }
    }
    Ok(found)
}

fn scripts_of(sources: &Sources) -> impl Iterator<Item = Script> {
    sources.hooks.iter().filter_map(|source: &HookSource| {
        let id = source.id.parse::<Id>().ok()?;
        Some(script(source.hook, &id, &source.text, Some(&source.path)))
    })
}

/// Puts scripts and files into the tree of `smtpd-app.yaml`.
fn put_in(root: &mut Node, sources: &Sources) {
    if sources.hooks.is_empty() && sources.files.is_empty() {
        return;
    }
    let Some(scripting) = root.get_or_insert("scripting", Value::Map(Vec::new())) else {
        return;
    };
    if !sources.hooks.is_empty()
        && let Some(hooks) = scripting.get_or_insert("hooks", Value::Map(Vec::new()))
    {
        for source in &sources.hooks {
            if HookType::QUEUE.contains(&source.hook) {
                hooks.set(source.hook.name(), source.text.as_str().into());
            } else if let Some(list) =
                hooks.get_or_insert(source.hook.name(), Value::List(Vec::new()))
            {
                put_entry(list, &source.id, source.text.as_str().into(), false);
            }
        }
    }
    if !sources.files.is_empty()
        && let Some(list) = scripting.get_or_insert("files", Value::List(Vec::new()))
    {
        for (id, (data, _)) in &sources.files {
            match std::str::from_utf8(data) {
                Ok(text) => put_entry(list, id, text.into(), false),
                Err(_) => {
                    let text = base64::engine::general_purpose::STANDARD.encode(data);
                    put_entry(list, id, text.as_str().into(), true);
                }
            }
        }
    }
}

/// Adds an entry `{id, data}` to a list, in place of one with the same id.
fn put_entry(list: &mut Node, id: &str, data: Node, binary: bool) {
    let Value::List(items) = &mut list.value else {
        return;
    };
    let mut entries = vec![field("id", id.into()), field("data", data)];
    if binary {
        entries.push(field("binary", Value::Bool(true).into()));
    }
    let entry = Node::from(Value::Map(entries));
    match items
        .iter_mut()
        .find(|item| item.get("id").and_then(Node::text) == Some(id))
    {
        Some(item) => *item = entry,
        None => items.push(entry),
    }
}

fn field(key: &str, node: Node) -> Entry {
    Entry {
        key: key.to_owned(),
        position: None,
        node,
    }
}

/// Takes out of the tree of `smtpd-app.yaml` what belongs into files of its own.
fn take_out(root: &mut Node) -> Vec<(PathBuf, Vec<u8>)> {
    let mut taken: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if let Some(scripting) = existing(root, "scripting") {
        if let Some(hooks) = existing(scripting, "hooks") {
            for hook in HookType::SESSION {
                take_entries(hooks, hook.name(), |entry| {
                    let id = entry
                        .get("id")
                        .and_then(Node::text)
                        .filter(|id| id.parse::<Id>().is_ok())?;
                    let text = entry.get("data").and_then(Node::text)?;
                    let path = Path::new("hooks")
                        .join(hook.name())
                        .join(format!("{id}.hsl"));
                    let plain = is_inside(id) && has_only(entry, &["id", "data"]);
                    (plain && fits(&taken, &path)).then(|| taken.push((path, text.into())))
                });
            }
            for hook in HookType::QUEUE {
                let text = hooks
                    .get(hook.name())
                    .and_then(Node::text)
                    .filter(|text| !text.is_empty());
                if let Some(text) = text {
                    taken.push((
                        Path::new("hooks/queue").join(format!("{hook}.hsl")),
                        text.into(),
                    ));
                    hooks.remove(hook.name());
                }
            }
            remove_empty(scripting, "hooks");
        }
        take_entries(scripting, "files", |entry| {
            let id = entry
                .get("id")
                .and_then(Node::text)
                .filter(|id| id.parse::<FileId>().is_ok())?;
            let text = entry.get("data").and_then(Node::text)?;
            let binary = entry
                .get("binary")
                .is_some_and(|flag| flag.value == Value::Bool(true));
            let data = if binary {
                decode_base64(text).ok()?
            } else {
                text.into()
            };
            // Packed again, this content must come out in the same form.
            let plain = binary != std::str::from_utf8(&data).is_ok()
                && has_only(entry, &["id", "data", "binary"]);
            let hidden = id.split('/').any(|part| part.starts_with('.'));
            let path = Path::new("files").join(id);
            (plain && !hidden && fits(&taken, &path)).then(|| taken.push((path, data)))
        });
        remove_empty(root, "scripting");
    }
    taken
}

fn existing<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    let known = matches!(node.get(key).map(|below| &below.value), Some(Value::Map(_)));
    if known {
        node.get_or_insert(key, Value::Null)
    } else {
        None
    }
}

/// Removes the items of a list that `take` takes, and the list when nothing is left.
fn take_entries(node: &mut Node, list: &str, mut take: impl FnMut(&Node) -> Option<()>) {
    if node.get(list).is_none() {
        return;
    }
    if let Some(Node {
        value: Value::List(items),
        ..
    }) = node.get_or_insert(list, Value::Null)
    {
        items.retain(|item| take(item).is_none());
    }
    remove_empty(node, list);
}

fn remove_empty(node: &mut Node, key: &str) {
    if node
        .get(key)
        .is_some_and(|below| below.is_empty() && below.value != Value::Null)
    {
        node.remove(key);
    }
}

fn has_only(entry: &Node, keys: &[&str]) -> bool {
    match &entry.value {
        Value::Map(entries) => entries
            .iter()
            .all(|entry| keys.contains(&entry.key.as_str())),
        _ => false,
    }
}

/// Says whether a file can stand beside those taken so far: neither the same nor a folder of one.
fn fits(taken: &[(PathBuf, Vec<u8>)], path: &Path) -> bool {
    !taken
        .iter()
        .any(|(other, _)| other.starts_with(path) || path.starts_with(other))
}
