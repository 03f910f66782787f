//! The server as a whole: started from a configuration, reloaded, stopped.
//!
//! ```text
//!  configuration ─ prepare ─▶ Prepared (all checked, nothing started) ─ start ─▶ App ─ reload, stop
//! ```

mod certificates;
mod held;
mod kept;
mod reload;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use angarium_config::running::MetricType;
use angarium_config::server::Implicit;
use angarium_config::startup::{Corrupt, ServerKind};
use angarium_config::{Config, ConfigErrors, FileSource, Options, Running, Server, Source};
use angarium_control::proto::ConfigGreenDeployRequest;
use angarium_effects::disk::SystemDisk;
use angarium_effects::system::{SystemClock, SystemRandom, TimedRandom};
use angarium_effects::{Clock as _, Dns, LocalFuture, Random as _};
use angarium_runtime::cache::Caches;
use angarium_runtime::shared::SharedMemory;
use angarium_smtp::network::Network;
use angarium_spool::{OnCorrupt, Spool};
use angarium_stdlib::http::background::Background;
use angarium_stdlib::metrics::{Declaration, Kinds};

use self::certificates::{key_pairs, server_tls};
pub use self::held::Held;
use self::held::{HeldNet, unix_socket};
use self::kept::{Contents, Recorder};
use crate::bundle_loader::SystemRoot;
use crate::control::{self, Part, Process};
use crate::counts::ScriptCounters;
use crate::debugger::Hub;
use crate::delivery::{self, Live, QueueHooks};
use crate::hooks::delivery::{QueueScripts, StagedScripts};
use crate::hooks::outbox::Outbox;
use crate::hooks::session::SessionScripts;
use crate::hooks::steering::Door;
use crate::log::{Log, Severity, quoted};
use crate::monitor::{Health, Monitor, MonitorError, Monitoring};
use crate::pool::HeavyPool;
use crate::resolver::{self, Resolver};
use crate::scripts::{Common, Root, ScriptErrors, Scripts, Services};
use crate::server::{
    Acceptor, BindError, Endpoint, Event, Observer, Settings, SpoolStore, Store, VirtualServer, Web,
};
use crate::settings;
use crate::signing::PrivateKeys;
use crate::staging::{Stage, Stages};
use crate::worker::{Effects, MakeEffects, Worker, WorkerHandle, Workers};

/// How long sessions and attempts may take to finish after a stop (mta.md 2.3).
const GRACE: Duration = Duration::from_secs(30);
/// Jobs that may wait for the pool of heavy work.
const HEAVY_QUEUE: usize = 1024;
/// The product's name in Received fields.
pub const PRODUCT: &str = "Angarium";

/// What to serve, and how to read it again at a reload.
pub struct Place {
    /// The source tree or packed file.
    pub source: Source,
    /// How to load it.
    pub options: Options,
    /// Where files come from.
    pub files: Arc<dyn FileSource + Send + Sync>,
}

/// Why a server cannot start or reload: sentences for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(ConfigErrors),
    /// Scripts are wrong.
    #[error("{0}")]
    Scripts(ScriptErrors),
    /// A certificate or key cannot be used.
    #[error("pki.private: the key pair {id} of server {server} cannot be used: {reason}")]
    KeyPair {
        /// Id of the key pair.
        id: String,
        /// Id of the server.
        server: String,
        /// Why not.
        reason: String,
    },
    /// The TLS of a server cannot be used.
    #[error("servers[].tls of the server {server} cannot be used: {reason}")]
    Tls {
        /// Id of the server.
        server: String,
        /// Why not.
        reason: String,
    },
    /// A resolver setting cannot be used.
    #[error("{0}")]
    Resolver(#[from] resolver::BadRecord),
    /// A delivery setting cannot be used.
    #[error("{0}")]
    Delivery(#[from] delivery::settings::SettingsError),
    /// The spool cannot be opened.
    #[error("{key}: {error}")]
    Spool {
        /// The key that names the folder.
        key: &'static str,
        /// Why not.
        error: angarium_spool::OpenError,
    },
    /// A socket cannot be opened.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// The monitor cannot listen.
    #[error("{0}")]
    Monitor(#[from] MonitorError),
    /// The control socket cannot be opened.
    #[error("{0}")]
    Control(#[from] control::socket::SocketError),
    /// The system refused a thread or a runtime.
    #[error("the system refused what the server needs: {0}; raise the limits of the process")]
    System(#[from] std::io::Error),
}

impl StartError {
    fn of_spool(error: angarium_spool::OpenError, config: &Config) -> StartError {
        let tmp = config.startup.spool.tmp.as_path();
        let key = match &error {
            angarium_spool::OpenError::Io { path, .. } if path.starts_with(tmp) => "spool.tmp",
            _ => "spool.path",
        };
        StartError::Spool { key, error }
    }
}

/// A configuration that has been checked in every part, with its scripts compiled.
pub struct Prepared {
    place: Place,
    held: Held,
    config: Config,
    scripts: Arc<Scripts>,
    /// The files that it was read from.
    kept: Contents,
    health: Arc<Health>,
    /// What looks like a mistake, ready to be shown.
    pub warnings: Vec<String>,
}

/// Loads and checks everything without starting anything.
///
/// # Errors
/// All that is wrong with the configuration, or else with the scripts.
pub fn prepare(place: Place) -> Result<Prepared, StartError> {
    let recorder = Recorder::new(&*place.files);
    let loaded = angarium_config::load(&recorder, &place.source, &place.options)
        .map_err(StartError::Config)?;
    let kept = recorder.contents();
    let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let config = loaded.config;
    let (scripts, script_warnings) = compile(&config, &place, None)?;
    warnings.extend(script_warnings);
    // Certificates and other settings are read now, so that a check finds what a start would.
    for server in config.running.servers.values() {
        server_tls(server, &config.running, &place)?;
    }
    resolver::Settings::from_config(&config.running.resolver)?;
    delivery_settings(&config, &hostname(), &place)?;
    control::socket::server_tls(&config.startup.environment.controlsocket, &*place.files)?;
    for listener in config
        .startup
        .servers
        .iter()
        .flat_map(|server| &server.listeners)
    {
        unix_socket(listener, &config.startup)?;
    }
    Ok(Prepared {
        place,
        held: Held::default(),
        config,
        scripts,
        kept,
        health: Arc::default(),
        warnings,
    })
}

/// Compiles all scripts of a configuration and gives them its keys; with what looks like a mistake. `hub` is where the
/// scripts of a stage meet their debugger.
fn compile(
    config: &Config,
    place: &Place,
    hub: Option<Arc<Hub>>,
) -> Result<(Arc<Scripts>, Vec<String>), StartError> {
    let root = script_root(config);
    let compiled = Scripts::compile_for(&config.startup, &config.running, root, hub);
    let (scripts, warnings) = compiled.map_err(StartError::Scripts)?;
    let scripts = scripts
        .with_keys(key_pairs(&config.running, place))
        .with_signing_keys(PrivateKeys::load(&config.running, &*place.files));
    Ok((Arc::new(scripts), warnings))
}

/// The queue's side of the scripts.
fn queue_scripts(
    scripts: &Arc<Scripts>,
    services: &Services,
    spool: &Spool,
) -> Arc<dyn QueueHooks> {
    let (scripts, services, spool) = (Arc::clone(scripts), services.clone(), spool.clone());
    Arc::new(QueueScripts::new(scripts, services, spool))
}

impl Prepared {
    /// Starts with these sockets.
    pub fn hold(&mut self, held: Held) {
        self.held = held;
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Starts the monitor, if there is to be one: it says that the server is not ready until it is.
    ///
    /// # Errors
    /// Its port cannot be had.
    pub fn monitor(&self, log: &Arc<dyn Log>) -> Result<Option<Monitor>, StartError> {
        let listener = &self.config.startup.monitor.listener;
        let Some(port) = listener.port else {
            return Ok(None);
        };
        let held = self.held.clone();
        let monitor = Monitor::start(
            Box::new(move || (Rc::new(SystemClock), Rc::new(HeldNet(held)))),
            listener.address.as_ref().map(|address| address.0),
            port,
            Arc::clone(&self.health),
            Arc::clone(log),
        )?;
        for address in monitor.addresses() {
            log.line(
                Severity::Notice,
                "",
                &format!("monitor listening on {address}"),
            );
        }
        Ok(Some(monitor))
    }
}

/// The system's host name.
#[must_use]
pub fn hostname() -> String {
    angarium_effects::system::hostname()
}

/// What scripts may read below `scripting.rootpath`: links out of it lead nowhere.
fn script_root(config: &Config) -> Arc<dyn Root> {
    Arc::new(SystemRoot::new(config.startup.rootpath()))
}

/// The metrics that scripts may move.
fn metrics(running: &Running) -> impl Iterator<Item = Declaration> + '_ {
    running.monitor.metrics.iter().map(|metric| Declaration {
        name: metric.name.to_string(),
        help: metric.help.clone(),
        kind: match metric.kind {
            MetricType::Counter => Kinds::Counter,
            MetricType::Gauge => Kinds::Gauge,
            MetricType::Histogram => Kinds::Histogram(metric.buckets.clone()),
        },
    })
}

/// Has a worker make the requests that nobody waits for.
fn serve_background(background: &Arc<Background>, workers: &Workers) {
    let background = Arc::clone(background);
    let job = move |worker: Rc<Worker>| -> LocalFuture<'static, ()> {
        let Effects {
            clock, dns, net, ..
        } = worker.effects.clone();
        let pool: Arc<dyn angarium_runtime::host::Pool> = Arc::<HeavyPool>::clone(&worker.pool);
        Box::pin(background.serve(net, dns, clock, pool, worker.stopped()))
    };
    if let Some(worker) = workers.handles().first() {
        worker.try_run(job);
    }
}

/// A running server.
pub struct App {
    place: Place,
    config: Mutex<Config>,
    /// The files of the configuration in force.
    kept: Mutex<Contents>,
    servers: Vec<Arc<VirtualServer>>,
    acceptor: Mutex<Option<Acceptor>>,
    addresses: Vec<(String, SocketAddr)>,
    workers: Arc<Workers>,
    spool: Spool,
    queue: delivery::Service,
    /// Settings and scripts of the queue in force.
    live: Mutex<Arc<Live>>,
    /// A configuration on trial.
    stages: Arc<Stages>,
    pool: Arc<HeavyPool>,
    store: Arc<dyn Store>,
    resolver: Resolver,
    services: Services,
    hostname: String,
    make: MakeEffects,
    health: Arc<Health>,
}

impl App {
    /// Starts what was prepared. When it returns the sockets are open.
    ///
    /// # Errors
    /// What the system refused; nothing is left running then.
    pub fn start(prepared: Prepared, log: Arc<dyn Log>) -> Result<App, StartError> {
        let Prepared {
            place,
            held,
            config,
            scripts,
            kept,
            health,
            ..
        } = prepared;
        let hostname = hostname();
        let background = {
            let log = Arc::clone(&log);
            Background::new(move |failed| log.line(Severity::Warning, "", failed))
        };
        let services = Services {
            memory: SharedMemory::default(),
            caches: Caches::global().clone(),
            log: Arc::clone(&log),
            hostname: hostname.as_str().into(),
            door: Door::default(),
            outbox: Outbox::default(),
            counts: ScriptCounters::default(),
            common: Common {
                background: Some(Arc::clone(&background)),
                ..Common::default()
            },
        };
        services.common.metrics.declare(metrics(&config.running));
        let now: angarium_spool::Now = Arc::new(|| SystemClock.monotonic());
        let observer = {
            let log = Arc::clone(&log);
            Arc::new(move |event: angarium_spool::Event| {
                log.line(Severity::Warning, "", &event.to_string())
            })
        };
        let spool_config = spool_config(&config, observer);
        let opened = Spool::open(Arc::new(SystemDisk), spool_config, now);
        let (spool, recovered) = opened.map_err(|error| StartError::of_spool(error, &config))?;
        let resolver = Resolver::start(
            resolver::Settings::from_config(&config.running.resolver)?,
            Arc::new(|| SystemClock.monotonic()),
        )?;
        let timed = config.startup.environment.uuid.version == 1;
        let make = effects(&resolver, held, timed);
        let pool = HeavyPool::start(cores(), HEAVY_QUEUE)?;
        let count = config.startup.workers().unwrap_or_else(cores);
        let workers = Arc::new(Workers::start(count, &make, &pool, GRACE)?);
        serve_background(&background, &workers);
        let stages = Arc::new(Stages::default());
        let live = Arc::new(Live {
            settings: delivery_settings(&config, &hostname, &place)?,
            hooks: Arc::new(StagedScripts {
                scripts: queue_scripts(&scripts, &services, &spool),
                stages: Arc::clone(&stages),
            }),
        });
        let start = delivery::Start {
            spool: spool.clone(),
            recovered,
            live: Arc::clone(&live),
            pool: Arc::clone(&pool),
            log: Arc::clone(&log),
        };
        let queue = delivery::Service::start(start, workers.handles().to_vec(), &make, |queue| {
            services.door.open(queue.clone());
        })?;
        let observer: Observer = {
            let log = Arc::clone(&log);
            Arc::new(move |event: &Event| {
                log.line(event.severity(), event.id(), &event.to_string());
            })
        };
        let handle = queue.handle();
        let store = SpoolStore::new(spool.clone(), handle.sink())
            .while_room(Box::new(move || handle.has_room()));
        let store: Arc<dyn Store> = Arc::new(store.observed(Arc::clone(&observer)));
        services.outbox.open(&store);
        services.outbox.configure(&live);
        services.outbox.list_in(queue.handle());
        let mut servers = Vec::new();
        let mut endpoints = Vec::new();
        for sockets in &config.startup.servers {
            // The configuration has checked that both files have the server.
            let Some(server) = config.running.servers.get(&sockets.id) else {
                continue;
            };
            let parts = Parts {
                running: &config.running,
                place: &place,
                scripts: &scripts,
                services: &services,
                store: &store,
                hostname: &hostname,
                stage: None,
            };
            let settings = server_settings(server, &parts)?;
            let server =
                VirtualServer::new(sockets.id.to_string(), settings, Arc::clone(&observer));
            server.stage_by(Arc::clone(&stages));
            let proxies: Arc<[Network]> = settings::networks(&sockets.proxyprotocol).into();
            for listener in &sockets.listeners {
                endpoints.push(Endpoint {
                    server: Arc::clone(&server),
                    id: listener.id.as_ref().map(ToString::to_string),
                    address: listener.address.as_ref().map(|address| address.0),
                    port: listener.port.unwrap_or(0),
                    backlog: listener.backlog,
                    local: unix_socket(listener, &config.startup)?,
                    proxies: Arc::clone(&proxies),
                });
            }
            servers.push(server);
        }
        services.door.serve(&servers);
        let acceptor = Acceptor::start(&make, endpoints, &workers)?;
        let addresses = acceptor.addresses().to_vec();
        health.started();
        Ok(App {
            health,
            place,
            config: Mutex::new(config),
            kept: Mutex::new(kept),
            servers,
            acceptor: Mutex::new(Some(acceptor)),
            addresses,
            workers,
            spool,
            queue,
            live: Mutex::new(live),
            stages,
            pool,
            store,
            resolver,
            services,
            hostname,
            make,
        })
    }

    /// Serves the control socket on a thread of its own.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn control(
        self: &Arc<Self>,
        opened: control::socket::Opened,
    ) -> Result<control::Server, StartError> {
        let backend = self.backend();
        let log = Arc::clone(&self.services.log);
        Ok(control::Server::start(opened, backend, &self.make, log)?)
    }

    /// What the control socket and the monitor reach.
    #[must_use]
    pub fn backend(self: &Arc<Self>) -> control::Backend {
        control::Backend {
            queue: self.queue.handle(),
            spool: self.spool.clone(),
            pool: Arc::clone(&self.pool),
            memory: self.services.memory.clone(),
            caches: self.services.caches.clone(),
            rates: Arc::clone(&self.services.common.rates),
            resolver: Some(self.resolver.clone()),
            scripts: self.services.counts.clone(),
            metrics: Arc::clone(&self.services.common.metrics),
            health: Arc::clone(&self.health),
            admin: Arc::clone(self) as Arc<dyn control::Admin>,
        }
    }

    fn config(&self) -> Config {
        let config = self.config.lock();
        config.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes new settings of the queue, with these scripts.
    async fn configure_queue(&self, live: Live) {
        let live = Arc::new(live);
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&live);
        self.services.outbox.configure(&live);
        self.queue.handle().configure(live).await;
    }

    /// The open sockets with the ids of their servers.
    #[must_use]
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Stops: no new connections, 421 for idle sessions, up to 30 seconds for what is under way.
    ///
    /// Needs a runtime that may block a thread of its own.
    pub async fn stop(self: &Arc<Self>) {
        self.health.stopping();
        let acceptor = self
            .acceptor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(acceptor) = acceptor {
            acceptor.stop();
        }
        // Sessions and deliveries finish side by side; the workers live until the queue has ended.
        self.workers.stop();
        self.queue.handle().stop(GRACE).await;
        let app = Arc::clone(self);
        // A task that panicked has ended too.
        let _ = tokio::task::spawn_blocking(move || app.join()).await;
    }

    fn join(&self) {
        self.workers.join();
        self.queue.join();
        if let Err(error) = self.spool.close() {
            self.services
                .log
                .line(Severity::Error, "", &format!("spool: {error}"));
        }
    }
}

impl control::Admin for App {
    fn reload(&self, part: Part) -> LocalFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let log = &self.services.log;
            let file = part.file();
            match self.reload_part(part).await {
                Ok(warnings) => {
                    for warning in warnings {
                        let warning = quoted(warning.trim_end());
                        let line = format!("reload file={file} warning={warning}");
                        log.line(Severity::Warning, "", &line);
                    }
                    log.line(Severity::Notice, "", &format!("reload file={file} ok"));
                    Ok(())
                }
                Err(error) => {
                    let error = error.to_string();
                    let line = format!("reload file={file} error={}", quoted(error.trim_end()));
                    log.line(Severity::Error, "", &line);
                    Err(error)
                }
            }
        })
    }

    fn check(&self, config: &str) -> Result<(), String> {
        self.check_text(config).map_err(|error| error.to_string())
    }

    fn servers(&self) -> &[Arc<VirtualServer>] {
        &self.servers
    }

    fn stages(&self) -> Option<&Arc<Stages>> {
        Some(&self.stages)
    }

    fn stage(&self, wanted: ConfigGreenDeployRequest) -> Result<Arc<Stage>, String> {
        let stage = self.stage_of(wanted)?;
        self.stages.begin(Arc::clone(&stage));
        let line = format!("livestage start id={}", quoted(&stage.id));
        self.services.log.line(Severity::Notice, "", &line);
        Ok(stage)
    }

    fn monitoring(&self) -> Monitoring {
        let monitor = &self.config().running.monitor;
        Monitoring {
            apikeys: monitor.apikeys.clone(),
            prefix: monitor.prefix.to_string(),
            upper: monitor.healthy.maxmessages.upper,
            lower: monitor.healthy.maxmessages.lower,
        }
    }

    fn process(&self) -> Process {
        let servers = self.servers.iter().map(|server| {
            let most = server.settings().total as u64;
            (server.id.clone(), server.open() as u64, most)
        });
        let running = self.config().running;
        Process {
            servers: servers.collect(),
            resolver: (
                u64::from(running.resolver.cache.size),
                u64::from(running.resolver.concurrency),
            ),
            workers: self.workers.handles().len() as u64,
            waiting: {
                let waiting = self.workers.handles().iter().map(WorkerHandle::waiting);
                waiting.sum::<usize>() as u64
            },
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn effects(resolver: &Resolver, held: Held, timed: bool) -> MakeEffects {
    let resolver = resolver.clone();
    Arc::new(move |_| Effects {
        clock: Rc::new(SystemClock),
        random: match timed {
            true => Rc::new(TimedRandom),
            false => Rc::new(SystemRandom),
        },
        dns: Rc::new(resolver.clone()) as Rc<dyn Dns>,
        net: Rc::new(HeldNet(held.clone())),
    })
}

/// The spool of a configuration; `observer` hears of its events.
#[must_use]
pub fn spool_config(config: &Config, observer: angarium_spool::Observer) -> angarium_spool::Config {
    let written = &config.startup.spool;
    let mut spool = angarium_spool::Config::new(written.path.as_path(), written.tmp.as_path());
    spool.fsync = written.fsync;
    spool.memory = written.memory;
    spool.minfree_bytes = written.minfree.bytes;
    spool.minfree_inodes = written.minfree.inodes;
    spool.corrupt = match written.corrupt {
        Corrupt::Quarantine => OnCorrupt::Quarantine,
        Corrupt::Ignore => OnCorrupt::Ignore,
        Corrupt::Abort => OnCorrupt::Abort,
    };
    spool.seed = SystemRandom.next_u64();
    spool.observer = observer;
    spool
}

/// What the settings of a server are made of.
struct Parts<'a> {
    running: &'a Running,
    place: &'a Place,
    scripts: &'a Arc<Scripts>,
    services: &'a Services,
    store: &'a Arc<dyn Store>,
    hostname: &'a str,
    /// The stage that they are of.
    stage: Option<&'a str>,
}

fn server_settings(server: &Server, parts: &Parts<'_>) -> Result<Settings, StartError> {
    let hooks = SessionScripts::new(
        Arc::clone(parts.scripts),
        parts.services.clone(),
        server.clone(),
        Arc::clone(parts.store),
    );
    let hooks = match parts.stage {
        Some(id) => hooks.staged(id),
        None => hooks,
    };
    Ok(Settings {
        smtp: Arc::new(settings::server(server, parts.hostname)),
        hooks: Arc::new(hooks),
        store: Arc::clone(parts.store),
        tls: server_tls(server, parts.running, parts.place)?,
        implicit: match server.kind {
            ServerKind::Https => Implicit::All(true),
            ServerKind::Http => Implicit::All(false),
            ServerKind::Smtp | ServerKind::Plugin => server.tls.implicit.clone(),
        },
        remote_ptr: server.remoteptr,
        total: usize::try_from(server.concurrency.total).unwrap_or(usize::MAX),
        per_ip: server.concurrency.ip,
        verbose: server.logging.verbose,
        product: PRODUCT.to_owned(),
        web: matches!(server.kind, ServerKind::Http | ServerKind::Https).then(|| Web {
            apikeys: server.apikeys.clone(),
        }),
    })
}

/// What delivery works by.
fn delivery_settings(
    config: &Config,
    hostname: &str,
    place: &Place,
) -> Result<delivery::Settings, delivery::settings::SettingsError> {
    let (running, sockets) = (&config.running, own_sockets(config));
    let keys = key_pairs(running, place);
    let signing = PrivateKeys::load(running, &*place.files);
    let mut settings = delivery::Settings::from_config(running, &keys, hostname, sockets)?
        .sign_with(running, &signing)?;
    let messages = config.startup.queues.maxmessages;
    settings.limits.messages = usize::try_from(messages).unwrap_or(usize::MAX);
    Ok(settings)
}

/// The sockets on which this server takes mail, for the guard against loops.
fn own_sockets(config: &Config) -> Vec<(IpAddr, u16)> {
    let listeners = config
        .startup
        .servers
        .iter()
        .flat_map(|sockets| &sockets.listeners);
    listeners
        .filter_map(|listener| {
            let address = listener
                .address
                .as_ref()
                .map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.0);
            Some((address, listener.port?))
        })
        .collect()
}
