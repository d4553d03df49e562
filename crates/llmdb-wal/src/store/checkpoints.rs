//! Checkpoints: when one is due, and how it goes on beside transactions.
//!
//! Invariants
//! 1. A checkpoint holds exactly the commits that the log was flushed for when it was planned; recovery reads the
//!    log from there on.
//! 2. The log before it is free only after it is durable.
//!
//! Not here: pages and metas (`llmdb_pager`).

use super::options::owner_area;
use super::{Inner, LogState, Store};
use crate::error::Error;
use crate::log::{Log, Position};
use llmdb_pager::CheckpointProgress;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// A transaction waits before it begins at most this long for a checkpoint to make room, ...
const DELAY_MAX: Duration = Duration::from_millis(4);
/// ... in proportion to how much more than this share of the log is taken, in eighths.
const FREE_EIGHTHS: f64 = 5.0;
/// A checkpoint is begun behind so many operations, however small: recovery does each again, 290,000 in order of their
/// keys in 0.1 to 0.17 s.
const OPERATIONS_MAX: u64 = 300_000;
/// How long a transaction waits at a time for the checkpoint in flight to come on, ...
const PAUSE: Duration = Duration::from_micros(200);
/// ... and how often at most: no checkpoint that comes on at all takes that long for the pages of one transaction.
const PAUSES_MAX: u32 = 5_000;

/// A checkpoint that was begun and goes on beside transactions; for programs that write checkpoints with threads of
/// their own. Dropping it unwritten undoes it.
#[derive(Debug)]
pub struct RunningCheckpoint {
    store: Store,
    pager: llmdb_pager::Checkpoint,
    at: Position,
}

impl RunningCheckpoint {
    /// The newest commit in it.
    pub fn commit(&self) -> u64 {
        self.pager.commit()
    }

    /// Writes it and makes it durable.
    ///
    /// # Errors
    /// An I/O error, after which the database must be reopened.
    pub fn write(&mut self) -> Result<(), Error> {
        self.pager.write()?;
        self.store.inner.release_log(self.at);
        Ok(())
    }

    /// Lets the writer know of it, once the transaction that runs now has ended.
    pub fn finish(self) {
        self.pager.finish();
        self.store.inner.forget_ended();
    }
}

impl Store {
    /// Moves everything that the log holds into the data file. Transactions go on meanwhile. Waits for the one that runs
    /// now: a thread that holds a transaction ends it first, or waits for itself for ever.
    ///
    /// # Errors
    /// [`llmdb_pager::Error::DiskFull`], with nothing changed; an I/O error, which ends all writing.
    pub fn checkpoint(&self) -> Result<(), Error> {
        if let Some(mut checkpoint) = self.begin_checkpoint()? {
            checkpoint.write()?;
            checkpoint.finish();
        }
        Ok(())
    }

    /// Begins a checkpoint of all commits until now, after the transaction that runs now. `None` where the data file
    /// holds them all.
    ///
    /// # Errors
    /// As [`Store::checkpoint`].
    pub fn begin_checkpoint(&self) -> Result<Option<RunningCheckpoint>, Error> {
        self.inner.check_open()?;
        self.inner.check_writable()?;
        let Some((pager, at)) = self.inner.plan_checkpoint()? else { return Ok(None) };
        Ok(Some(RunningCheckpoint { store: self.clone(), pager, at }))
    }

    /// Makes every commit durable that has returned, whatever it was committed with: one flush of the log at most.
    ///
    /// # Errors
    /// The failed write or flush, after which the store must be opened anew.
    pub fn sync(&self) -> Result<(), Error> {
        self.inner.check_open()?;
        self.inner.sync()
    }
}

impl Inner {
    /// Flushes the log to its end, and publishes all that it holds; where it goes on. Whoever calls it holds the writer,
    /// so all that was appended is staged.
    pub(super) fn flushed_log(&self, state: &LogState) -> Result<Position, Error> {
        let Some(log) = &state.log else { return Ok(state.next) };
        log.flush(self).inspect_err(|error| self.pager.poison(&error.to_string()))?;
        self.pager.publish(u64::MAX);
        Ok(log.durable_end())
    }

    fn plan_checkpoint(&self) -> Result<Option<(llmdb_pager::Checkpoint, Position)>, Error> {
        // The one in flight is waited for before the writer is held, and not by all who write.
        let in_flight = self.in_flight().clone();
        if let Some(progress) = in_flight {
            progress.hurry();
            progress.wait_if_written();
        }
        let txn = self.pager.begin_write()?;
        let state = self.log();
        let has_new = state.log.as_ref().is_some_and(|log| log.live_bytes() > 0);
        if !state.marked || (state.log.is_some() && !has_new) {
            return Ok(None);
        }
        let at = self.flushed_log(&state)?;
        let checkpoint = txn.begin_checkpoint(owner_area(at, true))?;
        self.pages_dirty.store(0, Ordering::Relaxed);
        self.operations.store(0, Ordering::Relaxed);
        *self.in_flight() = Some(checkpoint.progress());
        Ok(Some((checkpoint, at)))
    }

    fn in_flight(&self) -> MutexGuard<'_, Option<CheckpointProgress>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of a checkpoint that has ended: whoever asks how far it is keeps the snapshot that it was written from, and
    /// with it the pages that this sees.
    fn forget_ended(&self) {
        let mut in_flight = self.in_flight();
        if in_flight.as_ref().is_some_and(|progress| progress.pages() == (0, 0)) {
            *in_flight = None;
        }
    }

    fn release_log(&self, at: Position) {
        if let Some(log) = &self.log().log {
            log.release(at.lsn);
        }
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        let log = self.log().log.clone();
        let Some(log) = log else { return Ok(()) };
        log.flush(self).inspect_err(|error| self.pager.poison(&error.to_string()))
    }

    /// Notes how many pages the newest state has that no checkpoint holds; answers how many there were.
    pub(super) fn note_pages(&self, pages: u64) -> u64 {
        self.pages_dirty.swap(pages, Ordering::Relaxed)
    }

    /// The most pages that may be changed and in no checkpoint.
    fn pages_max(&self) -> u64 {
        self.settings.pages_max(self.pager.page_size())
    }

    /// Half of them: the other half is for what is changed while a checkpoint is written.
    fn pages_of_checkpoint(&self) -> u64 {
        (self.pages_max() / 2).max(1)
    }

    fn is_checkpoint_due(&self, log: &Log) -> bool {
        let pages = self.pages_dirty.load(Ordering::Relaxed);
        log.live_bytes() >= self.settings.checkpoint_bytes
            || pages >= self.pages_of_checkpoint()
            || self.operations.load(Ordering::Relaxed) >= OPERATIONS_MAX
            || pages * self.pager.page_size() as u64 >= self.settings.dirty_bytes / 2
    }

    /// Asks for a checkpoint where one is due, after a commit behind which `pages_before` pages were in none. One that
    /// changed more pages than a checkpoint should have waits for its own: nothing else would bound recovery.
    /// `is_flushed`: so that space is worth preparing in the log.
    pub(super) fn checkpoint_soon_if_due(&self, log: &Log, pages_before: u64, is_flushed: bool) {
        if self.settings.background && is_flushed && log.should_grow() {
            self.keeper.ask_for_log_space();
        }
        if !self.settings.background || !self.is_checkpoint_due(log) {
            return;
        }
        let changed = self.pages_dirty.load(Ordering::Relaxed).saturating_sub(pages_before);
        if changed > self.pages_of_checkpoint() {
            self.checkpoint_in_background(false);
        } else {
            self.keeper.ask_for_checkpoint();
        }
    }

    /// Before a transaction begins: without a thread of the store's own a checkpoint that is due is written now;
    /// with one, a transaction waits in proportion to how little room the log has left, and for the checkpoint in
    /// flight to keep step with the pages that were changed since.
    pub(super) fn before_write(&self) -> Result<(), Error> {
        let Some(log) = self.log().log.clone() else { return Ok(()) };
        if !self.settings.background {
            return if self.is_checkpoint_due(&log) { self.checkpoint_unless_full() } else { Ok(()) };
        }
        let room = log.capacity() as f64 / 8.0;
        let share = (log.live_bytes() as f64 - FREE_EIGHTHS * room) / ((8.0 - FREE_EIGHTHS) * room);
        if share > 0.0 {
            self.ask_for_checkpoint_now();
            std::thread::sleep(DELAY_MAX.mul_f64(share.min(1.0)));
        }
        self.keep_step();
        Ok(())
    }

    /// Waits while more pages were changed behind the checkpoint in flight than it has written, in proportion: then all
    /// that recovery may have to touch stays within the limit, and nobody waits for a whole checkpoint at once.
    fn keep_step(&self) {
        let slack = self.pages_of_checkpoint() / 4;
        for _ in 0..PAUSES_MAX {
            let changed = self.pages_dirty.load(Ordering::Relaxed);
            if changed <= slack || self.is_stuck.load(Ordering::Relaxed) {
                return;
            }
            let (pages, written) = self.in_flight().as_ref().map_or((0, 0), CheckpointProgress::pages);
            let free = self.pages_max().saturating_sub(pages + slack);
            let allowed = match pages {
                0 => free,
                _ => (u128::from(free) * u128::from(written) / u128::from(pages)) as u64,
            };
            if changed <= slack + allowed {
                return;
            }
            self.ask_for_checkpoint_now();
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks for a checkpoint because somebody waits for one; the one in flight hurries.
    fn ask_for_checkpoint_now(&self) {
        self.keeper.ask_for_checkpoint();
        if let Some(progress) = &*self.in_flight() {
            progress.hurry();
        }
    }

    fn checkpoint_unless_full(&self) -> Result<(), Error> {
        match self.checkpoint_now(false) {
            // The log still has room: a full disk shows when it has not.
            Err(error) if matches!(error.pager(), Some(llmdb_pager::Error::DiskFull { .. })) => Ok(()),
            other => other,
        }
    }

    fn checkpoint_now(&self, gently: bool) -> Result<(), Error> {
        let Some((checkpoint, at)) = self.plan_checkpoint()? else { return Ok(()) };
        if gently {
            checkpoint.be_gentle();
        }
        checkpoint.write()?;
        self.release_log(at);
        checkpoint.finish();
        self.forget_ended();
        Ok(())
    }

    /// The keeper's checkpoint. Failures are remembered by the pager: whoever writes next is told. Nobody waits for
    /// checkpoints while there is no room for one.
    pub(super) fn checkpoint_in_background(&self, gently: bool) {
        let _one = self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        let log = self.log().log.clone();
        if log.is_none_or(|log| !self.is_checkpoint_due(&log)) {
            return;
        }
        self.is_stuck.store(self.checkpoint_now(gently).is_err(), Ordering::Relaxed);
    }

    /// Prepares space in the log's ring. A full disk is told to whoever needs the space.
    pub(super) fn grow_log(&self) {
        let Some(log) = self.log().log.clone() else { return };
        match log.grow() {
            Err(error) if !matches!(error.pager(), Some(llmdb_pager::Error::DiskFull { .. })) => {
                self.pager.poison(&error.to_string());
            }
            _ => {}
        }
    }

    /// The flusher's flush. Failures, as above.
    pub(super) fn flush_at_interval(&self) {
        let _ = self.sync();
    }
}
