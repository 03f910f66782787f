//! Notifications: from what the queue decided to a message in the spool (RFC 3464, mta.md 4).
//!
//! A notification is a transaction of its own with the null sender. It is written in the same commit
//! as the change to the message that it is about, so that after a crash there are both or neither:
//! no message is lost without a word, none is announced as lost and then delivered. What remains is
//! the window that every mail server has: after a crash the message may be tried, and if it fails
//! again notified, once more.

use angarium_mail::dsn::{
    Action, DiagnosticType, ExtraHeader, Notification, Options, Original, Recipient, Report,
};
use angarium_queue::dsn::{Diagnostic, DsnAction, DsnSpec, Ret};
use angarium_queue::item::{Address, Item, ItemId, Pairs};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_spool::{BodyError, Spool};

use super::attempt::{is_binary, requires_tls};
use super::content::{BodySource, ContentError, Stored, original_header};
use super::settings::{DsnSettings, Settings};
use angarium_mail::source::Source;

/// The longest message that is returned as a whole; of a longer one the header is.
const RETURNED: u64 = 4 << 20;

/// Why a notification cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BounceError {
    /// It cannot be kept.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It is too large for an item.
    #[error(transparent)]
    TooLarge(#[from] angarium_queue::item::TooLarge),
}

/// What is random or of this moment in a notification.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// Its id, unless one was announced.
    pub id: ItemId,
    /// For its Message-ID and boundary.
    pub random: [u8; 16],
    /// The time.
    pub now: Timestamp,
}

/// A notification ready to be written.
pub struct Bounce {
    /// Its item, without content.
    pub item: Item,
    /// Its message.
    pub body: angarium_spool::Body,
    /// Why it is not signed although it should be.
    pub unsigned: Option<String>,
}

/// Builds the notification. It reads the header of the original, so it belongs on the thread pool.
///
/// # Errors
/// There is no memory for it.
pub fn build(
    spool: &Spool,
    settings: &Settings,
    spec: &DsnSpec,
    fresh: Fresh,
) -> Result<Bounce, BounceError> {
    let defaults = settings.dsn.get(&spec.original.transportid);
    let defaults = defaults.map(AsRef::as_ref);
    let mut notification = message(spool, settings, defaults, spec, fresh);
    let signer = spec.options.dkim.as_ref();
    let signer = signer.or_else(|| defaults?.dkim.as_ref());
    let mut unsigned = None;
    match signer.map(|signer| signer.0.sign(&notification.message)) {
        Some(Ok(field)) => {
            notification.message.splice(0..0, field);
        }
        // A notification without a signature is better than none.
        Some(Err(why)) => unsigned = Some(why),
        None => {}
    }
    let body = spool.body(&notification.message)?;
    let mut item = Item::new(
        spec.id.unwrap_or(fresh.id),
        fresh.now,
        Address::default(),
        spec.recipient.clone(),
        spec.transportid.clone(),
    );
    let word =
        |set: bool, name: &str, value: &str| set.then(|| (Text::from(name), Text::from(value)));
    let params = [
        word(notification.eight_bit, "BODY", "8BITMIME"),
        word(notification.smtputf8, "SMTPUTF8", ""),
        word(requires_tls(&spec.original), "REQUIRETLS", ""),
    ];
    item.senderparams = Pairs::new(params.into_iter().flatten())?;
    item.serverid = spec.original.serverid.clone();
    item.jobid = spec.options.jobid.clone();
    item.tenantid = spec.options.tenantid.clone();
    item.size = body.length();
    let given = spec.options.metadata.iter().flat_map(Pairs::iter);
    let original = spec.original.id;
    let own = [
        ("_original_message_id", original.transaction.to_string()),
        ("_original_queue_id", original.queue.to_string()),
    ];
    let own = own.map(|(name, value)| (Text::from(name), Text::from(value)));
    let given = given.map(|(name, value)| (name.clone(), value.clone()));
    item.metadata = Pairs::new(given.chain(own))?;
    Ok(Bounce {
        item,
        body,
        unsigned,
    })
}

fn message(
    spool: &Spool,
    settings: &Settings,
    defaults: Option<&DsnSettings>,
    spec: &DsnSpec,
    fresh: Fresh,
) -> Notification {
    let none = DsnSettings::default();
    let defaults = defaults.unwrap_or(&none);
    let options = &spec.options;
    let returned = returned(spool, defaults, spec);
    let seconds = |time: Timestamp| i64::try_from(time.as_micros() / 1_000_000).unwrap_or(i64::MAX);
    let text = |text: &Option<Text>| text.as_ref().map(Text::to_string);
    let (envid, orcpt) = (text(&spec.request.envid), text(&spec.request.orcpt));
    let from = options
        .from
        .as_ref()
        .map(|from| from.to_string())
        .or_else(|| defaults.from.clone())
        .or_else(|| settings.postmaster.clone());
    let from_name = text(&options.from_name).or_else(|| defaults.from_name.clone());
    let subject = text(&options.subject).or_else(|| defaults.subject.clone());
    let prepend = text(&options.subject_prepend).or_else(|| defaults.subject_prepend.clone());
    let remote = text(&spec.remote_mta);
    let mut headers: Vec<ExtraHeader> = options
        .headers
        .iter()
        // Checked when the script gave it; one that is damaged since is left out.
        .filter_map(|line| ExtraHeader::parse(line.as_bytes()).ok())
        .collect();
    headers.extend(defaults.headers.iter().cloned());
    let (address, to) = (
        spec.original.recipient.to_string(),
        spec.recipient.to_string(),
    );
    let received_from = match (&spec.original.senderhelo, spec.original.senderip) {
        (Some(helo), Some(ip)) => Some((helo.to_string(), ip.to_string())),
        _ => None,
    };
    let status = spec.status;
    let recipient = Recipient {
        address: &address,
        original: orcpt.as_deref(),
        status: [status.class, status.subject, status.detail],
        diagnostic: spec.diagnostic.as_ref().map(|diagnostic| match diagnostic {
            Diagnostic::Smtp(text) => (DiagnosticType::Smtp, text.as_str()),
            Diagnostic::Error(text) => (DiagnosticType::XError, text.as_str()),
        }),
        remote_mta: remote.as_deref(),
        command: spec.in_reply_to,
        last_attempt: spec.last_attempt.map(seconds),
        will_retry_until: spec.will_retry_until.map(seconds),
    };
    Report {
        action: match spec.action {
            DsnAction::Failed => Action::Failed,
            DsnAction::Delayed => Action::Delayed,
            DsnAction::Delivered => Action::Delivered,
            DsnAction::Relayed => Action::Relayed,
        },
        recipients: &[recipient],
        original: Original {
            header: &returned.header,
            message: returned.message.as_deref(),
            ret_full: spec.request.ret == Some(Ret::Full) && !header_only(&spec.original),
            smtputf8: spec.original.senderparams.get("SMTPUTF8").is_some(),
            envelope_id: envid.as_deref(),
            arrival: Some(seconds(spec.original.received)),
            received_from: received_from
                .as_ref()
                .map(|(helo, ip)| (helo.as_str(), ip.as_str())),
        },
        to: &to,
        hostname: &settings.hostname,
        now: seconds(fresh.now),
        random: fresh.random,
        options: Options {
            from: from.as_deref(),
            from_name: from_name.as_deref(),
            subject: subject.as_deref(),
            subject_prepend: prepend.as_deref(),
            headers: &headers,
            readable_mimepart: options.readable_mimepart.as_ref().map(Text::as_bytes),
            original_headers: options.original_headers.or(defaults.original_headers),
            original_message: options.original_message.or(defaults.original_message),
        },
    }
    .build()
}

/// What of the original is at hand for its notification.
#[derive(Default)]
struct Returned {
    header: Vec<u8>,
    message: Option<Vec<u8>>,
}

/// Reads what may be returned. A message that cannot be read any more is notified all the same,
/// without it.
fn returned(spool: &Spool, defaults: &DsnSettings, spec: &DsnSpec) -> Returned {
    let Ok(stored) = Stored::of(&spec.original) else {
        return Returned::default();
    };
    let option = spec.options.original_message.or(defaults.original_message);
    let by_ret = spec.request.ret == Some(Ret::Full) && spec.action == DsnAction::Failed;
    let full = option.unwrap_or(by_ret) && !header_only(&spec.original);
    let message = if full { whole(spool, &stored) } else { None };
    Returned {
        header: original_header(spool, &stored).unwrap_or_default(),
        message,
    }
}

/// Whether of this message no more than the header is ever returned: a protected one would show its
/// content on a way that may not be protected (RFC 8689 §5), a binary one cannot be part of a
/// notification that is lines.
fn header_only(item: &Item) -> bool {
    requires_tls(item) || is_binary(item)
}

fn whole(spool: &Spool, stored: &Stored) -> Option<Vec<u8>> {
    let (Stored::Plain(body) | Stored::Edited(body, _) | Stored::Replaced { original: body, .. }) =
        stored;
    if body.length > RETURNED {
        return None;
    }
    let source: Result<BodySource, ContentError> =
        BodySource::open(spool, *body).map_err(ContentError::from);
    source.ok()?.read_range(0..body.length).ok()
}
