//! Bad input: a clear error that names line, field and reason, exit code 2, and nothing half-applied.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Place, Ran, feed, llmdb};
use serde_json::json;

const GOOD: &str = r#"{"op":"put","key":"before","value":1,"valid_from":0,"tx":1}"#;

/// Applies one good transaction, then one whose second line is `bad`. The first must stay, with its answer,
/// and nothing of the second may be there.
fn refused(bad: &[u8], words: &[&str]) {
    let place = Place::new();
    let mut input =
        format!("{GOOD}\n{}\n", r#"{"op":"put","key":"half","value":1,"valid_from":0,"commit":9,"tx":2}"#)
            .into_bytes();
    input.extend_from_slice(bad);
    input.extend_from_slice(b"\n{\"op\":\"put\",\"key\":\"after\",\"value\":1,\"valid_from\":0,\"tx\":3}\n");
    let ran = place.run_with("apply", &["--times", "micros"], &input);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(ran.lines(), [json!({"commit": 0, "known_at": 1, "ops": 1, "refused": []})], "{ran:?}");
    for word in ["line 3"].iter().chain(words) {
        assert!(ran.err.contains(word), "{word:?} is not in {}", ran.err);
    }
    let rows = place.ask(r#"{"op":"changes"}"#).remove(0);
    let keys: Vec<_> = rows["rows"].as_array().unwrap().iter().map(|row| row["key"].clone()).collect();
    assert_eq!(keys, [json!("before")]);
}

fn line(fields: &str) -> Vec<u8> {
    format!("{{\"commit\":9,{fields}}}").into_bytes()
}

#[test]
fn an_unknown_operation() {
    refused(
        &line(r#""op":"upsert","key":"k","value":1"#),
        &["`op`", "\"upsert\"", "use put, update, insert, delete, erase or retain"],
    );
}

#[test]
fn erasing_and_letting_go_take_no_period_and_no_value() {
    refused(&line(r#""op":"erase","key":"k","valid_from":0"#), &["`valid_from`", "does not go with erase"]);
    refused(&line(r#""op":"erase","key":"k","value":1"#), &["`value`", "does not go with erase"]);
    refused(&line(r#""op":"erase""#), &["`key`", "is missing"]);
    refused(&line(r#""op":"retain","key":"k","before":1"#), &["`key`", "does not go with retain"]);
    refused(&line(r#""op":"retain""#), &["`before`", "is missing"]);
    refused(&line(r#""op":"retain","before":"1999""#), &["`before`"]);
}

#[test]
fn a_field_of_the_wrong_type() {
    refused(&line(r#""op":"put","key":5,"value":1"#), &["`key`", "a number"]);
    refused(&line(r#""op":"put","key":"k","value":1,"valid_from":true"#), &["`valid_from`", "a boolean"]);
    refused(&line(r#""op":"put","key":"k","value":1,"tx":[]"#), &["`tx`", "an array"]);
    refused(&line(r#""op":"put","key":"k","value":1,"collection":{}"#), &["`collection`", "an object"]);
    refused(br#"{"op":"put","key":"k","value":1,"commit":"9"}"#, &["`commit`", "a string"]);
}

#[test]
fn a_field_that_is_unknown_missing_or_twice() {
    refused(&line(r#""op":"put","key":"k","value":1,"valid_untill":5"#), &["`valid_untill`", "valid_to"]);
    refused(&line(r#""op":"put","value":1"#), &["`key`", "is missing"]);
    refused(&line(r#""op":"put","key":"k""#), &["`value`", "is missing"]);
    refused(&line(r#""op":"put","key":"k","key":"l","value":1"#), &["`key`", "twice"]);
    refused(&line(r#""op":"delete","key":"k","value":1"#), &["`value`", "delete"]);
    refused(&line(r#""op":"put","key":"k","value":1,"tx":5"#), &["`tx`", "one time"]);
}

#[test]
fn a_reversed_period() {
    refused(
        &line(r#""op":"put","key":"k","value":1,"valid_from":6,"valid_to":5"#),
        &[
            "`valid_to`",
            "reversed period for the key \"k\"",
            "00.000006Z to ",
            "00.000005Z",
            "before valid_from",
        ],
    );
    // From the commit on, at 2, until 1.
    refused(&line(r#""op":"put","key":"k","value":1,"valid_to":1"#), &["`valid_to`", "the commit's time"]);
}

#[test]
fn a_time_out_of_range_or_not_a_time() {
    for time in ["9223372036854775807", "-9223372036854775808", "99999999999999999999"] {
        refused(
            &line(&format!(r#""op":"put","key":"k","value":1,"valid_from":{time}"#)),
            &["`valid_from`", "out of range"],
        );
    }
    for time in [
        r#""2023-02-30T00:00:00Z""#,
        r#""2023-01-01""#,
        r#""2023-01-01T00:00:00""#,
        "1.5",
        r#""2023-01-01T00:00:00.0000001Z""#,
    ] {
        refused(
            &line(&format!(r#""op":"put","key":"k","value":1,"valid_to":{time}"#)),
            &["`valid_to`", "not a time"],
        );
    }
}

#[test]
fn a_key_that_is_empty_or_too_long() {
    refused(&line(r#""op":"put","key":"","value":1"#), &["`key`", "at least one byte"]);
    refused(&line(r#""op":"put","key":{"base64":"?"},"value":1"#), &["`key`", "base64"]);
    let long = "x".repeat(100_000);
    refused(&line(&format!(r#""op":"put","key":"{long}","value":1"#)), &["`key`", "100000 bytes"]);
}

#[test]
fn keys_up_to_1024_bytes_are_not_too_long() {
    let place = Place::new();
    let key = "x".repeat(1024);
    place.apply(&json!({"op": "put", "key": key, "value": 1, "valid_from": null}).to_string());
    assert_eq!(place.ask(&json!({"op": "get", "key": key}).to_string())[0]["value"], 1);
}

#[test]
fn a_collection_name_that_is_empty_or_too_long() {
    refused(&line(r#""op":"put","key":"k","value":1,"collection":"""#), &["`collection`", "1 to 255"]);
    let long = "x".repeat(256);
    refused(
        &line(&format!(r#""op":"put","key":"k","value":1,"collection":"{long}""#)),
        &["`collection`", "1 to 255"],
    );
}

#[test]
fn what_is_not_utf8_or_not_json() {
    refused(b"{\"op\":\"put\",\"key\":\"\xff\",\"value\":1,\"commit\":9}", &["not UTF-8", "0xff"]);
    refused(b"{\"op\":\"put\",\"key\":\"k\",", &["not JSON"]);
    refused(b"[1]", &["a JSON object", "an array"]);
    refused(br#"{"op":"put","key":"k","value":"\ud800","commit":9}"#, &["not JSON"]);
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    refused(&line(&format!(r#""op":"put","key":"k","value":{deep}"#)), &["not JSON", "recursion"]);
}

#[test]
fn a_database_that_is_locked_names_its_owner() {
    let place = Place::new();
    place.apply(GOOD);
    let mut owner =
        llmdb().arg("apply").arg(place.db()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = owner.stdin.take().unwrap();
    to.write_all(b"{\"op\":\"put\",\"key\":\"k\",\"value\":1}\n").unwrap();
    let mut answers = BufReader::new(owner.stdout.take().unwrap()).lines();
    answers.next().unwrap().unwrap();
    // It has the database open now.
    let refused = |ran: Ran| {
        assert_eq!(ran.code, 2, "{ran:?}");
        assert_eq!(ran.out, "");
        for word in ["locked", &owner.id().to_string(), "llmdb apply"] {
            assert!(ran.err.contains(word), "{word:?} is not in {}", ran.err);
        }
    };
    refused(place.run_with("apply", &[], GOOD.as_bytes()));
    refused(place.run_with("ask", &[], br#"{"get":"k"}"#));
    refused(place.run("get", &["k"]));
    refused(place.run("check", &[]));
    drop(to);
    assert!(owner.wait().unwrap().success());
    assert_eq!(place.run("get", &["k"]).code, 0);
}

#[test]
fn a_directory_that_cannot_be_written() {
    // Even root cannot make files below /proc, nor below a file.
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    for path in
        [Path::new("/proc/llmdb-test.llmdb"), &place.path("file/x.llmdb"), &place.path("missing/x.llmdb")]
    {
        let ran = feed(llmdb().arg("apply").arg(path), GOOD.as_bytes());
        assert_eq!(ran.code, 2, "{path:?} {ran:?}");
        assert_eq!(ran.out, "");
        assert!(ran.err.contains(&*path.to_string_lossy()) && ran.err.contains("make it first"), "{ran:?}");
    }
}

#[test]
fn a_read_only_directory() {
    let place = Place::new();
    place.apply(GOOD);
    let before = fs::read(place.db()).unwrap();
    let Some(_mount) = Mount::new(place.directory.path(), &["--bind", "-o", "ro"]) else { return };
    let ran = place.run_with("apply", &[], br#"{"op":"put","key":"k","value":1}"#);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.to_lowercase().contains("read-only") && ran.err.contains("cannot be written"), "{ran:?}");
    assert_eq!(fs::read(place.db()).unwrap(), before);
}

#[test]
fn a_full_disk() {
    let place = Place::new();
    let Some(mount) = Mount::new(place.directory.path(), &["-t", "tmpfs", "-o", "size=112m"]) else { return };
    fs::write(place.path("ballast"), vec![0; 8 << 20]).unwrap();
    let value = "v".repeat(200_000);
    let line = |n| {
        json!({"op": "put", "key": format!("k{n}"), "value": value, "valid_from": null, "tx": n}).to_string()
    };
    let lines: Vec<_> = (0..800).map(line).collect();
    let ran = place.run_with("apply", &[], lines.join("\n").as_bytes());
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("the disk is full"), "{}", ran.err);
    let acknowledged = ran.lines().len();
    assert!(acknowledged > 0 && acknowledged < lines.len(), "{acknowledged}");
    // With some space again, what was acknowledged is there, and at most one transaction more.
    fs::remove_file(place.path("ballast")).unwrap();
    let rows = place.ask(r#"{"op":"changes"}"#).remove(0);
    let kept = rows["rows"].as_array().unwrap().len();
    assert!(kept == acknowledged || kept == acknowledged + 1, "{kept} kept, {acknowledged} acknowledged");
    assert_eq!(place.run("check", &[]).code, 0);
    drop(mount);
}

/// A mount over a directory, taken off again. Only root can; others are told that the test is left out.
struct Mount(std::path::PathBuf);

impl Mount {
    fn new(directory: &Path, options: &[&str]) -> Option<Self> {
        let source = if options.contains(&"--bind") { directory.as_os_str() } else { "tmpfs".as_ref() };
        let done = Command::new("mount").args(options).arg(source).arg(directory).output();
        match done {
            Ok(output) if output.status.success() => Some(Self(directory.into())),
            other => {
                println!("left out: this user cannot mount ({other:?})");
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_file_that_is_no_database_says_what_it_is_and_stays_as_it_is() {
    let place = Place::new();
    for (content, word) in [(&b""[..], "empty"), (b"hello, this is a text file", "not an LLMDB database")] {
        fs::write(place.db(), content).unwrap();
        for command in ["apply", "ask", "stat", "check"] {
            let ran = place.run(command, &[]);
            assert_eq!(ran.code, 3, "{command} {ran:?}");
            assert!(ran.err.contains(word), "{command}: {word:?} is not in {}", ran.err);
            assert_eq!(fs::read(place.db()).unwrap(), content);
        }
    }
    fs::remove_file(place.db()).unwrap();
    place.apply(GOOD);
    let whole = fs::read(place.db()).unwrap();
    // Inside the pages in use: the file is longer than they are, for it grows ahead.
    let cut = &whole[..5 * 4096];
    fs::write(place.db(), cut).unwrap();
    let ran = place.run("check", &[]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(fs::read(place.db()).unwrap(), cut);
}

#[test]
fn a_database_that_does_not_exist_is_not_made_by_reading() {
    let place = Place::new();
    for (command, arguments) in [
        ("ask", &[][..]),
        ("get", &["k"]),
        ("history", &["k"]),
        ("timeline", &["k"]),
        ("stat", &[]),
        ("check", &[]),
        ("delete", &["k"]),
    ] {
        let ran = place.run(command, arguments);
        assert_eq!(ran.code, 3, "{command} {ran:?}");
        assert!(ran.err.contains("does not exist"), "{command} {ran:?}");
    }
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 0);
}

#[test]
fn bad_arguments() {
    let place = Place::new();
    place.apply(GOOD);
    for arguments in [
        &["get", "DB"][..],
        &["get", "DB", ""],
        &["get", "DB", "k", "--valid-at", "yesterday"],
        &["get", "DB", "k", "--known-at", "9223372036854775807"],
        &["get", "DB", "k", "--known-at", "1", "--at-commit", "1"],
        &["get", "DB", "k", "--format", "xml"],
        &["put", "DB", "k", "unquoted"],
        &["put", "DB", "k", "1", "--valid-from", "6", "--valid-to", "5"],
        &["put", "DB", "k", "1", "--collection", ""],
        &["timeline", "DB", "k", "--valid-from", "6", "--valid-to", "5"],
        &["apply", "DB", "no-such-file.jsonl"],
        &["apply", "DB", "/"],
        &["frobnicate"],
        &[],
    ] {
        let db = place.db();
        let arguments = arguments
            .iter()
            .map(|argument| if *argument == "DB" { db.as_os_str() } else { argument.as_ref() });
        let ran = feed(llmdb().args(arguments.clone()), b"");
        assert_eq!(ran.code, 2, "{:?} {ran:?}", arguments.collect::<Vec<_>>());
        assert!(!ran.err.is_empty() && ran.out.is_empty(), "{ran:?}");
    }
    assert_eq!(place.ask(r#"{"op":"changes"}"#)[0]["rows"].as_array().unwrap().len(), 1);
}
