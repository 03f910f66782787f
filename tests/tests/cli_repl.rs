//! The REPL on a real pseudo-terminal: prompts, continuation, history, completion, Ctrl-C, Ctrl-D, pasting.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it starts real programs on real terminals"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use angarium_tests::program::angarium;
use rexpect::process::wait::WaitStatus;
use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};

/// Nothing waits longer.
const PATIENCE: Duration = Duration::from_secs(60);
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";
const TAB: &str = "\t";

/// A session with a person at the other end of the terminal.
struct Person {
    session: PtySession,
}

impl Person {
    /// Starts `angarium hsh` in `folder`, which is also where its history lies.
    fn at(folder: &Path, terminal: &str, arguments: &[&str]) -> Person {
        let mut command = Command::new(angarium());
        command
            .arg("hsh")
            .args(["-c", "/dev/null"])
            .args(arguments)
            .current_dir(folder)
            .env("TERM", terminal)
            .env("XDG_STATE_HOME", folder.join("state"));
        let options = Options::new()
            .timeout_ms(Some(u64::try_from(PATIENCE.as_millis()).unwrap()))
            .strip_ansi_escape_codes(true);
        let mut person = Person {
            session: spawn_with_options(command, options).unwrap(),
        };
        person.sees("hsl> ");
        person
    }

    fn types(&mut self, text: &str) {
        self.session.send(text).unwrap();
        self.session.flush().unwrap();
    }

    /// Waits for a text, and gives what stood before it.
    fn sees(&mut self, text: &str) -> String {
        match self.session.exp_string(text) {
            Ok(before) => before,
            Err(error) => panic!("no {text:?}: {error}"),
        }
    }

    /// Waits for the next prompt, and gives what stood before it without the first line, which shows what was typed.
    ///
    /// The prompt of a line that is drawn anew while it is edited does not begin a line.
    fn sees_answer(&mut self) -> String {
        let (shown, _) = match self.session.exp_regex("\n\r?hsl> ") {
            Ok(found) => found,
            Err(error) => panic!("no prompt: {error}"),
        };
        match shown.split_once('\n') {
            Some((_, answer)) => answer.replace('\r', "") + "\n",
            None => String::new(),
        }
    }

    /// Enters a line and gives what comes before the next prompt.
    fn enters(&mut self, line: &str) -> String {
        self.types(&format!("{line}\r"));
        self.sees_answer()
    }

    /// Waits for the end, and gives the status.
    fn leaves(mut self) -> i32 {
        let _ = self.session.exp_eof().unwrap();
        match self.session.process().wait().unwrap() {
            WaitStatus::Exited(_, status) => status,
            other => panic!("{other:?}"),
        }
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn values_are_shown_and_definitions_stay() {
    let here = folder();
    let mut person = Person::at(here.path(), "xterm", &[]);
    for (line, answer) in [
        ("$a = 20", ""),
        ("$a + 1", "21\n"),
        ("$a + 1;", "21\n"),
        ("none", ""),
        ("\"x\" . \"y\"", "\"xy\"\n"),
        ("[1, \"k\" => none]", "[0=>1,\"k\"=>none]\n"),
        ("echo \"text\"", "text\n"),
        ("function twice($x) { return $x * 2; }", ""),
        ("twice($a)", "40\n"),
        ("function twice($x) { return $x + $x + 1; }", ""),
        ("twice($a)", "41\n"),
        ("class P { constructor($x) { $this->x = $x; } }", ""),
        ("P(7)->x", "7\n"),
        ("nope(1)", "-:1:1: unknown function `nope`\nnope(1)\n^^^^\n"),
        (
            "throw Exception(\"no luck\")",
            "Uncaught exception: no luck\nthrow Exception(\"no luck\")\n^\n  at line 1:1\n",
        ),
        ("function inner() { throw \"deep\"; }", ""),
        ("function outer() { return inner(); }", ""),
        // The line is that of the piece that declared the function.
        (
            "outer()",
            "Uncaught exception: \"deep\"\nfunction inner() { throw \"deep\"; }\n                   ^\n  at inner (line 1:20)\n  at outer (line 1:27)\n  at line 1:1\n",
        ),
        (
            "1 + $unknown",
            "Uncaught exception: undefined variable $unknown on line 1 column 5\n1 + $unknown\n    ^\n",
        ),
        ("$a", "20\n"),
    ] {
        assert_eq!(person.enters(line), answer, "{line}");
    }
    person.types(":quit\r");
    assert_eq!(person.leaves(), 0);
}

#[test]
fn what_is_open_asks_for_more_with_another_prompt() {
    let here = folder();
    let mut person = Person::at(here.path(), "xterm", &[]);
    for line in ["function f($x) {", "return [", "$x,", "\"a"] {
        person.types(&format!("{line}\r"));
        person.sees("...> ");
    }
    assert_eq!(person.enters("b\"]; }"), "");
    assert_eq!(person.enters("f(1)"), "[0=>1,1=>''a\nb'']\n");
    // Ctrl-C gives up what is open, Ctrl-D runs into it.
    person.types("f(\r");
    person.sees("...> ");
    person.types(CTRL_C);
    person.sees("hsl> ");
    assert_eq!(person.enters("1"), "1\n");
    person.types("f(\r");
    person.sees("...> ");
    person.types(CTRL_D);
    assert!(person.sees_answer().contains("is not closed"));
    person.types(CTRL_D);
    assert_eq!(person.leaves(), 0);
}

#[test]
fn ctrl_c_aborts_loops_and_waits_and_the_session_goes_on() {
    let here = folder();
    let mut person = Person::at(here.path(), "xterm", &[]);
    person.enters("$kept = 5");
    for statement in [
        "while (true) { }",
        "sleep(100)",
        "barrier \"b\" { sleep(100); }",
        "forever { try { forever { } } catch ($e) { } }",
        "$r = \"\"; forever { $r .= \"x\"; if (length($r) > 100) $r = \"\"; }",
    ] {
        person.types(&format!("echo \"begun\" ; {statement}\r"));
        // The echo of the keys comes first, then the output.
        person.sees("\nbegun");
        let began = Instant::now();
        person.types(CTRL_C);
        let answer = person.sees("hsl> ");
        assert!(answer.contains("interrupted"), "{statement}: {answer}");
        assert!(began.elapsed() < Duration::from_secs(20), "{statement}");
        assert_eq!(person.enters("$kept"), "5\n", "{statement}");
    }
    // What was held is free again.
    assert_eq!(person.enters("barrier \"b\" { echo \"in\"; }"), "in\n");
    // A Ctrl-C at the prompt drops the line, and does not hit the next statement.
    person.types("$kept = 6");
    person.types(CTRL_C);
    person.sees("hsl> ");
    assert_eq!(person.enters("sleep(0.2); $kept"), "5\n");
    person.types(CTRL_D);
    assert_eq!(person.leaves(), 0);
}

#[test]
fn the_history_comes_back_with_arrow_up_in_this_session_and_the_next() {
    let here = folder();
    let mut person = Person::at(here.path(), "xterm", &[]);
    assert_eq!(person.enters("40 + 2"), "42\n");
    person.types("function f() {\r");
    person.sees("...> ");
    assert_eq!(person.enters("return 6 * 7; }"), "");
    person.types(UP);
    person.sees("return 6 * 7; }");
    // Once to its first line, and once to the statement before it.
    person.types(UP);
    person.types(UP);
    person.sees("40 + 2");
    person.types(" + 1\r");
    assert!(person.sees_answer().ends_with("43\n"));
    // A session that is not ended in order has kept its history too.
    drop(person);
    let mut person = Person::at(here.path(), "xterm", &[]);
    person.types(UP);
    person.sees("40 + 2 + 1");
    person.types(UP);
    person.sees("return 6 * 7; }");
    person.types("\r");
    person.sees_answer();
    assert_eq!(person.enters("f()"), "42\n");
    person.types(":quit\r");
    assert_eq!(person.leaves(), 0);
    let file = here.path().join("state/angarium/history");
    let rights =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).unwrap().permissions());
    assert_eq!(rights & 0o077, 0, "nobody else reads it");
}

#[test]
fn tab_completes_names_keys_members_options_and_commands() {
    let here = folder();
    fs::write(here.path().join("colours.hsl"), "$loaded = 1;").unwrap();
    let mut person = Person::at(here.path(), "xterm", &[]);
    person.enters("$message = [\"sender\" => 1]; function my_filter($x) { return \"F$x\"; }");
    person.enters("class User { readonly $name = \"n\"; private $secret = 1; function greeting() { return \"hello\"; } static function make() { return User(); } }");
    person.enters("$user = User::make()");
    for (typed, answer) in [
        (format!("str_repl{TAB}\"b\", \"x\", \"abc\")"), "\"axc\"\n"),
        (format!("my_fil{TAB}3)"), "\"F3\"\n"),
        (format!("$mess{TAB}[\"se{TAB}]"), "1\n"),
        (format!("$user->gr{TAB})"), "\"hello\"\n"),
        (format!("$user->na{TAB}"), "\"n\"\n"),
        (format!("User::ma{TAB})->name"), "\"n\"\n"),
        (
            format!("json_encode([true], [\"prett{TAB} => tru{TAB}])"),
            "''[\n    true\n]''\n",
        ),
        (format!(":lo{TAB} col{TAB}"), ""),
        ("$loaded".to_owned(), "1\n"),
    ] {
        assert_eq!(person.enters(&typed), answer, "{typed:?}");
    }
    // Several names: what they share is filled in, and the second Tab lists them.
    person.types(&format!("$user->{TAB}{TAB}"));
    person.sees("greeting(");
    person.sees("name");
    person.sees("hsl> $user->");
    person.types(CTRL_C);
    person.sees("hsl> ");
    person.types(CTRL_D);
    assert_eq!(person.leaves(), 0);
}

#[test]
fn pasted_lines_are_one_statement_or_many() {
    let here = folder();
    let mut person = Person::at(here.path(), "xterm", &[]);
    // A terminal that marks what is pasted: tabs and line ends are text.
    person.types("\x1b[200~function g($a)\n{\n\treturn $a + 1;\n}\ng(6)\x1b[201~\r");
    assert!(person.sees_answer().ends_with("\n7\n"));
    // One that does not: every line is typed.
    person.types("$p = [\n1,\n2\n]\nlength($p)\n$q = 8\n$q\n");
    person.sees("\n2\r\n");
    person.sees("\n8\r\n");
    person.sees("hsl> ");
    person.types(CTRL_D);
    assert_eq!(person.leaves(), 0);
}

#[test]
fn the_commands_do_what_help_says() {
    let here = folder();
    fs::create_dir(here.path().join("sub")).unwrap();
    fs::write(
        here.path().join("sub/part.hsl"),
        "include \"./more.hsl\";\nfunction g() { return \"g\"; }\n",
    )
    .unwrap();
    fs::write(here.path().join("sub/more.hsl"), "$more = \"m\";").unwrap();
    fs::write(here.path().join("bad.hsl"), "echo 1;\n  echo (;\n").unwrap();
    let mut person = Person::at(here.path(), "xterm", &[]);
    let help = person.enters(":help");
    for command in [
        ":help", ":load", ":vars", ":time", ":reset", ":quit", "Ctrl-C",
    ] {
        assert!(help.contains(command), "{help}");
    }
    assert!(person.enters(":help str_repeat").starts_with("str_repeat("));
    assert!(person.enters(":help foreach").contains("keyword"));
    assert!(
        person
            .enters(":help $connection.remoteip")
            .contains("helo, ")
    );
    assert!(
        person
            .enters(":help str_repaet")
            .contains("did you mean str_repeat?")
    );
    assert_eq!(person.enters(":load sub/part.hsl"), "");
    assert_eq!(person.enters("g() . $more"), "\"gm\"\n");
    let wrong = person.enters(":load bad.hsl");
    assert!(wrong.starts_with("bad.hsl:2:8: "), "{wrong}");
    assert!(
        person
            .enters(":load none.hsl")
            .contains("there is no such file")
    );
    assert_eq!(person.enters("$b = [1]"), "");
    assert_eq!(person.enters(":vars"), "$b = [0=>1]\n$more = \"m\"\n");
    let timed = person.enters(":time str_repeat(\"x\", 3)");
    assert!(timed.starts_with("\"xxx\"\n"), "{timed}");
    assert!(timed.trim_end().ends_with('s'), "{timed}");
    assert_eq!(person.enters(":reset"), "");
    assert_eq!(person.enters(":vars"), "");
    assert!(person.enters("g()").contains("unknown function `g`"));
    assert!(
        person
            .enters(":nothing")
            .contains("there is no command `:nothing`")
    );
    person.types(":quit\r");
    assert_eq!(person.leaves(), 0);
}

#[test]
fn a_terminal_without_editing_gets_plain_lines() {
    let here = folder();
    let mut person = Person::at(here.path(), "dumb", &[]);
    person.types("$x = [\n");
    person.sees("...> ");
    // The terminal tells of Ctrl-C by a signal; what was open is given up with the next line.
    person.types(CTRL_C);
    person.types("1 + 1\n");
    person.sees("2\r\nhsl> ");
    person.types("while (true) { }\n");
    std::thread::sleep(Duration::from_millis(500));
    person.types(CTRL_C);
    person.sees("interrupted");
    person.sees("hsl> ");
    person.types(CTRL_D);
    assert_eq!(person.leaves(), 0);
}

#[test]
fn bytes_that_are_no_utf8_cost_a_line_and_not_the_session() {
    let here = folder();
    for terminal in ["xterm", "dumb"] {
        let mut person = Person::at(here.path(), terminal, &[]);
        let mut keys = person.session.process().get_file_handle().unwrap();
        keys.write_all(b"1 + \xe9\n").unwrap();
        person.sees("no UTF-8");
        person.sees("hsl> ");
        person.types("20 + 1\n");
        person.sees("21\r\n");
        person.types(CTRL_D);
        assert_eq!(person.leaves(), 0, "{terminal}");
    }
}

#[test]
fn limits_end_a_statement_and_not_the_session() {
    let here = folder();
    let mut person = Person::at(
        here.path(),
        "xterm",
        &["--limit-time", "0.3", "--limit-memory", "8M"],
    );
    assert_eq!(person.enters("$a = 1"), "");
    assert_eq!(
        person.enters("forever { }"),
        "script limit exceeded: time\nforever { }\n^\n  at line 1:1\n"
    );
    let answer = person.enters("$b = []; forever { $b[] = str_repeat(\"x\", 100000); }");
    assert!(
        answer.starts_with("script limit exceeded: memory\n$b = []; forever"),
        "{answer}"
    );
    person.enters("unset($b)");
    assert_eq!(person.enters("$a"), "1\n");
    person.types(CTRL_D);
    assert_eq!(person.leaves(), 0);
}
