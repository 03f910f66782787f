//! The bundles of the repository load, and the report on a foreign bundle.

use std::path::{Path, PathBuf};

use angarium_config::condition::Fields;
use angarium_config::{
    FileSource, HookType, KeyUse, Listed, MemoryFiles, Options, PackOptions, Source, bundle, load,
    pack, survey,
};
use angarium_queue::text::Text;

/// The files of the repository, for tests only.
struct Repository;

#[allow(
    clippy::disallowed_methods,
    reason = "a test reads the repository's own files"
)]
impl FileSource for Repository {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&self, path: &Path) -> std::io::Result<Vec<Listed>> {
        let entry = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry?;
            Ok(Listed {
                name: entry.file_name(),
                folder: entry.path().is_dir(),
            })
        };
        std::fs::read_dir(path)?.map(entry).collect()
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

#[test]
fn the_examples_load_without_a_warning() {
    for name in ["quickstart", "filtering-relay"] {
        let source = Source::Tree(examples().join(name));
        let loaded = load(&Repository, &source, &Options::default())
            .unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.warnings, [], "{name}");
        pack(&Repository, &examples().join(name), &PackOptions::default())
            .unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn a_new_bundle_has_a_hook_at_every_step_and_is_the_example() {
    let files = bundle::quickstart(Path::new("new"));
    let config = load(&files, &Source::Tree("new".into()), &Options::default())
        .unwrap()
        .config;
    let server = &config.running.servers["default"];
    for hook in [
        HookType::Connect,
        HookType::Helo,
        HookType::MailFrom,
        HookType::RcptTo,
        HookType::Eod,
    ] {
        assert!(
            config
                .running
                .session_hook(server, hook, "example.com")
                .is_some(),
            "{hook}"
        );
    }
    for hook in HookType::QUEUE {
        assert!(config.running.queue_hook(hook).is_some(), "{hook}");
    }
    assert_eq!(&*config.startup.spool.path, Path::new("new/spool/queue"));

    let mut on_disk = Vec::new();
    let mut folders = vec![examples().join("quickstart")];
    while let Some(folder) = folders.pop() {
        for entry in Repository.list(&folder).unwrap() {
            let path = folder.join(&entry.name);
            if !entry.folder {
                on_disk.push(
                    path.strip_prefix(examples().join("quickstart"))
                        .unwrap()
                        .to_owned(),
                );
            } else if entry.name != "spool" && entry.name != "dist" {
                folders.push(path);
            }
        }
    }
    on_disk.sort();
    let mut embedded: Vec<PathBuf> = bundle::QUICKSTART
        .iter()
        .map(|(path, _)| PathBuf::from(path))
        .collect();
    embedded.sort();
    assert_eq!(embedded, on_disk);
}

#[test]
fn a_foreign_bundle_is_surveyed_key_by_key() {
    let startup = "\
version: '5.6'
servers:
  - id: default
    protoprotocol: [10.0.0.1]
    threads: {event: 4, stacksize: 1}
    listeners: [{port: 25}]
environment:
  licensekey: /license
  controlsocket: {path: /run/ctl}
  colour: blue
cluster: {address: cluster.example.com}
";
    let running =
        "version: '5.6'\nservers: [{id: default, transport: mx, phases: {eod: {hook: x}}}]\n";
    let files: MemoryFiles = [("d/smtpd.yaml", startup), ("d/smtpd-app.yaml", running)]
        .into_iter()
        .collect();
    let survey = survey(&files, &Source::Packed("d/smtpd.yaml".into())).unwrap();
    let lines: Vec<String> = survey
        .keys
        .iter()
        .map(|key| {
            let key_use = match key.key_use {
                KeyUse::Used => "used".to_owned(),
                KeyUse::Ignored(reason) => format!("ignored: {reason}"),
                KeyUse::NotYet(what) => format!("not available yet: {what}"),
                KeyUse::Unknown => "unknown".to_owned(),
            };
            let line = key.position.map_or(0, |position| position.line);
            format!("{}:{line} {} {key_use}", key.file, key.path)
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert_eq!(survey.errors, []);
}

#[test]
fn the_samples_of_the_guide_load() {
    let guide = include_str!("../../../docs/configuration.md");
    let samples: Vec<&str> = guide
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(samples.len(), 7);
    // Together they are one configuration; the samples of the other files have their version.
    let (others, running): (Vec<&str>, Vec<&str>) = samples
        .into_iter()
        .partition(|sample| sample.starts_with("version"));
    let running = format!("version: '6.0'\n{}", running.concat());
    let other = |key: &str| {
        let mut others = others.iter().filter(|sample| sample.contains(key));
        *others.next().expect("a sample")
    };
    let files: MemoryFiles = [
        ("d/smtpd.yaml", other("\nenvironment:")),
        ("d/smtpd-app.yaml", &running),
        ("d/smtpd-delivery.yaml", other("\ndelivery:")),
        ("d/smtpd-policy.yaml", other("\npolicies:")),
        ("d/smtpd-suspend.yaml", other("\nsuspends:")),
    ]
    .into_iter()
    .collect();
    let source = Source::Packed("d/smtpd.yaml".into());
    let loaded = load(&files, &source, &Options::default());
    let running = loaded
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config
        .running;
    let transport = &running.transports["far-away"];
    assert_eq!(transport.connection.timeout.as_secs(), 120);
    assert_eq!(transport.dsn.transport.as_deref(), Some("outbound"));
    let transactions = |remotemx: &str| {
        let (remotemx, transportid) = (Text::from(remotemx), Text::from("outbound"));
        let settings = running.delivery.settings(&Fields {
            tenantid: None,
            jobid: None,
            transportid: &transportid,
            localip: None,
            grouping: None,
            remoteip: None,
            remotemx: Some(&remotemx),
            recipientdomain: &remotemx,
        });
        settings.pooling.transactions
    };
    assert_eq!(transactions("mx7.vast.example"), Some(50));
    assert_eq!(transactions("a.example.org"), Some(50));
    assert_eq!(transactions("mx.test.example"), None);
    assert_eq!(running.policies.policies.len(), 1);
    assert_eq!(running.policies.suspends.len(), 1);
}
