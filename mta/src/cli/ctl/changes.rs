//! `ctl queue update`, `unload` and `load`.

use std::path::PathBuf;

use angarium_config::FileSource as _;
use angarium_control::proto::{
    self, ActionType, PagingRequest, QueueImportRequest, QueueImportResponse, QueueUnloadRequest,
    QueueUnloadResponse, QueueUpdateRequest, QueueUpdateResponse, queue_import_request as import,
    queue_update_request as request,
};
use clap::Args;

use super::conditions::{Conditions, moment};
use super::{Ctl, pair, value};
use crate::cli::Failure;
use crate::cli::files::SystemFiles;
use crate::cli::terminal::print;

/// `ctl queue update`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("task").multiple(false))]
pub(super) struct Update {
    #[command(flatten)]
    conditions: Conditions,
    /// Change all messages: needed when no flag says which
    #[arg(long)]
    all: bool,
    /// Remove and tell the sender
    #[arg(long, group = "task")]
    bounce: bool,
    /// Remove
    #[arg(long, group = "task")]
    delete: bool,
    /// Try now; also ends a hold
    #[arg(long, visible_alias = "release", group = "task")]
    active: bool,
    /// Try later: needs --delay or --at
    #[arg(long, group = "task")]
    defer: bool,
    /// Keep until released
    #[arg(long, group = "task")]
    hold: bool,
    /// Status that the bounce tells, such as 5.7.1
    #[arg(long, value_name = "X.Y.Z", requires = "bounce")]
    status: Option<String>,
    /// Text that the bounce tells
    #[arg(long, value_name = "TEXT", requires = "bounce")]
    reason: Option<String>,
    /// Seconds from now, for --defer
    #[arg(long, value_name = "SECONDS", conflicts_with = "at")]
    delay: Option<f64>,
    /// ISO 8601 or Unix time, for --defer
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Most seconds that chance adds
    #[arg(long, value_name = "SECONDS")]
    jitter: Option<u64>,
    /// Keep as it is in UPDATE; what is under way goes there afterwards
    #[arg(long)]
    freeze: bool,
    /// Leave the messages as they are and change copies
    #[arg(long)]
    duplicate: bool,
    /// Another transport
    #[arg(long, visible_alias = "reroute", value_name = "ID")]
    set_transportid: Option<String>,
    /// Metadata; an empty value removes it
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set_metadata: Vec<(String, String)>,
    /// Another sender
    #[arg(long, value_name = "ADDRESS")]
    set_sender: Option<String>,
    /// Another recipient
    #[arg(long, value_name = "ADDRESS")]
    set_recipient: Option<String>,
    /// Attempts so far
    #[arg(long, value_name = "NUMBER")]
    set_retrycount: Option<u64>,
    /// 0 or 1
    #[arg(long, value_name = "NUMBER")]
    set_priority: Option<u64>,
    /// Another job; empty: none
    #[arg(long, value_name = "ID")]
    set_jobid: Option<String>,
    /// Another tenant; empty: none
    #[arg(long, value_name = "ID")]
    set_tenantid: Option<String>,
    /// Change at most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

/// `ctl queue unload`
#[derive(Debug, Args)]
pub(super) struct Unload {
    #[command(flatten)]
    conditions: Conditions,
    /// Unload all messages: needed when no flag says which
    #[arg(long)]
    all: bool,
    /// Keep what is under way in UPDATE afterwards, to be unloaded by another call
    #[arg(long)]
    freeze: bool,
    /// Unload copies although others of the same message stay
    #[arg(long)]
    partial: bool,
}

/// `ctl queue load`
#[derive(Debug, Args)]
pub(super) struct Load {
    /// A file of `unload`, or a message
    file: PathBuf,
    /// Sender of a message
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Recipient of a message
    #[arg(long, value_name = "ADDRESS")]
    recipient: Vec<String>,
    /// Transport
    #[arg(long, value_name = "ID")]
    transportid: Option<String>,
    /// Give it a new id
    #[arg(long)]
    reset_transactionid: bool,
    /// Count its age from now
    #[arg(long)]
    reset_ts: bool,
    /// Count its attempts from 0
    #[arg(long)]
    reset_retrycount: bool,
}

fn address(text: &str) -> proto::Address {
    let text = text.trim_start_matches('<').trim_end_matches('>');
    let (localpart, domain) = text.rsplit_once('@').unwrap_or((text, ""));
    proto::Address {
        localpart: localpart.to_owned(),
        domain: domain.to_owned(),
    }
}

fn address_update(text: &str) -> request::AddressUpdate {
    let address = address(text);
    request::AddressUpdate {
        localpart: value(address.localpart),
        domain: value(address.domain),
    }
}

fn status(text: &str) -> Result<request::action::dsn::Status, Failure> {
    let wrong = || Failure::Usage(format!("--status {text}: must be X.Y.Z"));
    let mut parts = text.split('.').map(str::parse);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(class)), Some(Ok(subject)), Some(Ok(detail)), None) => {
            Ok(request::action::dsn::Status {
                class,
                subject,
                detail,
            })
        }
        _ => Err(wrong()),
    }
}

impl Update {
    fn task(&self) -> Result<Option<request::Task>, Failure> {
        use request::r#move::To;
        if self.bounce && (self.status.is_some() || self.reason.is_some()) {
            return Ok(Some(request::Task::Action(request::Action {
                r#type: Some(ActionType::Bounce.into()),
                dsn: Some(request::action::Dsn {
                    status: self.status.as_deref().map(status).transpose()?,
                    diagnosticcode: self.reason.clone().unwrap_or_default(),
                }),
            })));
        }
        let to = |to, retryts| {
            Some(request::Task::Move(request::Move {
                to: Some(to),
                retryts,
                retrytsjitter: self.jitter.map(|value| proto::UInt64Value { value }),
            }))
        };
        let at = match (self.delay, &self.at) {
            (Some(delay), _) => Some(proto::time_value::Time::Relative(delay)),
            (None, Some(at)) => Some(proto::time_value::Time::Absolute(moment(at)?)),
            (None, None) => None,
        };
        if at.is_some() != self.defer {
            let text = "--defer needs --delay or --at, and these need --defer";
            return Err(Failure::Usage(text.to_owned()));
        }
        let at = at.map(|time| proto::TimeValue { time: Some(time) });
        Ok(if self.bounce {
            Some(request::Task::Actiontype(ActionType::Bounce.into()))
        } else if self.delete {
            Some(request::Task::Actiontype(ActionType::Delete.into()))
        } else if self.active {
            to(To::Queue(proto::Queue::Active.into()), None)
        } else if self.defer {
            to(To::Queue(proto::Queue::Defer.into()), at)
        } else if self.hold {
            to(To::Freeze(proto::Freeze::Hold.into()), None)
        } else {
            None
        })
    }
}

/// A command that would touch every message has to be told so.
fn chosen(conditions: &Conditions, all: bool) -> Result<proto::Condition, Failure> {
    if conditions.is_empty()? && !all {
        let text = "say which messages with a flag, or --all";
        return Err(Failure::Usage(text.to_owned()));
    }
    conditions.message()
}

pub(super) async fn update(ctl: &mut Ctl, args: &Update) -> Result<(), Failure> {
    let number = |value: Option<u64>| value.map(|value| proto::UInt64Value { value });
    let text = |text: &Option<String>| text.clone().and_then(value);
    let wanted = QueueUpdateRequest {
        conditions: Some(chosen(&args.conditions, args.all)?),
        task: args.task()?,
        transportid: text(&args.set_transportid),
        metadata: args.set_metadata.iter().cloned().collect(),
        freeze: args.freeze,
        duplicate: args.duplicate,
        sender: args.set_sender.as_deref().map(address_update),
        recipient: args.set_recipient.as_deref().map(address_update),
        retrycount: number(args.set_retrycount),
        priority: number(args.set_priority),
        paging: args.limit.map(|limit| PagingRequest { offset: 0, limit }),
        jobid: text(&args.set_jobid),
        tenantid: text(&args.set_tenantid),
    };
    let Some(answer) = ctl.ask::<QueueUpdateResponse>(b'G', Some(&wanted)).await? else {
        return Ok(());
    };
    print(&format!("{} messages changed\n", answer.affected))?;
    if answer.working > 0 {
        let then = if args.freeze {
            "freeze afterwards"
        } else {
            "were left"
        };
        print(&format!("{} are under way and {then}\n", answer.working))?;
    }
    Ok(())
}

pub(super) async fn unload(ctl: &mut Ctl, args: &Unload) -> Result<(), Failure> {
    let wanted = QueueUnloadRequest {
        conditions: Some(chosen(&args.conditions, args.all)?),
        freeze: args.freeze,
        partial: args.partial,
    };
    let Some(answer) = ctl.ask::<QueueUnloadResponse>(b'J', Some(&wanted)).await? else {
        return Ok(());
    };
    for path in &answer.hqfpaths {
        print(&format!("{path}\n"))?;
    }
    if answer.partial > 0 && !args.partial {
        let count = answer.partial;
        crate::cli::terminal::error(&format!(
            "{count} were left: other copies of their messages stay; --partial takes them too\n"
        ));
    }
    if answer.working > 0 {
        let then = if args.freeze {
            "freeze afterwards"
        } else {
            "were left"
        };
        let line = format!("{} are under way and {then}\n", answer.working);
        crate::cli::terminal::error(&line);
    }
    Ok(())
}

/// How the files of `unload` begin.
const MAGIC: &[u8] = b"ANGITEM";

pub(super) async fn load(ctl: &mut Ctl, args: &Load) -> Result<(), Failure> {
    let bytes = SystemFiles.read(&args.file);
    let bytes = bytes.map_err(|error| Failure::of_file("read", &args.file, &error))?;
    let form = if bytes.starts_with(MAGIC) {
        import::data::Form::Hqf(bytes)
    } else {
        if args.recipient.is_empty() || args.transportid.is_none() {
            let text =
                "a message needs --recipient and --transportid, and --sender unless it is <>";
            return Err(Failure::Usage(text.to_owned()));
        }
        import::data::Form::Rfc822(bytes)
    };
    let flag = |set: bool| set.then_some(proto::BoolValue { value: true });
    let wanted = QueueImportRequest {
        data: Some(import::Data { form: Some(form) }),
        reset: Some(import::Reset {
            transactionid: flag(args.reset_transactionid),
            ts: flag(args.reset_ts),
            retrycount: flag(args.reset_retrycount),
        }),
        sender: args.sender.as_deref().map(address),
        recipients: args.recipient.iter().map(|text| address(text)).collect(),
        transportid: args.transportid.clone().unwrap_or_default(),
    };
    let Some(answer) = ctl.ask::<QueueImportResponse>(b'E', Some(&wanted)).await? else {
        return Ok(());
    };
    print(&format!("{}\n", answer.transactionid))
}
