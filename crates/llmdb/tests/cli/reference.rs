//! Reference suites, answered through `apply` and `ask` of the built binary: data that nobody here wrote, with
//! answers computed elsewhere.
//!
//! `scripts/bitemporal_adapter.py` does the same from another language, and is run where there is a Python.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::{Place, root};
use serde_json::{Value as Json, json};

fn suite(file: &str) -> PathBuf {
    root().join("crates/llmdb-temporal/tests/data/bitemporal").join(file)
}

fn read_lines(file: &str) -> Vec<Json> {
    let text = fs::read_to_string(suite(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn fed_vintages_is_answered_as_expected() {
    check("fed_vintages", 523, answers);
}

#[test]
fn rustsec_advisories_is_answered_as_expected() {
    check("rustsec_advisories", 491, answers);
}

#[test]
fn the_adapter_script_gives_the_expected_answers_too() {
    if let Err(error) = Command::new("python3").arg("--version").output() {
        println!("left out: no python3 ({error})");
        return;
    }
    for (name, count) in [("fed_vintages", 523), ("rustsec_advisories", 491)] {
        check(name, count, script_answers);
    }
}

#[test]
fn tzdb_is_answered_as_expected() {
    tzdb_passes(&|place, ops| {
        place.apply(ops);
    });
}

/// Each run of the binary opens the database anew.
#[test]
fn tzdb_is_answered_as_expected_with_a_reopen_between_any_two_commits() {
    tzdb_passes(&|place, ops| {
        let lines: Vec<&str> = ops.lines().collect();
        let group = |line: &str| {
            let line: Json = serde_json::from_str(line).unwrap();
            (line["commit"].clone(), line["tx"].clone())
        };
        for commit in lines.chunk_by(|one, next| group(one) == group(next)) {
            place.apply(&commit.join("\n"));
        }
    });
}

fn tzdb_passes(load: &dyn Fn(&Place, &str)) {
    let place = Place::new();
    let packed = |file| fs::File::open(root().join("crates/llmdb/demo-data").join(file)).unwrap();
    let unpack = |file| std::io::read_to_string(flate2::read::GzDecoder::new(packed(file))).unwrap();
    load(&place, &unpack("tzdb.ops.jsonl.gz"));
    let queries = unpack("tzdb.queries.jsonl.gz");
    let queries: Vec<Json> = queries.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let questions: Vec<_> = queries
        .iter()
        .map(|q| {
            json!({"op": "get", "key": q["key"], "valid_at": q["valid_at"], "known_at": q["known_at"]})
                .to_string()
        })
        .collect();
    let answers = place.ask(&questions.join("\n"));
    let right =
        queries.iter().zip(&answers).filter(|(query, answer)| query["expected"] == answer["value"]).count();
    assert_eq!((right, answers.len()), (300, 300));
}

fn check(name: &str, count: usize, answers: fn(&str) -> BTreeMap<String, Json>) {
    let found = answers(name);
    let expected = read_lines(&format!("{name}.expected.jsonl"));
    let wrong: Vec<_> = expected
        .iter()
        .filter(|line| !found.get(line["id"].as_str().unwrap()).is_some_and(|answer| matches(line, answer)))
        .map(|line| format!("{line}\n  got {:?}", found.get(line["id"].as_str().unwrap())))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}: {}",
        wrong.len(),
        expected.len(),
        wrong[..wrong.len().min(3)].join("\n")
    );
    assert_eq!(expected.len(), count);
}

// ---- from queries to questions, and from their answers to those of the suite

fn answers(name: &str) -> BTreeMap<String, Json> {
    let place = Place::new();
    place.apply(&fs::read_to_string(suite(&format!("{name}.ops.jsonl"))).unwrap());
    let queries = read_lines(&format!("{name}.queries.jsonl"));
    let first = ask_all(&place, queries.iter().map(questions).collect());
    let second = ask_all(
        &place,
        queries.iter().zip(&first).map(|(query, found)| second_round(query, found)).collect(),
    );
    let id = |query: &Json| query["id"].as_str().unwrap().to_owned();
    queries
        .iter()
        .zip(first.iter().zip(&second))
        .map(|(q, (one, two))| (id(q), answer(q, one, two)))
        .collect()
}

fn script_answers(name: &str) -> BTreeMap<String, Json> {
    let place = Place::new();
    let script = root().join("crates/llmdb/tests/scripts/bitemporal_adapter.py");
    let done = Command::new("python3")
        .args([script, env!("CARGO_BIN_EXE_llmdb").into()])
        .args([suite(&format!("{name}.ops.jsonl")), suite(&format!("{name}.queries.jsonl")), place.db()])
        .output();
    let ran = crate::common::ran(done.unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let line = |line: Json| (line["id"].as_str().unwrap().to_owned(), line["answer"].clone());
    ran.lines().into_iter().map(line).collect()
}

/// Asks lists of questions in one run, and gives back the answers as the same lists.
fn ask_all(place: &Place, questions: Vec<Vec<Json>>) -> Vec<Vec<Json>> {
    let text: String = questions.iter().flatten().map(|question| format!("{question}\n")).collect();
    let mut answers = place.ask(&text).into_iter();
    let lists = questions.iter().map(|list| answers.by_ref().take(list.len()).collect()).collect();
    assert!(answers.next().is_none());
    lists
}

fn questions(q: &Json) -> Vec<Json> {
    let both = |mut question: Json| {
        let mut by_commit = question.clone();
        question["known_at"] = q["tx"].clone();
        by_commit["at_commit"] = q["commit"].clone();
        vec![question, by_commit]
    };
    match q["kind"].as_str().unwrap() {
        "counts" => vec![json!({"op": "changes"})],
        "as_of" => both(json!({"op": "get", "key": q["key"], "valid_at": q["valid"]})),
        "timeline" => both(json!({
            "op": "timeline", "key": q["key"], "valid_from": q["valid_from"], "valid_to": q["valid_to"], "clamp": true,
        })),
        "history" | "first_and_latest_belief" => {
            vec![json!({"op": "history", "key": q["key"], "valid_at": q["valid"]})]
        }
        "snapshot" | "snapshot_count" => {
            let to = q["key_to_inclusive"].as_str().map(|last| format!("{last}\0"));
            both(json!({"op": "scan", "valid_at": q["valid"], "from": q["key_from"], "to": to}))
        }
        "keys_written_between" => vec![
            json!({"op": "changes", "from": q["after_tx"], "to": q["up_to_tx"]}),
            json!({"op": "changes", "from_commit": q["after_commit"], "to_commit": q["up_to_commit"]}),
        ],
        "aggregate_over_valid" => vec![json!({"op": "changes", "key": q["key"]})],
        other => panic!("unknown kind {other}"),
    }
}

/// Questions that only the first answers make possible.
fn second_round(q: &Json, first: &[Json]) -> Vec<Json> {
    if q["kind"] != "aggregate_over_valid" {
        return Vec::new();
    }
    let bound = |json: &Json| json.as_i64().unwrap();
    let periods: BTreeSet<_> =
        rows(first).iter().map(|row| (bound(&row["valid"][0]), row["valid"][1].as_i64())).collect();
    let inside = bound(&q["valid_from"])..bound(&q["valid_to"]);
    let starts = periods.into_iter().map(|(start, _)| start).filter(|start| inside.contains(start));
    starts.map(|at| json!({"op": "get", "key": q["key"], "valid_at": at, "known_at": q["tx"]})).collect()
}

fn answer(q: &Json, first: &[Json], second: &[Json]) -> Json {
    assert!(first.windows(2).all(|two| two[0] == two[1]), "by time and by commit differ: {q}");
    match q["kind"].as_str().unwrap() {
        "as_of" => first[0]["value"].clone(),
        "counts" => json!({
            "operations": rows(first).len(),
            "keys": distinct(first, "key").len(),
            "commits": distinct(first, "commit").len(),
        }),
        "timeline" => rows(first).iter().map(|r| json!([r["valid"][0], r["valid"][1], r["value"]])).collect(),
        "history" => rows(first).iter().map(|r| json!([r["known"][0], r["known"][1], r["value"]])).collect(),
        "snapshot" => rows(first).iter().map(|r| json!([r["key"], r["value"]])).collect(),
        "snapshot_count" => rows(first).len().into(),
        "keys_written_between" => {
            match rows(first).iter().map(|row| row["key"].as_str().unwrap()).collect() {
                keys if BTreeSet::len(&keys) > 50 => json!({"count": keys.len()}),
                keys => json!(keys),
            }
        }
        "aggregate_over_valid" => aggregate(second),
        _ => beliefs(rows(first)),
    }
}

fn rows(answers: &[Json]) -> &[Json] {
    answers[0]["rows"].as_array().unwrap()
}

fn distinct(answers: &[Json], field: &str) -> BTreeSet<String> {
    rows(answers).iter().map(|row| row[field].to_string()).collect()
}

fn aggregate(answers: &[Json]) -> Json {
    let values: Vec<f64> = answers.iter().filter_map(|answer| answer["value"].as_f64()).collect();
    let fold = |join: fn(f64, f64) -> f64| values.iter().copied().reduce(join);
    json!({"count": values.len(), "sum": values.iter().sum::<f64>(), "min": fold(f64::min), "max": fold(f64::max)})
}

/// How often the belief changed to another value counts, not how often it was cut.
fn beliefs(rows: &[Json]) -> Json {
    let mut values: Vec<&Json> = rows.iter().map(|row| &row["value"]).collect();
    values.dedup();
    let standing = rows.last().filter(|row| row["known"][1].is_null());
    json!({
        "first": values.first(),
        "first_tx": rows.first().map(|row| &row["known"][0]),
        "latest": standing.map(|row| &row["value"]),
        "beliefs": values.len(),
    })
}

// ---- the comparison, as the suite's own checker does it

fn matches(expected: &Json, found: &Json) -> bool {
    let wanted = &expected["answer"];
    match expected["match"].as_str().unwrap() {
        "exact" => same(wanted, found, 0.0, 0.0),
        "approx" => same(
            wanted,
            found,
            expected["rel"].as_f64().unwrap_or(0.0),
            expected["abs"].as_f64().unwrap_or(0.0),
        ),
        "set" => {
            let sorted = |json: &Json| -> Option<Vec<String>> {
                let mut list: Vec<_> = json.as_array()?.iter().map(canonical).collect();
                list.sort();
                Some(list)
            };
            sorted(wanted).is_some() && sorted(wanted) == sorted(found)
        }
        "timeline" => joined(wanted) == joined(found),
        other => panic!("unknown match {other}"),
    }
}

fn same(one: &Json, two: &Json, rel: f64, abs: f64) -> bool {
    match (one, two) {
        (Json::Number(one), Json::Number(two)) => {
            let (one, two) = (one.as_f64().unwrap(), two.as_f64().unwrap());
            one == two || (one - two).abs() <= abs.max(rel * one.abs().max(two.abs()))
        }
        (Json::Array(one), Json::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two, rel, abs))
        }
        (Json::Object(one), Json::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(name, one)| two.get(name).is_some_and(|two| same(one, two, rel, abs)))
        }
        (one, two) => one == two,
    }
}

/// Equal values have equal text: fields sorted, 1.0 as 1.
fn canonical(json: &Json) -> String {
    match json {
        Json::Number(number) => number.as_f64().unwrap().to_string(),
        Json::Array(list) => list.iter().map(canonical).collect::<Vec<_>>().join(",") + "]",
        Json::Object(fields) => {
            let sorted: BTreeMap<_, _> =
                fields.iter().map(|(name, value)| (name, canonical(value))).collect();
            format!("{sorted:?}")
        }
        other => other.to_string(),
    }
}

/// Touching pieces with equal values joined, pieces without a value left out.
fn joined(timeline: &Json) -> Vec<(String, String, String)> {
    let mut pieces: Vec<&Json> =
        timeline.as_array().unwrap().iter().filter(|piece| !piece[2].is_null()).collect();
    pieces.sort_by_key(|piece| piece[0].as_i64().unwrap_or(i64::MIN));
    let mut joined: Vec<(String, String, String)> = Vec::new();
    for piece in pieces {
        let (from, to, value) = (canonical(&piece[0]), canonical(&piece[1]), canonical(&piece[2]));
        match joined.last_mut() {
            Some(last) if last.1 == from && last.2 == value => last.1 = to,
            _ => joined.push((from, to, value)),
        }
    }
    joined
}

#[test]
fn the_comparison_tells_right_from_wrong() {
    let line = |kind: &str, answer: Json| json!({"match": kind, "answer": answer, "rel": 1e-9});
    assert!(matches(&line("exact", json!({"a": [1, null]})), &json!({"a": [1.0, null]})));
    assert!(!matches(&line("exact", json!({"a": 1})), &json!({"a": 1.000_000_1})));
    assert!(!matches(&line("exact", json!({"a": 1})), &json!({"a": 1, "b": 1})));
    assert!(!matches(&line("exact", json!(null)), &json!(0)));
    assert!(matches(&line("approx", json!(1e12)), &json!(1e12 + 100.0)));
    assert!(!matches(&line("approx", json!(1e12)), &json!(1e12 + 10_000.0)));
    assert!(matches(&line("set", json!(["a", "b"])), &json!(["b", "a"])));
    assert!(!matches(&line("set", json!(["a", "b"])), &json!(["b", "b"])));
    assert!(!matches(&line("set", json!(["a"])), &json!({"count": 1})));
    assert!(matches(
        &line("timeline", json!([[0, null, 1]])),
        &json!([[0, 5, 1], [5, null, 1.0], [9, 9, null]])
    ));
    assert!(!matches(&line("timeline", json!([[0, null, 1]])), &json!([[0, 5, 1], [6, null, 1]])));
    assert!(!matches(&line("timeline", json!([[0, 5, 1]])), &json!([[0, null, 1]])));
}
