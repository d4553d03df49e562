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
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A transaction waits before it begins at most this long for a checkpoint to make room, ...
const DELAY_MAX: Duration = Duration::from_millis(4);
/// ... in proportion to how much more than this share of the log is taken, in eighths.
const FREE_EIGHTHS: f64 = 5.0;

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
    }
}

impl Store {
    /// Moves everything that the log holds into the data file. Transactions go on meanwhile.
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
        let txn = self.pager.begin_write()?;
        let state = self.log();
        let has_new = state.log.as_ref().is_some_and(|log| log.live_bytes() > 0);
        if !state.marked || (state.log.is_some() && !has_new) {
            return Ok(None);
        }
        let at = self.flushed_log(&state)?;
        let checkpoint = txn.begin_checkpoint(owner_area(at, true))?;
        self.pages_dirty.store(0, Ordering::Relaxed);
        Ok(Some((checkpoint, at)))
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

    /// How many pages the newest state has that no checkpoint holds.
    pub(super) fn note_pages(&self, pages: u64) {
        self.pages_dirty.store(pages, Ordering::Relaxed);
    }

    fn is_checkpoint_due(&self, log: &Log) -> bool {
        let pages = self.pages_dirty.load(Ordering::Relaxed);
        log.live_bytes() >= self.settings.checkpoint_bytes
            || pages >= self.settings.recovery_pages
            || pages * self.pager.page_size() as u64 >= self.settings.dirty_bytes / 2
    }

    /// Asks for a checkpoint where one is due.
    pub(super) fn checkpoint_soon_if_due(&self, log: &Log) {
        if self.settings.background && self.is_checkpoint_due(log) {
            self.keeper.ask_for_checkpoint();
        }
    }

    /// Before a transaction begins: without a thread of the store's own a checkpoint that is due is written now;
    /// with one, a transaction waits in proportion to how little room the log has left.
    pub(super) fn before_write(&self) -> Result<(), Error> {
        let Some(log) = self.log().log.clone() else { return Ok(()) };
        if !self.settings.background {
            return if self.is_checkpoint_due(&log) { self.checkpoint_unless_full() } else { Ok(()) };
        }
        let share = self.pressure(&log);
        if share > 0.0 {
            self.keeper.ask_for_checkpoint();
            std::thread::sleep(DELAY_MAX.mul_f64(share.min(1.0)));
        }
        Ok(())
    }

    /// How much of what is left for a checkpoint in flight to make room in is taken already: of the log behind
    /// [`FREE_EIGHTHS`], or of as many pages again as began it. Nothing up to 0, all from 1 on.
    fn pressure(&self, log: &Log) -> f64 {
        let room = log.capacity() as f64 / 8.0;
        let of_log = (log.live_bytes() as f64 - FREE_EIGHTHS * room) / ((8.0 - FREE_EIGHTHS) * room);
        let (pages, limit) = (self.pages_dirty.load(Ordering::Relaxed), self.settings.recovery_pages.max(1));
        let of_pages = pages as f64 / limit as f64 - 1.0;
        of_log.max(of_pages)
    }

    fn checkpoint_unless_full(&self) -> Result<(), Error> {
        match self.checkpoint_now() {
            // The log still has room: a full disk shows when it has not.
            Err(error) if matches!(error.pager(), Some(llmdb_pager::Error::DiskFull { .. })) => Ok(()),
            other => other,
        }
    }

    fn checkpoint_now(&self) -> Result<(), Error> {
        let Some((checkpoint, at)) = self.plan_checkpoint()? else { return Ok(()) };
        checkpoint.write()?;
        self.release_log(at);
        checkpoint.finish();
        Ok(())
    }

    /// The keeper's checkpoint. Failures are remembered by the pager: whoever writes next is told.
    pub(super) fn checkpoint_in_background(&self) {
        let _one = self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.checkpoint_unless_full();
    }

    /// The keeper's flush. Failures, as above.
    pub(super) fn flush_at_interval(&self) {
        let _ = self.sync();
    }
}
