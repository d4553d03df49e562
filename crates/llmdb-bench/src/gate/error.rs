//! What can go wrong while the gate measures, in plain words and with stable codes.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the gate. A regression is no error but a result ([`super::compare`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No operation has this name.
    #[error("there is no operation `{name}`; the gate knows: {}", .known.join(", "))]
    UnknownOperation {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// No plant has this name.
    #[error("there is no plant `{name}`; the gate knows: {}", .known.join(", "))]
    UnknownPlant {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The database answered wrongly.
    #[error("{operation}, round {round}: {what}; a wrong answer has no cost worth comparing")]
    WrongAnswer {
        /// The operation.
        operation: &'static str,
        /// Which of its rounds.
        round: u64,
        /// What was wrong.
        what: String,
    },
    /// Instructions cannot be counted.
    #[error(
        "valgrind is missing, and instructions cannot be counted without it; install it (Debian and Ubuntu: \
         apt-get install valgrind; Fedora: dnf install valgrind; Arch: pacman -S valgrind), or pass \
         --without-instructions to hold only the other counts"
    )]
    ValgrindMissing,
    /// A program that the gate started did not end well.
    #[error("{program} ended with {status}: {stderr}")]
    Program {
        /// The program and its arguments.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it printed as its error.
        stderr: String,
    },
    /// What a program printed or a file held is not what was expected.
    #[error("{origin} cannot be understood: {what}")]
    Malformed {
        /// Where it came from.
        origin: String,
        /// What does not fit.
        what: String,
    },
    /// The other build answers other questions.
    #[error("{program} speaks protocol {theirs} of the gate, this one {ours}: nothing can be compared")]
    Protocol {
        /// The other program.
        program: PathBuf,
        /// What it speaks.
        theirs: u32,
        /// What this one speaks.
        ours: u32,
    },
    /// A file could not be read or written.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file or program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log's, the trees' or the pager's error.
    #[error(transparent)]
    Store(#[from] llmdb_wal::Error),
    /// The error of a bitemporal collection.
    #[error(transparent)]
    Temporal(#[from] llmdb_temporal::Error),
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownOperation { .. } => "LLMDB-G01",
            Self::UnknownPlant { .. } => "LLMDB-G02",
            Self::WrongAnswer { .. } => "LLMDB-G03",
            Self::ValgrindMissing => "LLMDB-G04",
            Self::Program { .. } => "LLMDB-G05",
            Self::Malformed { .. } => "LLMDB-G06",
            Self::Io { .. } => "LLMDB-G07",
            Self::Protocol { .. } => "LLMDB-G08",
            Self::Store(error) => error.code(),
            Self::Temporal(error) => error.code(),
        }
    }

    /// For `map_err`: the error of doing something with a path.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

impl From<llmdb_btree::Error> for Error {
    fn from(error: llmdb_btree::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<llmdb_pager::Error> for Error {
    fn from(error: llmdb_pager::Error) -> Self {
        llmdb_btree::Error::from(error).into()
    }
}
