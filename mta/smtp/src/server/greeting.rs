//! Connect and HELO/EHLO: banner, extensions.

use std::borrow::Cow;

use super::config::Limits;
use super::event::{Hook, Output};
use super::machine::{Pending, Server, State};
use super::xclient::XCLIENT;
use crate::address::is_greeting_name;
use crate::param::Extensions;
use crate::session::{CloseBy, Helo, HeloVerb};
use crate::verdict::{Function, Phase, Verdict, compose};

impl Server {
    pub(super) fn connect_verdict(&mut self, verdict: Verdict) {
        // Only the connect hook sees these, and the session may be long.
        self.session.connection.name_lookup = None;
        self.session.connection.proxy_tlv = None;
        self.session.connection.remote_user = None;
        let Some(accept) = self.refusal(Phase::Connect, verdict, false) else {
            return;
        };
        if let Some(ip) = accept.remote_ip {
            self.session.connection.remote_ip = ip;
        }
        if let Some(ptr) = accept.remote_ptr {
            // An empty one says that there is none.
            self.session.connection.remote_ptr = Some(ptr).filter(|ptr| !ptr.is_empty());
        }
        let banner = format!("{} ESMTP", self.config.hostname);
        let reply = compose(Phase::Connect, Function::Accept, accept.reply, Some(banner));
        self.send(reply, false);
    }

    /// HELO or EHLO (RFC 5321 §4.1.1.1).
    pub(super) fn helo(&mut self, verb: HeloVerb, arguments: &str) {
        let host = arguments.trim();
        if !is_greeting_name(host) {
            return self.fault(501, (5, 5, 4), "A greeting takes one host name");
        }
        let extensions = match verb {
            HeloVerb::Helo => Vec::new(),
            HeloVerb::Ehlo | HeloVerb::Lhlo => self.announce(),
        };
        let host = host.to_owned();
        if self.config.hooks.helo {
            self.outputs.push_back(Output::Hook(Hook::Helo {
                verb,
                host: host.clone(),
                extensions: (verb != HeloVerb::Helo).then(|| extensions.clone()),
            }));
            self.state = State::Hook(Pending::Helo {
                verb,
                host,
                extensions,
            });
        } else {
            self.helo_verdict(Verdict::NoHook, verb, host, extensions);
        }
    }

    pub(super) fn helo_verdict(
        &mut self,
        verdict: Verdict,
        verb: HeloVerb,
        host: String,
        extensions: Vec<String>,
    ) {
        // A refused greeting leaves the session as it was (RFC 5321 §4.1.4).
        let Some(accept) = self.refusal(Phase::Helo, verdict, false) else {
            return;
        };
        let lines: Vec<Vec<u8>> = match accept.extensions {
            // A line without a word would be no line of a greeting (RFC 5321 §4.1.1.1).
            Some(lines) if verb != HeloVerb::Helo => {
                let words = |line: &Vec<u8>| !line.trim_ascii().is_empty();
                lines.into_iter().filter(words).collect()
            }
            _ => extensions.into_iter().map(String::into_bytes).collect(),
        };
        self.session.extensions = in_force(&lines, self.offered());
        self.plain_codes = verb != HeloVerb::Helo && !self.session.extensions.enhancedstatuscodes;
        self.session.helo = Some(Helo {
            verb,
            host: accept.host.unwrap_or(host),
        });
        self.renew_transaction();
        let hostname = self.config.hostname.clone();
        let mut reply = compose(Phase::Helo, Function::Accept, accept.reply, Some(hostname));
        reply.lines.extend(lines.into_iter().map(Cow::Owned));
        self.send(reply, false);
    }

    /// STARTTLS (RFC 3207 §4).
    pub(super) fn starttls(&mut self, arguments: &str) {
        let greeted = matches!(&self.session.helo, Some(helo) if helo.verb != HeloVerb::Helo);
        if self.session.tls.is_some() {
            self.fault(503, (5, 5, 1), "TLS is already active");
        } else if !self.config.extensions.starttls || (greeted && !self.session.extensions.starttls)
        {
            self.fault(502, (5, 5, 1), "TLS is not available");
        } else if !arguments.trim().is_empty() {
            self.fault(501, (5, 5, 4), "STARTTLS takes no argument");
        } else {
            self.start_tls();
        }
    }

    /// QUIT
    pub(super) fn quit(&mut self) {
        self.reply(221, (2, 0, 0), "Bye");
        self.close(CloseBy::Local, None);
    }
}

impl Server {
    /// The built-in extensions that can be used now.
    pub(super) fn offered(&self) -> Extensions {
        let (config, tls) = (&self.config, self.session.tls.is_some());
        let built_in = config.extensions;
        Extensions {
            starttls: built_in.starttls && !tls,
            auth: config
                .auth
                .as_ref()
                .is_some_and(|auth| tls || !auth.tls_only),
            dsn: false,
            binarymime: built_in.binarymime && built_in.chunking,
            // RFC 8689 §4.1: what comes in clear cannot ask for protection.
            requiretls: built_in.requiretls && tls,
            xclient: self.trusted_proxy,
            ..built_in
        }
    }

    /// The lines of the EHLO reply.
    fn announce(&self) -> Vec<String> {
        let (config, offered) = (&self.config, self.offered());
        let mut lines = Vec::new();
        let mut add = |on: bool, line: &str| {
            if on {
                lines.push(line.to_owned());
            }
        };
        add(offered.pipelining, "PIPELINING");
        add(offered.size, &format!("SIZE {}", config.limits.size));
        add(offered.eightbitmime, "8BITMIME");
        add(offered.smtputf8, "SMTPUTF8");
        add(offered.enhancedstatuscodes, "ENHANCEDSTATUSCODES");
        add(offered.starttls, "STARTTLS");
        add(offered.chunking, "CHUNKING");
        add(offered.binarymime, "BINARYMIME");
        add(offered.requiretls, "REQUIRETLS");
        add(offered.mtpriority, "MT-PRIORITY");
        add(offered.limits, &limits(&config.limits));
        add(offered.xclient, XCLIENT);
        if let Some(auth) = &config.auth {
            add(offered.auth, &format!("AUTH {}", auth.mechanisms.join(" ")));
        }
        lines
    }
}

/// The line of LIMITS (RFC 9422 §4): what the server will not go beyond anyhow.
fn limits(limits: &Limits) -> String {
    let mut line = "LIMITS".to_owned();
    if limits.messages > 0 {
        line += &format!(" MAILMAX={}", limits.messages);
    }
    line + &format!(" RCPTMAX={}", limits.recipients)
}

/// What an announced list switches on: of the built-in extensions those that it names, and DSN.
fn in_force(lines: &[Vec<u8>], built_in: Extensions) -> Extensions {
    let names = |name: &str| {
        lines.iter().any(|line| {
            let keyword = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            keyword.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    Extensions {
        pipelining: built_in.pipelining && names("PIPELINING"),
        size: built_in.size && names("SIZE"),
        eightbitmime: built_in.eightbitmime && names("8BITMIME"),
        smtputf8: built_in.smtputf8 && names("SMTPUTF8"),
        enhancedstatuscodes: built_in.enhancedstatuscodes && names("ENHANCEDSTATUSCODES"),
        starttls: built_in.starttls && names("STARTTLS"),
        auth: built_in.auth && names("AUTH"),
        chunking: built_in.chunking && names("CHUNKING"),
        binarymime: built_in.binarymime && names("BINARYMIME") && names("CHUNKING"),
        requiretls: built_in.requiretls && names("REQUIRETLS"),
        mtpriority: built_in.mtpriority && names("MT-PRIORITY"),
        limits: built_in.limits && names("LIMITS"),
        xclient: built_in.xclient && names("XCLIENT"),
        dsn: names("DSN"),
    }
}
