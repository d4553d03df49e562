//! Answers over real stores: limits, filters, histories as they looked, and damage in the middle.

use llmdb_query::{Answer, Error, Fact, KeyRange, Question, Row, Value, ask};
use llmdb_temporal::{CommitTime, Known, Period, Temporal, TemporalRead, ValidTime};
use llmdb_wal::store::StoreOptions;
use proptest::prelude::*;
use tempfile::TempDir;

const COLLECTION: &str = "main";

fn open(directory: &TempDir) -> Temporal {
    Temporal::open(StoreOptions::new().open(directory.path().join("test.llmdb")).unwrap()).unwrap()
}

fn at(micros: i64) -> ValidTime {
    ValidTime::from_micros(micros).unwrap()
}

fn period(from: i64, to: i64) -> Period {
    Period::new(at(from), at(to)).unwrap()
}

/// One put in a commit of its own, at time `tx`.
fn put(db: &Temporal, tx: i64, key: &str, period: Period, value: &Value) {
    let mut write = db.begin_write().unwrap();
    write.set_time(CommitTime::from_micros(tx).unwrap()).unwrap();
    write.put(COLLECTION, key.as_bytes(), period, &value.encode()).unwrap();
    write.commit().unwrap();
}

fn rows(read: &TemporalRead, question: &Question, limit: Option<u64>) -> Vec<Row> {
    match ask(read, question, limit).unwrap() {
        Answer::Rows(rows) => rows.map(Result::unwrap).collect(),
        other => panic!("{other:?}"),
    }
}

fn facts(read: &TemporalRead, question: &Question) -> Vec<Fact> {
    let fact = |row| match row {
        Row::Fact(fact) => fact,
        other => panic!("{other:?}"),
    };
    rows(read, question, None).into_iter().map(fact).collect()
}

fn scan(keys: KeyRange) -> Question {
    Question::Scan { collection: COLLECTION.into(), keys, valid_at: at(0), known: Known::Latest }
}

fn history(valid_at: i64, known: Known) -> Question {
    Question::History { collection: COLLECTION.into(), key: b"k".to_vec(), valid_at: at(valid_at), known }
}

fn versions(valid_at: Option<ValidTime>, known: Known) -> Question {
    Question::Versions { collection: COLLECTION.into(), key: b"k".to_vec(), valid_at, known }
}

#[test]
fn what_was_known_before_the_history_that_is_kept_is_refused_by_every_question() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory);
    for n in 0..4 {
        put(&db, n * 10, "k", period(n, 9), &Value::from(serde_json::json!(n)));
    }
    let mut write = db.begin_write().unwrap();
    write.retain(CommitTime::from_micros(20).unwrap()).unwrap();
    write.commit().unwrap();
    let read = db.begin_read().unwrap();
    let time = |micros| Known::At(CommitTime::from_micros(micros).unwrap());
    let (key, none) = (b"k".to_vec(), KeyRange::half_open(Some(b"z".to_vec()), Some(b"a".to_vec())));
    assert!(none.is_empty());
    for collection in [COLLECTION, "never there"] {
        let about = |known: Known| {
            let (collection, key, valid_at) = (collection.to_owned(), key.clone(), at(5));
            let scan = |keys| Question::Scan { collection: collection.clone(), keys, valid_at, known };
            let diff = |keys| Question::Diff {
                collection: collection.clone(),
                keys,
                from: Known::Latest,
                to: known,
                valid_at: None,
            };
            let window = Period::ALL;
            let mut all = vec![
                scan(KeyRange::ALL),
                scan(none.clone()),
                diff(KeyRange::ALL),
                diff(none.clone()),
                Question::Get { collection: collection.clone(), key: key.clone(), valid_at, known },
                Question::Timeline {
                    collection: collection.clone(),
                    key: key.clone(),
                    window,
                    clamp: false,
                    known,
                },
                Question::Versions {
                    collection: collection.clone(),
                    key: key.clone(),
                    valid_at: None,
                    known,
                },
                Question::Changes {
                    collection: Some(collection.clone()),
                    keys: KeyRange::ALL,
                    after: known,
                    up_to: Known::Latest,
                    valid_at: None,
                },
            ];
            all.push(Question::History { collection, key, valid_at, known });
            all
        };
        for known in [Known::Commit(1), Known::Commit(-1), time(19), time(-7)] {
            for question in about(known) {
                let refused = ask(&read, &question, None).map(|_| ()).unwrap_err();
                assert_eq!(refused.code(), "LLMDB-T13", "{question:?}");
                let is_of_a_key = !matches!(
                    question,
                    Question::Scan { .. } | Question::Diff { .. } | Question::Changes { .. }
                );
                let names_it = refused.to_string().contains("key \"k\"");
                assert_eq!(names_it, is_of_a_key, "{question:?}: {refused}");
            }
        }
        for known in [Known::Commit(2), Known::Latest, time(20)] {
            for question in about(known) {
                assert!(ask(&read, &question, None).is_ok(), "{question:?}");
            }
        }
    }
    let seen = facts(&read, &history(5, Known::Commit(2)));
    assert_eq!(
        seen.iter().map(|fact| fact.value.clone()).collect::<Vec<_>>(),
        [Value::from(serde_json::json!(2))]
    );
}

#[test]
fn a_filter_counts_before_the_limit_does() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory);
    for n in 0..10 {
        put(&db, n, ["a", "b"][n as usize % 2], period(n, n + 5), &Value::from("x"));
    }
    let read = db.begin_read().unwrap();
    let changes = |keys, valid_at| Question::Changes {
        collection: None,
        keys,
        after: Known::Commit(-1),
        up_to: Known::Latest,
        valid_at,
    };
    assert_eq!(rows(&read, &changes(KeyRange::ALL, None), None).len(), 10);
    assert_eq!(rows(&read, &changes(KeyRange::ALL, None), Some(3)).len(), 3);
    assert_eq!(rows(&read, &changes(KeyRange::only(b"b"), None), Some(4)).len(), 4);
    // From 5, 6, 7, 8 and 9 on; of these 5, 7 and 9 are of b.
    assert_eq!(rows(&read, &changes(KeyRange::only(b"b"), Some(at(9))), Some(9)).len(), 3);
    assert_eq!(rows(&read, &changes(KeyRange::ALL, None), Some(0)).len(), 0);
}

#[test]
fn a_range_that_ends_before_it_starts_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory);
    put(&db, 0, "k", Period::ALL, &Value::from("x"));
    let read = db.begin_read().unwrap();
    let keys = |from: &str, to: &str| KeyRange::half_open(Some(from.into()), Some(to.into()));
    assert_eq!(rows(&read, &scan(keys("a", "z")), None).len(), 1);
    assert_eq!(rows(&read, &scan(keys("z", "a")), None).len(), 0);
    assert_eq!(rows(&read, &scan(keys("k", "k")), None).len(), 0);
    let diff = |keys| Question::Diff {
        collection: COLLECTION.into(),
        keys,
        from: Known::Commit(-1),
        to: Known::Latest,
        valid_at: None,
    };
    assert_eq!(rows(&read, &diff(keys("a", "z")), None).len(), 1);
    assert_eq!(rows(&read, &diff(keys("z", "a")), None).len(), 0);
}

#[test]
fn damage_ends_the_rows_with_an_error_and_those_before_it_are_given() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory);
    put(&db, 0, "a", Period::ALL, &Value::from("x"));
    put(&db, 1, "c", Period::ALL, &Value::from("x"));
    let mut write = db.begin_write().unwrap();
    write.put(COLLECTION, b"b", Period::ALL, b"\x7funtagged").unwrap();
    write.commit().unwrap();
    let read = db.begin_read().unwrap();
    let question = scan(KeyRange::ALL);
    let Answer::Rows(mut rows) = ask(&read, &question, None).unwrap() else { panic!() };
    assert!(matches!(rows.next(), Some(Ok(Row::Fact(fact))) if fact.key == b"a"));
    assert!(matches!(rows.next(), Some(Err(Error::ValueTag { tag: 0x7f }))));
    assert!(rows.next().is_none());
}

#[test]
fn raw_bytes_and_json_come_back_as_what_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory);
    let values = [Value::Raw(vec![0, 255]), Value::from("x"), Value::Raw(Vec::new())];
    for (tx, value) in values.iter().enumerate() {
        put(&db, tx as i64, "k", Period::ALL, value);
    }
    let found: Vec<_> =
        facts(&db.begin_read().unwrap(), &history(0, Known::Latest)).into_iter().map(|f| f.value).collect();
    assert_eq!(found, values);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What a history is known to have looked like is what it did look like.
    #[test]
    fn histories_as_known_are_what_an_earlier_snapshot_showed(
        puts in prop::collection::vec((0i64..8, 0i64..8), 1..12),
        valid_at in 0i64..8,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let db = open(&directory);
        let mut snapshots = Vec::new();
        for (n, (from, length)) in puts.iter().enumerate() {
            put(&db, n as i64 * 10, "k", period(*from, from + length), &Value::from(n.to_string().as_str()));
            snapshots.push(db.begin_read().unwrap());
        }
        let latest = db.begin_read().unwrap();
        for (n, snapshot) in snapshots.iter().enumerate() {
            let tx = n as i64 * 10;
            for known in [Known::Commit(n as i64), Known::At(CommitTime::from_micros(tx + 9).unwrap())] {
                prop_assert_eq!(
                    facts(&latest, &history(valid_at, known)),
                    facts(snapshot, &history(valid_at, Known::Latest))
                );
                for filter in [None, Some(at(valid_at))] {
                    prop_assert_eq!(
                        facts(&latest, &versions(filter, known)),
                        facts(snapshot, &versions(filter, Known::Latest))
                    );
                }
            }
        }
        prop_assert!(facts(&latest, &versions(None, Known::Commit(-1))).is_empty());
    }

    /// A timeline that is cut to a window says the same as single reads inside of it, and nothing outside.
    #[test]
    fn a_clamped_timeline_agrees_with_single_reads(
        puts in prop::collection::vec((0i64..20, 0i64..10), 0..10),
        from in 0i64..20,
        length in 1i64..15,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let db = open(&directory);
        for (n, (from, length)) in puts.iter().enumerate() {
            put(&db, n as i64, "k", period(*from, from + length), &Value::from(n.to_string().as_str()));
        }
        let read = db.begin_read().unwrap();
        let window = period(from, from + length);
        let question = Question::Timeline {
            collection: COLLECTION.into(), key: b"k".to_vec(), window, clamp: true, known: Known::Latest,
        };
        let pieces = facts(&read, &question);
        for piece in &pieces {
            prop_assert!(window.from <= piece.valid.from && piece.valid.from < piece.valid.to && piece.valid.to <= window.to);
        }
        for instant in from..from + length {
            let single = read.get(COLLECTION, b"k", at(instant), Known::Latest).unwrap();
            let piece = pieces.iter().find(|piece| piece.valid.contains(at(instant)));
            prop_assert_eq!(single.map(|v| Value::decode(&v.value).unwrap()), piece.map(|piece| piece.value.clone()));
        }
    }
}

#[cfg(feature = "wasm")]
mod wasm {
    use llmdb_query::reduce;
    use llmdb_wasm::{Limits, Runtime, guests};

    use super::*;

    fn numbered(count: i64) -> (TempDir, Temporal) {
        let directory = tempfile::tempdir().unwrap();
        let db = open(&directory);
        let mut write = db.begin_write().unwrap();
        for n in 0..count {
            let value = Value::from(serde_json::json!({"name": "zone", "utc_offset_s": n - 100}));
            write.put(COLLECTION, format!("k{n:04}").as_bytes(), Period::ALL, &value.encode()).unwrap();
        }
        write.commit().unwrap();
        (directory, db)
    }

    fn stats(output: &[u8]) -> Vec<i64> {
        output.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn a_reduction_sees_what_a_scan_of_the_same_range_finds() {
        let (_directory, db) = numbered(500);
        let read = db.begin_read().unwrap();
        let module = Runtime::default().compile(guests::OFFSET_STATS.as_bytes()).unwrap();
        let run = |keys: &KeyRange, known| {
            let reduced = reduce(&read, COLLECTION, keys, at(0), known, &module, "offset_stats").unwrap();
            (stats(&reduced.output), reduced.stats.records, reduced.stats.fuel_used > 0)
        };
        let sum = |range: std::ops::Range<i64>| range.map(|n| n - 100).sum::<i64>();
        assert_eq!(run(&KeyRange::ALL, Known::Latest), (vec![500, -100, 399, sum(0..500)], 500, true));
        assert_eq!(
            run(&KeyRange::prefix(b"k00"), Known::Latest),
            (vec![100, -100, -1, sum(0..100)], 100, true)
        );
        assert_eq!(run(&KeyRange::ALL, Known::Commit(-1)), (vec![0, 0, 0, 0], 0, true));
    }

    #[test]
    fn a_guest_that_fails_is_an_error_of_that_call_and_the_snapshot_goes_on() {
        let (_directory, db) = numbered(10);
        let read = db.begin_read().unwrap();
        let runtime = Runtime::new(Limits::default().max_fuel(2_000));
        let module = runtime.compile(guests::OFFSET_STATS.as_bytes()).unwrap();
        let error = reduce(&read, COLLECTION, &KeyRange::ALL, at(0), Known::Latest, &module, "offset_stats")
            .unwrap_err();
        assert_eq!(error.code(), "LLMDB-W06", "{error}");
        let missing =
            reduce(&read, COLLECTION, &KeyRange::ALL, at(0), Known::Latest, &module, "no_such").unwrap_err();
        assert_eq!(missing.code(), "LLMDB-W08", "{missing}");
        assert_eq!(rows(&read, &scan(KeyRange::ALL), None).len(), 10);
    }
}
