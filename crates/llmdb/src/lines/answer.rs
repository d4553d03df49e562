//! Answers as JSON.
//!
//! Invariants
//! 1. An answer is one line of valid JSON, also when damage turns up among its rows: then it ends with an
//!    `error` behind the rows that were found.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use llmdb_query::{Answer, Fact, Row, Rows, Value};
use llmdb_temporal::{CommitNumber, CommitTime, Period};
use serde_json::{Map, Value as Json, json};

use super::{LineError, Times, key};
use crate::Error;

/// A value as JSON; raw bytes become `{"base64":"..."}`.
pub fn value(value: &Value) -> Json {
    match value {
        Value::Json(json) => json.clone(),
        Value::Raw(bytes) => json!({ "base64": STANDARD.encode(bytes) }),
        other => json!({ "base64": STANDARD.encode(other.encode()) }),
    }
}

/// The fields of a belief, without its key.
pub fn belief(fact: &Fact, times: Times) -> Map<String, Json> {
    let known_to = fact.known_to.map_or(Json::Null, |ended| times.json(ended.at.micros()));
    Map::from_iter([
        ("value".into(), value(&fact.value)),
        ("valid".into(), period(fact.valid, times)),
        ("known".into(), json!([times.json(fact.known_from.at.micros()), known_to])),
        ("asserted".into(), stamp(fact.asserted.commit, fact.asserted.at, times)),
    ])
}

/// A row.
pub fn row(row: &Row, times: Times) -> Json {
    let optional = |found: &Option<Value>| found.as_ref().map_or(Json::Null, value);
    match row {
        Row::Fact(fact) => {
            let mut fields = Map::from_iter([("key".into(), key::to_json(&fact.key))]);
            fields.append(&mut belief(fact, times));
            Json::Object(fields)
        }
        Row::Difference(row) => json!({
            "key": key::to_json(&row.key),
            "valid": period(row.valid, times),
            "before": optional(&row.before),
            "after": optional(&row.after),
        }),
        Row::Change(row) => json!({
            "commit": row.commit.commit.get(),
            "at": times.json(row.commit.at.micros()),
            "op": row.op,
            "collection": row.collection,
            "key": key::to_json(&row.key),
            "valid": period(row.valid, times),
            "value": optional(&row.value),
        }),
        _ => Json::Null,
    }
}

/// Prints an answer, a row at a time. Gives back the error that ended the rows early, if one did.
///
/// # Errors
/// When `out` fails.
pub fn write(
    out: &mut dyn Write,
    id: Option<&Json>,
    answer: Answer<'_>,
    times: Times,
) -> io::Result<Option<Error>> {
    match answer {
        Answer::Fact(fact) => {
            let mut fields = with_id(id);
            match fact {
                Some(fact) => fields.append(&mut belief(&fact, times)),
                None => drop(fields.insert("value".into(), Json::Null)),
            }
            writeln!(out, "{}", Json::Object(fields))?;
            Ok(None)
        }
        Answer::Rows(rows) => write_rows(out, id, rows, times),
        _ => Ok(None),
    }
}

/// Prints the refusal of a question.
///
/// # Errors
/// When `out` fails.
pub fn write_error(out: &mut dyn Write, id: Option<&Json>, failed: &Error) -> io::Result<()> {
    let mut fields = with_id(id);
    fields.insert("error".into(), error(failed));
    writeln!(out, "{}", Json::Object(fields))
}

/// A failure as JSON: `code` and `message`, and for a bad line `line` and `field`.
pub fn error(failed: &Error) -> Json {
    match failed {
        Error::Line(LineError { line, field, code, message }) => {
            json!({"code": code, "message": message, "line": line, "field": field})
        }
        other => json!({"code": other.code(), "message": other.to_string()}),
    }
}

/// A commit: `{"commit":n,"at":T}`.
pub fn stamp(commit: CommitNumber, at: CommitTime, times: Times) -> Json {
    json!({"commit": commit.get(), "at": times.json(at.micros())})
}

fn write_rows(
    out: &mut dyn Write,
    id: Option<&Json>,
    rows: Rows<'_>,
    times: Times,
) -> io::Result<Option<Error>> {
    write!(out, "{{")?;
    if let Some(id) = id {
        write!(out, "\"id\":{id},")?;
    }
    write!(out, "\"rows\":[")?;
    let mut failed = None;
    for (index, found) in rows.enumerate() {
        match found {
            Ok(found) => write!(out, "{}{}", if index == 0 { "" } else { "," }, row(&found, times))?,
            Err(error) => failed = Some(Error::from(error)),
        }
    }
    match &failed {
        Some(failed) => writeln!(out, "],\"error\":{}}}", error(failed))?,
        None => writeln!(out, "]}}")?,
    }
    Ok(failed)
}

fn with_id(id: Option<&Json>) -> Map<String, Json> {
    id.map(|id| ("id".to_owned(), id.clone())).into_iter().collect()
}

fn period(period: Period, times: Times) -> Json {
    json!([times.json(period.from.micros()), times.json(period.to.micros())])
}
