//! `smtpd-policy.yaml` and `smtpd-suspend.yaml`: what they become, and what is said about bad ones.

use std::path::PathBuf;
use std::time::Duration;

use angarium_config::{MemoryFiles, Options, Source, load};
use angarium_queue::gate::{BlockKind, Fields, Gate};
use angarium_queue::policy::{Policies, Setup};
use angarium_queue::time::Timestamp;

const STARTUP: &str = "\
version: '6.0'
servers: [{id: default, listeners: [{port: 2525}]}]
";

const RUNNING: &str = "\
version: '6.0'
servers: [{id: default, transport: mx}]
transportgroups: [{id: default, transports: [{id: mx}]}]
queues:
  lists:
    remotemx: {big: ['*.big.example']}
";

/// The example of the reference product's documentation.
const DOCUMENTED: &str = "\
version: '6.0'
policies:
  - fields:
      - localip
      - remotemx:
          gsuite: ['*.google.com', '*.googlemail.com', '*.smtp.goog']
    conditions:
      - if: {remotemx: '#gsuite'}
        then: {concurrency: 10, rate: 50}
    default: {concurrency: 5, rate: 10}
  - fields:
      - localip
      - remotemx:
          o365: ['*.protection.outlook.com']
      - remoteip
    conditions:
      - if: {remotemx: '#o365'}
        then: {concurrency: 10, rate: 30}
";

fn loaded(policy: &str, suspend: &str) -> Result<Setup, String> {
    let files: MemoryFiles = [
        ("etc/smtpd.yaml", STARTUP),
        ("etc/smtpd-app.yaml", RUNNING),
        ("etc/smtpd-policy.yaml", policy),
        ("etc/smtpd-suspend.yaml", suspend),
    ]
    .into_iter()
    .collect();
    let source = Source::Packed(PathBuf::from("etc/smtpd.yaml"));
    match load(&files, &source, &Options::default()) {
        Ok(loaded) => Ok((*loaded.config.running.policies).clone()),
        Err(errors) => Err(errors.to_string()),
    }
}

fn to(mx: &str) -> Fields {
    Fields {
        transportid: "mx".into(),
        remotemx: Some(mx.into()),
        remoteip: Some("192.0.2.1".parse().expect("an address")),
        ..Fields::default()
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn at_once(policies: &mut Policies, mx: &str) -> usize {
    let fields = to(mx);
    std::iter::from_fn(|| policies.admit(&fields, NOW).ok())
        .take(100)
        .count()
}

#[test]
fn the_documented_file_limits_as_it_says() {
    let mut policies = Policies::new(loaded(DOCUMENTED, "").unwrap()).unwrap();
    assert_eq!(at_once(&mut policies, "aspmx.l.google.com"), 10);
    assert_eq!(at_once(&mut policies, "mx.smtp.goog"), 0);
    assert_eq!(at_once(&mut policies, "mx.example"), 5);
    let applied = policies.describe(&to("a.protection.outlook.com"), None, NOW);
    let origins: Vec<String> = (applied.iter())
        .flat_map(|of| of.origins.iter().map(ToString::to_string))
        .collect();
    assert_eq!(origins, ["smtpd-policy.yaml:10", "smtpd-policy.yaml:18"]);
}

#[test]
fn every_key_of_a_policy_is_taken() {
    let setup = loaded(
        "\
version: '6.0'
rate: {algorithm: fixedwindow}
policies:
  - name: one
    fields: [jobid]
    default:
      concurrency: 3
      rate: 100/3600
      connectinterval: 0.5
      tag: slow
      stop: true
      properties: {backoff-ttl: 300, note: text, on: true}
",
        "",
    )
    .unwrap();
    insta::assert_debug_snapshot!((setup.algorithm, &setup.policies));
}

#[test]
fn older_files_are_bare_lists() {
    let list = "[{default: {concurrency: 1}}]";
    let mut policies = Policies::new(loaded(list, "[{remotemx: '@big'}]").unwrap()).unwrap();
    assert_eq!(at_once(&mut policies, "mx.big.example"), 0);
    assert_eq!(at_once(&mut policies, "mx.small.example"), 1);
}

#[test]
fn a_suspend_holds_what_matches_all_its_fields() {
    let suspends = "\
version: '6.0'
suspends:
  - {remotemx: ['*.down.example', mx.gone.example], transportid: mx, tag: maintenance}
";
    let mut policies = Policies::new(loaded("", suspends).unwrap()).unwrap();
    let blocked = policies.admit(&to("a.down.example"), NOW).unwrap_err();
    assert_eq!(blocked.kind, BlockKind::Suspend);
    let why = policies.explain(blocked.limit).unwrap();
    assert_eq!(why.origin, "smtpd-suspend.yaml:3");
    assert!(policies.admit(&to("a.up.example"), NOW).is_ok());
}

#[test]
fn a_rate_without_an_interval_is_per_second() {
    let file = "version: '6.0'\npolicies: [{default: {rate: '4'}}]";
    let mut policies = Policies::new(loaded(file, "").unwrap()).unwrap();
    assert_eq!(at_once(&mut policies, "a"), 4);
    let blocked = policies.admit(&to("a"), NOW).unwrap_err();
    assert_eq!(blocked.until, Some(NOW.after(Duration::from_millis(250))));
}

#[test]
fn mistakes_are_told_with_their_path() {
    let policy = |text: &str| {
        let file = format!("version: '6.0'\npolicies:\n  - {text}\n");
        loaded(&file, "").map(drop).unwrap_err()
    };
    let errors = [
        policy("{fields: [remotehost]}"),
        policy("{fields: [jobid, jobid]}"),
        policy("{fields: [{jobid: {a: [x]}, tenantid: {b: [y]}}]}"),
        policy("{fields: [{remoteip: {a: [mx.example]}}]}"),
        policy("{fields: [jobid], conditions: [{if: {remotemx: a}}]}"),
        policy("{fields: [remotemx], conditions: [{if: {remotemx: '#none'}}]}"),
        policy("{fields: [remotemx], conditions: [{if: {remotemx: '@none'}}]}"),
        policy("{default: {rate: 5/0}}"),
        policy("{default: {rate: often}}"),
        policy("{default: {concurrency: -1}}"),
        policy("{default: {tag: a label that is longer than thirty-two bytes}}"),
        policy("{default: {speed: 3}}"),
        loaded("policies: []", "").map(drop).unwrap_err(),
        loaded("", "version: '6.0'\nsuspends: [{remotemx: '#group'}]")
            .map(drop)
            .unwrap_err(),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}
