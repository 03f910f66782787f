//! `smtpd-delivery.yaml`: what it sets for which delivery, and what is said about a bad one.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use angarium_config::condition::Fields;
use angarium_config::delivery::DeliverySettings;
use angarium_config::transport::TlsMode;
use angarium_config::{Config, MemoryFiles, Options, Source, load, reload, survey};
use angarium_queue::text::Text;

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
    remotemx: {big: [mx.big.example, '*.huge.example', '/^mx[0-9]+\\.vast\\./']}
    remoteip: {near: [10.0.0.0/8]}
";

fn files(delivery: &str) -> MemoryFiles {
    [
        ("etc/smtpd.yaml", STARTUP),
        ("etc/smtpd-app.yaml", RUNNING),
        ("etc/smtpd-delivery.yaml", delivery),
    ]
    .into_iter()
    .collect()
}

fn source() -> Source {
    Source::Packed(PathBuf::from("etc/smtpd.yaml"))
}

fn config(delivery: &str) -> Config {
    load(&files(delivery), &source(), &Options::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config
}

fn errors(delivery: &str) -> String {
    match load(&files(delivery), &source(), &Options::default()) {
        Ok(_) => "accepted".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

/// A delivery by the transport `mx`.
struct To {
    remotemx: Text,
    remoteip: IpAddr,
    transportid: Text,
    recipientdomain: Text,
}

fn to(remotemx: &str, remoteip: &str) -> To {
    To {
        remotemx: remotemx.into(),
        remoteip: remoteip.parse().expect("an address"),
        transportid: "mx".into(),
        recipientdomain: "to.example".into(),
    }
}

impl To {
    fn fields(&self) -> Fields<'_> {
        Fields {
            tenantid: None,
            jobid: None,
            transportid: &self.transportid,
            localip: None,
            grouping: None,
            remoteip: Some(self.remoteip),
            remotemx: Some(&self.remotemx),
            recipientdomain: &self.recipientdomain,
        }
    }
}

fn seconds(number: u64) -> Option<Duration> {
    Some(Duration::from_secs(number))
}

#[test]
fn the_first_condition_that_has_a_setting_gives_it_and_default_the_rest() {
    let config = config(
        "\
version: '6.0'
delivery:
  conditions:
    - if: {remotemx: [one.example, '@big']}
      then: {pooling: {timeout: 5}, tls: {mode: require}}
    - if: {remoteip: '@near', transportid: mx}
      then:
        pooling: {enabled: true, timeout: 6, transactions: 7, evictable: false}
        timeout: {connect: 8, smtp: {MAIL: 9}}
  default:
    pooling: {transactions: 10}
    timeout: {smtp: {MAIL: 11, EOD: 12, CONNECT: 13}}
",
    );
    let delivery = &config.running.delivery;
    let both = delivery.settings(&to("MX7.vast.example", "10.1.1.1").fields());
    assert_eq!(both.pooling.enabled, Some(true));
    assert_eq!(both.pooling.timeout.map(|time| *time), seconds(5));
    assert_eq!(both.pooling.transactions, Some(7));
    assert_eq!(both.pooling.evictable, Some(false));
    assert_eq!(both.tls.mode, Some(TlsMode::Require));
    assert_eq!(both.timeout.connect.map(|time| *time), seconds(8));
    let states: Vec<_> = both.timeout.smtp.given().collect();
    let states: Vec<_> = states
        .iter()
        .map(|(name, time)| (*name, time.as_secs()))
        .collect();
    assert_eq!(states, [("CONNECT", 13), ("MAIL", 9), ("EOD", 12)]);

    for fits in ["one.example", "mx.big.example", "a.b.huge.example"] {
        let settings = delivery.settings(&to(fits, "192.0.2.1").fields());
        assert_eq!(settings.pooling.enabled, None, "{fits}");
        assert_eq!(settings.tls.mode, Some(TlsMode::Require), "{fits}");
    }
    let other = delivery.settings(&to("huge.example", "192.0.2.1").fields());
    assert_eq!(other.tls.mode, None);
    assert_eq!(other.pooling.transactions, Some(10));
    let mut other_transport = to("huge.example", "10.1.1.1");
    other_transport.transportid = "other".into();
    let settings = delivery.settings(&other_transport.fields());
    assert_eq!(settings.pooling.enabled, None);
}

#[test]
fn a_field_that_a_delivery_does_not_have_matches_nothing() {
    let config = config(
        "\
version: '6.0'
delivery:
  conditions:
    - {if: {tenantid: '/./'}, then: {pooling: {transactions: 1}}}
    - {if: {localip: '0.0.0.0/0'}, then: {pooling: {transactions: 2}}}
    - {if: {jobid: []}, then: {pooling: {transactions: 3}}}
    - {then: {pooling: {transactions: 4}}}
",
    );
    let transactions = |fields: &Fields<'_>| {
        let settings = config.running.delivery.settings(fields);
        settings.pooling.transactions
    };
    let (to, tenant) = (to("mx.example", "192.0.2.1"), Text::from("t"));
    let fields = to.fields();
    assert_eq!(transactions(&fields), Some(4));
    let of_tenant = Fields {
        tenantid: Some(&tenant),
        ..fields
    };
    assert_eq!(transactions(&of_tenant), Some(1));
    let localip = "127.0.0.1".parse().ok();
    assert_eq!(transactions(&Fields { localip, ..fields }), Some(2));
}

#[test]
fn every_wrong_value_is_named_with_its_path() {
    insta::assert_snapshot!(errors(
        "\
version: '6.0'
delivery:
  conditions:
    - if: {remotemx: 'no domain', remoteip: 10.0.0.1/8, jobid: '/(/', tenantid: 5, remotemax: x}
      then: {poling: {enabled: true}}
    - if: {recipientdomain: ['*.', '']}
      then: {pooling: {enabled: maybe, timeout: 0, transactions: -1, evictable: 1}}
  default:
    tls: {mode: optinal}
    timeout: {connect: 0, smtp: {MAIL: 5m, GREETING: 1}}
"
    ));
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    insta::assert_snapshot!(errors(
        "\
version: '6.0'
delivery:
  conditions:
    - then: {tls: {mode: dane}}
  default:
    tls: {mode: dane_require, protocols: TLSv1.3, ciphers: HIGH}
    retry: {count: 3}
"
    ));
}

#[test]
fn a_list_that_does_not_exist_or_holds_nonsense_is_reported() {
    let mut files = files(
        "\
version: '6.0'
delivery:
  conditions:
    - if: {remotemx: '@bug', remoteip: ['@near', '@big'], recipientdomain: '#x'}
      then: {pooling: {enabled: true}}
",
    );
    let running = RUNNING.replace(
        "near: [10.0.0.0/8]",
        "near: [10.0.0.0/8, nonsense, '@far'], far: [10.0.0.1]",
    );
    files.insert(
        "etc/smtpd-app.yaml",
        format!("{running}    remotemax: {{a: [b]}}\n"),
    );
    let refused = load(&files, &source(), &Options::default()).unwrap_err();
    insta::assert_snapshot!(refused.to_string());
}

#[test]
fn a_file_that_is_absent_or_empty_sets_nothing() {
    for text in ["", "version: '6.0'\n", "version: '6.0'\ndelivery: {}\n"] {
        let settings = config(text)
            .running
            .delivery
            .settings(&to("mx.example", "192.0.2.1").fields());
        let plain = serde_json::to_value(DeliverySettings::default()).unwrap();
        assert_eq!(serde_json::to_value(settings).unwrap(), plain, "{text:?}");
    }
    assert!(errors("delivery: {}\n").contains("Missing version"));
    assert!(errors("- a\n").contains("must be a map of keys"));
    let mut files = files("");
    files.remove("etc/smtpd-delivery.yaml".as_ref());
    assert!(load(&files, &source(), &Options::default()).is_ok());
}

#[test]
fn the_file_is_found_where_the_startup_file_says_and_in_a_tree() {
    let delivery = "version: '6.0'\ndelivery: {default: {pooling: {transactions: 3}}}\n";
    let transactions = |config: &Config| {
        let to = to("mx.example", "192.0.2.1");
        config
            .running
            .delivery
            .settings(&to.fields())
            .pooling
            .transactions
    };
    let startup = format!("{STARTUP}environment: {{deliveryconf: sub/d.yaml}}\n");
    let elsewhere: MemoryFiles = [
        ("etc/smtpd.yaml", startup.as_str()),
        ("etc/smtpd-app.yaml", RUNNING),
        ("etc/sub/d.yaml", delivery),
    ]
    .into_iter()
    .collect();
    let loaded = load(&elsewhere, &source(), &Options::default()).unwrap();
    assert_eq!(transactions(&loaded.config), Some(3));
    let tree: MemoryFiles = [
        ("b/src/config/smtpd.yaml", STARTUP),
        ("b/src/config/smtpd-app.yaml", RUNNING),
        ("b/src/config/smtpd-delivery.yaml", delivery),
    ]
    .into_iter()
    .collect();
    let loaded = load(&tree, &Source::Tree("b".into()), &Options::default()).unwrap();
    assert_eq!(transactions(&loaded.config), Some(3));
    let survey = survey(&tree, &Source::Tree("b".into())).unwrap();
    let seen = |key: &str| {
        survey
            .keys
            .iter()
            .any(|report| report.path.to_string() == key)
    };
    assert!(seen("delivery.default.pooling.transactions"));
}

#[test]
fn a_reload_takes_the_file_with_the_rest_or_nothing() {
    let mut files = files("version: '6.0'\ndelivery: {default: {pooling: {transactions: 3}}}\n");
    let config = load(&files, &source(), &Options::default()).unwrap().config;
    files.insert(
        "etc/smtpd-delivery.yaml",
        "version: '6.0'\ndelivery: {default: {pooling: {transactions: 4}}}\n",
    );
    let running = reload(&files, &source(), &Options::default(), &config.startup)
        .unwrap()
        .config;
    let to = to("mx.example", "192.0.2.1");
    assert_eq!(
        running.delivery.settings(&to.fields()).pooling.transactions,
        Some(4)
    );
    files.insert(
        "etc/smtpd-delivery.yaml",
        "version: '6.0'\ndelivery: {default: {pooling: {transactons: 4}}}\n",
    );
    let refused = reload(&files, &source(), &Options::default(), &config.startup).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("`delivery.default.pooling.transactons` is not a known key"),
        "{text}"
    );
    assert!(text.contains("did you mean `transactions`?"), "{text}");
}

#[test]
fn with_ignore_unknown_the_rest_of_the_file_counts() {
    let files = files(
        "\
version: '6.0'
delivery:
  default: {chunking: true, bogus: 1, tls: {mode: dane}, pooling: {enabled: true}}
",
    );
    let options = Options {
        ignore_unknown: true,
        ..Options::default()
    };
    let loaded = load(&files, &source(), &options).unwrap();
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    let delivery = loaded.config.running.delivery.clone();
    let settings = delivery.settings(&to("mx.example", "192.0.2.1").fields());
    assert_eq!(settings.tls.mode, Some(TlsMode::Optional));
    assert_eq!(
        (settings.chunking, settings.pooling.enabled),
        (Some(true), Some(true))
    );
}

#[test]
fn a_destination_is_in_the_first_group_that_names_it() {
    let mut files = files(
        "\
version: '6.0'
delivery: {conditions: [{if: {grouping: '&big'}, then: {pooling: {transactions: 1}}}]}
",
    );
    let with = |grouping: &str| format!("{RUNNING}  grouping: {grouping}\n");
    let groups = "{groupings: [
    {id: Big, remotemx: ['@big', '*.other.example'], recipientdomain: [big.example]},
    {id: near, remoteip: ['@near', '192.0.2.0/24']},
    {id: late, remotemx: [a.other.example]},
  ], default: remotemx}";
    files.insert("etc/smtpd-app.yaml", with(groups));
    let running = load(&files, &source(), &Options::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config
        .running;
    let of = |mx: &str, ip: &str, domain: &str| {
        let (mx, domain) = (Text::from(mx), Text::from(domain));
        let group = running.groupings.of(&mx, ip.parse().unwrap(), &domain);
        group.map(|group| group.to_string())
    };
    for (mx, ip, domain, group) in [
        ("mx.big.example", "198.51.100.1", "x.example", "&Big"),
        ("A.other.example", "192.0.2.1", "x.example", "&Big"),
        ("x.example", "192.0.2.1", "Big.example", "&Big"),
        ("x.example", "10.9.8.7", "x.example", "&near"),
        ("X.example", "198.51.100.1", "y.example", "x.example"),
    ] {
        assert_eq!(of(mx, ip, domain).as_deref(), Some(group), "{mx} {ip}");
    }
    let group = Text::from("&Big");
    let to = to("mx.big.example", "198.51.100.1");
    let fields = Fields {
        grouping: Some(&group),
        ..to.fields()
    };
    let settings = running.delivery.settings(&fields);
    assert_eq!(settings.pooling.transactions, Some(1), "ids have no case");

    let wrong =
        "{groupings: [{id: a}, {id: a, remotemx: ['@none', '#x', 'a b']}], default: remoteip}";
    files.insert("etc/smtpd-app.yaml", with(wrong));
    let refused = load(&files, &source(), &Options::default()).unwrap_err();
    insta::assert_snapshot!(refused.to_string());
    let wrong = "{groupings: [{id: a}, {id: a, remotemx: ['@none', '#x']}]}";
    files.insert("etc/smtpd-app.yaml", with(wrong));
    let refused = load(&files, &source(), &Options::default()).unwrap_err();
    insta::assert_snapshot!(refused.to_string());
}
