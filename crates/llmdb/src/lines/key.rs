//! Keys as text: a string, or `{"base64":"..."}` when the bytes are not UTF-8.
//!
//! Invariants
//! 1. What is printed can be read back to the same bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::Fault;
use super::time::kind;

/// The prefix of a key in base64 on a command line.
const ARGUMENT_PREFIX: &str = "base64:";

/// Bytes as JSON: a string where they are UTF-8.
pub fn to_json(key: &[u8]) -> Json {
    match std::str::from_utf8(key) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": STANDARD.encode(key) }),
    }
}

/// A key in a message, of which the beginning is enough.
pub(crate) fn shown(key: &[u8]) -> String {
    const SHOWN: usize = 80;
    let text = to_json(key).to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], key.len()),
        None => text,
    }
}

/// Bytes for people, in the form that a command line takes.
pub fn to_text(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.starts_with(ARGUMENT_PREFIX) => text.to_owned(),
        _ => format!("{ARGUMENT_PREFIX}{}", STANDARD.encode(key)),
    }
}

/// Reads a key from JSON.
///
/// # Errors
/// A [`Fault`] and words that say what is wrong and what to write.
pub fn from_json(json: &Json) -> Result<Vec<u8>, (Fault, String)> {
    let key = bound_from_json(json)?;
    if key.is_empty() { Err((Fault::BadKey, "a key has at least one byte".into())) } else { Ok(key) }
}

/// Reads an end of a key range from JSON: like a key, and may be empty.
///
/// # Errors
/// As of [`from_json`].
pub fn bound_from_json(json: &Json) -> Result<Vec<u8>, (Fault, String)> {
    match json {
        Json::String(text) => Ok(text.clone().into_bytes()),
        Json::Object(fields) if fields.len() == 1 => match fields.get("base64") {
            Some(Json::String(text)) => decode(text),
            _ => Err(wrong_type(json)),
        },
        other => Err(wrong_type(other)),
    }
}

/// Reads a key from a command line: text, or `base64:` and the bytes.
///
/// # Errors
/// As of [`from_json`].
pub fn parse_argument(text: &str) -> Result<Vec<u8>, (Fault, String)> {
    let key = match text.strip_prefix(ARGUMENT_PREFIX) {
        Some(encoded) => decode(encoded)?,
        None => text.as_bytes().to_vec(),
    };
    if key.is_empty() { Err((Fault::BadKey, "a key has at least one byte".into())) } else { Ok(key) }
}

fn decode(text: &str) -> Result<Vec<u8>, (Fault, String)> {
    STANDARD.decode(text).map_err(|error| {
        (Fault::BadKey, format!("this is not base64 with padding (RFC 4648, section 4): {error}"))
    })
}

fn wrong_type(json: &Json) -> (Fault, String) {
    (Fault::FieldType, format!("a key is a string or {{\"base64\":\"...\"}}, not {}", kind(json)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_can_be_read_back(key in prop::collection::vec(any::<u8>(), 1..40), text in ".+", odd in "base64:.*") {
            for key in [key, text.into_bytes(), odd.into_bytes()] {
                prop_assert_eq!(from_json(&to_json(&key)).unwrap(), key.clone());
                prop_assert_eq!(parse_argument(&to_text(&key)).unwrap(), key);
            }
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        for (text, fault) in [
            (r#""""#, Fault::BadKey),
            (r#"{"base64":""}"#, Fault::BadKey),
            (r#"{"base64":"*"}"#, Fault::BadKey),
            (r#"{"base64":"YQ"}"#, Fault::BadKey),
            (r#"{"base64":1}"#, Fault::FieldType),
            (r#"{"base64":"YQ==","more":1}"#, Fault::FieldType),
            (r#"{}"#, Fault::FieldType),
            ("1", Fault::FieldType),
            ("null", Fault::FieldType),
            (r#"["a"]"#, Fault::FieldType),
        ] {
            assert_eq!(from_json(&serde_json::from_str(text).unwrap()).unwrap_err().0, fault, "{text}");
        }
    }
}
