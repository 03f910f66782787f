//! `repl`: statements are entered one by one, and what they define stays.

mod complete;
mod editor;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use angarium_lang::Source;
use angarium_runtime::exception::Place;
use angarium_runtime::value::Value;
use angarium_runtime::vm::session::SessionError;
use angarium_runtime::{Ended, Limits, Session, convert};
use futures_util::FutureExt as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;

use super::failure::Failure;
use super::host::{Echo, Services};
use super::run::{self, INTERRUPTED, errors_of};
use super::surroundings::Surroundings;
use super::{doc, files, terminal};
use crate::bundle_loader::{ScriptFiles, SystemRoot};
use complete::Names;
use editor::{Entered, Reader};

/// Reads and runs statements until `:quit` or the end of the input.
///
/// # Errors
/// When the tool cannot start, or its output cannot be written.
pub fn run(around: &Surroundings, limits: Limits) -> Result<(), Failure> {
    let mut console = Console::new(around, limits)?;
    let mut reader = Reader::new(Rc::clone(&console.names))?;
    console.say("Statements end with Enter. :help lists the commands, :quit ends.\n")?;
    loop {
        match reader.read(&mut || console.was_interrupted())? {
            Entered::Text(text) => {
                if !console.enter(&text)? {
                    return Ok(());
                }
            }
            Entered::Aborted => {}
            Entered::End => return console.say("\n"),
        }
    }
}

/// A session and what it needs to run.
struct Console {
    services: Services,
    files: ScriptFiles,
    root: SystemRoot,
    limits: Limits,
    echo: Rc<Echo>,
    session: Session,
    runtime: Runtime,
    tasks: LocalSet,
    /// Ctrl-C while a statement runs.
    interrupts: Signal,
    /// What completion offers.
    names: Rc<RefCell<Names>>,
}

const COMMANDS: [(&str, &str); 7] = [
    (
        ":help [NAME]",
        "explains a function, class, method or keyword; alone, this list",
    ),
    (":load FILE", "runs a file in this session"),
    (":vars", "shows the variables"),
    (":time EXPR", "runs a statement and says how long it took"),
    (":reset", "forgets everything that was defined"),
    (":quit", "ends (so does Ctrl-D)"),
    ("Ctrl-C", "aborts the running statement"),
];

/// Longer values are cut in the list of the variables.
const MAX_SHOWN: usize = 200;

impl Console {
    fn new(around: &Surroundings, limits: Limits) -> Result<Console, Failure> {
        let services = Services::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Failed(format!("cannot start the event loop: {error}")))?;
        let interrupts = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt())
                .map_err(|error| Failure::Failed(format!("cannot listen to Ctrl-C: {error}")))?
        };
        let echo = Echo::stdout(false);
        let files = around.files();
        let session = session(&services, &files, &echo, limits);
        let commands = COMMANDS.iter();
        let commands = commands.filter_map(|(form, _)| form.strip_prefix(':')?.split(' ').next());
        let names = Names::of(&services.library, commands.collect());
        Ok(Console {
            services,
            files,
            root: around.root.clone(),
            limits,
            echo,
            session,
            runtime,
            tasks: LocalSet::new(),
            interrupts,
            names: Rc::new(RefCell::new(names)),
        })
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        self.echo.line(text);
        self.echo.flush()
    }

    /// Takes what was entered; false ends the REPL.
    fn enter(&mut self, text: &str) -> Result<bool, Failure> {
        let text = text.trim();
        let Some(command) = text.strip_prefix(':') else {
            if !text.is_empty() {
                self.eval(piece(text))?;
            }
            return Ok(true);
        };
        let (word, rest) = command
            .split_once(char::is_whitespace)
            .map_or((command, ""), |(word, rest)| (word, rest.trim()));
        match (word, rest) {
            ("quit" | "q" | "exit", _) => return Ok(false),
            ("help" | "h", "") => self.help()?,
            ("help" | "h", name) => match doc::describe(&self.services.library, name) {
                Some(text) => self.say(&text)?,
                None => self.complain(&doc::unknown(&self.services.library, name))?,
            },
            ("reset", _) => {
                self.session = session(&self.services, &self.files, &self.echo, self.limits);
                self.names.borrow_mut().update(&self.session);
            }
            ("vars", _) => self.vars()?,
            ("load", "") => self.complain("name the file: `:load script.hsl`")?,
            ("load", path) => match files::read(Path::new(path)) {
                Ok(text) => {
                    let below = self.root.path_of(Path::new(path)).unwrap_or_default();
                    self.eval(Source {
                        name: path,
                        path: &below,
                        text: &text,
                    })?;
                }
                Err(failure) => self.complain(&failure.to_string())?,
            },
            ("time", "") => self.complain("give a statement: `:time str_repeat(\"x\", 10)`")?,
            ("time", text) => {
                let began = self.services.clock().monotonic();
                self.eval(piece(text))?;
                let took = self.services.clock().monotonic().since(began);
                self.say(&format!("{}\n", duration(took)))?;
            }
            _ => self.complain(&format!("there is no command `:{word}`; :help lists them"))?,
        }
        Ok(true)
    }

    fn help(&self) -> Result<(), Failure> {
        let mut text = String::new();
        for (command, what) in COMMANDS {
            text.push_str(&format!("{command:<14}{what}\n"));
        }
        self.say(&text)
    }

    fn vars(&self) -> Result<(), Failure> {
        let mut text = String::new();
        for (name, value) in self.session.variables() {
            let shown = shown(&value);
            let (shown, rest) = match shown.char_indices().nth(MAX_SHOWN) {
                Some((end, _)) => (shown.get(..end).unwrap_or_default(), "…"),
                None => (shown.as_str(), ""),
            };
            text.push_str(&format!("${name} = {shown}{rest}\n"));
        }
        self.say(&text)
    }

    /// Says on standard error what is wrong, after everything that was printed before.
    fn complain(&self, text: &str) -> Result<(), Failure> {
        self.echo.flush()?;
        terminal::error(&format!("{}\n", text.trim_end()));
        Ok(())
    }

    /// Whether Ctrl-C was pressed since the last question.
    fn was_interrupted(&mut self) -> bool {
        let interrupts = &mut self.interrupts;
        self.tasks.block_on(&self.runtime, async {
            // Gives the event loop the turn in which it takes notice of signals.
            tokio::task::yield_now().await;
            interrupts.recv().now_or_never().is_some()
        })
    }

    /// Runs a piece and shows its value or what is wrong with it.
    fn eval(&mut self, source: Source<'_>) -> Result<(), Failure> {
        // A Ctrl-C that came before the statement is not meant for it.
        self.was_interrupted();
        let (session, files, services) = (&mut self.session, &self.files, &self.services);
        let interrupts = &mut self.interrupts;
        let evaluated = self.tasks.block_on(&self.runtime, async {
            tokio::select! {
                evaluated = services.with_background(session.eval_source(source, files)) => evaluated,
                _ = interrupts.recv() => Err(SessionError::Ended(Ended::Limit(INTERRUPTED))),
            }
        });
        self.names.borrow_mut().update(&self.session);
        match evaluated {
            Ok(evaluated) if evaluated.value.is_none() => self.echo.flush(),
            Ok(evaluated) => self.say(&format!("{}\n", shown(&evaluated.value))),
            Err(error) => self.complain(&explain(&error, &self.session)),
        }
    }
}

/// The dump form of a value as a terminal can bear it: control characters could move its cursor or change its title.
fn shown(value: &Value) -> String {
    let text = String::from_utf8_lossy(&convert::dump_short(value)).into_owned();
    let is_tame = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.replace(|c| !is_tame(c), "\u{fffd}")
}

/// A piece as it was entered.
fn piece(text: &str) -> Source<'_> {
    Source {
        name: "",
        path: "",
        text: text.as_bytes(),
    }
}

fn session(services: &Services, files: &ScriptFiles, echo: &Rc<Echo>, limits: Limits) -> Session {
    let host = services.host(Rc::<Echo>::clone(echo), Rc::new(files.clone()));
    Session::new(&services.library, "core", host, limits)
}

fn explain(error: &SessionError, session: &Session) -> String {
    match error {
        SessionError::Rejected(rejected) => errors_of(rejected),
        SessionError::Link(error) => error.render(),
        SessionError::Ended(Ended::Limit(INTERRUPTED)) => "interrupted\n".to_owned(),
        SessionError::Ended(ended) => {
            let (at, trace) = (session.ended_at(), session.trace());
            // Pieces have no names to find their texts by; the line where it ended is known.
            let line = |place: &Place| {
                trace
                    .source_line
                    .clone()
                    .filter(|_| at.as_ref() == Some(place))
            };
            run::explain(ended, at.clone(), trace, line)
        }
    }
}

/// A duration in the unit that people read.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        _ if seconds < 0.001 => format!("{:.1} µs", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_command_the_terminal() {
        let value = Value::from("a\tb\n\u{1b}[2J\r\u{9b}é");
        assert_eq!(shown(&value), "''a\tb\n\u{fffd}[2J\u{fffd}\u{fffd}é''");
    }

    #[test]
    fn durations_have_a_unit_that_people_read() {
        assert_eq!(duration(Duration::from_nanos(1500)), "1.5 µs");
        assert_eq!(duration(Duration::from_micros(2500)), "2.50 ms");
        assert_eq!(duration(Duration::from_millis(1500)), "1.50 s");
    }
}
