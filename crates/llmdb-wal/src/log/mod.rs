//! A write-ahead log in a ring of preallocated, recycled blocks. Usable alone: it knows nothing of trees.
//!
//! Invariants
//! 1. A record is durable when the [`Log::flush`] after its append has returned `Ok`.
//! 2. A flush writes whole blocks that hold nothing acknowledged, so no tear reaches an older record.
//! 3. Space is reserved before it is written: a full disk is an error before anything was appended.
//! 4. Records from `start` on are never overwritten until [`Log::release`] moves it.
//! 5. A bad record with one behind it that was written after the bad one was flushed is damage, not the
//!    log's end.
//!
//! Not here: what records mean (`store`).

mod format;
mod tail;

pub use crate::lsn::Lsn;
pub use format::{BLOCK_SIZE, LOG_FORMAT_VERSION, RECORD_HEADER_SIZE};
pub use tail::{Record, Tail};

use crate::error::Error;
use format::{LOG_HEADER_SIZE, LogHeader, RecordHeader, encode_record, record_size, seed_of};
use llmdb_pager::Error as PagerError;
use llmdb_pager::storage::{File, OpenMode, Storage, read_exact_at, write_all_at};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the ring begins in the file.
const RING_OFFSET: u64 = BLOCK_SIZE;
/// The first flush to touch new space writes zeros up to a multiple of this in the same call, so that the
/// next ones overwrite blocks that were written before: those need no journal of the file system.
const ZERO_AHEAD: u64 = 256 << 10;

/// The place where a log goes on: an LSN and the checksum of the record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Position {
    /// Where the next record begins.
    pub lsn: Lsn,
    /// The checksum of the record before.
    pub chain: u64,
}

/// A log open for appending.
#[derive(Debug)]
pub struct Log {
    file: Arc<dyn File>,
    path: PathBuf,
    seed: u64,
    capacity: u64,
    /// Records from here on must stay.
    start: Lsn,
    /// Where the next record goes.
    end: Position,
    /// The log is durable up to here.
    flushed: Lsn,
    /// Appended and not flushed; begins at `flushed`, a block's start.
    buffer: Vec<u8>,
    /// Bytes of the ring that were written at least once.
    written: u64,
    counts: LogCounts,
}

/// What a log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogCounts {
    /// Records appended.
    pub records: u64,
    /// Bytes written to the device, zeros included.
    pub bytes_written: u64,
    /// Flushes.
    pub flushes: u64,
}

impl Log {
    /// Creates a log of `capacity` bytes for the database `identity`, which continues at `at`, in the place
    /// of any that is there. The file grows as the ring is first used.
    ///
    /// # Errors
    /// A full disk, or whatever the system refuses.
    pub fn create(
        storage: &dyn Storage,
        path: &Path,
        identity: u128,
        capacity: u64,
        at: Position,
    ) -> Result<Self, Error> {
        check_place(path, at)?;
        let doing = |what: &str| format!("{what} {}", path.display());
        let capacity = capacity.max(ZERO_AHEAD).next_multiple_of(BLOCK_SIZE);
        if storage.exists(path).map_err(|e| PagerError::io(doing("looking for"), e))? {
            storage.remove(path).map_err(|e| PagerError::io(doing("removing the unfinished"), e))?;
        }
        let file =
            storage.open(path, OpenMode::CreateNew).map_err(|e| PagerError::io(doing("creating"), e))?;
        file.allocate(0, RING_OFFSET)
            .map_err(|e| PagerError::allocation(doing("reserving"), RING_OFFSET, e))?;
        let header = LogHeader { identity, capacity }.encode();
        write_all_at(&*file, &header, 0).map_err(|e| PagerError::io(doing("writing"), e))?;
        file.sync_data().map_err(|e| PagerError::io(doing("flushing"), e))?;
        storage.sync_dir(path).map_err(|e| PagerError::io(doing("flushing the folder of"), e))?;
        Ok(Self::at(file, path, LogHeader { identity, capacity }, at, 0))
    }

    /// Opens the log of the database `identity` for reading its tail.
    ///
    /// # Errors
    /// [`Error::ForeignLog`]; whatever the system refuses.
    pub fn open(storage: &dyn Storage, path: &Path, identity: u128, at: Position) -> Result<Self, Error> {
        check_place(path, at)?;
        let doing = |what: &str| format!("{what} {}", path.display());
        let foreign = |what| Error::ForeignLog { path: path.into(), what };
        let file =
            storage.open(path, OpenMode::ReadWrite).map_err(|e| PagerError::io(doing("opening"), e))?;
        let len = file.len().map_err(|e| PagerError::io(doing("looking at"), e))?;
        if len < LOG_HEADER_SIZE as u64 {
            return Err(foreign("it is too short"));
        }
        let mut bytes = [0; LOG_HEADER_SIZE];
        read_exact_at(&*file, &mut bytes, 0).map_err(|e| PagerError::io(doing("reading"), e))?;
        let header = LogHeader::decode(&bytes).map_err(foreign)?;
        if header.identity != identity {
            return Err(foreign("it belongs to another database"));
        }
        let written = len.saturating_sub(RING_OFFSET).min(header.capacity);
        Ok(Self::at(file, path, header, at, written))
    }

    fn at(file: Arc<dyn File>, path: &Path, header: LogHeader, at: Position, written: u64) -> Self {
        Self {
            file,
            path: path.to_owned(),
            seed: seed_of(header.identity),
            capacity: header.capacity,
            start: at.lsn,
            end: at,
            flushed: at.lsn,
            buffer: Vec::new(),
            written,
            counts: LogCounts::default(),
        }
    }

    /// Where the next record goes.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Bytes that must stay, from the first record needed to the end.
    pub fn live_bytes(&self) -> u64 {
        self.end.lsn - self.start
    }

    /// Bytes of the ring.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// What was done since the log was opened.
    pub fn counts(&self) -> LogCounts {
        self.counts
    }

    /// Whether a record with such a payload can be appended now.
    pub fn has_room(&self, payload: usize) -> bool {
        payload <= u32::MAX as usize
            && self.live_bytes() + record_size(payload).next_multiple_of(BLOCK_SIZE) + BLOCK_SIZE
                <= self.capacity
    }

    /// Appends a record; durable after [`Log::flush`]. There must be room.
    ///
    /// # Errors
    /// [`PagerError::DiskFull`], with nothing appended.
    ///
    /// # Panics
    /// Without room: [`Log::has_room`] tells.
    pub fn append(&mut self, commit: u64, checkpoint: u64, payload: &[u8]) -> Result<Lsn, Error> {
        assert!(self.has_room(payload.len()), "the caller asks for room first");
        self.reserve(self.buffer.len() as u64 + record_size(payload.len()))?;
        let header = RecordHeader {
            checksum: 0,
            lsn: self.end.lsn,
            chain: self.end.chain,
            flushed: self.flushed,
            checkpoint,
            commit,
            len: payload.len() as u32,
        };
        self.end.chain = encode_record(&mut self.buffer, self.seed, &header, payload);
        self.end.lsn += header.size();
        self.counts.records += 1;
        Ok(header.lsn)
    }

    /// Makes sure that the file has room for `len` bytes behind what is flushed.
    fn reserve(&self, len: u64) -> Result<(), Error> {
        let first = self.flushed % self.capacity;
        let reached = (first + len.next_multiple_of(BLOCK_SIZE)).min(self.capacity);
        if reached <= self.written {
            return Ok(());
        }
        let target = reached.next_multiple_of(ZERO_AHEAD).min(self.capacity);
        let (from, wanted) = (RING_OFFSET + self.written, target - self.written);
        self.file
            .allocate(from, wanted)
            .map_err(|e| PagerError::allocation(format!("growing {}", self.path.display()), wanted, e).into())
    }

    /// Makes everything appended durable: one write (two where the ring turns) and one device flush.
    ///
    /// # Errors
    /// After one the log must not be used any more: what is on the device is unknown.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut group = std::mem::take(&mut self.buffer);
        group.resize(group.len().next_multiple_of(BLOCK_SIZE as usize), 0);
        let group_len = group.len() as u64;
        let first = self.flushed % self.capacity;
        let before_turn = (self.capacity - first).min(group_len) as usize;
        let reached = first + before_turn as u64;
        let turned = group.split_off(before_turn);
        if reached > self.written {
            let target = reached.next_multiple_of(ZERO_AHEAD).min(self.capacity);
            group.resize((target - first) as usize, 0);
            self.written = target;
        }
        self.write(&group, first)?;
        if !turned.is_empty() {
            self.write(&turned, 0)?;
        }
        self.file.sync_data().map_err(|e| PagerError::io(format!("flushing {}", self.path.display()), e))?;
        self.counts.flushes += 1;
        self.flushed += group_len;
        self.end.lsn = self.flushed;
        group.clear();
        self.buffer = group;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> Result<(), Error> {
        self.counts.bytes_written += bytes.len() as u64;
        write_all_at(&*self.file, bytes, RING_OFFSET + at)
            .map_err(|e| PagerError::io(format!("writing {}", self.path.display()), e).into())
    }

    /// Records before `lsn` are not needed any more.
    pub fn release(&mut self, lsn: Lsn) {
        debug_assert!(lsn <= self.end.lsn);
        self.start = self.start.max(lsn);
    }

    /// Goes on at `at`, with nothing before it needed. Nothing may be waiting for a flush.
    pub fn restart(&mut self, at: Position) {
        debug_assert!(self.buffer.is_empty());
        self.start = at.lsn;
        self.end = at;
        self.flushed = at.lsn;
    }
}

/// Checks the place that a data file names: a block's start, and far from the end of all numbers.
fn check_place(path: &Path, at: Position) -> Result<(), Error> {
    if at.lsn.is_multiple_of(BLOCK_SIZE) && at.lsn < 1 << 62 {
        return Ok(());
    }
    Err(Error::ForeignLog { path: path.into(), what: "the data file says that it goes on where no log can" })
}
