//! Messages in chunks, as text and as they are (RFC 3030).

use insta::assert_snapshot;

use super::*;
use crate::client::body::CHUNK;

const OFFERED: &str = "PIPELINING\nCHUNKING\nBINARYMIME\n8BITMIME";

/// A message for two chunks and a half.
fn long() -> Vec<u8> {
    let line = b".a line that begins with a dot\r\n";
    line.iter()
        .copied()
        .cycle()
        .take(line.len() * 5000)
        .collect()
}

fn bench(announce: &'static str) -> Bench {
    let mut bench = Bench::new(plain());
    bench.announce = announce;
    bench.transactions[0].chunking = true;
    bench.transactions[0].size = None;
    bench
}

#[test]
fn a_short_message_is_one_chunk_and_its_dots_are_its_own() {
    let mut bench = bench(OFFERED);
    assert_eq!(bench.run(), "EOD 250 2.0.0 [\"queued\"]");
    assert_snapshot!(bench.dialogue, @r"
    EHLO me.example
    MAIL FROM:<a@example.com>
    RCPT TO:<b@example.net>
    BDAT 18 LAST
    QUIT
    ");
    assert_eq!(bench.content, bench.message);
}

#[test]
fn chunks_are_for_who_announces_them_and_who_wants_them() {
    for (announce, chunking) in [("PIPELINING", true), (OFFERED, false)] {
        let mut bench = bench(announce);
        bench.transactions[0].chunking = chunking;
        assert!(bench.run().starts_with("EOD 250"));
        assert!(bench.dialogue.contains("DATA\n(message)\n"), "{announce}");
        assert_eq!(bench.content, bench.message);
    }
}

#[test]
fn a_long_message_is_cut_whether_or_not_the_server_has_to_be_waited_for() {
    let stepwise = Config {
        pipelining: false,
        ..plain()
    };
    for (announce, config) in [
        (OFFERED, plain()),
        (OFFERED, stepwise),
        ("CHUNKING", plain()),
    ] {
        let mut bench = bench(announce);
        bench.client = Client::new(config, false, Duration::ZERO);
        bench.message = long();
        assert_eq!(bench.run(), "EOD 250 2.0.0 [\"queued\"]");
        let sizes = bench
            .dialogue
            .lines()
            .filter(|line| line.starts_with("BDAT"));
        assert_eq!(
            sizes.collect::<Vec<_>>(),
            ["BDAT 65536", "BDAT 65536", "BDAT 28928 LAST"]
        );
        assert_eq!(bench.content, bench.message);
    }
}

#[test]
fn an_empty_message_and_one_of_whole_chunks_have_their_last_chunk() {
    for (message, chunks) in [
        (Vec::new(), vec!["BDAT 0 LAST"]),
        // Lone line feeds become two bytes.
        (
            b"x\n".repeat(CHUNK / 3 + 1),
            vec!["BDAT 65536", "BDAT 2 LAST"],
        ),
        (
            b"ab\r\n".repeat(CHUNK / 4),
            vec!["BDAT 65536", "BDAT 0 LAST"],
        ),
    ] {
        let mut bench = bench(OFFERED);
        bench.message = message;
        assert!(bench.run().starts_with("EOD 250"));
        let sent = bench.dialogue.lines();
        let sent: Vec<&str> = sent.filter(|line| line.starts_with("BDAT")).collect();
        assert_eq!(sent, chunks);
    }
}

#[test]
fn a_binary_message_is_sent_as_it_is() {
    for chunking in [true, false] {
        let mut bench = bench(OFFERED);
        bench.transactions[0].chunking = chunking;
        bench.transactions[0].eight_bit = true;
        bench.transactions[0].demands.binary = true;
        bench.message = b"A: b\r\n\r\n.\r\n\0\xff\r.\n\r".to_vec();
        assert!(bench.run().starts_with("EOD 250"));
        let expected = "EHLO me.example\nMAIL FROM:<a@example.com> BODY=BINARYMIME\n\
            RCPT TO:<b@example.net>\nBDAT 17 LAST\nQUIT\n";
        assert_eq!(bench.dialogue, expected);
        assert_eq!(bench.content, bench.message);
    }
}

#[test]
fn each_recipient_of_lmtp_has_its_answer_to_the_last_chunk() {
    let mut bench = bench(OFFERED);
    bench.client = Client::new(
        Config {
            protocol: Protocol::Lmtp,
            ..plain()
        },
        false,
        Duration::ZERO,
    );
    bench.lmtp = true;
    bench.transactions[0].recipients = transaction(&["b@example.net", "c@example.net"]).recipients;
    bench.message = long();
    assert_snapshot!(bench.run(), @r#"
    EOD 250 2.0.0 ["queued"]
    EOD 250 2.0.0 ["queued"]
    "#);
}

#[test]
fn nothing_is_sent_when_nobody_is_left_to_get_it() {
    for announce in [OFFERED, "CHUNKING"] {
        for (at, reply) in [("MAIL", "550 5.7.1 no"), ("RCPT", "550 5.1.1 who")] {
            let mut bench = bench(announce);
            bench.replies = vec![(at, reply)];
            assert!(bench.run().starts_with(&format!("{at} 550")));
            assert!(!bench.dialogue.contains("BDAT"), "{}", bench.dialogue);
        }
    }
}

#[test]
fn a_refused_chunk_ends_the_message_and_not_the_connection() {
    for announce in [OFFERED, "CHUNKING"] {
        let mut bench = bench(announce);
        bench.message = long();
        bench.fault = Some(("BDAT", Fault::Permanent));
        let mut next = transaction(&["c@example.net"]);
        next.size = None;
        bench.transactions.push(next);
        assert_eq!(
            bench.run(),
            "BDAT 550 5.7.1 [\"no\", \"way\"]\nEOD 250 2.0.0 [\"queued\"]"
        );
        assert!(
            bench.dialogue.contains("RSET\nMAIL FROM"),
            "{}",
            bench.dialogue
        );
        let chunks = bench.dialogue.matches("BDAT").count();
        // Without pipelining nothing follows what was refused.
        assert!(
            if announce == OFFERED {
                chunks <= 3
            } else {
                chunks == 1
            },
            "{}",
            bench.dialogue
        );
    }
}

#[test]
fn each_chunk_meets_every_fault() {
    let table = |announce: &'static str| {
        let mut table = String::new();
        for at in ["BDAT", "EOD"] {
            for fault in FAULTS {
                let mut bench = bench(announce);
                bench.message = long();
                bench.fault = Some((at, fault));
                table.push_str(&format!("{at} {fault:?}: {}\n", bench.run()));
            }
        }
        table
    };
    assert_eq!(table(OFFERED), table("CHUNKING"));
    assert_snapshot!(table(OFFERED), @r#"
    BDAT Temporary: BDAT 450 4.2.0 ["busy"]
    BDAT Permanent: BDAT 550 5.7.1 ["no", "way"]
    BDAT Shutdown: BDAT 421 4.3.2 ["going down"]
    BDAT Close: network temporary: connection closed by the server before the reply to BDAT
    BDAT Silence: network temporary: timeout waiting for the reply to BDAT
    BDAT Garbage: protocol temporary: malformed reply line in answer to BDAT
    EOD Temporary: EOD 450 4.2.0 ["busy"]
    EOD Permanent: EOD 550 5.7.1 ["no", "way"]
    EOD Shutdown: EOD 421 4.3.2 ["going down"]
    EOD Close: network temporary: connection closed by the server before the reply to EOD
    EOD Silence: network temporary: timeout waiting for the reply to EOD
    EOD Garbage: protocol temporary: malformed reply line in answer to EOD
    "#);
}

#[test]
fn a_driver_waits_where_the_server_has_to_be_waited_for() {
    let mut client = Client::new(plain(), false, Duration::ZERO);
    let now = Duration::ZERO;
    let say = |client: &mut Client, text: &str| {
        let count = client.requests().len();
        client.written(count);
        client.handle(now, Input::Bytes(text.as_bytes()));
    };
    say(&mut client, "220 mx\r\n");
    say(&mut client, "250-mx\r\n250 CHUNKING\r\n");
    let mut transaction = transaction(&["b@example.net"]);
    transaction.chunking = true;
    client.handle(now, Input::Begin(Box::new(transaction)));
    assert!(!client.wants_content());
    say(&mut client, "250 ok\r\n");
    say(&mut client, "250 ok\r\n");
    assert!(client.wants_content());
    client.handle(now, Input::Content(&vec![b'x'; CHUNK - 1]));
    assert!(client.wants_content() && client.requests().is_empty());
    client.handle(now, Input::Content(b"xy"));
    // The first chunk is on its way, and there is room for a second.
    assert!(client.wants_content() && client.requests().starts_with(b"BDAT 65536\r\n"));
    let count = client.requests().len();
    client.written(count);
    client.handle(now, Input::Content(&vec![b'z'; CHUNK]));
    assert!(!client.wants_content() && client.awaits_content() && client.requests().is_empty());
    assert_eq!(client.deadline(), Some(Duration::from_secs(600)));
    assert_eq!(client.state(), "BDAT");
    client.handle(now, Input::Bytes(b"250 ok\r\n"));
    assert!(client.wants_content() && client.requests().starts_with(b"BDAT 65536\r\n"));
    say(&mut client, "552 5.3.4 too much\r\n");
    assert!(!client.awaits_content() && client.is_idle());
    assert!(client.poll().is_some());
}
