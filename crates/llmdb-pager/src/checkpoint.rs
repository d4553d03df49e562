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
//! 4. Each page is copied once, from its frame into the row that is written.

use crate::error::Error;
use crate::meta::{META_OFFSETS, Meta, OWNER_AREA_SIZE};
use crate::page::{PageNumber, Ref, seal, set_birth, set_reference};
use crate::rows::{RowWriter, Written};
use crate::snapshot::{Core, PageSource};
use crate::space::{Layout, Run, SpacePage};
use crate::storage::write_all_at;
use crate::writer::{WriteTxn, Writer, read_map_page};

/// Small transactions leave this share of the budget free for the next one.
const ROOM_SHARE: usize = 8;

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// Pages written, the allocation map's included.
    pub pages_written: u64,
    /// Bytes written, the metas' included.
    pub bytes_written: u64,
    /// Write calls.
    pub writes: u64,
}

impl CheckpointReport {
    fn add(&mut self, written: Written) {
        self.pages_written += written.pages;
        self.bytes_written += written.bytes;
        self.writes += written.writes;
    }
}

/// Everything decided before the first write.
struct Plan {
    /// The new state's top page in the file.
    root: Ref,
    /// The dirty pages, and where they go: in this order.
    frames: Vec<u32>,
    homes: Vec<Run>,
    map: Option<MapPlan>,
}

/// The allocation map's part of a plan.
struct MapPlan {
    pages: Vec<SpacePage>,
    layout: Layout,
    root: Ref,
}

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
        let root = self.root();
        self.install(root);
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
        let meta = Meta { owner_area, ..self.writer().meta.clone() };
        let mut report = CheckpointReport::default();
        self.writer().write_meta(&core, &meta, &mut report).map_err(|error| core.poison(error))?;
        self.writer().meta = meta;
        Ok(())
    }

    /// The number of the newest durable checkpoint.
    pub fn durable_checkpoint(&mut self) -> u64 {
        self.writer().meta.checkpoint
    }

    fn write_checkpoint(&mut self, owner_area: [u8; OWNER_AREA_SIZE]) -> Result<CheckpointReport, Error> {
        let core = self.core.clone();
        let plan = self.plan(true)?;
        let map = plan.map.as_ref().expect("planned with the map");
        let meta = Meta {
            checkpoint: self.writer().meta.checkpoint + 1,
            commit: self.commit(),
            time: self.time(),
            page_count: self.writer().space.page_count(),
            root: plan.root,
            space_root: map.root,
            owner_area,
            file_len: self.writer().file_len,
            ..self.writer().meta.clone()
        };
        let mut report = CheckpointReport::default();
        self.write_plan(&core, &plan)
            .map(|written| report.add(written))
            .and_then(|()| sync(&core))
            .and_then(|()| self.writer().write_meta(&core, &meta, &mut report))
            .map_err(|error| core.poison(error))?;
        self.writer().space.installed(&map.layout);
        self.install_plan(plan);
        let writer = self.writer();
        writer.meta = meta;
        writer.unsynced.clear();
        writer.trim(&core);
        Ok(report)
    }

    /// Writes the new state's dirty pages and publishes it, with no word of it in a meta.
    fn write_out(&mut self) -> Result<(), Error> {
        let core = self.core.clone();
        let plan = self.plan(false)?;
        self.write_plan(&core, &plan).map_err(|error| core.poison(error))?;
        for number in numbers(&plan.homes) {
            self.spilled.insert(number);
        }
        self.install_plan(plan);
        Ok(())
    }

    fn install_plan(&mut self, plan: Plan) {
        for index in &plan.frames {
            self.writer().homes[*index as usize] = Ref::NULL;
        }
        self.install_written(plan.root, plan.frames.into_iter());
    }

    /// Takes pages for everything dirty. On failure all is as before.
    fn plan(&mut self, with_map: bool) -> Result<Plan, Error> {
        let core = self.core.clone();
        self.writer().reclaim(&core)?;
        let frames = self.dirty_frames()?;
        let mut taken = Vec::new();
        let retired_before = self.writer().retired_runs.len();
        let pages_before = self.writer().space.page_count();
        let result = self.try_plan(&core, frames, with_map, &mut taken);
        if result.is_err() {
            let writer = self.writer();
            writer.homes.fill(Ref::NULL);
            writer.retired_runs.truncate(retired_before);
            writer.give_back_pages(&core, &taken, pages_before)?;
        }
        result
    }

    fn try_plan(
        &mut self,
        core: &Core,
        frames: Vec<u32>,
        with_map: bool,
        taken: &mut Vec<Run>,
    ) -> Result<Plan, Error> {
        let homes = self.writer().allocate_pages(core, frames.len() as u64)?;
        taken.extend(&homes);
        let commit = self.commit();
        for (index, number) in frames.iter().zip(numbers(&homes)) {
            let at = Ref::frame(*index);
            let birth = if self.is_mine(at) { commit } else { self.page(at)?.birth() };
            self.writer().homes[*index as usize] = Ref::page(number, birth);
        }
        let map = if with_map { Some(self.plan_map(core, commit, taken)?) } else { None };
        self.widen_view()?;
        Ok(Plan { root: self.writer_ref().disk_ref(self.root())?, frames, homes, map })
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
        for run in old_map {
            // No snapshot looks at the map: only the durable checkpoint holds the old page.
            writer.retire_run(run, commit, commit);
        }
        let (mut pages, root) = writer.space.render(&mut layout, &absent);
        pages.sort_unstable_by_key(|page| page.run);
        for page in &mut pages {
            set_birth(&mut page.bytes, commit);
            seal(&mut page.bytes, core.seed, page.run.start);
        }
        Ok(MapPlan { pages, layout, root })
    }

    /// All frames that the new state reaches, level by level from the lowest, each in the order of its
    /// pages: so neighbours in the trees become neighbours in the file.
    fn dirty_frames(&self) -> Result<Vec<u32>, Error> {
        let mut found: Vec<(u8, u32)> = Vec::new();
        let mut open = vec![self.root()];
        while let Some(at) = open.pop() {
            let Some(index) = at.frame_index() else { continue };
            let page = self.page(at)?;
            found.push((page.level(), index));
            let below = (0..page.ref_count()).rev().map(|slot| page.reference(slot));
            open.extend(below.filter(|below| below.is_dirty()));
        }
        found.sort_by_key(|(level, _)| *level);
        Ok(found.into_iter().map(|(_, index)| index).collect())
    }

    /// Renders and writes what was planned.
    fn write_plan(&self, core: &Core, plan: &Plan) -> Result<Written, Error> {
        let map_pages = plan.map.as_ref().map_or(&[][..], |map| &map.pages);
        let mut rows = RowWriter::new(core, plan.frames.len() + map_pages.len());
        let commit = self.commit();
        for (index, number) in plan.frames.iter().zip(numbers(&plan.homes)) {
            self.render(core, *index, number, commit, &mut rows)?;
        }
        for page in map_pages {
            rows.push(page.run.start, &page.bytes)?;
        }
        rows.finish()
    }

    /// A frame's page as it will stand in the file.
    fn render(
        &self,
        core: &Core,
        index: u32,
        number: PageNumber,
        commit: u64,
        rows: &mut RowWriter<'_>,
    ) -> Result<(), Error> {
        let at = Ref::frame(index);
        let page = self.page(at)?;
        let bytes = rows.push(number, page.bytes())?;
        for slot in 0..page.ref_count() {
            let below = page.reference(slot);
            if below.is_dirty() {
                set_reference(bytes, slot, self.writer_ref().disk_ref(below)?);
            }
        }
        if self.is_mine(at) {
            set_birth(bytes, commit);
        }
        seal(bytes, core.seed, number);
        Ok(())
    }
}

impl Writer {
    /// What a reference will be in the file.
    fn disk_ref(&self, at: Ref) -> Result<Ref, Error> {
        let Some(index) = at.frame_index() else { return Ok(at) };
        let home = self.homes.get(index as usize).copied().filter(|home| !home.is_null());
        home.ok_or_else(|| Error::damaged(PageNumber(0), "a dirty page was not planned", 0, u64::from(index)))
    }

    /// Writes both copies, the one that is not the newest first.
    fn write_meta(&mut self, core: &Core, meta: &Meta, report: &mut CheckpointReport) -> Result<(), Error> {
        let bytes = meta.encode();
        for slot in [1 - self.slot, self.slot] {
            write_all_at(&*core.file, &bytes, META_OFFSETS[slot])
                .map_err(|e| Error::io(core.doing("writing the meta page of"), e))?;
            report.bytes_written += bytes.len() as u64;
            report.writes += 1;
            sync(core)?;
        }
        Ok(())
    }
}

fn sync(core: &Core) -> Result<(), Error> {
    core.file.sync_data().map_err(|e| Error::io(core.doing("flushing"), e))
}

/// The pages of runs, one after the other.
fn numbers(runs: &[Run]) -> impl Iterator<Item = PageNumber> {
    runs.iter().flat_map(|run| (run.start.0..run.end()).map(PageNumber))
}
