//! Wiping: after it the files hold what is there and nothing else, whatever was there before, and however often the power
//! fails on the way.

#[path = "support/history.rs"]
mod history;

use history::{Model, Rng, state_of};
use llmdb_pager::sim::SimDisk;
use llmdb_wal::{BackupOptions, Durability, Error, Store, StoreOptions};
use std::collections::HashMap;
use std::sync::Arc;

const PATH: &str = "/w.llmdb";
/// The round whose marks stand in keys.
const OF_KEY: u64 = 0xffff_ffff;
const FILES: [&str; 2] = [PATH, "/w.llmdb-wal"];

fn options(disk: &SimDisk) -> StoreOptions {
    // 32 pages: larger transactions spill.
    history::small(StoreOptions::new().storage(Arc::new(disk.clone())).dirty_bytes(128 << 10))
}

/// What no other record has: so long that nothing else holds it by chance.
fn mark(number: u64, round: u64) -> Vec<u8> {
    let mut rng = Rng(number << 32 | round);
    (0..3).flat_map(|_| rng.next().to_be_bytes()).collect()
}

/// Keys that share beginnings, some of them long, so that separators hold much of them.
fn key(number: u64) -> Vec<u8> {
    let mut key = [b"shared beginning ", &number.to_be_bytes()[6..], b" of "].concat();
    key.extend(mark(number, OF_KEY));
    key.extend(vec![b'k'; (number % 7 * 20) as usize]);
    key
}

/// A value of some size with a mark at both of its ends.
fn value(number: u64, round: u64) -> Vec<u8> {
    let mark = mark(number, round);
    let len = match number % 9 {
        0 => 9_000 + number as usize,
        1 | 2 => 1_100,
        _ => 60,
    };
    [mark.clone(), vec![7; len], mark].concat()
}

/// Which of some needles a file holds: it is gone through once.
fn held<'n>(bytes: &[u8], needles: &'n [Vec<u8>]) -> Vec<&'n [u8]> {
    let begin = |needle: &[u8]| needle.first_chunk::<8>().copied().unwrap();
    let by_begin: HashMap<[u8; 8], &[u8]> =
        needles.iter().map(|needle| (begin(needle), needle.as_slice())).collect();
    let places = bytes.windows(8).enumerate();
    let at_begins = places.filter_map(|(at, window)| Some((at, *by_begin.get(window)?)));
    at_begins.filter(|(at, needle)| bytes[*at..].starts_with(needle)).map(|(_, needle)| needle).collect()
}

fn assert_gone(disk: &SimDisk, files: &[&str], needles: &[Vec<u8>]) {
    for file in files {
        let bytes = disk.read_file(file).unwrap_or_default();
        assert!(held(&bytes, needles).is_empty(), "{file} holds what was wiped");
    }
}

/// Fills a store with records, replaces some, and removes every third. Answers what must be found nowhere any more.
fn fill(store: &Store, records: u64) -> Result<Vec<Vec<u8>>, Error> {
    let mut gone = Vec::new();
    for start in (0..records).step_by(40) {
        let mut txn = store.begin_write()?;
        let tree = txn.create_tree("people")?;
        for number in start..(start + 40).min(records) {
            txn.insert(tree, &key(number * 37 % records), &value(number * 37 % records, 0))?;
        }
        txn.commit()?;
    }
    let mut txn = store.begin_write()?;
    let tree = txn.create_tree("people")?;
    for number in (0..records).filter(|number| number % 4 == 0) {
        // Shorter and longer ones.
        let new = value(number + 1, 1);
        txn.insert(tree, &key(number), &new)?;
        gone.push(mark(number, 0));
    }
    txn.commit()?;
    let mut txn = store.begin_write()?;
    for number in (0..records).filter(|number| number % 3 == 0) {
        assert!(txn.remove(tree, &key(number))?);
        gone.extend([mark(number, 0), mark(number + 1, 1), mark(number, OF_KEY)]);
    }
    txn.commit()?;
    // A transaction that spills and is given up.
    let mut txn = store.begin_write()?;
    for number in records..records * 3 {
        txn.insert(tree, &key(number), &value(number, 2))?;
        gone.extend([mark(number, 2), mark(number, OF_KEY)]);
    }
    drop(txn);
    Ok(gone)
}

fn content(store: &Store) -> Model {
    state_of(store).unwrap().1
}

#[test]
fn nothing_of_what_was_removed_is_left_anywhere() {
    for records in [1, 30, 400, 1_200] {
        let disk = SimDisk::new(records);
        let store = options(&disk).open(PATH).unwrap();
        let gone = fill(&store, records).unwrap();
        let finds = |file: &&str| !held(&disk.read_file(file).unwrap(), &gone).is_empty();
        assert!(FILES.iter().all(finds), "the scan finds what is there");
        let before = content(&store);
        assert!(!store.rests().unwrap().is_clean());
        let wiped = store.wipe().unwrap();
        assert!(wiped.is_complete() && wiped.free_bytes > 0 && wiped.log_bytes > 0, "{wiped:?}");
        assert_gone(&disk, &FILES, &gone);
        assert!(store.rests().unwrap().is_clean(), "{:?}", store.rests().unwrap());
        assert_eq!(content(&store), before);
        assert_eq!(store.check(&mut |_, _| {}).unwrap().damage, []);
        // Nothing to do the second time, and pages made from now on hold nothing old.
        let again = store.wipe().unwrap();
        assert!(again.is_clean(), "{again:?}");
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("others").unwrap();
        for number in 0..records {
            txn.insert(tree, &number.to_be_bytes(), &[9; 50]).unwrap();
        }
        txn.commit().unwrap();
        store.backup_to("/w.backup", BackupOptions::new(), &mut |_, _| {}).unwrap();
        store.compact_to("/dense.llmdb", &mut |_, _| {}).unwrap();
        assert_gone(&disk, &["/w.backup", "/dense.llmdb"], &gone);
        store.close().unwrap();
        let store = options(&disk).open(PATH).unwrap();
        let mut after = content(&store);
        after.remove("others");
        assert_eq!(after, before);
        assert_gone(&disk, &FILES, &gone);
    }
}

#[test]
fn a_reader_keeps_what_it_sees_and_the_wipe_says_so() {
    let disk = SimDisk::new(3);
    let store = options(&disk).open(PATH).unwrap();
    store.write(|txn| txn.create_tree("people").map(|_| ())).unwrap();
    let gone = fill(&store, 400).unwrap();
    let reader = store.begin_read().unwrap();
    let seen = reader.tree("people").unwrap().unwrap().len();
    let tree = reader.tree_id("people").unwrap().unwrap();
    store.write(|txn| txn.remove(tree, &key(1)).map(|_| ())).unwrap();
    let wiped = store.wipe().unwrap();
    assert!(!wiped.is_complete() && wiped.kept_pages > 0, "{wiped:?}");
    assert_eq!(wiped.oldest_snapshot, Some(reader.seq()));
    // What it sees is whole.
    let people = reader.tree("people").unwrap().unwrap();
    assert_eq!(people.iter().map(|record| assert!(record.is_ok())).count() as u64, seen);
    assert_eq!(people.get(&key(1)).unwrap().unwrap(), value(1, 0));
    drop(reader);
    let wiped = store.wipe().unwrap();
    assert!(wiped.is_complete(), "{wiped:?}");
    assert_gone(&disk, &FILES, &gone);
    assert_gone(&disk, &FILES, &[mark(1, 0), mark(1, OF_KEY)]);
    assert!(store.rests().unwrap().is_clean());
}

#[test]
fn writers_go_on_between_and_lose_nothing() {
    let disk = SimDisk::new(4);
    let store = options(&disk).open(PATH).unwrap();
    let (mut rng, mut model) = (Rng(9), Model::new());
    for round in 0..200 {
        let txn = history::change(&store, &mut rng, &mut model).unwrap();
        txn.commit().unwrap();
        if round % 9 == 0 {
            assert!(store.wipe().unwrap().is_complete());
        }
        if round % 50 == 0 {
            assert!(content(&store) == model, "round {round}");
            assert_eq!(store.check(&mut |_, _| {}).unwrap().damage, []);
        }
    }
    assert!(content(&store) == model);
    store.wipe().unwrap();
    assert!(store.rests().unwrap().is_clean());
}

/// Fills, then wipes until the power fails at operation `at` of the wipe; `None` where it came to its end before.
fn wipe_until(at: u64, seed: u64) -> Option<(SimDisk, Vec<Vec<u8>>, Model)> {
    let disk = SimDisk::new(seed);
    let store = options(&disk).open(PATH).unwrap();
    let gone = fill(&store, 60).unwrap();
    let before = content(&store);
    disk.cut_power_at(disk.op_count() + at);
    match store.wipe() {
        Ok(_) => None,
        Err(_) => Some((disk, gone, before)),
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_all_that_is_there_and_the_next_wipe_does_the_rest() {
    let (mut at, mut cuts) = (0, 0);
    while let Some((disk, gone, before)) = wipe_until(at, at) {
        for image in 0..2 {
            let disk = disk.crash_image(at * 31 + image);
            let store = options(&disk).open(PATH).unwrap_or_else(|error| panic!("cut at {at}: {error}"));
            assert!(content(&store) == before, "cut at {at}, image {image}");
            assert_eq!(store.check(&mut |_, _| {}).unwrap().damage, [], "cut at {at}, image {image}");
            assert!(store.wipe().unwrap().is_complete());
            assert_gone(&disk, &FILES, &gone);
            assert!(store.rests().unwrap().is_clean(), "cut at {at}, image {image}");
            assert!(content(&store) == before);
        }
        cuts += 1;
        at += 1;
    }
    assert!(cuts > 20, "only {cuts} operations");
}

#[test]
fn a_checkpoint_of_the_stores_own_thread_keeps_no_page_from_a_wipe() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new().dirty_bytes(256 << 10).log_capacity(1 << 20);
    let store = options.open(folder.path().join("w.llmdb")).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    for round in 0..80 {
        for commit in 0..12 {
            let mut txn = store.begin_write().unwrap();
            for number in 0..8 {
                txn.insert(tree, &key(commit * 8 + number + round % 3 * 50), &value(number, round)).unwrap();
            }
            // The last ones ask for a checkpoint, which is on its way when the wipe begins.
            txn.commit_with(Durability::None).unwrap();
        }
        let wiped = store.wipe().unwrap();
        assert!(wiped.is_complete(), "round {round}: {wiped:?}");
    }
}

#[test]
fn pages_that_wait_for_a_checkpoint_that_was_given_up_are_wiped_with_the_next() {
    let disk = SimDisk::new(7);
    let store = options(&disk).open(PATH).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    let put = |round: u64| {
        let mut txn = store.begin_write().unwrap();
        (0..40).for_each(|number| txn.insert(tree, &key(number), &value(number, round)).unwrap());
        txn.commit().unwrap();
    };
    put(0);
    store.checkpoint().unwrap();
    put(1);
    let planned = store.begin_checkpoint().unwrap().unwrap();
    put(2);
    drop(planned);
    let wiped = store.wipe().unwrap();
    assert!(wiped.is_complete(), "{wiped:?}");
    assert!(store.rests().unwrap().is_clean());
}
