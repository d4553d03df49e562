//! Backups: what is restored is exactly what was committed when the backup began, or nothing is.
//!
//! Random histories are backed up in full and in parts at random commits and restored; streams are damaged, cut,
//! reordered and mixed; the power is cut, and every operation made to fail, while a backup is written and while
//! one is restored.

use llmdb_pager::sim::{Fault, FaultKind, SimDisk, SimOptions, SyncFailure, When};
use llmdb_pager::storage::Storage as _;
use llmdb_wal::{
    BackupHeader, BackupOptions, BackupReport, Error, ReadTxn, RestoreReport, Store, StoreOptions, restore,
};
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Bound::Unbounded;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const DB: &str = "/f/b.llmdb";
const TO: &str = "/f/restored.llmdb";

type Model = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// A small generator, so that a seed says all.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

fn disk() -> SimDisk {
    SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() })
}

fn options(disk: &SimDisk) -> StoreOptions {
    StoreOptions::new().storage(Arc::new(disk.clone())).log_capacity(1 << 20).clock(Arc::new(|| 7))
}

fn commit(store: &Store, rng: &mut Rng, model: &mut Model) {
    let mut txn = store.begin_write().unwrap();
    for _ in 0..1 + rng.below(3) {
        let name = ["a", "b", "c"][rng.below(3) as usize];
        if rng.below(20) == 0 {
            assert_eq!(txn.drop_tree(name).unwrap(), model.remove(name).is_some());
            continue;
        }
        let tree = txn.create_tree(name).unwrap();
        let records = model.entry(name.into()).or_default();
        for _ in 0..rng.below(80) {
            let key = rng.below(2_000).to_be_bytes()[5..].to_vec();
            if rng.below(4) == 0 {
                assert_eq!(txn.remove(tree, &key).unwrap(), records.remove(&key).is_some());
                continue;
            }
            let len = [9, 60, 400, 3_000, 20_000][rng.below(22).saturating_sub(17) as usize];
            let value = vec![rng.below(256) as u8; len];
            txn.insert(tree, &key, &value).unwrap();
            records.insert(key, value);
        }
    }
    txn.commit().unwrap();
}

fn content(txn: &ReadTxn) -> Model {
    let mut found = Model::new();
    for name in txn.tree_names().unwrap() {
        let tree = txn.tree(&name).unwrap().unwrap();
        let records = tree
            .range(Unbounded, Unbounded)
            .map(Result::unwrap)
            .map(|(key, value)| (key, value.to_vec()))
            .collect();
        found.insert(name, records);
    }
    found
}

fn back_up(store: &Store, options: BackupOptions) -> (Vec<u8>, BackupReport) {
    let mut bytes = Vec::new();
    let report = store.backup(options, &mut bytes, &mut |done, of| assert!(done <= of)).unwrap();
    assert_eq!(report.bytes, bytes.len() as u64);
    (bytes, report)
}

fn restore_all(disk: &SimDisk, backups: &[&[u8]]) -> Result<RestoreReport, Error> {
    let mut readers: Vec<&[u8]> = backups.to_vec();
    let mut streams: Vec<&mut dyn Read> = readers.iter_mut().map(|reader| reader as &mut dyn Read).collect();
    restore(options(disk), TO, &mut streams, &mut |done, of| assert!(done <= of))
}

/// The restored database, checked in whole.
fn restored(disk: &SimDisk) -> (Store, Model) {
    let store = options(disk).create(false).open(TO).unwrap();
    let report = store.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let model = content(&store.begin_read().unwrap());
    (store, model)
}

#[test]
fn full_and_later_backups_restore_to_the_state_of_each() {
    for seed in 0..12 {
        let (disk, mut rng) = (disk(), Rng(seed));
        let store = options(&disk).page_size([4096, 8192, 65536][rng.below(3) as usize]).open(DB).unwrap();
        let (mut model, mut chain) = (Model::new(), Vec::<Vec<u8>>::new());
        let mut reader = None;
        for _ in 0..rng.below(4) {
            commit(&store, &mut rng, &mut model);
        }
        let mut earlier = None;
        for round in 0..6 {
            let options = earlier.map_or_else(BackupOptions::new, |at| BackupOptions::new().since(at));
            let (bytes, report) = back_up(&store, options);
            assert_eq!(report.commit, store.begin_read().unwrap().seq());
            assert_eq!(report.base, earlier);
            earlier = Some(report.commit);
            chain.push(bytes);
            let after = disk_of_restore(&chain, round % 2 == 0);
            let (copy, found) = restored(&after);
            assert!(found == model, "seed {seed}, round {round}");
            assert_eq!(copy.begin_read().unwrap().seq(), report.commit);
            assert_eq!(copy.begin_read().unwrap().time(), report.time);
            let mut copied = model.clone();
            for _ in 0..3 {
                commit(&copy, &mut rng, &mut copied);
            }
            copy.close().unwrap();
            assert!(restored(&after).1 == copied, "it goes on like any other");
            for _ in 0..rng.below(6) {
                commit(&store, &mut rng, &mut model);
            }
            match rng.below(4) {
                0 => reader = Some(store.begin_read().unwrap()),
                1 => store.checkpoint().unwrap(),
                _ => {}
            }
        }
        drop(reader);
    }
}

/// A disk on which a chain was restored, with a leftover of an earlier attempt or without.
fn disk_of_restore(chain: &[Vec<u8>], leftover: bool) -> SimDisk {
    let disk = disk();
    if leftover {
        disk.write_file(format!("{TO}-new"), [7; 10_000]);
    }
    let backups: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let report = restore_all(&disk, &backups).unwrap();
    assert_eq!(report.backups, chain.len());
    assert_eq!(disk.read_file(TO).unwrap().len() as u64, report.file_bytes);
    assert_eq!(disk.files(), [Path::new(TO)]);
    disk
}

#[test]
fn a_backup_survives_recovery_between_it_and_the_next() {
    let (disk, mut rng, mut model) = (disk(), Rng(77), Model::new());
    let store = options(&disk).open(DB).unwrap();
    for _ in 0..5 {
        commit(&store, &mut rng, &mut model);
    }
    let (full, report) = back_up(&store, BackupOptions::new());
    for _ in 0..5 {
        commit(&store, &mut rng, &mut model);
    }
    let disk = disk.crash_image(5);
    let store = options(&disk).open(DB).unwrap();
    commit(&store, &mut rng, &mut model);
    let (part, _) = back_up(&store, BackupOptions::new().since(report.commit));
    let after = disk_of_restore(&[full, part], false);
    assert!(restored(&after).1 == model);
}

#[test]
fn writers_and_readers_go_on_during_a_backup() {
    let disk = disk();
    let store = options(&disk).checkpoint_bytes(32 << 10).open(DB).unwrap();
    let (mut rng, mut model) = (Rng(3), Model::new());
    for _ in 0..30 {
        commit(&store, &mut rng, &mut model);
    }
    let stop = AtomicBool::new(false);
    let mut chain: Vec<(Vec<u8>, u64)> = Vec::new();
    let states = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut states = BTreeMap::from([(store.begin_read().unwrap().seq(), model.clone())]);
            while !stop.load(Ordering::Relaxed) && states.len() < 4_000 {
                commit(&store, &mut rng, &mut model);
                states.insert(store.begin_read().unwrap().seq(), model.clone());
            }
            states
        });
        for _ in 0..6 {
            let since = chain.last().map(|(_, commit)| *commit);
            let options = since.map_or_else(BackupOptions::new, |at| BackupOptions::new().since(at));
            let acknowledged = store.begin_read().unwrap().seq();
            let (bytes, report) = back_up(&store, options);
            assert!(report.commit >= acknowledged);
            chain.push((bytes, report.commit));
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    for len in 1..=chain.len() {
        let backups: Vec<Vec<u8>> = chain[..len].iter().map(|(bytes, _)| bytes.clone()).collect();
        let after = disk_of_restore(&backups, false);
        assert!(restored(&after).1 == states[&chain[len - 1].1], "as of commit {}", chain[len - 1].1);
    }
}

/// A small database, its full backup and a later one.
fn small() -> (SimDisk, Store, [Vec<u8>; 2], [Model; 2]) {
    let disk = disk();
    let store = options(&disk).open(DB).unwrap();
    let write = |keys: std::ops::Range<u8>, value: &[u8]| {
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        for key in keys {
            txn.insert(tree, &[key], value).unwrap();
        }
        txn.commit().unwrap()
    };
    write(0..5, b"one");
    write(5..6, &[3; 5_000]);
    let before = content(&store.begin_read().unwrap());
    let (full, report) = back_up(&store, BackupOptions::new());
    write(3..7, b"two");
    let (part, _) = back_up(&store, BackupOptions::new().since(report.commit));
    let after = content(&store.begin_read().unwrap());
    (disk, store, [full, part], [before, after])
}

#[test]
fn every_flipped_byte_and_every_cut_is_an_error_and_leaves_no_file() {
    let (_, _, [full, part], _) = small();
    let refused = |backups: &[&[u8]], what: &str| {
        let disk = disk();
        let error = restore_all(&disk, backups).expect_err(what);
        assert!(disk.files().is_empty(), "{what}: {:?}", disk.files());
        error
    };
    for at in 0..full.len() {
        let mut bad = full.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&[&bad], &format!("byte {at} of the full one"));
    }
    for at in 0..part.len() {
        let mut bad = part.clone();
        bad[at] ^= 0x80;
        refused(&[&full, &bad], &format!("byte {at} of the later one"));
    }
    for len in (0..full.len()).step_by(7).chain(full.len() - 60..full.len()) {
        let error = refused(&[&full[..len]], &format!("cut to {len} bytes"));
        assert_eq!(error.code(), "LLMDB-P16");
        assert!(error.to_string().contains("cut off"), "{len}: {error}");
    }
    let longer = [&full[..], b"x"].concat();
    assert!(refused(&[&longer], "a byte too many").to_string().contains("behind its end"));
}

/// The frames of a backup, its header first.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = vec![bytes.split_off(..128).unwrap()];
    while !bytes.is_empty() {
        let len = 24 + u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
        found.push(bytes.split_off(..len).unwrap());
    }
    found
}

#[test]
fn frames_that_are_lost_moved_or_there_twice_are_found() {
    let (disk, store, ..) = small();
    let mut txn = store.begin_write().unwrap();
    let tree = txn.create_tree("more").unwrap();
    for key in 0..20_u8 {
        txn.insert(tree, &[key], &vec![key; 40_000]).unwrap();
    }
    txn.commit().unwrap();
    let (full, _) = back_up(&store, BackupOptions::new());
    let whole = frames(&full);
    assert!(whole.len() > 20);
    let last = whole.len() - 1;
    for at in 1..last {
        let mut lost = whole.clone();
        lost.remove(at);
        let mut twice = whole.clone();
        twice.insert(at, whole[at]);
        let mut moved = whole.clone();
        moved.swap(at, at + 1);
        for bad in [lost, twice, moved] {
            let target = self::disk();
            let error = restore_all(&target, &[&bad.concat()]).unwrap_err();
            assert!(error.to_string().contains("another frame was to come here"), "{error}");
        }
    }
    drop(disk);
}

#[test]
fn backups_that_do_not_belong_together_are_refused() {
    let (_, store, [full, part], [_, after]) = small();
    let (_, _, [other_full, other_part], _) = small();
    let (later, _) = back_up(&store, BackupOptions::new().since(3));
    let refused = |backups: &[&[u8]]| {
        let disk = disk();
        let error = restore_all(&disk, backups).unwrap_err();
        assert!(disk.files().is_empty());
        assert_eq!(error.code(), "LLMDB-P17", "{error}");
        error.to_string()
    };
    assert!(refused(&[]).contains("nothing to restore from"));
    assert!(refused(&[&part]).contains("expected a full one, found one since commit 2"));
    assert!(refused(&[&full, &full]).contains("expected one since commit 2, found a full one"));
    assert!(refused(&[&full, &later]).contains("expected one since commit 2, found one since commit 3"));
    assert!(refused(&[&full, &part, &part]).contains("expected one since commit 3"));
    assert!(refused(&[&full, &other_part]).contains("another database"));
    let same_again = disk();
    restore_all(&same_again, &[&full, &part, &later]).unwrap();
    assert!(restored(&same_again).1 == after, "a later one with nothing in it");

    let mut out = Vec::new();
    let mut back_up = |options| store.backup(options, &mut out, &mut |_, _| {}).unwrap_err().to_string();
    assert!(back_up(BackupOptions::new().since(4)).contains("newer than the database"));
    let other = BackupHeader::read(&mut &other_full[..]).unwrap();
    assert!(back_up(BackupOptions::new().since_backup(&other)).contains("another database"));
    let error = restore_all(
        &disk(),
        &[b"LLMDB\0\r\n and more than a hundred and twenty-eight bytes of something else, \
        which somebody took for a backup of the database in question"],
    )
    .unwrap_err();
    assert!(error.to_string().contains("it is not a backup"), "{error}");
}

#[test]
fn a_restored_database_is_another_one() {
    let (disk, store, [full, part], _) = small();
    restore_all(&disk, &[&full, &part]).unwrap();
    let (copy, _) = restored(&disk);
    let (of_copy, _) = back_up(&copy, BackupOptions::new());
    let identity = |bytes: &[u8]| BackupHeader::read(&mut &bytes[..]).unwrap().identity;
    assert_ne!(identity(&of_copy), identity(&full));
    let error = copy
        .backup(
            BackupOptions::new().since_backup(&BackupHeader::read(&mut &part[..]).unwrap()),
            &mut Vec::new(),
            &mut |_, _| {},
        )
        .unwrap_err();
    assert!(error.to_string().contains("a restored one has an identity of its own"), "{error}");
    drop(store);
}

#[test]
fn an_empty_database_and_one_without_changes_are_backed_up_too() {
    let disk = disk();
    let store = options(&disk).open(DB).unwrap();
    let (empty, report) = back_up(&store, BackupOptions::new());
    assert_eq!((report.commit, report.pages), (0, 0));
    let mut model = Model::new();
    commit(&store, &mut Rng(1), &mut model);
    let (part, _) = back_up(&store, BackupOptions::new().since(0));
    let (nothing, report) = back_up(&store, BackupOptions::new().since(1));
    assert_eq!((report.pages, report.pages_left_out), (0, 0));
    let after = disk_of_restore(std::slice::from_ref(&empty), false);
    assert_eq!(restored(&after).1, Model::new());
    let after = disk_of_restore(&[empty, part, nothing], false);
    assert!(restored(&after).1 == model);
}

#[test]
fn a_later_backup_holds_and_reads_only_what_changed() {
    let disk = disk();
    let store = options(&disk).open(DB).unwrap();
    let insert = |keys: &mut dyn Iterator<Item = u32>| {
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        for key in keys {
            txn.insert(tree, &key.to_be_bytes(), &[key as u8; 100]).unwrap();
        }
        txn.commit().unwrap();
    };
    insert(&mut (0..60_000));
    let (_, full) = back_up(&store, BackupOptions::new());
    assert!(full.pages > 1_500, "{full:?}");
    insert(&mut [7, 30_000].into_iter());
    let (_, part) = back_up(&store, BackupOptions::new().since(full.commit));
    assert!((3..=9).contains(&part.pages), "two leaves and what is above them: {part:?}");
    assert_eq!(part.pages_left_out, 0, "{part:?}");
}

#[test]
fn power_cuts_during_a_restore_leave_the_whole_or_nothing() {
    let (_, _, [full, part], [_, model]) = small();
    let count = {
        let disk = disk();
        restore_all(&disk, &[&full, &part]).unwrap();
        disk.op_count()
    };
    let mut whole = 0;
    for op in 0..=count {
        let disk = disk();
        disk.cut_power_at(op);
        let done = restore_all(&disk, &[&full, &part]).is_ok();
        for seed in 0..8 {
            let after = disk.crash_image(seed * 1_000 + op);
            let is_there = after.exists(Path::new(TO)).unwrap();
            assert!(is_there || !done, "what was acknowledged is there: operation {op}");
            if is_there {
                whole += 1;
                assert!(restored(&after).1 == model, "operation {op}");
            } else {
                restore_all(&after, &[&full, &part]).unwrap();
                assert!(restored(&after).1 == model, "again after operation {op}");
            }
        }
    }
    assert!(whole > 8);
}

#[test]
fn an_error_at_any_operation_of_a_restore_leaves_the_whole_or_nothing() {
    let (_, _, [full, part], [_, model]) = small();
    let count = {
        let disk = disk();
        restore_all(&disk, &[&full, &part]).unwrap();
        disk.op_count()
    };
    for op in 0..count {
        let kinds = [
            FaultKind::Fails,
            FaultKind::NoSpace,
            FaultKind::ShortWrite,
            FaultKind::ShortRead,
            FaultKind::Interrupted,
        ];
        for kind in
            kinds.into_iter().chain([SyncFailure::Forgets, SyncFailure::Reverts].map(FaultKind::SyncFails))
        {
            let disk = disk();
            disk.inject(Fault::new(kind, When::At(op)));
            let result = restore_all(&disk, &[&full, &part]);
            if disk.exists(Path::new(TO)).unwrap() {
                assert!(restored(&disk).1 == model, "operation {op}, {kind:?}");
            } else {
                assert!(result.is_err());
                disk.clear_faults();
                restore_all(&disk, &[&full, &part]).unwrap();
            }
        }
    }
}

#[test]
fn a_file_of_a_backup_is_there_when_it_is_whole() {
    let (disk, store, ..) = small();
    let to = Path::new("/f/full.backup");
    let begin = disk.op_count();
    let report = store.backup_to(to, BackupOptions::new(), &mut |_, _| {}).unwrap();
    let count = disk.op_count() - begin;
    assert_eq!(disk.read_file(to).unwrap().len() as u64, report.bytes);
    let again = store.backup_to(to, BackupOptions::new(), &mut |_, _| {}).unwrap_err();
    assert_eq!(again.code(), "LLMDB-P02");
    drop(store);
    for op in 0..=count {
        let (disk, store, _, [_, model]) = small();
        disk.cut_power_at(disk.op_count() + op);
        let done = store.backup_to(to, BackupOptions::new(), &mut |_, _| {}).is_ok();
        for seed in 0..8 {
            let after = disk.crash_image(seed);
            match after.read_file(to) {
                None => assert!(!done, "operation {op}"),
                Some(bytes) => {
                    let target = self::disk();
                    restore_all(&target, &[&bytes]).unwrap();
                    assert!(restored(&target).1 == model);
                }
            }
        }
    }
}

#[test]
fn a_restore_refuses_what_is_there() {
    let (disk, _store, [full, _], _) = small();
    disk.write_file(TO, b"something");
    assert_eq!(restore_all(&disk, &[&full]).unwrap_err().code(), "LLMDB-P02");
    assert_eq!(disk.read_file(TO).unwrap(), b"something");
    disk.remove_file(TO);
    disk.write_file(format!("{TO}-wal"), b"a log of whatever");
    let error = restore_all(&disk, &[&full]).unwrap_err();
    assert!(error.to_string().contains("-wal exists already"), "{error}");
}

#[test]
fn damage_in_the_database_ends_its_backup() {
    let (disk, store, ..) = small();
    store.close().unwrap();
    let bytes = disk.read_file(DB).unwrap();
    let mut found = 0;
    for page in 2..bytes.len() as u64 / 4096 {
        let disk = disk.kill_image();
        disk.flip_bit(DB, page * 4096 + 2_000, 3);
        let Ok(store) = options(&disk).open(DB) else { continue };
        let mut out = Vec::new();
        match store.backup(BackupOptions::new(), &mut out, &mut |_, _| {}) {
            Err(error) => {
                assert!(error.to_string().contains("page"), "{error}");
                assert!(restore_all(&self::disk(), &[&out]).is_err(), "what was written is no backup");
                found += 1;
            }
            Ok(_) => drop(restore_all(&self::disk(), &[&out]).unwrap()),
        }
    }
    assert!(found >= 3, "{found}");
}

#[test]
fn the_golden_backups_of_version_1_restore() {
    let full = include_bytes!("data/backup-v1-full.bin");
    let part = include_bytes!("data/backup-v1-part.bin");
    let (_, _, _, [before, after]) = small();
    let disk = disk();
    restore_all(&disk, &[full]).unwrap();
    assert!(restored(&disk).1 == before);
    disk.remove_file(TO);
    restore_all(&disk, &[full, part]).unwrap();
    assert!(restored(&disk).1 == after);
}
