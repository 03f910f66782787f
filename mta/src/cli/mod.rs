//! The commands of the program `angarium`.
//!
//! | module | commands |
//! |---|---|
//! | [`bundle`] | `init`, `pack`, `unpack`, `check` |
//! | [`table`] | `functions`, `doc` |
//! | `sink`, `load` | a fake destination and a load driver |
//!
//! Status 0: it worked; 1: what was asked for failed; 2: the arguments are wrong.

pub mod bundle;
pub mod failure;
pub mod files;
mod load;
mod outbound;
mod sink;
pub mod table;
pub mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use angarium_runtime::library::Library;
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
    /// Write a new bundle, commented, to start from
    Init(bundle::InitArgs),
    /// Put the scripts and settings of a source tree into packed files
    Pack(bundle::PackArgs),
    /// Take packed files apart into a source tree
    Unpack(bundle::UnpackArgs),
    /// Check the settings and scripts of a bundle
    Check(bundle::CheckArgs),
    /// List what scripts can call
    Functions(table::FunctionsArgs),
    /// Explain a function, class or method
    Doc(table::DocArgs),
    /// Be a fake destination that accepts mail and shows, writes or counts it
    Sink(sink::Args),
    /// Send many messages and measure how many get through
    Load(load::Args),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the program with these arguments, the name that it was called by first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let program = match Program::try_parse_from(&args) {
        Ok(program) => program,
        Err(error) => {
            // Help and version go to standard output with status 0, mistakes to standard error with status 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    finish("angarium", run(program.command))
}

fn finish(program: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(program),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(args) => bundle::init(&args),
        Command::Pack(args) => bundle::pack_command(&args),
        Command::Unpack(args) => bundle::unpack_command(&args),
        Command::Check(args) => bundle::check(&args),
        Command::Functions(args) => table::functions(&args, &library()),
        Command::Doc(args) => table::doc(&args, &library()),
        Command::Sink(args) => block_on(sink::run(args)),
        Command::Load(args) => block_on(load::run(args)),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Program::command(), "angarium", &mut text);
            terminal::print_bytes(&text)
        }
    }
}

/// The table of everything that scripts can call.
///
/// # Panics
/// When a declaration is malformed, which a test of the table rules out.
fn library() -> Library {
    let mut contexts = vec![&angarium_stdlib::CORE];
    contexts.extend(crate::hooks::CONTEXTS);
    #[expect(
        clippy::expect_used,
        reason = "the declarations are constants, and a test builds the library from them"
    )]
    Library::new(&contexts).expect("the table of built-ins is well-formed")
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
    }
}
