//! What the queue knows about one recipient's copy of a message.
//!
//! An item is small and lives in memory; the content stays in the spool, which the item refers to
//! by opaque [`ContentRef`]s. [`Item::encode`](crate::codec) writes it as the blob that the spool
//! stores.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use triomphe::ThinArc;
use uuid::Uuid;

use crate::dsn::DsnRequest;
use crate::text::{Interner, Text};
use crate::time::Timestamp;

/// The name of an item: the transaction that brought it and its number in there.
///
/// Written `UUID:N` in logs and tools.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId {
    /// The transaction id that the client got in the reply to its message.
    pub transaction: Uuid,
    /// The queue number within the transaction.
    pub queue: u64,
}

/// The reason why a text is not an item id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a queue id of the form UUID:N")]
pub struct BadItemId;

impl FromStr for ItemId {
    type Err = BadItemId;

    fn from_str(text: &str) -> Result<Self, BadItemId> {
        let (transaction, queue) = text.split_once(':').ok_or(BadItemId)?;
        if !queue.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadItemId);
        }
        Ok(ItemId {
            transaction: Uuid::try_parse(transaction).map_err(|_| BadItemId)?,
            queue: queue.parse().map_err(|_| BadItemId)?,
        })
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transaction, self.queue)
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A mailbox in its two parts, in the case in which it was given. Both empty: the null path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address {
    /// The local part, unquoted.
    pub localpart: Text,
    /// The domain, or an address literal in its brackets.
    pub domain: Text,
}

impl Address {
    /// Makes an address from its parts.
    pub fn new(localpart: impl Into<Text>, domain: impl Into<Text>) -> Self {
        Address {
            localpart: localpart.into(),
            domain: domain.into(),
        }
    }

    /// Whether this is the null reverse-path `<>`.
    pub fn is_null(&self) -> bool {
        self.localpart.is_empty() && self.domain.is_empty()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain.is_empty() {
            write!(f, "{}", self.localpart)
        } else {
            write!(f, "{}@{}", self.localpart, self.domain)
        }
    }
}

/// The pick-up class of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Priority 0.
    #[default]
    Normal,
    /// Priority 1: picked up before every item of priority 0 that is not blocked.
    High,
}

impl Priority {
    /// The number that scripts and the control API use.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// The class with that number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Priority::Normal),
            1 => Some(Priority::High),
            _ => None,
        }
    }
}

/// A list of names with values in the order given: metadata, or the parameters of an address.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pairs(Option<ThinArc<(), (Text, Text)>>);

/// The complaint about strings that are too much for an item.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{what} of {size} bytes is more than the {limit} that a queued message may carry")]
pub struct TooLarge {
    /// What is too large.
    pub what: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// The limit in bytes.
    pub limit: usize,
}

impl Pairs {
    /// The most bytes of names and values together.
    pub const LIMIT: usize = 256 * 1024;

    /// Makes a list. A name that occurs twice keeps its first place and takes its last value.
    ///
    /// # Errors
    /// More than [`Pairs::LIMIT`] bytes in all.
    pub fn new(pairs: impl IntoIterator<Item = (Text, Text)>) -> Result<Self, TooLarge> {
        let mut list: indexmap::IndexMap<Text, Text> = indexmap::IndexMap::new();
        let mut size = 0usize;
        for (name, value) in pairs {
            size = size.saturating_add(name.len()).saturating_add(value.len());
            if size > Self::LIMIT {
                return Err(TooLarge {
                    what: "metadata",
                    size,
                    limit: Self::LIMIT,
                });
            }
            list.insert(name, value);
        }
        Ok(Pairs::of(list.into_iter()))
    }

    /// No list at all if there is nothing in it.
    fn of(pairs: impl ExactSizeIterator<Item = (Text, Text)>) -> Pairs {
        let some = pairs.len() > 0;
        Pairs(some.then(|| ThinArc::from_header_and_iter((), pairs)))
    }

    fn list(&self) -> &[(Text, Text)] {
        self.0.as_ref().map_or(&[], |list| &list.slice)
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.list()
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// Bytes on the heap without the texts: the count, the length and the places.
    fn own_size(&self) -> usize {
        match self.list() {
            [] => 0,
            list => 2 * size_of::<usize>() + size_of_val(list),
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Text)> {
        self.list().iter().map(|(name, value)| (name, value))
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// A reference into the spool, whose meaning only the spool knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct ContentRef(pub Box<[u8]>);

/// One recipient's copy of a message.
///
/// Everything in here is written to the spool. What belongs to one attempt only (the route, what
/// `Try` set) is kept by the [scheduler](crate::scheduler).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Transaction id and queue number.
    pub id: ItemId,
    /// When the transaction began: `ts`.
    pub received: Timestamp,
    /// From when `retry.maxage` counts: reception, moved on by time spent in HOLD.
    pub aging_from: Timestamp,
    /// When the item entered HOLD, while it is there; `hold.maxage` counts from it.
    pub held_since: Option<Timestamp>,
    /// Set when a script queued an item again although its age had passed: the age is next
    /// checked at this time.
    pub reprieve: Option<Timestamp>,
    /// The server that received the message.
    pub serverid: Text,
    /// The client's address.
    pub senderip: Option<IpAddr>,
    /// The client's HELO name.
    pub senderhelo: Option<Text>,
    /// The user that the client authenticated as.
    pub saslusername: Option<Text>,
    /// The envelope sender.
    pub sender: Address,
    /// Parameters of MAIL to be used on delivery, names in upper case.
    pub senderparams: Pairs,
    /// The envelope recipient.
    pub recipient: Address,
    /// Parameters of RCPT to be used on delivery, names in upper case.
    pub recipientparams: Pairs,
    /// The transport.
    pub transportid: Text,
    /// The tenant.
    pub tenantid: Option<Text>,
    /// The job.
    pub jobid: Option<Text>,
    /// The live stage whose scripts handle the item.
    pub stageid: Option<Text>,
    /// The pick-up class.
    pub priority: Priority,
    /// Size of the message as it will be sent, in bytes.
    pub size: u64,
    /// The subject, for lists and filters.
    pub subject: Option<Text>,
    /// The metadata that scripts read and write.
    pub metadata: Pairs,
    /// Quotas that count this item.
    pub quotas: Box<[Text]>,
    /// What the sender asked for by RFC 3461.
    pub dsn: DsnRequest,
    /// Whether the item is on hold.
    pub hold: bool,
    /// Attempts counted so far: `retry`.
    pub retrycount: u32,
    /// When the next attempt is due; none: at once.
    pub retryts: Option<Timestamp>,
    /// Why the last attempt did not succeed.
    pub retryreason: Option<Text>,
    /// The retry intervals for which a delayed notice was sent, as bits (the 64th and later share
    /// the last bit).
    pub notified: u64,
    /// Who made it wait as it does, on hold or for its time: a script with its line, an operator, a
    /// setting. None: it came so.
    pub waits_by: Option<Text>,
    /// The message as received.
    pub content: ContentRef,
    /// The changes made to it, or the changed copy.
    pub edits: Option<ContentRef>,
}

impl Item {
    /// Makes an item with the fields that every item has; the others are empty.
    pub fn new(
        id: ItemId,
        received: Timestamp,
        sender: Address,
        recipient: Address,
        transportid: Text,
    ) -> Self {
        Item {
            id,
            received,
            aging_from: received,
            held_since: None,
            reprieve: None,
            serverid: Text::default(),
            senderip: None,
            senderhelo: None,
            saslusername: None,
            sender,
            senderparams: Pairs::default(),
            recipient,
            recipientparams: Pairs::default(),
            transportid,
            tenantid: None,
            jobid: None,
            stageid: None,
            priority: Priority::Normal,
            size: 0,
            subject: None,
            metadata: Pairs::default(),
            quotas: Box::default(),
            dsn: DsnRequest::default(),
            hold: false,
            retrycount: 0,
            retryts: None,
            retryreason: None,
            notified: 0,
            waits_by: None,
            content: ContentRef::default(),
            edits: None,
        }
    }

    /// How old the item is for `retry.maxage`: time in HOLD does not count.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.held_since.unwrap_or(now).since(self.aging_from)
    }

    /// Marks the item as held from `now`, or from when it was held already.
    pub fn put_on_hold(&mut self, now: Timestamp) {
        self.hold = true;
        self.held_since.get_or_insert(now);
        self.retryts = None;
    }

    /// Ends a hold, if there was one, so that its time is not counted as age.
    pub fn end_hold(&mut self, now: Timestamp) {
        self.hold = false;
        if let Some(since) = self.held_since.take() {
            self.aging_from = self.aging_from.after(now.since(since));
        }
    }

    /// Makes the strings that repeat from item to item share their buffers with other items.
    pub fn share(&mut self, interner: &mut Interner) {
        interner.share(&mut self.serverid);
        interner.share(&mut self.transportid);
        interner.share(&mut self.sender.localpart);
        interner.share(&mut self.sender.domain);
        interner.share(&mut self.recipient.domain);
        let optional = [
            &mut self.senderhelo,
            &mut self.saslusername,
            &mut self.tenantid,
            &mut self.jobid,
            &mut self.stageid,
            &mut self.retryreason,
            &mut self.waits_by,
        ];
        optional
            .into_iter()
            .flatten()
            .for_each(|text| interner.share(text));
        self.quotas
            .iter_mut()
            .for_each(|quota| interner.share(quota));
        self.share_metadata(interner);
    }

    /// The same for metadata alone.
    pub(crate) fn share_metadata(&mut self, interner: &mut Interner) {
        if self.metadata.is_empty() {
            return;
        }
        let shared = self.metadata.iter().map(|(name, value)| {
            let value = match value.len() <= SHARED_VALUE {
                true => interner.text(value.as_bytes()),
                false => value.clone(),
            };
            (interner.text(name.as_bytes()), value)
        });
        self.metadata = Pairs::of(shared);
    }

    /// Calls `visit` with every string of the item.
    pub(crate) fn each_text<'a>(&'a self, mut visit: impl FnMut(&'a Text)) {
        for text in [
            &self.serverid,
            &self.transportid,
            &self.sender.localpart,
            &self.sender.domain,
            &self.recipient.localpart,
            &self.recipient.domain,
        ] {
            visit(text);
        }
        let optional = [
            &self.senderhelo,
            &self.saslusername,
            &self.tenantid,
            &self.jobid,
            &self.stageid,
            &self.subject,
            &self.retryreason,
            &self.dsn.envid,
            &self.dsn.orcpt,
        ];
        optional.into_iter().flatten().for_each(&mut visit);
        self.quotas.iter().for_each(&mut visit);
        for pairs in [&self.metadata, &self.senderparams, &self.recipientparams] {
            for (name, value) in pairs.iter() {
                visit(name);
                visit(value);
            }
        }
    }

    /// Bytes of the item without its strings: the struct and its lists.
    pub(crate) fn own_size(&self) -> usize {
        let pairs =
            [&self.metadata, &self.senderparams, &self.recipientparams].map(Pairs::own_size);
        size_of::<Item>()
            + pairs.iter().sum::<usize>()
            + self.quotas.len() * size_of::<Text>()
            + self.content.0.len()
            + self.edits.as_ref().map_or(0, |edits| edits.0.len())
    }
}

/// Metadata values up to this length are shared; longer ones seldom repeat.
const SHARED_VALUE: usize = 64;

/// The memory that `items` take together, in bytes, each shared string counted once.
pub fn footprint<'a>(items: impl IntoIterator<Item = &'a Item>) -> usize {
    let mut seen = std::collections::HashSet::new();
    let mut total = 0;
    for item in items {
        total += item.own_size();
        item.each_text(|text| {
            if seen.insert(text.address()) {
                total += text.heap_size();
            }
        });
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn ids_are_written_as_uuid_and_number() {
        let text = "5b0f6a6c-6a8e-4d0a-9d6a-0123456789ab:7";
        let id: ItemId = text.parse().unwrap();
        assert_eq!(id.queue, 7);
        assert_eq!(id.to_string(), text);
        for bad in [
            "",
            "5b0f6a6c",
            "x:1",
            "5b0f6a6c-6a8e-4d0a-9d6a-0123456789ab:+1",
        ] {
            assert_eq!(bad.parse::<ItemId>(), Err(BadItemId), "{bad}");
        }
    }

    #[test]
    fn time_on_hold_is_not_age() {
        let secs = |n: u64| Timestamp::from_secs(1_700_000_000 + n);
        let mut item = typical(0);
        assert_eq!(item.age(secs(100)), Duration::from_secs(100));
        item.put_on_hold(secs(100));
        item.put_on_hold(secs(500));
        assert_eq!(item.held_since, Some(secs(100)), "held already");
        assert_eq!(item.age(secs(1000)), Duration::from_secs(100));
        item.end_hold(secs(1000));
        item.end_hold(secs(1000));
        assert_eq!(item.age(secs(1001)), Duration::from_secs(101));
        assert_eq!((item.hold, item.held_since), (false, None));
    }

    #[test]
    fn a_name_given_twice_keeps_its_place_and_takes_the_last_value() {
        let pair = |name: &str, value: &str| (Text::from(name), Text::from(value));
        let pairs = Pairs::new([pair("a", "1"), pair("b", "2"), pair("a", "3")]).unwrap();
        let list: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(list, ["a=3", "b=2"]);
    }

    #[test]
    fn metadata_has_a_limit() {
        let value = Text::from(vec![b'x'; Pairs::LIMIT]);
        let error = Pairs::new([(Text::from("k"), value)]).unwrap_err();
        assert_eq!(error.size, Pairs::LIMIT + 1);
    }

    /// Typical strings of bulk mail: everything but recipient, subject and one value repeats.
    fn typical(n: u64) -> Item {
        let mut item = Item::new(
            ItemId {
                transaction: Uuid::from_u128(u128::from(n) << 64 | 0x4a),
                queue: n,
            },
            Timestamp::from_secs(1_700_000_000 + n),
            Address::new("bounces+newsletter-2024-11", "mail.sender.example"),
            Address::new(
                format!("first.last.{n}"),
                format!("customer{}.example.net", n % 5000),
            ),
            Text::from("bulk-transport"),
        );
        item.serverid = Text::from("submission");
        item.senderip = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        item.senderhelo = Some(Text::from("app-17.internal.sender.example"));
        item.saslusername = Some(Text::from("newsletter@sender.example"));
        item.tenantid = Some(Text::from("tenant-0042"));
        item.jobid = Some(Text::from("campaign-2024-11-black-friday"));
        item.subject = Some(Text::from(format!(
            "Customer {n}, your offers for this week"
        )));
        item.retryreason = Some(Text::from(
            "451 4.7.1 Try again later, you are sending too fast",
        ));
        item.quotas = Box::new([Text::from("tenant-0042")]);
        item.metadata = Pairs::new([
            (Text::from("campaign"), Text::from("2024-11-black-friday")),
            (
                Text::from("message-id"),
                Text::from(format!("{n}.0123456789@sender.example")),
            ),
        ])
        .unwrap();
        item.content = ContentRef(vec![0; 16].into());
        item
    }

    #[test]
    fn an_item_with_typical_strings_takes_less_than_a_kilobyte() {
        let mut interner = Interner::new();
        let items: Vec<_> = (0..10_000)
            .map(|n| {
                let mut item = typical(n);
                item.share(&mut interner);
                item
            })
            .collect();
        let each = footprint(&items) / items.len();
        // The index adds its entry and its places in the maps by id, time and age.
        assert!(size_of::<Item>() <= 312, "struct of {}", size_of::<Item>());
        assert!(each + crate::index::OVERHEAD < 1024, "{each} bytes an item");
    }
}
