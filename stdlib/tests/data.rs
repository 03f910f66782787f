//! CSV and YAML by the suites of other projects, and data imports as a script sees them (language.md 16.3).
#![allow(clippy::print_stdout, reason = "a suite says how much of it passed")]
#![allow(clippy::disallowed_methods, reason = "tests read their data from disk")]
#![allow(
    clippy::unwrap_used,
    reason = "a suite that cannot be read fails its test"
)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::clock::VirtualClock;
use angarium_effects::dns::TableDns;
use angarium_effects::random::SeededRandom;
use angarium_lang::Source;
use angarium_runtime::host::{self, Host, Inline, Output};
use angarium_runtime::library::Library;
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::value::Value;
use angarium_runtime::{Execution, Limits, Unit, convert};
use angarium_stdlib::{CORE, csv, data, json, regexp, yaml};

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

struct Silent;

impl Output for Silent {
    fn echo(&self, _text: &[u8]) {}
    fn syslog(&self, _priority: u32, _message: &[u8]) {}
}

/// The dump form of what a program returns, or what is said about it.
fn run(text: &str, files: &[(&str, &str)]) -> Result<String, String> {
    let library = Library::new(&[&CORE]).unwrap().with_data(&data::FORMATS);
    let library = Arc::new(library);
    let files: HashMap<String, Vec<u8>> = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
        .collect();
    let source = Source {
        name: "main.hsl",
        path: "main.hsl",
        text: text.as_bytes(),
    };
    let names = library.context("core").unwrap();
    let compiled =
        angarium_lang::compile(source, &names, &files).map_err(|rejected| rejected.render())?;
    let unit = Unit::link(compiled.program, Arc::clone(&library), &regexp::ENGINE)
        .map_err(|error| error.render())?;
    let run = || {
        let host = Host::new(
            Rc::new(VirtualClock::new(std::time::Duration::from_secs(1))),
            Rc::new(SeededRandom::new(1)),
            Rc::new(TableDns::default()),
            Arc::new(Inline),
            Rc::new(Silent),
            Rc::new(host::NoFiles),
            &regexp::ENGINE,
            "host.example".into(),
        );
        host.extend(Rc::new(SharedMemory::default()));
        let mut execution = Execution::new(&unit, Rc::new(host), Vec::new(), Limits::default());
        let ended = futures_util::FutureExt::now_or_never(execution.drive()).unwrap();
        ended
            .map(|value| String::from_utf8_lossy(&convert::dump(&value)).into_owned())
            .map_err(|ended| ended.to_string())
    };
    let first = run();
    assert_eq!(run(), first, "a second execution sees the same");
    first
}

fn gives(text: &str, files: &[(&str, &str)], expected: &str) {
    assert_eq!(run(text, files).unwrap(), expected, "{text}");
}

#[test]
fn each_loader_gives_its_value() {
    let json = [("a.json", "// list\n[1, {\"k\": null}]")];
    gives(
        "import $v from \"a.json\"; return $v;",
        &json,
        "[0=>1,1=>[\"k\"=>none]]",
    );
    gives(
        "import $v from \"txt!a.json\" with [\"array\" => true]; return $v;",
        &json,
        "[0=>\"// list\",1=>''[1, {\"k\": null}]'']",
    );
    let text = [("dir/page.html", "<p>\r\n")];
    gives(
        "import $v from \"file://dir/page.html\"; return $v;",
        &text,
        "''<p>\r\n''",
    );
    let yaml = [(
        "l.yml",
        "m: !Map {a: [1], 2: x}\ns: !Set [u, v]\nr: !Regex /^A/i\n",
    )];
    gives(
        "import $v from \"l.yml\"; return [$v[\"m\"]->get(\"a\"), $v[\"m\"]->get(\"2\"), $v[\"s\"]->has(\"v\"), \
         \"abc\" =~ $v[\"r\"], $v[\"m\"]->size()];",
        &yaml,
        "[0=>[0=>1],1=>\"x\",2=>true,3=>true,4=>2]",
    );
    let eml = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nReceived: a\r\nreceived: b\r\nContent-Type: multipart/mixed; \
               boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x\r\nContent-Type: \
               image/png; name=\"p.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\neHl6\r\n--x--\r\n";
    let yaml = "m: !MailMessage |\n  Subject: in yaml\n\n  body\n";
    gives(
        "import $m from \"a.eml\"; import $y from \"y.yaml\"; $p = $m->getParts(); $q = $m->findByType(''^image/''); \
         $m->addHeader(\"X-A\", \"1\"); return [$m->getHeader(\"subject\"), $m->getHeaders(\"Received\"), \
         $p[0]->getBody(), $q[0]->getBody(), $q[0]->getFileName(), $q[0]->getID(), length($m->toString()) - \
         $m->getSize(), $y[\"m\"]->getHeader(\"Subject\"), $y[\"m\"]->getBody()];",
        &[("a.eml", eml), ("y.yaml", yaml)],
        "[0=>\"Gr\u{fc}\u{df}e\",1=>[0=>\"a\",1=>\"b\"],2=>\"hello\",3=>\"xyz\",4=>\"p.png\",5=>\"0.2\",6=>8,7=>\"in \
         yaml\",8=>''body\n'']",
    );
    let csv = [("d.csv", "n;ok\n1;yes\n;no\n")];
    gives(
        "import $v from \"d.csv\" with [\"delimiter\" => \";\", \"schema\" => [\"n\" => [\"type\" => \"number\", \
         \"nullable\" => true], \"ok\" => [\"type\" => \"boolean\", \"true\" => [\"yes\"], \"false\" => [\"no\"]]]]; \
         return $v;",
        &csv,
        "[0=>[\"n\"=>1,\"ok\"=>true],1=>[\"n\"=>none,\"ok\"=>false]]",
    );
    gives(
        "import $v from \"d.csv\" with [\"header\" => false]; return length($v);",
        &csv,
        "3",
    );
}

#[test]
fn the_variable_is_there_from_the_start_and_is_the_programs_own() {
    let files = [
        ("a.json", "{\"n\": 1}"),
        (
            "m.hsl",
            "import $conf from \"./a.json\"; function get() { global $conf; return $conf[\"n\"]; }",
        ),
    ];
    gives(
        "$w = $v; $v[\"n\"] = 2; import $v from \"a.json\"; return [$v[\"n\"], $w[\"n\"]];",
        &files,
        "[0=>2,1=>1]",
    );
    gives(
        "import { get, $conf as $c } from \"m\"; return get() + $c[\"n\"];",
        &files,
        "2",
    );
    gives(
        "import $v from \"a.json\"; import $v from \"file:a.json\"; function f() { global $v; return $v[\"n\"]; } return f();",
        &files,
        "1",
    );
    gives(
        "import $m from \"m.yaml\"; $m[\"x\"]->set(\"b\", 2); return $m[\"x\"]->size();",
        &[("m.yaml", "x: !Map {a: 1}")],
        "2",
    );
}

#[test]
fn what_is_wrong_with_an_import_is_said_with_its_place() {
    let files = [
        ("bad.json", "{\n  \"a\": x\n}"),
        ("bad.yaml", "a: 1\nb: [1\n"),
        ("bad.csv", "a,b\n1,\"x\n"),
        ("num.csv", "n\n1\nx\n"),
        ("good.json", "1"),
        ("part.hsl", "import $x from \"bad.json\";"),
        ("k.key", ""),
        ("c.yaml", "k: !X509 abc"),
        ("m.hsl", "$v = 1;"),
    ];
    let mut report = String::new();
    for text in [
        "import $v from \"bad.json\";",
        "import $v from \"bad.yaml\";",
        "import $v from \"bad.csv\";",
        "import $v from \"num.csv\" with [\"schema\" => [\"n\" => [\"type\" => \"number\"]]];",
        "import $v from \"num.csv\" with [\"schema\" => [\"n\" => [\"type\" => \"date\"]]];",
        "include \"part\";",
        "import $v from \"nothing.json\";",
        "import $v from \"../good.json\";",
        "import $v from \"good.json\" with [\"header\" => true];",
        "import $v from \"num.csv\" with [\"heder\" => true];",
        "import $v from \"num.csv\" with [\"delimiter\" => [\";\"]];",
        "import $v from \"num.csv\" with [\"delimiter\" => length(\";\")];",
        "import $v from \"jsn!good.json\";",
        "import $v from \"k.key\";",
        "import $v from \"c.yaml\";",
        "import $v from \"good.json\"; import $v from \"num.csv\";",
        "import $v from \"good.json\"; import { $v } from \"m\";",
        "import { $v } from \"m\"; import $v from \"good.json\";",
        "if (1) { import $v from \"good.json\"; }",
    ] {
        report.push_str(text);
        report.push_str("\n\n");
        report.push_str(&run(text, &files).unwrap_err());
        report.push('\n');
    }
    insta::assert_snapshot!(report);
}

fn same_json(expected: &serde_json::Value, value: &Value) -> bool {
    let text = serde_json::to_vec(expected).unwrap();
    let expected = json::decode(&text).unwrap();
    // An empty object and an empty list are one, and so are the keys none and "".
    let text = |value: &Value| {
        let form = json::Form {
            ascii: true,
            pretty: false,
        };
        json::encode(value, form).ok()
    };
    convert::strict_equal(&expected, value) || text(&expected) == text(value)
}

#[test]
fn csv_spectrum_is_decoded_and_encoded() {
    let Some(folder) = suite("csv-spectrum") else {
        return;
    };
    let (mut good, mut total) = (0, 0);
    for entry in std::fs::read_dir(folder.join("csvs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let expected = std::fs::read(folder.join("json").join(format!("{name}.json"))).unwrap();
        let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
        let form = csv::Form::parse(None).unwrap();
        let decoded = csv::decode(&std::fs::read(&path).unwrap(), &form).unwrap();
        let text = "import $rows from \"d.csv\"; $text = \"\"; $out = []; foreach ($rows as $row) { $keys = []; \
                    foreach ($row as $k => $v) $keys[] = $k; $text = csv_encode($keys) . \"\\n\" . csv_encode($row) . \
                    \"\\n\"; $out[] = csv_decode($text)[0]; } return $out === $rows;";
        let csv = std::fs::read_to_string(&path).unwrap();
        total += 1;
        if same_json(&expected, &decoded) && run(text, &[("d.csv", &csv)]).unwrap() == "true" {
            good += 1;
        } else {
            println!("miss: {name}");
        }
    }
    println!("csv-spectrum: {good} of {total}");
    assert_eq!(good, total);
}

#[test]
fn yaml_is_read_as_the_suite_says() {
    let Some(folder) = suite("yaml") else { return };
    let (mut good, mut total) = (0, 0);
    let mut tags: std::collections::BTreeMap<String, (u32, u32)> = Default::default();
    for line in std::fs::read_to_string(folder.join("cases.jsonl"))
        .unwrap()
        .lines()
    {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(text) = case["yaml"].as_str() else {
            continue;
        };
        let decoded = yaml::decode(text.as_bytes(), None);
        let right = if case["expect"] == "error" {
            decoded.is_err()
        } else {
            let documents =
                serde_json::Deserializer::from_str(case["json"].as_str().unwrap_or("null"));
            let first = documents.into_iter::<serde_json::Value>().next();
            let first = first.map_or(serde_json::Value::Null, Result::unwrap);
            decoded.is_ok_and(|value| same_json(&first, &value))
        };
        total += 1;
        good += u32::from(right);
        if !right {
            println!("miss: {} {}", case["id"], case["name"]);
        }
        for tag in case["tags"].as_array().into_iter().flatten() {
            let count = tags.entry(tag.as_str().unwrap().to_owned()).or_default();
            count.0 += u32::from(right);
            count.1 += 1;
        }
    }
    for (tag, (good, total)) in &tags {
        println!("  {tag}: {good} of {total}");
    }
    println!("yaml: {good} of {total}");
    assert!(good * 100 >= total * 90, "{good} of {total}");
}
