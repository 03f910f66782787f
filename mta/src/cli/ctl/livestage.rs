//! `ctl config livestage`: a configuration on trial for some of the new connections, and its debug points.

use std::path::{Path, PathBuf};

use angarium_config::{FileKind, FileSource as _, PackOptions, pack};
use angarium_control::proto::{
    ConfigGreenConditions, ConfigGreenDeployRequest, ConfigGreenStatusResponse,
    HslBreakPointResponse, HslLogResponse,
};
use angarium_control::{Message as _, json};
use clap::{Args, Subcommand};

use super::table::{Table, span};
use super::{Ctl, NONE, failed};
use crate::cli::Failure;
use crate::cli::files::SystemFiles;
use crate::cli::terminal::print;

/// `ctl config livestage …`
#[derive(Debug, Subcommand)]
pub(super) enum Livestage {
    /// Try another smtpd-app.yaml on the new connections that fit all conditions
    Start(Start),
    /// Show the stage that there is
    Status,
    /// End it; connections that have begun keep their settings
    Cancel,
    /// Show the scripts of the stage at their debug points, what they throw and what they echo, until Ctrl-C
    Debug {
        /// End after so many points
        #[arg(long, value_name = "NUMBER")]
        count: Option<u64>,
    },
}

/// `ctl config livestage start`
#[derive(Debug, Args)]
pub(super) struct Start {
    /// Folder of a bundle, or a packed smtpd-app.yaml
    #[arg(value_name = "DIR|FILE", required_unless_present = "file")]
    bundle: Option<PathBuf>,
    /// The same, as an option
    #[arg(long, value_name = "DIR|FILE", conflicts_with = "bundle")]
    file: Option<PathBuf>,
    /// Name of the stage
    #[arg(long, value_name = "ID")]
    id: String,
    /// Address or network of clients; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    remoteip: Vec<String>,
    /// Server; may be given several times
    #[arg(long, value_name = "ID")]
    serverid: Vec<String>,
    /// Share of the connections, such as 0.1
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0)]
    probability: f64,
    /// Seconds after which no connection comes under it
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    time: f64,
    /// Connections in all
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    count: u64,
}

pub(super) async fn run(ctl: &mut Ctl, command: Livestage) -> Result<(), Failure> {
    match command {
        Livestage::Start(args) => {
            let bundle = args.bundle.or(args.file).unwrap_or_default();
            let config = packed(&bundle)?;
            let wanted = ConfigGreenDeployRequest {
                id: args.id,
                conditions: Some(ConfigGreenConditions {
                    remoteips: args.remoteip,
                    serverids: args.serverid,
                    probability: args.probability,
                    time: args.time,
                    count: args.count,
                }),
                config,
                connectionbound: false,
            };
            ctl.tell(b'a', Some(&wanted)).await
        }
        Livestage::Status => {
            let Some(status) = ctl.ask::<ConfigGreenStatusResponse>(b'b', NONE).await? else {
                return Ok(());
            };
            if status.id.is_empty() {
                return print("there is no stage\n");
            }
            table(&status).print()
        }
        Livestage::Cancel => ctl.tell(b'c', NONE).await,
        Livestage::Debug { count } => debug(ctl, count).await,
    }
}

/// The text of a running configuration with all its scripts: that of a file, or what a source tree is packed into.
fn packed(path: &Path) -> Result<String, Failure> {
    let bytes = match path.is_dir() {
        true => {
            let packed = pack(&SystemFiles, path, &PackOptions::default())?;
            let name = FileKind::Running.file_name();
            let mut files = packed.files.into_iter();
            let found = files.find(|(file, _)| file.as_str() == name);
            // A tree without it is refused before.
            found.map(|(_, bytes)| bytes).unwrap_or_default()
        }
        false => {
            let read = SystemFiles.read(path);
            read.map_err(|error| Failure::of_file("read", path, &error))?
        }
    };
    String::from_utf8(bytes)
        .map_err(|_| Failure::Failed(format!("{}: is no UTF-8", path.display())))
}

fn table(status: &ConfigGreenStatusResponse) -> Table {
    let conditions = status.conditions.clone().unwrap_or_default();
    let mut given = Vec::new();
    let mut give = |name: &str, value: String| given.push(format!("{name}={value}"));
    if !conditions.remoteips.is_empty() {
        give("remoteip", conditions.remoteips.join(","));
    }
    if !conditions.serverids.is_empty() {
        give("serverid", conditions.serverids.join(","));
    }
    if conditions.probability > 0.0 {
        give("probability", conditions.probability.to_string());
    }
    if conditions.time > 0.0 {
        give("time", span(conditions.time));
    }
    if conditions.count > 0 {
        give("count", conditions.count.to_string());
    }
    let mut table = Table::new(["Stage", "State", "Since", "Connections", "Conditions"]).right([3]);
    table.row([
        status.id.clone(),
        if status.expired { "expired" } else { "active" }.to_owned(),
        span(status.elapsed),
        status.connections.to_string(),
        given.join(" "),
    ]);
    table
}

/// Waits for points, shows them, and lets the scripts go on.
async fn debug(ctl: &mut Ctl, count: Option<u64>) -> Result<(), Failure> {
    let as_json = ctl.json;
    let mut left = count;
    while left != Some(0) {
        ctl.show_request(b'e', None)?;
        let said = |data: &[u8]| {
            if as_json {
                let value = json::to_json("HSLLogResponse", data).map_err(failed)?;
                return print(&format!("{value}\n"));
            }
            let record = HslLogResponse::decode(data).map_err(failed)?;
            let text = String::from_utf8_lossy(&record.text).into_owned();
            print(&format!("[{}] {text}\n", record.id))
        };
        let data = ctl.client.call(b'e', None, said).await?;
        if as_json {
            let value = json::to_json("HSLBreakPointResponse", &data).map_err(failed)?;
            print(&format!("{value}\n"))?;
        } else {
            let record = HslBreakPointResponse::decode(&data[..]).map_err(failed)?;
            print(&shown(&record))?;
        }
        ctl.send(b'f', None).await?;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// A record for people: where it is, and each variable on a line.
fn shown(record: &HslBreakPointResponse) -> String {
    let place = record.location.clone().unwrap_or_default();
    let what = match record.id.as_str() {
        "" => "throws",
        id => id,
    };
    let calls = record.callstack.iter().map(|call| call.function.as_str());
    let calls: Vec<&str> = calls.filter(|function| !function.is_empty()).collect();
    let calls = match calls.is_empty() {
        true => String::new(),
        false => format!(" in {}", calls.join(" < ")),
    };
    let mut text = format!(
        "[{}] {what} at {}:{}:{}{calls}\n",
        record.transactionid, place.file, place.beginline, place.begincolumn
    );
    let values: serde_json::Value = serde_json::from_str(&record.values).unwrap_or_default();
    for (name, told) in values.as_object().into_iter().flatten() {
        let value = told.get("value").and_then(serde_json::Value::as_str);
        let value = value.unwrap_or_default();
        text.push_str(&format!("  ${name} = {value}\n"));
    }
    text
}
