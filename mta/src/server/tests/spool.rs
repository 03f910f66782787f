//! Sessions over the spool, on a simulated disk.

use std::sync::{Arc, Mutex};

use angarium_effects::Clock;
use angarium_effects::disk::{Disk, Fault, SimDisk};
use angarium_effects::system::SystemClock;
use angarium_mail::edits::Edits;
use angarium_queue::item::{Address, Item, ItemId};
use angarium_queue::time::Timestamp;
use angarium_spool::{BodyRef, Config, Spool};

use super::super::spooled::SpoolStore;
use super::super::{Change, Queued, Settings, Store};
use super::sockets::{Real, connect, effects, run};
use super::support::{MemoryStore, settings, settle, simulate};
use crate::delivery::content::Stored;
use crate::pool::HeavyPool;
use crate::worker::Worker;

pub(super) fn config(memory: u64) -> Config {
    Config {
        memory,
        minfree_bytes: 0,
        minfree_inodes: 0,
        prepare_segments: false,
        ..Config::new("/spool/queue", "/spool/tmp")
    }
}

fn open(disk: &SimDisk, memory: u64) -> (Spool, angarium_spool::Recovered) {
    let now = Arc::new(|| SystemClock.monotonic());
    Spool::open(Arc::new(disk.clone()) as Arc<dyn Disk>, config(memory), now).expect("a spool")
}

pub(super) fn over(spool: &Spool, queue: &Arc<Mutex<Vec<Item>>>) -> Settings {
    let queue = Arc::clone(queue);
    let sink = Box::new(move |items: Vec<Item>| queue.lock().expect("the lock").extend(items));
    Settings {
        store: Arc::new(SpoolStore::new(spool.clone(), sink)) as Arc<dyn Store>,
        ..settings(&Arc::new(MemoryStore::default()))
    }
}

fn read(spool: &Spool, item: &Item) -> String {
    let body = BodyRef::from_bytes(&item.content.0).expect("a reference");
    let reader = spool.read(body).expect("the body");
    let mut bytes = vec![0; usize::try_from(body.length).expect("a length")];
    let mut filled = 0;
    while filled < bytes.len() {
        match reader
            .read_at(&mut bytes[filled..], filled as u64)
            .expect("the body")
        {
            0 => break,
            count => filled += count,
        }
    }
    assert_eq!(filled, bytes.len());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn messages_of_every_size_are_durable_before_the_reply_and_stored_once() {
    let disk = SimDisk::new(1);
    let (spool, _) = open(&disk, 64 << 20);
    let queue = Arc::new(Mutex::new(Vec::new()));
    let real = Real::start(over(&spool, &queue), 1);
    let sizes = [0, 1, 1000, 32_000, 40_000];
    let body = |lines: usize| "12345678\r\n".repeat(lines);
    run(async {
        let mut client = connect(real.address).await;
        client.greet().await;
        for lines in sizes {
            client.command("MAIL FROM:<>", "250").await;
            client.command("RCPT TO:<a@b.example>", "250").await;
            client.command("RCPT TO:<c@d.example>", "250").await;
            client.command("DATA", "354").await;
            client.send(&body(lines)).await;
            client.command(".", "250 2.0.0").await;
        }
    });
    // The power fails while the server runs: what was acknowledged is there.
    let after = disk.crash(angarium_effects::disk::Loss::Power);
    real.stop();
    drop(spool);
    let (spool, recovered) = open(&after, 64 << 20);
    let items: Vec<Item> = recovered
        .map(|item| {
            let item = item.expect("an item");
            let mut interner = angarium_queue::text::Interner::new();
            let decoded = Item::decode(&item.blob, &mut interner).expect("an item");
            assert_eq!(item.bodies.len(), 1);
            assert_eq!(item.bodies[0].to_bytes(), *decoded.content.0);
            decoded
        })
        .collect();
    let mut queued = std::mem::take(&mut *queue.lock().expect("the lock"));
    assert_eq!(queued.len(), 2 * sizes.len());
    queued.sort_by_key(|item| item.id);
    let mut items = items;
    items.sort_by_key(|item| item.id);
    assert_eq!(items, queued);
    for (lines, index) in sizes.iter().zip(0..) {
        let same: Vec<&Item> = items
            .iter()
            .filter(|item| read(&spool, item).ends_with(&format!("+0000\r\n{}", body(*lines))))
            .filter(|item| item.size < 300 || *lines > 0)
            .collect();
        assert!(same.len() >= 2, "message {index}");
        assert!(
            same.iter()
                .all(|item| read(&spool, item).starts_with("Received: "))
        );
    }
    // Both copies name the same body.
    for pair in items.chunks(2) {
        assert_eq!(pair[0].content, pair[1].content);
    }
}

#[test]
fn a_full_disk_a_broken_one_and_used_up_memory_are_temporary_errors() {
    let disk = SimDisk::new(1);
    // No thread of the spool runs, so that each fault meets the call that it is meant for.
    let (spool, _, _stepper) =
        Spool::open_stepped(Arc::new(disk.clone()) as Arc<dyn Disk>, config(300 << 10))
            .expect("a spool");
    let queue = Arc::new(Mutex::new(Vec::new()));
    let large = "12345678\r\n".repeat(40_000);
    let medium = "12345678\r\n".repeat(20_000);
    simulate(over(&spool, &queue), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        for (fault, start) in [(Fault::NoSpace, "452 4.3.1"), (Fault::Io, "451 4.3.0")] {
            disk.fail_after(0, fault);
            client.message(&large, start).await;
        }
        // Another message has most of the memory.
        let mut other = bench.connect().await;
        other.greet().await;
        other.command("MAIL FROM:<>", "250").await;
        other.command("RCPT TO:<a@b.example>", "250").await;
        other.command("DATA", "354").await;
        other.send(&medium).await;
        settle().await;
        client.message(&medium, "452 4.3.1").await;
        client.command("NOOP", "250").await;
    });
    assert!(queue.lock().expect("the lock").is_empty());
}

#[test]
fn nothing_is_acknowledged_while_the_log_cannot_be_written() {
    let disk = SimDisk::new(1);
    let (spool, _) = open(&disk, 64 << 20);
    let queue = Arc::new(Mutex::new(Vec::new()));
    let real = Real::start(over(&spool, &queue), 1);
    run(async {
        let mut client = connect(real.address).await;
        client.greet().await;
        client.message("x\r\n", "250 2.0.0").await;
        // Whatever the writer tries next fails, and so does the new segment.
        for call in 0..40 {
            disk.fail_after(call, Fault::Io);
        }
        client.message("x\r\n", "45").await;
        disk.clear_faults();
    });
    assert_eq!(queue.lock().expect("the lock").len(), 1);
    real.stop();
}

#[test]
fn what_is_committed_is_what_delivery_reads() {
    let disk = SimDisk::new(1);
    let (spool, _) = open(&disk, 64 << 20);
    let queue = Arc::new(Mutex::new(Vec::new()));
    let settings = over(&spool, &queue);
    let effects = effects()(0);
    let (worker, _stopper) = Worker::alone(effects, HeavyPool::inline());
    let write = async |text: &str| {
        let mut writer = settings.store.begin(&worker).expect("room");
        writer.append(text.into()).await.expect("room");
        writer.finish().await.expect("room")
    };
    run(async {
        let (received, copy) = (write("Subject: a\r\n\r\n").await, write("changed").await);
        let edits = Edits::none(received.len());
        let changes = [
            Change::None,
            Change::Edits(edits.to_bytes().into()),
            Change::Replaced(copy),
        ];
        let address = Address::new("a", "example.org");
        let queued = (1..).zip(changes).map(|(queue, change)| {
            let id = ItemId {
                transaction: uuid::Uuid::from_bytes([7; 16]),
                queue,
            };
            let (from, to) = (address.clone(), address.clone());
            Queued {
                item: Item::new(id, Timestamp::ZERO, from, to, "mx".into()),
                mail: received.clone(),
                change,
            }
        });
        let queued = queued.collect();
        settings.store.commit(&worker, queued).await.expect("room");
    });
    let items = queue.lock().expect("the lock");
    let body = BodyRef::from_bytes(&items[0].content.0).expect("a reference");
    assert_eq!(
        Stored::of(&items[0]).expect("a reference"),
        Stored::Plain(body)
    );
    let Stored::Edited(original, edits) = Stored::of(&items[1]).expect("a reference") else {
        panic!("no edits");
    };
    assert!(original == body && edits.is_empty());
    let Stored::Replaced { original, copy } = Stored::of(&items[2]).expect("a reference") else {
        panic!("no copy");
    };
    assert_eq!(original, body);
    let reader = spool.read(copy).expect("the copy");
    let mut bytes = [0; 8];
    let count = reader.read_at(&mut bytes, 0).expect("the copy");
    assert_eq!(&bytes[..count], b"changed");
}
