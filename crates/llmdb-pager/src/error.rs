//! What can go wrong with a data file, in plain words and with stable codes.

use crate::page_number::PageNumber;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// An error of the pager. [`Error::code`] is stable; the text is for people.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No file of that name.
    #[error("no database at {path}: the file does not exist")]
    NotFound {
        /// The path asked for.
        path: PathBuf,
    },
    /// A file of that name is there already.
    #[error("{path} exists already; open it, or choose another name")]
    AlreadyExists {
        /// The path asked for.
        path: PathBuf,
    },
    /// A file without a byte.
    #[error("{path} is an empty file, not a database; remove it to create one there")]
    EmptyFile {
        /// The path opened.
        path: PathBuf,
    },
    /// A file that some other program wrote.
    #[error("{path} is not an LLMDB database: it does not begin with the bytes \"LLMDB\"")]
    Foreign {
        /// The path opened.
        path: PathBuf,
    },
    /// A database of a later format.
    #[error("{path} has format version {found}; this program reads up to version {known}: use a newer LLMDB")]
    NewerVersion {
        /// The path opened.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// A file that ends before its content does.
    #[error(
        "{path} is truncated: {found} bytes, but its header speaks of {expected}; restore it from a backup"
    )]
    Truncated {
        /// The path opened.
        path: PathBuf,
        /// The length that the header needs, in bytes.
        expected: u64,
        /// The length found, in bytes.
        found: u64,
    },
    /// Both copies of the header are damaged.
    #[error("{path}: both meta pages are damaged ({reason}); restore the file from a backup")]
    MetaDamaged {
        /// The path opened.
        path: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// A page whose content is not what was written there.
    #[error("page {page} is damaged: {what}: expected {expected}, found {found}")]
    Damaged {
        /// The page.
        page: PageNumber,
        /// Which rule it breaks.
        what: &'static str,
        /// What should be there.
        expected: Text,
        /// What is there.
        found: Text,
    },
    /// The database is open elsewhere.
    #[error("{path} is locked by {owner}")]
    Locked {
        /// The path opened.
        path: PathBuf,
        /// What the owner wrote of itself.
        owner: String,
    },
    /// A page size that is not offered.
    #[error("page size {0} is not supported: choose a power of two from 4096 to 65536")]
    PageSize(usize),
    /// No room on the device.
    #[error("the disk is full: {wanted} more bytes are needed; free some space and try again")]
    DiskFull {
        /// How many bytes were asked for.
        wanted: u64,
    },
    /// An earlier write or flush failed; nothing is written until the database is opened anew.
    #[error("an earlier write failed ({reason}); close the database and open it again")]
    Poisoned {
        /// What failed first.
        reason: String,
    },
    /// The file does not fit into the address space that the process may have.
    #[error(
        "{path} takes {needed} bytes of address space, and {}; {} ({source})",
        match limit {
            Some(limit) => format!("this process may have {limit} in all"),
            None => "the system has no such stretch free".into(),
        },
        "raise the limit (ulimit -v, or the container's), end old readers, or compact the database"
    )]
    AddressSpace {
        /// The path opened.
        path: PathBuf,
        /// Bytes of the file that must be mapped.
        needed: u64,
        /// The process's limit in bytes, if there is one.
        limit: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// A snapshot was held for longer than the database allows, and pages wait for it.
    #[error(
        "this snapshot (commit {commit}) was ended: newer commits wait for its pages longer than the {limit:?} \
         that the database allows a reader; begin a new one"
    )]
    SnapshotEnded {
        /// The commit that it saw.
        commit: u64,
        /// How long a reader may hold what a newer commit has replaced.
        limit: std::time::Duration,
    },
    /// A backup that is not what was written.
    #[error("backup {backup} is damaged at byte {at}: {what}: expected {expected}, found {found}")]
    BackupDamaged {
        /// Which of the backups that were given, the full one being number 1.
        backup: usize,
        /// Where in it, in bytes.
        at: u64,
        /// Which rule it breaks.
        what: &'static str,
        /// What should be there.
        expected: Text,
        /// What is there.
        found: Text,
    },
    /// A backup that cannot be made, or does not follow on the one before it.
    #[error("backup {backup} does not fit: {what}: expected {expected}, found {found}")]
    BackupMismatch {
        /// Which of the backups that were given, the full one being number 1; of one that is being made, 1.
        backup: usize,
        /// What does not fit.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Pages that do not make a database together.
    #[error("page {page}: {what}")]
    Unsound {
        /// The page.
        page: PageNumber,
        /// What is wrong with it.
        what: String,
    },
    /// Something would have to be written to a database that is open for reading only.
    #[error("{path} is open for reading only; open it for writing to change it")]
    ReadOnly {
        /// The path opened.
        path: PathBuf,
    },
    /// The system refused an operation.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with the file's name.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The stable code that command line and servers print.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "LLMDB-P01",
            Self::AlreadyExists { .. } => "LLMDB-P02",
            Self::EmptyFile { .. } => "LLMDB-P03",
            Self::Foreign { .. } => "LLMDB-P04",
            Self::NewerVersion { .. } => "LLMDB-P05",
            Self::Truncated { .. } => "LLMDB-P06",
            Self::MetaDamaged { .. } => "LLMDB-P07",
            Self::Damaged { .. } => "LLMDB-P08",
            Self::Locked { .. } => "LLMDB-P09",
            Self::PageSize(_) => "LLMDB-P10",
            Self::DiskFull { .. } => "LLMDB-P11",
            Self::Poisoned { .. } => "LLMDB-P12",
            Self::Io { .. } => "LLMDB-P13",
            Self::AddressSpace { .. } => "LLMDB-P14",
            Self::SnapshotEnded { .. } => "LLMDB-P15",
            Self::BackupDamaged { .. } => "LLMDB-P16",
            Self::BackupMismatch { .. } => "LLMDB-P17",
            Self::Unsound { .. } => "LLMDB-P18",
            Self::ReadOnly { .. } => "LLMDB-P19",
        }
    }

    /// A damaged page.
    pub fn damaged(
        page: PageNumber,
        what: &'static str,
        expected: impl Into<Text>,
        found: impl Into<Text>,
    ) -> Self {
        Self::Damaged { page, what, expected: expected.into(), found: found.into() }
    }

    /// A page whose birth is not the one that the reference to it says.
    pub(crate) fn lost_write(page: PageNumber, expected: u64, birth: u64) -> Self {
        let what = "an older or newer version of the page is here (a lost write)";
        Self::damaged(page, what, expected, birth)
    }

    /// A large value whose bytes are not what was written.
    pub(crate) fn other_hash(start: PageNumber) -> Self {
        Self::damaged(start, "a large value's hash does not fit", "its hash", "another")
    }

    /// A refused system call, with what was being done.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }

    /// A refused reservation of `wanted` bytes: a full disk by its name, anything else as it is.
    pub fn allocation(doing: impl Into<String>, wanted: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { wanted }
            }
            _ => Self::io(doing, source),
        }
    }
}

/// An expected or found value: a number, or words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// A number, printed in hexadecimal where it is a checksum.
    Number(u64),
    /// Words.
    Words(&'static str),
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) if *number > u64::from(u32::MAX) => write!(f, "{number:#018x}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

impl From<u64> for Text {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&'static str> for Text {
    fn from(words: &'static str) -> Self {
        Self::Words(words)
    }
}
