//! `llmdb demo`: what it shows, and that it touches no file but its own.

use std::fs;

use crate::common::{Place, Ran, feed, llmdb};
use serde_json::Value as Json;

fn demo(place: &Place, arguments: &[&str]) -> Ran {
    feed(llmdb().current_dir(place.directory.path()).arg("demo").args(arguments), b"")
}

#[test]
fn the_report_says_what_was_believed_when() {
    let place = Place::new();
    let ran = demo(&place, &["--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut report = ran.json();
    // Measured anew in each run, or different from season to season.
    for (part, fields) in [
        ("reads", &["latest_us", "as_of_us", "scan_ms"][..]),
        ("wasm", &["sum_s", "min_s", "max_s", "fuel", "compile_ms", "run_ms"]),
    ] {
        for field in fields {
            if !report[part].is_object() {
                continue;
            }
            assert!(report[part][*field].as_f64().is_some(), "{part} {field} {report}");
            report[part][*field] = "(measured)".into();
        }
    }
    for field in ["load_ms", "size_bytes"] {
        assert!(report[field].as_f64().unwrap() > 0.0);
        report[field] = "(measured)".into();
    }
    if cfg!(not(feature = "wasm")) {
        assert_eq!(report["wasm"], Json::Null);
        return;
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn the_screen_shows_the_story() {
    let place = Place::new();
    let ran = demo(&place, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.lines().filter(|line| !line.contains("(llmdb is ")).all(|line| line.chars().count() <= 110)
    );
    let story: Vec<_> = ran.out.lines().skip_while(|line| !line.starts_with("A call")).take(7).collect();
    insta::assert_snapshot!(story.join("\n"));
    for words in [
        "28 commits",
        "14 corrections",
        "12 zones",
        "70 hours",
        "300 of 300",
        "each equals a naive search",
        "next",
    ] {
        assert!(ran.out.contains(words), "{words:?} is not in {}", ran.out);
    }
}

#[test]
#[cfg(feature = "wasm")]
fn the_function_in_webassembly_counts_what_a_scan_finds() {
    let place = Place::new();
    let found = demo(&place, &["--path", "test.llmdb", "--format", "json"]).json()["wasm"].clone();
    let rows = place.ask(r#"{"op":"scan"}"#).remove(0);
    let offsets =
        rows["rows"].as_array().unwrap().iter().map(|row| row["value"]["utc_offset_s"].as_i64().unwrap());
    let offsets: Vec<i64> = offsets.collect();
    assert_eq!(found["count"], offsets.len());
    assert_eq!(found["min_s"], *offsets.iter().min().unwrap());
    assert_eq!(found["max_s"], *offsets.iter().max().unwrap());
    assert_eq!(found["sum_s"], offsets.iter().sum::<i64>());
}

#[test]
fn what_the_screen_says_to_try_next_works() {
    let place = Place::new();
    let ran = demo(&place, &[]);
    let next = ran.out.lines().skip_while(|line| !line.starts_with("next")).map(|line| &line[7..]);
    let commands: Vec<_> = next.filter(|line| !line.starts_with('(')).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_llmdb")).parent().unwrap().to_str().unwrap();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    for command in commands {
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(place.directory.path()).env("PATH", &path).args(["-c", command]);
        let ran = feed(&mut shell, b"");
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        assert!(ran.out.len() > 20, "{command}: {ran:?}");
    }
}

#[test]
fn its_own_file_is_made_anew() {
    let place = Place::new();
    assert_eq!(demo(&place, &["--path", "test.llmdb"]).code, 0);
    place.apply(r#"{"op":"put","key":"added","value":1}"#);
    assert_eq!(demo(&place, &["--path", "test.llmdb"]).code, 0);
    assert_eq!(place.run("get", &["added"]).code, 1);
    let left: Vec<_> =
        fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_file_that_it_did_not_make_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    place.apply(r#"{"op":"put","key":"precious","value":1,"valid_from":null}"#);
    let database = fs::read(place.db()).unwrap();
    let cases: [(&str, &[u8]); 5] = [
        ("a database", &database),
        ("half a database", &database[..database.len() / 2]),
        ("text", b"Dear diary"),
        ("nothing", b""),
        ("the first bytes", b"LLMDB"),
    ];
    for (what, content) in cases {
        fs::write(place.db(), content).unwrap();
        let before = fs::metadata(place.db()).unwrap();
        let ran = demo(&place, &["--path", "test.llmdb"]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{what}: {ran:?}");
        assert!(
            ran.err.contains("was not made by the demo") && ran.err.contains("--path"),
            "{what}: {ran:?}"
        );
        assert_eq!(fs::read(place.db()).unwrap(), content, "{what}");
        assert_eq!(
            fs::metadata(place.db()).unwrap().modified().unwrap(),
            before.modified().unwrap(),
            "{what}"
        );
        assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 1, "{what}");
    }
    fs::remove_file(place.db()).unwrap();
    fs::create_dir(place.db()).unwrap();
    assert_eq!(demo(&place, &["--path", "test.llmdb"]).code, 2);
}
