//! What can go wrong in a benchmark.

use std::path::PathBuf;

/// An error of a benchmark.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No workload of that name.
    #[error("there is no workload {name:?}; known: {known}")]
    UnknownWorkload {
        /// What was asked for.
        name: String,
        /// Those that there are, with commas.
        known: String,
    },
    /// No engine of that name in this build.
    #[error(
        "there is no engine {name:?} in this build; known: {known} (peers need `--features peers`, or `libmdbx`, `rocksdb`, `canopydb`, `surrealkv`)"
    )]
    UnknownEngine {
        /// What was asked for.
        name: String,
        /// Those that there are, with commas.
        known: String,
    },
    /// A parameter that makes no sense.
    #[error("{name} is {value:?}, but {must}")]
    BadParameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// The data folder's file system is too full for the work.
    #[error(
        "{workload} needs {} MB in {}, but {} MB are free there: free some or name another folder with --dir",
        needed >> 20, folder.display(), free >> 20
    )]
    TooLittleDisk {
        /// For what.
        workload: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Where.
        folder: PathBuf,
    },
    /// The machine has too little memory for the work.
    #[error("{workload} needs {} MB of memory, but {} MB are available: choose smaller sizes", needed >> 20, free >> 20)]
    TooLittleMemory {
        /// For what.
        workload: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        free: u64,
    },
    /// The engine has no such mode.
    #[error("{} by {engine}: {what}", crate::results::NOT_OFFERED)]
    NotOffered {
        /// The engine.
        engine: String,
        /// What it lacks.
        what: String,
    },
    /// An engine's own error.
    #[error("{engine}: {message}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// What it said.
        message: String,
    },
    /// An answer was wrong: the figures of this engine do not stand.
    #[error("wrong answer: {0}")]
    WrongAnswer(String),
    /// A file of the benchmark itself could not be read or written.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A process started by a workload failed.
    #[error("the child process {0}")]
    Child(String),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// What a benchmark returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownWorkload { .. } => "LLMDB-M01",
            Self::UnknownEngine { .. } => "LLMDB-M02",
            Self::BadParameter { .. } => "LLMDB-M03",
            Self::TooLittleDisk { .. } => "LLMDB-M04",
            Self::TooLittleMemory { .. } => "LLMDB-M05",
            Self::NotOffered { .. } => "LLMDB-M06",
            Self::Engine { .. } => "LLMDB-M07",
            Self::WrongAnswer(_) => "LLMDB-M08",
            Self::Io { .. } => "LLMDB-M09",
            Self::Child(_) => "LLMDB-M10",
            Self::Interrupted => "LLMDB-M11",
        }
    }

    /// An error of the benchmark's own files.
    pub fn io(doing: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }

    /// An engine's own error.
    pub fn engine(engine: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Engine { engine, message: error.to_string() }
    }
}
