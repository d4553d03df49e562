//! What can go wrong, in plain words and with stable codes.
//!
//! Not here: what the store below says about files and pages; its errors pass through with their own codes.

use std::fmt;

use crate::types::{Asserted, CommitNumber, CommitStamp, CommitTime, Period, ValidTime};

/// An error of this crate. [`Error::code`] is stable; the text may be reworded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A period that ends before it starts.
    #[error(
        "{}the period starts at {from} and ends at {to}, which is earlier; give the earlier time first",
        AboutText(key.as_deref(), collection.as_deref())
    )]
    PeriodReversed {
        /// The start as given.
        from: ValidTime,
        /// The end as given.
        to: ValidTime,
        /// The key that it was given for, where one was.
        key: Option<Vec<u8>>,
        /// The collection that it was given for, where one was.
        collection: Option<String>,
    },

    /// A number that stands for an open end was given as an instant.
    #[error(
        "{micros} µs is out of range: the smallest and the largest 64-bit number are no times, they stand for open ends"
    )]
    TimeReserved {
        /// The number as given.
        micros: i64,
    },

    /// A commit time that is wanted, before that of the newest commit.
    #[error(
        "a commit at {wanted} is wanted, but {newest} stands in the way, and commit times only rise; \
         leave the time out, which takes the clock's, or give a later one"
    )]
    CommitTimeBefore {
        /// The commit time as given.
        wanted: CommitTime,
        /// The newest commit, which is later.
        newest: CommitStamp,
    },

    /// A commit time that is wanted, so late that soon no later one is left.
    #[error(
        "a commit at {wanted} is wanted, which is out of range: commit times go up to {latest}, so that later ones are \
         left for the commits to come; leave the time out, which takes the clock's, or give an earlier one"
    )]
    CommitTimeTooLate {
        /// The commit time as given.
        wanted: CommitTime,
        /// The latest that can be wanted.
        latest: CommitTime,
    },

    /// A key of no bytes.
    #[error("the key is empty; a key has at least one byte")]
    KeyEmpty,

    /// A key that does not fit a page.
    #[error(
        "the key has {length} bytes and takes {stored} when stored (a zero byte counts twice); \
         at this page size {limit} fit, so shorten it or create the database with larger pages"
    )]
    KeyTooLong {
        /// Bytes of the key.
        length: usize,
        /// Bytes of the key with each zero byte counted twice.
        stored: usize,
        /// The most that `stored` may be.
        limit: usize,
    },

    /// A value beyond what a record can hold.
    #[error("the value has {length} bytes; at most {limit} fit, so store it in parts")]
    ValueTooLong {
        /// Bytes of the value.
        length: usize,
        /// The most that fit.
        limit: usize,
    },

    /// A collection name that is empty or too long.
    #[error("a collection name has 1 to 255 bytes of UTF-8, this one has {length}")]
    CollectionName {
        /// Bytes of the name.
        length: usize,
    },

    /// An insert over a period in which a value is in force. Nothing of it was applied.
    #[error(
        "cannot insert {} into {collection:?} for {period}: a value asserted by {asserted} is in force for {in_the_way}; \
         use put to replace it, or delete it first",
        KeyText(key)
    )]
    Overlap {
        /// The collection.
        collection: String,
        /// The key.
        key: Vec<u8>,
        /// The period that was to be filled.
        period: Period,
        /// The earliest piece that lies in the way, with its stored bounds.
        in_the_way: Period,
        /// Who asserted that piece.
        asserted: Asserted,
    },

    /// More operations than a transaction may have.
    #[error("a transaction has at most {limit} operations; commit it and go on in another")]
    TooManyOperations {
        /// The most that are possible.
        limit: u64,
    },

    /// An operation of this transaction failed half-way in the store, so it can only be rolled back.
    #[error("an earlier operation of this transaction failed in the store; drop it and begin a new one")]
    TransactionFailed,

    /// A question about what was known before the history that is kept.
    #[error(
        "{}what was known {asked} is not kept any more; ask as of {kept_from}, which is the oldest, or a later commit",
        AboutText(key.as_deref(), None)
    )]
    NotKept {
        /// What was asked for, in words.
        asked: String,
        /// The key that the question was about, where it was about one.
        key: Option<Vec<u8>>,
        /// The mark: the oldest commit that can be asked about.
        kept_from: CommitStamp,
    },

    /// Stored bytes that this crate would not have written, or that contradict the recorded operations.
    #[error(
        "{place}, key {}{}: {what}; restore from a backup, or read the operations with `changes` and load them anew",
        KeyText(key), CommitText(*commit)
    )]
    Damaged {
        /// The collection or tree.
        place: String,
        /// The key: the user's where it could be read, else the stored bytes.
        key: Vec<u8>,
        /// The commit at which it shows, where one is known.
        commit: Option<CommitNumber>,
        /// What was found, and what was expected.
        what: String,
    },

    /// The store holds collections in a form of another version.
    #[error("the tree {found:?} is in a form that this version does not know; open it with a newer version")]
    Format {
        /// The tree that was found.
        found: String,
    },

    /// The store below failed.
    #[error(transparent)]
    Store(#[from] llmdb_wal::Error),
}

impl From<llmdb_btree::Error> for Error {
    fn from(error: llmdb_btree::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Error {
    /// The stable code, such as `LLMDB-T06`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::PeriodReversed { .. } => "LLMDB-T01",
            Self::TimeReserved { .. } => "LLMDB-T02",
            Self::KeyEmpty => "LLMDB-T03",
            Self::KeyTooLong { .. } => "LLMDB-T04",
            Self::ValueTooLong { .. } => "LLMDB-T05",
            Self::CollectionName { .. } => "LLMDB-T06",
            Self::Overlap { .. } => "LLMDB-T07",
            Self::TransactionFailed => "LLMDB-T08",
            Self::Damaged { .. } => "LLMDB-T10",
            Self::Format { .. } => "LLMDB-T11",
            Self::TooManyOperations { .. } => "LLMDB-T12",
            Self::NotKept { .. } => "LLMDB-T13",
            Self::CommitTimeBefore { .. } => "LLMDB-T14",
            Self::CommitTimeTooLate { .. } => "LLMDB-T15",
            Self::Store(error) => error.code(),
        }
    }

    /// Names the key that a question or an operation was about, where the error has room for one and names none.
    ///
    /// ```
    /// use llmdb_temporal::{Period, ValidTime};
    /// let reversed = Period::new(ValidTime::POS_INF, ValidTime::NEG_INF).unwrap_err();
    /// assert!(reversed.of_key(b"tea").to_string().starts_with("key \"tea\": the period starts at"));
    /// ```
    #[must_use]
    pub fn of_key(mut self, name: &[u8]) -> Self {
        if let Self::PeriodReversed { key, .. } | Self::NotKept { key, .. } = &mut self {
            key.get_or_insert_with(|| name.to_vec());
        }
        self
    }

    /// Names the collection, as [`Self::of_key`] does the key.
    #[must_use]
    pub(crate) fn of_collection(mut self, name: &str) -> Self {
        if let Self::PeriodReversed { collection, .. } = &mut self {
            collection.get_or_insert_with(|| name.to_owned());
        }
        self
    }

    /// The user's mistake, refused before anything was changed: the transaction goes on.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::PeriodReversed { .. }
                | Self::TimeReserved { .. }
                | Self::KeyEmpty
                | Self::KeyTooLong { .. }
                | Self::ValueTooLong { .. }
                | Self::CollectionName { .. }
                | Self::Overlap { .. }
                | Self::TooManyOperations { .. }
                | Self::CommitTimeBefore { .. }
                | Self::CommitTimeTooLate { .. }
        )
    }
}

/// A key for people: quoted text where it is UTF-8, else hexadecimal; shortened when long.
struct KeyText<'a>(&'a [u8]);

impl fmt::Display for KeyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 80;
        match std::str::from_utf8(self.0) {
            Ok(text) if self.0.len() <= SHOWN => write!(f, "{text:?}"),
            _ => {
                f.write_str("0x")?;
                self.0.iter().take(SHOWN / 2).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                if self.0.len() > SHOWN / 2 { write!(f, "… ({} bytes)", self.0.len()) } else { Ok(()) }
            }
        }
    }
}

/// What a message is about, and a colon: a key, a collection or both; else nothing.
struct AboutText<'a>(Option<&'a [u8]>, Option<&'a str>);

impl fmt::Display for AboutText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(key), Some(collection)) => write!(f, "key {} of collection {collection:?}: ", KeyText(key)),
            (Some(key), None) => write!(f, "key {}: ", KeyText(key)),
            (None, Some(collection)) => write!(f, "collection {collection:?}: "),
            (None, None) => Ok(()),
        }
    }
}

/// `, commit 7`, or nothing.
struct CommitText(Option<CommitNumber>);

impl fmt::Display for CommitText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |commit| write!(f, ", commit {commit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_names_place_key_and_commit() {
        let error = Error::Damaged {
            place: "collection \"main\"".into(),
            key: b"Asia/Beirut".to_vec(),
            commit: Some(CommitNumber::new(7)),
            what: "a break point is missing".into(),
        };
        let text = error.to_string();
        assert!(
            text.starts_with("collection \"main\", key \"Asia/Beirut\", commit 7: a break point"),
            "{text}"
        );
    }

    #[test]
    fn long_and_binary_keys_are_shown_short_in_hexadecimal() {
        assert_eq!(KeyText(b"a\"b").to_string(), "\"a\\\"b\"");
        assert_eq!(KeyText(&[0xff, 0x00]).to_string(), "0xff00");
        assert!(KeyText(&[b'x'; 200]).to_string().ends_with("… (200 bytes)"));
    }
}
