//! What comes back: a fact, or rows one at a time.
//!
//! Invariants
//! 1. After an error `Rows` ends: a caller never sees rows behind a gap.
//!
//! Not here: how they are found (`exec`), how they are printed.

use llmdb_temporal::{Asserted, Change, CommitStamp, Period, Version};

use crate::{Error, Value};

/// A belief with all of its times.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// The key.
    pub key: Vec<u8>,
    /// What is believed.
    pub value: Value,
    /// When it holds in the world.
    pub valid: Period,
    /// The commit from which it was believed in this form.
    pub known_from: CommitStamp,
    /// The commit that ended it; `None` while it stands.
    pub known_to: Option<CommitStamp>,
    /// The commit that said so first, through all later splits.
    pub asserted: Asserted,
}

impl Fact {
    /// Decodes the value of a stored version.
    ///
    /// # Errors
    /// When the stored value is damaged.
    pub fn from_version(version: Version) -> Result<Self, Error> {
        Ok(Self {
            value: Value::decode(&version.value)?,
            key: version.key,
            valid: version.valid,
            known_from: version.known_from,
            known_to: version.known_to,
            asserted: version.asserted,
        })
    }
}

/// Where two states of knowledge differ about one key.
#[derive(Debug, Clone, PartialEq)]
pub struct DiffRow {
    /// The key.
    pub key: Vec<u8>,
    /// The piece of valid time.
    pub valid: Period,
    /// What was believed before; `None` is nothing.
    pub before: Option<Value>,
    /// What is believed after; `None` is nothing.
    pub after: Option<Value>,
}

/// One operation as it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeRow {
    /// When it was recorded.
    pub commit: CommitStamp,
    /// The collection.
    pub collection: String,
    /// The operation: `put`, `update`, `insert` or `delete`.
    pub op: &'static str,
    /// The key.
    pub key: Vec<u8>,
    /// The period it was about.
    pub valid: Period,
    /// What it said; `None` for a delete.
    pub value: Option<Value>,
}

impl ChangeRow {
    pub(crate) fn from_change(change: Change) -> Result<Self, Error> {
        Ok(Self {
            commit: change.commit,
            collection: change.collection,
            op: change.op.as_str(),
            key: change.key,
            valid: change.valid,
            value: change.value.map(|stored| Value::decode(&stored)).transpose()?,
        })
    }
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Row {
    /// Of `scan`, `timeline`, `history`, `versions`.
    Fact(Fact),
    /// Of `diff`.
    Difference(DiffRow),
    /// Of `changes`.
    Change(ChangeRow),
}

/// The answer to a question.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer<'t> {
    /// Of `get`: what is in force, if anything.
    Fact(Option<Box<Fact>>),
    /// Of all others.
    Rows(Rows<'t>),
}

/// Rows, found while they are asked for.
pub struct Rows<'t> {
    rows: Box<dyn Iterator<Item = Result<Row, Error>> + 't>,
    left: u64,
}

impl<'t> Rows<'t> {
    pub(crate) fn new(rows: impl Iterator<Item = Result<Row, Error>> + 't, limit: Option<u64>) -> Self {
        Self { rows: Box::new(rows), left: limit.unwrap_or(u64::MAX) }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let row = self.rows.next();
        self.left = match row {
            Some(Ok(_)) => self.left - 1,
            Some(Err(_)) | None => 0,
        };
        row
    }
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("left", &self.left).finish_non_exhaustive()
    }
}
