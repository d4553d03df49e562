//! What `check` finds, in stores that were tampered with below the layer.

use std::ops::Bound::Unbounded;

use llmdb_temporal::{Error, Known, Period, Temporal, TemporalCheck, encoding};
use llmdb_wal::Store;

use crate::support::{Bench, at, span};

const NOW: &str = "temporal/1/now/0";
const PAST: &str = "temporal/1/past/0";
const OPS: &str = "temporal/1/ops";
const COMMITS: &str = "temporal/1/commits";
const TIMES: &str = "temporal/1/times";

/// Three commits over two keys, with corrections.
fn sample() -> Bench {
    let bench = Bench::new(9);
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
    assert_eq!(count, (1, 4, 4, 2));
    let stored = records(bench.db().store(), NOW).len() + records(bench.db().store(), PAST).len();
    assert_eq!(report.break_points, stored as u64);
    assert_eq!(check(Bench::new(1).db()).unwrap(), TemporalCheck::default());
}

#[test]
fn a_missing_break_point_is_found_with_its_key_and_commit() {
    let bench = sample();
    for tree in [NOW, PAST] {
        for record in records(bench.db().store(), tree) {
            let error = found(&bench, tree, Some(&record), None);
            let Error::Damaged { place, key, commit, .. } = error else { unreachable!() };
            assert!(place.contains("main") && (key == b"apple" || key == b"pear"));
            assert!(commit.is_some());
        }
    }
}

#[test]
fn a_flipped_bit_in_any_break_point_or_commit_is_found() {
    let bench = sample();
    for tree in [NOW, PAST, COMMITS, TIMES] {
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
    let stranger = encoding::live_key(&encoding::prefix(b"fig"), at(1));
    let record = records(bench.db().store(), NOW).remove(0).1;
    let error = found(&bench, NOW, None, Some(&(stranger, record.clone())));
    assert!(matches!(&error, Error::Damaged { key, .. } if key == b"fig"), "{error}");
    let extra = encoding::live_key(&encoding::prefix(b"apple"), at(1_000));
    let error = found(&bench, NOW, None, Some(&(extra, record)));
    assert!(matches!(&error, Error::Damaged { key, .. } if key == b"apple"), "{error}");
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
        later[7] = 200;
        found(&bench, OPS, Some(&record), Some(&(later, value)));
    }
}

#[test]
fn reads_of_damaged_entries_are_errors_and_never_panics() {
    let bench = sample();
    let store = bench.db().store();
    let original = records(store, NOW);
    for (index, record) in original.iter().enumerate() {
        for broken in [vec![], vec![9; 30], vec![1, 0, 0], record.1[..8].to_vec()] {
            replace(store, NOW, Some(record), Some(&(record.0.clone(), broken)));
            let read = bench.db().begin_read().unwrap();
            let versions = [read.versions("main", b"apple"), read.versions("main", b"pear")];
            let failed = versions.iter().filter(|rows| rows.is_err()).count();
            assert_eq!(failed, 1, "exactly the key of entry {index} is unreadable");
            let rows = read.scan("main", Unbounded, Unbounded, at(6), Known::Commit(1)).unwrap();
            rows.for_each(drop);
            drop(read);
            replace(store, NOW, None, Some(record));
        }
    }
    check(bench.db()).unwrap();
}

#[test]
fn collections_in_a_form_of_another_version_are_refused_and_left_alone() {
    let bench = Bench::new(9);
    replace(bench.db().store(), "temporal/2/catalog", None, Some(&(vec![1], vec![2])));
    let error = Temporal::open(bench.db().store().clone()).unwrap_err();
    assert!(matches!(&error, Error::Format { found } if found == "temporal/2/catalog"), "{error}");
    assert_eq!(error.code(), "LLMDB-T11");
}

#[test]
fn a_store_shared_with_other_trees_keeps_its_answers_by_the_newest_commit_of_ours() {
    let bench = sample();
    replace(bench.db().store(), "of others", None, Some(&(vec![1], vec![2])));
    let mut tx = bench.db().begin_write().unwrap();
    tx.put("main", b"apple", span(0, 1), b"late").unwrap();
    let receipt = tx.commit().unwrap();
    assert_eq!(receipt.commit.get(), 5, "the other transaction took number 4");
    let read = bench.db().begin_read().unwrap();
    assert_eq!(read.resolve(Known::Commit(4)).unwrap(), read.resolve(Known::Commit(3)).unwrap());
    let value = |commit| read.get_value("main", b"apple", at(0), Known::Commit(commit)).unwrap();
    assert_eq!(value(4).as_deref(), Some(&b"red"[..]));
    assert_eq!(value(5).as_deref(), Some(&b"late"[..]));
    check(bench.db()).unwrap();
}
