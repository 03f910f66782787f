//! From the banner to a session that is ready: greeting, STARTTLS, XCLIENT, AUTH.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;

use super::config::{Mechanism, Protocol, State, TlsMode};
use super::event::{Failure, FailureKind, Outcome, Output, PeerReply};
use super::machine::{Client, Stage};
use super::peer::Peer;
use super::reply::ReplyReader;
use crate::xtext;

impl Client {
    pub(super) fn banner(&mut self, reply: PeerReply) {
        match reply.code {
            220 => {
                self.greeting = reply.reason;
                self.greet();
            }
            400.. => self.fail(Outcome::Reply(reply)),
            _ => self.wrong_reply(&reply),
        }
    }

    fn greet(&mut self) {
        let (verb, state) = match self.config.protocol {
            Protocol::Smtp => ("EHLO", State::Ehlo),
            Protocol::Lmtp => ("LHLO", State::Lhlo),
        };
        let line = format!("{verb} {}", self.config.helo);
        self.command(&line, state);
    }

    pub(super) fn greeted(&mut self, reply: PeerReply) {
        let needs_extensions =
            self.config.auth.is_some() || (self.config.tls == TlsMode::Required && !self.tls);
        match reply.code {
            200..=299 => {
                self.peer = if reply.state == State::Helo {
                    Peer::default()
                } else {
                    Peer::from_lines(&reply.reason)
                };
                // Who answers in clear may be anybody.
                self.peer.requiretls &= self.tls;
                self.proceed();
            }
            500.. if reply.state == State::Ehlo && !needs_extensions => {
                let line = format!("HELO {}", self.config.helo);
                self.command(&line, State::Helo);
            }
            400.. => self.fail(Outcome::Reply(reply)),
            _ => self.wrong_reply(&reply),
        }
    }

    /// After a greeting: TLS, XCLIENT, AUTH or ready.
    fn proceed(&mut self) {
        let wants_tls = !self.tls && !self.tls_refused && self.config.tls != TlsMode::Disabled;
        if wants_tls && self.peer.starttls {
            return self.command("STARTTLS", State::StartTls);
        }
        if wants_tls && self.config.tls == TlsMode::Required {
            let failure = Failure::temporary(FailureKind::Tls, "STARTTLS is not offered");
            return self.fail(Outcome::Error(failure.with_status(4, 7, 5)));
        }
        if !std::mem::replace(&mut self.introduced, true)
            && let Some(line) = self.xclient()
        {
            return self.command(&line, State::Xclient);
        }
        if self.config.auth.is_some() && !self.authenticated {
            return self.start_auth();
        }
        self.stage = Stage::Idle;
        self.outputs.push_back(Output::Ready);
    }

    pub(super) fn starttls_reply(&mut self, reply: PeerReply) {
        match reply.code {
            220 => {
                self.stage = Stage::Handshake;
                self.outputs.push_back(Output::StartTls);
            }
            400.. if self.config.tls == TlsMode::Required => self.fail(Outcome::Reply(reply)),
            400.. => {
                self.tls_refused = true;
                self.proceed();
            }
            _ => self.wrong_reply(&reply),
        }
    }

    pub(super) fn tls_done(&mut self) {
        if matches!(self.stage, Stage::Handshake) {
            self.tls = true;
            self.stage = Stage::Opening;
            self.reader = ReplyReader::default();
            self.peer = Peer::default();
            self.greet();
        }
    }

    pub(super) fn tls_failed(&mut self, reason: &str) {
        if matches!(self.stage, Stage::Handshake) {
            let failure =
                Failure::temporary(FailureKind::Tls, format!("TLS handshake failed: {reason}"));
            self.fail(Outcome::Error(failure.with_status(4, 7, 5)));
        }
    }

    /// XCLIENT with the attributes that the server wants to know; none when there are no such.
    fn xclient(&self) -> Option<String> {
        let known = &self.peer.xclient;
        let wanted = self.config.xclient.iter();
        let wanted = wanted.filter(|(name, _)| known.contains(&name.to_ascii_uppercase()));
        let pairs: Vec<String> = wanted
            .map(|(name, value)| format!(" {name}={}", xtext::encode(value.as_bytes())))
            .collect();
        (!pairs.is_empty()).then(|| format!("XCLIENT{}", pairs.concat()))
    }

    /// The session starts anew, with a greeting of ours.
    pub(super) fn xclient_reply(&mut self, reply: PeerReply) {
        match reply.code {
            200..=299 => self.greet(),
            400.. => self.fail(Outcome::Reply(reply)),
            _ => self.wrong_reply(&reply),
        }
    }

    fn start_auth(&mut self) {
        let offers =
            |mechanism: &Mechanism| self.peer.auth.iter().any(|name| name == mechanism.as_str());
        let wanted = self.config.auth.as_ref().and_then(|auth| auth.mechanism);
        let chosen = match wanted {
            Some(mechanism) => Some(mechanism).filter(offers),
            None => Mechanism::ALL.into_iter().find(offers),
        };
        match chosen {
            Some(Mechanism::CramMd5) => self.command("AUTH CRAM-MD5", State::AuthCramMd5),
            Some(Mechanism::Plain) => {
                let line = format!("AUTH PLAIN {}", self.plain_response());
                self.command(&line, State::AuthPlain);
            }
            Some(Mechanism::Login) => self.command("AUTH LOGIN", State::AuthLogin),
            None => {
                let message = match wanted {
                    Some(mechanism) => format!("AUTH {} is not offered", mechanism.as_str()),
                    None => "no known AUTH mechanism is offered".to_owned(),
                };
                let failure = Failure::temporary(FailureKind::Smtp, message);
                self.fail(Outcome::Error(failure));
            }
        }
    }

    /// RFC 4616.
    fn plain_response(&self) -> String {
        let (username, password) = self.credentials();
        STANDARD.encode([b"\0", username.as_bytes(), b"\0", password.as_bytes()].concat())
    }

    /// RFC 2195: the keyed digest of the challenge, in hex.
    fn cram_md5_response(&self, challenge: &[u8]) -> Option<String> {
        let (username, password) = self.credentials();
        let mut mac = Hmac::<Md5>::new_from_slice(password.as_bytes()).ok()?;
        mac.update(challenge);
        let digest = mac.finalize().into_bytes();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(STANDARD.encode(format!("{username} {hex}")))
    }

    fn credentials(&self) -> (&str, &str) {
        self.config.auth.as_ref().map_or(("", ""), |auth| {
            (auth.username.as_str(), auth.password.as_str())
        })
    }

    pub(super) fn auth_reply(&mut self, reply: PeerReply) {
        let (username, password) = self.credentials();
        match (reply.code, reply.state) {
            (200..=299, State::AuthPlain | State::Auth) => {
                self.authenticated = true;
                self.proceed();
            }
            (334, State::AuthPlain) => {
                let line = self.plain_response();
                self.command(&line, State::Auth);
            }
            (334, State::AuthCramMd5) => {
                let challenge = reply
                    .reason
                    .first()
                    .and_then(|text| STANDARD.decode(text).ok());
                match challenge.and_then(|challenge| self.cram_md5_response(&challenge)) {
                    Some(line) => self.command(&line, State::Auth),
                    None => self.protocol_error("AUTH challenge is no base64"),
                }
            }
            (334, State::AuthLogin) => {
                let line = STANDARD.encode(username.as_bytes());
                self.command(&line, State::AuthLoginUser);
            }
            (334, State::AuthLoginUser) => {
                let line = STANDARD.encode(password.as_bytes());
                self.command(&line, State::Auth);
            }
            (400.., _) => self.fail(Outcome::Reply(reply)),
            _ => self.wrong_reply(&reply),
        }
    }
}
