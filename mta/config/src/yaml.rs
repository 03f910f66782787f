//! YAML text to a tree of located nodes (YAML 1.2.2, core schema).
//!
//! The tree keeps the order of keys and where each key and value stands, so that every later check
//! can point at a line. It is built from the parser's events without recursion and within bounds:
//! depth, number of nodes and what aliases expand to are limited, so no text of a few lines can
//! grow into gigabytes. Tags other than those of the core schema are refused, as are a second
//! document, a key that stands twice and a key that is no scalar.

mod node;

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

pub use node::{Entry, Node, Position, Value};

/// Deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 64;
/// Most nodes in one file.
pub const MAX_NODES: usize = 1_000_000;
/// Most bytes that anchors and aliases may copy.
pub const MAX_COPIED: usize = 16 << 20;

/// What is wrong with a text as YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub position: Option<Position>,
    /// What, as a sentence.
    pub message: String,
}

/// Parses a text. An empty one is an empty map.
///
/// # Errors
/// Everything that is wrong: keys that stand twice are all reported, after a syntax error nothing
/// more is.
pub fn parse(bytes: &[u8]) -> Result<Node, Vec<Fault>> {
    let text = std::str::from_utf8(bytes).map_err(|error| vec![not_utf8(bytes, &error)])?;
    let mut builder = Builder::default();
    match builder.run(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        Err(fault) => builder.faults.push(fault),
        Ok(()) if builder.faults.is_empty() => {
            return Ok(match builder.root {
                Some(Node {
                    value: Value::Null, ..
                })
                | None => Node::map(),
                Some(root) => root,
            });
        }
        Ok(()) => {}
    }
    Err(builder.faults)
}

fn not_utf8(bytes: &[u8], error: &std::str::Utf8Error) -> Fault {
    let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let on_line = String::from_utf8_lossy(before.get(line_start..).unwrap_or_default());
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    Fault {
        position: Some(Position {
            line,
            column: on_line.chars().count() + 1,
        }),
        message: "the file is not UTF-8 text".to_owned(),
    }
}

/// A list or map whose end has not come yet.
struct Open {
    anchor: usize,
    node: Node,
    /// In a map, the key whose value comes next.
    key: Option<(String, Option<Position>)>,
    /// The keys of the map so far.
    seen: BTreeSet<String>,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    root: Option<Node>,
    faults: Vec<Fault>,
    nodes: usize,
    copied: usize,
}

impl Builder {
    fn run(&mut self, text: &str) -> Result<(), Fault> {
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| Fault {
                position: Some(position(*error.marker())),
                message: format!("this is not YAML: {}", error.info()),
            })?;
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(fault(
                            span,
                            "a second document begins here; the file must hold one",
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let value = scalar(&text, style, tag.as_deref(), span)?;
                    self.add(value, &text, anchor, span)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    collection_tag(tag.as_deref(), "seq", span)?;
                    self.begin(Value::List(Vec::new()), anchor, span)?;
                }
                Event::MappingStart(anchor, tag) => {
                    collection_tag(tag.as_deref(), "map", span)?;
                    self.begin(Value::Map(Vec::new()), anchor, span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some(open) = self.open.pop() {
                        self.place(open.node, open.anchor, span)?;
                    }
                }
                Event::Alias(anchor) => {
                    let node = self.anchors.get(&anchor).cloned();
                    let node = node
                        .ok_or_else(|| fault(span, "this alias stands inside what it refers to"))?;
                    self.copied = self.copied.saturating_add(node.weight());
                    self.nodes = self.nodes.saturating_add(node.count());
                    if self.copied > MAX_COPIED || self.nodes > MAX_NODES {
                        return Err(fault(span, "the aliases of this file expand to too much"));
                    }
                    if self.open.len() + node.depth() > MAX_DEPTH {
                        return Err(fault(span, "this alias nests deeper than 64 levels"));
                    }
                    if self.expects_key() {
                        let Value::Text(text) = &node.value else {
                            return Err(fault(span, "a key must be a string"));
                        };
                        let text = text.clone();
                        self.add(node.value, &text, 0, span)?;
                    } else {
                        // The value stands where the alias stands: that is the line to mend.
                        self.place(
                            Node {
                                position: Some(position(span.start)),
                                ..node
                            },
                            0,
                            span,
                        )?;
                    }
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.node.value, Value::Map(_)) && open.key.is_none())
    }

    fn begin(&mut self, value: Value, anchor: usize, span: Span) -> Result<(), Fault> {
        if self.expects_key() {
            return Err(fault(span, "a key must be a string"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(fault(span, "lists and maps nest deeper than 64 levels"));
        }
        let node = Node {
            position: Some(position(span.start)),
            value,
            dropped: false,
        };
        self.open.push(Open {
            anchor,
            node,
            key: None,
            seen: BTreeSet::new(),
        });
        Ok(())
    }

    /// Adds a scalar, which may be a key.
    fn add(&mut self, value: Value, text: &str, anchor: usize, span: Span) -> Result<(), Fault> {
        let at = Some(position(span.start));
        if !self.expects_key() {
            return self.place(
                Node {
                    position: at,
                    value,
                    dropped: false,
                },
                anchor,
                span,
            );
        }
        if matches!(value, Value::Null) {
            return Err(fault(span, "a key must be a string"));
        }
        if anchor != 0 {
            self.anchors.insert(
                anchor,
                Node {
                    position: at,
                    value: Value::Text(text.to_owned()),
                    dropped: false,
                },
            );
        }
        if let Some(open) = self.open.last_mut() {
            if !open.seen.insert(text.to_owned()) {
                self.faults.push(fault(
                    span,
                    &format!("the key {text:?} stands twice in this map"),
                ));
            }
            open.key = Some((text.to_owned(), at));
        }
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn place(&mut self, node: Node, anchor: usize, span: Span) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(fault(span, "the file has more than a million values"));
        }
        if anchor != 0 {
            self.copied = self.copied.saturating_add(node.weight());
            if self.copied > MAX_COPIED {
                return Err(fault(span, "the anchors of this file hold too much"));
            }
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open {
                node:
                    Node {
                        value: Value::List(items),
                        ..
                    },
                ..
            }) => items.push(node),
            Some(Open {
                node:
                    Node {
                        value: Value::Map(entries),
                        ..
                    },
                key,
                ..
            }) => {
                if let Some((key, position)) = key.take() {
                    entries.push(Entry {
                        key,
                        position,
                        node,
                    });
                }
            }
            Some(_) => {}
        }
        Ok(())
    }
}

fn position(marker: Marker) -> Position {
    Position {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

fn fault(span: Span, message: &str) -> Fault {
    Fault {
        position: Some(position(span.start)),
        message: message.to_owned(),
    }
}

fn collection_tag(tag: Option<&Tag>, core: &str, span: Span) -> Result<(), Fault> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == core) => {
            Err(unknown_tag(tag, span))
        }
        _ => Ok(()),
    }
}

fn unknown_tag(tag: &Tag, span: Span) -> Fault {
    fault(
        span,
        &format!(
            "the tag {}{} is not allowed in a configuration file",
            tag.handle, tag.suffix
        ),
    )
}

/// Resolves a scalar (YAML 1.2.2 §10.3.2).
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Value, Fault> {
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => plain(text).ok_or_else(|| fault(span, "a number must be finite")),
            _ => Ok(Value::Text(text.to_owned())),
        };
    };
    if tag.handle.is_empty() && tag.suffix == "!"
        || tag.is_yaml_core_schema() && tag.suffix == "str"
    {
        return Ok(Value::Text(text.to_owned()));
    }
    if !tag.is_yaml_core_schema() {
        return Err(unknown_tag(tag, span));
    }
    match (tag.suffix.as_str(), plain(text)) {
        ("null", Some(value @ Value::Null)) | ("bool", Some(value @ Value::Bool(_))) => Ok(value),
        ("int" | "float", Some(value @ Value::Number(_))) => Ok(value),
        ("null" | "bool" | "int" | "float", _) => Err(fault(
            span,
            &format!("{text:?} is no value of the tag !!{}", tag.suffix),
        )),
        _ => Err(unknown_tag(tag, span)),
    }
}

/// What a plain scalar means; `None` for infinities and not-a-number.
pub(crate) fn plain(text: &str) -> Option<Value> {
    let number = |number: Option<serde_json::Number>| number.map(Value::Number);
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
            if matches!(unsigned, ".inf" | ".Inf" | ".INF")
                || matches!(text, ".nan" | ".NaN" | ".NAN")
            {
                return None;
            }
            let based = |digits: &str, base| {
                let value = u64::from_str_radix(digits, base)
                    .ok()
                    .filter(|_| !digits.starts_with('+'));
                value.map_or_else(
                    || Value::Text(text.to_owned()),
                    |value| Value::Number(value.into()),
                )
            };
            if let Some(digits) = text.strip_prefix("0o") {
                return Some(based(digits, 8));
            }
            if let Some(digits) = text.strip_prefix("0x") {
                return Some(based(digits, 16));
            }
            if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
                let positive = text.strip_prefix('+').unwrap_or(text);
                if let Ok(whole) = positive.parse::<u64>() {
                    return Some(Value::Number(whole.into()));
                }
                if let Ok(whole) = positive.parse::<i64>() {
                    return Some(Value::Number(whole.into()));
                }
            }
            if is_float(unsigned) {
                return number(text.parse().ok().and_then(serde_json::Number::from_f64));
            }
            Value::Text(text.to_owned())
        }
    })
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|part| {
        let part = part.strip_prefix(['-', '+']).unwrap_or(part);
        !part.is_empty() && digits(part)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> serde_json::Value {
        parse(text.as_bytes())
            .unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
            .to_json()
    }

    fn faults(text: &str) -> Vec<String> {
        let faults = parse(text.as_bytes()).expect_err(text);
        let line = |fault: &Fault| {
            let at = fault.position.unwrap_or(Position { line: 0, column: 0 });
            format!("{}:{} {}", at.line, at.column, fault.message)
        };
        faults.iter().map(line).collect()
    }

    #[test]
    fn scalars_resolve_by_the_core_schema() {
        let rows = [
            ("a: 5.6", serde_json::json!({"a": 5.6})),
            ("a: '5.6'", serde_json::json!({"a": "5.6"})),
            ("a: !!str 5.6", serde_json::json!({"a": "5.6"})),
            ("a: 0027", serde_json::json!({"a": 27})),
            ("a: 0x1F", serde_json::json!({"a": 31})),
            ("a: 0o17", serde_json::json!({"a": 15})),
            ("a: -3", serde_json::json!({"a": -3})),
            ("a: yes", serde_json::json!({"a": "yes"})),
            ("a:", serde_json::json!({"a": null})),
            ("a: 1e3", serde_json::json!({"a": 1000.0})),
            ("a: 1.2.3", serde_json::json!({"a": "1.2.3"})),
            (
                "a: 18446744073709551616",
                serde_json::json!({"a": 18_446_744_073_709_551_616.0}),
            ),
            ("a: |\n  x\n  y\n", serde_json::json!({"a": "x\ny\n"})),
            ("", serde_json::json!({})),
            ("# nothing\n", serde_json::json!({})),
            ("\u{feff}a: 1", serde_json::json!({"a": 1})),
        ];
        for (text, expected) in rows {
            assert_eq!(json(text), expected, "{text}");
        }
    }

    #[test]
    fn positions_point_at_keys_and_values() {
        let root = parse(b"a: 1\nb:\n  - c: x\n").unwrap();
        let b = root.entry("b").unwrap();
        assert_eq!(b.position, Some(Position { line: 2, column: 1 }));
        let c = b
            .node
            .items()
            .next()
            .and_then(|item| item.entry("c"))
            .unwrap();
        assert_eq!(c.position, Some(Position { line: 3, column: 5 }));
        assert_eq!(c.node.position, Some(Position { line: 3, column: 8 }));
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_its_place() {
        let rows = [
            (
                "a: 1\na: 2\nb: 3\nb: 4\n",
                vec![
                    "2:1 the key \"a\" stands twice in this map",
                    "4:1 the key \"b\" stands twice in this map",
                ],
            ),
            (
                "a: 1\n---\nb: 1\n",
                vec!["2:1 a second document begins here; the file must hold one"],
            ),
            (
                "a: !Map {}\n",
                vec!["1:4 the tag !Map is not allowed in a configuration file"],
            ),
            ("? [1]\n: 2\n", vec!["1:3 a key must be a string"]),
            ("a: .inf\n", vec!["1:4 a number must be finite"]),
            (
                "a: &x [*x]\n",
                vec!["1:8 this alias stands inside what it refers to"],
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(faults(text), expected, "{text}");
        }
        let invalid = parse(b"a: 1\nb: \xff\n").unwrap_err();
        assert_eq!(invalid[0].position, Some(Position { line: 2, column: 4 }));
    }

    #[test]
    fn aliases_copy_what_they_name() {
        assert_eq!(
            json("a: &x {k: [1]}\nb: *x\n"),
            serde_json::json!({"a": {"k": [1]}, "b": {"k": [1]}})
        );
        assert_eq!(
            json("&k a: 1\nb: *k\n"),
            serde_json::json!({"a": 1, "b": "a"})
        );
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            let row = vec![alias; 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{row}]\n"));
        }
        assert!(faults(&text)[0].contains("too much"), "{:?}", faults(&text));
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(faults(&"[".repeat(100_000)).len() == 1);
        assert!(faults(&format!("{}1{}", "[".repeat(65), "]".repeat(65)))[0].contains("64 levels"));
        assert!(parse(format!("{}1{}", "[".repeat(64), "]".repeat(64)).as_bytes()).is_ok());
        assert!(faults(&"- ".repeat(10_000)).len() == 1);
    }
}
