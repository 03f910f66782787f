//! YAML 1.2.2, core schema: `yaml_decode`, and the loader of data imports with its tags (language.md 16.3).
//!
//! Values are built from the parser's events without recursion. What anchors copy is bounded, so that no text of a few
//! lines grows into gigabytes.

use std::collections::HashMap;
use std::sync::Arc;

use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::to_str;
use angarium_runtime::data::DataFault;
use angarium_runtime::host::RegexEngine as _;
use angarium_runtime::library::Library;
use angarium_runtime::map_set;
use angarium_runtime::memory;
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Throw};
use angarium_runtime::regex::Regex;
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::heavy::{self, Failure};
use crate::regexp::ENGINE;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[FnDecl::heavy(
    "yaml_decode(string: string, options?: array): any|none",
    "Decodes the first document of a YAML text: mappings and sequences become arrays, null becomes none. Merge keys \
     (`<<`) are followed, tags of other applications ignored. An error gives none, as do anchors that copy more than \
     10,000 values.",
    yaml_decode,
)
.since("5.4")
.example("yaml_decode(\"a: [1, yes, ~]\") // [\"a\"=>[0=>1,1=>\"yes\",2=>none]]")];

/// Deepest nesting.
const MAX_DEPTH: usize = 256;
/// Most values that aliases may copy.
const MAX_COPIED: usize = 10_000;

fn yaml_decode(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let size = args.bytes(0).len();
    heavy::run(cx, size, &args.values[..1], |values| {
        let text = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        let value = decode(text, None);
        if memory::exceeded() {
            return Err(Failure::Memory);
        }
        Ok(value.unwrap_or_default())
    })
}

/// The value of a text's first document. With a library the tags `!Map`, `!Set`, `!Regex` … make objects of its
/// classes, without one all tags of applications are ignored.
///
/// # Errors
/// What is wrong with the text and where.
pub fn decode(text: &[u8], library: Option<&Library>) -> Result<Value, DataFault> {
    let text = std::str::from_utf8(text)
        .map_err(|error| DataFault::at(error.valid_up_to(), "the file is not UTF-8 text"))?;
    let mut builder = Builder {
        text,
        library,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
        nodes: 0,
        copied: 0,
    };
    builder.run()?;
    Ok(builder.root.unwrap_or_default())
}

/// A value that an anchor names.
struct Anchored {
    value: Value,
    /// Number of values in it.
    weight: usize,
    /// Levels of lists and maps in it.
    depth: usize,
}

/// What a collection becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    List,
    Map,
    /// `!Map`
    MapObject,
    /// `!Set`
    SetObject,
}

/// A list or map whose end has not come yet.
struct Open {
    shape: Shape,
    array: Array,
    /// In a map, the key whose value comes next.
    key: Option<Key>,
    /// The value that comes next is to be merged.
    merge: bool,
    anchor: usize,
    weight: usize,
    depth: usize,
}

impl Open {
    fn expects_key(&self) -> bool {
        matches!(self.shape, Shape::Map | Shape::MapObject) && self.key.is_none() && !self.merge
    }
}

struct Builder<'a> {
    text: &'a str,
    library: Option<&'a Library>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Value>,
    documents: usize,
    nodes: usize,
    copied: usize,
}

impl Builder<'_> {
    fn fault(&self, at: Marker, message: impl Into<String>) -> DataFault {
        DataFault::at_line(self.text.as_bytes(), at.line(), at.col() + 1, message)
    }

    fn run(&mut self) -> Result<(), DataFault> {
        let text = self.text;
        for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            let (event, span) = event.map_err(|error| {
                self.fault(
                    *error.marker(),
                    format!("this is not YAML: {}", error.info()),
                )
            })?;
            let at = span.start;
            match event {
                Event::DocumentStart(_) => {
                    self.documents += 1;
                    self.anchors.clear();
                }
                // The others are only checked.
                _ if self.documents > 1 => {}
                Event::Scalar(text, style, anchor, tag) => {
                    let value = self.scalar(&text, style, tag.as_deref(), at)?;
                    let merge = &*text == "<<" && style == ScalarStyle::Plain && tag.is_none();
                    self.add(value, merge, anchor, at)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    let shape = match class_tag(tag.as_deref()) {
                        Some("Set") if self.library.is_some() => Shape::SetObject,
                        class => self
                            .no_class(class, "a sequence", at)
                            .map(|()| Shape::List)?,
                    };
                    self.begin(shape, anchor, at)?;
                }
                Event::MappingStart(anchor, tag) => {
                    let shape = match class_tag(tag.as_deref()) {
                        Some("Map") if self.library.is_some() => Shape::MapObject,
                        class => self.no_class(class, "a mapping", at).map(|()| Shape::Map)?,
                    };
                    self.begin(shape, anchor, at)?;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some(open) = self.open.pop() {
                        let (anchor, weight, depth) = (open.anchor, open.weight, open.depth + 1);
                        let value = self.closed(open);
                        self.place(value, weight, depth, anchor, at)?;
                    }
                }
                Event::Alias(anchor) => self.alias(anchor, at)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    /// Refuses the tag of a class that is not made of this kind of node.
    fn no_class(&self, class: Option<&str>, node: &str, at: Marker) -> Result<(), DataFault> {
        match class {
            Some(class) if self.library.is_some() => {
                Err(self.fault(at, format!("the tag !{class} does not fit {node}")))
            }
            _ => Ok(()),
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Marker,
    ) -> Result<Value, DataFault> {
        if let (Some(class), Some(library)) = (class_tag(tag), self.library) {
            return self.object(class, text, library, at);
        }
        let plain = style == ScalarStyle::Plain;
        match tag {
            Some(tag) if tag.is_yaml_core_schema() => {
                let value = resolve(text);
                let right = match tag.suffix.as_str() {
                    "null" => value.is_none(),
                    "bool" => matches!(value, Value::Boolean(_)),
                    "int" | "float" => matches!(value, Value::Number(_)),
                    _ => return Ok(Value::from(text)),
                };
                if right {
                    Ok(value)
                } else {
                    let message = format!("{text:?} is no value of the tag !!{}", tag.suffix);
                    Err(self.fault(at, message))
                }
            }
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(Value::from(text)),
            _ if plain => Ok(resolve(text)),
            _ => Ok(Value::from(text)),
        }
    }

    /// The object that a scalar with the tag of a class stands for.
    fn object(
        &self,
        class: &str,
        text: &str,
        library: &Library,
        at: Marker,
    ) -> Result<Value, DataFault> {
        match class {
            "Regex" => match ENGINE.compile_text(text.as_bytes()) {
                Ok(compiled) => Ok(Regex::value(compiled, library)),
                Err((message, _)) => {
                    Err(self.fault(at, format!("bad regular expression: {message}")))
                }
            },
            "MailMessage" => Ok(crate::message::message(
                &Arc::from(text.as_bytes()),
                library,
            )),
            "X509" | "PrivateKey" => {
                Err(self.fault(at, format!("the tag !{class} is not available yet")))
            }
            _ => Err(self.fault(at, format!("the tag !{class} does not fit a scalar"))),
        }
    }

    fn begin(&mut self, shape: Shape, anchor: usize, at: Marker) -> Result<(), DataFault> {
        if self.open.last().is_some_and(Open::expects_key) {
            return Err(self.fault(at, "a key must be a scalar"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fault(at, "lists and maps are nested too deep"));
        }
        self.open.push(Open {
            shape,
            array: Array::new(),
            key: None,
            merge: false,
            anchor,
            weight: 1,
            depth: 0,
        });
        Ok(())
    }

    fn closed(&self, open: Open) -> Value {
        let texts = |key: &Value| to_str(key);
        match (open.shape, self.library) {
            (Shape::MapObject, Some(library)) => {
                let entries = open.array.iter();
                let entries = entries.map(|(key, value)| (texts(&key.to_value()), value.clone()));
                map_set::map_of(entries, library)
            }
            (Shape::SetObject, Some(library)) => {
                let keys: Vec<Str> = open.array.iter().map(|(_, value)| texts(value)).collect();
                map_set::set_of(keys, library)
            }
            _ => open.array.into(),
        }
    }

    /// Adds a scalar, which may be a key.
    fn add(
        &mut self,
        value: Value,
        merge: bool,
        anchor: usize,
        at: Marker,
    ) -> Result<(), DataFault> {
        let Some(open) = self.open.last_mut().filter(|open| open.expects_key()) else {
            return self.place(value, 1, 0, anchor, at);
        };
        if merge {
            open.merge = true;
            return Ok(());
        }
        let key = key(&value);
        open.key = Some(key);
        if anchor != 0 {
            let anchored = Anchored {
                value,
                weight: 1,
                depth: 0,
            };
            self.anchors.insert(anchor, anchored);
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), DataFault> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(self.fault(at, "this alias stands inside what it refers to"));
        };
        let (value, weight, depth) = (anchored.value.clone(), anchored.weight, anchored.depth);
        self.copied = self.copied.saturating_add(weight);
        if self.copied > MAX_COPIED {
            return Err(self.fault(at, "the aliases of this text copy more than 10000 values"));
        }
        if self.open.len() + depth > MAX_DEPTH {
            return Err(self.fault(at, "lists and maps are nested too deep"));
        }
        match self.open.last_mut().filter(|open| open.expects_key()) {
            Some(_) if depth > 0 => Err(self.fault(at, "a key must be a scalar")),
            Some(open) => {
                open.key = Some(key(&value));
                Ok(())
            }
            None => self.place(value, weight, depth, 0, at),
        }
    }

    /// Puts a whole value where it belongs.
    fn place(
        &mut self,
        value: Value,
        weight: usize,
        depth: usize,
        anchor: usize,
        at: Marker,
    ) -> Result<(), DataFault> {
        self.nodes += 1;
        if self.nodes.is_multiple_of(1024) && memory::exceeded() {
            return Err(self.fault(at, "out of memory"));
        }
        if anchor != 0 {
            let anchored = Anchored {
                value: value.clone(),
                weight,
                depth,
            };
            self.anchors.insert(anchor, anchored);
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        open.weight = open.weight.saturating_add(weight);
        open.depth = open.depth.max(depth);
        match open.shape {
            Shape::List => open.array.push(value),
            Shape::SetObject if depth > 0 => {
                return Err(self.fault(at, "the keys of a Set must be scalars"));
            }
            Shape::SetObject => open.array.push(value),
            Shape::Map | Shape::MapObject if open.merge => {
                open.merge = false;
                if !merge(&mut open.array, &value) {
                    return Err(self.fault(at, "only mappings can be merged"));
                }
            }
            Shape::Map | Shape::MapObject => {
                if let Some(key) = open.key.take() {
                    open.array.insert(key, value);
                }
            }
        }
        Ok(())
    }
}

/// Adds the entries of a mapping, or of each of a list of mappings, whose keys are not there yet.
fn merge(array: &mut Array, value: &Value) -> bool {
    let Some(view) = value.as_array() else {
        return false;
    };
    if view.is_list() && !view.is_empty() {
        let mut merged = true;
        for value in view.values() {
            let is_map = value
                .as_array()
                .is_some_and(|view| view.is_empty() || !view.is_list());
            merged = merged && is_map && merge(array, &value);
        }
        return merged;
    }
    for (key, value) in view.iter() {
        if !array.contains(&key) {
            array.insert(key, value);
        }
    }
    true
}

/// The class of the library that a tag names.
fn class_tag(tag: Option<&Tag>) -> Option<&str> {
    let tag = tag?;
    let name = match tag.handle.as_str() {
        "!" => tag.suffix.as_str(),
        "" => tag.suffix.strip_prefix('!')?,
        _ => return None,
    };
    let known = ["Map", "Set", "Regex", "MailMessage", "X509", "PrivateKey"];
    known.contains(&name).then_some(name)
}

/// The key that a scalar is: numbers without decimals are integers, what has no key of its own is its text.
fn key(value: &Value) -> Key {
    match value {
        Value::None => Key::None,
        other => Key::from_string(to_str(other)),
    }
}

/// What a plain scalar means (YAML 1.2.2 §10.3.2).
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::None,
        "true" | "True" | "TRUE" => return Value::Boolean(true),
        "false" | "False" | "FALSE" => return Value::Boolean(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Number(f64::NAN),
        _ => {}
    }
    let based = |digits: &str, base: u32| {
        let valid = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base));
        valid.then(|| {
            let digits = digits.chars().filter_map(|digit| digit.to_digit(base));
            digits.fold(0.0, |sum, digit| sum * f64::from(base) + f64::from(digit))
        })
    };
    let number = if let Some(digits) = text.strip_prefix("0o") {
        based(digits, 8)
    } else if let Some(digits) = text.strip_prefix("0x") {
        based(digits, 16)
    } else {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        match unsigned {
            ".inf" | ".Inf" | ".INF" if text.starts_with('-') => Some(f64::NEG_INFINITY),
            ".inf" | ".Inf" | ".INF" => Some(f64::INFINITY),
            _ if is_decimal(unsigned) => text.parse().ok(),
            _ => None,
        }
    };
    number.map_or_else(|| Value::from(text), Value::Number)
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|part| {
        let part = part.strip_prefix(['-', '+']).unwrap_or(part);
        !part.is_empty() && digits(part)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_fits
}

#[cfg(test)]
mod tests {
    use angarium_runtime::convert::dump;

    use super::*;

    fn dumped(text: &str) -> String {
        match decode(text.as_bytes(), None) {
            Ok(value) => String::from_utf8(dump(&value)).unwrap(),
            Err(fault) => format!("{}: {}", fault.offset.unwrap(), fault.message),
        }
    }

    #[test]
    fn the_core_schema_resolves_scalars() {
        for (text, expected) in [
            (
                "[1, -1.5e3, 0x1F, 0o17, .inf, 010]",
                "[0=>1,1=>-1500,2=>31,3=>15,4=>Infinity,5=>10]",
            ),
            (
                "[true, yes, ~, \"1\", !!str 1]",
                "[0=>true,1=>\"yes\",2=>none,3=>\"1\",4=>\"1\"]",
            ),
            (
                "{1: a, 1.5: b, true: c, ~: d, '2': e}",
                "[1=>\"a\",\"1.5\"=>\"b\",\"true\"=>\"c\",none=>\"d\",2=>\"e\"]",
            ),
            ("", "none"),
            ("a\n---\nb", "\"a\""),
            ("!Map {a: !foo b}", "[\"a\"=>\"b\"]"),
        ] {
            assert_eq!(dumped(text), expected, "{text}");
        }
    }

    #[test]
    fn anchors_and_merge_keys_are_followed() {
        assert_eq!(
            dumped("a: &a {x: 1, y: 2}\nb: {x: 3, <<: *a}\nc: *a\nd: {<<: [*a, {z: 1}], y: 9}"),
            "[\"a\"=>[\"x\"=>1,\"y\"=>2],\"b\"=>[\"x\"=>3,\"y\"=>2],\"c\"=>[\"x\"=>1,\"y\"=>2],\
             \"d\"=>[\"x\"=>1,\"y\"=>9,\"z\"=>1]]"
        );
        let laughs = (0..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
            format!(
                "{text}a{}: &a{} [*a{level}, *a{level}]\n",
                level + 1,
                level + 1
            )
        });
        assert!(dumped(&laughs).ends_with("copy more than 10000 values"));
    }

    #[test]
    fn errors_have_places() {
        assert_eq!(
            dumped("a: 1\nb: [1"),
            "5: this is not YAML: while parsing a flow sequence, expected ',' or ']'"
        );
        assert_eq!(dumped("? [a]\n: b"), "2: a key must be a scalar");
        assert_eq!(
            dumped("a: *b"),
            "3: this is not YAML: while parsing node, found unknown anchor"
        );
        assert!(decode(b"a: \xff", None).is_err());
        assert!(decode("[".repeat(100_000).as_bytes(), None).is_err());
    }
}
