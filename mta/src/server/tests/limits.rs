//! Every limit of a session by the name of its key, one below it, at it and one above it.
//!
//! The keys are those of mta.md 1.2 and 1.3; a key of these groups that has no row fails the test.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use angarium_config::server as config;
use angarium_effects::disk::SimDisk;
use angarium_smtp::server::{AuthConfig, Limits, Timeouts};
use angarium_smtp::verdict::Verdict;
use angarium_spool::Spool;

use super::support::{Bench, Client, MemoryStore, Scripted, scripted, settings, settle, simulate};
use super::{super::Settings, spool};

/// What is good of one below the limit, the limit and one above it.
type Good = [bool; 3];

const AT_MOST: Good = [true, true, false];
const LESS_THAN: Good = [true, false, false];
const AT_LEAST: Good = [false, true, true];

/// A key, its value in the test, what is good around it, and how an amount fares under it.
struct Row(&'static str, u64, Good, fn(u64, u64) -> bool);

const ROWS: &[Row] = &[
    Row("servers[].limits.line", 40, AT_MOST, line),
    Row("servers[].limits.authline", 60, AT_MOST, authline),
    Row("servers[].limits.commands", 10, AT_MOST, commands),
    Row("servers[].limits.errors", 5, AT_MOST, errors),
    Row("servers[].limits.header", 100, AT_MOST, header),
    Row("servers[].limits.headers", 150, AT_MOST, headers),
    Row("servers[].limits.minrate", 100, AT_LEAST, minrate),
    Row(
        "servers[].phases.rcptto.maxrecipients",
        3,
        AT_MOST,
        maxrecipients,
    ),
    Row(
        "servers[].phases.mailfrom.maxmessages",
        3,
        AT_MOST,
        maxmessages,
    ),
    Row(
        "servers[].phases.data.maxsize",
        500,
        AT_MOST,
        maxsize_declared,
    ),
    Row(
        "servers[].phases.data.maxsize",
        500,
        AT_MOST,
        maxsize_of_data,
    ),
    Row(
        "servers[].phases.data.maxsize",
        500,
        AT_MOST,
        maxsize_of_a_chunk,
    ),
    Row(
        "servers[].phases.data.maxsize",
        500,
        AT_MOST,
        maxsize_of_all_chunks,
    ),
    Row("servers[].phases.data.maxhops", 4, AT_MOST, maxhops),
    Row("servers[].concurrency.total", 3, AT_MOST, total),
    Row("servers[].concurrency.ip", 2, AT_MOST, ip),
    Row("servers[].timeout.idle", 30, LESS_THAN, idle),
    Row("servers[].timeout.command", 20, LESS_THAN, command),
    Row("servers[].timeout.data", 90, LESS_THAN, data),
    // Bodies of 4 KiB, the least that one takes.
    Row("spool.memory", 3, AT_MOST, memory),
];

#[test]
fn every_limit_holds_at_one_below_itself_and_one_above() {
    let mut wrong = Vec::new();
    for Row(key, limit, good, probe) in ROWS {
        let found = [limit - 1, *limit, limit + 1].map(|amount| probe(*limit, amount));
        if found != *good {
            wrong.push(format!("{key}: {found:?} instead of {good:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_limit_of_the_configuration_is_left_out() {
    let keys = |group: &str, value: serde_json::Value| -> Vec<String> {
        let object = value.as_object().expect("a map");
        object
            .keys()
            .map(|key| format!("servers[].{group}.{key}"))
            .collect()
    };
    let json = serde_json::to_value::<config::Limits>;
    let mut wanted = keys("limits", json(config::Limits::default()).expect("JSON"));
    let concurrency = serde_json::to_value(config::ServerConcurrency::default());
    wanted.extend(keys("concurrency", concurrency.expect("JSON")));
    let timeout = serde_json::to_value(config::ServerTimeouts::default());
    wanted.extend(keys("timeout", timeout.expect("JSON")));
    let named: BTreeSet<&str> = ROWS.iter().map(|Row(key, ..)| *key).collect();
    for key in wanted {
        assert!(named.contains(key.as_str()), "{key} has no row");
    }
}

/// Talks to a server whose limits were changed.
fn holds(
    change: impl FnOnce(&mut Limits, &mut Timeouts),
    talk: impl AsyncFnOnce(&Bench, &mut Client) -> bool,
) -> bool {
    let mut settings = settings(&Arc::new(MemoryStore::default()));
    let smtp = Arc::make_mut(&mut settings.smtp);
    smtp.extensions.chunking = true;
    smtp.auth = Some(AuthConfig {
        tls_only: false,
        ..AuthConfig::default()
    });
    change(&mut smtp.limits, &mut smtp.timeouts);
    serve(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        talk(&bench, &mut client).await
    })
}

fn serve(settings: Settings, talk: impl AsyncFnOnce(Bench) -> bool) -> bool {
    let good = Cell::new(false);
    simulate(settings, async |bench| good.set(talk(bench).await));
    good.get()
}

fn size(amount: u64) -> usize {
    usize::try_from(amount).expect("a small number")
}

/// Whether the reply to a line begins so.
async fn says(client: &mut Client, line: &str, start: &str) -> bool {
    client.send(&format!("{line}\r\n")).await;
    let reply = client.reply().await;
    reply.is_some_and(|reply| reply.starts_with(start))
}

/// Whether a message with this content is accepted.
async fn takes(client: &mut Client, content: &str) -> bool {
    client.begin_message(content).await;
    client
        .reply()
        .await
        .is_some_and(|reply| reply.starts_with("250"))
}

/// Text of so many bytes that begins so.
fn filled(start: &str, amount: u64) -> String {
    format!("{start}{}", "A".repeat(size(amount) - start.len()))
}

fn line(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.line = size(limit),
        async |_, client| says(client, &filled("NOOP ", amount), "250").await,
    )
}

fn authline(limit: u64, amount: u64) -> bool {
    let initial = holds(
        |limits, _| limits.auth_line = size(limit),
        async |_, client| !says(client, &filled("AUTH PLAIN ", amount), "500").await,
    );
    let answer = holds(
        |limits, _| limits.auth_line = size(limit),
        async |_, client| {
            says(client, "AUTH LOGIN", "334").await
                && !says(client, &filled("", amount), "500").await
        },
    );
    assert_eq!(initial, answer);
    initial
}

fn commands(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.commands = u32::try_from(limit).expect("small"),
        async |_, client| {
            let mut good = true;
            // EHLO was the first.
            for _ in 1..amount {
                good = says(client, "NOOP", "250").await;
            }
            good
        },
    )
}

fn errors(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.errors = u32::try_from(limit).expect("small"),
        async |_, client| {
            let mut good = true;
            for _ in 0..amount {
                good = says(client, "FOO", "500").await;
            }
            good && says(client, "NOOP", "250").await
        },
    )
}

fn header(limit: u64, amount: u64) -> bool {
    let field = filled("A: ", amount - 2) + "\r\n";
    holds(
        |limits, _| limits.header = size(limit),
        async |_, client| takes(client, &field).await,
    )
}

fn headers(limit: u64, amount: u64) -> bool {
    let fields = format!(
        "{}\r\n{}\r\n",
        filled("A: ", 60),
        filled("B: ", amount - 64)
    );
    holds(
        |limits, _| limits.headers = size(limit),
        async |_, client| takes(client, &fields).await,
    )
}

fn minrate(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.min_rate = limit,
        async |bench, client| {
            client.command("MAIL FROM:<>", "250").await;
            client.command("RCPT TO:<a@b.example>", "250").await;
            client.command("DATA", "354").await;
            for _ in 0..60 {
                client.send(&filled("", amount)).await;
                bench.advance(Duration::from_secs(1)).await;
            }
            says(client, "\r\n.", "250").await
        },
    )
}

fn maxrecipients(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.recipients = size(limit),
        async |_, client| {
            client.command("MAIL FROM:<>", "250").await;
            let mut good = true;
            for _ in 0..amount {
                good = says(client, "RCPT TO:<a@b.example>", "250 2.1.5").await;
            }
            good
        },
    )
}

fn maxmessages(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.messages = u32::try_from(limit).expect("small"),
        async |_, client| {
            let mut good = true;
            for _ in 0..amount {
                good =
                    says(client, "MAIL FROM:<>", "250").await && says(client, "RSET", "250").await;
            }
            good
        },
    )
}

fn maxsize_declared(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.size = limit,
        async |_, client| says(client, &format!("MAIL FROM:<> SIZE={amount}"), "250").await,
    )
}

fn maxsize_of_data(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.size = limit,
        async |_, client| takes(client, &(filled("\r\n", amount - 2) + "\r\n")).await,
    )
}

fn maxsize_of_a_chunk(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.size = limit,
        async |_, client| {
            client.command("MAIL FROM:<>", "250").await;
            client.command("RCPT TO:<a@b.example>", "250").await;
            client
                .send(&format!("BDAT {amount} LAST\r\n{}", filled("", amount)))
                .await;
            client
                .reply()
                .await
                .is_some_and(|reply| reply.starts_with("250"))
        },
    )
}

fn maxsize_of_all_chunks(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.size = limit,
        async |_, client| {
            client.command("MAIL FROM:<>", "250").await;
            client.command("RCPT TO:<a@b.example>", "250").await;
            client
                .send(&format!("BDAT 200\r\n{}", filled("", 200)))
                .await;
            client.expect("250").await;
            let rest = amount - 200;
            client
                .send(&format!("BDAT {rest} LAST\r\n{}", filled("", rest)))
                .await;
            client
                .reply()
                .await
                .is_some_and(|reply| reply.starts_with("250"))
        },
    )
}

fn maxhops(limit: u64, amount: u64) -> bool {
    holds(
        |limits, _| limits.hops = u32::try_from(limit).expect("small"),
        async |_, client| takes(client, &"Received: x\r\n".repeat(size(amount))).await,
    )
}

/// Whether the last of so many clients is let in; no hook has run for one that is not.
fn admitted(
    amount: u64,
    change: impl FnOnce(&mut Settings),
    source: impl Fn(u8) -> [u8; 4],
) -> bool {
    let hooks = Scripted::new(|_, _| (Duration::ZERO, Verdict::accept()));
    let seen = Arc::clone(&hooks.seen);
    let mut settings = scripted(&Arc::new(MemoryStore::default()), hooks);
    change(&mut settings);
    serve(settings, async |bench| {
        let mut clients = Vec::new();
        let mut replies = Vec::new();
        for number in 0..amount {
            let number = u8::try_from(number).expect("small");
            let mut client = bench.connect_from(source(number)).await;
            replies.push(client.reply().await.unwrap_or_default());
            clients.push(client);
        }
        settle().await;
        let let_in = replies
            .iter()
            .filter(|reply| reply.starts_with("220"))
            .count();
        let refused = replies
            .iter()
            .filter(|reply| reply.starts_with("421 4.7.0"));
        assert_eq!(let_in + refused.count(), replies.len(), "{replies:?}");
        let hooks = seen.lock().expect("the lock").len();
        assert_eq!(hooks, let_in, "a refused connection runs no hook");
        replies.last().is_some_and(|reply| reply.starts_with("220"))
    })
}

fn total(limit: u64, amount: u64) -> bool {
    admitted(
        amount,
        |settings| settings.total = size(limit),
        |number| [192, 0, 2, number + 1],
    )
}

fn ip(limit: u64, amount: u64) -> bool {
    admitted(
        amount,
        |settings| settings.per_ip = u32::try_from(limit).expect("small"),
        |_| [192, 0, 2, 1],
    )
}

fn idle(limit: u64, amount: u64) -> bool {
    holds(
        |_, timeouts| timeouts.idle = Duration::from_secs(limit),
        async |bench, client| {
            bench.advance(Duration::from_secs(amount)).await;
            says(client, "NOOP", "250").await
        },
    )
}

fn command(limit: u64, amount: u64) -> bool {
    holds(
        |_, timeouts| timeouts.command = Duration::from_secs(limit),
        async |bench, client| {
            client.send("NO").await;
            bench.advance(Duration::from_secs(amount)).await;
            says(client, "OP", "250").await
        },
    )
}

fn data(limit: u64, amount: u64) -> bool {
    holds(
        |limits, timeouts| {
            limits.min_rate = 0;
            timeouts.data = Duration::from_secs(limit);
        },
        async |bench, client| {
            client.command("MAIL FROM:<>", "250").await;
            client.command("RCPT TO:<a@b.example>", "250").await;
            client.command("DATA", "354").await;
            client.send("x").await;
            bench.advance(Duration::from_secs(amount)).await;
            says(client, "\r\n.", "250").await
        },
    )
}

/// Whether the last of so many messages begun at once finds memory.
fn memory(limit: u64, amount: u64) -> bool {
    let disk = Arc::new(SimDisk::new(1));
    let config = spool::config(limit * 4096);
    let (spool, _, _stepper) = Spool::open_stepped(disk, config).expect("a spool");
    serve(
        spool::over(&spool, &Arc::new(Mutex::default())),
        async |bench| {
            let mut clients = Vec::new();
            let mut good = true;
            for _ in 0..amount {
                let mut client = bench.connect().await;
                client.greet().await;
                client.command("MAIL FROM:<>", "250").await;
                client.command("RCPT TO:<a@b.example>", "250").await;
                good = says(&mut client, "DATA", "354").await;
                clients.push(client);
            }
            good
        },
    )
}
