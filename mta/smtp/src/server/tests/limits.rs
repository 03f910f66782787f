//! Each limit at n and n+1, each time limit before and after.

use crate::server::testing::{Bench, open_config};
use crate::server::{Config, Input, Limits, Timeouts};
use crate::session::CloseBy;
use std::time::Duration;

fn config(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = open_config();
    change(&mut config.limits);
    config
}

fn last(bench: &mut Bench, line: &str) -> String {
    let text = bench.dialogue(&[line]);
    let last = text
        .lines()
        .rfind(|line| line.starts_with("S: "))
        .unwrap_or("S: none");
    last.trim_start_matches("S: ").to_owned()
}

#[test]
fn line_length() {
    let mut bench = Bench::new(config(|limits| limits.line = 20));
    assert_eq!(
        last(&mut bench, &format!("NOOP {}", "x".repeat(15))),
        "250 2.0.0 Ok"
    );
    assert_eq!(
        last(&mut bench, &format!("NOOP {}", "x".repeat(16))),
        "500 5.5.2 Line too long"
    );
    assert_eq!(
        last(&mut bench, &"x".repeat(1 << 20)),
        "500 5.5.2 Line too long"
    );
    assert_eq!(last(&mut bench, "NOOP"), "250 2.0.0 Ok");
}

#[test]
fn commands() {
    let mut bench = Bench::new(config(|limits| limits.commands = 2));
    assert_eq!(last(&mut bench, "NOOP"), "250 2.0.0 Ok");
    assert_eq!(last(&mut bench, "NOOP"), "250 2.0.0 Ok");
    assert_eq!(last(&mut bench, "NOOP"), "421 4.7.0 Too many commands");
    assert!(bench.closing.is_some());
}

#[test]
fn errors() {
    let mut bench = Bench::new(config(|limits| limits.errors = 2));
    assert_eq!(last(&mut bench, "FOO"), "500 5.5.2 Command not recognized");
    assert_eq!(last(&mut bench, "RCPT"), "503 5.5.1 MAIL comes first");
    assert_eq!(last(&mut bench, "NOOP"), "250 2.0.0 Ok");
    assert_eq!(last(&mut bench, "FOO"), "421 4.7.0 Too many errors");
    assert_eq!(
        bench.closing.map(|closing| closing.by),
        Some(CloseBy::Local)
    );
}

#[test]
fn recipients() {
    let mut bench = Bench::new(config(|limits| limits.recipients = 2));
    bench.dialogue(&["MAIL FROM:<>", "RCPT TO:<a@b>"]);
    assert_eq!(last(&mut bench, "RCPT TO:<a@c>"), "250 2.1.5 Ok");
    assert_eq!(
        last(&mut bench, "RCPT TO:<a@d>"),
        "452 4.5.3 Too many recipients"
    );
    assert_eq!(
        last(&mut bench, "DATA"),
        "354 End data with <CR><LF>.<CR><LF>"
    );
}

#[test]
fn messages_per_connection() {
    let mut bench = Bench::new(config(|limits| limits.messages = 2));
    for _ in 0..2 {
        assert_eq!(last(&mut bench, "MAIL FROM:<>"), "250 2.1.0 Ok");
        bench.dialogue(&["RSET"]);
    }
    assert_eq!(
        last(&mut bench, "MAIL FROM:<>"),
        "421 4.7.0 Too many messages in this connection"
    );
    assert!(bench.closing.is_some());
}

/// Sends content and gives the reply to its end.
fn message(bench: &mut Bench, content: &str) -> String {
    bench.dialogue(&["RSET", "MAIL FROM:<>", "RCPT TO:<a@b>", "DATA"]);
    bench.feed(content.as_bytes());
    bench.feed(b".\r\n");
    bench.replies().trim_end().to_owned()
}

#[test]
fn message_size() {
    let mut bench = Bench::new(config(|limits| limits.size = 200_000));
    let line = format!("{}\r\n", "x".repeat(98));
    assert!(message(&mut bench, &line.repeat(2000)).starts_with("250"));
    assert_eq!(bench.messages[0].len(), 200_000);
    assert_eq!(
        message(&mut bench, &format!("{}\r\n", line.repeat(2000))),
        "552 5.3.4 Message size exceeds limit"
    );
    assert_eq!(bench.messages.len(), 1);
    assert_eq!(
        bench
            .events
            .iter()
            .filter(|event| *event == "AbortBody")
            .count(),
        1
    );
    assert!(
        message(&mut bench, "small\r\n").starts_with("250"),
        "the session goes on"
    );
}

#[test]
fn dot_stuffing_does_not_count_as_size() {
    let mut bench = Bench::new(config(|limits| limits.size = 5));
    assert!(message(&mut bench, "....\r\n").starts_with("250"));
    assert!(message(&mut bench, ".....\r\n").starts_with("552"));
}

#[test]
fn header_sizes() {
    let mut bench = Bench::new(config(|limits| {
        limits.header = 100;
        limits.headers = 150;
    }));
    let field = |length: usize| format!("A: {}\r\n", "x".repeat(length - 5));
    assert!(message(&mut bench, &field(100)).starts_with("250"));
    assert_eq!(
        message(&mut bench, &field(101)),
        "552 5.3.4 Message header exceeds limit"
    );
    assert!(message(&mut bench, &format!("{}{}", field(75), field(75))).starts_with("250"));
    assert!(message(&mut bench, &format!("{}{}", field(75), field(76))).starts_with("552"));
    assert!(
        message(
            &mut bench,
            &format!("{}\r\n{}\r\n", field(75), "x".repeat(500))
        )
        .starts_with("250")
    );
}

#[test]
fn hops() {
    let mut bench = Bench::new(config(|limits| limits.hops = 3));
    assert!(message(&mut bench, &"Received: x\r\n".repeat(3)).starts_with("250"));
    assert_eq!(
        message(&mut bench, &"Received: x\r\n".repeat(4)),
        "554 5.4.6 Too many hops"
    );
}

fn timed() -> Config {
    Config {
        timeouts: Timeouts {
            idle: Duration::from_secs(30),
            command: Duration::from_secs(20),
            data: Duration::from_secs(100),
        },
        ..open_config()
    }
}

#[test]
fn idle_time() {
    let mut bench = Bench::new(timed());
    bench.pass(29);
    assert_eq!(last(&mut bench, "NOOP"), "250 2.0.0 Ok");
    bench.pass(29);
    assert!(bench.closing.is_none());
    bench.pass(1);
    assert_eq!(
        bench.replies(),
        "421 4.4.2 Timeout, closing the connection\r\n"
    );
    assert!(bench.closing.is_some());
    assert_eq!(bench.server.deadline(), None);
}

#[test]
fn command_time_bounds_the_whole_line() {
    let mut bench = Bench::new(timed());
    bench.replies();
    for byte in b"NOOP xxxxxxxxxxxxxxxxxxx" {
        if bench.closing.is_some() {
            break;
        }
        bench.feed(&[*byte]);
        bench.pass(1);
    }
    assert_eq!(bench.now, Duration::from_secs(20));
    assert_eq!(
        bench.replies(),
        "421 4.4.2 Timeout while receiving a command\r\n"
    );
}

#[test]
fn data_time_bounds_each_block() {
    let mut config = timed();
    config.limits.min_rate = 0;
    let mut bench = Bench::new(config);
    bench.dialogue(&["MAIL FROM:<>", "RCPT TO:<a@b>", "DATA"]);
    for _ in 0..5 {
        bench.feed(&[b'x'; 65_536]);
        bench.pass(99);
    }
    assert!(bench.closing.is_none());
    bench.feed(b"x");
    bench.pass(1);
    assert_eq!(
        bench.replies(),
        "421 4.4.2 Timeout while receiving the message\r\n"
    );
    assert_eq!(bench.events, ["OpenBody", "AbortBody", "Close"]);
}

#[test]
fn a_sender_below_the_least_rate_is_cut_off() {
    let mut config = timed();
    config.timeouts.data = Duration::from_secs(10_000);
    let mut bench = Bench::new(config);
    bench.dialogue(&["MAIL FROM:<>", "RCPT TO:<a@b>", "DATA"]);
    for _ in 0..300 {
        bench.feed(&[b'x'; 100]);
        bench.pass(1);
    }
    assert!(bench.closing.is_none(), "100 bytes a second are enough");
    for _ in 0..120 {
        bench.feed(&[b'x'; 99]);
        bench.pass(1);
    }
    assert!(bench.closing.is_some());
}

#[test]
fn a_slow_store_is_not_the_clients_fault() {
    let mut bench = Bench::new(timed());
    bench.dialogue(&["MAIL FROM:<>", "RCPT TO:<a@b>", "DATA"]);
    let now = bench.now;
    bench.server.handle(now, Input::Bytes(&[b'x'; 65_536]));
    assert!(bench.server.poll().is_some());
    assert_eq!(bench.server.deadline(), None);
    bench.now += Duration::from_secs(5000);
    bench.event(Input::Tick);
    bench.event(Input::Stored);
    bench.feed(b"\r\n.\r\n");
    assert!(bench.replies().ends_with("250 2.0.0 Ok: queued as T1\r\n"));
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<crate::server::Server>() <= 1024);
    let mut bench = Bench::new(open_config());
    bench.feed(b"EHLO client.example\r\n");
    bench.feed(&[&b"NOOP "[..], &[b'x'; 2000], b"\r\n"].concat());
    let replies = bench.replies().len();
    assert!(replies > 0);
    assert!(bench.server.replies().is_empty());
}
