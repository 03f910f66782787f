//! The SMTP machines without a network: commands per second and content per second.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use angarium_smtp::Time;
use angarium_smtp::content::{Decoder, Encoder};
use angarium_smtp::server::{Config, Hooks, Input, Output, Server};
use angarium_smtp::session::Connection;
use angarium_smtp::verdict::Verdict;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn connection() -> Connection {
    Connection {
        id: "C".to_owned(),
        priority: 0,
        remote_ip: [127, 0, 0, 1].into(),
        remote_port: 1025,
        remote_ptr: None,
        remote_uid: None,
        remote_user: None,
        local_ip: [127, 0, 0, 1].into(),
        local_port: 25,
        server_id: "bench".to_owned(),
        proxy_ip: None,
        proxy_tlv: None,
        name_lookup: None,
    }
}

fn config(hooks: bool) -> Arc<Config> {
    let mut config = Config {
        hooks: Hooks {
            connect: hooks,
            helo: hooks,
            mailfrom: hooks,
            rcptto: hooks,
            ..Hooks::default()
        },
        ..Config::default()
    };
    config.limits.commands = u32::MAX;
    Arc::new(config)
}

fn server(config: &Arc<Config>) -> Server {
    let ids = Box::new(|| "8b6a1b0e-7f0c-4a53-9d4e-0d6b3c0a2f11".to_owned());
    Server::new(Arc::clone(config), connection(), None, ids, Time::ZERO)
}

/// Feeds everything and accepts everything; returns the bytes of replies and content.
fn drive(server: &mut Server, input: &[u8]) -> usize {
    let now = Duration::from_secs(1);
    let mut rest = input;
    let mut seen = 0;
    loop {
        while let Some(output) = server.poll() {
            match output {
                Output::Hook(_) => server.handle(now, Input::Verdict(Verdict::accept())),
                Output::OpenBody => server.handle(now, Input::Stored),
                Output::Body(chunk) => {
                    seen += chunk.len();
                    server.handle(now, Input::Stored)
                }
                Output::AbortBody | Output::StartTls | Output::Introduced | Output::Close(_) => 0,
            };
        }
        let replies = server.replies().len();
        seen += replies;
        server.written(replies);
        if rest.is_empty() {
            return seen;
        }
        // A driver reads into a buffer of this size.
        let piece = &rest[..rest.len().min(64 * 1024)];
        let used = server.handle(now, Input::Bytes(piece));
        rest = &rest[used..];
    }
}

fn commands(criterion: &mut Criterion) {
    let session = "MAIL FROM:<alice@example.com> SIZE=4096 BODY=8BITMIME\r\n\
                   RCPT TO:<bob@example.net>\r\nRCPT TO:<carol@example.net>\r\nRSET\r\nNOOP\r\n";
    let input = session.repeat(100);
    let mut group = criterion.benchmark_group("smtp_machine");
    group.throughput(Throughput::Elements(500));
    for (name, hooks) in [("commands", false), ("commands_with_hooks", true)] {
        let config = config(hooks);
        group.bench_function(name, |bencher| {
            let mut server = server(&config);
            drive(&mut server, b"EHLO client.example\r\n");
            bencher.iter(|| drive(&mut server, black_box(input.as_bytes())));
        });
    }
    group.finish();
}

/// Lines as mail has them.
fn content(bytes: usize) -> Vec<u8> {
    let header = "From: alice@example.com\r\nTo: bob@example.net\r\nSubject: bench\r\n\r\n";
    let line = format!(
        "{}\r\n",
        "The quick brown fox jumps over the lazy dog and back "
            .repeat(2)
            .get(..74)
            .unwrap_or_default()
    );
    let mut text = header.to_owned();
    while text.len() < bytes {
        text.push_str(&line);
    }
    text.into_bytes()
}

fn bodies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("smtp_machine");
    for (name, size) in [("body_4k", 4096), ("body_1m", 1 << 20)] {
        let body = content(size);
        let mut input =
            b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n".to_vec();
        input.extend_from_slice(&body);
        input.extend_from_slice(b".\r\n");
        let config = config(false);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            let mut server = server(&config);
            drive(&mut server, b"EHLO client.example\r\n");
            bencher.iter(|| drive(&mut server, black_box(&input)));
        });
    }
    let body = content(1 << 20);
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("encode_1m", |bencher| {
        let mut out = Vec::with_capacity(2 << 20);
        bencher.iter(|| {
            out.clear();
            let mut encoder = Encoder::new();
            encoder.encode(black_box(&body), &mut out);
            encoder.finish(&mut out);
            out.len()
        });
    });
    let mut wire = Vec::new();
    let mut encoder = Encoder::new();
    encoder.encode(&body, &mut wire);
    encoder.finish(&mut wire);
    group.bench_function("decode_1m", |bencher| {
        let mut out = Vec::with_capacity(2 << 20);
        bencher.iter(|| {
            out.clear();
            Decoder::new().decode(black_box(&wire), &mut out)
        });
    });
    group.finish();
}

criterion_group!(benches, commands, bodies);
criterion_main!(benches);
