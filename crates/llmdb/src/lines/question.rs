//! One line of `ask`, understood.
//!
//! ```text
//!   {"op":"get","key":"k"}            the main form
//!   {"get":"k"}                       the name as a field, with the key
//!   {"get":{"key":"k"}}               the name as a field, with some of the other fields
//!   {"diff":[T1,T2]}                  the name as a field, with `from` and `to`
//! ```
//!
//! Invariants
//! 1. A field that has no meaning for a question is refused, never dropped.
//!
//! Not here: answering (`ask`).

use llmdb_query::{KeyRange, Question};
use llmdb_temporal::{Known, Period, ValidTime};
use serde_json::{Map, Value as Json};

use super::fields::Fields;
use super::op::{DEFAULT_COLLECTION, required, reversed, valid};
use super::{Fault, LineError};

const NAMES: [&str; 7] = ["get", "scan", "timeline", "history", "versions", "diff", "changes"];
/// Fields that may hold the name of a question; the first is the main form.
const NAME_FIELDS: [&str; 4] = ["op", "kind", "ask", "type"];

/// A line of `ask`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Asking {
    /// The id to repeat, where there is one.
    pub id: Option<Json>,
    /// The question, and at most how many rows; or what is wrong with it.
    pub question: Result<(Question, Option<u64>), LineError>,
}

/// Reads a line. `now` is the instant of the world that a question without `valid_at` is about.
///
/// # Errors
/// When the line is not an object; anything else that is wrong is in [`Asking::question`].
///
/// ```
/// let now = llmdb::ValidTime::from_micros(0)?;
/// let asking = llmdb::lines::parse_question(1, br#"{"id":7,"op":"get","key":"k"}"#, now)?;
/// assert_eq!(asking.id, Some(llmdb::json!(7)));
/// assert!(asking.question.is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn parse(line: u64, bytes: &[u8], now: ValidTime) -> Result<Asking, LineError> {
    let mut fields = Fields::parse(line, bytes)?;
    let id = fields.take("id");
    Ok(Asking { id, question: question(fields, now) })
}

fn question(mut fields: Fields, now: ValidTime) -> Result<(Question, Option<u64>), LineError> {
    let name = name(&mut fields)?;
    // A single belief has no limit, so there the field stays behind and is refused.
    let limit = if name == "get" { None } else { fields.count("limit")? };
    let question = match name {
        "get" => Question::Get {
            collection: collection(&mut fields)?,
            key: required(&mut fields, "key", Fields::key)?,
            valid_at: valid_at(&mut fields)?.unwrap_or(now),
            known: known(&mut fields)?,
        },
        "scan" => Question::Scan {
            collection: collection(&mut fields)?,
            keys: scan_range(&mut fields)?,
            valid_at: valid_at(&mut fields)?.unwrap_or(now),
            known: known(&mut fields)?,
        },
        "timeline" => {
            let collection = collection(&mut fields)?;
            let key = required(&mut fields, "key", Fields::key)?;
            let window = window(&mut fields, &key)?;
            let clamp = fields.boolean("clamp")?.unwrap_or(false);
            Question::Timeline { collection, key, window, clamp, known: known(&mut fields)? }
        }
        "history" => Question::History {
            collection: collection(&mut fields)?,
            key: required(&mut fields, "key", Fields::key)?,
            valid_at: valid_at(&mut fields)?.unwrap_or(now),
            known: known(&mut fields)?,
        },
        "versions" => Question::Versions {
            collection: collection(&mut fields)?,
            key: required(&mut fields, "key", Fields::key)?,
            valid_at: valid_at(&mut fields)?,
            known: known(&mut fields)?,
        },
        "diff" => Question::Diff {
            collection: collection(&mut fields)?,
            keys: one_or_all(&mut fields)?,
            from: end(&mut fields, ["from", "known_from", "after"], ["from_commit", "after_commit"])?
                .unwrap_or(Known::Commit(-1)),
            to: end(&mut fields, ["to", "known_to", "up_to"], ["to_commit", "up_to_commit"])?
                .unwrap_or(Known::Latest),
            valid_at: valid_at(&mut fields)?,
        },
        _ => Question::Changes {
            collection: fields.string("collection")?,
            keys: one_or_all(&mut fields)?,
            after: end(&mut fields, ["from", "known_from", "after"], ["from_commit", "after_commit"])?
                .unwrap_or(Known::Commit(-1)),
            up_to: end(&mut fields, ["to", "known_to", "up_to"], ["to_commit", "up_to_commit"])?
                .unwrap_or(Known::Latest),
            valid_at: valid_at(&mut fields)?,
        },
    };
    fields.finish(&format!("the question {name:?}"), takes(name))?;
    Ok((question, limit))
}

/// The fields of each question, for messages.
fn takes(name: &str) -> &'static str {
    match name {
        "get" => "id, op, collection, key, valid_at, known_at or at_commit",
        "history" | "versions" => "id, op, collection, key, valid_at, limit, known_at or at_commit",
        "scan" => "id, op, collection, from, to or prefix, limit, valid_at, known_at or at_commit",
        "timeline" => {
            "id, op, collection, key, valid_from, valid_to or valid_at, clamp, limit, known_at or at_commit"
        }
        _ => "id, op, collection, key, from or from_commit, to or to_commit, valid_at, limit",
    }
}

fn name(fields: &mut Fields) -> Result<&'static str, LineError> {
    for field in NAME_FIELDS {
        if let Some(name) = fields.string(field)? {
            return NAMES.into_iter().find(|known| *known == name).ok_or_else(|| {
                fields.refuse(field, Fault::OperationUnknown, unknown(&format!("question {name:?}")))
            });
        }
    }
    let mut named = NAMES.into_iter().filter(|name| fields.has(name));
    let Some(name) = named.next() else {
        return Err(fields.refuse(NAME_FIELDS[0], Fault::FieldMissing, unknown("missing question")));
    };
    if let Some(second) = named.next() {
        let message = format!("one line asks one question, not {name:?} and {second:?}; use two lines");
        return Err(fields.refuse(second, Fault::FieldConflict, message));
    }
    let argument = fields.take(name).unwrap_or_default();
    spread(fields, name, argument)?;
    Ok(name)
}

fn unknown(what: &str) -> String {
    format!("{what}; ask get, scan, timeline, history, versions, diff or changes")
}

/// Puts what stands behind the name of a question among the fields.
fn spread(fields: &mut Fields, name: &str, argument: Json) -> Result<(), LineError> {
    let single = |name: &str, value| Map::from_iter([(name.to_owned(), value)]);
    match argument {
        Json::Null | Json::Bool(true) => Ok(()),
        Json::String(_) if name != "scan" => fields.merge(single("key", argument)),
        Json::Object(inside) if inside.len() == 1 && inside.contains_key("base64") => {
            fields.merge(single("key", Json::Object(inside)))
        }
        Json::Object(inside) => fields.merge(inside),
        Json::Array(ends) if ends.len() == 2 && matches!(name, "scan" | "diff" | "changes") => {
            fields.merge(["from", "to"].map(String::from).into_iter().zip(ends).collect())
        }
        other => Err(fields.wrong_type(name, "an object with the fields of the question", &other)),
    }
}

fn collection(fields: &mut Fields) -> Result<String, LineError> {
    Ok(fields.string("collection")?.unwrap_or_else(|| DEFAULT_COLLECTION.into()))
}

fn valid_at(fields: &mut Fields) -> Result<Option<ValidTime>, LineError> {
    let at = fields.time("valid_at")?.flatten();
    Ok(at.map(|micros| valid(Some(micros), ValidTime::POS_INF)))
}

fn known(fields: &mut Fields) -> Result<Known, LineError> {
    let at = fields.commit_time("known_at")?;
    let commit = fields.whole("at_commit")?;
    match (at, commit) {
        (Some(_), Some(_)) => {
            let message = "say either known_at (a time) or at_commit (a number)";
            Err(fields.refuse("at_commit", Fault::FieldConflict, message))
        }
        (Some(at), None) => Ok(Known::At(at)),
        (None, Some(commit)) => Ok(Known::Commit(commit)),
        (None, None) => Ok(Known::Latest),
    }
}

/// One end of `diff` or `changes`, as a time or as a commit.
fn end<const T: usize, const C: usize>(
    fields: &mut Fields,
    times: [&str; T],
    commits: [&str; C],
) -> Result<Option<Known>, LineError> {
    let mut found: Option<Known> = None;
    let mut set = |fields: &Fields, name: &str, known| match found.replace(known) {
        Some(_) => Err(fields.refuse(name, Fault::FieldConflict, "this end is given twice; write it once")),
        None => Ok(()),
    };
    for name in times {
        if let Some(at) = fields.commit_time(name)? {
            set(fields, name, Known::At(at))?;
        }
    }
    for name in commits {
        if let Some(commit) = fields.whole(name)? {
            set(fields, name, Known::Commit(commit))?;
        }
    }
    Ok(found)
}

fn scan_range(fields: &mut Fields) -> Result<KeyRange, LineError> {
    let (from, to, prefix) = (fields.bound("from")?, fields.bound("to")?, fields.bound("prefix")?);
    match prefix {
        None => Ok(KeyRange::half_open(from, to)),
        Some(prefix) if from.is_none() && to.is_none() => Ok(KeyRange::prefix(&prefix)),
        Some(_) => Err(fields.refuse("prefix", Fault::FieldConflict, "does not go with from and to")),
    }
}

fn one_or_all(fields: &mut Fields) -> Result<KeyRange, LineError> {
    Ok(fields.key("key")?.map_or(KeyRange::ALL, |key| KeyRange::only(&key)))
}

/// The window of the timeline of a key: a period, or one instant.
fn window(fields: &mut Fields, key: &[u8]) -> Result<Period, LineError> {
    let at = fields.time("valid_at")?.flatten();
    let from = fields.time("valid_from")?.flatten();
    let to = fields.time("valid_to")?.flatten();
    if at.is_some() && (from.is_some() || to.is_some()) {
        let message = "does not go with valid_from and valid_to; ask for one instant or for a window";
        return Err(fields.refuse("valid_at", Fault::FieldConflict, message));
    }
    let (from, to) = (at.or(from), at.map_or(to, |at| Some(at + 1)));
    let (from, to) = (valid(from, ValidTime::NEG_INF), valid(to, ValidTime::POS_INF));
    Period::new(from, to)
        .map_err(|_| fields.refuse("valid_to", Fault::PeriodReversed, reversed(key, from, to)))
}

#[cfg(test)]
mod tests {
    use llmdb_temporal::CommitTime;

    use super::*;

    fn now() -> ValidTime {
        ValidTime::from_micros(99).unwrap()
    }

    fn ok(text: &str) -> (Question, Option<u64>) {
        parse(1, text.as_bytes(), now()).unwrap().question.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn get(key: &[u8], valid_at: i64, known: Known) -> Question {
        let valid_at = ValidTime::from_micros(valid_at).unwrap();
        Question::Get { collection: "main".into(), key: key.into(), valid_at, known }
    }

    #[test]
    fn all_ways_to_write_a_question_are_the_same_question() {
        for text in [
            r#"{"op":"get","key":"k","valid_at":5,"at_commit":2}"#,
            r#"{"kind":"get","key":"k","valid_at":5,"at_commit":2}"#,
            r#"{"ask":"get","key":"k","valid_at":5,"at_commit":2}"#,
            r#"{"type":"get","key":"k","valid_at":5,"at_commit":2}"#,
            r#"{"get":"k","valid_at":5,"at_commit":2}"#,
            r#"{"get":{"base64":"aw=="},"valid_at":5,"at_commit":2}"#,
            r#"{"get":{"key":"k"},"valid_at":5,"at_commit":2}"#,
            r#"{"get":{"key":"k","valid_at":5,"at_commit":2,"collection":"main"}}"#,
            r#"{"get":true,"key":"k","valid_at":"1970-01-01T00:00:00.000005Z","at_commit":2}"#,
        ] {
            assert_eq!(ok(text).0, get(b"k", 5, Known::Commit(2)), "{text}");
        }
        assert_eq!(ok(r#"{"get":"k"}"#).0, get(b"k", 99, Known::Latest));
        assert_eq!(ok(r#"{"get":"k","valid_at":null,"known_at":null}"#).0, get(b"k", 99, Known::Latest));
    }

    #[test]
    fn ranges_and_limits_are_read() {
        let scan = |text| match ok(text) {
            (Question::Scan { keys, .. }, limit) => (keys, limit),
            other => panic!("{other:?}"),
        };
        let a_to_c = KeyRange::half_open(Some(b"a".to_vec()), Some(b"c".to_vec()));
        assert_eq!(scan(r#"{"op":"scan","from":"a","to":"c","limit":3}"#), (a_to_c.clone(), Some(3)));
        assert_eq!(scan(r#"{"scan":{"from":"a","to":"c","limit":3}}"#), (a_to_c.clone(), Some(3)));
        assert_eq!(scan(r#"{"scan":["a","c"]}"#), (a_to_c, None));
        assert_eq!(scan(r#"{"scan":{}}"#), (KeyRange::half_open(None, None), None));
        assert_eq!(scan(r#"{"op":"scan","from":null,"to":null,"limit":null}"#).0, KeyRange::ALL);
        assert_eq!(scan(r#"{"op":"scan","prefix":"tz:"}"#).0, KeyRange::prefix(b"tz:"));
    }

    #[test]
    fn ends_of_diff_and_changes_are_times_or_commits() {
        let ends = |text| match ok(text).0 {
            Question::Diff { from, to, .. } | Question::Changes { after: from, up_to: to, .. } => (from, to),
            other => panic!("{other:?}"),
        };
        let at = |micros| Known::At(CommitTime::from_micros(micros).unwrap());
        assert_eq!(ends(r#"{"op":"diff","from":1,"to":2}"#), (at(1), at(2)));
        assert_eq!(ends(r#"{"diff":[1,2]}"#), (at(1), at(2)));
        assert_eq!(
            ends(r#"{"op":"changes","from_commit":-1,"to_commit":2}"#),
            (Known::Commit(-1), Known::Commit(2))
        );
        assert_eq!(ends(r#"{"changes":{"after":5,"up_to_commit":2}}"#), (at(5), Known::Commit(2)));
        assert_eq!(ends(r#"{"op":"changes"}"#), (Known::Commit(-1), Known::Latest));
    }

    #[test]
    fn every_bad_field_is_named() {
        for (text, field, fault) in [
            (r#"{}"#, "op", Fault::FieldMissing),
            (r#"{"op":"gte","key":"k"}"#, "op", Fault::OperationUnknown),
            (r#"{"get":"a","scan":{}}"#, "scan", Fault::FieldConflict),
            (r#"{"get":{"key":"a"},"key":"b"}"#, "key", Fault::FieldConflict),
            (r#"{"get":7}"#, "get", Fault::FieldType),
            (r#"{"scan":"main"}"#, "scan", Fault::FieldType),
            (r#"{"op":"get"}"#, "key", Fault::FieldMissing),
            (r#"{"op":"get","key":""}"#, "key", Fault::BadKey),
            (r#"{"op":"get","key":"k","as_of":5}"#, "as_of", Fault::FieldUnknown),
            (r#"{"op":"get","key":"k","known_at":5,"at_commit":1}"#, "at_commit", Fault::FieldConflict),
            (r#"{"op":"get","key":"k","at_commit":1.5}"#, "at_commit", Fault::FieldType),
            (r#"{"op":"get","key":"k","valid_at":"yesterday"}"#, "valid_at", Fault::TimeFormat),
            (r#"{"op":"scan","prefix":"a","from":"b"}"#, "prefix", Fault::FieldConflict),
            (r#"{"op":"scan","limit":-1}"#, "limit", Fault::FieldType),
            (r#"{"op":"timeline","key":"k","valid_from":2,"valid_to":1}"#, "valid_to", Fault::PeriodReversed),
            (r#"{"op":"timeline","key":"k","valid_from":1,"valid_at":1}"#, "valid_at", Fault::FieldConflict),
            (r#"{"op":"get","key":"k","limit":1}"#, "limit", Fault::FieldUnknown),
            (r#"{"op":"timeline","key":"k","clamp":1}"#, "clamp", Fault::FieldType),
            (r#"{"op":"diff","from":1,"from_commit":1}"#, "from_commit", Fault::FieldConflict),
            (r#"{"op":"changes","known_at":1}"#, "known_at", Fault::FieldUnknown),
        ] {
            let error = parse(3, text.as_bytes(), now()).unwrap().question.unwrap_err();
            assert_eq!(
                (error.field.as_deref(), error.code, error.line),
                (Some(field), fault.code(), 3),
                "{text}"
            );
        }
    }
}
