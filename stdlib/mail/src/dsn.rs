//! Delivery status notifications (RFC 3461, RFC 3464, RFC 6522, RFC 6533).
//!
//! [`Report`] says what happened to a message; [`Report::build`] writes the notification. The
//! envelope is the caller's: the null sender, and the original sender as recipient. A
//! notification is never made for a message that came from the null sender (RFC 5321 §6.1);
//! the caller knows that too. [`read()`] goes the other way.

mod original;
mod read;
mod status;
mod text;

use crate::{
    address, date,
    field::{self, NameError, ValueForm},
    header::{HeaderBlock, LineEnd},
    ident,
};
use mail_builder::{
    headers::content_type::ContentType,
    mime::{BodyPart, MimePart},
};
use std::borrow::Cow;

pub use read::{Group, StatusReport, read, unescape};

/// What happened to the recipients (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not delivered yet; attempts go on.
    Delayed,
    /// In the mailbox, as far as this host knows.
    Delivered,
    /// Handed to a host that does not report deliveries.
    Relayed,
    /// Handed to several addresses that stand for this one.
    Expanded,
}

impl Action {
    /// The word in the `Action` field and in `$arguments["dsn"]["action"]`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    /// What the subject starts with by default.
    fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Undeliverable: ",
            Self::Delayed => "Delayed: ",
            Self::Delivered => "Delivered: ",
            Self::Relayed => "Relayed: ",
            Self::Expanded => "Expanded: ",
        }
    }
}

/// Where the text of a diagnostic comes from (`$arguments["dsn"]["diagnostictype"]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiagnosticType {
    /// The reply of an SMTP server.
    Smtp,
    /// An error found on this side.
    XError,
}

impl DiagnosticType {
    /// The type in the `Diagnostic-Code` field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::XError => "x-error",
        }
    }
}

/// What is reported about one recipient.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// The address that delivery was tried to.
    pub address: &'a str,
    /// ORCPT, decoded: `type;address`.
    pub original: Option<&'a str>,
    /// The enhanced status code: class, subject, detail.
    pub status: [u16; 3],
    /// Why, with its origin: `550 5.1.1 no such user`.
    pub diagnostic: Option<(DiagnosticType, &'a str)>,
    /// The host that answered.
    pub remote_mta: Option<&'a str>,
    /// The command that was answered: `RCPT`.
    pub command: Option<&'a str>,
    /// When the last attempt was made (Unix seconds).
    pub last_attempt: Option<i64>,
    /// Until when attempts go on (Unix seconds); shown in delayed reports only.
    pub will_retry_until: Option<i64>,
}

/// The message that the report is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Original<'a> {
    /// Its header block.
    pub header: &'a [u8],
    /// All of it, if it may be included: its size is the caller's decision.
    pub message: Option<&'a [u8]>,
    /// RET=FULL was asked for (RFC 3461 §4.3); counts for failed reports only.
    pub ret_full: bool,
    /// The message was sent with SMTPUTF8, so that its header may be UTF-8 (RFC 6533 §6).
    pub smtputf8: bool,
    /// ENVID, decoded.
    pub envelope_id: Option<&'a str>,
    /// When it arrived (Unix seconds).
    pub arrival: Option<i64>,
    /// HELO name and address of the host that it came from.
    pub received_from: Option<(&'a str, &'a str)>,
}

/// How the report looks: option group DSNGEN of hooks and the transport's `dsn` settings.
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    /// Address in the From field; default `MAILER-DAEMON@` and the host name.
    pub from: Option<&'a str>,
    /// Name in the From field; default `Mail Delivery System`.
    pub from_name: Option<&'a str>,
    /// The whole subject, in place of the default one with the original subject.
    pub subject: Option<&'a str>,
    /// Text in front of the subject.
    pub subject_prepend: Option<&'a str>,
    /// More fields; one that the report has anyway takes its place.
    pub headers: &'a [ExtraHeader],
    /// A complete MIME part, header and body, in place of the readable part.
    pub readable_mimepart: Option<&'a [u8]>,
    /// False leaves the original header out. `None` is true.
    pub original_headers: Option<bool>,
    /// Include the full message, or do not; `None` leaves it to RET.
    pub original_message: Option<bool>,
}

/// A notification to be made.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// What happened.
    pub action: Action,
    /// To whom: usually one recipient.
    pub recipients: &'a [Recipient<'a>],
    /// The message.
    pub original: Original<'a>,
    /// Whom the report goes to, for its To field.
    pub to: &'a str,
    /// Name of this host.
    pub hostname: &'a str,
    /// The time (Unix seconds).
    pub now: i64,
    /// Randomness for Message-ID and boundary.
    pub random: [u8; 16],
    /// How it looks.
    pub options: Options<'a>,
}

/// A finished notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The message, with CRLF.
    pub message: Vec<u8>,
    /// Its Message-ID, with brackets.
    pub message_id: String,
    /// It holds 8-bit content: `BODY=8BITMIME`.
    pub eight_bit: bool,
    /// Its header holds UTF-8 addresses: `SMTPUTF8`.
    pub smtputf8: bool,
}

/// A field of the option `headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHeader {
    name: String,
    value: Vec<u8>,
}

/// An entry of the option `headers` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtraHeaderError {
    /// Not `Name: value`.
    #[error("a header of a DSN must have the form \"Name: value\"")]
    NoColon,
    /// The name cannot be written.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The field describes the structure of the report.
    #[error("a DSN sets the header {0} itself")]
    Structural(String),
}

impl ExtraHeader {
    /// Reads a line `Name: value`. The value is written as text: encoded and folded.
    ///
    /// # Errors
    /// [`ExtraHeaderError`]; MIME-Version and the Content fields are refused.
    pub fn parse(line: &[u8]) -> Result<Self, ExtraHeaderError> {
        let colon = memchr::memchr(b':', line).ok_or(ExtraHeaderError::NoColon)?;
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii();
        field::check_name(name)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let lower = name.to_ascii_lowercase();
        if lower == "mime-version" || lower.starts_with("content-") {
            return Err(ExtraHeaderError::Structural(name));
        }
        Ok(Self {
            name,
            value: value.get(1..).unwrap_or_default().trim_ascii().to_vec(),
        })
    }
}

/// Longest original subject that is repeated, in characters.
const MAX_SUBJECT: usize = 500;

impl Report<'_> {
    /// Writes the notification.
    #[must_use]
    pub fn build(&self) -> Notification {
        let original = HeaderBlock::read(self.original.header).unwrap_or_default();
        let message_id = ident::message_id(self.now, &self.random, self.hostname);
        let mut message = self.header(&original, &message_id);
        let smtputf8 = !message.is_ascii();

        let readable = self.readable_part(&original);
        let status = status::part(self);
        let returned = original::part(self);
        let all = [Some(&readable), Some(&status), returned.as_ref()];
        let bodies: Vec<&[u8]> = all
            .iter()
            .flatten()
            .map(|part| part.body.as_ref())
            .collect();
        let boundary = ident::boundary(&self.random, &bodies);
        let parts = [Some(readable), Some(status), returned];
        let parts: Vec<MimePart<'_>> = parts
            .into_iter()
            .flatten()
            .map(Section::into_part)
            .collect();
        let report = ContentType::new("multipart/report")
            .attribute("report-type", "delivery-status")
            .attribute("boundary", boundary);
        let body_start = message.len();
        MimePart::new(report, parts).write_part(&mut message);
        let eight_bit = !message.get(body_start..).unwrap_or_default().is_ascii();
        Notification {
            message,
            message_id,
            eight_bit,
            smtputf8,
        }
    }

    /// All fields before Content-Type.
    fn header(&self, original: &HeaderBlock, message_id: &str) -> Vec<u8> {
        let from = match self.options.from {
            Some(from) => from.to_owned(),
            None => format!("MAILER-DAEMON@{}", self.hostname),
        };
        let name = self.options.from_name.unwrap_or("Mail Delivery System");
        let mut fields = vec![
            ("From", address::compile(Some(name), &from)),
            ("To", address::compile(None, self.to)),
            ("Subject", self.subject(original)),
            ("Date", date::format_utc(self.now)),
            ("Message-ID", message_id.to_owned()),
        ];
        if let Some(id) = original_message_id(original) {
            fields.push(("In-Reply-To", id.clone()));
            fields.push(("References", id));
        }
        fields.push(("Auto-Submitted", "auto-replied".to_owned()));
        let extra = self.options.headers;
        fields.retain(|(name, _)| !extra.iter().any(|e| e.name.eq_ignore_ascii_case(name)));
        fields.push(("MIME-Version", "1.0".to_owned()));
        let mut out = Vec::new();
        let mut add = |name: &str, value: &[u8], form| {
            // The names are ours or were checked by `ExtraHeader::parse`.
            let field = field::compose(name.as_bytes(), value, form, LineEnd::CrLf);
            out.extend(field.unwrap_or_default());
        };
        for (name, value) in &fields {
            // Names in addresses are encoded words already.
            let form = match *name {
                "From" | "To" => ValueForm::Verbatim,
                _ => ValueForm::default(),
            };
            add(name, value.as_bytes(), form);
        }
        for header in extra {
            add(&header.name, &header.value, ValueForm::default());
        }
        out
    }

    fn subject(&self, original: &HeaderBlock) -> String {
        let subject = match self.options.subject {
            Some(subject) => subject.to_owned(),
            None => {
                let own = original.value(b"Subject", 0, true).unwrap_or_default();
                let own = if own.is_empty() { "(no subject)" } else { &own };
                let own: String = own.chars().take(MAX_SUBJECT).collect();
                format!("{}{own}", self.action.subject())
            }
        };
        format!(
            "{}{subject}",
            self.options.subject_prepend.unwrap_or_default()
        )
    }

    fn readable_part(&self, original: &HeaderBlock) -> Section<'_> {
        match self.options.readable_mimepart {
            Some(part) => Section {
                content_type: None,
                encoding: None,
                body: complete_part(part).into(),
            },
            None => Section {
                content_type: Some("text/plain"),
                encoding: None,
                body: text::readable(self, original).into_bytes().into(),
            },
        }
    }

    /// Whether the report needs the forms of RFC 6533: an address is not ASCII.
    fn is_global(&self) -> bool {
        self.recipients
            .iter()
            .any(|r| !r.address.is_ascii() || r.original.is_some_and(|o| !o.is_ascii()))
    }
}

/// A part of the report before it is written.
struct Section<'a> {
    /// `None`: the body holds the part's header too.
    content_type: Option<&'static str>,
    /// `None`: as the content needs it.
    encoding: Option<&'static str>,
    body: Cow<'a, [u8]>,
}

impl<'a> Section<'a> {
    fn into_part(self) -> MimePart<'a> {
        let Some(content_type) = self.content_type else {
            return MimePart::raw(BodyPart::Binary(self.body));
        };
        if content_type == "text/plain" {
            let text = String::from_utf8_lossy(&self.body).into_owned();
            return MimePart::new(content_type, BodyPart::Text(text.into()));
        }
        let part = MimePart::new(content_type, BodyPart::Binary(self.body));
        match self.encoding {
            Some(encoding) => part.transfer_encoding(encoding),
            None => part,
        }
    }
}

/// A part that an operator wrote: line ends become CRLF, and a text without a header gets the
/// blank line that says so.
fn complete_part(part: &[u8]) -> Vec<u8> {
    let header = HeaderBlock::read(part).unwrap_or_default();
    let mut out = Vec::with_capacity(part.len() + 2);
    if !header.has_blank_line() && (header.fields().len() == 0 || header.is_bad()) {
        out.extend_from_slice(b"\r\n");
    }
    let mut last = 0;
    for &byte in part {
        match byte {
            b'\n' if last != b'\r' => out.extend_from_slice(b"\r\n"),
            b'\n' | 0 => {}
            b'\r' => out.extend_from_slice(b"\r\n"),
            _ => out.push(byte),
        }
        last = byte;
    }
    out
}

/// The Message-ID of the original if it is one token that fits on a line.
fn original_message_id(original: &HeaderBlock) -> Option<String> {
    let value = original.value(b"Message-ID", 0, false)?;
    let start = value.find('<')?;
    let end = start + value.get(start..)?.find('>')?;
    let id = value.get(start..=end)?;
    let token = id.len() <= 900 && id.bytes().all(|b| matches!(b, b'!'..=b'~'));
    (token && !id.contains("=?")).then(|| id.to_owned())
}

/// A text from outside as one line without control characters.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_control() || c == ' ')
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests;
