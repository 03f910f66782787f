//! Notifications: bounces, reports of success and of delay.

use super::*;

#[test]
fn a_bounce_reaches_the_sender() {
    run(|dir| async move {
        let no = script(|number, at| {
            (number == 1 && at == "RCPT").then_some(Act::Say("550 5.1.1 no such user"))
        });
        let sink = Sink::start(local(1, 0), Offer::Nothing, no);
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
        let lines = rig.deliveries(2).await;
        has(&lines[0], &["result=BOUNCE"]);
        has(&lines[1], &["recipient=a@from.test", "result=DELIVERED"]);
        let received = sink.received();
        assert_eq!(received.len(), 1);
        assert!(received[0].mail.starts_with("MAIL FROM:<>"));
        assert_eq!(received[0].rcpt, "RCPT TO:<a@from.test>");
        let header = HeaderBlock::read(&received[0].data[..]).expect("a header");
        let field = |name: &str| header.value(name.as_bytes(), 0, true).unwrap_or_default();
        assert!(
            field("Content-Type").contains("report-type=\"delivery-status\"")
                || field("Content-Type").contains("report-type=delivery-status")
        );
        assert_eq!(field("In-Reply-To"), "<one@from.test>");
        assert_eq!(field("Auto-Submitted"), "auto-replied");
        assert_eq!(field("Subject"), "Undeliverable: Hello");
        let text = String::from_utf8_lossy(&received[0].data).into_owned();
        has(
            &text,
            &[
                "Reporting-MTA: dns; mta.test",
                "Final-Recipient: rfc822; b@to.test",
                "Action: failed",
                "Status: 5.1.1",
                "Remote-MTA: dns; sink.test",
                "Diagnostic-Code: smtp; 550 5.1.1 no such user",
                "Message-ID: <one@from.test>",
            ],
        );
        let dsn = rig
            .log
            .lines()
            .into_iter()
            .find(|line| line.contains("] dsn "));
        has(
            &dsn.expect("a line"),
            &[&format!("for={id}"), "action=failed", "to=a@from.test"],
        );
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}

#[test]
fn success_is_reported_where_it_was_asked_for_and_the_peer_does_not() {
    for (lmtp, action) in [(false, "relayed"), (true, "delivered")] {
        run(|dir| async move {
            let sink = Sink::accepting();
            let mut setup = Setup::to(sink.port());
            let client = ClientSettings {
                lmtp,
                ..ClientSettings::default()
            };
            setup
                .settings
                .clients
                .insert("out".into(), Arc::new(client));
            let dsn = DsnSettings {
                from: Some("reports@mta.test".to_owned()),
                subject_prepend: Some("[report] ".to_owned()),
                original_headers: Some(false),
                ..DsnSettings::default()
            };
            setup.settings.dsn.insert("out".into(), Arc::new(dsn));
            let mut rig = setup.start(dir.path());
            rig.submit_with("a@from.test", "b@to.test", MESSAGE, Change::None, |item| {
                item.dsn.notify = Some(Notify::SUCCESS);
                item.dsn.envid = Some("ticket 7".into());
                item.dsn.orcpt = Some("rfc822;B@to.test".into());
            })
            .await;
            rig.deliveries(2).await;
            let received = sink.received();
            assert_eq!(received.len(), 2);
            // Without the extension nothing of it is said.
            assert_eq!(received[0].rcpt, "RCPT TO:<b@to.test>");
            let text = String::from_utf8_lossy(&received[1].data).into_owned();
            has(
                &text,
                &[
                    "From: Mail Delivery System <reports@mta.test>",
                    "Subject: [report] ",
                    &format!("Action: {action}"),
                    "Original-Envelope-Id: ticket 7",
                    "Original-Recipient: rfc822; B@to.test",
                ],
            );
            assert!(!text.contains("text/rfc822-headers"));
            let greeting = if lmtp {
                "LHLO mta.test"
            } else {
                "EHLO mta.test"
            };
            assert!(sink.commands().contains(&greeting.to_owned()));
            rig.stop().await;
        });
    }
}

#[test]
fn a_delay_is_reported_once_when_the_table_says_so() {
    run(|dir| async move {
        let later = script(|number, at| {
            (at == "RCPT" && number != 2).then_some(Act::Say("450 4.2.0 later"))
        });
        let sink = Sink::start(local(1, 0), Offer::Nothing, later);
        let mut setup = Setup::to(sink.port());
        let transport = Transport {
            retry: RetryRules {
                intervals: [Interval::secs(60, true)].into(),
                ..RetryRules::default()
            },
            ..(*setup.settings.transports[&Text::from("out")]).clone()
        };
        setup
            .settings
            .transports
            .insert("out".into(), Arc::new(transport));
        let mut rig = setup.start(dir.path());
        let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
        // The second connection takes the notice.
        rig.deliveries(2).await;
        let text = String::from_utf8_lossy(&sink.received()[0].data).into_owned();
        has(
            &text,
            &[
                "Subject: Delayed: Hello",
                "Action: delayed",
                "Status: 4.2.0",
                "Will-Retry-Until:",
            ],
        );
        rig.idle().await;
        rig.clock.advance(Duration::from_secs(60));
        has(&rig.deliveries(3).await[2], &["retry=1", "result=QUEUE"]);
        rig.idle().await;
        assert_eq!(sink.received().len(), 1);
        assert_eq!(rig.state(id).await, Some(State::Defer));
        rig.stop().await;
    });
}

#[test]
fn a_message_from_nobody_is_never_bounced() {
    run(|dir| async move {
        let no = script(|_, at| (at == "RCPT").then_some(Act::Say("550 no")));
        let sink = Sink::start(local(1, 0), Offer::Nothing, no);
        let mut rig = Setup::to(sink.port()).start(dir.path());
        rig.submit_from("", "b@to.test", MESSAGE, Change::None)
            .await;
        has(&rig.only().await, &["code=550"]);
        assert!(!rig.log.lines().iter().any(|line| line.contains("] dsn ")));
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}
