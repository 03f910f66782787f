//! Workers on threads of their own.

use angarium_effects::system::SystemClock;

use super::pooling::{delivery_file, pooled};
use super::*;
use crate::worker::Workers;

/// A queue whose attempts are made by two workers on their threads, in real time.
struct Threads {
    sink: Sink,
    workers: Workers,
    service: Service,
    spool: Spool,
    store: SpoolStore,
    /// For what the store wants of a worker.
    here: (Rc<Worker>, Stopper),
    log: Memory,
    next: u128,
}

/// Every domain of the tests has one mail server.
fn effects() -> crate::worker::MakeEffects {
    Arc::new(|index| {
        let dns = TableDns::default();
        let address = RecordData::A([127, 0, 0, 1].into());
        dns.add("to.test", RecordType::A, address.clone());
        dns.add("mx.test", RecordType::A, address);
        for number in 0..20 {
            let data = RecordData::Mx {
                preference: 10,
                exchange: "mx.test".to_owned(),
            };
            dns.add(&format!("d{number}.test"), RecordType::Mx, data);
        }
        Effects {
            clock: Rc::new(SystemClock),
            random: Rc::new(SeededRandom::new(index as u64)),
            dns: Rc::new(dns),
            net: Rc::new(SystemNet),
        }
    })
}

impl Threads {
    fn start(
        dir: &Path,
        change: impl FnOnce(&mut Settings),
        hooks: Arc<dyn QueueHooks>,
    ) -> Threads {
        let sink = Sink::accepting();
        let mut settings = Setup::to(sink.port()).settings;
        change(&mut settings);
        let config = Config {
            prepare_segments: false,
            minfree_bytes: 0,
            minfree_inodes: 0,
            ..Config::new(dir.join("queue"), dir.join("tmp"))
        };
        let now: angarium_spool::Now = Arc::new(|| SystemClock.monotonic());
        let (spool, recovered) = Spool::open(Arc::new(SystemDisk), config, now).expect("a spool");
        let pool = HeavyPool::start(1, 10).expect("threads");
        let make = effects();
        let workers = Workers::start(2, &make, &pool, Duration::from_secs(5)).expect("workers");
        let log = Memory::default();
        let start = Start {
            spool: spool.clone(),
            recovered,
            live: Arc::new(Live { settings, hooks }),
            pool,
            log: Arc::new(log.clone()),
        };
        let service =
            Service::start(start, workers.handles().to_vec(), &make, |_| ()).expect("a thread");
        Threads {
            sink,
            workers,
            store: SpoolStore::new(spool.clone(), service.handle().sink()),
            service,
            spool,
            here: Worker::alone(make(9), HeavyPool::inline()),
            log,
            next: 1,
        }
    }

    async fn submit(&mut self, localpart: &str, domain: &str) {
        let worker = &self.here.0;
        let mut writer = self.store.begin(worker).expect("room");
        writer.append(MESSAGE.to_vec()).await.expect("room");
        let mail = writer.finish().await.expect("a message");
        let id = ItemId {
            transaction: Uuid::from_u128(self.next),
            queue: 1,
        };
        self.next += 1;
        let item = Item::new(
            id,
            Timestamp::from_secs(2_000_000_000),
            Address::new("a", "from.test"),
            Address::new(localpart, domain),
            "out".into(),
        );
        let change = Change::None;
        let queued = vec![Queued { item, mail, change }];
        self.store.commit(worker, queued).await.expect("durable");
    }

    /// Waits until so many messages have arrived and are done with.
    async fn arrived(&self, count: usize) {
        let done = || {
            self.log
                .lines()
                .iter()
                .filter(|line| line.contains("DELIVERED"))
                .count()
        };
        for _ in 0..5000 {
            if self.sink.received().len() >= count && done() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:#?}", self.log.lines());
    }

    /// Stops everything; says what the sink has seen.
    async fn stop(self) -> Sink {
        self.service.handle().stop(Duration::from_secs(10)).await;
        self.workers.stop();
        let workers = self.workers;
        // The idle connections say goodbye to a sink that lives on this thread.
        tokio::task::spawn_blocking(move || workers.join())
            .await
            .expect("workers end");
        self.service.join();
        assert_eq!(self.spool.stats().items, 0);
        self.sink
    }
}

#[test]
fn workers_on_threads_share_the_work() {
    run(|dir| async move {
        let hooks = Scripted {
            before: pooled,
            after: |_, _| Verdict::Default,
        };
        let change = |settings: &mut Settings| settings.limits.deliveries = 20;
        let mut threads = Threads::start(dir.path(), change, Arc::new(hooks));
        for number in 1..=200 {
            threads.submit(&format!("b{number}"), "to.test").await;
        }
        threads.arrived(200).await;
        assert!(threads.sink.connections() <= 20);
        let sink = threads.stop().await;
        assert_eq!(sink.quits(), sink.connections());
    });
}

#[test]
fn messages_to_one_host_meet_on_the_worker_that_keeps_its_connection() {
    for hooks in [
        Arc::new(NoQueueHooks) as Arc<dyn QueueHooks>,
        Arc::new(Scripted {
            before: pooled,
            after: |_, context| {
                assert_eq!(context, Some(42), "postdelivery runs where predelivery ran");
                Verdict::Default
            },
        }),
    ] {
        run(|dir| async move {
            let file = delivery_file("  default: {pooling: {enabled: true}}\n");
            let change = |settings: &mut Settings| settings.by_destination = file;
            let mut threads = Threads::start(dir.path(), change, hooks);
            for number in 0..20 {
                threads.submit("b", &format!("d{number}.test")).await;
                threads.arrived(number + 1).await;
            }
            assert_eq!(threads.sink.connections(), 1);
            threads.stop().await;
        });
    }
}
