//! A queue of a million messages, measured: memory, start, lists, pick-up.
//!
//! `cargo run --release -p angarium --example million`
//!
//! A spool is filled with a million small messages. Then the server itself is started on it (this program runs
//! itself as `serve`), once on an empty spool and once on the full one, and asked over its control socket. The messages
//! are all deferred, all on hold, or all active behind a suspend, each in a run of its own. At last messages are picked
//! up from a queue of as many in more and more sub-queues.
//!
//! Arguments: `--messages N`, `--states defer,hold,active`, `--dir FOLDER` for the spools, `--no-pickup`,
//! `--pickup-only`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives a real server, measures and prints"
)]

#[path = "../shared/control.rs"]
mod control;
mod fill;
mod pickup;
#[path = "../shared/server.rs"]
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use angarium_control::Message as _;
use angarium_control::proto::{
    self, QueueGroupByRequest, QueueGroupByResponse, QueueListRequest, QueueListResponse,
};
use server::Server;

/// The server is this program; it has the server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured three times counts with its slowest.
const TIMES: usize = 3;

/// What all messages of a run wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Defer,
    Hold,
    Active,
}

/// No mail comes in and none goes out; nothing that is active is picked up.
const STARTUP: &str = r#"version: "6.0"
servers:
  - id: default
    type: smtp
    listeners:
      - address: 127.0.0.1
        port: PORT
spool:
  path: spool/queue
  tmp: spool/tmp
environment:
  controlsocket:
    path: control
"#;
const RUNNING: &str = r#"version: "6.0"
servers:
  - id: default
    type: smtp
    transport: out
transportgroups:
  - id: default
    transports:
      - id: out
        connection:
          server: 127.0.0.1
          port: 9
"#;
const SUSPEND: &str = r#"version: "6.0"
suspends:
  - transportid: out
"#;

struct Options {
    messages: u64,
    states: Vec<State>,
    folder: PathBuf,
    pickup: bool,
}

fn main() -> std::process::ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|command| command == "serve") {
        return angarium::cli::main(args);
    }
    let options = options();
    for state in &options.states {
        measure(*state, &options);
    }
    if options.pickup {
        pickup::measure(options.messages);
    }
    std::process::ExitCode::SUCCESS
}

fn options() -> Options {
    let mut options = Options {
        messages: 1_000_000,
        states: vec![State::Defer, State::Hold, State::Active],
        folder: std::env::temp_dir(),
        pickup: true,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let mut value = || {
            args.next()
                .unwrap_or_else(|| panic!("{name} needs a value"))
        };
        match name.as_str() {
            "--messages" => options.messages = value().parse().unwrap(),
            "--dir" => options.folder = value().into(),
            "--states" => options.states = value().split(',').map(state).collect(),
            "--no-pickup" => options.pickup = false,
            "--pickup-only" => options.states.clear(),
            _ => panic!("there is no argument {name}"),
        }
    }
    options
}

fn state(name: &str) -> State {
    match name {
        "defer" => State::Defer,
        "hold" => State::Hold,
        "active" => State::Active,
        "" => panic!("a state is missing"),
        _ => panic!("there is no state {name}"),
    }
}

/// Fills a spool, starts the server on it, and asks.
fn measure(state: State, options: &Options) {
    let count = options.messages;
    let startup = STARTUP.replace("PORT", &server::free_port().to_string());
    let config = [
        ("smtpd.yaml", startup.as_str()),
        ("smtpd-app.yaml", RUNNING),
        ("smtpd-suspend.yaml", SUSPEND),
    ];
    let folder = tempfile::Builder::new()
        .prefix("angarium-million-")
        .tempdir_in(&options.folder)
        .unwrap();
    println!("\n{count} messages, {state:?}");
    let empty = Server::start(folder.path(), &config, 0).memory();
    let begin = Instant::now();
    let disk = fill::fill(folder.path(), count, state);
    println!(
        "  filled in {:.1} s, {:.0} bytes of disk each",
        begin.elapsed().as_secs_f64(),
        disk as f64 / count as f64
    );
    let mut server = Server::start(folder.path(), &config, count);
    println!(
        "  start after a clean stop: opens in {:.2} s, all in the queue after {:.2} s, {:.2} s of CPU",
        server.open.as_secs_f64(),
        server.loaded.as_secs_f64(),
        server.cpu().as_secs_f64()
    );
    settle(&mut server, state, count);
    let full = server.memory();
    println!(
        "  memory: {} MiB, {} MiB with an empty queue: {:.0} bytes a message (most: {:.0})",
        full.now >> 20,
        empty.now >> 20,
        (full.now.saturating_sub(empty.now)) as f64 / count as f64,
        (full.peak.saturating_sub(empty.peak)) as f64 / count as f64,
    );
    ask(&mut server, count);
    let after = server.memory();
    println!(
        "  memory after that: {:.0} bytes a message (most: {:.0})",
        (after.now.saturating_sub(empty.now)) as f64 / count as f64,
        (after.peak.saturating_sub(empty.peak)) as f64 / count as f64,
    );
    server.kill();
    let checkpoint = folder.path().join("spool/queue/log/checkpoint");
    std::fs::remove_file(checkpoint).unwrap();
    let mut server = Server::start(folder.path(), &config, count);
    println!(
        "  start without a checkpoint, every segment read: opens in {:.2} s, all in the queue after {:.2} s, {:.2} s of CPU",
        server.open.as_secs_f64(),
        server.loaded.as_secs_f64(),
        server.cpu().as_secs_f64()
    );
    server.kill();
}

/// Waits until every message is where it stays.
fn settle(server: &mut Server, state: State, count: u64) {
    server.wait(|queue| {
        let size =
            |of: Option<proto::process_stats_response::queue::Size>| of.unwrap_or_default().size;
        let queues = queue.queue.unwrap_or_default();
        let there = match state {
            State::Defer => size(queues.defer),
            State::Active => queues.active.unwrap_or_default().size,
            State::Hold => size(queue.freeze.unwrap_or_default().hold),
        };
        there == count
    });
}

/// Lists and groups over the control socket.
fn ask(server: &mut Server, count: u64) {
    let list = |what: &str, server: &mut Server, request: &QueueListRequest, fit: u64| {
        let body = request.encode_to_vec();
        time(what, || {
            let (data, took) = timed(|| server.control.call(b'F', Some(&body)));
            let response = QueueListResponse::decode(&data[..]).unwrap();
            assert_eq!(response.paging.unwrap().total, fit, "{what}");
            (data.len(), took)
        });
    };
    let first = QueueListRequest::default();
    list("list, the first hundred", server, &first, count);
    let sorted = QueueListRequest {
        sortings: vec![proto::queue_list_request::Sorting {
            field: Some(proto::queue_list_request::sorting::Field::Size(
                proto::Order::Desc.into(),
            )),
        }],
        ..QueueListRequest::default()
    };
    list("list, the hundred largest", server, &sorted, count);
    let nothing = QueueListRequest {
        conditions: Some(proto::Condition {
            subjects: vec![proto::StringMatch {
                value: "nothing".into(),
                r#type: proto::string_match::Type::Partial.into(),
                ..Default::default()
            }],
            ..proto::Condition::default()
        }),
        ..QueueListRequest::default()
    };
    list(
        "list, a part of a subject that none has",
        server,
        &nothing,
        0,
    );
    use proto::queue_group_by_request::group_by::Field;
    for (what, field, most) in [
        (
            "group by recipientdomain",
            Field::Recipientdomain(true),
            fill::DOMAINS,
        ),
        ("group by jobid", Field::Jobid(true), fill::JOBS),
        ("group by senderip", Field::Senderip(true), 1),
    ] {
        let request = QueueGroupByRequest {
            groupbys: vec![proto::queue_group_by_request::GroupBy { field: Some(field) }],
            paging: Some(proto::PagingRequest {
                offset: 0,
                limit: count,
            }),
            ..QueueGroupByRequest::default()
        };
        let body = request.encode_to_vec();
        time(what, || {
            let (data, took) = timed(|| server.control.call(b'D', Some(&body)));
            let rows = QueueGroupByResponse::decode(&data[..]).unwrap().items;
            let total: u64 = rows.iter().map(|row| row.total).sum();
            assert_eq!(
                (rows.len() as u64, total),
                (most.min(count), count),
                "{what}"
            );
            (data.len(), took)
        });
    }
    let all = QueueListRequest {
        paging: Some(proto::PagingRequest {
            offset: 0,
            limit: count,
        }),
        ..QueueListRequest::default()
    };
    list("list, every message on one page", server, &all, count);
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    (act(), begin.elapsed())
}

/// Does something a few times and prints the slowest.
fn time(what: &str, mut act: impl FnMut() -> (usize, Duration)) {
    let (size, took) = (0..TIMES)
        .map(|_| act())
        .max_by_key(|(_, took)| *took)
        .unwrap();
    println!("  {what}: {:.3} s ({} KiB)", took.as_secs_f64(), size >> 10);
}
