//! The families of the library as scripts use them: `cargo bench -p angarium-stdlib`.
//!
//! Every benchmark is a function of a script, called again and again; what the loop itself takes is `loop`.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]
#![allow(clippy::panic, reason = "a bench may stop")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench takes the time"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};

/// A name, what is made before, and what is done again and again with `$i` counting.
const PROGRAMS: [(&str, &str, &str); 22] = [
    ("loop", "", "$i"),
    ("json/encode", JSON, "json_encode($message)"),
    ("json/decode", JSON, "json_decode($text)"),
    (
        "csv/encode",
        "",
        r#"csv_encode([$i, "user", "user@example.com", "a, \"b\""])"#,
    ),
    (
        "csv/decode",
        r#"$text = str_repeat("1,user,user@example.com,\"a, \"\"b\"\"\"\n", 20);"#,
        "csv_decode($text, [\"header\" => false])",
    ),
    ("base64/encode", TEXT, "base64_encode($line)"),
    (
        "base64/decode",
        "$text = base64_encode(str_repeat(\"a line of text \", 4));",
        "base64_decode($text)",
    ),
    ("url/encode", TEXT, "url_encode($line)"),
    (
        "url/decode",
        "$text = url_encode(\"a b/c?d=e&f=g h\");",
        "url_decode($text)",
    ),
    ("pack", "", "pack(\"Nn\", $i, 7)"),
    (
        "unpack",
        "$text = pack(\"Nn\", 5, 7);",
        "unpack(\"Nn\", $text)",
    ),
    ("hash/md5", TEXT, "md5($line)"),
    ("hash/sha256", TEXT, "sha2($line, 256)"),
    ("hash/hmac", TEXT, "hmac_sha2(\"key\", $line, 256)"),
    ("string/split", TEXT, "str_split($line, \",\")"),
    (
        "string/replace",
        TEXT,
        "str_replace(\"of\", \"with\", $line)",
    ),
    (
        "string/join",
        "$list = str_split(\"a,b,c,d,e,f\", \",\");",
        "array_join($list, \";\")",
    ),
    (
        "regex/match",
        "",
        "pcre_match(\"^([a-z0-9.]+)@([a-z]+)[.](com|org)$\", \"user.7@example.org\")",
    ),
    (
        "regex/replace",
        TEXT,
        "pcre_replace(\"[aeiou]+\", \"_\", $line)",
    ),
    (
        "array/unique",
        "$list = [3, \"a\", 3, \"b\", \"a\", 5, 8, \"c\", true, none];",
        "array_unique($list)",
    ),
    (
        "array/combine",
        "$keys = [\"id\", \"name\", \"mail\", \"size\"]; $values = [1, 2, 3, 4];",
        "array_combine($keys, $values)",
    ),
    (
        "memory/fetch a Set of 100,000 and ask it",
        "$set = Set(\"string\"); for ($n = 0; $n < 100000; $n++) $set->add(\"user$n@example.com\"); memory_store(\"s\", $set);",
        "memory_fetch(\"s\")->has(\"user77777@example.com\")",
    ),
];

const TEXT: &str = "$line = \"a line of text, that is not so long, of three parts\";";
const JSON: &str = r#"$message = ["id" => "4QxYzA", "sender" => ["localpart" => "john.doe", "domain" => "mail.example.com"],
    "recipients" => [["localpart" => "user1", "domain" => "example.org", "tags" => ["a", "b", 1]]], "size" => 48213,
    "score" => 7.25, "tls" => true, "reason" => none, "subject" => "Re: \"Your invoice\" \\ overdue"];
    $text = json_encode($message);"#;

/// Runs a script with `rounds` calls, preparations included.
fn time(before: &str, call: &str, rounds: u64) -> Duration {
    let text = format!("{before} for ($i = 0; $i < {rounds}; $i++) $result = {call}; return 1;");
    let start = Instant::now();
    if let Err(error) = support::run(&text) {
        panic!("{call}: {error}");
    }
    start.elapsed()
}

fn families(criterion: &mut Criterion) {
    for (name, before, call) in PROGRAMS {
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                // What is made before is measured apart.
                let made = time(before, call, 0);
                time(before, call, rounds).saturating_sub(made)
            });
        });
    }
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = families
}
criterion_main!(all);
