//! The part that programs read: `message/delivery-status` (RFC 3464 §2) or
//! `message/global-delivery-status` (RFC 6533 §5).

use super::{Action, Recipient, Report, Section, one_line};
use crate::date;
use std::{fmt::Write as _, net::IpAddr};

pub(super) fn part<'a>(report: &Report<'_>) -> Section<'a> {
    let global = report.is_global();
    let mut fields = Fields {
        out: String::new(),
        global,
    };
    let original = &report.original;
    fields.optional("Original-Envelope-Id", original.envelope_id.map(exact));
    fields.add(
        "Reporting-MTA",
        &format!("dns; {}", mta_name(report.hostname)),
    );
    let from = original.received_from;
    fields.optional(
        "Received-From-MTA",
        from.map(|(helo, ip)| format!("smtp; {} ({})", one_line(helo), one_line(ip))),
    );
    fields.optional("Arrival-Date", original.arrival.map(date::format_utc));
    for recipient in report.recipients {
        fields.out.push_str("\r\n");
        fields.recipient(report.action, recipient);
    }
    Section {
        content_type: Some(if global {
            "message/global-delivery-status"
        } else {
            "message/delivery-status"
        }),
        encoding: Some(if fields.out.is_ascii() {
            "7bit"
        } else {
            "8bit"
        }),
        body: fields.out.into_bytes().into(),
    }
}

struct Fields {
    out: String,
    /// UTF-8 may be written as it is.
    global: bool,
}

impl Fields {
    fn recipient(&mut self, action: Action, recipient: &Recipient<'_>) {
        if let Some((kind, address)) = recipient.original.and_then(|o| o.split_once(';')) {
            let kind = one_line(kind);
            // A type is an atom; anything else did not come from RFC 3461's grammar.
            if !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                self.add("Original-Recipient", &format!("{kind}; {}", exact(address)));
            }
        }
        let kind = if recipient.address.is_ascii() {
            "rfc822"
        } else {
            "utf-8"
        };
        self.add(
            "Final-Recipient",
            &format!("{kind}; {}", exact(recipient.address)),
        );
        self.add("Action", action.as_str());
        let [class, subject, detail] = recipient.status;
        self.add("Status", &format!("{class}.{subject}.{detail}"));
        self.optional(
            "Remote-MTA",
            recipient
                .remote_mta
                .map(|mta| format!("dns; {}", mta_name(mta))),
        );
        self.optional(
            "Diagnostic-Code",
            recipient
                .diagnostic
                .map(|(kind, text)| format!("{}; {}", kind.as_str(), one_line(text))),
        );
        self.optional(
            "Last-Attempt-Date",
            recipient.last_attempt.map(date::format_utc),
        );
        if action == Action::Delayed {
            let until = recipient.will_retry_until.map(date::format_utc);
            self.optional("Will-Retry-Until", until);
        }
    }

    fn optional(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.add(name, &value);
        }
    }

    /// Writes a field, folded at white space; encoded words are not allowed here.
    fn add(&mut self, name: &str, value: &str) {
        let value = if self.global {
            value.to_owned()
        } else {
            ascii(value)
        };
        self.out.push_str(name);
        self.out.push(':');
        let start = self.out.len();
        let mut column = name.len() + 1;
        let mut spaces = 1;
        for word in value.split(' ') {
            if word.is_empty() {
                spaces += 1;
                continue;
            }
            for (i, piece) in pieces(word).enumerate() {
                let fold = i > 0 || column + spaces + piece.len() > 78;
                if fold && self.out.len() > start {
                    self.out.push_str("\r\n");
                    column = 0;
                }
                self.out.extend(std::iter::repeat_n(' ', spaces));
                self.out.push_str(piece);
                column += spaces + piece.len();
                spaces = 1;
            }
        }
        self.out.push_str("\r\n");
    }
}

/// A text whose spaces count, such as an address with a quoted local part, as one line.
fn exact(text: &str) -> String {
    /// More in a row are nobody's address, and would make a line too long.
    const MOST_SPACES: usize = 64;
    let mut out = String::with_capacity(text.len());
    let mut spaces = 0;
    let mut broken = false;
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            broken = true;
        } else if c == ' ' {
            spaces += 1;
        } else {
            if broken || spaces > MOST_SPACES {
                spaces = 1;
            }
            out.extend(std::iter::repeat_n(
                ' ',
                if out.is_empty() { 0 } else { spaces },
            ));
            out.push(c);
            (spaces, broken) = (0, false);
        }
    }
    out
}

/// The name of a host for type `dns`; an address stands in brackets (RFC 5321 §4.1.3).
fn mta_name(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V4(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        Err(_) => one_line(name),
    }
}

/// Cuts a word that no line could hold.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    const LONGEST: usize = 900;
    let mut rest = Some(word);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut cut = text.len().min(LONGEST);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let (head, tail) = text.split_at(cut);
        rest = (!tail.is_empty()).then_some(tail);
        Some(head)
    })
}

/// Writes what is not ASCII as RFC 6533 §3 does in addresses: `\x{E5}`.
fn ascii(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            if c.is_ascii() {
                out.push(c);
            } else {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
            }
            out
        })
}
