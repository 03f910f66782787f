//! The spool takes no more of the disk than twice what is alive and a constant: 1 GiB with segments of
//! 64 MiB, that is, 16 segments.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::{Disk, Fault, FileKind, Loss, SimDisk};
use angarium_effects::{Random as _, SeededRandom};
use angarium_spool::{Config, ItemId, Recovered, Spool, Stepper};

const SEGMENT: u64 = 128 << 10;
const CONSTANT: u64 = 16 * SEGMENT;

fn config() -> Config {
    let mut config = Config::new("/var/spool/queue", "/var/spool/tmp");
    config.segment_size = SEGMENT;
    // As much smaller than a segment as by default.
    config.batch_size = SEGMENT / 8;
    config
}

/// A spool under a random load.
struct Run {
    disk: SimDisk,
    spool: Spool,
    stepper: Stepper,
    random: SeededRandom,
    now: Monotonic,
    next: u64,
    /// Bytes of bodies with a file of their own, by item.
    alive: BTreeMap<u64, u64>,
    worst: f64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let disk = SimDisk::new(seed);
        let (spool, _, stepper) = open(&disk);
        Run {
            disk,
            spool,
            stepper,
            random: SeededRandom::new(seed),
            now: Monotonic::default(),
            next: 0,
            alive: BTreeMap::new(),
            worst: 0.0,
        }
    }

    fn below(&self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    fn id(queue: u64) -> ItemId {
        ItemId {
            transaction: [4; 16],
            queue,
        }
    }

    fn add(&mut self, length: u64) {
        let length = usize::try_from(length).expect("a small number");
        let Ok(body) = self.spool.body(&vec![b'm'; length]) else {
            return;
        };
        let mut transaction = self.spool.transaction();
        let body = transaction.add_body(&body);
        let items = 1 + self.below(3);
        let numbers: Vec<u64> = (0..items).map(|n| self.next + n).collect();
        self.next += items;
        for number in &numbers {
            transaction.add_item(Self::id(*number), &[body], vec![b'i'; 300]);
        }
        let commit = self.spool.commit(transaction);
        self.stepper.write(self.now);
        if matches!(commit.result(), Some(Ok(()))) {
            let own = if length > angarium_spool::INLINE_MAX {
                length as u64
            } else {
                0
            };
            self.alive
                .extend(numbers.iter().map(|number| (*number, own)));
        }
    }

    /// Any of those that live.
    fn pick(&self) -> Option<u64> {
        let at = self.below(self.alive.len().max(1) as u64);
        self.alive
            .keys()
            .nth(usize::try_from(at).expect("a small number"))
            .copied()
    }

    fn complete(&mut self, number: u64) {
        self.spool.complete(Self::id(number));
        self.alive.remove(&number);
    }

    fn update(&mut self, number: u64) {
        let blob = vec![b'u'; usize::try_from(200 + self.below(400)).expect("a small number")];
        drop(self.spool.update(Self::id(number), blob));
        self.stepper.write(self.now);
    }

    fn restart(&mut self) {
        self.stepper.run(self.now);
        let disk = self.disk.crash(Loss::Process);
        let (spool, recovered, stepper) = open(&disk);
        let found: Vec<u64> = recovered
            .map(|item| item.expect("an item").id.queue)
            .collect();
        // What was completed shortly before may be back.
        for number in found {
            if !self.alive.contains_key(&number) {
                spool.complete(Self::id(number));
            }
        }
        (self.disk, self.spool, self.stepper) = (disk, spool, stepper);
    }

    /// Lets the background work end, and compares what is on the disk with what lives.
    fn check(&mut self, what: &str) {
        for _ in 0..4 {
            self.now = self.now + Duration::from_secs(20);
            self.stepper.run(self.now);
        }
        let used = used(&self.disk, Path::new("/var/spool"));
        let files: u64 = {
            // A body is shared by the items of its message, and counted once for each of them: more
            // than there is, never less.
            self.alive.values().sum()
        };
        let alive = self.spool.stats().live_bytes + files;
        assert!(
            used <= 2 * alive + CONSTANT,
            "{what}: {used} bytes on the disk for {alive} that live in {} items; {:?}",
            self.alive.len(),
            self.spool.stats(),
        );
        self.worst = self
            .worst
            .max((used as f64 - 2.0 * alive as f64) / SEGMENT as f64);
    }
}

fn open(disk: &SimDisk) -> (Spool, Recovered, Stepper) {
    Spool::open_stepped(Arc::new(disk.clone()), config()).expect("open")
}

/// Bytes of all files below a folder.
fn used(disk: &SimDisk, folder: &Path) -> u64 {
    let entries = disk.list(folder).expect("list").into_iter();
    entries
        .map(|entry| {
            let path = folder.join(&entry.name);
            match entry.kind {
                FileKind::Directory => used(disk, &path),
                _ => disk.metadata(&path).expect("a file").length,
            }
        })
        .sum()
}

#[test]
fn the_disk_holds_twice_what_lives_and_a_constant() {
    let mut worst = 0f64;
    for seed in 0..12 {
        let mut run = Run::new(seed);
        for round in 0..60 {
            let kind = run.below(8);
            match kind {
                // A flood.
                0 | 1 => {
                    for _ in 0..run.below(120) {
                        let length = run.below(12_000);
                        run.add(length);
                    }
                }
                // Most of it is delivered, here and there a message stays.
                2 | 3 => {
                    let all: Vec<u64> = run.alive.keys().copied().collect();
                    for number in all {
                        if run.below(10) > 0 {
                            run.complete(number);
                        }
                    }
                }
                // Retries: nothing comes, nothing goes, items are written again and again.
                4 => {
                    for _ in 0..run.below(600) {
                        if let Some(number) = run.pick() {
                            run.update(number);
                        }
                    }
                }
                // Messages large enough for a file.
                5 => {
                    for _ in 0..run.below(4) {
                        run.add(300_000);
                    }
                }
                6 => run.restart(),
                // The disk fails once, and a segment is given up.
                _ => {
                    let calls = run.below(6);
                    run.disk.fail_after(calls, Fault::Io);
                    for _ in 0..6 {
                        run.add(500);
                    }
                    run.disk.clear_faults();
                }
            }
            run.check(&format!("seed {seed}, round {round}, kind {kind}"));
        }
        worst = worst.max(run.worst);
    }
    println!("at most {worst:.1} segments above twice what lived");
}

#[test]
fn segments_that_were_given_up_do_not_keep_their_room() {
    let mut run = Run::new(7);
    for _ in 0..60 {
        run.add(200);
        run.disk.fail_after(0, Fault::Io);
        run.add(200);
        run.disk.clear_faults();
        run.now = run.now + Duration::from_secs(20);
        run.stepper.run(run.now);
    }
    run.check("after sixty failures");
    assert!(run.alive.len() >= 60);
}
