//! A scripted mail server on loopback.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use angarium_config::server::ClientCert;
use angarium_effects::system::SystemNet;
use angarium_effects::{Connection, Net};
use angarium_smtp::session::TlsInfo;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::tls::{ClientCerts, KeyPair, ServerOptions, ServerTls, self_signed};

/// What the sink does instead of accepting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Says this.
    Say(&'static str),
    /// Closes without a word.
    Close,
    /// Says nothing more, and keeps the connection.
    Hang,
}

/// Decides for a phase: BANNER, EHLO, STARTTLS, MAIL, RCPT, DATA, BODY (the first bytes of the message
/// were read), BDAT (a chunk that is not the last), EOD, IDLE (a message was taken). The number counts connections from 1.
pub(super) type Script = Rc<dyn Fn(usize, &str) -> Option<Act>>;

/// A message that was taken.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub mail: String,
    pub rcpt: String,
    pub data: Vec<u8>,
    pub tls: bool,
    /// What was agreed on in the handshake.
    pub session: Option<TlsInfo>,
    /// The number of the connection, from 1.
    pub connection: usize,
    /// The address that it came from.
    pub peer: Option<IpAddr>,
    /// The name that the client gave.
    pub helo: String,
}

/// TLS of the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Nothing,
    SelfSigned,
    /// With a certificate of the client's, if it has one.
    Asking,
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS is offered, and the handshake is answered with garbage.
    Broken,
}

#[derive(Clone)]
pub(super) struct Sink(Rc<State>);

struct State {
    address: SocketAddr,
    script: RefCell<Script>,
    offer: Offer,
    tls: ServerTls,
    certificate: String,
    received: RefCell<Vec<Received>>,
    connections: Cell<usize>,
    commands: RefCell<Vec<String>>,
}

impl Sink {
    pub(super) fn start(at: SocketAddr, offer: Offer, script: Script) -> Sink {
        let listener = SystemNet.listen(at, None).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let made = self_signed(&["sink.test"]).expect("a pair");
        let pair = KeyPair::from_pem(made.certificate.as_bytes(), made.key.as_bytes());
        let options = ServerOptions {
            clients: (offer == Offer::Asking).then_some(ClientCerts {
                from: ClientCert::Switch(true),
                authorities: None,
            }),
            ..ServerOptions::default()
        };
        let tls = ServerTls::with(&pair.expect("a pair"), [], &options).expect("TLS");
        let sink = Sink(Rc::new(State {
            address,
            script: RefCell::new(script),
            offer,
            tls,
            certificate: made.certificate,
            received: RefCell::default(),
            connections: Cell::new(0),
            commands: RefCell::default(),
        }));
        let state = Rc::clone(&sink.0);
        tokio::task::spawn_local(async move {
            while let Ok(accepted) = listener.accept().await {
                let connection = accepted.adopt().expect("a connection");
                state.connections.set(state.connections.get() + 1);
                let number = state.connections.get();
                // What a client does wrong shows in what was received.
                tokio::task::spawn_local(serve(Rc::clone(&state), number, connection));
            }
        });
        sink
    }

    pub(super) fn accepting() -> Sink {
        Sink::start(local(1, 0), Offer::Nothing, Rc::new(|_, _| None))
    }

    /// Trust in the certificate of this sink alone.
    pub(super) fn authority(&self) -> rustls::RootCertStore {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let der = CertificateDer::from_pem_slice(self.0.certificate.as_bytes());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der.expect("a certificate")).expect("a root");
        roots
    }

    pub(super) fn port(&self) -> u16 {
        self.0.address.port()
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.0.received.borrow().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.0.connections.get()
    }

    pub(super) fn commands(&self) -> Vec<String> {
        self.0.commands.borrow().clone()
    }

    /// The connection of each message that was taken.
    pub(super) fn used(&self) -> Vec<usize> {
        let received = self.0.received.borrow();
        received.iter().map(|message| message.connection).collect()
    }

    /// How often a client took its leave.
    pub(super) fn quits(&self) -> usize {
        let commands = self.0.commands.borrow();
        commands.iter().filter(|line| *line == "QUIT").count()
    }

    pub(super) fn behave(&self, script: Script) {
        self.0.script.replace(script);
    }
}

/// `127.0.0.last:port`
pub(super) fn local(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, last]), port)
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

async fn serve(state: Rc<State>, number: usize, connection: Box<dyn Connection>) {
    let mut session = Session {
        state,
        number,
        tls: None,
        peer: connection.peer_addr().ok().map(|peer| peer.ip()),
        helo: String::new(),
        mail: String::new(),
        rcpt: String::new(),
        accepted: false,
        chunks: Vec::new(),
    };
    let mut stream: Box<dyn Stream> = Box::new(connection);
    let implicit = session.state.offer == Offer::Implicit;
    if !implicit && !matches!(session.talk(&mut stream, true).await, Ok(Next::StartTls)) {
        return;
    }
    if session.state.offer == Offer::Broken {
        let _ = stream.write_all(b"this is no TLS\r\n").await;
        return;
    }
    let tls = session.state.tls.clone();
    if let Ok((stream, info)) = tls.accept(stream, [127, 0, 0, 1].into()).await {
        session.tls = Some(info);
        let mut stream: Box<dyn Stream> = Box::new(stream);
        let _ = session.talk(&mut stream, implicit).await;
    }
}

enum Next {
    End,
    StartTls,
}

struct Session {
    state: Rc<State>,
    number: usize,
    tls: Option<TlsInfo>,
    peer: Option<IpAddr>,
    helo: String,
    mail: String,
    rcpt: String,
    /// The recipient was accepted.
    accepted: bool,
    /// What came by BDAT.
    chunks: Vec<u8>,
}

impl Session {
    /// Says what the script wants for the phase, or `default`; false: the connection is over.
    async fn say(
        &self,
        stream: &mut BufReader<&mut Box<dyn Stream>>,
        phase: &str,
        default: &str,
    ) -> io::Result<bool> {
        let script = self.state.script.borrow().clone();
        let text = match script(self.number, phase) {
            None => default,
            Some(Act::Say(text)) => text,
            Some(Act::Close) => return Ok(false),
            Some(Act::Hang) => {
                std::future::pending::<()>().await;
                return Ok(false);
            }
        };
        if !text.is_empty() {
            stream.write_all(format!("{text}\r\n").as_bytes()).await?;
            stream.flush().await?;
        }
        Ok(true)
    }

    async fn talk(&mut self, stream: &mut Box<dyn Stream>, banner: bool) -> io::Result<Next> {
        let mut stream = BufReader::new(stream);
        if banner
            && !self
                .say(&mut stream, "BANNER", "220 sink.test ESMTP")
                .await?
        {
            return Ok(Next::End);
        }
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(Next::End);
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.state.commands.borrow_mut().push(line.clone());
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            let goes_on = match verb.as_str() {
                "EHLO" | "LHLO" => {
                    self.helo = line.get(5..).unwrap_or_default().to_owned();
                    let tls = self.state.offer != Offer::Nothing && self.tls.is_none();
                    let starttls = if tls { "250-STARTTLS\r\n" } else { "" };
                    let text = format!(
                        "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n{starttls}250 SIZE"
                    );
                    self.say(&mut stream, "EHLO", &text).await?
                }
                "STAR" => {
                    if self.say(&mut stream, "STARTTLS", "220 go on").await? {
                        return Ok(Next::StartTls);
                    }
                    false
                }
                "MAIL" => {
                    self.mail.clone_from(&line);
                    self.say(&mut stream, "MAIL", "250 2.1.0 ok").await?
                }
                "RCPT" => {
                    self.rcpt.clone_from(&line);
                    let script = self.state.script.borrow().clone();
                    self.accepted = ["MAIL", "RCPT"]
                        .iter()
                        .all(|phase| script(self.number, phase).is_none());
                    self.say(&mut stream, "RCPT", "250 2.1.5 ok").await?
                }
                "DATA" => self.data(&mut stream).await?,
                "BDAT" => self.chunk(&mut stream, &line).await?,
                "RSET" | "NOOP" => self.say(&mut stream, &verb, "250 ok").await?,
                "QUIT" => {
                    self.say(&mut stream, "QUIT", "221 bye").await?;
                    false
                }
                _ => self.say(&mut stream, "OTHER", "500 what?").await?,
            };
            if !goes_on {
                return Ok(Next::End);
            }
        }
    }

    async fn data(&self, stream: &mut BufReader<&mut Box<dyn Stream>>) -> io::Result<bool> {
        let script = self.state.script.borrow().clone();
        if let Some(act) = script(self.number, "DATA") {
            return match act {
                Act::Say(_) => self.say(stream, "DATA", "").await,
                Act::Close => Ok(false),
                Act::Hang => std::future::pending().await,
            };
        }
        if !self.say(stream, "GO", "354 go on").await? {
            return Ok(false);
        }
        if let Some(act) = script(self.number, "BODY") {
            let mut some = [0; 10];
            stream.read_exact(&mut some).await?;
            return match act {
                Act::Say(_) => self.say(stream, "BODY", "").await,
                Act::Close => Ok(false),
                Act::Hang => std::future::pending().await,
            };
        }
        let mut data = Vec::new();
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(false);
            }
            if line == b".\r\n" {
                break;
            }
            data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        self.end(stream, data).await
    }

    async fn chunk(
        &mut self,
        stream: &mut BufReader<&mut Box<dyn Stream>>,
        line: &str,
    ) -> io::Result<bool> {
        let mut words = line.split(' ').skip(1);
        let size: usize = words
            .next()
            .and_then(|size| size.parse().ok())
            .expect("a size");
        let before = self.chunks.len();
        self.chunks.resize(before + size, 0);
        stream.read_exact(&mut self.chunks[before..]).await?;
        if words.next() == Some("LAST") {
            let data = std::mem::take(&mut self.chunks);
            return self.end(stream, data).await;
        }
        self.say(stream, "BDAT", "250 2.0.0 go on").await
    }

    /// The end of a message.
    async fn end(
        &self,
        stream: &mut BufReader<&mut Box<dyn Stream>>,
        data: Vec<u8>,
    ) -> io::Result<bool> {
        let script = self.state.script.borrow().clone();
        // A client that was refused may end with an empty message (RFC 2920 §3.1).
        let taken = self.accepted && script(self.number, "EOD").is_none();
        if taken {
            self.state.received.borrow_mut().push(Received {
                mail: self.mail.clone(),
                rcpt: self.rcpt.clone(),
                data,
                tls: self.tls.is_some(),
                session: self.tls.clone(),
                connection: self.number,
                peer: self.peer,
                helo: self.helo.clone(),
            });
        }
        Ok(self.say(stream, "EOD", "250 2.0.0 taken").await?
            && self.say(stream, "IDLE", "").await?)
    }
}
