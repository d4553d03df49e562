//! `llmdb wasm`: modules in a database, and their functions over its facts.

use llmdb::wasm::guests;
use serde_json::json;

use crate::common::{Place, Ran, feed, llmdb};

/// Runs `llmdb wasm COMMAND DB ARGUMENTS...`.
fn wasm(place: &Place, command: &str, arguments: &[&str]) -> Ran {
    wasm_with(place, command, arguments, "")
}

fn wasm_with(place: &Place, command: &str, arguments: &[&str], input: &str) -> Ran {
    let mut llmdb = llmdb();
    llmdb.arg("wasm").arg(command).arg(place.db()).args(arguments);
    feed(&mut llmdb, input.as_bytes())
}

/// A database with four facts and two modules.
fn place() -> Place {
    let place = Place::new();
    place.apply(
        r#"{"op":"put","key":"a/1","value":"four","valid_from":null,"commit":0}
           {"op":"put","key":"a/2","value":17,"valid_from":null,"commit":0}
           {"op":"put","key":"b/1","value":"é","valid_from":null,"commit":0}
           {"op":"put","key":"b/2","value":{"utc_offset_s":-60},"valid_from":null,"commit":0}"#,
    );
    for (name, source) in [("records", guests::RECORDS), ("offsets", guests::OFFSET_STATS)] {
        let ran = wasm_with(&place, "put", &[name, "-"], source);
        assert_eq!((ran.code, &ran.json()["name"]), (0, &json!(name)), "{ran:?}");
    }
    place
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in ["put", "list", "describe", "disable", "enable", "remove", "run"] {
        let ran = feed(llmdb().args(["wasm", command, "--help"]), b"");
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains(&format!("llmdb wasm {command} ")), "{command}: {}", ran.out);
        assert!(ran.out.contains("Example"), "{command}: {}", ran.out);
    }
}

#[test]
fn a_map_answers_for_each_fact_in_the_form_that_is_asked_for() {
    let place = place();
    let sizes = wasm(&place, "run", &["records", "map", "value_size", "--as", "u64"]);
    let expected = [("a/1", 6), ("a/2", 2), ("b/1", 4), ("b/2", 20)];
    let expected = expected.map(|(key, size)| json!({"key": key, "answer": [size]}));
    assert_eq!((sizes.code, sizes.lines()), (0, expected.to_vec()), "{sizes:?}");
    let values = wasm(&place, "run", &["records", "map", "value", "--as", "json", "--prefix", "b/"]).lines();
    assert_eq!(values[1], json!({"key": "b/2", "answer": {"utc_offset_s": -60}}));
    let bytes = wasm(&place, "run", &["records", "map", "value", "--from", "a/2", "--to", "b/2"]).lines();
    assert_eq!((bytes.len(), &bytes[1]["answer"]), (2, &json!("\"é\"")));
    let table = wasm(&place, "run", &["records", "map", "value", "--format", "table"]);
    assert!(table.out.contains("a/2") && table.out.contains("answer"), "{}", table.out);
    let wrong = wasm(&place, "run", &["records", "map", "value", "--as", "i64"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("no multiple of 8"), "{}", wrong.err);
}

#[test]
fn a_filter_prints_the_facts_that_it_keeps() {
    let place = place();
    let ran = wasm(&place, "run", &["records", "filter", "is_text"]);
    let kept = ran.lines();
    assert_eq!(kept.iter().map(|row| row["key"].clone()).collect::<Vec<_>>(), ["a/1", "b/1"]);
    assert_eq!(kept[1]["value"], "é");
    let none = wasm(&place, "run", &["records", "filter", "is_text", "--at-commit", "-1"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    let none =
        wasm(&place, "run", &["records", "filter", "is_text", "--collection", "x", "--format", "table"]);
    assert_eq!((none.code, none.out.trim()), (0, "nothing was found"));
}

#[test]
fn a_reduction_answers_once_and_its_fuel_is_noted_when_asked() {
    let place = place();
    let arguments = ["offsets", "reduce", "offset_stats", "--as", "i64"];
    let ran = wasm(&place, "run", &arguments).json();
    assert_eq!((&ran["answer"], &ran["facts"]), (&json!([1, -60, -60, -60]), &json!(4)));
    let fuel = ran["fuel"].as_u64().unwrap();
    assert!(fuel > 0);
    assert_eq!(wasm(&place, "describe", &["offsets"]).json()["fuel_seen"], 0);
    let noted = [&arguments[..], &["--note-fuel"]].concat();
    assert_eq!(wasm(&place, "run", &noted).json(), ran);
    assert_eq!(wasm(&place, "describe", &["offsets"]).json()["fuel_seen"], fuel);
    let starved = wasm(&place, "run", &[&arguments[..], &["--max-fuel", "30"]].concat());
    assert_eq!(starved.code, 2);
    assert!(starved.err.starts_with("error[LLMDB-W06]: module offsets, function "), "{}", starved.err);
}

#[test]
fn modules_are_listed_described_disabled_and_removed() {
    let place = place();
    let listed = wasm(&place, "list", &[]).lines();
    assert_eq!(listed.iter().map(|row| row["name"].clone()).collect::<Vec<_>>(), ["offsets", "records"]);
    let hash = listed[1]["hash"].as_str().unwrap();
    let described = wasm(&place, "describe", &[hash]).json();
    assert_eq!(described["name"], "records");
    assert_eq!(described["maps"], json!(["value_size", "value"]));
    assert_eq!((&described["filters"], &described["imports"]), (&json!(["is_text"]), &json!([])));
    assert_eq!(wasm(&place, "disable", &["records"]).code, 0);
    for called in ["records", hash] {
        let refused = wasm(&place, "run", &[called, "filter", "is_text"]);
        assert_eq!(refused.code, 2);
        assert!(refused.err.contains("LLMDB-W20") && refused.err.contains("enable"), "{}", refused.err);
    }
    assert_eq!(wasm(&place, "describe", &["records"]).json()["disabled"], true);
    assert_eq!(wasm(&place, "enable", &["records"]).code, 0);
    assert_eq!(wasm(&place, "run", &["records", "filter", "is_text"]).code, 0);
    assert_eq!(wasm(&place, "remove", &["records"]).code, 0);
    let gone = wasm(&place, "run", &["records", "filter", "is_text"]);
    assert_eq!(gone.code, 2);
    assert!(gone.err.contains("LLMDB-W21") && gone.err.contains("list"), "{}", gone.err);
    let table = wasm(&place, "list", &["--format", "table"]).out;
    assert!(table.contains("offsets") && table.contains("enabled") && !table.contains("records"), "{table}");
    assert_eq!(place.run("check", &[]).json()["sound"], true);
}

#[test]
fn a_module_that_cannot_run_is_refused_and_makes_no_database() {
    let place = Place::new();
    for (source, code) in [
        ("(module (func (import \"a\" \"b\")))", "LLMDB-W03"),
        ("(module", "LLMDB-W01"),
        ("not a module", "LLMDB-W01"),
    ] {
        let ran = wasm_with(&place, "put", &["x", "-"], source);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.starts_with(&format!("error[{code}]: module x")), "{}", ran.err);
    }
    let missing = wasm(&place, "put", &["x", "/nowhere/x.wasm"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("/nowhere/x.wasm"), "{}", missing.err);
    assert!(!place.db().exists());
    let place = self::place();
    let no_such = wasm(&place, "run", &["records", "map", "nothing"]);
    assert_eq!(no_such.code, 2);
    assert!(no_such.err.contains("LLMDB-W08") && no_such.err.contains("nothing_map"), "{}", no_such.err);
}

#[test]
fn compiled_code_is_kept_where_it_is_asked_for() {
    let place = place();
    let cache = place.path("cache");
    let run = || {
        let arguments = ["records", "filter", "is_text", "--cache", cache.to_str().unwrap()];
        let ran = wasm(&place, "run", &arguments);
        assert_eq!((ran.code, ran.lines().len()), (0, 2), "{ran:?}");
        std::fs::read_dir(&cache).unwrap().count()
    };
    let files = run();
    assert!(files >= 1);
    assert_eq!(run(), files, "the second run finds it");
}
