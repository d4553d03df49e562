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
            for period in windows(oracle, key) {
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
