//! Transactions larger than memory, and commits that are durable later: what they cost, what they leave
//! behind, and what a power cut at any operation leaves of them.

use llmdb_btree::{Database, Error, TreeId, WriteTxn};
use llmdb_pager::sim::{Fault, FaultKind, SimDisk, SimOptions, SyncFailure, When};
use llmdb_pager::{Error as PagerError, PagerOptions};
use std::collections::BTreeMap;
use std::sync::Arc;

const DB: &str = "/t.llmdb";

fn options(disk: &SimDisk) -> PagerOptions {
    PagerOptions::new().storage(Arc::new(disk.clone())).dirty_budget(0)
}

fn disk(capacity: usize) -> SimDisk {
    SimDisk::with_options(SimOptions { file_capacity: capacity, ..SimOptions::default() })
}

/// A key per number, in no order.
fn key(n: u32) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    key[4..8].copy_from_slice(&n.to_be_bytes());
    key
}

fn value(n: u32, mark: u8) -> [u8; 240] {
    let mut value = [mark; 240];
    value[..4].copy_from_slice(&n.to_le_bytes());
    value
}

fn fill(txn: &mut WriteTxn, tree: TreeId, numbers: impl Iterator<Item = u32>, mark: u8) {
    for n in numbers {
        txn.insert(tree, &key(n), &value(n, mark)).unwrap();
    }
}

/// All records are there, with this mark.
fn holds(db: &Database, numbers: std::ops::Range<u32>, mark: u8) {
    let reader = db.begin_read();
    let tree = reader.tree("t").unwrap().unwrap();
    assert_eq!(tree.len(), numbers.len() as u64);
    for n in numbers {
        assert_eq!(tree.get(&key(n)).unwrap(), Some(&value(n, mark)[..]), "record {n}");
    }
}

#[test]
fn a_transaction_of_64_mb_works_in_2_mb() {
    const COUNT: u32 = 250_000;
    const BUDGET: u64 = 2 << 20;
    let folder = tempfile::tempdir().unwrap();
    let options = PagerOptions::new().dirty_budget(BUDGET);
    let db = Database::create(options, folder.path().join("t.llmdb")).unwrap();
    let before = db.begin_read();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    let mut peak = 0;
    for part in 0..COUNT / 1000 {
        fill(&mut txn, tree, part * 1000..(part + 1) * 1000, 1);
        peak = peak.max(txn.pager_ref().dirty_bytes());
    }
    assert!(peak < BUDGET + 64 * 4096, "{peak} bytes of dirty pages at most");
    assert!(txn.pager_ref().spill_count() > 30, "it did not fit by far");
    for n in (0..COUNT).step_by(997) {
        assert_eq!(txn.get(tree, &key(n)).unwrap(), Some(&value(n, 1)[..]), "readable before the commit");
    }
    txn.commit().unwrap();
    assert!(before.tree("t").unwrap().is_none(), "older snapshots see nothing of it");
    drop(before);
    holds(&db, 0..COUNT, 1);
    let stat = db.pager().stat().unwrap();
    let used = (stat.page_count - stat.free_pages) * 4096;
    assert!(used < u64::from(COUNT) * 256 * 2, "{used} bytes in use");
    assert!(stat.page_count * 4096 < u64::from(COUNT) * 256 * 2, "{stat:?}");
    let report = db.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn a_large_transaction_that_is_dropped_leaves_nothing_behind() {
    let disk = disk(16 << 20);
    let db = Database::create(options(&disk), DB).unwrap();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    fill(&mut txn, tree, 0..2000, 1);
    txn.commit().unwrap();
    let before = db.pager().stat().unwrap();
    for _ in 0..3 {
        let reader = db.begin_read();
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        fill(&mut txn, tree, 0..6000, 2);
        assert!(txn.pager_ref().spill_count() > 3);
        drop(txn);
        let after = db.pager().stat().unwrap();
        assert_eq!((after.page_count, after.free_pages), (before.page_count, before.free_pages));
        assert_eq!((after.retired_pages, after.dirty_bytes), (before.retired_pages, 0));
        assert_eq!(reader.tree("t").unwrap().unwrap().get(&key(7)).unwrap(), Some(&value(7, 1)[..]));
    }
    holds(&db, 0..2000, 1);
    let report = db.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn a_disk_that_fills_up_while_spilling_ends_only_the_change() {
    let full = SimOptions { file_capacity: 16 << 20, disk_capacity: Some(2 << 20), ..SimOptions::default() };
    let disk = SimDisk::with_options(full);
    let db = Database::create(options(&disk), DB).unwrap();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    fill(&mut txn, tree, 0..2000, 1);
    txn.commit().unwrap();
    for goes_on in [false, true, false] {
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        let full = (0u32..).find_map(|n| txn.insert(tree, &key(1 << 20 | n), &[3; 240]).err()).unwrap();
        assert!(matches!(full, Error::Pager(PagerError::DiskFull { .. })), "{full}");
        let there = txn.tree(tree).unwrap().len();
        assert!(there > 2000, "the transaction stands as it was before the change");
        assert_eq!(txn.tree(tree).unwrap().iter().filter(|record| record.is_ok()).count() as u64, there);
        if goes_on {
            assert!(matches!(txn.commit(), Err(Error::Pager(PagerError::DiskFull { .. }))));
        }
        holds(&db, 0..2000, 1);
    }
    let mut txn = db.begin_write().unwrap();
    let tree = txn.open_tree("t").unwrap().unwrap();
    fill(&mut txn, tree, 0..500, 1);
    txn.commit().unwrap();
    holds(&db, 0..2000, 1);
    let report = db.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn updates_without_a_sync_go_round_in_the_same_space() {
    let disk = disk(16 << 20);
    let db = Database::create(options(&disk), DB).unwrap();
    let flushes = || disk.stats().syncs.values().sum::<u64>();
    let (mut sizes, flushes_before) = (Vec::new(), flushes());
    for round in 0..60u32 {
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        fill(&mut txn, tree, 0..1000, round as u8);
        txn.commit_unsynced().unwrap();
        holds(&db, 0..1000, round as u8);
        let stat = db.pager().stat().unwrap();
        assert_eq!(stat.checkpoint_commit, 0, "nothing is durable yet");
        sizes.push(stat.page_count);
    }
    assert!(sizes[59] <= sizes[4], "{sizes:?}");
    assert_eq!(flushes(), flushes_before);
    assert_eq!(db.sync().unwrap(), 60);
    assert_eq!(db.pager().stat().unwrap().checkpoint_commit, 60);
    let db = Database::open(options(&disk.crash_image(5)), DB).unwrap();
    holds(&db, 0..1000, 59);
}

#[test]
fn the_last_handle_makes_commits_durable() {
    let disk = disk(4 << 20);
    let db = Database::create(options(&disk), DB).unwrap();
    let other = db.clone();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    drop(db);
    fill(&mut txn, tree, 0..10, 1);
    txn.commit_unsynced().unwrap();
    holds(&other, 0..10, 1);
    let cut = Database::open(options(&disk.crash_image(1)), DB).unwrap();
    assert!(cut.begin_read().tree("t").unwrap().is_none(), "not durable yet");
    let mut last = other.begin_write().unwrap();
    drop(other);
    fill(&mut last, tree, 10..20, 1);
    last.commit_unsynced().unwrap();
    let db = Database::open(options(&disk.crash_image(2)), DB).unwrap();
    holds(&db, 0..20, 1);
}

type Model = BTreeMap<u32, u8>;

/// What a history left.
#[derive(Default)]
struct Left {
    /// The states that may be found after a power cut now: the last durable one, and one on its way.
    allowed: Vec<Model>,
    /// The state that was visible last.
    visible: Model,
}

/// A history of large and small transactions of all kinds, until its end or the first error.
fn history(disk: &SimDisk, seed: u64) -> Left {
    let mut left = Left { allowed: vec![Model::new()], visible: Model::new() };
    run(disk, seed, &mut left);
    left
}

fn run(disk: &SimDisk, seed: u64, left: &mut Left) -> Option<()> {
    let db = Database::create(options(disk), DB).ok()?;
    for round in 0..6u32 {
        let mut txn = db.begin_write().ok()?;
        let mut next = left.visible.clone();
        let tree = txn.create_tree("t").ok()?;
        let kind = (seed >> (round * 2)) & 3;
        let count = if kind == 0 { 20 } else { 400 };
        for n in 0..count {
            let number = (n * 7 + round * 100) % 900;
            txn.insert(tree, &key(number), &value(number, round as u8)).ok()?;
            next.insert(number, round as u8);
        }
        match kind {
            1 => {
                drop(txn);
                continue;
            }
            2 => {
                txn.commit_unsynced().ok()?;
                left.visible = next;
                continue;
            }
            3 => {
                txn.commit_unsynced().ok()?;
                left.visible = next;
                left.allowed.push(left.visible.clone());
                db.sync().ok()?;
            }
            _ => {
                left.allowed.push(next.clone());
                txn.commit().ok()?;
                left.visible = next;
            }
        }
        left.allowed = vec![left.visible.clone()];
    }
    // The close makes what is left durable.
    left.allowed.push(left.visible.clone());
    Some(())
}

fn judge(image: SimDisk, allowed: &[Model], what: &str) {
    let db = match Database::open(options(&image), DB) {
        Ok(db) => db,
        Err(Error::Pager(PagerError::NotFound { .. })) if allowed[0].is_empty() => return,
        Err(error) => panic!("{what}: {error}"),
    };
    let report = db.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{what}: {report:?}");
    let reader = db.begin_read();
    let mut found = Model::new();
    if let Some(tree) = reader.tree("t").unwrap() {
        for record in tree.iter() {
            let (_, stored) = record.unwrap();
            let number = u32::from_le_bytes(stored[..4].try_into().unwrap());
            assert_eq!(stored, value(number, stored[5]), "{what}");
            found.insert(number, stored[5]);
        }
    }
    assert!(allowed.contains(&found), "{what}: {} records are no state that may be there", found.len());
}

#[test]
fn a_power_cut_leaves_the_last_durable_state() {
    let mut cuts = 0;
    // Four kinds of transactions, two bits each: durable, dropped, not durable, not durable and synced.
    for seed in [0b11_10_01_10_00_10, 0b10_11_10_10_11_00, 0b00_01_11_10_10_11] {
        let whole = disk(8 << 20);
        history(&whole, seed);
        let ops = whole.op_count();
        // Every fifth operation of each history, from another one on each time.
        for cut in (1 + seed % 5..=ops).step_by(5) {
            let disk = disk(8 << 20);
            disk.cut_power_at(cut);
            let allowed = history(&disk, seed).allowed;
            for image in 0..2 {
                judge(disk.crash_image(cut * 31 + image), &allowed, &format!("history {seed:b}, cut {cut}"));
            }
            cuts += 1;
        }
    }
    assert!(cuts > 40, "{cuts} cuts");
}

#[test]
fn a_failing_operation_leaves_a_state_that_was_promised() {
    const SEED: u64 = 0b11_10_10_01_00_10;
    let whole = disk(8 << 20);
    history(&whole, SEED);
    let ops = whole.op_count();
    let kinds = [
        FaultKind::Fails,
        FaultKind::NoSpace,
        FaultKind::SyncFails(SyncFailure::Forgets),
        FaultKind::SyncFails(SyncFailure::Reverts),
    ];
    for (first, kind) in (1..).zip(kinds) {
        for op in (first..=ops).step_by(9) {
            let disk = disk(8 << 20);
            disk.inject(Fault::new(kind, When::NextFrom(op)));
            let mut left = history(&disk, SEED);
            disk.clear_faults();
            // The close after an error may still make durable what was visible.
            left.allowed.push(left.visible);
            for image in [disk.kill_image(), disk.crash_image(op)] {
                judge(image, &left.allowed, &format!("{kind:?} at operation {op}"));
            }
        }
    }
}

#[test]
fn memory_goes_back_when_dirty_pages_are_in_the_file() {
    const COUNT: u32 = 60_000;
    let folder = tempfile::tempdir().unwrap();
    let db = Database::create(PagerOptions::new(), folder.path().join("t.llmdb")).unwrap();
    for round in 0..3 {
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        fill(&mut txn, tree, 0..COUNT, round);
        txn.commit_unsynced().unwrap();
        let full = db.pager().stat().unwrap();
        assert!(full.frame_memory > u64::from(COUNT) * 256, "{full:?}");
        let reader = db.begin_read();
        db.sync().unwrap();
        let held = db.pager().stat().unwrap();
        assert_eq!(held.frame_memory, full.frame_memory, "the snapshot reads from memory still");
        let tree = reader.tree("t").unwrap().unwrap();
        assert!((0..COUNT).all(|n| tree.get(&key(n)).unwrap() == Some(&value(n, round)[..])));
        drop(reader);
        let mut txn = db.begin_write().unwrap();
        let tree = txn.open_tree("t").unwrap().unwrap();
        fill(&mut txn, tree, 0..1, round);
        txn.commit().unwrap();
        // What the checkpoint put into the file retires with the commit after it.
        db.begin_write().unwrap().commit().unwrap();
        let stat = db.pager().stat().unwrap();
        assert!(stat.frame_memory <= full.frame_memory / 4 + (1 << 18), "{stat:?}");
        holds(&db, 0..COUNT, round);
    }
}

#[test]
fn branches_of_many_trees_spill_too() {
    const TREES: u32 = 150;
    let disk = disk(32 << 20);
    let db = Database::create(options(&disk), DB).unwrap();
    let mut txn = db.begin_write().unwrap();
    let names: Vec<String> = (0..TREES).map(|n| format!("tree {n}")).collect();
    let mut peak = 0;
    for part in 0..6 {
        for name in &names {
            let tree = txn.create_tree(name).unwrap();
            fill(&mut txn, tree, part * 10..(part + 1) * 10, part as u8);
            peak = peak.max(txn.pager_ref().dirty_bytes());
        }
    }
    assert!(peak < 96 * 4096, "{TREES} branches do not fit: {peak}");
    for name in &names {
        let tree = txn.open_tree(name).unwrap().unwrap();
        assert_eq!(txn.tree(tree).unwrap().height().unwrap(), 2);
    }
    txn.commit_unsynced().unwrap();
    for (number, name) in names.iter().enumerate() {
        let mut txn = db.begin_write().unwrap();
        let tree = txn.open_tree(name).unwrap().unwrap();
        assert!(txn.remove(tree, &key(number as u32 % 60)).unwrap());
        txn.commit_unsynced().unwrap();
    }
    db.sync().unwrap();
    let db = Database::open(options(&disk.crash_image(1)), DB).unwrap();
    let reader = db.begin_read();
    for (number, name) in names.iter().enumerate() {
        let tree = reader.tree(name).unwrap().unwrap();
        for n in 0..60 {
            let expected = value(n, (n / 10) as u8);
            let is_there = n != number as u32 % 60;
            assert_eq!(tree.get(&key(n)).unwrap(), is_there.then_some(&expected[..]));
        }
    }
    drop(reader);
    let report = db.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// Bytes that the file system was asked to write.
fn bytes_written(disk: &SimDisk) -> u64 {
    disk.stats().bytes_written
}

#[test]
fn a_random_load_in_unsynced_commits_is_written_once_and_leaves_no_room_unused() {
    const COUNT: u32 = 40_000;
    let disk = disk(64 << 20);
    let options = PagerOptions::new().storage(Arc::new(disk.clone())).dirty_budget(20 << 20);
    let db = Database::create(options, DB).unwrap();
    let before = bytes_written(&disk);
    for part in 0..COUNT / 4000 {
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        fill(&mut txn, tree, part * 4000..(part + 1) * 4000, 1);
        txn.commit_unsynced().unwrap();
        assert!(db.pager().stat().unwrap().frame_memory <= (20 + 4) << 20);
    }
    db.sync().unwrap();
    let stat = db.pager().stat().unwrap();
    let (tree, user) = (14 << 20, u64::from(COUNT) * 256);
    assert!(stat.page_count * 4096 < tree, "{stat:?}, {user}");
    assert!(bytes_written(&disk) - before < tree + tree / 2, "{}", bytes_written(&disk) - before);
    holds(&db, 0..COUNT, 1);
}
