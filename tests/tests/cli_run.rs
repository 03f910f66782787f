//! `angarium run` (`hsh`), `lint` (`hsl-lint`) and `repl` from outside: output, messages and status.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it starts real programs on real files"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use angarium_tests::program::{angarium, installed, is_root, python};

/// Output, messages and status of a command that gets `input`.
fn run(arguments: &[&str], input: &str, folder: &Path) -> (String, String, i32) {
    run_as(Command::new(angarium()), arguments, input, folder)
}

fn run_as(
    mut command: Command,
    arguments: &[&str],
    input: &str,
    folder: &Path,
) -> (String, String, i32) {
    let mut child = command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not want its input may close it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
        output.status.code().unwrap_or(-1),
    )
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn scripts_give_output_messages_and_status() {
    let cases: &[(&str, &str, &str, i32)] = &[
        ("echo 1 + 2;", "3\n", "", 0),
        ("", "", "", 0),
        ("echo [1, \"a\" => none];", "[0=>1,\"a\"=>none]\n", "", 0),
        ("echo \"a\"; return; echo \"b\";", "a\n", "", 0),
        ("echo \"\\xc3\\xa9\\xff\";", "é\u{fffd}\n", "", 0),
        (
            "echo \"a\";\nthrow Exception(\"no luck\");",
            "a\n",
            "Uncaught exception: no luck\n",
            1,
        ),
        ("throw [1];", "", "Uncaught exception: [0=>1]\n", 1),
        ("throw \"x\";", "", "Uncaught exception: \"x\"\n", 1),
        (
            "echo \"a\";\n  $x = 1 - [];",
            "a\n",
            "Uncaught exception: ",
            1,
        ),
        ("echo 1;\necho (2;", "", "-:2:6: ", 1),
        ("echo nope(1);", "", "-:1:6: ", 1),
        ("echo #/(/;", "", "-:1:6: bad regular expression", 1),
        ("include \"missing\";", "", "-:1:9: file not found", 1),
    ];
    let folder = folder(&[]);
    for (script, output, message, status) in cases {
        for arguments in [&["run", "-"][..], &["run"], &["repl"]] {
            let found = run(arguments, script, folder.path());
            assert_eq!(
                (found.0.as_str(), found.2),
                (*output, *status),
                "{script}: {}",
                found.1
            );
            assert!(
                found.1.starts_with(message) && found.1.is_empty() == message.is_empty(),
                "{script}: {}",
                found.1
            );
        }
    }
}

#[test]
fn messages_show_file_line_column_source_and_caret() {
    let folder = folder(&[
        ("bad.hsl", "echo 1;\n  echo nope(1);\n"),
        (
            "thrown.hsl",
            "$a = 1;\n\techo $a + undefined_function_value();\n",
        ),
        ("late.hsl", "function f() { return $b; }\necho f();\n"),
        ("part.hsl", "echo (;\n"),
        ("whole.hsl", "include \"part.hsl\";\n"),
    ]);
    let mut report = String::new();
    for name in ["bad.hsl", "thrown.hsl", "late.hsl", "whole.hsl"] {
        let (output, message, status) = run(&["run", name], "", folder.path());
        report.push_str(&format!("# {name}: {status}\n{output}{message}"));
    }
    insta::assert_snapshot!(report);
}

#[test]
fn includes_are_found_below_the_root_and_beside_the_script() {
    let folder = folder(&[
        (
            "scripts/main.hsl",
            "include \"./part.hsl\"; import { f } from \"lib\"; echo f();",
        ),
        ("scripts/part.hsl", "echo \"part\";"),
        ("scripts/whole/main.hsl", "include \"./other.hsl\";"),
        ("scripts/whole/other.hsl", "echo \"whole\";"),
        ("scripts/folder.hsl", "include \"whole\";"),
        ("scripts/lib.hsl", "function f() { return \"lib\"; }"),
        ("lib.hsl", "function f() { return \"root\"; }"),
        ("secret.hsl", "echo \"secret\";"),
        ("scripts/out.hsl", "include \"../secret.hsl\";"),
    ]);
    let (output, message, status) = run(&["run", "scripts/main.hsl"], "", folder.path());
    assert_eq!((output.as_str(), status), ("part\nlib\n", 0), "{message}");
    let (output, message, status) = run(&["run", "-R", ".", "scripts/main.hsl"], "", folder.path());
    assert_eq!((output.as_str(), status), ("part\nroot\n", 0), "{message}");
    let (output, message, status) = run(&["run", "scripts/folder.hsl"], "", folder.path());
    assert_eq!((output.as_str(), status), ("whole\n", 0), "{message}");
    let (_, message, status) = run(&["run", "scripts/out.hsl"], "", folder.path());
    assert_eq!(status, 1);
    assert!(message.contains("leaves the root"), "{message}");
    std::os::unix::fs::symlink("../secret.hsl", folder.path().join("scripts/link.hsl")).unwrap();
    let (_, message, status) = run(
        &["run", "-R", "scripts", "-"],
        "include \"link.hsl\";",
        folder.path(),
    );
    assert_eq!(status, 1);
    assert!(message.contains("file not found"), "{message}");
}

#[test]
fn binary_output_is_left_alone() {
    let folder = folder(&[("a.hsl", "echo \"\\xff\"; echo \"a\";")]);
    let output = Command::new(angarium())
        .args(["run", "-B", "a.hsl"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"\xffa");
}

#[test]
fn the_syntax_check_runs_nothing_and_knows_no_functions() {
    let folder = folder(&[("a.hsl", "echo Accept();"), ("b.hsl", "echo (1;")]);
    let (output, message, status) = run(&["run", "-s", "a.hsl"], "", folder.path());
    assert_eq!((output.as_str(), message.as_str(), status), ("", "", 0));
    let (_, message, status) = run(&["run", "-s", "b.hsl"], "", folder.path());
    assert_eq!(status, 1);
    assert!(message.starts_with("b.hsl:1:6: "), "{message}");
}

#[test]
fn limits_end_a_script_that_catches_everything() {
    let folder = folder(&[]);
    let forever = "forever { try { forever {} } catch ($e) {} }";
    let (_, message, status) = run(&["run", "--limit-time", "0.2", "-"], forever, folder.path());
    assert_eq!(status, 1);
    assert!(
        message.starts_with("script limit exceeded: time\n"),
        "{message}"
    );
    let grow = "$a = []; forever { try { $a[] = str_repeat(\"x\", 100000); } catch ($e) {} }";
    let (_, message, status) = run(&["run", "--limit-memory", "8M", "-"], grow, folder.path());
    assert_eq!(status, 1);
    assert!(
        message.starts_with("script limit exceeded: memory\n"),
        "{message}"
    );
}

#[test]
fn wrong_arguments_are_refused_with_status_2_and_what_to_do() {
    let folder = folder(&[("a.hsl", "echo 1;")]);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["run", "--ffi", "a.hsl"], 2, "--ffi is not available yet"),
        (
            &["run", "-p", "x", "a.hsl"],
            2,
            "the plugin x cannot be loaded",
        ),
        (
            &["run", "-P", "-c", "/dev/null", "a.hsl"],
            2,
            "environment.privdrop.user",
        ),
        (&["run", "-R", "missing", "a.hsl"], 2, "is no folder"),
        (&["run", "--limit-time", "0", "a.hsl"], 2, "more than 0"),
        (&["run", "--no-such-option"], 2, "--no-such-option"),
        (
            &["run", "missing.hsl"],
            1,
            "cannot read missing.hsl: there is no such file",
        ),
        (&["run", "."], 1, "it is a folder"),
        (
            &["run", "-c", "missing.yaml", "a.hsl"],
            1,
            "cannot read missing.yaml",
        ),
        (&["nosuchcommand"], 2, "nosuchcommand"),
        (
            &["lint", "--phase", "nowhere", "a.hsl"],
            2,
            "there is no phase `nowhere`",
        ),
    ];
    for (arguments, status, text) in cases {
        let found = run(arguments, "", folder.path());
        assert_eq!(found.2, *status, "{arguments:?}: {}", found.1);
        assert!(found.1.contains(text), "{arguments:?}: {}", found.1);
    }
}

#[test]
fn ctrl_c_ends_a_script_and_keeps_its_output() {
    let folder = folder(&[("a.hsl", "echo \"begun\"; sleep(60);")]);
    let child = Command::new(angarium())
        .args(["run", "a.hsl"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The handler is there once the script runs; before that the signal ends the program anyhow.
    std::thread::sleep(Duration::from_millis(1500));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "begun\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "interrupted\n");
    assert_eq!(output.status.code(), Some(130));
}

#[test]
fn it_answers_to_the_names_that_tools_know() {
    let folder = folder(&[("a.hsl", "echo \"hsh\";")]);
    for name in ["hsh", "hsl-lint"] {
        std::os::unix::fs::symlink(angarium(), folder.path().join(name)).unwrap();
    }
    let hsh = Command::new(folder.path().join("hsh"));
    assert_eq!(run_as(hsh, &["a.hsl"], "", folder.path()).0, "hsh\n");
    let hsh = Command::new(folder.path().join("hsh"));
    assert!(
        run_as(hsh, &["-v"], "", folder.path())
            .0
            .starts_with("hsh ")
    );
    let lint = Command::new(folder.path().join("hsl-lint"));
    let found = run_as(lint, &[], "data: echo 1;\n", folder.path());
    assert_eq!(found, (String::new(), String::new(), 0));
}

#[test]
fn subcommands_have_the_names_that_tools_know_too() {
    let folder = folder(&[("a.hsl", "echo \"hsh\";")]);
    assert_eq!(run(&["hsh", "a.hsl"], "", folder.path()).0, "hsh\n");
    let found = run(&["hsl-lint"], "data: echo (1;\n", folder.path());
    assert_eq!((found.0.as_str(), found.2), ("", 1));
    assert!(found.1.contains("line: 1"), "{}", found.1);
}

#[test]
fn a_startup_configuration_brings_its_root_and_dev_null_none() {
    let folder = folder(&[
        ("root/lib.hsl", "echo \"lib of the root\";"),
        ("scripts/a.hsl", "include \"lib.hsl\";"),
        ("scripts/lib.hsl", "echo \"lib beside\";"),
        (
            "smtpd-app.yaml",
            "version: \"6.0\"\nscripting:\n  files:\n    - id: other.hsl\n      data: echo 1;\n",
        ),
    ]);
    let config = format!(
        "version: \"6.0\"\nscripting:\n  rootpath: {}\nenvironment:\n  appconf: {}\n",
        folder.path().join("root").display(),
        folder.path().join("smtpd-app.yaml").display()
    );
    fs::write(folder.path().join("smtpd.yaml"), config).unwrap();
    for (arguments, output) in [
        (
            &["hsh", "-c", "smtpd.yaml", "scripts/a.hsl"][..],
            "lib of the root\n",
        ),
        (
            &["hsh", "--config", "/dev/null", "scripts/a.hsl"],
            "lib beside\n",
        ),
        // -R wins over both.
        (
            &["hsh", "-c", "smtpd.yaml", "-R", "scripts", "scripts/a.hsl"],
            "lib beside\n",
        ),
    ] {
        let found = run(arguments, "", folder.path());
        assert_eq!(
            (found.0.as_str(), found.2),
            (output, 0),
            "{arguments:?}: {}",
            found.1
        );
    }
    let found = run(
        &["hsh", "-c", "smtpd.yaml"],
        "include \"other\";",
        folder.path(),
    );
    assert_eq!((found.0.as_str(), found.2), ("1\n", 0), "{}", found.1);
}

/// A copy of the program and a folder that every user may use.
fn for_everybody(files: &[(&str, &str)]) -> (tempfile::TempDir, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder(files);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("angarium");
    fs::copy(angarium(), &program).unwrap();
    (folder, program)
}

const NOBODY: &str = "version: \"6.0\"\nenvironment:\n  privdrop:\n    user: nobody\n";

#[test]
fn privileges_are_dropped_before_the_script_reads_anything() {
    use std::os::unix::fs::PermissionsExt as _;
    if !is_root() {
        println!("skipped: only root can drop privileges");
        return;
    }
    let (folder, program) = for_everybody(&[
        (
            "a.hsl",
            "echo \"a\"; echo File(\"secret\") ? \"read\" : \"not read\";",
        ),
        ("secret", "s"),
        ("smtpd.yaml", NOBODY),
        ("smtpd-app.yaml", "version: \"6.0\"\n"),
        ("unknown.yaml", &NOBODY.replace("nobody", "no-such-user")),
    ]);
    let secret = folder.path().join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let hsh = |arguments: &[&str]| {
        let mut all = vec!["hsh", "-R", "."];
        all.extend(arguments);
        run_as(Command::new(&program), &all, "", folder.path())
    };
    let found = hsh(&["-c", "smtpd.yaml", "a.hsl"]);
    assert_eq!(found, ("a\nread\n".to_owned(), String::new(), 0));
    let found = hsh(&["-P", "-c", "smtpd.yaml", "a.hsl"]);
    assert_eq!(found, ("a\nnot read\n".to_owned(), String::new(), 0));
    let found = hsh(&["-P", "-c", "unknown.yaml", "a.hsl"]);
    assert_eq!(found.2, 1);
    assert!(
        found.1.contains("this machine has no such user"),
        "{}",
        found.1
    );
}

#[test]
fn without_the_rights_of_root_privileges_cannot_be_dropped() {
    use std::os::unix::process::CommandExt as _;
    let (folder, program) = for_everybody(&[
        ("a.hsl", "echo 1;"),
        ("smtpd.yaml", NOBODY),
        ("smtpd-app.yaml", "version: \"6.0\"\n"),
    ]);
    let mut command = Command::new(program);
    if is_root() {
        command.uid(65534).gid(65534);
    }
    let arguments = ["hsh", "-P", "-c", "smtpd.yaml", "a.hsl"];
    let found = run_as(command, &arguments, "", folder.path());
    assert_eq!((found.0.as_str(), found.2), ("", 2), "{}", found.1);
    assert!(found.1.contains("works only as root"), "{}", found.1);
}

#[test]
fn output_comes_before_the_message_even_into_one_file() {
    let folder = folder(&[("a.hsl", "echo \"before\"; throw \"x\"; echo \"after\";")]);
    let file = fs::File::create(folder.path().join("out")).unwrap();
    let status = Command::new(angarium())
        .args(["hsh", "a.hsl"])
        .current_dir(folder.path())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let text = fs::read_to_string(folder.path().join("out")).unwrap();
    assert!(
        text.starts_with("before\nUncaught exception: \"x\"\n"),
        "{text}"
    );
}

#[test]
fn a_script_whose_output_nobody_reads_ends_quietly() {
    let folder = folder(&[("a.hsl", "forever { echo \"line\"; }")]);
    let began = Instant::now();
    let mut child = Command::new(angarium())
        .args(["hsh", "a.hsl"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 5];
    std::io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut line).unwrap();
    assert_eq!(&line, b"line\n");
    // The reader is gone by now.
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_disk_that_is_full_ends_a_script_with_a_message() {
    let folder = folder(&[("a.hsl", "forever { echo \"line\"; }")]);
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = Command::new(angarium())
        .args(["hsh", "a.hsl"])
        .current_dir(folder.path())
        .stdout(full)
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        message.contains("cannot write to standard output"),
        "{message}"
    );
}

#[test]
fn scripts_may_come_through_a_pipe_with_a_name() {
    let folder = folder(&[]);
    for (program, status) in [("echo 7;", 0), ("echo (7;", 1)] {
        for tool in ["hsh", "hsl-lint"] {
            let (_, message, found) = run(&[tool, "/dev/stdin"], program, folder.path());
            assert_eq!(found, status, "{tool} {program}: {message}");
        }
    }
}

#[test]
fn a_running_configuration_brings_its_files() {
    let app = "version: \"6.0\"\n__entrypoint: include \"test.hsl\";\nscripting:\n  files:\n    - id: test.hsl\n      data: echo \"from the bundle\";\n";
    let folder = folder(&[("app.yaml", app), ("a.hsl", "include \"test.hsl\";")]);
    let found = run(&["run", "-A", "app.yaml", "a.hsl"], "", folder.path());
    assert_eq!(
        (found.0.as_str(), found.2),
        ("from the bundle\n", 0),
        "{}",
        found.1
    );
    let found = run(&["run", "-A", "-", "-"], app, folder.path());
    assert_eq!(
        (found.0.as_str(), found.2),
        ("from the bundle\n", 0),
        "{}",
        found.1
    );
}

#[test]
fn lint_prints_a_line_for_each_finding() {
    let folder = folder(&[
        ("good.hsl", "echo 1;\n"),
        ("warned.hsl", "$a = 1;\n$a;\n"),
        ("bad.hsl", "echo nope();\n"),
        ("broken.hsl", "echo (1;\n"),
        ("src/config/smtpd.yaml", "version: \"6.0\"\n"),
        (
            "src/hooks/rcptto/a.hsl",
            "import { f } from \"lib.hsl\";\nf($arguments[\"recipient\"]);\nAccept();\n",
        ),
        ("src/hooks/queue/predelivery.hsl", "Try();\n"),
        ("src/files/lib.hsl", "function f($x) { return $x; }\n"),
    ]);
    let mut report = String::new();
    for arguments in [
        &["lint", "good.hsl"][..],
        &["lint", "warned.hsl"],
        &["lint", "-W", "warned.hsl"],
        &["lint", "bad.hsl", "broken.hsl", "good.hsl"],
        &["lint", "--syntax-only", "bad.hsl"],
        &[
            "lint",
            "src/hooks/rcptto/a.hsl",
            "src/hooks/queue/predelivery.hsl",
        ],
        &[
            "lint",
            "--phase",
            "connect",
            "src/hooks/queue/predelivery.hsl",
        ],
    ] {
        let (output, message, status) = run(arguments, "", folder.path());
        report.push_str(&format!(
            "# {}: {status}\n{output}{message}",
            arguments.join(" ")
        ));
    }
    insta::assert_snapshot!(report);
}

#[test]
fn lint_answers_editors_in_yaml() {
    let folder = folder(&[]);
    let files = "files:\n  - id: folder/bad.hsl\n    data: |\n      echo 1;\n      echo nope();\n  - id: good.hsl\n    data: ZWNobyAxOw==\n    binary: true\n";
    let cases: &[(&str, i32)] = &[
        (
            "version: \"6.11\"\nphase: rcptto\ndata: |\n  Accept();\n",
            0,
        ),
        ("phase: connect\ndata: |\n  echo 1;\n    Try();\n", 1),
        ("phase: ''\ndata: |\n  Accept();\n", 1),
        ("data: |\n  include \"good.hsl\";\n", 0),
        ("data: |\n\n  include \"folder/bad.hsl\";\n", 1),
        ("phase: nowhere\ndata: echo 1;\n", 2),
        ("phase: eod\n", 2),
        ("[", 2),
    ];
    let mut report = String::new();
    for (document, status) in cases {
        let input = if document.contains("include") {
            format!("{document}{files}")
        } else {
            (*document).to_owned()
        };
        let (output, message, found) = run(&["lint"], &input, folder.path());
        assert_eq!(
            (output.as_str(), found),
            ("", *status),
            "{input}: {message}"
        );
        report.push_str(&format!("# {found}\n{document}---\n{message}"));
    }
    insta::assert_snapshot!(report);
}

/// Types into a terminal and gives what it shows.
const TYPE: &str = r#"
import os, pty, sys, select, time
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "dumb"
    os.execv(sys.argv[1], [sys.argv[1], "repl"])
shown = b""
def until(what):
    global shown
    end = time.time() + 60
    while what not in shown and time.time() < end:
        ready, _, _ = select.select([fd], [], [], 1)
        if ready:
            try:
                part = os.read(fd, 4096)
            except OSError:
                return
            if not part:
                return
            shown += part
for line in sys.stdin.buffer.read().split(b"\n"):
    if line == b"^C":
        # While the statement before it runs.
        time.sleep(1)
        os.write(fd, b"\x03")
        continue
    until(b"> ")
    sys.stdout.buffer.write(shown.replace(b"\r", b""))
    shown = b""
    os.write(fd, line + b"\n")
until(b"\0")
sys.stdout.buffer.write(shown.replace(b"\r", b""))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn the_repl_keeps_what_was_defined() {
    if !installed("python3") {
        return;
    }
    let folder = folder(&[("part.hsl", "function g() { return \"g\"; }\n")]);
    let typed = "$a = 1\n$a + 1\n\"text\"\nnone\nfunction f($x) {\nreturn $x * 2;\n}\nf(21)\nfunction f($x) { return 0; }\nf(1)\n$a +\nnope()\nthrow Exception(\"no\")\n:vars\n:load part.hsl\ng()\n:help str_repeat\n:nothing\nforever {}\n^C\n$a\n:reset\n$a\n:quit";
    let mut command = Command::new(python());
    command.args(["-c", TYPE, angarium().to_str().unwrap()]);
    let (shown, message, status) = run_as(command, &[], typed, folder.path());
    assert_eq!(status, 0, "{message}\n{shown}");
    // Whether the terminal shows the key itself depends on its driver.
    let shown = shown.replace("^C", "");
    insta::assert_snapshot!(shown);
}
