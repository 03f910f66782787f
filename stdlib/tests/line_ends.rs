//! What scripts put into headers, addresses, host names and parameters cannot end a line there: CR, LF and NUL are refused or
//! encoded. A table of the arguments that become such texts, in the family of codecs and addresses.
#![allow(clippy::unwrap_used, reason = "what cannot be run fails the test")]

mod support;

use angarium_runtime::convert;
use angarium_runtime::value::Value;
use support::{literal, run};

/// An expression with `$x` for the argument, and what it becomes.
const ARGUMENTS: &[(&str, &str)] = &[
    ("base32_encode($x)", "text of a header or parameter"),
    ("base64_encode($x)", "text of a header or parameter"),
    ("base64url_encode($x)", "text of a URL"),
    (
        "envelope_address_parse($x . \"@example.com\")",
        "local part",
    ),
    (
        "envelope_address_parse(\"a@\" . $x . \".example\")",
        "domain",
    ),
    (
        "envelope_address_parse(\"<a@example.com>\" . $x)",
        "address",
    ),
    (
        "envelope_address_parse(''\"'' . $x . ''\"@example.com'')",
        "quoted local part",
    ),
    ("envelope_localpart_escape($x)", "local part"),
    (
        "header_addresslist_compile([[\"name\" => $x, \"address\" => \"a@b\"]])",
        "display name",
    ),
    (
        "header_addresslist_compile([[\"name\" => \"å\" . $x, \"address\" => \"a@b\"]])",
        "display name",
    ),
    (
        "header_addresslist_compile([[\"name\" => \"A\", \"address\" => $x]])",
        "address",
    ),
    ("header_addresslist_compile([$x])", "address"),
    (
        "header_addresslist_compile([''\"'' . $x . ''\"@example.com''])",
        "address",
    ),
    ("inet_reverse(\"192.0.2.1\", $x)", "host name"),
    ("inet_reverse($x, \"example.com\")", "host name"),
    ("json_encode($x)", "text of a log line"),
    ("mimeword_encode($x)", "text of a header"),
    ("mimeword_encode(\"å\" . $x)", "text of a header"),
    ("url_encode($x)", "text of a URL"),
    ("url_parse(\"http://example.com/\" . $x)", "path"),
    ("url_parse(\"http://\" . $x . \"/\")", "host name"),
    (
        "url_parse(\"http://\" . $x . \"@example.com/\")",
        "user name",
    ),
    ("url_parse(\"http://example.com/?\" . $x)", "query"),
    ("url_parse($x . \"http://example.com/\")", "URL"),
    ("xtext_encode($x)", "parameter of SMTP"),
];

/// Whether a value or one inside it holds CR, LF or NUL.
fn breaks(value: &Value) -> bool {
    match value.as_array() {
        Some(array) => array.iter().any(|(key, value)| {
            breaks(&value)
                || convert::to_str(&key.to_value())
                    .as_bytes()
                    .iter()
                    .any(is_break)
        }),
        None => convert::to_str(value).as_bytes().iter().any(is_break),
    }
}

fn is_break(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

#[test]
fn no_argument_can_end_a_line_where_it_goes() {
    let mut wrong = Vec::new();
    for (expression, what) in ARGUMENTS {
        for text in [
            "\r",
            "\n",
            "\0",
            "a\r\nBcc: b@c",
            "\r\n.\r\n",
            "a\0",
            "x\n y",
            "a\rb",
        ] {
            let expression = expression.replace("$x", &literal(text.as_bytes()));
            match run(&format!("return {expression};")) {
                Ok(value) if breaks(&value) => wrong.push(format!("{what}: {expression}")),
                Ok(_) => {}
                // Refused with an Exception, which tells of the script, not of the text's second line.
                Err(error) => assert!(!error.contains(text) || text.len() == 1, "{error:?}"),
            }
        }
        // And plain text is no reason for anything.
        let plain = expression.replace("$x", "\"abc\"");
        let value = run(&format!("return {plain};"));
        assert!(value.is_ok(), "{plain}: {value:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
