//! `ctl queue suspend` and `ctl queue policy`.

use angarium_control::proto::{
    self, PagingRequest, PolicyConditionAddRequest, PolicyConditionResponse,
    PolicyConditionUpdateRequest, PolicyIf, PolicyRate, PolicyThen, StringValue, SuspendAddRequest,
    SuspendRequest, SuspendResponse, suspend_request,
};
use clap::{Args, Subcommand};

use super::table::{Table, span};
use super::{Ctl, NONE, pair, value};
use crate::cli::Failure;
use crate::cli::terminal::print;

/// `ctl queue suspend …`
#[derive(Debug, Subcommand)]
pub(super) enum Suspend {
    /// List suspends, and the limits that are reached now
    List(SuspendList),
    /// Suspend what has these values
    Add(SuspendAdd),
    /// Give a suspend another time to live or label
    Update(SuspendUpdate),
    /// End a suspend
    Delete {
        /// Its id
        id: String,
    },
    /// Read smtpd-suspend.yaml again
    Reload,
}

/// Values of the fields that policies know.
#[derive(Debug, Args, Default)]
pub(super) struct Values {
    /// Transport
    #[arg(long, value_name = "VALUE")]
    transportid: Option<String>,
    /// Source address
    #[arg(long, value_name = "VALUE")]
    localip: Option<String>,
    /// Address of the destination
    #[arg(long, value_name = "VALUE")]
    remoteip: Option<String>,
    /// Host of the destination
    #[arg(long, value_name = "VALUE")]
    remotemx: Option<String>,
    /// Domain of the recipient
    #[arg(long, value_name = "VALUE")]
    recipientdomain: Option<String>,
    /// Job
    #[arg(long, value_name = "VALUE")]
    jobid: Option<String>,
    /// Grouping of the destination, such as &big
    #[arg(long, value_name = "VALUE")]
    grouping: Option<String>,
    /// Tenant
    #[arg(long, value_name = "VALUE")]
    tenantid: Option<String>,
}

/// `ctl queue suspend list`
#[derive(Debug, Args)]
pub(super) struct SuspendList {
    #[command(flatten)]
    values: Values,
    /// One suspend
    #[arg(long)]
    id: Option<String>,
    /// Its label
    #[arg(long)]
    tag: Option<String>,
    /// The values are those of a message: what would keep it from being picked up?
    #[arg(long)]
    pickup: bool,
    /// Show at most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u64,
}

/// `ctl queue suspend add`
#[derive(Debug, Args)]
pub(super) struct SuspendAdd {
    #[command(flatten)]
    values: Values,
    /// Suspend everything: needed without any value
    #[arg(long)]
    all: bool,
    /// Seconds until it ends; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    ttl: f64,
    /// A label
    #[arg(long)]
    tag: Option<String>,
    /// Its id
    #[arg(long)]
    id: Option<String>,
    /// A value for scripts
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
}

/// `ctl queue suspend update`
#[derive(Debug, Args)]
pub(super) struct SuspendUpdate {
    /// Its id
    id: String,
    /// Seconds from now until it ends; 0: never
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<f64>,
    /// A label
    #[arg(long)]
    tag: Option<String>,
}

/// `ctl queue policy …`
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// List the conditions set at run time
    List,
    /// Set limits for what has these values
    Add(PolicyAdd),
    /// Change the limits or the time to live of a condition
    Update(PolicyUpdate),
    /// Take a condition away
    Delete {
        /// Its id
        id: String,
    },
    /// Put tokens into the buckets of rates
    Refill(Refill),
    /// Show the policies that apply to a message with these values
    Match(Values),
    /// Groups that policies put values into
    Grouping {
        #[command(subcommand)]
        command: Grouping,
    },
    /// Read smtpd-policy.yaml again
    Reload,
}

/// `ctl queue policy grouping …`
#[derive(Debug, Subcommand)]
pub(super) enum Grouping {
    /// List the groups
    List,
    /// Show the values of a group
    Show {
        /// The field: remotemx, recipientdomain and so on
        field: String,
        /// Its name
        name: String,
    },
}

/// Limits.
#[derive(Debug, Args)]
struct Limits {
    /// Deliveries at once
    #[arg(long, value_name = "NUMBER")]
    concurrency: Option<u64>,
    /// Messages per second, or in so many seconds
    #[arg(long, value_name = "N[/SECONDS]", value_parser = rate)]
    rate: Option<PolicyRate>,
    /// Seconds between new connections
    #[arg(long, value_name = "SECONDS")]
    connectinterval: Option<f64>,
    /// A label
    #[arg(long)]
    tag: Option<String>,
    /// Later policies are left out
    #[arg(long)]
    stop: bool,
    /// A value for scripts
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
}

/// `ctl queue policy add`
#[derive(Debug, Args)]
pub(super) struct PolicyAdd {
    /// A field of the policy; without any it is the global one
    #[arg(long, value_name = "FIELD", value_parser = FIELDS)]
    field: Vec<String>,
    /// A value that a field must have
    #[arg(long = "if", value_name = "FIELD=VALUE", value_parser = pair)]
    conditions: Vec<(String, String)>,
    #[command(flatten)]
    limits: Limits,
    /// Seconds until it ends; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    ttl: f64,
    /// Its id
    #[arg(long)]
    id: Option<String>,
    /// A label for its kind, such as backoff
    #[arg(long, value_name = "KIND")]
    r#type: Option<String>,
}

/// `ctl queue policy update`
#[derive(Debug, Args)]
pub(super) struct PolicyUpdate {
    /// Its id
    id: String,
    #[command(flatten)]
    limits: Limits,
    /// Seconds from now until it ends; 0: never
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<f64>,
}

/// `ctl queue policy refill`
#[derive(Debug, Args)]
pub(super) struct Refill {
    /// How many
    tokens: f64,
    #[command(flatten)]
    values: Values,
}

const FIELDS: [&str; 8] = [
    "transportid",
    "localip",
    "remoteip",
    "remotemx",
    "recipientdomain",
    "jobid",
    "grouping",
    "tenantid",
];

fn rate(text: &str) -> Result<PolicyRate, String> {
    let (count, interval) = text.split_once('/').unwrap_or((text, "1"));
    let wrong = "must be N or N/SECONDS";
    let count = count.parse().map_err(|_| wrong)?;
    let interval: f64 = interval.parse().map_err(|_| wrong)?;
    if !(interval.is_finite() && interval > 0.0) {
        return Err(wrong.to_owned());
    }
    Ok(PolicyRate { count, interval })
}

fn optional(text: &Option<String>) -> Option<StringValue> {
    text.clone().and_then(value)
}

impl Values {
    fn message(&self) -> PolicyIf {
        PolicyIf {
            transportid: optional(&self.transportid),
            localip: optional(&self.localip),
            remoteip: optional(&self.remoteip),
            remotemx: optional(&self.remotemx),
            recipientdomain: optional(&self.recipientdomain),
            jobid: optional(&self.jobid),
            grouping: optional(&self.grouping),
            tenantid: optional(&self.tenantid),
        }
    }
}

impl Limits {
    fn message(&self) -> PolicyThen {
        PolicyThen {
            rate: self.rate,
            concurrency: self.concurrency,
            tag: optional(&self.tag),
            stop: self.stop.then_some(true),
            properties: self.property.iter().cloned().collect(),
            connectinterval: self
                .connectinterval
                .map(|value| proto::DoubleValue { value }),
            cluster: None,
        }
    }
}

/// Values of fields in a line.
fn shown(of: &PolicyIf) -> String {
    let list = [
        ("transportid", &of.transportid),
        ("localip", &of.localip),
        ("remoteip", &of.remoteip),
        ("remotemx", &of.remotemx),
        ("recipientdomain", &of.recipientdomain),
        ("jobid", &of.jobid),
        ("grouping", &of.grouping),
        ("tenantid", &of.tenantid),
    ];
    let list = list.into_iter();
    let list = list.filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?.value)));
    list.collect::<Vec<_>>().join(" ")
}

fn names(fields: Option<&proto::Fields>) -> String {
    let Some(of) = fields else {
        return String::new();
    };
    let list = [
        of.transportid,
        of.localip,
        of.remoteip,
        of.remotemx,
        of.recipientdomain,
        of.jobid,
        of.grouping,
        of.tenantid,
    ];
    let names = FIELDS.into_iter().zip(list).filter(|(_, given)| *given);
    names.map(|(name, _)| name).collect::<Vec<_>>().join(",")
}

fn ttl(seconds: f64) -> String {
    if seconds == 0.0 {
        return "-".to_owned();
    }
    span(seconds)
}

fn affected(count: u64, what: &str, id: &str) -> Result<(), Failure> {
    match count {
        0 => Err(Failure::Failed(format!("there is no {what} {id}"))),
        _ => print("ok\n"),
    }
}

pub(super) async fn suspend(ctl: &mut Ctl, command: Suspend) -> Result<(), Failure> {
    match command {
        Suspend::List(args) => list_suspends(ctl, &args).await,
        Suspend::Add(args) => {
            let of = args.values.message();
            if of == PolicyIf::default() && !args.all {
                let text = "say what to suspend with a flag, or --all";
                return Err(Failure::Usage(text.to_owned()));
            }
            let wanted = SuspendAddRequest {
                transportid: of.transportid,
                localip: of.localip,
                remoteip: of.remoteip,
                remotemx: of.remotemx,
                recipientdomain: of.recipientdomain,
                jobid: of.jobid,
                ttl: args.ttl,
                tag: optional(&args.tag),
                id: args.id.unwrap_or_default(),
                grouping: of.grouping,
                tenantid: of.tenantid,
                properties: args.property.into_iter().collect(),
            };
            match ctl
                .ask::<proto::SuspendAddResponse>(b't', Some(&wanted))
                .await?
            {
                Some(answer) => print(&format!("{}\n", answer.id)),
                None => Ok(()),
            }
        }
        Suspend::Update(args) => {
            if args.ttl.is_none() && args.tag.is_none() {
                let text = "say what to change: --ttl or --tag";
                return Err(Failure::Usage(text.to_owned()));
            }
            let wanted = proto::SuspendUpdateRequest {
                ttl: args.ttl,
                tag: optional(&args.tag),
                id: args.id,
            };
            match ctl
                .ask::<proto::SuspendUpdateResponse>(b'O', Some(&wanted))
                .await?
            {
                Some(answer) => affected(answer.affected, "suspend", &wanted.id),
                None => Ok(()),
            }
        }
        Suspend::Delete { id } => {
            let wanted = proto::SuspendDeleteRequest { id };
            match ctl
                .ask::<proto::SuspendDeleteResponse>(b'u', Some(&wanted))
                .await?
            {
                Some(answer) => affected(answer.affected, "suspend", &wanted.id),
                None => Ok(()),
            }
        }
        Suspend::Reload => ctl.tell(b'o', NONE).await,
    }
}

async fn list_suspends(ctl: &mut Ctl, args: &SuspendList) -> Result<(), Failure> {
    let of = args.values.message();
    let by = match &args.id {
        Some(id) => suspend_request::By::Id(id.clone()),
        None => suspend_request::By::Condition(suspend_request::Condition {
            transportid: of.transportid,
            localips: args.values.localip.iter().cloned().collect(),
            remoteip: of.remoteip,
            remotemx: of.remotemx,
            recipientdomain: of.recipientdomain,
            jobid: of.jobid,
            tag: optional(&args.tag),
            pickup: args.pickup,
            grouping: of.grouping,
            tenantid: of.tenantid,
        }),
    };
    let wanted = SuspendRequest {
        by: Some(by),
        paging: Some(PagingRequest {
            offset: 0,
            limit: args.limit,
        }),
    };
    let Some(answer) = ctl.ask::<SuspendResponse>(b's', Some(&wanted)).await? else {
        return Ok(());
    };
    let mut table = Table::new(["source", "id", "values", "tag", "ttl", "set by"]);
    for item in &answer.items {
        let values = shown(&PolicyIf {
            transportid: item.transportid.clone(),
            localip: item.localip.clone(),
            remoteip: item.remoteip.clone(),
            remotemx: item.remotemx.clone(),
            recipientdomain: item.recipientdomain.clone(),
            jobid: item.jobid.clone(),
            grouping: item.grouping.clone(),
            tenantid: item.tenantid.clone(),
        });
        let tag = item.tag.as_ref().map_or("", |tag| &tag.value);
        table.row([
            item.source().as_str_name(),
            &item.id,
            &values,
            tag,
            &ttl(item.ttl),
            &item.origin,
        ]);
    }
    table.print()
}

pub(super) async fn policy(ctl: &mut Ctl, command: Policy) -> Result<(), Failure> {
    match command {
        Policy::List => list_policies(ctl).await,
        Policy::Add(args) => add_policy(ctl, args).await,
        Policy::Update(args) => {
            let then = args.limits.message();
            let wanted = PolicyConditionUpdateRequest {
                id: args.id,
                then: (then != PolicyThen::default()).then_some(then),
                ttl: args.ttl,
            };
            let answer = ctl.ask::<proto::PolicyConditionUpdateResponse>(b'P', Some(&wanted));
            match answer.await? {
                Some(answer) => affected(answer.affected, "condition", &wanted.id),
                None => Ok(()),
            }
        }
        Policy::Delete { id } => {
            let wanted = proto::PolicyConditionDeleteRequest { id };
            let answer = ctl.ask::<proto::PolicyConditionDeleteResponse>(b'x', Some(&wanted));
            match answer.await? {
                Some(answer) => affected(answer.affected, "condition", &wanted.id),
                None => Ok(()),
            }
        }
        Policy::Refill(args) => {
            let of = args.values.message();
            let wanted = proto::PolicyRateRefillRequest {
                transportid: of.transportid,
                localip: of.localip,
                remoteip: of.remoteip,
                remotemx: of.remotemx,
                recipientdomain: of.recipientdomain,
                jobid: of.jobid,
                tokens: args.tokens,
                grouping: of.grouping,
                tenantid: of.tenantid,
            };
            let answer = ctl.ask::<proto::PolicyRateRefillResponse>(b'B', Some(&wanted));
            match answer.await? {
                Some(answer) => print(&format!("{} buckets refilled\n", answer.affected)),
                None => Ok(()),
            }
        }
        Policy::Match(values) => match_policies(ctl, values).await,
        Policy::Grouping { command } => grouping(ctl, command).await,
        Policy::Reload => ctl.tell(b'p', NONE).await,
    }
}

fn limits(then: &PolicyThen) -> Vec<String> {
    let rate = |of: &PolicyRate| format!("rate={}/{}", of.count, of.interval);
    let list = [
        then.concurrency.map(|of| format!("concurrency={of}")),
        then.rate.as_ref().map(rate),
        (then.connectinterval.as_ref()).map(|of| format!("connectinterval={}", of.value)),
        then.stop.map(|of| format!("stop={of}")),
    ];
    let properties = then.properties.iter();
    let properties = properties.map(|(name, value)| format!("{name}={value}"));
    list.into_iter().flatten().chain(properties).collect()
}

async fn list_policies(ctl: &mut Ctl) -> Result<(), Failure> {
    let answer = ctl.ask::<PolicyConditionResponse>(b'v', NONE).await?;
    let Some(answer) = answer else { return Ok(()) };
    let mut table = Table::new(["id", "fields", "if", "then", "tag", "type", "ttl", "set by"]);
    for item in &answer.items {
        let then = item.then.clone().unwrap_or_default();
        let tag = then.tag.as_ref().map_or("", |tag| &tag.value);
        table.row([
            item.id.as_str(),
            &names(item.fields.as_ref()),
            &item.r#if.as_ref().map(shown).unwrap_or_default(),
            &limits(&then).join(" "),
            tag,
            &item.r#type,
            &ttl(item.ttl),
            &item.origin,
        ]);
    }
    table.print()
}

async fn add_policy(ctl: &mut Ctl, args: PolicyAdd) -> Result<(), Failure> {
    let mut of = PolicyIf::default();
    for (field, text) in args.conditions {
        let place = match field.as_str() {
            "transportid" => &mut of.transportid,
            "localip" => &mut of.localip,
            "remoteip" => &mut of.remoteip,
            "remotemx" => &mut of.remotemx,
            "recipientdomain" => &mut of.recipientdomain,
            "jobid" => &mut of.jobid,
            "grouping" => &mut of.grouping,
            "tenantid" => &mut of.tenantid,
            _ => return Err(Failure::Usage(format!("there is no field `{field}`"))),
        };
        *place = value(text);
    }
    let has = |name: &str| args.field.iter().any(|field| field == name);
    let wanted = PolicyConditionAddRequest {
        fields: Some(proto::Fields {
            transportid: has("transportid"),
            localip: has("localip"),
            remoteip: has("remoteip"),
            remotemx: has("remotemx"),
            recipientdomain: has("recipientdomain"),
            jobid: has("jobid"),
            grouping: has("grouping"),
            tenantid: has("tenantid"),
        }),
        r#if: Some(of),
        then: Some(args.limits.message()),
        ttl: args.ttl,
        id: args.id.unwrap_or_default(),
        r#type: args.r#type.unwrap_or_default(),
    };
    let answer = ctl.ask::<proto::PolicyConditionAddResponse>(b'w', Some(&wanted));
    match answer.await? {
        Some(answer) => print(&format!("{}\n", answer.id)),
        None => Ok(()),
    }
}

async fn match_policies(ctl: &mut Ctl, values: Values) -> Result<(), Failure> {
    let wanted = proto::PolicyMatchRequest {
        transportid: values.transportid.unwrap_or_default(),
        localip: values.localip.unwrap_or_default(),
        remoteip: values.remoteip.unwrap_or_default(),
        remotemx: values.remotemx.unwrap_or_default(),
        recipientdomain: values.recipientdomain.unwrap_or_default(),
        jobid: values.jobid.unwrap_or_default(),
        grouping: values.grouping.unwrap_or_default(),
        tenantid: values.tenantid.unwrap_or_default(),
    };
    let answer = ctl
        .ask::<proto::PolicyMatchResponse>(b'T', Some(&wanted))
        .await?;
    let Some(answer) = answer else { return Ok(()) };
    let mut table = Table::new([
        "policy", "fields", "group", "limits", "tags", "dynamic", "set by",
    ]);
    for policy in &answer.policies {
        let then = PolicyThen {
            rate: policy.rate,
            concurrency: policy.concurrency.map(|of| of.value),
            stop: policy.stop.then_some(true),
            properties: policy.properties.clone(),
            connectinterval: policy.connectinterval,
            ..PolicyThen::default()
        };
        let dynamic: Vec<&str> = policy.dynamic.iter().map(|of| of.id.as_str()).collect();
        table.row([
            policy.name.as_str(),
            &names(policy.fields.as_ref()),
            &policy.grouping.as_ref().map(shown).unwrap_or_default(),
            &limits(&then).join(" "),
            &policy.tags.join(","),
            &dynamic.join(","),
            &policy.origins.join(", "),
        ]);
    }
    table.print()
}

async fn grouping(ctl: &mut Ctl, command: Grouping) -> Result<(), Failure> {
    use proto::policy_grouping_list_response::item::Group as Of;
    match command {
        Grouping::List => {
            let wanted = proto::PolicyGroupingListRequest::default();
            let answer = ctl.ask::<proto::PolicyGroupingListResponse>(b'U', Some(&wanted));
            let Some(answer) = answer.await? else {
                return Ok(());
            };
            let mut table = Table::new(["fields", "field", "group"]);
            for item in answer.groupings {
                let (field, name) = match item.group {
                    Some(Of::Transportid(name)) => ("transportid", name),
                    Some(Of::Localip(name)) => ("localip", name),
                    Some(Of::Remoteip(name)) => ("remoteip", name),
                    Some(Of::Remotemx(name)) => ("remotemx", name),
                    Some(Of::Recipientdomain(name)) => ("recipientdomain", name),
                    Some(Of::Jobid(name)) => ("jobid", name),
                    Some(Of::Grouping(name)) => ("grouping", name),
                    Some(Of::Tenantid(name)) => ("tenantid", name),
                    None => continue,
                };
                table.row([names(item.fields.as_ref()), field.to_owned(), name]);
            }
            table.print()
        }
        Grouping::Show { field, name } => {
            use proto::policy_grouping_request::Group as Of;
            let group = match field.as_str() {
                "transportid" => Of::Transportid(name),
                "localip" => Of::Localip(name),
                "remoteip" => Of::Remoteip(name),
                "remotemx" => Of::Remotemx(name),
                "recipientdomain" => Of::Recipientdomain(name),
                "jobid" => Of::Jobid(name),
                "grouping" => Of::Grouping(name),
                "tenantid" => Of::Tenantid(name),
                _ => return Err(Failure::Usage(format!("there is no field `{field}`"))),
            };
            let wanted = proto::PolicyGroupingRequest {
                fields: None,
                group: Some(group),
            };
            let answer = ctl.ask::<proto::PolicyGroupingResponse>(b'V', Some(&wanted));
            let Some(answer) = answer.await? else {
                return Ok(());
            };
            answer
                .items
                .iter()
                .try_for_each(|item| print(&format!("{item}\n")))
        }
    }
}
