//! The form in which the spool stores an item.
//!
//! ```text
//! item  = version:u8 field*
//! field = tag:u8 length:varint content
//! ```
//!
//! Absent fields take no room. Numbers are little-endian base-128 varints. A tag that this version
//! does not know is an error: an older program must not load an item, lose what it does not
//! understand and write the rest back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use uuid::Uuid;

use crate::dsn::{Notify, Ret};
use crate::item::{Address, ContentRef, Item, ItemId, Pairs, Priority, TooLarge};
use crate::text::{Interner, Text};
use crate::time::Timestamp;

/// The most bytes that an encoded item may have.
pub const MAX_ENCODED: usize = 1024 * 1024;

const VERSION: u8 = 1;

/// The reason why bytes are not an item.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("the item ends in the middle of a field")]
    Truncated,
    /// More bytes than an item can have.
    #[error("an item of {0} bytes is too large")]
    TooLarge(usize),
    /// Written by a version that this program does not know.
    #[error("version {0} of the item format is not known")]
    Version(u8),
    /// A field that this program does not know.
    #[error("field {0} of an item is not known")]
    UnknownField(u8),
    /// A field with a content that its type does not allow.
    #[error("field {0} of an item has a bad value")]
    BadField(u8),
    /// A field that every item has is missing.
    #[error("field {0} of an item is missing")]
    Missing(u8),
}

/// The tags. A tag is never given a second meaning; a new field takes the next number.
mod tag {
    pub const TRANSACTION: u8 = 1;
    pub const QUEUE: u8 = 2;
    pub const RECEIVED: u8 = 3;
    pub const AGING_FROM: u8 = 4;
    pub const HELD_SINCE: u8 = 5;
    pub const REPRIEVE: u8 = 6;
    pub const SERVERID: u8 = 7;
    pub const SENDERIP: u8 = 8;
    pub const SENDERHELO: u8 = 9;
    pub const SASLUSERNAME: u8 = 10;
    pub const SENDER_LOCALPART: u8 = 11;
    pub const SENDER_DOMAIN: u8 = 12;
    pub const SENDER_PARAM: u8 = 13;
    pub const RECIPIENT_LOCALPART: u8 = 14;
    pub const RECIPIENT_DOMAIN: u8 = 15;
    pub const RECIPIENT_PARAM: u8 = 16;
    pub const TRANSPORTID: u8 = 17;
    pub const TENANTID: u8 = 18;
    pub const JOBID: u8 = 19;
    pub const STAGEID: u8 = 20;
    pub const PRIORITY: u8 = 21;
    pub const SIZE: u8 = 22;
    pub const SUBJECT: u8 = 23;
    pub const METADATA: u8 = 24;
    pub const QUOTA: u8 = 25;
    pub const ENVID: u8 = 26;
    pub const RET: u8 = 27;
    pub const NOTIFY: u8 = 28;
    pub const ORCPT: u8 = 29;
    pub const HOLD: u8 = 30;
    pub const RETRYCOUNT: u8 = 31;
    pub const RETRYTS: u8 = 32;
    pub const RETRYREASON: u8 = 33;
    pub const NOTIFIED: u8 = 34;
    pub const CONTENT: u8 = 35;
    pub const EDITS: u8 = 36;
    pub const WAITS_BY: u8 = 37;
}

impl Item {
    /// Writes the item as the blob that the spool stores.
    ///
    /// # Errors
    /// The item's strings are more than [`MAX_ENCODED`] bytes.
    pub fn encode(&self) -> Result<Vec<u8>, TooLarge> {
        let mut w = Writer {
            out: Vec::with_capacity(512),
        };
        w.out.push(VERSION);
        w.bytes(tag::TRANSACTION, self.id.transaction.as_bytes());
        w.number(tag::QUEUE, self.id.queue);
        w.time(tag::RECEIVED, self.received);
        if self.aging_from != self.received {
            w.time(tag::AGING_FROM, self.aging_from);
        }
        w.optional_time(tag::HELD_SINCE, self.held_since);
        w.optional_time(tag::REPRIEVE, self.reprieve);
        w.text(tag::SERVERID, &self.serverid);
        match self.senderip {
            Some(IpAddr::V4(ip)) => w.bytes(tag::SENDERIP, &ip.octets()),
            Some(IpAddr::V6(ip)) => w.bytes(tag::SENDERIP, &ip.octets()),
            None => {}
        }
        w.optional_text(tag::SENDERHELO, &self.senderhelo);
        w.optional_text(tag::SASLUSERNAME, &self.saslusername);
        w.text(tag::SENDER_LOCALPART, &self.sender.localpart);
        w.text(tag::SENDER_DOMAIN, &self.sender.domain);
        w.pairs(tag::SENDER_PARAM, &self.senderparams);
        w.text(tag::RECIPIENT_LOCALPART, &self.recipient.localpart);
        w.text(tag::RECIPIENT_DOMAIN, &self.recipient.domain);
        w.pairs(tag::RECIPIENT_PARAM, &self.recipientparams);
        w.text(tag::TRANSPORTID, &self.transportid);
        w.optional_text(tag::TENANTID, &self.tenantid);
        w.optional_text(tag::JOBID, &self.jobid);
        w.optional_text(tag::STAGEID, &self.stageid);
        w.nonzero(tag::PRIORITY, self.priority.number());
        w.nonzero(tag::SIZE, self.size);
        w.optional_text(tag::SUBJECT, &self.subject);
        w.pairs(tag::METADATA, &self.metadata);
        for quota in &self.quotas {
            w.bytes(tag::QUOTA, quota.as_bytes());
        }
        w.optional_text(tag::ENVID, &self.dsn.envid);
        if let Some(ret) = self.dsn.ret {
            w.number(tag::RET, u64::from(ret == Ret::Full));
        }
        if let Some(notify) = self.dsn.notify {
            w.number(tag::NOTIFY, u64::from(notify.bits()));
        }
        w.optional_text(tag::ORCPT, &self.dsn.orcpt);
        w.nonzero(tag::HOLD, u64::from(self.hold));
        w.nonzero(tag::RETRYCOUNT, u64::from(self.retrycount));
        w.optional_time(tag::RETRYTS, self.retryts);
        w.optional_text(tag::RETRYREASON, &self.retryreason);
        w.nonzero(tag::NOTIFIED, self.notified);
        if !self.content.0.is_empty() {
            w.bytes(tag::CONTENT, &self.content.0);
        }
        if let Some(edits) = &self.edits {
            w.bytes(tag::EDITS, &edits.0);
        }
        w.optional_text(tag::WAITS_BY, &self.waits_by);
        match w.out.len() {
            size if size > MAX_ENCODED => Err(TooLarge {
                what: "an item",
                size,
                limit: MAX_ENCODED,
            }),
            _ => Ok(w.out),
        }
    }

    /// Reads an item that [`Item::encode`] wrote; strings that repeat are shared by `interner`.
    ///
    /// # Errors
    /// The bytes are not such an item; any bytes are safe.
    pub fn decode(bytes: &[u8], interner: &mut Interner) -> Result<Item, DecodeError> {
        if bytes.len() > MAX_ENCODED {
            return Err(DecodeError::TooLarge(bytes.len()));
        }
        let mut r = Reader { rest: bytes };
        match r.byte()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let mut transaction = None;
        let mut queue = None;
        let mut received = None;
        let mut aging_from = None;
        let mut transportid = None;
        let mut item = Item::new(
            ItemId {
                transaction: Uuid::nil(),
                queue: 0,
            },
            Timestamp::ZERO,
            Address::default(),
            Address::default(),
            Text::default(),
        );
        let mut senderparams = Vec::new();
        let mut recipientparams = Vec::new();
        let mut metadata = Vec::new();
        let mut quotas = Vec::new();
        while !r.rest.is_empty() {
            let tag = r.byte()?;
            let content = r.sized()?;
            let field = Field { tag, content };
            match tag {
                tag::TRANSACTION => {
                    let bytes = content.try_into().map_err(|_| DecodeError::BadField(tag))?;
                    transaction = Some(Uuid::from_bytes(bytes));
                }
                tag::QUEUE => queue = Some(field.number()?),
                tag::RECEIVED => received = Some(field.time()?),
                tag::AGING_FROM => aging_from = Some(field.time()?),
                tag::HELD_SINCE => item.held_since = Some(field.time()?),
                tag::REPRIEVE => item.reprieve = Some(field.time()?),
                tag::SERVERID => item.serverid = interner.text(content),
                tag::SENDERIP => item.senderip = Some(field.ip()?),
                tag::SENDERHELO => item.senderhelo = Some(interner.text(content)),
                tag::SASLUSERNAME => item.saslusername = Some(interner.text(content)),
                tag::SENDER_LOCALPART => item.sender.localpart = interner.text(content),
                tag::SENDER_DOMAIN => item.sender.domain = interner.text(content),
                tag::SENDER_PARAM => senderparams.push(field.pair()?),
                tag::RECIPIENT_LOCALPART => item.recipient.localpart = Text::from(content),
                tag::RECIPIENT_DOMAIN => item.recipient.domain = interner.text(content),
                tag::RECIPIENT_PARAM => recipientparams.push(field.pair()?),
                tag::TRANSPORTID => transportid = Some(interner.text(content)),
                tag::TENANTID => item.tenantid = Some(interner.text(content)),
                tag::JOBID => item.jobid = Some(interner.text(content)),
                tag::STAGEID => item.stageid = Some(interner.text(content)),
                tag::PRIORITY => {
                    item.priority =
                        Priority::from_number(field.number()?).ok_or(DecodeError::BadField(tag))?;
                }
                tag::SIZE => item.size = field.number()?,
                tag::SUBJECT => item.subject = Some(Text::from(content)),
                tag::METADATA => metadata.push(field.pair()?),
                tag::QUOTA => quotas.push(interner.text(content)),
                tag::ENVID => item.dsn.envid = Some(Text::from(content)),
                tag::RET => {
                    item.dsn.ret = Some(if field.flag()? { Ret::Full } else { Ret::Hdrs });
                }
                tag::NOTIFY => {
                    let bits = u8::try_from(field.number()?)
                        .ok()
                        .and_then(Notify::from_bits);
                    item.dsn.notify = Some(bits.ok_or(DecodeError::BadField(tag))?);
                }
                tag::ORCPT => item.dsn.orcpt = Some(Text::from(content)),
                tag::HOLD => item.hold = field.flag()?,
                tag::RETRYCOUNT => {
                    item.retrycount =
                        u32::try_from(field.number()?).map_err(|_| DecodeError::BadField(tag))?;
                }
                tag::RETRYTS => item.retryts = Some(field.time()?),
                tag::RETRYREASON => item.retryreason = Some(interner.text(content)),
                tag::NOTIFIED => item.notified = field.number()?,
                tag::CONTENT => item.content = ContentRef(content.into()),
                tag::EDITS => item.edits = Some(ContentRef(content.into())),
                tag::WAITS_BY => item.waits_by = Some(interner.text(content)),
                unknown => return Err(DecodeError::UnknownField(unknown)),
            }
        }
        item.id = ItemId {
            transaction: transaction.ok_or(DecodeError::Missing(tag::TRANSACTION))?,
            queue: queue.ok_or(DecodeError::Missing(tag::QUEUE))?,
        };
        item.received = received.ok_or(DecodeError::Missing(tag::RECEIVED))?;
        item.aging_from = aging_from.unwrap_or(item.received);
        item.transportid = transportid.ok_or(DecodeError::Missing(tag::TRANSPORTID))?;
        item.quotas = quotas.into();
        let pairs = |list, tag| Pairs::new(list).map_err(|_| DecodeError::BadField(tag));
        item.senderparams = pairs(senderparams, tag::SENDER_PARAM)?;
        item.recipientparams = pairs(recipientparams, tag::RECIPIENT_PARAM)?;
        item.metadata = pairs(metadata, tag::METADATA)?;
        // The other strings were shared as they were read.
        item.share_metadata(interner);
        Ok(item)
    }
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }

    fn bytes(&mut self, tag: u8, content: &[u8]) {
        self.out.push(tag);
        self.varint(content.len() as u64);
        self.out.extend_from_slice(content);
    }

    fn text(&mut self, tag: u8, text: &Text) {
        self.bytes(tag, text.as_bytes());
    }

    fn optional_text(&mut self, tag: u8, text: &Option<Text>) {
        if let Some(text) = text {
            self.text(tag, text);
        }
    }

    fn number(&mut self, tag: u8, number: u64) {
        self.out.push(tag);
        self.out.push(varint_len(number));
        self.varint(number);
    }

    fn nonzero(&mut self, tag: u8, number: u64) {
        if number != 0 {
            self.number(tag, number);
        }
    }

    fn time(&mut self, tag: u8, time: Timestamp) {
        self.number(tag, time.as_micros());
    }

    fn optional_time(&mut self, tag: u8, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.time(tag, time);
        }
    }

    fn pairs(&mut self, tag: u8, pairs: &Pairs) {
        for (name, value) in pairs.iter() {
            let name_len = u64::from(varint_len(name.len() as u64)) + name.len() as u64;
            self.out.push(tag);
            self.varint(name_len + value.len() as u64);
            self.varint(name.len() as u64);
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(value.as_bytes());
        }
    }
}

/// The number of bytes that a varint takes: one for each seven bits, at least one.
fn varint_len(number: u64) -> u8 {
    (64 - (number | 1).leading_zeros()).div_ceil(7) as u8
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the last bit of the 64.
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Truncated);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeError::Truncated)
    }

    fn sized(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::Truncated)?;
        let (content, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(content)
    }
}

struct Field<'a> {
    tag: u8,
    content: &'a [u8],
}

impl Field<'_> {
    fn bad(&self) -> DecodeError {
        DecodeError::BadField(self.tag)
    }

    fn number(&self) -> Result<u64, DecodeError> {
        let mut reader = Reader { rest: self.content };
        let number = reader.varint().map_err(|_| self.bad())?;
        if reader.rest.is_empty() {
            Ok(number)
        } else {
            Err(self.bad())
        }
    }

    fn flag(&self) -> Result<bool, DecodeError> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad()),
        }
    }

    fn time(&self) -> Result<Timestamp, DecodeError> {
        self.number().map(Timestamp::from_micros)
    }

    fn ip(&self) -> Result<IpAddr, DecodeError> {
        if let Ok(octets) = <[u8; 4]>::try_from(self.content) {
            return Ok(IpAddr::V4(Ipv4Addr::from(octets)));
        }
        let octets = <[u8; 16]>::try_from(self.content).map_err(|_| self.bad())?;
        Ok(IpAddr::V6(Ipv6Addr::from(octets)))
    }

    fn pair(&self) -> Result<(Text, Text), DecodeError> {
        let mut reader = Reader { rest: self.content };
        let name = reader.sized().map_err(|_| self.bad())?;
        Ok((Text::from(name), Text::from(reader.rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsn::DsnRequest;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Text> {
        prop_oneof![
            "[a-z.@=<>-]{0,40}".prop_map(Text::from),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Text::from),
        ]
    }

    fn address() -> impl Strategy<Value = Address> {
        (text(), text()).prop_map(|(localpart, domain)| Address { localpart, domain })
    }

    fn pairs() -> impl Strategy<Value = Pairs> {
        prop::collection::vec((text(), text()), 0..4).prop_map(|list| Pairs::new(list).unwrap())
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        any::<u64>().prop_map(Timestamp::from_micros)
    }

    fn dsn() -> impl Strategy<Value = DsnRequest> {
        let ret = prop::option::of(prop_oneof![Just(Ret::Hdrs), Just(Ret::Full)]);
        let notify = prop::option::of((0u8..8).prop_map(|bits| Notify::from_bits(bits).unwrap()));
        (
            prop::option::of(text()),
            ret,
            notify,
            prop::option::of(text()),
        )
            .prop_map(|(envid, ret, notify, orcpt)| DsnRequest {
                envid,
                ret,
                notify,
                orcpt,
            })
    }

    prop_compose! {
        fn names()(
            serverid in text(),
            senderip in prop::option::of(any::<IpAddr>()),
            optional in prop::collection::vec(prop::option::of(text()), 8),
            quotas in prop::collection::vec(text(), 0..3),
            content in prop::collection::vec(any::<u8>(), 0..20),
            edits in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        ) -> (Text, Option<IpAddr>, Vec<Option<Text>>, Vec<Text>, Vec<u8>, Option<Vec<u8>>) {
            (serverid, senderip, optional, quotas, content, edits)
        }
    }

    prop_compose! {
        fn item()(
            id in (any::<u128>(), any::<u64>()),
            times in (time(), time(), prop::option::of(time()), prop::option::of(time()),
                prop::option::of(time())),
            envelope in (address(), pairs(), address(), pairs(), text()),
            (serverid, senderip, mut optional, quotas, content, edits) in names(),
            flags in (any::<bool>(), any::<bool>(), any::<u32>(), any::<u64>(), any::<u64>()),
            metadata in pairs(),
            dsn in dsn(),
        ) -> Item {
            let id = ItemId { transaction: Uuid::from_u128(id.0), queue: id.1 };
            let (sender, senderparams, recipient, recipientparams, transportid) = envelope;
            Item {
                id,
                received: times.0,
                aging_from: times.1,
                held_since: times.2,
                reprieve: times.3,
                serverid,
                senderip,
                senderhelo: optional.pop().flatten(),
                saslusername: optional.pop().flatten(),
                sender,
                senderparams,
                recipient,
                recipientparams,
                transportid,
                tenantid: optional.pop().flatten(),
                jobid: optional.pop().flatten(),
                stageid: optional.pop().flatten(),
                priority: if flags.0 { Priority::High } else { Priority::Normal },
                size: flags.3,
                subject: optional.pop().flatten(),
                metadata,
                quotas: quotas.into(),
                dsn,
                hold: flags.1,
                retrycount: flags.2,
                retryts: times.4,
                retryreason: optional.pop().flatten(),
                notified: flags.4,
                waits_by: optional.pop().flatten(),
                content: ContentRef(content.into()),
                edits: edits.map(|edits| ContentRef(edits.into())),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(item in item()) {
            let bytes = item.encode().unwrap();
            prop_assert_eq!(Item::decode(&bytes, &mut Interner::new()), Ok(item));
        }

        #[test]
        fn any_bytes_give_an_item_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Item::decode(&bytes, &mut Interner::new());
        }

        #[test]
        fn a_damaged_item_gives_an_item_or_an_error(
            item in item(), at in any::<prop::sample::Index>(), value in any::<u8>(),
        ) {
            let mut bytes = item.encode().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = Item::decode(&bytes, &mut Interner::new());
            bytes.truncate(at);
            prop_assert!(Item::decode(&bytes, &mut Interner::new()).as_ref() != Ok(&item));
        }
    }

    fn plain() -> Item {
        Item::new(
            ItemId {
                transaction: Uuid::from_u128(1),
                queue: 2,
            },
            Timestamp::from_secs(3),
            Address::new("a", "b.example"),
            Address::new("c", "d.example"),
            "mx".into(),
        )
    }

    #[test]
    fn the_format_of_version_one_does_not_change() {
        // An item as it lies in the spools of this version: reading it must work for ever.
        let bytes = plain().encode().unwrap();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "0101100000000000000000000000000000000102010203\
             04c08db70107000b01610c09622e6578616d706c650e01630f09642e6578616d706c6511026d78"
        );
    }

    #[test]
    fn a_newer_item_is_refused_and_not_cut_down() {
        let mut bytes = plain().encode().unwrap();
        bytes.extend([200, 1, 0]);
        let decode = |bytes: &[u8]| Item::decode(bytes, &mut Interner::new());
        assert_eq!(decode(&bytes), Err(DecodeError::UnknownField(200)));
        bytes[0] = 9;
        assert_eq!(decode(&bytes), Err(DecodeError::Version(9)));
        assert_eq!(
            decode(&[VERSION]),
            Err(DecodeError::Missing(tag::TRANSACTION))
        );
    }

    #[test]
    fn an_item_that_could_not_be_read_back_is_not_written() {
        let mut item = plain();
        item.jobid = Some(Text::from(vec![b'x'; MAX_ENCODED]));
        assert!(item.encode().is_err());
    }
}
