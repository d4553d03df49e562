//! What can be made to go wrong, and when.

use super::trace::Op;
use std::path::{Path, PathBuf};

/// A fault to [`inject`](super::SimDisk::inject): it strikes an operation that it fits.
///
/// ```
/// use llmdb_pager::sim::{Fault, FaultKind, When};
/// // One write in 16 is interrupted; the first sync of the log from operation 40 on fails.
/// let _ = Fault::new(FaultKind::Interrupted, When::OneIn(16));
/// let _ = Fault::new(FaultKind::Fails, When::NextFrom(40)).on("db-wal");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// At which of the operations that it fits.
    pub when: When,
    /// Only with files opened by this name; `None` for all.
    pub path: Option<PathBuf>,
}

impl Fault {
    /// A fault for all files.
    #[must_use]
    pub fn new(kind: FaultKind, when: When) -> Self {
        Self { kind, when, path: None }
    }

    /// The same for one file only, by the name that the operation is given or the file was opened with.
    #[must_use]
    pub fn on(self, path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    pub(super) fn fits(&self, op: Op, path: &Path, len: u64) -> bool {
        self.path.as_deref().is_none_or(|only| only == path) && self.kind.fits(op, len)
    }
}

/// When a [`Fault`] strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this operation, if it fits.
    At(u64),
    /// Once, at the first operation that fits from this one on.
    NextFrom(u64),
    /// At each operation that fits from this one on.
    EachFrom(u64),
    /// At each operation that fits, with a chance of one in so many.
    OneIn(u32),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Any operation fails with EIO (a map with "out of memory"). A failing write may have taken some
    /// bytes, a failing allocation may be found to have made the file longer, a failing sync of data or
    /// of a folder forgets (see [`SyncFailure::Forgets`]).
    Fails,
    /// A read gives at least one byte but not all.
    ShortRead,
    /// A write takes at least one byte but not all.
    ShortWrite,
    /// A read or write is interrupted (EINTR) and does nothing.
    Interrupted,
    /// A read fails with EIO.
    ReadFails,
    /// A write fails with EIO; some first part may have been taken.
    WriteFails,
    /// A write, an allocation or the creation of a file fails with ENOSPC and changes nothing; a sync fails
    /// with ENOSPC and forgets.
    NoSpace,
    /// A sync of data fails.
    SyncFails(SyncFailure),
    /// The device reports a write as done and loses it. The cache has it, until [`super::SimDisk::drop_caches`]
    /// or a power cut.
    LostWrite,
    /// The device puts a write into another block of the file. The cache shows both as they should be, until
    /// [`super::SimDisk::drop_caches`] or a power cut.
    MisdirectedWrite,
    /// A map fails with "out of memory".
    OutOfMemory,
}

/// What a failing sync of data leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFailure {
    /// ext4, XFS: a random part is durable, the rest is forgotten and counts as clean. The cache shows the
    /// new data, and the next sync says that all is well.
    Forgets,
    /// btrfs: nothing is durable and the cache goes back to what is.
    Reverts,
    /// The file system shuts down: every later operation fails with EIO.
    Shutdown,
}

impl FaultKind {
    fn fits(self, op: Op, len: u64) -> bool {
        match self {
            Self::Fails => true,
            Self::ShortRead => op == Op::Read && len > 1,
            Self::ShortWrite => op == Op::Write && len > 1,
            Self::Interrupted => matches!(op, Op::Read | Op::Write),
            Self::ReadFails => op == Op::Read,
            Self::WriteFails => op == Op::Write,
            Self::LostWrite | Self::MisdirectedWrite => op == Op::Write && len > 0,
            Self::NoSpace => matches!(op, Op::Write | Op::Allocate | Op::Create | Op::Sync),
            Self::SyncFails(_) => op == Op::Sync,
            Self::OutOfMemory => op == Op::Map,
        }
    }
}
