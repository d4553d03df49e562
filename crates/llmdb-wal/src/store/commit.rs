//! Committing: the record goes into the log while the writer is held, the flush comes after.
//!
//! ```text
//! writer held   finish the trees, append the record, stage the state     the next transaction builds on it
//! not held      flush the log, for all that have appended: publish       acknowledged from here
//! ```
//!
//! Invariants
//! 1. Records are appended in the order in which states are staged.
//! 2. A commit that waits for its flush is visible only after it; so is whatever builds on it.
//! 3. A failure between the append and the stage ends all writing: the log has what the trees have not.

use super::durability::Durability;
use super::options::owner_area;
use super::redo::RedoBuilder;
use super::{Inner, LogState, Receipt};
use crate::error::Error;
use crate::log::{Around, Log};
use llmdb_pager::Error as PagerError;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A transaction's changes, ready to be made durable.
pub(super) struct Finished {
    pub(super) txn: llmdb_pager::WriteTxn,
    pub(super) redo: RedoBuilder,
    pub(super) receipt: Receipt,
}

impl Inner {
    pub(super) fn commit(&self, finished: Finished, durability: Durability) -> Result<Receipt, Error> {
        let Finished { mut txn, mut redo, receipt } = finished;
        txn.prepare()?;
        let operations = redo.count();
        let is_logged = durability != Durability::NoLog && self.settings.durability != Durability::NoLog;
        // Pages that are dirty behind it, where the log may promise them.
        let pages = if is_logged { self.room_for_pages(&mut txn, redo.adds())? } else { None };
        let mut state = self.log();
        let payload = redo.payload(receipt.time).filter(|_| pages.is_some());
        let appended = match payload {
            Some(payload) => self.append(&mut state, &mut txn, &receipt, payload)?,
            None => None,
        };
        let Some(((log, lsn), pages)) = appended.zip(pages) else {
            self.commit_by_checkpoint(&mut state, txn)?;
            return Ok(receipt);
        };
        let pages_before = self.note_pages(pages);
        self.operations.fetch_add(operations, Ordering::Relaxed);
        if durability == Durability::Sync {
            log.await_flush_of(lsn);
        }
        state.redo_memory = redo.into_memory().unwrap_or_default();
        drop(state);
        if let Err(error) = txn.stage() {
            self.pager.poison(&error.to_string());
            return Err(error.into());
        }
        self.make_durable(&log, lsn, receipt.seq, durability)?;
        self.checkpoint_soon_if_due(&log, pages_before, durability == Durability::Sync);
        Ok(receipt)
    }

    /// How many pages are dirty, if the data file has room for them, whose writing the log promises. Where the disk is full,
    /// what adds something is refused, and removals take what was reserved before: by a checkpoint of their own, after which
    /// what they freed is room.
    fn room_for_pages(&self, txn: &mut llmdb_pager::WriteTxn, adds: bool) -> Result<Option<u64>, Error> {
        match txn.reserve_room() {
            Err(PagerError::DiskFull { .. }) if !adds => Ok(None),
            other => Ok(other.map(Some)?),
        }
    }

    /// Appends the record. `None` where the log has no room for it, or the disk none for the log: then nothing was
    /// appended, and what is free in the data file may do for a checkpoint.
    fn append(
        &self,
        state: &mut LogState,
        txn: &mut llmdb_pager::WriteTxn,
        receipt: &Receipt,
        payload: &[u8],
    ) -> Result<Option<(Arc<Log>, u64)>, Error> {
        let (checkpoint, leads_elsewhere) = (txn.durable_checkpoint(), txn.has_unsynced_extents());
        let appended = self.ready_log(state, txn, payload.len()).and_then(|log| {
            let Some(log) = log else { return Ok(None) };
            let lsn = log.append(receipt.seq, checkpoint, payload, leads_elsewhere)?;
            Ok(Some((log, lsn)))
        });
        match appended {
            Err(error) if matches!(error.pager(), Some(PagerError::DiskFull { .. })) => Ok(None),
            other => other,
        }
    }

    fn make_durable(&self, log: &Log, lsn: u64, seq: u64, durability: Durability) -> Result<(), Error> {
        let result = match durability {
            Durability::Sync => log.flush_to(lsn, self),
            _ => match log.hand_over() {
                Ok(true) => Ok(()),
                Ok(false) => log.flush_to(lsn, self),
                Err(error) => Err(error),
            },
        };
        result.inspect_err(|error| self.pager.poison(&error.to_string()))?;
        // Another thread's flush may have come between our append and our stage, and could not publish this yet.
        self.pager.publish(seq);
        Ok(())
    }

    /// A transaction that the log cannot hold: a checkpoint of the new state makes it durable by itself.
    fn commit_by_checkpoint(&self, state: &mut LogState, txn: llmdb_pager::WriteTxn) -> Result<(), Error> {
        let at = self.flushed_log(state)?;
        txn.commit_with_checkpoint(owner_area(at, state.marked))?;
        self.note_pages(0);
        self.operations.store(0, Ordering::Relaxed);
        if let Some(log) = &state.log {
            log.release(at.lsn);
            log.skip();
        }
        Ok(())
    }

    /// The log, made and named in the meta if this is the first commit. `None` where the payload does not
    /// fit into it now.
    fn ready_log(
        &self,
        state: &mut LogState,
        txn: &mut llmdb_pager::WriteTxn,
        payload: usize,
    ) -> Result<Option<Arc<Log>>, Error> {
        if state.log.is_none() {
            let (identity, capacity) = (self.pager.identity(), self.settings.log_capacity);
            let log = Log::create(&*self.storage, &state.path, identity, capacity, state.next)?;
            state.log = Some(Arc::new(log));
        }
        if !state.marked {
            let area = owner_area(state.next, true);
            txn.rewrite_owner_area(area)?;
            state.marked = true;
        }
        Ok(state.log.clone().filter(|log| log.has_room(payload)))
    }
}

impl Around for Inner {
    fn before_write(&self) -> Result<(), Error> {
        Ok(self.pager.sync_extents()?)
    }

    fn durable(&self, commit: u64) {
        self.pager.publish(commit);
    }
}
