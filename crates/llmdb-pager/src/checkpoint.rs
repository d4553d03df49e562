//! Checkpoints: everything dirty goes to the file, then a meta says so.
//!
//! ```text
//! dirty pages, allocation map -> flush -> meta slot A -> flush -> meta slot B -> flush
//!                                          durable here            either slot may rot from here
//! ```
//!
//! Invariants
//! 1. No page that the durable meta reaches is overwritten.
//! 2. A full disk is found before the first write, and leaves everything as it was.
//! 3. After any failed write or flush the database is poisoned.

use crate::error::Error;
use crate::meta::{META_OFFSETS, Meta, OWNER_AREA_SIZE};
use crate::page::{Page, PageNumber, Ref, seal, set_birth, set_reference};
use crate::snapshot::{Core, PageSource};
use crate::space::Run;
use crate::storage::write_all_at;
use crate::writer::{WriteTxn, Writer, read_map_page};
use std::collections::HashMap;

/// Neighbouring pages are written together, up to this many bytes.
const WRITE_SIZE: usize = 256 << 10;

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

/// Pages to be written: where, and their bytes ready.
type Images = Vec<(PageNumber, Vec<u8>)>;

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
        let commit = self.commit();
        let plan = self.plan(commit)?;
        self.widen_view()?;
        let mut report = CheckpointReport::default();
        let root = plan.disk_ref(self.root(), commit, self)?;
        let meta = Meta {
            checkpoint: self.writer().meta.checkpoint + 1,
            commit,
            time: self.time(),
            page_count: self.writer().space.page_count(),
            root,
            space_root: plan.space_root,
            owner_area,
            file_len: self.writer().file_len,
            ..self.writer().meta.clone()
        };
        write_pages(&core, plan.images, &mut report)
            .and_then(|()| sync(&core))
            .and_then(|()| self.writer().write_meta(&core, &meta, &mut report))
            .map_err(|error| core.poison(error))?;
        self.writer().space.installed(&plan.layout);
        self.install_checkpointed(root, plan.frames.keys().copied());
        self.writer().meta = meta;
        Ok(report)
    }

    /// Takes pages for everything dirty and renders it. On failure all is as before.
    fn plan(&mut self, commit: u64) -> Result<Plan, Error> {
        let core = self.core.clone();
        self.writer().reclaim(&core)?;
        let frames = self.dirty_frames()?;
        let mut taken = Vec::new();
        let retired_before = self.writer().retired_runs.len();
        let pages_before = self.writer().space.page_count();
        let result = self.try_plan(&core, commit, &frames, &mut taken);
        if result.is_err() {
            let writer = self.writer();
            writer.retired_runs.truncate(retired_before);
            for run in taken {
                writer.space.release(run, &|at| read_map_page(&core, at))?;
            }
            writer.space.shrink_to(pages_before);
        }
        result
    }

    fn try_plan(
        &mut self,
        core: &Core,
        commit: u64,
        frames: &[u32],
        taken: &mut Vec<Run>,
    ) -> Result<Plan, Error> {
        let homes = self.homes(core, frames, taken)?;
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
        let (map_pages, space_root) = writer.space.render(&mut layout, &absent);
        let mut images: Images = Vec::with_capacity(frames.len() + map_pages.len());
        let mut plan = Plan { frames: homes, images: Vec::new(), layout, space_root };
        for index in frames {
            images.push((plan.frames[index], self.image(&plan, *index, commit)?));
        }
        for page in map_pages {
            images.push((page.run.start, page.bytes));
            let bytes = &mut images.last_mut().expect("pushed above").1;
            set_birth(bytes, commit);
        }
        for (number, bytes) in &mut images {
            seal(bytes, core.seed, *number);
        }
        images.sort_unstable_by_key(|(number, _)| *number);
        plan.images = images;
        Ok(plan)
    }

    /// All frames that the new state reaches.
    fn dirty_frames(&self) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        let mut open = vec![self.root()];
        while let Some(at) = open.pop() {
            let Some(index) = at.frame_index() else { continue };
            found.push(index);
            open.extend(self.page(at)?.references().filter(|below| below.is_dirty()));
        }
        Ok(found)
    }

    /// A page of the file for each frame, in rows of neighbours where there are such.
    fn homes(
        &mut self,
        core: &Core,
        frames: &[u32],
        taken: &mut Vec<Run>,
    ) -> Result<HashMap<u32, PageNumber>, Error> {
        let mut homes = HashMap::with_capacity(frames.len());
        let mut rest = frames;
        while !rest.is_empty() {
            let run =
                self.writer().allocate_up_to(core, rest.len().min(WRITE_SIZE / core.page_size) as u64)?;
            taken.push(run);
            let (group, behind) = rest.split_at(run.count as usize);
            homes.extend(group.iter().zip(run.start.0..).map(|(index, page)| (*index, PageNumber(page))));
            rest = behind;
        }
        Ok(homes)
    }

    /// A frame's page as it will stand in the file.
    fn image(&self, plan: &Plan, index: u32, commit: u64) -> Result<Vec<u8>, Error> {
        let page = self.page(Ref::frame(index))?;
        let mut bytes = page.bytes().to_vec();
        for (slot, below) in page.references().enumerate().filter(|(_, below)| below.is_dirty()) {
            set_reference(&mut bytes, slot, plan.disk_ref(below, commit, self)?);
        }
        if self.is_mine(Ref::frame(index)) {
            set_birth(&mut bytes, commit);
        }
        Ok(bytes)
    }
}

impl Writer {
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

/// Writes pages, neighbours together.
fn write_pages(core: &Core, images: Images, report: &mut CheckpointReport) -> Result<(), Error> {
    let page_size = core.page_size;
    let mut buffer: Vec<u8> = Vec::with_capacity(WRITE_SIZE);
    let mut start = PageNumber(0);
    let flush = |buffer: &mut Vec<u8>, start: PageNumber, report: &mut CheckpointReport| {
        if buffer.is_empty() {
            return Ok(());
        }
        write_all_at(&*core.file, buffer, start.0 * page_size as u64)
            .map_err(|e| Error::io(core.doing(&format!("writing page {start} of")), e))?;
        report.writes += 1;
        report.bytes_written += buffer.len() as u64;
        buffer.clear();
        Ok(())
    };
    for (number, bytes) in images {
        let next = start.0 + (buffer.len() / page_size) as u64;
        if number.0 != next || buffer.len() + page_size > WRITE_SIZE {
            flush(&mut buffer, start, report)?;
            start = number;
        }
        core.forget_checked(number);
        buffer.extend_from_slice(&bytes);
        report.pages_written += 1;
    }
    flush(&mut buffer, start, report)
}

/// Everything decided before the first write.
struct Plan {
    frames: HashMap<u32, PageNumber>,
    images: Images,
    layout: crate::space::Layout,
    space_root: Ref,
}

impl Plan {
    /// What a reference will be in the file.
    fn disk_ref(&self, at: Ref, commit: u64, txn: &WriteTxn) -> Result<Ref, Error> {
        let Some(index) = at.frame_index() else { return Ok(at) };
        let birth = if txn.is_mine(at) { commit } else { Page::new(txn.page(at)?.bytes()).birth() };
        let home = self.frames.get(&index).copied();
        home.map(|number| Ref::page(number, birth))
            .ok_or_else(|| Error::damaged(PageNumber(0), "a dirty page was not planned", 0, u64::from(index)))
    }
}
