//! The hosts at the other end: they take mail, refuse it, hang, and leave.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::{Clock, Monotonic, VirtualClock};

use crate::dice::Dice;
use crate::ledger::{KEY, Ledger};
use crate::limits::{Delivery, Watched};
use crate::net::{Line, Stream};
use crate::talk::{Gone, Talk};
use crate::trace::Trace;

/// How long a host waits for a client.
const PATIENCE: Duration = Duration::from_secs(300);

/// A host.
pub struct Sink {
    pub name: String,
    pub address: IpAddr,
    /// What counts every delivery here.
    pub watched: Vec<Rc<RefCell<Watched>>>,
    /// What counts those from a source address.
    pub sources: BTreeMap<IpAddr, Rc<RefCell<Watched>>>,
    pub ledger: Rc<RefCell<Ledger>>,
    pub clock: VirtualClock,
    pub trace: Trace,
    pub dice: Dice,
    /// Phases, of 1000, in which it does not do as it is asked.
    pub trouble: Rc<Cell<u64>>,
    /// It takes notifications and never refuses for good.
    pub home: bool,
    /// The machine's disk may fail to read what a notification is about.
    pub faults: bool,
}

/// What it does instead of what it is asked for.
enum Act {
    Refuse(u16),
    Leave(u16),
    Close,
    Hang,
}

/// A transaction under way.
#[derive(Default)]
struct Transaction {
    sender: Option<String>,
    recipient: Option<String>,
    content: Vec<u8>,
}

impl Sink {
    /// Takes connections for ever.
    pub async fn serve(self: Rc<Self>, incoming: crate::net::Incoming) {
        loop {
            let stream = incoming.next().await;
            let own = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                let line = Rc::clone(stream.line());
                // Whoever goes, goes.
                let _ = own.session(stream).await;
                for watched in own.watchers(&line) {
                    watched.borrow().end(&line, own.clock.monotonic());
                }
            });
        }
    }

    fn watchers(&self, line: &Line) -> impl Iterator<Item = &Rc<RefCell<Watched>>> {
        self.watched.iter().chain(self.sources.get(&line.from.ip()))
    }

    /// A delivery begins.
    fn begin(&self, at: Monotonic, line: &Rc<Line>, first: bool) -> Rc<Delivery> {
        let delivery = Delivery::new(at, line, first);
        for watched in self.watchers(line) {
            let mut watched = watched.borrow_mut();
            if first {
                watched.connected(line);
            }
            watched.began(&delivery);
        }
        delivery
    }

    /// Whether it does something else in this phase.
    fn act(&self, phase: &str) -> Option<Act> {
        if !self.dice.chance(self.trouble.get()) {
            return None;
        }
        let codes: &[u16] = match (phase, self.home) {
            ("RCPT" | "EOD", false) => &[450, 451, 452, 550, 552, 554],
            ("MAIL", false) => &[450, 451, 550],
            _ => &[450, 451],
        };
        Some(match self.dice.below(10) {
            0..6 => Act::Refuse(*self.dice.pick(codes)),
            6 => Act::Leave(421),
            7..9 => Act::Close,
            _ => Act::Hang,
        })
    }

    async fn reply(&self, talk: &mut Talk, code: u16, text: &str) -> Result<(), Gone> {
        if self.dice.chance(self.trouble.get() / 4) {
            talk.pause(self.dice.seconds(0, 200)).await;
        }
        talk.say(format!("{code} {text}\r\n").as_bytes()).await
    }

    /// Does it; the end of the session, unless it has only refused. `delivery` is over with its last word.
    async fn carry_out(&self, talk: &mut Talk, act: Act, delivery: &Delivery) -> Result<(), Gone> {
        if !matches!(act, Act::Hang) {
            delivery.end(self.clock.monotonic());
        }
        match act {
            Act::Refuse(code) => self.reply(talk, code, "not now").await,
            Act::Leave(code) => {
                self.reply(talk, code, "going").await?;
                Err(Gone)
            }
            Act::Close => Err(Gone),
            Act::Hang => {
                // Longer than the client has patience for.
                while talk.line().await.is_ok() {}
                Err(Gone)
            }
        }
    }

    async fn session(&self, stream: Stream) -> Result<(), Gone> {
        let line = Rc::clone(stream.line());
        self.trace
            .note(format!("{} connected from {}", self.name, line.from));
        let mut delivery = self.begin(line.opened, &line, true);
        let mut talk = Talk::new(stream, &self.clock, PATIENCE);
        let (mut first, mut reset) = (true, None);
        let mut transaction = Transaction::default();
        if let Some(act) = self.act("BANNER") {
            return self.carry_out(&mut talk, act, &delivery).await;
        }
        self.reply(&mut talk, 220, "sink.test ESMTP").await?;
        let (pipelining, chunking) = (self.dice.chance(600), self.dice.chance(300));
        loop {
            let command = talk.line().await?;
            let command = String::from_utf8_lossy(&command).into_owned();
            let verb = command.split([' ', ':']).next().unwrap_or_default();
            let verb = verb.to_ascii_uppercase();
            if verb == "MAIL" {
                if !first {
                    let at = reset.unwrap_or(talk.stream.stamp());
                    delivery = self.begin(at, &line, false);
                }
                first = false;
            }
            // A client that comes back to a connection may begin with RSET.
            reset = (verb == "RSET").then(|| talk.stream.stamp());
            let phase = match verb.as_str() {
                "EHLO" | "HELO" | "MAIL" | "RCPT" | "DATA" => verb.as_str(),
                _ => "",
            };
            let act = match phase {
                "" => None,
                phase => self.act(phase),
            };
            if let Some(act) = act {
                self.carry_out(&mut talk, act, &delivery).await?;
                continue;
            }
            match verb.as_str() {
                "EHLO" => {
                    let mut reply = "250-sink.test\r\n".to_owned();
                    if pipelining {
                        reply.push_str("250-PIPELINING\r\n");
                    }
                    if chunking {
                        reply.push_str("250-CHUNKING\r\n");
                    }
                    reply.push_str("250 8BITMIME\r\n");
                    talk.say(reply.as_bytes()).await?;
                }
                "HELO" => self.reply(&mut talk, 250, "sink.test").await?,
                "MAIL" => {
                    transaction = Transaction {
                        sender: Some(path(&command)),
                        ..Transaction::default()
                    };
                    self.reply(&mut talk, 250, "fine").await?;
                }
                "RCPT" if transaction.sender.is_some() => {
                    transaction.recipient = Some(path(&command));
                    delivery.count();
                    self.reply(&mut talk, 250, "fine").await?;
                }
                "DATA" if transaction.recipient.is_some() => {
                    self.reply(&mut talk, 354, "go on").await?;
                    transaction.content = data(&mut talk).await?;
                    self.end(&mut talk, &mut transaction, &delivery, &line)
                        .await?;
                }
                "BDAT" => {
                    let mut words = command.split(' ').skip(1);
                    let count = words.next().and_then(|count| count.parse().ok());
                    let chunk = talk.bytes(count.ok_or(Gone)?).await?;
                    if transaction.recipient.is_none() {
                        self.reply(&mut talk, 503, "no recipient").await?;
                        continue;
                    }
                    transaction.content.extend(chunk);
                    if words.next().is_some() {
                        self.end(&mut talk, &mut transaction, &delivery, &line)
                            .await?;
                    } else {
                        self.reply(&mut talk, 250, "more").await?;
                    }
                }
                "RSET" => {
                    transaction = Transaction::default();
                    self.reply(&mut talk, 250, "fine").await?;
                }
                "QUIT" => {
                    delivery.end(self.clock.monotonic());
                    self.reply(&mut talk, 221, "bye").await?;
                    return Ok(());
                }
                _ => {
                    delivery.end(self.clock.monotonic());
                    self.reply(&mut talk, 503, "what?").await?;
                }
            }
        }
    }

    /// The end of a message.
    async fn end(
        &self,
        talk: &mut Talk,
        transaction: &mut Transaction,
        delivery: &Delivery,
        line: &Rc<Line>,
    ) -> Result<(), Gone> {
        let done = std::mem::take(transaction);
        if let Some(act) = self.act("EOD") {
            return self.carry_out(talk, act, delivery).await;
        }
        let now = self.clock.monotonic();
        delivery.end(now);
        self.take(&done, line);
        if self.dice.chance(self.trouble.get() / 4) {
            // It has the message, and nobody hears of it.
            return Err(Gone);
        }
        talk.say(b"250 taken\r\n").await
    }

    fn take(&self, transaction: &Transaction, line: &Rc<Line>) {
        let now = self.clock.monotonic();
        let recipient = transaction.recipient.clone().unwrap_or_default();
        let text = String::from_utf8_lossy(&transaction.content).into_owned();
        let field = format!("{KEY}: ");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(field.as_str()));
        let key = value.and_then(|value| value.trim().parse().ok());
        let mut ledger = self.ledger.borrow_mut();
        let notice = transaction.sender.as_deref() == Some("")
            && text.contains("multipart/report")
            && self.home;
        let Some(key) = key else {
            if notice && self.faults {
                ledger.nameless += 1;
                return;
            }
            let name = &self.name;
            ledger
                .wrong
                .push(format!("{name} was given a message without a key:\n{text}"));
            return;
        };
        if !notice {
            if let Err(what) = crate::sender::intact(key, &transaction.content) {
                ledger.wrong.push(format!("k{key} arrived changed: {what}"));
            }
            ledger.deliver(key, &recipient, now, line);
            return;
        }
        let about = text.lines().find_map(|line| {
            line.strip_prefix("Final-Recipient: rfc822; ")
                .or_else(|| line.strip_prefix("Final-Recipient: rfc822;"))
        });
        match about {
            Some(about) if text.contains("Action: failed") => ledger.tell(key, about.trim()),
            Some(_) => {}
            None => ledger
                .wrong
                .push(format!("a notification without Final-Recipient:\n{text}")),
        }
    }
}

/// The content that follows DATA, dots taken out.
async fn data(talk: &mut Talk) -> Result<Vec<u8>, Gone> {
    let mut content = Vec::new();
    loop {
        let line = talk.line().await?;
        let line = match line.strip_prefix(b".") {
            Some([]) => return Ok(content),
            Some(rest) => rest,
            None => &line,
        };
        content.extend_from_slice(line);
        content.extend_from_slice(b"\r\n");
    }
}

/// What stands between the angle brackets.
fn path(command: &str) -> String {
    let inner = command
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner.map(|(path, _)| path.to_owned()).unwrap_or_default()
}

/// Starts a host at its address.
pub fn start(sink: &Rc<Sink>, net: &crate::net::SimNet, set: &tokio::task::LocalSet) {
    let incoming = net.serve(SocketAddr::new(sink.address, 25));
    set.spawn_local(Rc::clone(sink).serve(incoming));
}
