//! The scripts and files of a source tree.
//!
//! A hook is read if a server refers to it; the queue's two hooks if they exist; of `files`
//! everything that is not hidden and not left out by a rule. A bundle is served from a tree and
//! packed from a tree by the same code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::document::Document;
use crate::error::{ConfigError, Problem};
use crate::ignore::IgnoreRules;
use crate::path::KeyPath;
use crate::script::HookType;
use crate::source::{FileSource, Tree, is_absent, unreadable};
use crate::types::is_inside;
use crate::yaml::{Node, Position, Value, parse};

/// Deepest nesting of folders.
const MAX_FOLDERS: usize = 64;

/// What a tree holds besides its configuration files.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Hooks in the order in which servers refer to them, then the queue's.
    pub hooks: Vec<HookSource>,
    /// Files by id: content and path.
    pub files: BTreeMap<String, (Vec<u8>, PathBuf)>,
}

/// A hook of a tree.
#[derive(Debug)]
pub(crate) struct HookSource {
    pub hook: HookType,
    pub id: String,
    pub text: String,
    pub path: PathBuf,
}

/// Reads the scripts and files that belong to a running configuration.
pub(crate) fn gather(
    files: &dyn FileSource,
    tree: &Tree,
    running: &Document,
    exclude: &[String],
) -> (Sources, Vec<ConfigError>) {
    let mut sources = Sources::default();
    let mut errors = Vec::new();
    for (hook, id, path) in hook_references(&running.root) {
        if sources
            .hooks
            .iter()
            .any(|known| known.hook == hook && known.id == id)
        {
            continue;
        }
        if !is_inside(&id) {
            let problem =
                "must not have empty, `.` or `..` parts, since it names a file".to_owned();
            errors.push(running.error(&path, Problem::Invalid(problem)));
            continue;
        }
        let file = tree
            .src
            .join("hooks")
            .join(hook.name())
            .join(format!("{id}.hsl"));
        match read_script(files, &file) {
            Ok(Some(text)) => sources.hooks.push(HookSource {
                hook,
                id,
                text,
                path: file,
            }),
            Ok(None) if has_entry(&running.root, hook, &id) => {}
            Ok(None) => {
                let problem = Problem::Invalid(format!(
                    "names the {hook} hook {id:?}, but there is no file {}",
                    file.display()
                ));
                errors.push(running.error(&path, problem));
            }
            Err(error) => errors.push(*error),
        }
    }
    for hook in HookType::QUEUE {
        let file = tree.src.join("hooks/queue").join(format!("{hook}.hsl"));
        match read_script(files, &file) {
            Ok(Some(text)) => {
                sources.hooks.push(HookSource {
                    hook,
                    id: hook.name().to_owned(),
                    text,
                    path: file,
                });
            }
            Ok(None) => {}
            Err(error) => errors.push(*error),
        }
    }
    let mut walk = Walk {
        files,
        root: tree.src.join("files"),
        rules: IgnoreRules::default(),
        errors: Vec::new(),
    };
    walk.exclude(exclude, "--exclude");
    walk.settings(tree);
    walk.folder("", 0, &mut sources.files);
    errors.append(&mut walk.errors);
    (sources, errors)
}

/// Every hook that a server refers to, in the order of the file, and where it does so.
pub(crate) fn hook_references(running: &Node) -> Vec<(HookType, String, KeyPath)> {
    let mut references = Vec::new();
    let servers = running.get("servers").into_iter().flat_map(Node::items);
    for (index, server) in servers.enumerate() {
        let phases = KeyPath::root().key("servers").index(index).key("phases");
        for hook in HookType::SESSION {
            let path = phases.keys(&[hook.name(), "hook"]);
            let Some(node) = server.at(&["phases", hook.name(), "hook"]) else {
                continue;
            };
            if let Some(id) = node.text() {
                references.push((hook, id.to_owned(), path));
                continue;
            }
            if hook != HookType::RcptTo {
                continue;
            }
            if let Some(id) = node.get("id").and_then(Node::text) {
                references.push((hook, id.to_owned(), path.key("id")));
            }
            if let Some(Value::Map(domains)) =
                node.get("recipientdomains").map(|domains| &domains.value)
            {
                for entry in domains {
                    if let Some(id) = entry.node.text() {
                        let path = path.key("recipientdomains").key(&entry.key);
                        references.push((hook, id.to_owned(), path));
                    }
                }
            }
        }
    }
    references
}

/// Says whether the file itself holds a hook.
fn has_entry(running: &Node, hook: HookType, id: &str) -> bool {
    let hooks = running.at(&["scripting", "hooks", hook.name()]);
    hooks.is_some_and(|hooks| {
        hooks
            .items()
            .any(|entry| entry.get("id").and_then(Node::text) == Some(id))
    })
}

/// Reads a script; `None` if there is no such file.
fn read_script(files: &dyn FileSource, path: &Path) -> Result<Option<String>, Box<ConfigError>> {
    match files.read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|error| {
            let valid = error
                .as_bytes()
                .get(..error.utf8_error().valid_up_to())
                .unwrap_or_default();
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            let mut error = ConfigError::of_file(
                path.display().to_string(),
                Problem::Syntax("the script is not UTF-8 text".to_owned()),
            );
            error.position = Some(Position { line, column: 1 });
            Box::new(error)
        }),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(Box::new(unreadable(path, &error))),
    }
}

struct Walk<'a> {
    files: &'a dyn FileSource,
    root: PathBuf,
    rules: IgnoreRules,
    errors: Vec<ConfigError>,
}

impl Walk<'_> {
    /// Adds the rules that a setting or option gives.
    fn exclude(&mut self, patterns: &[String], origin: &str) {
        for pattern in patterns {
            for (_, message) in self.rules.add("", pattern) {
                let problem =
                    Problem::Invalid(format!("the pattern {pattern:?} is not valid: {message}"));
                self.errors.push(ConfigError::of_file(origin, problem));
            }
        }
    }

    /// Reads `smtpd.build.exclude` from the settings beside the source folder.
    fn settings(&mut self, tree: &Tree) {
        for name in ["settings.yaml", "settings.json"] {
            let path = tree.root.join(name);
            let bytes = match self.files.read(&path) {
                Ok(bytes) => bytes,
                Err(error) if is_absent(&error) => continue,
                Err(error) => {
                    self.errors.push(unreadable(&path, &error));
                    continue;
                }
            };
            let origin = path.display().to_string();
            let Ok(settings) = parse(&bytes) else {
                let problem = Problem::Syntax("this is not YAML".to_owned());
                self.errors.push(ConfigError::of_file(origin, problem));
                continue;
            };
            let nested = settings.at(&["smtpd", "build", "exclude"]);
            let Some(exclude) = nested.or_else(|| settings.get("smtpd.build.exclude")) else {
                continue;
            };
            let one = exclude.text().into_iter();
            let patterns: Vec<String> = one
                .chain(exclude.items().filter_map(Node::text))
                .map(str::to_owned)
                .collect();
            self.exclude(&patterns, &origin);
        }
    }

    /// Reads a folder and all below it. `folder` is empty or ends with `/`.
    fn folder(
        &mut self,
        folder: &str,
        depth: usize,
        found: &mut BTreeMap<String, (Vec<u8>, PathBuf)>,
    ) {
        let path = self.root.join(folder);
        if depth > MAX_FOLDERS {
            let problem = Problem::Unreadable("folders nest deeper than 64 levels".to_owned());
            self.errors
                .push(ConfigError::of_file(path.display().to_string(), problem));
            return;
        }
        let mut entries = match self.files.list(&path) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) && depth == 0 => return,
            Err(error) => return self.errors.push(unreadable(&path, &error)),
        };
        entries.sort();
        self.ignore_file(folder, &path);
        for entry in entries {
            let path = path.join(&entry.name);
            let Some(name) = entry.name.to_str() else {
                let problem = Problem::Unreadable("its name is not UTF-8 text".to_owned());
                self.errors
                    .push(ConfigError::of_file(path.display().to_string(), problem));
                continue;
            };
            let id = format!("{folder}{name}");
            if name.starts_with('.') || self.rules.leaves_out(&id, entry.folder) {
                continue;
            }
            if entry.folder {
                self.folder(&format!("{id}/"), depth + 1, found);
                continue;
            }
            match self.files.read(&path) {
                Ok(data) => drop(found.insert(id, (data, path))),
                Err(error) => self.errors.push(unreadable(&path, &error)),
            }
        }
    }

    fn ignore_file(&mut self, folder: &str, path: &Path) {
        let path = path.join(".halonignore");
        match self.files.read(&path) {
            Ok(bytes) => {
                for (line, message) in self.rules.add(folder, &String::from_utf8_lossy(&bytes)) {
                    let problem = Problem::Invalid(format!("the pattern is not valid: {message}"));
                    let mut error = ConfigError::of_file(path.display().to_string(), problem);
                    error.position = Some(Position { line, column: 1 });
                    self.errors.push(error);
                }
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => self.errors.push(unreadable(&path, &error)),
        }
    }
}
