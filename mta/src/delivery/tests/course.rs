//! The course of a message through the queue: retries, scripts, an operator, a stop.

use super::*;

#[test]
fn a_message_is_tried_again_by_the_table_and_survives_a_restart() {
    run(|dir| async move {
        let later = || script(|_, at| (at == "RCPT").then_some(Act::Say("451 4.7.1 later")));
        let sink = Sink::start(local(1, 0), Offer::Nothing, later());
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
        has(
            &rig.deliveries(1).await[0],
            &["retry=0", "result=QUEUE", "delay=60"],
        );
        rig.idle().await;
        rig.clock.advance(Duration::from_secs(59));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(rig.state(id).await, Some(State::Defer));
        rig.clock.advance(Duration::from_secs(1));
        has(
            &rig.deliveries(2).await[1],
            &["retry=1", "result=QUEUE", "delay=900"],
        );
        rig.stop().await;

        let mut rig = Setup::to(sink.port()).start(dir.path());
        tokio::time::sleep(Duration::from_millis(20)).await;
        let found = rig.handle.items(|_, _| true).await.expect("a queue");
        assert_eq!(found.len(), 1);
        let (item, state) = &found[0];
        assert_eq!((item.id, item.retrycount, *state), (id, 2, State::Defer));
        assert_eq!(
            item.retryreason.as_ref().map(Text::to_string).as_deref(),
            Some("451 4.7.1 later")
        );
        sink.behave(script(|_, _| None));
        // The clock of the new rig starts where that of the old one did.
        rig.clock.advance(Duration::from_secs(60 + 900));
        has(&rig.only().await, &["retry=2", "result=DELIVERED"]);
        assert_eq!(sink.received()[0].data, MESSAGE);
        rig.next += 1;
        rig.stop().await;

        let rig = Setup::to(sink.port()).start(dir.path());
        tokio::time::sleep(Duration::from_millis(20)).await;
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}

#[test]
fn scripts_decide_before_and_after() {
    run(|dir| async move {
        let sink = Sink::start(
            local(1, 0),
            Offer::Nothing,
            script(|_, at| (at == "RCPT").then_some(Act::Say("550 5.1.1 no"))),
        );
        let before = |item: &Item| match &*item.recipient.localpart.to_str() {
            "later" => Predelivery::Queue(Box::new(Again {
                delay: Some(Duration::from_secs(77)),
                reason: Some("not now".into()),
                ..Again::default()
            })),
            "bounce" => Predelivery::Bounce {
                reason: Some("by policy".into()),
                dsn: Box::new(DsnOptions {
                    subject: Some("Sorry".into()),
                    ..DsnOptions::default()
                }),
            },
            "delete" => Predelivery::Delete { reason: None },
            _ => Predelivery::Try(Box::default()),
        };
        let after = |ended: &Ended, _: Option<u32>| match &*ended.item.recipient.localpart.to_str()
        {
            "again" => Verdict::Queue(Box::new(Again {
                delay: Some(Duration::from_secs(5)),
                ..Again::default()
            })),
            "forget" => Verdict::Delete,
            _ => Verdict::Default,
        };
        let mut rig = Setup::to(sink.port())
            .hooks(Scripted { before, after })
            .start(dir.path());
        for name in ["later", "bounce", "delete", "again", "forget"] {
            let to = format!("{name}@to.test");
            rig.submit(&to, MESSAGE, Change::None).await;
        }
        // The notification of `bounce` is tried too, and refused; from nobody, it ends there.
        let lines = rig.deliveries(5).await;
        let of = |name: &str| {
            let found = lines
                .iter()
                .find(|line| line.contains(&format!("recipient={name}@")));
            found.expect(name).as_str()
        };
        has(of("bounce"), &["by policy", "result=BOUNCE"]);
        has(of("delete"), &["result=DELETE"]);
        has(of("again"), &["code=550", "result=QUEUE", "delay=5"]);
        has(of("forget"), &["code=550", "result=DELETE"]);
        has(of("a"), &["recipient=a@from.test", "code=550"]);
        rig.idle().await;
        let waiting = rig.handle.items(|_, _| true).await.expect("a queue");
        let waiting: Vec<(String, State)> = waiting
            .iter()
            .map(|(item, state)| {
                assert_eq!(item.metadata.get("seen"), Some(&"yes".into()));
                (item.recipient.to_string(), *state)
            })
            .collect();
        assert_eq!(
            waiting,
            [
                ("later@to.test".to_owned(), State::Defer),
                ("again@to.test".to_owned(), State::Defer)
            ]
        );
        rig.stop().await;
    });
}

#[test]
fn an_operator_holds_releases_and_removes() {
    run(|dir| async move {
        let sink = Sink::start(
            local(1, 0),
            Offer::Nothing,
            script(|_, at| (at == "RCPT").then_some(Act::Say("450 later"))),
        );
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let first = rig.submit("b@to.test", MESSAGE, Change::None).await;
        let second = rig.submit("c@to.test", MESSAGE, Change::None).await;
        rig.deliveries(2).await;
        // The lines come before the changes are written; until then the queue is busy with the messages.
        rig.idle().await;
        rig.handle
            .control(first, Control::Hold)
            .await
            .expect("held");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(rig.state(first).await, Some(State::Hold));
        sink.behave(script(|_, _| None));
        rig.handle
            .control(first, Control::Release)
            .await
            .expect("released");
        has(
            &rig.deliveries(3).await[2],
            &["recipient=b@to.test", "result=DELIVERED"],
        );
        rig.handle
            .control(second, Control::Delete)
            .await
            .expect("deleted");
        has(
            &rig.deliveries(4).await[3],
            &["recipient=c@to.test", "result=DELETE"],
        );
        assert!(rig.handle.control(second, Control::Retry).await.is_err());
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}

#[test]
fn a_stop_lets_running_attempts_end() {
    run(|dir| async move {
        let gate = Rc::new(RefCell::new(Some(Act::Hang)));
        let seen = Rc::clone(&gate);
        let sink = Sink::start(
            local(1, 0),
            Offer::Nothing,
            script(move |_, at| if at == "EOD" { *seen.borrow() } else { None }),
        );
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
        let commands = sink.clone();
        rig.until(move || commands.commands().iter().any(|line| line == "DATA"))
            .await;
        let handle = rig.handle.clone();
        let stop = tokio::task::spawn_local(async move {
            handle.stop(Duration::from_secs(30)).await;
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!stop.is_finished());
        // The peer never answers: the grace ends the wait, and the message stays on disk.
        rig.clock.advance(Duration::from_secs(31));
        stop.await.expect("stopped");
        assert!(rig.handle.counts().await.is_err());
        assert_eq!(rig.spool.stats().items, 1);
        let item = rig
            .log
            .lines()
            .iter()
            .any(|line| line.contains(&format!("id={id}")));
        assert!(item);
    });
}

#[test]
fn a_reload_changes_how_much_goes_on_at_once() {
    run(|dir| async move {
        let hangs = script(|_, at| (at == "MAIL").then_some(Act::Hang));
        let sink = Sink::start(local(1, 0), Offer::Nothing, hangs);
        let port = sink.port();
        let limited = |deliveries| {
            let mut setup = Setup::to(port);
            setup.settings.limits.deliveries = deliveries;
            setup
        };
        let mut rig = limited(1).start(dir.path());
        for _ in 0..3 {
            rig.submit("b@to.test", MESSAGE, Change::None).await;
        }
        rig.until(|| sink.connections() == 1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(sink.connections(), 1);
        let Setup {
            settings, hooks, ..
        } = limited(3);
        let live = Live { settings, hooks };
        rig.handle.configure(Arc::new(live)).await;
        rig.until(|| sink.connections() == 3).await;
        sink.behave(script(|_, _| None));
        rig.clock.advance(Duration::from_secs(300));
        rig.deliveries(3).await;
        rig.stop().await;
    });
}
