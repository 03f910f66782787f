//! AUTH (RFC 4954): PLAIN and LOGIN are decoded here, other mechanisms are the hook's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::event::{AuthArguments, Hook, Output};
use super::machine::{Pending, Server, State};
use crate::reply::Reply;
use crate::session::Auth;
use crate::verdict::{Function, Phase, ReplyOptions, Verdict, compose};

/// An AUTH dialogue.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// Upper case.
    mechanism: String,
    step: Step,
}

/// What the next line of the client is.
#[derive(Debug, Clone)]
enum Step {
    /// The message of PLAIN (RFC 4616).
    Plain,
    /// The user name of LOGIN.
    LoginUser,
    /// The password of LOGIN.
    LoginPassword { username: String },
    /// The answer to the hook's challenge.
    Hook { state: u32 },
}

/// What the hook was given, kept for its verdict.
#[derive(Debug)]
pub(super) struct Attempt {
    mechanism: String,
    username: Option<String>,
    state: u32,
}

impl Server {
    /// AUTH
    pub(super) fn auth(&mut self, arguments: &str) {
        let (mechanism, response) = match arguments.trim().split_once(' ') {
            Some((mechanism, response)) => (mechanism, Some(response.trim())),
            None => (arguments.trim(), None),
        };
        let mechanism = mechanism.to_ascii_uppercase();
        if self.session.transaction.envelope.is_some() {
            return self.fault(503, (5, 5, 1), "AUTH inside a transaction");
        }
        if self.session.auth.is_some() {
            return self.fault(503, (5, 5, 1), "Already authenticated");
        }
        let Some(auth) = &self.config.auth else {
            return self.fault(502, (5, 5, 1), "AUTH is not available");
        };
        if auth.tls_only && self.session.tls.is_none() {
            return self.fault(538, (5, 7, 11), "Encryption is required for AUTH");
        }
        if mechanism.is_empty() {
            return self.fault(501, (5, 5, 4), "Syntax: AUTH mechanism [initial-response]");
        }
        if !auth
            .mechanisms
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&mechanism))
        {
            return self.fault(504, (5, 5, 4), "Unknown AUTH mechanism");
        }
        if !self.session.extensions.auth {
            return self.fault(503, (5, 5, 1), "AUTH was not announced");
        }
        let step = match mechanism.as_str() {
            "PLAIN" => Step::Plain,
            "LOGIN" => Step::LoginUser,
            _ => Step::Hook { state: 0 },
        };
        let exchange = Exchange { mechanism, step };
        match response {
            // A single `=` stands for a response of no bytes.
            Some("=") => self.auth_step(exchange, Vec::new()),
            Some(text) => self.auth_decode(exchange, text.as_bytes()),
            None => match exchange.step {
                Step::Plain => self.challenge(exchange, b""),
                Step::Hook { .. } => self.auth_hook(exchange, None),
                Step::LoginUser | Step::LoginPassword { .. } => {
                    self.challenge(exchange, b"Username:")
                }
            },
        }
    }

    /// A line of the client inside the dialogue.
    pub(super) fn auth_line(&mut self, line: &[u8], exchange: Exchange) {
        self.verb = "AUTH";
        if line == b"*" {
            return self.reply(501, (5, 7, 0), "Authentication cancelled");
        }
        self.auth_decode(exchange, line);
    }

    fn auth_decode(&mut self, exchange: Exchange, text: &[u8]) {
        match STANDARD.decode(text) {
            Ok(response) => self.auth_step(exchange, response),
            Err(_) => self.fault(501, (5, 5, 2), "Invalid base64 data"),
        }
    }

    fn auth_step(&mut self, exchange: Exchange, response: Vec<u8>) {
        let Exchange { mechanism, step } = exchange;
        match step {
            Step::Plain => match plain_message(&response) {
                Some((username, password)) => self.auth_credentials(mechanism, username, password),
                None => self.fault(501, (5, 5, 2), "Malformed PLAIN message"),
            },
            Step::LoginUser => match login_text(response) {
                Some(username) => {
                    let step = Step::LoginPassword { username };
                    self.challenge(Exchange { mechanism, step }, b"Password:");
                }
                None => self.fault(501, (5, 5, 2), "The user name is not UTF-8 without NUL"),
            },
            Step::LoginPassword { username } => match login_text(response) {
                Some(password) => self.auth_credentials(mechanism, username, password),
                None => self.fault(501, (5, 5, 2), "The password is not UTF-8 without NUL"),
            },
            Step::Hook { state } => {
                let step = Step::Hook { state };
                self.auth_hook(Exchange { mechanism, step }, Some(response));
            }
        }
    }

    fn auth_credentials(&mut self, mechanism: String, username: String, password: String) {
        let attempt = Attempt {
            mechanism: mechanism.clone(),
            username: Some(username.clone()),
            state: 0,
        };
        self.state = State::Hook(Pending::Auth(attempt));
        self.outputs.push_back(Output::Hook(Hook::Auth {
            mechanism,
            arguments: AuthArguments::Credentials { username, password },
        }));
    }

    fn auth_hook(&mut self, exchange: Exchange, response: Option<Vec<u8>>) {
        let state = match exchange.step {
            Step::Hook { state } => state,
            _ => 0,
        };
        let attempt = Attempt {
            mechanism: exchange.mechanism.clone(),
            username: None,
            state,
        };
        self.state = State::Hook(Pending::Auth(attempt));
        self.outputs.push_back(Output::Hook(Hook::Auth {
            mechanism: exchange.mechanism,
            arguments: AuthArguments::Exchange { state, response },
        }));
    }

    pub(super) fn auth_verdict(&mut self, verdict: Verdict, attempt: Attempt) {
        // Nobody is let in by a script that does not say so, least of all by one that is not there.
        let verdict = match verdict {
            Verdict::End | Verdict::NoHook | Verdict::Pass { .. } => {
                Verdict::Reject(ReplyOptions::default())
            }
            Verdict::Reply { reply, .. } => return self.auth_reply(reply, attempt),
            other => other,
        };
        let Some(accept) = self.refusal(Phase::Auth, verdict, false) else {
            return;
        };
        self.session.auth = Some(Auth {
            mechanism: attempt.mechanism,
            username: accept.username.or(attempt.username),
        });
        self.send(
            compose(Phase::Auth, Function::Accept, accept.reply, None),
            false,
        );
    }

    /// Reply(…): a challenge, unless the script gave a final code.
    fn auth_reply(&mut self, options: ReplyOptions, attempt: Attempt) {
        if options.code.is_some_and(|code| code / 100 != 3) {
            let disconnect = options.disconnect;
            self.send(compose(Phase::Auth, Function::Reply, options, None), false);
            if disconnect {
                self.close(crate::session::CloseBy::Local, None);
            }
            return;
        }
        let step = Step::Hook {
            state: attempt.state.saturating_add(1),
        };
        let exchange = Exchange {
            mechanism: attempt.mechanism,
            step,
        };
        self.challenge(exchange, &options.reason.join(&b'\n'));
        if options.disconnect {
            self.close(crate::session::CloseBy::Local, None);
        }
    }

    fn challenge(&mut self, exchange: Exchange, challenge: &[u8]) {
        self.send(Reply::line(334, None, STANDARD.encode(challenge)), false);
        self.state = State::Auth(exchange);
    }
}

/// A user name or password of LOGIN. NUL, which PLAIN (RFC 4616) has between them, is part of neither.
fn login_text(response: Vec<u8>) -> Option<String> {
    String::from_utf8(response)
        .ok()
        .filter(|text| !text.contains('\0'))
}

/// `[authzid] NUL authcid NUL passwd`; the authorization identity is not used.
fn plain_message(message: &[u8]) -> Option<(String, String)> {
    let mut parts = message.split(|byte| *byte == 0);
    let _authzid = parts.next()?;
    let username = parts.next().filter(|username| !username.is_empty())?;
    let password = parts.next()?;
    if parts.next().is_some() {
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some((text(username)?, text(password)?))
}
