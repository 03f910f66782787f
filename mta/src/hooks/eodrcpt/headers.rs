//! Older functions for the header of the message, and for what it tells of its way.

use std::net::IpAddr;
use std::sync::Arc;

use angarium_mail::dsn::{self as report, StatusReport};
use angarium_mail::encoded_word::WordEncoding;
use angarium_mail::field::ValueForm;
use angarium_mail::header::HeaderBlock;
use angarium_mail::parts::PartId;
use angarium_mail::source::Source as _;
use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::{Args, Cx, FnDecl, Outcome, Throw};
use angarium_runtime::value::Value;
use angarium_stdlib::mailer::SharedSource;

use super::turn::Turn;
use crate::hooks::variables::Map;

/// The functions.
pub(super) const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "GetHeader(name: string, decode?: boolean = true): string",
        "Gives the value of the first header field of a name as it was received; empty when there is none.",
        |cx, args| {
            let (name, decode) = (args.bytes(0), decode(&args));
            let value = original(cx, |header| header.value(name, 0, decode))?;
            Ok(value.unwrap_or_default().as_str().into())
        },
    ),
    FnDecl::plain(
        "GetHeaders(name: string|boolean, decode?: boolean = true): array",
        "Gives the values of all header fields of a name as they were received; with true all fields, `Name: value`.",
        get_headers,
    ),
    FnDecl::plain(
        "AddHeader(name: string, value: string, refold?: boolean = true): none",
        "Adds a header field above all others.",
        |cx, args| {
            let (turn, form) = changing(cx, &args)?;
            let (name, value) = (args.bytes(0), args.bytes(1));
            turn.mail
                .message()
                .change(|message| message.add_header(PartId::ROOT, name, value, form))?;
            Ok(Value::None)
        },
    ),
    FnDecl::plain(
        "SetHeader(name: string, value: string, refold?: boolean = true): number",
        "Sets the value of all header fields of a name; gives how many. 0 means that one was added.",
        |cx, args| {
            let (turn, form) = changing(cx, &args)?;
            let (name, value) = (args.bytes(0), args.bytes(1));
            let count = turn
                .mail
                .message()
                .change(|message| message.set_header(PartId::ROOT, name, value, None, form))?;
            Ok(count.into())
        },
    ),
    FnDecl::plain(
        "PrependHeader(name: string, value: string, refold?: boolean = true): number",
        "Puts text before the value of all header fields of a name; gives how many. 0 means that one was added.",
        |cx, args| extend(cx, &args, |value, text| [text, value].concat()),
    ),
    FnDecl::plain(
        "AppendHeader(name: string, value: string, refold?: boolean = true): number",
        "Puts text after the value of all header fields of a name; gives how many. 0 means that one was added.",
        |cx, args| extend(cx, &args, |value, text| [value, text].concat()),
    ),
    FnDecl::plain(
        "DelHeader(name: string): number",
        "Deletes all header fields of a name; gives how many.",
        |cx, args| {
            let (turn, _) = changing(cx, &args)?;
            let name = args.bytes(0);
            let count = turn
                .mail
                .message()
                .change(|message| message.del_header(PartId::ROOT, name, None))?;
            Ok(count.into())
        },
    ),
    FnDecl::plain(
        "DiscardMailDataChanges(): number",
        "Undoes all changes of the message; gives how many there were.",
        |cx, _| {
            let turn = Turn::of(cx)?;
            let count = turn.mail.message().change(|message| Ok(message.reset()))?;
            Ok(count.into())
        },
    ),
    FnDecl::plain(
        "GetRoute(extended_result?: boolean = false): array",
        "Gives the way of the message by its Received fields, from the top: `host` and `ip` of who handed it over; extended \
         also `comment`, `by`, `with`, `id`, `for` and `date`, as far as they are there.",
        get_route,
    ),
    FnDecl::plain(
        "GetDSN(): array|boolean",
        "Gives what the message tells as a delivery status notification: the fields about the message, names in lower case, and \
         `recipients`, those about each recipient. False when it is none.",
        |cx, _| with_report(cx, |report, _| Ok(report.map_or(false.into(), dsn))),
    ),
    FnDecl::plain(
        "GetDSNHeader(name: string, skip_decode?: boolean = false): string",
        "Gives the value of a header field of the message that a delivery status notification returns; empty when there is \
         none.",
        |cx, args| {
            let name = args.bytes(0).to_vec();
            let decode = boolean(args.get(1)) != Some(true);
            with_report(cx, move |report, source| {
                let Some(part) = report.and_then(|report| report.original) else {
                    return Ok("".into());
                };
                let header = returned_header(source, part)?;
                let value = header.and_then(|header| header.value(&name, 0, decode));
                Ok(value.unwrap_or_default().as_str().into())
            })
        },
    ),
];

/// A boolean argument; none for what is no boolean, or was not given.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Boolean(value) => Some(*value),
        _ => None,
    }
}

fn decode(args: &Args<'_>) -> bool {
    boolean(args.get(1)) != Some(false)
}

/// Reads the header as it was received.
fn original<T>(cx: &mut Cx<'_>, read: impl FnOnce(&HeaderBlock) -> T) -> Result<T, Throw> {
    let turn = Turn::of(cx)?;
    let message = turn.mail.message().message();
    cx.charge(message.header().bytes().len() / 64);
    Ok(read(message.header()))
}

fn get_headers(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let decode = decode(&args);
    let texts = match boolean(args.get(0)) {
        Some(false) => Vec::new(),
        Some(true) => original(cx, |header| {
            let mut seen = std::collections::HashMap::<Vec<u8>, i64>::new();
            let fields = header.fields().map(|field| {
                let name = field.name();
                let count = seen.entry(name.to_ascii_lowercase()).or_default();
                let value = header.value(name, *count, decode).unwrap_or_default();
                *count += 1;
                format!("{}: {value}", String::from_utf8_lossy(name))
            });
            fields.collect()
        })?,
        None => {
            let name = args.bytes(0);
            original(cx, |header| header.values(name, decode))?
        }
    };
    Ok(texts
        .into_iter()
        .map(|text| Value::from(text.as_str()))
        .collect::<Array>()
        .into())
}

/// The turn, charged for a change, and how the value at argument 1 is written.
fn changing(cx: &mut Cx<'_>, args: &Args<'_>) -> Result<(std::rc::Rc<Turn>, ValueForm), Throw> {
    let turn = Turn::of(cx)?;
    let cost = {
        let message = turn.mail.message().message();
        16 + message.cost_of_change() + message.snapshot() / 16 + args.bytes(1).len() / 16
    };
    cx.charge(cost);
    let form = match boolean(args.get(2)) {
        Some(false) => ValueForm::Verbatim,
        _ => ValueForm::Encoded(WordEncoding::Quoted),
    };
    Ok((turn, form))
}

/// Changes the values of a field as they are now: earlier changes count.
fn extend(cx: &mut Cx<'_>, args: &Args<'_>, join: impl Fn(&str, &str) -> String) -> Outcome {
    let (turn, form) = changing(cx, args)?;
    let name = args.bytes(0);
    let text = String::from_utf8_lossy(args.bytes(1));
    let mail = turn.mail.message();
    let values = {
        let message = mail.message();
        cx.charge(message.header().bytes().len() / 16);
        let changed = message.modified(0);
        let header = changed.and_then(|changed| HeaderBlock::read(&changed));
        header
            .map_err(|error| Throw::error(format!("the message cannot be read: {error}")))?
            .values(name, true)
    };
    if values.is_empty() {
        let text = text.as_bytes();
        mail.change(|message| message.add_header(PartId::ROOT, name, text, form))?;
        return Ok(0_u32.into());
    }
    // A value changes the same however many fields have it.
    for (index, value) in values.iter().enumerate() {
        let value = join(value, &text);
        cx.charge(value.len() / 16);
        let index = i64::try_from(index).ok();
        mail.change(|message| {
            message.set_header(PartId::ROOT, name, value.as_bytes(), index, form)
        })?;
    }
    Ok(values.len().into())
}

fn get_route(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let extended = boolean(args.get(0)) == Some(true);
    let fields = original(cx, |header| header.values(b"Received", false))?;
    let hops = fields.iter().map(|field| Hop::read(field).value(extended));
    Ok(hops.collect::<Array>().into())
}

/// A Received field (RFC 5321 §4.4), taken apart as far as it follows the form.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hop {
    clauses: Vec<(String, String)>,
    /// Behind the name of the `from` clause.
    comment: String,
    ip: Option<IpAddr>,
    date: String,
}

impl Hop {
    const CLAUSES: [&'static str; 5] = ["from", "by", "with", "id", "for"];

    fn read(field: &str) -> Hop {
        let (route, date) = field.rsplit_once(';').unwrap_or((field, ""));
        let mut hop = Hop {
            date: date.trim().to_owned(),
            ..Hop::default()
        };
        let mut clause: Option<&'static str> = None;
        for token in tokens(route) {
            match token {
                Token::Comment(text) if clause == Some("from") && hop.comment.is_empty() => {
                    hop.comment = text.to_owned();
                }
                Token::Comment(_) => {}
                Token::Word(word) => {
                    let known = Hop::CLAUSES
                        .into_iter()
                        .find(|name| name.eq_ignore_ascii_case(word));
                    let expects = clause.is_some_and(|name| hop.get(name).is_none());
                    match (known, clause) {
                        (Some(known), _) if !expects => clause = Some(known),
                        (_, Some(name)) if expects => {
                            hop.clauses.push((name.to_owned(), word.to_owned()));
                        }
                        _ => {}
                    }
                }
            }
        }
        let name = hop.get("from").unwrap_or_default().to_owned();
        hop.ip = address(&hop.comment).or_else(|| address(&name));
        hop
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.clauses.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn value(&self, extended: bool) -> Value {
        let some = |text: &str| (!text.is_empty()).then(|| Value::from(text));
        let map = Map::default()
            .maybe("host", self.get("from"))
            .maybe("ip", self.ip.map(|address| address.to_string()));
        if !extended {
            return map.into();
        }
        map.maybe("comment", some(&self.comment))
            .maybe("by", self.get("by"))
            .maybe("with", self.get("with"))
            .maybe("id", self.get("id"))
            .maybe("for", self.get("for"))
            .maybe("date", some(&self.date))
            .into()
    }
}

enum Token<'a> {
    Word(&'a str),
    Comment(&'a str),
}

/// Words, and comments as a whole.
fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.starts_with('(') {
            let mut depth = 0_usize;
            let end = rest.char_indices().find_map(|(at, c)| {
                match c {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                (depth == 0).then_some(at)
            });
            let end = end.unwrap_or(rest.len());
            let comment = rest.get(1..end).unwrap_or_default();
            rest = rest.get(end + 1..).unwrap_or_default();
            return Some(Token::Comment(comment.trim()));
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '(')
            .unwrap_or(rest.len());
        let (word, behind) = rest.split_at_checked(end)?;
        rest = behind;
        (!word.is_empty()).then_some(Token::Word(word))
    })
}

/// The first address in the text: in brackets, or a word of its own.
fn address(text: &str) -> Option<IpAddr> {
    let parts = text.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '(' | ')' | ','));
    parts
        .map(|part| {
            let tagged = part
                .get(..5)
                .is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
            if tagged {
                part.get(5..).unwrap_or_default()
            } else {
                part
            }
        })
        .find_map(|part| part.parse().ok())
}

/// Does something with the notification in the message: at once, or when a large message was read on the pool.
fn with_report(
    cx: &mut Cx<'_>,
    work: impl FnOnce(Option<StatusReport>, &SharedSource) -> Outcome + Send + 'static,
) -> Outcome {
    let turn = Turn::of(cx)?;
    let source = Arc::clone(turn.mail.message().message().source());
    cx.charge(usize::try_from(source.len() / 1024).unwrap_or(usize::MAX));
    let unreadable = |error| Throw::error(format!("the message cannot be read: {error}"));
    work(report::read(&source).map_err(unreadable)?, &source)
}

/// The header of the part in which a message is returned: of a message within it, or of header fields alone.
fn returned_header(source: &SharedSource, part: PartId) -> Result<Option<HeaderBlock>, Throw> {
    let unreadable = |error| Throw::error(format!("the message cannot be read: {error}"));
    let parts =
        angarium_mail::parts::Parts::parse(source, Default::default()).map_err(unreadable)?;
    let Some(part) = parts.get(part) else {
        return Ok(None);
    };
    let body = part.encoded_body();
    let bytes = source.read_range(body.range).map_err(unreadable)?;
    let bytes: Arc<[u8]> = body.encoding.decode(&bytes).into();
    HeaderBlock::read(&bytes).map(Some).map_err(unreadable)
}

fn group(fields: &[(String, String)]) -> Array {
    let fields = fields.iter();
    fields
        .map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            (Key::from(name.as_str()), Value::from(value.as_str()))
        })
        .collect()
}

fn dsn(report: StatusReport) -> Value {
    let mut array = group(&report.message.fields);
    let recipients = report.recipients.iter();
    let recipients: Array = recipients
        .map(|recipient| Value::from(group(&recipient.fields)))
        .collect();
    array.insert(Key::from("recipients"), recipients.into());
    array.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_fields_are_taken_apart() {
        let hop = Hop::read(
            "from mail.example.org (mx (by hand) [IPv6:2001:db8::1]) by mx.example.com (Postfix) with ESMTPS id 4XyZ for \
             <a@example.com>; Tue, 14 Nov 2023 22:13:20 +0000",
        );
        let get = |name| hop.get(name).unwrap_or("none").to_owned();
        assert_eq!(
            [get("from"), get("by"), get("with"), get("id"), get("for")],
            [
                "mail.example.org",
                "mx.example.com",
                "ESMTPS",
                "4XyZ",
                "<a@example.com>"
            ]
        );
        assert_eq!(hop.comment, "mx (by hand) [IPv6:2001:db8::1]");
        assert_eq!(hop.ip, "2001:db8::1".parse().ok());
        assert_eq!(hop.date, "Tue, 14 Nov 2023 22:13:20 +0000");
        // What follows no form gives what it gives.
        assert_eq!(Hop::read("").ip, None);
        assert_eq!(Hop::read("from ((((").get("by"), None);
        assert_eq!(Hop::read("from [192.0.2.1] by by").get("by"), Some("by"));
        assert_eq!(Hop::read("from [192.0.2.1]").ip, "192.0.2.1".parse().ok());
    }
}
