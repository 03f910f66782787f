//! One message for one or more recipients, and its commands.

use super::peer::Peer;
use crate::address::{Mailbox, ReversePath};
use crate::param::{ParamError, Params};
use crate::xtext;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// MAIL FROM.
    pub sender: ReversePath,
    /// Parameters of MAIL that a script gave; they win over those that follow from the rest.
    pub params: Params,
    /// RCPT TO, at least one.
    pub recipients: Vec<Rcpt>,
    /// Bytes of the message.
    pub size: Option<u64>,
    /// The message holds bytes over 127.
    pub eight_bit: bool,
    /// The message needs SMTPUTF8 for its header; addresses are looked at anyhow.
    pub utf8: bool,
    /// RFC 3461.
    pub dsn: DsnMail,
    /// Send it by BDAT where the server takes that.
    pub chunking: bool,
    /// What the message demands of whoever takes it.
    pub demands: Demands,
}

/// What a message demands of every server on its way; a server that lacks it does not get it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demands {
    /// It came as BINARYMIME: its bytes can be sent with BDAT only (RFC 3030 §3).
    pub binary: bool,
    /// It came with REQUIRETLS (RFC 8689). One from the null sender is sent on in any case, and asks
    /// for it where it can.
    pub requiretls: bool,
}

/// A recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// The address.
    pub address: Mailbox,
    /// Parameters that a script gave.
    pub params: Params,
    /// RFC 3461.
    pub dsn: DsnRcpt,
}

/// What a notification returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Hdrs,
}

/// DSN parameters of MAIL, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DsnMail {
    /// RET
    pub ret: Option<Ret>,
    /// ENVID
    pub envid: Option<String>,
}

/// DSN parameters of RCPT, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DsnRcpt {
    /// NOTIFY, a comma list.
    pub notify: Option<String>,
    /// ORCPT, `type;address`.
    pub orcpt: Option<String>,
}

impl Transaction {
    /// Whether it can only be sent under SMTPUTF8.
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        self.utf8
            || self
                .sender
                .mailbox()
                .is_some_and(|mailbox| !mailbox.is_ascii())
            || self.recipients.iter().any(|rcpt| !rcpt.address.is_ascii())
    }

    /// Whether the message is sent by BDAT.
    pub(super) fn uses_bdat(&self, peer: &Peer) -> bool {
        peer.chunking && (self.chunking || self.demands.binary)
    }

    /// The MAIL command.
    pub(super) fn mail(&self, peer: &Peer) -> Result<String, ParamError> {
        let mut params = Params::default();
        if let (Some(_), Some(size)) = (peer.size, self.size) {
            params.set("SIZE", Some(&size.to_string()))?;
        }
        if self.demands.binary && peer.binarymime {
            params.set("BODY", Some("BINARYMIME"))?;
        } else if self.eight_bit && peer.eightbitmime {
            params.set("BODY", Some("8BITMIME"))?;
        }
        if self.needs_utf8() {
            params.set("SMTPUTF8", None)?;
        }
        if self.demands.requiretls && peer.requiretls {
            params.set("REQUIRETLS", None)?;
        }
        if peer.dsn {
            match self.dsn.ret {
                Some(Ret::Full) => params.set("RET", Some("FULL"))?,
                Some(Ret::Hdrs) => params.set("RET", Some("HDRS"))?,
                None => {}
            }
            if let Some(envid) = self.dsn.envid.as_deref().filter(|envid| !envid.is_empty()) {
                params.set("ENVID", Some(&xtext::encode(envid.as_bytes())))?;
            }
        }
        Ok(command(
            "MAIL FROM",
            &self.sender.to_string(),
            params,
            &self.params,
            peer,
        ))
    }
}

impl Rcpt {
    /// The RCPT command.
    pub(super) fn rcpt(&self, peer: &Peer) -> Result<String, ParamError> {
        let mut params = Params::default();
        if peer.dsn {
            if let Some(notify) = self
                .dsn
                .notify
                .as_deref()
                .filter(|notify| !notify.is_empty())
            {
                params.set("NOTIFY", Some(notify))?;
            }
            if let Some(value) = self.dsn.orcpt.as_deref().and_then(xtext::encode_orcpt) {
                params.set("ORCPT", Some(&value))?;
            }
        }
        Ok(command(
            "RCPT TO",
            &self.address.to_string(),
            params,
            &self.params,
            peer,
        ))
    }
}

/// Whether the server would understand a parameter of an extension that we know. Others are sent as
/// they are given: a script may know more of the peer than it announces.
fn is_understood(name: &str, peer: &Peer) -> bool {
    match name {
        "RET" | "ENVID" | "NOTIFY" | "ORCPT" => peer.dsn,
        "MT-PRIORITY" => peer.mtpriority,
        "REQUIRETLS" => peer.requiretls,
        _ => true,
    }
}

/// Puts a command together; `given` replaces what has the same name in `params`.
fn command(verb: &str, address: &str, mut params: Params, given: &Params, peer: &Peer) -> String {
    for param in given.iter() {
        if !is_understood(&param.name, peer) {
            continue;
        }
        // Params hold only what `set` has accepted before.
        let _ = params.set(&param.name, param.value.as_deref());
    }
    let mut line = format!("{verb}:<{address}>");
    for param in params.iter() {
        line.push(' ');
        line.push_str(&param.name);
        if let Some(value) = &param.value {
            line.push('=');
            line.push_str(value);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction() -> Transaction {
        Transaction {
            sender: ReversePath::parse("a@example.com").expect("an address"),
            params: Params::default(),
            recipients: vec![Rcpt {
                address: Mailbox::parse("b@example.net").expect("an address"),
                params: Params::default(),
                dsn: DsnRcpt {
                    notify: Some("SUCCESS,FAILURE".to_owned()),
                    orcpt: Some("rfc822;b+x@example.net".to_owned()),
                },
            }],
            size: Some(100),
            eight_bit: true,
            utf8: false,
            dsn: DsnMail {
                ret: Some(Ret::Hdrs),
                envid: Some("a=b c".to_owned()),
            },
            chunking: false,
            demands: Demands::default(),
        }
    }

    fn peer() -> Peer {
        Peer {
            size: Some(0),
            eightbitmime: true,
            smtputf8: true,
            dsn: true,
            ..Peer::default()
        }
    }

    #[test]
    fn parameters_are_sent_where_they_are_announced() {
        let transaction = transaction();
        let mail = |peer: &Peer| transaction.mail(peer).expect("a command");
        assert_eq!(mail(&Peer::default()), "MAIL FROM:<a@example.com>");
        assert_eq!(
            mail(&peer()),
            "MAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=a+3Db+20c"
        );
        let rcpt = |peer: &Peer| transaction.recipients[0].rcpt(peer).expect("a command");
        assert_eq!(rcpt(&Peer::default()), "RCPT TO:<b@example.net>");
        assert_eq!(
            rcpt(&peer()),
            "RCPT TO:<b@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@example.net"
        );
    }

    #[test]
    fn given_parameters_win() {
        let mut transaction = transaction();
        transaction
            .params
            .set("size", Some("7"))
            .expect("a parameter");
        transaction.params.set("X-A", None).expect("a parameter");
        let command = transaction.mail(&Peer {
            size: Some(0),
            ..Peer::default()
        });
        assert_eq!(
            command,
            Ok("MAIL FROM:<a@example.com> SIZE=7 X-A".to_owned())
        );
    }

    #[test]
    fn parameters_of_notifications_are_only_for_who_announces_them() {
        let mut transaction = transaction();
        transaction
            .params
            .set("envid", Some("given"))
            .expect("a parameter");
        let rcpt = &mut transaction.recipients[0];
        rcpt.params
            .set("notify", Some("NEVER"))
            .expect("a parameter");
        let rcpt = |peer: &Peer| transaction.recipients[0].rcpt(peer).expect("a command");
        assert_eq!(rcpt(&Peer::default()), "RCPT TO:<b@example.net>");
        assert!(rcpt(&peer()).contains("NOTIFY=NEVER"));
        let mail = |peer: &Peer| transaction.mail(peer).expect("a command");
        assert_eq!(mail(&Peer::default()), "MAIL FROM:<a@example.com>");
        assert!(mail(&peer()).ends_with("ENVID=given"));
    }

    #[test]
    fn priority_and_protection_are_asked_of_who_announces_them() {
        let mut transaction = transaction();
        transaction.demands.requiretls = true;
        transaction
            .params
            .set("mt-priority", Some("-3"))
            .expect("a parameter");
        let mail = |peer: &Peer| transaction.mail(peer).expect("a command");
        assert_eq!(mail(&Peer::default()), "MAIL FROM:<a@example.com>");
        let peer = Peer {
            requiretls: true,
            mtpriority: true,
            ..Peer::default()
        };
        assert_eq!(
            mail(&peer),
            "MAIL FROM:<a@example.com> REQUIRETLS MT-PRIORITY=-3"
        );
    }

    #[test]
    fn addresses_and_header_ask_for_smtputf8() {
        let mut transaction = transaction();
        assert!(!transaction.needs_utf8());
        transaction.recipients[0].address = Mailbox::parse("é@example.net").expect("an address");
        assert!(transaction.needs_utf8());
        assert!(
            transaction
                .mail(&peer())
                .expect("a command")
                .contains(" SMTPUTF8")
        );
    }

    #[test]
    fn values_that_would_break_the_line_are_refused() {
        let mut transaction = transaction();
        transaction.recipients[0].dsn.notify = Some("NEVER\r\nDATA".to_owned());
        assert_eq!(
            transaction.recipients[0].rcpt(&peer()),
            Err(ParamError::Syntax)
        );
    }
}
