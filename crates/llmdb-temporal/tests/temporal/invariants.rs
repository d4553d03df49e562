//! What must hold between answers, whatever the history, numbered as in the notes of the design.

use std::collections::BTreeMap;

use llmdb_temporal::{Known, Operation, Period, Temporal, TemporalRead, ValidTime, encoding};
use llmdb_wal::ReadTxn;
use proptest::prelude::*;

use crate::oracle::Oracle;
use crate::script::{COLLECTIONS, KEYS, Step, Transaction, play, script};
use crate::support::{BLOCK_SIZES, Bench};

const C: &str = COLLECTIONS[0];

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn history(script: &[Transaction]) -> (Bench, Oracle) {
    let (mut bench, mut oracle) = (Bench::with_blocks(4, BLOCK_SIZES[1]), Oracle::default());
    script.iter().for_each(|transaction| play(&mut bench, &mut oracle, transaction));
    (bench, oracle)
}

/// A stored break point, read without the crate: (valid time, since, until, has a value).
type Stored = (ValidTime, u64, u64, bool);
/// By key.
type Points = BTreeMap<Vec<u8>, Vec<Stored>>;

fn stored_points(txn: &ReadTxn) -> Points {
    use std::ops::Bound::Unbounded;
    let mut points = Points::new();
    let Some(now) = txn.tree("temporal/5/now/0").unwrap() else { return points };
    let past = txn.tree("temporal/5/past/0").unwrap().unwrap();
    for row in now.range(Unbounded, Unbounded) {
        let (key, record) = row.unwrap();
        let (lo, from, latest) = latest_points(record);
        let mut of_key = latest.clone();
        for row in past.range(Unbounded, Unbounded) {
            let (block_key, record) = row.unwrap();
            let split = encoding::split_block(&block_key).unwrap();
            if split.prefix == key {
                let is_last = split.until == u64::MAX && word(record, 20) != u64::MAX;
                for (at, since, until, is_value) in columns(record, usize::from(record[0]), 36, 28, record[2])
                {
                    // What stood when a block was closed is told of by the next one, if it stood on; so it is with
                    // the latest ones.
                    let closed = if is_last && at >= lo { from } else { split.until };
                    add(&mut of_key, (at, since, until.min(closed), is_value));
                }
            }
        }
        points.insert(key, of_key);
    }
    points
}

fn add(of_key: &mut Vec<Stored>, point: Stored) {
    match of_key.iter_mut().find(|known| (known.0, known.1) == (point.0, point.1)) {
        Some(known) => known.2 = known.2.max(point.2),
        None => of_key.push(point),
    }
}

/// From which valid time on and since which commit the latest break points of a record are whole, and these.
fn latest_points(record: &[u8]) -> (ValidTime, u64, Vec<Stored>) {
    let (kind, flags) = (record[0] & 3, record[0] & !3);
    let (at, since) = (instant(word(record, 1)), word(record, 9));
    let mut points = Vec::new();
    if flags & 16 == 0 && (kind > 0 || at != ValidTime::NEG_INF) {
        points.push((at, since, u64::MAX, kind > 0));
    }
    let shape = &record[if kind > 0 { 37 } else { 25 }..];
    let mut from = 0;
    if flags & 8 > 0 {
        let (count, width) = (usize::from(shape[0]), usize::from(shape[1]));
        let size = if count > 0 { 16 + count * (12 + 3 * width) } else { 8 };
        let others = &record[record.len() - size..];
        from = word(others, 0);
        if count > 0 {
            points.extend(columns(others, width, 16, 8, shape[0]));
        }
    }
    let lo = if flags & 4 > 0 { points.iter().map(|point| point.0).min() } else { Some(ValidTime::NEG_INF) };
    (lo.unwrap_or(ValidTime::POS_INF), from, points)
}

/// Break points in columns, with commits of `width` bytes.
fn columns(record: &[u8], width: usize, start: usize, base: usize, count: u8) -> Vec<Stored> {
    let (count, base) = (usize::from(count), word(record, base));
    let commit = |column: usize, index: usize| {
        let offset = start + 8 * count + width * (column * count + index);
        let mut number = [0; 8];
        number[..width].copy_from_slice(&record[offset..offset + width]);
        let number = u64::from_le_bytes(number);
        if number == u64::MAX >> (64 - 8 * width) { u64::MAX } else { base + number }
    };
    let point = |index| {
        let at = instant(word(record, start + 8 * index));
        (at, commit(0, index), commit(1, index), commit(2, index) != u64::MAX)
    };
    (0..count).map(point).collect()
}

fn word(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

fn instant(word: u64) -> ValidTime {
    match word.cast_signed() {
        i64::MIN => ValidTime::NEG_INF,
        micros => ValidTime::from_micros(micros).unwrap(),
    }
}

/// A timeline without the known times, which later commits may close.
fn believed(read: &TemporalRead, key: &[u8], known: Known) -> Vec<(Period, Vec<u8>, u64)> {
    let rows = read.timeline(C, key, Period::ALL, known).unwrap();
    rows.into_iter().map(|row| (row.valid, row.value, row.asserted.commit.get())).collect()
}

fn record(db: &Temporal, steps: &[(Operation, &[u8], Period, &[u8])]) {
    let mut tx = db.begin_write().unwrap();
    for (op, key, period, value) in steps {
        match op {
            Operation::Put => tx.put(C, key, *period, value).unwrap(),
            Operation::Update => tx.update(C, key, *period, value).unwrap(),
            _ => tx.delete(C, key, *period).unwrap(),
        }
    }
    tx.commit().unwrap();
}

fn period_of(step: &Step) -> Period {
    Period::new(step.from, step.to).unwrap()
}

fn a_step() -> impl Strategy<Value = Step> {
    script(1..2).prop_filter_map("a step", |mut script| {
        script.pop().and_then(|mut transaction| transaction.steps.pop())
    })
}

proptest! {
    #![proptest_config(config(60))]

    /// 2 and 3.
    #[test]
    fn at_every_commit_break_points_are_canonical_and_none_is_of_zero_width(script in script(1..14)) {
        let (bench, oracle) = history(&script);
        let txn = bench.db().store().begin_read().unwrap();
        for points in stored_points(&txn).values() {
            prop_assert!(points.iter().all(|(_, since, until, _)| since < until));
            for commit in 0..=oracle.newest() as u64 {
                let mut standing: Vec<_> =
                    points.iter().filter(|(_, since, until, _)| *since <= commit && commit < *until).collect();
                standing.sort();
                prop_assert!(standing.windows(2).all(|pair| pair[0].0 < pair[1].0));
                prop_assert!(standing.windows(2).all(|pair| pair[0].3 || pair[1].3), "nothing twice in a row");
                prop_assert!(standing.first().is_none_or(|first| first.3), "nothing comes first");
            }
        }
    }

    /// 6.
    #[test]
    fn answers_for_a_commit_never_change_after_it(script in script(2..14)) {
        let (mut bench, mut oracle) = (Bench::new(5), Oracle::default());
        let mut answers = Vec::new();
        for transaction in &script {
            play(&mut bench, &mut oracle, transaction);
            let read = bench.db().begin_read().unwrap();
            if read.newest().is_some_and(|newest| newest.commit.get() == answers.len() as u64) {
                answers.push(KEYS.map(|key| believed(&read, key, Known::Latest)));
            }
            for (commit, answer) in answers.iter().enumerate() {
                let again = KEYS.map(|key| believed(&read, key, Known::Commit(commit as i64)));
                prop_assert_eq!(&again, answer, "commit {} changed", commit);
            }
        }
    }

    /// 7.
    #[test]
    fn delete_then_put_of_the_same_period_is_put(script in script(1..8), step in a_step()) {
        let (one, _) = history(&script);
        let (other, _) = history(&script);
        let (key, period) = (KEYS[step.key], period_of(&step));
        let put = (Operation::Put, key, period, &step.value[..]);
        record(one.db(), &[put]);
        record(other.db(), &[(Operation::Delete, key, period, b""), put]);
        let (one, other) = (one.db().begin_read().unwrap(), other.db().begin_read().unwrap());
        prop_assert_eq!(one.versions(C, key).unwrap(), other.versions(C, key).unwrap());
    }

    /// 8.
    #[test]
    fn puts_on_disjoint_periods_or_other_keys_commute(script in script(1..8), first in a_step(), second in a_step()) {
        prop_assume!(first.key != second.key || !period_of(&first).overlaps(period_of(&second)));
        let (one, _) = history(&script);
        let (other, _) = history(&script);
        let first = (Operation::Put, KEYS[first.key], period_of(&first), &first.value[..]);
        let second = (Operation::Put, KEYS[second.key], period_of(&second), &second.value[..]);
        record(one.db(), &[first, second]);
        record(other.db(), &[second, first]);
        let (one, other) = (one.db().begin_read().unwrap(), other.db().begin_read().unwrap());
        for key in KEYS {
            prop_assert_eq!(one.versions(C, key).unwrap(), other.versions(C, key).unwrap());
        }
    }

    /// 9.
    #[test]
    fn update_never_makes_a_value_where_there_was_none(script in script(1..8), step in a_step()) {
        let (bench, oracle) = history(&script);
        let (key, period) = (KEYS[step.key], period_of(&step));
        record(bench.db(), &[(Operation::Update, key, period, &step.value)]);
        let read = bench.db().begin_read().unwrap();
        for instant in oracle.instants(C, key).into_iter().chain([step.from, step.to]) {
            let before = read.get_value(C, key, instant, Known::Commit(oracle.newest())).unwrap();
            let after = read.get_value(C, key, instant, Known::Latest).unwrap();
            let wanted = if before.is_some() && period.contains(instant) { Some(&step.value[..]) } else { before.as_deref() };
            prop_assert_eq!(after.as_deref(), wanted, "at {}", instant);
        }
    }

    /// 10, the half that is about what is built.
    #[test]
    fn scan_is_the_map_of_gets(script in script(1..10), instant in -9..9i64) {
        use std::ops::Bound::Unbounded;
        let (bench, oracle) = history(&script);
        let read = bench.db().begin_read().unwrap();
        let instant = crate::support::at(instant);
        let mut keys = KEYS.to_vec();
        keys.sort_unstable();
        for commit in -1..=oracle.newest() {
            let known = Known::Commit(commit);
            let gets: Vec<_> = keys.iter().filter_map(|key| read.get(C, key, instant, known).unwrap()).collect();
            let rows: Result<Vec<_>, _> = read.scan(C, Unbounded, Unbounded, instant, known).unwrap().collect();
            prop_assert_eq!(rows.unwrap(), gets);
        }
    }

    /// 13.
    #[test]
    fn a_diff_applied_to_the_first_state_gives_the_second(script in script(2..12)) {
        use std::ops::Bound::Unbounded;
        let (bench, oracle) = history(&script);
        let read = bench.db().begin_read().unwrap();
        for from in -1..=oracle.newest() {
            for to in -1..=oracle.newest() {
                let (first, second) = (Known::Commit(from), Known::Commit(to));
                let rows: Result<Vec<_>, _> = read.diff(C, first, second, (Unbounded, Unbounded)).unwrap().collect();
                let rows = rows.unwrap();
                for key in KEYS {
                    for instant in oracle.instants(C, key) {
                        let row = rows.iter().find(|row| row.key == key && row.valid.contains(instant));
                        let value = |known| read.get_value(C, key, instant, known).unwrap();
                        let before = value(first);
                        prop_assert!(row.is_none_or(|row| row.before.as_deref() == before.as_deref()));
                        let applied = row.map_or(before.as_deref(), |row| row.after.as_deref());
                        let wanted = value(second);
                        prop_assert_eq!(applied, wanted.as_deref(), "{:?} at {}", key, instant);
                    }
                }
            }
        }
    }

    /// 14.
    #[test]
    fn times_rise_and_as_of_a_time_is_as_of_its_commit(script in script(2..12)) {
        let (bench, oracle) = history(&script);
        let read = bench.db().begin_read().unwrap();
        prop_assert!(oracle.times.windows(2).all(|pair| pair[0] < pair[1]));
        for commit in 0..=oracle.newest() {
            let at = oracle.times[commit as usize];
            let next = oracle.times.get(commit as usize + 1).map_or(i64::MAX - 1, |next| next - 1);
            for key in KEYS {
                let wanted = read.timeline(C, key, Period::ALL, Known::Commit(commit)).unwrap();
                for micros in [at, next] {
                    let known = Known::At(crate::support::time(micros));
                    prop_assert_eq!(&read.timeline(C, key, Period::ALL, known).unwrap(), &wanted);
                }
            }
        }
    }
}
