//! A checkpoint that is being written: what the writer and whoever writes it share.
//!
//! Not here: how it begins and what follows from its end (`background`).

use crate::error::Error;
use crate::meta::Meta;
use crate::page::Ref;
use crate::plan::{CheckpointReport, Plan, write_meta};
use crate::rows::RowWriter;
use crate::snapshot::{Core, Snapshot};
use crate::space::Run;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the writer and whoever writes the checkpoint share.
pub(crate) struct Job {
    snapshot: Snapshot,
    pub(crate) plan: Plan,
    /// For each frame, where its page stands or will stand in the file.
    homes: Vec<Ref>,
    pub(crate) meta: Meta,
    meta_slot: usize,
    /// What was taken for it.
    pub(crate) taken: Vec<Run>,
    phase: Mutex<Phase>,
    has_ended: Condvar,
    /// Pages that were gathered for the device so far.
    pages_written: AtomicU64,
    /// Whether nobody waits for its end, so that it leaves the device to others.
    is_gentle: AtomicBool,
}

#[derive(Clone, Copy)]
enum Phase {
    Planned,
    Writing,
    Ended(Ended),
}

/// How a checkpoint ended.
#[derive(Clone, Copy)]
pub(crate) enum Ended {
    Durable(CheckpointReport),
    Failed,
    Abandoned,
}

/// A checkpoint that is being written: dropped by a panic alone.
struct Failing<'j> {
    job: &'j Job,
    core: &'j Core,
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        let panic = std::io::Error::other("the thread that wrote a checkpoint panicked");
        self.core.poison(Error::io(self.core.doing("writing a checkpoint of"), panic));
        self.job.end_as(Ended::Failed);
    }
}

impl Job {
    pub(crate) fn new(
        snapshot: Snapshot,
        plan: Plan,
        homes: Vec<Ref>,
        meta: Meta,
        meta_slot: usize,
        taken: Vec<Run>,
    ) -> Self {
        let (phase, has_ended) = (Mutex::new(Phase::Planned), Condvar::new());
        let (pages_written, is_gentle) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { snapshot, plan, homes, meta, meta_slot, taken, phase, has_ended, pages_written, is_gentle }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.phase(), Phase::Ended(_))
    }

    /// Pages that are not durable yet, for all that is known, and how many of these were written.
    pub(crate) fn pages(&self) -> (u64, u64) {
        if self.has_ended() {
            return (0, 0);
        }
        (self.plan.frames.len() as u64, self.pages_written.load(Ordering::Relaxed))
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the device to others, unless somebody writes it already, who may wait for its end.
    pub(crate) fn be_gentle(&self) {
        let phase = self.phase();
        if matches!(*phase, Phase::Planned) {
            self.is_gentle.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn hurry(&self) {
        self.is_gentle.store(false, Ordering::Relaxed);
    }

    /// Waits where it is being written now.
    pub(crate) fn wait_if_written(&self) {
        let mut phase = self.phase();
        while matches!(*phase, Phase::Writing) {
            phase = self.has_ended.wait(phase).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The first end counts, and what is being written is not given up.
    pub(crate) fn give_up(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Planned) {
            *phase = Phase::Ended(Ended::Abandoned);
        }
    }

    /// Writes it and makes it durable, unless somebody does or did: then waits for that. `None` where it was given up.
    pub(crate) fn make_durable(&self, core: &Core) -> Result<Option<CheckpointReport>, Error> {
        let mut phase = self.phase();
        if !matches!(*phase, Phase::Planned) {
            drop(phase);
            return match self.wait() {
                Ended::Durable(report) => Ok(Some(report)),
                Ended::Abandoned => Ok(None),
                Ended::Failed => core.check_poison().map(|()| None),
            };
        }
        *phase = Phase::Writing;
        drop(phase);
        // Should the storage panic, nobody waits for ever.
        let failing = Failing { job: self, core };
        let written = core.check_poison().and_then(|()| self.write(core).map_err(|error| core.poison(error)));
        std::mem::forget(failing);
        self.end_as(written.as_ref().map_or(Ended::Failed, |report| Ended::Durable(*report)));
        written.map(Some)
    }

    fn end_as(&self, how: Ended) {
        *self.phase() = Phase::Ended(how);
        self.has_ended.notify_all();
    }

    /// Waits until it has ended.
    fn wait(&self) -> Ended {
        self.hurry();
        let mut phase = self.phase();
        loop {
            match *phase {
                Phase::Ended(how) => return how,
                _ => phase = self.has_ended.wait(phase).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// How it ended; writes it where nobody has begun to.
    pub(crate) fn end(&self, core: &Core) -> Ended {
        // The failure is remembered by the core, and how it ended by the phase.
        let _ = self.make_durable(core);
        self.wait()
    }

    /// Writes it and makes it durable.
    fn write(&self, core: &Core) -> Result<CheckpointReport, Error> {
        let mut rows = RowWriter::new(core, self.plan.page_count()).paced();
        for (index, number) in self.plan.pages() {
            let page = self.snapshot.page_of(Ref::frame(index))?;
            rows.be_gentle(self.is_gentle.load(Ordering::Relaxed));
            self.plan.render(core, page, number, &mut rows, &|at| self.home(at))?;
            self.pages_written.fetch_add(1, Ordering::Relaxed);
        }
        let mut report = CheckpointReport::default();
        report.add(self.plan.write_map(rows)?);
        core.flush()?;
        write_meta(core, self.meta_slot, &self.meta, &mut report)?;
        Ok(report)
    }

    fn home(&self, at: Ref) -> Option<Ref> {
        let index = at.frame_index()?;
        self.homes.get(index as usize).copied().filter(|home| !home.is_null())
    }
}
