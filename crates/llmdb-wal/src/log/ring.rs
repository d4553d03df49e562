//! The log's file: a header block, and a ring of blocks that are written over and over.
//!
//! Invariants
//! 1. Space is reserved before it is written: a full disk is an error before anything was appended.
//! 2. The first write to new space brings zeros along, as much as the ring has already and 4 MiB at most, so that the
//!    next ones overwrite blocks that were written before: those need no journal of the file system. A commit that
//!    brings zeros waits for it, some milliseconds, so there are few of them.
//! 3. A group goes past the cache ([`File::write_durable_at`]) only where all that was written before is flushed: what is
//!    durable by that is the group alone.

use super::format::{BLOCK_SIZE, CAPACITY_MAX, LOG_HEADER_SIZE, LogHeader};
use crate::error::Error;
use crate::lsn::Lsn;
use llmdb_pager::Error as PagerError;
use llmdb_pager::storage::{File, OpenMode, Storage, read_exact_at, write_all_at};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the ring begins in the file.
const RING_OFFSET: u64 = BLOCK_SIZE;
/// New space is taken in multiples of this many bytes, which are also the least that a ring has, ...
pub(crate) const STEP: u64 = 256 << 10;
/// ... and no more than so many beyond what is needed.
const STEP_MAX: u64 = 4 << 20;
/// Zeros for new space, a step at a time.
static ZEROS: [u8; STEP as usize] = [0; STEP as usize];

/// The file of a log.
#[derive(Debug)]
pub(super) struct Ring {
    file: Arc<dyn File>,
    path: PathBuf,
    pub(super) capacity: u64,
    /// Bytes of the ring that were written at least once.
    written: AtomicU64,
    /// Bytes of the ring that the file has room for, where that is more.
    reserved: AtomicU64,
    /// Held by whoever writes to new space.
    growing: Mutex<()>,
    /// Held by whoever flushes; whether that has failed before. The system tells a failed write once to each that has
    /// the file open: who flushes next must be told of what the one before has met.
    has_failed: Mutex<bool>,
    pub(super) bytes_written: AtomicU64,
    pub(super) flushes: AtomicU64,
}

impl Ring {
    /// Makes a file in the place of any that is there.
    pub(super) fn create(
        storage: &dyn Storage,
        path: &Path,
        identity: u128,
        capacity: u64,
    ) -> Result<Self, Error> {
        let doing = |what: &str| format!("{what} {}", path.display());
        let capacity = capacity.clamp(STEP, CAPACITY_MAX).next_multiple_of(BLOCK_SIZE);
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
        Ok(Self::of(file, path, capacity, 0))
    }

    /// Opens the file of the database `identity`.
    pub(super) fn open(storage: &dyn Storage, path: &Path, identity: u128) -> Result<Self, Error> {
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
        // After a crash, or in a copy, some of it may be holes. Where there is no room, a write says so that meets one.
        let _ = file.allocate(RING_OFFSET, written);
        Ok(Self::of(file, path, header.capacity, written))
    }

    fn of(file: Arc<dyn File>, path: &Path, capacity: u64, written: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            file,
            path: path.to_owned(),
            capacity,
            written: AtomicU64::new(written),
            reserved: AtomicU64::new(written),
            growing: Mutex::default(),
            has_failed: Mutex::default(),
            bytes_written: zero(),
            flushes: zero(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the ring that were written at least once.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Makes sure that the file has room for `len` bytes from LSN `start` on.
    pub(super) fn reserve(&self, start: Lsn, len: u64) -> Result<(), Error> {
        let reached = (start % self.capacity + len).min(self.capacity);
        if reached <= self.written().max(self.reserved.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let (from, target) = (self.written(), self.grown(reached));
        // On a full disk, the least: what was reserved before, or what is needed.
        let least = reached.next_multiple_of(BLOCK_SIZE);
        let grow = |to: u64| self.file.allocate(RING_OFFSET + from, to - from).map(|()| to);
        let reserved = match grow(target) {
            Err(_) if least < target => grow(least),
            done => done,
        };
        let reserved = reserved.map_err(|e| {
            PagerError::allocation(format!("growing {}", self.path.display()), least - from, e)
        })?;
        self.reserved.fetch_max(reserved, Ordering::Relaxed);
        Ok(())
    }

    /// How many bytes of the ring are written once byte `reached` is.
    fn grown(&self, reached: u64) -> u64 {
        let ahead = self.written() + self.written().clamp(STEP, STEP_MAX);
        reached.next_multiple_of(STEP).max(ahead).min(self.capacity)
    }

    /// Writes whole blocks at LSN `start`, in two parts where the ring turns. One thread at a time.
    pub(super) fn write(&self, start: Lsn, blocks: &[u8]) -> Result<(), Error> {
        self.write_with(start, blocks, true)
    }

    /// As [`Ring::write`], for blocks that nobody flushes soon: new space needs no zeros ahead then.
    pub(super) fn hand_over(&self, start: Lsn, blocks: &[u8]) -> Result<(), Error> {
        self.write_with(start, blocks, false)
    }

    fn write_with(&self, start: Lsn, blocks: &[u8], is_flushed: bool) -> Result<(), Error> {
        let first = start % self.capacity;
        let (blocks, turned) = blocks.split_at((self.capacity - first).min(blocks.len() as u64) as usize);
        let reached = first + blocks.len() as u64;
        let growing = (reached > self.written()).then(|| locked(&self.growing));
        if growing.is_some() && reached > self.written() {
            let ahead = if is_flushed { self.grown(reached) } else { reached };
            let target = ahead.min(self.reserved.load(Ordering::Relaxed).max(reached));
            for from in (reached..target).step_by(STEP as usize) {
                self.write_at(&ZEROS[..(target - from).min(STEP) as usize], from)?;
            }
            self.written.store(target, Ordering::Relaxed);
        }
        self.write_at(blocks, first)?;
        if !turned.is_empty() {
            self.write_at(turned, 0)?;
        }
        Ok(())
    }

    /// As [`Ring::write`], durable when it returns. All that was written before must be flushed: only this is.
    pub(super) fn write_durably(&self, start: Lsn, blocks: &[u8]) -> Result<(), Error> {
        let first = start % self.capacity;
        let reached = first + blocks.len() as u64;
        if reached > self.capacity.min(self.written()) {
            self.write(start, blocks)?;
            return self.flush();
        }
        self.in_turn(|| self.file.write_durable_at(blocks, RING_OFFSET + first))
            .map_err(|e| PagerError::io(format!("writing and flushing {}", self.path.display()), e))?;
        self.bytes_written.fetch_add(blocks.len() as u64, Ordering::Relaxed);
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether space that is written for the first time comes near behind LSN `end`.
    pub(super) fn is_near_new_space(&self, end: Lsn) -> bool {
        let written = self.written();
        let reached = end.min(self.capacity);
        written < self.capacity && written - reached.min(written) < written.clamp(STEP, STEP_MAX) / 2
    }

    /// Writes zeros ahead, beside commits: a piece at a time, so that a flush beside it finds little before it in the
    /// device's queue.
    pub(super) fn grow(&self) -> Result<(), Error> {
        let _growing = locked(&self.growing);
        let from = self.written();
        let target = self.grown(from);
        if target == from {
            return Ok(());
        }
        let growing = || format!("growing {}", self.path.display());
        self.file
            .allocate(RING_OFFSET + from, target - from)
            .map_err(|e| PagerError::allocation(growing(), target - from, e))?;
        for piece in (from..target).step_by(STEP as usize) {
            let len = (target - piece).min(STEP);
            self.in_turn(|| {
                write_all_at(&*self.file, &ZEROS[..len as usize], RING_OFFSET + piece)?;
                self.file.write_back(RING_OFFSET + piece, len)
            })
            .map_err(|e| PagerError::io(growing(), e))?;
            self.bytes_written.fetch_add(len, Ordering::Relaxed);
        }
        self.in_turn(|| self.file.sync_data()).map_err(|e| PagerError::io(growing(), e))?;
        self.reserved.fetch_max(target, Ordering::Relaxed);
        self.written.store(target, Ordering::Relaxed);
        Ok(())
    }

    /// Overwrites with zeros, and flushes, what stands outside `start..end` of the ring, as far as it was ever written; with
    /// `overwrite` unset only counts. Answers how many bytes were not zero. Nothing else is written meanwhile.
    pub(super) fn wipe(&self, start: Lsn, end: Lsn, overwrite: bool) -> Result<u64, Error> {
        let _growing = locked(&self.growing);
        let (first, live) = (start % self.capacity, end - start);
        // Behind the end up to the ring's, and from its beginning on; or what lies between end and beginning.
        let behind = first + live;
        let dead = match behind.checked_sub(self.capacity) {
            Some(turned) => [turned..first, 0..0],
            None => [0..first, behind..self.capacity],
        };
        let mut found = 0;
        for range in dead {
            for at in (range.start..range.end.min(self.written())).step_by(STEP as usize) {
                let mut piece = vec![0; (range.end.min(self.written()) - at).min(STEP) as usize];
                read_exact_at(&*self.file, &mut piece, RING_OFFSET + at).map_err(|e| self.reading(e))?;
                let others = piece.iter().filter(|byte| **byte != 0).count() as u64;
                if others > 0 && overwrite {
                    self.write_at(&ZEROS[..piece.len()], at)?;
                }
                found += others;
            }
        }
        if found > 0 && overwrite {
            self.flush()?;
        }
        Ok(found)
    }

    fn in_turn(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut has_failed = locked(&self.has_failed);
        if *has_failed {
            return Err(io::Error::other("an earlier write or flush of it failed"));
        }
        let done = work();
        *has_failed = done.is_err();
        done
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), Error> {
        self.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        write_all_at(&*self.file, bytes, RING_OFFSET + at)
            .map_err(|e| PagerError::io(format!("writing {}", self.path.display()), e).into())
    }

    /// Makes what was written durable.
    pub(super) fn flush(&self) -> Result<(), Error> {
        self.in_turn(|| self.file.sync_data())
            .map_err(|e| PagerError::io(format!("flushing {}", self.path.display()), e))?;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Says that all that was ever written of the ring will be read.
    pub(super) fn will_need_all(&self) {
        self.file.will_need(RING_OFFSET, self.written());
    }

    /// Reads what stands at a place of the ring.
    pub(super) fn read_into(&self, bytes: &mut [u8], at: u64) -> Result<(), Error> {
        Ok(read_exact_at(&*self.file, bytes, RING_OFFSET + at).map_err(|e| self.reading(e))?)
    }

    /// `len` bytes from LSN `start` on, across the ring's turn.
    pub(super) fn read_at(&self, start: Lsn, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len];
        let first = start % self.capacity;
        let before_turn = (self.capacity - first).min(len as u64) as usize;
        let (head, turned) = bytes.split_at_mut(before_turn);
        read_exact_at(&*self.file, head, RING_OFFSET + first).map_err(|e| self.reading(e))?;
        read_exact_at(&*self.file, turned, RING_OFFSET).map_err(|e| self.reading(e))?;
        Ok(bytes)
    }

    fn reading(&self, error: std::io::Error) -> PagerError {
        PagerError::io(format!("reading {}", self.path.display()), error)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
