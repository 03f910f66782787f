//! Messages that scripts send at once, without the queue (hooks.md, group INLINE).
//!
//! The client is that of the queue's attempts; there are no policies, no idle connections and no second attempt: the script
//! hears what became of the first server that took the connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::LocalFuture;
use angarium_effects::random::uuid_text;
use angarium_mail::source::Source;
use angarium_queue::attempt::{self as result, Attempt, AttemptError, DnsError, ErrorKind};
use angarium_queue::destination::{Candidate, Request, Resolution, Target};
use angarium_queue::item::{Item, ItemId};
use angarium_queue::text::Text;
use angarium_smtp::client as smtp;
use angarium_smtp::client::Transaction;
use uuid::Uuid;

use super::Switchboard;
use super::attempt::{self, Wishes, failed_tls, outcome, plain, texts, tls_info};
use super::content::{ContentError, HeaderEnd, Outgoing};
use super::link::{Link, TlsPeer};
use super::resolve::resolve;
use super::server::Server;
use super::settings::Settings;
use crate::connections::Outbound;
use crate::hooks::queue::TlsMode;
use crate::pool::HeavyPool;
use crate::worker::{Effects, Worker};

/// What sending needs of the thread that it is done on.
#[derive(Clone)]
pub struct Surroundings {
    /// The outside.
    pub effects: Effects,
    /// Where messages are read.
    pub pool: Arc<HeavyPool>,
    /// Does work that nobody waits for.
    pub spawn: Rc<dyn Fn(LocalFuture<'static, ()>)>,
    /// Where its connections are listed.
    pub board: Switchboard,
}

impl Surroundings {
    /// Those of a worker.
    #[must_use]
    pub fn of(worker: &Rc<Worker>, board: Switchboard) -> Surroundings {
        let own = Rc::clone(worker);
        Surroundings {
            effects: worker.effects.clone(),
            pool: Arc::clone(&worker.pool),
            spawn: Rc::new(move |task| own.spawn(task)),
            board,
        }
    }
}

/// What is said of the message of an item that is sent at once, and not by the queue.
///
/// # Errors
/// An address or a parameter cannot stand in a command.
pub fn transaction(item: &Item) -> Result<Transaction, AttemptError> {
    // What of it has bytes above 127 is found out when it is sent.
    attempt::transaction(item, &Wishes::of(item), None, (false, true))
}

/// Sends a message and tells what became of it: with several recipients the first that failed counts.
pub async fn send(
    around: &Surroundings,
    settings: &Settings,
    (server, target): (&Server, Target),
    transaction: Transaction,
    source: Arc<dyn Source + Send + Sync>,
) -> Attempt {
    let began = around.effects.clock.monotonic();
    let sending = Sending {
        around,
        settings,
        server,
        target,
        transaction,
        source,
    };
    let (outcome, connection) = sending.run().await;
    Attempt {
        outcome,
        connection,
        duration: around.effects.clock.monotonic().since(began),
        final_delivery: server.client.lmtp,
    }
}

struct Sending<'a> {
    around: &'a Surroundings,
    settings: &'a Settings,
    server: &'a Server,
    target: Target,
    transaction: Transaction,
    source: Arc<dyn Source + Send + Sync>,
}

/// A connection that did not become a session.
struct Refused {
    outcome: result::Outcome,
    about: result::Connection,
    retry_in_clear: bool,
}

type Ended = (result::Outcome, Option<result::Connection>);

impl Sending<'_> {
    async fn run(mut self) -> Ended {
        if let Err(error) = self.look().await {
            let error = AttemptError::new(ErrorKind::Config, false, error.to_string());
            return (result::Outcome::Error(error), None);
        }
        let candidates = match self.candidates().await {
            Ok(candidates) => candidates,
            Err(error) => return (result::Outcome::Error(error), None),
        };
        let mut last: Option<Refused> = None;
        for candidate in &candidates {
            let (link, about) = match self.connect(candidate).await {
                Ok(connected) => connected,
                // Another host may take it.
                Err(refused) => {
                    last = Some(refused);
                    continue;
                }
            };
            return self.deliver(link, about).await;
        }
        match last {
            Some(refused) => (refused.outcome, Some(refused.about)),
            None => {
                let kind = ErrorKind::Dns(DnsError::NoData);
                let error = AttemptError::new(kind, false, "the destination has no address");
                (result::Outcome::Error(error), None)
            }
        }
    }

    /// Finds out what has to be said of the message: its size on the wire (RFC 1870 §5), where every line ends in CRLF unless
    /// it is binary, and whether it has bytes above 127: those of a header make what was declared so SMTPUTF8.
    async fn look(&mut self) -> Result<(), ContentError> {
        let mut content = Outgoing::of(Arc::clone(&self.source));
        let (mut size, mut last, mut eight_bit) = (0_u64, 0, false);
        let binary = self.transaction.demands.binary;
        let (mut header, mut eight_bit_header) = (HeaderEnd::default(), false);
        while let Some(piece) = content.next(&self.around.pool).await? {
            eight_bit |= !piece.is_ascii();
            if !header.over {
                let end = header.find(&piece);
                eight_bit_header |= !piece.get(..end).unwrap_or(&piece).is_ascii();
            }
            for at in memchr::memchr_iter(b'\n', &piece) {
                let before = at.checked_sub(1).and_then(|at| piece.get(at));
                size += u64::from(*before.unwrap_or(&last) != b'\r' && !binary);
            }
            size = size.saturating_add(piece.len() as u64);
            last = piece.last().copied().unwrap_or(last);
        }
        self.transaction.size = Some(size);
        self.transaction.eight_bit |= eight_bit;
        self.transaction.utf8 &= eight_bit_header;
        self.transaction.chunking = self.server.client.chunking;
        Ok(())
    }

    async fn candidates(&self) -> Result<Vec<Candidate>, AttemptError> {
        let server = self.server;
        let resolution = Resolution::new(Request {
            target: self.target.clone(),
            port: server.port,
            families: server.families,
            mx_include: server.mx_include.clone(),
            mx_exclude: server.mx_exclude.clone(),
            ip_exclude: Vec::new(),
            own: Arc::clone(&server.own),
            transaction: Uuid::from_bytes(self.around.effects.random.uuid()),
        });
        resolve(&*self.around.effects.dns, resolution).await
    }

    /// Opens a session; without TLS once more where optional TLS broke it.
    async fn connect(&self, candidate: &Candidate) -> Result<(Link, result::Connection), Refused> {
        match self.open(candidate, self.server.client.tls.mode).await {
            Err(refused) if refused.retry_in_clear => {
                let (link, mut about) = self.open(candidate, TlsMode::Disabled).await?;
                // The script sees that TLS was tried.
                about.tls = Some(failed_tls(None));
                Ok((link, about))
            }
            other => other,
        }
    }

    async fn open(
        &self,
        candidate: &Candidate,
        mode: TlsMode,
    ) -> Result<(Link, result::Connection), Refused> {
        let (around, client) = (self.around, &self.server.client);
        let effects = &around.effects;
        let source = self.server.sources.choose(candidate.ip, 0);
        let helo = source
            .and_then(|source| source.helo.as_ref().map(ToString::to_string))
            .or_else(|| client.helo.clone())
            .unwrap_or_else(|| self.settings.hostname.clone());
        let mut about = result::Connection {
            id: Text::from(uuid_text(&effects.random.uuid())),
            localip: source.map(|source| source.address),
            localipid: source.and_then(|source| source.id.clone()),
            helo: Some(Text::from(helo.as_str())),
            remoteip: Some(candidate.ip),
            remotemx: Some(candidate.mx.clone()),
            ..result::Connection::default()
        };
        let refused = |kind, message: String, about| Refused {
            outcome: result::Outcome::Error(AttemptError::new(kind, true, message)),
            about,
            retry_in_clear: false,
        };
        let to = SocketAddr::new(candidate.ip, candidate.port);
        let item = ItemId {
            transaction: Uuid::from_bytes(effects.random.uuid()),
            queue: 0,
        };
        let name = (to, candidate.mx.clone());
        let began = effects.clock.monotonic();
        let entry = Outbound::new(about.id.clone(), name, about.localip, item, began);
        // It carries nothing of the queue's.
        entry.carry(None);
        let entry = around.board.connections.enter(entry);
        let tap = around.board.tap(&about.id, candidate, about.localip);
        let proxies = &self.settings.proxies;
        let dialled = self.server.dial(effects, candidate, source, proxies);
        let connection = match dialled.await {
            Ok(connection) => connection,
            Err((place, error)) => {
                let message = format!("connecting to {place}: {}", plain(&error));
                return Err(refused(ErrorKind::Network, message, about));
            }
        };
        if let Ok(local) = connection.local_addr() {
            entry.bound(local);
            // Behind a proxy the source is the one that was asked for.
            if self.server.proxy(source, proxies).is_none() {
                about.localip = Some(local.ip());
            }
        }
        let host = candidate.mx.to_str();
        let host = host.trim_end_matches('.');
        let authorities = self.settings.authorities.as_ref();
        let tls = match client.tls.with(mode, host, authorities, true) {
            Ok(tls) => tls,
            Err(error) => return Err(refused(ErrorKind::Config, error.to_string(), about)),
        };
        let found = || tls.as_ref().and_then(|(_, finding)| finding.failure());
        let peer = tls.as_ref().map(|(tls, _)| TlsPeer {
            tls,
            name: client.tls.server_name(host),
            address: candidate.ip,
        });
        let config = self.server.config(mode, helo);
        let implicit = client.tls.implicit && mode != TlsMode::Disabled;
        let implicit = peer.as_ref().filter(|_| implicit);
        let clock = Rc::clone(&effects.clock);
        let mut link = match Link::new((connection, entry), tap, config, implicit, clock).await {
            Ok(link) => link,
            Err((_, reason)) => {
                about.tls = Some(failed_tls(found()));
                let message = format!("TLS handshake failed: {reason}");
                return Err(refused(ErrorKind::Tls, message, about));
            }
        };
        let ready = link.ready(peer.as_ref()).await;
        about.remotegreet = texts(link.client().greeting());
        let looked = matches!(mode, TlsMode::OptionalVerify | TlsMode::RequireVerify);
        about.tls = tls_info(&link, looked, found());
        match ready {
            Ok(()) => Ok((link, about)),
            Err(not_ready) => {
                (around.spawn)(Box::pin(link.quit()));
                Err(Refused {
                    outcome: outcome(not_ready.outcome, false),
                    about,
                    retry_in_clear: not_ready.retry_in_clear,
                })
            }
        }
    }

    async fn deliver(self, mut link: Link, mut about: result::Connection) -> Ended {
        let mut content = Outgoing::of(self.source);
        let sent = link
            .send(self.transaction, &mut content, &self.around.pool)
            .await;
        about.transactions = u64::from(link.client().transactions());
        about.dsn = link.client().peer().dsn;
        (self.around.spawn)(Box::pin(link.quit()));
        let mut all = std::iter::once(sent.outcome).chain(sent.others).peekable();
        let first = all.peek().cloned();
        let failed = all.find(|outcome| !outcome.is_success()).or(first);
        let ended = failed.unwrap_or_else(|| {
            smtp::Outcome::Error(smtp::Failure::temporary(
                smtp::FailureKind::Protocol,
                "the server gave no answer",
            ))
        });
        (outcome(ended, sent.after_envelope), Some(about))
    }
}
