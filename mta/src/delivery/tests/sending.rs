//! One attempt: what arrives, and what becomes of each way to fail.

use super::*;

#[test]
fn what_arrives_is_what_was_received_with_the_edits_of_its_copy() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let mut long = b"Subject: long\r\n\r\n".to_vec();
        long.extend((0..400_000_u32).map(|n| if n % 80 == 79 { b'\n' } else { 0xe9 }));
        long.extend(b"\r\n");
        let edits = |length: usize| {
            let list = vec![Edit {
                span: 0..0,
                with: Replacement::Bytes(b"X-Added: yes\r\n".to_vec()),
            }];
            let edits = Edits::new(length as u64, list).expect("edits");
            Change::Edits(edits.to_bytes().into())
        };
        rig.submit("plain@to.test", MESSAGE, Change::None).await;
        rig.submit("edited@to.test", MESSAGE, edits(MESSAGE.len()))
            .await;
        rig.submit("long@to.test", &long, edits(long.len())).await;
        rig.deliveries(3).await;
        let received = sink.received();
        let of = |name: &str| {
            let found = received.iter().find(|message| message.rcpt.contains(name));
            found.expect(name)
        };
        assert_eq!(of("plain@").data, MESSAGE);
        assert_eq!(
            of("plain@").mail,
            format!("MAIL FROM:<a@from.test> SIZE={}", MESSAGE.len())
        );
        assert_eq!(of("edited@").data, [b"X-Added: yes\r\n", MESSAGE].concat());
        // A line that ended in LF alone ends in CRLF on the way out (mta.md 3.2).
        let normal: Vec<u8> = long.iter().copied().filter(|byte| *byte != b'\r').collect();
        let normal = normal
            .split(|byte| *byte == b'\n')
            .collect::<Vec<_>>()
            .join(&b"\r\n"[..]);
        assert!(of("long@").data == [b"X-Added: yes\r\n", &normal[..]].concat());
        assert!(of("long@").mail.contains("BODY=8BITMIME"));
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}

#[test]
fn each_way_to_fail_has_its_outcome() {
    let refused =
        |phase: &'static str, text| script(move |_, at| (at == phase).then_some(Act::Say(text)));
    let close = |phase: &'static str| script(move |_, at| (at == phase).then_some(Act::Close));
    let cases: Vec<(Script, &[&str])> = vec![
        (
            refused("RCPT", "450 4.2.1 later"),
            &[
                "code=450",
                r#"reason="4.2.1 later""#,
                "result=QUEUE",
                "delay=60",
            ],
        ),
        (
            refused("RCPT", "550 5.1.1 no such user"),
            &[
                "code=550",
                r#"reason="5.1.1 no such user""#,
                "result=BOUNCE",
            ],
        ),
        (
            refused("MAIL", "552 5.3.4 too big"),
            &["code=552", "result=BOUNCE"],
        ),
        (
            refused("EOD", "554 5.7.1 spam"),
            &["code=554", "result=BOUNCE"],
        ),
        (
            refused("EOD", "451 4.3.0 disk"),
            &["code=451", "result=QUEUE"],
        ),
        (
            refused("BANNER", "421 4.3.2 busy"),
            &["code=421", "result=QUEUE"],
        ),
        (
            refused("BANNER", "554 5.3.2 no"),
            &["code=554", "result=BOUNCE"],
        ),
        (
            refused("BANNER", "SSH-2.0-nonsense"),
            &["error=protocol", "result=QUEUE"],
        ),
        (
            refused("RCPT", "250-a\r\n550 b"),
            &["error=protocol", "result=QUEUE"],
        ),
        (
            refused("BODY", "554 5.0.0 stop"),
            &["code=554", "result=BOUNCE"],
        ),
        (
            close("BANNER"),
            &["error=network", "before the banner", "result=QUEUE"],
        ),
        (close("MAIL"), &["error=network", "result=QUEUE"]),
        (close("BODY"), &["error=network", "result=QUEUE"]),
        (close("EOD"), &["error=network", "result=QUEUE"]),
    ];
    for (number, (behaviour, want)) in cases.into_iter().enumerate() {
        run(|dir| async move {
            let sink = Sink::start(local(1, 0), Offer::Nothing, behaviour);
            let mut setup = Setup::to(sink.port());
            // A notification would be one more delivery.
            setup.settings.transports.clear();
            let quiet = Transport {
                port: sink.port(),
                dsn_transport: Some("gone".into()),
                ..Transport::default()
            };
            setup
                .settings
                .transports
                .insert("out".into(), Arc::new(quiet));
            let mut rig = setup.start(dir.path());
            rig.submit_from("", "b@to.test", MESSAGE, Change::None)
                .await;
            let line = rig.only().await;
            eprintln!("case {number}: {line}");
            has(&line, want);
            assert!(sink.received().is_empty());
            rig.stop().await;
        });
    }
}

#[test]
fn a_peer_that_hangs_is_left_when_its_time_is_up() {
    for (phase, commands, limit) in [("BANNER", 0, 300), ("RCPT", 3, 300), ("EOD", 4, 600)] {
        run(|dir| async move {
            let hang = script(move |_, at| (at == phase).then_some(Act::Hang));
            let sink = Sink::start(local(1, 0), Offer::Nothing, hang);
            let mut rig = Setup::to(sink.port()).start(dir.path());
            let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
            let before = sink.clone();
            rig.until(move || before.connections() == 1 && before.commands().len() >= commands)
                .await;
            rig.clock.advance(Duration::from_secs(limit - 1));
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(rig.state(id).await, Some(State::Sending));
            rig.clock.advance(Duration::from_secs(2));
            has(
                &rig.only().await,
                &["error=network", "timeout", "result=QUEUE"],
            );
            rig.idle().await;
            assert_eq!(rig.state(id).await, Some(State::Defer));
            rig.stop().await;
        });
    }
}

#[test]
fn tls_is_used_as_its_mode_says() {
    let cases: &[(Offer, TlsMode, &[&str], Option<bool>)] = &[
        (
            Offer::SelfSigned,
            TlsMode::Optional,
            &["tls=TLSv1.3", "DELIVERED"],
            Some(true),
        ),
        (
            Offer::SelfSigned,
            TlsMode::Require,
            &["tls=TLSv1.3", "DELIVERED"],
            Some(true),
        ),
        (
            Offer::SelfSigned,
            TlsMode::Disabled,
            &["DELIVERED"],
            Some(false),
        ),
        (
            Offer::Nothing,
            TlsMode::Optional,
            &["DELIVERED"],
            Some(false),
        ),
        (
            Offer::Nothing,
            TlsMode::Require,
            &["error=tls", "not offered", "QUEUE"],
            None,
        ),
        (
            Offer::Broken,
            TlsMode::Optional,
            &["DELIVERED"],
            Some(false),
        ),
        (
            Offer::Broken,
            TlsMode::Require,
            &["error=tls", "handshake", "QUEUE"],
            None,
        ),
        (
            Offer::SelfSigned,
            TlsMode::RequireVerify,
            &["error=tls", "UnknownIssuer", "QUEUE"],
            None,
        ),
        (
            Offer::SelfSigned,
            TlsMode::OptionalVerify,
            &["tls=TLSv1.3", "DELIVERED"],
            Some(true),
        ),
    ];
    for &(offer, mode, want, delivered) in cases {
        run(|dir| async move {
            let sink = Sink::start(local(1, 0), offer, script(|_, _| None));
            let mut rig = Setup::to(sink.port()).tls(mode).start(dir.path());
            rig.submit("b@to.test", MESSAGE, Change::None).await;
            let line = rig.only().await;
            eprintln!("{offer:?} {mode:?}: {line}");
            has(&line, want);
            let tls = sink.received().first().map(|message| message.tls);
            assert_eq!(tls, delivered, "{offer:?} {mode:?}");
            rig.stop().await;
        });
    }
}

#[test]
fn a_required_certificate_has_to_prove_what_is_asked() {
    for (host, names, delivered) in [
        (false, &[][..], true),
        (true, &[], true),
        (false, &["other.test", "sink.test"], true),
        (true, &["other.test"], false),
    ] {
        run(|dir| async move {
            let sink = Sink::start(local(1, 0), Offer::SelfSigned, script(|_, _| None));
            let mut setup = Setup::to(sink.port()).tls(TlsMode::RequireVerify);
            setup.settings.authorities = Some(Arc::new(sink.authority()));
            let mut client = (*setup.settings.client(&"out".into())).clone();
            client.tls.verify_host = host;
            client.tls.verify_names = names.iter().map(|name| (*name).to_owned()).collect();
            setup
                .settings
                .clients
                .insert("out".into(), Arc::new(client));
            let mut rig = setup.start(dir.path());
            rig.submit("b@to.test", MESSAGE, Change::None).await;
            let line = rig.only().await;
            let want = if delivered { "DELIVERED" } else { "error=tls" };
            has(&line, &[want]);
            assert_eq!(sink.received().len(), usize::from(delivered));
            rig.stop().await;
        });
    }
}

#[test]
fn destinations_are_found_as_rfc_5321_says() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let setup = Setup::to(sink.port());
        // Nothing listens on 127.0.0.9: the second host serves.
        setup.host("down.test", 9);
        setup.mx("two.test", 10, "down.test");
        setup.mx("two.test", 20, "sink.test");
        setup.mx("null.test", 0, "");
        setup.host("implicit.test", 1);
        setup
            .dns
            .fail("broken.test", RecordType::Mx, DnsError::ServFail);
        let mut rig = setup.start(dir.path());
        for to in ["two", "null", "implicit", "broken", "unknown"] {
            let to = format!("{to}@{to}.test");
            rig.submit_from("", &to, MESSAGE, Change::None).await;
        }
        let lines = rig.deliveries(5).await;
        let of = |name: &str| {
            let found = lines
                .iter()
                .find(|line| line.contains(&format!("recipient={name}@")));
            found.expect(name).as_str()
        };
        has(of("two"), &["remotemx=sink.test", "result=DELIVERED"]);
        has(
            of("implicit"),
            &["remotemx=implicit.test", "result=DELIVERED"],
        );
        has(of("null"), &["error=dns", "null MX", "result="]);
        has(of("broken"), &["error=dns", "SERVFAIL", "result=QUEUE"]);
        has(of("unknown"), &["error=dns", "does not exist"]);
        rig.idle().await;
        let counts = rig.handle.counts().await.expect("a queue");
        assert_eq!((counts.items, counts.defer), (1, 1));
        rig.stop().await;
    });
}
