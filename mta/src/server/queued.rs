//! From a transaction to queue items.

use angarium_mail::header::HeaderBlock;
use angarium_queue::dsn::DsnRequest;
use angarium_queue::item::{Address, Item, ItemId, Pairs, Priority};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_smtp::param::Params;
use angarium_smtp::session::{Envelope, Recipient, Session};
use angarium_smtp::xtext;
use uuid::Uuid;

use super::store::{Change, Queued, StoredMail};
use crate::worker::Worker;

/// Parameters of MAIL that concern one hop only, or that the item keeps elsewhere.
const HOP_MAIL: [&str; 5] = ["SIZE", "AUTH", "RET", "ENVID", "MT-PRIORITY"];
/// The same of RCPT.
const HOP_RCPT: [&str; 2] = ["NOTIFY", "ORCPT"];

/// The copies of a message for every accepted recipient, each on its transport (hooks.md: eod
/// without hook). Queue numbers count from 1.
#[must_use]
pub fn queue_all(worker: &Worker, session: &Session, mail: &StoredMail) -> Vec<Queued> {
    let Some(envelope) = &session.transaction.envelope else {
        return Vec::new();
    };
    let subject = subject(mail);
    (1..)
        .zip(&envelope.recipients)
        .map(|(number, recipient)| {
            let mut item = item(worker, session, envelope, recipient, number, mail.len());
            item.subject.clone_from(&subject);
            Queued {
                item,
                mail: mail.clone(),
                change: Change::None,
            }
        })
        .collect()
}

/// The subject, decoded, for lists of the queue.
#[must_use]
pub fn subject(mail: &StoredMail) -> Option<Text> {
    let header = HeaderBlock::read(&**mail.source()).ok()?;
    header.value(b"subject", 0, true).map(Text::from)
}

/// When the transaction began, as calendar time: its `ts`.
#[must_use]
pub fn began(worker: &Worker, envelope: &Envelope) -> Timestamp {
    let clock = &worker.effects.clock;
    let age = clock.monotonic().0.saturating_sub(envelope.began);
    let micros = clock.unix().saturating_sub(age).as_micros();
    Timestamp::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The item for one recipient as the session knows it; `number` is its queue number within the
/// transaction, `size` the length of the message in bytes.
#[must_use]
pub fn item(
    worker: &Worker,
    session: &Session,
    envelope: &Envelope,
    recipient: &Recipient,
    number: u64,
    size: u64,
) -> Item {
    let transaction = Uuid::try_parse(&session.transaction.id)
        // Our own ids are UUIDs.
        .unwrap_or_else(|_| Uuid::from_bytes(worker.effects.random.transaction_uuid()));
    let id = ItemId {
        transaction,
        queue: number,
    };
    let text = |text: &str| Text::from(text);
    let sender = Address::new(
        text(envelope.sender.localpart()),
        text(envelope.sender.domain()),
    );
    let address = &recipient.address;
    let mut item = Item::new(
        id,
        began(worker, envelope),
        sender,
        Address::new(text(address.localpart()), text(address.domain())),
        text(&recipient.transport_id),
    );
    item.serverid = text(&session.connection.server_id);
    item.senderip = Some(session.connection.remote_ip);
    item.senderhelo = session.helo.as_ref().map(|helo| text(&helo.host));
    item.saslusername = session
        .auth
        .as_ref()
        .and_then(|auth| auth.username.as_deref())
        .map(text);
    // What was granted goes on, not what was asked for.
    let priority = envelope.priority.map(|priority| priority.to_string());
    let priority = priority.as_deref().map(|value| ("MT-PRIORITY", value));
    let kept = envelope.params.pairs();
    item.senderparams = pairs(
        kept.filter(|(name, _)| !HOP_MAIL.contains(name))
            .chain(priority),
    );
    let kept = recipient.params.pairs();
    item.recipientparams = pairs(kept.filter(|(name, _)| !HOP_RCPT.contains(name)));
    if envelope.priority.is_some_and(|priority| priority >= 1) {
        item.priority = Priority::High;
    }
    item.dsn = dsn(&envelope.params, &recipient.params);
    item.size = size;
    item
}

/// What the parameters of MAIL and RCPT ask for by RFC 3461. The machine has checked them.
#[must_use]
pub fn dsn(mail: &Params, rcpt: &Params) -> DsnRequest {
    let value = |params: &Params, name| params.get(name).and_then(|param| param.value.clone());
    let decoded = |value: Option<String>, decode: fn(&str) -> Option<Vec<u8>>| {
        value.and_then(|value| decode(&value)).map(Text::from)
    };
    let orcpt = decoded(value(rcpt, "ORCPT"), xtext::decode_orcpt);
    DsnRequest {
        envid: decoded(value(mail, "ENVID"), xtext::decode),
        ret: value(mail, "RET").and_then(|value| value.parse().ok()),
        notify: value(rcpt, "NOTIFY").and_then(|value| value.parse().ok()),
        orcpt,
    }
}

/// Parameters as an item keeps them. A command line is shorter than what an item may carry, so that
/// nothing is lost.
fn pairs<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> Pairs {
    let texts = params.map(|(name, value)| (Text::from(name), Text::from(value)));
    Pairs::new(texts).unwrap_or_default()
}
