//! A client that speaks to the SMTP machine up to the phase whose hook is tried.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use angarium_config::{HookType, Server as ServerConfig};
use angarium_effects::system::{SystemClock, SystemRandom, hostname};
use angarium_effects::{Clock as _, Random as _};
use angarium_runtime::array::Array;
use angarium_runtime::value::Value;
use angarium_smtp::content::Encoder;
use angarium_smtp::network::Network;
use angarium_smtp::server::{Closing, Hook, Hooks, Input, Output, ProxyCommands, Server};
use angarium_smtp::session::{Connection, Session};
use angarium_smtp::verdict::Verdict;
use base64::Engine as _;

use super::assign::Assignments;
use crate::app::PRODUCT;
use crate::cli::failure::Failure;
use crate::hooks::phase::PhaseCall;
use crate::hooks::variables;
use crate::settings;

/// The machine and what is still to be said to it.
pub(super) struct Dialogue {
    hook: HookType,
    server: Server,
    /// What the client says, last first.
    lines: Vec<Vec<u8>>,
    /// The message as the machine gives it to the store.
    body: Vec<u8>,
}

/// What the machine asks at the phase.
pub(super) enum Ask {
    /// A hook before the message.
    Phase {
        /// Its variables.
        variables: Vec<(&'static str, Value)>,
        /// The recipient's domain in rcptto.
        domain: String,
        /// What it asks for; none where the connection has ended.
        hook: Option<Hook>,
        /// The session as it is then.
        session: Box<Session>,
    },
    /// The end of the message.
    Eod {
        /// The session as it is then.
        session: Box<Session>,
        /// The message as it is stored, with the Received field of this server.
        mail: Vec<u8>,
    },
}

impl Dialogue {
    /// A session with `server` in which only `hook` runs. For eod `transport` is that of the recipient, unless the
    /// server has a default and nothing else was set.
    pub fn new(
        hook: HookType,
        server: &ServerConfig,
        transport: &str,
        set: &Assignments,
        mail: &[u8],
    ) -> Result<Dialogue, Failure> {
        let mut config = settings::server(server, &hostname());
        config.hooks = Hooks {
            connect: hook == HookType::Connect,
            helo: hook == HookType::Helo,
            mailfrom: hook == HookType::MailFrom,
            rcptto: hook == HookType::RcptTo,
            proxy: match hook {
                HookType::Proxy => ProxyCommands::All,
                _ => ProxyCommands::None,
            },
        };
        // There is no TLS here; whether the client may log in is not what is tried.
        if let Some(auth) = &mut config.auth {
            auth.tls_only = false;
        }
        // The rcptto hook that would choose a transport does not run before eod.
        let chosen = set.text("message.transportid").is_some();
        if hook == HookType::Eod && (chosen || config.transport_id.is_empty()) {
            config.transport_id = transport.to_owned();
        }
        // Without its rcptto hook a server would turn clients from outside away before eod.
        config.relay = ["0.0.0.0/0", "::/0"]
            .iter()
            .filter_map(|text| text.parse::<Network>().ok())
            .collect();
        let uuid = || uuid::Uuid::from_bytes(SystemRandom.uuid()).to_string();
        let connection = Connection {
            id: uuid(),
            priority: 0,
            remote_ip: address(set, ["connection.remoteip", "arguments.remoteip"])?,
            remote_port: port(
                set,
                ["connection.remoteport", "arguments.remoteport"],
                49_152,
            )?,
            remote_ptr: set.text("connection.remoteptr").map(str::to_owned),
            remote_uid: None,
            remote_user: None,
            local_ip: address(set, ["connection.localip", "arguments.localip"])?,
            local_port: port(set, ["connection.localport", "arguments.localport"], 25)?,
            server_id: server.id.to_string(),
            proxy_ip: None,
            proxy_tlv: None,
            name_lookup: None,
        };
        let server = Server::new(Arc::new(config), connection, None, Box::new(uuid), NOW);
        let verb = set
            .first(&["arguments.verb", "connection.helo.verb"])
            .unwrap_or("EHLO");
        let host = set
            .first(&["arguments.host", "connection.helo.host"])
            .unwrap_or("client.example.net");
        let mut content = Vec::new();
        let mut encoder = Encoder::default();
        encoder.encode(mail, &mut content);
        encoder.finish(&mut content);
        let mut lines = vec![
            content,
            b"DATA\r\n".to_vec(),
            format!("RCPT TO:<{}>\r\n", set.recipient()?).into_bytes(),
            format!("MAIL FROM:<{}>\r\n", set.sender()?).into_bytes(),
            format!("{verb} {host}\r\n").into_bytes(),
        ];
        match hook {
            HookType::Auth => {
                let greeting = lines.pop().unwrap_or_default();
                lines.push(log_in(set).into_bytes());
                lines.push(greeting);
            }
            HookType::Proxy => {
                let command = set.text("arguments.command").unwrap_or("NOOP");
                lines.push(format!("{command}\r\n").into_bytes());
            }
            _ => {}
        }
        if lines
            .iter()
            .skip(1)
            .any(|line| line.iter().filter(|byte| **byte == b'\n').count() != 1)
        {
            return Err(Failure::Usage(
                "a value of --set has a line end in it".to_owned(),
            ));
        }
        if hook == HookType::Disconnect {
            lines = vec![b"QUIT\r\n".to_vec()];
        }
        Ok(Dialogue {
            hook,
            server,
            lines,
            body: Vec::new(),
        })
    }

    /// Speaks until the machine asks for the hook.
    pub fn reach(&mut self) -> Result<Ask, Failure> {
        loop {
            while let Some(output) = self.server.poll() {
                match output {
                    Output::Hook(Hook::Eod { .. }) => {
                        let session = Box::new(self.server.session().clone());
                        let mut mail = received(&session, &self.server.config().hostname);
                        mail.append(&mut self.body);
                        return Ok(Ask::Eod { session, mail });
                    }
                    Output::Hook(hook) => {
                        let call = PhaseCall::of(self.server.session(), &hook);
                        if let Some(call) = call.filter(|call| call.hook == self.hook) {
                            let (variables, domain) = (call.variables, call.domain.to_owned());
                            self.clear();
                            return Ok(Ask::Phase {
                                variables,
                                domain,
                                hook: Some(hook),
                                session: Box::new(self.server.session().clone()),
                            });
                        }
                        self.server.handle(NOW, Input::Verdict(Verdict::NoHook));
                    }
                    Output::OpenBody => {
                        self.server.handle(NOW, Input::Stored);
                    }
                    Output::Body(mut bytes) => {
                        self.body.append(&mut bytes);
                        self.server.handle(NOW, Input::Stored);
                    }
                    Output::AbortBody | Output::Introduced => {}
                    // Nothing here asks for TLS.
                    Output::StartTls => {
                        self.server.handle(NOW, Input::Gone(None));
                    }
                    Output::Close(closing) if self.hook == HookType::Disconnect => {
                        return Ok(self.closed(&closing));
                    }
                    Output::Close(_) => return Err(self.missed()),
                }
            }
            let refused = self.refused();
            let Some(line) = self.lines.pop().filter(|_| !refused) else {
                return Err(self.missed());
            };
            self.clear();
            let mut rest = line.as_slice();
            while !rest.is_empty() {
                let used = self.server.handle(NOW, Input::Bytes(rest));
                if used == 0 {
                    break;
                }
                rest = rest.get(used..).unwrap_or_default();
            }
            // What did not fit while the machine was busy is said next.
            if !rest.is_empty() {
                self.lines.push(rest.to_vec());
            }
        }
    }

    /// The reply that the client gets for the verdict.
    pub fn answer(&mut self, verdict: Verdict) -> String {
        self.clear();
        self.server.handle(NOW, Input::Verdict(verdict));
        while self.server.poll().is_some() {}
        String::from_utf8_lossy(self.server.replies()).into_owned()
    }

    fn closed(&self, closing: &Closing) -> Ask {
        let session = self.server.session();
        Ask::Phase {
            variables: vec![
                ("arguments", variables::disconnect_arguments(closing)),
                ("connection", variables::connection(session, true)),
                ("transaction", Array::new().into()),
            ],
            domain: String::new(),
            hook: None,
            session: Box::new(session.clone()),
        }
    }

    /// Whether the last reply was a refusal.
    fn refused(&self) -> bool {
        matches!(self.server.replies().first(), Some(b'4' | b'5'))
    }

    fn clear(&mut self) {
        let count = self.server.replies().len();
        self.server.written(count);
    }

    fn missed(&self) -> Failure {
        let replies = String::from_utf8_lossy(self.server.replies());
        Failure::Failed(format!(
            "the server answers before the {} hook runs: {}",
            self.hook,
            replies.lines().next_back().unwrap_or("it closes")
        ))
    }
}

/// The trace field that the server puts before a message.
fn received(session: &Session, hostname: &str) -> Vec<u8> {
    let now = i64::try_from(SystemClock.unix().as_secs()).unwrap_or(i64::MAX);
    angarium_smtp::received::field(session, hostname, PRODUCT, now).into_bytes()
}

/// The whole dialogue takes no time.
const NOW: Duration = Duration::from_secs(1);

/// The AUTH command that reaches the hook at once.
fn log_in(set: &Assignments) -> String {
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let mechanism = set.text("arguments.mechanism").unwrap_or("PLAIN");
    let response = match mechanism.to_ascii_uppercase().as_str() {
        "PLAIN" | "LOGIN" => {
            let username = set.text("arguments.username").unwrap_or("user");
            let password = set.text("arguments.password").unwrap_or("secret");
            let message = base64(&format!("\0{username}\0{password}"));
            return format!("AUTH PLAIN {message}\r\n");
        }
        _ => set.text("arguments.response").map(base64),
    };
    match response.as_deref() {
        None => format!("AUTH {mechanism}\r\n"),
        Some("") => format!("AUTH {mechanism} =\r\n"),
        Some(response) => format!("AUTH {mechanism} {response}\r\n"),
    }
}

fn address(set: &Assignments, paths: [&str; 2]) -> Result<IpAddr, Failure> {
    let text = set.first(&paths).unwrap_or("127.0.0.1");
    text.parse()
        .map_err(|_| Failure::Usage(format!("`{}` is an IP address, not `{text}`", paths[0])))
}

fn port(set: &Assignments, paths: [&str; 2], default: u16) -> Result<u16, Failure> {
    match set.first(&paths) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| Failure::Usage(format!("`{}` is a port, not `{text}`", paths[0]))),
    }
}
