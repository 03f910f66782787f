//! `angarium doc`, and the completions of shells in the shells themselves.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it starts real programs"
)]

use std::process::Command;

use angarium_tests::program::{angarium, installed};

/// Output, messages and status.
fn run(arguments: &[&str]) -> (String, String, i32) {
    let output = Command::new(angarium()).args(arguments).output().unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap(),
    )
}

#[test]
fn doc_explains_functions_methods_variables_keywords_and_hooks() {
    let mut report = String::new();
    for name in [
        "str_repeat",
        "File.readline",
        "match",
        "strlen",
        "str_repaet",
        "nothing_like_it",
    ] {
        let (output, message, status) = run(&["doc", name]);
        report.push_str(&format!("# {name}: {status}\n{output}{message}"));
    }
    insta::assert_snapshot!(report);
    // What hooks have grows with them.
    for (name, said) in [
        (
            "$transaction.id",
            "$transaction.id: string  (in connect, proxy, helo,",
        ),
        ("connection.remoteip", "address of the client"),
        ("disconnect", "$arguments.reply.code: number"),
        ("disconnect", "Pass()"),
    ] {
        let (output, message, status) = run(&["doc", name]);
        assert_eq!(status, 0, "{message}");
        assert!(output.contains(said), "{name}: {output}");
    }
}

/// The examples of all keywords, run.
#[test]
fn every_example_of_a_keyword_runs() {
    for word in [
        "and",
        "array",
        "as",
        "barrier",
        "break",
        "builtin",
        "cache",
        "case",
        "catch",
        "class",
        "closure",
        "constructor",
        "continue",
        "default",
        "echo",
        "else",
        "false",
        "for",
        "foreach",
        "forever",
        "function",
        "global",
        "if",
        "isset",
        "match",
        "none",
        "not",
        "or",
        "private",
        "readonly",
        "return",
        "static",
        "switch",
        "throw",
        "true",
        "try",
        "unset",
        "while",
        "yield",
    ] {
        let (text, message, _) = run(&["doc", word]);
        let example = text
            .lines()
            .find_map(|line| line.strip_prefix("  Example: "))
            .unwrap_or_else(|| panic!("{word}: {text}{message}"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("example.hsl");
        std::fs::write(&path, example).unwrap();
        let (_, message, status) = run(&["hsh", "-c", "/dev/null", path.to_str().unwrap()]);
        assert_eq!((message.as_str(), status), ("", 0), "{word}: {example}");
    }
}

/// What bash offers for a command line whose last word is being typed.
fn bash_offers(program: &str, words: &[&str]) -> Vec<String> {
    let script = r#"
        eval "$("$ANGARIUM" completions bash "$1")"
        program=$1; shift
        COMP_WORDS=("$program" "$@"); COMP_CWORD=$#; COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
        function=$(complete -p "$program" | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" "$program" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", script, "bash", program])
        .args(words)
        .env("ANGARIUM", angarium())
        .output()
        .unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    if !installed("bash") {
        return;
    }
    for (program, words, offered) in [
        ("angarium", &["li"][..], "lint"),
        ("angarium", &["hs"], "hsh"),
        ("angarium", &["run", "--limit-"], "--limit-memory"),
        ("angarium", &["completions", "z"], "zsh"),
        ("angarium", &["help", "se"], "serve"),
        ("angarium", &["ctl", "queue", "su"], "suspend"),
        (
            "angarium",
            &["ctl", "queue", "list", "--retryr"],
            "--retryreason",
        ),
        ("halonctl", &["queue", "policy", "re"], "refill"),
        ("hsh", &["--bi"], "--binary"),
        ("hsl-lint", &["--ph"], "--phase"),
    ] {
        let found = bash_offers(program, words);
        assert!(
            found.iter().any(|word| word == offered),
            "{program} {words:?}: {found:?}"
        );
    }
    assert!(
        bash_offers("angarium", &["nothing-begins-so"])
            .concat()
            .is_empty()
    );
}

/// Every command and option stands in the completions of every shell, and the shell takes the script.
#[test]
fn zsh_and_fish_take_their_completions() {
    for (shell, check) in [
        (
            "zsh",
            "autoload -U compinit && compinit -u -D && eval \"$(<$COMPLETIONS)\" && whence _angarium",
        ),
        (
            "fish",
            "source $COMPLETIONS; and complete -C 'angarium li' | string match -q 'lint*'",
        ),
    ] {
        let (text, message, status) = run(&["completions", shell]);
        assert_eq!((message.as_str(), status), ("", 0));
        for word in ["serve", "lint", "limit-memory", "rootpath"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
        if installed(shell) {
            // Too long for a variable.
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &text).unwrap();
            let output = Command::new(shell)
                .args(["-c", check])
                .env("COMPLETIONS", file.path())
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{shell}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}
