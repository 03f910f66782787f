//! `run` (= `hsh`): runs a script file, or what is piped in.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::LocalFuture;
use angarium_effects::clock::timeout;
use angarium_lang::{FileId, Rejected, Source, SourceMap};
use angarium_runtime::exception::Place;
use angarium_runtime::host::Output;
use angarium_runtime::vm::trace::Trace;
use angarium_runtime::{Ended, Execution, Limits, Unit};
use angarium_stdlib::regexp;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::debug::{Editor, Told};
use super::failure::Failure;
use super::files;
use super::host::{Echo, Services};
use super::surroundings::{Named, Surroundings, entry_point, read_stdin, surroundings};
use super::{privileges, repl, terminal};
use crate::bundle_loader::ScriptFiles;
use crate::debugger::Watch;

/// `angarium run`, `hsh`
#[derive(Debug, clap::Args)]
#[command(version, disable_version_flag = true)]
pub struct Args {
    /// The script; `-` for standard input. Without it a terminal gets the REPL
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Folder below which includes, imports and files are found [default: the script's]
    #[arg(short = 'R', long, value_name = "PATH")]
    rootpath: Option<PathBuf>,
    /// Check the syntax only
    #[arg(short, long)]
    syntax: bool,
    /// Write bytes as they are; echo adds no newline
    #[arg(short = 'B', long)]
    binary: bool,
    /// Startup configuration whose files and root the script sees; /dev/null for none [default: /etc/angarium/smtpd.yaml if it exists]
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Running configuration whose files the script sees; `-` for standard input
    #[arg(short = 'A', long, value_name = "PATH")]
    appconf: Option<PathBuf>,
    /// Most seconds that the script may take, waiting included
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    limit_time: Option<Duration>,
    /// Most memory that the script may hold, in bytes or with K, M or G
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    limit_memory: Option<usize>,
    /// Print the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Become the user that the startup configuration names (environment.privdrop) before the script runs
    #[arg(short = 'P', long)]
    privdrop: bool,
    /// Let the script call functions of foreign libraries (not available yet)
    #[arg(short = 'F', long)]
    ffi: bool,
    /// Load a plugin (not available yet)
    #[arg(short, long, value_name = "ID")]
    plugin: Vec<String>,
    /// Connect to the socket of a debugger, and stop at the script's debug points
    #[arg(short = 'C', value_name = "PATH")]
    debugger: Option<PathBuf>,
}

/// `angarium repl`
#[derive(Debug, clap::Args)]
pub struct ReplArgs {
    /// Folder below which includes, imports and files are found [default: the current one]
    #[arg(short = 'R', long, value_name = "PATH")]
    rootpath: Option<PathBuf>,
    /// Most seconds that a statement may take, waiting included
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    limit_time: Option<Duration>,
    /// Most memory that the session may hold, in bytes or with K, M or G
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    limit_memory: Option<usize>,
}

impl From<ReplArgs> for Args {
    fn from(args: ReplArgs) -> Args {
        Args {
            file: None,
            rootpath: args.rootpath,
            syntax: false,
            binary: false,
            config: Some(PathBuf::from("/dev/null")),
            appconf: None,
            limit_time: args.limit_time,
            limit_memory: args.limit_memory,
            version: None,
            privdrop: false,
            ffi: false,
            plugin: Vec::new(),
            debugger: None,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("`{text}` is no number of seconds"))?;
    match Duration::try_from_secs_f64(number) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => Err("it must be more than 0".to_owned()),
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.trim_end_matches('B') {
        text if text.ends_with(['K', 'k']) => (&text[..text.len() - 1], 1 << 10),
        text if text.ends_with(['M', 'm']) => (&text[..text.len() - 1], 1 << 20),
        text if text.ends_with(['G', 'g']) => (&text[..text.len() - 1], 1 << 30),
        text => (text, 1),
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("`{text}` is no number of bytes (like 1000000, 512K, 64M, 1G)"))
}

/// A script that is about to run.
#[derive(Debug)]
struct Script {
    /// What messages call it; empty when it has no name.
    name: String,
    /// Its path below the root; empty when it has none.
    path: String,
    text: Vec<u8>,
}

impl Script {
    fn new(name: String, text: Vec<u8>) -> Script {
        Script {
            name,
            path: String::new(),
            text,
        }
    }
}

/// Runs a script, or the REPL.
///
/// # Errors
/// Status 1 for a script that does not compile or fails, 2 for arguments that do not make sense.
pub fn run(args: &Args) -> Result<(), Failure> {
    refuse_what_is_missing(args)?;
    let file = args.file.as_deref().filter(|path| *path != Path::new("-"));
    let named = Named {
        config: args.config.as_deref(),
        appconf: args.appconf.as_deref(),
        rootpath: args.rootpath.as_deref(),
        script: file,
    };
    if args.file.is_none() && io::stdin().is_terminal() && !args.syntax {
        let around = surroundings(named, None)?;
        drop_privileges(args, &around)?;
        return repl::run(&around, limits(args));
    }
    let (mut script, around) = match file {
        Some(path) => {
            let text = files::read(path)?;
            let name = path.display().to_string();
            (Script::new(name, text), surroundings(named, None)?)
        }
        None if args.appconf.as_deref() == Some(Path::new("-")) => {
            // Standard input is the configuration; the script is what it calls its entry point.
            let text = read_stdin()?;
            let entry = Script::new(String::new(), entry_point(&text)?);
            (entry, surroundings(named, Some(text))?)
        }
        None => {
            let text = read_stdin()?;
            (Script::new(String::new(), text), surroundings(named, None)?)
        }
    };
    drop_privileges(args, &around)?;
    if args.syntax {
        return check_syntax(&script);
    }
    if let Some(path) = file {
        script.path = around.root.path_of(path).unwrap_or_default();
    }
    execute(&script, around.files(), args)
}

/// What `-P` asks for. The configuration and the script have been read by then; what the script reads itself it reads
/// as the new user.
fn drop_privileges(args: &Args, around: &Surroundings) -> Result<(), Failure> {
    if !args.privdrop {
        return Ok(());
    }
    let Some(user) = around.privdrop.user.as_deref() else {
        return Err(Failure::Usage(
            "--privdrop needs a startup configuration (-c) that names the user in environment.privdrop.user"
                .to_owned(),
        ));
    };
    privileges::become_user("--privdrop", user, around.privdrop.group.as_deref())
}

fn refuse_what_is_missing(args: &Args) -> Result<(), Failure> {
    let missing = if args.ffi {
        "--ffi is not available yet: scripts cannot call functions of foreign libraries".to_owned()
    } else if let Some(plugin) = args.plugin.first() {
        format!("--plugin is not available yet: the plugin {plugin} cannot be loaded")
    } else {
        return Ok(());
    };
    Err(Failure::Usage(missing))
}

fn limits(args: &Args) -> Limits {
    Limits {
        fuel: None,
        memory: args.limit_memory,
        time: args.limit_time,
    }
}

fn check_syntax(script: &Script) -> Result<(), Failure> {
    let (errors, sources) = syntax_errors(&script.name, &script.text);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::Report(
        errors.iter().map(|error| error.render(&sources)).collect(),
    ))
}

/// What the parser says of a text.
pub(super) fn syntax_errors(
    name: &str,
    text: &[u8],
) -> (Vec<angarium_lang::Diagnostic>, SourceMap) {
    let mut sources = SourceMap::new();
    let file = sources.add(name, text).unwrap_or(FileId(0));
    let (_, diagnostics) = angarium_syntax::parse(text, file);
    let errors = diagnostics
        .into_iter()
        .filter(angarium_lang::Diagnostic::is_error);
    (errors.collect(), sources)
}

fn execute(script: &Script, files: ScriptFiles, args: &Args) -> Result<(), Failure> {
    let services = Services::new();
    let library = &services.library;
    let names = library
        .context("core")
        .ok_or_else(|| Failure::Failed("there is no core library".to_owned()))?;
    let names = match args.debugger {
        Some(_) => names.debugged(),
        None => names,
    };
    let source = Source {
        name: &script.name,
        path: &script.path,
        text: &script.text,
    };
    let compiled = angarium_lang::compile(source, &names, &files)
        .map_err(|rejected| Failure::Report(errors_of(&rejected)))?;
    let unit = Unit::link(compiled.program, Arc::clone(library), &regexp::ENGINE)
        .map_err(|error| Failure::Report(error.render()))?;
    let echo = Echo::stdout(args.binary);
    let result = super::block_on(async {
        let editor = match &args.debugger {
            Some(path) => Some(Editor::connect(path).await?),
            None => None,
        };
        let mut output: Rc<dyn Output> = Rc::<Echo>::clone(&echo);
        if let Some((editor, _)) = &editor {
            output = Rc::new(Told {
                output,
                editor: Rc::clone(editor),
            });
        }
        let host = services.host(output, Rc::new(files));
        let serving = editor.map(|(editor, service)| {
            host.watch(Rc::new(Watch {
                hub: Arc::clone(editor.hub()),
                clock: Rc::clone(services.clock()),
                id: "".into(),
            }));
            let (over, ended) = tokio::sync::oneshot::channel::<()>();
            let ended = async {
                let _ = ended.await;
            };
            (editor, over, tokio::task::spawn_local(service.serve(ended)))
        });
        if let Some((editor, ..)) = &serving {
            editor.ready().await;
        }
        let mut execution = Execution::new(&unit, host, Vec::new(), limits(args));
        // Polled when something has woken them, not with every slice of the script.
        let mut interruptions = FuturesUnordered::<LocalFuture<'_, &'static str>>::new();
        interruptions.push(Box::pin(async {
            let _ = tokio::signal::ctrl_c().await;
            INTERRUPTED
        }));
        interruptions.push(Box::pin(async {
            // Why is said by the flush below.
            echo.broken().await;
            "output"
        }));
        let ended = tokio::select! {
            ended = services.with_background(execution.drive()) => ended,
            Some(interruption) = interruptions.next() => Err(Ended::Limit(interruption)),
        };
        if let Some((_, over, serving)) = serving {
            drop(over);
            // An editor that has gone misses the rest by its own wish.
            let _ = timeout(&**services.clock(), EDITOR, serving).await;
        }
        let report = match &ended {
            Err(ended) => {
                let sources = &unit.program().sources;
                let line = |place: &Place| source_line(place, sources);
                explain(ended, execution.ended_at(), execution.trace(), line)
            }
            Ok(_) => String::new(),
        };
        Ok((ended, report))
    })?;
    let (result, report) = result;
    echo.flush()?;
    match result {
        Ok(_) => Ok(()),
        Err(Ended::Limit(INTERRUPTED)) => {
            terminal::error("interrupted\n");
            Err(Failure::Status(130))
        }
        Err(_) => Err(Failure::Report(report)),
    }
}

/// The errors of a program that was refused; its warnings are the linter's business.
pub(super) fn errors_of(rejected: &Rejected) -> String {
    let errors = rejected.diagnostics.iter().filter(|found| found.is_error());
    errors
        .map(|error| error.render(&rejected.sources))
        .collect()
}

/// How long an editor may take for what is left when the script has ended.
const EDITOR: Duration = Duration::from_secs(5);

/// How an execution that Ctrl-C stopped ends.
pub(super) const INTERRUPTED: &str = "interrupted";

/// An end in words: what was thrown, the source line where it happened, a hint, the calls that were going on and how
/// the file came in.
pub(super) fn explain(
    ended: &Ended,
    at: Option<Place>,
    trace: &Trace,
    line: impl Fn(&Place) -> Option<Vec<u8>>,
) -> String {
    let mut text = format!("{ended}\n");
    let made = match ended {
        Ended::Uncaught(uncaught) => uncaught.place.as_ref(),
        _ => None,
    };
    // An exception that the script made itself knows no place; where it was thrown is known.
    let place = made.or(at.as_ref());
    if let Some(excerpt) = place.and_then(|place| excerpt(place, &line(place)?)) {
        text.push_str(&excerpt);
    }
    if let Some(hint) = &trace.hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    if made.is_none()
        && trace.calls.len() < 2
        && let Some(place) = place
    {
        let file = place.file.as_deref().unwrap_or_default();
        let colon = if file.is_empty() { "line " } else { ":" };
        text.push_str(&format!(
            "  at {file}{colon}{}:{}\n",
            place.line, place.column
        ));
    }
    text + &trace.lines()
}

/// The source line of a place.
fn source_line(place: &Place, sources: &SourceMap) -> Option<Vec<u8>> {
    let name = place.file.as_deref().unwrap_or_default();
    let file = (0..)
        .map_while(|index| sources.file(FileId(index)))
        .find(|file| file.name() == name)?;
    Some(file.line(place.line).to_vec())
}

/// The line of a place with a caret below.
fn excerpt(place: &Place, line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let line: String = line
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .take(MAX_EXCERPT)
        .collect();
    let before = usize::try_from(place.column).ok()?.checked_sub(1)?;
    if before > line.chars().count() {
        return Some(line + "\n");
    }
    let indent: String = line
        .chars()
        .take(before)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    Some(format!("{line}\n{indent}^\n"))
}

/// Longer lines are cut.
const MAX_EXCERPT: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_units() {
        assert_eq!(bytes("1000"), Ok(1000));
        assert_eq!(bytes("512K"), Ok(512 << 10));
        assert_eq!(bytes("64MB"), Ok(64 << 20));
        for wrong in ["", "0", "x", "1T", "99999999999G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["0", "-1", "x", "inf"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
