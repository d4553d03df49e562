//! The commands for people, through the built binary.

use std::fs;

use crate::common::{Place, feed, llmdb};
use serde_json::{Value as Json, json};

const COMMANDS: [&str; 12] = [
    "demo", "apply", "ask", "get", "put", "delete", "history", "timeline", "stat", "check", "erase", "retain",
];

#[test]
fn help_has_examples_and_the_exit_codes() {
    for command in COMMANDS {
        let ran = feed(llmdb().args([command, "--help"]), b"");
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("Example"), "{command}: {}", ran.out);
        assert!(ran.out.contains("llmdb ".to_owned().as_str()), "{command}");
    }
    let ran = feed(llmdb().arg("--help"), b"");
    for words in ["Exit codes:", "  0  ", "  1  ", "  2  ", "  3  ", "  4  "].iter().chain(&COMMANDS) {
        assert!(ran.out.contains(words), "{words:?} is not in {}", ran.out);
    }
}

#[test]
fn times_apply_to_the_commands_that_have_them() {
    for (command, options) in [
        ("get", &["--valid-at", "--known-at", "--at-commit", "--format", "--times"][..]),
        ("history", &["--valid-at", "--known-at", "--at-commit", "--format"]),
        ("timeline", &["--valid-at", "--known-at", "--at-commit", "--valid-from", "--valid-to", "--format"]),
        ("put", &["--valid-from", "--valid-to", "--format"]),
        ("delete", &["--valid-from", "--valid-to", "--format"]),
        ("apply", &["--times"]),
        ("ask", &["--times"]),
        ("stat", &["--format"]),
        ("check", &["--format"]),
        ("demo", &["--format", "--path"]),
    ] {
        let help = feed(llmdb().args([command, "--help"]), b"").out;
        for option in options {
            assert!(help.contains(option), "{command} {option}");
        }
    }
}

#[test]
fn a_belief_is_put_corrected_and_both_are_found() {
    let place = Place::new();
    let first = place.run("put", &["home", "\"Paris\"", "--valid-from", "2020-01-01T00:00:00Z"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!((&first.json()["commit"], &first.json()["ops"]), (&json!(0), &json!(1)));
    let second = place.run_with("put", &["home", "-", "--valid-from", "null"], b"{\"city\": \"Oslo\"}\n");
    assert_eq!(second.json()["commit"], 1);
    let now = place.run("get", &["home"]).json();
    assert_eq!((&now["value"], &now["valid"]), (&json!({"city": "Oslo"}), &json!([null, null])));
    let then = place.run("get", &["home", "--at-commit", "0"]).json();
    assert_eq!(then["value"], "Paris");
    let known_at = first.json()["known_at"].as_str().unwrap().to_owned();
    assert_eq!(place.run("get", &["home", "--known-at", &known_at]).json()["value"], "Paris");
    let before = place.run("get", &["home", "--at-commit", "-1"]);
    assert_eq!((before.code, before.json()), (1, json!({"value": null})));
    let early = place.run("get", &["home", "--at-commit=0", "--valid-at", "-1"]);
    assert_eq!((early.code, early.json()), (1, json!({"value": null})));
}

#[test]
fn delete_ends_a_belief_and_keeps_its_history() {
    let place = Place::new();
    place.run("put", &["k", "1", "--valid-from", "0", "--valid-to", "100"]);
    assert_eq!(place.run("delete", &["k", "--valid-from", "50", "--valid-to", "null"]).json()["commit"], 1);
    assert_eq!(place.run("get", &["k", "--valid-at", "49"]).code, 0);
    assert_eq!(place.run("get", &["k", "--valid-at", "50"]).code, 1);
    let history = place.run("history", &["k", "--valid-at", "50", "--times", "micros"]).json();
    assert_eq!(history["rows"].as_array().unwrap().len(), 1);
    assert_eq!(history["rows"][0]["valid"], json!([0, 100]));
    let then = place.run("history", &["k", "--valid-at", "50", "--at-commit", "0"]).json();
    assert_eq!(then["rows"][0]["known"][1], Json::Null);
}

#[test]
fn a_timeline_shows_pieces_a_window_or_one_instant() {
    let place = Place::new();
    place.apply(
        r#"{"op":"put","key":"k","value":1,"valid_from":0,"valid_to":10,"tx":1}
           {"op":"put","key":"k","value":2,"valid_from":10,"tx":2}"#,
    );
    let values = |arguments: &[&str]| -> Json {
        let arguments = [&["k", "--times", "micros"], arguments].concat();
        let answer = place.run("timeline", &arguments).json();
        answer["rows"].as_array().unwrap().iter().map(|row| json!([row["value"], row["valid"]])).collect()
    };
    assert_eq!(values(&[]), json!([[1, [0, 10]], [2, [10, null]]]));
    assert_eq!(values(&["--valid-at", "9"]), json!([[1, [0, 10]]]));
    assert_eq!(values(&["--valid-at", "10"]), json!([[2, [10, null]]]));
    assert_eq!(values(&["--valid-at", "9223372036854775806"]), json!([[2, [10, null]]]));
    assert_eq!(
        values(&["--valid-from", "5", "--valid-to", "20", "--clamp"]),
        json!([[1, [5, 10]], [2, [10, 20]]])
    );
    assert_eq!(values(&["--known-at", "1"]), json!([[1, [0, 10]]]));
}

#[test]
fn keys_and_collections_of_any_kind() {
    let place = Place::new();
    assert_eq!(place.run("put", &["base64:/wA=", "1", "--collection", "odd"]).code, 0);
    assert_eq!(place.run("get", &["base64:/wA=", "--collection", "odd"]).json()["value"], 1);
    assert_eq!(place.run("get", &["base64:/wA="]).code, 1);
    let rows = place.run("timeline", &["base64:/wA=", "--collection", "odd"]).json();
    assert_eq!(rows["rows"][0]["key"], json!({"base64": "/wA="}));
    assert_eq!(place.run("put", &["--", "-k", "-1"]).code, 0);
    assert_eq!(place.run("get", &["--", "-k"]).json()["value"], -1);
}

#[test]
fn tables_are_for_people() {
    let place = Place::new();
    place.apply(
        r#"{"op":"put","key":"k","value":"old","valid_from":0,"tx":1000000}
           {"op":"put","key":"k","value":{"new":1.50},"valid_from":86400000000,"tx":2000000}"#,
    );
    let table = |command: &str, arguments: &[&str]| {
        let ran = place.run(command, &[&["k", "--format", "table"], arguments].concat());
        format!("{command} {}\n{}", arguments.join(" "), ran.out)
    };
    insta::assert_snapshot!(
        [
            table("get", &["--valid-at", "5"]),
            table("get", &["--valid-at", "-5"]),
            table("history", &["--valid-at", "1970-01-03T00:00:00Z"]),
            table("timeline", &[]),
            table("timeline", &["--at-commit", "-1"]),
        ]
        .join("\n")
    );
}

#[test]
fn stat_counts_and_check_finds_nothing_wrong() {
    let place = Place::new();
    place.apply(
        r#"{"op":"put","key":"a","value":1,"tx":1000000}
           {"op":"put","key":"b","value":1,"tx":2000000,"collection":"c"}"#,
    );
    let stat = place.run("stat", &[]);
    assert_eq!(stat.code, 0, "{stat:?}");
    let stat = stat.json();
    assert_eq!(stat["commits"], 2);
    assert_eq!(stat["newest"], json!({"commit": 1, "at": "1970-01-01T00:00:02Z"}));
    let names: Vec<_> = stat["collections"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, [json!("c"), json!("main")]);
    assert_eq!(stat["file_bytes"], fs::metadata(place.db()).unwrap().len());
    let check = place.run("check", &[]);
    assert_eq!(check.code, 0, "{check:?}");
    assert_eq!((&check.json()["sound"], &check.json()["operations"]), (&json!(true), &json!(2)));
    for command in ["stat", "check"] {
        let ran = place.run(command, &["--format", "table"]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("operations") || ran.out.contains("commits"), "{ran:?}");
    }
}

#[test]
fn check_finds_a_flipped_bit_in_any_page_in_use_and_names_the_page() {
    let place = Place::new();
    let lines: Vec<_> = (0..60)
        .map(|n| json!({"op": "put", "key": format!("k{n}"), "value": "v".repeat(n * 10), "valid_from": n, "tx": n}).to_string())
        .collect();
    place.apply(&lines.join("\n"));
    let stat = place.run("stat", &[]).json();
    let in_use = place.run("check", &[]).json()["pages"].as_u64().unwrap();
    let size = stat["page_bytes"].as_u64().unwrap() as usize;
    let sound = fs::read(place.db()).unwrap();
    let mut found = 0;
    for page in 0..sound.len() / size {
        let mut damaged = sound.clone();
        damaged[page * size + 10 + page * 37 % (size - 10)] ^= 1 << (page % 8);
        fs::write(place.db(), damaged).unwrap();
        let ran = place.run("check", &[]);
        let said = format!("{}{}", ran.out, ran.err);
        let named = said.contains(&format!("\"page\":{page},"));
        assert!(ran.code == 0 || (ran.code == 1 && named), "page {page}: {ran:?}");
        found += u64::from(ran.code != 0);
    }
    // The two copies of the meta are not counted among the pages.
    assert_eq!(found, in_use + 2, "of {} pages", sound.len() / size);
}
