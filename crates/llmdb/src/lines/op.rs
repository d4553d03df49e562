//! One line of `apply`, understood.
//!
//! Not here: which lines make a transaction, and doing it (`apply`).

use llmdb_query::Value;
use llmdb_temporal::{CommitTime, Period, ValidTime};

use super::fields::Fields;
use super::{Fault, LineError, key, time};
use crate::{Error, WriteTxn};

/// The collection of a line that names none.
pub(crate) const DEFAULT_COLLECTION: &str = "main";
const FIELDS: &str = "op, collection, key, value, valid_from, valid_to, tx, commit, reason, before";
/// What the period of an operation says, which erasing and letting go have not.
const PERIOD: [&str; 2] = ["valid_from", "valid_to"];

/// What an operation does.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    Put(Value),
    Update(Value),
    Insert(Value),
    Delete,
    Erase(String),
    Retain(CommitTime),
}

/// An operation. `valid_from` is `None` for "from the commit on".
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Op {
    pub(crate) line: u64,
    /// Empty where it is about all keys.
    pub(crate) key: Vec<u8>,
    collection: String,
    action: Action,
    valid_from: Option<ValidTime>,
    valid_to: ValidTime,
}

impl Op {
    /// Reads what is left of a line after `tx` and `commit`.
    pub(crate) fn parse(mut fields: Fields) -> Result<Self, LineError> {
        let name = required(&mut fields, "op", Fields::string)?;
        let action = action(&mut fields, &name)?;
        let key = match action {
            Action::Retain(_) => {
                refuse_all(&fields, &name, &["key", "collection"])?;
                Vec::new()
            }
            _ => required(&mut fields, "key", Fields::key)?,
        };
        let collection = fields.string("collection")?.unwrap_or_else(|| DEFAULT_COLLECTION.into());
        let valid_from = fields.time("valid_from")?.map(|from| valid(from, ValidTime::NEG_INF));
        let valid_to =
            fields.time("valid_to")?.map_or(ValidTime::POS_INF, |to| valid(to, ValidTime::POS_INF));
        let line = fields.line();
        fields.finish("an operation", FIELDS)?;
        Ok(Self { line, key, collection, action, valid_from, valid_to })
    }

    /// Whether its bytes are to be overwritten behind its commit.
    pub(crate) fn erases(&self) -> bool {
        matches!(self.action, Action::Erase(_))
    }

    /// Does it. Whether anything was recorded. A refused `insert` is `Ok(Err(..))`: the transaction goes on without it.
    pub(crate) fn apply(&self, write: &mut WriteTxn) -> Result<Result<bool, llmdb_temporal::Error>, Error> {
        let period = self.period(write.time())?;
        let (collection, key) = (self.collection.as_str(), self.key.as_slice());
        // Without an instant in its period it is not recorded.
        let has_effect = !period.is_empty();
        let done = match &self.action {
            Action::Put(value) => write.put(collection, key, period, value.clone()).map(|()| has_effect),
            Action::Update(value) => {
                write.update(collection, key, period, value.clone()).map(|()| has_effect)
            }
            Action::Insert(value) => {
                write.insert(collection, key, period, value.clone()).map(|()| has_effect)
            }
            Action::Delete => write.delete(collection, key, period).map(|()| has_effect),
            Action::Erase(reason) => write.erase(collection, key, reason),
            Action::Retain(before) => write.retain(*before).map(|_| true),
        };
        match done {
            Ok(recorded) => Ok(Ok(recorded)),
            Err(Error::Temporal(overlap @ llmdb_temporal::Error::Overlap { .. })) => Ok(Err(overlap)),
            Err(error) => Err(blame(self.line, error)),
        }
    }

    fn period(&self, commit_time: CommitTime) -> Result<Period, LineError> {
        let from = match self.valid_from {
            Some(from) => from,
            None => ValidTime::from_micros(commit_time.micros()).unwrap_or(ValidTime::POS_INF),
        };
        Period::new(from, self.valid_to).map_err(|_| {
            let start = if self.valid_from.is_some() {
                "valid_from"
            } else {
                "the commit's time, since valid_from is missing"
            };
            let message =
                format!("{}: the end lies before {start}", reversed(&self.key, from, self.valid_to));
            LineError::new(self.line, Some("valid_to"), Fault::PeriodReversed, message)
        })
    }
}

/// What is wrong with a period for a key that ends before it begins.
pub(crate) fn reversed(key: &[u8], from: ValidTime, to: ValidTime) -> String {
    let (key, [from, to]) = (key::shown(key), [from, to].map(time::shown));
    format!("reversed period for the key {key}, from {from} to {to}; a period is [valid_from, valid_to)")
}

/// Names the line and field when the input is at fault; a fault of the storage stays what it is.
pub(crate) fn blame(line: u64, error: Error) -> Error {
    let below = match &error {
        Error::Temporal(below) | Error::Query(llmdb_query::Error::Temporal(below)) => below,
        _ => return error,
    };
    match field_at_fault(below) {
        Some(field) => LineError::below(line, Some(field), below.code(), below.to_string()).into(),
        None => error,
    }
}

/// Takes a field that must be there.
pub(crate) fn required<T>(
    fields: &mut Fields,
    name: &str,
    take: impl FnOnce(&mut Fields, &str) -> Result<Option<T>, LineError>,
) -> Result<T, LineError> {
    take(fields, name)?.ok_or_else(|| fields.refuse(name, Fault::FieldMissing, "is missing"))
}

/// A time that was checked when it was read; null is the infinity of its side.
pub(crate) fn valid(time: Option<i64>, infinity: ValidTime) -> ValidTime {
    time.and_then(|micros| ValidTime::from_micros(micros).ok()).unwrap_or(infinity)
}

/// Which field of the input an error of the layer below is about.
fn field_at_fault(error: &llmdb_temporal::Error) -> Option<&'static str> {
    use llmdb_temporal::Error as E;
    match error {
        E::KeyEmpty | E::KeyTooLong { .. } => Some("key"),
        E::ValueTooLong { .. } => Some("value"),
        E::CollectionName { .. } => Some("collection"),
        E::CommitTimeBefore { .. } | E::CommitTimeTooLate { .. } => Some("tx"),
        _ => None,
    }
}

fn action(fields: &mut Fields, name: &str) -> Result<Action, LineError> {
    match name {
        "put" => Ok(Action::Put(value(fields)?)),
        "update" => Ok(Action::Update(value(fields)?)),
        "insert" => Ok(Action::Insert(value(fields)?)),
        "delete" => no_value(fields, name).map(|()| Action::Delete),
        "erase" => {
            refuse_all(fields, name, &PERIOD)?;
            no_value(fields, name)?;
            Ok(Action::Erase(fields.string("reason")?.unwrap_or_default()))
        }
        "retain" => {
            refuse_all(fields, name, &PERIOD)?;
            no_value(fields, name)?;
            let before = fields.commit_time("before")?;
            let missing = || fields.refuse("before", Fault::FieldMissing, "is missing: a time of knowledge");
            before.map(Action::Retain).ok_or_else(missing)
        }
        _ => {
            let message =
                format!("unknown operation {name:?}; use put, update, insert, delete, erase or retain");
            Err(fields.refuse("op", Fault::OperationUnknown, message))
        }
    }
}

fn value(fields: &mut Fields) -> Result<Value, LineError> {
    match fields.take("value") {
        None => Err(fields.refuse("value", Fault::FieldMissing, "is missing")),
        Some(json) => Ok(Value::Json(json)),
    }
}

fn no_value(fields: &mut Fields, operation: &str) -> Result<(), LineError> {
    match fields.take("value") {
        None | Some(serde_json::Value::Null) => Ok(()),
        Some(_) => {
            let message = format!("does not go with {operation}; leave it out");
            Err(fields.refuse("value", Fault::FieldConflict, message))
        }
    }
}

/// Refuses fields that an operation has no use for.
fn refuse_all(fields: &Fields, operation: &str, names: &[&str]) -> Result<(), LineError> {
    match names.iter().find(|name| fields.has(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("does not go with {operation}; leave it out");
            Err(fields.refuse(name, Fault::FieldConflict, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (String, &'static str) {
        let error = Op::parse(Fields::of(text)).unwrap_err();
        (error.field.unwrap_or_default(), error.code)
    }

    #[test]
    fn every_bad_field_is_named() {
        for (text, field, fault) in [
            (r#"{}"#, "op", Fault::FieldMissing),
            (r#"{"op":1,"key":"k"}"#, "op", Fault::FieldType),
            (r#"{"op":"upsert","key":"k","value":1}"#, "op", Fault::OperationUnknown),
            (r#"{"op":"erase"}"#, "key", Fault::FieldMissing),
            (r#"{"op":"erase","key":"k","value":1}"#, "value", Fault::FieldConflict),
            (r#"{"op":"erase","key":"k","valid_from":1}"#, "valid_from", Fault::FieldConflict),
            (r#"{"op":"erase","key":"k","reason":1}"#, "reason", Fault::FieldType),
            (r#"{"op":"erase","key":"k","before":1}"#, "before", Fault::FieldUnknown),
            (r#"{"op":"retain"}"#, "before", Fault::FieldMissing),
            (r#"{"op":"retain","before":1,"key":"k"}"#, "key", Fault::FieldConflict),
            (r#"{"op":"retain","before":1,"collection":"c"}"#, "collection", Fault::FieldConflict),
            (r#"{"op":"retain","before":1,"valid_to":2}"#, "valid_to", Fault::FieldConflict),
            (r#"{"op":"retain","before":"long ago"}"#, "before", Fault::TimeFormat),
            (r#"{"op":"put","key":"k","value":1,"reason":"x"}"#, "reason", Fault::FieldUnknown),
            (r#"{"op":"put","value":1}"#, "key", Fault::FieldMissing),
            (r#"{"op":"put","key":"","value":1}"#, "key", Fault::BadKey),
            (r#"{"op":"put","key":7,"value":1}"#, "key", Fault::FieldType),
            (r#"{"op":"put","key":"k"}"#, "value", Fault::FieldMissing),
            (r#"{"op":"delete","key":"k","value":1}"#, "value", Fault::FieldConflict),
            (r#"{"op":"put","key":"k","value":1,"collection":2}"#, "collection", Fault::FieldType),
            (r#"{"op":"put","key":"k","value":1,"valid_from":"soon"}"#, "valid_from", Fault::TimeFormat),
            (r#"{"op":"put","key":"k","value":1,"valid_to":1e30}"#, "valid_to", Fault::TimeFormat),
            (
                r#"{"op":"put","key":"k","value":1,"valid_to":9223372036854775807}"#,
                "valid_to",
                Fault::TimeRange,
            ),
            (r#"{"op":"put","key":"k","value":1,"valid":3}"#, "valid", Fault::FieldUnknown),
        ] {
            assert_eq!(refusal(text), (field.into(), fault.code()), "{text}");
        }
    }

    #[test]
    fn a_null_is_a_value() {
        let op = Op::parse(Fields::of(r#"{"op":"put","key":"k","value":null}"#)).unwrap();
        assert!(matches!(op.action, Action::Put(Value::Json(serde_json::Value::Null))));
    }

    #[test]
    fn a_missing_start_is_the_commit_and_null_is_unbounded() {
        let op = |text| Op::parse(Fields::of(text)).unwrap();
        let at = CommitTime::from_micros(50).unwrap();
        let from_now = op(r#"{"op":"put","key":"k","value":1}"#);
        assert_eq!(from_now.period(at).unwrap().from.micros(), 50);
        assert_eq!(from_now.period(at).unwrap().to, ValidTime::POS_INF);
        let always = op(r#"{"op":"delete","key":"k","value":null,"valid_from":null,"valid_to":null}"#);
        assert_eq!(always.period(at).unwrap(), Period::ALL);
        let reversed = op(r#"{"op":"delete","key":"k","valid_to":49}"#);
        let error = reversed.period(at).unwrap_err();
        assert_eq!(error.code, Fault::PeriodReversed.code());
        let words = "the key \"k\", from 1970-01-01T00:00:00.00005Z to 1970-01-01T00:00:00.000049Z";
        assert!(error.message.contains(words), "{}", error.message);
        assert!(op(r#"{"op":"delete","key":"k","valid_to":50}"#).period(at).is_ok());
    }
}
