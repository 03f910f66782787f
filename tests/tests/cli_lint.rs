//! `hsl-lint` as editors use it: the YAML protocol with another YAML library at the other end, and files.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it starts real programs on real files"
)]

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use angarium_tests::program::{angarium, python, python_script};
use serde_json::{Value, json};

/// Whether Python has PyYAML; if not, the reason is printed for the table of the test command.
fn has_pyyaml() -> bool {
    let found = Command::new(python())
        .args(["-c", "import yaml"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        println!("skipped: python3 with PyYAML is not installed");
    }
    found
}

/// What the linter answers to each document.
fn answers(documents: &[Value]) -> Vec<Value> {
    let mut child = Command::new(python())
        .arg(python_script("lint.py"))
        .arg(angarium())
        .arg("hsl-lint")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = serde_json::to_vec(documents).unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_script_without_errors_gets_status_0_and_silence() {
    if !has_pyyaml() {
        return;
    }
    let documents = [
        json!({"data": ""}),
        json!({"data": "echo 1;\n"}),
        json!({"version": "6.11", "phase": "rcptto", "data": "Accept();"}),
        json!({"phase": "", "data": "function f($x) { return $x; }\n"}),
        json!({"phase": "predelivery", "data": "Try();"}),
        // Warnings are no errors.
        json!({"data": "$a = 1;\n$a;\nreturn;\necho 2;\n"}),
        json!({"data": "echo \"grüße\"; // ünïcode\n", "scripting": {"limits": {"fuel": 5}}, "plugins": [{"id": "x"}]}),
        json!({
            "phase": "eod",
            "data": "include \"1\";\nimport { f } from \"folder/name.hsl\";\necho f();\n",
            "files": [
                {"id": "1", "data": "$a = 1;\n"},
                {"id": "folder/name.hsl", "data": "aW1wb3J0IHsgZyB9IGZyb20gIi4vZyI7CmZ1bmN0aW9uIGYoKSB7IHJldHVybiBnKCk7IH0K", "binary": true},
                {"id": "folder/g.hsl", "data": "function g() { return \"g\"; }", "binary": false},
            ],
        }),
    ];
    for (document, answer) in documents.iter().zip(answers(&documents)) {
        assert_eq!(answer, json!({"status": 0, "error": null}), "{document}");
    }
}

#[test]
fn the_first_error_comes_with_its_place_and_nothing_else() {
    if !has_pyyaml() {
        return;
    }
    let cases = [
        (
            json!({"data": "echo 1;\n  echo (2;\n"}),
            2,
            8,
            "this `(` is not closed",
        ),
        (
            json!({"data": "echo nope();\necho neither();\n"}),
            1,
            6,
            "unknown function `nope`",
        ),
        (
            json!({"phase": "connect", "data": "\n\n\tTry();"}),
            3,
            2,
            "unknown function `Try`",
        ),
        (
            json!({"data": "Accept();"}),
            1,
            1,
            "unknown function `Accept`",
        ),
        (
            json!({"data": "echo #/(/;"}),
            1,
            6,
            "bad regular expression",
        ),
        (
            json!({"data": "include \"missing\";"}),
            1,
            9,
            "file not found",
        ),
        (
            json!({"data": "include \"a\";", "files": []}),
            1,
            9,
            "file not found",
        ),
        (json!({"data": "echo \"ü\" . «;"}), 1, 12, "U+00AB"),
        (
            json!({"data": "import { f } from \"extras://nothing\";"}),
            1,
            19,
            "extras://nothing",
        ),
        // Texts that would be something else without quotes.
        (json!({"data": "echo 'a: b #c'x;"}), 1, 6, ""),
        (json!({"data": "$x = \"\\q\";"}), 1, 7, "unknown escape"),
    ];
    let documents: Vec<Value> = cases.iter().map(|case| case.0.clone()).collect();
    for ((document, line, column, message), answer) in cases.iter().zip(answers(&documents)) {
        assert_eq!(answer["status"], 1, "{document}: {answer}");
        let error = answer["error"].as_object().unwrap();
        assert_eq!(
            (&error["line"], &error["column"]),
            (&json!(line), &json!(column)),
            "{document}: {answer}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(message),
            "{answer}"
        );
        assert_eq!(error.len(), 3, "neither file nor path: {answer}");
    }
}

#[test]
fn an_error_in_another_file_names_it_and_the_way_to_it() {
    if !has_pyyaml() {
        return;
    }
    let files = json!([
        {"id": "a.hsl", "data": "\ninclude \"sub/b.hsl\";\n"},
        {"id": "sub/b.hsl", "data": "// b\n  import { f } from \"./c.hsl\";\n"},
        {"id": "sub/c.hsl", "data": "function f() { return nope(); }\n"},
    ]);
    let documents = [
        json!({"data": "echo 1;\n include \"a\";", "files": files}),
        json!({"data": "import { f } from \"sub/c.hsl\";", "files": files}),
    ];
    let answers = answers(&documents);
    assert_eq!(
        answers[0],
        json!({"status": 1, "error": {
            "line": 1, "column": 23, "message": "unknown function `nope`", "file": "sub/c.hsl",
            "path": [
                {"file": "sub/b.hsl", "line": 2, "column": 21},
                {"file": "a.hsl", "line": 2, "column": 9},
                {"line": 2, "column": 10},
            ],
        }})
    );
    assert_eq!(
        answers[1]["error"]["path"],
        json!([{"line": 1, "column": 19}])
    );
}

#[test]
fn the_servers_own_files_are_found_below_its_root() {
    if !has_pyyaml() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lib")).unwrap();
    fs::write(
        folder.path().join("lib/good.hsl"),
        "function f() { return 1; }",
    )
    .unwrap();
    fs::write(folder.path().join("lib/bad.hsl"), "echo nope();").unwrap();
    let rootpath = folder.path().to_str().unwrap();
    let scripting = json!({"rootpath": rootpath, "threads": 4});
    let answers = answers(&[
        json!({"data": "import { f } from \"lib/good\"; echo f();", "scripting": scripting}),
        json!({"data": "include \"lib/bad.hsl\";", "scripting": scripting}),
        // What the editor sends comes first.
        json!({"data": "include \"lib/bad.hsl\";", "scripting": scripting, "files": [{"id": "lib/bad.hsl", "data": "echo 1;"}]}),
    ]);
    assert_eq!(answers[0]["status"], 0, "{}", answers[0]);
    assert_eq!(answers[1]["error"]["file"], "lib/bad.hsl", "{}", answers[1]);
    assert_eq!(answers[2]["status"], 0, "{}", answers[2]);
}

#[test]
fn what_cannot_be_checked_gets_another_status_and_a_sentence() {
    if !has_pyyaml() {
        return;
    }
    let cases = [
        (
            json!({"phase": "nowhere", "data": "echo 1;"}),
            "there is no phase `nowhere`",
        ),
        (json!({"phase": "eod"}), "no script under `data`"),
        (json!([1]), "no map"),
        (
            json!({"data": "", "files": [{"id": "x"}]}),
            "needs `id` and `data`",
        ),
        (
            json!({"data": "", "files": [{"id": "x", "data": "*", "binary": true}]}),
            "the file x is not base64",
        ),
    ];
    let documents: Vec<Value> = cases.iter().map(|case| case.0.clone()).collect();
    for ((document, sentence), answer) in cases.iter().zip(answers(&documents)) {
        assert_eq!(answer["status"], 2, "{document}: {answer}");
        assert!(
            answer["error"].as_str().unwrap().contains(sentence),
            "{answer}"
        );
    }
}

#[test]
fn files_that_cannot_be_read_are_no_errors_of_a_script() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("warned.hsl"), "$a = 1;\n$a;\n").unwrap();
    let status = |arguments: &[&str]| {
        let output = Command::new(angarium())
            .arg("lint")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap()
                + std::str::from_utf8(&output.stderr).unwrap(),
        )
    };
    let (code, said) = status(&["missing.hsl"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("cannot read missing.hsl"), "{said}");
    let (code, said) = status(&["warned.hsl"]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("warned.hsl:2:1: warning: "), "{said}");
    assert_eq!(status(&["-W", "warned.hsl"]).0, Some(1));
}
