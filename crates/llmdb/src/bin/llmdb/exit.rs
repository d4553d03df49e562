//! Exit codes, and what a failure says.
//!
//! Invariants
//! 1. A failure names its stable code, and goes to standard error.
//! 2. The codes are those that `llmdb --help` lists.

use std::io;
use std::process::ExitCode;

use llmdb::Error;

/// Done.
pub(crate) const DONE: u8 = 0;
/// Nothing found, or damage found.
pub(crate) const NO: u8 = 1;
/// The input or the surroundings are at fault.
pub(crate) const INPUT: u8 = 2;
/// The database cannot be opened.
pub(crate) const OPEN: u8 = 3;
/// Any other failure of reading or writing.
pub(crate) const IO: u8 = 4;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A failure of the database or of a stream.
    Database(Error),
    /// The demo or an argument refuses, in words.
    Refused(String),
    /// Standard output went away; nobody listens any more.
    Closed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => Self::Closed,
            other => Self::Database(other),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        Error::Stream { action: "write the output", source }.into()
    }
}

impl Failure {
    /// Says what went wrong, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Database(error) => {
                eprintln!("error[{}]: {error}", error.code());
                if let Some(advice) = advice(error) {
                    eprintln!("{advice}");
                }
                ExitCode::from(code(error))
            }
            Self::Refused(words) => {
                eprintln!("error: {words}");
                ExitCode::from(INPUT)
            }
            Self::Closed => ExitCode::from(IO),
        }
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Line(_) => INPUT,
        Error::Store(error) => store_code(error),
        Error::Temporal(error) => temporal_code(error),
        Error::Query(llmdb_query::Error::Temporal(error)) => temporal_code(error),
        Error::Stream { source, .. } => io_code(source),
        #[cfg(feature = "wasm")]
        Error::Wasm(error) | Error::Query(llmdb_query::Error::Wasm(error)) => wasm_code(error),
        _ => IO,
    }
}

/// Modules and the records for them are input; what is damaged in the database or fails in the engine is not.
#[cfg(feature = "wasm")]
fn wasm_code(error: &llmdb::wasm::Error) -> u8 {
    match error.code() {
        "LLMDB-W14" => IO,
        "LLMDB-W19" => OPEN,
        _ => INPUT,
    }
}

/// The page at fault, when the error is that a page is damaged.
pub(crate) fn damaged_page(error: &Error) -> Option<u64> {
    match pager_error(error) {
        Some(llmdb_pager::Error::Damaged { page, .. }) => Some(page.0),
        _ => None,
    }
}

/// What to do, where the error of a file does not say so itself.
fn advice(error: &Error) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    let Some(llmdb_pager::Error::Io { source, .. }) = pager_error(error) else { return None };
    match source.kind() {
        Kind::NotFound | Kind::NotADirectory => {
            Some("the directory of the database does not exist; make it first")
        }
        Kind::ReadOnlyFilesystem | Kind::PermissionDenied => Some(
            "the directory of the database cannot be written; its lock and log have to live beside the file, \
             so copy the file to where you may write, or ask for the permission",
        ),
        _ => None,
    }
}

fn pager_error(error: &Error) -> Option<&llmdb_pager::Error> {
    match error {
        Error::Store(error)
        | Error::Temporal(llmdb_temporal::Error::Store(error))
        | Error::Query(llmdb_query::Error::Temporal(llmdb_temporal::Error::Store(error))) => error.pager(),
        _ => None,
    }
}

fn temporal_code(error: &llmdb_temporal::Error) -> u8 {
    use llmdb_temporal::Error as E;
    match error {
        E::Store(error) => store_code(error),
        E::Damaged { .. } | E::Format { .. } => OPEN,
        _ => INPUT,
    }
}

fn store_code(error: &llmdb_wal::Error) -> u8 {
    use llmdb_pager::Error as E;
    match error.pager() {
        Some(
            E::Locked { .. }
            | E::DiskFull { .. }
            | E::PageSize(_)
            | E::AlreadyExists { .. }
            | E::BackupDamaged { .. }
            | E::BackupMismatch { .. },
        ) => INPUT,
        Some(E::Poisoned { .. }) => IO,
        Some(E::Io { source, .. }) => io_code(source),
        _ => OPEN,
    }
}

fn io_code(error: &io::Error) -> u8 {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull
        | Kind::QuotaExceeded
        | Kind::ReadOnlyFilesystem
        | Kind::PermissionDenied
        | Kind::IsADirectory
        | Kind::NotADirectory
        | Kind::NotFound
        | Kind::InvalidData => INPUT,
        _ => IO,
    }
}
