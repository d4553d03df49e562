//! What a belief holds: one tag byte, then the payload.
//!
//! ```text
//! TAG   PAYLOAD
//! 0x01  the bytes as they are
//! 0x02  JSON text without spaces, UTF-8
//! 0x03  MessagePack          reserved
//! 0x04  graph edge           reserved
//! 0x05  vector               reserved
//! ```
//!
//! Invariants
//! 1. No value is empty: zero bytes and a zero tag are never written, so both are damage.
//! 2. JSON is kept without loss: the order of fields and the digits of numbers stay as written (spaces go,
//!    and an exponent without a sign gets its plus: 1e9 is printed as 1e+9).
//!
//! Not here: times and keys (`llmdb-temporal`).

use crate::Error;

/// Tag of raw bytes.
pub const TAG_RAW: u8 = 0x01;
/// Tag of JSON text.
pub const TAG_JSON: u8 = 0x02;

/// A value of a belief.
///
/// ```
/// use llmdb_query::Value;
/// let value = Value::from(serde_json::json!({"rate": 1.10}));
/// assert_eq!(Value::decode(&value.encode())?, value);
/// # Ok::<(), llmdb_query::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Bytes that the database does not look into.
    Raw(Vec<u8>),
    /// A JSON document or scalar.
    Json(serde_json::Value),
}

impl Value {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => tagged(TAG_RAW, bytes),
            Self::Json(json) => tagged(TAG_JSON, json.to_string().as_bytes()),
        }
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When it has no tag, an unknown one, or a payload that does not match its tag.
    pub fn decode(stored: &[u8]) -> Result<Self, Error> {
        let (&tag, payload) = stored.split_first().ok_or(Error::ValueEmpty)?;
        match tag {
            TAG_RAW => Ok(Self::Raw(payload.to_vec())),
            TAG_JSON => serde_json::from_slice(payload)
                .map(Self::Json)
                .map_err(|error| Error::ValueJson { reason: error.to_string() }),
            tag => Err(Error::ValueTag { tag }),
        }
    }

    /// The JSON document, when this is one.
    pub fn as_json(&self) -> Option<&serde_json::Value> {
        match self {
            Self::Json(json) => Some(json),
            Self::Raw(_) => None,
        }
    }

    /// The bytes, when these are raw.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Raw(bytes) => Some(bytes),
            Self::Json(_) => None,
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        Self::Json(json)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Raw(bytes)
    }
}

/// A string becomes a JSON string.
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Json(text.into())
    }
}

/// The payload of a stored value: raw bytes, or JSON text.
#[cfg(feature = "wasm")]
pub(crate) fn payload(stored: &[u8]) -> Result<&[u8], Error> {
    match stored.split_first() {
        Some((&(TAG_RAW | TAG_JSON), payload)) => Ok(payload),
        Some((&tag, _)) => Err(Error::ValueTag { tag }),
        None => Err(Error::ValueEmpty),
    }
}

fn tagged(tag: u8, payload: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + payload.len());
    stored.push(tag);
    stored.extend_from_slice(payload);
    stored
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_keeps_field_order_and_digits() {
        let text = r#"{"b":1.10,"a":123456789012345678901234567890,"c":[1e+400,-0.0,"é\u0000"]}"#;
        let value = Value::Json(serde_json::from_str(text).unwrap());
        assert_eq!(&value.encode()[1..], text.as_bytes());
        assert_eq!(Value::decode(&value.encode()).unwrap(), value);
    }

    #[test]
    fn damaged_values_are_errors_and_say_so() {
        let code = |stored: &[u8]| Value::decode(stored).unwrap_err().code();
        assert_eq!(code(b""), "LLMDB-Q01");
        assert_eq!(code(b"\x00"), "LLMDB-Q02");
        assert_eq!(code(b"\x03\x80"), "LLMDB-Q02");
        assert_eq!(code(b"\x02"), "LLMDB-Q03");
        assert_eq!(code(b"\x02{\"a\":"), "LLMDB-Q03");
        assert_eq!(code(b"\x02\"\xff\""), "LLMDB-Q03");
        assert_eq!(code(b"\x02{} {}"), "LLMDB-Q03");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Into::into),
            ".*".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::vec((".*", inner), 0..6)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_survives_the_round_trip(json in json(), bytes: Vec<u8>) {
            for value in [Value::Json(json), Value::Raw(bytes)] {
                prop_assert_eq!(Value::decode(&value.encode()).unwrap(), value);
            }
        }

        #[test]
        fn decoding_any_bytes_never_panics(bytes: Vec<u8>) {
            let _ = Value::decode(&bytes);
        }
    }
}
