//! Power cuts at any operation of pager, trees and log together, on the simulated disk.
//!
//! Each case runs a seeded history until the power fails at a chosen operation, then looks at several of
//! the disks that a machine might find afterwards. Oracle: the recovered state is that of exactly one
//! prefix of the commits, which holds every acknowledged one; what was served survives the next cut; the
//! whole file checks out. A failure prints the seeds. `LLMDB_SIM_CASES` sets how many crash points are
//! tried (default 100,000).

use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_wal::{Error, RunningCheckpoint, Store, StoreOptions};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

const IMAGES_PER_CUT: u64 = 16;
const COMMITS: u64 = 40;

type Model = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

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
}

fn options(disk: &SimDisk) -> StoreOptions {
    StoreOptions::new()
        .storage(Arc::new(disk.clone()))
        .clock(Arc::new(|| 1_000_000))
        .background(false)
        .checkpoint_bytes(60 << 10)
        // 32 pages: the largest transactions do not fit and spill.
        .dirty_bytes(128 << 10)
        .log_capacity(256 << 10)
}

/// What a history did before the power failed.
struct Run {
    /// The state after each commit that was tried; index 0 is the empty database.
    states: Vec<Model>,
    acknowledged: usize,
}

/// Runs a history until its end or the first error.
fn run(disk: &SimDisk, seed: u64) -> Run {
    let mut rng = Rng(seed);
    let mut run = Run { states: vec![Model::new()], acknowledged: 0 };
    let Ok(mut store) = options(disk).open("/s.llmdb") else { return run };
    let mut beside = None;
    for _ in 0..COMMITS {
        if step_checkpoint(&store, &mut beside, &mut rng).is_err() {
            return run;
        }
        if rng.below(12) == 0 {
            if rng.below(2) == 0 {
                if store.checkpoint().is_err() {
                    return run;
                }
            } else {
                if store.close().is_err() {
                    return run;
                }
                match options(disk).open("/s.llmdb") {
                    Ok(again) => store = again,
                    Err(_) => return run,
                }
            }
        }
        let mut model = run.states.last().expect("never empty").clone();
        let rolls_back = rng.below(10) == 0;
        let Some(txn) = change(&store, &mut rng, &mut model) else { return run };
        if rolls_back {
            drop(txn);
            continue;
        }
        run.states.push(model);
        match txn.commit() {
            Ok(receipt) => {
                assert_eq!(receipt.seq as usize, run.states.len() - 1, "numbers are dense");
                run.acknowledged = receipt.seq as usize;
            }
            Err(_) => return run,
        }
    }
    run
}

/// Now and then goes a step further with a checkpoint beside the commits: begins it, writes it, lets the writer know
/// or leaves that to the next transaction, or gives it up.
fn step_checkpoint(
    store: &Store,
    beside: &mut Option<(RunningCheckpoint, bool)>,
    rng: &mut Rng,
) -> Result<(), Error> {
    if rng.below(3) > 0 {
        return Ok(());
    }
    match beside.take() {
        None => *beside = store.begin_checkpoint()?.map(|checkpoint| (checkpoint, false)),
        Some((checkpoint, false)) if rng.below(8) == 0 => drop(checkpoint),
        Some((mut checkpoint, false)) => {
            checkpoint.write()?;
            *beside = Some((checkpoint, true));
        }
        Some((checkpoint, true)) if rng.below(2) == 0 => checkpoint.finish(),
        Some((checkpoint, true)) => drop(checkpoint),
    }
    Ok(())
}

fn change(store: &Store, rng: &mut Rng, model: &mut Model) -> Option<llmdb_wal::WriteTxn> {
    let mut txn = store.begin_write().ok()?;
    let name = ["a", "b", "c"][rng.below(3) as usize];
    if rng.below(40) == 0 {
        let dropped = txn.drop_tree(name).ok()?;
        assert_eq!(dropped, model.remove(name).is_some());
        return Some(txn);
    }
    let tree = txn.create_tree(name).ok()?;
    let records = model.entry(name.into()).or_default();
    let (changes, keys) = if rng.below(20) == 0 { (600, 3_000) } else { (8, 60) };
    for _ in 0..1 + rng.below(changes) {
        let key = rng.below(keys).to_be_bytes()[rng.below(4) as usize * 2..].to_vec();
        if rng.below(4) == 0 {
            let removed = txn.remove(tree, &key).ok()?;
            assert_eq!(removed, records.remove(&key).is_some());
            continue;
        }
        if rng.below(30) == 0 {
            let high = [&key[..key.len() - 1], &[key[key.len() - 1].saturating_add(9)]].concat();
            let before = records.len();
            records.retain(|other, _| *other < key || *other >= high);
            let removed = txn.remove_range(tree, Bound::Included(&key), Bound::Excluded(&high)).ok()?;
            assert_eq!(removed, (before - records.len()) as u64);
            continue;
        }
        let len = match rng.below(30) {
            0 => 3_000 + rng.below(9_000),
            1..5 => 900,
            _ => rng.below(120),
        };
        let value: Vec<u8> =
            (0..len).map(|place| (place as u8).wrapping_mul(31) ^ key[key.len() - 1]).collect();
        txn.insert(tree, &key, &value).ok()?;
        records.insert(key, value);
    }
    Some(txn)
}

fn state_of(store: &Store) -> (usize, Model) {
    let reader = store.begin_read().unwrap();
    let mut model = Model::new();
    for name in reader.tree_names().unwrap() {
        let tree = reader.tree(&name).unwrap().unwrap();
        let records = tree.iter().map(|record| record.map(|(key, value)| (key, value.to_vec())));
        model.insert(name, records.collect::<Result<_, _>>().unwrap());
    }
    (reader.seq() as usize, model)
}

/// The recovered state must be one of the run's, no older than what was acknowledged.
fn judge(store: &Store, run: &Run, at_least: usize) -> usize {
    let (seq, state) = state_of(store);
    assert!(seq >= at_least, "commit {at_least} was acknowledged or served, only {seq} are there");
    assert!(seq < run.states.len(), "commit {seq} was never tried");
    assert_eq!(state, run.states[seq], "the state after commit {seq}");
    seq
}

/// Looks at one disk after the cut; then cuts the power again, also in the middle of recovery.
fn look(image: SimDisk, run: &Run, seed: u64) {
    let mut rng = Rng(seed);
    if rng.below(4) == 0 {
        let ops = image.op_count();
        image.cut_power_at(ops + rng.below(30));
        let _ = options(&image).open("/s.llmdb");
        return look_again(image.crash_image(rng.next()), run, run.acknowledged, &mut rng);
    }
    let Some(store) = open_or_absent(&image, run) else { return };
    let served = judge(&store, run, run.acknowledged);
    if rng.below(8) == 0 {
        let report = store.check(&mut |_, _| {}).unwrap();
        assert!(report.is_sound(), "{report:?}");
    }
    let mut model = run.states[served].clone();
    let more = rng.below(3) == 0;
    if more {
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("after").unwrap();
        txn.insert(tree, b"k", &seed.to_le_bytes()).unwrap();
        txn.commit().unwrap();
        model.entry("after".into()).or_default().insert(b"k".to_vec(), seed.to_le_bytes().to_vec());
    }
    let next = image.crash_image(rng.next());
    drop(store);
    let store = options(&next).open("/s.llmdb").unwrap();
    let (seq, state) = state_of(&store);
    assert_eq!((seq, &state), (served + usize::from(more), &model), "what was served survives the next cut");
}

fn look_again(image: SimDisk, run: &Run, at_least: usize, rng: &mut Rng) {
    let Some(store) = open_or_absent(&image, run) else { return };
    let served = judge(&store, run, at_least);
    let next = image.crash_image(rng.next());
    drop(store);
    let store = options(&next).open("/s.llmdb").unwrap();
    judge(&store, run, served);
}

/// Before anything was acknowledged the file may not be there yet.
fn open_or_absent(image: &SimDisk, run: &Run) -> Option<Store> {
    match options(image).create(false).open("/s.llmdb") {
        Ok(store) => Some(store),
        Err(error) => {
            assert!(
                matches!(error.pager(), Some(llmdb_pager::Error::NotFound { .. })) && run.acknowledged == 0,
                "{error}"
            );
            None
        }
    }
}

fn cases() -> u64 {
    std::env::var("LLMDB_SIM_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

fn fresh_disk(seed: u64) -> SimDisk {
    SimDisk::with_options(SimOptions { seed, file_capacity: 2 << 20, ..SimOptions::default() })
}

fn one_cut(seed: u64) {
    let whole = fresh_disk(seed);
    run(&whole, seed);
    let ops = whole.op_count();
    drop(whole);
    let mut rng = Rng(seed ^ 0x00c0_ffee);
    let disk = fresh_disk(seed);
    disk.cut_power_at(1 + rng.below(ops));
    let run = run(&disk, seed);
    for _ in 0..IMAGES_PER_CUT {
        let image_seed = rng.next();
        let image = disk.crash_image(image_seed);
        look(image, &run, image_seed);
    }
}

#[test]
fn no_power_cut_loses_an_acknowledged_commit() {
    cut_often(0, cases());
}

/// A million cuts with seeds of their own by `cargo xtask soak -p llmdb-wal`; a few otherwise.
#[test]
fn soak_power_cuts() {
    let soaks = std::env::var_os("LLMDB_SOAK").is_some();
    let asked = std::env::var("LLMDB_SIM_CASES").ok().and_then(|text| text.parse().ok());
    cut_often(1 << 32, if soaks { asked.unwrap_or(1_000_000) } else { 160 });
}

fn cut_often(first_seed: u64, cases: u64) {
    let cuts = cases.div_ceil(IMAGES_PER_CUT);
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for seed in (first_seed + half..first_seed + cuts).step_by(2) {
                    let result = std::panic::catch_unwind(|| one_cut(seed));
                    if let Err(panic) = result {
                        eprintln!("the failing seed is {seed}");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
    println!("{} crash points, no acknowledged commit lost", cuts * IMAGES_PER_CUT);
}
