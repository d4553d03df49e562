//! One line taken apart: a JSON object whose fields are taken out one by one.
//!
//! Invariants
//! 1. A field that stands twice, or that nobody took, is an error.

use std::fmt;

use llmdb_temporal::CommitTime;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::time::kind;
use super::{Fault, LineError, key, time};

/// How serde_json marks numbers inside; as a field name it would change what a value means.
const RESERVED: &str = "$serde_json::private::";

/// The fields of a line that were not taken yet.
#[derive(Debug)]
pub(crate) struct Fields {
    line: u64,
    map: Map<String, Json>,
}

impl Fields {
    /// Reads a line.
    pub(crate) fn parse(line: u64, bytes: &[u8]) -> Result<Self, LineError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            let message = format!(
                "not UTF-8: byte {byte:#04x} at column {}; write a key that is not text as {{\"base64\":\"...\"}}",
                at + 1
            );
            LineError::new(line, None, Fault::NotUtf8, message)
        })?;
        if text.contains(RESERVED) {
            let message = format!("field names that begin with {RESERVED:?} are reserved; rename it");
            return Err(LineError::new(line, None, Fault::FieldUnknown, message));
        }
        if !text.starts_with('{') {
            return Err(not_an_object(line, text));
        }
        let Object(map) = serde_json::from_str(text).map_err(|error| bad_json(line, &error))?;
        Ok(Self { line, map })
    }

    /// Fields that did not come from a line of text, as line 1.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self::parse(1, text.as_bytes()).unwrap()
    }

    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// A refusal of this line.
    pub(crate) fn refuse(&self, field: &str, fault: Fault, message: impl Into<String>) -> LineError {
        LineError::new(self.line, Some(field), fault, message)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Json> {
        self.map.shift_remove(name)
    }

    /// Puts the fields of an object among these.
    pub(crate) fn merge(&mut self, fields: Map<String, Json>) -> Result<(), LineError> {
        for (name, value) in fields {
            if self.has(&name) {
                return Err(self.refuse(
                    &name,
                    Fault::FieldConflict,
                    "stands both inside and outside; write it once",
                ));
            }
            self.map.insert(name, value);
        }
        Ok(())
    }

    /// A string; null is as if missing.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, LineError> {
        match self.take(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(name, "a string", &other)),
        }
    }

    /// A whole number; null is as if missing.
    pub(crate) fn whole(&mut self, name: &str) -> Result<Option<i64>, LineError> {
        match self.take(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Number(number)) => match number.as_i64() {
                Some(whole) => Ok(Some(whole)),
                None => {
                    let message = format!("{number} is not a whole number of 64 bits");
                    Err(self.refuse(name, Fault::FieldType, message))
                }
            },
            Some(other) => Err(self.wrong_type(name, "a whole number", &other)),
        }
    }

    /// A number of rows; null is as if missing.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, LineError> {
        match self.whole(name)? {
            Some(whole) => match u64::try_from(whole) {
                Ok(count) => Ok(Some(count)),
                Err(_) => Err(self.refuse(name, Fault::FieldType, format!("{whole} is less than 0"))),
            },
            None => Ok(None),
        }
    }

    /// True or false; null is as if missing.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, LineError> {
        match self.take(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Bool(yes)) => Ok(Some(yes)),
            Some(other) => Err(self.wrong_type(name, "true or false", &other)),
        }
    }

    /// A time: `None` where it is missing, `Some(None)` where it is null.
    pub(crate) fn time(&mut self, name: &str) -> Result<Option<Option<i64>>, LineError> {
        self.take(name).map(|json| self.worded(name, time::from_json(&json))).transpose()
    }

    /// A time of knowledge; null is as if missing.
    pub(crate) fn commit_time(&mut self, name: &str) -> Result<Option<CommitTime>, LineError> {
        let time = self.time(name)?.flatten().map(CommitTime::from_micros).transpose();
        time.map_err(|error| self.refuse(name, Fault::TimeRange, error.to_string()))
    }

    /// A key; it may not be null.
    pub(crate) fn key(&mut self, name: &str) -> Result<Option<Vec<u8>>, LineError> {
        self.take(name).map(|json| self.worded(name, key::from_json(&json))).transpose()
    }

    /// An end of a key range; null is as if missing.
    pub(crate) fn bound(&mut self, name: &str) -> Result<Option<Vec<u8>>, LineError> {
        let json = self.take(name).filter(|json| !json.is_null());
        json.map(|json| self.worded(name, key::bound_from_json(&json))).transpose()
    }

    /// All fields must have been taken.
    pub(crate) fn finish(self, of: &str, known: &str) -> Result<(), LineError> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.refuse(
                name,
                Fault::FieldUnknown,
                format!("is not a field of {of}; it takes {known}"),
            )),
        }
    }

    fn worded<T>(&self, name: &str, read: Result<T, (Fault, String)>) -> Result<T, LineError> {
        read.map_err(|(fault, message)| self.refuse(name, fault, message))
    }

    pub(crate) fn wrong_type(&self, name: &str, wanted: &str, found: &Json) -> LineError {
        self.refuse(name, Fault::FieldType, format!("must be {wanted}, not {}", kind(found)))
    }
}

fn not_an_object(line: u64, text: &str) -> LineError {
    match serde_json::from_str::<Json>(text) {
        Ok(json) => {
            let message = format!("a line is a JSON object, as {{\"op\":\"put\",...}}, not {}", kind(&json));
            LineError::new(line, None, Fault::NotAnObject, message)
        }
        Err(error) => bad_json(line, &error),
    }
}

fn bad_json(line: u64, error: &serde_json::Error) -> LineError {
    // serde_json counts lines inside the text it was given, which is one line.
    let words = error.to_string();
    let words = words.split(" at line 1 column ").collect::<Vec<_>>().join(" at column ");
    if let Some(name) = words.strip_prefix(TWICE) {
        let name = name.rsplit_once(" at column").map_or(name, |(name, _)| name);
        return LineError::new(line, Some(name), Fault::FieldUnknown, "stands twice; write it once");
    }
    LineError::new(line, None, Fault::NotJson, format!("not JSON: {words}"))
}

const TWICE: &str = "field twice: ";

/// An object whose fields are all different.
struct Object(Map<String, Json>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Object, A::Error> {
        let mut map = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Json>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("{TWICE}{name}")));
            }
            map.insert(name, value);
        }
        Ok(Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> LineError {
        Fields::parse(7, bytes).unwrap_err()
    }

    #[test]
    fn what_is_not_an_object_is_refused_with_its_line() {
        for (bytes, fault) in [
            (&b"{\"a\":\"\xff\"}"[..], Fault::NotUtf8),
            (b"{\"a\":", Fault::NotJson),
            (b"{\"a\":1} x", Fault::NotJson),
            (b"put", Fault::NotJson),
            (b"{\"a\":\"\\ud800\"}", Fault::NotJson),
            (b"[1]", Fault::NotAnObject),
            (b"\"a\"", Fault::NotAnObject),
            (b"{\"a\":1,\"a\":2}", Fault::FieldUnknown),
            (b"{\"v\":{\"$serde_json::private::Number\":\"1\"}}", Fault::FieldUnknown),
        ] {
            let error = refusal(bytes);
            assert_eq!((error.line, error.code), (7, fault.code()), "{error}");
        }
        assert_eq!(refusal(b"{\"a b\":1,\"a b\":2}").field.as_deref(), Some("a b"));
        assert_eq!(
            refusal(b"{\"a\":\"\xff\"}").to_string().split(';').next(),
            Some("line 7: not UTF-8: byte 0xff at column 7")
        );
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refusal(deep.as_bytes()).code, Fault::NotJson.code());
    }

    #[test]
    fn a_field_that_nobody_took_is_an_error_that_names_it() {
        let mut fields = Fields::of(r#"{"key":"k","colection":"c"}"#);
        assert_eq!(fields.key("key").unwrap(), Some(b"k".to_vec()));
        assert_eq!(fields.finish("get", "key").unwrap_err().field.as_deref(), Some("colection"));
    }
}
