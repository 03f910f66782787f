//! Load for a relay under test, and the sink behind it, in one process that uses little of the machine:
//!
//! `load --target 127.0.0.1:2525 --listen 127.0.0.1:2526 --sessions 20 --messages 10000 --size 4096`
//!
//! Sends the messages over as many sessions, waits until the sink has them all, and prints one line of JSON:
//! seconds until the last message was answered with 250, and until the last one was delivered; and milliseconds from
//! the end of a message's content to its 250, the median and the 99th percentile.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program for measuring, over real sockets and time"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

static DELIVERED: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicU64 = AtomicU64::new(0);

struct Options {
    target: SocketAddr,
    listen: SocketAddr,
    sessions: u64,
    messages: u64,
    size: usize,
    per_connection: u64,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!(
            "usage: load --target ADDRESS --listen ADDRESS [--sessions N] [--messages N] [--size BYTES] [--per-connection N]"
        );
        return ExitCode::FAILURE;
    };
    let listener = TcpListener::bind(options.listen).expect("a port for the sink");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // The relay may close when it likes.
                let _ = sink(stream);
            });
        }
    });
    let begin = Instant::now();
    let mut waits: Vec<Duration> = std::thread::scope(|scope| {
        let client = || client(&options).expect("the relay takes everything");
        let sessions: Vec<_> = (0..options.sessions).map(|_| scope.spawn(client)).collect();
        let ended = sessions.into_iter().map(|session| session.join());
        ended
            .flat_map(|waits| waits.expect("a session ends well"))
            .collect()
    });
    let accepted = begin.elapsed();
    waits.sort_unstable();
    let deadline = Instant::now() + Duration::from_secs(600);
    while DELIVERED.load(Ordering::Relaxed) < options.messages {
        if Instant::now() > deadline {
            eprintln!(
                "{} of {} delivered",
                DELIVERED.load(Ordering::Relaxed),
                options.messages
            );
            return ExitCode::FAILURE;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let delivered = begin.elapsed();
    let wait = |percent: usize| {
        let at = waits.len().saturating_sub(1) * percent / 100;
        waits.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    println!(
        "{{\"accepted\": {:.4}, \"delivered\": {:.4}, \"p50\": {:.3}, \"p99\": {:.3}}}",
        accepted.as_secs_f64(),
        delivered.as_secs_f64(),
        wait(50),
        wait(99)
    );
    ExitCode::SUCCESS
}

fn options() -> Option<Options> {
    let (mut target, mut listen) = (None, None);
    let (mut sessions, mut messages, mut size, mut per_connection) = (20, 10_000, 4096, 100);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--target" => target = value.parse().ok(),
            "--listen" => listen = value.parse().ok(),
            "--sessions" => sessions = value.parse().ok()?,
            "--messages" => messages = value.parse().ok()?,
            "--size" => size = value.parse().ok()?,
            "--per-connection" => per_connection = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(Options {
        target: target?,
        listen: listen?,
        sessions,
        messages,
        size,
        per_connection,
    })
}

/// One session after the other, until all messages are sent. Gives how long each waited for its last 250.
fn client(options: &Options) -> io::Result<Vec<Duration>> {
    let mut waits = Vec::new();
    let mut message =
        b"From: <from@example.net>\r\nTo: <to@example.com>\r\nSubject: load\r\n\r\n".to_vec();
    while message.len() < options.size {
        let line = (options.size - message.len()).clamp(3, 78) - 2;
        message.extend(vec![b'x'; line]);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b".\r\n");
    let mut input = Vec::new();
    loop {
        let mut stream: Option<TcpStream> = None;
        for _ in 0..options.per_connection {
            if STARTED.fetch_add(1, Ordering::Relaxed) >= options.messages {
                if let Some(mut stream) = stream {
                    stream.write_all(b"QUIT\r\n")?;
                    expect(&mut stream, &mut input, b"221")?;
                }
                return Ok(waits);
            }
            let stream = match &mut stream {
                Some(stream) => stream,
                none => {
                    let mut new = TcpStream::connect(options.target)?;
                    new.set_nodelay(true)?;
                    expect(&mut new, &mut input, b"220")?;
                    new.write_all(b"EHLO client.example\r\n")?;
                    expect(&mut new, &mut input, b"250")?;
                    none.insert(new)
                }
            };
            stream.write_all(
                b"MAIL FROM:<from@example.net>\r\nRCPT TO:<to@example.com>\r\nDATA\r\n",
            )?;
            for code in [b"250", b"250", b"354"] {
                expect(stream, &mut input, code)?;
            }
            stream.write_all(&message)?;
            let sent = Instant::now();
            expect(stream, &mut input, b"250")?;
            waits.push(sent.elapsed());
        }
        if let Some(mut stream) = stream {
            stream.write_all(b"QUIT\r\n")?;
            expect(&mut stream, &mut input, b"221")?;
        }
    }
}

/// Reads one reply, which has to have this code. `input` holds what came behind it.
fn expect(stream: &mut TcpStream, input: &mut Vec<u8>, code: &[u8]) -> io::Result<()> {
    loop {
        while let Some(at) = input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = input.drain(..=at).collect();
            if !line.starts_with(code) {
                return Err(io::Error::other(
                    String::from_utf8_lossy(&line).into_owned(),
                ));
            }
            if line.get(3) != Some(&b'-') {
                return Ok(());
            }
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        input.extend_from_slice(&piece[..count]);
    }
}

/// Takes every message and looks at none.
fn sink(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 sink.example ESMTP\r\n")?;
    let mut input = Vec::new();
    let mut output = Vec::new();
    let mut in_content = false;
    let mut piece = vec![0; 65_536];
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(&piece[..count]);
        let mut used = 0;
        loop {
            let rest = &input[used..];
            if in_content {
                let Some(at) = end_of_data(rest) else {
                    // The end may be split over two reads.
                    used += rest.len().saturating_sub(4);
                    break;
                };
                used += at;
                in_content = false;
                DELIVERED.fetch_add(1, Ordering::Relaxed);
                output.extend_from_slice(b"250 2.0.0 Ok\r\n");
                continue;
            }
            let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
                break;
            };
            let verb = rest.get(..4).unwrap_or_default().to_ascii_uppercase();
            used += at + 1;
            match verb.as_slice() {
                b"EHLO" => output.extend_from_slice(
                    b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 104857600\r\n250 ENHANCEDSTATUSCODES\r\n",
                ),
                b"DATA" => {
                    in_content = true;
                    output.extend_from_slice(b"354 Go ahead\r\n");
                }
                b"QUIT" => {
                    output.extend_from_slice(b"221 2.0.0 Bye\r\n");
                    return stream.write_all(&output);
                }
                _ => output.extend_from_slice(b"250 2.0.0 Ok\r\n"),
            }
        }
        input.drain(..used);
        if !output.is_empty() {
            stream.write_all(&output)?;
            output.clear();
        }
    }
}

/// Where the content ends, its last line included.
fn end_of_data(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let at = from + rest.iter().position(|byte| *byte == b'.')?;
        let before = bytes.get(..at)?;
        if before.ends_with(b"\r\n") && bytes.get(at + 1..)?.starts_with(b"\r\n") {
            return Some(at + 3);
        }
        from = at + 1;
    }
}
