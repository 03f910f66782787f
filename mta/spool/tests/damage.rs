//! Damage to what was synced costs the damaged message and nothing else, and no file makes a start panic.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::{Disk, Fault, OpenMode, SimDisk, read_file};
use angarium_spool::{Config, Inspection, ItemId, OnCorrupt, Spool, Stepper};
use proptest::prelude::*;

const LOG: &str = "/var/spool/queue/log";
const ITEMS: u64 = 40;

fn config(corrupt: OnCorrupt) -> Config {
    let mut config = Config::new("/var/spool/queue", "/var/spool/tmp");
    config.segment_size = 20_000;
    config.prepare_segments = false;
    config.corrupt = corrupt;
    config
}

fn id(queue: u64) -> ItemId {
    ItemId {
        transaction: [3; 16],
        queue,
    }
}

/// A spool with [`ITEMS`] items in several segments, with or without a checkpoint.
fn filled(checkpoint: bool) -> SimDisk {
    let disk = SimDisk::new(1);
    let (spool, _, mut stepper) =
        Spool::open_stepped(Arc::new(disk.clone()), config(OnCorrupt::Abort)).expect("open");
    for queue in 0..ITEMS {
        let body = spool.body(&[queue as u8; 900]).expect("a body");
        let mut transaction = spool.transaction();
        let body = transaction.add_body(&body);
        transaction.add_item(id(queue), &[body], vec![queue as u8; 100]);
        let commit = spool.commit(transaction);
        stepper.write(Monotonic::default());
        commit.result().expect("a result").expect("durable");
    }
    if checkpoint {
        stepper.run(Monotonic::default());
    }
    disk
}

/// Opens the spool and returns the items that are whole.
fn whole(disk: &SimDisk, corrupt: OnCorrupt) -> BTreeMap<u64, ()> {
    let (spool, recovered, _stepper) =
        Spool::open_stepped(Arc::new(disk.clone()), config(corrupt)).expect("open");
    let mut found = BTreeMap::new();
    for item in recovered {
        let item = item.expect("an item");
        let number = item.id.queue as u8;
        let mut body = Vec::new();
        let read = spool
            .read(item.bodies[0])
            .map(|mut reader| reader.read_to_end(&mut body));
        assert_eq!(item.blob, vec![number; 100]);
        if matches!(read, Ok(Ok(_))) {
            assert_eq!(body, vec![number; 900]);
            found.insert(item.id.queue, ());
        }
    }
    found
}

fn files(disk: &SimDisk) -> Vec<PathBuf> {
    disk.list(Path::new(LOG))
        .expect("list")
        .into_iter()
        .map(|entry| Path::new(LOG).join(entry.name))
        .collect()
}

fn restarted(disk: &SimDisk) -> SimDisk {
    disk.crash(angarium_effects::disk::Loss::Process)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_damaged_byte_costs_at_most_one_message(
        checkpoint in any::<bool>(), file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        value in 1u8.., quarantine in any::<bool>(),
    ) {
        let disk = restarted(&filled(checkpoint));
        let segments: Vec<_> = files(&disk).into_iter().filter(|path| path.extension().is_some()).collect();
        let path = &segments[file.index(segments.len())];
        let bytes = read_file(&disk, path, 1 << 20).expect("read");
        let at = at.index(bytes.len());
        let changed = [bytes[at] ^ value];
        disk.open(path, OpenMode::ReadWrite).expect("open").write_all_at(&changed, at as u64).expect("write");
        let corrupt = if quarantine { OnCorrupt::Quarantine } else { OnCorrupt::Ignore };
        let found = whole(&disk, corrupt);
        prop_assert!(found.len() as u64 >= ITEMS - 1, "{} items are left", found.len());
        // The next start finds the same.
        prop_assert_eq!(whole(&restarted(&disk), corrupt), found);
    }

    #[test]
    fn any_bytes_in_any_file_are_survived(
        checkpoint in any::<bool>(), file in any::<prop::sample::Index>(), start in 0usize..20_000,
        rubbish in proptest::collection::vec(any::<u8>(), 1..3000), cut in any::<bool>(), abort in any::<bool>(),
    ) {
        let disk = restarted(&filled(checkpoint));
        let files = files(&disk);
        let path = &files[file.index(files.len())];
        let target = disk.open(path, OpenMode::ReadWrite).expect("open");
        target.write_all_at(&rubbish, start as u64).expect("write");
        if cut {
            target.truncate((start + rubbish.len() / 2) as u64).expect("truncate");
        }
        drop(target);
        let corrupt = if abort { OnCorrupt::Abort } else { OnCorrupt::Quarantine };
        let opened = Spool::open_stepped(Arc::new(disk.clone()), config(corrupt));
        if let Ok((spool, recovered, mut stepper)) = opened {
            let _ = recovered.filter(Result::is_ok).count();
            stepper.run(Monotonic::default());
            drop((spool, stepper));
        } else {
            prop_assert!(abort, "{:?}", opened.err());
        }
        let disk = restarted(&disk);
        let inspected = Inspection::open(Arc::new(disk), config(OnCorrupt::Abort));
        if let Ok((_, items)) = inspected {
            let _ = items.filter(Result::is_ok).count();
        }
    }
}

#[test]
fn files_that_are_not_the_spools_are_left_alone() {
    let disk = filled(true);
    for name in ["notes.txt", "0000000g.seg", "1.seg", "checkpoint.old"] {
        disk.open(&Path::new(LOG).join(name), OpenMode::CreateNew)
            .expect("create");
    }
    let disk = restarted(&disk);
    assert_eq!(whole(&disk, OnCorrupt::Abort).len() as u64, ITEMS);
    let names: Vec<_> = files(&disk);
    assert!(names.iter().any(|path| path.ends_with("notes.txt")));
}

#[test]
fn a_start_that_meets_errors_loses_nothing_for_the_next() {
    for checkpoint in [false, true] {
        for call in 0.. {
            let disk = restarted(&filled(checkpoint));
            disk.fail_after(call, Fault::Io);
            disk.fail_after(call + 1, Fault::Io);
            let mut found = None;
            if let Ok((spool, recovered, mut stepper)) =
                Spool::open_stepped(Arc::new(disk.clone()), config(OnCorrupt::Quarantine))
            {
                found = Some(recovered.filter(Result::is_ok).count() as u64);
                let calls = disk.counters().calls;
                stepper.run(Monotonic::default());
                stepper.run(Monotonic(std::time::Duration::from_secs(20)));
                if calls < call {
                    assert_eq!(spool.stats().items, ITEMS);
                }
            }
            assert_eq!(
                whole(&restarted(&disk), OnCorrupt::Abort).len() as u64,
                ITEMS,
                "{checkpoint}, call {call}"
            );
            if found == Some(ITEMS) && disk.counters().calls < call {
                break;
            }
        }
    }
}

#[test]
fn an_idle_spool_has_nothing_to_do() {
    for fsync in [true, false] {
        let disk = Arc::new(SimDisk::new(1));
        let (spool, _, mut stepper) = Spool::open_stepped(
            disk.clone(),
            Config {
                fsync,
                ..config(OnCorrupt::Abort)
            },
        )
        .expect("open");
        let body = spool.body(b"content").expect("a body");
        let mut transaction = spool.transaction();
        let body = transaction.add_body(&body);
        transaction.add_item(id(1), &[body], Vec::new());
        let commit = spool.commit(transaction);
        stepper.run(Monotonic::default());
        commit.result().expect("a result").expect("durable");
        spool.complete(id(1));
        stepper.run(Monotonic::default());
        let later = Monotonic(std::time::Duration::from_secs(5));
        stepper.run(later);
        assert_eq!(stepper.due(), None);
        let calls = disk.counters().calls;
        stepper.run(later);
        assert_eq!(disk.counters().calls, calls);
        assert_eq!(spool.stats().live_bytes, 0);
    }
}

#[test]
fn a_batch_is_one_write_and_one_sync() {
    let disk = Arc::new(SimDisk::new(1));
    let (spool, _, mut stepper) =
        Spool::open_stepped(disk.clone(), config(OnCorrupt::Abort)).expect("open");
    stepper.run(Monotonic::default());
    let before = disk.counters();
    let commits: Vec<_> = (0..5)
        .map(|queue| {
            let body = spool.body(&[7; 500]).expect("a body");
            let mut transaction = spool.transaction();
            let body = transaction.add_body(&body);
            transaction.add_item(id(queue), &[body], vec![1; 100]);
            spool.commit(transaction)
        })
        .collect();
    stepper.write(Monotonic::default());
    assert!(
        commits
            .iter()
            .all(|commit| matches!(commit.result(), Some(Ok(()))))
    );
    let after = disk.counters();
    assert_eq!(
        (after.writes - before.writes, after.syncs - before.syncs),
        (1, 1)
    );
    assert_eq!(after.calls - before.calls, 2);
}

/// Stores an item with a body; whether that was accepted.
fn stores(spool: &Spool, stepper: &mut Stepper, now: Monotonic, queue: u64) -> bool {
    let body = spool.body(&[1; 900]).expect("a body");
    let mut transaction = spool.transaction();
    let body = transaction.add_body(&body);
    transaction.add_item(id(queue), &[body], vec![1; 100]);
    let commit = spool.commit(transaction);
    stepper.run(now);
    commit.result().expect("a result").is_ok()
}

#[test]
fn on_a_full_disk_completions_make_room() {
    let disk = SimDisk::new(5);
    let (spool, _, mut stepper) =
        Spool::open_stepped(Arc::new(disk.clone()), config(OnCorrupt::Abort)).expect("open");
    let mut now = Monotonic::default();
    disk.set_capacity(200_000, 100);
    let stored = (0..).take_while(|&queue| stores(&spool, &mut stepper, now, queue));
    let stored: Vec<u64> = stored.collect();
    assert!(stored.len() > 50, "{} stored", stored.len());
    assert!(spool.accepting(now).is_err());
    for &queue in stored.iter().take(stored.len() - 3) {
        spool.complete(id(queue));
    }
    for _ in 0..5 {
        now = now + std::time::Duration::from_secs(20);
        stepper.run(now);
    }
    assert_eq!(spool.stats().items, 3);
    assert!(
        stores(&spool, &mut stepper, now, 1_000_000),
        "there is room again"
    );
}

/// Takes all that a disk has left.
fn fill(disk: &SimDisk, path: &Path) {
    let file = disk.open(path, OpenMode::CreateNew).expect("a file");
    let mut at = 0;
    for length in [4096, 256, 16, 1] {
        while file.write_all_at(&vec![7; length], at).is_ok() {
            at += length as u64;
        }
    }
}

#[test]
fn a_start_on_a_disk_full_to_the_last_byte_makes_room_by_completions() {
    for stopped_when_full in [false, true] {
        let disk = SimDisk::new(6);
        let settings = || Config {
            segment_size: 200_000,
            ..config(OnCorrupt::Abort)
        };
        let open = || Spool::open_stepped(Arc::new(disk.clone()), settings()).expect("open");
        let (spool, _, mut stepper) = open();
        let start = Monotonic::default();
        disk.set_capacity(1_000_000, 100);
        let stored = (0..).take_while(|&queue| {
            (stopped_when_full || queue < 300) && stores(&spool, &mut stepper, start, queue)
        });
        let stored: Vec<u64> = stored.collect();
        drop((spool, stepper));
        fill(&disk, Path::new("/var/filler"));
        let (spool, recovered, mut stepper) = open();
        assert_eq!(recovered.count(), stored.len());
        stepper.run(start);
        assert!(
            !stores(&spool, &mut stepper, start, 1_000_000),
            "no room for new mail"
        );
        for &queue in stored.iter().skip(3) {
            spool.complete(id(queue));
        }
        let mut now = start;
        for _ in 0..5 {
            now = now + std::time::Duration::from_secs(20);
            stepper.run(now);
        }
        assert_eq!(spool.stats().items, 3);
        assert!(
            stores(&spool, &mut stepper, now, 1_000_000),
            "there is room again"
        );
        drop((spool, stepper));
        assert_eq!(open().1.count(), 4);
    }
}

#[test]
fn a_newer_format_is_refused_by_name_and_left_as_it_is() {
    let disk = restarted(&filled(true));
    let segments = files(&disk);
    let path = segments
        .iter()
        .rfind(|path| path.extension().is_some())
        .expect("a segment");
    let old = read_file(&disk, path, 1 << 20).expect("read");
    let mut new = old.clone();
    // Both copies of the header: 8 bytes of name, the version, and a checksum over 48 bytes.
    for copy in [0, 4096] {
        new[copy + 8..copy + 12].copy_from_slice(&7u32.to_le_bytes());
        let crc = crc32c::crc32c(&new[copy..copy + 48]).to_le_bytes();
        new[copy + 48..copy + 52].copy_from_slice(&crc);
    }
    let file = disk.open(path, OpenMode::ReadWrite).expect("open");
    file.write_all_at(&new, 0).expect("write");
    drop(file);
    for corrupt in [OnCorrupt::Quarantine, OnCorrupt::Ignore, OnCorrupt::Abort] {
        let opened = Spool::open_stepped(Arc::new(disk.clone()), config(corrupt));
        let refused = opened.map(drop).expect_err("refused").to_string();
        let known = "has format version 7; this server knows versions up to 1";
        assert!(refused.ends_with(known), "{refused}");
        assert!(
            refused.starts_with(&path.display().to_string()),
            "{refused}"
        );
        let inspected = Inspection::open(Arc::new(disk.clone()), config(corrupt));
        assert_eq!(
            inspected.map(drop).expect_err("refused").to_string(),
            refused
        );
    }
    assert!(read_file(&disk, path, 1 << 20).expect("read") == new);
    assert_eq!(files(&disk), segments);
    // Back in the hands of the version that wrote it, nothing is missing.
    let file = disk.open(path, OpenMode::ReadWrite).expect("open");
    file.write_all_at(&old, 0).expect("write");
    drop(file);
    assert_eq!(whole(&disk, OnCorrupt::Abort).len() as u64, ITEMS);
}

#[test]
fn an_item_that_could_not_be_read_for_want_of_a_descriptor_is_tried_again() {
    let disk = restarted(&filled(true));
    let opened = Spool::open_stepped(Arc::new(disk.clone()), config(OnCorrupt::Quarantine));
    let (_spool, mut recovered, _stepper) = opened.expect("open");
    let mut found = BTreeMap::new();
    // Every third call for a descriptor is refused.
    for turn in 0.. {
        if turn % 3 == 0 {
            disk.fail_after(0, Fault::NoDescriptors);
        }
        match recovered.next() {
            Some(Ok(item)) => assert_eq!(found.insert(item.id.queue, ()), None),
            Some(Err(error)) => assert!(error.to_string().contains("os error 24"), "{error}"),
            None => break,
        }
    }
    assert_eq!(found.len() as u64, ITEMS);
}
