//! The storage trait: every byte that LLMDB reads or writes passes through here, so faults, tests and
//! other platforms can replace it.
//!
//! Invariants
//! 1. A write is durable only after a [`File::sync_data`] of that file that began after the write returned
//!    `Ok`, or when it is a [`File::write_durable_at`] that did; a created, renamed or removed name only after
//!    [`Storage::sync_dir`] of its folder.
//! 2. A failed write or sync may have lost any unsynced data and is never retried: the caller stops using
//!    the file until it is opened anew (DESIGN, failure model).
//! 3. Reads, writes and the map of one file see the same bytes at once; but no map is promised what
//!    [`File::write_durable_at`] writes.
//!
//! Not here: what the bytes mean (`page`, `meta`), when to sync (`checkpoint`).

mod direct;
mod disk;
mod map;

pub use direct::DIRECT_ALIGN;
pub use disk::DiskStorage;
pub use map::Map;

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// How [`Storage::open`] treats a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet; mode 0600.
    CreateNew,
}

/// A place that holds files: a real file system, or the simulated disk.
pub trait Storage: Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` (with `CreateNew`), `PermissionDenied` or whatever the system says.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Whether `path` names an existing file.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Renames a file, replacing the target if it exists. Durable after [`Storage::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Storage::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in the folder of `path` durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive lock `path` (a file of its own), writing `owner` into it. The lock ends when
    /// the guard is dropped or its process dies; a guard removes its file when dropped.
    ///
    /// # Errors
    /// [`LockError::Held`] with the text that the owner wrote.
    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn Lock>, LockError>;

    /// What the owner of the lock `path` wrote into it, for one who only reads; `None` where nobody says.
    fn lock_owner(&self, path: &Path) -> Option<String> {
        let _ = path;
        None
    }
}

/// How a handle shares its file with those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// With other readers.
    Readers,
    /// With nobody.
    Nobody,
}

/// An open file. Positions are absolute; there is no cursor.
pub trait File: Debug + Send + Sync {
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at most `buf.len()` bytes; 0 only at the end of the file. May read fewer, may be interrupted.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at most `buf.len()` bytes, extending the file if need be. May write fewer, may be interrupted.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes all completed writes and the length durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;

    /// Writes all of `buf` at `offset` and makes it durable, in one trip where the system can: where `buf` stands at a
    /// multiple of [`DIRECT_ALIGN`] in memory, and `offset` and its length are multiples, it goes to the device past the
    /// cache. Says nothing of what was written elsewhere in the file, nor of its length.
    ///
    /// # Errors
    /// As [`File::write_at`] and [`File::sync_data`], with the meaning of a failed flush.
    fn write_durable_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        write_all(buf, offset, |rest, offset| self.write_at(rest, offset))?;
        self.sync_data()
    }

    /// Sends what was written to a range to the device and waits for it. It is not durable by that, but a
    /// flush has less left to do, and those beside it wait less.
    ///
    /// # Errors
    /// As [`File::sync_data`], and with the same meaning: what was written may be lost.
    fn write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }

    /// Says that a range that was written will be flushed soon, so that the system may begin to send it to the device. A
    /// hint: it cannot fail, and what fails behind it the flush says.
    fn begin_write_back(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Reserves space for `offset..offset + len`, extending the file with zeros if need be, so that later
    /// writes there cannot fail for lack of space. On failure the length is as before.
    ///
    /// # Errors
    /// `StorageFull` on a full disk.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Cuts or extends the file. Never called on a mapped file to make it shorter.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Maps `len` bytes for reading, possibly past the end: bytes become readable as the file grows.
    ///
    /// # Errors
    /// `OutOfMemory` where the address space is limited.
    fn map(&self, len: u64) -> io::Result<Map>;

    /// Gives the room of a range inside the file back to the file system; it reads as zeros from then on,
    /// and the length stays. Room must be reserved again before the range is written.
    ///
    /// # Errors
    /// `Unsupported` where the file system cannot.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The parts of a range for which no room may be reserved, in order: at least all such parts.
    fn holes(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let _ = range;
        Ok(Vec::new())
    }

    /// How many bytes of the disk the file takes.
    fn allocated(&self) -> io::Result<u64> {
        self.len()
    }

    /// Takes the lock of the file itself, for as long as the handle lives: of any mode, and nothing is written.
    /// Whether nobody holds it who stands against it.
    ///
    /// # Errors
    /// Whatever the system says where it cannot lock files.
    fn lock(&self, share: Share) -> io::Result<bool> {
        let _ = share;
        Ok(true)
    }

    /// Says that a range will be read soon, so that the system may begin to fetch it. A hint: it never
    /// waits for the device and cannot fail.
    fn will_need(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

/// A held lock; dropping it lets go.
pub trait Lock: Debug + Send + Sync {}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process (or handle) holds it; the text is what the owner wrote.
    Held(String),
    /// The lock file could not be made or read.
    Io(io::Error),
}

/// Reads exactly `buf.len()` bytes at `offset`, across short reads and interruptions.
///
/// # Errors
/// `UnexpectedEof` where the file ends first.
pub fn read_exact_at(file: &dyn File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buf = &mut buf[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `buf` at `offset`, across short writes and interruptions.
///
/// # Errors
/// `WriteZero` where the system takes no byte without saying why.
pub fn write_all_at(file: &dyn File, buf: &[u8], offset: u64) -> io::Result<()> {
    write_all(buf, offset, |rest, offset| file.write_at(rest, offset))
}

fn write_all(
    mut buf: &[u8],
    mut offset: u64,
    write_at: impl Fn(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    while !buf.is_empty() {
        match write_at(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                buf = &buf[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
