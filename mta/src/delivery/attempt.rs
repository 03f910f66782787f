//! One attempt: one item, one candidate, over a pooled or a new connection.
//!
//! Whatever the peer does, the attempt ends with an outcome that says so:
//!
//! | the peer | outcome |
//! |---|---|
//! | refuses the connection, is not reachable, hangs | error `network`, temporary |
//! | closes in the middle | error `network`, temporary |
//! | answers what is no SMTP | error `protocol`, temporary |
//! | has no TLS that is required, or breaks the handshake | error `tls`, temporary |
//! | breaks the handshake of optional TLS | once more in clear, on a new connection |
//! | replies 4yz or 5yz | that reply, with the command that it answers |
//! | has closed a pooled connection | once more on a new connection, unseen |

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use angarium_config::delivery::DeliverySettings;
use angarium_effects::net::Connect;
use angarium_effects::random::uuid_text;
use angarium_queue::attempt as result;
use angarium_queue::attempt::{Attempt, AttemptError, EnhancedStatus, ErrorKind, SmtpState};
use angarium_queue::destination::Candidate;
use angarium_queue::dsn::{DsnRequest, Ret};
use angarium_queue::gate::Fields;
use angarium_queue::item::{Address, Item, Pairs};
use angarium_queue::text::Text;
use angarium_queue::transport::SourceIp;
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::client as smtp;
use angarium_smtp::client::{FailureKind, Outcome, Rcpt, Transaction};
use angarium_smtp::param::Params;

use super::content::{ContentError, Outgoing, Stored};
use super::desk::Desk;
use super::dial::dial;
use super::idle::Reservation;
use super::link::{CLOSED, Handshake, Link, TlsPeer};
use super::plan::ClientPlan;
use super::settings::Settings;
use super::trace::{Tap, Trace};
use super::{Core, Live};
use crate::connections::Outbound;
use crate::hooks::queue::{Client, TlsMode};
use crate::worker::Worker;

/// What to deliver, and where.
#[derive(Debug)]
pub(super) struct Task {
    pub item: Item,
    pub candidate: Candidate,
    pub source: Option<SourceIp>,
    /// The idle connection that was set aside, if one was.
    pub reserved: Option<Reservation>,
    /// No new one may be opened.
    pub must_reuse: bool,
    pub grouping: Option<Text>,
    /// What the script wants.
    pub wishes: Arc<Wishes>,
    /// What `smtpd-delivery.yaml` says of the destination.
    pub destination: DeliverySettings,
}

/// What a predelivery script wants of the attempt.
#[derive(Debug)]
pub(super) struct Wishes {
    /// What `Try` set for the client.
    pub client: Client,
    /// RFC 3461 data, with what `Try` set.
    pub dsn: DsnRequest,
    /// What `Try` set for policies and settings by destination.
    pub jobid: Option<Text>,
    /// The same.
    pub tenantid: Option<Text>,
    /// The domain that `Try` delivers to in place of the recipient's.
    pub domain: Option<Text>,
}

impl Wishes {
    /// None: there is no script, or it left everything as it is.
    pub(super) fn of(item: &Item) -> Wishes {
        Wishes {
            client: Client::default(),
            dsn: item.dsn.clone(),
            jobid: None,
            tenantid: None,
            domain: None,
        }
    }

    /// Shows an item as it was tried, for postdelivery (hooks.md, group MESSAGE).
    pub(super) fn as_tried(&self, item: &mut Item) {
        let replace = |own: &mut Option<Text>, tried: &Option<Text>| {
            if tried.is_some() {
                own.clone_from(tried);
            }
        };
        replace(&mut item.jobid, &self.jobid);
        replace(&mut item.tenantid, &self.tenantid);
        if let Some(sender) = &self.client.sender {
            item.sender = sender.clone();
        }
        if let Some(recipient) = &self.client.recipient {
            item.recipient = recipient.clone();
        }
        item.dsn = self.dsn.clone();
    }
}

/// Makes the attempt; none if it had to use an idle connection and there is none that suits.
pub(super) async fn attempt(
    worker: &Rc<Worker>,
    core: &Core,
    live: &Live,
    mut task: Task,
) -> Option<Attempt> {
    let began = worker.effects.clock.monotonic();
    let plan = ClientPlan::new(&live.settings, &task);
    let lmtp = plan.config.protocol == smtp::Protocol::Lmtp;
    let reserved = task.reserved.take();
    let trace = core.traces.of(|| fields(&task), plan.pool_key.localip);
    let mut plan = plan;
    if trace
        .as_ref()
        .is_some_and(|trace| trace.follow.nopipelining)
    {
        // A connection that is kept would go on like this for others.
        plan.config.pipelining = false;
        plan.pooling = None;
    }
    let run = Run {
        trace,
        worker,
        core,
        desk: Desk::of(worker, core),
        settings: &live.settings,
        plan,
        task: &task,
        reserved: RefCell::new(reserved),
    };
    let (outcome, connection) = run.run().await?;
    let duration = worker.effects.clock.monotonic().since(began);
    core.times.observe(worker.index, duration);
    Some(Attempt {
        outcome,
        connection: Some(connection),
        duration,
        final_delivery: lmtp,
    })
}

/// An attempt under way.
struct Run<'a> {
    /// Somebody follows it.
    trace: Option<Arc<Trace>>,
    worker: &'a Rc<Worker>,
    core: &'a Core,
    desk: Rc<Desk>,
    settings: &'a Settings,
    plan: ClientPlan,
    task: &'a Task,
    /// The connection that was set aside, until one is taken.
    reserved: RefCell<Option<Reservation>>,
}

/// The outcome, and the connection over which it came.
type Ended = (result::Outcome, result::Connection);

/// A session that is ready for a message.
struct Session {
    link: Link,
    about: result::Connection,
}

impl Run<'_> {
    async fn run(&self) -> Option<Ended> {
        let message = match self.message().await {
            Ok(message) => message,
            Err(error) => return Some((result::Outcome::Error(error), self.about())),
        };
        if let Some(session) = self.pooled(&message) {
            let (ended, dead) = self.send(session, &message).await;
            if !dead {
                return Some(ended);
            }
        }
        if self.task.must_reuse {
            return None;
        }
        Some(match self.connect().await {
            Ok(session) => self.send(session, &message).await.0,
            Err(failed) => *failed,
        })
    }

    /// What is known of the connection before there is one.
    fn about(&self) -> result::Connection {
        let Task {
            candidate, source, ..
        } = self.task;
        result::Connection {
            localip: source.as_ref().map(|source| source.address),
            localipid: source.as_ref().and_then(|source| source.id.clone()),
            helo: Some(Text::from(self.plan.config.helo.as_str())),
            remoteip: Some(candidate.ip),
            remotemx: Some(candidate.mx.clone()),
            ..result::Connection::default()
        }
    }

    /// Finds out what has to be said about the message.
    async fn message(&self) -> Result<Message, AttemptError> {
        let unreadable = |error: &dyn std::fmt::Display| {
            // Mended by an operator, perhaps; until then other candidates would not help.
            let mut error = AttemptError::new(ErrorKind::Config, true, error.to_string());
            error.after_envelope = true;
            error
        };
        let stored = Stored::of(&self.task.item).map_err(|error| unreadable(&error))?;
        let content = self.content(&stored).map_err(|error| unreadable(&error))?;
        let (eight_bit, header) = match content.charset() {
            Some(charset) => charset,
            None => {
                let content = self.content(&stored).map_err(|error| unreadable(&error))?;
                content
                    .find_charset(&self.worker.pool)
                    .await
                    .map_err(|error| unreadable(&error))?
            }
        };
        let Task { item, wishes, .. } = self.task;
        let size = Some(stored.size());
        let mut transaction = transaction(item, wishes, size, (eight_bit, header))?;
        transaction.chunking = self.plan.chunking;
        Ok(Message {
            stored,
            transaction,
            content: RefCell::new(Some(content)),
        })
    }

    fn content(&self, stored: &Stored) -> Result<Outgoing, ContentError> {
        let now = self.worker.effects.clock.unix().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        Outgoing::open(&self.core.spool, stored, now)
    }

    /// An idle connection that still lives and can carry the message.
    fn pooled(&self, message: &Message) -> Option<Session> {
        let trace = self.trace.as_ref();
        if trace.is_some_and(|trace| trace.follow.connect || trace.follow.nopipelining)
            && !self.task.must_reuse
        {
            return None;
        }
        let utf8 = message.transaction.needs_utf8();
        let demands = message.transaction.demands;
        let suits = |link: &Link| {
            let peer = link.client().peer();
            (!utf8 || peer.smtputf8)
                && (!demands.requiretls || peer.requiretls)
                && (!demands.binary || peer.binarymime)
        };
        let idle = &self.desk.idle;
        let key = &self.plan.pool_key;
        let taken = (self.plan.pooling).and_then(|rules| idle.take(self.worker, key, rules, suits));
        if let Some(reserved) = self.reserved.take()
            && taken.is_none()
        {
            reserved.in_vain();
        }
        let (link, about) = taken?;
        Some(Session { link, about })
    }

    /// Opens a connection; without TLS once more where optional TLS broke it.
    async fn connect(&self) -> Result<Session, Box<Ended>> {
        match self.open(self.plan.tls.mode).await {
            Err(Refused {
                retry_in_clear: true,
                ..
            }) => match self.open(TlsMode::Disabled).await {
                Ok(mut session) => {
                    // Scripts see that TLS was tried.
                    session.about.tls = Some(failed_tls(None));
                    Ok(session)
                }
                Err(refused) => Err(refused.ended),
            },
            other => other.map_err(|refused| refused.ended),
        }
    }

    async fn open(&self, mode: TlsMode) -> Result<Session, Refused> {
        let Task {
            candidate, source, ..
        } = self.task;
        let mut about = self.about();
        let id = uuid_text(&self.worker.effects.random.transaction_uuid());
        about.id = Text::from(id);
        let to = SocketAddr::new(candidate.ip, candidate.port);
        let how = Connect {
            source: source.as_ref().map(|source| source.address),
            nonlocal: self.plan.nonlocal,
            timeout: Some(self.plan.connect_timeout),
        };
        let began = self.worker.effects.clock.monotonic();
        let name = (to, candidate.mx.clone());
        let item = self.task.item.id;
        let entry = Outbound::new(about.id.clone(), name, how.source, item, began);
        let entry = self.core.connections.enter(entry);
        let tap = (self.trace.as_ref()).map(|trace| Tap::new(Arc::clone(trace), about.id.clone()));
        let tell = |text: &dyn Fn() -> String| {
            if let Some(tap) = &tap {
                tap.event(&text());
            }
        };
        let proxy = self.plan.proxy.as_ref();
        tell(&|| {
            let by = proxy.map(|proxy| format!(" by {proxy}"));
            let by = by.unwrap_or_default();
            format!("connecting to {} at {to}{by}", candidate.mx)
        });
        let connected = tokio::select! {
            biased;
            () = entry.lever.pulled() => Err((to.to_string(), io::Error::other(CLOSED))),
            connected = dial(&self.worker.effects, to, &how, proxy) => connected,
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err((place, error)) => {
                tell(&|| plain(&error));
                let message = format!("connecting to {place}: {}", plain(&error));
                return Err(Refused::error(ErrorKind::Network, message, about));
            }
        };
        if let Ok(local) = connection.local_addr() {
            tell(&|| format!("connected from {local}"));
            entry.bound(local);
            // A proxy was told the source, if there is one.
            about.localip = about
                .localip
                .filter(|_| proxy.is_some())
                .or(Some(local.ip()));
        }
        let host = candidate.mx.to_str();
        let host = host.trim_end_matches('.');
        let name = self.plan.tls.server_name(host);
        let tls = match self.desk.tls(self.settings, &self.plan.tls, mode, host) {
            Ok(tls) => tls,
            Err(error) => {
                return Err(Refused::error(ErrorKind::Config, error.to_string(), about));
            }
        };
        let found = || tls.as_ref().and_then(|(_, finding)| finding.failure());
        let peer = tls.as_ref().map(|(tls, _)| TlsPeer {
            tls,
            name,
            address: candidate.ip,
        });
        let mut config = self.plan.config.clone();
        config.tls = match mode {
            TlsMode::Disabled => smtp::TlsMode::Disabled,
            TlsMode::Optional | TlsMode::OptionalVerify => smtp::TlsMode::Optional,
            TlsMode::Require | TlsMode::RequireVerify => smtp::TlsMode::Required,
        };
        let implicit = self.plan.tls.implicit && mode != TlsMode::Disabled;
        let looked = matches!(mode, TlsMode::OptionalVerify | TlsMode::RequireVerify);
        let clock = Rc::clone(&self.worker.effects.clock);
        let implicit = peer.as_ref().filter(|_| implicit);
        let made = Link::new((connection, entry), tap, config, implicit, clock);
        let mut link = match made.await {
            Ok(link) => link,
            Err((_, reason)) => {
                about.tls = Some(failed_tls(found()));
                let message = format!("TLS handshake failed: {reason}");
                return Err(Refused::error(ErrorKind::Tls, message, about));
            }
        };
        match link.ready(peer.as_ref()).await {
            Ok(()) => {
                about.remotegreet = texts(link.client().greeting());
                about.tls = tls_info(&link, looked, found());
                Ok(Session { link, about })
            }
            Err(not_ready) => {
                about.remotegreet = texts(link.client().greeting());
                about.tls = tls_info(&link, looked, found());
                let missing = matches!(
                    &not_ready.outcome,
                    Outcome::Error(failure) if failure.kind == FailureKind::Tls
                );
                if missing && about.tls.is_none() {
                    about.tls = Some(result::TlsInfo {
                        tlsrpt: Some("starttls-not-supported"),
                        ..result::TlsInfo::default()
                    });
                }
                // Who was told to end a connection does not begin another in its place.
                let retry_in_clear = not_ready.retry_in_clear && !link.entry().lever.is_pulled();
                self.worker.spawn(link.quit());
                Err(Refused {
                    ended: Box::new((outcome(not_ready.outcome, false), about)),
                    retry_in_clear,
                })
            }
        }
    }

    /// Sends the message and puts the connection away. Says too whether the connection was dead
    /// before it took anything.
    async fn send(&self, session: Session, message: &Message) -> (Ended, bool) {
        let Session {
            mut link,
            mut about,
        } = session;
        link.entry().carry(Some(self.task.item.id));
        let reused = link.client().transactions() > 0;
        if reused && let Some(trace) = &self.trace {
            link.follow(Some(Tap::new(Arc::clone(trace), about.id.clone())));
            link.note(|| format!("connection with {} used again", candidate_of(&about)));
        }
        let opened = match message.content.take() {
            Some(content) => Ok(content),
            None => self.content(&message.stored),
        };
        let mut content = match opened {
            Ok(content) => content,
            Err(error) => {
                self.put_away(link, &about);
                let mut error = AttemptError::new(ErrorKind::Config, true, error.to_string());
                error.after_envelope = true;
                return ((result::Outcome::Error(error), about), false);
            }
        };
        let transaction = message.transaction.clone();
        let sent = link
            .send(transaction, &mut content, &self.worker.pool)
            .await;
        about.transactions = u64::from(link.client().transactions());
        about.dsn = link.client().peer().dsn;
        let lost = match &sent.outcome {
            // A connection may end inside TLS too.
            Outcome::Error(failure) => {
                matches!(failure.kind, FailureKind::Network | FailureKind::Tls)
            }
            Outcome::Reply(reply) => reply.code == 421,
        };
        let early = match &sent.outcome {
            Outcome::Error(_) => true,
            Outcome::Reply(reply) => {
                matches!(reply.state, smtp::State::Rset | smtp::State::Mail)
            }
        };
        let dead = reused && lost && early && !sent.after_envelope;
        self.put_away(link, &about);
        let ended = (outcome(sent.outcome, sent.after_envelope), about);
        (ended, dead)
    }

    /// Keeps the connection for the next message, or takes leave of it without waiting.
    fn put_away(&self, mut link: Link, about: &result::Connection) {
        match self.plan.pooling {
            Some(rules) if link.is_reusable() && !self.worker.is_stopping() => {
                link.follow(None);
                let key = (&self.task.item.transportid, self.plan.pool_key.clone());
                let idle = (link, about.clone());
                self.desk.idle.put(self.worker, key, idle, rules);
            }
            _ => self.worker.spawn(link.quit()),
        }
    }
}

/// The host of a connection, for people.
fn candidate_of(about: &result::Connection) -> String {
    let name = about.remotemx.as_ref().map(Text::to_string);
    let address = about.remoteip.map(|address| address.to_string());
    name.into_iter()
        .chain(address)
        .collect::<Vec<_>>()
        .join(" at ")
}

/// The values of an attempt by which it may be followed.
fn fields(task: &Task) -> Fields {
    let Task {
        item,
        candidate,
        wishes,
        ..
    } = task;
    let over = |wished: &Option<Text>, own: &Option<Text>| wished.clone().or_else(|| own.clone());
    let domain = wishes.domain.as_ref().unwrap_or(&item.recipient.domain);
    Fields {
        transportid: item.transportid.clone(),
        jobid: over(&wishes.jobid, &item.jobid),
        tenantid: over(&wishes.tenantid, &item.tenantid),
        grouping: task.grouping.clone(),
        remotemx: Some(candidate.mx.clone()),
        remoteip: Some(candidate.ip),
        recipientdomain: Some(domain.to_ascii_lowercase()),
        ..Fields::default()
    }
}

/// A message that can be sent.
struct Message {
    stored: Stored,
    transaction: Transaction,
    /// Open at its start; none once it was sent.
    content: RefCell<Option<Outgoing>>,
}

/// A connection that did not become a session.
struct Refused {
    ended: Box<Ended>,
    retry_in_clear: bool,
}

impl Refused {
    fn error(kind: ErrorKind, message: String, about: result::Connection) -> Refused {
        let mut error = AttemptError::new(kind, true, message);
        if kind == ErrorKind::Tls {
            error.status = Some(EnhancedStatus::new(4, 7, 5));
        }
        Refused {
            ended: Box::new((result::Outcome::Error(error), about)),
            retry_in_clear: false,
        }
    }
}

pub(super) fn failed_tls(found: Option<&'static str>) -> result::TlsInfo {
    result::TlsInfo {
        tlsrpt: found.or(Some("validation-failure")),
        ..result::TlsInfo::default()
    }
}

/// OpenSSL's number for what is wrong with a certificate.
fn openssl(found: &str) -> u32 {
    match found {
        "certificate-expired" => 10,
        "certificate-not-trusted" => 20,
        "certificate-host-mismatch" => 62,
        _ => 1,
    }
}

/// What scripts see of TLS; `looked` says whether the certificate was checked, `found` what is wrong with it.
pub(super) fn tls_info(
    link: &Link,
    looked: bool,
    found: Option<&'static str>,
) -> Option<result::TlsInfo> {
    match link.tls() {
        Handshake::None => None,
        Handshake::Failed => Some(failed_tls(found)),
        Handshake::Done(info) => Some(result::TlsInfo {
            started: true,
            protocol: Some(Text::from(info.protocol.as_str())),
            cipher: Some(Text::from(info.cipher.as_str())),
            keysize: u16::try_from(info.keysize).ok(),
            tlsrpt: found,
            peercert: info.peer_cert.as_ref().map(|cert| {
                Arc::new(result::PeerCert {
                    chain: cert.chain.clone(),
                    error: looked.then(|| found.map_or(0, openssl)),
                })
            }),
            ..result::TlsInfo::default()
        }),
    }
}

pub(super) fn texts(lines: &[String]) -> Vec<Text> {
    lines.iter().map(|line| Text::from(line.as_str())).collect()
}

/// The machine's outcome as the queue takes it.
pub(super) fn outcome(outcome: Outcome, after_envelope: bool) -> result::Outcome {
    match outcome {
        Outcome::Reply(reply) => result::Outcome::Result(result::Reply {
            code: reply.code,
            enhanced: reply.enhanced.map(status),
            reason: texts(&reply.reason),
            // Both sides have the names of hooks.md.
            state: SmtpState::from_name(reply.state.as_str()).unwrap_or(SmtpState::Eod),
        }),
        Outcome::Error(failure) => {
            let kind = match failure.kind {
                FailureKind::Config => ErrorKind::Config,
                FailureKind::Dns => ErrorKind::Dns(result::DnsError::Other),
                FailureKind::Network => ErrorKind::Network,
                FailureKind::Dane => ErrorKind::Dane,
                FailureKind::Protocol => ErrorKind::Protocol,
                FailureKind::Smtp => ErrorKind::Smtp,
                FailureKind::Tls => ErrorKind::Tls,
                FailureKind::Plugin => ErrorKind::Plugin,
            };
            let mut error = AttemptError::new(kind, failure.temporary, failure.message);
            error.status = failure.status.map(status);
            error.after_envelope = after_envelope;
            result::Outcome::Error(error)
        }
    }
}

fn status(status: angarium_smtp::reply::EnhancedStatus) -> EnhancedStatus {
    EnhancedStatus::new(u16::from(status.class), status.subject, status.detail)
}

fn mailbox(address: &Address) -> Result<Mailbox, angarium_smtp::address::AddressError> {
    Mailbox::new(&address.localpart.to_str(), &address.domain.to_str())
}

/// What is said of an item's message; `eight_bit` tells of bytes above 127 in it and in its header.
///
/// # Errors
/// An address or a parameter cannot stand in a command.
pub(super) fn transaction(
    item: &Item,
    wishes: &Wishes,
    size: Option<u64>,
    (eight_bit, eight_bit_header): (bool, bool),
) -> Result<Transaction, AttemptError> {
    let Wishes { client, dsn, .. } = wishes;
    let refused = |what: &str, error: &dyn std::fmt::Display| {
        let mut error = AttemptError::new(ErrorKind::Config, false, format!("{what}: {error}"));
        error.after_envelope = true;
        error
    };
    let sender = client.sender.as_ref().unwrap_or(&item.sender);
    let sender = match sender.is_null() {
        true => ReversePath::Null,
        false => ReversePath::Mailbox(
            mailbox(sender).map_err(|error| refused("the sender's address", &error))?,
        ),
    };
    let recipient = client.recipient.as_ref().unwrap_or(&item.recipient);
    let recipient =
        mailbox(recipient).map_err(|error| refused("the recipient's address", &error))?;
    // What a script says of the content is said; what the message came with was said of what it was then.
    let eight_bit = eight_bit || client.senderparams.as_ref().is_some_and(is_eight_bit);
    let given = client.senderparams.as_ref().unwrap_or(&item.senderparams);
    let demands = demands(item, given);
    let declared_utf8 = given.get("SMTPUTF8").is_some();
    let mail_params = params(given).map_err(|error| refused("a parameter of MAIL", &error))?;
    let given = client
        .recipientparams
        .as_ref()
        .unwrap_or(&item.recipientparams);
    let rcpt_params = params(given).map_err(|error| refused("a parameter of RCPT", &error))?;
    Ok(Transaction {
        sender,
        params: mail_params,
        recipients: vec![Rcpt {
            address: recipient,
            params: rcpt_params,
            dsn: smtp::DsnRcpt {
                notify: dsn.notify.map(|notify| notify.to_string()),
                orcpt: dsn.orcpt.as_ref().map(Text::to_string),
            },
        }],
        size,
        eight_bit,
        // A header in bytes above 127 that nobody called UTF-8 is sent as it came, as ever.
        utf8: declared_utf8 && eight_bit_header,
        dsn: smtp::DsnMail {
            ret: dsn.ret.map(|ret| match ret {
                Ret::Full => smtp::Ret::Full,
                Ret::Hdrs => smtp::Ret::Hdrs,
            }),
            envid: dsn.envid.as_ref().map(Text::to_string),
        },
        chunking: false,
        demands,
    })
}

/// What the message demands of the peer. What it came with stays with it, whatever a script says.
fn demands(item: &Item, given: &Pairs) -> smtp::Demands {
    smtp::Demands {
        binary: is_binary(item) || has_body(given, "BINARYMIME"),
        requiretls: requires_tls(item) || given.get("REQUIRETLS").is_some(),
    }
}

fn has_body(params: &Pairs, body: &str) -> bool {
    let given = params.get("BODY");
    given.is_some_and(|given| given.as_bytes().eq_ignore_ascii_case(body.as_bytes()))
}

fn is_eight_bit(params: &Pairs) -> bool {
    has_body(params, "8BITMIME")
}

/// Whether the message came as BINARYMIME.
pub(super) fn is_binary(item: &Item) -> bool {
    has_body(&item.senderparams, "BINARYMIME")
}

/// Whether the message came with REQUIRETLS.
pub(super) fn requires_tls(item: &Item) -> bool {
    item.senderparams.get("REQUIRETLS").is_some()
}

/// Parameters of an item for a command. Those that follow from the message itself are left to the
/// client, because what the next hop offers may differ from what we offered.
fn params(pairs: &Pairs) -> Result<Params, angarium_smtp::param::ParamError> {
    let mut params = Params::default();
    for (name, value) in pairs.iter() {
        let name = name.to_str();
        if matches!(&*name, "BODY" | "SMTPUTF8" | "SIZE" | "REQUIRETLS") {
            continue;
        }
        let value = value.to_str();
        params.set(&name, (!value.is_empty()).then_some(&*value))?;
    }
    Ok(params)
}

/// What the system says, without Rust's decoration.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text.get(..at).unwrap_or(&text).to_owned(),
        None => text,
    }
}
