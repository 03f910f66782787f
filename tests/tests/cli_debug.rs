//! `hsh -C PATH`: a script stops at its debug points for an editor, which listens on a socket and speaks the control
//! protocol as editors do.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it starts a real program and listens on a real socket"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use angarium_control::Message as _;
use angarium_control::frame::{self, Answer, Answers, Kind};
use angarium_control::proto::{HslBreakPointRequest, HslBreakPointResponse, HslLogResponse};
use angarium_tests::program::angarium;

/// The editor's end.
struct Editor {
    stream: UnixStream,
    answers: Answers,
    /// What the script has said so far.
    echoed: Vec<String>,
}

impl Editor {
    /// Starts the script with `-C` and takes its connection.
    fn debug(folder: &Path, script: &str) -> (Child, Editor) {
        fs::write(folder.join("script.hsl"), script).unwrap();
        let path = folder.join("editor.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let child = Command::new(angarium())
            .args(["run", "-C", "editor.sock", "script.hsl"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        let editor = Editor {
            stream,
            answers: Answers::default(),
            echoed: Vec::new(),
        };
        (child, editor)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn answer(&mut self) -> Answer {
        loop {
            match self.answers.take().unwrap() {
                Some(record) if record.kind == Kind::Record => {
                    let said = HslLogResponse::decode(&record.data[..]).unwrap();
                    self.echoed.push(String::from_utf8(said.text).unwrap());
                }
                Some(answer) => return answer,
                None => {
                    let mut buffer = [0; 4096];
                    let read = self.stream.read(&mut buffer).unwrap();
                    assert!(read > 0, "hsh has closed the connection");
                    self.answers.feed(&buffer[..read]);
                }
            }
        }
    }

    /// `e`: the next point or throw.
    fn wait(&mut self) -> HslBreakPointResponse {
        self.send(b"e");
        let answer = self.answer();
        assert_eq!(answer.kind, Kind::Done, "{answer:?}");
        HslBreakPointResponse::decode(&answer.data[..]).unwrap()
    }

    /// `f`: the script goes on.
    fn go_on(&mut self) {
        self.send(b"f");
        let answer = self.answer();
        assert_eq!((answer.kind, &answer.data[..]), (Kind::Done, &b""[..]));
    }
}

/// A variable as the record tells it.
fn variable(record: &HslBreakPointResponse, name: &str) -> Option<(String, String)> {
    let values: serde_json::Value = serde_json::from_str(&record.values).unwrap();
    let told = values.get(name)?;
    let text = |key: &str| told[key].as_str().unwrap().to_owned();
    Some((text("format"), text("value")))
}

fn finish(child: Child) -> (String, String, Option<i32>) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code(),
    )
}

const SCRIPT: &str = r#"
function double($n)
{
    $bytes = "\xff";
    __debug ["session", "inner"] return $n * 2;
}
$list = ["a" => 1];
__debug ["session", "outer"]
    echo "first";
unset($list);
$result = double(21);
__debug ["session", "end"] echo $result;
"#;

#[test]
fn a_script_stops_at_every_point_until_the_editor_lets_it_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (child, mut editor) = Editor::debug(folder.path(), SCRIPT);
    editor.send(&frame::VERSION);
    let outer = editor.wait();
    assert_eq!((&*outer.id, &*outer.debugid), ("outer", "session"));
    let place = outer.location.clone().unwrap();
    assert_eq!(place.file, "script.hsl");
    assert_eq!((place.beginline, place.begincolumn), (9, 5));
    assert_eq!((place.endline, place.endcolumn), (9, 18));
    assert_eq!(
        variable(&outer, "list"),
        Some(("json".to_owned(), r#"{"a":1}"#.to_owned()))
    );
    assert_eq!(variable(&outer, "result"), None, "it has no value yet");
    assert!(outer.time > 1.7e9);
    assert!(editor.echoed.is_empty(), "the statement has not run");
    editor.go_on();
    let inner = editor.wait();
    assert_eq!(editor.echoed, ["first"]);
    assert_eq!(inner.id, "inner");
    assert_eq!(variable(&inner, "n").unwrap().1, "21");
    assert_eq!(
        variable(&inner, "bytes"),
        Some(("base64".to_owned(), "/w==".to_owned()))
    );
    let calls: Vec<&str> = inner.callstack.iter().map(|call| &*call.function).collect();
    assert_eq!(calls, ["double", ""]);
    editor.go_on();
    let end = editor.wait();
    assert_eq!(variable(&end, "result").unwrap().1, "42");
    assert_eq!(variable(&end, "list"), None, "it was unset");
    editor.go_on();
    editor.send(b"e");
    let answer = editor.answer();
    assert_eq!(
        (answer.kind, &answer.data[..]),
        (Kind::Failed, &b"Aborted"[..])
    );
    assert_eq!(editor.echoed, ["first", "42"]);
    assert_eq!(
        finish(child),
        ("first\n42\n".into(), String::new(), Some(0))
    );
}

#[test]
fn what_is_thrown_is_told_caught_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let script = "try { throw Exception(\"one\"); } catch ($e) {}\n\nthrow \"two\";\n";
    let (child, mut editor) = Editor::debug(folder.path(), script);
    editor.send(&frame::VERSION);
    let mut told = Vec::new();
    for _ in 0..2 {
        let record = editor.wait();
        assert_eq!((&*record.id, &*record.debugid), ("", ""));
        let values: serde_json::Value = serde_json::from_str(&record.values).unwrap();
        let thrown = &values["__throw"];
        let message = thrown["message"].as_str().unwrap().to_owned();
        let line = record.location.unwrap().beginline;
        told.push((message, thrown["uncaught"].as_bool().unwrap(), line));
    }
    assert_eq!(told, [("one".into(), false, 1), ("two".into(), true, 3)]);
    drop(editor);
    let (_, messages, status) = finish(child);
    assert!(messages.contains("two") && status == Some(1), "{messages}");
}

#[test]
fn a_script_whose_editor_goes_away_runs_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (child, mut editor) = Editor::debug(folder.path(), SCRIPT);
    editor.send(&frame::VERSION);
    assert_eq!(editor.wait().id, "outer");
    drop(editor);
    assert_eq!(finish(child).0, "first\n42\n");
}

#[test]
fn points_can_be_polled_and_foreign_commands_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (child, mut editor) = Editor::debug(folder.path(), "__debug [\"s\", \"p\"] echo 1;");
    editor.send(&frame::VERSION);
    editor.send(b"q");
    assert_eq!(editor.answer().data, b"Unknown command");
    let wanted = HslBreakPointRequest {
        debugid: "s".into(),
    };
    editor.send(&frame::request(b'd', Some(&wanted.encode_to_vec())));
    let answer = editor.answer();
    let record = HslBreakPointResponse::decode(&answer.data[..]).unwrap();
    assert_eq!(
        record.id, "",
        "nothing is kept while the script stops at its points"
    );
    assert_eq!(editor.wait().id, "p");
    editor.go_on();
    drop(editor);
    assert_eq!(finish(child).0, "1\n");
}

#[test]
fn without_an_editor_at_the_path_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.hsl"), "echo 1;").unwrap();
    let output = Command::new(angarium())
        .args(["run", "-C", "none.sock", "a.hsl"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("cannot connect to the debugger at none.sock"),
        "{message}"
    );
    assert_eq!((output.stdout, output.status.code()), (Vec::new(), Some(1)));
}

#[test]
fn without_a_debugger_the_prefix_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.hsl"), SCRIPT).unwrap();
    let output = Command::new(angarium())
        .args(["run", "a.hsl"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"first\n42\n");
}
