//! Data imports: `import $v from "f.ext" with [options]` (language.md 16.3).
//!
//! The compiler finds the file, chooses the loader and checks the options; [`DataImport`] is what the program says
//! about it. The text is decoded when the program is linked, by whoever knows the formats.

use std::sync::Arc;

use angarium_syntax::ast::{Element, Pair, StrLit, Variable};

use crate::Span;
use crate::bytecode::Const;
use crate::compile::Compiler;
use crate::fold::fold;
use crate::modules::resolve_path;

/// How a data file becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataLoader {
    /// JSON, comments allowed.
    Json,
    /// YAML with the tags of the library's classes.
    Yaml,
    /// Records, keyed by their column when there is a header.
    Csv,
    /// A string, or a list of its lines.
    Txt,
    /// A mail message.
    Eml,
    /// Certificates.
    Crt,
    /// A private key.
    Key,
}

impl DataLoader {
    const NAMES: [(&'static str, DataLoader); 7] = [
        ("json", DataLoader::Json),
        ("yaml", DataLoader::Yaml),
        ("csv", DataLoader::Csv),
        ("txt", DataLoader::Txt),
        ("eml", DataLoader::Eml),
        ("crt", DataLoader::Crt),
        ("key", DataLoader::Key),
    ];

    /// The loader with the name that stands before `!`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<DataLoader> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, loader)| *loader)
    }

    /// The loader for a path: by its extension, `txt` for those that nobody knows.
    #[must_use]
    pub fn by_path(path: &str) -> DataLoader {
        let file = path.rsplit('/').next().unwrap_or(path);
        let extension = file
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension)
            .to_ascii_lowercase();
        match extension.as_str() {
            "yml" => DataLoader::Yaml,
            "pem" => DataLoader::Crt,
            name => Self::by_name(name).unwrap_or(DataLoader::Txt),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, loader)| *loader == self);
        found.map_or("", |(name, _)| name)
    }

    /// The options that it takes.
    fn options(self) -> &'static [(&'static str, OptionKind)] {
        match self {
            DataLoader::Csv => &[
                ("delimiter", OptionKind::Text),
                ("header", OptionKind::Boolean),
                ("schema", OptionKind::Array),
            ],
            DataLoader::Txt => &[("array", OptionKind::Boolean)],
            DataLoader::Crt => &[("resource", OptionKind::Boolean)],
            DataLoader::Json | DataLoader::Yaml | DataLoader::Eml | DataLoader::Key => &[],
        }
    }
}

/// What the value of an option must be.
#[derive(Clone, Copy)]
enum OptionKind {
    Boolean,
    Text,
    Array,
}

impl OptionKind {
    fn fits(self, value: &Const) -> bool {
        match self {
            OptionKind::Boolean => true,
            OptionKind::Text => matches!(value, Const::Str(_)),
            OptionKind::Array => matches!(value, Const::Array(_)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            OptionKind::Boolean => "a boolean",
            OptionKind::Text => "a string",
            OptionKind::Array => "an array",
        }
    }
}

/// A data import of a program.
#[derive(Clone, Debug)]
pub struct DataImport {
    /// The constant that takes the value.
    pub constant: u32,
    /// How the text is decoded.
    pub loader: DataLoader,
    /// The options, an array of constants.
    pub options: Const,
    /// What messages call the file.
    pub name: String,
    /// The text of the file; taken away when it has been decoded.
    pub text: Arc<[u8]>,
    /// The statement, and the `include` and `import` statements that led to it, innermost first.
    pub chain: Vec<Span>,
}

/// A data import that the module's top level has to carry out.
#[derive(Clone, Debug)]
pub(crate) struct DataBinding {
    pub variable: Variable,
    pub constant: u32,
    /// The file and the loader: the same import twice is harmless.
    file: (String, DataLoader),
}

impl Compiler<'_> {
    /// Finds the file of a data import and notes what is to become of it.
    pub(crate) fn import_data(
        &mut self,
        path: &StrLit,
        variable: &Variable,
        options: Option<&[Element]>,
    ) {
        let Some((loader, file)) = self.data_file(path) else {
            return;
        };
        if matches!(loader, DataLoader::Crt | DataLoader::Key) {
            let message = format!(
                "the loader `{}` (certificates and keys) is not available yet",
                loader.name()
            );
            self.error(path.span, message, None);
            return;
        }
        let Some(options) = self.data_options(loader, options.unwrap_or_default()) else {
            return;
        };
        let Some(text) = self.loader.load(&file) else {
            let written = String::from_utf8_lossy(&path.value).into_owned();
            self.error(path.span, format!("file not found: `{written}`"), None);
            return;
        };
        if !self.may_bind_data(variable, &file, loader) {
            return;
        }
        let constant = self.data_constant();
        let mut chain = vec![path.span];
        chain.extend(self.chain.iter().rev());
        self.data.push(DataImport {
            constant,
            loader,
            options,
            name: self.loader.display(&file),
            text,
            chain,
        });
        let binding = DataBinding {
            variable: variable.clone(),
            constant,
            file: (file, loader),
        };
        self.data_bindings
            .entry(self.module)
            .or_default()
            .push(binding);
    }

    /// The loader and the path below the root that a path literal names.
    fn data_file(&mut self, literal: &StrLit) -> Option<(DataLoader, String)> {
        let Ok(written) = std::str::from_utf8(&literal.value) else {
            self.error(literal.span, "a path must be UTF-8", None);
            return None;
        };
        let (loader, written) = match written.split_once('!') {
            Some((name, rest)) => {
                let Some(loader) = DataLoader::by_name(name) else {
                    let known = DataLoader::NAMES.iter().map(|(name, _)| *name);
                    let hint = match crate::suggest::nearest(name, known.clone()) {
                        Some(near) => format!("did you mean `{near}!`?"),
                        None => {
                            let known: Vec<&str> = known.collect();
                            format!("the loaders are {}", known.join(", "))
                        }
                    };
                    self.error(literal.span, format!("unknown loader `{name}`"), Some(hint));
                    return None;
                };
                (Some(loader), rest)
            }
            None => (None, written),
        };
        if written.starts_with("extras://") {
            self.error(
                literal.span,
                "data cannot be imported from a module",
                Some("functions and variables can: `import { name } from …`".to_owned()),
            );
            return None;
        }
        let from = self.source_path(literal.span);
        let Some(path) = resolve_path(written, &from) else {
            self.error(
                literal.span,
                format!("`{written}` leaves the root folder"),
                None,
            );
            return None;
        };
        Some((loader.unwrap_or_else(|| DataLoader::by_path(&path)), path))
    }

    /// The options as constants, checked by name and type.
    fn data_options(&mut self, loader: DataLoader, elements: &[Element]) -> Option<Const> {
        let known = loader.options();
        let mut entries = Vec::with_capacity(elements.len());
        let errors = self.error_count();
        for element in elements {
            let Element::Pair(pair) = element else {
                let span = match element {
                    Element::Value(value) => value.span,
                    Element::Spread(spread) => spread.value.span,
                    Element::Pair(pair) => pair.key.span,
                };
                self.error(
                    span,
                    "an option needs a name",
                    Some("write `\"name\" => value`".to_owned()),
                );
                continue;
            };
            let Pair { key, value, .. } = &**pair;
            let name = match fold(key) {
                Some(Const::Str(name)) => String::from_utf8_lossy(&name).into_owned(),
                _ => {
                    self.error(
                        key.span,
                        "the name of an option must be a constant string",
                        None,
                    );
                    continue;
                }
            };
            let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) else {
                let near = crate::suggest::nearest(&name, known.iter().map(|(name, _)| *name));
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                let message = format!("the loader `{}` has no option `{name}`", loader.name());
                self.error(key.span, message, hint);
                continue;
            };
            let Some(value_now) = fold(value) else {
                self.error(
                    value.span,
                    format!("the option `{name}` must be a constant"),
                    None,
                );
                continue;
            };
            if value_now == Const::None {
                continue;
            }
            if !kind.fits(&value_now) {
                self.error(
                    value.span,
                    format!("the option `{name}` must be {}", kind.name()),
                    None,
                );
                continue;
            }
            entries.push((Some(Const::Str(name.into_bytes().into())), value_now));
        }
        (self.error_count() == errors).then_some(Const::Array(entries))
    }

    /// Whether `variable` is free for the value of a data file here.
    fn may_bind_data(&mut self, variable: &Variable, file: &str, loader: DataLoader) -> bool {
        let name = &*variable.name;
        let same = self.bound_data(name).map(|binding| {
            let (bound, by) = &binding.file;
            bound == file && *by == loader
        });
        let message = match same {
            Some(true) => return true,
            Some(false) => format!("the variable ${name} exists already"),
            None if self.host_variables.contains_key(name) => {
                format!("the variable ${name} is predefined")
            }
            // In a session the variable takes the new value.
            None if self.session.is_some() => return true,
            None if self.module_mut().variables.contains_key(name)
                && self.module_mut().imported.contains(name) =>
            {
                format!("the variable ${name} exists already")
            }
            None => return true,
        };
        self.error(variable.span, message, None);
        false
    }

    /// The data import of this module that binds `name`.
    pub(crate) fn bound_data(&self, name: &str) -> Option<&DataBinding> {
        let mut bindings = self.data_bindings.get(&self.module)?.iter();
        bindings.find(|binding| *binding.variable.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::DataLoader;

    #[test]
    fn the_extension_chooses_the_loader() {
        for (path, loader) in [
            ("a.json", DataLoader::Json),
            ("a.YML", DataLoader::Yaml),
            ("a/b.csv", DataLoader::Csv),
            ("a.csv/b", DataLoader::Txt),
            ("a.html", DataLoader::Txt),
            ("a.pem", DataLoader::Crt),
            ("README", DataLoader::Txt),
        ] {
            assert_eq!(DataLoader::by_path(path), loader, "{path}");
        }
    }
}
