//! An SMTP sink: the independent witness of what goes out. It keeps every byte, complains about whatever a client must
//! not send, and misbehaves when told to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::wait;

/// A message that was answered with 250.
#[derive(Debug, Clone)]
pub struct Message {
    /// The sender, without angle brackets.
    pub from: String,
    /// The recipients, without angle brackets.
    pub to: Vec<String>,
    /// The parameters of MAIL and of each RCPT, as they came.
    pub parameters: Vec<String>,
    /// The content, dots undoubled. A sink with a check does not keep what is good.
    pub content: Vec<u8>,
    /// What the sink's check says; true without one.
    pub good: bool,
}

/// Says whether a message is as it should be, so that the sink need not keep it.
pub type Check = fn(&Message) -> bool;

/// A point in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A client has connected.
    Banner,
    /// EHLO has come.
    Ehlo,
    /// MAIL has come.
    Mail,
    /// RCPT has come.
    Rcpt,
    /// DATA has come.
    Data,
    /// The first line of content has come.
    Content,
    /// The content is complete.
    End,
}

/// What a sink does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It takes every message.
    Accept,
    /// It answers with this line at a stage, and is well-behaved otherwise.
    Reply(Stage, &'static str),
    /// It says nothing any more from a stage on.
    Hang(Stage),
    /// It closes the connection at a stage.
    Close(Stage),
    /// It answers with bytes that are no reply.
    Garbage(Stage),
    /// It answers with a line that does not end.
    Flood(Stage),
}

impl Behaviour {
    fn stage(self) -> Option<Stage> {
        match self {
            Behaviour::Accept => None,
            Behaviour::Reply(stage, _)
            | Behaviour::Hang(stage)
            | Behaviour::Close(stage)
            | Behaviour::Garbage(stage)
            | Behaviour::Flood(stage) => Some(stage),
        }
    }
}

/// A sink on a port of 127.0.0.1, a thread for each connection.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    messages: Mutex<Vec<Message>>,
    violations: Mutex<Vec<String>>,
    connections: AtomicUsize,
    /// How often it has misbehaved.
    misdeeds: AtomicUsize,
    stopped: AtomicBool,
    /// Whether it announces the DSN extension (RFC 3461).
    dsn: AtomicBool,
    check: Option<Check>,
}

impl Sink {
    /// Starts a sink that accepts everything.
    #[must_use]
    pub fn start() -> Sink {
        Sink::behaving(Behaviour::Accept)
    }

    /// Starts a sink that behaves so.
    #[must_use]
    pub fn behaving(behaviour: Behaviour) -> Sink {
        Sink::listen((Ipv4Addr::LOCALHOST, 0).into(), behaviour)
    }

    /// Starts a sink that keeps the content only of messages that are not as they should be.
    #[must_use]
    pub fn checking(check: Check) -> Sink {
        Sink::new(
            (Ipv4Addr::LOCALHOST, 0).into(),
            Behaviour::Accept,
            Some(check),
        )
    }

    /// Starts a sink at an address.
    #[must_use]
    pub fn listen(address: SocketAddr, behaviour: Behaviour) -> Sink {
        Sink::new(address, behaviour, None)
    }

    fn new(address: SocketAddr, behaviour: Behaviour, check: Option<Check>) -> Sink {
        let listener = TcpListener::bind(address).expect("a port for the sink");
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            messages: Mutex::default(),
            violations: Mutex::default(),
            connections: AtomicUsize::new(0),
            misdeeds: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            dsn: AtomicBool::new(false),
            check,
        });
        let sink = Sink {
            address: listener.local_addr().unwrap(),
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // The client may go away at any time; a message counts only when it was answered.
                    let _ = Session::new(stream, &shared).and_then(|mut session| session.run());
                });
            }
        });
        sink
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes what it does, for open connections too.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Announces the DSN extension from now on.
    pub fn announce_dsn(&self) {
        self.shared.dsn.store(true, Ordering::Relaxed);
    }

    /// Looks at the messages so far.
    pub fn with_messages<T>(&self, look: impl FnOnce(&[Message]) -> T) -> T {
        look(&lock(&self.shared.messages))
    }

    /// The messages so far.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.shared.messages).clone()
    }

    /// How many messages have come.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.shared.messages).len()
    }

    /// How many connections have come.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How often it has misbehaved as it was told.
    #[must_use]
    pub fn misdeeds(&self) -> usize {
        self.shared.misdeeds.load(Ordering::Relaxed)
    }

    /// Whether so many messages arrive in time.
    #[must_use]
    pub fn wait_for(&self, count: usize, deadline: Duration) -> bool {
        wait::until_true(deadline, || self.count() >= count)
    }

    /// What clients have sent that no client may send.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.shared.violations).clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // The thread waits for a connection: here is one.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What EHLO is told.
const OFFER: &str = "250-sink.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES";

struct Session<'a> {
    stream: BufReader<TcpStream>,
    shared: &'a Shared,
    from: Option<String>,
    to: Vec<String>,
    parameters: Vec<String>,
}

impl<'a> Session<'a> {
    fn new(stream: TcpStream, shared: &'a Shared) -> io::Result<Session<'a>> {
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Session {
            stream: BufReader::with_capacity(65_536, stream),
            shared,
            from: None,
            to: Vec::new(),
            parameters: Vec::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        self.answer(Stage::Banner, "220 sink.example ESMTP")?;
        loop {
            let Some(line) = self.line()? else {
                return Ok(());
            };
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" if self.dsn() => self.answer(
                    Stage::Ehlo,
                    &OFFER.replacen("250-PIPELINING", "250-DSN\r\n250-PIPELINING", 1),
                )?,
                "EHLO" => self.answer(Stage::Ehlo, OFFER)?,
                "HELO" => self.answer(Stage::Ehlo, "250 sink.example")?,
                "MAIL" => self.mail(rest)?,
                "RCPT" => self.rcpt(rest)?,
                "DATA" => self.data()?,
                "RSET" => {
                    self.reset();
                    self.say("250 2.0.0 Ok")?;
                }
                "NOOP" => self.say("250 2.0.0 Ok")?,
                "QUIT" => return self.say("221 2.0.0 Bye"),
                _ => {
                    self.complain(&format!("an unknown command: {line:?}"));
                    self.say("500 5.5.2 What?")?;
                }
            }
        }
    }

    fn mail(&mut self, rest: &str) -> io::Result<()> {
        if self.from.is_some() {
            self.complain("MAIL inside a transaction");
            return self.say("503 5.5.1 Nested MAIL");
        }
        let Some((path, parameters)) = self.path("FROM:<", rest) else {
            return self.say("501 5.5.4 Syntax");
        };
        for parameter in parameters.split_ascii_whitespace() {
            let good = match parameter.split_once('=') {
                Some(("SIZE", size)) => size.parse::<u64>().is_ok(),
                Some(("BODY", body)) => matches!(body, "7BIT" | "8BITMIME"),
                Some(("RET" | "ENVID", _)) => self.dsn(),
                None => parameter == "SMTPUTF8",
                Some(_) => false,
            };
            if !good {
                self.complain(&format!(
                    "a parameter that was not announced: {parameter:?}"
                ));
            }
        }
        self.parameters = vec![parameters.trim().to_owned()];
        let refused = self.answer_or_refuse(Stage::Mail, "250 2.1.0 Ok")?;
        self.from = (!refused).then_some(path);
        Ok(())
    }

    fn rcpt(&mut self, rest: &str) -> io::Result<()> {
        if self.from.is_none() {
            // A pipelining client sends it before it knows that MAIL was refused.
            return self.say("503 5.5.1 MAIL first");
        }
        let Some((path, parameters)) = self.path("TO:<", rest) else {
            return self.say("501 5.5.4 Syntax");
        };
        if !parameters.is_empty() && !self.dsn() {
            self.complain(&format!(
                "parameters that were not announced: {parameters:?}"
            ));
        }
        if !self.answer_or_refuse(Stage::Rcpt, "250 2.1.5 Ok")? {
            self.to.push(path);
            self.parameters.push(parameters.trim().to_owned());
        }
        Ok(())
    }

    /// `FROM:<a@example.com> SIZE=1` to address and parameters.
    fn path(&self, keyword: &str, rest: &str) -> Option<(String, String)> {
        let found = rest.get(..keyword.len()).zip(rest.get(keyword.len()..));
        let path = found
            .filter(|(start, _)| start.eq_ignore_ascii_case(keyword))
            .and_then(|(_, path)| path.split_once('>'))
            .filter(|(_, after)| after.is_empty() || after.starts_with(' '));
        if path.is_none() {
            self.complain(&format!("a path that is none: {rest:?}"));
        }
        path.map(|(path, parameters)| (path.to_owned(), parameters.to_owned()))
    }

    fn data(&mut self) -> io::Result<()> {
        if self.to.is_empty() {
            return self.say("503 5.5.1 RCPT first");
        }
        if self.answer_or_refuse(Stage::Data, "354 Go ahead")? {
            return Ok(());
        }
        let mut content = Vec::new();
        let mut line = Vec::new();
        let mut first = true;
        loop {
            line.clear();
            if self.stream.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if std::mem::take(&mut first) {
                self.misbehave(Stage::Content)?;
            }
            let Some(text) = line.strip_suffix(b"\r\n") else {
                self.complain("a bare LF in content");
                content.extend_from_slice(&line);
                continue;
            };
            if text == b"." {
                break;
            }
            if text.contains(&b'\r') {
                self.complain("a lone CR in content");
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let mut message = Message {
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            parameters: std::mem::take(&mut self.parameters),
            content,
            good: true,
        };
        self.misbehave(Stage::End)?;
        if let Some(refusal) = self.refusal(Stage::End) {
            return self.say(refusal);
        }
        if let Some(check) = self.shared.check {
            message.good = check(&message);
            if message.good {
                message.content = Vec::new();
            }
        }
        // Kept before it is answered: what was answered is never missing here.
        lock(&self.shared.messages).push(message);
        self.say("250 2.0.0 Ok")
    }

    fn dsn(&self) -> bool {
        self.shared.dsn.load(Ordering::Relaxed)
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
        self.parameters.clear();
    }

    /// A command line, or `None` at the end.
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let length = (&mut self.stream).take(4096).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(None);
        }
        let text = match line.strip_suffix(b"\r\n") {
            Some(text) if !text.contains(&b'\r') => text,
            _ if line.ends_with(b"\n") => {
                self.complain("a bare CR or LF in a command");
                &line
            }
            // The client has gone in the middle.
            _ => return Ok(None),
        };
        Ok(Some(String::from_utf8_lossy(text).into_owned()))
    }

    fn complain(&self, what: &str) {
        lock(&self.shared.violations).push(what.to_owned());
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
    }

    fn answer(&mut self, stage: Stage, line: &str) -> io::Result<()> {
        self.answer_or_refuse(stage, line).map(drop)
    }

    /// Answers as a stage wants it; true if that was a refusal.
    fn answer_or_refuse(&mut self, stage: Stage, line: &str) -> io::Result<bool> {
        self.misbehave(stage)?;
        let refusal = self.refusal(stage);
        self.say(refusal.unwrap_or(line))?;
        Ok(refusal.is_some_and(|refusal| refusal.starts_with(['4', '5'])))
    }

    fn refusal(&self, stage: Stage) -> Option<&'static str> {
        match *lock(&self.shared.behaviour) {
            Behaviour::Reply(at, reply) if at == stage => {
                self.shared.misdeeds.fetch_add(1, Ordering::Relaxed);
                Some(reply)
            }
            _ => None,
        }
    }

    /// Does the evil of a stage, if there is one, and ends the session by an error then.
    fn misbehave(&mut self, stage: Stage) -> io::Result<()> {
        let behaviour = *lock(&self.shared.behaviour);
        if behaviour.stage() != Some(stage) || matches!(behaviour, Behaviour::Reply(..)) {
            return Ok(());
        }
        self.shared.misdeeds.fetch_add(1, Ordering::Relaxed);
        let stream = self.stream.get_mut();
        match behaviour {
            Behaviour::Garbage(_) => {
                stream.write_all(b"\x00\xff\xfe\x80 2.0.0 hello\x1b[2J\n\r\r\n<html>\r\n")?
            }
            Behaviour::Flood(_) => {
                // Until the client has had enough, which is long before a GiB.
                let piece = [b'2'; 65_536];
                for _ in 0..16_384 {
                    stream.write_all(&piece)?;
                }
            }
            _ => {}
        }
        if matches!(behaviour, Behaviour::Close(_)) {
            let _ = stream.shutdown(Shutdown::Both);
        } else {
            // Reads on until the client gives up.
            io::copy(&mut self.stream, &mut io::sink())?;
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn a_message_is_kept_with_its_envelope_and_without_its_stuffing() {
        let sink = Sink::start();
        let mut client = Client::connect(sink.address).unwrap();
        assert_eq!(client.command("EHLO me").unwrap().code, 250);
        let reply = client.send("a@example.net", "b@example.com", b"x\r\n..\r\n");
        assert_eq!(reply.unwrap().code, 250);
        let messages = sink.messages();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].from, "a@example.net");
        assert_eq!(messages[0].to, ["b@example.com"]);
        assert_eq!(messages[0].content, b"x\r\n.\r\n");
        assert_eq!(sink.violations(), [""; 0]);
    }

    #[test]
    fn what_no_client_may_send_is_noted() {
        let sink = Sink::start();
        let mut client = Client::connect(sink.address).unwrap();
        let reply = client.send("a@example.net", "b@example.com", b"a\nb\rc\r\n");
        assert_eq!(reply.unwrap().code, 250);
        client.write(b"NOOP\n").unwrap();
        client.reply().unwrap();
        client.command("MAIL FROM: <a@example.net>").unwrap();
        assert_eq!(sink.violations().len(), 5, "{:?}", sink.violations());
    }

    #[test]
    fn it_misbehaves_at_the_stage_that_was_named() {
        let sink = Sink::behaving(Behaviour::Reply(Stage::Rcpt, "450 4.2.0 Later"));
        let send = || {
            Client::connect(sink.address)
                .unwrap()
                .send("a@example.net", "b@example.com", b"x\r\n")
        };
        assert_eq!(send().unwrap().code, 450);
        for behaviour in [
            Behaviour::Close(Stage::Data),
            Behaviour::Close(Stage::Content),
            Behaviour::Close(Stage::End),
            Behaviour::Garbage(Stage::Mail),
            Behaviour::Flood(Stage::Rcpt),
        ] {
            sink.behave(behaviour);
            assert!(send().is_err(), "{behaviour:?}");
        }
        assert_eq!((sink.misdeeds(), sink.count()), (6, 0));
        sink.behave(Behaviour::Accept);
        assert_eq!(send().unwrap().code, 250);
    }
}
