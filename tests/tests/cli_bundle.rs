//! `init`, `pack`, `unpack`, `check`, `functions`, `doc`, `sink` and `load` from outside.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it starts real programs on real files"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use angarium_tests::program::angarium;

fn run(arguments: &[&str], folder: &Path) -> Output {
    Command::new(angarium())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ok(arguments: &[&str], folder: &Path) -> String {
    let output = run(arguments, folder);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn refused(arguments: &[&str], folder: &Path) -> String {
    let output = run(arguments, folder);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{arguments:?}: {}",
        text(&output.stdout)
    );
    text(&output.stderr)
}

#[test]
fn a_new_bundle_is_in_order_packs_and_unpacks() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    assert!(ok(&["init", "new"], here).contains("angarium serve new"));
    assert!(ok(&["check", "new"], here).contains("are in order"));
    assert!(refused(&["init", "new"], here).contains("is not empty"));
    assert_eq!(
        ok(&["pack", "new"], here),
        "new/dist/smtpd-app.yaml\nnew/dist/smtpd.yaml\n"
    );
    assert!(ok(&["check", "new/dist/smtpd.yaml"], here).contains("are in order"));
    fs::rename(here.join("new/src"), here.join("new/old")).unwrap();
    ok(&["unpack", "new"], here);
    let hook = "hooks/eod/default.hsl";
    assert_eq!(
        fs::read(here.join("new/src").join(hook)).unwrap(),
        fs::read(here.join("new/old").join(hook)).unwrap()
    );
    assert_eq!(ok(&["pack", "--check", "new"], here), "");
}

#[test]
fn what_is_wrong_with_a_bundle_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    ok(&["init", "b"], here);
    let hook = here.join("b/src/hooks/rcptto/default.hsl");
    let app = here.join("b/src/config/smtpd-app.yaml");
    let good = (
        fs::read_to_string(&hook).unwrap(),
        fs::read_to_string(&app).unwrap(),
    );
    let mut report = String::new();
    let mut tell = |what: &str, arguments: &[&str]| {
        let message = refused(arguments, here);
        report.push_str(&format!("# {what}: {}\n{message}", arguments.join(" ")));
    };
    fs::write(&hook, good.0.replace("\"inbound\"]);", "\"inbound\"];")).unwrap();
    tell("an unclosed bracket", &["check", "b"]);
    tell("an unclosed bracket", &["pack", "b"]);
    fs::write(&hook, "Acept();\n").unwrap();
    tell("a misspelt function", &["check", "b"]);
    fs::write(&hook, &good.0).unwrap();
    fs::write(&app, good.1.replace("maxsize:", "maxsiz:")).unwrap();
    tell("a misspelt key", &["check", "b"]);
    fs::write(&app, good.1.replace("hook: default", "hook: missing")).unwrap();
    tell("a hook that is not there", &["pack", "b"]);
    fs::write(&app, "version: [\n").unwrap();
    tell("no YAML", &["check", "b"]);
    fs::remove_file(&app).unwrap();
    tell("a missing file", &["check", "b"]);
    tell("a missing folder", &["check", "nowhere"]);
    tell("an empty folder", &["check", "."]);
    insta::assert_snapshot!(report);
}

#[test]
fn a_foreign_bundle_is_listed_key_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (path, text) in [
        (
            "h/src/config/smtpd.yaml",
            "version: \"5.6\"\nservers:\n  - id: a\n    listeners:\n      - port: 25\n    nonsense: 1\n",
        ),
        (
            "h/src/config/smtpd-app.yaml",
            "version: \"5.6\"\nservers:\n  - id: a\n    phases:\n      eod:\n        hook: a\n      mailfrom:\n        hook: b\n",
        ),
        (
            "h/src/hooks/eod/a.hsl",
            "import { x } from \"extras://nothing\";\nnot_a_function();\n",
        ),
        ("h/src/hooks/mailfrom/b.hsl", "Accept();\n"),
    ] {
        let path = here.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let output = run(&["check", "--halon", "h"], here);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(text(&output.stdout) + &text(&output.stderr));
}

#[test]
fn the_table_is_printed_for_programs_and_for_people() {
    let here = tempfile::tempdir().unwrap();
    let table: serde_json::Value =
        serde_json::from_str(&ok(&["functions", "--json"], here.path())).unwrap();
    assert!(
        table["contexts"]["core"]["functions"]
            .as_array()
            .unwrap()
            .len()
            > 50
    );
    assert!(ok(&["functions", "--context", "rcptto"], here.path()).contains("Accept()"));
    let doc = ok(&["doc", "str_repeat"], here.path());
    assert!(
        doc.contains("str_repeat(") && doc.contains("Example: "),
        "{doc}"
    );
    assert!(ok(&["doc", "File.readline"], here.path()).contains("readline"));
    assert!(refused(&["doc", "str_repeet"], here.path()).contains("there is no function"));
    let output = run(&["functions", "--context", "nowhere"], here.path());
    assert_eq!(output.status.code(), Some(2));
}

/// A sink that is stopped when it is dropped.
struct Sink {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Sink {
    fn start(arguments: &[&str], folder: &Path) -> Sink {
        let mut child = Command::new(angarium())
            .args(["sink", "--port", "0"])
            .args(arguments)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .to_owned();
        Sink {
            child,
            output,
            address,
        }
    }

    fn rest(mut self) -> String {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut rest).unwrap();
        rest
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_load_arrives_at_a_sink_message_by_message() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(&["--dir", "mail", "--max", "40"], folder.path());
    let figures = ok(
        &[
            "load",
            &sink.address,
            "-s",
            "4",
            "-m",
            "10",
            "--size",
            "20000",
            "--per-connection",
            "3",
        ],
        folder.path(),
    );
    assert!(figures.starts_with("40 messages of 2000"), "{figures}");
    assert!(sink.rest().ends_with("40 messages, 800000 bytes\n"));
    let files: Vec<_> = fs::read_dir(folder.path().join("mail")).unwrap().collect();
    assert_eq!(files.len(), 40);
    let one = fs::read(folder.path().join("mail/000001.eml")).unwrap();
    assert!(one.starts_with(b"From: <load@example.net>\r\n"));
}

#[test]
fn a_sink_can_refuse_and_the_load_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(
        &[
            "--count",
            "--reply",
            "rcptto=450 4.2.0 Come back later",
            "--times",
            "3",
        ],
        folder.path(),
    );
    let output = run(
        &["load", &sink.address, "-s", "1", "-m", "5"],
        folder.path(),
    );
    let figures = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(figures.starts_with("2 messages"), "{figures}");
    assert!(
        figures.contains("3 failed: 450 4.2.0 Come back later (after RCPT)"),
        "{figures}"
    );
}

#[test]
fn a_busy_port_and_a_silent_one_are_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let message = refused(&["sink", "--port", &port], folder.path());
    assert!(
        message.contains("another program uses the address"),
        "{message}"
    );
    drop(taken);
    let target = format!("127.0.0.1:{port}");
    let output = run(&["load", &target, "-s", "1", "-m", "2"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("2 failed: cannot connect to"),
        "{}",
        text(&output.stdout)
    );
    let output = run(&["load", "nowhere:port"], folder.path());
    assert_eq!(output.status.code(), Some(2));
}
