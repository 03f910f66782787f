//! Lists of a large queue over the control socket: right, and quick.
//!
//! `cargo test --release -p angarium --test control_list -- --ignored --nocapture` measures with a million
//! messages.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test drives the real socket and measures"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use angarium::control::{Admin, Backend, Part, Process, Server};
use angarium::counts::ScriptCounters;
use angarium::delivery::{Live, NoQueueHooks, Service, Settings, Start};
use angarium::log::Memory;
use angarium::pool::HeavyPool;
use angarium::worker::{Effects, MakeEffects};
use angarium_control::frame::{Answers, Kind, VERSION, request};
use angarium_control::proto::{self, QueueGroupByRequest, QueueListRequest};
use angarium_control::{Message, proto::QueueListResponse};
use angarium_effects::LocalFuture;
use angarium_effects::dns::TableDns;
use angarium_effects::local::{Rights, listen};
use angarium_effects::system::{SystemClock, SystemNet, SystemRandom};
use angarium_effects::{Clock as _, disk::Disk as _, disk::SimDisk};
use angarium_queue::item::{Address, Item, ItemId};
use angarium_queue::time::Timestamp;
use angarium_runtime::cache::Caches;
use angarium_runtime::shared::SharedMemory;
use angarium_spool::{Config, Spool};

struct NoAdmin;

impl Admin for NoAdmin {
    fn reload(&self, _: Part) -> LocalFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn check(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn process(&self) -> Process {
        Process::default()
    }
}

/// A queue of messages on hold behind a control socket.
struct Rig {
    server: Server,
    _service: Service,
    client: UnixStream,
    answers: Answers,
    _folder: tempfile::TempDir,
}

/// The `number`-th message: a thousand domains, sizes that differ, received a second apart.
fn message(number: u64) -> Item {
    let id = ItemId {
        transaction: uuid::Uuid::from_u128(u128::from(number) << 64 | 1),
        queue: 1,
    };
    let recipient = Address::new(
        format!("b{number}"),
        format!("d{}.example", number % 1000).as_str(),
    );
    let received = Timestamp::from_secs(1_700_000_000 + number);
    let sender = Address::new("a", "example.net");
    let mut item = Item::new(id, received, sender, recipient, "mx".into());
    item.size = number;
    item.subject = Some("hello".into());
    item.jobid = Some(format!("job-{}", number % 7).into());
    item.put_on_hold(received);
    item
}

impl Rig {
    fn new(count: u64) -> Rig {
        let disk = SimDisk::new(1);
        disk.create_dir("/spool".as_ref()).unwrap();
        disk.create_dir("/spool/tmp".as_ref()).unwrap();
        let config = Config::new("/spool/queue", "/spool/tmp");
        let now: angarium_spool::Now = Arc::new(|| SystemClock.monotonic());
        let (spool, recovered) = Spool::open(Arc::new(disk), config, now).unwrap();
        let make: MakeEffects = Arc::new(|_| Effects {
            clock: Rc::new(SystemClock),
            random: Rc::new(SystemRandom),
            dns: Rc::new(TableDns::default()),
            net: Rc::new(SystemNet),
        });
        let log = Arc::new(Memory::default());
        let start = Start {
            spool: spool.clone(),
            recovered,
            live: Arc::new(Live {
                settings: Settings::default(),
                hooks: Arc::new(NoQueueHooks),
            }),
            pool: HeavyPool::inline(),
            log: Arc::new(Quiet),
        };
        let service = Service::start(start, Vec::new(), &make, |_| {}).unwrap();
        for from in (0..count).step_by(1000) {
            let items = (from..(from + 1000).min(count)).map(message);
            service.handle().committed(items.collect());
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let rights = Rights {
            mode: 0o600,
            ..Rights::default()
        };
        let backend = Backend {
            queue: service.handle(),
            spool,
            pool: HeavyPool::inline(),
            memory: SharedMemory::default(),
            caches: Caches::default(),
            rates: Arc::default(),
            resolver: None,
            scripts: ScriptCounters::default(),
            metrics: Arc::default(),
            health: Arc::default(),
            admin: Arc::new(NoAdmin),
        };
        // A socket is made inside a runtime only when it is served.
        let bound = listen(&path, &rights).unwrap();
        let server = Server::start(bound, backend, &make, log).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(&VERSION).unwrap();
        let mut rig = Rig {
            server,
            _service: service,
            client,
            answers: Answers::default(),
            _folder: folder,
        };
        let all =
            |rig: &mut Rig| rig.list(&QueueListRequest::default()).paging.unwrap().total == count;
        let begin = Instant::now();
        while !all(&mut rig) {
            assert!(
                begin.elapsed() < Duration::from_secs(300),
                "the items do not arrive"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        rig
    }

    fn call(&mut self, letter: u8, body: &[u8]) -> Vec<u8> {
        self.client.write_all(&request(letter, Some(body))).unwrap();
        let mut buffer = vec![0; 1 << 20];
        loop {
            if let Some(answer) = self.answers.take().unwrap() {
                assert_eq!(
                    answer.kind,
                    Kind::Done,
                    "{}",
                    String::from_utf8_lossy(&answer.data)
                );
                return answer.data;
            }
            let read = self.client.read(&mut buffer).unwrap();
            assert!(read > 0, "the server has gone");
            self.answers.feed(&buffer[..read]);
        }
    }

    fn list(&mut self, wanted: &QueueListRequest) -> QueueListResponse {
        let data = self.call(b'F', &wanted.encode_to_vec());
        QueueListResponse::decode(&data[..]).unwrap()
    }
}

/// A log that nobody reads.
struct Quiet;

impl angarium::log::Log for Quiet {
    fn line(&self, _: angarium::log::Severity, _: &str, _: &str) {}
}

fn page(offset: u64, limit: u64) -> Option<proto::PagingRequest> {
    Some(proto::PagingRequest { offset, limit })
}

fn by_size(order: proto::Order) -> Vec<proto::queue_list_request::Sorting> {
    vec![proto::queue_list_request::Sorting {
        field: Some(proto::queue_list_request::sorting::Field::Size(
            order.into(),
        )),
    }]
}

fn sizes(response: &QueueListResponse) -> Vec<u64> {
    response.items.iter().map(|item| item.size).collect()
}

#[test]
fn pages_sorts_and_groups_are_right_over_many_steps() {
    let mut rig = Rig::new(10_000);
    // Ids rise with the number here, so the order of ids is that of sizes.
    let response = rig.list(&QueueListRequest {
        paging: page(9_990, 50),
        ..QueueListRequest::default()
    });
    assert_eq!(sizes(&response), (9_990..10_000).collect::<Vec<_>>());
    assert_eq!(response.paging.unwrap().total, 10_000);
    let all = rig.list(&QueueListRequest {
        paging: page(0, 20_000),
        ..QueueListRequest::default()
    });
    assert_eq!(sizes(&all), (0..10_000).collect::<Vec<_>>(), "each once");
    let item = &all.items[4_321];
    let recipient = item.recipient.clone().unwrap();
    assert_eq!(
        (recipient.localpart.as_str(), recipient.domain.as_str()),
        ("b4321", "d321.example")
    );
    assert_eq!(
        (item.hold, item.jobid.as_str(), item.ts),
        (true, "job-2", 1_700_004_321.0)
    );
    let response = rig.list(&QueueListRequest {
        sortings: by_size(proto::Order::Desc),
        paging: page(5_000, 3),
        ..QueueListRequest::default()
    });
    assert_eq!(sizes(&response), [4_999, 4_998, 4_997]);
    let condition = proto::Condition {
        recipients: vec![proto::condition::AddressMatch {
            domain: Some(proto::StringRegexValue {
                value: "D7.example".into(),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..proto::Condition::default()
    };
    let response = rig.list(&QueueListRequest {
        conditions: Some(condition.clone()),
        sortings: by_size(proto::Order::Asc),
        ..QueueListRequest::default()
    });
    assert_eq!(
        sizes(&response),
        (0..10).map(|number| 7 + number * 1000).collect::<Vec<_>>()
    );
    let probability = Some(0.25);
    let sample = rig.list(&QueueListRequest {
        conditions: Some(proto::Condition {
            probability,
            ..proto::Condition::default()
        }),
        ..QueueListRequest::default()
    });
    let share = sample.paging.unwrap().total;
    assert!((2_200..2_800).contains(&share), "{share}");
    let grouped = QueueGroupByRequest {
        groupbys: vec![proto::queue_group_by_request::GroupBy {
            field: Some(proto::queue_group_by_request::group_by::Field::Jobid(true)),
        }],
        r#return: Some(proto::queue_group_by_request::Return {
            value: Some(proto::queue_group_by_request::r#return::Value::Type(
                proto::queue_group_by_request::r#return::Type::Bytes.into(),
            )),
        }),
        ..QueueGroupByRequest::default()
    };
    let data = rig.call(b'D', &grouped.encode_to_vec());
    let rows = proto::QueueGroupByResponse::decode(&data[..])
        .unwrap()
        .items;
    let total: u64 = rows.iter().map(|row| row.total).sum();
    assert_eq!((rows.len(), total), (7, (0..10_000).sum::<u64>()));
    assert!(rows.is_sorted_by(|a, b| a.total >= b.total));
    rig.server.stop();
}

#[test]
#[ignore = "a measurement"]
fn a_million_messages_are_listed_and_grouped() {
    let count = std::env::var("COUNT")
        .ok()
        .and_then(|count| count.parse().ok());
    let count = count.unwrap_or(1_000_000);
    let mut rig = Rig::new(count);
    let mut measure = |what: &str, letter: u8, body: Vec<u8>| {
        let begin = Instant::now();
        let data = rig.call(letter, &body);
        let megabytes = data.len() >> 20;
        println!(
            "{what}: {:.3} s, {megabytes} MiB",
            begin.elapsed().as_secs_f64()
        );
    };
    let first = QueueListRequest::default();
    measure("the first hundred", b'F', first.encode_to_vec());
    let sorted = QueueListRequest {
        sortings: by_size(proto::Order::Desc),
        ..QueueListRequest::default()
    };
    measure("the hundred largest", b'F', sorted.encode_to_vec());
    let subject = proto::StringMatch {
        value: "nothing".into(),
        r#type: proto::string_match::Type::Partial.into(),
        ..Default::default()
    };
    let none = QueueListRequest {
        conditions: Some(proto::Condition {
            subjects: vec![subject],
            ..proto::Condition::default()
        }),
        ..QueueListRequest::default()
    };
    measure("a subject that none has", b'F', none.encode_to_vec());
    let all = QueueListRequest {
        paging: page(0, count),
        ..QueueListRequest::default()
    };
    measure("all of them", b'F', all.encode_to_vec());
    let domains = QueueGroupByRequest {
        groupbys: vec![proto::queue_group_by_request::GroupBy {
            field: Some(proto::queue_group_by_request::group_by::Field::Recipientdomain(true)),
        }],
        ..QueueGroupByRequest::default()
    };
    measure("by domain", b'D', domains.encode_to_vec());
    rig.server.stop();
}
