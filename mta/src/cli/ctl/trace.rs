//! `ctl trace`: what is said on the way out, as it is said.

use angarium_control::proto::{HslLogResponse, TraceSmtpRequest};
use angarium_control::{Message as _, json};
use clap::{Args, Subcommand};

use super::{Ctl, value};
use crate::cli::Failure;
use crate::cli::terminal::print;

/// `ctl trace …`
#[derive(Debug, Subcommand)]
pub(super) enum Trace {
    /// Show deliveries as they go on, until Ctrl-C: `>` what we say, `<` what the other server says
    Smtp(Smtp),
}

/// `ctl trace smtp`
#[derive(Debug, Args)]
pub(super) struct Smtp {
    /// Transport
    #[arg(long, value_name = "VALUE")]
    transportid: Option<String>,
    /// Source address, or a network
    #[arg(long, value_name = "VALUE")]
    localip: Option<String>,
    /// Address of the destination, or a network
    #[arg(long, value_name = "VALUE")]
    remoteip: Option<String>,
    /// Host of the destination; *.DOMAIN and /…/ too
    #[arg(long, value_name = "VALUE")]
    remotemx: Option<String>,
    /// Domain of the recipient; *.DOMAIN and /…/ too
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
    /// The deliveries open connections of their own, so that the beginning is seen
    #[arg(long)]
    connect: bool,
    /// Show bytes, the message too
    #[arg(long)]
    hexdump: bool,
    /// The deliveries send one command at a time, on connections of their own
    #[arg(long)]
    nopipelining: bool,
    /// End after so many records
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

pub(super) async fn run(ctl: &mut Ctl, command: Trace) -> Result<(), Failure> {
    let Trace::Smtp(args) = command;
    let given = |text: Option<String>| text.and_then(value);
    let wanted = TraceSmtpRequest {
        transportid: given(args.transportid),
        localip: given(args.localip),
        remoteip: given(args.remoteip),
        remotemx: given(args.remotemx),
        recipientdomain: given(args.recipientdomain),
        jobid: given(args.jobid),
        connect: args.connect,
        hexdump: args.hexdump,
        nopipelining: args.nopipelining,
        grouping: given(args.grouping),
        tenantid: given(args.tenantid),
    };
    let body = wanted.encode_to_vec();
    ctl.show_request(b'W', Some(&body))?;
    let (as_json, mut left) = (ctl.json, args.count);
    // A status of its own ends the wait: the server would go on for ever.
    let answer = ctl.client.call(b'W', Some(&body), |data| {
        let text = match as_json {
            true => json::to_json("HSLLogResponse", data)
                .map_err(super::failed)?
                .to_string(),
            false => {
                let record = HslLogResponse::decode(data).map_err(super::failed)?;
                let text = String::from_utf8_lossy(&record.text).into_owned();
                match record.id.as_str() {
                    "" => text,
                    id => format!("[{id}] {text}"),
                }
            }
        };
        print(&format!("{text}\n"))?;
        match &mut left {
            Some(0 | 1) => Err(Failure::Status(0)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    });
    match answer.await {
        Ok(_) | Err(Failure::Status(0)) => Ok(()),
        Err(failure) => Err(failure),
    }
}
