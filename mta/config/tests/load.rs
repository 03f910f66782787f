//! Loading: what a good configuration becomes, and what is said about a bad one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use angarium_config::{
    Config, FileKind, HookType, Loaded, MemoryFiles, Options, Override, Source, load, reload,
};

const STARTUP: &str = "\
version: '6.0'
servers:
  - id: default
    listeners:
      - port: 2525
        address: 127.0.0.1
";

const RUNNING: &str = "\
version: '6.0'
servers:
  - id: default
    transport: mx
    phases:
      eod:
        hook: default
transportgroups:
  - id: default
    retry:
      count: 30
      intervals:
        - interval: 60
        - interval: 900
          notify: true
    dsn:
      transport: mx
    transports:
      - id: mx
        session:
          tls:
            mode: optional
resolver:
  cache:
    size: 10000
scripting:
  hooks:
    eod:
      - id: default
        data: |
          Accept();
";

fn packed(startup: &str, running: &str) -> MemoryFiles {
    [("etc/smtpd.yaml", startup), ("etc/smtpd-app.yaml", running)]
        .into_iter()
        .collect()
}

fn source() -> Source {
    Source::Packed(PathBuf::from("etc/smtpd.yaml"))
}

fn config(startup: &str, running: &str) -> Loaded<Config> {
    load(&packed(startup, running), &source(), &Options::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// Everything that is said about two files.
fn errors(startup: &str, running: &str) -> String {
    match load(&packed(startup, running), &source(), &Options::default()) {
        Ok(_) => "accepted".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

/// Text of a file with lines added at the end.
fn with(file: &str, more: &str) -> String {
    format!("{file}{more}")
}

#[test]
fn the_smallest_configuration_loads_with_every_default() {
    let Loaded { config, warnings } = config(STARTUP, RUNNING);
    assert_eq!(warnings, []);
    let server = &config.running.servers["default"];
    assert_eq!(server.limits.line, 2048);
    assert!(angarium_config::types::any_contains(
        &server.relay,
        "127.0.0.1".parse().unwrap()
    ));
    assert!(!angarium_config::types::any_contains(
        &server.relay,
        "192.0.2.1".parse().unwrap()
    ));
    let hook = config
        .running
        .session_hook(server, HookType::Eod, "")
        .unwrap();
    assert_eq!(
        (&*hook.text, &*hook.file),
        ("Accept();\n", "hooks/eod/default.hsl")
    );
    let transport = &config.running.transports["mx"];
    assert!(transport.connection.uses_mx());
    assert_eq!(transport.retry.intervals.len(), 2);
    assert_eq!(
        *transport.retry.interval(7).interval,
        Duration::from_secs(900)
    );
    assert_eq!(*transport.retry.maxage, Duration::from_secs(432_000));
    assert_eq!(config.startup.rootpath(), Path::new("/"));
    assert_eq!(
        &*config.startup.spool.path,
        Path::new("/var/spool/angarium/queue")
    );
    assert_eq!(config.startup.scripting.limits.fuel, 500_000_000);
}

#[test]
fn a_transport_inherits_key_by_key_from_its_groups() {
    let running = with(
        RUNNING, "
",
    )
    .replace(
        "    transports:\n",
        "    connection: {timeout: 7}
    session: {timeout: {MAIL: 11, RCPT: 12}}
    hold: true
    transportgroups:
      - id: inner
        connection: {port: 26}
        session: {timeout: {RCPT: 13}}
        hold: {maxage: 60}
        transports:
          - id: smart
            connection: {server: '[192.0.2.9]', timeout: 8.5}
            retry: {intervals: [{interval: 5}]}
    transports:\n",
    );
    let config = config(STARTUP, &running).config;
    let smart = &config.running.transports["smart"];
    assert_eq!(smart.connection.port, 26);
    assert_eq!(*smart.connection.timeout, Duration::from_millis(8500));
    assert!(!smart.connection.uses_mx());
    assert_eq!(*smart.session.timeout.mail, Duration::from_secs(11));
    assert_eq!(*smart.session.timeout.rcpt, Duration::from_secs(13));
    assert_eq!(*smart.session.timeout.eod, Duration::from_secs(600));
    assert_eq!(smart.retry.intervals.len(), 1);
    assert_eq!(smart.retry.count, 30);
    assert_eq!(smart.dsn.transport.as_deref(), Some("mx"));
    assert!(smart.hold.enabled());
    assert_eq!(
        smart.hold.maxage().map(|age| *age),
        Some(Duration::from_secs(60))
    );
    let mx = &config.running.transports["mx"];
    assert_eq!(
        (mx.connection.port, *mx.connection.timeout),
        (25, Duration::from_secs(7))
    );
    assert_eq!(mx.hold.maxage(), None);
}

#[test]
fn every_mistake_of_both_files_is_reported_at_once() {
    let startup = "\
version: 6.0
servers:
  - id: bad id
    listeners:
      - port: 70000
        adress: 127.0.0.1
spool:
  corrupt: ignored
  minfree:
    bytes: -1
environment:
  umask: 0027
";
    let running = "\
servers:
  - id: default
    transprot: mx
    relay: [10.0.0.1/8]
    timeout: {idle: 0, data: 5m}
    concurrency: 5
    limits:
      line: '2048'
transportgroups:
  - transports:
      - connection: {port: 25.0}
        retry: {intervals: []}
        session: {tls: {mode: optinal}}
";
    insta::assert_snapshot!(errors(startup, running));
}

#[test]
fn references_to_nothing_are_reported_with_a_suggestion() {
    let running = RUNNING
        .replace("transport: mx\n    phases", "transport: nx\n    phases")
        .replace("hook: default", "hook: defualt")
        .replace(
            "      transport: mx\n    transports",
            "      transport: ms\n    transports",
        )
        .replace(
            "        session:\n",
            "        connection: {sourceip: {ipv4: false, ipv6: false}}\n        session:\n",
        );
    let running = running.replace(
        "    transport: nx",
        "    tls: {certs: {cert: main}, starttls: true}\n    transport: nx",
    );
    let startup = with(STARTUP, "  - id: other\n    listeners: [{port: 2526}]\n");
    insta::assert_snapshot!(errors(&startup, &running));
}

#[test]
fn what_must_differ_must_differ() {
    let startup = with(
        STARTUP,
        "  - id: default
    listeners:
      - {port: 2525, address: 127.0.0.1, id: a}
      - {port: 2525, id: a}
      - {address: 127.0.0.1}
  - id: none
spool: {path: /s, tmp: /s}
pki:
  private:
    - {id: k, privatekey: {path: a, data: b}}
    - {id: k, certificate: {}}
",
    );
    let running = RUNNING
        .replace("      - id: mx\n", "      - id: mx\n      - id: mx\n")
        .replace(
            "      - id: default\n        data",
            "      - {id: default, data: ''}\n      - id: default\n        data",
        )
        .replace(
            "scripting:\n",
            "scripting:\n  files: [{id: a, data: x}, {id: a, data: '*', binary: true}]\n",
        );
    insta::assert_snapshot!(errors(&startup, &running));
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    let startup = with(
        STARTUP,
        "  - {id: web, type: plugin}
cluster: {address: cluster.example.com}
rated: {key: abc}
plugins: [{id: sink}]
scripting: {ffi: true}
history: {path: /h}
",
    );
    let running = RUNNING.replace("mode: optional", "mode: dane\n            mtasts: true");
    let running = with(&running, "  compat: 5\nplugins: [{id: sink}]\n").replace(
        "resolver:\n",
        "queues: {lists: {remotemx: {big: [a]}}, grouping: {default: remotemx}, pooling: {policy: grouping}}
resolver:\n",
    );
    insta::assert_snapshot!(errors(&startup, &running));
}

#[test]
fn listeners_and_tls_of_a_server_fit_together() {
    let startup = with(
        STARTUP,
        "    proxyprotocol: [10.0.0.1, 2001:db8::/32]
  - {id: unix, listeners: [{path: smtp, chmod: '0666', owner: root}, {path: smtp}]}
  - {id: odd, listeners: [{port: 2528, chmod: '0600', group: mail}, {path: x, address: '::1'}]}
",
    );
    let running = RUNNING.replace(
        "servers:\n",
        "servers:
  - {id: unix, transport: mx, tls: {certs: {sni: [{hostname: a.example, cert: own}]}, clientcert: true}}
  - id: odd
    transport: mx
    tls:
      certs: {cert: own, sni: [{hostname: '*.a.example', cert: own}, {hostname: '*.A.example', cert: own}]}
      ciphers: ECDHE+AESGCM
      clientcert: {from: [192.0.2.0/24], require: true, ca: {}}
",
    );
    let running = with(
        &running,
        "pki: {private: [{id: own, privatekey: {data: k}, certificate: {data: c}}]}\n",
    );
    insta::assert_snapshot!(errors(&startup, &running));
}

#[test]
fn names_and_ciphers_of_a_server_are_such() {
    let running = RUNNING.replace(
        "    phases:\n",
        "    tls: {ciphers: 'ECDHE+AESGCM:BOGUS', certs: {sni: [{hostname: '[::1]', cert: own}]}}\n    phases:\n",
    );
    insta::assert_snapshot!(errors(STARTUP, &running));
}

#[test]
fn ciphers_that_do_not_exist_here_are_a_warning() {
    let running = RUNNING.replace(
        "    phases:\n",
        "    tls: {ciphers: 'ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256'}\n    phases:\n",
    );
    let loaded = config(STARTUP, &running);
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("names DHE-RSA-AES128-GCM-SHA256, which does not exist here"),
        "{warnings:?}"
    );
}

#[test]
fn what_submission_and_monitor_cannot_do_without_is_asked_for() {
    let startup = with(
        STARTUP,
        "  - {id: web, type: https, listeners: [{port: 8080}]}
monitor: {listener: {port: 9090}}
",
    );
    let running = RUNNING.replace(
        "servers:\n",
        "servers:\n  - {id: web, type: https, apikeys: ['a b', good, '']}\n",
    );
    let running = with(
        &running,
        "monitor:
  apikeys: [ü]
  healthy: {maxmessages: {upper: 1, lower: 2}}
  metrics:
    - {name: mta_own, type: counter}
    - {name: mails, type: counter}
    - {name: mails_total, type: gauge}
    - {name: times, type: histogram}
    - {name: load, type: gauge, buckets: [1]}
",
    );
    insta::assert_snapshot!(errors(&startup, &running));
}

#[test]
fn paths_of_the_log_and_the_control_socket_are_seen_from_the_file() {
    let startup = with(
        STARTUP,
        "logging: {json: {path: log.json}}
environment:
  controlsocket: {port: 5999, tls: {client: {ca: {path: ca.pem}}}}
  privdrop: {user: nobody}
  umask: '0027'
  rlimit: {nofile: 70000}
  uuid: {version: 1}
  syslog: {mask: 191, ident: mta, facility: local3}
",
    );
    let loaded = config(&startup, RUNNING);
    let startup = &loaded.config.startup;
    let path = startup.logging.json.path.as_ref().unwrap();
    assert_eq!(path.as_path(), Path::new("etc/log.json"));
    let client = startup.environment.controlsocket.tls.client.as_ref();
    let ca = client.unwrap().ca.as_ref().unwrap().path.as_ref();
    assert_eq!(ca.unwrap().as_path(), Path::new("etc/ca.pem"));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_missing_feature_that_is_not_asked_for_is_no_error() {
    let startup = with(
        STARTUP,
        "    proxyprotocol: []
    threads: {event: 2, script: 9, stacksize: 1, priority: 3}
cluster: {}
plugins: []
scripting: {ffi: false}
queues: {maxmessages: 0, threads: {script: 4}}
environment: {uuid: {version: 4}, syslog: {mask: 255}, licensekey: /x}
",
    );
    let running = RUNNING.replace(
        "    phases:\n",
        "    extensions: {chunking: false}
    tls: {implicit: false, clientcert: false, ciphers: HIGH:MEDIUM}
    phases:
      auth: {tls: true, mechanisms: [PLAIN, LOGIN]}\n",
    );
    let loaded = config(&startup, &running);
    assert_eq!(loaded.config.startup.workers(), Some(2));
}

#[test]
fn binarymime_comes_with_chunking_and_not_without() {
    let with = |extensions: &str| {
        RUNNING.replace(
            "    phases:\n",
            &format!("    extensions: {extensions}\n    phases:\n"),
        )
    };
    for (extensions, offered) in [
        ("{}", false),
        ("{chunking: true}", true),
        ("{chunking: true, binarymime: false}", false),
        (
            "{chunking: true, binarymime: true, requiretls: true, mtpriority: true, limits: true}",
            true,
        ),
    ] {
        let loaded = config(STARTUP, &with(extensions));
        let written = &loaded.config.running.servers["default"].extensions;
        assert_eq!(written.offers_binarymime(), offered, "{extensions}");
    }
    let refused = errors(STARTUP, &with("{binarymime: true}"));
    assert!(
        refused.contains("`servers[0].extensions.binarymime` needs `extensions.chunking`"),
        "{refused}"
    );
}

#[test]
fn with_ignore_unknown_refusals_become_warnings() {
    let startup = with(
        STARTUP,
        "  - {id: web, type: plugin}
  - {id: third, listeners: [{port: 2527}]}
cluster: {address: cluster.example.com}
bogus: 1
",
    );
    let running = RUNNING
        .replace("mode: optional", "mode: dane_require")
        .replace(
            "servers:\n",
            "servers:\n  - {id: web, type: plugin}\n  - {id: third, transport: nx, bogus: [1]}\n",
        );
    let options = Options {
        ignore_unknown: true,
        ..Options::default()
    };
    let refused = load(&packed(&startup, &running), &source(), &options).unwrap_err();
    insta::assert_snapshot!(refused.to_string(), @r#"
    etc/smtpd-app.yaml:4:28: `servers[1].transport` names the transport "nx", which does not exist
    4 |   - {id: third, transport: nx, bogus: [1]}
      |                            ^
    hint: did you mean "mx"?
    "#);
    let loaded = load(
        &packed(&startup, &running.replace("nx", "mx")),
        &source(),
        &options,
    )
    .unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n\n"));
    assert_eq!(loaded.config.startup.servers.len(), 2);
    assert_eq!(loaded.config.running.servers.len(), 2);
    let mode = loaded.config.running.transports["mx"].session.tls.mode;
    assert_eq!(mode, angarium_config::transport::TlsMode::Require);
}

#[test]
fn broken_files_are_reported_with_their_place() {
    insta::assert_snapshot!(errors("version: '6.0'\nservers: [\n", "a: b: c\n"));
    insta::assert_snapshot!(errors("- a\n", "version: '6.0'\nversion: '6.0'\n"));
    insta::assert_snapshot!(errors("", "version: '4.0'\n"));
    let only_startup: MemoryFiles = [("etc/smtpd.yaml", STARTUP)].into_iter().collect();
    let missing = load(&only_startup, &source(), &Options::default()).unwrap_err();
    insta::assert_snapshot!(missing.to_string());
    let empty = load(
        &MemoryFiles::new(),
        &Source::Tree("nowhere".into()),
        &Options::default(),
    )
    .unwrap_err();
    insta::assert_snapshot!(empty.to_string());
}

#[test]
fn values_can_be_set_from_outside() {
    let set = vec![
        Override::new(FileKind::Startup, "servers[0].listeners[0].port", 2600),
        Override::new(FileKind::Startup, "servers[0].listeners[1].port", 2601),
        Override::new(FileKind::Startup, "spool.path", "q"),
        Override::new(
            FileKind::Running,
            "transportgroups[0].transports[0].connection.port",
            99,
        ),
    ];
    let options = Options {
        set,
        ..Options::default()
    };
    let config = load(&packed(STARTUP, RUNNING), &source(), &options)
        .unwrap()
        .config;
    let ports: Vec<_> = config.startup.servers[0]
        .listeners
        .iter()
        .map(|listener| listener.port)
        .collect();
    assert_eq!(ports, [Some(2600), Some(2601)]);
    assert_eq!(&*config.startup.spool.path, Path::new("etc/q"));
    assert_eq!(config.running.transports["mx"].connection.port, 99);

    for (path, value) in [
        ("servers[9].id", 1),
        ("version.x", 1),
        ("", 1),
        ("spool.path", 1),
    ] {
        let options = Options {
            set: vec![Override::new(FileKind::Startup, path, value)],
            ..Options::default()
        };
        assert!(
            load(&packed(STARTUP, RUNNING), &source(), &options).is_err(),
            "{path}"
        );
    }
}

#[test]
fn key_pairs_are_put_together_from_both_files() {
    let startup = with(
        STARTUP,
        "pki: {private: [{id: tls, privatekey: {path: key.pem}}]}\n",
    );
    let running = RUNNING.replace(
        "    phases:\n",
        "    tls: {certs: {cert: tls}}\n    phases:\n",
    );
    let without = errors(&startup, &running);
    assert!(
        without.contains("the key pair \"tls\", which has no certificate"),
        "{without}"
    );
    let running = with(
        &running,
        "pki: {private: [{id: tls, certificate: {data: PEM}}]}\n",
    );
    let config = config(&startup, &running).config;
    let pair = &config.running.pki["tls"];
    assert_eq!(
        format!("{pair:?}"),
        "KeyPair { privatekey: Path(\"etc/key.pem\"), certificate: Some(Data(…)) }"
    );
    assert!(config.running.servers["default"].tls.offers_starttls());
}

fn tree() -> MemoryFiles {
    let running = RUNNING.split("scripting:").next().expect("a first part");
    [
        ("b/src/config/smtpd.yaml", STARTUP),
        ("b/src/config/smtpd-app.yaml", running),
        ("b/src/hooks/eod/default.hsl", "Accept();"),
        ("b/src/hooks/eod/unused.hsl", "Reject();"),
        ("b/src/hooks/queue/postdelivery.hsl", "Default();"),
        ("b/src/files/lists/domains.txt", "example.com\n"),
        ("b/src/files/.hidden/x", "x"),
        ("b/src/files/a.bak", "x"),
        ("b/src/files/.halonignore", "*.bak\n"),
    ]
    .into_iter()
    .collect()
}

#[test]
fn a_source_tree_is_served_with_the_real_names_of_its_scripts() {
    for dir in ["b", "b/src"] {
        let config = load(&tree(), &Source::Tree(dir.into()), &Options::default())
            .unwrap()
            .config;
        let running = &config.running;
        let eod = running
            .session_hook(&running.servers["default"], HookType::Eod, "")
            .unwrap();
        assert_eq!(
            (&*eod.text, &*eod.file),
            ("Accept();", "b/src/hooks/eod/default.hsl")
        );
        assert_eq!(running.scripts.len(), 2);
        let post = running.queue_hook(HookType::PostDelivery).unwrap();
        assert_eq!(&*post.file, "b/src/hooks/queue/postdelivery.hsl");
        assert!(running.queue_hook(HookType::PreDelivery).is_none());
        assert_eq!(
            running.files.keys().collect::<Vec<_>>(),
            ["lists/domains.txt"]
        );
        assert_eq!(config.startup.rootpath(), Path::new("b"));
    }
}

#[test]
fn a_hook_without_a_file_is_an_error_where_it_is_named() {
    let mut files = tree();
    files.remove(Path::new("b/src/hooks/eod/default.hsl"));
    let refused = load(&files, &Source::Tree("b".into()), &Options::default()).unwrap_err();
    insta::assert_snapshot!(refused.to_string(), @r#"
    b/src/config/smtpd-app.yaml:7:15: `servers[0].phases.eod.hook` names the eod hook "default", but there is no file b/src/hooks/eod/default.hsl
    7 |         hook: default
      |               ^
    "#);
    let outside = RUNNING
        .split("scripting:")
        .next()
        .unwrap()
        .replace("hook: default", "hook: ../../x");
    files.insert("b/src/config/smtpd-app.yaml", outside);
    let refused = load(&files, &Source::Tree("b".into()), &Options::default()).unwrap_err();
    assert_eq!(refused.0.len(), 1, "{refused}");
}

#[test]
fn a_reload_finds_the_file_that_was_loaded() {
    let startup = with(STARTUP, "environment: {appconf: sub/app.yaml}\n");
    let mut files: MemoryFiles = [
        ("etc/smtpd.yaml", startup.as_str()),
        ("etc/sub/app.yaml", RUNNING),
    ]
    .into_iter()
    .collect();
    let config = load(&files, &source(), &Options::default()).unwrap().config;
    files.insert("etc/sub/app.yaml", RUNNING.replace("count: 30", "count: 3"));
    let running = reload(&files, &source(), &Options::default(), &config.startup)
        .unwrap()
        .config;
    assert_eq!(running.transports["mx"].retry.count, 3);
}

#[test]
fn a_hook_type_can_have_limits_of_its_own() {
    let startup = with(
        STARTUP,
        "scripting: {limits: {time: 9, hooks: {eod: {fuel: 5}}}}\n",
    );
    let limits = config(&startup, RUNNING)
        .config
        .startup
        .scripting
        .limits
        .clone();
    assert_eq!(
        (
            limits.of(HookType::Eod).fuel,
            limits.of(HookType::Helo).fuel
        ),
        (5, 500_000_000)
    );
    assert_eq!(limits.of(HookType::Eod).time, Duration::from_secs(9));
}

#[test]
fn a_reload_takes_the_new_file_or_says_why_not() {
    let mut files = packed(STARTUP, RUNNING);
    let config = load(&files, &source(), &Options::default()).unwrap().config;
    files.insert(
        "etc/smtpd-app.yaml",
        RUNNING.replace("count: 30", "count: 3"),
    );
    let running = reload(&files, &source(), &Options::default(), &config.startup)
        .unwrap()
        .config;
    assert_eq!(running.transports["mx"].retry.count, 3);
    files.insert(
        "etc/smtpd-app.yaml",
        RUNNING.replace("id: default\n    transport", "id: other\n    transport"),
    );
    let refused = reload(&files, &source(), &Options::default(), &config.startup).unwrap_err();
    insta::assert_snapshot!(refused.to_string());
}

#[test]
fn one_port_has_one_listener_whatever_it_is_for() {
    let rows = [
        (
            "monitor: {listener: {port: 2525}}\n",
            "`monitor.listener.port` is the port 2525 that server \"default\" listens on already",
        ),
        (
            "environment: {controlsocket: {port: 2525}}\n",
            "`environment.controlsocket.port` is the port 2525 that server \"default\" listens on already",
        ),
        (
            "monitor: {listener: {port: 9}}\nenvironment: {controlsocket: {port: 9}}\n",
            "`environment.controlsocket.port` is the port 9 that the monitor listens on already",
        ),
        (
            "monitor: {listener: {port: 2525, address: 127.0.0.2}}\n",
            "accepted",
        ),
        (
            "monitor: {listener: {port: 2525, address: '::1'}}\n",
            "accepted",
        ),
    ];
    for (more, expected) in rows {
        let said = errors(&with(STARTUP, more), RUNNING);
        assert!(said.contains(expected), "{more}: {said}");
    }
}

#[test]
fn half_a_key_pair_is_called_so() {
    let tls = "servers:\n  - id: default\n    tls: {certs: {cert: a}}\n";
    let running = RUNNING.replace("servers:\n  - id: default\n", tls);
    let pki = |part: &str| format!("{STARTUP}pki: {{private: [{{id: a, {part}: {{path: x}}}}]}}\n");
    let said = errors(&pki("certificate"), &running);
    let expected = "`servers[0].tls.certs.cert` names the key pair \"a\", which has no private key";
    assert!(said.contains(expected), "{said}");
    let said = errors(&pki("privatekey"), &running);
    assert!(said.contains("\"a\", which has no certificate"), "{said}");
}

#[test]
fn thread_pools_are_accepted_where_later_releases_have_them() {
    let pools = "threads: {scripts: [{id: _default, threads: 4}, {id: _queues, threads: 2, maxscripts: 9}]}\n";
    assert_eq!(errors(&with(STARTUP, pools), RUNNING), "accepted");
}

#[test]
fn what_could_not_work_is_not_accepted() {
    let rows = [
        (
            "monitor: {healthy: {maxmessages: {lower: 2}}}\n",
            "`monitor.healthy.maxmessages.lower` needs `monitor.healthy.maxmessages.upper`",
        ),
        (
            "monitor: {metrics: [{name: a, type: histogram, buckets: [3, 2.5]}]}\n",
            "accepted",
        ),
    ];
    for (more, expected) in rows {
        let said = errors(STARTUP, &with(RUNNING, more));
        assert!(said.contains(expected), "{more}: {said}");
    }
    let hook = |domain: &str| {
        let phases = format!(
            "    phases:\n      rcptto: {{hook: {{recipientdomains: {{'{domain}': default}}}}}}\n"
        );
        let running = RUNNING.replace("    phases:\n", &phases);
        running.replace(
            "  hooks:\n",
            "  hooks:\n    rcptto: [{id: default, data: 'Accept();'}]\n",
        )
    };
    for (domain, good) in [
        ("a.example", true),
        ("*.example", true),
        ("bücher.example", true),
        ("", false),
        ("a b", false),
        ("*", false),
        ("a.*.b", false),
    ] {
        let said = errors(STARTUP, &hook(domain));
        assert_eq!(said == "accepted", good, "{domain:?}: {said}");
        assert!(good || said.contains("recipientdomains"), "{said}");
    }
}

#[test]
fn what_looks_like_a_mistake_is_a_warning() {
    let warnings = |startup: &str| {
        let Loaded { warnings, .. } = config(startup, RUNNING);
        warnings.iter().map(ToString::to_string).collect::<String>()
    };
    let said = warnings(&with(STARTUP, "scripting: {rootpath: /nowhere}\n"));
    assert!(
        said.contains("`scripting.rootpath` names the folder /nowhere"),
        "{said}"
    );
    assert!(warnings("version: '6.0'\n").contains("`servers` is empty"));
    let mut files = tree();
    let startup = with(STARTUP, "environment: {appconf: /etc/other.yaml}\n");
    files.insert("b/src/config/smtpd.yaml", startup);
    let loaded = load(
        &files,
        &Source::Tree(PathBuf::from("b")),
        &Options::default(),
    );
    let said: String = loaded
        .unwrap_or_else(|errors| panic!("{errors}"))
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        said.contains("`environment.appconf` is not looked at"),
        "{said}"
    );
}

#[test]
fn a_tree_and_a_packed_file_are_told_apart() {
    let files = tree();
    let said = |source: Source| match load(&files, &source, &Options::default()) {
        Ok(_) => "accepted".to_owned(),
        Err(errors) => errors.to_string(),
    };
    let wrong = said(Source::Packed(PathBuf::from("b/src/config/smtpd.yaml")));
    assert!(wrong.contains("name the folder of the tree: b"), "{wrong}");
    let wrong = said(Source::Packed(PathBuf::from("b")));
    assert!(wrong.contains("without -c"), "{wrong}");
    let packed = packed(STARTUP, RUNNING);
    for dir in ["etc", "etc/smtpd.yaml"] {
        let wrong = load(
            &packed,
            &Source::Tree(PathBuf::from(dir)),
            &Options::default(),
        );
        let wrong = wrong.unwrap_err().to_string();
        assert!(wrong.contains("`-c etc/smtpd.yaml`"), "{wrong}");
    }
}
