//! What the simulated disk promises, through its public face.

use llmdb_pager::sim::{CrashPolicy, Fault, FaultKind, Op, SimDisk, SimOptions, SyncFailure, When};
use llmdb_pager::storage::{DiskStorage, File, LockError, OpenMode, Storage, read_exact_at, write_all_at};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// How many seeds a claim is tried with; fewer under an interpreter.
const SEED_COUNT: u64 = if cfg!(miri) { 60 } else { 400 };

fn small(seed: u64) -> SimDisk {
    SimDisk::with_options(SimOptions { seed, file_capacity: 64 << 10, ..SimOptions::default() })
}

fn db() -> &'static Path {
    Path::new("db")
}

/// A disk with a durable file of this many sectors of `old`, and a handle to it.
fn disk_with(sectors: usize, old: u8) -> (SimDisk, Arc<dyn File>) {
    let disk = small(1);
    disk.write_file(db(), vec![old; sectors * SECTOR]);
    let file = disk.open(db(), OpenMode::ReadWrite).unwrap();
    (disk, file)
}

fn write_sector(file: &dyn File, sector: usize, byte: u8) {
    write_all_at(file, &[byte; SECTOR], (sector * SECTOR) as u64).unwrap();
}

/// The first byte of each sector; `None` where a sector is not of one byte.
fn sectors(bytes: &[u8]) -> Vec<Option<u8>> {
    bytes
        .chunks(SECTOR)
        .map(|sector| sector.iter().all(|byte| *byte == sector[0]).then_some(sector[0]))
        .collect()
}

fn images(disk: &SimDisk) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..SEED_COUNT).map(|seed| disk.crash_image(seed).read_file(db()).unwrap())
}

fn eio(error: &io::Error) -> bool {
    error.raw_os_error() == Some(5)
}

mod chance {
    /// A generator for the tests' own choices.
    pub(crate) struct Chance(pub(crate) u64);

    impl Chance {
        pub(crate) fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }
}
use chance::Chance;

#[test]
fn unsynced_writes_may_be_lost_kept_torn_and_reordered() {
    let (disk, file) = disk_with(8, b'a');
    (0..4).for_each(|sector| write_sector(&*file, sector, b'b'));
    write_all_at(&*file, &[b'c'; 4 * SECTOR], 4 * SECTOR as u64).unwrap();
    let (mut lost, mut kept, mut reordered, mut torn_between, mut torn_within) = (0, 0, 0, 0, 0);
    for image in images(&disk) {
        let found = sectors(&image);
        for (sector, byte) in found.iter().enumerate() {
            let new = if sector < 4 { b'b' } else { b'c' };
            match byte {
                Some(byte) => assert!([b'a', new].contains(byte), "sector {sector}: {byte}"),
                None => {
                    assert!(sector >= 4, "only the last write is in flight");
                    let bytes = &image[sector * SECTOR..][..SECTOR];
                    assert!(bytes.iter().all(|byte| [b'a', new].contains(byte)));
                    torn_within += 1;
                }
            }
        }
        let is_new: Vec<bool> = found.iter().map(|byte| *byte != Some(b'a')).collect();
        lost += u64::from(is_new.iter().all(|new| !new));
        kept += u64::from(is_new.iter().all(|new| *new));
        reordered += u64::from(is_new.windows(2).any(|pair| !pair[0] && pair[1]));
        torn_between += u64::from(is_new[4..].contains(&true) && is_new[4..].contains(&false));
    }
    for (what, count) in [lost, kept, reordered, torn_between, torn_within].into_iter().enumerate() {
        assert!(count > SEED_COUNT / 40, "outcome {what}: {count} of {SEED_COUNT}");
    }
}

#[test]
fn every_version_since_the_last_sync_may_be_found() {
    let (disk, file) = disk_with(2, b'a');
    for byte in [b'b', b'c', b'd'] {
        write_sector(&*file, 0, byte);
    }
    write_sector(&*file, 1, b'z');
    let found: BTreeSet<_> =
        (0..200).map(|seed| sectors(&disk.crash_image(seed).read_file(db()).unwrap())[0]).collect();
    assert_eq!(found, [b'a', b'b', b'c', b'd'].map(Some).into());
}

#[test]
fn synced_writes_are_in_every_image() {
    let (disk, file) = disk_with(4, b'a');
    write_all_at(&*file, &[b'b'; 6 * SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    write_sector(&*file, 0, b'c');
    assert_eq!(disk.pending_count(), 1);
    for image in images(&disk) {
        assert_eq!(sectors(&image)[1..], [Some(b'b'); 5]);
    }
    file.sync_data().unwrap();
    assert_eq!(disk.pending_count(), 0);
    assert!(images(&disk).all(|image| sectors(&image)[0] == Some(b'c')));
}

/// The model: all states of the file since its last sync, as a naive copy each.
#[test]
fn images_hold_nothing_but_versions_since_the_last_sync() {
    for seed in 0..if cfg!(miri) { 1 } else { SEED_COUNT } {
        let mut chance = Chance(seed);
        let disk = small(seed);
        disk.write_file(db(), vec![1; 3000]);
        let file = disk.open(db(), OpenMode::ReadWrite).unwrap();
        let mut states = vec![vec![1; 3000]];
        let mut in_flight = 0..0;
        for step in 0..12 {
            let offset = chance.below(6000);
            match chance.below(6) {
                0 => {
                    file.sync_data().unwrap();
                    in_flight = 0..0;
                }
                1 => file.set_len(offset).unwrap(),
                2 => file.allocate(offset, 1000).unwrap(),
                _ => {
                    let bytes = vec![10 + step; 1 + chance.below(1500) as usize];
                    write_all_at(&*file, &bytes, offset).unwrap();
                    in_flight = offset as usize / SECTOR..(offset as usize + bytes.len()).div_ceil(SECTOR);
                }
            }
            states.push(disk.read_file(db()).unwrap());
            if disk.pending_count() == 0 {
                states.drain(..states.len() - 1);
            }
            let newest = disk.crash_image_by(CrashPolicy::Everything, step.into()).read_file(db());
            assert_eq!(newest.as_ref(), states.last(), "seed {seed}, step {step}");
            for image_seed in 0..4 {
                let image = disk.crash_image(chance.below(1 << 30) * 4 + image_seed).read_file(db()).unwrap();
                check_image(&image, &states, &in_flight, (seed, step));
            }
        }
    }
}

fn check_image(image: &[u8], states: &[Vec<u8>], in_flight: &std::ops::Range<usize>, place: (u64, u8)) {
    assert!(states.iter().any(|state| state.len() == image.len()), "{place:?}: length {}", image.len());
    for (sector, found) in image.chunks(SECTOR).enumerate() {
        let start = sector * SECTOR;
        let versions = states.iter().map(|state| {
            let mut version = state.get(start..).unwrap_or_default().to_vec();
            version.resize(found.len(), 0);
            version
        });
        let is_version = versions.clone().any(|version| version == found);
        let is_mix = in_flight.contains(&sector)
            && found
                .iter()
                .enumerate()
                .all(|(at, byte)| versions.clone().any(|version| version[at] == *byte));
        let is_growth = start >= states[0].len().next_multiple_of(SECTOR);
        assert!(is_version || is_mix || is_growth, "{place:?}: sector {sector} of {} states", states.len());
    }
}

#[test]
fn growth_is_found_as_zeros_as_garbage_or_not_at_all() {
    let (disk, file) = disk_with(1, b'a');
    file.allocate(0, 8 * SECTOR as u64).unwrap();
    let (mut old, mut zeros, mut garbage) = (0, 0, 0);
    for image in images(&disk) {
        assert_eq!(image[..SECTOR], [b'a'; SECTOR]);
        match &image[SECTOR..] {
            [] => old += 1,
            rest if rest.iter().all(|byte| *byte == 0) => zeros += 1,
            rest => garbage += rest.len() / (7 * SECTOR),
        }
    }
    assert!(old > 0 && zeros > 0 && garbage > 0, "{old} {zeros} {garbage}");
    file.sync_data().unwrap();
    assert!(images(&disk).all(|image| sectors(&image)[1..] == [Some(0); 7]));
}

#[test]
fn written_sector_persists_amid_garbage() {
    let (disk, file) = disk_with(1, b'a');
    file.allocate(0, 8 * SECTOR as u64).unwrap();
    write_sector(&*file, 4, b'b');
    assert!(images(&disk).any(|image| {
        let found = sectors(&image);
        found.len() == 8 && found[4] == Some(b'b') && found[5].is_none()
    }));
}

#[test]
fn size_and_data_persist_apart() {
    let (disk, file) = disk_with(1, b'a');
    write_all_at(&*file, &[b'b'; 2 * SECTOR], 0).unwrap();
    let sized = disk.crash_image_by(CrashPolicy::SizeWithoutData, 2).read_file(db()).unwrap();
    assert_eq!(sized.len(), 2 * SECTOR);
    assert!(!sized.contains(&b'b') || sectors(&sized).contains(&None));
    let mut cut = (0..50).map(|seed| disk.crash_image_by(CrashPolicy::DataWithoutSize, seed).read_file(db()));
    assert!(cut.any(|image| image == Some(vec![b'b'; SECTOR])));
}

#[test]
fn policies_do_what_they_say() {
    let (disk, file) = disk_with(6, b'a');
    (0..6).rev().for_each(|sector| write_sector(&*file, sector, b'b'));
    let count = |policy, seed| {
        let found = sectors(&disk.crash_image_by(policy, seed).read_file(db()).unwrap());
        // The last write may be torn besides; look at the others.
        found[1..].iter().filter(|byte| **byte == Some(b'b')).count()
    };
    for seed in 0..SEED_COUNT {
        assert_eq!(count(CrashPolicy::Nothing, seed), 0);
        assert_eq!(count(CrashPolicy::Everything, seed), 5);
        assert!(count(CrashPolicy::AllButOne, seed) >= 4);
        assert!(count(CrashPolicy::OnlyOne, seed) <= 1);
        let image = disk.crash_image_by(CrashPolicy::Prefix, seed).read_file(db()).unwrap();
        assert!(sectors(&image)[1..].is_sorted(), "not a prefix: {:?}", sectors(&image));
    }
}

#[test]
fn one_file_may_be_ahead_of_all_others() {
    let (disk, file) = disk_with(4, b'a');
    disk.write_file("log", [b'a'; 4 * SECTOR]);
    let log = disk.open(Path::new("log"), OpenMode::ReadWrite).unwrap();
    write_all_at(&*file, &[b'b'; 4 * SECTOR], 0).unwrap();
    write_all_at(&*log, &[b'b'; 4 * SECTOR], 0).unwrap();
    let mut found = BTreeSet::new();
    for seed in 0..SEED_COUNT {
        let image = disk.crash_image_by(CrashPolicy::OneFile, seed);
        let log = sectors(&image.read_file("log").unwrap());
        if !log.contains(&None) {
            found.insert((sectors(&image.read_file(db()).unwrap()), log));
        }
    }
    let (old, new) = (vec![Some(b'a'); 4], vec![Some(b'b'); 4]);
    assert!(found.contains(&(old.clone(), new.clone())));
    assert!(found.contains(&(new.clone(), old)));
    assert!(!found.contains(&(new.clone(), new)));
}

#[test]
fn exhaustive_enumeration_gives_each_outcome_once() {
    let count_max = if cfg!(miri) { 3 } else { 12 };
    for count in 0..=count_max {
        let (disk, file) = disk_with(13, b'a');
        (0..count).for_each(|sector| write_sector(&*file, sector, b'b'));
        let images: Vec<_> =
            disk.crash_images_exhaustive().unwrap().map(|image| image.read_file(db()).unwrap()).collect();
        let distinct: BTreeSet<_> = images.iter().map(|image| sectors(image)).collect();
        assert_eq!((images.len(), distinct.len()), (1 << count, 1 << count));
        assert!(distinct.contains(&sectors(&disk.read_file(db()).unwrap())));
        assert!(distinct.contains(&vec![Some(b'a'); 13]));
    }
    let (disk, file) = disk_with(13, b'a');
    (0..13).for_each(|sector| write_sector(&*file, sector, b'b'));
    assert!(disk.crash_images_exhaustive().is_none());
}

#[test]
fn exhaustive_enumeration_covers_lengths_and_names_without_repeats() {
    let (disk, file) = disk_with(1, b'a');
    write_sector(&*file, 0, b'b');
    write_sector(&*file, 0, b'a');
    write_sector(&*file, 1, b'c');
    write_sector(&*file, 2, b'd');
    let new = disk.open(Path::new("new"), OpenMode::CreateNew).unwrap();
    write_sector(&*new, 0, b'n');
    let contents = |image: SimDisk| (image.read_file(db()).unwrap(), image.read_file("new"));
    let all: Vec<_> = disk.crash_images_exhaustive().unwrap().map(contents).collect();
    let distinct: BTreeSet<_> = all.iter().cloned().collect();
    // db: sector 0 in two versions; 1, 2 or 3 sectors long with 1, 2 or 4 contents; new: no, empty, 0 or n.
    assert_eq!((all.len(), distinct.len()), (2 * (1 + 2 + 4) * 4, 2 * (1 + 2 + 4) * 4));
    for seed in 0..SEED_COUNT {
        let image = contents(disk.crash_image_by(CrashPolicy::Prefix, seed));
        let (db, new) = &image;
        let clean =
            !sectors(db).contains(&None) && new.as_deref().is_none_or(|new| !sectors(new).contains(&None));
        assert!(!clean || distinct.contains(&image), "seed {seed}");
    }
}

#[test]
fn synced_file_has_no_sure_name_until_its_folder_is_synced() {
    let disk = small(1);
    let path = Path::new("folder/new");
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    write_all_at(&*file, b"content", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("other/new")).unwrap();
    let found: BTreeSet<_> = (0..SEED_COUNT).map(|seed| disk.crash_image(seed).read_file(path)).collect();
    assert_eq!(found, [None, Some(b"content".to_vec())].into());
    disk.sync_dir(path).unwrap();
    assert!((0..SEED_COUNT).all(|seed| disk.crash_image(seed).files() == [path]));
}

#[test]
fn rename_is_found_whole_and_perhaps_before_the_content() {
    let (disk, _) = disk_with(1, b'a');
    let (temp, image) = (Path::new("temp"), |seed| disk.crash_image(seed));
    let file = disk.open(temp, OpenMode::CreateNew).unwrap();
    disk.sync_dir(temp).unwrap();
    write_sector(&*file, 0, b'n');
    disk.rename(temp, db()).unwrap();
    assert!(!disk.exists(temp).unwrap());
    let found: BTreeSet<_> = (0..SEED_COUNT)
        .map(|seed| (image(seed).files().len(), image(seed).read_file(db()).unwrap().first().copied()))
        .collect();
    assert!(found.contains(&(2, Some(b'a'))), "not renamed");
    assert!(found.contains(&(1, Some(b'n'))), "renamed with its content");
    assert!(found.contains(&(1, None)), "renamed before its content");
    assert!(!found.iter().any(|(files, byte)| (*files == 1) == (*byte == Some(b'a'))), "{found:?}");
    file.sync_data().unwrap();
    disk.sync_dir(db()).unwrap();
    for seed in 0..SEED_COUNT {
        assert_eq!(image(seed).files(), [db()]);
        assert_eq!(image(seed).read_file(db()).unwrap(), [b'n'; SECTOR]);
    }
}

#[test]
fn removal_is_durable_after_the_folder_is_synced() {
    let (disk, file) = disk_with(1, b'a');
    disk.remove(db()).unwrap();
    assert_eq!(disk.open(db(), OpenMode::Read).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 4, "an open file outlives its name");
    let found: BTreeSet<_> = (0..SEED_COUNT).map(|seed| disk.crash_image(seed).files().len()).collect();
    assert_eq!(found, [0, 1].into());
    disk.sync_dir(db()).unwrap();
    assert!((0..SEED_COUNT).all(|seed| disk.crash_image(seed).files().is_empty()));
}

/// A file whose sync of 8 new sectors failed in a given way.
fn failed_sync(seed: u64, failure: SyncFailure) -> (SimDisk, Arc<dyn File>) {
    let disk = small(seed);
    disk.write_file(db(), [b'a'; 8 * SECTOR]);
    let file = disk.open(db(), OpenMode::ReadWrite).unwrap();
    write_all_at(&*file, &[b'b'; 8 * SECTOR], 0).unwrap();
    disk.inject(Fault::new(FaultKind::SyncFails(failure), When::NextFrom(0)));
    assert!(eio(&file.sync_data().unwrap_err()));
    assert_eq!(disk.stats().faults, 1);
    (disk, file)
}

#[test]
fn sync_that_forgets_is_never_made_good_by_the_next() {
    let mut partial = 0;
    for seed in 0..SEED_COUNT {
        let (disk, file) = failed_sync(seed, SyncFailure::Forgets);
        assert_eq!(disk.pending_count(), 0, "all counts as clean");
        file.sync_data().unwrap();
        assert_eq!(disk.read_file(db()).unwrap(), [b'b'; 8 * SECTOR]);
        assert_eq!(disk.kill_image().read_file(db()).unwrap(), [b'b'; 8 * SECTOR]);
        let found = sectors(&disk.crash_image(0).read_file(db()).unwrap());
        assert!(found.iter().all(|byte| [Some(b'a'), Some(b'b')].contains(byte)));
        assert_eq!(sectors(&disk.crash_image(1).read_file(db()).unwrap()), found, "nothing is pending");
        partial += u64::from(found.contains(&Some(b'a')) && found.contains(&Some(b'b')));
        disk.drop_caches();
        assert_eq!(sectors(&disk.read_file(db()).unwrap()), found);
        // What is written anew is as good as ever.
        write_sector(&*file, 3, b'b');
        file.sync_data().unwrap();
        assert_eq!(sectors(&disk.crash_image(2).read_file(db()).unwrap())[3], Some(b'b'));
    }
    assert!(partial > SEED_COUNT / 2, "{partial}");
}

#[test]
fn sync_that_forgets_may_forget_the_length() {
    let mut found = BTreeSet::new();
    for seed in 0..SEED_COUNT {
        let disk = small(seed);
        disk.write_file(db(), [b'a'; SECTOR]);
        let file = disk.open(db(), OpenMode::ReadWrite).unwrap();
        file.set_len(5 * SECTOR as u64).unwrap();
        disk.inject(Fault::new(FaultKind::SyncFails(SyncFailure::Forgets), When::NextFrom(0)));
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 5 * SECTOR as u64);
        let device = disk.crash_image(seed).read_file(db()).unwrap().len();
        disk.drop_caches();
        assert_eq!(file.len().unwrap(), device as u64);
        found.insert(device / SECTOR);
    }
    assert_eq!(found, [1, 5].into());
}

#[test]
fn sync_that_reverts_takes_the_cache_along() {
    let (disk, file) = failed_sync(1, SyncFailure::Reverts);
    assert_eq!(disk.read_file(db()).unwrap(), [b'a'; 8 * SECTOR]);
    assert_eq!(disk.crash_image(1).read_file(db()).unwrap(), [b'a'; 8 * SECTOR]);
    file.sync_data().unwrap();
    assert_eq!(disk.crash_image(1).read_file(db()).unwrap(), [b'a'; 8 * SECTOR]);
    write_all_at(&*file, b"grown", 8 * SECTOR as u64).unwrap();
    disk.inject(Fault::new(FaultKind::SyncFails(SyncFailure::Reverts), When::NextFrom(0)));
    file.sync_data().unwrap_err();
    assert_eq!(file.len().unwrap(), 8 * SECTOR as u64);
}

#[test]
fn sync_that_shuts_down_ends_everything() {
    let (disk, file) = failed_sync(1, SyncFailure::Shutdown);
    assert!(eio(&file.write_at(b"x", 0).unwrap_err()));
    assert!(eio(&file.read_at(&mut [0], 0).unwrap_err()));
    assert!(eio(&file.sync_data().unwrap_err()));
    assert!(eio(&disk.open(db(), OpenMode::Read).unwrap_err()));
    assert!(eio(&disk.kill_image().open(db(), OpenMode::Read).unwrap_err()), "a process cannot mount it");
    let image = disk.crash_image(1);
    assert!(image.open(db(), OpenMode::Read).is_ok());
}

#[test]
fn failed_sync_of_a_folder_may_lose_names_for_good() {
    let mut found = BTreeSet::new();
    for seed in 0..SEED_COUNT {
        let disk = small(seed);
        disk.open(db(), OpenMode::CreateNew).unwrap();
        disk.inject(Fault::new(FaultKind::Fails, When::NextFrom(0)));
        assert!(eio(&disk.sync_dir(db()).unwrap_err()));
        disk.sync_dir(db()).unwrap();
        assert_eq!(disk.files(), [db()]);
        found.insert(disk.crash_image(seed).files().len());
    }
    assert_eq!(found, [0, 1].into());
}

#[test]
fn failed_changes_of_length_and_names_change_nothing() {
    let (disk, file) = disk_with(2, b'a');
    let fails = || disk.inject(Fault::new(FaultKind::Fails, When::NextFrom(0)));
    fails();
    file.set_len(5).unwrap_err();
    fails();
    disk.rename(db(), Path::new("other")).unwrap_err();
    fails();
    disk.remove(db()).unwrap_err();
    fails();
    disk.open(Path::new("other"), OpenMode::CreateNew).unwrap_err();
    assert_eq!((disk.stats().faults, disk.pending_count()), (4, 0));
    assert_eq!(disk.files(), [db()]);
    assert_eq!(file.len().unwrap(), 2 * SECTOR as u64);
}

#[test]
fn full_disk_at_a_sync_forgets_like_any_failure() {
    let (disk, file) = disk_with(8, b'a');
    write_all_at(&*file, &[b'b'; 8 * SECTOR], 0).unwrap();
    disk.inject(Fault::new(FaultKind::NoSpace, When::NextFrom(0)));
    assert_eq!(file.sync_data().unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.pending_count(), 0);
}

#[test]
fn map_limit_and_fault_give_out_of_memory() {
    let disk = SimDisk::with_options(SimOptions { map_limit: Some(1 << 20), ..SimOptions::default() });
    let file = disk.open(db(), OpenMode::CreateNew).unwrap();
    assert!(file.map(1 << 20).is_ok());
    assert_eq!(file.map((1 << 20) + 1).unwrap_err().kind(), ErrorKind::OutOfMemory);
    disk.inject(Fault::new(FaultKind::OutOfMemory, When::NextFrom(0)));
    assert_eq!(file.map(1).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert!(file.map(1).is_ok());
}

#[test]
fn short_and_interrupted_io_is_handled_by_the_loops() {
    let mut kinds = BTreeSet::new();
    for seed in 0..SEED_COUNT / 10 {
        let disk = small(seed);
        let file = disk.open(db(), OpenMode::CreateNew).unwrap();
        disk.inject(Fault::new(FaultKind::Interrupted, When::OneIn(16)));
        disk.inject(Fault::new(FaultKind::ShortWrite, When::OneIn(2)));
        disk.inject(Fault::new(FaultKind::ShortRead, When::OneIn(2)));
        let bytes: Vec<u8> = (0..20_000u32).map(|at| (at * 7) as u8).collect();
        write_all_at(&*file, &bytes, 100).unwrap();
        let mut found = vec![0; bytes.len()];
        read_exact_at(&*file, &mut found, 100).unwrap();
        assert_eq!(found, bytes);
        let stats = disk.stats();
        assert_eq!((stats.bytes_written, stats.bytes_read), (20_000, 20_000));
        kinds.extend(disk.trace().iter().map(|entry| match entry.outcome {
            Ok(bytes) if bytes < entry.len => (entry.op, Ok("short")),
            outcome => (entry.op, outcome.map(|_| "whole")),
        }));
    }
    for op in [Op::Read, Op::Write] {
        for outcome in [Ok("short"), Ok("whole"), Err(ErrorKind::Interrupted)] {
            assert!(cfg!(miri) || kinds.contains(&(op, outcome)), "{op:?} {outcome:?}");
        }
    }
}

#[test]
fn faults_strike_when_and_where_they_are_told() {
    let (disk, file) = disk_with(1, b'a');
    let base = disk.op_count();
    disk.inject(Fault::new(FaultKind::WriteFails, When::At(base)));
    disk.inject(Fault::new(FaultKind::WriteFails, When::At(base + 1)));
    disk.inject(Fault::new(FaultKind::ReadFails, When::EachFrom(base + 3)).on("db"));
    disk.inject(Fault::new(FaultKind::ReadFails, When::EachFrom(0)).on("other"));
    file.read_at(&mut [0], 0).unwrap(); // not a write: the first fault passes by
    assert!(eio(&file.write_at(b"x", 0).unwrap_err()));
    assert_eq!(file.write_at(b"x", 0).unwrap(), 1);
    assert!(eio(&file.read_at(&mut [0], 0).unwrap_err()));
    assert!(eio(&file.read_at(&mut [0], 0).unwrap_err()));
    assert_eq!(disk.stats().faults, 3);
    disk.clear_faults();
    file.read_at(&mut [0], 0).unwrap();
    disk.inject(Fault::new(FaultKind::NoSpace, When::NextFrom(0)));
    file.read_at(&mut [0], 0).unwrap();
    assert_eq!(file.write_at(b"x", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(b"x", 0).unwrap(), 1);
}

/// Every operation there is, in a workload that stops at the first failure.
fn workload(disk: &SimDisk) -> io::Result<()> {
    let temp = Path::new("temp");
    let _lock = disk.lock(Path::new("db-lock"), "me").map_err(|error| match error {
        LockError::Io(error) => error,
        LockError::Held(text) => io::Error::other(text),
    })?;
    let file = disk.open(temp, OpenMode::CreateNew)?;
    file.allocate(0, 8192)?;
    write_all_at(&*file, &[b'w'; 5000], 0)?;
    let _map = file.map(8192)?;
    file.sync_data()?;
    disk.rename(temp, db())?;
    disk.sync_dir(db())?;
    let file = disk.open(db(), OpenMode::ReadWrite)?;
    read_exact_at(&*file, &mut [0; 5000], 0)?;
    file.set_len(6000)?;
    write_all_at(&*file, &[b'x'; 1000], 5500)?;
    file.sync_data()?;
    disk.remove(db())?;
    disk.sync_dir(db())
}

#[test]
fn failure_of_each_operation_reaches_the_caller() {
    let whole = small(1);
    workload(&whole).unwrap();
    let trace = whole.trace();
    let ops: BTreeSet<Op> = trace.iter().map(|entry| entry.op).collect();
    assert_eq!(ops.len(), 12, "an operation is missing: {ops:?}");
    for (index, entry) in trace.iter().enumerate() {
        let disk = small(1);
        disk.inject(Fault::new(FaultKind::Fails, When::At(index as u64)));
        let error = workload(&disk).unwrap_err();
        assert!(eio(&error) || entry.op == Op::Map, "{entry:?}: {error}");
        assert_eq!(disk.op_count(), index as u64 + 1);
        assert_eq!(disk.trace()[..index], trace[..index], "the same until then");
    }
}

#[test]
fn power_can_be_cut_at_each_operation() {
    let whole = small(1);
    workload(&whole).unwrap();
    let trace = whole.trace();
    for (index, entry) in trace.iter().enumerate() {
        let (mut partial, mut complete) = (false, false);
        for seed in 0..SEED_COUNT / 10 {
            let disk = small(seed);
            disk.cut_power_at(index as u64);
            let error = workload(&disk).unwrap_err();
            assert!(error.to_string().contains("power is off"), "{error}");
            assert_eq!(disk.op_count(), index as u64 + 1);
            assert!(disk.exists(db()).is_err());
            assert!(disk.open(db(), OpenMode::Read).is_err());
            let after = disk.kill_image();
            let _: bool = after.exists(db()).unwrap();
            let written =
                after.read_file(if disk.files().contains(&db().into()) { db() } else { Path::new("temp") });
            let count = written.unwrap_or_default().iter().filter(|byte| **byte == b'w').count();
            partial |= count > 0 && count < 5000;
            complete |= count == 5000;
            if let Err(error) = workload(&disk.crash_image(seed)) {
                assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
            }
        }
        if entry.op == Op::Write && entry.len == 5000 && !cfg!(miri) {
            assert!(partial, "a write that is cut takes a part");
        }
        if entry.op == Op::Rename {
            assert!(complete);
        }
    }
}

#[test]
fn same_seed_and_operations_give_the_same_trace_and_images() {
    let run = |seed| {
        let disk = small(seed);
        disk.inject(Fault::new(FaultKind::ShortWrite, When::OneIn(3)));
        disk.inject(Fault::new(FaultKind::Fails, When::OneIn(20)));
        let end = workload(&disk).map_err(|error| error.kind());
        let images: Vec<_> = (0..20)
            .map(|seed| {
                let image = disk.crash_image(seed);
                image.files().into_iter().map(|path| (image.read_file(&path), path)).collect::<Vec<_>>()
            })
            .collect();
        (end, disk.trace(), disk.stats(), images)
    };
    let runs: Vec<_> = (0..20).map(run).collect();
    for (seed, first) in runs.iter().enumerate() {
        assert_eq!(run(seed as u64), *first, "seed {seed}");
    }
    assert!(runs.iter().any(|other| other.1 != runs[0].1), "the seed decides nothing");
}

#[test]
fn image_is_a_disk_of_its_own() {
    let (disk, file) = disk_with(1, b'a');
    write_sector(&*file, 0, b'b');
    let before = disk.crash_image_by(CrashPolicy::Nothing, 1);
    let image = disk.crash_image_by(CrashPolicy::Everything, 1);
    let copy = image.open(db(), OpenMode::ReadWrite).unwrap();
    write_sector(&*copy, 0, b'c');
    copy.sync_data().unwrap();
    file.sync_data().unwrap();
    assert_eq!(before.read_file(db()).unwrap(), [b'a'; SECTOR]);
    assert_eq!(image.crash_image(1).read_file(db()).unwrap(), [b'c'; SECTOR]);
    assert_eq!(disk.crash_image(1).read_file(db()).unwrap(), [b'b'; SECTOR]);
}

#[test]
fn killed_process_leaves_a_cache_that_a_later_power_cut_loses() {
    let (disk, file) = disk_with(2, b'a');
    write_sector(&*file, 0, b'b');
    let _lock = disk.lock(Path::new("db-lock"), "first").unwrap();
    let next = disk.kill_image();
    assert!(next.lock(Path::new("db-lock"), "second").is_ok(), "the lock died with its owner");
    assert_eq!(next.read_file(db()).unwrap()[..SECTOR], [b'b'; SECTOR]);
    assert_eq!((next.op_count(), next.pending_count()), (1, 1));
    assert_eq!(next.crash_image_by(CrashPolicy::Nothing, 1).read_file(db()).unwrap(), [b'a'; 2 * SECTOR]);
    let copy = next.open(db(), OpenMode::ReadWrite).unwrap();
    copy.sync_data().unwrap();
    assert!(images(&next).all(|image| image[0] == b'b'), "synced what it found");
    assert_eq!(disk.crash_image_by(CrashPolicy::Nothing, 1).read_file(db()).unwrap(), [b'a'; 2 * SECTOR]);
}

#[test]
fn full_file_and_full_disk_are_errors_that_leave_the_length() {
    let disk = SimDisk::with_options(SimOptions {
        file_capacity: 64 << 10,
        disk_capacity: Some(20 << 10),
        ..SimOptions::default()
    });
    let (a, b) = (Path::new("a"), Path::new("b"));
    let a = disk.open(a, OpenMode::CreateNew).unwrap();
    let other = disk.open(b, OpenMode::CreateNew).unwrap();
    a.allocate(0, 12 << 10).unwrap();
    assert_eq!(other.allocate(0, 9 << 10).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(other.len().unwrap(), 0);
    assert_eq!(other.write_at(&[1; 12 << 10], 0).unwrap(), 8 << 10, "short where the disk ends");
    assert_eq!(other.write_at(b"x", 8 << 10).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(a.write_at(&[1; 12 << 10], 0).unwrap(), 12 << 10, "what is allocated can be written");
    other.set_len(60 << 10).unwrap(); // sparse: takes no space ...
    assert_eq!(other.write_at(b"x", 50 << 10).unwrap_err().kind(), ErrorKind::StorageFull); // ... but gives none
    other.set_len(0).unwrap();
    assert_eq!(a.write_at(&[1; 8 << 10], 12 << 10).unwrap(), 8 << 10, "given back");
    other.set_len(0).unwrap();
    disk.remove(Path::new("a")).unwrap();
    assert_eq!(other.write_at(b"x", 64 << 10).unwrap_err().kind(), ErrorKind::StorageFull, "the file's end");
    assert_eq!(other.write_at(b"xyz", (64 << 10) - 2).unwrap(), 2);
    assert_eq!(other.set_len((64 << 10) + 1).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(other.write_at(b"x", u64::MAX).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(other.read_at(&mut [0], u64::MAX).unwrap(), 0);
}

#[test]
fn failed_allocation_may_be_found_to_have_made_the_file_longer() {
    let mut found = BTreeSet::new();
    for seed in 0..SEED_COUNT {
        let disk = SimDisk::with_options(SimOptions {
            seed,
            file_capacity: 64 << 10,
            disk_capacity: Some(16 << 10),
            ..SimOptions::default()
        });
        disk.write_file(db(), [1; 4096]);
        let file = disk.open(db(), OpenMode::ReadWrite).unwrap();
        file.allocate(4096, 32 << 10).unwrap_err();
        assert_eq!(file.len().unwrap(), 4096);
        found.insert(disk.crash_image(seed).read_file(db()).unwrap().len().cmp(&4096));
    }
    assert_eq!(found, [std::cmp::Ordering::Equal, std::cmp::Ordering::Greater].into());
}

#[test]
fn lost_write_shows_only_below_the_cache() {
    let (disk, file) = disk_with(3, b'a');
    disk.inject(Fault::new(FaultKind::LostWrite, When::NextFrom(0)));
    write_sector(&*file, 1, b'b');
    write_sector(&*file, 2, b'b');
    file.sync_data().unwrap();
    assert_eq!(sectors(&disk.read_file(db()).unwrap()), [Some(b'a'), Some(b'b'), Some(b'b')]);
    let device = [Some(b'a'), Some(b'a'), Some(b'b')];
    assert!(images(&disk).all(|image| sectors(&image) == device));
    disk.drop_caches();
    assert_eq!(sectors(&disk.read_file(db()).unwrap()), device);
}

#[test]
fn misdirected_write_lands_in_another_block() {
    for seed in 0..SEED_COUNT / 10 {
        let disk = small(seed);
        disk.write_file(db(), [b'a'; 4 * 4096]);
        let file = disk.open(db(), OpenMode::ReadWrite).unwrap();
        disk.inject(Fault::new(FaultKind::MisdirectedWrite, When::NextFrom(0)));
        write_all_at(&*file, &[b'b'; 4096], 4096).unwrap();
        file.sync_data().unwrap();
        let cached = disk.read_file(db()).unwrap();
        assert_eq!((cached[4096], cached.iter().filter(|byte| **byte == b'b').count()), (b'b', 4096));
        let device = disk.crash_image(1).read_file(db()).unwrap();
        let blocks: Vec<u8> = device.chunks(4096).map(|block| block[0]).collect();
        assert_eq!(blocks[1], b'a');
        assert_eq!(device.iter().filter(|byte| **byte == b'b').count(), 4096);
        assert_eq!(blocks.iter().filter(|byte| **byte == b'b').count(), 1);
        disk.drop_caches();
        assert_eq!(disk.read_file(db()).unwrap(), device);
    }
}

#[test]
fn damage_is_in_the_cache_and_on_the_device_in_all_versions() {
    let (disk, file) = disk_with(2, 0);
    write_sector(&*file, 1, 0x10);
    assert!(disk.flip_bit(db(), 3, 7));
    assert!(disk.flip_bit(db(), 600, 0));
    assert!(!disk.flip_bit(db(), 1024, 0));
    assert!(!disk.flip_bit("none", 0, 0));
    assert!(disk.damage_bytes(db(), 510, &[7; 4]));
    assert!(!disk.damage_bytes(db(), 1022, &[7; 4]));
    let mut new = vec![0; 1024];
    new[512..].fill(0x10);
    let mut old = vec![0; 1024];
    for bytes in [&mut new, &mut old] {
        bytes[3] ^= 0x80;
        bytes[600] ^= 1;
        bytes[510..514].fill(7);
    }
    assert_eq!(disk.read_file(db()).unwrap(), new);
    assert_eq!(disk.crash_image_by(CrashPolicy::Everything, 1).read_file(db()).unwrap(), new);
    assert_eq!(disk.crash_image_by(CrashPolicy::Nothing, 1).read_file(db()).unwrap(), old);
}

#[test]
fn lock_names_its_owner_until_it_is_dropped() {
    let disk = small(1);
    let path = Path::new("db-lock");
    let lock = disk.lock(path, "process 7").unwrap();
    assert!(matches!(disk.clone().lock(path, "other"), Err(LockError::Held(text)) if text == "process 7"));
    assert!(disk.exists(path).unwrap());
    assert!(disk.crash_image(1).lock(path, "later").is_ok());
    drop(lock);
    assert!(!disk.exists(path).unwrap());
    assert!(disk.lock(path, "other").is_ok());
}

#[test]
fn watch_is_told_of_each_write_before_it_is_made() {
    let (disk, file) = disk_with(1, b'a');
    let log = Arc::new(Mutex::new(Vec::new()));
    let (seen, inner) = (Arc::clone(&log), disk.clone());
    disk.watch_writes(Arc::new(move |path, offset, bytes| {
        let before = inner.read_file(path).unwrap()[offset as usize];
        seen.lock().unwrap().push((path.to_owned(), offset, bytes.to_vec(), before));
    }));
    write_all_at(&*file, b"one", 5).unwrap();
    write_all_at(&*file, b"two", 5).unwrap();
    let expected = [(db().to_owned(), 5, b"one".to_vec(), b'a'), (db().to_owned(), 5, b"two".to_vec(), b'o')];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[test]
fn watch_that_panics_ends_the_write_alone() {
    let (disk, file) = disk_with(1, b'a');
    disk.watch_writes(Arc::new(|_, offset, _| assert_ne!(offset, 0, "a durable page is overwritten")));
    let write = std::panic::AssertUnwindSafe(|| file.write_at(b"x", 0));
    assert!(std::panic::catch_unwind(write).is_err());
    file.write_at(b"x", 1).unwrap();
    assert_eq!(disk.read_file(db()).unwrap()[..3], *b"axa");
}

#[test]
fn stats_count_what_was_asked() {
    let disk = small(1);
    workload(&disk).unwrap();
    let stats = disk.stats();
    assert_eq!((stats.writes, stats.bytes_written), (2, 6000));
    assert_eq!((stats.reads, stats.bytes_read), (1, 5000));
    assert_eq!((stats.allocations, stats.dir_syncs, stats.faults), (1, 2, 0));
    assert_eq!(stats.syncs, BTreeMap::from([("temp".into(), 1), ("db".into(), 1)]));
}

#[test]
fn read_only_handle_cannot_change_the_file() {
    let (disk, _) = disk_with(1, b'a');
    let file = disk.open(db(), OpenMode::Read).unwrap();
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.set_len(0).is_err());
    assert!(file.allocate(0, 5000).is_err());
    assert_eq!(disk.read_file(db()).unwrap(), [b'a'; SECTOR]);
}

/// What a call gave, in a form that both disks share.
fn plain<T>(result: io::Result<T>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

#[test]
fn without_faults_it_behaves_as_a_real_disk() {
    // The interpreter has no real file system.
    for seed in 0..if cfg!(miri) { 0 } else { 40 } {
        let folder = tempfile::tempdir().unwrap();
        let (real, simulated) = (DiskStorage, small(seed));
        let mut chance = Chance(seed);
        let names = ["a", "b", "c"].map(|name| folder.path().join(name));
        let mut files: BTreeMap<_, [Arc<dyn File>; 2]> = BTreeMap::new();
        for step in 0..120u8 {
            let name = &names[chance.below(3) as usize];
            let other = &names[chance.below(3) as usize];
            let (offset, size) = (chance.below(20_000), chance.below(5000));
            match chance.below(9) {
                0 => {
                    let mode =
                        [OpenMode::Read, OpenMode::ReadWrite, OpenMode::CreateNew][chance.below(3) as usize];
                    let (left, right) = (real.open(name, mode), simulated.open(name, mode));
                    match (left, right) {
                        (Ok(left), Ok(right)) if mode != OpenMode::Read => {
                            files.insert(name.clone(), [left, right]);
                        }
                        (left, right) => {
                            assert_eq!(plain(left.map(drop)), plain(right.map(drop)), "{seed} {step} open");
                        }
                    }
                }
                1 => assert_eq!(plain(real.rename(name, other)), plain(simulated.rename(name, other))),
                2 if chance.below(3) == 0 => {
                    assert_eq!(plain(real.remove(name)), plain(simulated.remove(name)))
                }
                3 => assert_eq!(plain(real.sync_dir(name)), plain(simulated.sync_dir(name))),
                4 => assert_eq!(plain(real.exists(name)), plain(simulated.exists(name))),
                call => {
                    let Some([left, right]) = files.get(name) else { continue };
                    let bytes = vec![step; size as usize];
                    let (mut found, mut expected) = (bytes.clone(), bytes.clone());
                    match call {
                        5 => assert_eq!(
                            plain(left.allocate(offset, size)),
                            plain(right.allocate(offset, size))
                        ),
                        6 => assert_eq!(plain(left.set_len(offset)), plain(right.set_len(offset))),
                        7 => assert_eq!(plain(left.sync_data()), plain(right.sync_data())),
                        _ => assert_eq!(
                            plain(left.write_at(&bytes, offset)),
                            plain(right.write_at(&bytes, offset))
                        ),
                    }
                    let offset = chance.below(20_000);
                    assert_eq!(
                        plain(left.read_at(&mut expected, offset)),
                        plain(right.read_at(&mut found, offset))
                    );
                    assert_eq!(found, expected, "{seed} {step}");
                    assert_eq!(plain(left.len()), plain(right.len()), "{seed} {step}");
                }
            }
        }
        for path in &names {
            assert_eq!(std::fs::read(path).ok(), simulated.read_file(path), "{seed} {path:?}");
        }
    }
}
