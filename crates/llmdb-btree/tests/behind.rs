//! Transactions that write finished leaves while they go on: what stands in them, before and after the commit, after a
//! rollback, and after a power cut on the way.

use llmdb_btree::{Database, TreeId, WriteTxn};
use llmdb_pager::PagerOptions;
use llmdb_pager::sim::{SimDisk, SimOptions};
use std::collections::BTreeMap;
use std::sync::Arc;

const DB: &str = "/b.llmdb";
/// Leaves of 4 KiB hold 14 of these records: a run of so many leaves more than one stretch behind.
const RUN: u32 = 20_000;

type Model = BTreeMap<u32, u8>;

fn disk() -> SimDisk {
    SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() })
}

fn open(disk: &SimDisk) -> Database {
    let options = PagerOptions::new().storage(Arc::new(disk.clone()));
    match Database::open(options.clone(), DB) {
        Ok(db) => db,
        Err(_) => Database::create(options, DB).unwrap(),
    }
}

fn value(n: u32, mark: u8) -> [u8; 250] {
    let mut value = [mark; 250];
    value[..4].copy_from_slice(&n.to_le_bytes());
    value
}

fn put(txn: &mut WriteTxn, tree: TreeId, model: &mut Model, n: u32, mark: u8) {
    txn.insert(tree, &n.to_be_bytes(), &value(n, mark)).unwrap();
    model.insert(n, mark);
}

fn begin(db: &Database) -> (WriteTxn, TreeId) {
    let mut txn = db.begin_write().unwrap();
    txn.write_behind(true);
    let tree = txn.create_tree("t").unwrap();
    (txn, tree)
}

fn assert_holds(db: &Database, model: &Model, what: &str) {
    let reader = db.begin_read();
    let mut found = Model::new();
    if let Some(tree) = reader.tree("t").unwrap() {
        for record in tree.iter() {
            let (key, stored) = record.unwrap();
            let number = u32::from_be_bytes(key.try_into().unwrap());
            assert_eq!(stored, value(number, stored[5]), "{what}");
            found.insert(number, stored[5]);
        }
    }
    assert!(found == *model, "{what}: {} records and not {}", found.len(), model.len());
    let report = db.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{what}: {report:?}");
}

#[test]
fn runs_are_in_the_file_before_the_commit_and_can_be_changed_there() {
    let disk = disk();
    let db = open(&disk);
    let mut model = Model::new();
    for round in 0..2_u32 {
        let (mut txn, tree) = begin(&db);
        let written = disk.stats().bytes_written;
        for n in round * RUN..(round + 1) * RUN {
            put(&mut txn, tree, &mut model, n * 2, 1);
        }
        assert!(txn.pager_ref().spill_count() > 1);
        assert!(txn.pager_ref().dirty_bytes() < 3 << 20, "{}", txn.pager_ref().dirty_bytes());
        assert!(disk.stats().bytes_written - written > 3 << 20);
        // What was left behind is read, changed, removed, and filled up from within.
        for n in (0..RUN).step_by(7) {
            assert_eq!(
                txn.get(tree, &(n * 2).to_be_bytes()).unwrap(),
                Some(&value(n * 2, model[&(n * 2)])[..])
            );
            match n % 3 {
                0 => put(&mut txn, tree, &mut model, n * 2, 2),
                1 => put(&mut txn, tree, &mut model, n * 2 + 1, 3),
                _ => {
                    txn.remove(tree, &(n * 2).to_be_bytes()).unwrap();
                    model.remove(&(n * 2));
                    put(&mut txn, tree, &mut model, n * 2, 4);
                }
            }
        }
        // Back to a place from which a run went on over a stretch.
        let savepoint = txn.savepoint().unwrap();
        let spills = txn.pager_ref().spill_count();
        for n in 0..RUN {
            txn.insert(tree, &(1 << 24 | n).to_be_bytes(), &value(n, 9)).unwrap();
        }
        assert!(txn.pager_ref().spill_count() > spills);
        txn.go_back_to(&savepoint).unwrap();
        txn.commit().unwrap();
        assert_holds(&db, &model, "after the commit");
    }
    drop(db);
    assert_holds(&open(&disk), &model, "opened again");
}

#[test]
fn a_run_that_is_dropped_gives_its_pages_back() {
    let disk = disk();
    let db = open(&disk);
    let (mut txn, tree) = begin(&db);
    let mut model = Model::new();
    (0..1_000).for_each(|n| put(&mut txn, tree, &mut model, n, 1));
    txn.commit().unwrap();
    let before = db.pager().stat().unwrap();
    for _ in 0..2 {
        let (mut txn, tree) = begin(&db);
        (1_000..RUN).for_each(|n| put(&mut txn, tree, &mut Model::new(), n, 2));
        assert!(txn.pager_ref().spill_count() > 0);
        drop(txn);
        let after = db.pager().stat().unwrap();
        assert_eq!((after.page_count, after.free_pages), (before.page_count, before.free_pages));
    }
    assert_holds(&db, &model, "after two that were dropped");
}

#[test]
fn random_order_and_those_that_did_not_ask_stay_in_memory() {
    let db = open(&disk());
    for asks in [true, false] {
        let mut txn = db.begin_write().unwrap();
        txn.write_behind(asks);
        let tree = txn.create_tree("t").unwrap();
        for n in 0..RUN {
            let n = if asks { n.wrapping_mul(2_654_435_761) } else { n };
            txn.insert(tree, &n.to_be_bytes(), &value(n, 1)).unwrap();
        }
        assert_eq!(txn.pager_ref().spill_count(), 0);
    }
}

#[test]
fn a_power_cut_amid_a_run_leaves_the_state_before_it() {
    let whole = disk();
    let history = |disk: &SimDisk| -> Option<Vec<Model>> {
        let mut states = vec![Model::new()];
        let db = Database::create(PagerOptions::new().storage(Arc::new(disk.clone())), DB).ok()?;
        for round in 0..2_u32 {
            let mut txn = db.begin_write().ok()?;
            txn.write_behind(true);
            let tree = txn.create_tree("t").ok()?;
            let mut next = states[states.len() - 1].clone();
            for n in round * 9_000..(round + 1) * 9_000 {
                txn.insert(tree, &n.to_be_bytes(), &value(n, round as u8)).ok()?;
                next.insert(n, round as u8);
            }
            assert!(txn.pager_ref().spill_count() > 0);
            states.push(next);
            txn.commit().ok()?;
        }
        Some(states)
    };
    let states = history(&whole).unwrap();
    let mut found = [0; 3];
    for cut in 1..=whole.op_count() {
        let disk = disk();
        disk.cut_power_at(cut);
        history(&disk);
        let image = disk.crash_image(cut);
        let Ok(db) = Database::open(PagerOptions::new().storage(Arc::new(image)), DB) else {
            assert_eq!(found, [0; 3], "cut {cut}: a database that was there is not any more");
            continue;
        };
        let len = db.begin_read().tree("t").unwrap().map_or(0, |tree| tree.len());
        let state = states.iter().position(|state| state.len() as u64 == len).unwrap();
        assert_holds(&db, &states[state], &format!("cut {cut}"));
        found[state] += 1;
    }
    assert!(found.iter().all(|times| *times > 3), "{found:?}");
}
