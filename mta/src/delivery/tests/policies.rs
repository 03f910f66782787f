//! Policies and suspends in force: from files, and set by scripts while mail flows.

use super::bundle::transports;
use super::*;

/// A failing destination, and the script that slows it down: from the tenth failure of a minute on
/// ten messages a minute, for five minutes.
const BACKOFF: &str = r#"
$connection = $arguments["attempt"]["connection"];
if (isset($arguments["action"]) and isset($connection["remotemx"]))
{
    $mx = $connection["remotemx"];
    $minute = round(time() / 60);
    if (memory_inc("failures:" . $mx . ":" . $minute) >= 10)
        cache ["ttl" => 300] queue_policy(["localip","remotemx"], ["remotemx" => $mx], ["rate" => [10, 60]], 300);
}
"#;

#[test]
fn ten_failures_in_a_minute_slow_a_destination_down_for_five_minutes() {
    run(|dir| async move {
        let no = |_: usize, at: &str| (at == "RCPT").then_some(Act::Say("451 4.7.1 later"));
        let sink = Sink::start(local(1, 0), Offer::Nothing, script(no));
        let app = transports(sink.port(), "");
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/postdelivery.hsl", BACKOFF),
        ])
        .domains(&["slow.test", "other.test"])
        .start(dir.path());
        for _ in 0..9 {
            rig.submit("b@slow.test", MESSAGE, Change::None).await;
        }
        rig.deliveries(9).await;
        rig.settled().await;
        assert_eq!(rig.lines("policy add").len(), 0, "nine are no reason");
        for _ in 0..11 {
            rig.submit("b@slow.test", MESSAGE, Change::None).await;
        }
        rig.deliveries(20).await;
        rig.settled().await;
        let set = rig.lines("policy add");
        assert_eq!(set.len(), 1, "{set:?}");
        has(&set[0], &["postdelivery.hsl:8"]);
        let listed = rig.handle.list_policies().await.expect("a queue");
        assert_eq!(
            listed[0].expires,
            Some(rig.now().after(Duration::from_secs(300)))
        );

        // A minute later all twenty are due: ten go at once, then one each six seconds.
        rig.pass(60).await;
        let attempts = |rig: &Rig| rig.lines("] delivery ").len() - 20;
        let soon = attempts(&rig);
        assert!((9..=11).contains(&soon), "{soon} instead of a burst of ten");
        rig.pass(30).await;
        assert_eq!(attempts(&rig), soon + 5);
        // Others are not held back.
        rig.submit("b@other.test", MESSAGE, Change::None).await;
        rig.until(|| rig.lines("remotemx=mx.other.test").len() == 1)
            .await;

        // After the five minutes everything that waits goes at once; the next failures set it anew.
        rig.pass(209).await;
        assert_eq!(rig.lines("policy expire").len(), 0);
        let before = attempts(&rig);
        rig.pass(1).await;
        assert_eq!(rig.lines("policy expire").len(), 1);
        assert!(attempts(&rig) > before + 3, "what waited goes");
        assert!(rig.lines("error").is_empty(), "{:?}", rig.lines("error"));
        rig.stop().await;
    });
}

/// The two policies of the documentation.
const DOCUMENTED: &str = "version: '6.0'
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

#[test]
fn the_policies_of_a_file_hold_and_are_shown_to_postdelivery() {
    run(|dir| async move {
        let hang = |_: usize, at: &str| (at == "MAIL").then_some(Act::Hang);
        let sink = Sink::start(local(1, 0), Offer::Nothing, script(hang));
        let app = transports(sink.port(), "");
        let show = r#"foreach ($arguments["policy"]["policies"] as $p) echo "policy: " . json_encode($p);"#;
        let setup = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("config/smtpd-policy.yaml", DOCUMENTED),
            ("hooks/queue/postdelivery.hsl", show),
        ]);
        for (domain, host) in [
            ("a.test", "aspmx.l.google.com"),
            ("b.test", "mx.smtp.goog"),
            ("c.test", "mx.c.test"),
            ("d.test", "mx.d.test"),
        ] {
            setup.host(host, 1);
            setup.mx(domain, 10, host);
        }
        // Both have one address, and their names share a counter for it.
        for (domain, host) in [
            ("e.test", "e.mail.protection.outlook.com"),
            ("f.test", "f.mail.protection.outlook.com"),
            ("g.test", "g.mail.protection.outlook.com"),
        ] {
            setup.host(host, 1);
            setup.mx(domain, 10, host);
        }
        let mut rig = setup.start(dir.path());
        for domain in ["a", "b", "c", "d", "e", "f", "g"] {
            for _ in 0..8 {
                rig.submit(&format!("x@{domain}.test"), MESSAGE, Change::None)
                    .await;
            }
        }
        let sending = || async {
            let items = rig.handle.items(|_, state| state == State::Sending).await;
            let mut counts = std::collections::BTreeMap::<String, usize>::new();
            for (item, _) in items.expect("a queue") {
                *counts.entry(item.recipient.domain.to_string()).or_default() += 1;
            }
            counts
        };
        for _ in 0..200 {
            if sending().await.values().sum::<usize>() >= 30 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let counts = sending().await;
        let of = |names: [&str; 2]| -> usize {
            let each = names.iter().filter_map(|name| counts.get(*name));
            each.sum()
        };
        assert_eq!(of(["a.test", "b.test"]), 10, "ten to the group of google");
        assert_eq!(
            (of(["c.test", ""]), of(["d.test", ""])),
            (5, 5),
            "{counts:?}"
        );
        let outlook = of(["e.test", "f.test"]) + of(["g.test", ""]);
        assert_eq!(outlook, 10, "ten to one address of the group: {counts:?}");
        // The hosts' silence ends: each message tells which limits it went under.
        rig.clock.advance(Duration::from_secs(301));
        rig.until(|| rig.lines("policy: ").len() >= 30).await;
        let shown = rig.lines("policy: ");
        let google = r##""fields":["localip","remotemx"],"grouping":{"remotemx":"#gsuite"}"##;
        assert!(shown.iter().any(|line| line.contains(google)), "{shown:#?}");
        let outlook = r#""fields":["localip","remotemx","remoteip"]"#;
        assert!(shown.iter().any(|line| line.contains(outlook)));
        // The rest hangs for ever: the rig is left as it is.
    });
}

#[test]
fn scripts_set_look_at_and_lift_limits_and_suspends() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = transports(sink.port(), "");
        let before = r##"
$to = $message["recipient"];
if ($to == "suspend@a.test") {
    echo json_encode(queue_suspend(["remotemx" => "mx.a.test", "transportid" => ["out", "x"]], 60, ["tag" => "stop", "id" => "mine"]));
    echo queue_suspend(["remotemx" => "mx.a.test", "transportid" => ["out", "x"]], 90)["id"];
}
if ($to == "policy@b.test") {
    $p = queue_policy(["jobid"], ["jobid" => "j"], ["concurrency" => 0, "tag" => "t", "properties" => ["a" => 1, "b" => "x", "c" => true], "stop" => true], 0, ["type" => "backoff"]);
    memory_store("id", $p["id"]);
    echo queue_policy(["jobid"], ["jobid" => "j"], ["concurrency" => 5], 10, ["update" => false])["id"] == $p["id"];
    echo json_encode(queue_quota("gold"));
    echo json_encode(queue_quota("lead"));
}
if ($to == "lift@b.test") {
    echo json_encode(queue_policy_delete(memory_fetch("id")));
    echo json_encode(queue_policy_delete(memory_fetch("id")));
}
if ($to == "wrong@b.test") {
    echo json_encode(queue_policy(["planet"], [], ["rate" => [1, 60]], 60));
    echo json_encode(queue_policy(["jobid"], ["remotemx" => "x"], ["rate" => [1, 60]], 60));
    echo json_encode(queue_policy(["jobid"], ["jobid" => "x"], ["rate" => [-1, 60]], 60));
    echo json_encode(queue_policy(["jobid"], ["jobid" => "x"], ["rate" => ["10", "60"]], 60, ["id" => "text"]));
    echo json_encode(queue_policy(["jobid"], ["jobid" => "x"], ["rate" => [10, 0]], 60));
    echo json_encode(queue_policy(["jobid"], ["jobid" => "x"], ["tag" => str_repeat("x", 33)], 60));
    echo json_encode(queue_policy(["jobid"], ["jobid" => "x"], ["concurrency" => 1], -1));
    echo json_encode(queue_suspend(["remoteip" => "mx.a.test"], 60));
    echo json_encode(queue_suspend(["remotemx" => "#group"], 60));
    echo json_encode(queue_suspend(["jobid" => none], 60));
}
"##;
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", before),
        ])
        .domains(&["a.test", "b.test"])
        .start(dir.path());
        let job = |item: &mut Item| item.jobid = Some("j".into());
        let gold = |item: &mut Item| item.quotas = ["gold".into()].into();

        // A suspend stops the message that set it, and ends on time.
        let first = rig.submit("suspend@a.test", MESSAGE, Change::None).await;
        rig.until(|| rig.lines("suspend add").len() == 1).await;
        rig.settled().await;
        assert_eq!(rig.state(first).await, Some(State::Active));
        assert_eq!(rig.lines("{\"id\":\"mine\"}").len(), 1);
        assert_eq!(
            rig.lines("] mine").len(),
            1,
            "the same fields: the same suspend"
        );
        let why = rig
            .handle
            .inspect(move |queue| match queue.why(first) {
                Some(angarium_queue::scheduler::Why::Blocked { by, .. }) => {
                    queue.gate().policies().explain(by.limit)
                }
                other => panic!("{other:?}"),
            })
            .await
            .expect("a queue")
            .expect("a limit");
        assert_eq!(why.suspend, Some("mine".into()));
        has(&why.origin.to_str(), &["predelivery.hsl:5"]);
        rig.pass(89).await;
        assert_eq!(rig.state(first).await, Some(State::Active));
        rig.pass(1).await;
        rig.until(|| sink.received().len() == 1).await;
        assert_eq!(rig.lines("suspend expire").len(), 1);

        // A limit of none at all, without an end, until a script lifts it.
        rig.submit_with("a@from.test", "policy@b.test", MESSAGE, Change::None, gold)
            .await;
        rig.until(|| sink.received().len() == 2).await;
        assert_eq!(
            rig.lines("] true").len(),
            1,
            "update off gives what is there"
        );
        let counted = format!("{{\"count\":1,\"bytes\":{}}}", MESSAGE.len());
        assert_eq!(rig.lines(&counted).len(), 1, "{:#?}", rig.log.lines());
        assert_eq!(rig.lines("{\"count\":0,\"bytes\":0}").len(), 1);
        let held = rig
            .submit_with("a@from.test", "x@b.test", MESSAGE, Change::None, job)
            .await;
        rig.pass(100).await;
        assert_eq!(rig.state(held).await, Some(State::Active));
        rig.submit("lift@b.test", MESSAGE, Change::None).await;
        rig.until(|| sink.received().len() == 4).await;
        assert_eq!(rig.lines("] true").len(), 2);
        assert_eq!(rig.lines("] false").len(), 1);

        // What cannot be used gives none, with the reason in the log, and the script goes on.
        rig.submit("wrong@b.test", MESSAGE, Change::None).await;
        rig.until(|| sink.received().len() == 5).await;
        assert_eq!(rig.lines("{\"id\":\"text\"}").len(), 1);
        let reasons: Vec<String> = (rig.lines("error="))
            .iter()
            .filter_map(|line| Some(line.split_once("] ")?.1.to_owned()))
            .collect();
        insta::assert_snapshot!(reasons.join("\n"));
        rig.stop().await;
    });
}

#[test]
fn an_idle_connection_is_used_while_no_new_one_may_be_opened() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = transports(sink.port(), "");
        let slow = "version: '6.0'
policies:
  - {fields: [transportid], default: {connectinterval: 60}}
";
        let pooled = "version: '6.0'
delivery:
  conditions:
    - {if: {remotemx: mx.a.test}, then: {pooling: {enabled: true, timeout: 300, transactions: 4}}}
";
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("config/smtpd-policy.yaml", slow),
            ("config/smtpd-delivery.yaml", pooled),
        ])
        .domains(&["a.test", "b.test"])
        .start(dir.path());
        for _ in 0..10 {
            rig.submit("x@a.test", MESSAGE, Change::None).await;
        }
        rig.submit("x@b.test", MESSAGE, Change::None).await;
        rig.until(|| sink.received().len() == 4).await;
        rig.settled().await;
        assert_eq!(sink.used(), [1, 1, 1, 1], "all that the connection serves");
        let why = rig.handle.inspect(|queue| {
            let waiting = queue.items().find(|(_, state)| *state == State::Active);
            queue.why(waiting.expect("some wait").0.id)
        });
        let Some(angarium_queue::scheduler::Why::Blocked { by, .. }) = why.await.expect("a queue")
        else {
            panic!("no limit is in the way");
        };
        assert_eq!(by.kind, angarium_queue::gate::BlockKind::ConnectInterval);
        rig.pass(59).await;
        assert_eq!(sink.received().len(), 4);
        // The next new connection; whoever gets it, nobody opens another.
        rig.pass(1).await;
        rig.until(|| sink.received().len() > 4).await;
        rig.settled().await;
        assert_eq!(sink.connections(), 2);
        rig.pass(180).await;
        rig.until(|| sink.received().len() == 11).await;
        assert_eq!(sink.connections(), 4, "three of a.test, one of b.test");
        assert_eq!(rig.lines("error").len(), 0, "{:?}", rig.lines("error"));
        rig.stop().await;
    });
}

#[test]
fn a_destination_may_have_a_retry_table_of_its_own() {
    run(|dir| async move {
        let no = |_: usize, at: &str| (at == "RCPT").then_some(Act::Say("451 4.7.1 later"));
        let sink = Sink::start(local(1, 0), Offer::Nothing, script(no));
        let app = transports(sink.port(), "");
        let own = "version: '6.0'
delivery:
  conditions:
    - {if: {remotemx: mx.a.test}, then: {retry: {count: 1, intervals: [{interval: 5}]}}}
    - {if: {recipientdomain: gone.test}, then: {retry: {intervals: [{interval: 7}]}}}
";
        let setup = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("config/smtpd-delivery.yaml", own),
        ]);
        setup
            .dns
            .fail("gone.test", RecordType::Mx, DnsError::ServFail);
        let mut rig = setup.domains(&["a.test", "b.test"]).start(dir.path());
        for domain in ["a", "b", "gone"] {
            rig.submit(&format!("x@{domain}.test"), MESSAGE, Change::None)
                .await;
        }
        rig.deliveries(3).await;
        rig.idle().await;
        let of = |rig: &Rig, domain: &str| {
            rig.lines("delivery id=")
                .into_iter()
                .filter(|line| line.contains(&format!("recipient=x@{domain}.test")))
                .collect::<Vec<_>>()
        };
        has(&of(&rig, "a")[0], &["result=QUEUE", "delay=5"]);
        has(&of(&rig, "b")[0], &["result=QUEUE", "delay=60"]);
        has(&of(&rig, "gone")[0], &["result=QUEUE", "delay=7"]);
        rig.pass(5).await;
        rig.until(|| of(&rig, "a").len() == 2).await;
        has(&of(&rig, "a")[1], &["retry=1", "result=DELETE"]);
        rig.stop().await;
    });
}
