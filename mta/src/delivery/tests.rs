//! The sending half in one process: a spool on disk, real sockets on loopback, a table as DNS, and a
//! clock that the test moves.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests wait for real sockets, in real time"
)]

mod bundle;
mod chunking;
mod course;
mod demands;
mod guide;
mod inline;
mod notices;
mod policies;
mod pooling;
mod proxies;
mod rolled_up;
mod sending;
mod session;
mod sink;
mod sources;
mod threads;

use std::any::Any;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::disk::SystemDisk;
use angarium_effects::dns::{DnsError, TableDns};
use angarium_effects::system::SystemNet;
use angarium_effects::{Clock, LocalFuture, RecordData, RecordType, SeededRandom, VirtualClock};
use angarium_mail::edits::{Edit, Edits, Replacement};
use angarium_mail::header::HeaderBlock;
use angarium_queue::dsn::{DsnOptions, Notify};
use angarium_queue::index::State;
use angarium_queue::item::{Address, Item, ItemId, Pairs};
use angarium_queue::outcome::Verdict;
use angarium_queue::retry::{Again, Interval, RetryRules};
use angarium_queue::scheduler::{Control, Limits};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_queue::transport::Transport;
use angarium_runtime::cache::Caches;
use angarium_runtime::shared::SharedMemory;
use angarium_spool::{Config, Spool};
use tempfile::TempDir;
use tokio::task::{JoinHandle, LocalSet};
use uuid::Uuid;

use super::service::serve;
use super::settings::{ClientSettings, DsnSettings};
use super::tls_settings::TlsSettings;
use super::*;
use crate::hooks::delivery::QueueScripts;
use crate::hooks::outbox::Outbox;
use crate::hooks::queue::{Client, Predelivery, TlsMode, Try};
use crate::hooks::steering::Door;
use crate::log::Memory;
use crate::pool::HeavyPool;
use crate::scripts::{Scripts, Services};
use crate::server::{Change, Queued, SpoolStore, Store};
use crate::worker::{Effects, Stopper, Worker};
use sink::{Act, Offer, Script, Sink, local};

const MESSAGE: &[u8] =
    b"From: a@from.test\r\nMessage-ID: <one@from.test>\r\nSubject: Hello\r\n\r\n\
    .dot\r\n..two\r\nlast\r\n";

/// A queue with its spool.
struct Rig {
    worker: Rc<Worker>,
    stopper: Stopper,
    clock: VirtualClock,
    handle: Handle,
    service: JoinHandle<()>,
    spool: Spool,
    store: Arc<dyn Store>,
    log: Memory,
    next: u128,
}

/// What a rig is made with.
struct Setup {
    settings: Settings,
    hooks: Arc<dyn QueueHooks>,
    /// In place of `hooks`: the scripts of a bundle.
    scripts: Option<Arc<Scripts>>,
    dns: TableDns,
}

impl Setup {
    /// One transport `out` that delivers by MX to this port, with a short retry table; its
    /// notifications go by `out` too.
    fn to(port: u16) -> Setup {
        let transport = Transport {
            port,
            retry: RetryRules {
                count: 3,
                intervals: [Interval::secs(60, false), Interval::secs(900, false)].into(),
                ..RetryRules::default()
            },
            dsn_transport: Some("out".into()),
            ..Transport::default()
        };
        let mut settings = Settings {
            hostname: "mta.test".to_owned(),
            ..Settings::default()
        };
        settings
            .transports
            .insert("out".into(), Arc::new(transport));
        let setup = Setup {
            settings,
            hooks: Arc::new(NoQueueHooks),
            scripts: None,
            dns: TableDns::default(),
        };
        setup.host("sink.test", 1);
        for domain in ["to.test", "from.test"] {
            setup.mx(domain, 10, "sink.test");
        }
        setup
    }

    fn host(&self, name: &str, last: u8) {
        let address = std::net::Ipv4Addr::from([127, 0, 0, last]);
        self.dns.add(name, RecordType::A, RecordData::A(address));
    }

    fn mx(&self, domain: &str, preference: u16, exchange: &str) {
        let data = RecordData::Mx {
            preference,
            exchange: exchange.to_owned(),
        };
        self.dns.add(domain, RecordType::Mx, data);
    }

    fn tls(mut self, mode: TlsMode) -> Setup {
        let client = ClientSettings {
            tls: TlsSettings {
                mode,
                ..TlsSettings::default()
            },
            ..ClientSettings::default()
        };
        self.settings.clients.insert("out".into(), Arc::new(client));
        self
    }

    fn hooks(mut self, hooks: impl QueueHooks + 'static) -> Setup {
        self.hooks = Arc::new(hooks);
        self
    }

    fn start(self, dir: &Path) -> Rig {
        // The disk's threads have a clock of their own.
        let config = Config {
            prepare_segments: false,
            minfree_bytes: 0,
            minfree_inodes: 0,
            ..Config::new(dir.join("queue"), dir.join("tmp"))
        };
        let now: angarium_spool::Now = Arc::new(|| {
            use angarium_effects::system::SystemClock;
            SystemClock.monotonic()
        });
        let (spool, recovered) = Spool::open(Arc::new(SystemDisk), config, now).expect("a spool");
        let clock = VirtualClock::new(Duration::from_secs(1_800_000_000));
        let effects = Effects {
            clock: Rc::new(clock.clone()),
            random: Rc::new(SeededRandom::new(7)),
            dns: Rc::new(self.dns),
            net: Rc::new(SystemNet),
        };
        let pool = HeavyPool::inline();
        let (worker, stopper) = Worker::alone(effects, Arc::clone(&pool));
        let log = Memory::default();
        let door = Door::default();
        let outbox = Outbox::default();
        let hooks = match self.scripts {
            None => self.hooks,
            Some(scripts) => {
                let services = Services {
                    memory: SharedMemory::default(),
                    caches: Caches::default(),
                    log: Arc::new(log.clone()),
                    hostname: "mta.test".into(),
                    counts: crate::counts::ScriptCounters::default(),
                    common: crate::scripts::Common::default(),
                    door: door.clone(),
                    outbox: outbox.clone(),
                };
                Arc::new(QueueScripts::new(scripts, services, spool.clone()))
            }
        };
        let live = Arc::new(Live {
            settings: self.settings,
            hooks,
        });
        outbox.configure(&live);
        let start = Start {
            spool: spool.clone(),
            recovered,
            live,
            pool,
            log: Arc::new(log.clone()),
        };
        let (handle, service) = serve(start, Rc::clone(&worker));
        door.open(handle.clone());
        let store: Arc<dyn Store> = Arc::new(SpoolStore::new(spool.clone(), handle.sink()));
        outbox.open(&store);
        Rig {
            worker,
            stopper,
            clock,
            store,
            handle,
            service: tokio::task::spawn_local(service),
            spool,
            log,
            next: 1,
        }
    }
}

impl Rig {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.clock.unix().as_micros()).expect("a time"))
    }

    async fn submit(&mut self, to: &str, message: &[u8], change: Change) -> ItemId {
        self.submit_from("a@from.test", to, message, change).await
    }

    async fn submit_from(
        &mut self,
        from: &str,
        to: &str,
        message: &[u8],
        change: Change,
    ) -> ItemId {
        self.submit_with(from, to, message, change, |_| {}).await
    }

    /// Takes a message as the server does, to the sync.
    async fn submit_with(
        &mut self,
        from: &str,
        to: &str,
        message: &[u8],
        change: Change,
        with: impl FnOnce(&mut Item),
    ) -> ItemId {
        let mut writer = self.store.begin(&self.worker).expect("room");
        for piece in message.chunks(100_000) {
            writer.append(piece.to_vec()).await.expect("room");
        }
        let mail = writer.finish().await.expect("a message");
        let id = ItemId {
            transaction: Uuid::from_u128(self.next),
            queue: 1,
        };
        self.next += 1;
        let address = |text: &str| {
            let (localpart, domain) = text.split_once('@').unwrap_or_default();
            Address::new(localpart, domain)
        };
        let mut item = Item::new(id, self.now(), address(from), address(to), "out".into());
        item.size = mail.len();
        with(&mut item);
        let queued = Queued { item, mail, change };
        let committed = self.store.commit(&self.worker, vec![queued]).await;
        committed.expect("durable");
        id
    }

    /// Waits, in real time and without moving the clock, until the log has so many lines of
    /// deliveries; gives them.
    async fn deliveries(&self, count: usize) -> Vec<String> {
        let lines = || -> Vec<String> {
            let lines = self.log.lines().into_iter();
            lines.filter(|line| line.contains("] delivery ")).collect()
        };
        self.until(|| lines().len() >= count).await;
        lines()
    }

    async fn until(&self, done: impl Fn() -> bool) {
        for _ in 0..5000 {
            if done() {
                // What follows from it in the same moment.
                tokio::time::sleep(Duration::from_millis(5)).await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!(
            "it did not happen; the log:\n{}",
            self.log.lines().join("\n")
        );
    }

    /// Waits until nothing is being done.
    async fn idle(&self) {
        for _ in 0..5000 {
            let idle = self.handle.inspect(|queue| {
                let moving = [State::Unknown, State::Sending, State::Active];
                queue.is_idle() && moving.iter().all(|state| queue.count(*state) == 0)
            });
            if idle.await.expect("a queue") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the queue is never idle");
    }

    async fn state(&self, id: ItemId) -> Option<State> {
        self.handle
            .inspect(move |queue| queue.state(id))
            .await
            .expect("a queue")
    }

    /// The one line of the only delivery.
    async fn only(&self) -> String {
        let lines = self.deliveries(1).await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines.into_iter().next().expect("a line")
    }

    async fn stop(self) {
        let stop = self.handle.stop(Duration::from_secs(30));
        stop.await;
        self.stopper.stop();
        self.service.await.expect("the service ends");
        drop(self.store);
        self.spool.close().expect("closed");
    }
}

/// Runs a test on its own thread's runtime.
fn run<F: Future<Output = ()>>(test: impl FnOnce(TempDir) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = TempDir::new().expect("a folder");
    LocalSet::new().block_on(&runtime, test(dir));
}

fn script(script: impl Fn(usize, &str) -> Option<Act> + 'static) -> Script {
    Rc::new(script)
}

fn has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

/// Hooks made of two functions.
struct Scripted {
    before: fn(&Item) -> Predelivery,
    after: fn(&Ended, Option<u32>) -> Verdict,
}

impl QueueHooks for Scripted {
    fn has(&self, _: QueueHook) -> bool {
        true
    }

    fn predelivery<'a>(&'a self, _: &'a Rc<Worker>, item: &'a Item) -> LocalFuture<'a, Before> {
        let verdict = (self.before)(item);
        let metadata = Pairs::new([(Text::from("seen"), Text::from("yes"))]).ok();
        Box::pin(async move {
            Before {
                verdict: Ok(verdict),
                metadata,
                context: Some(Box::new(42_u32)),
            }
        })
    }

    fn postdelivery<'a>(
        &'a self,
        _: &'a Rc<Worker>,
        ended: &'a Ended,
        context: Option<Box<dyn Any>>,
    ) -> LocalFuture<'a, After> {
        let context = context.and_then(|context| context.downcast_ref::<u32>().copied());
        let verdict = (self.after)(ended, context);
        Box::pin(async move {
            After {
                verdict,
                metadata: None,
            }
        })
    }
}
