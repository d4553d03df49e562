//! A call in Beirut: one instant of the world, three states of knowledge.

use jiff::Timestamp;
use jiff::tz::Offset;
use llmdb::lines::time;
use llmdb::{Answer, CommitTime, Error, KeyRange, Known, Question, ReadTxn, Row, ValidTime};
use serde_json::Value as Json;

use super::broken;
use super::data::ZONES;
use crate::exit::Failure;

/// The zone of the story.
pub(crate) const BEIRUT: &str = "tz:Asia/Beirut";
/// The call.
pub(crate) const CALL: &str = "2023-03-27T09:00:00Z";

/// When it is asked, and what happened just before.
const DATES: [(Option<&str>, &str); 3] = [
    (Some("2023-03-23"), ""),
    (Some("2023-03-25"), "government postponed summer time"),
    (None, "and took that back"),
];

/// What was believed on one date.
#[derive(Debug)]
pub(crate) struct Belief {
    /// `None` is today.
    pub(crate) known_on: Option<&'static str>,
    /// Hours and minutes in Beirut.
    pub(crate) local_time: String,
    pub(crate) offset: String,
    pub(crate) abbr: String,
    /// The newest release of that date.
    pub(crate) newest: String,
    /// The release that said so first.
    pub(crate) said_by: String,
    pub(crate) what_happened: &'static str,
}

pub(crate) fn beliefs(read: &ReadTxn) -> Result<Vec<Belief>, Failure> {
    DATES.into_iter().map(|(date, what_happened)| belief(read, date, what_happened)).collect()
}

/// Seconds as `+03:00`.
pub(crate) fn offset(seconds: i64) -> String {
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn belief(
    read: &ReadTxn,
    known_on: Option<&'static str>,
    what_happened: &'static str,
) -> Result<Belief, Failure> {
    let instant = |text: &str| time::parse(text).map_err(|(_, message)| broken(&message));
    let known = match known_on {
        Some(date) => {
            let midnight = instant(&format!("{date}T00:00:00Z"))?;
            Known::At(CommitTime::from_micros(midnight).map_err(Error::from)?)
        }
        None => Known::Latest,
    };
    let call = instant(CALL)?;
    let valid_at = ValidTime::from_micros(call).map_err(Error::from)?;
    let fact =
        read.get(ZONES, BEIRUT, valid_at, known)?.ok_or_else(|| broken("nothing is known of Beirut"))?;
    let value = fact.value.as_json().unwrap_or(&Json::Null);
    let seconds = value["utc_offset_s"].as_i64().unwrap_or_default();
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    Ok(Belief {
        known_on,
        local_time: local_time(call, seconds).ok_or_else(|| broken("an offset out of range"))?,
        offset: offset(seconds),
        abbr: text("abbr"),
        newest: newest_release(read, known)?,
        said_by: text("release"),
        what_happened,
    })
}

/// The name of the newest release that was known: that of the newest statement.
fn newest_release(read: &ReadTxn, known: Known) -> Result<String, Failure> {
    let newest = read.temporal().resolve(known).map_err(Error::from)?.ok_or_else(|| broken("no release"))?;
    let commit = newest.commit.get() as i64;
    let question = Question::Changes {
        collection: Some(ZONES.into()),
        keys: KeyRange::ALL,
        after: Known::Commit(commit - 1),
        up_to: Known::Commit(commit),
        valid_at: None,
    };
    let Answer::Rows(rows) = read.ask(&question, None)? else { return Err(broken("no statements")) };
    for row in rows {
        let Row::Change(change) = row.map_err(Error::from)? else { continue };
        if let Some(release) = change.value.as_ref().and_then(|value| value.as_json()?["release"].as_str()) {
            return Ok(release.to_owned());
        }
    }
    Err(broken("a release without a statement"))
}

fn local_time(micros: i64, offset_seconds: i64) -> Option<String> {
    let offset = Offset::from_seconds(offset_seconds.try_into().ok()?).ok()?;
    let local = offset.to_datetime(Timestamp::from_microsecond(micros).ok()?);
    Some(format!("{:02}:{:02}", local.hour(), local.minute()))
}
