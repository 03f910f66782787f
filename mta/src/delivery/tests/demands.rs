//! What a message demands of whoever takes it: BINARYMIME, REQUIRETLS, and its priority.

use angarium_queue::dsn::Ret;

use super::*;

fn params(item: &mut Item, name: &str, value: &str) {
    item.senderparams = Pairs::new([(Text::from(name), Text::from(value))]).expect("parameters");
}

fn announcing(text: &'static str) -> Script {
    script(move |_, at| (at == "EHLO").then_some(Act::Say(text)))
}

/// The MAIL commands that the sink heard.
fn mails(sink: &Sink) -> Vec<String> {
    let commands = sink.commands();
    let mails = commands.into_iter().filter(|line| line.starts_with("MAIL"));
    mails.collect()
}

#[test]
fn a_binary_message_bounces_with_its_header_alone() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let message = b"Subject: bytes\r\n\r\n\0secret\n.\n\r\r";
        rig.submit_with("a@from.test", "b@to.test", message, Change::None, |item| {
            params(item, "BODY", "binarymime");
            item.dsn.ret = Some(Ret::Full);
        })
        .await;
        let lines = rig.deliveries(2).await;
        has(
            &lines[0],
            &["recipient=b@to.test", "BINARYMIME", "result=BOUNCE"],
        );
        let received = sink.received();
        assert_eq!(received.len(), 1);
        let text = String::from_utf8_lossy(&received[0].data).into_owned();
        has(&text, &["Status: 5.6.3", "Subject: bytes"]);
        assert!(!text.contains("secret") && !text.contains('\0'), "{text}");
        assert!(received[0].mail.starts_with("MAIL FROM:<>"));
        rig.stop().await;
    });
}

#[test]
fn a_message_that_requires_tls_goes_to_nobody_without_it() {
    // Nobody offers it, the transport says that there shall be none.
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port())
            .tls(TlsMode::Disabled)
            .start(dir.path());
        rig.submit_with("a@from.test", "b@to.test", MESSAGE, Change::None, |item| {
            params(item, "REQUIRETLS", "");
        })
        .await;
        has(&rig.only().await, &["error=tls", "result=QUEUE"]);
        assert_eq!(mails(&sink), [""; 0]);
        rig.stop().await;
    });
    // TLS with somebody else.
    run(|dir| async move {
        let sink = Sink::start(local(1, 0), Offer::SelfSigned, script(|_, _| None));
        let mut rig = Setup::to(sink.port())
            .tls(TlsMode::Optional)
            .start(dir.path());
        rig.submit_with("a@from.test", "b@to.test", MESSAGE, Change::None, |item| {
            params(item, "REQUIRETLS", "");
        })
        .await;
        has(
            &rig.only().await,
            &["error=tls", "UnknownIssuer", "result=QUEUE"],
        );
        assert_eq!(mails(&sink), [""; 0]);
        rig.stop().await;
    });
}

#[test]
fn a_message_that_requires_tls_is_bounced_where_it_would_not_be_kept_up() {
    run(|dir| async move {
        let sink = Sink::start(local(1, 0), Offer::SelfSigned, script(|_, _| None));
        let mut setup = Setup::to(sink.port()).tls(TlsMode::Optional);
        setup.settings.authorities = Some(Arc::new(sink.authority()));
        let mut rig = setup.start(dir.path());
        rig.submit_with("a@from.test", "b@to.test", MESSAGE, Change::None, |item| {
            params(item, "REQUIRETLS", "");
            item.dsn.ret = Some(Ret::Full);
        })
        .await;
        let lines = rig.deliveries(2).await;
        has(
            &lines[0],
            &["recipient=b@to.test", "REQUIRETLS", "result=BOUNCE"],
        );
        // The notice itself goes on, and says so where that is understood.
        has(&lines[1], &["recipient=a@from.test", "result=DELIVERED"]);
        assert_eq!(mails(&sink).len(), 1);
        let received = sink.received();
        let text = String::from_utf8_lossy(&received[0].data).into_owned();
        has(&text, &["Status: 5.7.30", "Subject: Hello"]);
        assert!(
            !text.contains("last\r\n"),
            "the content is not returned: {text}"
        );
        rig.stop().await;
    });
    run(|dir| async move {
        let announce = announcing("250-sink.test\r\n250-STARTTLS\r\n250 REQUIRETLS");
        let sink = Sink::start(local(1, 0), Offer::SelfSigned, announce);
        let mut setup = Setup::to(sink.port()).tls(TlsMode::Disabled);
        setup.settings.authorities = Some(Arc::new(sink.authority()));
        let mut rig = setup.start(dir.path());
        rig.submit_with("a@from.test", "b@to.test", MESSAGE, Change::None, |item| {
            params(item, "REQUIRETLS", "");
        })
        .await;
        has(&rig.only().await, &["result=DELIVERED"]);
        assert_eq!(mails(&sink), ["MAIL FROM:<a@from.test> REQUIRETLS"]);
        assert!(sink.received()[0].tls);
        rig.stop().await;
    });
}

#[test]
fn a_priority_is_told_to_who_knows_of_priorities() {
    for (announce, mail) in [
        (
            "250-sink.test\r\n250 MT-PRIORITY",
            "MAIL FROM:<a@from.test> MT-PRIORITY=3",
        ),
        ("250 sink.test", "MAIL FROM:<a@from.test>"),
    ] {
        run(|dir| async move {
            let sink = Sink::start(local(1, 0), Offer::Nothing, announcing(announce));
            let mut rig = Setup::to(sink.port()).start(dir.path());
            rig.submit_with("a@from.test", "b@to.test", MESSAGE, Change::None, |item| {
                params(item, "MT-PRIORITY", "3");
            })
            .await;
            has(&rig.only().await, &["result=DELIVERED"]);
            assert_eq!(mails(&sink), [mail]);
            rig.stop().await;
        });
    }
}
