//! Single rules of the model, each by a small example.

use std::ops::Bound::Unbounded;

use llmdb_temporal::{Bounds, CommitTime, Error, Known, Period, ValidTime, Version, Window};

use crate::support::{Bench, at, span, time};

const C: &str = "main";
const K: &[u8] = b"k";

/// (from, to, value, asserted, known from, known to)
fn row(found: &Version) -> (i64, i64, String, u64, u64, Option<u64>) {
    (
        found.valid.from.micros(),
        found.valid.to.micros(),
        String::from_utf8_lossy(&found.value).into_owned(),
        found.asserted.commit.get(),
        found.known_from.commit.get(),
        found.known_to.map(|to| to.commit.get()),
    )
}

#[test]
fn a_correction_splits_a_piece_and_both_sides_keep_their_asserting_commit() {
    let bench = Bench::new(1);
    for (period, value) in [(span(0, 10), "a"), (span(3, 7), "b"), (span(8, 9), "c")] {
        let mut tx = bench.db().begin_write().unwrap();
        tx.put(C, K, period, value.as_bytes()).unwrap();
        tx.commit().unwrap();
    }
    let read = bench.db().begin_read().unwrap();
    let rows: Vec<_> = read.versions(C, K).unwrap().iter().map(row).collect();
    let text = |value: &str| value.to_owned();
    assert_eq!(
        rows,
        [
            (0, 10, text("a"), 0, 0, Some(1)),
            (0, 3, text("a"), 0, 1, None),
            (3, 7, text("b"), 1, 1, None),
            (7, 10, text("a"), 0, 1, Some(2)),
            (7, 8, text("a"), 0, 2, None),
            (8, 9, text("c"), 2, 2, None),
            (9, 10, text("a"), 0, 2, None),
        ]
    );
}

#[test]
fn a_refused_insert_names_what_stands_in_the_way_and_the_transaction_goes_on() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    tx.put(C, K, span(0, 10), b"old").unwrap();
    let receipt = tx.commit().unwrap();
    let mut tx = bench.db().begin_write().unwrap();
    tx.put(C, K, span(20, 30), b"new").unwrap();
    let error = tx.insert(C, K, span(5, 25), b"x").unwrap_err();
    assert_eq!(error.code(), "LLMDB-T07");
    let Error::Overlap { in_the_way, asserted, .. } = &error else { panic!("{error}") };
    assert_eq!((*in_the_way, asserted.commit, asserted.at), (span(0, 10), receipt.commit, receipt.at));
    for part in ["\"k\"", "\"main\"", "[5, 25)", "[0, 10)", "commit 0"] {
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
    // Its own transaction's pieces stand in the way as well.
    let error = tx.insert(C, K, span(10, 21), b"x").unwrap_err();
    assert!(matches!(error, Error::Overlap { in_the_way, asserted, .. }
        if in_the_way == span(20, 30) && asserted.commit == tx.number() && asserted.at == tx.time()));
    tx.insert(C, K, span(10, 20), b"fits").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    assert_eq!(read.timeline(C, K, Period::ALL, Known::Latest).unwrap().len(), 3);
    assert_eq!(read.changes(None, Known::Commit(-1), Known::Latest).unwrap().count(), 3);
}

#[test]
fn update_changes_only_where_a_value_is_in_force_and_keeps_the_bounds_of_pieces() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    tx.put(C, K, span(0, 4), b"a").unwrap();
    tx.put(C, K, span(4, 8), b"b").unwrap();
    tx.put(C, K, span(12, 16), b"c").unwrap();
    tx.commit().unwrap();
    let mut tx = bench.db().begin_write().unwrap();
    tx.update(C, K, span(2, 14), b"u").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    let rows = read.timeline(C, K, Period::ALL, Known::Latest).unwrap();
    let rows: Vec<_> = rows.iter().map(row).map(|row| (row.0, row.1, row.2, row.3)).collect();
    let want = [(0, 2, "a", 0), (2, 4, "u", 1), (4, 8, "u", 1), (12, 14, "u", 1), (14, 16, "c", 0)];
    assert_eq!(rows, want.map(|(from, to, value, asserted)| (from, to, value.to_owned(), asserted)));
}

#[test]
fn an_empty_value_is_a_value_and_not_nothing() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    tx.put(C, K, span(0, 10), b"").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    assert_eq!(read.get_value(C, K, at(5), Known::Latest).unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(read.get_value(C, K, at(10), Known::Latest).unwrap(), None);
    assert_eq!(read.scan(C, Unbounded, Unbounded, at(5), Known::Latest).unwrap().count(), 1);
}

#[test]
fn what_one_transaction_replaces_itself_never_shows() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    tx.put(C, K, span(0, 10), b"first").unwrap();
    tx.delete(C, K, span(0, 10)).unwrap();
    tx.put(C, K, span(0, 10), b"second").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    let versions = read.versions(C, K).unwrap();
    assert_eq!(versions.iter().map(row).collect::<Vec<_>>(), [(0, 10, "second".to_owned(), 0, 0, None)]);
    assert_eq!(
        read.changes(Some(C), Known::Commit(-1), Known::Latest).unwrap().count(),
        3,
        "but is recorded"
    );
}

#[test]
fn a_period_without_width_has_no_effect_and_is_not_recorded() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    for infinite in [ValidTime::NEG_INF, ValidTime::POS_INF] {
        tx.put(C, K, Period::new(infinite, infinite).unwrap(), b"x").unwrap();
    }
    tx.put(C, K, span(3, 3), b"x").unwrap();
    tx.insert(C, K, span(3, 3), b"x").unwrap();
    tx.delete(C, K, span(3, 3)).unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    assert_eq!(read.collections().unwrap(), Vec::<String>::new());
    assert_eq!(read.changes(None, Known::Commit(-1), Known::Latest).unwrap().count(), 0);
    assert_eq!(read.newest().unwrap().commit.get(), 0, "the transaction itself counts");
}

#[test]
fn commit_times_only_rise_and_leave_room_for_those_to_come() {
    let bench = Bench::new(1);
    bench.set_clock(7);
    let wanted_max = CommitTime::WANTED_MAX;
    assert_eq!(i64::MAX - wanted_max.micros(), 1 << 53);
    let mut tx = bench.db().begin_write().unwrap();
    // Whatever is wanted first is the first one; what is refused changes nothing.
    let error = tx.set_time(time(wanted_max.micros() + 1)).unwrap_err();
    assert!(matches!(error, Error::CommitTimeTooLate { latest, .. } if latest == wanted_max), "{error}");
    assert_eq!((error.code(), tx.time()), ("LLMDB-T15", time(7)));
    assert_eq!(tx.set_time(time(i64::MIN + 1)).unwrap(), time(i64::MIN + 1));
    tx.put(C, K, span(0, 10), b"x").unwrap();
    let first = tx.commit().unwrap();
    let mut tx = bench.db().begin_write().unwrap();
    assert_eq!(tx.set_time(first.at).unwrap(), time(i64::MIN + 2), "just behind the newest");
    assert_eq!(tx.set_time(time(500)).unwrap(), time(500), "the last word counts");
    tx.commit().unwrap();
    let mut tx = bench.db().begin_write().unwrap();
    let error = tx.set_time(time(499)).unwrap_err();
    let Error::CommitTimeBefore { wanted, newest } = error else { panic!("{error}") };
    assert_eq!((wanted, newest.commit.get(), newest.at), (time(499), 1, time(500)));
    let text = error.to_string();
    assert!(
        error.code() == "LLMDB-T14" && text.contains("499") && text.contains("commit 1 at 500"),
        "{text}"
    );
    assert_eq!(tx.time(), time(501), "the clock stands at 7");
    tx.put(C, K, span(0, 5), b"y").unwrap();
    assert_eq!(tx.commit().unwrap().at, time(501));
    let mut tx = bench.db().begin_write().unwrap();
    assert_eq!(tx.set_time(wanted_max).unwrap(), wanted_max);
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    let value = |micros| {
        read.get_value(C, K, at(1), Known::At(time(micros))).unwrap().map(|value| value.into_owned())
    };
    let [x, y] = [&b"x"[..], b"y"].map(|value| Some(value.to_vec()));
    assert_eq!([value(i64::MAX - 1), value(500), value(i64::MIN + 1)], [y, x.clone(), x]);
}

#[test]
fn a_reversed_period_is_refused_however_it_was_made() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    let reversed = Period { from: at(4), to: at(3) };
    let refused = |error: Error, names: bool| {
        let text = error.to_string();
        assert_eq!(text.contains("key \"k\" of collection \"main\""), names, "{text}");
        let Error::PeriodReversed { from, to, key, collection } = error else { panic!("{text}") };
        assert_eq!((from, to, key.as_deref()), (at(4), at(3), Some(K)));
        assert_eq!(collection.as_deref(), names.then_some(C));
    };
    for refusal in [
        tx.put(C, K, reversed, b"x"),
        tx.update(C, K, reversed, b"x"),
        tx.insert(C, K, reversed, b"x"),
        tx.delete(C, K, reversed),
    ] {
        refused(refusal.unwrap_err(), true);
    }
    tx.put(C, K, span(3, 4), b"x").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    let known = Known::Latest;
    refused(read.timeline(C, K, reversed, known).unwrap_err(), true);
    refused(read.covers(C, K, reversed, known).unwrap_err(), true);
    refused(read.between(C, K, Window::FromTo(reversed), Bounds::Clamped, known).unwrap_err(), true);
    refused(read.meetings((C, K), (C, b"other"), reversed, known).unwrap_err(), true);
    let collection = read.collection(C).unwrap().unwrap();
    refused(collection.timeline_values(K, reversed, known, |_, _| {}).unwrap_err(), false);
    let error = read.timeline("never", K, reversed, known).unwrap_err();
    assert!(error.to_string().starts_with("key \"k\" of collection \"never\": the period"), "{error}");
    let error = read.began(C, reversed, known).unwrap_err();
    assert!(error.to_string().starts_with("collection \"main\": the period"), "{error}");
}

#[test]
fn keys_of_every_length_up_to_the_limit_work_and_others_are_refused_by_name() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    assert!(matches!(tx.put(C, b"", span(0, 1), b"x"), Err(Error::KeyEmpty)));
    let error = tx.put(C, &[b'k'; 100_000], span(0, 1), b"x").unwrap_err();
    let Error::KeyTooLong { length: 100_000, stored: 100_000, limit } = error else { panic!("{error}") };
    assert!(limit >= 1024, "keys of 1,024 bytes fit the smallest page, this allows {limit}");
    assert!(error.to_string().contains("100000") && error.to_string().contains(&limit.to_string()));
    let zeros = vec![0; limit / 2 + 1];
    assert!(
        matches!(tx.put(C, &zeros, span(0, 1), b"x"), Err(Error::KeyTooLong { stored, .. }) if stored > limit)
    );
    let keys: Vec<Vec<u8>> = vec![vec![b'k'; limit], vec![0; limit / 2], vec![b'k'; limit - 1]];
    for key in &keys {
        tx.put(C, key, span(0, 9), b"x").unwrap();
    }
    tx.commit().unwrap();
    // The dead entry has the longest stored key.
    let mut tx = bench.db().begin_write().unwrap();
    for key in &keys {
        tx.put(C, key, span(0, 4), b"y").unwrap();
    }
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    for key in &keys {
        assert_eq!(read.versions(C, key).unwrap().len(), 3);
        assert_eq!(read.get_value(C, key, at(0), Known::Commit(0)).unwrap().as_deref(), Some(&b"x"[..]));
    }
    assert!(matches!(read.get(C, b"", at(0), Known::Latest), Err(Error::KeyEmpty)));
    assert_eq!(read.get(C, &[b'k'; 100_000], at(0), Known::Latest).unwrap(), None);
}

#[test]
fn collection_names_are_any_text_of_1_to_255_bytes() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    let long = "n".repeat(255);
    let names = ["a/b", "größe \u{1f30d}", "temporal/1/ops", &long];
    for name in names {
        tx.put(name, K, span(0, 1), name.as_bytes()).unwrap();
    }
    for name in ["", &"n".repeat(256)] {
        let error = tx.put(name, K, span(0, 1), b"x").unwrap_err();
        assert!(matches!(error, Error::CollectionName { length } if length == name.len()));
    }
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(read.collections().unwrap(), sorted);
    for name in names {
        assert_eq!(read.get_value(name, K, at(0), Known::Latest).unwrap().as_deref(), Some(name.as_bytes()));
    }
    assert_eq!(read.get(&"x".repeat(3), K, at(0), Known::Latest).unwrap(), None);
    assert!(matches!(read.get("", K, at(0), Known::Latest), Err(Error::CollectionName { length: 0 })));
}

#[test]
fn a_clock_that_goes_back_still_gives_rising_commit_times() {
    let bench = Bench::new(1);
    let times: Vec<i64> = [100, 50, 50, 101, 500]
        .into_iter()
        .map(|clock| {
            bench.set_clock(clock);
            bench.db().begin_write().unwrap().commit().unwrap().at.micros()
        })
        .collect();
    assert_eq!(times, [100, 101, 102, 103, 500]);
}

#[test]
fn a_future_dated_fact_is_known_now_and_in_force_later() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    tx.put(C, K, Period::since(at(0)), b"now").unwrap();
    tx.put(C, K, Period::since(at(1_000_000)), b"then").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    let value =
        |instant| read.get_value(C, K, instant, Known::Latest).unwrap().map(|value| value.into_owned());
    assert_eq!(value(at(999_999)).as_deref(), Some(&b"now"[..]));
    assert_eq!(value(ValidTime::POS_INF).as_deref(), Some(&b"then"[..]));
    assert_eq!(value(ValidTime::NEG_INF), None);
}

#[test]
fn dropping_a_transaction_rolls_everything_back_with_its_collection() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    tx.put("gone", K, span(0, 1), b"x").unwrap();
    drop(tx);
    let read = bench.db().begin_read().unwrap();
    assert_eq!(read.collections().unwrap(), Vec::<String>::new());
    assert_eq!(read.newest(), None);
    assert_eq!(bench.db().begin_write().unwrap().number().get(), 0);
}

#[test]
fn snapshots_are_shared_among_threads_while_a_writer_goes_on() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    tx.put(C, K, Period::ALL, b"0").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let value = read.get_value(C, K, at(0), Known::Latest).unwrap();
                    assert_eq!(value.as_deref(), Some(&b"0"[..]), "a snapshot does not move");
                }
            });
        }
        for number in 1..30 {
            let mut tx = bench.db().begin_write().unwrap();
            tx.put(C, K, Period::ALL, number.to_string().as_bytes()).unwrap();
            tx.commit().unwrap();
        }
    });
    let now = bench.db().begin_read().unwrap();
    assert_eq!(now.get_value(C, K, at(0), Known::Latest).unwrap().as_deref(), Some(&b"29"[..]));
}

#[test]
fn handles_can_be_shared_as_documented() {
    fn shared<T: Send + Sync>() {}
    fn cloned<T: Clone>() {}
    shared::<llmdb_temporal::Temporal>();
    cloned::<llmdb_temporal::Temporal>();
    shared::<llmdb_temporal::TemporalRead>();
    shared::<Error>();
}
