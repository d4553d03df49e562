//! `backup`, `restore`, and commands that read beside each other.

use crate::common::{Place, Ran, feed, llmdb};
use std::fs;
use std::process::Stdio;

fn run(arguments: &[&str], input: &[u8]) -> Ran {
    feed(llmdb().args(arguments), input)
}

fn put(place: &Place, key: &str, value: &str) {
    let ran = place.run("put", &[key, value]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn text(path: &std::path::Path) -> String {
    path.to_str().unwrap().into()
}

#[test]
fn backups_and_later_ones_restore_to_the_same_answers() {
    let place = Place::new();
    let [full, part, copy] = ["full.backup", "part.backup", "copy.llmdb"].map(|name| text(&place.path(name)));
    put(&place, "home", "\"Oslo\"");
    let report = place.run("backup", &[&full]).json();
    assert_eq!((&report["commit"], &report["full"]), (&0.into(), &true.into()), "{report}");
    assert_eq!(report["bytes"], fs::metadata(&full).unwrap().len());
    put(&place, "home", "\"Bergen\"");
    put(&place, "work", "\"Oslo\"");
    let report = place.run("backup", &[&part, "--since", &full]).json();
    assert_eq!((&report["commit"], &report["since"]), (&2.into(), &0.into()), "{report}");

    let report = run(&["restore", &copy, &full, &part], b"").json();
    assert_eq!((&report["commit"], &report["backups"]), (&2.into(), &2.into()), "{report}");
    let db = text(&place.db());
    for question in [
        &["get", "", "home"][..],
        &["get", "", "work"],
        &["history", "", "home", "--valid-at", "2100-01-01T00:00:00Z"],
    ] {
        let answer = |path: &str| {
            let mut arguments = question.to_vec();
            arguments[1] = path;
            let ran = run(&arguments, b"");
            assert_eq!(ran.code, 0, "{ran:?}");
            ran.out
        };
        assert_eq!(answer(&db), answer(&copy));
    }
    assert_eq!(run(&["check", &copy], b"").json()["sound"], true);
    let again = run(&["restore", &copy, &full], b"");
    assert_eq!((again.code, again.err.contains("exists already")), (2, true), "{again:?}");
}

#[test]
fn a_backup_goes_through_pipes_and_by_number() {
    let place = Place::new();
    put(&place, "a", "1");
    let piped = llmdb().args(["backup", &text(&place.db()), "-"]).stdin(Stdio::null()).output().unwrap();
    assert!(piped.status.success());
    let report: serde_json::Value = serde_json::from_slice(&piped.stderr).unwrap();
    assert_eq!(report["bytes"], piped.stdout.len());
    let copy = text(&place.path("copy.llmdb"));
    let ran = run(&["restore", &copy, "-"], &piped.stdout);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(run(&["get", &copy, "a"], b"").code, 0);
    put(&place, "b", "2");
    let part = text(&place.path("part.backup"));
    assert_eq!(place.run("backup", &[&part, "--since", "0"]).json()["commit"], 1);
    let late = place.run("backup", &[&text(&place.path("x")), "--since", "7"]);
    assert_eq!((late.code, late.err.contains("newer than the database")), (2, true), "{late:?}");
    assert!(!place.path("x").exists());
}

#[test]
fn what_is_no_backup_is_refused_and_nothing_is_made() {
    let place = Place::new();
    put(&place, "a", "1");
    let full = place.path("full.backup");
    assert_eq!(place.run("backup", &[&text(&full)]).code, 0);
    let copy = place.path("copy.llmdb");
    let refused = |from: &str, words: &str| {
        let ran = run(&["restore", &text(&copy), from], b"");
        assert_eq!((ran.code, ran.err.contains(words)), (2, true), "{ran:?}");
        assert!(!copy.exists());
    };
    refused(&text(&place.db()), "it is not a backup");
    refused(&text(&place.path("none")), "cannot read the backup");
    let mut bytes = fs::read(&full).unwrap();
    bytes.truncate(bytes.len() - 1);
    fs::write(&full, &bytes).unwrap();
    refused(&text(&full), "cut off");
}

#[test]
fn commands_that_read_share_a_database() {
    let place = Place::new();
    put(&place, "a", "1");
    let reader = llmdb::Options::new().read_only(true).open(place.db()).unwrap();
    for command in ["stat", "check"] {
        assert_eq!(place.run(command, &[]).code, 0);
    }
    assert_eq!(place.run("get", &["a"]).code, 0);
    assert_eq!(place.run("backup", &[&text(&place.path("full.backup"))]).code, 0);
    let ran = place.run("put", &["b", "2"]);
    assert_eq!((ran.code, ran.err.contains("open for reading only")), (2, true), "{ran:?}");
    drop(reader);
    put(&place, "b", "2");
}
