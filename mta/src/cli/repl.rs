//! `repl`: statements are entered one by one, and what they define stays.

mod editor;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use angarium_runtime::vm::session::SessionError;
use angarium_runtime::{Ended, Limits, Session, convert};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::failure::Failure;
use super::host::{Echo, Services};
use super::run::{INTERRUPTED, errors_of};
use super::{files, table, terminal};
use crate::bundle_loader::ScriptFiles;
use editor::{Entered, Names, Reader};

/// Reads and runs statements until `:quit` or the end of the input.
///
/// # Errors
/// When the tool cannot start, or its output cannot be written.
pub fn run(files: ScriptFiles, limits: Limits) -> Result<(), Failure> {
    let mut console = Console::new(files, limits)?;
    let mut reader = Reader::new(console.names.clone())?;
    console.say("Statements end with Enter. :help lists the commands, :quit ends.\n")?;
    loop {
        match reader.read()? {
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
    limits: Limits,
    echo: Rc<Echo>,
    session: Session,
    runtime: Runtime,
    tasks: LocalSet,
    /// What completion offers.
    names: Names,
}

const COMMANDS: [(&str, &str); 7] = [
    (
        ":help [NAME]",
        "explains a function, class or method; alone, this list",
    ),
    (":load FILE", "runs a file in this session"),
    (":vars", "shows the variables"),
    (":time EXPR", "runs a statement and says how long it took"),
    (":reset", "forgets everything that was defined"),
    (":quit", "ends (so does Ctrl-D)"),
    ("Ctrl-C", "aborts the running statement"),
];

impl Console {
    fn new(files: ScriptFiles, limits: Limits) -> Result<Console, Failure> {
        let services = Services::start()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Failed(format!("cannot start the event loop: {error}")))?;
        let echo = Echo::stdout(false);
        let session = session(&services, &files, &echo, limits);
        let names = Names::of(&services.library);
        Ok(Console {
            services,
            files,
            limits,
            echo,
            session,
            runtime,
            tasks: LocalSet::new(),
            names,
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
                self.eval(text.as_bytes())?;
            }
            return Ok(true);
        };
        let (word, rest) = command
            .split_once(char::is_whitespace)
            .map_or((command, ""), |(word, rest)| (word, rest.trim()));
        match (word, rest) {
            ("quit" | "q" | "exit", _) => return Ok(false),
            ("help" | "h", "") => self.help()?,
            ("help" | "h", name) => match table::describe(&self.services.library, name) {
                Some(text) => self.say(&text)?,
                None => terminal::error(&format!(
                    "{}\n",
                    table::unknown(&self.services.library, name)
                )),
            },
            ("reset", _) => {
                self.session = session(&self.services, &self.files, &self.echo, self.limits);
                self.names.update(&self.session);
            }
            ("vars", _) => self.vars()?,
            ("load", "") => terminal::error("name the file: `:load script.hsl`\n"),
            ("load", path) => match files::read(Path::new(path)) {
                Ok(text) => self.eval(&text)?,
                Err(failure) => terminal::error(&format!("{failure}\n")),
            },
            ("time", "") => terminal::error("give a statement: `:time str_repeat(\"x\", 10)`\n"),
            ("time", text) => {
                let began = self.services.clock().monotonic();
                self.eval(text.as_bytes())?;
                let took = self.services.clock().monotonic().since(began);
                self.say(&format!("{}\n", duration(took)))?;
            }
            _ => terminal::error(&format!(
                "there is no command `:{word}`; :help lists them\n"
            )),
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
            let shown = String::from_utf8_lossy(&convert::dump(&value)).into_owned();
            text.push_str(&format!("${name} = {shown}\n"));
        }
        self.say(&text)
    }

    /// Runs a piece and shows its value or what is wrong with it.
    fn eval(&mut self, text: &[u8]) -> Result<(), Failure> {
        let (session, files) = (&mut self.session, &self.files);
        let evaluated = self.tasks.block_on(&self.runtime, async {
            tokio::select! {
                evaluated = session.eval(text, files) => evaluated,
                _ = tokio::signal::ctrl_c() => {
                    Err(SessionError::Ended(Ended::Limit(INTERRUPTED)))
                }
            }
        });
        self.names.update(&self.session);
        match evaluated {
            Ok(evaluated) if evaluated.value.is_none() => {}
            Ok(evaluated) => {
                let shown = convert::dump(&evaluated.value);
                self.echo
                    .line(&format!("{}\n", String::from_utf8_lossy(&shown)));
            }
            Err(error) => {
                self.echo.flush()?;
                terminal::error(&explain(&error));
            }
        }
        self.echo.flush()
    }
}

fn session(services: &Services, files: &ScriptFiles, echo: &Rc<Echo>, limits: Limits) -> Session {
    let host = services.host(Rc::<Echo>::clone(echo), Rc::new(files.clone()));
    Session::new(&services.library, "core", host, limits)
}

fn explain(error: &SessionError) -> String {
    match error {
        SessionError::Rejected(rejected) => errors_of(rejected),
        SessionError::Link(error) => error.render(),
        SessionError::Ended(Ended::Limit(INTERRUPTED)) => "interrupted\n".to_owned(),
        SessionError::Ended(ended) => format!("{ended}\n"),
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
    fn durations_have_a_unit_that_people_read() {
        assert_eq!(duration(Duration::from_nanos(1500)), "1.5 µs");
        assert_eq!(duration(Duration::from_micros(2500)), "2.50 ms");
        assert_eq!(duration(Duration::from_millis(1500)), "1.50 s");
    }
}
