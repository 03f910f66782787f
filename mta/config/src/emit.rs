//! A tree of nodes to YAML text.
//!
//! The text is for people first: block style, scripts as literal blocks. Whatever cannot stand in
//! those forms without loss is written in double quotes; the round trip through [`crate::yaml`] is
//! exact.

use crate::yaml::{Entry, Node, Value, plain};

/// Writes a tree as one YAML document.
#[must_use]
pub fn emit(root: &Node) -> String {
    let mut out = String::new();
    match &root.value {
        Value::Map(entries) if has_kept(entries) => map(&mut out, entries, 0),
        Value::List(_) if root.items().next().is_some() => list(&mut out, root, 0),
        _ => {
            inline(&mut out, root, 0);
        }
    }
    out
}

fn has_kept(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| !entry.node.dropped)
}

fn map(out: &mut String, entries: &[Entry], indent: usize) {
    for (index, entry) in entries
        .iter()
        .filter(|entry| !entry.node.dropped)
        .enumerate()
    {
        // The first key of a map inside a list stands behind the dash.
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            pad(out, indent);
        }
        scalar_text(out, &entry.key);
        out.push(':');
        child(out, &entry.node, indent);
    }
}

/// Writes what follows `key:`.
fn child(out: &mut String, node: &Node, indent: usize) {
    match &node.value {
        Value::Map(entries) if has_kept(entries) => {
            out.push('\n');
            map(out, entries, indent + 2);
        }
        Value::List(_) if node.items().next().is_some() => {
            out.push('\n');
            list(out, node, indent + 2);
        }
        _ => {
            out.push(' ');
            inline(out, node, indent);
        }
    }
}

fn list(out: &mut String, node: &Node, indent: usize) {
    for item in node.items() {
        pad(out, indent);
        out.push('-');
        match &item.value {
            Value::Map(entries) if has_kept(entries) => {
                out.push(' ');
                map(out, entries, indent + 2);
            }
            Value::List(_) if item.items().next().is_some() => {
                out.push('\n');
                list(out, item, indent + 2);
            }
            _ => {
                out.push(' ');
                inline(out, item, indent);
            }
        }
    }
}

/// Writes a scalar or an empty collection, and the end of the line.
fn inline(out: &mut String, node: &Node, indent: usize) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Text(text) if literal_fits(text) => return literal(out, text, indent + 2),
        Value::Text(text) => scalar_text(out, text),
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
    out.push('\n');
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Says whether a text can stand as a literal block (YAML 1.2.2 §8.1.2) unchanged.
fn literal_fits(text: &str) -> bool {
    let printable = |c: char| matches!(c, '\n' | '\t' | ' '..='~' | '\u{a1}'..='\u{2027}' | '\u{2030}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}');
    let first = text.lines().find(|line| !line.trim().is_empty());
    text.contains('\n')
        && text.chars().all(printable)
        // The indentation is found from the first line with text, so that line must not begin with
        // space; and no line may consist of space, which would be read as indentation.
        && first.is_some_and(|line| !line.starts_with([' ', '\t']))
        && !text.split('\n').any(|line| !line.is_empty() && line.trim().is_empty())
        && !text.starts_with('\n')
}

fn literal(out: &mut String, text: &str, indent: usize) {
    let trailing = text.len() - text.trim_end_matches('\n').len();
    out.push('|');
    match trailing {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    out.push('\n');
    let body = text.strip_suffix('\n').unwrap_or(text);
    for line in body.split('\n') {
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// Writes a string on one line: bare where it reads back as itself, else in double quotes.
fn scalar_text(out: &mut String, text: &str) {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_./@+-*%,:;()<>= ".contains(c);
    let begins = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '/'));
    let safe = begins
        && text.chars().all(bare)
        && !text.contains(": ")
        && !text.ends_with([' ', ':'])
        && !text.contains(", ")
        && matches!(plain(text), Some(Value::Text(_)));
    if safe {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            '\u{a1}'..='\u{2027}' | '\u{2030}'..='\u{d7ff}' => out.push(c),
            c if u32::from(c) <= 0xffff => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml::parse;

    fn round(json: &serde_json::Value) {
        let text = emit(&Node::from_json(json));
        let back = parse(text.as_bytes()).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
        assert_eq!(&back.to_json(), json, "{text}");
    }

    #[test]
    fn scripts_are_written_as_literal_blocks() {
        let root = Node::from_json(&serde_json::json!({
            "servers": [{"id": "default", "relay": []}],
            "hooks": {"eod": [{"data": "Accept();\n\n// end\n", "id": "a"}]},
            "version": "5.6", "text": "a: b", "bits": "0027",
        }));
        insta::assert_snapshot!(emit(&root), @r#"
        bits: "0027"
        hooks:
          eod:
            - data: |
                Accept();

                // end
              id: a
        servers:
          - id: default
            relay: []
        text: "a: b"
        version: "5.6"
        "#);
    }

    #[test]
    fn awkward_strings_survive() {
        let texts = [
            "",
            " ",
            "\n",
            "\n\n",
            "a\n",
            "a\n\n\n",
            "\na\n",
            " a\nb\n",
            "a\n b",
            "\ta\nb",
            "a\n\t\nb",
            "a\n \nb\n",
            "- a",
            "a #b",
            "#",
            "null",
            "~",
            "1e3",
            "0x1",
            "true",
            "a\rb\nc",
            "\u{85}\n",
            "\u{2028}\na",
            "\u{feff}",
            "\u{0}\n",
            "---\na",
            "...\nb\n",
            "a: b\nc: d",
            "é",
            "a\u{10ffff}\n",
            "%YAML\n",
            "|\n",
            "key:",
            "[a]\n",
            "a, b",
            "\u{7f}",
        ];
        for text in texts {
            round(&serde_json::json!({"k": text, "l": [text, [text], {text: text}]}));
            round(&serde_json::json!(text));
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let text = prop_oneof![any::<String>(), "[ \t\na#:|>-]{0,12}", "[a-z\n ]{0,20}"];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            (-1e9..1e9).prop_map(|number: f64| number.into()),
            text.clone().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(text.clone(), inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_tree_reads_back_as_itself(json in any_json()) {
            // An empty document reads as an empty map, so the top is always a map.
            round(&serde_json::json!({"top": json}));
        }

        #[test]
        fn no_text_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_yaml_like_text_makes_the_parser_panic(text in "[-a1:?*&!|>'\"#%@{}\\[\\], \t\n\r]{0,80}") {
            if let Ok(node) = parse(text.as_bytes()) {
                round(&serde_json::json!({"top": node.to_json()}));
            }
        }
    }
}
