//! BDAT.

use insta::assert_snapshot;

use crate::server::testing::{Bench, open_config};
use crate::server::{Input, Output, StoreFailure};

fn bench() -> Bench {
    let mut config = open_config();
    config.extensions.chunking = true;
    config.limits.size = 1000;
    let mut bench = Bench::new(config);
    bench.feed(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n");
    assert!(bench.replies().contains("250 CHUNKING\r\n"));
    bench
}

fn after(bench: &mut Bench, bytes: &[u8]) -> String {
    bench.feed(bytes);
    bench.replies()
}

#[test]
fn chunks_make_one_message() {
    let mut bench = bench();
    let replies = after(
        &mut bench,
        b"BDAT 12\r\nSubject: x\r\nBDAT 0\r\nbdat 9 last\r\n\r\n.\r\n\n.\r\nNOOP\r\n",
    );
    assert_snapshot!(replies, @r"
    250 2.0.0 Ok, chunk received
    250 2.0.0 Ok, chunk received
    250 2.0.0 Ok: queued as T2
    250 2.0.0 Ok
    ");
    assert_eq!(bench.messages, [b"Subject: x\r\n\r\n.\r\n\r\n.\r\n"]);
}

#[test]
fn a_line_end_may_be_cut_by_a_chunk() {
    let mut bench = bench();
    after(
        &mut bench,
        b"BDAT 2\r\na\rBDAT 2\r\n\nbBDAT 1\r\n\rBDAT 0 LAST\r\n",
    );
    assert_eq!(bench.messages, [b"a\r\nb "]);
}

#[test]
fn an_empty_message_is_a_message() {
    let mut bench = bench();
    assert_eq!(
        after(&mut bench, b"BDAT 0 LAST\r\n"),
        "250 2.0.0 Ok: queued as T2\r\n"
    );
    assert_eq!(bench.messages, [b""]);
}

#[test]
fn octets_of_a_refused_chunk_are_never_commands() {
    let mut refused = bench();
    assert_snapshot!(after(&mut refused, b"RSET\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), @r"
    250 2.0.0 Ok
    503 5.5.1 MAIL comes first
    250 2.0.0 Ok
    ");
    assert_snapshot!(after(&mut bench(), b"BDAT 6 MORE\r\nQUIT\r\nNOOP\r\n"), @r"
    501 5.5.4 Syntax: BDAT size [LAST]
    250 2.0.0 Ok
    ");
    assert_snapshot!(after(&mut bench(), b"BDAT 99999999999999999999 LAST\r\nBDAT -1\r\nBDAT\r\n"), @r"
    501 5.5.4 Syntax: BDAT size [LAST]
    501 5.5.4 Syntax: BDAT size [LAST]
    501 5.5.4 Syntax: BDAT size [LAST]
    ");
    let big = [
        &b"BDAT 1001\r\n"[..],
        &b"QUIT\r\n".repeat(167)[..1001],
        b"BDAT 2 LAST\r\nxxNOOP\r\n",
    ]
    .concat();
    assert_snapshot!(after(&mut bench(), &big), @r"
    552 5.3.4 Message size exceeds limit
    503 5.5.1 The message was refused
    250 2.0.0 Ok
    ");
}

#[test]
fn the_size_limit_counts_all_chunks() {
    let mut bench = bench();
    let chunk = [&b"BDAT 500\r\n"[..], &[b'x'; 500]].concat();
    assert!(after(&mut bench, &chunk).starts_with("250"));
    assert!(after(&mut bench, &chunk).starts_with("250"));
    assert_eq!(
        after(&mut bench, b"BDAT 1 LAST\r\nx"),
        "552 5.3.4 Message size exceeds limit\r\n"
    );
    assert_eq!(bench.events.last().map(String::as_str), Some("AbortBody"));
    assert_eq!(after(&mut bench, b"NOOP\r\n"), "250 2.0.0 Ok\r\n");
}

#[test]
fn data_and_rcpt_have_no_place_between_chunks() {
    let mut bench = bench();
    assert_snapshot!(after(&mut bench, b"BDAT 1\r\nxDATA\r\nRCPT TO:<a@b>\r\nMAIL FROM:<>\r\nRSET\r\n"), @r"
    250 2.0.0 Ok, chunk received
    503 5.5.1 DATA after BDAT
    503 5.5.1 RCPT after BDAT
    503 5.5.1 A transaction is already open
    250 2.0.0 Ok
    ");
    assert_eq!(bench.events, ["OpenBody", "AbortBody"]);
}

#[test]
fn pipelined_chunks_behind_a_refused_one_are_no_errors_of_their_own() {
    let mut bench = bench();
    let mut group = [&b"BDAT 1001\r\n"[..], &[b'x'; 1001]].concat();
    group.extend(b"BDAT 5\r\nQUIT\n".repeat(40));
    group.extend(b"BDAT 5 LAST\r\nQUIT\nNOOP\r\nBDAT 1\r\nx");
    let replies = after(&mut bench, &group);
    let count = |text| replies.matches(text).count();
    assert_eq!(count("552 5.3.4 Message size exceeds limit\r\n"), 1);
    assert_eq!(count("503 5.5.1 The message was refused\r\n"), 41);
    assert!(
        replies.ends_with("250 2.0.0 Ok\r\n503 5.5.1 MAIL comes first\r\n"),
        "{replies}"
    );
    assert!(bench.closing.is_none());
}

#[test]
fn a_group_of_commands_and_chunks_is_answered_in_order() {
    let mut bench = bench();
    let group = b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<a@c>\r\nBDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n\
        MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nc\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 1 LAST\r\ndQUIT\r\n";
    assert_snapshot!(after(&mut bench, group), @r"
    250 2.0.0 Ok
    250 2.1.0 Ok
    250 2.1.5 Ok
    250 2.1.5 Ok
    250 2.0.0 Ok, chunk received
    250 2.0.0 Ok: queued as T3
    250 2.1.0 Ok
    250 2.1.5 Ok
    354 End data with <CR><LF>.<CR><LF>
    250 2.0.0 Ok: queued as T4
    250 2.1.0 Ok
    250 2.1.5 Ok
    250 2.0.0 Ok: queued as T5
    221 2.0.0 Bye
    ");
    assert_eq!(bench.messages, [&b"a\r\nb\r\n"[..], b"c\r\n", b"d"]);
}

#[test]
fn a_client_that_waits_between_chunks_holds_no_content() {
    let mut bench = bench();
    bench
        .server
        .handle(bench.now, Input::Bytes(b"BDAT 5\r\nhello"));
    assert_eq!(bench.server.poll(), Some(Output::OpenBody));
    bench.server.handle(bench.now, Input::Stored);
    bench.server.handle(bench.now, Input::Bytes(b"hello"));
    assert_eq!(bench.server.poll(), Some(Output::Body(b"hello".to_vec())));
    assert!(bench.server.replies().is_empty(), "not before it is stored");
    bench.server.handle(bench.now, Input::Stored);
    assert_eq!(bench.replies(), "250 2.0.0 Ok, chunk received\r\n");
}

#[test]
fn a_parked_message_is_dropped_with_its_connection() {
    let mut bench = bench();
    after(&mut bench, b"BDAT 1\r\nx");
    bench.event(Input::Gone(None));
    assert_eq!(bench.events, ["OpenBody", "AbortBody", "Close"]);
}

#[test]
fn a_store_that_fails_skips_the_chunk() {
    let mut bench = bench();
    bench
        .server
        .handle(bench.now, Input::Bytes(b"BDAT 6 LAST\r\n"));
    assert!(bench.server.poll().is_some());
    bench.event(Input::StoreFailed(StoreFailure::Full));
    assert_eq!(
        after(&mut bench, b"QUIT\r\nNOOP\r\n"),
        "452 4.3.1 Insufficient system storage\r\n250 2.0.0 Ok\r\n"
    );
}

#[test]
fn skipped_octets_have_a_time_limit() {
    let mut bench = bench();
    after(&mut bench, b"RSET\r\nBDAT 1000000\r\n");
    bench.pass(599);
    assert!(bench.closing.is_none());
    bench.pass(1);
    assert!(bench.replies().starts_with("421 4.4.2"));
    assert!(bench.closing.is_some());
}
