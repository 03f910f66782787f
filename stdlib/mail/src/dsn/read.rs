//! Reads notifications that others wrote (RFC 3464 §2, RFC 6533 §5).

use super::Action;
use crate::{
    header::HeaderBlock,
    parts::{Limits, PartId, Parts},
    source::Source,
};
use std::io;

/// Longest status part that is read, in bytes.
const MAX_STATUS: u64 = 1 << 20;
/// Most groups of fields that are read.
const MAX_GROUPS: usize = 10_000;

/// The part of a notification that is for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// About the message.
    pub message: Group,
    /// About each recipient.
    pub recipients: Vec<Group>,
    /// The part that returns the original, if there is one.
    pub original: Option<PartId>,
}

/// Fields that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Names as they are spelled, values in one line.
    pub fields: Vec<(String, String)>,
}

impl Group {
    /// The value of the first field called `name` (case ignored).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .fields
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// A field that has a type before a semicolon: type in lower case, and text.
    #[must_use]
    pub fn typed(&self, name: &str) -> Option<(String, &str)> {
        let (kind, text) = self.get(name)?.split_once(';')?;
        Some((kind.trim().to_ascii_lowercase(), text.trim()))
    }

    /// The address in a field such as `Final-Recipient`, without the brackets that some put around
    /// it, and with the escapes of RFC 6533 §3 undone in addresses of type `utf-8`. The type may be
    /// missing.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<String> {
        let untyped = || Some((String::new(), self.get(name)?.trim()));
        let (kind, text) = self.typed(name).or_else(untyped)?;
        let bare = text.strip_prefix('<').and_then(|t| t.strip_suffix('>'));
        let text = bare.unwrap_or(text).trim();
        let text = match kind.as_str() {
            "utf-8" => unescape(text),
            _ => text.to_owned(),
        };
        (!text.is_empty()).then_some(text)
    }

    /// What happened to the recipient.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        let word = self.get("Action")?;
        let word = word.split(|c: char| !c.is_ascii_alphabetic()).next()?;
        ACTIONS
            .into_iter()
            .find(|action| word.eq_ignore_ascii_case(action.as_str()))
    }

    /// The status code; text after it, which some write, is passed over.
    #[must_use]
    pub fn status(&self) -> Option<[u16; 3]> {
        let code = self.get("Status")?.split([' ', '\t', '(']).next()?;
        let mut numbers = code.split('.').map(|number| number.parse().ok());
        let status = [numbers.next()??, numbers.next()??, numbers.next()??];
        (numbers.next().is_none() && matches!(status[0], 2 | 4 | 5)).then_some(status)
    }
}

const ACTIONS: [Action; 5] = [
    Action::Failed,
    Action::Delayed,
    Action::Delivered,
    Action::Relayed,
    Action::Expanded,
];

/// Reads the notification in `message`; `None` if it is none. A notification that is attached to a
/// message, or returned in another one, does not make that message one.
///
/// # Errors
/// Only what the medium reports.
pub fn read<S: Source + ?Sized>(message: &S) -> io::Result<Option<StatusReport>> {
    let parts = Parts::parse(message, Limits::default())?;
    let status = parts.iter().find(|(_, part)| {
        let kind = part.content_type();
        matches!(
            kind.as_deref(),
            Some("message/delivery-status" | "message/global-delivery-status")
        )
    });
    let Some((id, part)) = status else {
        return Ok(None);
    };
    if part.size() > MAX_STATUS {
        return Ok(None);
    }
    let body = part.read_body(message, true)?.unwrap_or_default();
    let mut groups = groups(&body)?.into_iter();
    let mut about = groups.next().unwrap_or_default();
    let mut recipients: Vec<Group> = groups.collect();
    if about.get("Final-Recipient").is_some() {
        // Some leave the fields of the message out.
        recipients.insert(0, std::mem::take(&mut about));
    }
    recipients.retain(|group| {
        group.get("Final-Recipient").is_some() || group.get("Original-Recipient").is_some()
    });
    let original = parts.iter().find(|(other, part)| {
        let kind = part.content_type();
        *other > id
            && matches!(
                kind.as_deref(),
                Some(
                    "message/rfc822"
                        | "message/global"
                        | "text/rfc822-headers"
                        | "message/global-headers"
                )
            )
    });
    Ok(Some(StatusReport {
        message: about,
        recipients,
        original: original.map(|(id, _)| id),
    }))
}

/// The groups of fields of a status part: blank lines stand between them.
fn groups(body: &[u8]) -> io::Result<Vec<Group>> {
    let mut groups = Vec::new();
    let mut rest = body;
    while !rest.is_empty() && groups.len() < MAX_GROUPS {
        let block = HeaderBlock::read(rest)?;
        let fields: Vec<(String, String)> = block
            .fields()
            .map(|field| {
                let name = String::from_utf8_lossy(field.name()).trim().to_owned();
                (name, String::from_utf8_lossy(&field.value()).into_owned())
            })
            .collect();
        if !fields.is_empty() {
            groups.push(Group { fields });
        }
        let next = usize::try_from(block.body_offset()).unwrap_or(usize::MAX);
        // A block that begins with a blank line is empty; the line is passed over all the same.
        rest = rest.get(next.max(1)..).unwrap_or_default();
    }
    Ok(groups)
}

/// Replaces `\x{E5}` by the character, as addresses of type `utf-8` have it (RFC 6533 §3); what is not of this
/// form stays.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        out.push_str(before);
        let decoded = after.split_once('}').and_then(|(digits, tail)| {
            let code = u32::from_str_radix(digits, 16).ok()?;
            Some((char::from_u32(code)?, tail))
        });
        match decoded {
            Some((c, tail)) => {
                out.push(c);
                rest = tail;
            }
            None => {
                out.push_str("\\x{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: &str) -> String {
        format!(
            "Content-Type: multipart/report; boundary=b; report-type=delivery-status\r\n\r\n\
             --b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n\
             --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ny\r\n--b--\r\n"
        )
    }

    fn of(status: &str) -> StatusReport {
        read(report(status).as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn groups_are_told_apart_by_blank_lines() {
        let found = of("\r\nReporting-MTA: dns; a\r\n\r\n\r\n\
             Final-Recipient: RFC822; <b@c>\r\nAction: Failed (really)\r\nStatus: 5.1.1 (no)\r\n\r\n\
             Final-Recipient: utf-8; j\\x{F6}@c\r\nAction: delayed\r\nStatus: 4.4\r\n");
        assert_eq!(found.message.get("reporting-mta"), Some("dns; a"));
        assert_eq!(found.recipients.len(), 2);
        let [first, second] = [&found.recipients[0], &found.recipients[1]];
        assert_eq!(first.address("Final-Recipient").as_deref(), Some("b@c"));
        assert_eq!(first.action(), Some(Action::Failed));
        assert_eq!(first.status(), Some([5, 1, 1]));
        assert_eq!(second.address("Final-Recipient").as_deref(), Some("jö@c"));
        assert_eq!(second.action(), Some(Action::Delayed));
        assert_eq!(second.status(), None);
        assert_eq!(found.original, Some(PartId(3)));
    }

    #[test]
    fn a_report_without_fields_of_the_message_is_read() {
        let found = of("Final-Recipient: rfc822; b@c\r\nAction: relayed\r\n");
        assert_eq!(found.message, Group::default());
        assert_eq!(found.recipients[0].action(), Some(Action::Relayed));
    }

    #[test]
    fn a_report_inside_a_message_is_none() {
        let inner = report("Final-Recipient: rfc822; b@c\r\n");
        let outer = format!(
            "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\
             Content-Type: message/rfc822\r\n\r\n{inner}\r\n--o--\r\n"
        );
        assert_eq!(read(outer.as_bytes()).unwrap(), None);
        assert_eq!(read(&b"Subject: x\r\n\r\nno\r\n"[..]).unwrap(), None);
    }
}
