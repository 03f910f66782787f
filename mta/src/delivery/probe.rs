//! Questions of scripts to other mail servers: `smtp_lookup_rcpt` and `smtp_lookup_auth`.
//!
//! A question is a session of the client machine that ends before a message: candidates are tried in turn until one says
//! something about the recipient or the user.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use angarium_config::Running;
use angarium_effects::LocalFuture;
use angarium_effects::net::Connect;
use angarium_queue::destination::{Candidate, Families, OwnHosts, Request, Resolution, Target};
use angarium_queue::item::ItemId;
use angarium_queue::text::Text;
use angarium_smtp::address::{AddressError, Mailbox, ReversePath};
use angarium_smtp::client as smtp;
use angarium_smtp::client::{Outcome, Rcpt, State, Timeouts, Transaction};
use angarium_smtp::param::Params;
use angarium_stdlib::smtp::{
    About, Answer, Lookup, Path, PathAddress, Question, Server, ServerOptions, Sni as WishedSni,
    TlsAnswer, TlsMode as WishedMode, Verdict,
};
use angarium_stdlib::tls::TlsOptions;
use uuid::Uuid;

use super::link::{Handshake, Link, NotReady, TlsPeer};
use super::resolve::resolve;
use super::settings::{ClientSettings, Sni, TlsSettings, client_side};
use crate::connections::{Outbound, Registry};
use crate::hooks::queue::TlsMode;
use crate::tls::ClientTls;
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
    pub running: Option<Arc<Running>>,
}

/// Whom to ask, and how.
struct Plan {
    /// None: the mail exchangers of the recipient's domain.
    host: Option<Text>,
    /// The mail exchangers of `host`.
    mx: bool,
    port: u16,
    families: Families,
    source: Option<IpAddr>,
    nonlocal: bool,
    mx_include: Vec<Text>,
    mx_exclude: Vec<Text>,
    client: ClientSettings,
    tls: TlsOptions,
}

/// What is said in the session.
enum Task {
    Recipient(Box<Transaction>),
    User,
}

impl Lookup for Prober {
    fn ask(&self, question: Question) -> Result<LocalFuture<'static, Answer>, String> {
        let mut plan = match question.server {
            Server::Transport(id) => self.transport(&id)?,
            Server::Options(options) => from_options(*options)?,
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
                plan.client.auth = Some(smtp::Credentials { username, password });
                (Task::User, None)
            }
        };
        let target = match (&plan.host, domain) {
            (Some(host), _) if plan.mx => Target::MxOf(host.clone()),
            (Some(host), _) => Target::Host(host.clone()),
            (None, Some(domain)) => Target::MxOf(domain),
            (None, None) => return Err("the server has no host".to_owned()),
        };
        let run = Run {
            effects: self.effects.clone(),
            hostname: Arc::clone(&self.hostname),
            plan,
            task,
        };
        Ok(Box::pin(async move { run.run(target).await }))
    }
}

impl Prober {
    fn transport(&self, id: &str) -> Result<Plan, String> {
        let unknown = || format!("unknown transport \"{id}\"");
        let running = self.running.as_ref().ok_or_else(unknown)?;
        let (_, written) = running
            .transports
            .iter()
            .find(|(known, _)| &***known == id)
            .ok_or_else(unknown)?;
        let transport = crate::settings::transports(running)
            .get(&Text::from(id))
            .cloned()
            .ok_or_else(unknown)?;
        let client = client_side(written).map_err(|error| error.to_string())?;
        let mut protocols = Vec::new();
        if client.tls.versions.tls12 {
            protocols.push("TLSv1.2");
        }
        if client.tls.versions.tls13 {
            protocols.push("TLSv1.3");
        }
        Ok(Plan {
            host: transport.server.clone(),
            mx: transport.mx,
            port: transport.port,
            families: transport.families,
            source: transport
                .sources
                .addresses
                .first()
                .map(|source| source.address),
            nonlocal: written.connection.sourceip.nonlocal,
            mx_include: Vec::new(),
            mx_exclude: Vec::new(),
            tls: TlsOptions {
                protocols: Some(protocols.join(",")),
                system_roots: client.tls.default_ca,
                ..TlsOptions::default()
            },
            client,
        })
    }
}

fn from_options(options: ServerOptions) -> Result<Plan, String> {
    let texts = |list: Vec<String>| list.into_iter().map(Text::from).collect();
    let mut timeouts = Timeouts::default();
    for (state, limit) in options.timeouts {
        let state: State = state
            .parse()
            .map_err(|error| format!("option timeout: {error}"))?;
        timeouts.set(state, limit);
    }
    Ok(Plan {
        host: options.host.map(Text::from),
        mx: false,
        port: options.port,
        families: Families::BOTH,
        source: options.source,
        nonlocal: options.nonlocal,
        mx_include: texts(options.mx_include),
        mx_exclude: texts(options.mx_exclude),
        tls: TlsOptions {
            protocols: options.protocols,
            ciphers: options.ciphers,
            system_roots: options.default_ca,
            certificate: options.certificate,
            ..TlsOptions::default()
        },
        client: ClientSettings {
            lmtp: options.lmtp,
            helo: options.helo,
            tls: TlsSettings {
                mode: match options.tls {
                    WishedMode::Disabled => TlsMode::Disabled,
                    WishedMode::Optional => TlsMode::Optional,
                    WishedMode::OptionalVerify => TlsMode::OptionalVerify,
                    WishedMode::Require => TlsMode::Require,
                    WishedMode::RequireVerify => TlsMode::RequireVerify,
                },
                sni: match options.sni {
                    WishedSni::Off => Sni::Off,
                    WishedSni::Host => Sni::Host,
                    WishedSni::Name(name) => Sni::Name(name),
                },
                verify_host: options.verify_host,
                verify_names: options.verify_names,
                default_ca: options.default_ca,
                ..TlsSettings::default()
            },
            auth: options
                .auth
                .map(|(username, password)| smtp::Credentials { username, password }),
            timeouts,
            connect_timeout: options.connect_timeout,
            ..ClientSettings::default()
        },
    })
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
    plan: Plan,
    task: Task,
}

impl Run {
    async fn run(&self, target: Target) -> Answer {
        let plan = &self.plan;
        let families = match plan.source {
            Some(source) => plan.families.and(Families::of([source])),
            None => plan.families,
        };
        let request = Request {
            target,
            port: plan.port,
            families,
            mx_include: plan.mx_include.clone(),
            mx_exclude: plan.mx_exclude.clone(),
            ip_exclude: Vec::new(),
            own: Arc::new(OwnHosts::default()),
            transaction: Uuid::from_bytes(self.effects.random.uuid()),
        };
        let candidates = match resolve(&*self.effects.dns, Resolution::new(request)).await {
            Ok(candidates) => candidates,
            Err(error) => return failed(error.message.to_string()),
        };
        let mut last = failed("no server was found".to_owned());
        for candidate in candidates.iter().take(MOST) {
            let mut tried = self.attempt(candidate, plan.client.tls.mode).await;
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
        let client = &self.plan.client;
        let to = SocketAddr::new(candidate.ip, candidate.port);
        let how = Connect {
            source: self.plan.source,
            nonlocal: self.plan.nonlocal,
            timeout: Some(client.connect_timeout),
        };
        let connection = match self.effects.net.connect(to, &how).await {
            Ok(connection) => connection,
            Err(error) => return Tried::Next(failed(format!("connecting to {to}: {error}"))),
        };
        let host = candidate.mx.to_str();
        let host = host.trim_end_matches('.');
        let tls = match self.tls(mode, host) {
            Ok(tls) => tls,
            Err(why) => return Tried::Answer(failed(why)),
        };
        let name = match &client.tls.sni {
            Sni::Name(name) => name.as_str(),
            Sni::Host | Sni::Off => host,
        };
        let peer = tls.as_ref().map(|tls| TlsPeer {
            tls,
            name,
            address: candidate.ip,
        });
        let config = smtp::Config {
            protocol: match client.lmtp {
                true => smtp::Protocol::Lmtp,
                false => smtp::Protocol::Smtp,
            },
            helo: client
                .helo
                .clone()
                .unwrap_or_else(|| self.hostname.to_string()),
            tls: match mode {
                TlsMode::Disabled => smtp::TlsMode::Disabled,
                TlsMode::Optional | TlsMode::OptionalVerify => smtp::TlsMode::Optional,
                TlsMode::Require | TlsMode::RequireVerify => smtp::TlsMode::Required,
            },
            xclient: Vec::new(),
            auth: client.auth.clone(),
            pipelining: client.pipelining,
            timeouts: client.timeouts.clone(),
        };
        let implicit = peer.as_ref().filter(|_| client.tls.implicit);
        let clock = Rc::clone(&self.effects.clock);
        let id = ItemId {
            transaction: Uuid::nil(),
            queue: 0,
        };
        let name = (to, candidate.mx.clone());
        let began = self.effects.clock.monotonic();
        let outbound = Outbound::new(Text::from(""), name, self.plan.source, id, began);
        outbound.carry(None);
        // It carries no mail: the list of connections that operators see is another one.
        let entry = Registry::default().enter(outbound);
        let made = Link::new((connection, entry), None, config, implicit, clock);
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

    fn tls(&self, mode: TlsMode, host: &str) -> Result<Option<ClientTls>, String> {
        if mode == TlsMode::Disabled {
            return Ok(None);
        }
        let wished = &self.plan.client.tls;
        let mut options = self.plan.tls.clone();
        if matches!(mode, TlsMode::OptionalVerify | TlsMode::RequireVerify) {
            options.verify_chain = true;
            options.names = match (&wished.verify_names[..], wished.verify_host) {
                ([], false) => None,
                ([], true) => Some(vec![host.to_owned()]),
                (names, _) => Some(names.to_vec()),
            };
        }
        let config = options
            .client(wished.sni != Sni::Off)
            .map_err(|error| error.to_string())?;
        Ok(Some(ClientTls::from_config(config)))
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
