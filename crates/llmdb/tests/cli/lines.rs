//! The JSON-lines protocol through the built binary: transactions, answers, ways to ask.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::common::{Place, llmdb};
use serde_json::{Value as Json, json};

#[test]
fn commits_are_numbered_from_zero_and_times_always_rise() {
    let place = Place::new();
    let answers = place.apply(
        r#"{"op":"put","key":"k","value":1,"tx":100}
           {"op":"put","key":"k","value":2,"tx":100,"commit":1}
           {"op":"put","key":"k","value":3,"tx":102}"#,
    );
    let found: Vec<_> = answers.iter().map(|answer| (&answer["commit"], &answer["known_at"])).collect();
    let expected =
        ["1970-01-01T00:00:00.0001Z", "1970-01-01T00:00:00.000101Z", "1970-01-01T00:00:00.000102Z"];
    let expected: Vec<_> = (0..).zip(expected).map(|(commit, at)| (json!(commit), json!(at))).collect();
    assert_eq!(found, expected.iter().map(|(commit, at)| (commit, at)).collect::<Vec<_>>());
}

#[test]
fn only_operations_that_are_recorded_are_counted() {
    let place = Place::new();
    let answers = place.apply(
        r#"{"op":"put","key":"k","value":1,"valid_from":0,"valid_to":9,"commit":1}
           {"op":"put","key":"k","value":2,"valid_from":5,"valid_to":5,"commit":1}
           {"op":"update","key":"k","value":2,"valid_from":null,"valid_to":null,"commit":1}
           {"op":"delete","key":"other","valid_from":3,"valid_to":3,"commit":2}
           {"op":"insert","key":"k","value":3,"valid_from":8,"valid_to":8,"commit":2}
           {"op":"update","key":"other","value":3,"valid_from":0,"commit":2}
           {"op":"insert","key":"k","value":3,"valid_from":0,"commit":2}"#,
    );
    let counts: Vec<_> =
        answers.iter().map(|answer| (&answer["ops"], answer["refused"].as_array().unwrap().len())).collect();
    assert_eq!(counts, [(&json!(2), 0), (&json!(1), 1)]);
    let recorded = place.ask(r#"{"op":"changes"}"#).remove(0);
    assert_eq!(recorded["rows"].as_array().unwrap().len(), 3);
}

#[test]
fn a_commit_time_before_the_newest_commit_or_at_the_end_of_time_is_refused_and_named() {
    let place = Place::new();
    let refused = |lines: &str, words: &[&str]| {
        let ran = place.run_with("apply", &["--times", "micros"], lines.as_bytes());
        assert_eq!(ran.code, 2, "{ran:?}");
        for word in words {
            assert!(ran.err.contains(word), "{word:?} is not in {}", ran.err);
        }
        ran.lines()
    };
    let answers = refused(
        r#"{"op":"put","key":"k","value":1,"tx":100}
           {"op":"put","key":"k","value":2,"tx":50,"commit":7}
           {"op":"put","key":"k","value":3,"commit":7}"#,
        &["error[LLMDB-T14]", "line 2, field `tx`", "50", "commit 0 at 100", "leave the time out"],
    );
    assert_eq!(answers, [json!({"commit": 0, "known_at": 100, "ops": 1, "refused": []})]);
    let late = i64::MAX - (1 << 53) + 1;
    refused(
        &format!(r#"{{"op":"put","key":"k","value":4,"tx":{late}}}"#),
        &["error[LLMDB-T15]", "line 1, field `tx`", "out of range"],
    );
    let rows = place.ask(r#"{"op":"changes"}"#).remove(0);
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1, "nothing of a refused transaction is there");
    // A question as of such a time is none about the future.
    let found = place.ask(&format!(r#"{{"op":"get","key":"k","valid_at":200,"known_at":{late}}}"#));
    assert_eq!(found[0]["value"], 1);
    // The latest that is taken leaves times for others.
    let latest = late - 1;
    let more = place.apply(&format!(
        "{}\n{}\n",
        json!({"op": "put", "key": "k", "value": 5, "tx": latest}),
        json!({"op": "put", "key": "k", "value": 6})
    ));
    assert_eq!(more[1]["known_at"], latest + 1);
}

#[test]
fn lines_in_a_row_with_the_same_commit_else_the_same_tx_are_one_transaction() {
    let place = Place::new();
    let answers = place.apply(
        r#"{"op":"put","key":"a","value":1,"tx":10}
           {"op":"put","key":"b","value":1,"tx":10}
           {"op":"put","key":"c","value":1,"tx":20,"commit":5}

           {"op":"put","key":"d","value":1,"commit":5}
           {"op":"put","key":"e","value":1,"tx":30,"commit":6}
           {"op":"put","key":"f","value":1,"tx":30}
           {"op":"put","key":"g","value":1}
           {"op":"put","key":"h","value":1}
           {"op":"put","key":"i","value":1,"commit":5,"tx":null}"#,
    );
    let sizes: Vec<_> = answers.iter().map(|answer| answer["ops"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [2, 2, 1, 1, 1, 1, 1]);
}

#[test]
fn an_answer_comes_while_the_pipe_is_open_as_soon_as_the_transaction_is_known_to_end() {
    let place = Place::new();
    let mut child =
        llmdb().arg("apply").arg(place.db()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answer = move || -> Json { serde_json::from_str(&from.next().unwrap().unwrap()).unwrap() };
    // Alone: at the end of its line. Grouped: when a line of another group comes.
    to.write_all(b"{\"op\":\"put\",\"key\":\"k\",\"value\":1}\n").unwrap();
    assert_eq!(answer()["commit"], 0);
    to.write_all(b"{\"op\":\"put\",\"key\":\"k\",\"value\":2,\"commit\":1}\n").unwrap();
    to.write_all(b"{\"op\":\"put\",\"key\":\"k\",\"value\":3,\"commit\":1}\n").unwrap();
    to.write_all(b"{\"op\":\"put\",\"key\":\"k\",\"value\":4,\"commit\":2}\n").unwrap();
    assert_eq!(answer()["ops"], 2);
    drop(to);
    assert_eq!(answer()["commit"], 2);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_pipe_of_questions_is_answered_line_by_line() {
    let place = Place::new();
    place.apply(r#"{"op":"put","key":"k","value":1}"#);
    let mut child =
        llmdb().arg("ask").arg(place.db()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    for id in 0..3 {
        writeln!(to, "{{\"id\":{id},\"op\":\"get\",\"key\":\"k\"}}").unwrap();
        let answer: Json = serde_json::from_str(&from.next().unwrap().unwrap()).unwrap();
        assert_eq!((&answer["id"], &answer["value"]), (&json!(id), &json!(1)));
    }
    drop(to);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_refused_insert_is_named_and_the_rest_of_its_transaction_is_recorded() {
    let place = Place::new();
    let answers = place.apply(
        r#"{"op":"put","key":{"base64":"/w=="},"value":1,"valid_from":0,"valid_to":10,"tx":1}
           {"op":"insert","key":{"base64":"/w=="},"value":2,"valid_from":9,"valid_to":20,"tx":2}
           {"op":"insert","key":{"base64":"/w=="},"value":3,"valid_from":10,"valid_to":20,"tx":2}
           {"op":"insert","key":{"base64":"/w=="},"value":4,"valid_from":0,"tx":3}"#,
    );
    assert_eq!(answers[1]["ops"], 1);
    let refused = answers[1]["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!((&refused[0]["line"], &refused[0]["key"]), (&json!(2), &json!({"base64": "/w=="})));
    assert_eq!(refused[0]["code"], "LLMDB-T07");
    // A transaction of which nothing is left still has its number, so numbers keep in step with the input.
    assert_eq!((&answers[2]["commit"], &answers[2]["ops"]), (&json!(2), &json!(0)));
    let found = place.ask(r#"{"op":"timeline","key":{"base64":"/w=="}}"#);
    let pieces: Vec<_> =
        found[0]["rows"].as_array().unwrap().iter().map(|r| (&r["value"], &r["valid"])).collect();
    assert_eq!(pieces, [(&json!(1), &json!([0, 10])), (&json!(3), &json!([10, 20]))]);
}

#[test]
fn update_and_delete_do_what_they_say() {
    let place = Place::new();
    place.apply(
        r#"{"op":"put","key":"k","value":"a","valid_from":0,"valid_to":10,"tx":1}
           {"op":"update","key":"k","value":"b","valid_from":5,"valid_to":20,"tx":2}
           {"op":"delete","key":"k","valid_from":null,"valid_to":2,"tx":3}"#,
    );
    let found = place.ask(r#"{"op":"timeline","key":"k"}"#);
    assert_eq!(
        found[0]["rows"],
        json!([
            {"key":"k","value":"a","valid":[2,5],"known":[3,null],"asserted":{"commit":0,"at":1}},
            {"key":"k","value":"b","valid":[5,10],"known":[2,null],"asserted":{"commit":1,"at":2}},
        ])
    );
}

#[test]
fn a_missing_valid_from_is_the_time_of_the_commit() {
    let place = Place::new();
    let answers = place.apply(
        "{\"op\":\"put\",\"key\":\"k\",\"value\":1,\"tx\":500}\n{\"op\":\"put\",\"key\":\"n\",\"value\":1}",
    );
    assert_eq!(place.ask(r#"{"get":"k","valid_at":500}"#)[0]["valid"], json!([500, null]));
    assert_eq!(place.ask(r#"{"get":"k","valid_at":499}"#)[0], json!({"value": null}));
    let valid = &place.run_with("ask", &[], br#"{"get":"n"}"#).lines()[0]["valid"];
    assert_eq!(valid[0], answers[1]["known_at"]);
}

#[test]
fn values_come_back_with_all_digits_and_in_order() {
    let place = Place::new();
    let value = r#"{"z":1.10,"a":[12345678901234567890123,-0.0,1e-400],"é":"\u0000☃","n":null}"#;
    place.apply(&format!("{{\"op\":\"put\",\"key\":\"k\",\"value\":{value},\"valid_from\":null}}"));
    let ran = place.run_with("ask", &[], br#"{"get":"k"}"#);
    assert!(ran.out.starts_with(&format!("{{\"value\":{value},")), "{}", ran.out);
}

#[test]
fn ids_of_any_kind_are_repeated_in_order() {
    let place = Place::new();
    place.apply(r#"{"op":"put","key":"k","value":1}"#);
    let ids = [json!(1), json!("x"), json!(null), json!([1, {"a": 2}]), json!(1.50)];
    let questions: Vec<_> =
        ids.iter().map(|id| json!({"id": id, "op": "get", "key": "k"}).to_string()).collect();
    let answers = place.ask(&questions.join("\n"));
    let found: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(found, ids);
    assert!(place.ask(r#"{"op":"get","key":"k"}"#)[0].get("id").is_none());
}

#[test]
fn collections_do_not_mix_and_one_that_does_not_exist_is_empty() {
    let place = Place::new();
    place.apply(
        r#"{"op":"put","collection":"a","key":"k","value":"in a","valid_from":null,"tx":1}
           {"op":"put","collection":"b","key":"k","value":"in b","valid_from":null,"tx":2}"#,
    );
    let answers = place.ask(
        r#"{"op":"get","collection":"a","key":"k"}
           {"op":"get","collection":"b","key":"k"}
           {"op":"get","key":"k"}
           {"op":"scan","collection":"nowhere"}
           {"op":"changes"}
           {"op":"changes","collection":"b"}"#,
    );
    assert_eq!(answers[0]["value"], "in a");
    assert_eq!(answers[1]["value"], "in b");
    assert_eq!(answers[2], json!({"value": null}));
    assert_eq!(answers[3], json!({"rows": []}));
    assert_eq!(answers[4]["rows"].as_array().unwrap().len(), 2);
    assert_eq!(answers[5]["rows"].as_array().unwrap().len(), 1);
}

#[test]
fn scans_take_ranges_prefixes_and_limits() {
    let place = Place::new();
    for key in ["a", "b", "ba", "c"] {
        place.apply(&json!({"op": "put", "key": key, "value": key, "valid_from": null}).to_string());
    }
    let keys = |question: &str| -> Vec<String> {
        let answer = place.ask(question).remove(0);
        answer["rows"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().into()).collect()
    };
    assert_eq!(keys(r#"{"op":"scan"}"#), ["a", "b", "ba", "c"]);
    assert_eq!(keys(r#"{"op":"scan","from":"b","to":"c"}"#), ["b", "ba"]);
    assert_eq!(keys(r#"{"op":"scan","from":"b"}"#), ["b", "ba", "c"]);
    assert_eq!(keys(r#"{"op":"scan","prefix":"b"}"#), ["b", "ba"]);
    assert_eq!(keys(r#"{"op":"scan","limit":2}"#), ["a", "b"]);
    assert_eq!(keys(r#"{"op":"scan","limit":0}"#), [""; 0]);
    assert_eq!(keys(r#"{"op":"scan","from":"c","to":"b"}"#), [""; 0]);
}

#[test]
fn known_on_histories_shows_them_as_they_looked_then() {
    let place = Place::new();
    place.apply(
        r#"{"op":"put","key":"k","value":1,"valid_from":0,"tx":10}
           {"op":"put","key":"k","value":2,"valid_from":0,"tx":20}
           {"op":"put","key":"k","value":3,"valid_from":0,"tx":30}"#,
    );
    let known = |question: &str| -> Json {
        let answer = place.ask(question).remove(0);
        answer["rows"].as_array().unwrap().iter().map(|row| json!([row["value"], row["known"]])).collect()
    };
    let now = json!([[1, [10, 20]], [2, [20, 30]], [3, [30, null]]]);
    let then = json!([[1, [10, 20]], [2, [20, null]]]);
    assert_eq!(known(r#"{"op":"history","key":"k","valid_at":5}"#), now);
    assert_eq!(known(r#"{"op":"history","key":"k","valid_at":5,"known_at":29}"#), then);
    assert_eq!(known(r#"{"op":"versions","key":"k"}"#), now);
    assert_eq!(known(r#"{"op":"versions","key":"k","at_commit":1}"#), then);
    assert_eq!(known(r#"{"op":"versions","key":"k","at_commit":-1}"#), json!([]));
    assert_eq!(known(r#"{"op":"versions","key":"k","valid_at":-1}"#), json!([]));
    assert_eq!(known(r#"{"op":"history","key":"k","valid_at":5,"limit":1}"#), json!([[1, [10, 20]]]));
}

#[test]
fn a_timeline_is_cut_to_its_window_only_when_asked() {
    let place = Place::new();
    place.apply(r#"{"op":"put","key":"k","value":1,"valid_from":0,"valid_to":100,"tx":1}"#);
    let valid = |question: &str| place.ask(question)[0]["rows"][0]["valid"].clone();
    assert_eq!(valid(r#"{"op":"timeline","key":"k","valid_from":10,"valid_to":20}"#), json!([0, 100]));
    assert_eq!(
        valid(r#"{"op":"timeline","key":"k","valid_from":10,"valid_to":20,"clamp":true}"#),
        json!([10, 20])
    );
    assert_eq!(valid(r#"{"op":"timeline","key":"k","valid_from":10,"clamp":true}"#), json!([10, 100]));
    assert_eq!(valid(r#"{"op":"timeline","key":"k","valid_from":100}"#), Json::Null);
    assert_eq!(valid(r#"{"op":"timeline","key":"k","valid_at":99}"#), json!([0, 100]));
    assert_eq!(valid(r#"{"op":"timeline","key":"k","valid_at":100}"#), Json::Null);
}

#[test]
fn changes_and_diff_take_times_and_commits() {
    let place = Place::new();
    place.apply(
        r#"{"op":"put","key":"a","value":1,"valid_from":0,"tx":10}
           {"op":"put","key":"b","value":2,"valid_from":0,"valid_to":7,"tx":20}
           {"op":"delete","key":"a","valid_from":5,"tx":30}"#,
    );
    let answers = place.ask(
        r#"{"op":"changes","from":10,"to":20}
           {"op":"changes","from_commit":0,"to_commit":1}
           {"op":"changes","from":10,"key":"a"}
           {"op":"diff","from":15,"to":30}
           {"op":"diff","from_commit":0}
           {"op":"diff","from_commit":0,"key":"b"}
           {"op":"diff","from_commit":0,"valid_at":6}
           {"op":"diff","from":30,"to":30}"#,
    );
    let b = json!({"commit":1,"at":20,"op":"put","collection":"main","key":"b","valid":[0,7],"value":2});
    assert_eq!(answers[0]["rows"], json!([b]));
    assert_eq!(answers[1], answers[0]);
    assert_eq!(answers[2]["rows"][0]["op"], "delete");
    assert_eq!(answers[2]["rows"][0]["value"], Json::Null);
    let both = json!([
        {"key":"a","valid":[5,null],"before":1,"after":null},
        {"key":"b","valid":[0,7],"before":null,"after":2},
    ]);
    assert_eq!(answers[3]["rows"], both);
    assert_eq!(answers[4]["rows"], both);
    assert_eq!(answers[5]["rows"], json!([both[1]]));
    assert_eq!(answers[6]["rows"], both);
    assert_eq!(answers[7]["rows"], json!([]));
}

#[test]
fn a_question_that_fails_is_answered_and_the_rest_go_on() {
    let place = Place::new();
    place.apply(r#"{"op":"put","key":"k","value":1}"#);
    let input = b"{\"id\":1,\"op\":\"gte\",\"key\":\"k\"}\nnot json\n{\"id\":2,\"op\":\"get\"}\n\xff\n{\"id\":3,\"op\":\"get\",\"key\":\"k\"}\n";
    let ran = place.run_with("ask", &[], input);
    assert_eq!(ran.code, 2, "{ran:?}");
    let answers = ran.lines();
    let codes: Vec<_> = answers.iter().map(|answer| answer["error"]["code"].clone()).collect();
    assert_eq!(
        codes,
        [json!("LLMDB-J08"), json!("LLMDB-J02"), json!("LLMDB-J04"), json!("LLMDB-J01"), Json::Null]
    );
    assert_eq!((&answers[0]["id"], &answers[0]["error"]["field"]), (&json!(1), &json!("op")));
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["line"]), (&Json::Null, &json!(2)));
    assert!(answers[1].as_object().unwrap().contains_key("id"));
    assert_eq!((&answers[4]["id"], &answers[4]["value"]), (&json!(3), &json!(1)));
}

#[test]
fn a_collection_name_that_cannot_be_is_a_bad_field_of_the_question() {
    let place = Place::new();
    place.apply(r#"{"op":"put","key":"k","value":1}"#);
    let ran = place.run_with("ask", &[], br#"{"id":1,"op":"get","key":"k","collection":""}"#);
    assert_eq!(ran.code, 2);
    let error = &ran.json()["error"];
    assert_eq!(
        (&error["code"], &error["field"], &error["line"]),
        (&json!("LLMDB-T06"), &json!("collection"), &json!(1))
    );
}

#[test]
fn an_empty_input_is_no_error() {
    let place = Place::new();
    assert_eq!(place.apply("").len(), 0);
    assert_eq!(place.ask("\n\n").len(), 0);
    assert_eq!(place.ask(r#"{"op":"scan"}"#), [json!({"rows": []})]);
}
