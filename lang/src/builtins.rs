//! What the compiler knows of built-in functions: signatures as data.
//!
//! The host's table writes each signature once, in the notation of the reference
//! (`str_split(string: string, delimiter: string, limit?: number = 0): array`); [`Signature::parse`] takes it apart.
//! The compiler checks arities with it, the VM converts arguments with it, the linter and the manual print it.

use std::fmt;

/// A type in a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Any value, `none` too.
    Any,
    /// `none`
    None,
    /// `boolean`
    Boolean,
    /// `number`
    Number,
    /// `string`
    String,
    /// `array`, also with an element type (`array<string>`), which only documents.
    Array,
    /// `function`
    Function,
    /// `object` of any class.
    Object,
    /// `resource` of any kind.
    Resource,
    /// A variable itself (`isset`, `unset`).
    Variable,
    /// An instance of this class, or a resource of this name.
    Named(&'static str),
}

impl Type {
    fn parse(text: &'static str) -> Type {
        match text {
            "any" => Type::Any,
            "none" => Type::None,
            "boolean" => Type::Boolean,
            "number" => Type::Number,
            "string" => Type::String,
            "function" => Type::Function,
            "object" => Type::Object,
            "resource" => Type::Resource,
            "variable" => Type::Variable,
            _ if text == "array" || text.starts_with("array<") => Type::Array,
            _ => Type::Named(text),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Any => "any",
            Type::None => "none",
            Type::Boolean => "boolean",
            Type::Number => "number",
            Type::String => "string",
            Type::Array => "array",
            Type::Function => "function",
            Type::Object => "object",
            Type::Resource => "resource",
            Type::Variable => "variable",
            Type::Named(name) => name,
        })
    }
}

/// A parameter of a signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// The types it takes, as written (`array<string>` keeps its element type here).
    pub written: Vec<&'static str>,
    /// The types it takes.
    pub types: Vec<Type>,
    /// Whether it may be left out.
    pub optional: bool,
    /// The printed default.
    pub default: Option<&'static str>,
    /// Whether it takes all remaining arguments.
    pub variadic: bool,
}

/// A signature taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// The function's name.
    pub name: &'static str,
    /// Its parameters in order.
    pub params: Vec<Param>,
    /// The types it returns, as written; empty when it does not return (a terminating function).
    pub returns: Vec<&'static str>,
}

impl Signature {
    /// Least number of arguments.
    #[must_use]
    pub fn required(&self) -> usize {
        self.params
            .iter()
            .filter(|param| !param.optional && !param.variadic)
            .count()
    }

    /// Greatest number of arguments; none when there is no bound.
    #[must_use]
    pub fn most(&self) -> Option<usize> {
        if self.params.iter().any(|param| param.variadic) {
            None
        } else {
            Some(self.params.len())
        }
    }

    /// Takes `text` apart.
    ///
    /// # Errors
    /// The position and what was expected there. A declaration that does not parse is a mistake of the table, so a
    /// test parses them all.
    pub fn parse(text: &'static str) -> Result<Signature, String> {
        let fail = |what: &str| Err(format!("{what} expected in signature `{text}`"));
        let Some(open) = text.find('(') else {
            return fail("(");
        };
        let name = text[..open].trim();
        let Some(close) = text.rfind(')') else {
            return fail(")");
        };
        if close < open || name.is_empty() {
            return fail("name(parameters)");
        }
        let mut params = Vec::new();
        for part in split_outside_brackets(&text[open + 1..close], ',') {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let (part, variadic) = part
                .strip_prefix("...")
                .map_or((part, false), |rest| (rest, true));
            let (part, default) = match part.split_once('=') {
                Some((part, default)) => (part.trim(), Some(default.trim())),
                None => (part, None),
            };
            let Some((name, types)) = part.split_once(':') else {
                return fail("name: type");
            };
            let (name, optional) = name
                .trim()
                .strip_suffix('?')
                .map_or((name.trim(), false), |name| (name, true));
            let written = split_outside_brackets(types.trim(), '|');
            params.push(Param {
                name,
                types: written.iter().map(|text| Type::parse(text)).collect(),
                written,
                optional,
                default,
                variadic,
            });
        }
        let returns = match text[close + 1..].trim().strip_prefix(':') {
            Some(types) => split_outside_brackets(types.trim(), '|'),
            None => Vec::new(),
        };
        Ok(Signature {
            name,
            params,
            returns,
        })
    }
}

/// Splits at `separator` where no `<`, `[` or quote is open.
fn split_outside_brackets(text: &'static str, separator: char) -> Vec<&'static str> {
    let mut parts = Vec::new();
    let (mut depth, mut quoted, mut start) = (0_i32, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '<' | '[' | '(' => depth += 1,
            '>' | ']' | ')' => depth -= 1,
            c if c == separator && depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

/// What a name means to the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// Function with this index in the host's table.
    Function(u32),
    /// Class with this index in the host's table.
    Class(u32),
}

/// The built-ins of one script context, as the compiler sees them.
///
/// The host implements this over its table; names are looked up once, at compile time.
pub trait Builtins {
    /// The function or class called `name`.
    fn lookup(&self, name: &str) -> Option<Builtin>;
    /// The signature of function or class constructor `builtin`.
    fn signature(&self, builtin: Builtin) -> &Signature;
    /// Whether `builtin` is pure grammar (`isset`, `array`).
    fn is_construct(&self, builtin: Builtin) -> bool;
    /// The static method `name` of class `class`: its index among the functions.
    fn static_method(&self, class: u32, name: &str) -> Option<u32>;
    /// The signature of the function with this index (static methods too).
    fn function_signature(&self, function: u32) -> &Signature;
    /// The names of the static methods of class `class`, for "did you mean".
    fn static_names(&self, class: u32) -> Vec<&'static str> {
        let _ = class;
        Vec::new()
    }
    /// The names of all methods of all classes, for "did you mean".
    fn methods(&self) -> Vec<&'static str> {
        Vec::new()
    }
    /// Option keys that methods called `method` take in the argument at `place`; none when one of them takes no options
    /// there or they are not known.
    fn method_options(&self, method: &str, place: usize) -> Option<Vec<&'static str>> {
        let _ = (method, place);
        None
    }
    /// Predefined variables (without `$`) and whether they may be written.
    fn variables(&self) -> &[(&'static str, bool)];
    /// All names, for "did you mean".
    fn names(&self) -> Vec<&'static str>;
    /// A hint for a name that this context lacks and others have.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
    /// Option keys that a function knows, for the linter; none when it takes no options array.
    fn option_names(&self, builtin: Builtin) -> Option<Vec<&'static str>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_taken_apart() {
        let signature = Signature::parse(
            "str_split(string: string, delimiter: string, limit?: number = 0): array",
        )
        .unwrap();
        assert_eq!(signature.name, "str_split");
        assert_eq!((signature.required(), signature.most()), (2, Some(3)));
        assert_eq!(signature.params[2].default, Some("0"));
        assert_eq!(signature.returns, ["array"]);
    }

    #[test]
    fn unions_defaults_with_commas_and_rest_parameters_are_understood() {
        let signature = Signature::parse(
            "f(a: string|array<[string,string]>, b?: string = \" ,\", ...rest: any)",
        )
        .unwrap();
        assert_eq!(signature.params[0].types, [Type::String, Type::Array]);
        assert_eq!(signature.params[1].default, Some("\" ,\""));
        assert!(signature.params[2].variadic);
        assert_eq!(signature.most(), None);
        assert!(signature.returns.is_empty());
    }

    #[test]
    fn a_bad_declaration_says_what_is_missing() {
        assert!(Signature::parse("broken").is_err());
        assert!(Signature::parse("f(x)").is_err());
    }
}
