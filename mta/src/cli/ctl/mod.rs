//! `ctl` (`halonctl`): asks a running server and tells it what to do, over its control socket.
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | the socket: requests and answers |
//! | `conditions` | the flags that say which messages are meant |
//! | `queue`, `changes` | `queue list`, `groupby`, `update` and the rest of the queue |
//! | `connections` | `server connections` and `queue connections` |
//! | `policies` | `queue suspend` and `queue policy` |
//! | `server` | `config`, `hsl`, `process-stats`, `resolver` |
//! | `top` | counters as they change |
//! | `trace` | deliveries as they go on |
//! | `table` | tables for people |
//!
//! Status 0: it worked; 1: the server refuses or the arguments are wrong; 2: nobody answers.

mod changes;
pub mod client;
mod conditions;
mod connections;
mod livestage;
mod policies;
mod queue;
mod server;
mod table;
mod top;
mod trace;

use std::time::Duration;

use angarium_control::proto;
use angarium_control::{Command, Message, json};
use angarium_effects::system::SystemClock;
use clap::{Args, Subcommand};

use super::terminal::print;
use super::{Failure, files::SystemFiles};
use client::Client;

/// `angarium ctl`
#[derive(Debug, Args)]
pub struct CtlArgs {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: What,
}

/// What all sub-commands understand.
#[derive(Debug, Args)]
struct Options {
    #[command(flatten)]
    place: client::Where,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Print the request as JSON first
    #[arg(long, global = true)]
    json_request: bool,
    /// Most seconds to wait for an answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Messages in the queue, suspends and policies
    Queue {
        #[command(subcommand)]
        command: Box<queue::Queue>,
    },
    /// Servers that take mail
    Server {
        #[command(subcommand)]
        command: connections::Server,
    },
    /// The configuration
    Config {
        #[command(subcommand)]
        command: server::Config,
    },
    /// What scripts share
    Hsl {
        #[command(subcommand)]
        command: server::Hsl,
    },
    /// Counters of the server
    ProcessStats {
        /// Print them as OpenMetrics text
        #[arg(long, conflicts_with = "json")]
        openmetrics: bool,
    },
    /// Counters of the server as they change
    Top(top::Top),
    /// Name resolution
    Resolver {
        #[command(subcommand)]
        command: server::Resolver,
    },
    /// What is said, as it is said
    Trace {
        #[command(subcommand)]
        command: trace::Trace,
    },
    /// Native plugins (not available yet)
    Plugin {
        #[command(subcommand)]
        command: Plugin,
    },
    /// Past messages (not available yet)
    History {
        #[command(subcommand)]
        command: History,
    },
    /// There is no licence to show
    #[command(hide = true)]
    License {
        #[arg(hide = true, num_args = 0.., trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

/// `ctl plugin …`
#[derive(Debug, Subcommand)]
enum Plugin {
    /// Have a plugin carry out a command of its own
    Command {
        /// Name of the plugin
        id: String,
        /// What it is given
        #[arg(value_name = "ARGUMENT")]
        arguments: Vec<String>,
    },
}

/// `ctl history …`
#[derive(Debug, Subcommand)]
enum History {
    /// List past messages
    List,
}

/// A connection, and how to show what comes back.
struct Ctl {
    client: Client,
    json: bool,
    json_request: bool,
    timeout: Duration,
}

impl Ctl {
    /// Sends a request. With `--json` the answer is printed and nothing is given back.
    async fn ask<R: Message + Default>(
        &mut self,
        letter: u8,
        request: Option<&impl Message>,
    ) -> Result<Option<R>, Failure> {
        let body = request.map(Message::encode_to_vec);
        let data = self.send(letter, body.as_deref()).await?;
        let command = Command::of(letter);
        if self.json {
            let name = command.map_or("", |command| command.response);
            let value = match name {
                "" => serde_json::json!({}),
                name => json::to_json(name, &data).map_err(failed)?,
            };
            print(&format!("{value:#}\n"))?;
            return Ok(None);
        }
        R::decode(&data[..]).map(Some).map_err(failed)
    }

    /// Sends a request that has no answer but "done".
    async fn tell(&mut self, letter: u8, request: Option<&impl Message>) -> Result<(), Failure> {
        match self.ask::<()>(letter, request).await? {
            Some(()) => print("ok\n"),
            None => Ok(()),
        }
    }

    /// Prints a request, if that is wanted.
    fn show_request(&self, letter: u8, body: Option<&[u8]>) -> Result<(), Failure> {
        if !self.json_request {
            return Ok(());
        }
        let name = Command::of(letter).and_then(|command| command.request);
        let value = match (name, body) {
            // A command that is refused has no message yet.
            (Some(name), Some(body)) if !name.is_empty() => {
                json::to_json(name, body).map_err(failed)?
            }
            _ => serde_json::json!({}),
        };
        print(&format!("{value:#}\n"))
    }

    /// The bytes of an answer.
    async fn send(&mut self, letter: u8, body: Option<&[u8]>) -> Result<Vec<u8>, Failure> {
        self.show_request(letter, body)?;
        let asked = self.client.call(letter, body, |_| Ok(()));
        match angarium_effects::clock::timeout(&SystemClock, self.timeout, asked).await {
            Some(answer) => answer,
            None => Err(Failure::Failed(format!(
                "the server does not answer within {} seconds; --timeout gives it more",
                self.timeout.as_secs()
            ))),
        }
    }
}

/// No message: for commands without a body.
const NONE: Option<&()> = None;

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// Runs the command.
///
/// # Errors
/// The server refuses, or nobody answers.
pub async fn run(args: CtlArgs) -> Result<(), Failure> {
    match carry_out(args).await {
        // Status 2 means that nobody answers.
        Err(Failure::Usage(text)) => Err(Failure::Failed(text)),
        result => result,
    }
}

async fn carry_out(args: CtlArgs) -> Result<(), Failure> {
    if matches!(args.command, What::License { .. }) {
        return print("There is no licence: the program is free.\n");
    }
    let mut ctl = Ctl {
        client: Client::new(&args.options.place, &SystemFiles)?,
        json: args.options.json,
        json_request: args.options.json_request,
        timeout: Duration::from_secs(args.options.timeout),
    };
    match args.command {
        What::Queue { command } => queue::run(&mut ctl, *command).await,
        What::Server { command } => connections::server(&mut ctl, command).await,
        What::Config { command } => server::config(&mut ctl, command).await,
        What::Hsl { command } => server::hsl(&mut ctl, command).await,
        What::ProcessStats { openmetrics } => server::process_stats(&mut ctl, openmetrics).await,
        What::Top(args) => top::run(&mut ctl, &args).await,
        What::Resolver { command } => server::resolver(&mut ctl, command).await,
        What::Trace { command } => trace::run(&mut ctl, command).await,
        // The server says that it cannot.
        What::Plugin { .. } => ctl.tell(b'M', Some(&())).await,
        What::History { .. } => ctl.tell(b'Z', Some(&())).await,
        What::License { .. } => Ok(()),
    }
}

/// `NAME=VALUE`
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn value(text: impl Into<String>) -> Option<proto::StringValue> {
    Some(proto::StringValue { value: text.into() })
}
