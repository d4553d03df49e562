//! Times as text: RFC 3339 or whole microseconds since 1970.
//!
//! Invariants
//! 1. Nothing is rounded: a time with more digits than microseconds is refused.
//! 2. What is printed can be read back. A finite time that RFC 3339 cannot write (years before 0 or after
//!    9999) is printed as microseconds.

use jiff::Timestamp;
use llmdb_temporal::ValidTime;
use serde_json::Value as Json;

use super::Fault;

/// The first microsecond of the year 0, the first that RFC 3339 can write.
const YEAR_ZERO: i64 = -62_167_219_200_000_000;

/// How times are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Times {
    /// `2023-03-27T09:00:00Z`
    #[default]
    Rfc3339,
    /// `1679907600000000`
    Micros,
}

impl Times {
    /// A time as JSON; the two infinities are null.
    ///
    /// ```
    /// use llmdb::lines::Times;
    /// assert_eq!(Times::Rfc3339.json(1_679_907_600_000_000), "2023-03-27T09:00:00Z");
    /// assert_eq!(Times::Micros.json(-1), -1);
    /// assert!(Times::Micros.json(i64::MAX).is_null());
    /// ```
    pub fn json(self, micros: i64) -> Json {
        match self {
            _ if micros == i64::MIN || micros == i64::MAX => Json::Null,
            Self::Micros => micros.into(),
            Self::Rfc3339 => rfc3339(micros).map_or_else(|| micros.into(), Json::from),
        }
    }

    /// A time for people; `infinity` is what an open end is called.
    pub fn text(self, micros: i64, infinity: &str) -> String {
        match self.json(micros) {
            Json::Null => infinity.to_owned(),
            Json::String(text) => text,
            other => other.to_string(),
        }
    }
}

/// Reads RFC 3339 with an offset.
///
/// # Errors
/// A [`Fault`] and words that say what is wrong and what to write.
///
/// ```
/// use llmdb::lines::time::parse;
/// assert_eq!(parse("2023-03-27T12:00:00+03:00").ok(), Some(1_679_907_600_000_000));
/// assert!(parse("2023-03-27").is_err());
/// ```
pub fn parse(text: &str) -> Result<i64, (Fault, String)> {
    let not_a_time = |why: &str| {
        let message = format!(
            "{text:?} is not a time{why}; write RFC 3339 with an offset, as 2023-03-27T09:00:00Z, \
             or whole microseconds since 1970"
        );
        (Fault::TimeFormat, message)
    };
    let digits = text.as_bytes();
    if digits.len() < 10
        || !digits[..4].iter().all(u8::is_ascii_digit)
        || digits[4] != b'-'
        || text.contains('[')
    {
        return Err(not_a_time(""));
    }
    let time: Timestamp = text.parse().map_err(|_| not_a_time(""))?;
    if time.subsec_nanosecond() % 1000 != 0 {
        return Err(not_a_time(" in whole microseconds"));
    }
    Ok(time.as_microsecond())
}

/// Reads a time from a command line: RFC 3339, or whole microseconds.
///
/// # Errors
/// As of [`parse`].
pub fn parse_argument(text: &str) -> Result<i64, (Fault, String)> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return parse(text);
    }
    text.parse().ok().and_then(in_range).ok_or_else(out_of_range)
}

/// Reads a time from JSON; null is `None`.
///
/// # Errors
/// As of [`parse`].
pub fn from_json(json: &Json) -> Result<Option<i64>, (Fault, String)> {
    match json {
        Json::Null => Ok(None),
        Json::String(text) => parse(text).map(Some),
        Json::Number(number) => match number.as_i64() {
            Some(micros) => in_range(micros).map(Some).ok_or_else(out_of_range),
            None if number.to_string().contains(['.', 'e', 'E']) => {
                let message = format!("{number} is not a time: microseconds since 1970 are whole numbers");
                Err((Fault::TimeFormat, message))
            }
            None => Err(out_of_range()),
        },
        other => {
            let message = format!(
                "a time is a string (RFC 3339) or a whole number of microseconds, not {}",
                kind(other)
            );
            Err((Fault::FieldType, message))
        }
    }
}

/// A time of the world in a message.
pub(crate) fn shown(time: ValidTime) -> String {
    match time {
        ValidTime::NEG_INF => "since ever".into(),
        ValidTime::POS_INF => "without end".into(),
        finite => Times::Rfc3339.text(finite.micros(), ""),
    }
}

/// What a JSON value is called in a message.
pub(crate) fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

fn rfc3339(micros: i64) -> Option<String> {
    let time = Timestamp::from_microsecond(micros).ok()?;
    (micros >= YEAR_ZERO).then(|| time.to_string())
}

/// The least and the greatest number stand for the infinities.
fn in_range(micros: i64) -> Option<i64> {
    (micros != i64::MIN && micros != i64::MAX).then_some(micros)
}

fn out_of_range() -> (Fault, String) {
    let message = format!(
        "time out of range: microseconds since 1970 go from {} to {}; null is an open end",
        i64::MIN + 1,
        i64::MAX - 1
    );
    (Fault::TimeRange, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> Fault {
        from_json(&serde_json::from_str(text).unwrap()).unwrap_err().0
    }

    #[test]
    fn offsets_and_fractions_are_read() {
        for text in [
            "2023-03-27T09:00:00Z",
            "2023-03-27t09:00:00z",
            "2023-03-27T12:00:00+03:00",
            "2023-03-27T04:00:00.000000-05:00",
            "2023-03-27T09:00:00.000000000Z",
        ] {
            assert_eq!(parse(text).unwrap(), 1_679_907_600_000_000, "{text}");
        }
        assert_eq!(parse("1969-12-31T23:59:59.999999Z").unwrap(), -1);
        assert_eq!(parse("0000-01-01T00:00:00Z").unwrap(), YEAR_ZERO);
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            r#""2023-03-27""#,
            r#""2023-03-27T09:00:00""#,
            r#""2023-03-27T09:00:00.0000001Z""#,
            r#""2023-03-27T09:00:00+03:00[Asia/Beirut]""#,
            r#""2023-02-29T00:00:00Z""#,
            r#""+012023-03-27T09:00:00Z""#,
            r#""now""#,
            r#""""#,
            r#""é023-03-27T09:00:00Z""#,
            "1.5",
            "1e6",
        ] {
            assert_eq!(fault(text), Fault::TimeFormat, "{text}");
        }
        for text in ["true", "[]", "{}"] {
            assert_eq!(fault(text), Fault::FieldType, "{text}");
        }
        for text in ["9223372036854775807", "-9223372036854775808", "99999999999999999999"] {
            assert_eq!(fault(text), Fault::TimeRange, "{text}");
        }
    }

    #[test]
    fn years_beyond_rfc_3339_are_printed_as_microseconds() {
        assert_eq!(Times::Rfc3339.json(YEAR_ZERO), "0000-01-01T00:00:00Z");
        assert_eq!(Times::Rfc3339.json(YEAR_ZERO - 1), YEAR_ZERO - 1);
        assert_eq!(Times::Rfc3339.json(i64::MAX - 1), i64::MAX - 1);
        assert_eq!(Times::Rfc3339.text(i64::MIN, "-∞"), "-∞");
    }

    proptest! {
        #[test]
        fn what_is_printed_can_be_read_back(micros in i64::MIN + 1..i64::MAX, near in -62_200_000_000_000_000i64..253_402_300_800_000_000) {
            for micros in [micros, near] {
                for times in [Times::Rfc3339, Times::Micros] {
                    prop_assert_eq!(from_json(&times.json(micros)).unwrap(), Some(micros));
                }
                prop_assert_eq!(parse_argument(&Times::Rfc3339.text(micros, "")).unwrap(), micros);
            }
        }
    }
}
