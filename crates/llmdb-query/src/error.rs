//! The error enum of this crate, and its stable codes.

/// What can go wrong while a question is answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layer below refused or failed.
    #[error(transparent)]
    Temporal(#[from] llmdb_temporal::Error),
    /// A stored value has no tag byte.
    #[error(
        "a stored value is empty; every value starts with a tag byte, so this one was not written by LLMDB"
    )]
    ValueEmpty,
    /// A stored value has a tag that this version does not know.
    #[error("a stored value has the unknown tag {tag:#04x}; a newer version may have written it")]
    ValueTag {
        /// The tag byte that was found.
        tag: u8,
    },
    /// A stored JSON value is not JSON.
    #[error("a stored JSON value cannot be read: {reason}")]
    ValueJson {
        /// What the JSON reader said.
        reason: String,
    },
    /// A user function failed, trapped, or went over one of its limits.
    #[cfg(feature = "wasm")]
    #[error(transparent)]
    Wasm(#[from] llmdb_wasm::Error),
}

impl Error {
    /// The stable code, the same in every interface.
    ///
    /// ```
    /// assert_eq!(llmdb_query::Error::ValueEmpty.code(), "LLMDB-Q01");
    /// ```
    pub fn code(&self) -> &'static str {
        match self {
            Self::Temporal(error) => error.code(),
            Self::ValueEmpty => "LLMDB-Q01",
            Self::ValueTag { .. } => "LLMDB-Q02",
            Self::ValueJson { .. } => "LLMDB-Q03",
            #[cfg(feature = "wasm")]
            Self::Wasm(error) => error.code(),
        }
    }
}
