//! What can go wrong with trees, in plain words and with stable codes.

use llmdb_pager::Error as PagerError;

/// An error of a tree. [`Error::code`] is stable; the text is for people.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key without a byte.
    #[error("a key must have at least one byte")]
    KeyEmpty,
    /// A key over the limit.
    #[error("the key is {len} bytes long; with this page size at most {max} are possible")]
    KeyTooLong {
        /// The key's length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A value over 4 GiB.
    #[error("the value is {len} bytes long; at most {max} are possible")]
    ValueTooLong {
        /// The value's length in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A value's source ended before its length.
    #[error("the value was to have {expected} bytes, but its source ended after {found}")]
    ValueShort {
        /// The length that was named, in bytes.
        expected: u64,
        /// The bytes that came.
        found: u64,
    },
    /// A value's source failed.
    #[error("reading the value failed: {0}")]
    ValueSource(std::io::Error),
    /// Records of a bulk load that do not come in order.
    #[error(
        "key \"{}\" does not come behind \"{}\", the one before it; a bulk load needs keys that rise",
        .key.escape_ascii(), .last.escape_ascii()
    )]
    KeyOrder {
        /// The key out of order.
        key: Vec<u8>,
        /// The key before it.
        last: Vec<u8>,
    },
    /// A tree name that is empty or too long.
    #[error("a tree's name must have 1 to {max} bytes, not {len}")]
    TreeName {
        /// The name's length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A tree of another form.
    #[error("the tree is of form {found}, which this version does not know (form {known} is)")]
    TreeForm {
        /// The form found.
        found: u8,
        /// The form known.
        known: u8,
    },
    /// An earlier change of this transaction failed half way.
    #[error("an earlier change in this transaction failed; drop it and begin again")]
    Failed,
    /// A savepoint that was forgotten.
    #[error(
        "that savepoint is gone: the transaction went back to an earlier one, or it is another transaction's"
    )]
    Savepoint,
    /// The pager's error.
    #[error(transparent)]
    Pager(#[from] PagerError),
}

impl Error {
    /// The stable code that command line and servers print.
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyEmpty => "LLMDB-B01",
            Self::KeyTooLong { .. } => "LLMDB-B02",
            Self::ValueTooLong { .. } => "LLMDB-B03",
            Self::TreeName { .. } => "LLMDB-B04",
            Self::TreeForm { .. } => "LLMDB-B05",
            Self::KeyOrder { .. } => "LLMDB-B07",
            Self::ValueShort { .. } => "LLMDB-B08",
            Self::ValueSource(_) => "LLMDB-B09",
            Self::Failed => "LLMDB-B06",
            Self::Savepoint => "LLMDB-B10",
            Self::Pager(error) => error.code(),
        }
    }
}
