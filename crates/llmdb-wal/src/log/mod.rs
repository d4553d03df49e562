//! A write-ahead log in a ring of preallocated, recycled blocks. Usable alone: it knows nothing of trees.
//!
//! ```text
//! threads   append, append, append        append, append            one lock, held for a copy
//! leader           gather, write, flush ------------> gather, write, flush
//!                          group 1      others append group 2 meanwhile
//! ```
//!
//! Any number of threads append; who waits for its record first becomes the leader, and writes and flushes for all
//! that have come until then. So there is no timer and no thread of the log's own, and one thread alone waits for
//! nobody.
//!
//! Invariants
//! 1. A record is durable when a [`Log::flush_to`] of its LSN has returned `Ok`.
//! 2. A flush writes whole blocks that hold nothing flushed before, so no tear reaches an older record.
//! 3. Space is reserved before it is written: a full disk is an error before anything was appended.
//! 4. Records from `start` on are never overwritten until [`Log::release`] moves it.
//! 5. A bad record with one behind it that was written after the bad one was flushed is damage, not the
//!    log's end.
//! 6. After a failed write or flush every later one is refused.
//!
//! Not here: what records mean (`store`).

mod blocks;
mod feed;
mod format;
mod group;
mod ring;
mod tail;
mod words;

pub use crate::lsn::Lsn;
pub use format::{BLOCK_SIZE, LOG_FORMAT_VERSION, RECORD_HEADER_SIZE};
pub(crate) use ring::STEP as RING_SIZE_MIN;
pub use tail::{Behind, Record, Tail};

use crate::error::Error;
use blocks::Blocks;
use format::record_size;
use group::Group;
use llmdb_pager::Error as PagerError;
use llmdb_pager::storage::Storage;
use ring::Ring;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use words::Words;

/// A leader lets others append for this long after the last that did, ...
const GATHER_PAUSE_MAX: Duration = Duration::from_micros(20);
/// ... and for this long in all.
const GATHER_MAX: Duration = Duration::from_micros(100);

/// The place where a log goes on: an LSN and the checksum of the record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Position {
    /// Where the next record begins.
    pub lsn: Lsn,
    /// The checksum of the record before.
    pub chain: u64,
}

/// What the log's owner does around a flush. Called by the thread that leads it.
pub trait Around {
    /// Before a group is written that has records which lead to bytes of another file: flushes that file.
    ///
    /// # Errors
    /// Its failure is the flush's.
    fn before_write(&self) -> Result<(), Error> {
        Ok(())
    }

    /// After a flush, before anybody who waited for it goes on: commits up to this one are durable.
    fn durable(&self, commit: u64) {
        let _ = commit;
    }
}

/// An owner that does nothing.
impl Around for () {}

/// A log open for appending, shared by any number of threads.
#[derive(Debug)]
pub struct Log {
    ring: Ring,
    seed: u64,
    state: Mutex<State>,
    words: Words,
    /// Records of the open group, for a leader to look at without the lock.
    appended: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Records from here on must stay.
    start: Lsn,
    /// The log is durable up to here.
    flushed: Position,
    /// The checksum of the last sealed record.
    chain: u64,
    open: Group,
    /// How many bytes of the open group were handed to the system.
    handed_over: usize,
    /// Whether a thread gathers, writes or flushes.
    has_leader: bool,
    /// It was opened, and there may be records that are not known of.
    is_unread: bool,
    /// Behind the last record that somebody waits to be durable.
    awaited: Lsn,
    /// How many records came with the last flush and while it ran: so many may come with the next.
    expected: u64,
    /// Memory of the last group.
    spare: Blocks,
    /// The first failure.
    failed: Option<String>,
    record_count: u64,
    /// The newest commit that is durable; 0 = none that is known.
    newest_durable: u64,
    /// Where groups begin, and their first commits, as far back as the ring holds them.
    groups: VecDeque<(Lsn, u64)>,
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
    /// ```
    /// use llmdb_pager::storage::DiskStorage;
    /// use llmdb_wal::log::{Log, Position};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let log = Log::create(&DiskStorage, &folder.path().join("a-wal"), 7, 1 << 20, Position::default())?;
    /// let lsn = log.append(1, 0, b"first", false)?;
    /// log.flush_to(lsn, &())?; // durable from here, as is all that other threads appended before
    /// assert_eq!(log.counts().flushes, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        Ok(Self::at(Ring::create(storage, path, identity, capacity)?, identity, at))
    }

    /// Opens the log of the database `identity` for reading its tail ([`Log::read_tail`]). Records are appended only
    /// behind that ([`Log::go_on_behind`]).
    ///
    /// # Errors
    /// [`Error::ForeignLog`]; whatever the system refuses.
    pub fn open(storage: &dyn Storage, path: &Path, identity: u128, at: Position) -> Result<Self, Error> {
        check_place(path, at)?;
        let log = Self::at(Ring::open(storage, path, identity)?, identity, at);
        log.state().is_unread = true;
        Ok(log)
    }

    fn at(ring: Ring, identity: u128, at: Position) -> Self {
        let state = State {
            start: at.lsn,
            flushed: at,
            chain: at.chain,
            open: Group::at(at.lsn),
            handed_over: 0,
            has_leader: false,
            is_unread: false,
            awaited: 0,
            expected: 0,
            spare: Blocks::default(),
            failed: None,
            record_count: 0,
            newest_durable: 0,
            groups: VecDeque::new(),
        };
        let seed = format::seed_of(identity);
        Self { ring, seed, state: Mutex::new(state), words: Words::default(), appended: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        self.ring.path()
    }

    /// Behind the last record that is durable.
    pub fn durable_end(&self) -> Position {
        self.state().flushed
    }

    /// Bytes that must stay, from the first record needed to the end.
    pub fn live_bytes(&self) -> u64 {
        self.state().live_bytes()
    }

    /// Bytes of the ring.
    pub fn capacity(&self) -> u64 {
        self.ring.capacity
    }

    /// What was done since the log was opened.
    pub fn counts(&self) -> LogCounts {
        LogCounts {
            records: self.state().record_count,
            bytes_written: self.ring.bytes_written.load(Ordering::Relaxed),
            flushes: self.ring.flushes.load(Ordering::Relaxed),
        }
    }

    /// Whether space that was never written comes near: [`Log::grow`] prepares it, beside commits, which would wait for
    /// it otherwise.
    pub fn should_grow(&self) -> bool {
        if self.ring.written() >= self.ring.capacity {
            return false;
        }
        let end = self.state().open.end();
        self.ring.is_near_new_space(end)
    }

    /// Prepares more space, where the ring has not its whole capacity yet: as much as there is, at most 4 MiB. Records
    /// are appended and flushed meanwhile.
    ///
    /// # Errors
    /// [`PagerError::DiskFull`], with nothing changed; a failed write or flush, after which every flush fails.
    pub fn grow(&self) -> Result<(), Error> {
        self.ring.grow()
    }

    /// Whether a record with such a payload can be appended now.
    pub fn has_room(&self, payload: usize) -> bool {
        self.state().has_room(payload, self.ring.capacity)
    }

    /// Appends a record; durable after [`Log::flush_to`]. There must be room. The caller sees to it that
    /// commits are appended in order. `leads_elsewhere`: it leads to bytes of another file that are not flushed.
    ///
    /// # Errors
    /// [`PagerError::DiskFull`], with nothing appended; [`PagerError::Poisoned`] after a failed flush; where the log was
    /// opened and not gone on with ([`Log::go_on_behind`]).
    ///
    /// # Panics
    /// Without room: [`Log::has_room`] tells.
    pub fn append(
        &self,
        commit: u64,
        checkpoint: u64,
        payload: &[u8],
        leads_elsewhere: bool,
    ) -> Result<Lsn, Error> {
        let mut state = self.state();
        state.check()?;
        if state.is_unread {
            let unread = io::Error::new(
                io::ErrorKind::InvalidInput,
                "it was opened, and may hold records: read its tail and go on behind it first",
            );
            return Err(PagerError::io(format!("appending to {}", self.path().display()), unread).into());
        }
        assert!(state.has_room(payload.len(), self.ring.capacity), "the caller asks for room first");
        self.ring.reserve(state.open.start, state.open.size_with(payload.len()))?;
        if state.open.is_empty() {
            let start = state.open.start;
            state.groups.push_back((start, commit));
        }
        let end = state.open.start + state.open.size_with(payload.len());
        while state.groups.front().is_some_and(|(group, _)| group + self.ring.capacity < end) {
            state.groups.pop_front();
        }
        let lsn = state.open.push(checkpoint, commit, payload, leads_elsewhere);
        state.record_count += 1;
        self.appended.store(state.open.record_count, Ordering::Relaxed);
        Ok(lsn)
    }

    /// Says that the record at `lsn` will be waited for ([`Log::flush_to`]): what is appended behind it must not be
    /// taken for done before.
    pub fn await_flush_of(&self, lsn: Lsn) {
        let mut state = self.state();
        state.awaited = state.awaited.max(lsn + 1);
    }

    /// Waits until the record at `lsn` is durable, as all before it are then: one write (two where the ring
    /// turns) and one device flush for all that threads have appended. Behind all records there is only their end.
    ///
    /// # Errors
    /// The failed write or flush; [`PagerError::Poisoned`] for who waited for it and for all later ones: what is
    /// on the device is unknown.
    pub fn flush_to(&self, lsn: Lsn, around: &dyn Around) -> Result<(), Error> {
        let mut state = self.state();
        let lsn = lsn.min(state.open.end().saturating_sub(1));
        state.awaited = state.awaited.max(lsn + 1);
        while state.flushed.lsn <= lsn {
            state.check()?;
            if state.has_leader {
                let group = state.open.number.wrapping_sub(u32::from(lsn < state.open.start));
                let word = self.words.of(group);
                let seen = word.look();
                drop(state);
                word.wait(seen);
                state = self.state();
                continue;
            }
            state.has_leader = true;
            let expected = state.expected;
            drop(state);
            self.gather(expected);
            self.lead(around)?;
            state = self.state();
        }
        Ok(())
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// As [`Log::flush_to`].
    pub fn flush(&self, around: &dyn Around) -> Result<(), Error> {
        let state = self.state();
        let end = state.open.end();
        let is_clean = state.open.is_empty() && state.flushed.lsn >= end;
        drop(state);
        if is_clean { Ok(()) } else { self.flush_to(end - 1, around) }
    }

    /// Hands everything appended to the system, which keeps it when the process dies. Not durable. Whether
    /// that was all there is to do: not so where an earlier record is waited for, whose flush this one must not
    /// overtake.
    ///
    /// # Errors
    /// As [`Log::flush_to`].
    pub fn hand_over(&self) -> Result<bool, Error> {
        let mut state = self.state();
        state.check()?;
        if state.has_leader || state.awaited > state.flushed.lsn {
            return Ok(false);
        }
        if state.handed_over == state.open.len() {
            return Ok(true);
        }
        let (chain, flushed) = (state.chain, state.flushed.lsn);
        state.chain = state.open.seal(self.seed, chain, flushed, false);
        let (start, from) = (state.open.start, state.handed_over);
        let result = state.open.with_blocks(from, |first, blocks| self.ring.hand_over(start + first, blocks));
        state.handed_over = state.open.len();
        match result {
            Ok(()) => Ok(true),
            Err(error) => {
                state.failed.get_or_insert(error.to_string());
                Err(error)
            }
        }
    }

    /// Lets others append before a flush, as many as came with the last: two half-full groups would have each
    /// wait for two flushes.
    fn gather(&self, expected: u64) {
        let mut here = self.appended.load(Ordering::Relaxed);
        if here >= expected {
            return;
        }
        let began = Instant::now();
        let mut newest = began;
        loop {
            std::thread::yield_now();
            let now = Instant::now();
            let seen = self.appended.load(Ordering::Relaxed);
            if seen != here {
                (here, newest) = (seen, now);
            }
            if here >= expected || now - newest > GATHER_PAUSE_MAX || now - began > GATHER_MAX {
                return;
            }
        }
    }

    /// Writes and flushes the open group, as its leader.
    fn lead(&self, around: &dyn Around) -> Result<(), Error> {
        let mut state = self.state();
        let (chain, flushed) = (state.chain, state.flushed.lsn);
        let chain = state.open.seal(self.seed, chain, flushed, true);
        let memory = std::mem::take(&mut state.spare);
        let next = state.open.following(memory);
        let group = std::mem::replace(&mut state.open, next);
        state.chain = chain;
        let handed_over = std::mem::take(&mut state.handed_over);
        self.appended.store(0, Ordering::Relaxed);
        drop(state);

        let (number, end) = (group.number, group.end().next_multiple_of(BLOCK_SIZE));
        let (commit, count) = (group.newest_commit, group.record_count);
        let result = self.write_group(group, handed_over, around);
        if result.is_ok() {
            around.durable(commit);
        }
        let mut state = self.state();
        state.has_leader = false;
        let result = match result {
            Ok(memory) => {
                state.flushed = Position { lsn: end, chain };
                state.newest_durable = commit;
                state.expected = count + state.open.record_count;
                state.spare = memory;
                Ok(())
            }
            Err(error) => {
                state.failed.get_or_insert(error.to_string());
                Err(error)
            }
        };
        let heir = (!state.open.is_empty()).then_some(state.open.number);
        drop(state);
        self.words.of(number).wake_all();
        match heir {
            Some(heir) if result.is_ok() => self.words.of(heir).wake_one(),
            Some(heir) => self.words.of(heir).wake_all(),
            None => {}
        }
        result
    }

    /// Writes what the system was not given before, and flushes.
    fn write_group(
        &self,
        mut group: Group,
        handed_over: usize,
        around: &dyn Around,
    ) -> Result<Blocks, Error> {
        if group.leads_elsewhere {
            around.before_write()?;
        }
        let start = group.start;
        group.with_blocks(handed_over, |first, blocks| match handed_over {
            0 => self.ring.write_durably(start, blocks),
            _ => self.ring.write(start + first, blocks).and_then(|()| self.ring.flush()),
        })?;
        Ok(group.into_memory())
    }

    /// Goes on behind a tail that was read. What of it is not known to be durable is written anew and flushed: the
    /// cache may show what a failed flush has forgotten.
    ///
    /// # Errors
    /// A failed read, write or flush.
    pub fn go_on_behind(&self, tail: &Tail) -> Result<(), Error> {
        if tail.proven < tail.end.lsn && !tail.is_empty() {
            let from = tail.proven.max(self.state().start);
            self.ring.write(from, &tail.blocks_from(from))?;
            self.ring.flush()?;
        }
        if let Some(cut) = tail.cut.filter(|cut| cut.is_multiple_of(BLOCK_SIZE)) {
            // It continues the chain: its first bytes go, so that it never counts again.
            self.ring.write(cut, &[0; BLOCK_SIZE as usize])?;
            self.ring.flush()?;
        }
        let mut state = self.state();
        state.is_unread = false;
        state.flushed = tail.end;
        state.chain = tail.end.chain;
        state.open = Group::at(tail.end.lsn);
        state.groups = tail.groups();
        state.newest_durable = tail.records().next_back().map_or(0, |record| record.commit);
        Ok(())
    }

    /// A commit went past the log: what is in it from before cannot be fed without a gap any more
    /// ([`Log::read_from`]). Everything appended must be durable.
    pub fn skip(&self) {
        self.state().groups.clear();
    }

    /// Overwrites with zeros, and flushes, all space that holds no record which must stay; with `overwrite` unset only
    /// counts. Answers how many bytes were not zero. What was released before can be fed to nobody afterwards
    /// ([`Log::read_from`]). The caller sees to it that everything is flushed, and that nothing is appended meanwhile.
    ///
    /// # Errors
    /// A failed read; a failed write or flush, after which every flush fails.
    pub fn wipe(&self, overwrite: bool) -> Result<u64, Error> {
        let mut state = self.state();
        state.check()?;
        let (start, end) = (state.start, state.open.end().next_multiple_of(BLOCK_SIZE));
        if overwrite {
            state.groups.retain(|(group, _)| *group >= start);
        }
        drop(state);
        let result = self.ring.wipe(start, end, overwrite);
        if let Err(error) = &result {
            self.state().failed.get_or_insert(error.to_string());
        }
        result
    }

    /// Records before `lsn` are not needed any more.
    pub fn release(&self, lsn: Lsn) {
        let mut state = self.state();
        state.start = state.start.max(lsn.min(state.open.end()));
    }
}

impl State {
    fn live_bytes(&self) -> u64 {
        self.open.end() - self.start
    }

    fn has_room(&self, payload: usize, capacity: u64) -> bool {
        let fits = record_size(payload).next_multiple_of(BLOCK_SIZE) + BLOCK_SIZE;
        payload <= u32::MAX as usize && self.live_bytes() + fits <= capacity
    }

    fn check(&self) -> Result<(), Error> {
        match &self.failed {
            Some(reason) => Err(PagerError::Poisoned { reason: reason.clone() }.into()),
            None => Ok(()),
        }
    }
}

/// Checks the place that a data file names: a block's start, and far from the end of all numbers.
fn check_place(path: &Path, at: Position) -> Result<(), Error> {
    if at.lsn.is_multiple_of(BLOCK_SIZE) && at.lsn < 1 << 62 {
        return Ok(());
    }
    Err(Error::ForeignLog { path: path.into(), what: "the data file says that it goes on where no log can" })
}
