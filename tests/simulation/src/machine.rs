//! The machine under test: everything that a process of the product is made of, on one set of tasks.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use angarium::app::{PRODUCT, spool_config};
use angarium::control::{Admin, Alone, Backend, Part, Process};
use angarium::counts::ScriptCounters;
use angarium::delivery::service::serve;
use angarium::delivery::{self, Handle, Live, Start};
use angarium::hooks::delivery::QueueScripts;
use angarium::hooks::session::SessionScripts;
use angarium::hooks::steering::Door;
use angarium::log::{Log, Severity};
use angarium::pool::HeavyPool;
use angarium::scripts::Services;
use angarium::server::listener::{Client, accept, bind};
use angarium::server::{Endpoint, Event, Settings, SpoolStore, Store, VirtualServer, spooled};
use angarium::settings;
use angarium::worker::{Effects, Stopper, Worker};
use angarium_effects::disk::SimDisk;
use angarium_effects::{LocalFuture, Monotonic, VirtualClock};
use angarium_runtime::cache::Caches;
use angarium_runtime::shared::SharedMemory;
use angarium_spool::{Spool, Stepper};
use tokio::task::LocalSet;

use crate::bundle::{Bundle, MACHINE};
use crate::dice::Dice;
use crate::names::SimDns;
use crate::net::{Life, SimNet};
use crate::plan::{Plan, Planted};
use crate::trace::Trace;

/// The product's name for itself.
const HOSTNAME: &str = "mta.test";

/// What the machine finds around it.
pub struct Surroundings {
    pub clock: VirtualClock,
    pub net: SimNet,
    pub dns: SimDns,
    pub trace: Trace,
}

/// The machine while it runs.
pub struct Machine {
    pub tasks: LocalSet,
    pub handle: Handle,
    pub disk: SimDisk,
    pub life: Life,
    pub stepper: Stepper,
    spool: Spool,
    services: Services,
    /// Where operators are heard.
    pub control: Rc<Alone>,
    /// Set when the queue has stopped in order.
    pub stopped: Rc<Cell<bool>>,
    _stopper: Stopper,
}

impl Machine {
    /// Starts on a disk.
    ///
    /// # Errors
    /// It does not start; the disk may have stopped meanwhile.
    pub fn start(
        plan: &Plan,
        bundle: &Bundle,
        around: &Surroundings,
        disk: SimDisk,
        dice: &Dice,
    ) -> Result<Machine, String> {
        let log: Arc<dyn Log> = Arc::new(around.trace.clone());
        let observer = {
            let log = Arc::clone(&log);
            Arc::new(move |event: angarium_spool::Event| {
                log.line(Severity::Warning, "", &event.to_string());
            })
        };
        let mut config = spool_config(&bundle.config, observer);
        config.seed = dice.number();
        config.segment_size = plan.segment;
        config.prepare_segments = dice.chance(500);
        let opened = Spool::open_stepped(Arc::new(disk.clone()), config);
        let (spool, recovered, stepper) = opened.map_err(|error| error.to_string())?;
        let life = Life::on(&disk);
        let mut host = around.net.host(MACHINE.ip(), &life);
        if plan.planted == Planted::NoTimeout {
            host = host.stuck(dice.fork());
        }
        let effects = Effects {
            clock: Rc::new(around.clock.clone()),
            random: dice.random(),
            dns: Rc::new(around.dns.clone()),
            net: Rc::new(host),
        };
        let tasks = LocalSet::new();
        let pool = HeavyPool::inline();
        let (worker, stopper) = Worker::alone(effects.clone(), Arc::clone(&pool));
        let services = Services {
            memory: SharedMemory::default(),
            caches: Caches::default(),
            log: Arc::clone(&log),
            hostname: HOSTNAME.into(),
            door: Door::default(),
            outbox: Default::default(),
            counts: ScriptCounters::default(),
            common: angarium::scripts::Common::default(),
        };
        let running = &bundle.config.running;
        let live = live(bundle, &services, &spool)?;
        let start = Start {
            spool: spool.clone(),
            recovered,
            live,
            pool,
            log: Arc::clone(&log),
        };
        let (handle, service) = serve(start, Rc::clone(&worker));
        services.door.open(handle.clone());
        let stopped = Rc::new(Cell::new(false));
        {
            let stopped = Rc::clone(&stopped);
            tasks.spawn_local(async move {
                service.await;
                stopped.set(true);
            });
        }
        let sink = match plan.planted {
            Planted::Forgotten => forgetful(&handle),
            _ => handle.sink(),
        };
        let room = handle.clone();
        let observer: angarium::server::Observer = {
            let log = Arc::clone(&log);
            Arc::new(move |event: &Event| {
                log.line(event.severity(), event.id(), &event.to_string());
            })
        };
        let store = SpoolStore::new(spool.clone(), sink)
            .while_room(Box::new(move || room.has_room()))
            .observed(Arc::clone(&observer));
        let store: Arc<dyn Store> = Arc::new(store);
        let server = running.servers.values().next();
        let server = server.ok_or("the bundle has no server")?;
        let hooks = SessionScripts::new(
            Arc::clone(&bundle.scripts),
            services.clone(),
            server.clone(),
            Arc::clone(&store),
        );
        let settings = Settings {
            smtp: Arc::new(settings::server(server, HOSTNAME)),
            hooks: Arc::new(hooks),
            store,
            tls: None,
            implicit: server.tls.implicit.clone(),
            remote_ptr: server.remoteptr,
            total: 100,
            per_ip: 0,
            verbose: false,
            product: PRODUCT.to_owned(),
            web: None,
        };
        let server = VirtualServer::new(server.id.to_string(), settings, observer);
        services.door.serve([&server]);
        let endpoint = Endpoint {
            server,
            id: None,
            address: Some(MACHINE.ip()),
            port: MACHINE.port(),
            backlog: None,
            local: None,
            proxies: [].into(),
        };
        let listeners = bind(&*effects.net, &endpoint).map_err(|error| error.to_string())?;
        for listener in listeners {
            let (effects, endpoint, worker) =
                (effects.clone(), endpoint.clone(), Rc::clone(&worker));
            tasks.spawn_local(async move {
                let hand_over =
                    async |client: Client| worker.spawn(client.serve(Rc::clone(&worker)));
                accept(&effects, &*listener, &endpoint, hand_over).await;
            });
        }
        let backend = Backend {
            queue: handle.clone(),
            spool: spool.clone(),
            pool: HeavyPool::inline(),
            memory: services.memory.clone(),
            caches: services.caches.clone(),
            rates: Arc::clone(&services.common.rates),
            resolver: None,
            scripts: services.counts.clone(),
            metrics: Arc::clone(&services.common.metrics),
            health: Arc::default(),
            admin: Arc::new(Nobody),
        };
        let control = Rc::new(Alone::new(backend, effects, log));
        Ok(Machine {
            tasks,
            handle,
            disk,
            life,
            stepper,
            spool,
            services,
            control,
            stopped,
            _stopper: stopper,
        })
    }

    /// What a reload with another bundle gives the queue.
    ///
    /// # Errors
    /// The bundle cannot be used.
    pub fn live(&self, bundle: &Bundle) -> Result<Arc<Live>, String> {
        live(bundle, &self.services, &self.spool)
    }

    /// Writes what waits and does some of the background's work, as chance has it. Says whether there was any.
    pub fn work(&mut self, now: Monotonic, dice: &Dice) -> bool {
        let mut worked = self.stepper.write(now);
        for _ in 0..dice.below(3) {
            worked |= self.stepper.background(now);
        }
        worked
    }

    /// Does everything that the spool's threads would do before they end.
    pub fn close(&mut self, now: Monotonic) {
        let last = self.spool.sync();
        self.stepper.run(now);
        drop(last);
    }
}

/// Reloads come to the queue itself: there is no `App` here.
struct Nobody;

impl Admin for Nobody {
    fn reload(&self, _part: Part) -> LocalFuture<'_, Result<(), String>> {
        Box::pin(async { Err("there are no files".to_owned()) })
    }

    fn check(&self, _config: &str) -> Result<(), String> {
        Err("there are no files".to_owned())
    }

    fn process(&self) -> Process {
        Process::default()
    }
}

/// What the queue works by.
fn live(bundle: &Bundle, services: &Services, spool: &Spool) -> Result<Arc<Live>, String> {
    let sockets: Vec<(IpAddr, u16)> = vec![(MACHINE.ip(), MACHINE.port())];
    let running = &bundle.config.running;
    let settings =
        delivery::Settings::from_config(running, bundle.scripts.keys(), HOSTNAME, sockets);
    let mut settings = settings.map_err(|error| error.to_string())?;
    let most = bundle.config.startup.queues.maxmessages;
    settings.limits.messages = usize::try_from(most).unwrap_or(usize::MAX);
    let scripts = Arc::clone(&bundle.scripts);
    Ok(Arc::new(Live {
        settings,
        hooks: Arc::new(QueueScripts::new(scripts, services.clone(), spool.clone())),
    }))
}

/// A planted mistake: every seventh message is stored and not handed to the queue.
fn forgetful(handle: &Handle) -> spooled::Sink {
    let handle = handle.clone();
    let count = std::sync::atomic::AtomicU64::new(0);
    Box::new(move |items| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if number % 7 != 3 {
            handle.committed(items);
        }
    })
}
