//! Support for unit tests: a session, a scripted driver and its transcript.

use std::sync::Arc;
use std::time::Duration;

use super::{Closing, Config, Hook, Input, Output, Server};
use crate::param::Extensions;
use crate::session::{Connection, Session, TlsInfo, Transaction};
use crate::verdict::Verdict;

/// A client at 192.0.2.1.
pub(crate) fn connection() -> Connection {
    Connection {
        id: "C1".to_owned(),
        priority: 0,
        remote_ip: [192, 0, 2, 1].into(),
        remote_port: 1025,
        remote_ptr: None,
        remote_uid: None,
        remote_user: None,
        local_ip: [192, 0, 2, 25].into(),
        local_port: 25,
        server_id: "default".to_owned(),
        proxy_ip: None,
        proxy_tlv: None,
        name_lookup: None,
    }
}

/// A session that has done nothing.
pub(crate) fn session() -> Session {
    Session {
        connection: connection(),
        helo: None,
        tls: None,
        auth: None,
        extensions: Extensions::default(),
        transaction: Transaction {
            id: "T1".to_owned(),
            envelope: None,
        },
    }
}

/// Everybody may relay, TLS is offered.
pub(crate) fn open_config() -> Config {
    Config {
        hostname: "mx.example".to_owned(),
        relay: vec!["0.0.0.0/0".parse().expect("a network")],
        extensions: Extensions {
            starttls: true,
            ..Extensions::standard()
        },
        ..Config::default()
    }
}

type Answer = Box<dyn FnMut(&Hook, &Session) -> Verdict>;

/// A driver in memory: answers every request and keeps what came out.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) now: Duration,
    /// Verdicts by hook; [`Verdict::NoHook`] by default.
    answer: Answer,
    /// Requests as text, content left out.
    pub(crate) events: Vec<String>,
    /// Content of the messages that reached their end.
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) closing: Option<Closing>,
    /// Whether STARTTLS finishes by itself.
    pub(crate) tls: bool,
    content: Vec<u8>,
    read: Vec<u8>,
}

impl Bench {
    /// A session without hooks.
    pub(crate) fn new(config: Config) -> Self {
        Self::answering(config, |_, _| Verdict::NoHook)
    }

    /// A session whose hooks answer so.
    pub(crate) fn answering(
        config: Config,
        answer: impl FnMut(&Hook, &Session) -> Verdict + 'static,
    ) -> Self {
        let mut count = 0;
        let ids = Box::new(move || {
            count += 1;
            format!("T{count}")
        });
        let mut bench = Self {
            server: Server::new(Arc::new(config), connection(), None, ids, Duration::ZERO),
            now: Duration::ZERO,
            answer: Box::new(answer),
            events: Vec::new(),
            messages: Vec::new(),
            closing: None,
            tls: true,
            content: Vec::new(),
            read: Vec::new(),
        };
        bench.drain();
        bench
    }

    /// Feeds bytes as a driver would and answers what comes out.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.read.extend_from_slice(bytes);
        loop {
            self.drain();
            if self.read.is_empty() || !self.server.wants_input() {
                break;
            }
            let used = self.server.handle(self.now, Input::Bytes(&self.read));
            self.read.drain(..used);
        }
    }

    /// Feeds an event.
    pub(crate) fn event(&mut self, input: Input<'_>) {
        self.server.handle(self.now, input);
        self.drain();
    }

    /// Lets time pass, waking the machine when it asks for it.
    pub(crate) fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(deadline) = self.server.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.event(Input::Tick);
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll() {
            let now = self.now;
            match output {
                Output::Hook(hook) => {
                    self.events.push(format!("{hook:?}"));
                    if matches!(hook, Hook::Eod { .. }) {
                        self.messages.push(std::mem::take(&mut self.content));
                    }
                    let verdict = (self.answer)(&hook, self.server.session());
                    self.server.handle(now, Input::Verdict(verdict));
                }
                Output::OpenBody => {
                    self.events.push("OpenBody".to_owned());
                    self.server.handle(now, Input::Stored);
                }
                Output::Body(chunk) => {
                    assert!(
                        !chunk.is_empty() && chunk.len() <= 2 * 64 * 1024 + 2,
                        "a chunk is bounded"
                    );
                    self.content.extend_from_slice(&chunk);
                    self.server.handle(now, Input::Stored);
                }
                Output::AbortBody => {
                    self.content.clear();
                    self.events.push("AbortBody".to_owned());
                }
                Output::StartTls => {
                    self.events.push("StartTls".to_owned());
                    self.read.clear();
                    if self.tls {
                        self.server.handle(now, Input::TlsDone(TlsInfo::default()));
                    }
                }
                Output::Introduced => self.events.push("Introduced".to_owned()),
                Output::Close(closing) => {
                    self.events.push("Close".to_owned());
                    assert!(self.closing.replace(closing).is_none(), "closed once");
                }
            }
        }
    }

    /// Takes the replies.
    pub(crate) fn replies(&mut self) -> String {
        let text = String::from_utf8(self.server.replies().to_vec()).expect("replies are UTF-8");
        self.server.written(text.len());
        text
    }

    /// Sends lines one by one and gives the dialogue as `C:` and `S:` lines.
    pub(crate) fn dialogue(&mut self, lines: &[&str]) -> String {
        let mut text = String::new();
        let mut note = |prefix: &str, lines: &str| {
            for line in lines.lines() {
                text.push_str(&format!("{prefix} {line}\n"));
            }
        };
        note("S:", &self.replies());
        for line in lines {
            note("C:", line);
            self.feed(format!("{line}\r\n").as_bytes());
            note("S:", &self.replies());
        }
        if self.closing.is_some() {
            text.push_str("(closed)\n");
        }
        text
    }
}
