//! What can go wrong with a log or a store, in plain words and with stable codes.

use crate::lsn::Lsn;
use llmdb_btree::Error as TreeError;
use llmdb_pager::Error as PagerError;
use std::path::PathBuf;

/// An error of the log or the store. [`Error::code`] is stable; the text is for people.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A log that is not one, or is another database's.
    #[error("{path} is not this database's log: {what}; move it away only if you know that it is not needed")]
    ForeignLog {
        /// The log's path.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// A record that was flushed cannot be read any more.
    #[error("{path} is damaged at LSN {lsn}: {what}; commits from there on cannot be recovered from it")]
    LogDamaged {
        /// The log's path.
        path: PathBuf,
        /// Where the damage begins.
        lsn: Lsn,
        /// What is wrong.
        what: &'static str,
    },
    /// The log that holds the newest commits is gone.
    #[error(
        "{path} is missing: the database was not closed and its newest commits are in that log; \
         put it back beside the database"
    )]
    LogMissing {
        /// The log's path.
        path: PathBuf,
    },
    /// Commits that the log does not hold any more.
    #[error(
        "commit {wanted} is not in the log any more, which begins with commit {oldest}; read the database as it \
         is and go on from there, or give the log more room (log_capacity)"
    )]
    CommitsGone {
        /// The first commit asked for.
        wanted: u64,
        /// The oldest that is there.
        oldest: u64,
    },
    /// A record, or the newest commit, is not what the transaction expected.
    #[error("{what} is not as expected: the transaction did nothing; read again and decide anew")]
    Conflict {
        /// What is not so: a record, named by its key, or the newest commit.
        what: String,
    },
    /// The store was closed.
    #[error("the database was closed through another handle; open it again")]
    Closed,
    /// A database that was not closed cannot be opened for reading only.
    #[error(
        "{path} was not closed: its newest commits are in its log, and to recover them is to write; \
         open it once for writing, or open a copy of both files"
    )]
    NotClosed {
        /// The database's path.
        path: PathBuf,
    },
    /// The tree's or the pager's error.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl Error {
    /// The stable code that command line and servers print.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ForeignLog { .. } => "LLMDB-L01",
            Self::LogDamaged { .. } => "LLMDB-L02",
            Self::LogMissing { .. } => "LLMDB-L03",
            Self::Closed => "LLMDB-L04",
            Self::CommitsGone { .. } => "LLMDB-L05",
            Self::Conflict { .. } => "LLMDB-L06",
            Self::NotClosed { .. } => "LLMDB-L07",
            Self::Tree(error) => error.code(),
        }
    }

    /// The pager's error inside, if it is one.
    pub fn pager(&self) -> Option<&PagerError> {
        match self {
            Self::Tree(TreeError::Pager(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<PagerError> for Error {
    fn from(error: PagerError) -> Self {
        Self::Tree(error.into())
    }
}
