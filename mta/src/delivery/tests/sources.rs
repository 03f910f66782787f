//! Source addresses: by configuration and by script, several of 127/8.

use std::collections::BTreeMap;

use super::bundle::transports;
use super::*;

/// Three addresses with names, used by the transport.
fn pool(port: u16, more: &str) -> String {
    let plain = format!("connection: {{port: {port}}}");
    let with_pool = format!(
        "connection:
          port: {port}
          sourceip: {{addresses: [one, two, {{address: 127.0.0.4, helo: four.test}}]{more}}}"
    );
    let addresses = "addresses:
  - {id: one, address: 127.0.0.2, hostname: one.test}
  - {id: two, address: 127.0.0.3, hostname: two.test}
";
    transports(port, addresses).replace(&plain, &with_pool)
}

/// Peers and names that the sink saw, with how often.
fn seen(sink: &Sink) -> BTreeMap<(String, String), usize> {
    let mut seen = BTreeMap::new();
    for mail in sink.received() {
        let peer = mail.peer.map(|peer| peer.to_string()).unwrap_or_default();
        *seen.entry((peer, mail.helo)).or_default() += 1;
    }
    seen
}

fn pair(ip: &str, helo: &str) -> (String, String) {
    (ip.to_owned(), helo.to_owned())
}

async fn send(rig: &mut Rig, sink: &Sink, count: usize) {
    let before = sink.received().len();
    for n in 0..count {
        let from = format!("s{}@from.test", n % 7);
        rig.submit_from(&from, "b@a.test", MESSAGE, Change::None)
            .await;
    }
    rig.until(|| sink.received().len() == before + count).await;
    rig.settled().await;
}

#[test]
fn addresses_of_a_transport_take_turns_each_with_its_name() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = pool(sink.port(), "");
        let setup = Setup::bundle(&[("config/smtpd-app.yaml", &app)]).domains(&["a.test"]);
        let mut rig = setup.start(dir.path());
        send(&mut rig, &sink, 30).await;
        let want = BTreeMap::from([
            (pair("127.0.0.2", "one.test"), 10),
            (pair("127.0.0.3", "two.test"), 10),
            (pair("127.0.0.4", "four.test"), 10),
        ]);
        assert_eq!(seen(&sink), want);
        rig.stop().await;
    });
}

#[test]
fn a_connection_that_is_open_comes_before_the_turn_of_another_address() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = pool(sink.port(), "");
        let kept = "version: '6.0'
delivery: {default: {pooling: {enabled: true, transactions: 5}}}
";
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("config/smtpd-delivery.yaml", kept),
        ])
        .domains(&["a.test"])
        .start(dir.path());
        for _ in 0..20 {
            send(&mut rig, &sink, 1).await;
        }
        // Four connections carry five messages each. Did each message come from the next address, each of the
        // three addresses would need connections of its own.
        let want: Vec<usize> = (1..=4).flat_map(|number| [number; 5]).collect();
        assert_eq!(sink.used(), want);
        let idle = rig.handle.idle();
        assert_eq!(
            (idle.size, idle.totals.hits, idle.totals.misses),
            (0, 16, 4)
        );
        rig.stop().await;
    });
}

#[test]
fn addresses_in_order_stay_in_order_whatever_is_open() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = pool(sink.port(), ", random: false");
        let files = [
            ("config/smtpd-app.yaml", app.as_str()),
            (
                "config/smtpd-delivery.yaml",
                "version: '6.0'\ndelivery: {default: {pooling: {enabled: true}}}\n",
            ),
            (
                "config/smtpd-suspend.yaml",
                "version: '6.0'\nsuspends: [{localip: 127.0.0.2, recipientdomain: b.test}]\n",
            ),
        ];
        let setup = Setup::bundle(&files).domains(&["a.test"]);
        setup.mx("b.test", 10, "mx.a.test");
        let mut rig = setup.start(dir.path());
        rig.submit_from("s@from.test", "b@b.test", MESSAGE, Change::None)
            .await;
        rig.until(|| sink.received().len() == 1).await;
        rig.settled().await;
        send(&mut rig, &sink, 2).await;
        let names: Vec<String> = sink.received().into_iter().map(|mail| mail.helo).collect();
        assert_eq!(names, ["two.test", "one.test", "one.test"]);
        rig.stop().await;
    });
}

#[test]
fn a_day_s_limit_on_the_first_address_sends_message_101_from_the_second() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = pool(sink.port(), ", random: false");
        let warm_up = "version: '6.0'
rate: {algorithm: fixedwindow}
policies:
  - fields: [localip]
    conditions:
      - {if: {localip: 127.0.0.2}, then: {rate: 100/86400, tag: day 1}}
";
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("config/smtpd-policy.yaml", warm_up),
        ])
        .domains(&["a.test"])
        .start(dir.path());
        for _ in 0..10 {
            send(&mut rig, &sink, 10).await;
        }
        assert_eq!(
            seen(&sink),
            BTreeMap::from([(pair("127.0.0.2", "one.test"), 100)])
        );
        send(&mut rig, &sink, 1).await;
        let last = sink.received().pop().expect("message 101");
        assert_eq!(last.helo, "two.test");
        rig.clock.advance(Duration::from_secs(86_400));
        send(&mut rig, &sink, 1).await;
        let next_day = sink.received().pop().expect("message 102");
        assert_eq!(next_day.helo, "one.test");
        rig.stop().await;
    });
}

#[test]
fn a_script_chooses_by_sender_and_by_order() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = pool(sink.port(), "");
        let before = r#"
$all = ["one", "two", ["address" => "127.0.0.5", "helo" => "five.test"]];
if ($message["senderaddress"]["localpart"] == "s0")
    Try(["sourceip_random" => false]);
if ($message["senderaddress"]["localpart"] == "s1")
    Try(["sourceip" => ["one", ["id" => "two", "helo" => "other.test"]], "sourceip_random" => false, "helo" => "mine.test"]);
if ($message["senderaddress"]["localpart"] == "s2")
    Try(["helo" => "mine.test"]);
$chosen = $all[hash($message["sender"]) % 3];
echo $message["sender"] . " from " . (is_array($chosen) ? "five" : $chosen);
Try(["sourceip" => [$chosen]]);
"#;
        let setup = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", before),
        ]);
        let mut rig = setup.domains(&["a.test"]).start(dir.path());
        send(&mut rig, &sink, 21).await;
        let mut by_sender: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for mail in sink.received() {
            by_sender.entry(mail.mail).or_default().push(mail.helo);
        }
        let of = |name: &str| {
            let found = by_sender.iter().find(|(mail, _)| mail.contains(name));
            let mut names = found.map(|(_, names)| names.clone()).unwrap_or_default();
            names.dedup();
            names
        };
        assert_eq!(
            of("<s0@"),
            ["one.test"],
            "the transport's pool, in its order"
        );
        assert_eq!(
            of("<s1@"),
            ["mine.test"],
            "one name for the addresses of the call"
        );
        assert_eq!(of("<s2@"), ["mine.test"]);
        for n in 3..7 {
            let name = format!("<s{n}@");
            let line = rig.lines(&format!("s{n}@from.test from ")).remove(0);
            let chosen = line.rsplit(' ').next().unwrap_or_default().to_owned();
            assert_eq!(of(&name), [format!("{chosen}.test")], "always the same");
        }
        rig.stop().await;
    });
}

#[test]
fn an_address_that_is_not_ours_fails_for_a_time() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = transports(sink.port(), "");
        let before = r#"Try(["sourceip" => ["192.0.2.1"]]);"#;
        let setup = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", before),
        ]);
        let mut rig = setup.domains(&["a.test"]).start(dir.path());
        rig.submit("b@a.test", MESSAGE, Change::None).await;
        let line = rig.only().await;
        has(
            &line,
            &["localip=192.0.2.1", "error=network", "result=QUEUE"],
        );
        rig.stop().await;
    });
}

#[test]
fn an_address_of_no_interface_is_bound_where_that_is_allowed() {
    const NOT_OURS: &str = "Cannot assign requested address";
    for (nonlocal, by_script) in [
        (false, None),
        (true, None),
        (true, Some(false)),
        (false, Some(true)),
    ] {
        run(|dir| async move {
            let sink = Sink::accepting();
            let app = transports(
                sink.port(),
                "addresses:\n  - {id: foreign, address: 192.0.2.1}\n  - {id: own, address: 127.0.0.9}\n",
            );
            let app = app.replace(
                &format!("connection: {{port: {}}}", sink.port()),
                &format!(
                    "connection: {{port: {}, sourceip: {{addresses: [own], nonlocal: {nonlocal}}}}}",
                    sink.port()
                ),
            );
            let option = by_script.map_or(String::new(), |wanted: bool| {
                format!(", \"nonlocal_source\" => {wanted}")
            });
            let before = format!(
                "if ($message[\"recipient\"] == \"foreign@a.test\") Try([\"sourceip\" => [\"foreign\"]{option}]);"
            );
            let mut rig = Setup::bundle(&[
                ("config/smtpd-app.yaml", &app),
                ("hooks/queue/predelivery.hsl", &before),
            ])
            .domains(&["a.test"])
            .start(dir.path());
            // One of ours is bound either way.
            send(&mut rig, &sink, 1).await;
            assert_eq!(sink.received()[0].peer, Some([127, 0, 0, 9].into()));
            rig.submit("foreign@a.test", MESSAGE, Change::None).await;
            let line = rig.deliveries(2).await.pop().expect("a line");
            // What is bound has no way to the loopback, so that the connection fails all the same.
            has(&line, &["recipient=foreign@a.test", "error=network"]);
            let allowed = by_script.unwrap_or(nonlocal);
            assert_eq!(
                line.contains(NOT_OURS),
                !allowed,
                "{nonlocal} {by_script:?}: {line}"
            );
            rig.stop().await;
        });
    }
}
