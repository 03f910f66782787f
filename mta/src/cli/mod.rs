//! The commands of the program `angarium`.
//!
//! | module | commands |
//! |---|---|
//! | `demo` | `demo` |
//! | `serve` | `serve` |
//! | [`bundle`] | `init`, `pack` (= `halonconfig`), `unpack`, `check` |
//! | [`table`] | `functions` |
//! | [`doc`] | `doc` |
//! | `try_hook` | `try` |
//! | `run`, `repl` | `run` (= `hsh`), `repl` |
//! | [`lint`] | `lint` (= `hsl-lint`) |
//! | `fmt` | `fmt` |
//! | [`ctl`] | `ctl` (= `halonctl`; `halontop` is `ctl top`) |
//! | `sink`, `load` | a fake destination and a load driver |
//! | `spool` | `spool check`, `spool export`: the messages of a stopped server |
//!
//! Called by the names that other tools know (`hsh`, `hsl-lint`, `halonctl`, `halontop`, `halonconfig`) it is that command.
//! Status 0: it worked; 1: what was asked for failed; 2: the arguments are wrong.

pub mod bundle;
pub mod ctl;
mod debug;
mod demo;
pub mod doc;
pub mod failure;
pub mod files;
mod fmt;
mod host;
mod keywords;
pub mod lint;
mod load;
mod notify;
mod outbound;
mod privileges;
pub mod reference;
mod repl;
mod run;
mod serve;
mod sink;
mod spool;
mod surroundings;
pub mod table;
pub mod terminal;
mod try_hook;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

pub use failure::Failure;

/// A mail transfer agent with scripts at every step
#[derive(Debug, Parser)]
#[command(name = "angarium", version, propagate_version = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a server at work: no file, port or rights needed
    Demo(demo::Args),
    /// Run one hook of a bundle offline
    Try(try_hook::Args),
    /// Run a script
    #[command(visible_alias = "hsh")]
    Run(run::Args),
    /// Enter statements one by one
    Repl(run::ReplArgs),
    /// Check scripts without running them
    #[command(visible_alias = "hsl-lint")]
    Lint(lint::Args),
    /// Format scripts
    Fmt(fmt::Args),
    /// Run the server in the foreground
    Serve(serve::ServeArgs),
    /// Write a new bundle, commented, to start from
    Init(bundle::InitArgs),
    /// Put the scripts and settings of a source tree into packed files
    #[command(visible_alias = "halonconfig")]
    Pack(bundle::PackArgs),
    /// Take packed files apart into a source tree
    Unpack(bundle::UnpackArgs),
    /// Check the settings and scripts of a bundle
    Check(bundle::CheckArgs),
    /// Print the JSON schema of a configuration file, for editors
    Schema(bundle::SchemaArgs),
    /// List what scripts can call
    Functions(table::FunctionsArgs),
    /// Explain a function, class, method, variable, keyword or hook
    Doc(doc::DocArgs),
    /// Be a fake destination that accepts mail and shows, writes or counts it
    Sink(sink::Args),
    /// Send many messages and measure how many get through
    Load(load::Args),
    /// Look at the messages of a stopped server
    #[command(subcommand)]
    Spool(spool::Command),
    /// Ask a running server and tell it what to do
    #[command(visible_alias = "halonctl")]
    Ctl(Box<ctl::CtlArgs>),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
        /// The program whose arguments are completed
        #[arg(default_value = "angarium")]
        program: Called,
    },
}

/// The names that the program answers to.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Called {
    Angarium,
    Hsh,
    HslLint,
    Halonctl,
}

/// Run an HSL script, or enter statements one by one
#[derive(Debug, Parser)]
#[command(name = "hsh")]
struct Hsh {
    #[command(flatten)]
    args: run::Args,
}

/// Ask a running server and tell it what to do
#[derive(Debug, Parser)]
#[command(name = "halonctl")]
struct Halonctl {
    #[command(flatten)]
    args: ctl::CtlArgs,
}

/// Put the scripts and settings of a source tree into packed files, or take these apart
#[derive(Debug, Parser)]
#[command(name = "halonconfig", version)]
struct Halonconfig {
    #[command(flatten)]
    args: bundle::PackArgs,
}

/// Check HSL scripts without running them
#[derive(Debug, Parser)]
#[command(name = "hsl-lint")]
struct HslLint {
    #[command(flatten)]
    args: lint::Args,
}

/// Runs the program with these arguments, the name that it was called by first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let name = called_as(args.first());
    let result = match name.as_str() {
        "hsh" => parse::<Hsh>(&args).map(|hsh| run::run(&hsh.args)),
        "hsl-lint" => parse::<HslLint>(&args).map(|lint| lint::run(&lint.args)),
        "halonctl" => parse::<Halonctl>(&args)
            .map(|ctl| block_on(ctl::run(ctl.args)))
            .map_err(of_ctl),
        "halontop" => parse::<Halonctl>(&as_top(&args))
            .map(|ctl| block_on(ctl::run(ctl.args)))
            .map_err(of_ctl),
        "halonconfig" => parse::<Halonconfig>(&args).map(|pack| bundle::pack_command(&pack.args)),
        _ if args
            .get(1)
            .is_some_and(|command| command == "ctl" || command == "halonctl") =>
        {
            let parsed = parse::<Program>(&args).map_err(of_ctl);
            parsed.map(|program| dispatch(program.command))
        }
        _ => parse::<Program>(&args).map(|program| dispatch(program.command)),
    };
    let program = match name.as_str() {
        name @ ("hsh" | "hsl-lint" | "halonctl" | "halontop" | "halonconfig") => name,
        _ => "angarium",
    };
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(program),
        Err(status) => status,
    }
}

/// `halontop …` is `halonctl top …`.
fn as_top(args: &[OsString]) -> Vec<OsString> {
    let mut all = args.to_vec();
    all.insert(all.len().min(1), "top".into());
    all
}

/// Status 2 of `ctl` means that nobody answers; wrong arguments are 1 there.
fn of_ctl(status: ExitCode) -> ExitCode {
    if status == ExitCode::SUCCESS {
        return status;
    }
    ExitCode::FAILURE
}

/// Reads the arguments, or prints help, version or what is wrong with them and gives the status.
fn parse<P: Parser>(args: &[OsString]) -> Result<P, ExitCode> {
    P::try_parse_from(args).map_err(|error| {
        // Help and version go to standard output with status 0, mistakes to standard error with status 2.
        let _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Try(args) => block_on(try_hook::run(args)),
        Command::Run(args) => run::run(&args),
        Command::Repl(args) => run::run(&args.into()),
        Command::Lint(args) => lint::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Serve(args) => serve::serve(args),
        Command::Init(args) => bundle::init(&args),
        Command::Pack(args) => bundle::pack_command(&args),
        Command::Unpack(args) => bundle::unpack_command(&args),
        Command::Check(args) => bundle::check(&args),
        Command::Schema(args) => bundle::schema(&args),
        Command::Functions(args) => table::functions(&args, &crate::scripts::library()),
        Command::Doc(args) => doc::doc(&args, &crate::scripts::library()),
        Command::Sink(args) => block_on(sink::run(args)),
        Command::Load(args) => block_on(load::run(args)),
        Command::Spool(command) => block_on(spool::run(command)),
        Command::Ctl(args) => block_on(ctl::run(*args)),
        Command::Completions { shell, program } => {
            let (mut command, name) = match program {
                Called::Angarium => (Program::command(), "angarium"),
                Called::Hsh => (Hsh::command(), "hsh"),
                Called::HslLint => (HslLint::command(), "hsl-lint"),
                Called::Halonctl => (Halonctl::command(), "halonctl"),
            };
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command, name, &mut text);
            terminal::print_bytes(&text)
        }
    }
}

/// The name of the program in its path.
fn called_as(program: Option<&OsString>) -> String {
    program
        .and_then(|program| Path::new(program).file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Runs `future` on this thread, with the system's clock, timers and network, and tasks of the thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the event loop: {error}")))?;
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Program::command().debug_assert();
        Hsh::command().debug_assert();
        HslLint::command().debug_assert();
        Halonctl::command().debug_assert();
        Halonconfig::command().debug_assert();
    }
}
