//! `sink`: a destination that accepts mail and shows, writes or counts it.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::clock::timeout;
use angarium_effects::system::{SystemClock, SystemNet, SystemRandom};
use angarium_effects::{Clock, Connection, Listener, Net, Random};
use angarium_smtp::network::Network;
use angarium_smtp::param::Extensions;
use angarium_smtp::reply::EnhancedStatus;
use angarium_smtp::server::{Config, Hook, Hooks, Input, Limits, Output, Server};
use angarium_smtp::session;
use angarium_smtp::verdict::{Accept, EnhancedChoice, ReplyOptions, Verdict, split_reason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::failure::{Failure, reason};
use super::files;
use super::terminal::{self, print, print_bytes};

/// `angarium sink`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port to listen on; 0 takes a free one
    #[arg(long, short, value_name = "PORT", default_value_t = 2526)]
    port: u16,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: IpAddr,
    /// Write each message to a file of its own in this folder instead of showing it
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only count the messages
    #[arg(long, short, conflicts_with = "dir")]
    count: bool,
    /// Answer a phase (connect, helo, mailfrom, rcptto, eod) otherwise: `rcptto=450 4.2.0 Come back later`
    #[arg(long, value_name = "PHASE=REPLY", value_parser = parse_reply)]
    reply: Vec<PhaseReply>,
    /// Give the other answers this many times only, then accept
    #[arg(long, value_name = "N", requires = "reply")]
    times: Option<u64>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    max: Option<u64>,
}

/// Another answer for a phase.
#[derive(Clone, Debug)]
struct PhaseReply {
    phase: &'static str,
    verdict: Verdict,
}

const PHASES: [&str; 5] = ["connect", "helo", "mailfrom", "rcptto", "eod"];

fn parse_reply(text: &str) -> Result<PhaseReply, String> {
    let form = "give it as PHASE=CODE TEXT, for example `rcptto=450 4.2.0 Come back later`";
    let (phase, reply) = text.split_once('=').ok_or(form)?;
    let phase = PHASES
        .into_iter()
        .find(|name| *name == phase)
        .ok_or_else(|| {
            format!(
                "there is no phase `{phase}`: choose one of {}",
                PHASES.join(", ")
            )
        })?;
    let (code, rest) = reply.split_once(' ').unwrap_or((reply, ""));
    let code: u16 = code.parse().map_err(|_| form)?;
    let (enhanced, rest) = match EnhancedStatus::split_off(rest) {
        Some((status, rest)) => (EnhancedChoice::Code(status), rest),
        None => (EnhancedChoice::Off, rest),
    };
    let reply = ReplyOptions {
        reason: split_reason(rest.as_bytes()),
        code: Some(code),
        enhanced,
        disconnect: code == 421 || code == 521,
    };
    let verdict = match code {
        200..=299 => Verdict::Accept(Box::new(Accept {
            reply,
            ..Accept::default()
        })),
        400..=499 => Verdict::Defer(reply),
        500..=599 => Verdict::Reject(reply),
        _ => return Err("the code must be 200 to 299, or 400 to 599".to_owned()),
    };
    Ok(PhaseReply { phase, verdict })
}

/// What becomes of messages.
enum Keep {
    Show,
    Count,
    Folder(PathBuf),
    /// Somebody else takes it: a line about it, and the message.
    Hand(Taker),
}

/// Takes a message: a line that says from whom and to whom, and its bytes.
pub(super) type Taker = Box<dyn Fn(&str, &[u8]) -> Result<(), Failure>>;

/// A destination, shared by its sessions.
pub(super) struct Sink {
    config: Arc<Config>,
    keep: Keep,
    replies: Vec<PhaseReply>,
    /// How often the other answers are still given.
    left: Cell<Option<u64>>,
    messages: Cell<u64>,
    bytes: Cell<u64>,
    max: Option<u64>,
    enough: Notify,
    clock: Rc<dyn Clock>,
}

/// Listens until it is interrupted or has seen enough.
///
/// # Errors
/// When it cannot listen or write.
pub async fn run(args: Args) -> Result<(), Failure> {
    if let Some(dir) = &args.dir {
        files::create_folder(dir)?;
    }
    let at = SocketAddr::new(args.address, args.port);
    let listener = SystemNet.listen(at, None).map_err(|error| {
        Failure::Failed(format!(
            "cannot listen on {at}: {}; `--port 0` takes a free port",
            reason(&error)
        ))
    })?;
    let at = listener.local_addr().unwrap_or(at);
    print(&format!("listening on {at}\n"))?;
    let max = args.max;
    let sink = Rc::new(Sink::new(args));
    let accepting = Rc::clone(&sink).accept(listener);
    tokio::select! {
        () = accepting => {}
        () = sink.enough.notified(), if max.is_some() => {
            // The last reply still has to get out.
            sink.clock.sleep(Duration::from_millis(50)).await;
        }
        _ = tokio::signal::ctrl_c() => {}
    }
    print(&format!(
        "{} messages, {} bytes\n",
        sink.messages.get(),
        sink.bytes.get()
    ))
}

impl Sink {
    fn new(args: Args) -> Sink {
        let bound = |phase: &str| args.reply.iter().any(|reply| reply.phase == phase);
        let everywhere = ["0.0.0.0/0", "::/0"];
        let config = Config {
            hostname: "sink.localhost".to_owned(),
            hooks: Hooks {
                connect: bound("connect"),
                helo: bound("helo"),
                mailfrom: bound("mailfrom"),
                rcptto: bound("rcptto"),
                ..Hooks::default()
            },
            extensions: Extensions {
                chunking: true,
                ..Extensions::standard()
            },
            relay: everywhere
                .iter()
                .filter_map(|text| text.parse::<Network>().ok())
                .collect(),
            limits: Limits {
                commands: u32::MAX,
                size: 0,
                hops: u32::MAX,
                ..Limits::default()
            },
            ..Config::default()
        };
        Sink {
            config: Arc::new(config),
            keep: match args.dir {
                Some(dir) => Keep::Folder(dir),
                None if args.count => Keep::Count,
                None => Keep::Show,
            },
            replies: args.reply,
            left: Cell::new(args.times),
            messages: Cell::new(0),
            bytes: Cell::new(0),
            max: args.max,
            enough: Notify::new(),
            clock: Rc::new(SystemClock),
        }
    }

    /// A sink that accepts everything and hands it over.
    pub(super) fn handing(taker: Taker) -> Sink {
        let mut sink = Sink::new(Args {
            port: 0,
            address: IpAddr::from([127, 0, 0, 1]),
            dir: None,
            count: true,
            reply: Vec::new(),
            times: None,
            max: None,
        });
        sink.keep = Keep::Hand(taker);
        sink
    }

    /// Serves connections for ever.
    pub(super) async fn accept(self: Rc<Self>, listener: Rc<dyn Listener>) {
        loop {
            match listener.accept().await {
                Ok(accepted) => {
                    let peer = accepted.peer_addr();
                    if let Ok(connection) = accepted.adopt() {
                        let sink = Rc::clone(&self);
                        tokio::task::spawn_local(async move { sink.serve(connection, peer).await });
                    }
                }
                // Out of file descriptors, most likely: others have to end first.
                Err(error) => {
                    terminal::error(&format!("cannot accept a connection: {error}\n"));
                    self.clock.sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// The other answer for a phase, while there are any left.
    fn other(&self, phase: &str) -> Option<Verdict> {
        let reply = self.replies.iter().find(|reply| reply.phase == phase)?;
        match self.left.get() {
            Some(0) => return None,
            Some(left) => self.left.set(Some(left - 1)),
            None => {}
        }
        Some(reply.verdict.clone())
    }

    async fn serve(&self, mut connection: Box<dyn Connection>, peer: SocketAddr) {
        let local = connection.local_addr().unwrap_or(peer);
        let uuid = || uuid::Uuid::from_bytes(SystemRandom.uuid()).to_string();
        let ends = session::Connection {
            id: uuid(),
            priority: 0,
            remote_ip: peer.ip(),
            remote_port: peer.port(),
            remote_ptr: None,
            remote_uid: None,
            remote_user: None,
            local_ip: local.ip(),
            local_port: local.port(),
            server_id: "sink".to_owned(),
            proxy_ip: None,
            proxy_tlv: None,
            name_lookup: None,
        };
        let now = || self.clock.monotonic().0;
        let mut server = Server::new(Arc::clone(&self.config), ends, None, Box::new(uuid), now());
        let mut body = Vec::new();
        let mut buffer = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            while let Some(output) = server.poll() {
                match output {
                    Output::OpenBody | Output::AbortBody => {
                        body.clear();
                        if output == Output::OpenBody {
                            server.handle(now(), Input::Stored);
                        }
                    }
                    Output::Body(bytes) => {
                        body.extend_from_slice(&bytes);
                        server.handle(now(), Input::Stored);
                    }
                    Output::Hook(Hook::Eod { .. }) => {
                        let verdict = match self.other("eod") {
                            Some(verdict) => verdict,
                            None => match self.keep(server.session(), &body) {
                                Ok(()) => Verdict::NoHook,
                                Err(failure) => {
                                    terminal::error(&format!("{failure}\n"));
                                    Verdict::Error
                                }
                            },
                        };
                        body = Vec::new();
                        server.handle(now(), Input::Verdict(verdict));
                    }
                    Output::Hook(hook) => {
                        let verdict = phase(&hook).and_then(|phase| self.other(phase));
                        let verdict = verdict.unwrap_or_else(Verdict::accept);
                        server.handle(now(), Input::Verdict(verdict));
                    }
                    Output::Introduced => {}
                    // It is not announced.
                    Output::StartTls => {
                        server.handle(now(), Input::Gone(None));
                    }
                    Output::Close(_) => {
                        let _ = connection.write_all(server.replies()).await;
                        let _ = connection.shutdown().await;
                        return;
                    }
                }
            }
            if server.wants_input() && !buffer.is_empty() {
                let used = server.handle(now(), Input::Bytes(&buffer));
                buffer.drain(..used);
                if used > 0 {
                    continue;
                }
            }
            if !server.replies().is_empty() {
                let count = server.replies().len();
                match connection.write_all(server.replies()).await {
                    Ok(()) => server.written(count),
                    Err(_) => {
                        server.handle(now(), Input::Gone(None));
                        continue;
                    }
                }
            }
            let read = connection.read(&mut chunk);
            let left = server
                .deadline()
                .map(|deadline| deadline.saturating_sub(now()));
            let read = match left {
                Some(left) => timeout(&*self.clock, left, read).await,
                None => Some(read.await),
            };
            match read {
                None => {
                    server.handle(now(), Input::Tick);
                }
                Some(Ok(count)) if count > 0 => {
                    buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
                }
                Some(_) => {
                    server.handle(now(), Input::Gone(None));
                }
            }
        }
    }

    /// Shows, writes or counts a message.
    fn keep(&self, session: &session::Session, body: &[u8]) -> Result<(), Failure> {
        let number = self.messages.get() + 1;
        let envelope = session.transaction.envelope.as_ref();
        let from = envelope.map_or_else(String::new, |envelope| envelope.sender.to_string());
        let to: Vec<String> = envelope.map_or_else(Vec::new, |envelope| {
            let recipients = envelope.recipients.iter();
            recipients
                .map(|recipient| format!("<{}>", recipient.address))
                .collect()
        });
        let headline = format!(
            "message {number} from <{from}> to {}, {} bytes",
            to.join(" "),
            body.len()
        );
        match &self.keep {
            Keep::Show => {
                let shown = String::from_utf8_lossy(body).replace("\r\n", "\n");
                let rule = "-".repeat(60);
                print_bytes(format!("{headline}\n{rule}\n{shown}{rule}\n").as_bytes())?;
            }
            Keep::Folder(dir) => {
                let path = dir.join(format!("{number:06}.eml"));
                files::write(&path, body)?;
                print(&format!("{headline}: {}\n", path.display()))?;
            }
            Keep::Hand(taker) => taker(&headline, body)?,
            Keep::Count => {}
        }
        self.messages.set(number);
        self.bytes.set(self.bytes.get() + body.len() as u64);
        if self.max.is_some_and(|max| number >= max) {
            self.enough.notify_one();
        }
        Ok(())
    }
}

fn phase(hook: &Hook) -> Option<&'static str> {
    match hook {
        Hook::Connect => Some("connect"),
        Hook::Helo { .. } => Some("helo"),
        Hook::MailFrom { .. } => Some("mailfrom"),
        Hook::RcptTo { .. } => Some("rcptto"),
        Hook::Eod { .. } => Some("eod"),
        Hook::Proxy { .. } | Hook::Auth { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_with_code_status_and_text() {
        let reply = parse_reply("rcptto=450 4.2.0 Come back later").expect("a reply");
        assert_eq!(reply.phase, "rcptto");
        assert!(matches!(reply.verdict, Verdict::Defer(options)
            if options.code == Some(450) && options.reason == [b"Come back later".to_vec()]));
        for wrong in ["rcptto", "vrfy=250 Ok", "eod=abc", "eod=354 Go"] {
            assert!(parse_reply(wrong).is_err(), "{wrong}");
        }
    }
}
