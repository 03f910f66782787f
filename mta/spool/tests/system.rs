//! The spool with its threads on the real file system.

// These tests run with real time, on real files.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::{Disk, OpenMode, SystemDisk, read_file};
use angarium_spool::{
    BodyRef, CommitError, Config, Event, Inspection, ItemId, Now, OnCorrupt, OpenError, Recovered,
    Refusal, Spool, UnloadError,
};

/// A spool directory with what the spool has told.
struct Place {
    _dir: tempfile::TempDir,
    config: Config,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Place {
    fn new() -> Self {
        Self::in_dir(tempfile::tempdir().expect("a temporary directory"))
    }

    fn in_dir(dir: tempfile::TempDir) -> Self {
        let mut config = Config::new(dir.path().join("queue"), dir.path().join("tmp"));
        config.segment_size = 1 << 20;
        config.minfree_bytes = 0;
        config.minfree_inodes = 0;
        config.lazy_sync = Duration::from_millis(50);
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        config.observer = Arc::new(move |event| told.lock().expect("no panic").push(event));
        Self {
            _dir: dir,
            config,
            events,
        }
    }

    fn open(&self) -> Result<(Spool, Recovered), OpenError> {
        Spool::open(Arc::new(SystemDisk), self.config.clone(), now())
    }

    fn open_all(&self) -> (Spool, Found) {
        let (spool, recovered) = self.open().expect("open");
        let found = recovered
            .map(|item| item.map(|item| (item.id, (item.blob, item.bodies))))
            .collect::<Result<_, _>>()
            .expect("recover");
        (spool, found)
    }

    fn events(&self) -> Vec<String> {
        self.events
            .lock()
            .expect("no panic")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// The newest segment.
    fn segment(&self) -> PathBuf {
        let log = self.config.path.join("log");
        let names = SystemDisk.list(&log).expect("list");
        let name = names
            .iter()
            .rfind(|entry| entry.name.to_string_lossy().ends_with(".seg"));
        log.join(&name.expect("a segment").name)
    }

    /// Finds `bytes` in the newest segment and changes the first of them.
    fn damage(&self, bytes: &[u8]) {
        let path = self.segment();
        let content = read_file(&SystemDisk, &path, 1 << 30).expect("read");
        let at = content
            .windows(bytes.len())
            .position(|window| window == bytes)
            .expect("the bytes");
        let file = SystemDisk.open(&path, OpenMode::ReadWrite).expect("open");
        file.write_all_at(&[bytes[0] ^ 0xFF], at as u64)
            .expect("write");
    }
}

type Found = BTreeMap<ItemId, (Vec<u8>, Vec<BodyRef>)>;

fn now() -> Now {
    let start = Instant::now();
    Arc::new(move || Monotonic(start.elapsed()))
}

fn id(queue: u64) -> ItemId {
    ItemId {
        transaction: [1; 16],
        queue,
    }
}

/// Commits one item with one body.
fn put(spool: &Spool, queue: u64, blob: &str, body: &[u8]) -> Result<BodyRef, CommitError> {
    let body = spool.body(body).expect("a body");
    let mut transaction = spool.transaction();
    let body = transaction.add_body(&body);
    transaction.add_item(id(queue), &[body], blob.into());
    spool.commit(transaction).wait().map(|()| body)
}

fn read(spool: &Spool, body: BodyRef) -> Vec<u8> {
    let mut bytes = Vec::new();
    spool
        .read(body)
        .expect("open the body")
        .read_to_end(&mut bytes)
        .expect("read the body");
    bytes
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let place = Place::new();
    let large = vec![b'x'; 700_000];
    let middle = vec![b'y'; 100_000];
    let (spool, found) = place.open_all();
    assert!(found.is_empty());
    let small = put(&spool, 1, "one", b"a small body").expect("commit");
    put(&spool, 2, "two", &large).expect("commit");
    put(&spool, 3, "three", &middle).expect("commit");
    put(&spool, 4, "four", b"gone").expect("commit");
    spool
        .update(id(1), b"one, retried".to_vec())
        .wait()
        .expect("update");
    spool.complete(id(4));
    assert_eq!(read(&spool, small), b"a small body");
    spool.close().expect("close");
    drop(spool);

    let (spool, found) = place.open_all();
    assert_eq!(
        found.keys().map(|id| id.queue).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(found[&id(1)].0, b"one, retried");
    assert_eq!(read(&spool, found[&id(1)].1[0]), b"a small body");
    assert!(read(&spool, found[&id(2)].1[0]) == large);
    assert!(read(&spool, found[&id(3)].1[0]) == middle);
    assert_eq!(place.events(), Vec::<String>::new());
}

#[test]
fn directories_and_files_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let (spool, _) = place.open_all();
    put(&spool, 1, "one", &vec![0; 300_000]).expect("commit");
    let mut paths = vec![
        place.config.path.clone(),
        place.config.tmp.clone(),
        place.segment(),
    ];
    paths.extend(["log", "bodies", ".lock"].map(|name| place.config.path.join(name)));
    for path in paths {
        let mode = path.metadata().expect("metadata").permissions().mode() & 0o077;
        assert_eq!(mode, 0, "{}", path.display());
    }
}

#[test]
fn a_second_server_is_refused_with_the_name_of_the_lock() {
    let place = Place::new();
    let (_spool, _) = place.open_all();
    let error = place.open().expect_err("locked").to_string();
    assert!(error.contains("queue/.lock is locked"), "{error}");
}

#[test]
fn a_read_only_directory_is_refused_with_its_name() {
    // Root may write anywhere but in /proc.
    let config = Config::new("/proc/angarium/queue", "/proc/angarium/tmp");
    let error = Spool::open(Arc::new(SystemDisk), config, now())
        .expect_err("read-only")
        .to_string();
    assert!(
        error.starts_with("cannot create the directory /proc/angarium/queue"),
        "{error}"
    );
}

#[test]
fn many_senders_share_syncs() {
    let place = Place::new();
    let (spool, _) = place.open_all();
    let senders: Vec<_> = (0..16)
        .map(|sender| {
            let spool = spool.clone();
            std::thread::spawn(move || {
                for n in 0..50 {
                    put(&spool, sender * 1000 + n, "item", &[sender as u8; 2000]).expect("commit");
                    if n % 2 == 0 {
                        spool.complete(id(sender * 1000 + n));
                    }
                }
            })
        })
        .collect();
    senders
        .into_iter()
        .for_each(|sender| sender.join().expect("a sender"));
    let stats = spool.stats();
    assert_eq!((stats.commits, stats.failed, stats.memory), (800, 0, 0));
    assert!(stats.syncs < 800, "{stats:?}");
    spool.close().expect("close");
    drop(spool);
    assert_eq!(place.open_all().1.len(), 400);
}

#[test]
fn segments_of_the_dead_go_and_of_the_nearly_dead_are_compacted() {
    let mut place = Place::new();
    place.config.segment_size = 256 << 10;
    let (spool, _) = place.open_all();
    let kept = put(&spool, 0, "kept", &[7; 5000]).expect("commit");
    let reader = spool.read(kept).expect("a reader that stays");
    let long = put(&spool, 1, "long", &[8; 100_000]).expect("commit");
    let mut pinned = spool.read(long).expect("a reader that stays");
    for n in 2..600 {
        put(&spool, n, "gone", &[n as u8; 9000]).expect("commit");
        spool.complete(id(n));
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while spool.stats().segments > 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        put(&spool, 10_000 + spool.stats().commits, "more", &[0; 20]).expect("commit");
    }
    let stats = spool.stats();
    assert!(stats.segments <= 3, "{stats:?}");
    assert!(stats.moved >= 105_000, "{stats:?}");
    assert_eq!(reader.in_memory(), Some(&[7; 5000][..]));
    let mut bytes = Vec::new();
    pinned.read_to_end(&mut bytes).expect("the pinned body");
    assert!(bytes == [8; 100_000]);
    assert_eq!(read(&spool, kept), [7; 5000]);
    spool.close().expect("close");
    drop((spool, reader, pinned));
    let (spool, found) = place.open_all();
    assert_eq!(read(&spool, found[&id(0)].1[0]), [7; 5000]);
    assert_eq!(read(&spool, found[&id(1)].1[0]), [8; 100_000]);
    assert_eq!(place.events(), Vec::<String>::new());
}

/// Three items, the second's record damaged; the third proves that the second was synced.
fn damaged(corrupt: OnCorrupt) -> Place {
    let mut place = Place::new();
    place.config.corrupt = corrupt;
    let (spool, _) = place.open_all();
    for (queue, blob) in [(1, "first item"), (2, "second item"), (3, "third item")] {
        put(&spool, queue, blob, b"body").expect("commit");
    }
    spool.close().expect("close");
    drop(spool);
    place.damage(b"second item");
    place
}

#[test]
fn a_damaged_record_goes_to_quarantine_and_the_rest_is_served() {
    let place = damaged(OnCorrupt::Quarantine);
    let segment = place.segment();
    let (spool, found) = place.open_all();
    assert_eq!(found.keys().map(|id| id.queue).collect::<Vec<_>>(), [1, 3]);
    let corrupt = place
        .config
        .path
        .parent()
        .expect("a parent")
        .join("corrupt");
    let kept = SystemDisk.list(&corrupt).expect("list");
    assert_eq!(kept.len(), 1);
    let copy = read_file(&SystemDisk, &corrupt.join(&kept[0].name), 1 << 20).expect("read");
    assert!(copy.windows(10).any(|window| window == b"econd item"));
    let events = place.events();
    assert!(
        events[0].contains(&segment.display().to_string()),
        "{events:?}"
    );
    assert!(events[0].contains("a copy is in"), "{events:?}");
    put(&spool, 4, "goes on", b"body").expect("commit");
}

#[test]
fn a_damaged_record_is_ignored_with_a_word_or_ends_the_start() {
    let place = damaged(OnCorrupt::Ignore);
    let (spool, found) = place.open_all();
    assert_eq!(found.len(), 2);
    let events = place.events();
    assert!(events[0].contains("is damaged from byte"), "{events:?}");
    // The collector comes across it too, sooner or later.
    let known =
        |event: &String| event.contains("is damaged from byte") || event.contains("is lost");
    assert!(events.iter().all(known), "{events:?}");
    drop(spool);
    let place = damaged(OnCorrupt::Abort);
    let error = place.open().expect_err("damage").to_string();
    assert!(
        error.contains(".seg is damaged from byte") && error.contains("abort"),
        "{error}"
    );
}

#[test]
fn a_damaged_body_is_never_passed_off_as_whole() {
    let place = Place::new();
    let (spool, _) = place.open_all();
    let small = put(&spool, 1, "one", b"the small body").expect("commit");
    let middle: Vec<u8> = (0..100_000u32).map(|n| (n % 253) as u8).collect();
    let middle_ref = put(&spool, 2, "two", &middle).expect("commit");
    let large: Vec<u8> = (0..400_000u32).map(|n| (n % 247) as u8).collect();
    let large_ref = put(&spool, 3, "three", &large).expect("commit");
    place.damage(b"the small body");
    place.damage(&middle[60_000..60_300]);
    let bodies = place.config.path.join("bodies");
    let name = SystemDisk.list(&bodies).expect("list").remove(0).name;
    let file = SystemDisk
        .open(&bodies.join(name), OpenMode::ReadWrite)
        .expect("open");
    file.write_all_at(b"!", 399_999).expect("write");
    assert!(
        spool
            .read(small)
            .expect_err("damage")
            .to_string()
            .contains("is damaged")
    );
    for body in [middle_ref, large_ref] {
        let mut reader = spool.read(body).expect("open");
        let error = reader.read_to_end(&mut Vec::new()).expect_err("damage");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
}

#[test]
fn an_unfinished_write_at_the_end_is_dropped() {
    let place = Place::new();
    let (spool, _) = place.open_all();
    put(&spool, 1, "first item", b"body").expect("commit");
    put(&spool, 2, "last item", b"body").expect("commit");
    spool.close().expect("close");
    drop(spool);
    place.damage(b"last item");
    let (_spool, found) = place.open_all();
    assert_eq!(found.keys().map(|id| id.queue).collect::<Vec<_>>(), [1]);
    assert!(
        place.events()[0].contains("unfinished writes"),
        "{:?}",
        place.events()
    );
}

#[test]
fn a_lost_checkpoint_costs_time_and_nothing_else() {
    let mut place = Place::new();
    place.config.segment_size = 128 << 10;
    let (spool, _) = place.open_all();
    for n in 0..60 {
        put(&spool, n, "item", &[n as u8; 5000]).expect("commit");
    }
    let checkpoint = place.config.path.join("log/checkpoint");
    let deadline = Instant::now() + Duration::from_secs(10);
    while SystemDisk.metadata(&checkpoint).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    spool.close().expect("close");
    drop(spool);
    let file = SystemDisk
        .open(&checkpoint, OpenMode::ReadWrite)
        .expect("a checkpoint");
    file.write_all_at(&[0xFF; 8], 20).expect("write");
    let (spool, found) = place.open_all();
    assert_eq!(found.len(), 60);
    assert!(
        found
            .iter()
            .all(|(id, (_, bodies))| read(&spool, bodies[0]) == [id.queue as u8; 5000])
    );
    assert!(
        place.events()[0].contains("checkpoint is damaged"),
        "{:?}",
        place.events()
    );
}

#[test]
fn too_little_space_refuses_mail_and_nothing_else() {
    let mut place = Place::new();
    place.config.minfree_bytes = u64::MAX;
    let (spool, _) = place.open_all();
    assert!(matches!(
        spool.accepting(Monotonic::default()),
        Err(Refusal::Bytes { .. })
    ));
    put(&spool, 1, "one", b"already under way").expect("commit");
    place.config.minfree_bytes = 0;
    place.config.minfree_inodes = u64::MAX;
    drop(spool);
    let (spool, _) = place.open_all();
    let refused = spool.accepting(Monotonic::default());
    // A file system that does not count inodes has as many as anybody wants.
    assert!(
        matches!(refused, Err(Refusal::Inodes { .. }) | Ok(())),
        "{refused:?}"
    );
}

#[test]
fn temporary_files_on_another_file_system_are_copied() {
    let Ok(shm) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: there is no /dev/shm");
        return;
    };
    let mut place = Place::new();
    place.config.tmp = shm.path().join("tmp");
    let (spool, _) = place.open_all();
    let large: Vec<u8> = (0..700_000u32).map(|n| (n % 239) as u8).collect();
    let body = put(&spool, 1, "one", &large).expect("commit");
    assert!(read(&spool, body) == large);
    spool.close().expect("close");
    drop(spool);
    let (spool, found) = place.open_all();
    assert!(read(&spool, found[&id(1)].1[0]) == large);
}

#[test]
fn an_unloaded_item_is_loaded_into_another_spool() {
    let (here, there) = (Place::new(), Place::new());
    let (spool, _) = here.open_all();
    let large: Vec<u8> = (0..600_000u32).map(|n| (n % 241) as u8).collect();
    let (first, second) = (
        spool.body(&large).expect("body"),
        spool.body(b"the edits").expect("body"),
    );
    let mut transaction = spool.transaction();
    let bodies = [transaction.add_body(&first), transaction.add_body(&second)];
    transaction.add_item(id(7), &bodies, b"the item".to_vec());
    spool.commit(transaction).wait().expect("commit");
    let path = spool.unload(id(7)).expect("unload");
    assert_eq!(
        path.parent(),
        Some(here.config.path.join("unload").as_path())
    );
    assert!(matches!(
        spool.unload(id(8)),
        Err(UnloadError::UnknownItem(_))
    ));

    let (other, _) = there.open_all();
    let loaded = other.load(&path).expect("load");
    assert_eq!(
        (loaded.id, loaded.blob.as_slice()),
        (id(7), &b"the item"[..])
    );
    let mut transaction = other.transaction();
    let bodies: Vec<_> = loaded
        .bodies
        .iter()
        .map(|body| transaction.add_body(body))
        .collect();
    transaction.add_item(loaded.id, &bodies, loaded.blob);
    other.commit(transaction).wait().expect("commit");
    assert!(read(&other, bodies[0]) == large);
    assert_eq!(read(&other, bodies[1]), b"the edits");

    let file = SystemDisk.open(&path, OpenMode::ReadWrite).expect("open");
    file.write_all_at(&[0xFF], 300_000).expect("write");
    assert!(matches!(other.load(&path), Err(UnloadError::Corrupt(_))));
    file.truncate(1000).expect("truncate");
    assert!(matches!(other.load(&path), Err(UnloadError::Corrupt(_))));
}

#[test]
fn a_stopped_spool_can_be_inspected_and_is_left_as_it_was() {
    let place = Place::new();
    let (spool, _) = place.open_all();
    put(&spool, 1, "one", b"body one").expect("commit");
    put(&spool, 2, "two", &[5; 300_000]).expect("commit");
    let running = Inspection::open(Arc::new(SystemDisk), place.config.clone());
    assert!(matches!(running, Err(OpenError::Locked { .. })));
    spool.close().expect("close");
    drop(spool);
    let segment = place.segment();
    let before = read_file(&SystemDisk, &segment, 1 << 30).expect("read");
    let (inspection, items) =
        Inspection::open(Arc::new(SystemDisk), place.config.clone()).expect("open");
    let items: Vec<_> = items.collect::<Result<_, _>>().expect("items");
    assert_eq!(items.len(), 2);
    let mut bytes = Vec::new();
    inspection
        .read(items[0].bodies[0])
        .expect("open")
        .read_to_end(&mut bytes)
        .expect("read");
    assert_eq!(bytes, b"body one");
    drop((inspection, items));
    assert_eq!(place.segment(), segment);
    assert!(read_file(&SystemDisk, &segment, 1 << 30).expect("read") == before);
    let nothing = Config::new("/nonexistent/queue", "/nonexistent/tmp");
    assert!(matches!(
        Inspection::open(Arc::new(SystemDisk), nothing),
        Err(OpenError::Io { .. })
    ));
    assert_eq!(place.open_all().1.len(), 2);
}

/// A file system of its own, of a few MiB.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let run = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "none"])
            .arg(at)
            .output();
        run.ok()?.status.success().then(|| Self {
            path: at.to_owned(),
        })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.path)
            .status();
    }
}

#[test]
fn a_full_disk_fails_commits_loses_nothing_and_recovers_by_itself() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(_mounted) = SmallDisk::mount(dir.path()) else {
        println!("skipped: this user cannot mount a tmpfs");
        return;
    };
    let mut place = Place::in_dir(dir);
    place.config.segment_size = 256 << 10;
    let (spool, _) = place.open_all();
    let mut stored = Vec::new();
    let mut failed = 0;
    for n in 0..1000 {
        match put(&spool, n, "item", &[n as u8; 9000]) {
            Ok(body) => stored.push((n, body)),
            Err(error) => {
                assert!(
                    matches!(error, CommitError::Io { .. } | CommitError::Unavailable(_)),
                    "{error}"
                );
                failed += 1;
                if failed > 3 {
                    break;
                }
            }
        }
    }
    assert!(
        failed > 3 && stored.len() > 100,
        "{} stored, {failed} failed",
        stored.len()
    );
    assert!(matches!(
        spool.accepting(Monotonic::default()),
        Err(Refusal::Unavailable(_))
    ));
    assert!(
        stored
            .iter()
            .all(|(n, body)| read(&spool, *body) == [*n as u8; 9000])
    );

    // Room is made beside the spool's own files: a log that cannot be written cannot shrink.
    let _more = std::process::Command::new("mount")
        .args(["-o", "remount,size=8m"])
        .arg(place.config.path.parent().expect("a parent"))
        .status();
    let deadline = Instant::now() + Duration::from_secs(10);
    while spool.accepting(Monotonic::default()).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    put(&spool, 5000, "after", b"body").expect("commit");
    spool.close().expect("close");
    drop(spool);
    let (spool, found) = place.open_all();
    assert_eq!(found.len(), stored.len() + 1);
    assert!(
        stored
            .iter()
            .all(|(n, _)| read(&spool, found[&id(*n)].1[0]) == [*n as u8; 9000])
    );
}
