//! Values of variables in the form that debuggers read: `{"NAME": {"format": "json"|"base64", "value": "TEXT"}}`.
//!
//! Nobody looks at a megabyte in an editor, and a script must not be held up for it: of each variable only so much is
//! told, with `…` in place of what was left out.

use std::fmt::Write as _;

use angarium_runtime::convert::write_str_while;
use angarium_runtime::exception::Exception;
use angarium_runtime::value::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a variable.
const MOST: usize = 16 << 10;
/// Levels of arrays.
const DEEPEST: usize = 32;
/// What stands for the rest.
const REST: &str = "\"…\"";

/// All variables of an array, by name.
pub fn variables(all: &Value) -> String {
    let mut out = String::from("{");
    if let Some(all) = all.as_array() {
        for (name, value) in all.iter() {
            separate(&mut out);
            quote(&text_of(&name.to_value()), &mut out);
            out.push(':');
            entry(&value, "", &mut out);
        }
    }
    out.push('}');
    out
}

/// What was thrown, as the variable `__throw`.
pub fn thrown(value: &Value, uncaught: bool) -> String {
    let exception = value.as_object();
    let exception = exception.and_then(|object| object.downcast::<Exception>());
    let message = match exception {
        Some(exception) => exception.message.to_text().into_owned(),
        None => value
            .as_str()
            .map_or_else(String::new, |text| text.to_text().into_owned()),
    };
    let mut more = format!(",\"uncaught\":{uncaught},\"message\":");
    quote(&cut(&message), &mut more);
    let mut out = String::from("{\"__throw\":");
    entry(value, &more, &mut out);
    out.push('}');
    out
}

/// `{"format": …, "value": …}` and what `more` says.
fn entry(value: &Value, more: &str, out: &mut String) {
    let bytes = value
        .as_bytes()
        .filter(|bytes| std::str::from_utf8(bytes).is_err());
    let (format, text) = match bytes {
        Some(bytes) => {
            let part = bytes.get(..MOST).unwrap_or(bytes);
            ("base64", STANDARD.encode(part))
        }
        None => {
            let mut text = String::new();
            json(value, 0, &mut text);
            ("json", text)
        }
    };
    // Writing to a string cannot fail.
    let _ = write!(out, "{{\"format\":\"{format}\",\"value\":");
    quote(&text, out);
    out.push_str(more);
    out.push('}');
}

/// As `json_encode` has it; what is no data is told by its text.
fn json(value: &Value, depth: usize, out: &mut String) {
    if out.len() >= MOST || depth >= DEEPEST {
        out.push_str(REST);
        return;
    }
    let Some(array) = value.as_array() else {
        return match value {
            Value::Boolean(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Value::Number(number) if number.is_finite() => {
                out.push_str(&text_of(value));
            }
            Value::String(text) => quote(&cut(&text.to_text()), out),
            Value::None | Value::Undefined | Value::Number(_) => out.push_str("null"),
            other => quote(&text_of(other), out),
        };
    };
    let is_list = array.is_list();
    out.push(if is_list { '[' } else { '{' });
    for (at, (key, value)) in array.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        if out.len() >= MOST {
            out.push_str(if is_list { REST } else { "\"…\":null" });
            break;
        }
        if !is_list {
            quote(&text_of(&key.to_value()), out);
            out.push(':');
        }
        json(&value, depth + 1, out);
    }
    out.push(if is_list { ']' } else { '}' });
}

/// The text of a value, as far as it is told.
fn text_of(value: &Value) -> String {
    let mut bytes = Vec::new();
    let whole = write_str_while(&mut bytes, value, |length| length <= MOST);
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if !whole {
        text.push('…');
    }
    text
}

fn separate(out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
}

fn cut(text: &str) -> String {
    if text.len() <= MOST {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MOST / 4).collect();
    short.push('…');
    short
}

fn quote(text: &str, out: &mut String) {
    // A string has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_runtime::array::{Array, Key};

    fn with(name: &str, value: Value) -> serde_json::Value {
        let mut all = Array::new();
        all.insert(Key::from(name), value);
        let text = variables(&all.into());
        let all: serde_json::Value = serde_json::from_str(&text).expect("an object");
        all[name].clone()
    }

    #[test]
    fn data_is_json_and_bytes_are_base64() {
        let inner = Array::from_list(vec![Value::from(1.5), Value::None, "ä\"".into()]);
        let told = with("x", inner.into());
        assert_eq!(told["format"], "json");
        assert_eq!(told["value"], "[1.5,null,\"ä\\\"\"]");
        let told = with("x", Value::from(vec![0xff, 0xfe]));
        assert_eq!(
            (&told["format"], &told["value"]),
            (&"base64".into(), &"//4=".into())
        );
    }

    #[test]
    fn what_is_large_or_deep_is_cut_and_stays_json() {
        let long = Array::from_list(vec!["0123456789".into(); 100_000]);
        let told = with("x", long.into());
        let text = told["value"].as_str().unwrap();
        assert!(text.len() < 2 * MOST);
        let list: Vec<String> = serde_json::from_str(text).unwrap();
        assert_eq!(list.last().unwrap(), "…");
        let tower = (0..10_000).fold(Value::None, |inner, _| Array::from_list(vec![inner]).into());
        let told = with("x", tower);
        let value: serde_json::Value =
            serde_json::from_str(told["value"].as_str().unwrap()).unwrap();
        assert!(value.is_array());
    }

    #[test]
    fn what_is_thrown_has_its_message() {
        let text = thrown(&"no \"way\"".into(), true);
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        let told = &all["__throw"];
        assert_eq!(told["uncaught"], true);
        assert_eq!(told["message"], "no \"way\"");
    }
}
