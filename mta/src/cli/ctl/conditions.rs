//! The flags that say which messages are meant.
//!
//! A flag may be given several times: any of its values fits. `!` before a value excludes it, `/…/` is
//! a regular expression. Numbers and times take `>`, `>=`, `<`, `<=` or `=` before them, or a range
//! `FROM..TO`.

use angarium_control::proto::{
    CompareDouble, CompareTime, CompareUInt64, Condition, DoubleValue, Freeze, Queue,
    StringExcludeValue, StringMatch, StringRegexValue, TimeValue, UInt64Value, Working, condition,
    string_match, string_regex_value, time_value,
};
use clap::Args;

use crate::cli::Failure;

/// Which messages are meant; without any of these all are.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Which messages")]
pub(super) struct Conditions {
    /// Message UUID, or one recipient's copy UUID:N
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// ACTIVE, DEFER, SENDING, UNKNOWN, HOLD or UPDATE
    #[arg(long, value_name = "STATE", ignore_case = true, value_parser = STATES)]
    state: Vec<String>,
    /// Transport
    #[arg(long, value_name = "ID")]
    transportid: Vec<String>,
    /// Job
    #[arg(long, value_name = "ID")]
    jobid: Vec<String>,
    /// Tenant
    #[arg(long, value_name = "ID")]
    tenantid: Vec<String>,
    /// Grouping of the destination
    #[arg(long, value_name = "ID")]
    grouping: Vec<String>,
    /// Sender's address, or <>
    #[arg(long, value_name = "ADDRESS")]
    sender: Vec<String>,
    /// Recipient's address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Vec<String>,
    /// Domain of the sender
    #[arg(long, value_name = "DOMAIN")]
    senderdomain: Vec<String>,
    /// Domain of the recipient
    #[arg(long, value_name = "DOMAIN")]
    recipientdomain: Vec<String>,
    /// Attempts so far
    #[arg(long, value_name = "NUMBER")]
    retrycount: Vec<String>,
    /// Seconds until the next attempt
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    retrydelay: Vec<String>,
    /// Seconds since it was received
    #[arg(long, value_name = "SECONDS")]
    age: Vec<String>,
    /// When it was received: ISO 8601 or Unix time
    #[arg(long, value_name = "TIME")]
    ts: Vec<String>,
    /// Metadata
    #[arg(long, value_name = "NAME=VALUE")]
    metadata: Vec<String>,
    /// Size in bytes
    #[arg(long, value_name = "BYTES")]
    size: Vec<String>,
    /// Subject
    #[arg(long, value_name = "TEXT")]
    subject: Vec<String>,
    /// Why the last attempt failed
    #[arg(long, value_name = "TEXT")]
    retryreason: Vec<String>,
    /// Address or network of the client
    #[arg(long, value_name = "IP")]
    senderip: Vec<String>,
    /// Source address or network
    #[arg(long, value_name = "IP")]
    localip: Vec<String>,
    /// Address or network of the destination
    #[arg(long, value_name = "IP")]
    remoteip: Vec<String>,
    /// Host of the destination
    #[arg(long, value_name = "NAME")]
    remotemx: Vec<String>,
    /// Server that received it
    #[arg(long, value_name = "ID")]
    serverid: Vec<String>,
    /// Live stage under which it came in
    #[arg(long, value_name = "ID")]
    stageid: Vec<String>,
    /// Quota that it counts for
    #[arg(long, value_name = "NAME")]
    quota: Vec<String>,
    /// Label of a policy that applies
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// 0 or 1
    #[arg(long, value_name = "NUMBER")]
    priority: Vec<String>,
    /// A random share of them, 0 to 1
    #[arg(long, value_name = "SHARE")]
    probability: Option<f32>,
}

const STATES: [&str; 6] = ["ACTIVE", "DEFER", "SENDING", "UNKNOWN", "HOLD", "UPDATE"];

/// Without the `!` that excludes.
fn exclude(text: &str) -> (bool, &str) {
    match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

/// What stands between slashes.
fn regex(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('/')?.strip_suffix('/')?;
    (!inner.is_empty()).then_some(inner)
}

fn plain(list: &[String]) -> Vec<StringExcludeValue> {
    let one = |text: &String| {
        let (exclude, value) = exclude(text);
        StringExcludeValue {
            exclude,
            value: value.to_owned(),
        }
    };
    list.iter().map(one).collect()
}

fn pattern(text: &str) -> StringRegexValue {
    let (exclude, value) = exclude(text);
    let (value, kind) = match regex(value) {
        Some(inner) => (inner, string_regex_value::Type::Regex),
        None => (value, string_regex_value::Type::Exact),
    };
    StringRegexValue {
        exclude,
        value: value.to_owned(),
        r#type: kind.into(),
    }
}

fn patterns(list: &[String]) -> Vec<StringRegexValue> {
    list.iter().map(|text| pattern(text)).collect()
}

/// `loose`: a text without slashes may stand anywhere, in any case.
fn text_match(text: &str, loose: bool) -> StringMatch {
    let (exclude, value) = exclude(text);
    let (value, kind) = match (regex(value), loose) {
        (Some(inner), _) => (inner, string_match::Type::Regex),
        (None, true) => (value, string_match::Type::Partial),
        (None, false) => (value, string_match::Type::Exact),
    };
    StringMatch {
        exclude,
        value: value.to_owned(),
        r#type: kind.into(),
        caseless: loose,
    }
}

fn texts(list: &[String], loose: bool) -> Vec<StringMatch> {
    list.iter().map(|text| text_match(text, loose)).collect()
}

/// A comparison as it is written.
#[derive(Clone, Copy)]
enum Is {
    Equal,
    Not,
    Less,
    Greater,
    NotLess,
    NotGreater,
}

/// Sets one comparison of a message; the three messages of comparisons have the same names.
macro_rules! set {
    ($compare:ident, $is:expr, $value:expr) => {
        *match $is {
            Is::Equal => &mut $compare.eq,
            Is::Not => &mut $compare.neq,
            Is::Less => &mut $compare.lt,
            Is::Greater => &mut $compare.gt,
            Is::NotLess => &mut $compare.gte,
            Is::NotGreater => &mut $compare.lte,
        } = $value
    };
}

/// The comparisons in a text: one, or the two ends of a range.
fn comparisons(text: &str) -> Vec<(Is, &str)> {
    let operators = [
        (">=", Is::NotLess),
        ("<=", Is::NotGreater),
        ("!=", Is::Not),
        (">", Is::Greater),
        ("<", Is::Less),
        ("=", Is::Equal),
        ("!", Is::Not),
    ];
    if let Some((from, to)) = text.split_once("..") {
        return vec![(Is::NotLess, from), (Is::NotGreater, to)];
    }
    for (sign, is) in operators {
        if let Some(rest) = text.strip_prefix(sign) {
            return vec![(is, rest.trim())];
        }
    }
    vec![(Is::Equal, text)]
}

fn number(text: &str) -> Result<f64, Failure> {
    let wrong = || Failure::Usage(format!("`{text}` is no number"));
    let number: f64 = text.trim().parse().map_err(|_| wrong())?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(wrong())
    }
}

pub(super) fn compare_number(text: &str) -> Result<CompareUInt64, Failure> {
    let mut compare = CompareUInt64::default();
    for (is, text) in comparisons(text) {
        let value = text
            .trim()
            .parse()
            .map_err(|_| Failure::Usage(format!("`{text}` is no whole number")))?;
        let value = Some(UInt64Value { value });
        set!(compare, is, value);
    }
    Ok(compare)
}

fn compare_double(text: &str) -> Result<CompareDouble, Failure> {
    let mut compare = CompareDouble::default();
    for (is, text) in comparisons(text) {
        let value = Some(DoubleValue {
            value: number(text)?,
        });
        set!(compare, is, value);
    }
    Ok(compare)
}

fn compare_time(
    text: &str,
    read: impl Fn(&str) -> Result<time_value::Time, Failure>,
    reversed: bool,
) -> Result<CompareTime, Failure> {
    let mut compare = CompareTime::default();
    for (is, text) in comparisons(text) {
        let value = Some(TimeValue {
            time: Some(read(text)?),
        });
        // An age above something is a time below it.
        let is = match (is, reversed) {
            (Is::Less, true) => Is::Greater,
            (Is::Greater, true) => Is::Less,
            (Is::NotLess, true) => Is::NotGreater,
            (Is::NotGreater, true) => Is::NotLess,
            (is, _) => is,
        };
        set!(compare, is, value);
    }
    Ok(compare)
}

/// Seconds in the past.
pub(super) fn age(text: &str) -> Result<CompareTime, Failure> {
    let read = |text: &str| Ok(time_value::Time::Relative(-number(text)?));
    compare_time(text, read, true)
}

/// Seconds from now.
pub(super) fn delay(text: &str) -> Result<CompareTime, Failure> {
    let read = |text: &str| Ok(time_value::Time::Relative(number(text)?));
    compare_time(text, read, false)
}

/// A moment: Unix time, or ISO 8601, local time if there is no zone.
pub(super) fn moment(text: &str) -> Result<f64, Failure> {
    if let Ok(number) = text.parse::<f64>() {
        return Ok(number);
    }
    let wrong = |_| Failure::Usage(format!("`{text}` is no time such as 2026-01-31T12:00:00"));
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Ok(stamp.as_duration().as_secs_f64());
    }
    let civil: jiff::civil::DateTime = text.parse().map_err(wrong)?;
    let zoned = civil
        .to_zoned(jiff::tz::TimeZone::system())
        .map_err(wrong)?;
    Ok(zoned.timestamp().as_duration().as_secs_f64())
}

fn address(text: &str) -> condition::AddressMatch {
    let (exclude, text) = exclude(text);
    let text = text.trim_start_matches('<').trim_end_matches('>');
    let (localpart, domain) = text.rsplit_once('@').unwrap_or((text, ""));
    condition::AddressMatch {
        localpart: Some(StringMatch {
            value: localpart.to_owned(),
            ..StringMatch::default()
        }),
        domain: Some(StringRegexValue {
            value: domain.to_owned(),
            ..StringRegexValue::default()
        }),
        exclude,
    }
}

fn domain(text: &str) -> condition::AddressMatch {
    let mut wanted = pattern(text);
    condition::AddressMatch {
        exclude: std::mem::take(&mut wanted.exclude),
        domain: Some(wanted),
        localpart: None,
    }
}

fn id(text: &str) -> Result<condition::Id, Failure> {
    let (exclude, text) = exclude(text);
    let (transaction, queue) = item(text)?;
    Ok(condition::Id {
        transaction,
        queue,
        exclude,
    })
}

/// `UUID` or `UUID:N`; 0: all copies.
pub(super) fn item(text: &str) -> Result<(String, u64), Failure> {
    let (transaction, queue) = text.split_once(':').unwrap_or((text, "0"));
    let wrong = || Failure::Usage(format!("`{text}` is no id of the form UUID or UUID:N"));
    uuid::Uuid::try_parse(transaction).map_err(|_| wrong())?;
    let queue = queue.parse().map_err(|_| wrong())?;
    Ok((transaction.to_owned(), queue))
}

fn metadata(text: &str) -> Result<condition::Metadata, Failure> {
    let (exclude, text) = exclude(text);
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::Usage(format!("--metadata {text}: must be NAME=VALUE")))?;
    let numeric = value.starts_with(['<', '>']);
    let wanted = if numeric {
        condition::MetadataMatch {
            double: vec![compare_double(value)?],
            ..Default::default()
        }
    } else {
        condition::MetadataMatch {
            string: vec![text_match(value, false)],
            ..Default::default()
        }
    };
    Ok(condition::Metadata {
        value: [(name.to_owned(), wanted)].into(),
        exclude,
    })
}

fn each<T>(list: &[String], read: impl Fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    list.iter().map(|text| read(text)).collect()
}

impl Conditions {
    /// Whether nothing is said, so that everything is meant.
    pub fn is_empty(&self) -> Result<bool, Failure> {
        Ok(self.message()? == Condition::default())
    }

    /// The message; the two kinds of addresses are alternatives of one field.
    pub fn message(&self) -> Result<Condition, Failure> {
        let mut message = Condition {
            ids: each(&self.id, id)?,
            transportids: patterns(&self.transportid),
            jobids: patterns(&self.jobid),
            tenantids: patterns(&self.tenantid),
            groupings: patterns(&self.grouping),
            remotemxs: patterns(&self.remotemx),
            serverids: plain(&self.serverid),
            stageids: plain(&self.stageid),
            senderips: plain(&self.senderip),
            localips: plain(&self.localip),
            remoteips: plain(&self.remoteip),
            quotas: plain(&self.quota),
            tags: plain(&self.tag),
            subjects: texts(&self.subject, true),
            retryreasons: texts(&self.retryreason, true),
            retrycounts: each(&self.retrycount, compare_number)?,
            sizes: each(&self.size, compare_number)?,
            priorities: each(&self.priority, compare_number)?,
            retrytss: each(&self.retrydelay, delay)?,
            metadatas: each(&self.metadata, metadata)?,
            probability: self.probability,
            ..Condition::default()
        };
        message.tss = each(&self.age, age)?;
        for text in &self.ts {
            let read = |text: &str| Ok(time_value::Time::Absolute(moment(text)?));
            message.tss.push(compare_time(text, read, false)?);
        }
        message
            .senders
            .extend(self.sender.iter().map(|text| address(text)));
        message
            .senders
            .extend(self.senderdomain.iter().map(|text| domain(text)));
        message
            .recipients
            .extend(self.recipient.iter().map(|text| address(text)));
        message
            .recipients
            .extend(self.recipientdomain.iter().map(|text| domain(text)));
        for state in &self.state {
            match state.to_ascii_uppercase().as_str() {
                "ACTIVE" => message.queues.push(queue(Queue::Active)),
                "DEFER" => message.queues.push(queue(Queue::Defer)),
                "HOLD" => message.freezes.push(freeze(Freeze::Hold)),
                "UPDATE" => message.freezes.push(freeze(Freeze::Update)),
                "SENDING" => message.workings.push(working(Working::Sending)),
                _ => message.workings.push(working(Working::Unknown)),
            }
        }
        Ok(message)
    }
}

fn queue(queue: Queue) -> condition::QueueState {
    condition::QueueState {
        queue: Some(queue.into()),
    }
}

fn freeze(freeze: Freeze) -> condition::FreezeState {
    condition::FreezeState {
        freeze: Some(freeze.into()),
    }
}

fn working(working: Working) -> condition::WorkingState {
    condition::WorkingState {
        working: Some(working.into()),
        updatefreezing: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_control::{Message as _, json::to_json};
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        conditions: Conditions,
    }

    fn request(line: &[&str]) -> serde_json::Value {
        let line = std::iter::once("x").chain(line.iter().copied());
        let message = Line::try_parse_from(line).unwrap().conditions.message();
        to_json("Condition", &message.unwrap().encode_to_vec()).unwrap()
    }

    #[test]
    fn flags_become_the_messages_fields() {
        assert_eq!(
            request(&["--state", "DEFER", "--jobid", "foobar"]),
            json!({"queues": [{"queue": "DEFER"}], "jobids": [{"value": "foobar"}]})
        );
        assert_eq!(
            request(&[
                "--transportid",
                "!mx",
                "--recipientdomain",
                "/^a/",
                "--sender",
                "<>"
            ]),
            json!({
                "transportids": [{"exclude": true, "value": "mx"}],
                "recipients": [{"domain": {"value": "^a", "type": "REGEX"}}],
                "senders": [{"localpart": {}, "domain": {}}],
            })
        );
        assert_eq!(
            request(&[
                "--age",
                ">300",
                "--retrycount",
                "2..4",
                "--metadata",
                "n=>=2.5"
            ]),
            json!({
                "tss": [{"lt": {"relative": -300.0}}],
                "retrycounts": [{"gte": {"value": 2}, "lte": {"value": 4}}],
                "metadatas": [{"value": {"n": {"double": [{"gte": {"value": 2.5}}]}}}],
            })
        );
        assert_eq!(
            request(&["--stageid", "green", "--stageid", "!blue"]),
            json!({"stageids": [{"value": "green"}, {"exclude": true, "value": "blue"}]})
        );
        assert_eq!(
            request(&["--ts", ">2020-01-01T01:02:03Z", "--state", "sending"]),
            json!({
                "tss": [{"gt": {"absolute": 1_577_840_523.0}}],
                "workings": [{"working": "SENDING"}],
            })
        );
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for line in [
            ["--id", "x"],
            ["--retrycount", "many"],
            ["--ts", "yesterday"],
        ] {
            let line = std::iter::once("x").chain(line);
            let parsed = Line::try_parse_from(line).unwrap();
            assert!(matches!(
                parsed.conditions.message(),
                Err(Failure::Usage(_))
            ));
        }
    }
}
