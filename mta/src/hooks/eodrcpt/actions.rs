//! The functions that decide about a recipient and its copy.

use std::collections::BTreeMap;
use std::sync::Arc;

use angarium_mail::edits::Modified;
use angarium_queue::dsn::DsnRequest;
use angarium_queue::item::Pairs;
use angarium_queue::text::Text;
use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::{Args, Cx, Outcome as Answer, Throw};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;
use angarium_smtp::address::is_greeting_name;
use angarium_smtp::verdict::Function;
use angarium_stdlib::file::{self, SourceData};
use angarium_stdlib::mailer::unknown_transport;
use angarium_stdlib::message;

use super::turn::{Action, Copy, Outcome, Turn};
use crate::hooks::envelope;
use crate::hooks::options::{Reader, pairs};
use crate::hooks::outbox::Wish;
use crate::hooks::reply::{reason, reply_options};

/// The script of a recipient has ended by its own wish.
#[derive(Debug)]
struct Ended;

fn end() -> Throw {
    Throw::end(Ended)
}

/// Ends the script unless `done` is false.
fn done_unless(reader: Reader<'_>) -> Answer {
    match reader.boolean("done") {
        Some(false) => Ok(Value::None),
        _ => Err(end()),
    }
}

pub(super) fn deliver(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    let reader = Reader::new("Deliver", args.get(0));
    let mut reply = reply_options(Function::Accept, args.options(0))?;
    if let Some(text) = reader.get("reason") {
        reply.reason = reason(&text);
    }
    let mut copy = turn.copy(reader)?;
    copy.in_line = reader.boolean("queue") == Some(false);
    let action = Action {
        outcome: Outcome::Deliver,
        reply,
        copy: Some(copy),
    };
    turn.note(cx, action)?;
    done_unless(reader)
}

pub(super) fn quarantine(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    let reader = Reader::new("Quarantine", args.get(1));
    let (function, outcome) = match reader.boolean("reject") {
        Some(false) => (Function::Accept, Outcome::Quarantine),
        _ => (Function::Reject, Outcome::Reject),
    };
    let mut reply = reply_options(function, args.options(1))?;
    reply.disconnect = false;
    if let Some(text) = reader.get("reason") {
        reply.reason = reason(&text);
    }
    let mut copy = turn.copy(reader)?;
    copy.wish.hold = true;
    let id = Pairs::new([(Text::from("quarantineid"), Text::from(args.bytes(0)))]);
    let id = id.map_err(|error| Throw::error(format!("Quarantine: {error}")))?;
    copy.wish.metadata = merged("Quarantine", &copy.wish.metadata, &id)?;
    let action = Action {
        outcome,
        reply,
        copy: Some(copy),
    };
    turn.note(cx, action)?;
    done_unless(reader)
}

pub(super) fn reject(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    refuse(cx, &args, Function::Reject, Outcome::Reject)
}

pub(super) fn defer(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    refuse(cx, &args, Function::Defer, Outcome::Defer)
}

fn refuse(cx: &mut Cx<'_>, args: &Args<'_>, function: Function, outcome: Outcome) -> Answer {
    let mut reply = reply_options(function, args.options(1))?;
    reply.reason = reason(args.get(0));
    Turn::of(cx)?.note(cx, Action::bare(outcome, reply))?;
    Err(end())
}

pub(super) fn delete(cx: &mut Cx<'_>, _: Args<'_>) -> Answer {
    let action = Action::bare(Outcome::Delete, Default::default());
    Turn::of(cx)?.note(cx, action)?;
    Err(end())
}

pub(super) fn done(_: &mut Cx<'_>, _: Args<'_>) -> Answer {
    Err(end())
}

impl Turn {
    /// The copy that the options of Deliver and Quarantine describe.
    ///
    /// # Errors
    /// An Exception for options that cannot be, and for a transport that there is not.
    pub fn copy(&self, reader: Reader<'_>) -> Result<Copy, Throw> {
        let routing = self.routing.borrow();
        let function = reader.function();
        let recipient = match reader.get("recipient") {
            Some(other) => envelope::mailbox(&other, &format!("{function}: option recipient"))?,
            None => routing.recipient.clone(),
        };
        let transport_id = match reader.text("transportid")? {
            Some(other) => other.to_str().into_owned(),
            None => routing.transport_id.clone(),
        };
        if !self.transports.contains(&transport_id) {
            return Err(unknown_transport(function, &transport_id));
        }
        let metadata = match reader.pairs("metadata")? {
            Some(more) => merged(function, &routing.metadata, &more)?,
            None => routing.metadata.clone(),
        };
        let jobid = reader.text("jobid")?.filter(|text| !text.is_empty());
        Ok(Copy {
            wish: Wish {
                sender: routing.sender.clone(),
                recipient,
                transport_id,
                metadata,
                hold: false,
                jobid,
                tenantid: None,
                priority: None,
                requiretls: false,
                quotas: reader.texts("quotas")?,
                delay: reader.seconds("delay")?.unwrap_or(routing.delay),
                // What MAIL and RCPT asked for is filled in when the copy is made.
                dsn: DsnRequest::default(),
            },
            edits: self.mail.edits(),
            sender_ip: routing.sender_ip,
            helo: routing.helo.clone(),
            in_line: false,
        })
    }
}

/// Pairs with others that win.
fn merged(function: &str, pairs: &Pairs, more: &Pairs) -> Result<Pairs, Throw> {
    let all: BTreeMap<Text, Text> = pairs
        .iter()
        .chain(more.iter())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Pairs::new(all).map_err(|error| Throw::error(format!("{function}: {error}")))
}

/// The value as it was taken, or none.
fn taken<T: std::fmt::Display>(value: Result<T, Throw>, set: impl FnOnce(T)) -> Answer {
    let Ok(value) = value else {
        return Ok(Value::None);
    };
    let text = value.to_string();
    set(value);
    Ok(text.as_str().into())
}

pub(super) fn set_recipient(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    taken(
        envelope::mailbox(args.get(0), "SetRecipient"),
        |recipient| turn.routing.borrow_mut().recipient = recipient,
    )
}

pub(super) fn set_sender(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    taken(envelope::reverse_path(args.get(0), "SetSender"), |sender| {
        turn.routing.borrow_mut().sender = sender
    })
}

pub(super) fn set_sender_ip(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    let address = String::from_utf8_lossy(args.bytes(0)).parse();
    taken(
        address.map_err(|_| Throw::error("SetSenderIP")),
        |address| turn.routing.borrow_mut().sender_ip = address,
    )
}

pub(super) fn set_sender_helo(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    let name = String::from_utf8_lossy(args.bytes(0)).into_owned();
    if !is_greeting_name(&name) {
        return Ok(Value::None);
    }
    turn.routing.borrow_mut().helo = Some(name);
    Ok(args.get(0).clone())
}

pub(super) fn set_transport(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    let id = String::from_utf8_lossy(args.bytes(0)).into_owned();
    if !turn.transports.contains(&id) {
        return Err(unknown_transport("SetMailTransport", &id));
    }
    turn.routing.borrow_mut().transport_id = id;
    Ok(Value::None)
}

pub(super) fn set_delay(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let given = Value::from(
        vec![(Key::from("delay"), args.get(0).clone())]
            .into_iter()
            .collect::<Array>(),
    );
    let delay = Reader::new("SetDelayedDeliver", &given).seconds("delay")?;
    Turn::of(cx)?.routing.borrow_mut().delay = delay.unwrap_or_default();
    Ok(Value::None)
}

pub(super) fn set_metadata(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let metadata = pairs("SetMetaData", args.get(0))?;
    Turn::of(cx)?.routing.borrow_mut().metadata = metadata;
    Ok(Value::None)
}

pub(super) fn get_metadata(cx: &mut Cx<'_>, _: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    let routing = turn.routing.borrow();
    let pairs = routing.metadata.iter();
    let array: Array = pairs
        .map(|(name, value)| {
            let key = Key::from_string(Str::new(name.as_bytes()));
            (key, Value::bytes(value.as_bytes()))
        })
        .collect();
    Ok(array.into())
}

pub(super) fn mail_message(cx: &mut Cx<'_>, _: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    Ok(message::object(
        cx.library,
        turn.mail.message(),
        "MailMessage",
    ))
}

pub(super) fn mail_file(cx: &mut Cx<'_>, args: Args<'_>) -> Answer {
    let turn = Turn::of(cx)?;
    let content = turn.mail.message().content();
    if !args.options(0).boolean("changes", false) {
        return file::object(cx, Arc::new(SourceData(content.source)), 0);
    }
    let new = turn.mail.message().message().new_bytes();
    cx.reserve(new)?;
    let now = i64::try_from(cx.host.clock.unix().as_secs()).unwrap_or(i64::MAX);
    let changed = Modified::new(content.source, content.edits, now)
        .map_err(|error| Throw::error(format!("GetMailFile: {error}")))?;
    file::object(cx, Arc::new(SourceData(changed)), new)
}
