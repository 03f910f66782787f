//! `ctl queue`: lists and looks.

use angarium_control::proto::{
    self, Order, PagingRequest, QueueGroupByRequest, QueueGroupByResponse, QueueItemId,
    QueueListRequest, QueueListResponse, queue_group_by_request as groupby,
    queue_list_request as request, queue_list_response as response,
};
use clap::{Args, Subcommand, ValueEnum};

use super::changes::{self, Load, Unload, Update};
use super::conditions::{Conditions, age, compare_number, delay, item};
use super::connections;
use super::policies::{self, Policy, Suspend};
use super::table::{Table, span};
use super::{Ctl, NONE};
use crate::cli::Failure;
use crate::cli::terminal::{print, print_bytes};

/// `ctl queue …`
#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// List messages
    List(List),
    /// Count messages by values of their fields
    Groupby(GroupBy),
    /// Change, move or remove messages
    Update(Update),
    /// Hand messages over as files and remove them
    Unload(Unload),
    /// Put a message in: a file of `unload`, or an .eml file
    Load(Load),
    /// Print a message
    Export {
        /// UUID:N
        id: String,
    },
    /// Show what counts for a quota
    Quota {
        /// Its name
        name: String,
    },
    /// Say why a message is still here, who set that, and when it will go
    Why {
        /// UUID:N, or UUID of a message with one recipient
        id: String,
    },
    /// Look for messages that nothing will move, or that are too old
    Audit,
    /// Suspends: nothing with their values is picked up
    Suspend {
        #[command(subcommand)]
        command: Suspend,
    },
    /// Policies and the conditions set at run time
    Policy {
        #[command(subcommand)]
        command: Box<Policy>,
    },
    /// Connections to other servers
    Connections {
        #[command(subcommand)]
        command: connections::Outbound,
    },
    /// Settings by destination
    Delivery {
        #[command(subcommand)]
        command: Reload,
    },
}

/// A file that can be read again.
#[derive(Debug, Subcommand)]
pub(super) enum Reload {
    /// Read its file again
    Reload,
}

/// `ctl queue list`
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    conditions: Conditions,
    /// A column: id, state, age, ts, sender, recipient, transportid and so on
    #[arg(short = 'F', long = "field", value_name = "NAME", value_parser = FIELDS)]
    fields: Vec<String>,
    /// A ready-made set of columns
    #[arg(long, conflicts_with = "fields")]
    view: Option<View>,
    /// Sort by ts, sender, recipient (with .localpart or .domain), duration, retryts, size or retrycount; `-` before it turns it round
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Vec<String>,
    /// Leave out so many
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    offset: u64,
    /// Show at most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum View {
    /// What waits for its next attempt
    Defer,
    /// What waits to be picked up
    Active,
    /// What is being delivered
    Connections,
}

const FIELDS: [&str; 28] = [
    "id",
    "state",
    "age",
    "ts",
    "duration",
    "hold",
    "sender",
    "recipient",
    "transportid",
    "jobid",
    "tenantid",
    "grouping",
    "retrycount",
    "retrydelay",
    "retryreason",
    "size",
    "subject",
    "senderip",
    "senderhelo",
    "saslusername",
    "serverid",
    "localips",
    "remoteip",
    "remotemx",
    "tags",
    "quotas",
    "priority",
    "metadata",
];

const COLUMNS: [&str; 9] = [
    "id",
    "state",
    "age",
    "sender",
    "recipient",
    "transportid",
    "retrycount",
    "retrydelay",
    "retryreason",
];

impl View {
    fn columns(self) -> &'static [&'static str] {
        match self {
            View::Defer => &["id", "recipient", "retrycount", "retrydelay", "retryreason"],
            View::Active => &[
                "id",
                "recipient",
                "transportid",
                "jobid",
                "priority",
                "localips",
                "remotemx",
                "remoteip",
                "grouping",
                "tags",
            ],
            View::Connections => &[
                "id",
                "recipient",
                "duration",
                "localips",
                "remotemx",
                "remoteip",
                "tags",
            ],
        }
    }
}

/// Names of fields whose values are numbers.
const NUMBERS: [&str; 6] = [
    "age",
    "duration",
    "retrycount",
    "retrydelay",
    "size",
    "priority",
];

/// `ctl queue groupby`
#[derive(Debug, Args)]
pub(super) struct GroupBy {
    #[command(flatten)]
    conditions: Conditions,
    /// transportid, recipientdomain, senderdomain, jobid, tenantid, senderip, remoteip, remotemx, localip, grouping or metadata.NAME
    #[arg(long, value_name = "FIELD", required_unless_present = "qshape")]
    groupby: Vec<String>,
    /// A column: age=<300, retrydelay=>60, retrycount=>3, priority=1 or state=DEFER
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    count: Vec<String>,
    /// By the recipient's domain, with a column for each age
    #[arg(long)]
    qshape: bool,
    /// Add up sizes in bytes
    #[arg(long, conflicts_with = "unique")]
    bytes: bool,
    /// Count the different values of this field
    #[arg(long, value_name = "FIELD")]
    unique: Option<String>,
    /// The values that the policies' groups make of these fields
    #[arg(long)]
    rollup: bool,
    /// Sort by total, a field of --groupby, or the number of a --count from 1; `-` before it turns it round
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Vec<String>,
    /// Show at most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    limit: u64,
}

/// Ages of `--qshape`, in minutes.
const SHAPE: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

pub(super) async fn run(ctl: &mut Ctl, command: Queue) -> Result<(), Failure> {
    match command {
        Queue::List(args) => list(ctl, &args).await,
        Queue::Groupby(args) => group(ctl, &args).await,
        Queue::Update(args) => changes::update(ctl, &args).await,
        Queue::Unload(args) => changes::unload(ctl, &args).await,
        Queue::Load(args) => changes::load(ctl, &args).await,
        Queue::Export { id } => export(ctl, &id).await,
        Queue::Quota { name } => quota(ctl, name).await,
        Queue::Why { id } => why(ctl, &id).await,
        Queue::Audit => audit(ctl).await,
        Queue::Suspend { command } => policies::suspend(ctl, command).await,
        Queue::Policy { command } => policies::policy(ctl, *command).await,
        Queue::Connections { command } => connections::queue(ctl, command).await,
        Queue::Delivery {
            command: Reload::Reload,
        } => ctl.tell(b'H', NONE).await,
    }
}

fn usage(text: String) -> Failure {
    Failure::Usage(text)
}

fn sorting(text: &str) -> Result<request::Sorting, Failure> {
    use request::address_sorting::Part;
    use request::sorting::Field;
    let (order, name) = match text.strip_prefix('-') {
        Some(name) => (Order::Desc, name),
        None => (Order::Asc, text),
    };
    let order = i32::from(order);
    let part = |part| request::AddressSorting { part: Some(part) };
    let field = match name {
        "ts" | "age" => Field::Ts(order),
        "sender" | "sender.domain" => Field::Sender(part(Part::Domain(order))),
        "sender.localpart" => Field::Sender(part(Part::Localpart(order))),
        "recipient" | "recipient.domain" => Field::Recipient(part(Part::Domain(order))),
        "recipient.localpart" => Field::Recipient(part(Part::Localpart(order))),
        "duration" => Field::Working(request::WorkingSorting {
            duration: Some(order),
        }),
        "retryts" | "retrydelay" => Field::Retryts(order),
        "size" => Field::Size(order),
        "retrycount" => Field::Retrycount(order),
        _ => {
            return Err(usage(format!(
                "cannot sort by `{name}`: ts, sender, recipient, each of these two with .localpart or .domain, duration, \
                 retryts, size and retrycount can be sorted by"
            )));
        }
    };
    Ok(request::Sorting { field: Some(field) })
}

async fn list(ctl: &mut Ctl, args: &List) -> Result<(), Failure> {
    let sortings: Result<_, _> = args.sort.iter().map(|text| sorting(text)).collect();
    let wanted = QueueListRequest {
        conditions: Some(args.conditions.message()?),
        sortings: sortings?,
        paging: Some(PagingRequest {
            offset: args.offset,
            limit: args.limit,
        }),
    };
    let Some(answer) = ctl.ask::<QueueListResponse>(b'F', Some(&wanted)).await? else {
        return Ok(());
    };
    let columns: Vec<&str> = match (&args.fields[..], args.view) {
        ([], None) => COLUMNS.to_vec(),
        ([], Some(view)) => view.columns().to_vec(),
        (fields, _) => fields.iter().map(String::as_str).collect(),
    };
    let right = columns.iter().enumerate();
    let right = right
        .filter(|(_, name)| NUMBERS.contains(name))
        .map(|(place, _)| place);
    let now = angarium_effects::Clock::unix(&angarium_effects::system::SystemClock).as_secs_f64();
    let mut table = Table::new(columns.iter().copied()).right(right);
    for item in &answer.items {
        table.row(columns.iter().map(|name| field(item, name, now)));
    }
    table.print()?;
    let total = answer.paging.unwrap_or_default().total;
    let shown = answer.items.len() as u64;
    if shown < total {
        print(&format!("{shown} of {total} messages\n"))?;
    }
    Ok(())
}

fn id(id: Option<&QueueItemId>) -> String {
    id.map_or_else(String::new, |id| format!("{}:{}", id.transaction, id.queue))
}

fn address(address: Option<&proto::Address>) -> String {
    match address {
        Some(address) if !address.domain.is_empty() => {
            format!("{}@{}", address.localpart, address.domain)
        }
        Some(address) if address.localpart.is_empty() => "<>".to_owned(),
        Some(address) => address.localpart.clone(),
        None => String::new(),
    }
}

fn state(item: &response::Item) -> &'static str {
    match &item.state {
        Some(response::item::State::Queue(queue)) => queue.queue().as_str_name(),
        Some(response::item::State::Freeze(freeze)) => freeze.freeze().as_str_name(),
        Some(response::item::State::Working(working)) => working.working().as_str_name(),
        None => "",
    }
}

fn field(item: &response::Item, name: &str, now: f64) -> String {
    match name {
        "id" => id(item.id.as_ref()),
        "state" => state(item).to_owned(),
        "age" => span(now - item.ts),
        "ts" => jiff::Timestamp::from_second(whole(item.ts))
            .map_or_else(|_| item.ts.to_string(), |stamp| stamp.to_string()),
        "duration" => match &item.state {
            Some(response::item::State::Working(working)) => span(working.duration),
            _ => String::new(),
        },
        "hold" => item.hold.to_string(),
        "sender" => address(item.sender.as_ref()),
        "recipient" => address(item.recipient.as_ref()),
        "transportid" => item.transportid.clone(),
        "jobid" => item.jobid.clone(),
        "tenantid" => item.tenantid.clone(),
        "grouping" => item.grouping.clone(),
        "retrycount" => item.retrycount.to_string(),
        "retrydelay" => match state(item) {
            "DEFER" => span(item.retrydelay),
            _ => String::new(),
        },
        "retryreason" => item.retryreason.clone(),
        "size" => item.size.to_string(),
        "subject" => item.subject.clone(),
        "senderip" => item.senderip.clone(),
        "senderhelo" => item.senderhelo.clone(),
        "saslusername" => item.saslusername.clone(),
        "serverid" => item.serverid.clone(),
        "localips" => item.localips.join(","),
        "remoteip" => item.remoteip.clone(),
        "remotemx" => item.remotemx.clone(),
        "tags" => item.tags.join(","),
        "quotas" => item.quotas.join(","),
        "priority" => item.priority.to_string(),
        "metadata" => {
            let pairs = item.metadata.iter();
            let pairs: Vec<String> = pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            pairs.join(",")
        }
        _ => String::new(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn whole(seconds: f64) -> i64 {
    seconds as i64
}

fn group_field(name: &str) -> Result<groupby::group_by::Field, Failure> {
    use groupby::group_by::Field;
    Ok(match name {
        "transportid" => Field::Transportid(true),
        "recipientdomain" => Field::Recipientdomain(true),
        "senderdomain" => Field::Senderdomain(true),
        "jobid" => Field::Jobid(true),
        "tenantid" => Field::Tenantid(true),
        "senderip" => Field::Senderip(true),
        "remoteip" => Field::Remoteip(true),
        "remotemx" => Field::Remotemx(true),
        "localip" => Field::Localip(true),
        "grouping" => Field::Grouping(true),
        _ => match name.strip_prefix("metadata.") {
            Some(name) => Field::Metadata(name.to_owned()),
            None => {
                return Err(usage(format!(
                    "cannot group by `{name}`: transportid, recipientdomain, senderdomain, jobid, tenantid, senderip, \
                     remoteip, remotemx, localip, grouping and metadata.NAME can be grouped by"
                )));
            }
        },
    })
}

fn unique(name: &str) -> Result<groupby::Return, Failure> {
    use groupby::group_by::Field as By;
    use groupby::r#return::unique::Field;
    let field = match group_field(name)? {
        By::Transportid(_) => Field::Transportid(true),
        By::Recipientdomain(_) => Field::Recipientdomain(true),
        By::Senderdomain(_) => Field::Senderdomain(true),
        By::Jobid(_) => Field::Jobid(true),
        By::Tenantid(_) => Field::Tenantid(true),
        By::Senderip(_) => Field::Senderip(true),
        By::Remoteip(_) => Field::Remoteip(true),
        By::Remotemx(_) => Field::Remotemx(true),
        By::Localip(_) => Field::Localip(true),
        By::Grouping(_) => Field::Grouping(true),
        By::Metadata(name) => Field::Metadata(name),
    };
    let unique = groupby::r#return::Unique {
        field: Some(field),
        nogrouping: false,
    };
    Ok(groupby::Return {
        value: Some(groupby::r#return::Value::Unique(unique)),
    })
}

fn count(expression: &str) -> Result<groupby::count::Of, Failure> {
    use groupby::count::Of;
    let (name, value) = expression
        .split_once('=')
        .ok_or_else(|| usage(format!("--count {expression}: must be NAME=VALUE")))?;
    Ok(match name {
        "age" => Of::Ts(age(value)?),
        "retrydelay" => Of::Retryts(delay(value)?),
        "retrycount" => Of::Retrycount(compare_number(value)?),
        "priority" => Of::Priority(compare_number(value)?),
        "state" => match value.to_ascii_uppercase().as_str() {
            "ACTIVE" => Of::Queue(proto::Queue::Active.into()),
            "DEFER" => Of::Queue(proto::Queue::Defer.into()),
            "HOLD" => Of::Freeze(proto::Freeze::Hold.into()),
            "UPDATE" => Of::Freeze(proto::Freeze::Update.into()),
            "SENDING" => Of::Working(proto::Working::Sending.into()),
            "UNKNOWN" => Of::Working(proto::Working::Unknown.into()),
            _ => return Err(usage(format!("there is no state `{value}`"))),
        },
        _ => return Err(usage(format!("cannot count by `{name}`"))),
    })
}

/// The columns of `--qshape`: titles and tests.
fn shape() -> Vec<(String, groupby::count::Of)> {
    use proto::{CompareTime, TimeValue, time_value};
    #[expect(clippy::cast_precision_loss, reason = "minutes of the table")]
    let before = |minutes: u64| {
        Some(TimeValue {
            time: Some(time_value::Time::Relative(-(minutes as f64) * 60.0)),
        })
    };
    let mut columns = Vec::new();
    let mut from = None;
    for to in SHAPE {
        let between = CompareTime {
            gt: before(to),
            lte: from.and_then(before),
            ..CompareTime::default()
        };
        columns.push((to.to_string(), groupby::count::Of::Ts(between)));
        from = Some(to);
    }
    let older = CompareTime {
        lte: from.and_then(before),
        ..CompareTime::default()
    };
    columns.push(("1280+".to_owned(), groupby::count::Of::Ts(older)));
    columns
}

async fn group(ctl: &mut Ctl, args: &GroupBy) -> Result<(), Failure> {
    let mut by = args.groupby.clone();
    if args.qshape && by.is_empty() {
        by.push("recipientdomain".to_owned());
    }
    let mut counts = Vec::new();
    for expression in &args.count {
        counts.push((expression.clone(), count(expression)?));
    }
    if args.qshape {
        counts.extend(shape());
    }
    let what = match (&args.unique, args.bytes) {
        (Some(field), _) => Some(unique(field)?),
        (None, true) => Some(groupby::Return {
            value: Some(groupby::r#return::Value::Type(
                groupby::r#return::Type::Bytes.into(),
            )),
        }),
        (None, false) => None,
    };
    let mut sortings = Vec::new();
    for text in &args.sort {
        let (order, name) = match text.strip_prefix('-') {
            Some(name) => (Order::Desc, name),
            None => (Order::Asc, text.as_str()),
        };
        use groupby::sorting::By;
        let place = by.iter().position(|field| field == name);
        let by = match (name, place, name.parse::<u64>()) {
            ("total", _, _) => By::Total(true),
            (_, Some(place), _) => By::Groupby(place as u64),
            (_, None, Ok(number)) if number > 0 => By::Count(number - 1),
            _ => return Err(usage(format!("cannot sort by `{name}`"))),
        };
        sortings.push(groupby::Sorting {
            by: Some(by),
            order: order.into(),
        });
    }
    let fields = by.iter().map(|name| {
        Ok(groupby::GroupBy {
            field: Some(group_field(name)?),
        })
    });
    let wanted = QueueGroupByRequest {
        conditions: Some(args.conditions.message()?),
        groupbys: fields.collect::<Result<_, Failure>>()?,
        counts: (counts.iter())
            .map(|(_, of)| groupby::Count {
                of: Some(*of),
                r#return: what.clone(),
            })
            .collect(),
        r#return: what,
        sortings,
        paging: Some(PagingRequest {
            offset: 0,
            limit: args.limit,
        }),
        policygroupings: args.rollup.then_some(proto::Fields {
            transportid: true,
            localip: true,
            remoteip: true,
            remotemx: true,
            recipientdomain: true,
            jobid: true,
            grouping: true,
            tenantid: true,
        }),
        ..QueueGroupByRequest::default()
    };
    let Some(answer) = ctl.ask::<QueueGroupByResponse>(b'D', Some(&wanted)).await? else {
        return Ok(());
    };
    let titles = by.iter().chain(counts.iter().map(|(title, _)| title));
    let titles: Vec<String> = titles.cloned().chain(["total".to_owned()]).collect();
    let numbers = by.len()..titles.len();
    let mut table = Table::new(titles).right(numbers);
    for item in &answer.items {
        let numbers = item.counts.iter().chain([&item.total]);
        let row = item.groupbys.iter().cloned();
        table.row(row.chain(numbers.map(u64::to_string)));
    }
    table.print()
}

/// The id of one item; 0 as number is the only one of its transaction.
fn item_id(text: &str) -> Result<QueueItemId, Failure> {
    let (transaction, queue) = item(text)?;
    Ok(QueueItemId { transaction, queue })
}

async fn export(ctl: &mut Ctl, id: &str) -> Result<(), Failure> {
    use angarium_control::Message as _;
    let wanted = proto::QueueExportRequest {
        id: Some(item_id(id)?),
    };
    let message = ctl.send(b'L', Some(&wanted.encode_to_vec())).await?;
    print_bytes(&message)
}

async fn quota(ctl: &mut Ctl, quota: String) -> Result<(), Failure> {
    let wanted = proto::QueueQuotaRequest { quota };
    let answer = ctl
        .ask::<proto::QueueQuotaResponse>(b'I', Some(&wanted))
        .await?;
    let Some(answer) = answer else { return Ok(()) };
    let mut table = Table::new(["quota", "messages", "bytes"]).right([1, 2]);
    table.row([
        wanted.quota,
        answer.count.to_string(),
        answer.bytes.to_string(),
    ]);
    table.print()
}

async fn why(ctl: &mut Ctl, id: &str) -> Result<(), Failure> {
    let wanted = proto::QueueWhyRequest {
        id: Some(item_id(id)?),
    };
    let answer = ctl
        .ask::<proto::QueueWhyResponse>(b'1', Some(&wanted))
        .await?;
    match answer {
        Some(answer) => print(&format!("{}\n", answer.text)),
        None => Ok(()),
    }
}

async fn audit(ctl: &mut Ctl) -> Result<(), Failure> {
    let answer = ctl.ask::<proto::QueueAuditResponse>(b'2', NONE).await?;
    let Some(answer) = answer else { return Ok(()) };
    if answer.findings.is_empty() {
        let count = answer.checked;
        return print(&format!("{count} messages, none is forgotten\n"));
    }
    let mut table = Table::new(["id", "state", "what"]);
    for finding in &answer.findings {
        table.row([
            id(finding.id.as_ref()),
            finding.state.clone(),
            finding.text.clone(),
        ]);
    }
    table.print()?;
    Err(Failure::Status(1))
}
