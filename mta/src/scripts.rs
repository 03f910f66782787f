//! The scripts of a bundle: compiled once per load, run at every hook.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use angarium_config::types::Id;
use angarium_config::{HookType, Running, Startup};
use angarium_effects::{Dns, Net};
use angarium_lang::modules::Loader;
use angarium_lang::{Diagnostic, Source};
use angarium_runtime::cache::Caches;
use angarium_runtime::exception::Place;
use angarium_runtime::host::{FileData, Files, Host, MessageScope, Output, Pool};
use angarium_runtime::library::Library;
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::string::hash_bytes;
use angarium_runtime::value::Value;
use angarium_runtime::{Ended, Execution, Limits, Unit};
use angarium_stdlib::http::background::Background;
use angarium_stdlib::metrics::{Metrics, MetricsService};
use angarium_stdlib::network::{Names, Network};
use angarium_stdlib::queue::QueueService;
use angarium_stdlib::rate::{RateService, Rates};
use angarium_stdlib::smtp::SmtpService;
use angarium_stdlib::{extras, regexp};
use rustls::sign::CertifiedKey;

use crate::counts::ScriptCounters;
use crate::debugger::{Hub, Watch};
use crate::delivery::probe::Prober;
use crate::hooks::outbox::Outbox;
use crate::hooks::queue::AddressBook;
use crate::hooks::steering::Door;
use crate::log::{Log, Severity};
use crate::signing::PrivateKeys;
use crate::worker::Effects;

/// The library that the MTA's scripts see: the core and every hook's own context.
///
/// # Panics
/// When a declaration is malformed, which a test of the library rules out.
#[must_use]
pub fn library() -> Arc<Library> {
    static LIBRARY: LazyLock<Arc<Library>> = LazyLock::new(|| {
        let mut contexts = vec![&angarium_stdlib::CORE];
        contexts.extend(crate::hooks::CONTEXTS);
        #[expect(
            clippy::expect_used,
            reason = "the declarations are constants, and a test builds the library from them"
        )]
        let library = Library::new(&contexts).expect("the table of built-ins is well-formed");
        Arc::new(library.with_data(&angarium_stdlib::data::FORMATS))
    });
    Arc::clone(&LIBRARY)
}

/// The library that the scripts of a configuration see: with `scripting.compat` 5 also the spellings of release 5.
///
/// # Panics
/// As [`library`].
#[must_use]
pub fn library_of(compat: u8) -> Arc<Library> {
    static OLDER: LazyLock<Arc<Library>> = LazyLock::new(|| {
        let mut contexts = vec![&angarium_stdlib::CORE];
        contexts.extend(crate::hooks::compat::contexts());
        #[expect(
            clippy::expect_used,
            reason = "the declarations are constants, and a test builds the library from them"
        )]
        let library = Library::new(&contexts).expect("the table of built-ins is well-formed");
        Arc::new(library.with_data(&angarium_stdlib::data::FORMATS))
    });
    match compat {
        5 => Arc::clone(&OLDER),
        _ => library(),
    }
}

/// Reads files below the script root. The root itself is checked by the caller's file access.
pub trait Root: Send + Sync {
    /// The file at `path` below the root; none when it is missing or leads out of the root.
    fn read(&self, path: &str) -> Option<Arc<[u8]>>;

    /// Opens it for reading in parts.
    fn open(&self, path: &str) -> Option<Arc<dyn FileData>> {
        Some(Arc::new(self.read(path)?))
    }

    /// A number that is another one when the file has changed; none when it is missing.
    fn stamp(&self, path: &str) -> Option<u64> {
        self.read(path).map(|content| hash_bytes(&content))
    }

    /// Where the file at `path` lies on the machine, for messages; none when it is not there.
    fn locate(&self, path: &str) -> Option<PathBuf> {
        let _ = path;
        None
    }
}

/// A root without files.
pub struct NoRoot;

impl Root for NoRoot {
    fn read(&self, _path: &str) -> Option<Arc<[u8]>> {
        None
    }
}

/// The scripts of one running configuration. Immutable; a reload makes new ones.
pub struct Scripts {
    units: BTreeMap<(HookType, Id), Arc<Unit>>,
    /// Hooks of eod that run for each recipient.
    per_recipient: BTreeMap<Id, Arc<Unit>>,
    limits: BTreeMap<HookType, Limits>,
    addresses: AddressBook,
    running: Arc<Running>,
    root: Arc<dyn Root>,
    keys: Keys,
    signing: PrivateKeys,
    /// Where they meet their debugger, if they are on trial.
    hub: Option<Arc<Hub>>,
}

/// The key pairs of a configuration by id, as far as they can be used; an error says why not.
pub type Keys = BTreeMap<Id, Result<Arc<CertifiedKey>, String>>;

/// Everything that is wrong with the scripts of a bundle, ready to be shown.
#[derive(Debug)]
pub struct ScriptErrors(pub Vec<String>);

impl std::fmt::Display for ScriptErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.join("\n").trim_end())
    }
}

impl Scripts {
    /// Compiles every hook that the configuration can run; the warnings come beside.
    ///
    /// # Errors
    /// The errors of all scripts at once.
    pub fn compile(
        startup: &Startup,
        running: &Arc<Running>,
        root: Arc<dyn Root>,
    ) -> Result<(Scripts, Vec<String>), ScriptErrors> {
        Scripts::compile_for(startup, running, root, None)
    }

    /// The same for scripts whose debug points and `echo` are told at `hub`.
    ///
    /// # Errors
    /// As [`Scripts::compile`].
    pub fn compile_for(
        startup: &Startup,
        running: &Arc<Running>,
        root: Arc<dyn Root>,
        hub: Option<Arc<Hub>>,
    ) -> Result<(Scripts, Vec<String>), ScriptErrors> {
        let library = library_of(running.compat);
        let loader = BundleLoader {
            running,
            root: &*root,
            staged: hub.is_some(),
        };
        let (mut units, mut errors, mut warnings) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut per_recipient = BTreeMap::new();
        let contexts = running.scripts.iter().flat_map(|(key, script)| {
            let contexts = contexts(running, key.0, &key.1);
            contexts
                .into_iter()
                .map(move |context| (key, script, context))
        });
        for (key, script, context) in contexts {
            let Some(names) = library.context(context) else {
                errors.push(format!(
                    "{}: the hook {context} is not available yet",
                    script.file
                ));
                continue;
            };
            let names = match hub {
                Some(_) => names.debugged(),
                None => names,
            };
            // Debuggers know scripts by their hooks; there is one script of each of the queue's.
            let name = match hub {
                Some(_) if HookType::QUEUE.contains(&script.hook) => format!("{}:", script.hook),
                Some(_) => format!("{}:{}", script.hook, key.1),
                None => script.file.to_string(),
            };
            let source = Source {
                name: &name,
                path: "",
                text: script.text.as_bytes(),
            };
            let compiled = match angarium_lang::compile(source, &names, &loader) {
                Ok(compiled) => compiled,
                Err(rejected) => {
                    errors.push(rejected.render());
                    continue;
                }
            };
            let sources = &compiled.program.sources;
            warnings.extend(
                compiled
                    .warnings
                    .iter()
                    .map(|warning: &Diagnostic| warning.render(sources)),
            );
            match Unit::link(compiled.program, Arc::clone(&library), &regexp::ENGINE) {
                Ok(unit) if context == EODRCPT => {
                    per_recipient.insert(key.1.clone(), unit);
                }
                Ok(unit) => {
                    units.insert(key.clone(), unit);
                }
                Err(error) => errors.push(error.render()),
            }
        }
        if !errors.is_empty() {
            return Err(ScriptErrors(errors));
        }
        let hooks = HookType::SESSION.into_iter().chain(HookType::QUEUE);
        let limits = hooks.map(|hook| {
            let limits = startup.scripting.limits.of(hook);
            let memory = usize::try_from(limits.memory).unwrap_or(usize::MAX);
            (
                hook,
                Limits {
                    fuel: Some(limits.fuel),
                    memory: Some(memory),
                    time: Some(limits.time),
                },
            )
        });
        Ok((
            Scripts {
                units,
                per_recipient,
                limits: limits.collect(),
                addresses: crate::settings::addresses(running),
                running: Arc::clone(running),
                root,
                keys: Keys::new(),
                signing: PrivateKeys::default(),
                hub,
            },
            warnings,
        ))
    }

    /// The same with keys that sign mail and that scripts can name.
    #[must_use]
    pub fn with_signing_keys(mut self, keys: PrivateKeys) -> Scripts {
        self.signing = keys;
        self
    }

    /// The same scripts with key pairs that they may use.
    #[must_use]
    pub fn with_keys(mut self, keys: Keys) -> Scripts {
        self.keys = keys;
        self
    }

    /// The unit of a hook.
    #[must_use]
    pub fn unit(&self, hook: HookType, id: &Id) -> Option<&Arc<Unit>> {
        self.units.get(&(hook, id.clone()))
    }

    /// The unit of a hook of eod that runs for each recipient.
    #[must_use]
    pub fn unit_per_recipient(&self, id: &Id) -> Option<&Arc<Unit>> {
        self.per_recipient.get(id)
    }

    /// The configuration that these scripts came with.
    #[must_use]
    pub fn running(&self) -> &Arc<Running> {
        &self.running
    }

    /// The key pairs of the configuration.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The source addresses of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &AddressBook {
        &self.addresses
    }

    /// Ids of the transports, for `queue()`.
    #[must_use]
    pub fn transports(&self) -> BTreeSet<String> {
        self.running
            .transports
            .keys()
            .map(ToString::to_string)
            .collect()
    }
}

/// The context of eod hooks that run for each recipient.
const EODRCPT: &str = "eodrcpt";

/// The contexts in which a script is run: an eod hook in both of its own if one server runs it once for a message and
/// another one for each recipient.
pub fn contexts(running: &Running, hook: HookType, id: &Id) -> Vec<&'static str> {
    if hook != HookType::Eod {
        return vec![hook.name()];
    }
    let servers = running.servers.values();
    let mut each: Vec<bool> = servers
        .filter(|server| server.phases.eod.hook.as_ref() == Some(id))
        .map(|server| server.phases.eod.perrecipient)
        .collect();
    each.sort_unstable();
    each.dedup();
    if each.is_empty() {
        each.push(false);
    }
    let context = |each| match each {
        true => EODRCPT,
        false => HookType::Eod.name(),
    };
    each.into_iter().map(context).collect()
}

/// `include` and `import`: the bundle's files first, then the script root.
struct BundleLoader<'a> {
    running: &'a Running,
    root: &'a dyn Root,
    /// Debuggers know files by their ids.
    staged: bool,
}

impl Loader for BundleLoader<'_> {
    fn load(&self, path: &str) -> Option<Arc<[u8]>> {
        self.running.file(path).or_else(|| self.root.read(path))
    }

    fn extra(&self, name: &str) -> Option<Arc<[u8]>> {
        extras::source(name).map(Into::into)
    }

    fn display(&self, path: &str) -> String {
        match self.running.files.get(path) {
            Some(_) if self.staged => path.to_owned(),
            Some(file) => file.file.to_string(),
            None => match self.root.locate(path) {
                Some(file) => file.display().to_string(),
                None => path.to_owned(),
            },
        }
    }
}

/// `File()` in a hook: the same places as `include`.
struct BundleFiles(Arc<Scripts>);

impl Files for BundleFiles {
    fn open(&self, name: &str) -> Option<Arc<dyn FileData>> {
        let path = angarium_lang::modules::resolve_path(name, "")?;
        match self.0.running.file(&path) {
            Some(data) => Some(Arc::new(data)),
            None => self.0.root.open(&path),
        }
    }

    fn stamp(&self, name: &str) -> Option<u64> {
        let path = angarium_lang::modules::resolve_path(name, "")?;
        match self.0.running.file(&path) {
            Some(data) => Some(hash_bytes(&data)),
            None => self.0.root.stamp(&path),
        }
    }
}

impl Scripts {
    /// What scripts call by an id of the configuration.
    #[must_use]
    pub fn names(self: &Arc<Self>) -> Arc<dyn Names> {
        Arc::new(Configured(Arc::clone(self)))
    }
}

struct Configured(Arc<Scripts>);

impl Names for Configured {
    fn address(&self, id: &str) -> Option<IpAddr> {
        let addresses = &self.0.running.addresses;
        let (_, found) = addresses.iter().find(|(known, _)| &***known == id)?;
        Some(found.address.0)
    }

    fn key_pair(&self, id: &str) -> Option<Result<Arc<CertifiedKey>, String>> {
        let (_, found) = self.0.keys.iter().find(|(known, _)| &***known == id)?;
        Some(found.clone())
    }
}

/// `echo` in a hook: a log line with the id of the transaction.
struct Echo {
    log: Arc<dyn Log>,
    id: String,
    /// Who hears it besides.
    hub: Option<Arc<Hub>>,
}

impl Output for Echo {
    fn echo(&self, text: &[u8]) {
        if let Some(hub) = &self.hub {
            hub.echo(text, &self.id);
        }
        self.log
            .text(Severity::Debug, &self.id, &String::from_utf8_lossy(text));
    }

    fn syslog(&self, priority: u32, message: &[u8]) {
        let severity = match priority & 7 {
            0..=3 => Severity::Error,
            4 => Severity::Warning,
            5 => Severity::Notice,
            6 => Severity::Info,
            _ => Severity::Debug,
        };
        self.log
            .text(severity, &self.id, &String::from_utf8_lossy(message));
    }
}

/// The log, for functions that tell of events.
pub struct Events {
    log: Arc<dyn Log>,
    id: String,
}

impl Events {
    /// Logs an event: a word, keys and values.
    pub fn tell(&self, line: &str) {
        self.log.line(Severity::Info, &self.id, line);
    }
}

/// What all executions of the process share.
#[derive(Clone)]
pub struct Services {
    /// The store of `memory_*`.
    pub memory: SharedMemory,
    /// What `cache` keeps.
    pub caches: Caches,
    /// Where `echo` and errors go.
    pub log: Arc<dyn Log>,
    /// `gethostname()`
    pub hostname: Arc<str>,
    /// The queue and the servers, once they have started.
    pub door: Door,
    /// The way of mail out of scripts, once there is one.
    pub outbox: Outbox,
    /// How often each hook ran.
    pub counts: ScriptCounters,
    /// What the library's functions count and queue.
    pub common: Common,
}

/// What functions of the library share between all scripts of the process.
#[derive(Clone, Default)]
pub struct Common {
    /// The metrics of `metrics_*`.
    pub metrics: Arc<Metrics>,
    /// The hits of `rate`.
    pub rates: Arc<Rates>,
    /// The requests of `http` that nobody waits for; none: they cannot be queued.
    pub background: Option<Arc<Background>>,
}

impl Common {
    /// Gives them to an execution, with the network as its thread sees it.
    pub fn extend(&self, host: &Host, net: &Rc<dyn Net>, names: Arc<dyn Names>) {
        host.extend(Rc::new(MetricsService(Arc::clone(&self.metrics))));
        host.extend(Rc::new(RateService(Arc::clone(&self.rates))));
        host.extend(Rc::new(Network {
            net: Rc::clone(net),
            names,
            background: self.background.clone(),
        }));
    }
}

/// One run of a hook, prepared.
pub struct Run<'a> {
    /// The compiled script.
    pub unit: &'a Arc<Unit>,
    /// Which hook it is.
    pub hook: HookType,
    /// The server that it runs for; empty for the queue's.
    pub server: &'a str,
    /// The id that its log lines carry.
    pub id: &'a str,
    /// Predefined variables, names without `$`.
    pub variables: Vec<(&'static str, Value)>,
}

/// How a run ended.
pub struct Finished {
    /// The verdict of a terminating function; none at the end of the script.
    pub result: Result<Option<Box<dyn std::any::Any>>, ScriptError>,
    /// The value of `$context` afterwards.
    pub context: Value,
    /// Fuel used.
    pub fuel: u64,
    /// Where the terminating function was called, `FILE:LINE`.
    pub decided: Option<String>,
}

/// A script failed; it has been logged.
#[derive(Debug)]
pub struct ScriptError {
    /// What happened, with its place.
    pub message: String,
}

impl Scripts {
    /// Runs a hook to its end. `extend` adds the services of its context to the host.
    pub async fn run(
        self: &Arc<Self>,
        services: &Services,
        effects: &Effects,
        pool: Arc<dyn Pool>,
        run: Run<'_>,
        extend: impl FnOnce(&Host),
    ) -> Finished {
        let host = Host::new(
            Rc::clone(&effects.clock),
            Rc::clone(&effects.random),
            Rc::<dyn Dns>::clone(&effects.dns),
            pool,
            Rc::new(Echo {
                log: Arc::clone(&services.log),
                id: run.id.to_owned(),
                hub: self.hub.clone(),
            }),
            Rc::new(BundleFiles(Arc::clone(self))),
            &regexp::ENGINE,
            services.hostname.as_ref().into(),
        );
        host.extend(Rc::new(services.memory.clone()));
        host.extend(Rc::new(services.caches.clone()));
        services.common.extend(&host, &effects.net, self.names());
        host.extend(Rc::new(Events {
            log: Arc::clone(&services.log),
            id: run.id.to_owned(),
        }));
        self.signing.offer(&host);
        host.extend(Rc::new(SmtpService(Rc::new(Prober {
            effects: effects.clone(),
            hostname: Arc::clone(&services.hostname),
            scripts: Some(Arc::clone(self)),
            board: services.door.switchboard(),
        }))));
        if let Some(steering) = services.door.steering(Arc::clone(&services.log), run.id) {
            host.extend(Rc::new(QueueService(Rc::new(steering))));
        }
        if matches!(
            run.hook,
            HookType::Eod | HookType::PreDelivery | HookType::PostDelivery
        ) {
            host.extend(Rc::new(MessageScope(run.id.to_owned())));
        }
        extend(&host);
        if let Some(hub) = &self.hub {
            host.watch(Rc::new(Watch {
                hub: Arc::clone(hub),
                clock: Rc::clone(&effects.clock),
                id: run.id.into(),
            }));
        }
        let limits = self.limits.get(&run.hook).copied().unwrap_or_default();
        let mut execution = Execution::new(run.unit, Rc::new(host), run.variables, limits);
        let mut count = services.counts.begin(run.server, run.hook);
        let result = count.watch(execution.drive()).await;
        let end = execution.ended_at();
        let decided = end.as_ref().map(show);
        let result = match result {
            Ok(_) => Ok(None),
            Err(Ended::Verdict(verdict)) => Ok(Some(verdict)),
            Err(ended) => {
                let made = match &ended {
                    Ended::Uncaught(uncaught) => uncaught.place.as_ref(),
                    _ => None,
                };
                // An exception that the script made itself knows no place; where it was thrown is known.
                let place = made.or(end.as_ref()).map_or_else(String::new, |place| {
                    format!(" at {}:{}", show(place), place.column)
                });
                let calls = execution.trace().line();
                let message = format!("{} error: {ended}{place}{calls}", run.hook);
                services.log.line(Severity::Error, run.id, &message);
                Err(ScriptError { message })
            }
        };
        count.end(result.is_err());
        let context = execution.variable("context").unwrap_or_default();
        let fuel = execution.fuel_used();
        execution.close().await;
        services
            .log
            .hook(run.hook, run.id, decided.as_deref(), fuel);
        Finished {
            result,
            context,
            fuel,
            decided,
        }
    }
}

fn show(place: &Place) -> String {
    format!(
        "{}:{}",
        place.file.as_deref().unwrap_or("script"),
        place.line
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use angarium_config::{Options, load};

    use super::*;

    fn compiled(bundle: &Path) -> (Scripts, Vec<String>) {
        struct Disk;
        #[expect(clippy::disallowed_methods, reason = "a test reads the examples")]
        impl angarium_config::FileSource for Disk {
            fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
                std::fs::read(path)
            }
            fn list(&self, path: &Path) -> std::io::Result<Vec<angarium_config::Listed>> {
                std::fs::read_dir(path)?
                    .map(|entry| {
                        let entry = entry?;
                        Ok(angarium_config::Listed {
                            name: entry.file_name(),
                            folder: entry.path().is_dir(),
                        })
                    })
                    .collect()
            }
        }
        let source = angarium_config::Source::Tree(bundle.to_owned());
        let config = load(&Disk, &source, &Options::default()).unwrap().config;
        match Scripts::compile(&config.startup, &config.running, Arc::new(NoRoot)) {
            Ok(compiled) => compiled,
            Err(errors) => panic!("{errors}"),
        }
    }

    #[test]
    fn the_examples_compile_without_warnings() {
        for bundle in ["quickstart", "filtering-relay"] {
            let bundle = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../examples")
                .join(bundle);
            let (_, warnings) = compiled(&bundle);
            assert!(warnings.is_empty(), "{}", warnings.join("\n"));
        }
    }
}
