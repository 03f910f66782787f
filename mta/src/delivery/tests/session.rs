//! What a transport says of the session: log-in, XCLIENT, LMTP and TLS; a script and the file of destinations say otherwise.

use super::bundle::transports;
use super::*;

/// The transport `out` with `session` and more of its keys, in YAML.
fn with_session(port: u16, session: &str) -> String {
    transports(port, &format!("        session: {session}\n"))
}

#[test]
fn a_transport_says_who_logs_in_and_what_the_server_is_told() {
    run(|dir| async move {
        let offers = |_, phase: &str| match phase {
            "EHLO" => Some(Act::Say(
                "250-sink.test\r\n250-XCLIENT ADDR NAME\r\n250 AUTH PLAIN",
            )),
            "OTHER" => Some(Act::Say("235 ok")),
            _ => None,
        };
        let sink = Sink::start(local(1, 0), Offer::Nothing, script(offers));
        let app = with_session(
            sink.port(),
            "{sasl: {username: user, password: secret}, xclient: {addr: 192.0.2.9, Login: x}}",
        );
        let before = r#"
if ($message["recipient"] == "own@a.test") Try(["saslusername" => "", "xclient" => ["name" => "own.test"]]);
"#;
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", before),
        ])
        .domains(&["a.test"])
        .start(dir.path());
        rig.submit("b@a.test", MESSAGE, Change::None).await;
        rig.deliveries(1).await;
        rig.submit("own@a.test", MESSAGE, Change::None).await;
        rig.deliveries(2).await;
        assert_eq!(sink.received().len(), 2);
        let opening = |command: &String| {
            ["EHLO", "XCLI", "AUTH"]
                .iter()
                .any(|verb| command.starts_with(verb))
        };
        let commands = sink.commands().into_iter().filter(opening);
        assert_eq!(
            commands.collect::<Vec<_>>(),
            [
                "EHLO mta.test",
                "XCLIENT ADDR=192.0.2.9",
                "EHLO mta.test",
                "AUTH PLAIN AHVzZXIAc2VjcmV0",
                "EHLO mta.test",
                "XCLIENT NAME=own.test",
                "EHLO mta.test",
            ]
        );
        rig.stop().await;
    });
}

#[test]
fn a_transport_says_how_it_logs_in() {
    for (mechanism, said) in [
        ("", "AUTH CRAM-MD5"),
        (", mechanism: PLAIN", "AUTH PLAIN AHVzZXIAc2VjcmV0"),
        (", mechanism: LOGIN", "AUTH LOGIN"),
        (", mechanism: CRAM-MD5", "AUTH CRAM-MD5"),
    ] {
        run(|dir| async move {
            let offers = |_, phase: &str| match phase {
                "EHLO" => Some(Act::Say("250-sink.test\r\n250 AUTH LOGIN PLAIN CRAM-MD5")),
                "OTHER" => Some(Act::Say("535 no")),
                _ => None,
            };
            let sink = Sink::start(local(1, 0), Offer::Nothing, script(offers));
            let app = with_session(
                sink.port(),
                &format!("{{sasl: {{username: user, password: secret{mechanism}}}}}"),
            );
            let setup = Setup::bundle(&[("config/smtpd-app.yaml", &app)]).domains(&["a.test"]);
            let mut rig = setup.start(dir.path());
            rig.submit("b@a.test", MESSAGE, Change::None).await;
            has(&rig.only().await, &["code=535"]);
            assert_eq!(sink.commands()[1], said, "{mechanism}");
            rig.stop().await;
        });
    }
}

#[test]
fn a_transport_and_a_script_show_certificates_of_ours() {
    let own = |name: &str| crate::tls::self_signed(&[name]).expect("a pair");
    let (one, two) = (own("one.test"), own("two.test"));
    let der = |pair: &crate::tls::SelfSigned| {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
        der.expect("a certificate").to_vec()
    };
    let pair = |id: &str, pair: &crate::tls::SelfSigned| {
        let (key, certificate) = (&pair.key, &pair.certificate);
        format!(
            "  - {{id: {id}, privatekey: {{data: {key:?}}}, certificate: {{data: {certificate:?}}}}}\n"
        )
    };
    let pki = format!(
        "pki:\n private:\n{}{}",
        pair("one", &one),
        pair("two", &two)
    );
    let before = r#"
if ($message["recipient"] == "two@a.test") Try(["tls_client_cert" => "two"]);
if ($message["recipient"] == "sent@a.test") {
    $server = ["host" => "127.0.0.1", "port" => PORT, "tls" => "require", "tls_client_cert" => "two"];
    MIME()->setBody("x")->send("", ["sent@a.test"], $server);
    MIME()->setBody("x")->send("", ["sent@a.test"], "out");
    Delete();
}
if ($message["recipient"] == "none@a.test") {
    try { Try(["tls_client_cert" => "none"]); } catch ($e) { echo "refused: " . $e->message(); }
    Delete();
}
"#;
    run(|dir| async move {
        let sink = Sink::start(local(1, 0), Offer::Asking, script(|_, _| None));
        let before = before.replace("PORT", &sink.port().to_string());
        let session = "{tls: {mode: require, clientcert: one}}";
        let app = with_session(sink.port(), session) + &pki;
        // Sessions with another certificate are no sessions to share.
        let delivery = "version: '6.0'\ndelivery: {default: {pooling: {enabled: true}}}\n";
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("config/smtpd-delivery.yaml", delivery),
            ("hooks/queue/predelivery.hsl", &before),
        ])
        .domains(&["a.test"])
        .start(dir.path());
        for (count, name) in ["one", "two", "one", "sent", "none"].iter().enumerate() {
            let to = format!("{name}@a.test");
            rig.submit(&to, MESSAGE, Change::None).await;
            rig.deliveries(count + 1).await;
        }
        let received = sink.received();
        let shown = received.into_iter().map(|mail| {
            let session = mail.session.expect("TLS");
            session.peer_cert.expect("a certificate").chain.remove(0)
        });
        let (one, two) = (der(&one), der(&two));
        let names: Vec<&str> = shown
            .map(|shown| match () {
                () if shown == one => "one",
                () if shown == two => "two",
                () => "another",
            })
            .collect();
        assert_eq!(names, ["one", "two", "one", "two", "one"]);
        let refused = "refused: Try: tls_client_cert: there is no key pair \"none\"";
        assert_eq!(rig.lines(refused).len(), 1);
        rig.stop().await;
    });
}

#[test]
fn a_transport_speaks_lmtp() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = with_session(sink.port(), "{protocol: lmtp, helo: lmtp.test}");
        let setup = Setup::bundle(&[("config/smtpd-app.yaml", &app)]).domains(&["a.test"]);
        let mut rig = setup.start(dir.path());
        rig.submit("b@a.test", MESSAGE, Change::None).await;
        has(&rig.only().await, &["result=DELIVERED"]);
        assert_eq!(sink.commands()[0], "LHLO lmtp.test");
        rig.stop().await;
    });
}

#[test]
fn a_transport_says_which_certificates_are_good() {
    // The certificate is for sink.test, the host is mx.a.test.
    let tls = |text: &str| format!("{{tls: {{mode: require_verify{text}}}}}");
    let of_destination =
        |mode: &str| format!("version: '6.0'\ndelivery: {{default: {{tls: {{mode: {mode}}}}}}}\n");
    for (session, destination, good) in [
        (tls(""), "", true),
        (tls(", verifyhost: true"), "", false),
        (tls(", verifynames: [other.test, sink.test]"), "", true),
        (tls(", verifynames: [other.test]"), "", false),
        (tls(", defaultca: false"), "", false),
        (tls(", verifyhost: true"), "optional_verify", true),
        (
            "{tls: {verifyhost: true}}".to_owned(),
            "require_verify",
            false,
        ),
    ] {
        run(|dir| async move {
            let sink = Sink::start(local(1, 0), Offer::SelfSigned, script(|_, _| None));
            let app = with_session(sink.port(), &session);
            let delivery = of_destination(destination);
            let mut files = vec![("config/smtpd-app.yaml", app.as_str())];
            if !destination.is_empty() {
                files.push(("config/smtpd-delivery.yaml", &delivery));
            }
            let mut setup = Setup::bundle(&files).domains(&["a.test"]);
            setup.settings.authorities = Some(Arc::new(sink.authority()));
            let mut rig = setup.start(dir.path());
            rig.submit("b@a.test", MESSAGE, Change::None).await;
            let line = rig.only().await;
            let wanted = if good {
                "result=DELIVERED"
            } else {
                "error=tls"
            };
            assert!(line.contains(wanted), "{session} {destination}: {line}");
            let over_tls: Vec<bool> = sink.received().iter().map(|mail| mail.tls).collect();
            assert_eq!(over_tls, vec![true; usize::from(good)], "{session}");
            rig.stop().await;
        });
    }
}

#[test]
fn a_transport_and_the_file_of_destinations_say_how_tls_is_spoken() {
    const AES_128: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
    const CHACHA: &str = "ECDHE-ECDSA-CHACHA20-POLY1305";
    // What is asked for, and what the server sees of it: the name, the version, the cipher.
    type Seen<'a> = (Option<&'a str>, &'a str, &'a str);
    let usual: Seen<'_> = (None, "TLSv1.3", "TLS_AES_256_GCM_SHA384");
    let cases: [(Offer, &str, &str, Seen<'_>); 8] = [
        (Offer::SelfSigned, "", "", usual),
        (Offer::Implicit, ", implicit: true", "", usual),
        (
            Offer::SelfSigned,
            ", sni: true",
            "",
            (Some("mx.a.test"), usual.1, usual.2),
        ),
        (
            Offer::SelfSigned,
            ", sni: other.test",
            "",
            (Some("other.test"), usual.1, usual.2),
        ),
        (
            Offer::SelfSigned,
            ", protocols: TLSv1.2",
            "",
            (None, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ),
        (
            Offer::SelfSigned,
            ", protocols: TLSv1.2, ciphers: ECDHE-ECDSA-AES128-GCM-SHA256",
            "",
            (None, "TLSv1.2", AES_128),
        ),
        (
            Offer::SelfSigned,
            ", protocols: TLSv1.2, ciphers: ECDHE-ECDSA-AES128-GCM-SHA256",
            "ciphers: ECDHE-ECDSA-CHACHA20-POLY1305",
            (None, "TLSv1.2", CHACHA),
        ),
        (
            Offer::SelfSigned,
            ", protocols: TLSv1.2",
            "protocols: TLSv1.3",
            usual,
        ),
    ];
    for (offer, session, destination, seen) in cases {
        run(|dir| async move {
            let sink = Sink::start(local(1, 0), offer, script(|_, _| None));
            let app = with_session(sink.port(), &format!("{{tls: {{mode: require{session}}}}}"));
            let delivery =
                format!("version: '6.0'\ndelivery: {{default: {{tls: {{{destination}}}}}}}\n");
            let files = [
                ("config/smtpd-app.yaml", app.as_str()),
                ("config/smtpd-delivery.yaml", &delivery),
            ];
            let mut rig = Setup::bundle(&files).domains(&["a.test"]).start(dir.path());
            rig.submit("b@a.test", MESSAGE, Change::None).await;
            has(&rig.only().await, &["result=DELIVERED"]);
            let received = sink.received().remove(0).session.expect("TLS");
            let found = (
                received.sni.as_deref(),
                received.protocol.as_str(),
                received.cipher.as_str(),
            );
            assert_eq!(found, seen, "{session} {destination}");
            rig.stop().await;
        });
    }
}

#[test]
fn an_attribute_that_cannot_be_sent_is_refused_when_the_configuration_is_read() {
    use angarium_config::{MemoryFiles, Options, Source, load};
    for (attributes, why) in [
        (
            "{'A B': x}".to_owned(),
            "\"A B\" is no name of an attribute",
        ),
        (
            format!("{{ADDR: {}}}", "x".repeat(200)),
            "the attributes have more than 160 bytes",
        ),
    ] {
        let app = with_session(25, &format!("{{xclient: {attributes}}}"));
        let files: MemoryFiles = [
            ("/b/src/config/smtpd.yaml".to_owned(), "version: '6.0'"),
            ("/b/src/config/smtpd-app.yaml".to_owned(), app.as_str()),
        ]
        .into_iter()
        .collect();
        let loaded = load(&files, &Source::Tree("/b".into()), &Options::default());
        let config = loaded.unwrap_or_else(|errors| panic!("{errors}")).config;
        let refused = Settings::from_config(
            &config.running,
            &crate::scripts::Keys::new(),
            "mta.test",
            Vec::new(),
        );
        assert_eq!(
            refused.err().map(|error| error.to_string()),
            Some(format!("transports[out].session.xclient: {why}"))
        );
    }
}
