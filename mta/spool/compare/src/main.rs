//! Durable messages per second: the spool, one file per message, redb, fjall.
//!
//! Each message is 4 KiB with 500 bytes of metadata, is made durable before its sender goes on, and is
//! removed after that without waiting, as in a relay. The two databases get a thread that gathers all
//! waiting messages into one transaction, as the spool's writer does; without it they would sync for
//! each message.
//!
//! `cargo run --release -- [seconds] [directory] [stores…]`

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::SystemDisk;
use angarium_spool::{Config, ItemId, Spool};

const BODY: [u8; 4096] = [b'm'; 4096];
const META: [u8; 500] = [b'i'; 500];

/// A way to keep messages.
trait Store: Send + Sync {
    /// Keeps message `number`; durable on return.
    fn put(&self, number: u64);
    /// Removes it; need not be durable.
    fn remove(&self, number: u64);
}

struct OurSpool(Spool);

impl Store for OurSpool {
    fn put(&self, number: u64) {
        let body = self.0.body(&BODY).expect("body");
        let mut transaction = self.0.transaction();
        let body = transaction.add_body(&body);
        transaction.add_item(
            ItemId {
                transaction: [1; 16],
                queue: number,
            },
            &[body],
            META.to_vec(),
        );
        self.0.commit(transaction).wait().expect("commit");
    }

    fn remove(&self, number: u64) {
        self.0.complete(ItemId {
            transaction: [1; 16],
            queue: number,
        });
    }
}

/// Written under another name, synced, renamed, the directory synced. 256 directories, as is usual.
struct Files(PathBuf);

impl Files {
    fn new(path: PathBuf) -> Self {
        for n in 0..256 {
            std::fs::create_dir_all(path.join(format!("{n:02x}"))).expect("directory");
        }
        Self(path)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.0.join(format!("{:02x}/{number:x}", number % 256))
    }
}

impl Store for Files {
    fn put(&self, number: u64) {
        use std::io::Write as _;
        let path = self.path(number);
        let temporary = path.with_extension("tmp");
        let mut file = std::fs::File::create_new(&temporary).expect("create");
        file.write_all(&[&META[..], &BODY].concat()).expect("write");
        file.sync_data().expect("sync");
        std::fs::rename(&temporary, &path).expect("rename");
        let directory = path.parent().expect("a parent");
        std::fs::File::open(directory)
            .expect("open")
            .sync_all()
            .expect("sync");
    }

    fn remove(&self, number: u64) {
        std::fs::remove_file(self.path(number)).expect("remove");
    }
}

enum Change {
    Put(u64, SyncSender<()>),
    Remove(u64),
}

/// A database behind a thread that gathers what waits.
struct Gathered(Mutex<SyncSender<Change>>);

impl Gathered {
    fn new(mut apply: impl FnMut(&[Change]) + Send + 'static) -> Self {
        let (sender, receiver): (_, Receiver<Change>) = sync_channel(4096);
        std::thread::spawn(move || {
            while let Ok(first) = receiver.recv() {
                let mut batch = vec![first];
                batch.extend(receiver.try_iter().take(4096));
                apply(&batch);
                for change in batch {
                    if let Change::Put(_, done) = change {
                        let _ = done.send(());
                    }
                }
            }
        });
        Self(Mutex::new(sender))
    }

    fn send(&self, change: Change) {
        let sender = self.0.lock().expect("no panic").clone();
        sender.send(change).expect("the thread lives");
    }
}

impl Store for Gathered {
    fn put(&self, number: u64) {
        let (sender, receiver) = sync_channel(1);
        self.send(Change::Put(number, sender));
        receiver.recv().expect("stored");
    }

    fn remove(&self, number: u64) {
        self.send(Change::Remove(number));
    }
}

fn redb(path: &Path) -> Gathered {
    const BODIES: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("bodies");
    const ITEMS: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("items");
    let database = redb::Database::create(path).expect("create");
    Gathered::new(move |batch| {
        let transaction = database.begin_write().expect("begin");
        {
            let mut bodies = transaction.open_table(BODIES).expect("table");
            let mut items = transaction.open_table(ITEMS).expect("table");
            for change in batch {
                match change {
                    Change::Put(number, _) => {
                        bodies.insert(number, &BODY[..]).expect("insert");
                        items.insert(number, &META[..]).expect("insert");
                    }
                    Change::Remove(number) => {
                        bodies.remove(number).expect("remove");
                        items.remove(number).expect("remove");
                    }
                }
            }
        }
        transaction.commit().expect("commit");
    })
}

fn fjall(path: &Path) -> Gathered {
    let keyspace = fjall::Config::new(path).open().expect("open");
    let bodies = keyspace
        .open_partition("bodies", fjall::PartitionCreateOptions::default())
        .expect("partition");
    let items = keyspace
        .open_partition("items", fjall::PartitionCreateOptions::default())
        .expect("partition");
    Gathered::new(move |changes| {
        let mut durable = false;
        let mut batch = keyspace.batch();
        for change in changes {
            match change {
                Change::Put(number, _) => {
                    batch.insert(&bodies, number.to_be_bytes(), BODY);
                    batch.insert(&items, number.to_be_bytes(), META);
                    durable = true;
                }
                Change::Remove(number) => {
                    batch.remove(&bodies, number.to_be_bytes());
                    batch.remove(&items, number.to_be_bytes());
                }
            }
        }
        batch.commit().expect("commit");
        if durable {
            keyspace
                .persist(fjall::PersistMode::SyncData)
                .expect("persist");
        }
    })
}

/// Runs `senders` threads for a while; messages and processor seconds.
fn measure(store: &dyn Store, senders: u64, time: Duration, next: &AtomicU64) -> (u64, f64, f64) {
    let over = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let (start, processor) = (Instant::now(), processor_time());
    std::thread::scope(|scope| {
        for _ in 0..senders {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    store.put(number);
                    store.remove(number);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(time);
        over.store(true, Ordering::Relaxed);
    });
    (
        count.into_inner(),
        start.elapsed().as_secs_f64(),
        processor_time() - processor,
    )
}

/// User and system time of this process, in seconds.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: f64 = [11, 12]
        .iter()
        .filter_map(|&field: &usize| fields.get(field)?.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

/// Rounds in which all stores take turns; the best counts, which is the one that was disturbed least.
const ROUNDS: usize = 7;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1.0);
    let base = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let mut names: Vec<String> = arguments.collect();
    if names.is_empty() {
        names = ["spool", "files", "redb", "fjall"]
            .map(str::to_owned)
            .to_vec();
    }
    let next = AtomicU64::new(0);
    let senders = [1, 16, 64, 256];
    let mut directories = Vec::new();
    let mut results =
        vec![vec![(Vec::<f64>::new(), Vec::<f64>::new()); senders.len()]; names.len()];
    for _ in 0..ROUNDS {
        for (name, results) in names.iter().zip(&mut results) {
            // One store at a time, and a pause, so that none pays for the background work of another.
            let dir = tempfile::tempdir_in(&base).expect("directory");
            let store = open(name, dir.path());
            measure(&*store, 16, Duration::from_millis(500), &next);
            for (senders, (rates, costs)) in senders.into_iter().zip(results) {
                let time = Duration::from_secs_f64(seconds);
                let (count, wall, processor) = measure(&*store, senders, time, &next);
                rates.push(count as f64 / wall);
                costs.push(processor / count as f64 * 1e6);
            }
            drop(store);
            // A database's own threads may still be at work in it.
            directories.push(dir);
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    println!("best of {ROUNDS} rounds");
    println!(
        "{:8} {:>8} {:>12} {:>14}",
        "store", "senders", "messages/s", "CPU µs/message"
    );
    for (name, results) in names.iter().zip(results) {
        for (senders, (rates, costs)) in senders.iter().zip(results) {
            println!(
                "{name:8} {senders:>8} {:>12.0} {:>14.0}",
                rates.iter().copied().fold(0.0, f64::max),
                costs.iter().copied().fold(f64::MAX, f64::min)
            );
        }
    }
}

fn open(name: &str, dir: &Path) -> Box<dyn Store> {
    match name {
        "spool" | "unprepared" => {
            let mut config = Config::new(dir.join("queue"), dir.join("tmp"));
            config.prepare_segments = name == "spool";
            let start = Instant::now();
            let now = Arc::new(move || Monotonic(start.elapsed()));
            Box::new(OurSpool(
                Spool::open(Arc::new(SystemDisk), config, now)
                    .expect("open")
                    .0,
            ))
        }
        "files" => Box::new(Files::new(dir.join("files"))),
        "redb" => Box::new(redb(&dir.join("redb"))),
        _ => Box::new(fjall(&dir.join("fjall"))),
    }
}
