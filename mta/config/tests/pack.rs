//! Packing and unpacking: what goes where, and that nothing is lost on the way.

use std::path::{Path, PathBuf};

use angarium_config::{MemoryFiles, Options, PackOptions, Source, load, pack, unpack};
use proptest::prelude::*;

const STARTUP: &str =
    "# the comment stays\nversion: '6.0'\nservers:\n  - {id: default, listeners: [{port: 2525}]}\n";

const RUNNING: &str = "\
version: '6.0'
servers:
  - id: default
    phases:
      eod: {hook: folder/default}
      rcptto:
        hook:
          id: local
          recipientdomains: {example.com: other}
transportgroups:
  - id: default
    transports: [{id: mx}]
";

fn tree() -> MemoryFiles {
    [
        ("b/src/config/smtpd.yaml", STARTUP.as_bytes()),
        ("b/src/config/smtpd-app.yaml", RUNNING.as_bytes()),
        ("b/src/config/web.yaml", b"listeners: []\n"),
        ("b/src/hooks/eod/folder/default.hsl", b"Accept();\n"),
        ("b/src/hooks/rcptto/local.hsl", b"Accept();"),
        ("b/src/hooks/rcptto/other.hsl", b"Reject();"),
        ("b/src/hooks/rcptto/unused.hsl", b"Defer();"),
        ("b/src/hooks/queue/predelivery.hsl", b"Try();\n"),
        (
            "b/src/files/lists/domains.txt",
            b"example.com\nexample.org\n",
        ),
        ("b/src/files/logo.png", b"\x89PNG\xff"),
        ("b/src/files/notes.bak", b"x"),
        ("b/src/files/skip/x", b"x"),
        ("b/src/files/excluded.txt", b"x"),
        ("b/src/files/.hidden", b"x"),
        ("b/src/files/.halonignore", b"*.bak\n/skip/\n"),
        (
            "b/settings.yaml",
            b"smtpd: {build: {exclude: [excluded.txt]}}\n",
        ),
    ]
    .into_iter()
    .collect()
}

/// The files of a packed or unpacked bundle below a folder.
fn below<P: AsRef<Path>>(folder: &str, files: &[(P, Vec<u8>)]) -> MemoryFiles {
    files
        .iter()
        .map(|(path, data)| (Path::new(folder).join(path), data.clone()))
        .collect()
}

#[test]
fn a_tree_is_packed_into_one_readable_file() {
    let packed = pack(&tree(), Path::new("b"), &PackOptions::default()).unwrap();
    let names: Vec<&str> = packed.files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["smtpd-app.yaml", "smtpd.yaml", "web.yaml"]);
    insta::assert_snapshot!(String::from_utf8_lossy(&packed.files[0].1));
    assert_eq!(packed.files[1].1, STARTUP.as_bytes());
    let scripts: Vec<String> = packed
        .scripts
        .iter()
        .map(|one| format!("{} {} {}", one.hook, &*one.id, one.file))
        .collect();
    insta::assert_snapshot!(scripts.join("\n"), @r"
    rcptto local b/src/hooks/rcptto/local.hsl
    rcptto other b/src/hooks/rcptto/other.hsl
    eod folder/default b/src/hooks/eod/folder/default.hsl
    predelivery predelivery b/src/hooks/queue/predelivery.hsl
    ");
}

#[test]
fn a_packed_bundle_is_served_like_its_tree() {
    let packed = pack(&tree(), Path::new("b"), &PackOptions::default()).unwrap();
    let dist = below("dist", &packed.files);
    let from_tree = load(&tree(), &Source::Tree("b".into()), &Options::default())
        .unwrap()
        .config
        .running;
    let from_dist = load(
        &dist,
        &Source::Packed("dist/smtpd.yaml".into()),
        &Options::default(),
    )
    .unwrap()
    .config
    .running;
    let texts = |running: &angarium_config::Running| -> Vec<String> {
        running
            .scripts
            .values()
            .map(|script| format!("{} {} {}", script.hook, &*script.id, script.text))
            .collect()
    };
    assert_eq!(texts(&from_tree), texts(&from_dist));
    let files = |running: &angarium_config::Running| -> Vec<(String, Vec<u8>)> {
        running
            .files
            .iter()
            .map(|(id, file)| (id.clone(), file.data.to_vec()))
            .collect()
    };
    assert_eq!(files(&from_tree), files(&from_dist));
    assert_eq!(from_tree.files.len(), 2);
}

#[test]
fn unpacking_gives_the_tree_back() {
    let packed = pack(&tree(), Path::new("b"), &PackOptions::default()).unwrap();
    let unpacked = unpack(&below("dist", &packed.files), Path::new("dist")).unwrap();
    let names: Vec<String> = unpacked
        .files
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect();
    insta::assert_snapshot!(names.join("\n"));
    let again = below("c/src", &unpacked.files);
    for (path, data) in again
        .iter()
        .filter(|(path, _)| !path.starts_with("c/src/config"))
    {
        let original = PathBuf::from("b").join(path.strip_prefix("c").unwrap());
        assert_eq!(
            angarium_config::FileSource::read(&tree(), &original).unwrap(),
            data,
            "{}",
            path.display()
        );
    }
    let repacked = pack(&again, Path::new("c"), &PackOptions::default()).unwrap();
    assert_eq!(repacked.files, packed.files);
}

#[test]
fn what_a_tree_cannot_hold_stays_in_the_file() {
    let app = "\
version: '6.0'
scripting:
  hooks:
    eod:
      - {id: ../../escape, data: x}
      - {id: fine, data: x}
  files:
    - {id: .hidden, data: x}
    - {id: text, data: eA==, binary: true}
    - {id: broken, data: '*', binary: true}
    - {id: a, data: x}
    - {id: a/b, data: x}
";
    let dist: MemoryFiles = [("dist/smtpd-app.yaml", app)].into_iter().collect();
    let unpacked = unpack(&dist, Path::new("dist")).unwrap();
    let names: Vec<String> = unpacked
        .files
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_eq!(
        names,
        ["hooks/eod/fine.hsl", "files/a", "config/smtpd-app.yaml"]
    );
    insta::assert_snapshot!(String::from_utf8_lossy(&unpacked.files[2].1));
}

#[test]
fn what_is_wrong_with_a_tree_is_reported() {
    let mut files = tree();
    files.remove(Path::new("b/src/hooks/rcptto/other.hsl"));
    files.insert("b/src/hooks/rcptto/local.hsl", b"Accept();\n\xff".to_vec());
    files.insert("b/src/files/.halonignore", "a\n[\n");
    files.insert("b/src/config/web.yaml", "a: [\n");
    files.insert("b/src/config/smtpd.yaml", "version: '6.0'\nserver: []\n");
    let options = PackOptions {
        exclude: vec!["[".to_owned()],
        ..PackOptions::default()
    };
    insta::assert_snapshot!(
        pack(&files, Path::new("b"), &options)
            .unwrap_err()
            .to_string()
    );
    assert!(unpack(&MemoryFiles::new(), Path::new("nowhere")).is_err());
}

fn part() -> impl Strategy<Value = String> {
    "[a-c.é -]{1,3}".prop_filter("a part of a path", |part| {
        !matches!(part.as_str(), "." | "..")
    })
}

fn id() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-b@:_-]{1,2}", 1..3).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn packing_unpacking_and_packing_again_changes_nothing(
        hooks in prop::collection::btree_map(id(), any::<String>(), 1..5),
        queue in prop::option::of("[ \\PC\n]{1,20}"),
        files in prop::collection::vec(
            (prop::collection::vec(part(), 1..3), prop::collection::vec(any::<u8>(), 0..20)), 0..6),
    ) {
        let domains: Vec<String> = hooks.keys().enumerate().map(|(n, id)| format!("d{n}.example: '{id}'")).collect();
        let running = format!(
            "version: '6.0'\nservers:\n  - id: default\n    phases:\n      rcptto: {{hook: {{recipientdomains: {{{}}}}}}}\n",
            domains.join(", "),
        );
        let mut tree: MemoryFiles = [("b/src/config/smtpd-app.yaml", running)].into_iter().collect();
        for (id, text) in &hooks {
            tree.insert(format!("b/src/hooks/rcptto/{id}.hsl"), text.as_bytes());
        }
        if let Some(text) = &queue {
            tree.insert("b/src/hooks/queue/postdelivery.hsl", text.as_bytes());
        }
        for (parts, data) in files {
            let path = PathBuf::from("b/src/files").join(parts.join("/"));
            let taken = tree.iter().any(|(other, _)| other.starts_with(&path) || path.starts_with(other));
            if !taken {
                tree.insert(path, data);
            }
        }
        let packed = pack(&tree, Path::new("b"), &PackOptions::default()).unwrap_or_else(|errors| panic!("{errors}"));
        let unpacked = unpack(&below("dist", &packed.files), Path::new("dist")).unwrap();
        let again = pack(&below("c/src", &unpacked.files), Path::new("c"), &PackOptions::default());
        let again = again.unwrap_or_else(|errors| panic!("{errors}"));
        prop_assert_eq!(again.files, packed.files);
    }

    #[test]
    fn no_bytes_make_loading_or_unpacking_panic(
        startup in prop_oneof![prop::collection::vec(any::<u8>(), 0..100), "[a-z:\\[\\]{}, \n-]{0,100}".prop_map(String::into_bytes)],
        keys in prop::collection::vec(("[a-z]{1,8}|servers|scripting|transportgroups|transports|hooks|files|id|data", "[\\[{]|x|1|null|- |\n  "), 0..12),
    ) {
        let running: String = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        let files: MemoryFiles = [
            ("d/smtpd.yaml", startup.clone()),
            ("d/smtpd-app.yaml", running.clone().into_bytes()),
            ("t/src/config/smtpd.yaml", startup),
            ("t/src/config/smtpd-app.yaml", running.into_bytes()),
        ].into_iter().collect();
        let lenient = Options { ignore_unknown: true, ..Options::default() };
        let _ = load(&files, &Source::Packed("d/smtpd.yaml".into()), &lenient);
        let _ = load(&files, &Source::Tree("t".into()), &Options::default());
        let _ = unpack(&files, Path::new("d"));
        let _ = pack(&files, Path::new("t"), &PackOptions::default());
    }
}
