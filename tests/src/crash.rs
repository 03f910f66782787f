//! Rounds of SIGKILL: twenty sessions send, the server is killed at a random moment and started again on the same
//! spool. Whatever was answered with 250 has to arrive.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::bundle::Bundle;
use crate::client::Client;
use crate::random::Random;
use crate::server::Server;
use crate::sink::{Message, Sink};
use crate::wait;

/// Sessions that send at the same time.
pub const SESSIONS: usize = 20;

/// What came of the rounds.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rounds that were run.
    pub rounds: usize,
    /// Messages that were answered with 250.
    pub answered: usize,
    /// Of these, those that arrived.
    pub arrived: usize,
    /// Copies beyond the first.
    pub duplicates: usize,
    /// Messages that arrived although their client did not get to see an answer: nothing wrong with that.
    pub unanswered: usize,
    /// Answered messages that never arrived.
    pub lost: Vec<String>,
    /// Messages that arrived with other content than was sent.
    pub damaged: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "answered with 250 and arrived: {} of {}",
            self.arrived, self.answered
        )?;
        write!(
            f,
            "{} rounds of SIGKILL, {SESSIONS} sessions: {} duplicates, {} arrived unanswered, {} lost, {} damaged",
            self.rounds,
            self.duplicates,
            self.unanswered,
            self.lost.len(),
            self.damaged.len()
        )
    }
}

/// Runs the rounds. `each` hears of every finished one.
///
/// # Panics
/// If the server does not come up again on its spool, or answers what it should not.
pub fn rounds(count: usize, seed: u64, mut each: impl FnMut(usize)) -> Outcome {
    let mut random = Random::new(seed);
    let sink = Sink::checking(|message| message.content.ends_with(&content(id_of(message))));
    let bundle = Bundle::relay(sink.port());
    let answered = Mutex::new(Vec::new());
    for round in 0..count {
        let mut server = Server::spawn(&bundle);
        // Some rounds end while the server still reads its spool.
        let early = round % 8 == 7;
        if !early {
            server.wait_ready();
        }
        let life = Duration::from_millis(random.below(if early { 120 } else { 600 }));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for session in 0..SESSIONS {
                let (stop, answered) = (&stop, &answered);
                let address = bundle.address;
                let seed = random.bits();
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let sent =
                            send(address, round, session, &mut number, &mut random, answered);
                        if sent.is_err() {
                            // Not up yet, or killed.
                            std::thread::sleep(Duration::from_millis(2));
                        }
                    }
                });
            }
            std::thread::sleep(life);
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        server.remove_log();
        each(round);
    }
    let mut server = Server::start(&bundle);
    let answered = answered.into_inner().unwrap();
    let outcome = || compare(count, &answered, &sink);
    // Everything that is left in the queue goes out now.
    wait::until_true(Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(100));
        sink.count() >= answered.len() && outcome().lost.is_empty()
    });
    server.stop();
    outcome()
}

/// Sends until the connection breaks; each answered message is noted.
fn send(
    address: SocketAddr,
    round: usize,
    session: usize,
    number: &mut usize,
    random: &mut Random,
    answered: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    client.command("EHLO client.example")?;
    for _ in 0..20 {
        *number += 1;
        // Most are small; a big one goes another way to the disk.
        let bound = if random.below(20) == 0 {
            400_000
        } else {
            4_000
        };
        let length = random.below(bound);
        let id = format!("r{round}.s{session}.n{number}.x{length}");
        let reply = client.send(
            "from@example.net",
            &format!("{id}@example.com"),
            &content(&id),
        )?;
        assert_eq!(reply.code, 250, "{}", reply.text);
        answered.lock().unwrap().push(id);
    }
    client.command("QUIT").map(drop)
}

/// The id of a message that has arrived.
fn id_of(message: &Message) -> &str {
    let to = message.to.first().map_or("", String::as_str);
    to.split('@').next().unwrap_or_default()
}

/// The content of a message, from its id: the number behind the x is the length of its body.
fn content(id: &str) -> Vec<u8> {
    let length = id
        .rsplit_once('x')
        .and_then(|(_, length)| length.parse().ok());
    let line = format!("{id} {}\r\n", "-".repeat(60));
    let lines = length.unwrap_or(0) / line.len();
    format!("Subject: {id}\r\n\r\n{}", line.repeat(lines)).into_bytes()
}

fn compare(rounds: usize, answered: &[String], sink: &Sink) -> Outcome {
    let mut outcome = Outcome {
        rounds,
        answered: answered.len(),
        ..Outcome::default()
    };
    sink.with_messages(|messages| {
        let mut copies: HashMap<&str, usize> = HashMap::new();
        for message in messages {
            let id = id_of(message);
            *copies.entry(id).or_default() += 1;
            if !message.good {
                outcome.damaged.push(id.to_owned());
            }
        }
        for id in answered {
            match copies.remove(id.as_str()) {
                None => outcome.lost.push(id.clone()),
                Some(count) => {
                    outcome.arrived += 1;
                    outcome.duplicates += count - 1;
                }
            }
        }
        outcome.unanswered = copies.len();
    });
    outcome
}
