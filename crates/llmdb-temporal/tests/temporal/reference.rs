//! Real data with answers that were computed outside this project; see `tests/data/bitemporal/README.md`.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound::{Included, Unbounded};
use std::path::Path;

use llmdb_temporal::{CommitTime, Known, Operation, Period, TemporalRead, ValidTime};
use serde_json::{Value, json};

use crate::support::{Bench, at, time};

const COLLECTION: &str = "data";
/// More keys than this are answered by their number.
const KEY_COUNT_MAX: usize = 50;

/// How many commits of the data go into one transaction: then questions as of a commit inside one have no answer.
#[derive(Clone, Copy)]
struct Loading {
    per_transaction: usize,
    /// After how many transactions the database is opened anew.
    reopen_every: usize,
}

const IN_ORDER: Loading = Loading { per_transaction: 1, reopen_every: usize::MAX };

#[test]
fn fed_vintages_a_transaction_for_each_commit() {
    all_lines_pass("fed_vintages", IN_ORDER, 523);
}

#[test]
fn fed_vintages_with_a_reopen_between_any_two_commits() {
    all_lines_pass("fed_vintages", Loading { reopen_every: 1, ..IN_ORDER }, 523);
}

#[test]
fn fed_vintages_in_one_transaction_and_in_batches() {
    // 78 commits: at the end of the last batch stand as many questions as there are about now.
    loaded_otherwise("fed_vintages", usize::MAX);
    loaded_otherwise("fed_vintages", 13);
    loaded_otherwise("fed_vintages", 2);
}

#[test]
fn rustsec_advisories_a_transaction_for_each_commit() {
    all_lines_pass("rustsec_advisories", IN_ORDER, 491);
}

#[test]
fn rustsec_advisories_with_a_reopen_between_any_two_commits() {
    all_lines_pass("rustsec_advisories", Loading { reopen_every: 1, ..IN_ORDER }, 491);
}

#[test]
fn rustsec_advisories_in_one_transaction_and_in_batches() {
    loaded_otherwise("rustsec_advisories", usize::MAX);
    loaded_otherwise("rustsec_advisories", 100);
    loaded_otherwise("rustsec_advisories", 3);
}

fn all_lines_pass(name: &str, loading: Loading, line_count: usize) {
    let (bench, _) = load(name, loading);
    let read = bench.db().begin_read().unwrap();
    let expected = expected(name);
    let mut passed = 0;
    for query in lines(name, "queries") {
        pass(&read, &expected, &query);
        passed += 1;
    }
    assert_eq!(passed, line_count);
    read.check(&mut |_, _| {}).unwrap();
}

/// Loads several commits of the data in a transaction. What is believed at the end of each transaction is what is believed
/// at its last commit where each is a transaction: whole timelines of all keys, and all questions about the end of the data.
fn loaded_otherwise(name: &str, per_transaction: usize) {
    let ((plain, _), (batched, ends)) =
        (load(name, IN_ORDER), load(name, Loading { per_transaction, reopen_every: 5 }));
    let (plain, batched) = (plain.db().begin_read().unwrap(), batched.db().begin_read().unwrap());
    // Of many ends some, and the last.
    let step = ends.len().div_ceil(5);
    let last = ends.len() - 1;
    for (number, end) in ends.iter().enumerate().filter(|(number, _)| number % step == 0 || *number == last) {
        let whole = |read: &TemporalRead, commit: i64| -> Vec<(Vec<u8>, Period, Vec<u8>)> {
            let names = keys(name);
            let rows = names
                .iter()
                .flat_map(|key| read.timeline(COLLECTION, key, Period::ALL, Known::Commit(commit)).unwrap());
            rows.map(|row| (row.key, row.valid, row.value)).collect()
        };
        assert!(whole(&plain, *end) == whole(&batched, number as i64), "transaction {number} of {name}");
    }
    let (expected, mut passed) = (expected(name), 0);
    let about_one_state = ["as_of", "timeline", "snapshot", "snapshot_count", "aggregate_over_valid"];
    for mut query in lines(name, "queries").filter(|query| about_one_state.contains(&text(query, "kind"))) {
        if number(&query, "commit") >= ends[last] {
            query["commit"] = json!(last);
            pass(&batched, &expected, &query);
            passed += 1;
        }
    }
    assert!(passed > 0, "no question about the end of {name}");
    batched.check(&mut |_, _| {}).unwrap();
}

fn expected(name: &str) -> HashMap<String, Value> {
    lines(name, "expected").map(|line| (text(&line, "id").to_owned(), line)).collect()
}

fn pass(read: &TemporalRead, expected: &HashMap<String, Value>, query: &Value) {
    let expected = &expected[text(query, "id")];
    let found = answer(read, query);
    assert!(agree(expected, &found), "{query}\nexpected {expected}\nfound {found}");
}

fn keys(name: &str) -> BTreeSet<Vec<u8>> {
    lines(name, "ops").map(|line| key(&line).to_vec()).collect()
}

fn lines(name: &str, part: &str) -> impl Iterator<Item = Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bitemporal");
    let content = std::fs::read_to_string(folder.join(format!("{name}.{part}.jsonl"))).unwrap();
    let lines: Vec<Value> = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.into_iter()
}

/// Loads a suite; the number of the last commit of the data in each transaction, besides.
fn load(name: &str, loading: Loading) -> (Bench, Vec<i64>) {
    let mut bench = Bench::new(11);
    let operations: Vec<Value> = lines(name, "ops").collect();
    let commits: Vec<&[Value]> = operations.chunk_by(|one, next| one["commit"] == next["commit"]).collect();
    let mut ends = Vec::new();
    for (index, commits) in commits.chunks(loading.per_transaction).enumerate() {
        if index > 0 && index % loading.reopen_every == 0 {
            bench.reopen().unwrap();
        }
        let last = &commits[commits.len() - 1][0];
        let mut tx = bench.db().begin_write().unwrap();
        tx.set_time(commit_time(last, "tx")).unwrap();
        for line in commits.iter().copied().flatten() {
            let (key, period) = (key(line), period(line));
            match text(line, "op") {
                "put" => tx.put(COLLECTION, key, period, line["value"].to_string().as_bytes()).unwrap(),
                "delete" => tx.delete(COLLECTION, key, period).unwrap(),
                other => panic!("{other}"),
            }
        }
        let receipt = tx.commit().unwrap();
        assert_eq!((receipt.commit.get(), receipt.at), (index as u64, commit_time(last, "tx")));
        ends.push(number(last, "commit"));
    }
    (bench, ends)
}

fn answer(read: &TemporalRead, query: &Value) -> Value {
    match text(query, "kind") {
        "counts" => counts(read),
        "as_of" => both(read, query, |known| {
            let value = read.get_value(COLLECTION, key(query), valid(query), known).unwrap();
            value.map_or(Value::Null, |value| parsed(&value))
        }),
        "timeline" => both(read, query, |known| timeline(read, query, known)),
        "history" => history(read, query),
        "snapshot" => both(read, query, |known| Value::Array(snapshot(read, query, known))),
        "snapshot_count" => both(read, query, |known| json!(snapshot(read, query, known).len())),
        "keys_written_between" => keys_written_between(read, query),
        "aggregate_over_valid" => both(read, query, |known| aggregate(read, query, known)),
        "first_and_latest_belief" => beliefs(read, query),
        other => panic!("{other}"),
    }
}

/// Asks as of the time and as of the commit that the query names for it; both must say the same.
fn both(read: &TemporalRead, query: &Value, ask: impl Fn(Known) -> Value) -> Value {
    let by_time = Known::At(commit_time(query, "tx"));
    let by_commit = Known::Commit(number(query, "commit"));
    assert_eq!(read.resolve(by_time).unwrap(), read.resolve(by_commit).unwrap(), "{query}");
    let answer = ask(by_time);
    assert_eq!(answer, ask(by_commit), "{query}");
    answer
}

fn counts(read: &TemporalRead) -> Value {
    let changes: Vec<_> =
        read.changes(None, Known::Commit(-1), Known::Latest).unwrap().map(Result::unwrap).collect();
    let keys: BTreeSet<_> = changes.iter().map(|change| &change.key).collect();
    let commits = read.newest().map_or(0, |newest| newest.commit.get() + 1);
    json!({"operations": changes.len(), "keys": keys.len(), "commits": commits})
}

fn timeline(read: &TemporalRead, query: &Value, known: Known) -> Value {
    let window = period(query);
    let rows = read.timeline(COLLECTION, key(query), window, known).unwrap();
    let row = |valid: Period, value: &[u8]| {
        let (from, to) = (valid.from.max(window.from), valid.to.min(window.to));
        json!([from.micros(), to.is_finite().then_some(to.micros()), parsed(value)])
    };
    rows.iter().map(|found| row(found.valid, &found.value)).collect()
}

fn history(read: &TemporalRead, query: &Value) -> Value {
    let rows = read.history(COLLECTION, key(query), valid(query)).unwrap();
    let row = |found: llmdb_temporal::Version| {
        json!([found.known_from.at.micros(), found.known_to.map(|to| to.at.micros()), parsed(&found.value)])
    };
    rows.into_iter().map(row).collect()
}

fn snapshot(read: &TemporalRead, query: &Value, known: Known) -> Vec<Value> {
    let bound = |field: &str| {
        query.get(field).and_then(Value::as_str).map_or(Unbounded, |key| Included(key.as_bytes()))
    };
    let (from, to) = (bound("key_from"), bound("key_to_inclusive"));
    let rows = read.scan(COLLECTION, from, to, valid(query), known).unwrap();
    rows.map(Result::unwrap)
        .map(|row| json!([String::from_utf8(row.key).unwrap(), parsed(&row.value)]))
        .collect()
}

fn keys_written_between(read: &TemporalRead, query: &Value) -> Value {
    let [after, up_to] = ["after_tx", "up_to_tx"].map(|field| Known::At(commit_time(query, field)));
    let [after_commit, up_to_commit] =
        ["after_commit", "up_to_commit"].map(|field| Known::Commit(number(query, field)));
    assert_eq!(read.resolve(after).unwrap(), read.resolve(after_commit).unwrap());
    assert_eq!(read.resolve(up_to).unwrap(), read.resolve(up_to_commit).unwrap());
    let changes = read.changes(Some(COLLECTION), after, up_to).unwrap();
    let keys: BTreeSet<String> =
        changes.map(|change| String::from_utf8(change.unwrap().key).unwrap()).collect();
    if keys.len() > KEY_COUNT_MAX { json!({"count": keys.len()}) } else { json!(keys) }
}

fn aggregate(read: &TemporalRead, query: &Value, known: Known) -> Value {
    let window = period(query);
    let changes = read.changes(Some(COLLECTION), Known::Commit(-1), known).unwrap().map(Result::unwrap);
    let periods: BTreeSet<Period> = changes
        .filter(|change| change.key == key(query) && change.op == Operation::Put)
        .map(|change| change.valid)
        .filter(|valid| window.contains(valid.from))
        .collect();
    let values: Vec<f64> = periods
        .iter()
        .filter_map(|valid| read.get_value(COLLECTION, key(query), valid.from, known).unwrap())
        .map(|value| parsed(&value).as_f64().unwrap())
        .collect();
    let least = values.iter().copied().reduce(f64::min);
    let greatest = values.iter().copied().reduce(f64::max);
    let sum = (!values.is_empty()).then(|| values.iter().sum::<f64>());
    json!({"count": values.len(), "sum": sum, "min": least, "max": greatest})
}

fn beliefs(read: &TemporalRead, query: &Value) -> Value {
    let rows = read.history(COLLECTION, key(query), valid(query)).unwrap();
    let mut values: Vec<&[u8]> = rows.iter().map(|row| &row.value[..]).collect();
    values.dedup();
    let latest = rows.last().filter(|row| row.known_to.is_none());
    json!({
        "first": rows.first().map(|row| parsed(&row.value)),
        "first_tx": rows.first().map(|row| row.known_from.at.micros()),
        "latest": latest.map(|row| parsed(&row.value)),
        "beliefs": values.len(),
    })
}

fn agree(expected: &Value, found: &Value) -> bool {
    let wanted = &expected["answer"];
    match text(expected, "match") {
        "exact" => same(wanted, found, 0.0),
        "approx" => same(wanted, found, expected["rel"].as_f64().unwrap()),
        "set" => same(&sorted(wanted), &sorted(found), 0.0),
        "timeline" => same(&joined(wanted), &joined(found), 0.0),
        other => panic!("{other}"),
    }
}

/// Equal JSON; numbers count as equal by value (1 and 1.0) and within a relative distance.
fn same(one: &Value, other: &Value, relative: f64) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let [one, other] = [one, other].map(|number| number.as_f64().unwrap());
            one == other || (one - other).abs() <= relative * one.abs().max(other.abs())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other, relative))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, one)| other.get(name).is_some_and(|other| same(one, other, relative)))
        }
        _ => one == other,
    }
}

fn sorted(list: &Value) -> Value {
    let mut items = list.as_array().unwrap().clone();
    items.sort_by_key(Value::to_string);
    Value::Array(items)
}

/// Touching pieces with equal values as one.
fn joined(rows: &Value) -> Value {
    let mut out: Vec<[Value; 3]> = Vec::new();
    for row in rows.as_array().unwrap() {
        let [from, to, value] = [0, 1, 2].map(|index| row[index].clone());
        match out.last_mut() {
            _ if value.is_null() => {}
            Some([_, end, last]) if *end == from && same(last, &value, 0.0) => *end = to,
            _ => out.push([from, to, value]),
        }
    }
    json!(out)
}

fn period(line: &Value) -> Period {
    let bound = |field: &str, open| line[field].as_i64().map_or(open, at);
    Period::new(bound("valid_from", ValidTime::NEG_INF), bound("valid_to", ValidTime::POS_INF)).unwrap()
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap()
}

fn key(line: &Value) -> &[u8] {
    text(line, "key").as_bytes()
}

fn number(line: &Value, field: &str) -> i64 {
    line[field].as_i64().unwrap()
}

fn commit_time(line: &Value, field: &str) -> CommitTime {
    time(number(line, field))
}

fn valid(line: &Value) -> ValidTime {
    at(number(line, "valid"))
}

fn parsed(value: &[u8]) -> Value {
    serde_json::from_slice(value).unwrap()
}

#[test]
fn the_comparison_tells_answers_apart() {
    let expected = |how: &str, answer: Value| json!({"match": how, "rel": 0.001, "answer": answer});
    assert!(agree(&expected("exact", json!({"a": 1, "b": [null]})), &json!({"b": [null], "a": 1.0})));
    assert!(!agree(&expected("exact", json!([1, 2])), &json!([2, 1])));
    assert!(agree(&expected("set", json!([1, 2])), &json!([2, 1])));
    assert!(!agree(&expected("set", json!([1, 2])), &json!([2, 2])));
    assert!(agree(&expected("approx", json!(1000)), &json!(1000.5)));
    assert!(!agree(&expected("approx", json!(1000)), &json!(1002)));
    let rows = json!([[0, 5, "a"], [5, 9, "a"], [9, null, "b"]]);
    assert!(agree(&expected("timeline", rows.clone()), &json!([[0, 9, "a"], [9, null, "b"]])));
    assert!(!agree(&expected("timeline", rows), &json!([[0, 8, "a"], [9, null, "b"]])));
}
