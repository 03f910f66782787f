//! What a sender asks for by the DSN extension (RFC 3461) and what a notification shall say.
//!
//! The message itself is built by the service: it needs the original's header. A [`DsnSpec`] names
//! everything that the queue knows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::attempt::EnhancedStatus;
use crate::item::{Address, Item, ItemId, Pairs};
use crate::text::Text;
use crate::time::Timestamp;

/// RFC 3461 data of one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DsnRequest {
    /// The envelope id, decoded.
    pub envid: Option<Text>,
    /// How much of the message a failure notice returns.
    pub ret: Option<Ret>,
    /// When to notify; none: the sender did not say.
    pub notify: Option<Notify>,
    /// The original recipient, decoded: `type;address`.
    pub orcpt: Option<Text>,
}

impl DsnRequest {
    /// This request with the members that `over` sets replaced, as `Try(["dsn" => …])` does.
    #[must_use]
    pub fn overridden(&self, over: &DsnRequest) -> DsnRequest {
        DsnRequest {
            envid: over.envid.clone().or_else(|| self.envid.clone()),
            ret: over.ret.or(self.ret),
            notify: over.notify.or(self.notify),
            orcpt: over.orcpt.clone().or_else(|| self.orcpt.clone()),
        }
    }
}

/// The `RET` parameter (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// Only the header.
    Hdrs,
    /// The whole message.
    Full,
}

impl Ret {
    /// The parameter's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Ret::Hdrs => "HDRS",
            Ret::Full => "FULL",
        }
    }
}

/// A value that the DSN extension does not allow.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadDsnValue {
    /// `RET` is not `HDRS` or `FULL`.
    #[error("RET is HDRS or FULL")]
    Ret,
    /// `NOTIFY` is not `NEVER` alone or a list of the others.
    #[error("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")]
    Notify,
}

impl FromStr for Ret {
    type Err = BadDsnValue;

    fn from_str(text: &str) -> Result<Self, BadDsnValue> {
        match text {
            _ if text.eq_ignore_ascii_case("HDRS") => Ok(Ret::Hdrs),
            _ if text.eq_ignore_ascii_case("FULL") => Ok(Ret::Full),
            _ => Err(BadDsnValue::Ret),
        }
    }
}

/// The `NOTIFY` parameter (RFC 3461 §4.1): a set of occasions, or the empty set `NEVER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify(u8);

impl Notify {
    /// No notification at all.
    pub const NEVER: Notify = Notify(0);
    /// On delivery, or on hand-over to a host that cannot notify.
    pub const SUCCESS: Notify = Notify(1);
    /// On failure.
    pub const FAILURE: Notify = Notify(2);
    /// On delay.
    pub const DELAY: Notify = Notify(4);

    /// The set with those of `other` added.
    #[must_use]
    pub fn with(self, other: Notify) -> Notify {
        Notify(self.0 | other.0)
    }

    /// Whether all occasions of `other` are in the set.
    pub fn has(self, other: Notify) -> bool {
        other.0 != 0 && self.0 & other.0 == other.0
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    pub(crate) fn from_bits(bits: u8) -> Option<Notify> {
        (bits <= 7).then_some(Notify(bits))
    }
}

impl FromStr for Notify {
    type Err = BadDsnValue;

    fn from_str(text: &str) -> Result<Self, BadDsnValue> {
        if text.trim().eq_ignore_ascii_case("NEVER") {
            return Ok(Notify::NEVER);
        }
        let mut set = Notify::NEVER;
        for word in text.split(',') {
            let (_, occasion) = OCCASIONS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(word.trim()))
                .ok_or(BadDsnValue::Notify)?;
            set = set.with(*occasion);
        }
        Ok(set)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Notify::NEVER {
            return f.write_str("NEVER");
        }
        let names = OCCASIONS.iter().filter(|(_, occasion)| self.has(*occasion));
        f.write_str(&names.map(|(name, _)| *name).collect::<Vec<_>>().join(","))
    }
}

const OCCASIONS: [(&str, Notify); 3] = [
    ("SUCCESS", Notify::SUCCESS),
    ("FAILURE", Notify::FAILURE),
    ("DELAY", Notify::DELAY),
];

/// The `Action` field of a notification (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DsnAction {
    /// Given up.
    Failed,
    /// Not yet delivered; attempts go on.
    Delayed,
    /// Delivered to its final destination.
    Delivered,
    /// Handed to a host that does not notify of success.
    Relayed,
}

impl DsnAction {
    /// The field's value.
    pub fn as_str(self) -> &'static str {
        match self {
            DsnAction::Failed => "failed",
            DsnAction::Delayed => "delayed",
            DsnAction::Delivered => "delivered",
            DsnAction::Relayed => "relayed",
        }
    }
}

/// The `Diagnostic-Code` field of a notification (RFC 3464 §2.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diagnostic {
    /// A reply of the peer: `smtp`.
    Smtp(String),
    /// A condition that we found ourselves: `x-error`.
    Error(String),
}

impl Diagnostic {
    /// `smtp` or `x-error`.
    pub fn kind(&self) -> &'static str {
        match self {
            Diagnostic::Smtp(_) => "smtp",
            Diagnostic::Error(_) => "x-error",
        }
    }

    /// The text after the type.
    pub fn text(&self) -> &str {
        match self {
            Diagnostic::Smtp(text) | Diagnostic::Error(text) => text,
        }
    }
}

/// How a generated notification looks: the `dsn` member of `Queue()` and `Bounce()`.
///
/// A member that is none takes the transport's setting, then the default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DsnOptions {
    /// The transport of the notification.
    pub transportid: Option<Text>,
    /// Its recipient instead of the original sender.
    pub recipient: Option<Address>,
    /// The address of its `From` field.
    pub from: Option<Address>,
    /// The display name of its `From` field.
    pub from_name: Option<Text>,
    /// Its metadata.
    pub metadata: Option<Pairs>,
    /// Its job.
    pub jobid: Option<Text>,
    /// Its tenant.
    pub tenantid: Option<Text>,
    /// With what to sign it.
    pub dkim: Option<Signer>,
    /// A whole MIME part that replaces the readable one.
    pub readable_mimepart: Option<Text>,
    /// Whether the original's header is included.
    pub original_headers: Option<bool>,
    /// Whether the original message is included.
    pub original_message: Option<bool>,
    /// The whole subject.
    pub subject: Option<Text>,
    /// A text before the subject.
    pub subject_prepend: Option<Text>,
    /// More header fields, each `Name: value`.
    pub headers: Vec<Text>,
}

/// Signs notifications.
pub trait Sign: Send + Sync {
    /// The whole header field, line end included, that signs `message`; it goes above all others.
    ///
    /// # Errors
    /// Why the message cannot be signed.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// A signer that is passed about with its notification. Two are equal when they are one.
#[derive(Clone)]
pub struct Signer(pub Arc<dyn Sign>);

impl PartialEq for Signer {
    fn eq(&self, other: &Signer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Signer {}

impl fmt::Debug for Signer {
    // The key must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

/// A notification that is to be built and queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DsnSpec {
    /// The id that was announced to the postdelivery script, if it was.
    pub id: Option<ItemId>,
    /// The message that it is about, as it was when the decision fell.
    pub original: Item,
    /// What happened.
    pub action: DsnAction,
    /// The `Status` field.
    pub status: EnhancedStatus,
    /// The `Diagnostic-Code` field; none on success without a reply.
    pub diagnostic: Option<Diagnostic>,
    /// The command that the reply answered, or the stage: for the readable part.
    pub in_reply_to: Option<&'static str>,
    /// The `Remote-MTA` field.
    pub remote_mta: Option<Text>,
    /// RFC 3461 data with what `Try` overrode.
    pub request: DsnRequest,
    /// The envelope recipient of the notification; never the null path.
    pub recipient: Address,
    /// The transport of the notification.
    pub transportid: Text,
    /// How it shall look.
    pub options: DsnOptions,
    /// The `Last-Attempt-Date` field.
    pub last_attempt: Option<Timestamp>,
    /// The `Will-Retry-Until` field of a delayed notice.
    pub will_retry_until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_is_normalised() {
        for (text, want) in [
            ("never", Ok("NEVER")),
            ("Delay,SUCCESS", Ok("SUCCESS,DELAY")),
            ("failure, failure", Ok("FAILURE")),
            ("NEVER,SUCCESS", Err(BadDsnValue::Notify)),
            ("", Err(BadDsnValue::Notify)),
            ("SUCCESS,", Err(BadDsnValue::Notify)),
        ] {
            let got = text.parse::<Notify>().map(|notify| notify.to_string());
            assert_eq!(got.as_deref().map_err(|e| *e), want, "{text}");
        }
    }

    #[test]
    fn an_override_replaces_only_what_it_sets() {
        let item = DsnRequest {
            envid: Some("one".into()),
            notify: Some(Notify::NEVER),
            ..DsnRequest::default()
        };
        let over = DsnRequest {
            notify: Some(Notify::DELAY),
            ..DsnRequest::default()
        };
        let both = item.overridden(&over);
        assert_eq!(both.envid, Some("one".into()));
        assert_eq!(both.notify, Some(Notify::DELAY));
    }
}
