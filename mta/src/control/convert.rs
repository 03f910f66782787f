//! Between the messages of the protocol and the types of the queue.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use angarium_control::encode::Writer;
use angarium_control::proto::{
    DoubleValue, Fields as FieldFlags, PolicyIf, PolicyRate, PolicyThen, QueueItemId, StringValue,
    UInt64Value,
};
use angarium_queue::dsn::DsnRequest;
use angarium_queue::gate::{Field, Fields};
use angarium_queue::item::ItemId;
use angarium_queue::matcher::Pattern;
use angarium_queue::policy::rate::Rate;
use angarium_queue::policy::spec::{Block, Limits, Property, When};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_queue::transport::{SourceIp, Sources};
use uuid::Uuid;

/// Labels are no longer than this.
const TAG: usize = 32;

/// A text that may be absent.
pub(super) fn string(value: impl Into<String>) -> Option<StringValue> {
    Some(StringValue {
        value: value.into(),
    })
}

pub(super) fn unsigned(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

pub(super) fn double(value: f64) -> Option<DoubleValue> {
    Some(DoubleValue { value })
}

/// The id of an item as a message.
pub(super) fn item_id(id: ItemId) -> Option<QueueItemId> {
    Some(QueueItemId {
        transaction: id.transaction.to_string(),
        queue: id.queue,
    })
}

/// The id that a message names.
pub(super) fn read_item_id(id: Option<&QueueItemId>) -> Result<ItemId, String> {
    let id = id.ok_or("No id")?;
    let transaction = Uuid::try_parse(&id.transaction)
        .map_err(|_| format!("{} is no id of a transaction", id.transaction))?;
    Ok(ItemId {
        transaction,
        queue: id.queue,
    })
}

/// Seconds until something ends; 0: no end.
pub(super) fn ttl(expires: Option<Timestamp>, now: Timestamp) -> f64 {
    // What ends this very moment has not gone yet: not "no end".
    expires.map_or(0.0, |at| at.since(now).as_secs_f64().max(1e-6))
}

/// A time of a request; 0: no end.
pub(super) fn lifetime(seconds: f64) -> Result<Option<Duration>, String> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Ok(None),
        Ok(lifetime) => Ok(Some(lifetime)),
        Err(_) => Err(format!("ttl: {seconds} is no number of seconds")),
    }
}

/// A label of a request; the empty one is none.
pub(super) fn tag(tag: Option<&StringValue>) -> Result<Option<Text>, String> {
    match tag.map(|tag| tag.value.as_str()) {
        None | Some("") => Ok(None),
        Some(text) if text.len() > TAG => Err(format!("tag: is longer than {TAG} bytes")),
        Some(text) => Ok(Some(text.into())),
    }
}

/// The values that a request gives to fields, as conditions.
pub(super) fn when(given: &[(Field, Option<&StringValue>)]) -> Result<When, String> {
    let mut when = When::new();
    for (field, value) in given {
        if let Some(value) = value {
            let pattern = Pattern::parse(*field, &value.value)
                .map_err(|error| format!("{field}: {error}"))?;
            when.push((*field, vec![pattern]));
        }
    }
    Ok(when)
}

/// The values of `PolicyIf`.
pub(super) fn policy_if(given: &PolicyIf) -> [(Field, Option<&StringValue>); 8] {
    [
        (Field::TransportId, given.transportid.as_ref()),
        (Field::LocalIp, given.localip.as_ref()),
        (Field::RemoteIp, given.remoteip.as_ref()),
        (Field::RemoteMx, given.remotemx.as_ref()),
        (Field::RecipientDomain, given.recipientdomain.as_ref()),
        (Field::JobId, given.jobid.as_ref()),
        (Field::Grouping, given.grouping.as_ref()),
        (Field::TenantId, given.tenantid.as_ref()),
    ]
}

/// Values of fields as a message.
pub(super) fn to_policy_if(values: impl IntoIterator<Item = (Field, String)>) -> PolicyIf {
    let mut message = PolicyIf::default();
    for (field, value) in values {
        let place = match field {
            Field::TransportId => &mut message.transportid,
            Field::LocalIp => &mut message.localip,
            Field::RemoteIp => &mut message.remoteip,
            Field::RemoteMx => &mut message.remotemx,
            Field::RecipientDomain => &mut message.recipientdomain,
            Field::JobId => &mut message.jobid,
            Field::Grouping => &mut message.grouping,
            Field::TenantId => &mut message.tenantid,
        };
        *place = string(value);
    }
    message
}

/// Conditions as texts: alternatives are joined by commas.
pub(super) fn written(when: &When) -> impl Iterator<Item = (Field, String)> {
    when.iter().map(|(field, patterns)| {
        let texts: Vec<String> = patterns.iter().map(Pattern::written).collect();
        (*field, texts.join(","))
    })
}

/// Fields as flags.
pub(super) fn flags(fields: &[Field]) -> FieldFlags {
    let has = |field| fields.contains(&field);
    FieldFlags {
        transportid: has(Field::TransportId),
        localip: has(Field::LocalIp),
        remoteip: has(Field::RemoteIp),
        remotemx: has(Field::RemoteMx),
        recipientdomain: has(Field::RecipientDomain),
        jobid: has(Field::JobId),
        grouping: has(Field::Grouping),
        tenantid: has(Field::TenantId),
    }
}

/// A rate as a message.
pub(super) fn rate(rate: Rate) -> PolicyRate {
    PolicyRate {
        count: u64::from(rate.count),
        interval: rate.interval.as_secs_f64(),
    }
}

/// Limits of a request.
pub(super) fn block(then: &PolicyThen, origin: &str) -> Result<Block, String> {
    let concurrency = then.concurrency.map(|count| match u32::try_from(count) {
        Ok(count) => Ok(count),
        Err(_) => Err(format!("concurrency: {count} is too large")),
    });
    let interval = |what: &str, seconds: f64| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("{what}: {seconds} is no number of seconds"))
    };
    let rate = then.rate.as_ref().map(|rate| {
        let count = u32::try_from(rate.count);
        let count = count.map_err(|_| format!("rate: {} is too large", rate.count))?;
        // A bare count is per second.
        let seconds = if rate.interval == 0.0 {
            1.0
        } else {
            rate.interval
        };
        let interval = interval("rate", seconds)?;
        Ok::<_, String>(Rate { count, interval })
    });
    let connect = then.connectinterval.as_ref();
    let connect = connect.map(|of| interval("connectinterval", of.value));
    let property = |(name, value): (&String, &String)| {
        let value = Property::Text(value.as_str().into());
        (name.as_str().into(), value)
    };
    Ok(Block {
        limits: Limits {
            concurrency: concurrency.transpose()?,
            rate: rate.transpose()?,
            connect_interval: connect.transpose()?,
        },
        tag: tag(then.tag.as_ref())?,
        stop: then.stop,
        properties: then.properties.iter().map(property).collect(),
        origin: origin.into(),
    })
}

/// Limits as a message.
pub(super) fn then(block: &Block) -> PolicyThen {
    PolicyThen {
        rate: block.limits.rate.map(rate),
        concurrency: block.limits.concurrency.map(u64::from),
        tag: block.tag.as_ref().and_then(|tag| string(tag.to_str())),
        stop: block.stop,
        properties: properties(&block.properties),
        connectinterval: (block.limits.connect_interval)
            .and_then(|interval| double(interval.as_secs_f64())),
        cluster: None,
    }
}

/// Values for scripts as texts.
pub(super) fn properties(list: &[(Text, Property)]) -> BTreeMap<String, String> {
    let text = |property: &Property| match property {
        Property::Text(text) => text.to_str().into_owned(),
        Property::Number(number) => number.to_string(),
        Property::Boolean(boolean) => boolean.to_string(),
    };
    let each = list.iter();
    each.map(|(name, value)| (name.to_str().into_owned(), text(value)))
        .collect()
}

/// The values of an item that a request describes.
pub(super) fn item_fields(
    given: &[(Field, Option<&str>)],
) -> Result<(Fields, Vec<IpAddr>), String> {
    let (mut fields, mut locals) = (Fields::default(), Vec::new());
    for (field, value) in given {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            continue;
        };
        let address = || {
            let parsed = value.parse::<IpAddr>();
            parsed.map_err(|_| format!("{field}: {value} is no IP address"))
        };
        let text = Some(Text::from(value));
        match field {
            Field::TransportId => fields.transportid = value.into(),
            Field::LocalIp => locals.push(address()?),
            Field::RemoteIp => fields.remoteip = Some(address()?),
            Field::RemoteMx => fields.remotemx = text,
            Field::RecipientDomain => fields.recipientdomain = text,
            Field::JobId => fields.jobid = text,
            Field::Grouping => fields.grouping = text,
            Field::TenantId => fields.tenantid = text,
        }
    }
    let source = |address: &IpAddr| SourceIp {
        id: None,
        address: *address,
        helo: None,
    };
    fields.sources = Sources {
        addresses: locals.iter().map(source).collect(),
        ordered: true,
    };
    Ok((fields, locals))
}

/// The fields of `QueueListResponse.DSN`.
pub(super) fn write_dsn(out: &mut Writer, dsn: &DsnRequest) {
    let text = |out: &mut Writer, field, text: &Option<Text>| {
        if let Some(text) = text {
            out.text(field, &text.to_str());
        }
    };
    text(out, 1, &dsn.envid);
    if let Some(ret) = dsn.ret {
        out.text(2, ret.as_str());
    }
    if let Some(notify) = dsn.notify {
        out.text(3, &notify.to_string());
    }
    text(out, 4, &dsn.orcpt);
}
