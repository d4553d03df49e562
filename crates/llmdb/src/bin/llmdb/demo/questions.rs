//! The 300 reference questions, asked one by one.

use llmdb::{CommitTime, Error, Known, ReadTxn, ValidTime};
use serde_json::Value as Json;

use super::broken;
use super::data::{self, ZONES};
use crate::exit::Failure;

/// How many were answered right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    pub(crate) right: usize,
    pub(crate) of: usize,
}

pub(crate) fn check(read: &ReadTxn) -> Result<Check, Failure> {
    let questions = data::questions()?;
    let mut right = 0;
    for question in &questions {
        right += usize::from(is_right(read, question)?);
    }
    Ok(Check { right, of: questions.len() })
}

fn is_right(read: &ReadTxn, question: &Json) -> Result<bool, Failure> {
    let time = |field: &str| data::micros(&question[field]).ok_or_else(|| broken(field));
    let key = question["key"].as_str().ok_or_else(|| broken("key"))?;
    let valid_at = ValidTime::from_micros(time("valid_at")?).map_err(Error::from)?;
    let known = Known::At(CommitTime::from_micros(time("known_at")?).map_err(Error::from)?);
    let fact = read.get(ZONES, key, valid_at, known)?;
    let found = fact.as_ref().and_then(|fact| fact.value.as_json()).unwrap_or(&Json::Null);
    Ok(*found == question["expected"])
}
