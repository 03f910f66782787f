//! Questions of scripts to other mail servers: `smtp_lookup_rcpt` and `smtp_lookup_auth`.
//!
//! A question is a session of the client machine that ends before a message: candidates are tried in turn until one says
//! something about the recipient or the user.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::LocalFuture;
use angarium_effects::random::uuid_text;
use angarium_queue::destination::{Candidate, Request, Resolution, Target};
use angarium_queue::item::ItemId;
use angarium_queue::text::Text;
use angarium_queue::transport::SourceIp;
use angarium_smtp::address::{AddressError, Mailbox, ReversePath};
use angarium_smtp::client as smtp;
use angarium_smtp::client::{Outcome, Rcpt, State, Transaction};
use angarium_smtp::param::Params;
use angarium_stdlib::smtp::{
    About, Answer, Lookup, Path, PathAddress, Question, Server as Asked, TlsAnswer, Verdict,
};
use uuid::Uuid;

use super::Switchboard;
use super::link::{Handshake, Link, NotReady, TlsPeer};
use super::resolve::resolve;
use super::server::Server;
use super::settings::{Proxies, client_side};
use crate::connections::Outbound;
use crate::hooks::queue::TlsMode;
use crate::scripts::Scripts;
use crate::worker::Effects;

/// Candidates that are asked at most.
const MOST: usize = 10;

/// The client as scripts reach it.
pub struct Prober {
    /// The outside of the thread.
    pub effects: Effects,
    /// The name to greet with.
    pub hostname: Arc<str>,
    /// Whose transports may be named; none: there are none.
    pub scripts: Option<Arc<Scripts>>,
    /// Where its connections are listed.
    pub board: Switchboard,
}

/// What is said in the session.
enum Task {
    Recipient(Box<Transaction>),
    User,
}

impl Lookup for Prober {
    fn ask(&self, question: Question) -> Result<LocalFuture<'static, Answer>, String> {
        let mut server = match question.server {
            Asked::Transport(id) => self.transport(&id)?,
            Asked::Options(options) => {
                let source = self.source(options.source_id.as_deref());
                Server::of_options(*options, &Arc::default(), source)?
            }
        };
        let (task, domain) = match question.about {
            About::Recipient { sender, recipient } => match transaction(&sender, &recipient)? {
                Ok(transaction) => {
                    let domain = transaction
                        .recipients
                        .first()
                        .map(|rcpt| Text::from(rcpt.address.domain()));
                    (Task::Recipient(Box::new(transaction)), domain)
                }
                Err(error) => {
                    let message = format!("an address cannot be used: {error}");
                    return Ok(Box::pin(std::future::ready(failed(message))));
                }
            },
            About::User { username, password } => {
                server.client.auth = Some(smtp::Credentials {
                    username,
                    password,
                    mechanism: None,
                });
                (Task::User, None)
            }
        };
        let target = server.target(domain.as_ref());
        let target = target.ok_or_else(|| "the server has no host".to_owned())?;
        let run = Run {
            effects: self.effects.clone(),
            hostname: Arc::clone(&self.hostname),
            board: self.board.clone(),
            server,
            task,
            proxies: match &self.scripts {
                Some(scripts) => Proxies::of(scripts.running()),
                None => Proxies::default(),
            },
        };
        Ok(Box::pin(async move { run.run(target).await }))
    }
}

impl Prober {
    /// The address with this id.
    fn source(&self, id: Option<&str>) -> Option<SourceIp> {
        self.scripts.as_ref()?.addresses().get(id?).cloned()
    }

    fn transport(&self, id: &str) -> Result<Server, String> {
        let unknown = || format!("unknown transport \"{id}\"");
        let scripts = self.scripts.as_ref().ok_or_else(unknown)?;
        let running = scripts.running();
        let (_, written) = running
            .transports
            .iter()
            .find(|(known, _)| &***known == id)
            .ok_or_else(unknown)?;
        let transport = crate::settings::transports(running)
            .get(&Text::from(id))
            .cloned()
            .ok_or_else(unknown)?;
        let client = client_side(written, scripts.keys()).map_err(|error| error.to_string())?;
        Ok(Server::of_transport(&transport, client))
    }
}

/// MAIL and RCPT of a question; the inner error is an address that is none.
fn transaction(
    sender: &Path,
    recipient: &Path,
) -> Result<Result<Transaction, AddressError>, String> {
    let parameters = params(sender)?;
    let rcpt_params = params(recipient)?;
    let read = || {
        let sender = match &sender.address {
            PathAddress::Text(text) => ReversePath::parse(text)?,
            PathAddress::Parts(localpart, domain) if localpart.is_empty() && domain.is_empty() => {
                ReversePath::Null
            }
            PathAddress::Parts(localpart, domain) => {
                ReversePath::Mailbox(Mailbox::new(localpart, domain)?)
            }
        };
        let address = match &recipient.address {
            PathAddress::Text(text) => Mailbox::parse(text)?,
            PathAddress::Parts(localpart, domain) => Mailbox::new(localpart, domain)?,
        };
        Ok((sender, address))
    };
    Ok(read().map(|(sender, address)| Transaction {
        sender,
        params: parameters,
        recipients: vec![Rcpt {
            address,
            params: rcpt_params,
            dsn: smtp::DsnRcpt::default(),
        }],
        size: None,
        eight_bit: false,
        utf8: false,
        dsn: smtp::DsnMail::default(),
        chunking: false,
        demands: smtp::Demands::default(),
    }))
}

fn params(path: &Path) -> Result<Params, String> {
    let mut params = Params::default();
    for (name, value) in &path.params {
        params
            .set(name, (!value.is_empty()).then_some(value))
            .map_err(|error| format!("parameter {name:?}: {error}"))?;
    }
    Ok(params)
}

fn failed(message: String) -> Answer {
    Answer {
        verdict: Verdict::Error,
        code: 0,
        message,
        on_rcptto: false,
        tls: TlsAnswer::default(),
    }
}

/// What one candidate came to.
enum Tried {
    /// This is the answer.
    Answer(Answer),
    /// Another candidate may have one.
    Next(Answer),
    /// The same one may, without TLS.
    InClear,
}

struct Run {
    effects: Effects,
    hostname: Arc<str>,
    board: Switchboard,
    server: Server,
    task: Task,
    proxies: Proxies,
}

impl Run {
    async fn run(&self, target: Target) -> Answer {
        let server = &self.server;
        let request = Request {
            target,
            port: server.port,
            families: server.families,
            mx_include: server.mx_include.clone(),
            mx_exclude: server.mx_exclude.clone(),
            ip_exclude: Vec::new(),
            own: Arc::clone(&server.own),
            transaction: Uuid::from_bytes(self.effects.random.uuid()),
        };
        let candidates = match resolve(&*self.effects.dns, Resolution::new(request)).await {
            Ok(candidates) => candidates,
            Err(error) => return failed(error.message.to_string()),
        };
        let mut last = failed("no server was found".to_owned());
        for candidate in candidates.iter().take(MOST) {
            let mut tried = self.attempt(candidate, server.client.tls.mode).await;
            if matches!(tried, Tried::InClear) {
                tried = self.attempt(candidate, TlsMode::Disabled).await;
            }
            match tried {
                Tried::Answer(answer) => return answer,
                Tried::Next(answer) => last = answer,
                Tried::InClear => {}
            }
        }
        last
    }

    async fn attempt(&self, candidate: &Candidate, mode: TlsMode) -> Tried {
        let (server, client) = (&self.server, &self.server.client);
        let to = SocketAddr::new(candidate.ip, candidate.port);
        let source = server.sources.choose(candidate.ip, 0);
        let helo = source
            .and_then(|source| source.helo.as_ref().map(ToString::to_string))
            .or_else(|| client.helo.clone())
            .unwrap_or_else(|| self.hostname.to_string());
        let dialled = server.dial(&self.effects, candidate, source, &self.proxies);
        let connection = match dialled.await {
            Ok(connection) => connection,
            Err((place, error)) => {
                return Tried::Next(failed(format!("connecting to {place}: {error}")));
            }
        };
        let host = candidate.mx.to_str();
        let host = host.trim_end_matches('.');
        let tls = match client.tls.with(mode, host, None, true) {
            Ok(tls) => tls,
            Err(why) => return Tried::Answer(failed(why.to_string())),
        };
        let peer = tls.as_ref().map(|(tls, _)| TlsPeer {
            tls,
            name: client.tls.server_name(host),
            address: candidate.ip,
        });
        let config = server.config(mode, helo);
        let implicit = peer.as_ref().filter(|_| client.tls.implicit);
        let clock = Rc::clone(&self.effects.clock);
        let id = ItemId {
            transaction: Uuid::nil(),
            queue: 0,
        };
        let name = (to, candidate.mx.clone());
        let began = self.effects.clock.monotonic();
        let known = Text::from(uuid_text(&self.effects.random.uuid()));
        let source = source.map(|source| source.address);
        let tap = self.board.tap(&known, candidate, source);
        let outbound = Outbound::new(known, name, source, id, began);
        // It carries no mail.
        outbound.carry(None);
        let entry = self.board.connections.enter(outbound);
        if let Ok(local) = connection.local_addr() {
            entry.bound(local);
        }
        let made = Link::new((connection, entry), tap, config, implicit, clock);
        let mut link = match made.await {
            Ok(link) => link,
            Err((_, reason)) => {
                return Tried::Next(failed(format!("TLS handshake failed: {reason}")));
            }
        };
        let tried = match link.ready(peer.as_ref()).await {
            Err(NotReady {
                retry_in_clear: true,
                ..
            }) => Tried::InClear,
            Err(not_ready) => self.not_ready(not_ready.outcome, tls_answer(&link)),
            Ok(()) => match &self.task {
                Task::User => Tried::Answer(Answer {
                    verdict: Verdict::Yes,
                    tls: tls_answer(&link),
                    ..failed(String::new())
                }),
                Task::Recipient(transaction) => {
                    let outcome = link.probe((**transaction).clone()).await;
                    judge(outcome, tls_answer(&link))
                }
            },
        };
        // Its leave is taken beside the script, which has its answer.
        tokio::task::spawn_local(link.quit());
        tried
    }

    /// The session ended before MAIL.
    fn not_ready(&self, outcome: Outcome, tls: TlsAnswer) -> Tried {
        let user = matches!(self.task, Task::User);
        match outcome {
            Outcome::Reply(reply) => {
                let of_auth = matches!(
                    reply.state,
                    State::AuthCramMd5
                        | State::AuthPlain
                        | State::AuthLogin
                        | State::AuthLoginUser
                        | State::Auth
                );
                let refused = reply.code >= 500 && (of_auth || !user);
                let answer = Answer {
                    verdict: if refused { Verdict::No } else { Verdict::Error },
                    code: reply.code,
                    message: text(&reply),
                    on_rcptto: false,
                    tls,
                };
                if user && of_auth {
                    Tried::Answer(answer)
                } else {
                    Tried::Next(answer)
                }
            }
            Outcome::Error(failure) => Tried::Next(Answer {
                tls,
                ..failed(failure.message)
            }),
        }
    }
}

/// What MAIL and RCPT came to.
fn judge(outcome: Outcome, tls: TlsAnswer) -> Tried {
    match outcome {
        Outcome::Reply(reply) => Tried::Answer(Answer {
            verdict: match reply.code {
                200..=299 => Verdict::Yes,
                500.. => Verdict::No,
                _ => Verdict::Error,
            },
            code: reply.code,
            message: text(&reply),
            on_rcptto: reply.state == State::Rcpt,
            tls,
        }),
        Outcome::Error(failure) => Tried::Next(Answer {
            tls,
            ..failed(failure.message)
        }),
    }
}

/// The text of a reply as it came.
fn text(reply: &smtp::PeerReply) -> String {
    let text = reply.reason.join("\n");
    match &reply.enhanced {
        Some(status) => format!("{status} {text}"),
        None => text,
    }
}

fn tls_answer(link: &Link) -> TlsAnswer {
    match link.tls() {
        Handshake::None | Handshake::Failed => TlsAnswer::default(),
        Handshake::Done(info) => TlsAnswer {
            started: true,
            protocol: Some(info.protocol.clone()),
            cipher: Some(info.cipher.clone()),
            keysize: Some(info.keysize),
            chain: info
                .peer_cert
                .as_ref()
                .map(|cert| cert.chain.clone())
                .unwrap_or_default(),
        },
    }
}
