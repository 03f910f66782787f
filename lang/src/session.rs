//! Sessions: programs that are entered piece by piece (the REPL).
//!
//! Each piece is compiled to a program of its own against a [`Scope`] that remembers what the pieces before it
//! defined. Every top-level variable of a session is a global, and so is every function, so that a function that is
//! defined anew is the one that the older functions call from then on.

use crate::builtins::Builtins;
use crate::bytecode::Global;
use crate::compile::{Compiler, Mode, Named, compile};
use crate::hash::{HashMap, HashSet};
use crate::modules::{Loader, Loading, Module};
use crate::{Compiled, Rejected, Source};

/// What a session has defined so far.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub(crate) globals: Vec<Global>,
    modules: Vec<Module>,
    module_files: HashMap<String, Loading>,
    host_variables: HashMap<Box<str>, u32>,
    included: HashSet<String>,
    /// The index of the session's own scope among the modules.
    top: Option<usize>,
}

impl Scope {
    /// An empty session.
    #[must_use]
    pub fn new() -> Scope {
        Scope::default()
    }

    /// Compiles the next piece.
    ///
    /// # Errors
    /// All compile errors; the session is then as it was before.
    pub fn compile(
        &mut self,
        source: Source<'_>,
        builtins: &dyn Builtins,
        loader: &dyn Loader,
    ) -> Result<Compiled, Rejected> {
        compile(source, builtins, loader, Some(self), Mode::Quick)
    }

    /// The names of the variables that exist, without `$`, and the index of the global that each one is.
    pub fn variables(&self) -> impl Iterator<Item = (&str, u32)> {
        let module = self.top.and_then(|top| self.modules.get(top));
        module.into_iter().flat_map(|module| {
            module
                .variables
                .iter()
                .map(|(name, global)| (&**name, *global))
        })
    }

    /// The names of the functions that exist.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        let module = self.top.and_then(|top| self.modules.get(top));
        module
            .into_iter()
            .flat_map(|module| module.functions.keys().map(|name| &**name))
    }

    /// What is reached with `::` on the class `class` from outside: variables with `$`, and functions.
    #[must_use]
    pub fn statics(&self, class: &str) -> Vec<String> {
        let module = self.top.and_then(|top| self.modules.get(top));
        let info = match module.and_then(|module| module.functions.get(class)) {
            Some(Named::Class(info)) => info,
            Some(Named::Shared {
                class: Some(info), ..
            }) => info,
            _ => return Vec::new(),
        };
        let variables = info.variables.iter();
        let variables = variables
            .filter(|(_, variable)| !variable.private)
            .map(|(name, _)| format!("${name}"));
        let functions = info.functions.iter();
        let functions = functions
            .filter(|(_, (_, private))| !private)
            .map(|(name, _)| name.to_string());
        variables.chain(functions).collect()
    }

    pub(crate) fn restore(&self, compiler: &mut Compiler<'_>) {
        compiler.globals.clone_from(&self.globals);
        compiler.host_variables.clone_from(&self.host_variables);
        compiler.modules.clone_from(&self.modules);
        compiler.module_files.clone_from(&self.module_files);
        compiler.included.clone_from(&self.included);
        if self.top.is_none() {
            compiler.add_host_variables();
        }
    }

    /// The scope that a piece starts with: that of the pieces before it.
    pub(crate) fn start(&self) -> Module {
        self.top
            .and_then(|top| self.modules.get(top))
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn save(&mut self, compiler: &mut Compiler<'_>, top: usize) {
        self.globals.clone_from(&compiler.globals);
        self.host_variables = std::mem::take(&mut compiler.host_variables);
        self.modules = std::mem::take(&mut compiler.modules);
        self.module_files = std::mem::take(&mut compiler.module_files);
        self.included = std::mem::take(&mut compiler.included);
        self.top = Some(top);
    }
}

/// Whether `text` is a whole piece, or brackets, strings or comments are still open in it.
#[must_use]
pub fn is_complete(text: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let rest = &text[at..];
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                at += 1;
                loop {
                    match text.get(at) {
                        None => return false,
                        Some(b'\\') => at += 2,
                        Some(b'"') => break,
                        Some(_) => at += 1,
                    }
                }
            }
            b'\'' => {
                // ''…'' with a delimiter between the quotes. A quote that begins none is a mistake that the
                // compiler explains, and no line that follows mends it.
                let delimiter = rest[1..].iter().take_while(|byte| is_delimiter(**byte));
                let length = delimiter.count() + 2;
                if let Some(mark) = rest.get(..length).filter(|mark| mark.ends_with(b"'")) {
                    let Some(end) = find(&rest[length..], mark) else {
                        return false;
                    };
                    at += length + end + length - 1;
                }
            }
            b'/' if rest.starts_with(b"//") => {
                at += rest
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .unwrap_or(rest.len());
                continue;
            }
            b'/' if rest.starts_with(b"/*") => match find(&rest[2..], b"*/") {
                Some(end) => at += end + 3,
                None => return false,
            },
            b'#' if rest.starts_with(b"#/") => {
                at += 2;
                while let Some(byte) = text.get(at).filter(|byte| !matches!(byte, b'/' | b'\n')) {
                    at += if *byte == b'\\' { 2 } else { 1 };
                }
            }
            _ => {}
        }
        at += 1;
    }
    depth == 0
}

/// Whether a byte may stand in the delimiter of a raw string (language.md 1.6).
fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'\''
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn open_brackets_strings_and_comments_want_more() {
        for whole in [
            "",
            "echo 1",
            "f(1, [2]);",
            "\"(\"",
            "''(''",
            "'#'it's''('#'",
            "// (",
            "/* ( */",
            "x =~ #/[(]/",
            "}",
            "$x = 'two words'",
            "'",
            "$x = 'a",
        ] {
            assert!(is_complete(whole.as_bytes()), "{whole}");
        }
        for open in [
            "f(", "if (1) {", "\"abc", "\"a\\\"", "''abc", "'#'abc''", "/* x", "[1,\n2",
        ] {
            assert!(!is_complete(open.as_bytes()), "{open}");
        }
    }
}
