//! Clients that mean harm: floods, endless lines and messages, other protocols, forged ends.

use std::time::Duration;

use crate::content::{Decoder, Encoder};
use crate::server::testing::{Bench, open_config};
use crate::server::{Config, Input};

const SECOND: Duration = Duration::from_secs(1);

/// A session in the middle of a transaction with one recipient.
fn in_transaction(config: Config) -> Bench {
    let mut bench = Bench::new(config);
    bench.feed(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n");
    assert!(bench.replies().ends_with("250 2.1.5 Ok\r\n"));
    bench
}

fn chunking() -> Config {
    let mut config = open_config();
    config.extensions.chunking = true;
    config
}

#[test]
fn a_line_of_a_gibibyte_takes_one_reply() {
    let mut bench = Bench::new(open_config());
    bench.replies();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..1024 {
        let used = bench.server.handle(bench.now, Input::Bytes(&piece));
        assert_eq!(used, piece.len());
    }
    assert!(bench.server.replies().is_empty());
    bench.feed(b"\r\nNOOP\r\n");
    assert_eq!(
        bench.replies(),
        "500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n"
    );
}

#[test]
fn a_hundred_thousand_recipients_are_a_thousand() {
    let mut config = open_config();
    config.limits.commands = u32::MAX;
    let mut bench = in_transaction(config);
    let group = b"RCPT TO:<a@b>\r\n".repeat(1000);
    let mut refused = 0;
    for _ in 0..100 {
        bench.feed(&group);
        refused += bench.replies().matches("452 4.5.3").count();
    }
    assert_eq!(refused, 99_001);
    let envelope = bench.server.session().transaction.envelope.as_ref();
    assert_eq!(
        envelope.map(|envelope| envelope.recipients.len()),
        Some(1000)
    );

    // By default it is the flood of commands that ends the session.
    let mut bench = in_transaction(open_config());
    for _ in 0..100 {
        bench.feed(&group);
    }
    assert!(bench.replies().ends_with("421 4.7.0 Too many commands\r\n"));
    assert!(bench.closing.is_some());
}

#[test]
fn a_flood_of_commands_ends_the_session() {
    for (line, last) in [
        ("NOOP\r\n", "421 4.7.0 Too many commands\r\n"),
        ("RSET\r\n", "421 4.7.0 Too many commands\r\n"),
        ("BDAT 0\r\n", "421 4.7.0 Too many commands\r\n"),
        ("\r\n", "421 4.7.0 Too many errors\r\n"),
        ("AUTH X\r\n", "421 4.7.0 Too many errors\r\n"),
    ] {
        let mut bench = Bench::new(chunking());
        bench.feed(b"EHLO c\r\n");
        for _ in 0..=100 {
            bench.feed(&line.as_bytes().repeat(100));
        }
        assert!(bench.replies().ends_with(last), "{line:?}");
        assert!(bench.closing.is_some(), "{line:?}");
    }
}

#[test]
fn an_endless_chunk_that_is_refused_ends_with_the_time_for_content() {
    let mut bench = Bench::new(chunking());
    bench.feed(b"EHLO c\r\nBDAT 18446744073709551615 LAST\r\n");
    assert!(bench.replies().ends_with("503 5.5.1 MAIL comes first\r\n"));
    let piece = b"QUIT\r\n".repeat(10_000);
    for _ in 0..599 {
        bench.feed(&piece);
        bench.pass(1);
    }
    assert!(bench.closing.is_none() && bench.server.replies().is_empty());
    bench.pass(1);
    assert!(bench.replies().starts_with("421 4.4.2"));
    assert!(bench.closing.is_some());
}

#[test]
fn what_follows_a_refusal_is_not_listened_to_for_ever() {
    let mut config = chunking();
    config.limits.size = 1000;
    let line = b"12345678\r\n".repeat(1000);
    for begin in ["DATA\r\n", "BDAT 900\r\n"] {
        let mut bench = in_transaction(config.clone());
        bench.feed(begin.as_bytes());
        bench.replies();
        if begin.starts_with("BDAT") {
            // Line ends that become longer: the chunk grows over the limit.
            bench.feed(&b"\n".repeat(899));
        }
        for _ in 0..599 {
            if begin.starts_with("DATA") {
                bench.feed(&line);
            }
            bench.pass(1);
        }
        match begin.starts_with("DATA") {
            true => assert!(bench.closing.is_none()),
            // Nothing came any more: too slow.
            false => assert!(bench.closing.is_some()),
        }
        bench.pass(1);
        assert_eq!(bench.replies(), "552 5.3.4 Message size exceeds limit\r\n");
        assert!(bench.closing.is_some());
        assert!(bench.messages.is_empty());
    }
}

#[test]
fn a_client_that_trickles_its_chunks_is_too_slow() {
    let mut bench = in_transaction(chunking());
    // Each chunk alone is quick enough for its time limit; all together are below 100 bytes a second.
    for _ in 0..120 {
        if bench.closing.is_some() {
            break;
        }
        bench.feed(b"BDAT 20\r\n1234567890");
        bench.pass(1);
        bench.feed(b"1234567890");
        bench.now += SECOND;
    }
    let replies = bench.replies();
    assert!(
        replies.ends_with("421 4.4.2 Timeout while receiving the message\r\n"),
        "{replies}"
    );
    // A minute of receiving, with as much time between the chunks.
    assert!(bench.now > 110 * SECOND, "{:?}", bench.now);
}

#[test]
fn other_protocols_are_told_once_and_left() {
    for line in [
        "GET / HTTP/1.1",
        "post /",
        "HEAD /x HTTP/1.0",
        "OPTIONS * HTTP/1.1",
        "PROPFIND /dav HTTP/1.1",
        "PRI * HTTP/2.0",
        "CONNECT mx.example:25 HTTP/1.1",
        "OPTIONS rtsp://x RTSP/1.0",
        "REGISTER sip:x SIP/2.0",
        "SSH-2.0-OpenSSH_9.6",
    ] {
        let mut bench = Bench::new(open_config());
        bench.replies();
        let request = "Host: mx.example\r\n\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n";
        bench.feed(format!("{line}\r\n{request}").as_bytes());
        assert_eq!(
            bench.replies(),
            "500 5.5.2 This is an SMTP server\r\n",
            "{line}"
        );
        assert!(bench.closing.is_some(), "{line}");
    }
    // The first byte of a TLS record says enough; no line end need follow.
    let mut bench = Bench::new(open_config());
    bench.replies();
    bench.feed(b"\x16");
    assert_eq!(
        bench.replies(),
        "500 5.5.2 This port speaks SMTP in clear\r\n"
    );
    assert!(bench.closing.is_some());
    // What looks like it inside commands that are known is nothing special.
    let mut bench = Bench::new(open_config());
    bench.replies();
    bench.feed(b"NOOP HTTP/1.1\r\nVRFY GET\r\nPROXY TCP4 a b c d\r\n");
    assert_eq!(bench.replies().matches("\r\n").count(), 3);
    assert!(bench.closing.is_none());
}

#[test]
fn what_is_behind_starttls_in_clear_never_runs() {
    for injected in [
        "NOOP\r\n",
        "MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nDATA\r\n",
        "EHLO forged.example\r\n",
        "AUTH PLAIN AGEAYg==\r\n",
        "NO",
    ] {
        let mut bench = Bench::new(open_config());
        bench.feed(b"EHLO c\r\nMAIL FROM:<a@b>\r\n");
        bench.replies();
        bench.tls = false;
        bench.feed(format!("STARTTLS\r\n{injected}").as_bytes());
        assert_eq!(
            bench.replies(),
            "220 2.0.0 Ready to start TLS\r\n".replace(" 2.0.0", "")
        );
        bench.event(Input::TlsDone(crate::session::TlsInfo::default()));
        assert_eq!(bench.replies(), "", "{injected:?}");
        let session = bench.server.session();
        assert!(session.helo.is_none() && session.transaction.envelope.is_none());
        bench.feed(b"OP\r\nRCPT TO:<b@c>\r\n");
        assert_eq!(
            bench.replies(),
            "500 5.5.2 Command not recognized\r\n503 5.5.1 MAIL comes first\r\n",
            "{injected:?}"
        );
    }
}

/// Ends of data that some servers take for one (SEC Consult 2023, CVE-2023-51764, -51765, -51766 and
/// what was tried after them).
const FORGED: &[&[u8]] = &[
    b"\n.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\n\n.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\n.\n\r\n",
    b"\r\n .\r\n",
    b"\r\n. \r\n",
    b"\r\n\t.\r\n",
    b"\r\n..\r\n",
    b"\r\n\xef\xbc\x8e\r\n",
    b"\x0b.\x0b",
    b"\x0c.\x0c",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
];

const SECOND_MESSAGE: &[u8] = b"MAIL FROM:<smuggled@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: y\r\n\r\ny\r\n";

/// What a server that takes only CRLF for a line end reads of one that was relayed.
fn relayed(content: &[u8]) -> Vec<u8> {
    let (mut encoder, mut wire) = (Encoder::new(), Vec::new());
    encoder.encode(content, &mut wire);
    encoder.finish(&mut wire);
    for (at, byte) in wire.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| wire.get(at));
        match byte {
            b'\r' => assert_eq!(wire.get(at + 1), Some(&b'\n'), "a lone CR on the wire"),
            b'\n' => assert_eq!(before, Some(&b'\r'), "a lone LF on the wire"),
            _ => {}
        }
    }
    let (mut decoder, mut read) = (Decoder::new(), Vec::new());
    assert_eq!(
        decoder.decode(&wire, &mut read),
        wire.len(),
        "one end, and that is the last"
    );
    assert!(decoder.is_done());
    read
}

#[test]
fn no_forged_end_makes_two_messages_of_one() {
    for forged in FORGED {
        let body = [b"Subject: x\r\n\r\nbody", *forged, SECOND_MESSAGE].concat();
        let mut by_data = in_transaction(chunking());
        by_data.feed(b"DATA\r\n");
        by_data.feed(&[&body[..], b".\r\n"].concat());
        let mut by_chunk = in_transaction(chunking());
        by_chunk.feed(format!("BDAT {} LAST\r\n", body.len()).as_bytes());
        by_chunk.feed(&body);
        for mut bench in [by_data, by_chunk] {
            let replies = bench.replies();
            assert_eq!(
                replies.matches(": queued as").count(),
                1,
                "{}",
                forged.escape_ascii()
            );
            assert_eq!(bench.messages.len(), 1);
            assert!(bench.messages[0].ends_with(b"\r\ny\r\n"));
            assert!(relayed(&bench.messages[0]).ends_with(b"\r\ny\r\n"));
            bench.feed(b"NOOP\r\n");
            assert_eq!(bench.replies(), "250 2.0.0 Ok\r\n", "nothing is left over");
        }
    }
}

#[test]
fn a_true_end_of_data_inside_a_chunk_is_content() {
    let body = [b"Subject: x\r\n\r\nbody\r\n.\r\n", SECOND_MESSAGE].concat();
    let mut bench = in_transaction(chunking());
    // Cut in all places, the dot and its line ends among them.
    for piece in body.chunks(1) {
        bench.feed(&[b"BDAT 1\r\n", piece].concat());
    }
    bench.feed(b"BDAT 0 LAST\r\n");
    assert_eq!(bench.messages, std::slice::from_ref(&body));
    assert_eq!(relayed(&body), body);
}

#[test]
fn what_a_client_says_comes_back_in_no_reply() {
    let mut config = chunking();
    config.xclient = config.relay.clone();
    let mut bench = Bench::new(config);
    bench.replies();
    for line in [
        "EHLO evil\u{7f}.example",
        "EHLO evil.example",
        "NOOP evil",
        "evil",
        "VRFY evil",
        "HELP evil",
        "MAIL FROM:<evil@evil> EVIL=evil",
        "XCLIENT HELO=evil+0D+0A250-evil",
        "XCLIENT NAME=evil LOGIN=evil",
        "MAIL FROM:<evil@evil.example>",
        "RCPT TO:<evil@evil.example>",
        "BDAT evil",
    ] {
        bench.feed(format!("{line}\r\n").as_bytes());
        let replies = bench.replies();
        assert!(
            !replies.to_lowercase().contains("evil"),
            "{line}: {replies}"
        );
    }
}
