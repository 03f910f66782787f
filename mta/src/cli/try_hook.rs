//! `try`: runs one hook of a bundle offline and shows what it decides.
//!
//! A session hook is reached the way a client reaches it: the SMTP machine is spoken to, up to the phase. So the
//! variables are those of a real session, and the reply is the one that the client would see.

mod assign;
mod dialogue;
mod each;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use angarium_config::{Config, HookType, Options, Script, Server, load};
use angarium_effects::system::{SystemClock, SystemNet, SystemRandom, hostname};
use angarium_effects::{Clock as _, Random as _};
use angarium_queue::attempt::{Attempt, Outcome, Reply, SmtpState};
use angarium_queue::item::{Address, Item, ItemId};
use angarium_queue::outcome::{Cause, Context, Verdict as QueueVerdict, situation};
use angarium_queue::retry::Again;
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_runtime::Unit;
use angarium_runtime::cache::Caches;
use angarium_runtime::host::{Host, Pool};
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::value::Value;
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::server::Hook;
use angarium_smtp::verdict::Verdict;
use uuid::Uuid;

use super::failure::Failure;
use super::files::{self, SystemFiles};
use super::host::LazyDns;
use super::terminal::print;
use super::{bundle, lint};
use crate::bundle_loader::SystemRoot;
use crate::counts::ScriptCounters;
use crate::hooks::eodrcpt::TlsOf;
use crate::hooks::options::TransportIds;
use crate::hooks::queue::{Delivered, Metadata, Predelivery};
use crate::hooks::steering::Door;
use crate::hooks::{compat, eod, queue_variables, variables};
use crate::log::{Log, Severity};
use crate::pool::HeavyPool;
use crate::scripts::{Finished, Root, Run, Scripts, Services};
use crate::settings;
use crate::worker::Effects;
use assign::Assignments;
use dialogue::{Ask, Dialogue};

/// `angarium try`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// connect, proxy, helo, auth, mailfrom, rcptto, eod, eodrcpt, disconnect, predelivery or postdelivery
    #[arg(value_name = "HOOK")]
    hook: String,
    /// Folder of the bundle, or a packed smtpd.yaml
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    path: PathBuf,
    /// Set a variable that the hook sees, for example connection.remoteip=192.0.2.1 or arguments.recipient=a@example.com
    #[arg(long, value_name = "VARIABLE=VALUE")]
    set: Vec<String>,
    /// The message, for eod
    #[arg(long, value_name = "FILE")]
    mail: Option<PathBuf>,
    /// The server of the bundle that takes the session [default: the first one that has the hook]
    #[arg(long, value_name = "ID")]
    server: Option<String>,
}

const MESSAGE: &[u8] =
    b"From: <me@example.net>\r\nTo: <you@example.com>\r\nSubject: Hello\r\n\r\nHello!\r\n";

/// Runs the hook and prints what came of it.
///
/// # Errors
/// When the bundle is wrong, when there is no such hook, or when the script fails.
pub async fn run(args: Args) -> Result<(), Failure> {
    let each = args.hook == each::CONTEXT;
    let named = HookType::by_name(&args.hook).or_else(|| each.then_some(HookType::Eod));
    let hook = named.ok_or_else(|| {
        let all = HookType::SESSION.into_iter().chain(HookType::QUEUE);
        let names: Vec<&str> = all.map(HookType::name).collect();
        Failure::Usage(format!(
            "there is no hook `{}`: choose one of {}",
            args.hook,
            names.join(", ")
        ))
    })?;
    if crate::scripts::library().context(hook.name()).is_none() {
        return Err(Failure::Usage(format!(
            "the hook {hook} is not available yet"
        )));
    }
    let mail = match &args.mail {
        Some(path) => files::read(path)?,
        None => MESSAGE.to_vec(),
    };
    let source = bundle::source(&args.path)?;
    let config = load(&SystemFiles, &source, &Options::default())?.config;
    lint::check_config(&config)?;
    let trial = Trial::new(config)?;
    let set = |context| Assignments::parse(hook, context, trial.compat(), &args.set);
    match hook {
        HookType::PreDelivery | HookType::PostDelivery => {
            trial.queue_hook(hook, &set(hook.name())?, &mail).await
        }
        _ => {
            let server = trial.server(hook, each, args.server.as_deref())?;
            match hook == HookType::Eod && server.phases.eod.perrecipient {
                true => trial.each(server, &set(each::CONTEXT)?, &mail).await,
                false => {
                    let set = set(hook.name())?;
                    trial.session_hook(hook, server, &set, &mail).await
                }
            }
        }
    }
}

/// Hears what the script does.
#[derive(Default)]
struct Heard(Mutex<Story>);

#[derive(Default)]
struct Story {
    /// What was printed and logged.
    lines: Vec<String>,
    /// Whether an error is among it.
    failed: bool,
    /// Where the last run ended, and the fuel of all.
    decided: Option<String>,
    fuel: u64,
}

impl Log for Heard {
    fn line(&self, severity: Severity, _id: &str, body: &str) {
        let what = match severity {
            Severity::Debug => "echo",
            Severity::Error => "error",
            _ => "log",
        };
        let mut story = self.story();
        story.failed |= severity == Severity::Error;
        story.lines.push(format!("{what:<9}{body}\n"));
    }

    fn hook(&self, _hook: HookType, _id: &str, decided: Option<&str>, fuel: u64) {
        let mut story = self.story();
        story.decided = decided.map(str::to_owned);
        story.fuel = story.fuel.saturating_add(fuel);
    }
}

impl Heard {
    fn story(&self) -> std::sync::MutexGuard<'_, Story> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bundle with everything that a script may reach.
struct Trial {
    config: Config,
    scripts: Arc<Scripts>,
    services: Services,
    heard: Arc<Heard>,
    effects: Effects,
    pool: Arc<HeavyPool>,
}

impl Trial {
    fn new(config: Config) -> Result<Trial, Failure> {
        let root: Arc<dyn Root> = Arc::new(SystemRoot::new(config.startup.rootpath()));
        let (scripts, _) = Scripts::compile(&config.startup, &config.running, root)
            .map_err(|errors| Failure::Report(errors.to_string()))?;
        let heard = Arc::new(Heard::default());
        let pool = HeavyPool::start(2, 16)
            .map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))?;
        Ok(Trial {
            config,
            scripts: Arc::new(scripts),
            services: Services {
                memory: SharedMemory::default(),
                caches: Caches::default(),
                log: Arc::<Heard>::clone(&heard),
                hostname: hostname().into(),
                door: Door::default(),
                outbox: Default::default(),
                counts: ScriptCounters::default(),
                common: crate::scripts::Common::default(),
            },
            heard,
            effects: Effects {
                clock: Rc::new(SystemClock),
                random: Rc::new(SystemRandom),
                dns: Rc::<LazyDns>::default(),
                net: Rc::new(SystemNet),
            },
            pool,
        })
    }

    /// The release whose spellings the scripts may use.
    fn compat(&self) -> u8 {
        self.config.running.compat
    }

    /// The server that takes the session; with `each` one whose eod hook runs for each recipient.
    fn server(&self, hook: HookType, each: bool, wanted: Option<&str>) -> Result<&Server, Failure> {
        let servers = &self.config.running.servers;
        let has = |server: &&Server| {
            !server.hook_ids(hook).is_empty() && (!each || server.phases.eod.perrecipient)
        };
        match wanted {
            Some(wanted) => {
                let found = servers
                    .values()
                    .find(|server| server.id.to_string() == wanted);
                let found = found
                    .ok_or_else(|| Failure::Usage(format!("there is no server `{wanted}`")))?;
                Some(found).filter(has)
            }
            None => servers.values().find(has),
        }
        .ok_or_else(|| {
            Failure::Failed(match each {
                true => "no server of the bundle runs its eod hook for each recipient: \
                    `phases.eod.perrecipient: true` says so"
                    .to_owned(),
                false => format!(
                    "no server of the bundle has a {hook} hook: bind one with `phases.{hook}.hook`"
                ),
            })
        })
    }

    fn unit(&self, script: Option<&Script>, hook: HookType) -> Result<&Arc<Unit>, Failure> {
        script
            .and_then(|script| self.scripts.unit(hook, &script.id))
            .ok_or_else(|| Failure::Failed(format!("the bundle has no {hook} hook for this")))
    }

    async fn run(
        &self,
        unit: &Arc<Unit>,
        hook: HookType,
        variables: Vec<(&'static str, Value)>,
        extend: impl FnOnce(&Host),
    ) -> Finished {
        let run = Run {
            unit,
            hook,
            server: "",
            id: "",
            variables,
        };
        let pool: Arc<dyn Pool> = Arc::<HeavyPool>::clone(&self.pool);
        self.scripts
            .run(&self.services, &self.effects, pool, run, extend)
            .await
    }

    async fn session_hook(
        &self,
        hook: HookType,
        server: &Server,
        assignments: &Assignments,
        mail: &[u8],
    ) -> Result<(), Failure> {
        let mut dialogue = Dialogue::new(
            hook,
            server,
            &self.transport(assignments),
            assignments,
            mail,
        )?;
        let ask = dialogue.reach()?;
        let mut current = None;
        let mut older = None;
        let (unit, mut variables, message) = match ask {
            Ask::Phase {
                mut variables,
                domain,
                hook: asked,
                session,
            } => {
                let script = self.config.running.session_hook(server, hook, &domain);
                if let Some(asked) = asked.filter(|_| self.compat() == 5) {
                    variables.extend(compat::session_variables(&session, &asked));
                    older = Some(Rc::new(compat::Setters::for_hook(&asked)));
                }
                (self.unit(script, hook)?, variables, None)
            }
            Ask::Eod { session, mail } => {
                let script = self.config.running.session_hook(server, hook, "");
                let unit = self.unit(script, hook)?;
                let length = mail.len() as u64;
                let source = Arc::new(mail);
                let transports = Rc::new(self.scripts.transports());
                let message =
                    eod::Mail::new(source, &session.transaction, transports).map_err(|error| {
                        Failure::Failed(format!("the message cannot be read: {error}"))
                    })?;
                let message = Rc::new(message);
                let began = Some(SystemClock.unix().as_secs_f64());
                let value = eod::mail_value(unit.library(), &message);
                let mut variables = vec![
                    (
                        "arguments",
                        variables::Map::default().with("mail", value).into(),
                    ),
                    ("connection", variables::connection(&session, true)),
                    ("transaction", variables::transaction(&session, began)),
                ];
                if self.compat() == 5 {
                    let asked = Hook::Eod { size: length };
                    variables.extend(compat::session_variables(&session, &asked));
                }
                current = eod::current_mail(unit.library(), &message, &session);
                (unit, variables, Some(message))
            }
        };
        variables.push(("context", Value::None));
        assignments.apply(&mut variables);
        let extend = |host: &Host| {
            if let Some(message) = &message {
                host.extend(Rc::clone(message));
            }
            if let Some(current) = current {
                host.extend(Rc::new(current));
            }
            if let Some(setters) = &older {
                host.extend(Rc::clone(setters));
                host.extend(Rc::new(TlsOf {
                    info: None,
                    tlsrpt: None,
                }));
            }
        };
        let finished = self.run(unit, hook, variables, extend).await;
        let failed = finished.result.is_err();
        let verdict = match &finished.result {
            Ok(None) => Verdict::End,
            Ok(Some(verdict)) => verdict
                .downcast_ref::<Verdict>()
                .cloned()
                .unwrap_or(Verdict::End),
            Err(_) => Verdict::Error,
        };
        let mut text = shown(word(&verdict), finished.decided.as_deref());
        let verdict = match &older {
            Some(setters) => setters.applied(verdict),
            None => verdict,
        };
        let commits = eod::commits(&verdict);
        if hook != HookType::Disconnect {
            for line in dialogue.answer(verdict).lines() {
                text.push_str(&format!("{:<9}{line}\n", "reply"));
            }
        }
        for queued in message.iter().flat_map(|message| message.take_queued()) {
            text.push_str(&show_queued(&queued, commits));
        }
        self.finish(text, failed)
    }

    async fn queue_hook(
        &self,
        hook: HookType,
        assignments: &Assignments,
        mail: &[u8],
    ) -> Result<(), Failure> {
        let unit = self.unit(self.config.running.queue_hook(hook), hook)?;
        let item = self.item(assignments, mail)?;
        let mut variables = vec![
            (
                "message",
                queue_variables::message(&item, queue_variables::Files::in_memory(mail)),
            ),
            ("context", Value::None),
        ];
        let delivered = match hook {
            HookType::PreDelivery => {
                variables.push(("arguments", queue_variables::predelivery_arguments(&item)));
                false
            }
            _ => {
                let cause = Cause::Attempt(attempt(assignments)?);
                let transports = settings::transports(&self.config.running);
                let transport = transports
                    .get(&item.transportid)
                    .cloned()
                    .unwrap_or_default();
                let context = Context {
                    item: &item,
                    transport: &transport,
                    request: &item.dsn,
                    success_is_delivered: false,
                    now: Timestamp::from_unix(SystemClock.unix()),
                };
                let situation = situation(&cause, &context);
                let arguments = queue_variables::postdelivery_arguments(
                    &item,
                    &cause,
                    &situation,
                    None,
                    None,
                    &[],
                    &[],
                );
                variables.push(("arguments", arguments));
                cause.is_success()
            }
        };
        assignments.apply(&mut variables);
        let metadata = Rc::new(Metadata::default());
        let extend = |host: &Host| {
            host.extend(Rc::clone(&metadata));
            host.extend(Rc::new(settings::addresses(&self.config.running)));
            host.extend(Rc::new(TransportIds(Arc::new(self.scripts.transports()))));
            if delivered {
                host.extend(Rc::new(Delivered));
            }
        };
        let finished = self.run(unit, hook, variables, extend).await;
        let failed = finished.result.is_err();
        let word = match &finished.result {
            Err(_) => "the script failed".to_owned(),
            Ok(None) => "the script just ended".to_owned(),
            Ok(Some(verdict)) => queue_word(&**verdict),
        };
        let mut text = shown(&word, finished.decided.as_deref());
        if metadata.changed.get() {
            text.push_str(&format!("{:<9}{:?}\n", "metadata", metadata.pairs.borrow()));
        }
        self.finish(text, failed)
    }

    /// The transport of the message: as set, or the bundle's first one.
    fn transport(&self, assignments: &Assignments) -> String {
        match assignments.text("message.transportid") {
            Some(id) => id.to_owned(),
            None => self
                .scripts
                .transports()
                .into_iter()
                .next()
                .unwrap_or_default(),
        }
    }

    /// The queue item that the queue's hooks run for.
    fn item(&self, assignments: &Assignments, mail: &[u8]) -> Result<Item, Failure> {
        let (sender, recipient) = (assignments.sender()?, assignments.recipient()?);
        let text = |text: &str| Text::from(text);
        let address =
            |mailbox: &Mailbox| Address::new(text(mailbox.localpart()), text(mailbox.domain()));
        let transport = self.transport(assignments);
        let from = match &sender {
            ReversePath::Null => Address::default(),
            ReversePath::Mailbox(mailbox) => address(mailbox),
        };
        let id = ItemId {
            transaction: Uuid::from_bytes(SystemRandom.uuid()),
            queue: 1,
        };
        let now = Timestamp::from_unix(SystemClock.unix());
        let mut item = Item::new(id, now, from, address(&recipient), text(&transport));
        if let Some(server) = self.config.running.servers.keys().next() {
            item.serverid = text(&server.to_string());
        }
        item.size = mail.len() as u64;
        item.retrycount = assignments.number("arguments.retry")?.unwrap_or(0);
        Ok(item)
    }

    /// Prints what came of it, with what the script did besides.
    fn finish(&self, mut text: String, failed: bool) -> Result<(), Failure> {
        let story = self.heard.story();
        text.push_str(&story.lines.concat());
        text.push_str(&format!("{:<9}{}\n", "fuel", story.fuel));
        print(&text)?;
        if failed {
            return Err(Failure::Status(1));
        }
        Ok(())
    }
}

/// The line of a verdict, with the place where it was given.
fn shown(verdict: &str, decided: Option<&str>) -> String {
    let place = decided.map_or_else(String::new, |place| format!(" at {place}"));
    format!("{:<9}{verdict}{place}\n", "verdict")
}

/// A verdict of a session's hook in a word.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accept(_) => "Accept",
        Verdict::Reject(_) => "Reject",
        Verdict::Defer(_) => "Defer",
        Verdict::Reply { .. } => "Reply",
        Verdict::Pass { .. } => "Pass",
        Verdict::Error => "the script failed",
        _ => "the script just ended",
    }
}

/// The attempt that postdelivery is told of: 250, or the code that `--set arguments.attempt.result.code` gives.
fn attempt(assignments: &Assignments) -> Result<Attempt, Failure> {
    let code = assignments
        .number("arguments.attempt.result.code")?
        .unwrap_or(250);
    let code = u16::try_from(code)
        .ok()
        .filter(|code| (200..600).contains(code))
        .ok_or_else(|| Failure::Usage("a reply code is 200 to 599".to_owned()))?;
    Ok(Attempt {
        outcome: Outcome::Result(Reply {
            code,
            enhanced: None,
            reason: vec![Text::from(if code < 300 { "Ok" } else { "Try said so" })],
            state: SmtpState::Eod,
        }),
        connection: None,
        duration: Duration::ZERO,
        final_delivery: false,
    })
}

/// A recipient's copy.
struct Shown<'a> {
    number: u64,
    sender: String,
    recipient: String,
    transport: &'a str,
    hold: bool,
    delay: Duration,
    /// The size of the changed message.
    changed: Option<u64>,
}

impl Shown<'_> {
    fn line(&self, commits: bool) -> String {
        let word = if commits { "queued" } else { "dropped" };
        let mut text = format!(
            "{word:<9}{} from <{}> to <{}> by transport {}",
            self.number, self.sender, self.recipient, self.transport
        );
        if self.hold {
            text.push_str(", on hold");
        }
        if !self.delay.is_zero() {
            text.push_str(&format!(", after {} s", self.delay.as_secs_f64()));
        }
        if let Some(size) = self.changed {
            text.push_str(&format!(", changed to {size} bytes"));
        }
        text.push('\n');
        text
    }
}

fn show_queued(queued: &eod::Queued, commits: bool) -> String {
    let shown = Shown {
        number: queued.number,
        sender: queued.wish.sender.to_string(),
        recipient: queued.wish.recipient.to_string(),
        transport: &queued.wish.transport_id,
        hold: queued.wish.hold,
        delay: queued.wish.delay,
        changed: (!queued.edits.is_empty()).then(|| queued.edits.modified_size()),
    };
    shown.line(commits)
}

/// A verdict of the queue's hooks in words.
fn queue_word(verdict: &dyn std::any::Any) -> String {
    let again = |again: &Again| {
        let mut text = "Queue".to_owned();
        if let Some(delay) = again.delay {
            text.push_str(&format!(", again after {} s", delay.as_secs_f64()));
        }
        if again.hold {
            text.push_str(", on hold");
        }
        if let Some(transport) = &again.transportid {
            text.push_str(&format!(", by transport {transport}"));
        }
        text
    };
    let removed = |word: &str, reason: &Option<Text>| match reason {
        Some(reason) => format!("{word}: {reason}"),
        None => word.to_owned(),
    };
    if let Some(verdict) = verdict.downcast_ref::<Predelivery>() {
        return match verdict {
            Predelivery::Try(_) => "Try".to_owned(),
            Predelivery::Queue(options) => again(options),
            Predelivery::Bounce { reason, .. } => removed("Bounce", reason),
            Predelivery::Delete { reason } => removed("Delete", reason),
        };
    }
    match verdict.downcast_ref::<QueueVerdict>() {
        Some(QueueVerdict::Queue(options)) => again(options),
        Some(QueueVerdict::Bounce { reason, .. }) => removed("Bounce", reason),
        Some(QueueVerdict::Delete) => "Delete".to_owned(),
        Some(QueueVerdict::Default) | None => "Default".to_owned(),
    }
}
