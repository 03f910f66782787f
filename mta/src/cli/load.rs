//! `load`: many sessions send many messages, and the time is taken.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::system::{SystemClock, SystemNet};

use super::failure::Failure;
use super::outbound::{Outbound, Outside, envelope, target};
use super::terminal::print;

/// `angarium load`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server, as HOST:PORT
    #[arg(value_name = "HOST:PORT")]
    target: String,
    /// Connections at a time
    #[arg(long, short, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sessions: u32,
    /// Messages of each session
    #[arg(long, short, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
    /// Bytes of a message, header included
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(..=64 << 20))]
    size: u32,
    /// Sender
    #[arg(long, value_name = "ADDRESS", default_value = "load@example.net")]
    from: String,
    /// Recipient
    #[arg(long, value_name = "ADDRESS", default_value = "you@example.com")]
    to: String,
    /// A new connection after this many messages; 0: one connection for each session
    #[arg(long, value_name = "N", default_value_t = 0)]
    per_connection: u32,
    /// Wait for each reply before the next command
    #[arg(long)]
    no_pipelining: bool,
}

/// What all sessions have counted.
#[derive(Default)]
struct Tally {
    sent: Cell<u64>,
    failures: RefCell<BTreeMap<String, u64>>,
    /// Time from MAIL to the reply after the message.
    times: RefCell<Vec<Duration>>,
}

impl Tally {
    fn failed(&self, why: String, count: u64) {
        *self.failures.borrow_mut().entry(why).or_default() += count;
    }
}

/// Sends and prints the figures.
///
/// # Errors
/// When a message did not get through.
pub async fn run(args: Args) -> Result<(), Failure> {
    let to = target(&args.target)?;
    let message: Rc<[u8]> = message(args.size as usize, &args.from, &args.to).into();
    // The addresses are looked at before anything is sent.
    envelope(&args.from, &args.to, &message)?;
    let outside = Outside {
        clock: Rc::new(SystemClock),
        net: Rc::new(SystemNet),
    };
    let (tally, args) = (Rc::new(Tally::default()), Rc::new(args));
    let began = outside.clock.monotonic();
    let mut sessions = Vec::new();
    for _ in 0..args.sessions {
        let (outside, tally) = (outside.clone(), Rc::clone(&tally));
        let (args, message) = (Rc::clone(&args), Rc::clone(&message));
        sessions.push(tokio::task::spawn_local(async move {
            session(&outside, to, &args, &message, &tally).await;
        }));
    }
    for session in sessions {
        if let Err(error) = session.await {
            tally.failed(format!("a session ended unexpectedly: {error}"), 1);
        }
    }
    let elapsed = outside.clock.monotonic().since(began);
    print(&figures(&tally, elapsed, args.sessions, message.len()))?;
    if tally.failures.borrow().is_empty() {
        Ok(())
    } else {
        Err(Failure::Status(1))
    }
}

async fn session(
    outside: &Outside,
    to: std::net::SocketAddr,
    args: &Args,
    message: &[u8],
    tally: &Tally,
) {
    let mut connection: Option<Outbound> = None;
    let mut on_this = 0;
    for number in 0..args.messages {
        let mut outbound = match connection.take() {
            Some(outbound) => outbound,
            None => match Outbound::open(outside, to, !args.no_pipelining).await {
                Ok(outbound) => outbound,
                // A server that cannot be reached is not asked again and again.
                Err(why) => return tally.failed(why, u64::from(args.messages - number)),
            },
        };
        let Ok(transaction) = envelope(&args.from, &args.to, message) else {
            return;
        };
        let began = outside.clock.monotonic();
        match outbound.send(transaction, message).await {
            Ok(()) => {
                tally.sent.set(tally.sent.get() + 1);
                let took = outside.clock.monotonic().since(began);
                tally.times.borrow_mut().push(took);
            }
            Err(why) => tally.failed(why, 1),
        }
        on_this += 1;
        if !outbound.is_reusable() {
            on_this = 0;
        } else if on_this == args.per_connection {
            on_this = 0;
            outbound.quit().await;
        } else {
            connection = Some(outbound);
        }
    }
    if let Some(outbound) = connection {
        outbound.quit().await;
    }
}

/// A message of about `size` bytes in lines of 78.
fn message(size: usize, from: &str, to: &str) -> Vec<u8> {
    let mut text = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nSubject: load\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\r\n"
    );
    let line = "The quick brown fox jumps over the lazy dog, and over it goes again and again.";
    while text.len() < size {
        let left = size - text.len();
        text.push_str(&line[..line.len().min(left.saturating_sub(2))]);
        text.push_str("\r\n");
    }
    text.into_bytes()
}

fn figures(tally: &Tally, elapsed: Duration, sessions: u32, size: usize) -> String {
    let sent = tally.sent.get();
    let rate = if elapsed.is_zero() {
        0.0
    } else {
        sent as f64 / elapsed.as_secs_f64()
    };
    let mut text = format!(
        "{sent} messages of {size} bytes in {:.3} s over {sessions} sessions: {rate:.0} messages/s\n",
        elapsed.as_secs_f64()
    );
    let mut times = tally.times.borrow_mut();
    times.sort_unstable();
    let at = |share: usize| {
        let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    if !times.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "each took {:.2} ms (half of them), {:.2} ms (99 of 100), {:.2} ms (the slowest)",
            at(50),
            at(99),
            at(100)
        );
    }
    for (why, count) in tally.failures.borrow().iter() {
        let _ = writeln!(text, "{count} failed: {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_ends_its_lines() {
        for size in [200, 4096, 10_001] {
            let message = message(size, "a@example.net", "b@example.com");
            assert!(message.len().abs_diff(size) <= 2, "{size}");
            assert!(message.ends_with(b"\r\n"));
        }
    }
}
