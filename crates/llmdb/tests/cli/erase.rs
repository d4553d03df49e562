//! `erase`, `retain` and `check --prove-erased`, from the command line and from JSON lines.

use serde_json::{Value as Json, json};

use crate::common::Place;

const ADA: &str = "home of Ada Lovelace";
const SECRET: &str = "Rue de Rivoli 12, third floor";

/// A database with a key to be erased, and neighbours.
fn place() -> Place {
    let place = Place::new();
    let mut lines = String::new();
    for number in 0..60 {
        let other = json!({"op": "put", "key": format!("home of {number:03}"), "value": "somewhere", "tx": number * 10});
        lines += &format!("{other}\n");
        let ada =
            json!({"op": "put", "key": ADA, "value": format!("{SECRET}, {number}"), "tx": number * 10 + 1});
        lines += &format!("{ada}\n");
    }
    place.apply(&lines);
    place
}

fn holds(place: &Place, name: &str) -> bool {
    let bytes = std::fs::read(place.path(name)).unwrap_or_default();
    [ADA, SECRET].iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

/// What `check --prove-erased` says of the key and its value, and its exit code.
fn proof(place: &Place, more: &[&str]) -> (Json, i32) {
    let value = json!(SECRET).to_string();
    let arguments = [&["--prove-erased", "--key", ADA, "--value", &value][..], more].concat();
    let ran = place.run("check", &arguments);
    let report: Json = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!(report["sound"], true);
    (report["erased"].clone(), ran.code)
}

#[test]
fn an_erased_key_is_in_no_answer_and_in_no_file() {
    let place = place();
    assert_eq!(place.run("backup", &[place.path("before.backup").to_str().unwrap()]).code, 0);
    let (found, code) = proof(&place, &[]);
    assert_eq!((code, &found["gone"], &found["erasures"]), (1, &json!(false), &json!(0)));
    assert!(found["found"].as_array().unwrap().iter().any(|found| found["what"] == "key 1"), "{found}");
    assert!(found["found"].as_array().unwrap().iter().any(|found| found["what"] == "value 1"), "{found}");

    let ran = place.run("erase", &[ADA, "--reason", "asked for on 3 March"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.lines()[0]["wiped"], true);
    let (found, code) = proof(&place, &[]);
    assert_eq!((code, &found["gone"], &found["erasures"]), (0, &json!(true), &json!(1)), "{found}");
    assert!(!holds(&place, "test.llmdb") && !holds(&place, "test.llmdb-wal"));
    let answers = place.ask(&format!(
        "{}\n{}\n",
        json!({"op": "get", "key": ADA, "valid_at": 500, "at_commit": 100}),
        json!({"op": "get", "key": "home of 007", "valid_at": 500, "at_commit": 100}),
    ));
    assert_eq!((&answers[0]["value"], &answers[1]["value"]), (&Json::Null, &json!("somewhere")));

    // A backup made afterwards holds nothing of it; one made before does, and is told of.
    let after = place.path("after.backup");
    assert_eq!(place.run("backup", &[after.to_str().unwrap()]).code, 0);
    assert_eq!(proof(&place, &["--also", after.to_str().unwrap()]).1, 0);
    let before = place.path("before.backup");
    let (found, code) = proof(&place, &["--also", before.to_str().unwrap()]);
    assert_eq!(code, 1);
    let files: Vec<_> = found["found"].as_array().unwrap().iter().map(|found| &found["file"]).collect();
    assert!(files.iter().all(|file| **file == json!(before.to_str().unwrap())), "{files:?}");
}

#[test]
fn the_proof_says_what_was_erased_when_and_why_and_asks_the_trees() {
    let place = Place::new();
    // Neighbours share so much that no page holds the whole key but that of its operation; escapes stand as they are stored.
    let value = r#""a \"quoted\"\u0020and\ttabbed secret""#;
    let mut lines = String::new();
    for number in 0..40 {
        let other = json!({"op": "put", "key": format!("shared beginning {number:03}"), "value": number, "tx": number});
        lines += &format!("{other}\n");
    }
    lines += &format!("{{\"op\":\"put\",\"key\":\"shared beginning 017b\",\"value\":{value},\"tx\":100}}\n");
    lines += r#"{"op":"update","key":"only said","value":1,"tx":101,"collection":"other"}"#;
    place.apply(&lines);
    let proof = |key: &str| {
        let ran =
            place.run("check", &["--prove-erased", "--key", key, "--value", value, "--times", "micros"]);
        let report: Json = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
        (report["erased"].clone(), ran.code)
    };
    let is_found = |report: &Json, wanted: Json| report["found"].as_array().unwrap().contains(&wanted);
    let (report, code) = proof("shared beginning 017b");
    assert_eq!((code, &report["gone"], &report["erased_when"]), (1, &json!(false), &json!([])));
    assert!(is_found(&report, json!({"what": "key 1", "collection": "main"})), "{report}");
    assert!(report["found"].as_array().unwrap().iter().any(|found| found["what"] == "value 1"), "{report}");
    let (report, _) = proof("only said");
    assert!(is_found(&report, json!({"what": "key 1", "collection": "other"})), "{report}");

    let erase = json!({"op": "erase", "key": "shared beginning 017b", "reason": "asked for", "tx": 200});
    assert_eq!(place.apply(&erase.to_string())[0]["wiped"], true);
    let (report, code) = proof("shared beginning 017b");
    assert_eq!((code, &report["gone"], &report["erasures"]), (0, &json!(true), &json!(1)), "{report}");
    let when = json!([{"commit": 42, "at": 200, "reason": "asked for"}]);
    assert_eq!(report["erased_when"], when);
    let (report, _) = proof("shared beginning 018");
    assert!(is_found(&report, json!({"what": "key 1", "collection": "main"})), "{report}");
}

#[test]
fn a_backup_after_a_crash_between_an_erasure_and_its_wipe_holds_nothing_of_it() {
    let place = place();
    let db = llmdb::Options::new().open(place.path("test.llmdb")).unwrap();
    let mut write = db.begin_write().unwrap();
    assert!(write.erase("main", ADA, "asked for").unwrap());
    write.commit().unwrap();
    db.close().unwrap();
    assert!(holds(&place, "test.llmdb"));
    let backup = place.path("after.backup");
    assert_eq!(place.run("backup", &[backup.to_str().unwrap()]).code, 0);
    assert!(!holds(&place, "test.llmdb") && !holds(&place, "after.backup"));
    assert_eq!(proof(&place, &["--also", backup.to_str().unwrap()]).1, 0);
}

#[test]
fn erasing_what_was_never_there_says_so() {
    let place = place();
    let ran = place.run("erase", &["nobody"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("nothing is known of this key"), "{ran:?}");
    let missing = Place::new();
    assert_eq!(missing.run("erase", &["nobody"]).code, 3);
    assert!(!missing.db().exists());
}

#[test]
fn lines_erase_and_let_go() {
    let place = place();
    let erase = json!({"op": "erase", "key": ADA, "reason": "asked for"});
    let again = json!({"op": "erase", "key": ADA});
    let retain = json!({"op": "retain", "before": 300});
    let answers = place.apply(&format!("{erase}\n{again}\n{retain}\n"));
    assert_eq!((&answers[0]["ops"], &answers[0]["wiped"]), (&json!(1), &json!(true)));
    assert_eq!((&answers[1]["ops"], answers[1].get("wiped")), (&json!(0), None));
    assert_eq!(answers[2]["ops"], 1);
    assert!(!holds(&place, "test.llmdb"));
    let asked = |known: i64| {
        let line = json!({"op": "get", "key": "home of 003", "valid_at": 400, "known_at": known});
        place.run_with("ask", &[], format!("{line}\n").as_bytes()).lines()[0].clone()
    };
    assert_eq!(asked(400)["value"], "somewhere");
    assert_eq!(asked(100)["error"]["code"], "LLMDB-T13");
}

#[test]
fn history_older_than_a_time_goes() {
    let place = place();
    let ran = place.run("retain", &["--before", "300", "--times", "micros"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.lines()[0]["kept_from"]["at"], 300);
    let ran = place.run("retain", &["--before", "-5"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(place.run("get", &["home of 003", "--valid-at", "400", "--known-at", "100"]).code, 2);
    assert_eq!(place.run("get", &["home of 003", "--valid-at", "400", "--known-at", "400"]).code, 0);
    assert_eq!(place.run("check", &[]).code, 0);
}

#[test]
fn a_proof_needs_something_that_can_be_told_from_chance() {
    let place = place();
    let ran = place.run("check", &["--prove-erased", "--value", "12"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("value 1 has fewer than 4 bytes"), "{ran:?}");
    let ran = place.run("check", &["--key", "home"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let ran = place.run("check", &["--prove-erased", "--also", "missing.backup"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("missing.backup"), "{ran:?}");
}
