//! The client against scripted servers and against our own server machine.

mod chunks;
mod dialogue;
mod opening;
mod relay;

use std::time::Duration;

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::param::Params;

/// What the scripted server does instead of a good reply.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Temporary,
    Permanent,
    Shutdown,
    Close,
    Silence,
    Garbage,
}

const FAULTS: [Fault; 6] = [
    Fault::Temporary,
    Fault::Permanent,
    Fault::Shutdown,
    Fault::Close,
    Fault::Silence,
    Fault::Garbage,
];

/// A server in memory that answers each command, and the driver of the client.
struct Bench {
    client: Client,
    now: Duration,
    /// EHLO lines.
    announce: &'static str,
    /// Command prefix (`BANNER`, `EOD`) and what happens there.
    fault: Option<(&'static str, Fault)>,
    /// Replies to commands that are not the usual ones.
    replies: Vec<(&'static str, &'static str)>,
    transactions: Vec<Transaction>,
    message: Vec<u8>,
    /// What the client wrote.
    dialogue: String,
    content: Vec<u8>,
    done: Vec<String>,
    pending: Vec<u8>,
    in_data: bool,
    gone: bool,
    tls_ok: bool,
    /// Transactions are only asked about.
    probe: bool,
    /// The end of a message is answered for each recipient.
    lmtp: bool,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self {
            client: Client::new(config, false, Duration::ZERO),
            now: Duration::ZERO,
            announce: "PIPELINING\nSIZE 1000\n8BITMIME\nSMTPUTF8\nDSN\nSTARTTLS\nAUTH PLAIN LOGIN",
            fault: None,
            replies: Vec::new(),
            transactions: vec![transaction(&["b@example.net"])],
            message: b"Subject: x\r\n\r\n.x\r\n".to_vec(),
            dialogue: String::new(),
            content: Vec::new(),
            done: Vec::new(),
            pending: Vec::new(),
            in_data: false,
            gone: false,
            tls_ok: true,
            probe: false,
            lmtp: false,
        }
    }

    /// Runs the connection to its end.
    fn run(&mut self) -> String {
        self.answer("BANNER", "220 mx.example ESMTP\r\n");
        for _ in 0..100 {
            while let Some(output) = self.client.poll() {
                self.output(output);
            }
            if self.client.is_closed() {
                return self.done.join("\n");
            }
            let written = self.client.requests().to_vec();
            self.client.written(written.len());
            if written.is_empty() || self.gone {
                let deadline = self.client.deadline().expect("something is due");
                self.now = self.now.max(deadline);
                self.client.handle(self.now, Input::Tick);
            }
            self.pending.extend_from_slice(&written);
            self.serve();
        }
        panic!("the dialogue does not end: {}", self.dialogue);
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::StartTls if self.tls_ok => self.client.handle(self.now, Input::TlsDone),
            Output::StartTls => self
                .client
                .handle(self.now, Input::TlsFailed("bad certificate".to_owned())),
            Output::Ready => self.next(),
            Output::Content => {
                for piece in self.message.clone().chunks(7) {
                    self.client.handle(self.now, Input::Content(piece));
                }
                self.client.handle(self.now, Input::ContentEnd);
            }
            Output::Done(outcomes) => {
                self.done.extend(outcomes.iter().map(show));
                if self.client.is_reusable() {
                    self.next();
                }
            }
            Output::Failed {
                outcome,
                retry_in_clear,
            } => {
                let hint = if retry_in_clear {
                    " (retry in clear)"
                } else {
                    ""
                };
                self.done.push(format!("failed: {}{hint}", show(&outcome)));
            }
            Output::Close => {}
        }
    }

    fn next(&mut self) {
        let input = if self.transactions.is_empty() {
            Input::Quit
        } else if self.probe {
            Input::Probe(Box::new(self.transactions.remove(0)))
        } else {
            Input::Begin(Box::new(self.transactions.remove(0)))
        };
        self.client.handle(self.now, input);
    }

    /// Answers what the client has written.
    fn serve(&mut self) {
        while !self.gone {
            if self.in_data {
                let mut decoder = crate::content::Decoder::new();
                let mut content = Vec::new();
                let used = decoder.decode(&self.pending, &mut content);
                if !decoder.is_done() {
                    return;
                }
                self.pending.drain(..used);
                self.dialogue.push_str("(message)\n");
                self.content = content;
                self.in_data = false;
                self.answer("EOD", "250 2.0.0 queued\r\n");
                continue;
            }
            let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') else {
                return;
            };
            let line = String::from_utf8_lossy(&self.pending[..end]).into_owned();
            if let Some(chunk) = line.strip_prefix("BDAT ") {
                let (size, last) = match chunk.trim_end().split_once(' ') {
                    Some((size, last)) => (size, last == "LAST"),
                    None => (chunk.trim_end(), false),
                };
                let size: usize = size.parse().expect("a size");
                if self.pending.len() < end + 1 + size {
                    return;
                }
                let bytes: Vec<u8> = self.pending.drain(..end + 1 + size).skip(end + 1).collect();
                self.content.extend(bytes);
                self.dialogue.push_str(&format!("{}\n", line.trim_end()));
                let recipients = self
                    .dialogue
                    .rsplit("MAIL")
                    .next()
                    .map_or(1, |since| since.matches("RCPT").count());
                for _ in 0..if last && self.lmtp { recipients } else { 1 } {
                    self.answer(if last { "EOD" } else { "BDAT" }, "250 2.0.0 queued\r\n");
                }
                continue;
            }
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8(line).expect("UTF-8");
            let line = line.strip_suffix("\r\n").expect("CRLF").to_owned();
            self.dialogue.push_str(&format!("{line}\n"));
            let good = match line.split(' ').next() {
                Some("EHLO" | "LHLO") => {
                    let lines: String = self
                        .announce
                        .lines()
                        .map(|line| format!("250-{line}\r\n"))
                        .collect();
                    format!("250-mx.example\r\n{lines}250 HELP\r\n")
                }
                Some("STARTTLS") => {
                    self.announce = "PIPELINING\n8BITMIME";
                    "220 go\r\n".to_owned()
                }
                Some("AUTH") => "235 2.7.0 ok\r\n".to_owned(),
                Some("DATA") => "354 go\r\n".to_owned(),
                Some("QUIT") => "221 bye\r\n".to_owned(),
                _ => "250 ok\r\n".to_owned(),
            };
            let special = self
                .replies
                .iter()
                .find(|(start, _)| line.starts_with(start));
            let good = special.map_or(good, |(_, reply)| format!("{reply}\r\n"));
            self.in_data = good.starts_with("354") && line == "DATA" && !self.faulty("DATA");
            self.answer(&line, &good);
        }
    }

    fn faulty(&self, line: &str) -> bool {
        self.fault.is_some_and(|(at, _)| line.starts_with(at))
    }

    fn answer(&mut self, line: &str, good: &str) {
        let fault = self
            .fault
            .filter(|_| self.faulty(line))
            .map(|(_, fault)| fault);
        let text: &[u8] = match fault {
            None => good.as_bytes(),
            Some(Fault::Temporary) => b"450 4.2.0 busy\r\n",
            Some(Fault::Permanent) => b"550-5.7.1 no\r\n550 5.7.1 way\r\n",
            Some(Fault::Shutdown) => b"421 4.3.2 going down\r\n",
            Some(Fault::Garbage) => b"\x15\x03\x01\0\x02",
            Some(Fault::Silence) => {
                self.gone = true;
                return;
            }
            Some(Fault::Close) => {
                self.gone = true;
                return self.client.handle(self.now, Input::Gone(None));
            }
        };
        self.client.handle(self.now, Input::Bytes(text));
    }
}

fn transaction(recipients: &[&str]) -> Transaction {
    Transaction {
        sender: ReversePath::parse("a@example.com").expect("an address"),
        params: Params::default(),
        recipients: recipients
            .iter()
            .map(|address| Rcpt {
                address: Mailbox::parse(address).expect("an address"),
                params: Params::default(),
                dsn: DsnRcpt::default(),
            })
            .collect(),
        size: Some(17),
        eight_bit: false,
        utf8: false,
        dsn: DsnMail::default(),
        chunking: false,
        demands: Demands::default(),
    }
}

fn show(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Reply(reply) => {
            let enhanced = reply
                .enhanced
                .map(|status| format!(" {status}"))
                .unwrap_or_default();
            format!(
                "{} {}{enhanced} {:?}",
                reply.state.as_str(),
                reply.code,
                reply.reason
            )
        }
        Outcome::Error(failure) => {
            let time = if failure.temporary {
                "temporary"
            } else {
                "permanent"
            };
            format!("{} {time}: {}", failure.kind.as_str(), failure.message)
        }
    }
}

fn plain() -> Config {
    Config {
        helo: "me.example".to_owned(),
        tls: TlsMode::Disabled,
        ..Config::default()
    }
}

fn auth() -> Option<Credentials> {
    Some(Credentials {
        username: "user".to_owned(),
        password: "secret".to_owned(),
        mechanism: None,
    })
}
