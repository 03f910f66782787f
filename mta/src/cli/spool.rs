//! `spool`: the messages of a stopped server, checked and taken out.
//!
//! Both commands only read. They hold the lock of the spool meanwhile, so that no server starts on what
//! they look at, and they are refused while one runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use angarium_config::{Options, Source};
use angarium_effects::Clock as _;
use angarium_effects::disk::{Disk as _, OpenMode, SystemDisk};
use angarium_effects::system::SystemClock;
use angarium_queue::item::{Item, Pairs};
use angarium_queue::text::{Interner, Text};
use angarium_queue::time::Timestamp;
use angarium_spool::{BodyRef, Inspection, Recovered, RecoveredItem};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::files::{self, SystemFiles};
use super::terminal::{print, print_bytes};
use crate::app;
use crate::delivery::content::{ContentError, Outgoing, Stored};
use crate::pool::HeavyPool;

/// `angarium spool …`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read every message, and say what is damaged
    Check(CheckArgs),
    /// Write messages to files
    Export(ExportArgs),
}

/// Which spool.
#[derive(Debug, Args)]
struct Target {
    /// The bundle of the server: a source tree, or its folder src
    #[arg(conflicts_with_all = ["config", "path"], required_unless_present_any = ["config", "path"])]
    dir: Option<PathBuf>,
    /// The packed configuration of the server: the path of its smtpd.yaml
    #[arg(short, long, value_name = "FILE", conflicts_with = "path")]
    config: Option<PathBuf>,
    /// The folder of the spool itself, as in spool.path
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// Arguments of `spool check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    target: Target,
    /// List the messages too
    #[arg(long, short)]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `spool export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    target: Target,
    /// Write ID.eml, the message, and ID.json, its envelope, for each into this folder; otherwise the message of the one
    /// --id is printed
    #[arg(long, value_name = "DIR", required_unless_present = "id")]
    to: Option<PathBuf>,
    /// Only this message: TRANSACTION:NUMBER, or a transaction for all of its messages; can be repeated
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// As it was received, without the changes made by scripts
    #[arg(long)]
    original: bool,
}

/// Runs the command.
///
/// # Errors
/// What keeps the spool from being read; status 1 when a message is damaged.
pub async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => check(&args).await,
        Command::Export(args) => export(&args).await,
    }
}

/// A spool that is open, and what was found to be wrong with it.
struct Open {
    path: PathBuf,
    spool: Inspection,
    items: Option<Recovered>,
    problems: Arc<Mutex<Vec<String>>>,
    interner: Interner,
    pool: Arc<HeavyPool>,
    now: Timestamp,
}

impl Open {
    fn new(target: &Target) -> Result<Open, Failure> {
        let problems = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&problems);
        let observer = Arc::new(move |event: angarium_spool::Event| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.push(event.to_string());
        });
        let folder = target.dir.as_ref().or(target.path.as_ref());
        if let Some(folder) = folder.filter(|folder| !files::is_folder(folder)) {
            let text = format!("there is no folder {}", folder.display());
            return Err(Failure::Failed(text));
        }
        if let Some(dir) = &target.dir
            && !["src/config", "config"]
                .iter()
                .any(|below| files::is_folder(&dir.join(below)))
        {
            return Err(Failure::Failed(format!(
                "{} is no bundle, there is no folder src/config in it; --path names the folder of a spool itself",
                dir.display()
            )));
        }
        let source = match (&target.dir, &target.config) {
            (Some(dir), _) => Some(Source::Tree(dir.clone())),
            (None, file) => file.clone().map(Source::Packed),
        };
        let config = match (source, &target.path) {
            (Some(source), _) => {
                let options = Options {
                    ignore_unknown: true,
                    ..Options::default()
                };
                let loaded = angarium_config::load(&SystemFiles, &source, &options)?;
                app::spool_config(&loaded.config, observer)
            }
            (None, Some(path)) => {
                let mut config = angarium_spool::Config::new(path, path.join("tmp"));
                config.observer = observer;
                config
            }
            (None, None) => return Err(Failure::Usage("name a bundle, or --path".to_owned())),
        };
        let path = config.path.clone();
        let (spool, items) = Inspection::open(Arc::new(SystemDisk), config)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Open {
            path,
            spool,
            items: Some(items),
            problems,
            interner: Interner::new(),
            pool: HeavyPool::inline(),
            now: Timestamp::from_unix(SystemClock.unix()),
        })
    }

    fn problem(&self, what: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.push(what);
    }

    /// The next item that can be understood.
    fn next(&mut self) -> Result<Option<(Item, Stored)>, Failure> {
        let Some(items) = &mut self.items else {
            return Ok(None);
        };
        for found in items {
            let found = found.map_err(|error| Failure::Failed(error.to_string()))?;
            match read(&found, &mut self.interner) {
                Ok(item) => return Ok(Some(item)),
                Err(error) => {
                    let what = format!("item {}: {error}", found.id);
                    let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
                    problems.push(what);
                }
            }
        }
        Ok(None)
    }

    /// Passes the bytes of a message on, piece by piece.
    async fn pieces(
        &self,
        stored: &Stored,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Unread> {
        let now = i64::try_from(self.now.as_micros() / 1_000_000).unwrap_or(i64::MAX);
        let mut message = Outgoing::open(&self.spool, stored, now)?;
        while let Some(piece) = message.next(&self.pool).await? {
            take(&piece).map_err(Unread::Taker)?;
        }
        Ok(())
    }

    /// What is wrong, in the order in which it was found.
    fn problems(&self) -> Vec<String> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.clone()
    }
}

/// Why a message did not get where it was to go.
enum Unread {
    /// It cannot be read.
    Content(ContentError),
    /// It cannot be written.
    Taker(Failure),
}

impl From<ContentError> for Unread {
    fn from(error: ContentError) -> Unread {
        Unread::Content(error)
    }
}

/// What a record says.
fn read(found: &RecoveredItem, interner: &mut Interner) -> Result<(Item, Stored), String> {
    let item = Item::decode(&found.blob, interner).map_err(|error| error.to_string())?;
    let stored = Stored::of(&item).map_err(|error| error.to_string())?;
    let known = |body: &BodyRef| found.bodies.iter().any(|known| known.id == body.id);
    match stored.bodies().iter().all(known) {
        true => Ok((item, stored)),
        false => Err("it names a body that is not its own".to_owned()),
    }
}

async fn check(args: &CheckArgs) -> Result<(), Failure> {
    let mut open = Open::new(&args.target)?;
    let mut items = Vec::new();
    let (mut count, mut held) = (0u64, 0u64);
    while let Some((item, stored)) = open.next()? {
        count += 1;
        held += u64::from(item.hold);
        // The bodies are read below, each of them once.
        if let Stored::Edited(body, edits) = &stored
            && edits.original_size() != body.length
        {
            open.problem(format!(
                "item {}: its changes are of another message",
                item.id
            ));
        }
        if args.list {
            items.push(item);
        }
    }
    let bodies = open.spool.bodies();
    let mut bytes = 0u64;
    for body in &bodies {
        bytes = bytes.saturating_add(body.length);
        let read = open.pieces(&Stored::Plain(*body), |_| Ok(())).await;
        if let Err(Unread::Content(error)) = read {
            open.problem(format!("body {:?}: {error}", body.id));
        }
    }
    let problems = open.problems();
    let stats = open.spool.stats();
    if args.json {
        let list = || items.iter().map(envelope).collect::<Vec<Value>>();
        let mut report = json!({
            "path": open.path.display().to_string(),
            "items": count,
            "held": held,
            "bodies": bodies.len(),
            "bodybytes": bytes,
            "segments": stats.segments,
            "logbytes": stats.log_bytes,
            "livebytes": stats.live_bytes,
            "problems": problems,
        });
        if let (true, Some(report)) = (args.list, report.as_object_mut()) {
            report.insert("list".to_owned(), list().into());
        }
        print(&format!("{report:#}\n"))?;
    } else {
        let mut text = String::new();
        for item in &items {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", line(item, open.now));
        }
        let _ = writeln!(
            text,
            "{}: {count} to deliver, {held} of them on hold; {} bodies of {bytes} bytes; {} segments of {} bytes, {} of them in use",
            open.path.display(),
            bodies.len(),
            stats.segments,
            stats.log_bytes,
            stats.live_bytes,
        );
        for problem in &problems {
            let _ = writeln!(text, "damaged: {problem}");
        }
        if problems.is_empty() {
            text.push_str("everything can be read\n");
        }
        print(&text)?;
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::Status(1)),
    }
}

async fn export(args: &ExportArgs) -> Result<(), Failure> {
    let mut open = Open::new(&args.target)?;
    if args.to.is_none() && args.id.len() != 1 {
        return Err(Failure::Usage(
            "several messages need a folder: --to DIR".to_owned(),
        ));
    }
    let mut missing: Vec<&String> = args.id.iter().collect();
    let (mut written, mut damaged) = (0u64, false);
    while let Some((item, stored)) = open.next()? {
        let (id, transaction) = (item.id.to_string(), item.id.transaction.to_string());
        let wanted = |name: &&String| name.eq_ignore_ascii_case(&id) || **name == transaction;
        if !args.id.is_empty() && !args.id.iter().any(|name| wanted(&name)) {
            continue;
        }
        missing.retain(|name| !wanted(name));
        let stored = match args.original {
            true => Stored::Plain(stored.original()),
            false => stored,
        };
        match &args.to {
            Some(folder) => match save(&open, folder, &item, &stored).await {
                Ok(()) => written += 1,
                Err(Unread::Taker(failure)) => return Err(failure),
                Err(Unread::Content(error)) => {
                    damaged = true;
                    open.problem(format!("item {id}: {error}"));
                }
            },
            None if written > 0 => {
                return Err(Failure::Usage(format!(
                    "{transaction} has several messages: name one of them as {transaction}:NUMBER, or a folder with --to"
                )));
            }
            None => {
                whole(&open, &stored).await?;
                written += 1;
            }
        }
    }
    if let Some(name) = missing.first() {
        return Err(Failure::Failed(format!(
            "there is no message {name} in {}",
            open.path.display()
        )));
    }
    if let Some(folder) = &args.to {
        print(&format!("{written} messages are in {}\n", folder.display()))?;
    }
    let problems = open.problems();
    for problem in &problems {
        super::terminal::error(&format!("damaged: {problem}\n"));
    }
    match damaged || !problems.is_empty() {
        true => Err(Failure::Status(1)),
        false => Ok(()),
    }
}

/// Prints a message; the first byte only when all of it could be read.
async fn whole(open: &Open, stored: &Stored) -> Result<(), Failure> {
    let unread = |unread| match unread {
        Unread::Content(error) => Failure::Failed(error.to_string()),
        Unread::Taker(failure) => failure,
    };
    open.pieces(stored, |_| Ok(())).await.map_err(unread)?;
    open.pieces(stored, print_bytes).await.map_err(unread)
}

/// Writes a message and its envelope. What breaks off leaves no file.
async fn save(open: &Open, folder: &Path, item: &Item, stored: &Stored) -> Result<(), Unread> {
    files::create_folder(folder).map_err(Unread::Taker)?;
    let name = item.id.to_string().replace(':', "-");
    let path = folder.join(format!("{name}.eml"));
    let draft = folder.join(format!("{name}.new"));
    let failed = |error: &std::io::Error| Failure::of_file("write", &path, error);
    let file = SystemDisk
        .open(&draft, OpenMode::CreateEmpty)
        .map_err(|error| Unread::Taker(failed(&error)))?;
    let mut at = 0u64;
    let done = open
        .pieces(stored, |piece| {
            file.write_all_at(piece, at)
                .map_err(|error| failed(&error))?;
            at = at.saturating_add(piece.len() as u64);
            Ok(())
        })
        .await;
    let named = match done {
        Ok(()) => SystemDisk
            .rename(&draft, &path)
            .map_err(|error| Unread::Taker(failed(&error))),
        Err(error) => Err(error),
    };
    if named.is_err() {
        // Best effort: the error that is reported is the first one.
        let _ = SystemDisk.unlink(&draft);
    }
    named?;
    let envelope = format!("{:#}\n", envelope(item));
    files::write(&folder.join(format!("{name}.json")), envelope.as_bytes()).map_err(Unread::Taker)
}

/// What the queue knows of a message, by the names that scripts see.
fn envelope(item: &Item) -> Value {
    let text = |text: &Text| Value::from(text.to_string());
    let maybe = |text: &Option<Text>| text.as_ref().map(ToString::to_string);
    let pairs = |pairs: &Pairs| {
        let pairs = pairs.iter();
        let map = pairs.map(|(name, value)| (name.to_string(), text(value)));
        Value::Object(map.collect::<Map<String, Value>>())
    };
    let dsn = json!({
        "envid": maybe(&item.dsn.envid),
        "ret": item.dsn.ret.map(|ret| ret.as_str()),
        "notify": item.dsn.notify.map(|notify| notify.to_string()),
        "orcpt": maybe(&item.dsn.orcpt),
    });
    let mut all = json!({
        "id": { "transaction": item.id.transaction.to_string(), "queue": item.id.queue },
        "ts": item.received.as_secs_f64(),
        "serverid": text(&item.serverid),
        "senderip": item.senderip.map(|ip| ip.to_string()),
        "senderhelo": maybe(&item.senderhelo),
        "saslusername": maybe(&item.saslusername),
        "sender": item.sender.to_string(),
        "senderparams": pairs(&item.senderparams),
        "recipient": item.recipient.to_string(),
        "recipientparams": pairs(&item.recipientparams),
        "transportid": text(&item.transportid),
        "tenantid": maybe(&item.tenantid),
        "jobid": maybe(&item.jobid),
        "priority": item.priority.number(),
        "size": item.size,
        "subject": maybe(&item.subject),
        "metadata": pairs(&item.metadata),
        "quotas": item.quotas.iter().map(text).collect::<Vec<Value>>(),
        "dsn": dsn,
        "hold": item.hold,
        "retry": item.retrycount,
        "retryts": item.retryts.map(Timestamp::as_secs_f64),
        "retryreason": maybe(&item.retryreason),
    });
    strip(&mut all);
    if let Some(Value::Object(dsn)) = all.get_mut("dsn") {
        dsn.retain(|_, value| !value.is_null());
    }
    all
}

/// Takes out what there is not.
fn strip(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
    }
}

/// A message in one line: id, state, age in seconds, size, sender and recipient.
fn line(item: &Item, now: Timestamp) -> String {
    let state = match item.retryts {
        _ if item.hold => "HOLD",
        Some(next) if next > now => "DEFER",
        _ => "ACTIVE",
    };
    format!(
        "{} {state} retry={} age={} size={} from=<{}> to=<{}>",
        item.id,
        item.retrycount,
        now.since(item.received).as_secs(),
        item.size,
        item.sender,
        item.recipient
    )
}
