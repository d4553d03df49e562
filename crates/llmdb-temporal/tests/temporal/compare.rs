//! All reads of a snapshot against the naive model: every key, every cell of valid time, every commit.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use llmdb_temporal::{Known, Period, TemporalRead, ValidTime, Version};

use crate::oracle::Oracle;
use crate::script::{COLLECTIONS, KEYS};
use crate::support::time;

type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Compares everything; returns how many (key, instant, commit) triples it asked about.
pub(crate) fn compare(read: &TemporalRead, oracle: &Oracle) -> u64 {
    let mut cells = 0;
    compare_commits(read, oracle);
    for collection in COLLECTIONS {
        let exists = oracle.ops.iter().any(|op| op.collection == collection);
        assert_eq!(read.collection(collection).unwrap().is_some(), exists);
        for key in KEYS {
            cells += compare_points(read, oracle, collection, key);
            compare_timelines(read, oracle, collection, key);
        }
        compare_scans(read, oracle, collection);
        compare_diffs(read, oracle, collection);
    }
    compare_changes(read, oracle);
    let report = read.check(&mut |_, _| {}).expect("a sound database passes its check");
    assert_eq!(report.operations, oracle.ops.len() as u64);
    assert_eq!(report.commits, oracle.times.len() as u64);
    cells
}

fn compare_commits(read: &TemporalRead, oracle: &Oracle) {
    let newest = oracle.newest();
    let stamp = |commit: i64| (commit >= 0).then(|| oracle.stamp(commit.min(newest)));
    let stamp = |commit: i64| if newest < 0 { None } else { stamp(commit) };
    assert_eq!(read.newest(), stamp(newest));
    assert_eq!(read.resolve(Known::Latest).unwrap(), stamp(newest));
    for commit in [i64::MIN, -1].into_iter().chain(0..newest + 2).chain([i64::MAX]) {
        assert_eq!(read.resolve(Known::Commit(commit)).unwrap(), stamp(commit), "commit {commit}");
    }
    for (commit, &at) in oracle.times.iter().enumerate() {
        let commit = commit as i64;
        let resolve = |micros| read.resolve(Known::At(time(micros))).unwrap();
        assert_eq!(resolve(at), stamp(commit));
        assert_eq!(resolve(at - 1), stamp(commit - 1), "just before commit {commit}");
    }
    assert_eq!(read.resolve(Known::At(time(i64::MAX - 1))).unwrap(), stamp(newest));
    assert_eq!(read.resolve(Known::At(time(i64::MIN + 1))).unwrap(), None);
}

/// Every instant at every commit, one before the first and one after the newest included.
fn compare_points(read: &TemporalRead, oracle: &Oracle, collection: &str, key: &[u8]) -> u64 {
    let versions = oracle.versions(collection, key);
    let instants = oracle.instants(collection, key);
    let commits = -1..=oracle.newest() + 1;
    for &instant in &instants {
        for commit in commits.clone() {
            let known = Known::Commit(commit);
            let context = format!("{collection} {key:?} at {instant} known {commit}");
            let wanted = oracle.believed(collection, key, instant, commit).map(|belief| belief.value);
            let value = read.get_value(collection, key, instant, known).unwrap();
            assert_eq!(value.as_deref(), wanted.as_deref(), "{context}");
            let rectangle = versions.iter().find(|found| holds(found, instant, commit.min(oracle.newest())));
            let found = read.get(collection, key, instant, known).unwrap();
            assert_eq!(found.as_ref(), rectangle, "{context}");
            assert_eq!(found.map(|found| found.value), wanted, "{context}");
        }
        let latest = read.get_value(collection, key, instant, Known::Latest).unwrap();
        let wanted = oracle.believed(collection, key, instant, oracle.newest());
        assert_eq!(latest.as_deref(), wanted.as_ref().map(|belief| &belief.value[..]));
    }
    instants.len() as u64 * (oracle.newest() + 3) as u64
}

/// `timeline` in several windows at every commit; `history` at every instant; `versions`.
fn compare_timelines(read: &TemporalRead, oracle: &Oracle, collection: &str, key: &[u8]) {
    let versions = oracle.versions(collection, key);
    assert_eq!(read.versions(collection, key).unwrap(), versions, "{collection} {key:?}");
    let instants = oracle.instants(collection, key);
    for &instant in &instants {
        let wanted: Vec<Version> =
            versions.iter().filter(|found| found.valid.contains(instant)).cloned().collect();
        assert_eq!(read.history(collection, key, instant).unwrap(), wanted, "{key:?} at {instant}");
    }
    let middle = instants[instants.len() / 2];
    let windows = [
        Period::ALL,
        Period::new(ValidTime::NEG_INF, middle).unwrap(),
        Period::since(middle),
        Period::new(instants[instants.len() / 3], middle).unwrap(),
        Period::new(middle, middle).unwrap(),
    ];
    for commit in -1..=oracle.newest() + 1 {
        let pieces = oracle.pieces(collection, key, commit);
        let seen = commit.min(oracle.newest());
        for window in windows {
            let wanted: Vec<Version> = pieces
                .iter()
                .filter(|piece| piece.valid.overlaps(window))
                .map(|piece| {
                    let same = |found: &&Version| found.valid == piece.valid && stood(found, seen);
                    versions.iter().find(same).unwrap().clone()
                })
                .collect();
            let found = read.timeline(collection, key, window, Known::Commit(commit)).unwrap();
            assert_eq!(found, wanted, "{collection} {key:?} in {window} known {commit}");
        }
    }
}

/// `scan` is the map of the `get`s, in every kind of key range.
fn compare_scans(read: &TemporalRead, oracle: &Oracle, collection: &str) {
    let mut keys = KEYS.map(<[u8]>::to_vec);
    keys.sort();
    let ranges: [KeyRange<'_>; 6] = [
        (Unbounded, Unbounded),
        (Included(b"a"), Excluded(b"a\x01")),
        (Excluded(b"a"), Included(b"a\0\x01")),
        (Included(b""), Included(b"\xff\xff")),
        (Excluded(b"b"), Unbounded),
        (Included(b"b"), Included(b"a")),
    ];
    let instants: Vec<ValidTime> = oracle.instants(collection, KEYS[0]);
    for &instant in instants.iter().step_by(3) {
        for commit in -1..=oracle.newest() {
            let known = if commit == oracle.newest() { Known::Latest } else { Known::Commit(commit) };
            for range in ranges {
                let wanted: Vec<Version> = keys
                    .iter()
                    .filter(|key| within(range, key))
                    .filter_map(|key| read.get(collection, key, instant, known).unwrap())
                    .collect();
                let found: Result<Vec<Version>, _> =
                    read.scan(collection, range.0, range.1, instant, known).unwrap().collect();
                let found = found.unwrap();
                assert_eq!(found, wanted, "{range:?} at {instant} known {commit}");
                let Some(collection) = read.collection(collection).unwrap() else { continue };
                let values =
                    collection.scan_values(range.0, range.1, instant, known).unwrap().map(Result::unwrap);
                assert!(values.eq(found.iter().map(|row| (row.key.clone(), &row.value[..]))));
            }
        }
    }
}

fn compare_diffs(read: &TemporalRead, oracle: &Oracle, collection: &str) {
    let all: KeyRange<'_> = (Unbounded, Unbounded);
    let some: KeyRange<'_> = (Excluded(b"a"), Included(b"a\x01"));
    for from in -1..=oracle.newest() {
        for to in [-1, 0, from - 1, from, from + 1, oracle.newest()] {
            for range in [all, some] {
                let keys = oracle.keys(collection).into_iter().filter(|key| within(range, key));
                let wanted: Vec<_> = keys
                    .flat_map(|key| oracle.diff(collection, &key, from, to.min(oracle.newest())))
                    .collect();
                let found: Result<Vec<_>, _> =
                    read.diff(collection, Known::Commit(from), Known::Commit(to), range).unwrap().collect();
                assert_eq!(found.unwrap(), wanted, "{collection} from {from} to {to}");
            }
        }
    }
}

fn compare_changes(read: &TemporalRead, oracle: &Oracle) {
    for after in -1..=oracle.newest() {
        for up_to in [-1, after - 1, after, after + 1, oracle.newest(), i64::MAX] {
            for collection in [None, Some(COLLECTIONS[0]), Some(COLLECTIONS[1]), Some("unknown")] {
                let found: Result<Vec<_>, _> =
                    read.changes(collection, Known::Commit(after), Known::Commit(up_to)).unwrap().collect();
                assert_eq!(found.unwrap(), oracle.changes(collection, after, up_to), "{after} to {up_to}");
            }
        }
    }
}

fn within(range: KeyRange<'_>, key: &[u8]) -> bool {
    std::ops::RangeBounds::<[u8]>::contains(&range, key)
}

fn stood(version: &Version, commit: i64) -> bool {
    version.known_from.commit.get() as i64 <= commit
        && version.known_to.is_none_or(|to| commit < to.commit.get() as i64)
}

fn holds(version: &Version, instant: ValidTime, commit: i64) -> bool {
    version.valid.contains(instant) && stood(version, commit)
}
