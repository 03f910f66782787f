//! Conformance data of other projects, read from `../shared/suites` or the folder that `ANGARIUM_SUITES` names.
#![allow(clippy::print_stdout, reason = "a suite says how much of it passed")]
#![allow(clippy::disallowed_methods, reason = "tests read their data from disk")]
#![allow(
    clippy::unwrap_used,
    reason = "a suite that cannot be read fails its test"
)]

use std::path::PathBuf;

use angarium_stdlib::calendar::{self, Zone};
use angarium_stdlib::json::{self, Form};

/// The folder of a suite; none, with a line that says so, when it is absent.
fn suite(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ANGARIUM_SUITES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/suites"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no suite at {}", folder.display());
    None
}

fn json_suite(name: &str) {
    let Some(folder) = suite(name) else { return };
    let (mut good, mut total) = (0, 0);
    for entry in std::fs::read_dir(folder.join("test_parsing")).unwrap() {
        let entry = entry.unwrap();
        let file = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read(entry.path()).unwrap();
        let decoded = json::decode(&text);
        let right = match file.as_bytes()[0] {
            b'y' => decoded.is_ok_and(|value| {
                let text = json::encode(
                    &value,
                    Form {
                        ascii: true,
                        pretty: false,
                    },
                )
                .unwrap();
                let again = json::decode(&text).unwrap();
                angarium_runtime::convert::strict_equal(&value, &again)
            }),
            b'n' => decoded.is_err(),
            _ => continue,
        };
        total += 1;
        good += u32::from(right);
        if !right {
            println!("miss: {file}");
        }
    }
    println!("{name}: {good} of {total}");
    assert_eq!(good, total);
}

#[test]
fn json_is_accepted_and_refused_as_the_suite_says() {
    json_suite("json-nst");
}

#[test]
fn json_that_is_not_utf_8_is_refused() {
    json_suite("json-nst-bytes");
}

#[test]
fn strftime_prints_what_the_c_library_prints() {
    let Some(folder) = suite("strftime") else {
        return;
    };
    let (mut good, mut total) = (0, 0);
    for line in std::fs::read_to_string(folder.join("cases.jsonl"))
        .unwrap()
        .lines()
    {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let (format, unix) = (case["fmt"].as_str().unwrap(), case["ts"].as_i64().unwrap());
        let zone = jiff::tz::TimeZone::get(case["tz"].as_str().unwrap_or("UTC")).unwrap();
        let info = zone.to_offset_info(jiff::Timestamp::from_second(unix).unwrap());
        let zone = Zone {
            offset: info.offset().seconds(),
            name: info.abbreviation().to_owned(),
        };
        let out = calendar::format(format.as_bytes(), unix, &zone);
        total += 1;
        if out == case["out"].as_str().unwrap().as_bytes() {
            good += 1;
        } else {
            println!("miss: {line} but {}", String::from_utf8_lossy(&out));
        }
    }
    println!("strftime: {good} of {total}");
    assert!(good * 100 >= total * 98, "{good} of {total}");
}
