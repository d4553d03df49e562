//! The single writer: what is kept from transaction to transaction, and when frames and pages may be used again.
//!
//! Invariants
//! 1. A frame that lived in the snapshots `born..retired` is used again only when none of those is open; a
//!    run of pages, besides, only after a checkpoint that does not hold it has become durable.
//! 2. Space is reserved before it is written: a full disk is an error before anything changed.
//! 3. A page that was written since the durable checkpoint and is in none (`unsynced`) needs no later
//!    checkpoint to be used again.
//! 4. Once a checkpoint is durable, a frame in it and its page in the file are the same page: they retire together,
//!    unless the newest state goes over to the page in the file (`leave_written`).
//!
//! Not here: the transaction (`write_txn`).

use crate::error::Error;
use crate::holes::Holes;
use crate::in_flight::Job;
use crate::meta::Meta;
use crate::old_readers;
use crate::page::{PageNumber, Ref};
use crate::page_set::PageSet;
use crate::raw::{FRAMES_MAX, SLAB_FRAMES, WriterKey};
use crate::readers::Owner as _;
use crate::snapshot::{Core, State};
use crate::space::{Run, Space};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The file grows to what is needed and a sixteenth of itself, within these bounds: pages are asked for many at
/// a time, and what is reserved too much is room on the disk that others lack.
const GROWTH_MIN: u64 = 64 << 10;
const GROWTH_MAX: u64 = 16 << 20;
const GROWTH_SHARE: u64 = 16;

/// Room is reserved for so many pages more than a checkpoint needs, for what is changed when the disk is full.
const ROOM_AHEAD: u64 = 16;

/// A budget of fewer frames than this is not kept: one change of a tree needs some at once.
const BUDGET_FRAMES_MIN: usize = 32;

/// What only the writer knows. Handed from transaction to transaction.
pub(crate) struct Writer {
    pub(crate) space: Space,
    /// The durable meta and the slot that holds it.
    pub(crate) meta: Meta,
    pub(crate) slot: usize,
    /// The newest state, on which the next transaction builds; published or staged.
    pub(crate) tip: Arc<State>,
    /// The checkpoint that is being written beside the transactions.
    pub(crate) in_flight: Option<Arc<Job>>,
    pub(crate) file_len: u64,
    /// Frames of the newest state that no checkpoint holds, planned or durable: those born behind `planned_at`.
    pub(crate) dirty: u64,
    pub(crate) planned_at: u64,
    /// For a checkpoint of so many pages there is room; 0 where that is not known.
    pub(crate) room_for: u64,
    pub(crate) holes: Holes,
    /// Runs not needed by the newest state any more.
    pub(crate) retired_runs: Vec<RetiredRun>,
    pub(crate) frame_count: u32,
    pub(crate) free_frames: Vec<u32>,
    retired_frames: Vec<RetiredFrame>,
    /// How many frames have memory.
    pub(crate) resident: usize,
    /// How many frames were free when memory was given back last, or the fewest since.
    pub(crate) free_at_trim: usize,
    /// The most frames that were in use since the last look for memory to give back.
    pub(crate) used_peak: usize,
    /// How many entries the last look for reusable frames and runs left behind.
    kept: usize,
    /// How many frames dirty pages may take.
    pub(crate) budget: usize,
    /// Whether large writes set out for the device before the commit.
    pub(crate) sends_early: bool,
    /// Pages of published states that were written since the durable checkpoint, which does not hold them.
    pub(crate) unsynced: PageSet,
    /// For each frame, where its page stands in the durable checkpoint, or will stand in the one that is being
    /// planned; null where it does in neither.
    pub(crate) homes: Vec<Ref>,
    /// Frames whose page stands in the durable checkpoint, as long as the newest state refers to the frames.
    pub(crate) written: Vec<u32>,
    /// For each published frame, whether its page has no references.
    pub(crate) is_leaf: Vec<bool>,
    /// For each frame of a transaction, behind how many of its savepoints it was taken.
    pub(crate) depths: Vec<u32>,
    /// For each frame, when its transaction last changed it, in frames taken until then.
    pub(crate) touched: Vec<u32>,
    /// When somebody was last told of a slow reader.
    told: Option<Instant>,
    /// Whether the file's length is known to be durable, or was set by this process.
    len_is_known: bool,
    pub(crate) key: WriterKey,
}

/// A run that lived in the snapshots `born..retired`.
pub(crate) struct RetiredRun {
    pub(crate) run: Run,
    pub(crate) born: u64,
    pub(crate) retired: u64,
    /// The first checkpoint that does not hold it.
    pub(crate) checkpoint: u64,
}

struct RetiredFrame {
    index: u32,
    born: u64,
    retired: u64,
}

impl Writer {
    pub(crate) fn new(
        space: Space,
        meta: Meta,
        slot: usize,
        file_len: u64,
        key: WriterKey,
        tip: Arc<State>,
    ) -> Self {
        let holes = Holes::new(meta.page_size, file_len);
        let len_is_known = file_len == meta.file_len;
        let planned_at = meta.commit;
        Self {
            space,
            meta,
            slot,
            tip,
            in_flight: None,
            file_len,
            dirty: 0,
            planned_at,
            room_for: 0,
            holes,
            retired_runs: Vec::new(),
            frame_count: 0,
            free_frames: Vec::new(),
            retired_frames: Vec::new(),
            resident: 0,
            free_at_trim: 0,
            used_peak: 0,
            kept: 0,
            told: None,
            budget: BUDGET_FRAMES_MIN,
            sends_early: true,
            unsynced: PageSet::default(),
            homes: Vec::new(),
            written: Vec::new(),
            is_leaf: Vec::new(),
            depths: Vec::new(),
            touched: Vec::new(),
            len_is_known,
            key,
        }
    }

    /// Sets how many bytes dirty pages may take.
    pub(crate) fn set_budget(&mut self, bytes: u64, page_size: usize) {
        self.budget = usize::try_from(bytes / page_size as u64).unwrap_or(usize::MAX).max(BUDGET_FRAMES_MIN);
    }

    /// How many frames hold pages of the current state, or of the transaction that is writing.
    pub(crate) fn live_frames(&self) -> usize {
        self.frame_count as usize - self.free_frames.len() - self.retired_frames.len()
    }

    /// How many frames hold dirty pages, or wait for readers.
    pub(crate) fn frames_in_use(&self) -> u64 {
        u64::from(self.frame_count) - self.free_frames.len() as u64
    }

    /// Bytes of memory that frames take, in use or not.
    pub(crate) fn frame_memory(&self, page_size: usize) -> u64 {
        (self.resident * page_size) as u64
    }

    pub(crate) fn take_frame(&mut self, core: &Core) -> Result<u32, Error> {
        let index = self.free_frames.last().copied().unwrap_or(self.frame_count);
        if index as usize >= FRAMES_MAX {
            return Err(Error::DiskFull { wanted: core.page_size as u64 });
        }
        let is_new = core.pool.ensure(&mut self.key, index);
        if is_new.map_err(|e| Error::io(core.doing("taking memory for a changed page of"), e))? {
            self.resident += SLAB_FRAMES;
        }
        self.free_at_trim = self.free_at_trim.min(self.free_frames.len().saturating_sub(1));
        if self.free_frames.pop().is_none() {
            self.frame_count += 1;
            self.homes.push(Ref::NULL);
            self.is_leaf.push(false);
            self.depths.push(0);
            self.touched.push(0);
        }
        self.used_peak = self.used_peak.max(self.frame_count as usize - self.free_frames.len());
        Ok(index)
    }

    pub(crate) fn give_back_frame(&mut self, core: &Core, index: u32) {
        if let Some(tag) = core.pool.tag(index) {
            tag.reset();
        }
        self.free_frames.push(index);
    }

    /// The state numbered `retired` does not hold the page in a frame any more, nor its copy in the file.
    pub(crate) fn retire_frame(&mut self, core: &Core, index: u32, retired: u64) {
        let Some(tag) = core.pool.tag(index) else { return };
        tag.retire(retired);
        let born = tag.born();
        if born > self.planned_at {
            self.dirty = self.dirty.saturating_sub(1);
        }
        self.retired_frames.push(RetiredFrame { index, born, retired });
        let home = std::mem::replace(&mut self.homes[index as usize], Ref::NULL);
        if !home.is_null() {
            self.retire_run(Run::one(home.number()), born, retired);
        }
    }

    /// Whether the newest state refers to frames whose pages stand in the file.
    pub(crate) fn has_written(&self) -> bool {
        !self.written.is_empty()
    }

    /// The state numbered `retired` refers to the file where it referred to frames whose pages stand there.
    pub(crate) fn leave_written(&mut self, core: &Core, retired: u64) {
        for index in std::mem::take(&mut self.written) {
            // One without a home was replaced, and retired, since.
            let home = std::mem::replace(&mut self.homes[index as usize], Ref::NULL);
            if !home.is_null() {
                self.retire_frame(core, index, retired);
            }
        }
    }

    /// The page in a frame stands at `home` in the checkpoint that has just become durable.
    pub(crate) fn set_written(&mut self, core: &Core, index: u32, home: PageNumber) {
        let Some(tag) = core.pool.tag(index) else { return };
        match tag.retired() {
            None => {
                self.homes[index as usize] = Ref::page(home, tag.born());
                self.written.push(index);
            }
            Some(retired) => self.retire_run(Run::one(home), tag.born(), retired),
        }
    }

    /// Whether the page in a published frame has no references, as far as is known without a look at it.
    pub(crate) fn is_leaf(&self, index: u32) -> bool {
        self.is_leaf.get(index as usize).copied().unwrap_or(false)
    }

    /// The number of the next checkpoint to be planned.
    pub(crate) fn next_checkpoint(&self) -> u64 {
        self.meta.checkpoint + 1 + u64::from(self.in_flight.is_some())
    }

    pub(crate) fn retire_run(&mut self, run: Run, born: u64, retired: u64) {
        // What no checkpoint held waits for none. Large values do, for a log may lead recovery to them.
        let is_unsynced = run.count == 1 && self.unsynced.remove(run.start);
        let checkpoint = if is_unsynced { 0 } else { self.next_checkpoint() };
        self.space.touch(run);
        self.retired_runs.push(RetiredRun { run, born, retired, checkpoint });
    }

    /// Takes back what no open snapshot and no durable checkpoint needs.
    pub(crate) fn reclaim(&mut self, core: &Core) -> Result<(), Error> {
        old_readers::look(core, &mut self.told);
        let mut open = core.open_numbers();
        // The newest state sees nothing that is retired. Pages that were written since it was published left
        // it under its own number; where somebody may still hold it as it was, that number is there twice.
        open.pop();
        let is_seen = |born: u64, retired: u64| {
            let first = open.partition_point(|commit| *commit < born);
            open.get(first).is_some_and(|commit| *commit < retired)
        };
        let mut frames = std::mem::take(&mut self.retired_frames);
        frames.retain(|frame| {
            let seen = is_seen(frame.born, frame.retired);
            if !seen {
                self.give_back_frame(core, frame.index);
            }
            seen
        });
        self.retired_frames = frames;
        let durable = self.meta.checkpoint;
        let runs = std::mem::take(&mut self.retired_runs);
        for entry in runs {
            if entry.checkpoint > durable || is_seen(entry.born, entry.retired) {
                self.retired_runs.push(entry);
            } else {
                self.space.release(entry.run, &|at| read_map_page(core, at))?;
            }
        }
        self.kept = self.retired_frames.len() + self.retired_runs.len();
        self.trim(core);
        Ok(())
    }

    pub(crate) fn reclaim_if_worth(&mut self, core: &Core) -> Result<(), Error> {
        // A look at the table costs a cache line a slot: many readers make it rarer, not dearer.
        let worth = 2 * self.kept + 64 + core.readers().slot_count() / 4;
        if self.retired_frames.len() + self.retired_runs.len() > worth {
            self.reclaim(core)?;
        }
        Ok(())
    }

    /// Takes `count` neighbouring pages, with room for them in the file.
    pub(crate) fn allocate(&mut self, core: &Core, count: u64) -> Result<Run, Error> {
        let before = self.space.page_count();
        self.room_for = 0;
        let run = self.space.allocate(count, &|at| read_map_page(core, at))?;
        if let Err(error) = self.ensure_room(core, &[run]) {
            self.space.release(run, &|at| read_map_page(core, at))?;
            self.space.shrink_to(before);
            return Err(error);
        }
        Ok(run)
    }

    /// Takes `count` pages in as long rows as there are, in rising order, with room for them in the file.
    pub(crate) fn allocate_pages(&mut self, core: &Core, count: u64) -> Result<Vec<Run>, Error> {
        let before = self.space.page_count();
        self.room_for = 0;
        let mut taken = Vec::new();
        let result = self
            .space
            .allocate_pages(count, &mut taken, &|at| read_map_page(core, at))
            .and_then(|()| self.ensure_room(core, &taken));
        if let Err(error) = result {
            self.give_back_pages(core, &taken, before)?;
            return Err(error);
        }
        Ok(taken)
    }

    /// Frees pages that were taken when the file had `page_count` pages, and that nobody refers to.
    pub(crate) fn give_back_pages(
        &mut self,
        core: &Core,
        runs: &[Run],
        page_count: u64,
    ) -> Result<(), Error> {
        for run in runs {
            self.space.release(*run, &|at| read_map_page(core, at))?;
        }
        self.space.shrink_to(page_count);
        Ok(())
    }

    /// Grows the file to hold all its pages, and reserves room for those taken runs that lie in holes.
    pub(crate) fn ensure_room(&mut self, core: &Core, taken: &[Run]) -> Result<(), Error> {
        self.ensure_len(core)?;
        taken.iter().try_for_each(|run| self.holes.reserve(core, *run))
    }

    /// Grows the file to hold all its pages.
    pub(crate) fn ensure_len(&mut self, core: &Core) -> Result<(), Error> {
        // A flush of a process before may have failed and forgotten the length, which the cache still
        // shows: a page more, and the next flush says it anew.
        let page = core.page_size as u64;
        if !self.len_is_known && core.file.allocate(self.file_len, page).is_ok() {
            self.file_len += page;
            self.len_is_known = true;
        }
        self.ensure_len_of(core, self.space.page_count() * core.page_size as u64)
    }

    /// Sees to it that there is room for a checkpoint of `pages` pages and some more, in free pages or behind the last one;
    /// what was found to be a hole only now may still be refused.
    pub(crate) fn reserve_room(&mut self, core: &Core, pages: u64) -> Result<(), Error> {
        if pages <= self.room_for {
            return Ok(());
        }
        let wanted = pages + ROOM_AHEAD;
        let free = self.space.free_count(&|at| read_map_page(core, at))?;
        let page_count = self.space.page_count() + wanted.saturating_sub(free);
        self.ensure_len_of(core, page_count * core.page_size as u64)?;
        self.room_for = wanted;
        Ok(())
    }

    /// Grows the file to `needed` bytes at least.
    fn ensure_len_of(&mut self, core: &Core, needed: u64) -> Result<(), Error> {
        if needed <= self.file_len {
            return Ok(());
        }
        let step = (needed / GROWTH_SHARE).clamp(GROWTH_MIN, GROWTH_MAX);
        let grown = (needed + step).next_multiple_of(core.page_size as u64);
        let reserve = |to: u64| core.file.allocate(self.file_len, to - self.file_len);
        // A disk with no room for the step may have room for what is needed.
        let reached = match reserve(grown) {
            Ok(()) => grown,
            Err(_) if needed < grown => {
                reserve(needed).map(|()| needed).map_err(|e| self.growth(core, needed, e))?
            }
            Err(error) => return Err(self.growth(core, needed, error)),
        };
        self.file_len = reached;
        Ok(())
    }

    fn growth(&self, core: &Core, needed: u64, error: std::io::Error) -> Error {
        Error::allocation(core.doing("growing"), needed - self.file_len, error)
    }
}

/// Reads a page of the durable allocation map, outside any snapshot.
pub(crate) fn read_map_page(core: &Core, at: Ref) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; core.page_size];
    let number = at.number();
    crate::storage::read_exact_at(&*core.file, &mut bytes, number.0 * core.page_size as u64)
        .map_err(|e| Error::io(core.doing(&format!("reading page {number} of")), e))?;
    core.verify_ref(&bytes, at)?;
    Ok(bytes)
}

/// Hands the one [`Writer`] to one transaction after the other.
pub(crate) struct WriterSlot {
    turn: Mutex<Turn>,
    back: Condvar,
    /// Whether the writer may be there, for who looks without the lock.
    is_here: AtomicBool,
}

struct Turn {
    writer: Option<Box<Writer>>,
    /// How many threads sleep until it is back.
    waiting: usize,
}

/// So many times a thread looks for the writer before it sleeps: about as long as a small transaction takes. Being
/// woken takes several times as long.
const LOOKS: u32 = 200;

impl WriterSlot {
    pub(crate) fn new(writer: Writer) -> Self {
        let turn = Turn { writer: Some(Box::new(writer)), waiting: 0 };
        Self { turn: Mutex::new(turn), back: Condvar::new(), is_here: AtomicBool::new(true) }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Box<Writer> {
        for _ in 0..LOOKS {
            if self.is_here.load(Ordering::Relaxed) {
                break;
            }
            std::hint::spin_loop();
        }
        let mut turn = self.turn();
        loop {
            if let Some(writer) = turn.writer.take() {
                self.is_here.store(false, Ordering::Relaxed);
                return writer;
            }
            turn.waiting += 1;
            turn = self.back.wait(turn).unwrap_or_else(PoisonError::into_inner);
            turn.waiting -= 1;
        }
    }

    pub(crate) fn put(&self, writer: Box<Writer>) {
        let mut turn = self.turn();
        turn.writer = Some(writer);
        self.is_here.store(true, Ordering::Relaxed);
        let has_waiting = turn.waiting > 0;
        drop(turn);
        if has_waiting {
            self.back.notify_one();
        }
    }
}
