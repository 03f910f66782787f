//! Which items a request means: the message `Condition`, laid out once and asked for each item.
//!
//! Different fields must all fit; entries of one field are alternatives; an entry with `exclude` must
//! not fit. The three lists of states are one field.

use std::net::IpAddr;

use angarium_control::proto::{
    CompareDouble, CompareTime, CompareUInt64, Condition, Fields as FieldFlags, Freeze, Queue,
    StringExcludeValue, StringMatch, StringRegexValue, TimeValue, Working, condition, string_match,
    string_regex_value, time_value,
};
use angarium_queue::gate::Field;
use angarium_queue::index::State;
use angarium_queue::item::{Address, ItemId};
use angarium_queue::matcher::{FieldValue, Pattern};
use angarium_queue::policy::Policies;
use angarium_queue::scheduler::View;
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};
use uuid::Uuid;

/// What is around an item.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub policies: &'a Policies,
    pub now: Timestamp,
}

/// A laid out condition.
pub(super) struct Filter {
    /// No condition at all.
    everything: bool,
    states: Vec<(State, Option<bool>)>,
    ids: Choice<(Uuid, u64)>,
    hold: Option<bool>,
    serverids: Choice<Text>,
    senderips: Choice<Addresses>,
    stageids: Choice<Text>,
    quotas: Choice<Text>,
    localips: Choice<Addresses>,
    remoteips: Choice<Addresses>,
    tags: Choice<Text>,
    transportids: Choice<TextTest>,
    jobids: Choice<TextTest>,
    tenantids: Choice<TextTest>,
    remotemxs: Choice<TextTest>,
    groupings: Choice<TextTest>,
    senders: Choice<AddressTest>,
    recipients: Choice<AddressTest>,
    received: Choice<Vec<Comparison>>,
    retries: Choice<Vec<Comparison>>,
    retrycounts: Choice<Vec<Comparison>>,
    sizes: Choice<Vec<Comparison>>,
    priorities: Choice<Vec<Comparison>>,
    subjects: Choice<TextTest>,
    retryreasons: Choice<TextTest>,
    metadatas: Choice<Vec<MetadataTest>>,
    /// Of 2^32.
    share: Option<u64>,
    seed: u64,
    rolled_up: Vec<Field>,
}

/// Alternatives, and what must not be.
struct Choice<T> {
    any: Vec<T>,
    none: Vec<T>,
}

impl<T> Choice<T> {
    fn of<M>(
        list: &[M],
        excludes: impl Fn(&M) -> bool,
        lay_out: impl Fn(&M) -> Result<T, String>,
    ) -> Result<Choice<T>, String> {
        let (mut any, mut none) = (Vec::new(), Vec::new());
        for entry in list {
            let side = if excludes(entry) { &mut none } else { &mut any };
            side.push(lay_out(entry)?);
        }
        Ok(Choice { any, none })
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    fn fits(&self, test: impl Fn(&T) -> bool) -> bool {
        (self.any.is_empty() || self.any.iter().any(&test)) && !self.none.iter().any(&test)
    }
}

/// How a text is compared.
enum TextTest {
    Exact(Vec<u8>),
    Caseless(Vec<u8>),
    Partial(Box<Finder<'static>>),
    Regex(Regex),
}

impl TextTest {
    fn fits(&self, text: &[u8]) -> bool {
        match self {
            TextTest::Exact(value) => text == value,
            TextTest::Caseless(value) => text.eq_ignore_ascii_case(value),
            TextTest::Partial(part) => part.find(text).is_some(),
            TextTest::Regex(regex) => regex.is_match(text),
        }
    }

    fn regex(pattern: &str, caseless: bool) -> Result<TextTest, String> {
        let inner = pattern.strip_prefix('/').and_then(|p| p.strip_suffix('/'));
        let built = RegexBuilder::new(inner.unwrap_or(pattern))
            .case_insensitive(caseless)
            .size_limit(4 << 20)
            .build();
        let wrong = |error| format!("Bad regular expression {pattern}: {error}");
        built.map(TextTest::Regex).map_err(wrong)
    }

    fn of_match(wanted: &StringMatch) -> Result<TextTest, String> {
        let value = wanted.value.as_bytes().to_vec();
        Ok(match (wanted.r#type(), wanted.caseless) {
            (string_match::Type::Exact, false) => TextTest::Exact(value),
            (string_match::Type::Exact, true) => TextTest::Caseless(value),
            (string_match::Type::Partial, false) => {
                TextTest::Partial(Box::new(Finder::new(&value).into_owned()))
            }
            (string_match::Type::Partial, true) => {
                TextTest::regex(&regex::escape(&wanted.value), true)?
            }
            (string_match::Type::Regex, caseless) => TextTest::regex(&wanted.value, caseless)?,
        })
    }

    /// Domains are compared without regard to case.
    fn of_value(wanted: &StringRegexValue, domain: bool) -> Result<TextTest, String> {
        let value = wanted.value.as_bytes().to_vec();
        Ok(match (wanted.r#type(), domain) {
            (string_regex_value::Type::Exact, false) => TextTest::Exact(value),
            (string_regex_value::Type::Exact, true) => TextTest::Caseless(value),
            (string_regex_value::Type::Regex, domain) => TextTest::regex(&wanted.value, domain)?,
        })
    }
}

/// A test of a key, for lists of shared memory.
pub(super) fn text_test(wanted: &StringMatch) -> Result<impl Fn(&[u8]) -> bool + use<>, String> {
    let test = TextTest::of_match(wanted)?;
    let exclude = wanted.exclude;
    Ok(move |text: &[u8]| test.fits(text) != exclude)
}

/// An address or a network, or what is compared as text.
enum Addresses {
    Network(Pattern),
    Text(String),
}

impl Addresses {
    fn of(text: &str) -> Addresses {
        match Pattern::parse(Field::RemoteIp, text) {
            Ok(pattern @ Pattern::Network(_)) => Addresses::Network(pattern),
            _ => Addresses::Text(text.to_owned()),
        }
    }

    fn fits(&self, address: IpAddr) -> bool {
        match self {
            Addresses::Network(Pattern::Network(network)) => network.contains(&address),
            Addresses::Network(_) => false,
            Addresses::Text(text) => address.to_string() == *text,
        }
    }
}

/// Parts of a mailbox; each with whether it must not fit.
struct AddressTest {
    localpart: Option<(TextTest, bool)>,
    domain: Option<(TextTest, bool)>,
}

impl AddressTest {
    fn of(wanted: &condition::AddressMatch) -> Result<AddressTest, String> {
        let localpart = wanted.localpart.as_ref();
        let domain = wanted.domain.as_ref();
        Ok(AddressTest {
            localpart: localpart
                .map(|part| Ok::<_, String>((TextTest::of_match(part)?, part.exclude)))
                .transpose()?,
            domain: domain
                .map(|part| Ok::<_, String>((TextTest::of_value(part, true)?, part.exclude)))
                .transpose()?,
        })
    }

    /// `group` is the name that takes the place of the domain.
    fn fits(&self, address: &Address, group: Option<&[u8]>) -> bool {
        let part = |test: &Option<(TextTest, bool)>, text: &[u8]| {
            test.as_ref()
                .is_none_or(|(test, exclude)| test.fits(text) != *exclude)
        };
        part(&self.localpart, address.localpart.as_bytes())
            && part(&self.domain, group.unwrap_or(address.domain.as_bytes()))
    }
}

/// One comparison with a number.
#[derive(Clone, Copy)]
struct Comparison {
    how: How,
    with: f64,
}

#[derive(Clone, Copy)]
enum How {
    Equal,
    NotEqual,
    Less,
    Greater,
    NotLess,
    NotGreater,
}

impl Comparison {
    fn holds(self, value: f64) -> bool {
        match self.how {
            How::Equal => value == self.with,
            How::NotEqual => value != self.with,
            How::Less => value < self.with,
            How::Greater => value > self.with,
            How::NotLess => value >= self.with,
            How::NotGreater => value <= self.with,
        }
    }
}

fn comparisons(list: [(How, Option<f64>); 6]) -> Vec<Comparison> {
    let given = |(how, with): (How, Option<f64>)| Some(Comparison { how, with: with? });
    list.into_iter().filter_map(given).collect()
}

fn all(list: &[Comparison], value: f64) -> bool {
    list.iter().all(|comparison| comparison.holds(value))
}

/// The Unix time that a request means.
pub(super) fn moment(time: &TimeValue, now: Timestamp) -> Option<f64> {
    Some(match time.time.as_ref()? {
        time_value::Time::Absolute(at) => *at,
        time_value::Time::Relative(from_now) => now.as_secs_f64() + from_now,
    })
}

/// A test of a time.
pub(super) fn time_test(wanted: &CompareTime, now: Timestamp) -> impl Fn(f64) -> bool + use<> {
    let list = times(wanted, now);
    move |value| all(&list, value)
}

/// A test of a whole number.
pub(super) fn number_test(wanted: &CompareUInt64) -> impl Fn(u64) -> bool + use<> {
    let list = numbers(wanted);
    move |value| all(&list, value as f64)
}

fn times(wanted: &CompareTime, now: Timestamp) -> Vec<Comparison> {
    let at = |time: &Option<TimeValue>| time.as_ref().and_then(|time| moment(time, now));
    comparisons([
        (How::Equal, at(&wanted.eq)),
        (How::NotEqual, at(&wanted.neq)),
        (How::Less, at(&wanted.lt)),
        (How::Greater, at(&wanted.gt)),
        (How::NotLess, at(&wanted.gte)),
        (How::NotGreater, at(&wanted.lte)),
    ])
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and sizes beyond 2^53 do not occur"
)]
fn numbers(wanted: &CompareUInt64) -> Vec<Comparison> {
    let of = |value: &Option<angarium_control::proto::UInt64Value>| {
        value.as_ref().map(|value| value.value as f64)
    };
    comparisons([
        (How::Equal, of(&wanted.eq)),
        (How::NotEqual, of(&wanted.neq)),
        (How::Less, of(&wanted.lt)),
        (How::Greater, of(&wanted.gt)),
        (How::NotLess, of(&wanted.gte)),
        (How::NotGreater, of(&wanted.lte)),
    ])
}

fn doubles(wanted: &CompareDouble) -> Vec<Comparison> {
    let of = |value: &Option<angarium_control::proto::DoubleValue>| {
        value.as_ref().map(|value| value.value)
    };
    comparisons([
        (How::Equal, of(&wanted.eq)),
        (How::NotEqual, of(&wanted.neq)),
        (How::Less, of(&wanted.lt)),
        (How::Greater, of(&wanted.gt)),
        (How::NotLess, of(&wanted.gte)),
        (How::NotGreater, of(&wanted.lte)),
    ])
}

/// What one entry of the metadata must be.
struct MetadataTest {
    name: String,
    strings: Vec<(TextTest, bool)>,
    numbers: Vec<Vec<Comparison>>,
}

impl MetadataTest {
    fn fits(&self, value: &Text) -> bool {
        if self.strings.is_empty() && self.numbers.is_empty() {
            return true;
        }
        let mut strings = self.strings.iter();
        let as_text = strings.any(|(test, exclude)| test.fits(value.as_bytes()) != *exclude);
        let number = || value.to_str().trim().parse::<f64>().ok();
        as_text
            || !self.numbers.is_empty()
                && number().is_some_and(|number| self.numbers.iter().any(|list| all(list, number)))
    }
}

fn metadata_tests(wanted: &condition::Metadata) -> Result<Vec<MetadataTest>, String> {
    let entry = |(name, wanted): (&String, &condition::MetadataMatch)| {
        let strings = wanted.string.iter();
        Ok(MetadataTest {
            name: name.clone(),
            strings: strings
                .map(|string| Ok((TextTest::of_match(string)?, string.exclude)))
                .collect::<Result<_, String>>()?,
            numbers: wanted.double.iter().map(doubles).collect(),
        })
    };
    wanted.value.iter().map(entry).collect()
}

/// The fields that the flags name.
pub(super) fn fields_of(flags: &FieldFlags) -> Vec<Field> {
    let list = [
        (Field::TransportId, flags.transportid),
        (Field::LocalIp, flags.localip),
        (Field::RemoteIp, flags.remoteip),
        (Field::RemoteMx, flags.remotemx),
        (Field::RecipientDomain, flags.recipientdomain),
        (Field::JobId, flags.jobid),
        (Field::Grouping, flags.grouping),
        (Field::TenantId, flags.tenantid),
    ];
    let given = |(field, given)| Option::from(field).filter(|_| given);
    list.into_iter().filter_map(given).collect()
}

fn texts(list: &[StringExcludeValue]) -> Result<Choice<Text>, String> {
    Choice::of(list, |of| of.exclude, |of| Ok(of.value.as_str().into()))
}

fn addresses(list: &[StringExcludeValue]) -> Result<Choice<Addresses>, String> {
    Choice::of(list, |of| of.exclude, |of| Ok(Addresses::of(&of.value)))
}

fn values(list: &[StringRegexValue], domain: bool) -> Result<Choice<TextTest>, String> {
    Choice::of(list, |of| of.exclude, |of| TextTest::of_value(of, domain))
}

fn matches(list: &[StringMatch]) -> Result<Choice<TextTest>, String> {
    Choice::of(list, |of| of.exclude, TextTest::of_match)
}

fn compared(list: &[CompareUInt64]) -> Result<Choice<Vec<Comparison>>, String> {
    Choice::of(list, |_| false, |of| Ok(numbers(of)))
}

fn states(wanted: &Condition) -> Vec<(State, Option<bool>)> {
    let queues = wanted.queues.iter().map(|of| match of.queue() {
        Queue::Active => State::Active,
        Queue::Defer => State::Defer,
    });
    let freezes = wanted.freezes.iter().map(|of| match of.freeze() {
        Freeze::Hold => State::Hold,
        Freeze::Update => State::Update,
    });
    let workings = wanted.workings.iter().map(|of| {
        let state = match of.working() {
            Working::Unknown => State::Unknown,
            Working::Sending => State::Sending,
        };
        (state, of.updatefreezing.as_ref().map(|of| of.value))
    });
    let plain = queues.chain(freezes).map(|state| (state, None));
    plain.chain(workings).collect()
}

impl Filter {
    /// Lays out a condition; none: every item. `seed` chooses the sample of `probability`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(wanted: Option<&Condition>, now: Timestamp, seed: u64) -> Result<Filter, String> {
        let nothing = Condition::default();
        let wanted = wanted.unwrap_or(&nothing);
        let id = |of: &condition::Id| match Uuid::try_parse(&of.transaction) {
            Ok(transaction) => Ok((transaction, of.queue)),
            Err(_) => Err(format!("{} is no id of a transaction", of.transaction)),
        };
        let address = AddressTest::of;
        let time = |of: &CompareTime| Ok(times(of, now));
        let share = match wanted.probability {
            None => None,
            Some(share) if (0.0..=1.0).contains(&share) =>
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "between 0 and 2^32"
                )]
                Some((f64::from(share) * 4_294_967_296.0) as u64)
            }
            Some(share) => return Err(format!("The probability {share} is not between 0 and 1")),
        };
        let grouped = wanted.policygroupings.as_ref();
        Ok(Filter {
            everything: *wanted == nothing,
            states: states(wanted),
            ids: Choice::of(&wanted.ids, |of| of.exclude, id)?,
            hold: wanted.hold.as_ref().map(|hold| hold.value),
            serverids: texts(&wanted.serverids)?,
            senderips: addresses(&wanted.senderips)?,
            stageids: texts(&wanted.stageids)?,
            quotas: texts(&wanted.quotas)?,
            localips: addresses(&wanted.localips)?,
            remoteips: addresses(&wanted.remoteips)?,
            tags: texts(&wanted.tags)?,
            transportids: values(&wanted.transportids, false)?,
            jobids: values(&wanted.jobids, false)?,
            tenantids: values(&wanted.tenantids, false)?,
            remotemxs: values(&wanted.remotemxs, true)?,
            groupings: values(&wanted.groupings, true)?,
            senders: Choice::of(&wanted.senders, |of| of.exclude, address)?,
            recipients: Choice::of(&wanted.recipients, |of| of.exclude, address)?,
            received: Choice::of(&wanted.tss, |_| false, time)?,
            retries: Choice::of(&wanted.retrytss, |_| false, time)?,
            retrycounts: compared(&wanted.retrycounts)?,
            sizes: compared(&wanted.sizes)?,
            priorities: compared(&wanted.priorities)?,
            subjects: matches(&wanted.subjects)?,
            retryreasons: matches(&wanted.retryreasons)?,
            metadatas: Choice::of(&wanted.metadatas, |of| of.exclude, metadata_tests)?,
            share,
            seed,
            rolled_up: grouped.map(fields_of).unwrap_or_default(),
        })
    }

    /// Where to begin and to end looking, in the order of ids, when only some transactions are meant:
    /// after the first id, and not beyond the transaction.
    pub fn range(&self) -> (Option<ItemId>, Option<Uuid>) {
        let transactions = self.ids.any.iter().map(|(transaction, _)| *transaction);
        let (Some(first), Some(last)) = (transactions.clone().min(), transactions.max()) else {
            return (None, None);
        };
        let before = first.as_u128().checked_sub(1).map(|before| ItemId {
            transaction: Uuid::from_u128(before),
            queue: u64::MAX,
        });
        (before, Some(last))
    }

    /// Whether every item is meant.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether the item is meant.
    pub fn fits(&self, view: &View<'_>, around: Around<'_>) -> bool {
        if self.everything {
            return true;
        }
        // What is cheap and rules out most comes first.
        let item = view.item;
        let state = |(state, freezing): &(State, Option<bool>)| {
            *state == view.state && freezing.is_none_or(|freezing| freezing == view.freezing)
        };
        if !self.states.is_empty() && !self.states.iter().any(state) {
            return false;
        }
        let id = |(transaction, queue): &(Uuid, u64)| {
            *transaction == item.id.transaction && (*queue == 0 || *queue == item.id.queue)
        };
        self.ids.fits(id)
            && self.hold.is_none_or(|hold| hold == item.hold)
            && self.sample(item.id)
            && self.fits_texts(view, around)
            && self.fits_addresses(view, around)
            && self.fits_numbers(view)
            && self.fits_tags(view, around)
            && (self.metadatas.is_empty()
                || self.metadatas.fits(|tests| {
                    let mut tests = tests.iter();
                    tests.all(|test| {
                        let value = item.metadata.get(&test.name);
                        value.is_some_and(|value| test.fits(value))
                    })
                }))
    }

    fn sample(&self, id: ItemId) -> bool {
        let Some(share) = self.share else { return true };
        // SplitMix64: each bit of the result depends on each bit of the id.
        let (high, low) = id.transaction.as_u64_pair();
        let mut mixed = high ^ low.rotate_left(32) ^ id.queue ^ self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 32 < share
    }

    /// The name that the policies' groups give to a value of a field, if the request compares those.
    fn group(&self, field: Field, value: FieldValue<'_>, around: Around<'_>) -> Option<Vec<u8>> {
        if !self.rolled_up.contains(&field) {
            return None;
        }
        let name = around.policies.group_of(field, value)?;
        Some([b"#", name.as_bytes()].concat())
    }

    fn fits_texts(&self, view: &View<'_>, around: Around<'_>) -> bool {
        let item = view.item;
        let value = |choice: &Choice<TextTest>, field: Field, text: Option<&Text>| {
            choice.is_empty() || {
                let group = text.and_then(|of| self.group(field, FieldValue::Text(of), around));
                let bytes = group.as_deref().or(text.map(Text::as_bytes)).unwrap_or(b"");
                choice.fits(|test| test.fits(bytes))
            }
        };
        let plain = |choice: &Choice<TextTest>, text: Option<&Text>| {
            let bytes = text.map_or(&b""[..], Text::as_bytes);
            choice.is_empty() || choice.fits(|test| test.fits(bytes))
        };
        let exact = |choice: &Choice<Text>, text: Option<&Text>| {
            let bytes = text.map_or(&b""[..], Text::as_bytes);
            choice.is_empty() || choice.fits(|wanted| wanted.as_bytes() == bytes)
        };
        let mx = view.candidate().map(|candidate| &candidate.mx);
        value(
            &self.transportids,
            Field::TransportId,
            Some(&item.transportid),
        ) && value(&self.jobids, Field::JobId, item.jobid.as_ref())
            && value(&self.tenantids, Field::TenantId, item.tenantid.as_ref())
            && value(&self.remotemxs, Field::RemoteMx, mx)
            && value(&self.groupings, Field::Grouping, view.grouping())
            && exact(&self.serverids, Some(&item.serverid))
            && exact(&self.stageids, item.stageid.as_ref())
            && plain(&self.subjects, item.subject.as_ref())
            && plain(&self.retryreasons, item.retryreason.as_ref())
            && (self.quotas.is_empty() || self.quotas.fits(|name| item.quotas.contains(name)))
    }

    fn fits_addresses(&self, view: &View<'_>, around: Around<'_>) -> bool {
        let item = view.item;
        let one = |choice: &Choice<Addresses>, address: Option<IpAddr>| {
            choice.is_empty() || choice.fits(|wanted| address.is_some_and(|it| wanted.fits(it)))
        };
        let remote = |choice: &Choice<Addresses>| {
            let address = view.candidate().map(|candidate| candidate.ip);
            choice.is_empty()
                || {
                    let value = address.map(FieldValue::Address);
                    match value.and_then(|value| self.group(Field::RemoteIp, value, around)) {
                    Some(group) => choice.fits(
                        |wanted| matches!(wanted, Addresses::Text(text) if text.as_bytes() == group),
                    ),
                    None => one(choice, address),
                }
                }
        };
        let local = |wanted: &Addresses| view.localips().any(|address| wanted.fits(address));
        let domain = || {
            let domain = &item.recipient.domain;
            self.group(Field::RecipientDomain, FieldValue::Text(domain), around)
        };
        one(&self.senderips, item.senderip)
            && remote(&self.remoteips)
            && (self.localips.is_empty() || self.localips.fits(local))
            && (self.senders.is_empty() || self.senders.fits(|test| test.fits(&item.sender, None)))
            && (self.recipients.is_empty() || {
                let group = domain();
                self.recipients
                    .fits(|test| test.fits(&item.recipient, group.as_deref()))
            })
    }

    fn fits_numbers(&self, view: &View<'_>) -> bool {
        let item = view.item;
        let number = |choice: &Choice<Vec<Comparison>>, value: Option<f64>| {
            choice.is_empty() || choice.fits(|list| value.is_some_and(|value| all(list, value)))
        };
        #[expect(clippy::cast_precision_loss, reason = "as in `numbers`")]
        let size = item.size as f64;
        number(&self.received, Some(item.received.as_secs_f64()))
            && number(&self.retries, item.retryts.map(Timestamp::as_secs_f64))
            && number(&self.retrycounts, Some(f64::from(item.retrycount)))
            && number(&self.sizes, Some(size))
            && number(&self.priorities, Some(f64::from(item.priority as u8)))
    }

    fn fits_tags(&self, view: &View<'_>, around: Around<'_>) -> bool {
        if self.tags.is_empty() {
            return true;
        }
        let tags = tags(view, around);
        self.tags.fits(|wanted| tags.contains(wanted))
    }
}

/// The labels of the policies that apply to an item in ACTIVE or SENDING.
pub(super) fn tags(view: &View<'_>, around: Around<'_>) -> Vec<Text> {
    let Some(fields) = view.fields else {
        return view.tags().to_vec();
    };
    let local = fields.sources.addresses.first().map(|of| of.address);
    let applied = around.policies.describe(fields, local, around.now);
    applied.into_iter().flat_map(|of| of.tags).collect()
}
