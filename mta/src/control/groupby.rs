//! `queue groupby`: how items are distributed over values of their fields.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use angarium_control::proto::{
    Freeze, Order, PagingResponse, Queue, QueueGroupByRequest, QueueGroupByResponse,
    StringRegexValue, Working, queue_group_by_request as request, queue_group_by_response::Item,
    string_regex_value,
};
use angarium_queue::gate::Field;
use angarium_queue::index::State;
use angarium_queue::matcher::FieldValue;
use angarium_queue::scheduler::View;
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use regex::bytes::Regex;

use super::filter::{Around, Filter, fields_of, number_test, time_test};
use super::scan::scan;
use crate::delivery::Handle;

/// A value of an item.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    None,
    Text(Text),
    Address(IpAddr),
    Group(Arc<str>),
}

impl Value {
    fn to_text(&self) -> String {
        match self {
            Value::None => String::new(),
            Value::Text(text) => text.to_str().into_owned(),
            Value::Address(address) => address.to_string(),
            Value::Group(name) => name.to_string(),
        }
    }

    fn of(text: Option<&Text>) -> Value {
        text.map_or(Value::None, |text| Value::Text(text.clone()))
    }

    fn domain(text: &Text) -> Value {
        Value::Text(text.to_ascii_lowercase())
    }

    fn address(address: Option<IpAddr>) -> Value {
        address.map_or(Value::None, Value::Address)
    }
}

/// A field that items are grouped by, or whose values are counted.
#[derive(Clone, PartialEq, Eq)]
enum By {
    TransportId,
    RecipientDomain,
    SenderDomain,
    JobId,
    Metadata(String),
    SenderIp,
    RemoteIp,
    RemoteMx,
    LocalIp,
    Grouping,
    TenantId,
}

impl By {
    fn value(&self, view: &View<'_>) -> Value {
        let item = view.item;
        match self {
            By::TransportId => Value::Text(item.transportid.clone()),
            By::RecipientDomain => Value::domain(&item.recipient.domain),
            By::SenderDomain => Value::domain(&item.sender.domain),
            By::JobId => Value::of(item.jobid.as_ref()),
            By::Metadata(name) => Value::of(item.metadata.get(name)),
            By::SenderIp => Value::address(item.senderip),
            By::RemoteIp => Value::address(view.candidate().map(|candidate| candidate.ip)),
            By::RemoteMx => Value::of(view.candidate().map(|candidate| &candidate.mx)),
            By::LocalIp => Value::address(view.localips().next()),
            By::Grouping => Value::of(view.grouping()),
            By::TenantId => Value::of(item.tenantid.as_ref()),
        }
    }

    fn field(&self) -> Option<Field> {
        Some(match self {
            By::TransportId => Field::TransportId,
            By::RecipientDomain => Field::RecipientDomain,
            By::JobId => Field::JobId,
            By::RemoteIp => Field::RemoteIp,
            By::RemoteMx => Field::RemoteMx,
            By::LocalIp => Field::LocalIp,
            By::Grouping => Field::Grouping,
            By::TenantId => Field::TenantId,
            By::SenderDomain | By::SenderIp | By::Metadata(_) => return None,
        })
    }

    fn groups<'a>(&self, of: &'a request::Groupings) -> &'a [StringRegexValue] {
        match self {
            By::TransportId => &of.transportid,
            By::RecipientDomain => &of.recipientdomain,
            By::SenderDomain => &of.senderdomain,
            By::JobId => &of.jobid,
            By::SenderIp => &of.senderip,
            By::RemoteIp => &of.remoteip,
            By::RemoteMx => &of.remotemx,
            By::LocalIp => &of.localip,
            By::Grouping => &of.grouping,
            By::TenantId => &of.tenantid,
            By::Metadata(_) => &[],
        }
    }
}

fn group_by(wanted: &request::GroupBy) -> Option<By> {
    use request::group_by::Field as Of;
    Some(match wanted.field.as_ref()? {
        Of::Transportid(_) => By::TransportId,
        Of::Recipientdomain(_) => By::RecipientDomain,
        Of::Senderdomain(_) => By::SenderDomain,
        Of::Jobid(_) => By::JobId,
        Of::Metadata(name) => By::Metadata(name.clone()),
        Of::Senderip(_) => By::SenderIp,
        Of::Remoteip(_) => By::RemoteIp,
        Of::Remotemx(_) => By::RemoteMx,
        Of::Localip(_) => By::LocalIp,
        Of::Grouping(_) => By::Grouping,
        Of::Tenantid(_) => By::TenantId,
    })
}

fn unique_by(wanted: &request::r#return::Unique) -> Option<By> {
    use request::r#return::unique::Field as Of;
    Some(match wanted.field.as_ref()? {
        Of::Transportid(_) => By::TransportId,
        Of::Recipientdomain(_) => By::RecipientDomain,
        Of::Senderdomain(_) => By::SenderDomain,
        Of::Jobid(_) => By::JobId,
        Of::Metadata(name) => By::Metadata(name.clone()),
        Of::Senderip(_) => By::SenderIp,
        Of::Remoteip(_) => By::RemoteIp,
        Of::Remotemx(_) => By::RemoteMx,
        Of::Localip(_) => By::LocalIp,
        Of::Grouping(_) => By::Grouping,
        Of::Tenantid(_) => By::TenantId,
    })
}

/// A value of a field that is shown under a name of the request.
enum Named {
    Exact(Vec<u8>),
    Regex(Regex),
}

/// A field with the names that take the place of its values.
struct Grouped {
    by: By,
    names: Vec<(Arc<str>, Vec<Named>)>,
    /// Whether the groups of the policies count too.
    policies: bool,
}

impl Grouped {
    fn new(by: By, wanted: &QueueGroupByRequest, plain: bool) -> Result<Grouped, String> {
        let mut names = Vec::new();
        for (name, of) in wanted.groupings.iter().filter(|_| !plain) {
            let values = by.groups(of).iter().map(|value| match value.r#type() {
                string_regex_value::Type::Exact => {
                    Ok(Named::Exact(value.value.to_ascii_lowercase().into_bytes()))
                }
                string_regex_value::Type::Regex => Regex::new(&value.value)
                    .map(Named::Regex)
                    .map_err(|error| format!("Bad regular expression {}: {error}", value.value)),
            });
            let values: Vec<Named> = values.collect::<Result<_, _>>()?;
            if !values.is_empty() {
                names.push((Arc::from(name.as_str()), values));
            }
        }
        let flags = wanted.policygroupings.as_ref().map(fields_of);
        let policies = !plain
            && by
                .field()
                .is_some_and(|field| flags.is_some_and(|flags| flags.contains(&field)));
        Ok(Grouped {
            by,
            names,
            policies,
        })
    }

    fn value(&self, view: &View<'_>, around: Around<'_>) -> Value {
        let value = self.by.value(view);
        if !self.names.is_empty() {
            let text = value.to_text().to_ascii_lowercase();
            let fits = |named: &Named| match named {
                Named::Exact(exact) => text.as_bytes() == exact,
                Named::Regex(regex) => regex.is_match(text.as_bytes()),
            };
            let mut names = self.names.iter();
            if let Some((name, _)) = names.find(|(_, values)| values.iter().any(fits)) {
                return Value::Group(Arc::clone(name));
            }
        }
        if let (true, Some(field)) = (self.policies, self.by.field()) {
            let group = match &value {
                Value::Text(text) => around.policies.group_of(field, FieldValue::Text(text)),
                Value::Address(ip) => around.policies.group_of(field, FieldValue::Address(*ip)),
                Value::None | Value::Group(_) => None,
            };
            if let Some(name) = group {
                return Value::Group(format!("#{name}").into());
            }
        }
        value
    }
}

type Test = Box<dyn Fn(&View<'_>) -> bool + Send + Sync>;

/// What is counted in one column.
struct Column {
    /// Which items; none: all.
    test: Option<Test>,
    what: What,
}

enum What {
    Items,
    Bytes,
    Unique(Grouped),
}

impl What {
    fn new(wanted: Option<&request::Return>, all: &QueueGroupByRequest) -> Result<What, String> {
        use request::r#return::Value as Of;
        Ok(match wanted.and_then(|wanted| wanted.value.as_ref()) {
            None => What::Items,
            Some(Of::Type(kind)) if *kind == request::r#return::Type::Bytes as i32 => What::Bytes,
            Some(Of::Type(_)) => What::Items,
            Some(Of::Unique(unique)) => {
                let by = unique_by(unique).ok_or("unique: names no field")?;
                What::Unique(Grouped::new(by, all, unique.nogrouping)?)
            }
        })
    }
}

/// A sum under way.
#[derive(Default)]
struct Sum {
    number: u64,
    seen: HashSet<Value>,
}

impl Sum {
    fn add(&mut self, what: &What, view: &View<'_>, around: Around<'_>) {
        let by = match what {
            What::Items => 1,
            What::Bytes => view.item.size,
            What::Unique(grouped) => u64::from(self.seen.insert(grouped.value(view, around))),
        };
        self.number = self.number.saturating_add(by);
    }
}

fn test(count: &request::Count, now: Timestamp) -> Option<Test> {
    use request::count::Of;
    let state = |state: State| -> Test { Box::new(move |view| view.state == state) };
    Some(match count.of.as_ref()? {
        Of::Queue(queue) if *queue == Queue::Defer as i32 => state(State::Defer),
        Of::Queue(_) => state(State::Active),
        Of::Freeze(freeze) if *freeze == Freeze::Update as i32 => state(State::Update),
        Of::Freeze(_) => state(State::Hold),
        Of::Working(working) if *working == Working::Sending as i32 => state(State::Sending),
        Of::Working(_) => state(State::Unknown),
        Of::Ts(wanted) => {
            let test = time_test(wanted, now);
            Box::new(move |view| test(view.item.received.as_secs_f64()))
        }
        Of::Retryts(wanted) => {
            let test = time_test(wanted, now);
            Box::new(move |view| view.item.retryts.is_some_and(|at| test(at.as_secs_f64())))
        }
        Of::Retrycount(wanted) => {
            let test = number_test(wanted);
            Box::new(move |view| test(u64::from(view.item.retrycount)))
        }
        Of::Priority(wanted) => {
            let test = number_test(wanted);
            Box::new(move |view| test(view.item.priority.number()))
        }
    })
}

/// Carries out a request.
pub(super) async fn group(
    queue: &Handle,
    filter: Arc<Filter>,
    wanted: &QueueGroupByRequest,
    now: Timestamp,
) -> Result<QueueGroupByResponse, String> {
    let by: Vec<Grouped> = (wanted.groupbys.iter().filter_map(group_by))
        .map(|by| Grouped::new(by, wanted, false))
        .collect::<Result<_, _>>()?;
    let mut columns = Vec::new();
    for count in &wanted.counts {
        columns.push(Column {
            test: test(count, now),
            what: What::new(count.r#return.as_ref(), wanted)?,
        });
    }
    // The last column is the total.
    columns.push(Column {
        test: None,
        what: What::new(wanted.r#return.as_ref(), wanted)?,
    });
    let rows: HashMap<Vec<Value>, Vec<Sum>> = HashMap::new();
    let count = columns.len();
    let see =
        move |rows: &mut HashMap<Vec<Value>, Vec<Sum>>, view: &View<'_>, around: Around<'_>| {
            let key: Vec<Value> = by.iter().map(|by| by.value(view, around)).collect();
            let sums = rows
                .entry(key)
                .or_insert_with(|| (0..count).map(|_| Sum::default()).collect());
            for (sum, column) in sums.iter_mut().zip(&columns) {
                if column.test.as_ref().is_none_or(|test| test(view)) {
                    sum.add(&column.what, view, around);
                }
            }
        };
    let rows = scan(queue, &filter, rows, see).await;
    let rows = rows.map_err(|stopped| stopped.to_string())?;
    let mut items: Vec<Item> = rows
        .into_iter()
        .map(|(key, sums)| {
            let mut counts: Vec<u64> = sums.iter().map(|sum| sum.number).collect();
            let total = counts.pop().unwrap_or(0);
            Item {
                groupbys: key.iter().map(Value::to_text).collect(),
                counts,
                total,
            }
        })
        .collect();
    items.sort_unstable_by(|a, b| compare(&wanted.sortings, a, b));
    let total = items.len() as u64;
    let paging = wanted.paging.unwrap_or_default();
    let offset = usize::try_from(paging.offset).unwrap_or(usize::MAX);
    let limit = match paging.limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    Ok(QueueGroupByResponse {
        items: items.into_iter().skip(offset).take(limit).collect(),
        paging: Some(PagingResponse { total }),
    })
}

/// By the wanted sortings, then the greatest total first, then by the values.
fn compare(sortings: &[request::Sorting], a: &Item, b: &Item) -> Ordering {
    use request::sorting::By as Of;
    let place = |index: &u64| usize::try_from(*index).unwrap_or(usize::MAX);
    for sorting in sortings {
        let order = match &sorting.by {
            Some(Of::Groupby(index)) => a
                .groupbys
                .get(place(index))
                .cmp(&b.groupbys.get(place(index))),
            Some(Of::Count(index)) => a.counts.get(place(index)).cmp(&b.counts.get(place(index))),
            Some(Of::Total(_)) => a.total.cmp(&b.total),
            None => Ordering::Equal,
        };
        let order = match sorting.order() {
            Order::Asc => order,
            Order::Desc => order.reverse(),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    b.total
        .cmp(&a.total)
        .then_with(|| a.groupbys.cmp(&b.groupbys))
}
