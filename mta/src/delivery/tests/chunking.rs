//! Messages in chunks: who asks for them, and what arrives (RFC 3030).

use super::bundle::transports;
use super::*;

const ALL: &str = "250-sink.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 BINARYMIME";
const STEPWISE: &str = "250-sink.test\r\n250-CHUNKING\r\n250 BINARYMIME";

fn announcing(text: &'static str) -> Sink {
    let announce = script(move |_, at| (at == "EHLO").then_some(Act::Say(text)));
    Sink::start(local(1, 0), Offer::Nothing, announce)
}

/// The commands after the greeting, without those of the envelope.
fn ways(sink: &Sink) -> Vec<String> {
    let commands = sink.commands().into_iter();
    let way = |line: &String| line.starts_with("BDAT") || line == "DATA";
    commands.filter(way).collect()
}

#[test]
fn a_binary_message_arrives_byte_for_byte() {
    for (announce, mail) in [
        (ALL, "MAIL FROM:<a@from.test> BODY=BINARYMIME"),
        (STEPWISE, "MAIL FROM:<a@from.test> BODY=BINARYMIME"),
    ] {
        run(|dir| async move {
            let sink = announcing(announce);
            let mut rig = Setup::to(sink.port()).start(dir.path());
            let header = b"Subject: bytes\r\n\r\n";
            let body = b"\0\xff\r.\n.\r\n\r\r".repeat(30_000);
            let message = [&header[..], &body].concat();
            let binary = |item: &mut Item| {
                let body = [(Text::from("BODY"), Text::from("BINARYMIME"))];
                item.senderparams = Pairs::new(body).expect("parameters");
            };
            rig.submit_with("a@from.test", "b@to.test", &message, Change::None, binary)
                .await;
            has(&rig.only().await, &["result=DELIVERED"]);
            let received = sink.received().remove(0);
            assert_eq!(received.mail, mail);
            assert!(received.data == message, "{} bytes", received.data.len());
            let sizes = ways(&sink);
            assert_eq!(sizes.len(), message.len().div_ceil(65_536), "{sizes:?}");
            rig.stop().await;
        });
    }
}

#[test]
fn text_is_sent_in_chunks_where_somebody_asks_for_it() {
    let bdat = format!("BDAT {} LAST", MESSAGE.len());
    for (transport, destination, option, wanted) in [
        ("", "", "", false),
        ("chunking: true", "", "", true),
        ("chunking: true", "false", "", false),
        ("", "true", "", true),
        ("", "true", "\"chunking\" => false", false),
        ("chunking: false", "false", "\"chunking\" => true", true),
    ] {
        let bdat = &bdat;
        run(|dir| async move {
            let sink = announcing(ALL);
            let app = transports(sink.port(), &format!("        session: {{{transport}}}\n"));
            let chunking = match destination {
                "" => String::new(),
                value => format!("chunking: {value}"),
            };
            let delivery = format!("version: '6.0'\ndelivery: {{default: {{{chunking}}}}}\n");
            let before = format!("Try([{option}]);");
            let mut rig = Setup::bundle(&[
                ("config/smtpd-app.yaml", &app),
                ("config/smtpd-delivery.yaml", &delivery),
                ("hooks/queue/predelivery.hsl", &before),
            ])
            .domains(&["a.test"])
            .start(dir.path());
            rig.submit("b@a.test", MESSAGE, Change::None).await;
            has(&rig.only().await, &["result=DELIVERED"]);
            let way = if wanted { bdat.as_str() } else { "DATA" };
            assert_eq!(ways(&sink), [way], "{transport} {destination} {option}");
            assert_eq!(sink.received()[0].data, MESSAGE);
            rig.stop().await;
        });
    }
}

#[test]
fn a_message_in_chunks_is_that_after_data() {
    // Long enough that the peer's answers come while chunks are written.
    let text = b".a line that begins with a dot\r\n".repeat(40_000);
    let message = [b"Subject: long\r\n\r\n", &text[..]].concat();
    for announce in [ALL, STEPWISE, "250 sink.test"] {
        let message = &message;
        run(|dir| async move {
            let sink = announcing(announce);
            let app = transports(sink.port(), "        session: {chunking: true}\n");
            let delivery = "version: '6.0'\ndelivery: {default: {pooling: {enabled: true}}}\n";
            let mut rig = Setup::bundle(&[
                ("config/smtpd-app.yaml", &app),
                ("config/smtpd-delivery.yaml", delivery),
            ])
            .domains(&["a.test"])
            .start(dir.path());
            for count in 1..=2 {
                rig.submit("b@a.test", message, Change::None).await;
                has(
                    &rig.deliveries(count).await[count - 1],
                    &["result=DELIVERED"],
                );
            }
            assert!(sink.received().iter().all(|mail| mail.data == *message));
            assert_eq!(sink.used(), [1, 1]);
            rig.stop().await;
        });
    }
}

#[test]
fn a_chunk_that_is_refused_is_the_answer_to_the_message() {
    for announce in [ALL, STEPWISE] {
        run(|dir| async move {
            let refusing = script(move |_, at| match at {
                "EHLO" => Some(Act::Say(announce)),
                "BDAT" => Some(Act::Say("552 5.3.4 too big")),
                "EOD" => Some(Act::Say("503 5.5.1 no message")),
                _ => None,
            });
            let sink = Sink::start(local(1, 0), Offer::Nothing, refusing);
            let app = transports(sink.port(), "        session: {chunking: true}\n");
            let after = r#"
$result = $arguments["attempt"]["result"];
echo "said " . $result["code"] . " at " . $result["state"];
"#;
            let mut rig = Setup::bundle(&[
                ("config/smtpd-app.yaml", &app),
                ("hooks/queue/postdelivery.hsl", after),
            ])
            .domains(&["a.test"])
            .start(dir.path());
            let message = b"A: b\r\n\r\n".repeat(30_000);
            rig.submit("b@a.test", &message, Change::None).await;
            has(&rig.only().await, &["code=552", "result=DELETE"]);
            assert_eq!(rig.lines("said 552 at BDAT").len(), 1);
            assert_eq!(sink.received().len(), 0);
            rig.stop().await;
        });
    }
}

#[test]
fn what_scripts_send_at_once_goes_in_chunks_unless_they_say_otherwise() {
    run(|dir| async move {
        let sink = announcing(ALL);
        let port = sink.port();
        let app = transports(port, "");
        let before = format!(
            r##"
$server = ["host" => "127.0.0.1", "port" => {port}];
$mail = MailMessage::String("Subject: s\n\n.dot\n");
$sender = ["localpart" => "s", "domain" => "x.test", "params" => ["BODY" => "BINARYMIME"]];
foreach ([[$server, "s@x.test"], [[...$server, "chunking" => false], "s@x.test"], ["out", "s@x.test"], ["out", $sender]] as $try)
    echo "answer " . $mail->send($try[1], ["b@y.test"], $try[0])["result"]["code"];
Delete();
"##
        );
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", &before),
        ])
        .domains(&["a.test", "y.test"])
        .start(dir.path());
        rig.submit("b@a.test", MESSAGE, Change::None).await;
        rig.until(|| rig.lines("answer 250").len() == 4).await;
        assert_eq!(
            ways(&sink),
            ["BDAT 20 LAST", "DATA", "DATA", "BDAT 17 LAST"]
        );
        let received = sink.received();
        assert_eq!(received[0].data, received[1].data);
        assert_eq!(received[3].data, b"Subject: s\n\n.dot\n");
        assert!(
            received[3].mail.ends_with(" BODY=BINARYMIME"),
            "{}",
            received[3].mail
        );
        rig.stop().await;
    });
}
