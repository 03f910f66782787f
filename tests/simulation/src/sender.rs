//! Clients that bring mail, and try again until they have read an answer.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::Random as _;
use angarium_effects::{Clock, SeededRandom, VirtualClock};

use crate::bundle::{HOME, MACHINE, domain};
use crate::dice::Dice;
use crate::ledger::{KEY, Ledger};
use crate::net::SimNet;
use crate::talk::{Gone, Talk};
use crate::trace::Trace;

/// How long a sender waits for the machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longer messages lie in a file of their own.
const LARGE: usize = 300 << 10;

/// Numbers for messages.
#[derive(Default)]
pub struct Keys(std::cell::Cell<u64>);

impl Keys {
    fn next(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}

pub struct Sender {
    pub number: u8,
    pub net: SimNet,
    pub clock: VirtualClock,
    pub dice: Dice,
    pub ledger: Rc<RefCell<Ledger>>,
    pub trace: Trace,
    pub keys: Rc<Keys>,
    pub domains: usize,
    /// Sessions, of 1000, that it leaves in the middle.
    pub trouble: u64,
}

impl Sender {
    /// Brings so many messages, each until there is an answer.
    pub async fn run(self, messages: u64, start: Duration) {
        self.clock.sleep(start).await;
        let mut left = messages;
        for _ in 0..40 {
            let from = IpAddr::V4(Ipv4Addr::new(198, 51, 100, self.number));
            if let Ok(stream) = self.net.connect(from, MACHINE).await {
                let mut talk = Talk::new(stream, &self.clock, PATIENCE);
                // A session that breaks off says nothing about the message that was under way.
                let _ = self.session(&mut talk, &mut left).await;
            }
            if left == 0 {
                return;
            }
            self.clock.sleep(self.dice.seconds(1, 600)).await;
        }
        self.trace.note(format!("sender {} gives up", self.number));
    }

    async fn session(&self, talk: &mut Talk, left: &mut u64) -> Result<(), Gone> {
        expect(talk.reply().await?.0, 220)?;
        expect(talk.ask("EHLO sender.test").await?.0, 250)?;
        while *left > 0 {
            if self.dice.chance(self.trouble) {
                return Err(Gone);
            }
            match self.message(talk).await? {
                Some(_) => *left -= 1,
                None => {
                    expect(talk.ask("RSET").await?.0, 250)?;
                    talk.pause(self.dice.seconds(1, 60)).await;
                }
            }
            if self.dice.chance(300) {
                talk.pause(self.dice.seconds(0, 100)).await;
            }
        }
        expect(talk.ask("QUIT").await?.0, 221)
    }

    /// Sends a message; none: it was put off.
    async fn message(&self, talk: &mut Talk) -> Result<Option<()>, Gone> {
        let key = self.keys.next();
        let null = self.dice.chance(60);
        let from = if null {
            String::new()
        } else {
            format!("s{}@{HOME}", self.number)
        };
        let mut recipients = Vec::new();
        let content = content(key, &self.dice);
        let pipelined = self.dice.chance(400);
        for index in 0..self.dice.between(1, 3) {
            let domain = domain(self.dice.below(self.domains as u64) as usize);
            recipients.push(format!("r{index}@{domain}"));
        }
        let mail = format!("MAIL FROM:<{from}>");
        let rcpt = |to: &String| format!("RCPT TO:<{to}>");
        let mut accepted = Vec::new();
        if pipelined {
            let mut commands = format!("{mail}\r\n");
            for to in &recipients {
                commands.push_str(&rcpt(to));
                commands.push_str("\r\n");
            }
            talk.say(commands.as_bytes()).await?;
            let mail = talk.reply().await?.0;
            for to in &recipients {
                if talk.reply().await?.0 == 250 {
                    accepted.push(to.clone());
                }
            }
            if mail != 250 {
                return Ok(None);
            }
        } else {
            if talk.ask(&mail).await?.0 != 250 {
                return Ok(None);
            }
            for to in &recipients {
                if talk.ask(&rcpt(to)).await?.0 == 250 {
                    accepted.push(to.clone());
                }
            }
        }
        if accepted.is_empty() {
            return Ok(None);
        }
        let (code, text) = if self.dice.chance(300) {
            self.chunks(talk, &content).await?
        } else {
            if talk.ask("DATA").await?.0 != 354 {
                return Ok(None);
            }
            if self.dice.chance(self.trouble) {
                let content = stuffed(&content);
                let part = self.dice.below(content.len() as u64) as usize;
                talk.say(&content[..part]).await?;
                return Err(Gone);
            }
            talk.say(&stuffed(&content)).await?;
            talk.say(b".\r\n").await?;
            talk.reply().await?
        };
        if code != 250 {
            return Ok(None);
        }
        let mut ledger = self.ledger.borrow_mut();
        ledger.accept(key, &text, null, &accepted);
        Ok(Some(()))
    }

    /// By BDAT, the last chunk perhaps empty.
    async fn chunks(&self, talk: &mut Talk, content: &[u8]) -> Result<(u16, String), Gone> {
        let middle = self.dice.below(content.len() as u64) as usize;
        let (first, second) = content.split_at(middle);
        talk.say(format!("BDAT {}\r\n", first.len()).as_bytes())
            .await?;
        talk.say(first).await?;
        let (code, text) = talk.reply().await?;
        if code != 250 {
            return Ok((code, text));
        }
        talk.say(format!("BDAT {} LAST\r\n", second.len()).as_bytes())
            .await?;
        talk.say(second).await?;
        talk.reply().await
    }
}

fn expect(code: u16, wanted: u16) -> Result<(), Gone> {
    if code == wanted { Ok(()) } else { Err(Gone) }
}

fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len());
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}

/// A message: its body follows from its key and its length.
fn content(key: u64, dice: &Dice) -> Vec<u8> {
    let length = match dice.below(100) {
        0 => LARGE + dice.below(5000) as usize,
        1..20 => dice.between(2000, 20_000) as usize,
        _ => dice.below(800) as usize,
    };
    let mut content = format!(
        "From: <s@{HOME}>\r\nSubject: message {key}\r\n{KEY}: {key}\r\nX-Length: {length}\r\n\r\n"
    );
    content.push_str(&body(key, length));
    content.into_bytes()
}

/// Lines with dots at their beginning now and then.
fn body(key: u64, length: usize) -> String {
    let random = SeededRandom::new(key);
    let mut body = String::with_capacity(length + 80);
    while body.len() < length {
        if random.below(5) == 0 {
            body.push('.');
        }
        for _ in 0..random.below(8) {
            body.push_str(&format!("{:x} ", random.next_u64()));
        }
        body.push_str("\r\n");
    }
    body
}

/// Whether a message arrived with the body that it was sent with.
pub fn intact(key: u64, content: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(content);
    let (header, rest) = text.split_once("\r\n\r\n").ok_or("it has no header")?;
    let length = header
        .lines()
        .find_map(|line| line.strip_prefix("X-Length: "));
    let length = length.and_then(|length| length.parse().ok());
    let sent = body(key, length.ok_or("it does not tell its length")?);
    if rest == sent {
        Ok(())
    } else {
        Err(format!("{} bytes of body, not {}", rest.len(), sent.len()))
    }
}
