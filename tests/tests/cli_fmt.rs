//! `angarium fmt` from outside: what it writes, prints and answers.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it starts a real program on real files"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use angarium_tests::program::{angarium, root};

/// Output, messages and status.
fn fmt(arguments: &[&str], input: &str, folder: &Path) -> (String, String, i32) {
    let mut child = Command::new(angarium())
        .arg("fmt")
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
fn files_are_rewritten_in_place_and_named() {
    let folder = folder(&[
        ("a.hsl", "echo  1"),
        ("b/c.hsl", "if(1){echo 2}"),
        ("b/good.hsl", "echo 3;\n"),
        ("b/other.txt", "echo  4"),
        (".git/x.hsl", "echo  5"),
        ("script", "echo  6"),
    ]);
    let path = folder.path();
    fs::set_permissions(path.join("a.hsl"), fs::Permissions::from_mode(0o754)).unwrap();
    symlink("a.hsl", path.join("link.hsl")).unwrap();
    let untouched = fs::metadata(path.join("b/good.hsl")).unwrap().ino();

    let answer = fmt(&[".", "script"], "", path);
    assert_eq!(
        answer,
        ("./a.hsl\n./b/c.hsl\nscript\n".to_owned(), String::new(), 0)
    );
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    assert_eq!(read("a.hsl"), "echo 1;\n");
    assert_eq!(read("b/c.hsl"), "if (1) {\n    echo 2;\n}\n");
    assert_eq!(read("script"), "echo 6;\n");
    assert_eq!(read("b/other.txt"), "echo  4");
    assert_eq!(read(".git/x.hsl"), "echo  5");
    let mode = fs::metadata(path.join("a.hsl")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o754);
    assert_eq!(
        fs::metadata(path.join("b/good.hsl")).unwrap().ino(),
        untouched
    );
    assert!(
        fs::symlink_metadata(path.join("link.hsl"))
            .unwrap()
            .is_symlink()
    );
    let left: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().ends_with(".fmt"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    assert_eq!(fmt(&["."], "", path), (String::new(), String::new(), 0));
}

#[test]
fn a_link_goes_on_leading_to_its_file() {
    let folder = folder(&[("files/a.hsl", "echo  1")]);
    symlink("files/a.hsl", folder.path().join("link.hsl")).unwrap();
    let answer = fmt(&["link.hsl"], "", folder.path());
    assert_eq!(answer, ("link.hsl\n".to_owned(), String::new(), 0));
    assert!(
        fs::symlink_metadata(folder.path().join("link.hsl"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        fs::read(folder.path().join("files/a.hsl")).unwrap(),
        b"echo 1;\n"
    );
}

#[test]
fn a_check_changes_nothing_and_shows_the_difference() {
    let folder = folder(&[("a.hsl", "echo 1;\necho  2;\n"), ("b.hsl", "echo 1;\n")]);
    let (output, messages, status) = fmt(&["--check", "."], "", folder.path());
    assert_eq!((messages.as_str(), status), ("", 1));
    insta::assert_snapshot!(output);
    assert_eq!(
        fs::read(folder.path().join("a.hsl")).unwrap(),
        b"echo 1;\necho  2;\n"
    );
    let answer = fmt(&["--check", "b.hsl"], "", folder.path());
    assert_eq!(answer, (String::new(), String::new(), 0));
}

#[test]
fn a_file_with_an_error_is_left_alone_and_the_others_are_formatted() {
    let folder = folder(&[("a.hsl", "echo  (1;\n"), ("b.hsl", "echo  2")]);
    let (output, messages, status) = fmt(&["a.hsl", "missing.hsl", "b.hsl"], "", folder.path());
    assert_eq!((output.as_str(), status), ("b.hsl\n", 1));
    insta::assert_snapshot!(messages);
    assert_eq!(
        fs::read(folder.path().join("a.hsl")).unwrap(),
        b"echo  (1;\n"
    );
    assert_eq!(fs::read(folder.path().join("b.hsl")).unwrap(), b"echo 2;\n");
}

#[test]
fn standard_input_goes_to_standard_output() {
    let folder = folder(&[]);
    let run = |arguments: &[&str], input: &str| fmt(arguments, input, folder.path());
    assert_eq!(
        run(&["--stdin"], "echo  1"),
        ("echo 1;\n".to_owned(), String::new(), 0)
    );
    assert_eq!(run(&["--stdin"], ""), (String::new(), String::new(), 0));
    let (output, messages, status) = run(&["--stdin", "--stdin-filename", "x/y.hsl"], "echo (");
    assert_eq!((output.as_str(), status), ("", 1));
    assert!(messages.starts_with("x/y.hsl:1:6: "), "{messages}");
    let (output, _, status) = run(&["--stdin", "--check"], "echo  1");
    assert!(output.starts_with("--- <stdin>\n"), "{output}");
    assert_eq!(status, 1);
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let folder = folder(&[]);
    for arguments in [
        &[][..],
        &["--stdin", "a.hsl"],
        &["--stdin-filename", "x", "a.hsl"],
    ] {
        let (output, messages, status) = fmt(arguments, "", folder.path());
        assert_eq!((output.as_str(), status), ("", 2), "{messages}");
    }
}

#[test]
fn the_examples_are_formatted() {
    let answer = fmt(&["--check", "examples"], "", &root());
    assert_eq!(answer, (String::new(), String::new(), 0));
}
