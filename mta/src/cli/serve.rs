//! `serve`: runs the server in the foreground.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use angarium_config::pki::PrivateKey;
use angarium_config::startup::Startup;
use angarium_config::{FileSource, Listed, Options, Source};
use angarium_effects::Clock as _;
use angarium_effects::disk::SystemDisk;
use angarium_effects::system::{BoundTcp, SystemClock};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::files::SystemFiles;
use super::notify::Manager;
use super::{Failure, privileges, terminal};
use crate::app::{self, App, Held, Place, StartError};
use crate::control::Part;
use crate::control::socket::{self, Opened};
use crate::log::syslog::DEVICE;
use crate::log::{JsonFile, Log, Several, Severity, Stderr, Syslog, quoted};

/// What is served when nothing is named.
const USUAL: &str = "/etc/angarium/smtpd.yaml";

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The bundle: a source tree, or its folder src
    #[arg(conflicts_with = "config")]
    dir: Option<PathBuf>,
    /// A packed configuration: the path of its smtpd.yaml [default: /etc/angarium/smtpd.yaml, if no DIR is given]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, scripts and certificates and do not start
    #[arg(long)]
    check: bool,
    /// Where the log goes: to standard error, to the system log, or to both
    #[arg(long, value_name = "WHERE", value_enum, default_value_t = LogTo::Stderr)]
    log: LogTo,
    /// Start although there are keys that are unknown or not available yet, with warnings
    #[arg(long)]
    ignore_unknown: bool,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogTo {
    /// Standard error
    Stderr,
    /// The system log
    Syslog,
    /// Both
    Both,
}

/// Runs the command.
///
/// # Errors
/// What keeps the server from starting, in sentences.
pub fn serve(args: ServeArgs) -> Result<(), Failure> {
    let source = match (args.dir, args.config) {
        (Some(dir), _) => Source::Tree(dir),
        (None, Some(file)) => Source::Packed(file),
        (None, None) if Path::new(USUAL).exists() => Source::Packed(USUAL.into()),
        (None, None) => {
            return Err(Failure::Usage(format!(
                "name a bundle, or its smtpd.yaml with -c: there is no {USUAL}, which is served without either\n\
                 hint: `angarium init mail` writes a bundle to start from, `angarium serve mail` serves it"
            )));
        }
    };
    let options = Options {
        ignore_unknown: args.ignore_unknown,
        ..Options::default()
    };
    let files = Arc::<KeptKeys>::default();
    let place = Place {
        source,
        options,
        files: Arc::<KeptKeys>::clone(&files),
    };
    let mut prepared = app::prepare(place).map_err(refused)?;
    for warning in &prepared.warnings {
        terminal::error(&format!("{}\n", warning.trim_end()));
    }
    if args.check {
        return terminal::print("The configuration and all scripts are good.\n");
    }
    let startup = Arc::clone(&prepared.config().startup);
    let environment = &startup.environment;
    privileges::limit(environment)?;
    // What only root may open is opened before root's rights are given up; the queue's files belong to
    // the user who writes them.
    let control = socket::open(&environment.controlsocket, &*files);
    let control = control.map_err(|error| Failure::Failed(error.to_string()))?;
    let (control, without) = match control {
        Ok(opened) => (Some(opened), None),
        Err(reason) => (None, Some(reason)),
    };
    if let Some(user) = &environment.privdrop.user
        && !privileges::is(user)
    {
        prepared.hold(Held::open(prepared.config()));
        files.keep(&startup.pki.private);
        privileges::become_user(
            "environment.privdrop",
            user,
            environment.privdrop.group.as_deref(),
        )?;
    }
    // Files of the log belong to the user who opens them again.
    let Logs { log, file } = open_log(args.log, &startup)?;
    if let Some(Opened::Tcp(bound, tls)) = &control {
        tell_of_port(&log, bound, tls.is_some());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the event loop: {error}")))?;
    let monitor = prepared.monitor(&log).map_err(refused)?;
    runtime.block_on(async {
        let signals = Signals::new()
            .map_err(|error| Failure::Failed(format!("cannot watch for signals: {error}")))?;
        let app = Arc::new(App::start(prepared, Arc::clone(&log)).map_err(refused)?);
        let control = match control.map(|opened| app.control(opened)).transpose() {
            Ok(control) => control,
            Err(error) => {
                app.stop().await;
                return Err(refused(error));
            }
        };
        if let Some(monitor) = &monitor {
            monitor.watch(app.backend());
        }
        if let Some(reason) = without {
            let reason = quoted(&format!(
                "{reason}; environment.controlsocket.path sets another"
            ));
            log.line(
                Severity::Notice,
                "",
                &format!("control socket=none reason={reason}"),
            );
        }
        log.line(
            Severity::Notice,
            "",
            &format!("ready version={}", env!("CARGO_PKG_VERSION")),
        );
        let manager = Manager::of_process();
        manager.ready();
        until_stopped(&app, &log, file.as_deref(), signals, &manager).await;
        if let Some(control) = control {
            control.stop();
        }
        if let Some(monitor) = monitor {
            monitor.stop();
        }
        Ok(())
    })
}

/// The log, and its file if it has one.
struct Logs {
    log: Arc<dyn Log>,
    file: Option<Arc<JsonFile>>,
}

fn open_log(to: LogTo, startup: &Startup) -> Result<Logs, Failure> {
    let written = &startup.environment.syslog;
    let mask = written.mask;
    let mut logs: Vec<Arc<dyn Log>> = Vec::new();
    if to != LogTo::Syslog {
        logs.push(Arc::new(Stderr::new(mask, unix)));
    }
    if to != LogTo::Stderr {
        let syslog = Syslog::new(DEVICE, written.facility, &written.ident, mask, unix);
        logs.push(Arc::new(syslog));
    }
    let file = match &startup.logging.json.path {
        None => None,
        Some(path) => {
            let file = JsonFile::open(Arc::new(SystemDisk), path, mask, unix);
            let file = file.map_err(|error| {
                let reason = super::failure::reason(&error);
                Failure::Failed(format!("logging.json.path: {}: {reason}", path.display()))
            })?;
            Some(Arc::new(file))
        }
    };
    logs.extend(file.iter().map(|file| Arc::clone(file) as Arc<dyn Log>));
    let log = Arc::new(Several(logs));
    Ok(Logs { log, file })
}

/// A port that commands the server is worth a line, and a warning where anybody may use it.
fn tell_of_port(log: &Arc<dyn Log>, bound: &BoundTcp, tls: bool) {
    let Ok(address) = bound.local_addr() else {
        return;
    };
    let line = format!(
        "control socket={address} tls={}",
        if tls { "yes" } else { "no" }
    );
    let severity = match tls || address.ip().is_loopback() {
        true => Severity::Notice,
        false => Severity::Warning,
    };
    log.line(severity, "", &line);
}

/// The files of the machine. Private keys that only root may read are kept, so that a reload finds them
/// after the process has given up root's rights.
#[derive(Default)]
struct KeptKeys(Mutex<HashMap<PathBuf, Vec<u8>>>);

impl KeptKeys {
    /// Reads the keys now.
    fn keep(&self, keys: &[PrivateKey]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if let Some(path) = key.privatekey.as_ref().and_then(|key| key.path.as_ref())
                && let Ok(bytes) = SystemFiles.read(path)
            {
                kept.insert(path.to_path_buf(), bytes);
            }
        }
    }
}

impl FileSource for KeptKeys {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match SystemFiles.read(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                kept.get(path).cloned().ok_or(error)
            }
            read => read,
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        SystemFiles.list(path)
    }
}

/// Errors of configuration and scripts name their places themselves.
fn refused(error: StartError) -> Failure {
    match error {
        StartError::Config(_) | StartError::Scripts(_) => Failure::Report(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}

fn unix() -> Duration {
    SystemClock.unix()
}

struct Signals {
    hangup: Signal,
    reopen: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reloads at each SIGHUP; opens the log's file again at each SIGUSR1; stops gracefully at SIGTERM or SIGINT and at once at the second one.
async fn until_stopped(
    app: &Arc<App>,
    log: &Arc<dyn Log>,
    file: Option<&JsonFile>,
    mut signals: Signals,
    manager: &Manager,
) {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => {
                manager.reloading();
                reload(app, log).await;
                manager.ready();
            }
            _ = signals.reopen.recv() => {
                if let Some(Err(error)) = file.map(JsonFile::reopen) {
                    let line = format!("the log's file cannot be opened again: {error}");
                    log.line(Severity::Error, "", &line);
                }
            }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    manager.stopping();
    log.line(Severity::Notice, "", "stopping");
    tokio::select! {
        () = app.stop() => log.line(Severity::Notice, "", "stopped"),
        () = signals.stop() => log.line(Severity::Warning, "", "stopped at once; what was under way is tried again at the next start"),
    }
}

async fn reload(app: &App, log: &Arc<dyn Log>) {
    let file = Part::All.file();
    match app.reload().await {
        Ok(warnings) => {
            for warning in warnings {
                log.line(
                    Severity::Warning,
                    "",
                    &format!("reload file={file} warning={}", quoted(warning.trim_end())),
                );
            }
            log.line(Severity::Notice, "", &format!("reload file={file} ok"));
        }
        Err(error) => log.line(
            Severity::Error,
            "",
            &format!(
                "reload file={file} error={}",
                quoted(error.to_string().trim_end())
            ),
        ),
    }
}
