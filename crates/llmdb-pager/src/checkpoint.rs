//! Checkpoints: everything dirty goes to the file, then a meta says so.
//!
//! ```text
//! dirty pages, allocation map -> flush -> meta slot A -> flush -> meta slot B -> flush
//!                                          durable here            either slot may rot from here
//! ```
//!
//! A commit that need not be durable yet writes its dirty pages too where they are more than the budget
//! allows, but no map, no meta, and without a flush: they stand on pages that are free in the durable state.
//!
//! Invariants
//! 1. No page that the durable meta reaches is overwritten.
//! 2. A full disk is found before the first write, and leaves everything as it was.
//! 3. After any failed write or flush the database is poisoned.
//!
//! Not here: what is written, and how (`plan`); checkpoints beside transactions (`background`).

use crate::error::Error;
use crate::meta::{Meta, OWNER_AREA_SIZE};
use crate::page::{Ref, seal, set_birth};
use crate::plan::{CheckpointReport, MapPlan, Plan, not_planned, numbers, write_meta};
use crate::rows::{RowWriter, Written};
use crate::snapshot::{Core, PageSource};
use crate::space::Run;
use crate::tag::Tag;
use crate::write_txn::WriteTxn;
use crate::writer::{Writer, read_map_page};

/// Small transactions leave this share of the budget free for the next one.
const ROOM_SHARE: usize = 8;

impl WriteTxn {
    /// Makes the new state durable in the data file by itself, with no log, and publishes it.
    /// `owner_area` goes into the meta.
    ///
    /// # Errors
    /// [`Error::DiskFull`] with nothing changed; an I/O error, after which the database must be reopened
    /// and the commit may or may not have happened.
    pub fn commit_with_checkpoint(
        mut self,
        owner_area: [u8; OWNER_AREA_SIZE],
    ) -> Result<CheckpointReport, Error> {
        self.write_checkpoint(owner_area)
    }

    /// Writes the current state's dirty pages to the file. The transaction must have changed nothing: it
    /// only holds the writer.
    ///
    /// # Errors
    /// As [`WriteTxn::commit_with_checkpoint`].
    pub fn checkpoint(mut self, owner_area: [u8; OWNER_AREA_SIZE]) -> Result<CheckpointReport, Error> {
        self.set_back_to_base();
        self.write_checkpoint(owner_area)
    }

    /// As [`WriteTxn::publish`], for a commit that nothing makes durable before the next checkpoint. Where the
    /// budget has no room for the dirty pages and another such transaction, they are written to free pages,
    /// without a flush: the durable state stays whole. A disk with no room for them leaves them in memory, and
    /// the commit stands; once they take the whole budget, the next commit is refused.
    ///
    /// # Errors
    /// [`Error::DiskFull`] with nothing changed; an I/O error, after which the database must be reopened.
    pub fn publish_unsynced(mut self) -> Result<(), Error> {
        let (kept, budget) = (self.frames_kept(), self.writer_ref().budget);
        let next = self.own_frames().clamp(budget / ROOM_SHARE, budget / 2);
        if kept + next <= budget {
            return self.publish();
        }
        if kept > budget {
            return self.write_out();
        }
        // Published first: what this commit replaced is free by then, and the file need not hold both.
        self.prepare()?;
        let (core, commit, root) = (self.core.clone(), self.commit(), self.root());
        self.install(root);
        core.publish(commit);
        self.rebase();
        match self.write_out() {
            Err(Error::DiskFull { .. }) => Ok(()),
            result => result,
        }
    }

    /// Whether the newest commit is in the durable checkpoint.
    pub fn is_base_durable(&self) -> bool {
        self.writer_ref().meta.commit == self.base.commit
    }

    /// Writes the durable meta again with another owner area, and nothing else: two flushes. The checkpoint
    /// keeps its number, for it holds the same pages.
    ///
    /// # Errors
    /// An I/O error, after which the database must be reopened.
    pub fn rewrite_owner_area(&mut self, owner_area: [u8; OWNER_AREA_SIZE]) -> Result<(), Error> {
        let core = self.core.clone();
        self.writer().settle(&core);
        core.check_poison()?;
        let meta = Meta { owner_area, ..self.writer().meta.clone() };
        let mut report = CheckpointReport::default();
        write_meta(&core, self.writer().slot, &meta, &mut report).map_err(|error| core.poison(error))?;
        self.writer().meta = meta;
        Ok(())
    }

    /// The number of the newest durable checkpoint.
    pub fn durable_checkpoint(&mut self) -> u64 {
        self.writer().meta.checkpoint
    }

    fn write_checkpoint(&mut self, owner_area: [u8; OWNER_AREA_SIZE]) -> Result<CheckpointReport, Error> {
        let core = self.core.clone();
        self.writer().settle(&core);
        core.check_poison()?;
        self.forget_savepoints()?;
        let (plan, _) = self.plan(true)?;
        let meta = self.planned_meta(&plan, owner_area);
        let mut report = CheckpointReport::default();
        self.write_plan(&core, &plan)
            .map(|written| report.add(written))
            .and_then(|()| core.flush())
            .and_then(|()| write_meta(&core, self.writer().slot, &meta, &mut report))
            .map_err(|error| core.poison(error))?;
        self.writer().space.installed(plan.layout());
        self.install_plan(plan);
        let writer = self.writer();
        writer.meta = meta;
        writer.unsynced.clear();
        writer.trim(&core);
        Ok(report)
    }

    /// The meta that will say that a plan is the newest checkpoint.
    pub(crate) fn planned_meta(&mut self, plan: &Plan, owner_area: [u8; OWNER_AREA_SIZE]) -> Meta {
        let (commit, time) = (self.commit(), self.time());
        let writer = self.writer();
        writer.space.planned(plan.layout());
        Meta {
            checkpoint: writer.meta.checkpoint + 1,
            commit,
            time,
            page_count: writer.space.page_count(),
            root: plan.root,
            space_root: plan.map().root,
            owner_area,
            file_len: writer.file_len,
            ..writer.meta.clone()
        }
    }

    /// Writes the new state's dirty pages and publishes it, with no word of it in a meta.
    fn write_out(&mut self) -> Result<(), Error> {
        let core = self.core.clone();
        self.forget_savepoints()?;
        let (plan, _) = self.plan(false)?;
        self.write_plan(&core, &plan).map_err(|error| core.poison(error))?;
        for number in numbers(&plan.homes) {
            self.spilled.insert(number);
        }
        self.install_plan(plan);
        Ok(())
    }

    fn install_plan(&mut self, plan: Plan) {
        self.clear_planned_homes(&plan);
        self.install_written(plan.root, plan.frames.into_iter());
    }

    pub(crate) fn clear_planned_homes(&mut self, plan: &Plan) {
        for index in &plan.frames {
            self.writer().homes[*index as usize] = Ref::NULL;
        }
    }

    /// Takes pages for everything dirty, and answers which. On failure all is as before.
    pub(crate) fn plan(&mut self, with_map: bool) -> Result<(Plan, Vec<Run>), Error> {
        let core = self.core.clone();
        self.writer().reclaim(&core)?;
        let frames = self.dirty_frames()?;
        let mut taken = Vec::new();
        let retired_before = self.writer().retired_runs.len();
        let pages_before = self.writer().space.page_count();
        match self.try_plan(&core, &frames, with_map, &mut taken) {
            Ok(plan) => Ok((plan, taken)),
            Err(error) => {
                let writer = self.writer();
                frames.iter().for_each(|index| writer.homes[*index as usize] = Ref::NULL);
                writer.retired_runs.truncate(retired_before);
                writer.give_back_pages(&core, &taken, pages_before)?;
                Err(error)
            }
        }
    }

    fn try_plan(
        &mut self,
        core: &Core,
        frames: &[u32],
        with_map: bool,
        taken: &mut Vec<Run>,
    ) -> Result<Plan, Error> {
        let homes = self.writer().allocate_pages(core, frames.len() as u64)?;
        taken.extend(&homes);
        let commit = self.commit();
        for (index, number) in frames.iter().zip(numbers(&homes)) {
            let tag = core.pool.tag(*index).filter(|tag| tag.is_published());
            let birth = tag.map_or(commit, Tag::born);
            self.writer().homes[*index as usize] = Ref::page(number, birth);
        }
        let map = if with_map { Some(self.plan_map(core, commit, taken)?) } else { None };
        self.widen_view()?;
        let root = self.root();
        let root = match root.frame_index() {
            Some(index) => self.writer_ref().disk_ref(root).ok_or_else(|| not_planned(index))?,
            None => root,
        };
        Ok(Plan { root, frames: frames.to_vec(), homes, map })
    }

    fn plan_map(&mut self, core: &Core, commit: u64, taken: &mut Vec<Run>) -> Result<MapPlan, Error> {
        let dropped: Vec<Run> = self.dropped_runs().collect();
        let writer = self.writer();
        for run in &dropped {
            writer.space.touch(*run);
        }
        let mut old_map = Vec::new();
        let mut absent: Vec<Run> = writer.retired_runs.iter().map(|retired| retired.run).collect();
        absent.extend(dropped);
        absent.sort_unstable();
        let mut layout =
            writer.space.write_out(commit, &absent, &mut |run| old_map.push(run), taken, &|at| {
                read_map_page(core, at)
            })?;
        writer.ensure_room(core, taken)?;
        absent.extend(&old_map);
        absent.sort_unstable();
        for run in &old_map {
            // No snapshot looks at the map: only the durable checkpoint holds the old page.
            writer.retire_run(*run, commit, commit);
        }
        let (mut pages, root) = writer.space.render(&mut layout, &absent);
        pages.sort_unstable_by_key(|page| page.run);
        for page in &mut pages {
            set_birth(&mut page.bytes, commit);
            seal(&mut page.bytes, core.seed, page.run.start);
        }
        Ok(MapPlan { pages, layout, root, old: old_map.into_iter().collect() })
    }

    /// All frames that the new state reaches and whose pages do not stand in the file, level by level from
    /// the lowest, each in the order of its pages: so neighbours in the trees become neighbours in the file.
    fn dirty_frames(&self) -> Result<Vec<u32>, Error> {
        let mut found: Vec<(u8, u32)> = Vec::new();
        let mut open = vec![self.root()];
        while let Some(at) = open.pop() {
            let Some(index) = at.frame_index() else { continue };
            if self.writer_ref().disk_ref(at).is_some() {
                continue;
            }
            // Not even looked at: there are many, and each is a wait for memory.
            if self.writer_ref().is_leaf(index) && !self.is_mine(at) {
                found.push((0, index));
                continue;
            }
            let page = self.page(at)?;
            found.push((page.level(), index));
            let below = (0..page.ref_count()).rev().map(|slot| page.reference(slot));
            open.extend(below.filter(|below| below.is_dirty()));
        }
        found.sort_by_key(|(level, _)| *level);
        Ok(found.into_iter().map(|(_, index)| index).collect())
    }

    /// Renders and writes what was planned.
    fn write_plan(&mut self, core: &Core, plan: &Plan) -> Result<Written, Error> {
        let commit = self.commit();
        for index in &plan.frames {
            if self.is_mine(Ref::frame(*index)) {
                set_birth(self.frame_mut(*index), commit);
            }
        }
        let mut rows = RowWriter::new(core, plan.page_count()).sent_early(self.sends_early());
        for (index, number) in plan.pages() {
            let page = self.page(Ref::frame(index))?;
            plan.render(core, page, number, &mut rows, &|at| self.writer_ref().disk_ref(at))?;
        }
        plan.write_map(rows)
    }
}

impl Writer {
    /// Where a page in a frame stands, or will stand, in the file.
    fn disk_ref(&self, at: Ref) -> Option<Ref> {
        let index = at.frame_index()?;
        self.homes.get(index as usize).copied().filter(|home| !home.is_null())
    }
}
