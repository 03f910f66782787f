//! What the simulated disk keeps and loses.

use super::super::{FileKind, create_dir_all, read_file};
use super::*;

const FILE: &str = "/file";

fn written(disk: &SimDisk, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk
        .open(Path::new(FILE), OpenMode::CreateNew)
        .expect("create");
    file.write_all_at(bytes, 0).expect("write");
    file
}

fn found(disk: &SimDisk) -> Option<Vec<u8>> {
    read_file(disk, Path::new(FILE), 1 << 20).ok()
}

#[test]
fn what_was_synced_with_its_name_survives() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let file = written(&disk, &[7; 3000]);
        file.sync_data().expect("sync");
        disk.sync_dir(Path::new("/")).expect("sync");
        file.write_all_at(&[9; 100], 3000).expect("write");
        let kept = found(&disk.crash(Loss::Power)).expect("the file");
        assert_eq!(kept.get(..3000), Some(&[7; 3000][..]));
    }
}

#[test]
fn a_name_that_was_not_synced_may_be_lost_and_may_stay() {
    let survivors = (0..100)
        .filter(|&seed| {
            let disk = SimDisk::new(seed);
            written(&disk, b"x").sync_data().expect("sync");
            found(&disk.crash(Loss::Power)).is_some()
        })
        .count();
    assert!((10..90).contains(&survivors), "{survivors} of 100");
}

#[test]
fn a_directory_that_somebody_else_left_unsynced_is_made_to_last() {
    let path = Path::new("/spool/queue/log");
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        disk.create_dir(Path::new("/spool")).expect("a directory");
        disk.create_dir(Path::new("/spool/queue"))
            .expect("a directory");
        create_dir_all(&disk, path).expect("directories");
        let found = disk.crash(Loss::Power).metadata(path).expect("it is there");
        assert_eq!(found.kind, FileKind::Directory);
    }
}

#[test]
fn bytes_that_were_not_synced_are_torn_at_sectors() {
    let mut torn = 0;
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let file = written(&disk, &[0; 4096]);
        file.sync_data().expect("sync");
        disk.sync_dir(Path::new("/")).expect("sync");
        file.write_all_at(&[1; 4096], 0).expect("write");
        let kept = found(&disk.crash(Loss::Power)).expect("the file");
        let sectors: Vec<_> = kept
            .chunks(512)
            .map(|sector| sector.iter().map(|&b| u32::from(b)).sum())
            .collect();
        assert!(
            sectors.iter().all(|&sum: &u32| sum == 0 || sum == 512),
            "seed {seed}"
        );
        torn += u32::from(sectors.contains(&0) && sectors.contains(&512));
    }
    assert!(torn > 20, "{torn} of 100");
}

#[test]
fn a_failed_sync_loses_data_that_a_later_sync_does_not_bring_back() {
    let lost = (0..100)
        .filter(|&seed| {
            let disk = SimDisk::new(seed);
            disk.fail_after(2, Fault::Io);
            let file = written(&disk, &[5; 2048]);
            file.sync_data().expect_err("the injected fault");
            file.sync_data().expect("the second sync");
            disk.sync_dir(Path::new("/")).expect("sync");
            found(&disk.crash(Loss::Power)) != Some(vec![5; 2048])
        })
        .count();
    assert!(lost > 20, "{lost} of 100");
}

#[test]
fn after_the_crash_every_call_fails_and_a_kill_loses_nothing() {
    let disk = SimDisk::new(1);
    let file = written(&disk, b"abc");
    disk.crash_after(0);
    file.sync_data().expect_err("stopped");
    disk.list(Path::new("/")).expect_err("stopped");
    assert_eq!(found(&disk.crash(Loss::Process)), Some(b"abc".to_vec()));
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        let file = written(&disk, &[3; 9000]);
        disk.sync_dir(Path::new("/")).expect("sync");
        file.write_all_at(&[4; 5000], 2000).expect("write");
        found(&disk.crash(Loss::Power))
    };
    assert_eq!(run(11), run(11));
    assert_ne!(
        (0..20).map(run).collect::<Vec<_>>(),
        (20..40).map(run).collect::<Vec<_>>()
    );
}

#[test]
fn limits_give_the_errors_of_the_system() {
    let disk = SimDisk::new(1);
    disk.set_capacity(1000, 100);
    let file = disk
        .open(Path::new(FILE), OpenMode::CreateNew)
        .expect("create");
    let full = file.write_all_at(&[0; 2000], 0).expect_err("full");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    disk.set_descriptors(1);
    let none = disk
        .open(Path::new(FILE), OpenMode::Read)
        .expect_err("no descriptors");
    assert_eq!(
        none.raw_os_error(),
        Some(rustix::io::Errno::MFILE.raw_os_error())
    );
    drop(file);
    disk.open(Path::new(FILE), OpenMode::Read)
        .expect("a descriptor is free again");
}
