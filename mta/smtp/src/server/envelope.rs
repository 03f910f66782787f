//! MAIL and RCPT (RFC 5321 §4.1.1.2 and §4.1.1.3, RFC 6710).

use super::event::{Hook, Output};
use super::machine::{Pending, Server, State};
use crate::address::{AddressError, Charset, ReversePath, path, split_path};
use crate::param::{ParamError, Params, check_mail, check_rcpt};
use crate::reply::EnhancedStatus;
use crate::session::{CloseBy, Envelope, Recipient};
use crate::verdict::{EnhancedChoice, Function, Phase, ReplyOptions, Verdict, compose};

impl Server {
    /// MAIL: sequence, syntax, parameters, limits, then the hook.
    pub(super) fn mail(&mut self, arguments: &str) {
        if self.session.transaction.envelope.is_some() {
            return self.fault(503, (5, 5, 1), "A transaction is already open");
        }
        if self.config.helo_required && self.session.helo.is_none() {
            return self.fault(503, (5, 5, 1), "Say HELO or EHLO first");
        }
        let Some((path_text, rest)) = keyword(arguments, "FROM:").and_then(split_path) else {
            return self.fault(501, (5, 1, 7), "Syntax: MAIL FROM:<address>");
        };
        let offered = self.session.extensions;
        let limit = self.config.limits.size;
        let checked = Params::parse(rest)
            .and_then(|params| check_mail(&params, offered, limit).map(|asked| (params, asked)));
        let (params, asked) = match checked {
            Ok(checked) => checked,
            Err(error) => return self.bad_param(error),
        };
        let charset = if asked.utf8 {
            Charset::Utf8
        } else {
            Charset::Ascii
        };
        let sender = match path(path_text, charset) {
            Ok((None, _)) => ReversePath::Null,
            Ok((Some(mailbox), _)) if !mailbox.domain().is_empty() => ReversePath::Mailbox(mailbox),
            Ok(_) | Err(AddressError::Syntax) => {
                return self.fault(501, (5, 1, 7), "Bad sender address syntax");
            }
            Err(AddressError::NeedsUtf8) => return self.needs_utf8(),
        };
        if self.storage_full {
            return self.reply(452, (4, 3, 1), "Insufficient system storage");
        }
        let limit = self.config.limits.messages;
        if limit > 0 && self.messages >= limit {
            self.reply(421, (4, 7, 0), "Too many messages in this connection");
            return self.close(CloseBy::Local, None);
        }
        let trusted = self.may_relay();
        let envelope = Box::new(Envelope {
            began: self.now,
            sender,
            params,
            size: asked.size,
            body: asked.body,
            utf8: asked.utf8,
            requiretls: asked.requiretls,
            // RFC 6710 §4.1: who is not known to this server cannot overtake others.
            priority: asked.priority.map(|asked| match trusted {
                true => asked,
                false => asked.min(0),
            }),
            recipients: Vec::new(),
        });
        if self.config.hooks.mailfrom {
            self.outputs.push_back(Output::Hook(Hook::MailFrom {
                sender: envelope.sender.clone(),
                params: envelope.params.clone(),
            }));
            self.state = State::Hook(Pending::MailFrom(envelope));
        } else {
            self.mail_verdict(Verdict::NoHook, *envelope);
        }
    }

    pub(super) fn mail_verdict(&mut self, verdict: Verdict, mut envelope: Envelope) {
        let utf8 = envelope.utf8;
        let Some(accept) = self.refusal(Phase::MailFrom, verdict, utf8) else {
            return;
        };
        if let Some(sender) = accept.sender {
            envelope.sender = sender;
        }
        let mut reply = accept.reply;
        let lowered = lowered_priority(&envelope);
        if lowered.is_some() && reply == ReplyOptions::default() {
            reply.enhanced = EnhancedChoice::Code(EnhancedStatus::new(2, 3, 6));
        }
        self.session.transaction.envelope = Some(envelope);
        self.messages = self.messages.saturating_add(1);
        self.send(
            compose(Phase::MailFrom, Function::Accept, reply, lowered),
            utf8,
        );
    }

    /// RCPT: sequence, syntax, parameters, limits, then the hook.
    pub(super) fn rcpt(&mut self, arguments: &str) {
        let Some(envelope) = &self.session.transaction.envelope else {
            return self.fault(503, (5, 5, 1), "MAIL comes first");
        };
        let charset = if envelope.utf8 {
            Charset::Utf8
        } else {
            Charset::Ascii
        };
        let recipients = envelope.recipients.len();
        if self.partial.is_some() {
            return self.fault(503, (5, 5, 1), "RCPT after BDAT");
        }
        let Some((path_text, rest)) = keyword(arguments, "TO:").and_then(split_path) else {
            return self.fault(501, (5, 1, 3), "Syntax: RCPT TO:<address>");
        };
        let offered = self.session.extensions;
        let checked =
            Params::parse(rest).and_then(|params| check_rcpt(&params, offered).map(|()| params));
        let params = match checked {
            Ok(params) => params,
            Err(error) => return self.bad_param(error),
        };
        let address = match path(path_text, charset) {
            Ok((Some(mailbox), _)) => mailbox,
            Ok((None, _)) | Err(AddressError::Syntax) => {
                return self.fault(501, (5, 1, 3), "Bad recipient address syntax");
            }
            Err(AddressError::NeedsUtf8) => return self.needs_utf8(),
        };
        if recipients >= self.config.limits.recipients {
            return self.reply(452, (4, 5, 3), "Too many recipients");
        }
        let recipient = Box::new(Recipient {
            address,
            params,
            transport_id: self.config.transport_id.clone(),
        });
        if self.config.hooks.rcptto {
            self.outputs.push_back(Output::Hook(Hook::RcptTo {
                recipient: recipient.address.clone(),
                params: recipient.params.clone(),
                transport_id: recipient.transport_id.clone(),
            }));
            self.state = State::Hook(Pending::RcptTo(recipient));
        } else {
            self.rcpt_verdict(Verdict::NoHook, *recipient);
        }
    }

    pub(super) fn rcpt_verdict(&mut self, verdict: Verdict, mut recipient: Recipient) {
        let utf8 = self.session.utf8();
        if verdict == Verdict::NoHook && !self.may_relay() {
            self.refused = self.refused.saturating_add(1);
            return self.reply(550, (5, 7, 1), "Relaying denied");
        }
        let Some(accept) = self.refusal(Phase::RcptTo, verdict, utf8) else {
            self.refused = self.refused.saturating_add(1);
            return;
        };
        recipient.address = accept.recipient.unwrap_or(recipient.address);
        recipient.transport_id = accept.transport_id.unwrap_or(recipient.transport_id);
        if let Some(envelope) = &mut self.session.transaction.envelope {
            if let Some(sender) = accept.sender {
                envelope.sender = sender;
            }
            envelope.recipients.push(recipient);
        }
        self.send(
            compose(Phase::RcptTo, Function::Accept, accept.reply, None),
            utf8,
        );
    }

    /// Without a hook that decides, only known networks and users may send mail through us.
    fn may_relay(&self) -> bool {
        let client = self.session.connection.remote_ip;
        self.session.auth.is_some()
            || self
                .config
                .relay
                .iter()
                .any(|network| network.contains(client))
    }

    fn bad_param(&mut self, error: ParamError) {
        match error {
            ParamError::Syntax => self.fault(501, (5, 5, 4), "Malformed parameter"),
            ParamError::Unknown => self.fault(555, (5, 5, 4), "Parameter not recognized"),
            ParamError::TooBig => self.reply(552, (5, 3, 4), "Message size exceeds limit"),
        }
    }

    fn needs_utf8(&mut self) {
        self.fault(553, (5, 6, 7), "A non-ASCII address needs SMTPUTF8");
    }
}

/// What the client hears when it was given less priority than it asked for (RFC 6710 §4.1).
fn lowered_priority(envelope: &Envelope) -> Option<String> {
    let granted = envelope.priority?.to_string();
    let asked = envelope.params.get("MT-PRIORITY")?.value.as_deref()?;
    (asked != granted).then(|| format!("{granted} is the new priority"))
}

/// Strips `FROM:` or `TO:`. Spaces behind it are not in the grammar but common.
fn keyword<'a>(arguments: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, rest) = arguments.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword)
        .then(|| rest.trim_start_matches(' '))
}
