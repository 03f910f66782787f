//! `angarium demo` from outside: the first message, a script that is changed, one that is broken, the end.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it starts a real program on real files"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use angarium_tests::program::angarium;

struct Demo {
    child: Child,
    keyboard: ChildStdin,
    lines: Receiver<String>,
}

impl Demo {
    fn start(folder: &Path) -> Demo {
        let mut child = Command::new(angarium())
            .args(["demo", "--dir"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keyboard = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Demo {
            child,
            keyboard,
            lines,
        }
    }

    /// The lines up to the one that contains `mark`.
    fn until(&self, mark: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => {
                    let found = line.contains(mark);
                    seen.push(line);
                    if found {
                        return seen;
                    }
                }
                Err(_) => panic!("no `{mark}` in\n{}", seen.join("\n")),
            }
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_saved_script_changes_the_next_message_and_a_broken_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("demo");
    let mut demo = Demo::start(&bundle);
    let first = demo.until("Arrived at the destination").join("\n");
    for part in [
        "S: 220 ",
        "C: RCPT TO:<you@example.com>",
        "rcptto: src/hooks/rcptto/default.hsl:12  Accept([\"transportid\" => \"inbound\"]);",
        "echo: queued for 1 recipient(s)",
        "S: 250 2.0.0 Ok",
    ] {
        assert!(first.contains(part), "{part} is missing in\n{first}");
    }
    demo.until("Ctrl-C to end");
    assert!(bundle.join("arrived/000001.eml").is_file());

    let script = bundle.join("src/hooks/eod/default.hsl");
    let text = fs::read_to_string(&script).unwrap();
    fs::write(&script, text.replace("X-Quickstart", "X-Changed-Now")).unwrap();
    demo.until("reloaded");
    demo.keyboard.write_all(b"\n").unwrap();
    demo.until("| X-Changed-Now: seen ");

    fs::write(&script, "Acept();\n").unwrap();
    demo.until("is not taken");
    let why = demo.until("hint: ").join("\n");
    assert!(why.contains("unknown function `Acept`"), "{why}");
    demo.keyboard.write_all(b"\n").unwrap();
    demo.until("| X-Changed-Now: seen ");

    let pid = rustix::process::Pid::from_raw(i32::try_from(demo.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    demo.until("The scripts stay in");
    assert!(demo.child.wait().unwrap().success());
}

#[test]
fn a_folder_that_holds_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), "x").unwrap();
    let output = Command::new(angarium())
        .args(["demo", "--once", "--dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty and no bundle"));
}
