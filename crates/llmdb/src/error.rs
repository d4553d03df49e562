//! The error enum of the facade.
//!
//! Not here: what a code means for the exit of a command (the binary's `exit`).

use std::io;

/// What can go wrong with a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file or its log could not be opened, read or written.
    #[error(transparent)]
    Store(#[from] llmdb_wal::Error),
    /// An operation or a read was refused, or failed below.
    #[error(transparent)]
    Temporal(#[from] llmdb_temporal::Error),
    /// A question failed.
    #[error(transparent)]
    Query(#[from] llmdb_query::Error),
    /// A user function, or the module that it is in, is at fault.
    #[cfg(feature = "wasm")]
    #[error(transparent)]
    Wasm(#[from] llmdb_wasm::Error),
    /// A line of input is wrong.
    #[cfg(feature = "cli")]
    #[error(transparent)]
    Line(#[from] crate::line_error::LineError),
    /// Input or output beside the database failed.
    #[error("cannot {action}: {source}")]
    Stream {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The stable code, the same in every interface.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Temporal(error) => error.code(),
            Self::Query(error) => error.code(),
            #[cfg(feature = "wasm")]
            Self::Wasm(error) => error.code(),
            #[cfg(feature = "cli")]
            Self::Line(error) => error.code,
            Self::Stream { .. } => "LLMDB-D01",
        }
    }

    #[cfg(feature = "cli")]
    pub(crate) fn stream(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Stream { action, source }
    }
}
