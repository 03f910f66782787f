//! The sending side for tools: one SMTP connection, driven to the end of each message.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::clock::timeout;
use angarium_effects::{Clock, Connect, Connection, Net};
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::client::{
    Client, Config, Demands, DsnMail, DsnRcpt, Input, Outcome, Output, Rcpt, TlsMode, Transaction,
};
use angarium_smtp::param::Params;
use angarium_smtp::session::{TransportError, TransportErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::failure::{Failure, reason};

/// Content goes to the machine in pieces of this size.
const PIECE: usize = 64 * 1024;

/// How a tool connects.
#[derive(Clone)]
pub struct Outside {
    /// Time.
    pub clock: Rc<dyn Clock>,
    /// Connections.
    pub net: Rc<dyn Net>,
}

/// A connection that is ready for messages.
pub struct Outbound {
    connection: Box<dyn Connection>,
    client: Client,
    clock: Rc<dyn Clock>,
}

/// What a machine has reached.
enum Reached {
    Ready,
    Done(Vec<Outcome>),
    Failed(Outcome),
    Closed,
}

impl Outbound {
    /// Connects to `to` and greets.
    ///
    /// # Errors
    /// Why no message can be sent.
    pub async fn open(
        outside: &Outside,
        to: SocketAddr,
        pipelining: bool,
    ) -> Result<Outbound, String> {
        let how = Connect {
            timeout: Some(Duration::from_secs(30)),
            ..Connect::default()
        };
        let connection = outside.net.connect(to, &how).await;
        let connection =
            connection.map_err(|error| format!("cannot connect to {to}: {}", reason(&error)))?;
        let config = Config {
            helo: "localhost".to_owned(),
            tls: TlsMode::Disabled,
            pipelining,
            ..Config::default()
        };
        let client = Client::new(config, false, outside.clock.monotonic().0);
        let mut outbound = Outbound {
            connection,
            client,
            clock: Rc::clone(&outside.clock),
        };
        match outbound.advance(b"").await {
            Reached::Ready => Ok(outbound),
            Reached::Failed(outcome) => Err(words(&outcome)),
            Reached::Done(_) | Reached::Closed => {
                Err("the server closed the connection".to_owned())
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// What was said to the first recipient that did not get it, or why there was no reply.
    pub async fn send(&mut self, transaction: Transaction, content: &[u8]) -> Result<(), String> {
        let now = self.now();
        self.client.handle(now, Input::Begin(Box::new(transaction)));
        match self.advance(content).await {
            Reached::Done(outcomes) => {
                match outcomes.iter().find(|outcome| !outcome.is_success()) {
                    Some(outcome) => Err(words(outcome)),
                    None => Ok(()),
                }
            }
            Reached::Failed(outcome) => Err(words(&outcome)),
            Reached::Ready | Reached::Closed => Err("the server closed the connection".to_owned()),
        }
    }

    /// Whether another message can follow.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.client.is_reusable()
    }

    /// Says goodbye; what the server answers is of no interest any more.
    pub async fn quit(mut self) {
        let now = self.now();
        self.client.handle(now, Input::Quit);
        while !matches!(self.advance(b"").await, Reached::Closed) {}
    }

    fn now(&self) -> Duration {
        self.clock.monotonic().0
    }

    /// Moves bytes until the machine has reached something.
    async fn advance(&mut self, content: &[u8]) -> Reached {
        // The pieces of content that were not given yet, while the server awaits them.
        let mut pieces: Option<std::slice::Chunks<'_, u8>> = None;
        loop {
            while let Some(output) = self.client.poll() {
                match output {
                    Output::Ready => return Reached::Ready,
                    Output::Done(outcomes) => return Reached::Done(outcomes),
                    Output::Failed { outcome, .. } => return Reached::Failed(outcome),
                    Output::Close => {
                        let _ = self.connection.shutdown().await;
                        return Reached::Closed;
                    }
                    Output::Content => pieces = Some(content.chunks(PIECE)),
                    Output::StartTls => {
                        let refusal = "this tool speaks no TLS".to_owned();
                        self.client
                            .handle(self.clock.monotonic().0, Input::TlsFailed(refusal));
                    }
                }
            }
            if let Err(error) = self.write().await {
                self.gone(Some(&error));
                continue;
            }
            let now = self.now();
            if let Some(rest) = &mut pieces {
                match rest.next() {
                    Some(piece) => self.client.handle(now, Input::Content(piece)),
                    None => {
                        pieces = None;
                        self.client.handle(now, Input::ContentEnd);
                    }
                }
                continue;
            }
            let mut buffer = [0; 8192];
            match self.within_deadline_read(&mut buffer).await {
                None => self.client.handle(self.clock.monotonic().0, Input::Tick),
                Some(Ok(0)) => self.gone(None),
                Some(Ok(count)) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    self.client
                        .handle(self.clock.monotonic().0, Input::Bytes(bytes));
                }
                Some(Err(error)) => self.gone(Some(&error)),
            }
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        while !self.client.requests().is_empty() {
            let count = self.connection.write(self.client.requests()).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.client.written(count);
        }
        Ok(())
    }

    /// Reads, or gives none at the machine's deadline.
    async fn within_deadline_read(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        let read = self.connection.read(buffer);
        match self.client.deadline() {
            None => Some(read.await),
            Some(deadline) => {
                let left = deadline.saturating_sub(self.clock.monotonic().0);
                timeout(&*self.clock, left, read).await
            }
        }
    }

    fn gone(&mut self, error: Option<&io::Error>) {
        let error = error.map(|error| TransportError {
            kind: TransportErrorKind::Socket,
            reason: reason(error),
            code: error.raw_os_error().map(i64::from),
        });
        let now = self.now();
        self.client.handle(now, Input::Gone(error));
    }
}

/// An outcome in words: the reply, or what happened in place of one.
#[must_use]
pub fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Reply(reply) => {
            let enhanced = reply
                .enhanced
                .map_or_else(String::new, |status| format!(" {status}"));
            format!(
                "{}{enhanced} {} (after {})",
                reply.code,
                reply.reason.join(" "),
                reply.state.as_str()
            )
        }
        Outcome::Error(failure) => failure.message.clone(),
    }
}

/// A message from one sender to one recipient.
///
/// # Errors
/// When an address is none.
pub fn envelope(from: &str, to: &str, content: &[u8]) -> Result<Transaction, Failure> {
    let no_address = |text: &str| {
        Failure::Usage(format!(
            "`{text}` is no mail address (like you@example.com)"
        ))
    };
    Ok(Transaction {
        sender: ReversePath::parse(from).map_err(|_| no_address(from))?,
        params: Params::default(),
        recipients: vec![Rcpt {
            address: Mailbox::parse(to).map_err(|_| no_address(to))?,
            params: Params::default(),
            dsn: DsnRcpt::default(),
        }],
        size: Some(content.len() as u64),
        eight_bit: !content.is_ascii(),
        utf8: false,
        dsn: DsnMail::default(),
        chunking: false,
        demands: Demands::default(),
    })
}

/// The address that `HOST:PORT`, `HOST` or `:PORT` names; the port is 25 when it is left out.
///
/// # Errors
/// When it names none.
pub fn target(text: &str) -> Result<SocketAddr, Failure> {
    let text = text.strip_prefix("smtp://").unwrap_or(text);
    let whole = match text {
        _ if text
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_ipv6()) =>
        {
            format!("[{text}]:25")
        }
        _ if text.starts_with(':') => format!("127.0.0.1{text}"),
        _ if text.contains(':') => text.to_owned(),
        _ => format!("{text}:25"),
    };
    let found = whole.to_socket_addrs().map(|mut all| all.next());
    match found {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(Failure::Usage(format!("`{text}` has no address"))),
        Err(error) => Err(Failure::Usage(format!(
            "`{text}` is no server: give it as HOST:PORT ({error})"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_leave_out_its_host_or_its_port() {
        for (text, expected) in [
            ("127.0.0.1:2525", "127.0.0.1:2525"),
            (":2525", "127.0.0.1:2525"),
            ("192.0.2.1", "192.0.2.1:25"),
            ("smtp://192.0.2.1:26", "192.0.2.1:26"),
            ("[::1]:2525", "[::1]:2525"),
            ("::1", "[::1]:25"),
        ] {
            assert_eq!(target(text).expect(text).to_string(), expected);
        }
        assert!(target("127.0.0.1:port").is_err());
    }
}
