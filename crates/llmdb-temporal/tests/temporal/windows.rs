//! Pieces by a window, `covers` and meetings of two timelines, against the naive model.

use std::ops::Bound::Unbounded;

use llmdb_temporal::{Bounds, Error, Known, Meeting, Period, TemporalRead, ValidTime, Version, Window};
use proptest::test_runner::{Config, TestRunner};

use crate::oracle::Oracle;
use crate::script::{COLLECTIONS, KEYS, play, script};
use crate::support::{BLOCK_SIZES, Bench, at, cases, span};

/// Windows that begin and end at bounds of operations, beside them, and open.
fn windows(oracle: &Oracle, key: &[u8]) -> Vec<Period> {
    let instants = oracle.instants(COLLECTIONS[0], key);
    let mut windows = Vec::new();
    for (index, from) in instants.iter().enumerate().step_by(2) {
        for to in instants[index..].iter().step_by(3) {
            windows.push(Period::new(*from, *to).unwrap());
        }
    }
    windows
}

/// Whether a piece is asked for, by the words of the definition.
fn is_wanted(row: &Version, window: Window) -> bool {
    let Period { from: begin, to: end } = row.valid;
    match window {
        Window::All => true,
        Window::FromTo(Period { from, to }) => begin < to && end > from && from < to,
        Window::Between(Period { from, to }) => begin <= to && end > from && from < ValidTime::POS_INF,
        Window::ContainedIn(Period { from, to }) => begin >= from && end <= to && from < to,
    }
}

fn compare(read: &TemporalRead, oracle: &Oracle) {
    let main = COLLECTIONS[0];
    for commit in [-1, oracle.newest() / 2, oracle.newest()] {
        let known = Known::Commit(commit);
        for key in [KEYS[0], KEYS[1]] {
            let all = read.timeline(main, key, Period::ALL, known).unwrap();
            let collection = read.collection(main).unwrap();
            for period in windows(oracle, key) {
                let wanted = all.iter().filter(|row| is_wanted(row, Window::FromTo(period)));
                let wanted: Vec<_> = wanted.map(|row| (row.valid, &row.value[..])).collect();
                let mut values = Vec::new();
                if let Some(collection) = &collection {
                    let told = |valid, value| values.push((valid, value));
                    collection.timeline_values(key, period, known, told).unwrap();
                }
                assert_eq!(values, wanted, "{period} known {commit}");
                for window in [
                    Window::All,
                    Window::FromTo(period),
                    Window::Between(period),
                    Window::ContainedIn(period),
                ] {
                    let wanted: Vec<_> = all.iter().filter(|row| is_wanted(row, window)).cloned().collect();
                    let found = read.between(main, key, window, Bounds::Stored, known).unwrap();
                    assert_eq!(found, wanted, "{window:?} known {commit}");
                    let clamped = read.between(main, key, window, Bounds::Clamped, known).unwrap();
                    let inside = window.period().unwrap();
                    for (row, stored) in clamped.iter().zip(&found) {
                        assert!(
                            !row.valid.is_empty()
                                && inside.from <= row.valid.from
                                && row.valid.to <= inside.to
                        );
                        assert!(stored.valid.from <= row.valid.from && row.valid.to <= stored.valid.to);
                        assert_eq!(Some(row.valid), stored.valid.common(inside));
                    }
                    assert_eq!(clamped.len(), found.len());
                }
                // Every cell of the period has a value.
                let instants = oracle.instants(main, key);
                let mut inside = instants.iter().filter(|at| period.from <= **at && **at < period.to);
                let is_covered = inside.all(|at| oracle.believed(main, key, *at, commit).is_some());
                assert_eq!(
                    read.covers(main, key, period, known).unwrap(),
                    is_covered,
                    "{period} known {commit}"
                );
            }
        }
        compare_meetings(read, oracle, commit);
    }
}

fn compare_meetings(read: &TemporalRead, oracle: &Oracle, commit: i64) {
    let (main, known) = (COLLECTIONS[0], Known::Commit(commit));
    for window in [Period::ALL, span(-3, 4), span(2, 2)] {
        let left = read.timeline(main, KEYS[0], Period::ALL, known).unwrap();
        let right = read.timeline(main, KEYS[1], Period::ALL, known).unwrap();
        let mut wanted = Vec::new();
        for one in &left {
            for other in &right {
                let from = one.valid.from.max(other.valid.from).max(window.from);
                let to = one.valid.to.min(other.valid.to).min(window.to);
                if from < to {
                    let valid = Period::new(from, to).unwrap();
                    wanted.push(Meeting { valid, left: one.clone(), right: other.clone() });
                }
            }
        }
        wanted.sort_by_key(|row| row.valid);
        let found = read.meetings((main, KEYS[0]), (main, KEYS[1]), window, known).unwrap();
        assert_eq!(found, wanted, "in {window} known {commit}");
        let (Some(one), Some(other)) =
            (read.collection(main).unwrap(), read.collection(COLLECTIONS[1]).unwrap())
        else {
            continue;
        };
        let found = one.meetings_of((Unbounded, Unbounded), &other, window, known).unwrap();
        let wanted: Vec<Meeting> = oracle
            .keys(main)
            .iter()
            .flat_map(|key| read.meetings((main, key), (COLLECTIONS[1], key), window, known).unwrap())
            .collect();
        assert_eq!(found, wanted);
    }
}

#[test]
fn every_window_and_meeting_is_what_its_words_say() {
    let config = Config { cases: cases(60), failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(script(1..10), 0..BLOCK_SIZES.len()), |(script, size)| {
            let (mut bench, mut oracle) = (Bench::with_blocks(1, BLOCK_SIZES[size]), Oracle::default());
            script.iter().for_each(|transaction| play(&mut bench, &mut oracle, transaction));
            compare(&bench.db().begin_read().unwrap(), &oracle);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn reversed_windows_are_refused_and_what_never_was_is_empty() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    tx.put("c", b"k", span(2, 9), b"v").unwrap();
    tx.put("c", b"once", Period::since(at(2)), b"v").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    let reversed = Period { from: at(4), to: at(3) };
    let known = Known::Latest;
    for collection in ["c", "unknown"] {
        for window in [Window::FromTo(reversed), Window::Between(reversed), Window::ContainedIn(reversed)] {
            let error = read.between(collection, b"k", window, Bounds::Stored, known).unwrap_err();
            assert!(matches!(error, Error::PeriodReversed { .. }));
        }
        assert!(matches!(read.covers(collection, b"k", reversed, known), Err(Error::PeriodReversed { .. })));
        let error = read.meetings((collection, b"k"), (collection, b"k"), reversed, known).unwrap_err();
        assert!(matches!(error, Error::PeriodReversed { .. }));
        assert!(read.covers(collection, b"k", span(4, 4), known).unwrap());
        assert!(!read.covers(collection, b"other", span(4, 5), known).unwrap());
    }
    assert!(read.covers("c", b"k", span(2, 9), known).unwrap());
    assert!(!read.covers("c", b"k", span(2, 10), known).unwrap());
    let collection = read.collection("c").unwrap().unwrap();
    let known_of = |key: &[u8]| (collection.was_ever(key).unwrap(), collection.has_history(key).unwrap());
    assert_eq!(
        [known_of(b"k"), known_of(b"once"), known_of(b"never")],
        [(true, true), (true, false), (false, false)]
    );
}

/// The pieces of all keys that start in a window, by the naive model.
fn began(
    oracle: &Oracle,
    collection: &str,
    window: Period,
    commit: i64,
) -> Vec<(ValidTime, Vec<u8>, ValidTime)> {
    let mut rows = Vec::new();
    for key in oracle.keys(collection) {
        let pieces = oracle.pieces(collection, &key, commit);
        let inside = pieces.iter().filter(|piece| window.contains(piece.valid.from));
        rows.extend(inside.map(|piece| (piece.valid.from, key.clone(), piece.valid.to)));
    }
    rows.sort();
    rows
}

#[test]
fn facts_by_where_they_began_are_those_of_the_naive_model_with_an_index_and_without() {
    let strategy = (script(1..14), 0..BLOCK_SIZES.len(), 0..14usize);
    TestRunner::new(Config { cases: cases(60), failure_persistence: None, ..Config::default() })
        .run(&strategy, |(script, size, indexed_at)| {
            let (mut bench, mut oracle) = (Bench::with_blocks(1, BLOCK_SIZES[size]), Oracle::default());
            for (index, transaction) in script.iter().enumerate() {
                if index == indexed_at {
                    // Takes a number, like any transaction.
                    let mut tx = bench.db().begin_write().unwrap();
                    assert!(
                        tx.index_starts(COLLECTIONS[0]).unwrap() && !tx.index_starts(COLLECTIONS[0]).unwrap()
                    );
                    drop(tx);
                }
                play(&mut bench, &mut oracle, transaction);
            }
            let mut tx = bench.db().begin_write().unwrap();
            tx.index_starts(COLLECTIONS[1]).unwrap();
            drop(tx);
            let compare = |read: &TemporalRead| {
                for commit in -1..=oracle.newest() {
                    let known = Known::Commit(commit);
                    for window in windows(&oracle, KEYS[0]).into_iter().chain([Period::ALL]) {
                        let rows = read.began(COLLECTIONS[0], window, known).unwrap();
                        let found: Vec<_> =
                            rows.iter().map(|row| (row.valid.from, row.key.clone(), row.valid.to)).collect();
                        assert_eq!(
                            found,
                            began(&oracle, COLLECTIONS[0], window, commit),
                            "{window} {commit}"
                        );
                        for row in rows {
                            let get = read.get(COLLECTIONS[0], &row.key, row.valid.from, known).unwrap();
                            assert_eq!(get, Some(row));
                        }
                    }
                }
            };
            compare(&bench.db().begin_read().unwrap());
            let mut tx = bench.db().begin_write().unwrap();
            tx.index_starts(COLLECTIONS[0]).unwrap();
            tx.commit().unwrap();
            let read = bench.db().begin_read().unwrap();
            assert!(read.collection(COLLECTIONS[0]).unwrap().unwrap().has_starts());
            compare(&read);
            read.check(&mut |_, _| {}).unwrap();
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_index_of_starts_is_kept_by_every_operation_and_checked() {
    let mut bench = Bench::with_blocks(3, BLOCK_SIZES[1]);
    let mut tx = bench.db().begin_write().unwrap();
    tx.index_starts("c").unwrap();
    tx.commit().unwrap();
    let mut random = 7_u64;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((random >> 33) % end) as i64
    };
    let mut gone = Vec::new();
    for round in 0..60 {
        let mut tx = bench.db().begin_write().unwrap();
        for _ in 0..4 {
            let (key, from) = ([b'a' + below(4) as u8], below(40));
            let period = span(from, from + 1 + below(20));
            match below(4) {
                0 => tx.delete("c", &key, period).unwrap(),
                1 => tx.update("c", &key, period, b"u").unwrap(),
                _ => tx.put("c", &key, period, &[round as u8]).unwrap(),
            }
        }
        // New keys that come and go in one transaction, and some that nearly do; an insert applies what was held before it.
        for new in *b"123" {
            let key = [b'n', 100 + round as u8, new];
            for _ in 0..1 + below(5) {
                let from = below(40);
                match below(4) {
                    0 => tx.delete("c", &key, Period::since(at(from))).unwrap(),
                    1 => match tx.insert("c", &key, span(from, from + 4), b"i") {
                        Ok(()) | Err(Error::Overlap { .. }) => {}
                        Err(error) => panic!("{error}"),
                    },
                    2 => tx.put("c", &key, Period::since(at(from)), b"p").unwrap(),
                    _ => tx.put("c", &key, span(from, from + 1 + below(20)), b"p").unwrap(),
                }
            }
            if below(4) > 0 {
                tx.delete("c", &key, Period::ALL).unwrap();
                gone.push(key);
            }
        }
        if round == 30 {
            assert!(tx.erase("c", b"b", "a test").unwrap());
        }
        tx.commit().unwrap();
        bench.db().begin_read().unwrap().check(&mut |_, _| {}).unwrap();
    }
    bench.reopen().unwrap();
    // Nothing is left of them in any tree but the operations, unless there was too much for the record of a key.
    let read = bench.db().store().begin_read().unwrap();
    let is_in = |tree: &str, key: &[u8]| {
        let mut keys = read.tree(tree).unwrap().unwrap().iter().map(|row| row.unwrap().0);
        keys.any(|stored| stored.windows(key.len()).any(|part| part == key))
    };
    let traceless: Vec<_> = gone.iter().filter(|key| !is_in("temporal/5/past/0", &key[..])).collect();
    assert!(traceless.len() > 20, "{} of {}", traceless.len(), gone.len());
    for key in traceless {
        assert!(!is_in("temporal/5/now/0", key) && !is_in("temporal/5/starts/0", key), "{key:?}");
    }
    drop(read);
    let by_index = |read: &TemporalRead, commit: i64, window: Period| {
        read.began("c", window, Known::Commit(commit)).unwrap()
    };
    let asked: Vec<(i64, Period)> =
        (0..200).map(|_| (below(62), below(60))).map(|(c, a)| (c, span(a, a + 5))).collect();
    let read = bench.db().begin_read().unwrap();
    read.check(&mut |_, _| {}).unwrap();
    let with: Vec<_> = asked.iter().map(|(commit, window)| by_index(&read, *commit, *window)).collect();
    assert!(with.iter().any(|rows| rows.len() > 1));
    drop(read);
    let mut tx = bench.db().begin_write().unwrap();
    assert!(tx.drop_starts("c").unwrap() && !tx.drop_starts("c").unwrap());
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    assert!(!read.collection("c").unwrap().unwrap().has_starts());
    let without: Vec<_> = asked.iter().map(|(commit, window)| by_index(&read, *commit, *window)).collect();
    // Those that stood until now are told of alike; the commit of the drop ends none.
    assert_eq!(with, without);
    drop(read);
    // A lost entry is found, and one of no key.
    for is_lost in [true, false] {
        let mut tx = bench.db().begin_write().unwrap();
        tx.index_starts("c").unwrap();
        tx.commit().unwrap();
        let store = bench.db().store();
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("temporal/5/starts/0").unwrap();
        let (entry, _) = txn.tree(tree).unwrap().iter().next().unwrap().unwrap();
        if is_lost {
            txn.remove(tree, &entry).unwrap();
        } else {
            txn.insert(tree, &[&entry[..8], b"z\0\x01"].concat(), b"").unwrap();
        }
        txn.commit().unwrap();
        let error = bench.db().begin_read().unwrap().check(&mut |_, _| {}).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        let mut tx = bench.db().begin_write().unwrap();
        tx.drop_starts("c").unwrap();
        tx.commit().unwrap();
    }
}
