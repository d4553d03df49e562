//! Power cuts at any operation of a database without a log, on the simulated disk.
//!
//! Each case runs a seeded history of every kind of change until the power fails at a chosen operation, then
//! looks at several of the disks that a machine might find afterwards. Oracle: the state is exactly that
//! after one of the commits, no older than the newest that was acknowledged; the whole file checks out; what
//! was served survives the next cut. `LLMDB_SIM_CASES` sets how many crash points are tried (default 4,000).

use llmdb_btree::{BulkOptions, Database, TreeId, WriteTxn};
use llmdb_pager::PagerOptions;
use llmdb_pager::sim::{SimDisk, SimOptions};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

const DB: &str = "/c.llmdb";
const IMAGES_PER_CUT: u64 = 8;
const COMMITS: u64 = 12;
const CASES: u64 = 4_000;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;
type Model = BTreeMap<String, Records>;

/// A small generator, so that a seed says all.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn key(&mut self) -> Vec<u8> {
        let mut key = self.below(300).to_be_bytes()[6..].to_vec();
        key.resize([2, 6, 200][self.below(3) as usize], b'k');
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let len = [10, 100, 700, 6_000][self.below(16).saturating_sub(12) as usize];
        vec![self.next() as u8; len]
    }
}

fn options(disk: &SimDisk) -> PagerOptions {
    PagerOptions::new().storage(Arc::new(disk.clone()))
}

/// What a history did before the power failed.
struct Run {
    /// The state after each commit that was tried; index 0 is the empty database.
    states: Vec<Model>,
    /// `None` until the file was made.
    acknowledged: Option<usize>,
}

/// Runs a history until its end or the first error.
fn run(disk: &SimDisk, seed: u64) -> Run {
    let mut rng = Rng(seed);
    let mut run = Run { states: vec![Model::new()], acknowledged: None };
    let Ok(db) = Database::create(options(disk), DB) else { return run };
    run.acknowledged = Some(0);
    for _ in 0..COMMITS {
        let mut model = run.states.last().expect("never empty").clone();
        let Some(txn) = change(&db, &mut rng, &mut model) else { return run };
        if rng.below(8) == 0 {
            drop(txn);
            continue;
        }
        run.states.push(model);
        match txn.commit() {
            Ok(seq) => run.acknowledged = Some(seq as usize),
            Err(_) => return run,
        }
        assert_eq!(run.acknowledged, Some(run.states.len() - 1), "numbers are dense");
    }
    run
}

fn change(db: &Database, rng: &mut Rng, model: &mut Model) -> Option<WriteTxn> {
    let mut txn = db.begin_write().ok()?;
    for _ in 0..1 + rng.below(3) {
        let name = ["a", "b"][rng.below(2) as usize];
        if rng.below(15) == 0 {
            assert_eq!(txn.drop_tree(name).ok()?, model.remove(name).is_some());
            continue;
        }
        let tree = txn.create_tree(name).ok()?;
        one_change(&mut txn, tree, rng, model.entry(name.into()).or_default())?;
    }
    Some(txn)
}

fn one_change(txn: &mut WriteTxn, tree: TreeId, rng: &mut Rng, records: &mut Records) -> Option<()> {
    match rng.below(9) {
        0..3 => {
            for _ in 0..rng.below(60) {
                let (key, value) = (rng.key(), rng.value());
                txn.insert(tree, &key, &value).ok()?;
                records.insert(key, value);
            }
        }
        3 => {
            for _ in 0..rng.below(40) {
                let key = rng.key();
                assert_eq!(txn.remove(tree, &key).ok()?, records.remove(&key).is_some());
            }
        }
        4 => {
            let (low, high) = (rng.key(), rng.key());
            txn.remove_range(tree, Bound::Included(&low), Bound::Excluded(&high)).ok()?;
            records.retain(|key, _| *key < low || *key >= high);
        }
        5 => {
            let prefix = &rng.key()[..1 + rng.below(2) as usize];
            txn.remove_prefix(tree, prefix).ok()?;
            records.retain(|key, _| !key.starts_with(prefix));
        }
        6 => {
            let last = records.last_key_value().map_or(0, |(key, _)| u16::from_be_bytes([key[0], key[1]]));
            let first = (last + 1).min(u16::MAX - 200);
            let new: Vec<_> = (first..first + rng.below(150) as u16)
                .map(|n| (n.to_be_bytes().to_vec(), rng.value()))
                .filter(|(key, _)| records.last_key_value().is_none_or(|(last, _)| key > last))
                .collect();
            txn.bulk_load_with(tree, BulkOptions::new().fill_percent(90), new.clone()).ok()?;
            records.extend(new);
        }
        7 => {
            let from = rng.key();
            let mut cursor = txn.cursor_mut(tree);
            let mut stands = cursor.seek(&from).ok()?;
            while stands && rng.below(40) > 0 {
                let key = cursor.key().to_vec();
                if rng.below(2) == 0 {
                    cursor.remove().ok()?;
                    records.remove(&key);
                } else {
                    let value = rng.value();
                    cursor.replace(&value).ok()?;
                    records.insert(key, value);
                }
                stands = cursor.next().ok()?;
            }
        }
        _ => {
            let (key, value) = (rng.key(), vec![rng.next() as u8; 5_000 + rng.below(20_000) as usize]);
            txn.insert_reader(tree, &key, value.len() as u64, &value[..]).ok()?;
            records.insert(key, value);
        }
    }
    Some(())
}

/// Opens a disk after a cut; before the file was acknowledged it need not be there.
fn served(image: &SimDisk, run: &Run, at_least: usize) -> Option<usize> {
    let db = match Database::open(options(image), DB) {
        Ok(db) => db,
        Err(error) => {
            assert!(run.acknowledged.is_none(), "{error}");
            return None;
        }
    };
    let reader = db.begin_read();
    let seq = reader.seq() as usize;
    assert!(seq >= at_least, "commit {at_least} was acknowledged or served, only {seq} are there");
    assert!(seq < run.states.len(), "commit {seq} was never tried");
    let mut found = Model::new();
    for name in reader.tree_names().unwrap() {
        let tree = reader.tree(&name).unwrap().unwrap();
        let records = tree.iter().map(|record| record.map(|(key, value)| (key, value.to_vec())));
        found.insert(name, records.collect::<Result<_, _>>().unwrap());
    }
    assert!(found == run.states[seq], "the state is not that after commit {seq}");
    drop(reader);
    let report = db.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    Some(seq)
}

fn one_cut(seed: u64) {
    let fresh =
        || SimDisk::with_options(SimOptions { seed, file_capacity: 8 << 20, ..SimOptions::default() });
    let whole = fresh();
    run(&whole, seed);
    let mut rng = Rng(seed ^ 0x00c0_ffee);
    let disk = fresh();
    disk.cut_power_at(1 + rng.below(whole.op_count()));
    let run = run(&disk, seed);
    for _ in 0..IMAGES_PER_CUT {
        let image = disk.crash_image(rng.next());
        if let Some(seq) = served(&image, &run, run.acknowledged.unwrap_or(0)) {
            served(&image.crash_image(rng.next()), &run, seq);
        }
    }
}

#[test]
fn no_power_cut_loses_an_acknowledged_commit() {
    let cases = std::env::var("LLMDB_SIM_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    for seed in 0..u64::div_ceil(cases, IMAGES_PER_CUT) {
        let result = std::panic::catch_unwind(|| one_cut(seed));
        if let Err(panic) = result {
            eprintln!("the failing seed is {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
