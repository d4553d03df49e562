//! What `check` finds, in stores that were tampered with below the layer.

use std::ops::Bound::Unbounded;

use llmdb_temporal::{Error, Known, Period, Temporal, TemporalCheck, encoding};
use llmdb_wal::Store;

use crate::support::{BLOCK_SIZES, Bench, at, span};

const NOW: &str = "temporal/5/now/0";
const PAST: &str = "temporal/5/past/0";
const RANGES: &str = "temporal/5/ranges/0";
const OPS: &str = "temporal/5/ops";
const COMMITS: &str = "temporal/5/commits";
const TIMES: &str = "temporal/5/times";

/// A few commits over three keys, with corrections: blocks of two break points, closed ones, several ranges.
fn sample() -> Bench {
    let bench = Bench::with_blocks(9, BLOCK_SIZES[0]);
    let record = |key: &[u8], period: Period, value: Option<&[u8]>| {
        let mut tx = bench.db().begin_write().unwrap();
        match value {
            Some(value) => tx.put("main", key, period, value).unwrap(),
            None => tx.delete("main", key, period).unwrap(),
        }
        tx.commit().unwrap();
    };
    record(b"apple", span(0, 10), Some(b"red"));
    record(b"apple", span(3, 7), Some(b"green"));
    record(b"pear", Period::since(at(5)), Some(b""));
    record(b"apple", span(5, 20), None);
    record(b"fir", span(1, 2), Some(b"gone"));
    record(b"fir", span(0, 9), None);
    bench
}

type Record = (Vec<u8>, Vec<u8>);

fn records(store: &Store, tree: &str) -> Vec<Record> {
    let txn = store.begin_read().unwrap();
    let tree = txn.tree(tree).unwrap().unwrap();
    tree.range(Unbounded, Unbounded)
        .map(|row| row.map(|(key, value)| (key, value.to_vec())).unwrap())
        .collect()
}

/// Puts one record in the place of another, either of which may be missing.
fn replace(store: &Store, tree: &str, old: Option<&Record>, new: Option<&Record>) {
    let mut txn = store.begin_write().unwrap();
    let tree = txn.create_tree(tree).unwrap();
    if let Some((key, _)) = old {
        assert!(txn.remove(tree, key).unwrap());
    }
    if let Some((key, value)) = new {
        txn.insert(tree, key, value).unwrap();
    }
    txn.commit().unwrap();
}

fn check(db: &Temporal) -> Result<TemporalCheck, Error> {
    db.begin_read().unwrap().check(&mut |done, total| assert!(done <= total))
}

/// Checks that exactly one tampering is found, says so, and is gone when it is undone.
fn found(bench: &Bench, tree: &str, old: Option<&Record>, new: Option<&Record>) -> Error {
    let store = bench.db().store();
    // A changed key may be that of another record, which it then replaces.
    let replaced = records(store, tree)
        .into_iter()
        .find(|record| new.is_some_and(|new| new.0 == record.0) && old.is_none_or(|old| old.0 != record.0));
    replace(store, tree, old, new);
    let error = check(bench.db()).expect_err("the tampering is found");
    assert_eq!(error.code(), "LLMDB-T10", "{error}");
    replace(store, tree, new, old);
    replace(store, tree, None, replaced.as_ref());
    check(bench.db()).expect("the undone tampering leaves no trace");
    error
}

#[test]
fn a_sound_database_passes_and_says_what_was_looked_at() {
    let bench = sample();
    let report = check(bench.db()).unwrap();
    let count = (report.collections, report.commits, report.operations, report.keys);
    assert_eq!(count, (1, 6, 6, 3));
    assert_eq!(report.blocks, records(bench.db().store(), PAST).len() as u64);
    let blocks: Vec<bool> =
        records(bench.db().store(), PAST).iter().map(|block| block.0.ends_with(&[0xff; 8])).collect();
    assert!(blocks.contains(&true) && blocks.contains(&false), "there are open and closed blocks");
    assert!(report.break_points >= 8 && !records(bench.db().store(), RANGES).is_empty(), "{report:?}");
    assert_eq!(check(Bench::new(1).db()).unwrap(), TemporalCheck::default());
}

#[test]
fn a_missing_record_is_found_with_its_key() {
    let bench = sample();
    for tree in [NOW, PAST, RANGES] {
        for record in records(bench.db().store(), tree) {
            let error = found(&bench, tree, Some(&record), None);
            let Error::Damaged { place, key, .. } = error else { unreachable!() };
            assert!(place.contains("main") && [&b"apple"[..], b"pear", b"fir"].contains(&&key[..]));
        }
    }
}

#[test]
fn a_flipped_bit_in_any_record_or_commit_is_found() {
    let bench = sample();
    for tree in [NOW, PAST, RANGES, COMMITS, TIMES] {
        for record in records(bench.db().store(), tree) {
            for bit in 0..(record.0.len() + record.1.len()) * 8 {
                let (mut key, mut value) = record.clone();
                let place = bit / 8;
                let length = key.len();
                let byte = if place < length { &mut key[place] } else { &mut value[place - length] };
                *byte ^= 1 << (bit % 8);
                found(&bench, tree, Some(&record), Some(&(key, value)));
            }
        }
    }
}

#[test]
fn a_break_point_that_no_operation_explains_is_found() {
    let bench = sample();
    let store = bench.db().store();
    let fig = encoding::prefix(b"fig");
    let pear = records(store, NOW).pop().unwrap().1;
    let error = found(&bench, NOW, None, Some(&(fig.clone(), pear)));
    assert!(matches!(&error, Error::Damaged { key, .. } if key == b"fig"), "{error}");
    // Blocks and ranges of a key that has no record, and of one that has.
    for (tree, size) in [(PAST, 16), (RANGES, 8)] {
        let (key, record) = records(store, tree).remove(0);
        let behind = key[key.len() - size..].to_vec();
        let stranger = [&fig[..], &behind].concat();
        let error = found(&bench, tree, None, Some(&(stranger, record.clone())));
        assert!(matches!(&error, Error::Damaged { key, .. } if key == b"fig"), "{error}");
        let extra = [&encoding::prefix(b"pear")[..], &behind].concat();
        let error = found(&bench, tree, None, Some(&(extra, record)));
        assert!(matches!(&error, Error::Damaged { key, .. } if key == b"pear"), "{error}");
    }
}

#[test]
fn a_lost_or_foreign_operation_is_found() {
    let bench = sample();
    for record in records(bench.db().store(), OPS) {
        found(&bench, OPS, Some(&record), None);
        let (key, mut other_collection) = record.clone();
        other_collection[1] = 1;
        found(&bench, OPS, Some(&record), Some(&(key, other_collection)));
        let (mut later, value) = record.clone();
        later[1] = 200;
        found(&bench, OPS, Some(&record), Some(&(later, value)));
    }
}

/// What every kind of read says, or that it is an error.
fn answers(db: &Temporal) -> Vec<Option<String>> {
    let read = db.begin_read().unwrap();
    let mut all = Vec::new();
    for key in [&b"apple"[..], b"pear", b"fir"] {
        all.push(read.versions("main", key).map(|rows| format!("{rows:?}")).ok());
        all.push(read.history("main", key, at(6)).map(|rows| format!("{rows:?}")).ok());
        for commit in 0..7 {
            let known = Known::Commit(commit);
            all.push(read.timeline("main", key, Period::ALL, known).map(|rows| format!("{rows:?}")).ok());
            for instant in [0, 4, 6, 8, 15] {
                all.push(read.get("main", key, at(instant), known).map(|row| format!("{row:?}")).ok());
                all.push(read.get_value("main", key, at(instant), known).map(|row| format!("{row:?}")).ok());
            }
        }
    }
    for commit in 0..7 {
        let rows = read.scan("main", Unbounded, Unbounded, at(6), Known::Commit(commit)).unwrap();
        all.push(rows.collect::<Result<Vec<_>, _>>().map(|rows| format!("{rows:?}")).ok());
        let rows = read.diff("main", Known::Commit(commit), Known::Latest, (Unbounded, Unbounded)).unwrap();
        all.push(rows.collect::<Result<Vec<_>, _>>().map(|rows| format!("{rows:?}")).ok());
    }
    all
}

#[test]
fn reads_of_damaged_records_are_errors_or_right_and_never_panics() {
    let bench = sample();
    let store = bench.db().store();
    let sound = answers(bench.db());
    assert!(sound.iter().all(Option::is_some));
    for tree in [NOW, PAST, RANGES] {
        for record in records(store, tree) {
            for broken in [vec![], vec![9; 30], vec![1, 0, 0], record.1[..8].to_vec()] {
                replace(store, tree, Some(&record), Some(&(record.0.clone(), broken)));
                let found = answers(bench.db());
                assert!(found.contains(&None), "a broken record of {tree} was not noticed");
                for (found, sound) in found.iter().zip(&sound).filter(|(found, _)| found.is_some()) {
                    assert_eq!(found, sound, "in {tree}");
                }
                replace(store, tree, None, Some(&record));
            }
        }
    }
    check(bench.db()).unwrap();
}

#[test]
fn reads_over_flipped_bits_never_panic_or_hang() {
    let bench = sample();
    let store = bench.db().store();
    for tree in [NOW, PAST, RANGES] {
        for record in records(store, tree) {
            for bit in 0..record.1.len() * 8 {
                let mut value = record.1.clone();
                value[bit / 8] ^= 1 << (bit % 8);
                replace(store, tree, Some(&record), Some(&(record.0.clone(), value)));
                answers(bench.db());
            }
            replace(store, tree, None, Some(&record));
        }
    }
    check(bench.db()).unwrap();
}

#[test]
fn collections_in_a_form_of_another_version_are_refused_and_left_alone() {
    let bench = Bench::new(9);
    replace(bench.db().store(), "temporal/3/catalog", None, Some(&(vec![1], vec![2])));
    let error = Temporal::open(bench.db().store().clone()).unwrap_err();
    assert!(matches!(&error, Error::Format { found } if found == "temporal/3/catalog"), "{error}");
    assert_eq!(error.code(), "LLMDB-T11");
}

#[test]
fn a_store_shared_with_other_trees_keeps_its_answers_by_the_newest_commit_of_ours() {
    let bench = sample();
    replace(bench.db().store(), "of others", None, Some(&(vec![1], vec![2])));
    let mut tx = bench.db().begin_write().unwrap();
    tx.put("main", b"apple", span(0, 1), b"late").unwrap();
    let receipt = tx.commit().unwrap();
    assert_eq!(receipt.commit.get(), 7, "the other transaction took number 6");
    let read = bench.db().begin_read().unwrap();
    assert_eq!(read.resolve(Known::Commit(6)).unwrap(), read.resolve(Known::Commit(5)).unwrap());
    let value = |commit| read.get_value("main", b"apple", at(0), Known::Commit(commit)).unwrap();
    assert_eq!(value(6).as_deref(), Some(&b"red"[..]));
    assert_eq!(value(7).as_deref(), Some(&b"late"[..]));
    check(bench.db()).unwrap();
}
