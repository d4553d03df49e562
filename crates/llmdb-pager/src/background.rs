//! A checkpoint beside running transactions: planned while the writer is held, written from a snapshot while
//! it is not, and installed when the writer is next at hand.
//!
//! ```text
//! writer held     begin_checkpoint: homes for all dirty pages, the allocation map as it is now
//! beside others   write: pages, flush, metas, flush each        durable from here
//! writer held     settle: a page whose frame is still in the newest state stands in the file too; the next
//!                 transaction refers to it there, and the frames can be used again
//! ```
//!
//! Invariants
//! 1. What is written is one published state: its frames are frozen, and kept by a snapshot until the end.
//! 2. A page that this state holds and that was retired since waits for the next checkpoint, not for this one.
//! 3. One checkpoint at a time: whoever plans another waits until the one in flight has ended, or writes it.
//! 4. After a failed write or flush the database is poisoned; one that is dropped unwritten leaves all as it was.
//!
//! Not here: the plan itself, and checkpoints that hold the writer to their end (`checkpoint`).

use crate::aging::Aging;
use crate::error::Error;
use crate::in_flight::{Ended, Job};
use crate::mapping::map_for;
use crate::meta::OWNER_AREA_SIZE;
use crate::plan::CheckpointReport;
use crate::snapshot::{Core, Snapshot, State};
use crate::write_txn::WriteTxn;
use crate::writer::{Writer, WriterSlot};
use std::sync::Arc;

/// A checkpoint that was begun by [`WriteTxn::begin_checkpoint`](crate::WriteTxn::begin_checkpoint). Transactions
/// go on beside it. Dropping one that was not written undoes it.
pub struct Checkpoint {
    core: Arc<Core>,
    slot: Arc<WriterSlot>,
    job: Arc<Job>,
}

/// How far a checkpoint is that is written beside transactions.
#[derive(Clone)]
pub struct CheckpointProgress(Arc<Job>);

impl CheckpointProgress {
    /// The pages that it makes durable, and how many of them were written so far; none of either once it has ended.
    pub fn pages(&self) -> (u64, u64) {
        self.0.pages()
    }

    /// Somebody waits for it now: it takes as much of the device as it may ([`Checkpoint::be_gentle`]).
    pub fn hurry(&self) {
        self.0.hurry();
    }

    /// Waits where it is being written now: whoever is to begin another would wait, with the writer held.
    pub fn wait_if_written(&self) {
        self.0.wait_if_written();
    }
}

impl std::fmt::Debug for CheckpointProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CheckpointProgress").field(&self.pages()).finish()
    }
}

impl WriteTxn {
    /// Begins a checkpoint of the newest state, to be written beside the transactions that follow. The
    /// transaction must have changed nothing. Waits for one that is being written already.
    ///
    /// The newest state must be published: what only some commits of a group have is in no checkpoint.
    ///
    /// # Errors
    /// [`Error::DiskFull`] with nothing changed; a damaged page.
    ///
    /// # Panics
    /// Where a commit is staged and not published.
    pub fn begin_checkpoint(mut self, owner_area: [u8; OWNER_AREA_SIZE]) -> Result<Checkpoint, Error> {
        let core = self.core.clone();
        self.set_back_to_base();
        self.writer().settle(&core);
        core.check_poison()?;
        let snapshot = Snapshot::new(&core);
        assert_eq!(snapshot.commit(), self.commit(), "a checkpoint holds published commits only");
        let unsynced = std::mem::take(&mut self.writer().unsynced);
        let (plan, taken) = match self.plan(true) {
            Ok(planned) => planned,
            Err(error) => {
                self.writer().unsynced = unsynced;
                return Err(error);
            }
        };
        let meta = self.planned_meta(&plan, owner_area);
        let homes = self.writer_ref().homes.clone();
        self.clear_planned_homes(&plan);
        let commit = self.commit();
        (self.writer().dirty, self.writer().planned_at) = (0, commit);
        let (slot, meta_slot) = (self.slot(), self.writer_ref().slot);
        let job = Arc::new(Job::new(snapshot, plan, homes, meta, meta_slot, taken));
        self.writer().in_flight = Some(job.clone());
        Ok(Checkpoint { core, slot, job })
    }
}

impl Checkpoint {
    /// The newest commit in it.
    pub fn commit(&self) -> u64 {
        self.job.meta.commit
    }

    /// Writes it and makes it durable; where a transaction that could not wait has done so, there is nothing left to
    /// do. Pages go to the device a piece at a time, so that flushes beside it wait for little.
    ///
    /// # Errors
    /// An I/O error, after which the database must be reopened.
    pub fn write(&self) -> Result<CheckpointReport, Error> {
        Ok(self.job.make_durable(&self.core)?.unwrap_or_default())
    }

    /// Nobody waits for it: no more than 64 KiB are on their way to the device at once and not 256, beside which flushes
    /// wait for less, until [`CheckpointProgress::hurry`].
    pub fn be_gentle(&self) {
        self.job.be_gentle();
    }

    /// What tells how far it is, for whoever shall not run ahead of it.
    pub fn progress(&self) -> CheckpointProgress {
        CheckpointProgress(self.job.clone())
    }

    /// Lets the writer know of it, after the transaction that runs now: what it has made superfluous can be used
    /// again. The next transaction does the same by itself.
    pub fn finish(self) {
        self.job.give_up();
        let mut writer = self.slot.take();
        writer.settle_if_ended(&self.core);
        self.slot.put(writer);
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.job.give_up();
    }
}

impl Writer {
    /// Takes in what a checkpoint beside the transactions did, if it has ended.
    pub(crate) fn settle_if_ended(&mut self, core: &Arc<Core>) {
        if self.in_flight.as_ref().is_some_and(|job| job.has_ended()) {
            self.settle(core);
            self.rest_in_file(core);
        }
    }

    /// Where nothing was committed since the checkpoint the newest state stands wholly in the file: one that refers
    /// to it there takes its place, so that a database at rest keeps no frames. No transaction may be under way.
    fn rest_in_file(&mut self, core: &Arc<Core>) {
        let meta = &self.meta;
        if !self.has_written() || self.tip.commit != meta.commit {
            return;
        }
        let needed = meta.page_count * core.page_size as u64;
        // Without room for the map the next transaction does it.
        let Ok(map) = map_for(&*core.file, &core.path, &self.tip.map, needed) else { return };
        let (commit, time) = (meta.commit, meta.time);
        let (root, page_count) = (meta.root, meta.page_count);
        let state = Arc::new(State { commit, time, root, page_count, map, aging: Aging::default() });
        self.tip = state.clone();
        core.stage(state);
        core.publish(commit);
        // Snapshots of this very commit may have begun before and use the frames.
        self.leave_written(core, commit + 1);
    }

    /// Waits for the checkpoint beside the transactions, if there is one, and takes in what it did. Where nobody has
    /// begun to write it, whoever planned it may be waiting for this: then it is written here.
    pub(crate) fn settle(&mut self, core: &Arc<Core>) {
        let Some(job) = self.in_flight.take() else { return };
        match job.end(core) {
            Ended::Durable(_) => self.install_checkpoint(core, &job),
            // The database is poisoned: nothing is planned any more.
            Ended::Failed => {}
            Ended::Abandoned => self.abandon_checkpoint(core, &job),
        }
    }

    fn install_checkpoint(&mut self, core: &Arc<Core>, job: &Job) {
        self.space.installed(job.plan.layout());
        self.meta = job.meta.clone();
        for (index, home) in job.plan.pages() {
            self.set_written(core, index, home);
        }
    }

    /// The pages of a checkpoint that was not written are free again.
    fn abandon_checkpoint(&mut self, core: &Core, job: &Job) {
        self.space.abandoned(job.plan.layout());
        // Those that were replaced meanwhile among them, until the next.
        self.dirty += job.plan.frames.len() as u64;
        self.planned_at = self.meta.commit;
        let old_map = job.plan.old_map();
        self.retired_runs.retain(|retired| !old_map.contains(&retired.run));
        // What was retired meanwhile waited for the one after it; the next one has its number now, and not these runs.
        let next = self.next_checkpoint();
        self.retired_runs.iter_mut().for_each(|retired| retired.checkpoint = retired.checkpoint.min(next));
        let page_count = self.space.page_count();
        // The map was readable when they were taken; should it not be now, they stay taken until the next open.
        let _ = self.give_back_pages(core, &job.taken, page_count);
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint").field("commit", &self.commit()).finish_non_exhaustive()
    }
}
