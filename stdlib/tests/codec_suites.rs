//! Encodings, charsets, addresses, URLs and digests by the suites of other projects.
//!
//! What misses, and which rule of ours a row contradicts, stands in docs/conformance.md.
#![allow(clippy::print_stdout, reason = "a suite says how much of it passed")]
#![allow(clippy::disallowed_methods, reason = "tests read their data from disk")]
#![allow(
    clippy::unwrap_used,
    reason = "a suite that cannot be read fails its test"
)]

mod support;

use angarium_runtime::convert::dump;
use angarium_runtime::value::Value;
use angarium_runtime::{Limits, convert};
use angarium_stdlib::{calendar, encoding};
use serde_json::Value as Json;
use support::{Score, call, literal, rows, run, run_within, suite};

fn shown(result: &Result<Value, String>) -> String {
    match result {
        Ok(value) => String::from_utf8_lossy(&dump(value)).into_owned(),
        Err(error) => format!("error: {error}"),
    }
}

fn bytes(row: &Json, plain: &str, coded: &str) -> Vec<u8> {
    match row[coded].as_str() {
        Some(text) => encoding::decode_lenient(text.as_bytes(), false),
        None => row[plain].as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

/// Whether a result is one of an error.
fn failed(result: &Result<Value, String>) -> bool {
    result.as_ref().map_or(true, Value::is_none)
}

#[test]
fn encodings_are_what_their_rfcs_say() {
    let mut score = Score::default();
    // RFC 2045 §6.8: a decoder ignores what is not in the alphabet, and `=` is the end of the data. So base64_decode never fails.
    let against_a_rule = ["b64bad-0", "b64bad-6", "b64bad-8"];
    for row in rows("encodings", "cases.jsonl") {
        let (id, name) = (row["id"].as_str().unwrap(), row["fn"].as_str().unwrap());
        let input = bytes(&row, "in", "in_b64");
        // A name without a direction means both.
        let both = matches!(
            name,
            "base64" | "base64url" | "base32" | "xtext" | "url" | "mimeword"
        );
        let result = match name {
            "inet_includes" => {
                let network = row["net"].as_str().unwrap();
                call(name, &[&input, network.as_bytes()])
            }
            "inet_reverse" => call(name, &[&input, b""]),
            "uuidv5" | "uuid_v5" => {
                let namespace = row["ns"].as_str().or(row["namespace"].as_str()).unwrap();
                call("uuidv5", &[namespace.as_bytes(), &input])
            }
            _ if both => call(&format!("{name}_encode"), &[&input]),
            _ => call(name, &[&input]),
        };
        let equals = |expected: &Json| match expected {
            Json::String(text) => result
                .as_ref()
                .is_ok_and(|value| value.as_bytes() == Some(text.as_bytes())),
            Json::Bool(expected) => {
                matches!(&result, Ok(Value::Boolean(found)) if found == expected)
            }
            _ => false,
        };
        let right = if let Some(digest) = row["out_sha256"].as_str() {
            let found = result
                .as_ref()
                .ok()
                .and_then(Value::as_bytes)
                .unwrap_or(b"?");
            let found = call("sha2", &[found, b"256"]);
            found.is_ok_and(|value| value.as_bytes() == Some(digest.as_bytes()))
        } else if row["error"].as_bool() == Some(true) || row["out"] == "error" {
            failed(&result)
        } else if let Some(ok) = row["ok"].as_bool() {
            ok != failed(&result)
        } else if row["out"].is_null() {
            println!("either way: {id}: {}", shown(&result));
            continue;
        } else {
            let back = || {
                let out = row["out"].as_str().unwrap_or_default();
                let back = call(&format!("{name}_decode"), &[out.as_bytes()]);
                back.is_ok_and(|value| value.as_bytes() == Some(input.as_slice()))
            };
            equals(&row["out"]) && (!both || back())
        };
        if against_a_rule.contains(&id) {
            println!("apart, against RFC 2045 §6.8: {id}: {}", shown(&result));
            assert!(!right, "{id}");
            continue;
        }
        score.row(id, right, || shown(&result));
    }
    score.end("encodings", &[]);
}

#[test]
fn a_bomb_ends_at_the_memory_limit() {
    let limits = Limits {
        memory: Some(8 << 20),
        ..Limits::default()
    };
    let bomb = run("return zlib_compress(str_repeat(\"\\x00\", 50000000), 9);").unwrap();
    let bomb = literal(bomb.as_bytes().unwrap());
    let script = format!("return length(zlib_uncompress({bomb}));");
    assert!(matches!(run(&script), Ok(Value::Number(length)) if length == 50_000_000.0));
    assert!(run_within(&script, limits).unwrap_err().contains("memory"));
}

#[test]
fn east_asian_texts_are_converted_both_ways() {
    let Some(folder) = suite("charset-cjk") else {
        return;
    };
    let (mut must, mut advisory) = (Score::default(), Score::default());
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter_map(|name| Some(name.strip_suffix("-utf8.txt")?.to_owned()))
        .collect();
    files.sort();
    for file in files {
        let read = |name: String| std::fs::read(folder.join(name)).unwrap();
        let (coded, plain) = (
            read(format!("{file}.txt")),
            read(format!("{file}-utf8.txt")),
        );
        let charset = match file.as_str() {
            "iso2022_kr" => "ISO-2022-KR".to_owned(),
            "iso2022_jp" => "ISO-2022-JP".to_owned(),
            other => other.replace('_', "-"),
        };
        let convert = |from: &str, to: &str, text: &[u8]| {
            run(&format!(
                "return Iconv(\"{from}\", \"{to}\")->convert({});",
                literal(text)
            ))
        };
        // What the Encoding Standard has no tables for.
        let beyond = ["jisx0213", "jisx0208", "jis_2004", "jisx2004"];
        let score = match beyond.iter().any(|part| file.contains(part)) {
            true => &mut advisory,
            false => &mut must,
        };
        for (result, expected) in [
            (convert(&charset, "UTF-8", &coded), &plain),
            (convert("utf-8", &charset, &plain), &coded),
        ] {
            let right = result
                .as_ref()
                .is_ok_and(|value| value.as_bytes() == Some(expected));
            score.row(&file, right, || shown(&result).chars().take(80).collect());
        }
    }
    println!(
        "charset-cjk, advisory: {} of {}",
        advisory.good, advisory.total
    );
    must.end("charset-cjk", &[]);
}

#[test]
fn addresses_are_those_of_the_envelope_or_of_headers() {
    let (mut envelope, mut header) = (Score::default(), Score::default());
    for row in rows("address-isemail", "cases.jsonl") {
        let (id, address) = (
            row["id"].as_str().unwrap(),
            row["address"].as_str().unwrap(),
        );
        let category = row["category"].as_str().unwrap();
        let accepted = ["VALID_CATEGORY", "DNSWARN", "RFC5321"]
            .iter()
            .any(|name| category == format!("ISEMAIL_{name}"));
        let result = call("envelope_address_parse", &[address.as_bytes()]);
        envelope.row(id, failed(&result) != accepted, || {
            format!("{address:?}, {category}: {}", shown(&result))
        });
        if category != "ISEMAIL_ERR" {
            let result = call("header_addresslist_extract", &[address.as_bytes()]);
            let one =
                matches!(&result, Ok(list) if list.as_array().is_some_and(|list| list.len() == 1));
            header.row(id, one, || {
                format!("{address:?}, {category}: {}", shown(&result))
            });
        }
    }
    envelope.end("address-isemail, envelope", &[]);
    header.end("address-isemail, header", &[]);
}

#[test]
fn urls_are_taken_apart_where_they_are_normal() {
    let mut score = Score::default();
    for row in rows("url-wpt", "cases.jsonl") {
        let (id, input) = (row["id"].as_str().unwrap(), row["input"].as_str().unwrap());
        let text = literal(input.as_bytes());
        let result = run(&format!("return url_parse({text});"));
        assert!(result.is_ok(), "{input:?}: {}", shown(&result));
        let back = run(&format!(
            "return url_decode(url_encode({text})) === {text};"
        ));
        assert!(matches!(back, Ok(Value::Boolean(true))), "{input:?}");
        if row["href"] != row["input"] {
            continue;
        }
        let field = |name: &str| {
            let value = result.as_ref().ok()?.as_array()?.get_str(name)?;
            Some(convert::to_str(&value).to_text().into_owned())
        };
        let part = |name: &str| field(name).unwrap_or_default();
        let after = |name: &str, sign: &str| {
            field(name).map_or_else(String::new, |text| format!("{sign}{text}"))
        };
        let found = [
            format!("{}:", part("schema")),
            part("username"),
            part("password"),
            part("hostname"),
            part("port"),
            part("path"),
            after("query", "?"),
            after("fragment", "#"),
        ];
        let wanted = [
            "protocol", "username", "password", "hostname", "port", "pathname", "search", "hash",
        ]
        .map(|name| row[name].as_str().unwrap_or_default())
        .map(|text| text.trim_matches(['[', ']']).to_owned());
        // RFC 3986 §3.3: without an authority the path is all that follows the scheme. The standard of the browsers takes
        // `/.` before it for a sign of its own.
        if found[5].starts_with("/.//") {
            println!("apart, against RFC 3986 §3.3: {input:?} {found:?}");
            continue;
        }
        score.row(id, found == wanted, || format!("{input:?} {found:?}"));
    }
    score.end("url-wpt", &[]);
}

#[test]
fn keyed_digests_agree_with_wycheproof() {
    let unhex = |text: &Json| {
        let text = text.as_str().unwrap();
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect::<Vec<u8>>()
    };
    let Some(folder) = suite("crypto-wycheproof") else {
        return;
    };
    let mut score = Score::default();
    for (file, function, size) in [
        ("hmac_sha1", "hmac_sha1", None),
        ("hmac_sha224", "hmac_sha2", Some("224")),
        ("hmac_sha256", "hmac_sha2", Some("256")),
        ("hmac_sha384", "hmac_sha2", Some("384")),
        ("hmac_sha512", "hmac_sha2", Some("512")),
    ] {
        let Ok(text) = std::fs::read_to_string(folder.join(format!("{file}.json"))) else {
            continue;
        };
        let data: Json = serde_json::from_str(&text).unwrap();
        for group in data["testGroups"].as_array().unwrap() {
            let bytes = usize::try_from(group["tagSize"].as_u64().unwrap() / 8).unwrap();
            for test in group["tests"].as_array().unwrap() {
                let size = size.map(|size| format!("{size}, ")).unwrap_or_default();
                let script = format!(
                    "return {function}({}, {}, {size}[\"binary\" => true]);",
                    literal(&unhex(&test["key"])),
                    literal(&unhex(&test["msg"])),
                );
                let result = run(&script);
                let tag = unhex(&test["tag"]);
                let equal = result
                    .as_ref()
                    .is_ok_and(|mac| mac.as_bytes().and_then(|mac| mac.get(..bytes)) == Some(&tag));
                let right = match test["result"].as_str().unwrap() {
                    "valid" => equal,
                    "invalid" => !equal,
                    _ => true,
                };
                score.row(&format!("{file} {}", test["tcId"]), right, || {
                    shown(&result)
                });
            }
        }
    }
    println!(
        "left out for later: aes_cbc_pkcs5, aes_gcm, ed25519, rsa_signature_2048_sha256, rsa_signature_2048_sha512"
    );
    score.end("crypto-wycheproof, hmac", &[]);
}

#[test]
fn times_that_are_formatted_in_full_are_read_back() {
    let mut score = Score::default();
    for row in rows("strftime", "cases.jsonl") {
        let (Some(unix), "UTC") = (row["ts"].as_i64(), row["tz"].as_str().unwrap_or("UTC")) else {
            continue;
        };
        for format in [
            "%Y-%m-%d %H:%M:%S",
            "%a, %d %b %Y %H:%M:%S %z",
            "%s",
            "%c",
            "%G-W%V-%u %T",
            "%Y-%j %I:%M:%S %p",
            "%F %R:%S",
        ] {
            let zone = calendar::Zone {
                offset: 0,
                name: "UTC".to_owned(),
            };
            let text = calendar::format(format.as_bytes(), unix, &zone);
            let script = format!(
                "return strptime({}, \"{format}\", [\"local\" => false]);",
                literal(&text)
            );
            let result = run(&script);
            let right = matches!(&result, Ok(Value::Number(found)) if *found == unix as f64);
            score.row(&format!("{unix} {format}"), right, || shown(&result));
        }
    }
    score.end("strptime", &[]);
}

#[test]
fn a_validator_in_the_language_runs_json_schemas_suite() {
    let Some(folder) = suite("json-schema") else {
        return;
    };
    let mut score = Score::default();
    let mut files: Vec<_> = std::fs::read_dir(folder.join("draft7"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read(&file).unwrap();
        let validator = include_str!("json_schema.hsl");
        let found = run(&format!("{validator}\nreturn rows({});", literal(&text))).unwrap();
        for row in found.as_array().unwrap().values() {
            let at = |index: usize| row.as_array().unwrap().get(&index.into()).unwrap();
            let title = format!("{name}: {}", convert::to_str(&at(0)).to_text());
            let right = matches!(at(1), Value::Boolean(true));
            // Schemas that would have to be fetched are outside what the suite asks for.
            if title.starts_with("ref: remote ref") {
                println!("json-schema, apart, refRemote: {title}: {right}");
                continue;
            }
            score.row(&title, right, || {
                convert::to_str(&at(2)).to_text().into_owned()
            });
        }
    }
    score.end("json-schema", &[]);
}
