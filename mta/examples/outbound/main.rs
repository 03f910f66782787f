//! Many destinations and many connections at once, measured with a real server on loopback.
//!
//! `cargo run --release -p angarium --example outbound`
//!
//! - 2,000 messages to 500 domains whose servers take 200 ms for each command: the time against the least that is
//!   possible, once with as many connections as the server likes, once with one for each domain.
//! - 10,000 connections at once from eight addresses of this machine, to servers that greet only when all are there.
//!
//! The server is this program itself as `serve`; domains are looked up from a name server on loopback, and their mail
//! servers are addresses of 127/8. Arguments: `--slow-only`, `--many-only`, `--connections N`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives a real server, measures and prints"
)]

mod client;
#[path = "../shared/control.rs"]
mod control;
mod dns;
#[path = "../shared/server.rs"]
mod server;
mod sink;

use std::path::Path;
use std::time::{Duration, Instant};

use angarium_control::Message as _;
use angarium_control::proto;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::Server;
use sink::Sink;

/// The server is this program; it has the server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a slow server takes for each command.
const DELAY: Duration = Duration::from_millis(200);
const MESSAGES: u32 = 2000;
const DOMAINS: u32 = 500;
/// Source addresses, 127.0.1.1 and on.
const SOURCES: u8 = 8;

fn main() -> std::process::ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|command| command == "serve") {
        return angarium::cli::main(args);
    }
    raise_limit();
    let (mut slow, mut many, mut connections) = (true, true, 10_000);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        match name.as_str() {
            "--slow-only" => many = false,
            "--many-only" => slow = false,
            "--connections" => connections = args.next().unwrap().parse().unwrap(),
            _ => panic!("there is no argument {name}"),
        }
    }
    if slow {
        self::slow(None);
        self::slow(Some(1));
    }
    if many {
        self::many(connections);
    }
    std::process::ExitCode::SUCCESS
}

/// Lets this process, and the servers that it starts, open as many files as the system allows.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// Ports of loopback.
#[derive(Clone, Copy)]
struct Ports {
    /// Where the server takes mail.
    listen: u16,
    /// Where its mail goes.
    sink: u16,
    dns: u16,
}

impl Ports {
    fn new(sink: &Sink) -> Ports {
        Ports {
            listen: server::free_port(),
            sink: sink.port(),
            dns: dns::start(),
        }
    }
}

/// A server that sends to the mail exchangers of the recipients' domains.
fn start(folder: &Path, ports: Ports, sources: u8, policy: &str) -> Server {
    let Ports { listen, sink, dns } = ports;
    let startup = format!(
        "version: '6.0'
servers: [{{ id: default, type: smtp, listeners: [{{ port: {listen}, address: 127.0.0.1 }}] }}]
spool: {{ path: spool/queue, tmp: spool/tmp, minfree: {{ bytes: 0, inodes: 0 }} }}
environment: {{ controlsocket: {{ path: control }} }}
"
    );
    let sources: Vec<String> = (1..=sources)
        .map(|last| format!("{{ address: 127.0.1.{last} }}"))
        .collect();
    let running = format!(
        "version: '6.0'
servers: [{{ id: default, type: smtp, hostname: relay.example, remoteptr: false, transport: out }}]
resolver: {{ servers: ['127.0.0.1:{dns}'] }}
transportgroups:
  - id: default
    transports:
      - id: out
        connection: {{ port: {sink}, sourceip: {{ addresses: [{}] }} }}
",
        sources.join(", ")
    );
    let policy = format!("version: '6.0'\n{policy}");
    let delivery = "version: '6.0'
delivery: { default: { pooling: { enabled: true } } }
";
    let config = [
        ("smtpd.yaml", startup.as_str()),
        ("smtpd-app.yaml", &running),
        ("smtpd-policy.yaml", &policy),
        ("smtpd-delivery.yaml", delivery),
    ];
    Server::start(folder, &config, 0)
}

/// Messages to domains whose servers take their time.
fn slow(most: Option<u32>) {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(DELAY, 0);
    let ports = Ports::new(&sink);
    let policy = most.map_or(String::new(), |most| {
        format!("policies: [{{ fields: [recipientdomain], default: {{ concurrency: {most} }} }}]\n")
    });
    let mut server = start(folder.path(), ports, 0, &policy);
    // Everything waits until all of it is there.
    let add = proto::SuspendAddRequest {
        id: "all".into(),
        ..Default::default()
    };
    server.control.call(b't', Some(&add.encode_to_vec()));
    client::submit(ports.listen, MESSAGES, DOMAINS);
    server.wait(|queue| {
        let queues = queue.queue.unwrap_or_default();
        queues.active.unwrap_or_default().size == u64::from(MESSAGES)
    });
    let before = server.cpu();
    let begin = Instant::now();
    let delete = proto::SuspendDeleteRequest { id: "all".into() };
    server.control.call(b'u', Some(&delete.encode_to_vec()));
    sink.wait(MESSAGES);
    let took = begin.elapsed();
    // The server still has to note the last of them.
    server.wait(|queue| queue.loader.unwrap_or_default().count == 0);
    let used = server.cpu() - before;
    // Greeting and EHLO once, then MAIL, RCPT, DATA and the end of the content for each message in turn.
    let each = match most {
        None => 1,
        Some(most) => (MESSAGES / DOMAINS).div_ceil(most),
    };
    let ideal = DELAY * (2 + 4 * each);
    println!(
        "\n{MESSAGES} messages to {DOMAINS} domains, {} ms a command, {}",
        DELAY.as_millis(),
        match most {
            None => "no limit for a domain".to_owned(),
            Some(most) => format!("{most} connection for each domain, kept open"),
        }
    );
    println!(
        "  {:.2} s, {:.2} s is the least: {:.1} % more",
        took.as_secs_f64(),
        ideal.as_secs_f64(),
        100.0 * (took.as_secs_f64() / ideal.as_secs_f64() - 1.0)
    );
    println!(
        "  {} connections, at most {} at once; {:.3} ms of CPU a message",
        sink.connections(),
        sink.most(),
        used.as_secs_f64() * 1000.0 / f64::from(MESSAGES)
    );
    assert_eq!(sink.messages(), MESSAGES, "each once");
    assert!(most.is_none_or(|most| sink.most() <= most * DOMAINS));
}

/// Connections that are all open at the same time.
fn many(count: u32) {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(Duration::ZERO, count);
    let ports = Ports::new(&sink);
    let mut server = start(folder.path(), ports, SOURCES, "");
    let empty = server.memory();
    let add = proto::SuspendAddRequest {
        id: "all".into(),
        ..Default::default()
    };
    server.control.call(b't', Some(&add.encode_to_vec()));
    client::submit(ports.listen, count, DOMAINS);
    server.wait(|queue| {
        let queues = queue.queue.unwrap_or_default();
        queues.active.unwrap_or_default().size == u64::from(count)
    });
    let queued = server.memory();
    let before = server.cpu();
    let begin = Instant::now();
    let delete = proto::SuspendDeleteRequest { id: "all".into() };
    server.control.call(b'u', Some(&delete.encode_to_vec()));
    sink.wait_open(count);
    let opened = begin.elapsed();
    let open = server.memory();
    let running = server.stats().connections.unwrap_or_default().concurrent;
    sink.greet();
    sink.wait(count);
    let took = begin.elapsed();
    server.wait(|queue| queue.loader.unwrap_or_default().count == 0);
    let used = server.cpu() - before;
    println!("\n{count} connections at once to {DOMAINS} domains from {SOURCES} addresses");
    println!(
        "  all open after {:.2} s, all delivered after {:.2} s; {running} deliveries at once by the server's count",
        opened.as_secs_f64(),
        took.as_secs_f64()
    );
    let of = |bytes: u64| bytes as f64 / f64::from(count);
    println!(
        "  memory: {:.0} bytes a connection, {:.0} of them for the queued message; {} MiB in all, most {} MiB",
        of(open.now.saturating_sub(empty.now)),
        of(queued.now.saturating_sub(empty.now)),
        open.now >> 20,
        server.memory().peak >> 20
    );
    println!(
        "  {:.3} ms of CPU a message with its connection",
        used.as_secs_f64() * 1000.0 / f64::from(count)
    );
    println!("  connections by source address: {:?}", sink.sources());
    assert_eq!(sink.messages(), count, "each once");
    assert_eq!(sink.sources().len(), usize::from(SOURCES));
}
