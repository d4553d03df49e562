//! `docs/json-lines.md` is true: its examples are run in order on one database, and it lists every code.

use std::fs;

use crate::common::{Place, Ran, root};
use llmdb::lines::Fault;
use serde_json::Value as Json;

/// A fenced block: what stands behind the fence, and its content.
struct Block {
    kind: String,
    content: String,
}

fn page() -> String {
    fs::read_to_string(root().join("docs/json-lines.md")).unwrap()
}

fn blocks() -> Vec<Block> {
    let page = page();
    let fenced = page.split("\n```").collect::<Vec<_>>();
    // Odd parts are inside of a fence.
    let inside = fenced.iter().skip(1).step_by(2);
    inside
        .map(|part| {
            let (kind, content) = part.split_once('\n').unwrap();
            Block { kind: kind.into(), content: content.into() }
        })
        .collect()
}

#[test]
fn the_examples_give_the_answers_that_the_page_shows() {
    let place = Place::new();
    let mut ran: Option<Ran> = None;
    let mut compared = 0;
    for Block { kind, content } in blocks() {
        match kind.as_str() {
            "jsonl apply" => ran = Some(place.run_with("apply", &[], content.as_bytes())),
            "jsonl ask" => ran = Some(place.run_with("ask", &[], content.as_bytes())),
            "jsonl answers" => {
                let shown: Vec<Json> =
                    content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                let found = ran.take().unwrap().lines();
                assert_eq!(found.len(), shown.len(), "{content}");
                for (shown, found) in shown.iter().zip(&found) {
                    assert!(agrees(shown, found), "the page says {shown}\nthe program {found}");
                    compared += 1;
                }
            }
            "text error" => {
                let ran = ran.take().unwrap();
                assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
                assert_eq!(ran.err.lines().next(), content.lines().next());
                compared += 1;
            }
            other => panic!("a block of unknown kind {other:?}"),
        }
        assert!(kind != "jsonl apply" || ran.is_some());
    }
    assert!(ran.is_none(), "the last example has no answers");
    assert!(compared >= 15, "{compared}");
}

/// Equal, but "..." on the page stands for any text.
fn agrees(shown: &Json, found: &Json) -> bool {
    match (shown, found) {
        (Json::String(shown), Json::String(_)) if shown == "..." => true,
        (Json::Array(shown), Json::Array(found)) => {
            shown.len() == found.len() && shown.iter().zip(found).all(|(shown, found)| agrees(shown, found))
        }
        (Json::Object(shown), Json::Object(found)) => {
            shown.keys().eq(found.keys()) && shown.iter().all(|(name, shown)| agrees(shown, &found[name]))
        }
        (shown, found) => shown == found,
    }
}

#[test]
fn the_page_lists_every_code_of_the_protocol() {
    use Fault as F;
    let page = page();
    for fault in [
        F::NotUtf8,
        F::NotJson,
        F::NotAnObject,
        F::FieldMissing,
        F::FieldUnknown,
        F::FieldType,
        F::FieldConflict,
        F::OperationUnknown,
        F::TimeFormat,
        F::TimeRange,
        F::PeriodReversed,
        F::BadKey,
        F::NotYet,
    ] {
        assert!(page.contains(&format!("| {} |", fault.code())), "{fault:?}");
    }
}
