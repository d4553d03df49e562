//! The single writer: a transaction copies what it changes into frames, then publishes a new root.
//!
//! Invariants
//! 1. A page of the file, or a frame that a snapshot can see, is never changed: the transaction changes
//!    frames that it made itself.
//! 2. Dropping a transaction leaves everything as it was.
//! 3. A frame that lived in the snapshots `born..retired` is used again only when none of those is open; a
//!    run of pages, besides, only after a checkpoint that does not hold it has become durable.
//! 4. Space is reserved before it is written: a full disk is an error before anything changed.
//! 5. A page that was written since the durable checkpoint and is in none (`unsynced`) needs no later
//!    checkpoint to be used again.
//!
//! Not here: making it durable (`checkpoint`), writing what does not fit into memory (`spill`).

use crate::aging::Aging;
use crate::error::Error;
use crate::holes::Holes;
use crate::mapping::map_for;
use crate::meta::Meta;
use crate::old_readers;
use crate::page::{Kind, Page, PageNumber, Ref, set_birth, write_header};
use crate::page_set::PageSet;
use crate::raw::{FRAMES_MAX, SLAB_FRAMES, WriterKey};
use crate::readers::Owner as _;
use crate::snapshot::{Core, PageSource, Snapshot, State};
use crate::space::{Run, Space};
use crate::storage::write_all_at;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// The file grows to what is needed and a sixteenth of itself, within these bounds: pages are asked for many at
/// a time, and what is reserved too much is room on the disk that others lack.
const GROWTH_MIN: u64 = 64 << 10;
const GROWTH_MAX: u64 = 16 << 20;
const GROWTH_SHARE: u64 = 16;

/// A budget of fewer frames than this is not kept: one change of a tree needs some at once.
const BUDGET_FRAMES_MIN: usize = 32;

const WRITER_HERE: &str = "a transaction has the writer until it is dropped";
const OWN_FRAME: &str = "the transaction's own frames are not published";

/// What only the writer knows. Handed from transaction to transaction.
pub(crate) struct Writer {
    pub(crate) space: Space,
    /// The durable meta and the slot that holds it.
    pub(crate) meta: Meta,
    pub(crate) slot: usize,
    pub(crate) file_len: u64,
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
    /// Pages of published states that were written since the durable checkpoint, which does not hold them.
    pub(crate) unsynced: PageSet,
    /// For each frame, where a checkpoint puts it; null between checkpoints.
    pub(crate) homes: Vec<Ref>,
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
    pub(crate) fn new(space: Space, meta: Meta, slot: usize, file_len: u64, key: WriterKey) -> Self {
        let holes = Holes::new(meta.page_size, file_len);
        let len_is_known = file_len == meta.file_len;
        Self {
            space,
            meta,
            slot,
            file_len,
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
            unsynced: PageSet::default(),
            homes: Vec::new(),
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

    fn take_frame(&mut self, core: &Core) -> Result<u32, Error> {
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
            self.touched.push(0);
        }
        self.used_peak = self.used_peak.max(self.frame_count as usize - self.free_frames.len());
        Ok(index)
    }

    fn give_back_frame(&mut self, core: &Core, index: u32) {
        if let Some(tag) = core.pool.tag(index) {
            tag.reset();
        }
        self.free_frames.push(index);
    }

    pub(crate) fn retire_frame(&mut self, core: &Core, index: u32, retired: u64) {
        if let Some(tag) = core.pool.tag(index) {
            tag.retire(retired);
            self.retired_frames.push(RetiredFrame { index, born: tag.born(), retired });
        }
    }

    pub(crate) fn retire_run(&mut self, run: Run, born: u64, retired: u64) {
        // What no checkpoint held waits for none. Large values do, for a log may lead recovery to them.
        let is_unsynced = run.count == 1 && self.unsynced.remove(run.start);
        let checkpoint = if is_unsynced { 0 } else { self.meta.checkpoint + 1 };
        self.space.touch(run);
        self.retired_runs.push(RetiredRun { run, born, retired, checkpoint });
    }

    /// Takes back what no open snapshot and no durable checkpoint needs.
    pub(crate) fn reclaim(&mut self, core: &Core) -> Result<(), Error> {
        old_readers::look(core, &mut self.told);
        let mut open = core.readers().open_numbers();
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
        let needed = self.space.page_count() * core.page_size as u64;
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
    writer: Mutex<Option<Box<Writer>>>,
    back: Condvar,
}

impl WriterSlot {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { writer: Mutex::new(Some(Box::new(writer))), back: Condvar::new() }
    }

    pub(crate) fn take(&self) -> Box<Writer> {
        let mut slot = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match slot.take() {
                Some(writer) => return writer,
                None => slot = self.back.wait(slot).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn put(&self, writer: Box<Writer>) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        self.back.notify_one();
    }
}

/// The write transaction. One at a time; dropping it rolls back.
pub struct WriteTxn {
    pub(crate) core: Arc<Core>,
    slot: Arc<WriterSlot>,
    /// Present until the drop.
    writer: Option<Box<Writer>>,
    pub(crate) base: Arc<State>,
    /// A state of our own for reading pages of the file that this transaction added.
    view: State,
    root: Ref,
    commit: u64,
    time: i64,
    /// Frames made by this transaction, the spare ones among them.
    new_frames: Vec<u32>,
    spare_frames: Vec<u32>,
    /// What this transaction took out of the newest state.
    dropped_frames: Vec<u32>,
    dropped_runs: Vec<(Run, u64)>,
    /// Extents that it wrote.
    new_runs: Vec<Run>,
    extents_unsynced: bool,
    /// Pages of the file where it put pages of its own that did not fit into memory.
    pub(crate) spilled: PageSet,
    /// With this many frames of its own it spills; `spill` says when next.
    pub(crate) spill_at: usize,
    pub(crate) spill_count: u64,
    /// How many frames were taken, spare ones too.
    clock: u32,
    /// How many pages the file had when it began.
    pub(crate) page_count_before: u64,
}

impl WriteTxn {
    pub(crate) fn begin(core: Arc<Core>, slot: Arc<WriterSlot>) -> Result<Self, Error> {
        let writer = slot.take();
        let base = core.readers().newest();
        let view = State {
            commit: base.commit,
            time: base.time,
            root: base.root,
            page_count: base.page_count,
            map: base.map.clone(),
            aging: Aging::default(),
        };
        let page_count_before = writer.space.page_count();
        let mut txn = Self {
            root: base.root,
            commit: base.commit + 1,
            time: base.time,
            view,
            base,
            core,
            slot,
            writer: Some(writer),
            new_frames: Vec::new(),
            spare_frames: Vec::new(),
            dropped_frames: Vec::new(),
            dropped_runs: Vec::new(),
            new_runs: Vec::new(),
            extents_unsynced: false,
            spilled: PageSet::default(),
            spill_at: 0,
            spill_count: 0,
            clock: 0,
            page_count_before,
        };
        txn.core.check_poison()?;
        let core = txn.core.clone();
        txn.writer().reclaim_if_worth(&core)?;
        txn.spill_at = txn.frame_limit();
        Ok(txn)
    }

    pub(crate) fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect(WRITER_HERE)
    }

    pub(crate) fn writer_ref(&self) -> &Writer {
        self.writer.as_ref().expect(WRITER_HERE)
    }

    /// How many frames the transaction may take for itself: what the budget has left, at least half of it.
    pub(crate) fn frame_limit(&self) -> usize {
        let writer = self.writer_ref();
        let others = (writer.frames_in_use() as usize).saturating_sub(self.new_frames.len());
        writer.budget.saturating_sub(others).max(writer.budget / 2)
    }

    /// How many frames hold pages that this transaction made.
    pub(crate) fn own_frames(&self) -> usize {
        self.new_frames.len() - self.spare_frames.len()
    }

    /// A snapshot of the newest durable checkpoint, which keeps the pages that this one reaches. Those of the
    /// allocation map are kept only until the next checkpoint: they must be read while the writer is held.
    pub(crate) fn pin_checkpoint(&mut self) -> Snapshot {
        let core = self.core.clone();
        let base = self.base.clone();
        let meta = &self.writer().meta;
        let (commit, time, root) = (meta.commit, meta.time, meta.root);
        if base.commit == commit && base.root == root {
            return Snapshot::new(&core);
        }
        let page_count = meta.page_count;
        let state = Arc::new(State {
            commit,
            time,
            root,
            page_count,
            map: base.map.clone(),
            aging: Aging::default(),
        });
        // No run that the checkpoint reaches has been given back: each waits for the next checkpoint.
        Snapshot::of(&core, state)
    }

    /// The number that this commit will get.
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// Sets number and time of the commit; recovery replays several as one.
    ///
    /// # Panics
    /// Where `commit` is not past the newest one.
    pub fn set_commit(&mut self, commit: u64, time: i64) {
        assert!(commit > self.base.commit, "commit numbers rise");
        self.commit = commit;
        self.time = time;
    }

    /// The newest commit before this transaction; 0 = none.
    pub fn base_commit(&self) -> u64 {
        self.base.commit
    }

    /// The newest committed time before this transaction; `i64::MIN` where there is none.
    pub fn base_time(&self) -> i64 {
        self.base.time
    }

    /// The time set for the commit.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Sets the top page.
    pub fn set_root(&mut self, root: Ref) {
        self.root = root;
    }

    /// Bytes of dirty pages in memory, this transaction's included.
    pub fn dirty_bytes(&self) -> u64 {
        self.writer_ref().frames_in_use() * self.core.page_size as u64
    }

    /// The file's identity.
    pub fn identity(&self) -> u128 {
        self.core.identity
    }

    /// A new page, all zero but for its header.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when no frame is left.
    pub fn allocate(&mut self, kind: Kind, level: u8) -> Result<Ref, Error> {
        let index = self.take_frame()?;
        let bytes = self.frame_mut(index);
        bytes.fill(0);
        write_header(bytes, kind, level);
        Ok(Ref::frame(index))
    }

    /// A page that takes the place of `at` and is wholly written by the caller: what stands in it is anything.
    ///
    /// # Errors
    /// As [`WriteTxn::make_mut`].
    pub fn renew(&mut self, at: Ref) -> Result<Ref, Error> {
        if self.is_mine(at) {
            return self.make_mut(at);
        }
        let index = self.take_frame()?;
        self.free(at)?;
        Ok(Ref::frame(index))
    }

    /// A new page that is wholly written by the caller: what stands in it is anything.
    ///
    /// # Errors
    /// As [`WriteTxn::allocate`].
    pub fn allocate_unwritten(&mut self) -> Result<Ref, Error> {
        Ok(Ref::frame(self.take_frame()?))
    }

    fn take_frame(&mut self) -> Result<u32, Error> {
        let index = match self.spare_frames.pop() {
            Some(index) => index,
            None => {
                let core = self.core.clone();
                let index = self.writer().take_frame(&core)?;
                self.new_frames.push(index);
                index
            }
        };
        self.clock = self.clock.wrapping_add(1);
        self.touch(index);
        Ok(index)
    }

    /// Remembers that a frame was changed now: what was not changed for long is spilled first.
    fn touch(&mut self, index: u32) {
        let clock = self.clock;
        if let Some(touched) = self.writer().touched.get_mut(index as usize) {
            *touched = clock;
        }
    }

    /// Whether `at` is a frame that this transaction made and may change.
    pub fn is_mine(&self, at: Ref) -> bool {
        at.frame_index().and_then(|index| self.core.pool.tag(index)).is_some_and(|tag| !tag.is_published())
    }

    /// A version of the page that may be changed: itself if it is this transaction's, else a copy.
    ///
    /// # Errors
    /// As [`PageSource::page`] and [`WriteTxn::allocate`].
    pub fn make_mut(&mut self, at: Ref) -> Result<Ref, Error> {
        if let Some(index) = at.frame_index().filter(|_| self.is_mine(at)) {
            self.touch(index);
            return Ok(at);
        }
        let index = self.take_frame()?;
        match at.frame_index() {
            Some(from) => {
                let core = self.core.clone();
                let copied = core.pool.copy(&mut self.writer().key, from, index);
                assert!(copied, "a frame was taken just now, and the other is a page of this state");
            }
            None => {
                let source = self.core.file_page(&self.view, at)?;
                let key = &mut self.writer.as_mut().expect(WRITER_HERE).key;
                self.core.pool.bytes_mut(key, index).expect(OWN_FRAME).copy_from_slice(source.bytes());
            }
        }
        self.free(at)?;
        Ok(Ref::frame(index))
    }

    /// The bytes of a page that this transaction made.
    ///
    /// # Panics
    /// Where it did not make it: such a page must not change.
    pub fn page_mut(&mut self, at: Ref) -> &mut [u8] {
        assert!(self.is_mine(at), "only the transaction's own pages may be changed");
        self.frame_mut(at.frame_index().expect("own pages are frames"))
    }

    pub(crate) fn frame_mut(&mut self, index: u32) -> &mut [u8] {
        let key = &mut self.writer.as_mut().expect(WRITER_HERE).key;
        self.core.pool.bytes_mut(key, index).expect(OWN_FRAME)
    }

    /// Takes a page out of the state that is being made.
    ///
    /// # Errors
    /// As [`PageSource::page`]: a page of the file is looked at for its birth.
    pub fn free(&mut self, at: Ref) -> Result<(), Error> {
        match at.frame_index() {
            Some(index) if self.is_mine(at) => self.spare_frames.push(index),
            Some(index) => self.dropped_frames.push(index),
            None if self.spilled.remove(at.number()) => {
                // Nobody else knows of it: it can be written again at once.
                let core = self.core.clone();
                self.writer().space.release(Run::one(at.number()), &|at| read_map_page(&core, at))?;
            }
            None => {
                let birth = self.page(at)?.birth();
                self.dropped_runs.push((Run::one(at.number()), birth));
            }
        }
        Ok(())
    }

    /// Writes a large value into pages of its own and answers where they begin. Not durable before
    /// [`WriteTxn::sync_extents`].
    ///
    /// # Errors
    /// [`Error::DiskFull`], after which the transaction is as before; an I/O error, which ends all writing.
    pub fn write_extent(&mut self, bytes: &[u8]) -> Result<Run, Error> {
        let core = self.core.clone();
        let count = (bytes.len() as u64).div_ceil(core.page_size as u64).max(1);
        let run = self.writer().allocate(&core, count)?;
        self.new_runs.push(run);
        core.forget_checked(run.start);
        write_all_at(&*core.file, bytes, run.start.0 * core.page_size as u64)
            .map_err(|e| core.poison(Error::io(core.doing("writing a value to"), e)))?;
        self.extents_unsynced = true;
        self.widen_view()?;
        Ok(run)
    }

    /// Whether a run lies in the file as it is: what an earlier process made durable does.
    pub fn holds(&self, run: Run) -> bool {
        let pages = self.writer_ref().file_len / self.core.page_size as u64;
        run.start.0 >= crate::meta::first_page(self.core.page_size) && run.end() <= pages
    }

    /// An extent of this transaction's making.
    pub(crate) fn add_run(&mut self, run: Run) {
        self.new_runs.push(run);
        self.extents_unsynced = true;
    }

    /// Whether an extent is of this transaction's making.
    pub(crate) fn has_run(&self, run: Run) -> bool {
        self.new_runs.contains(&run)
    }

    /// Forgets an extent of this transaction's making. Whether it was one.
    pub(crate) fn take_run(&mut self, run: Run) -> bool {
        let place = self.new_runs.iter().rposition(|new| *new == run);
        place.map(|place| self.new_runs.swap_remove(place)).is_some()
    }

    /// Takes an extent that an earlier process wrote (recovery).
    ///
    /// # Errors
    /// As [`WriteTxn::write_extent`].
    pub fn claim_extent(&mut self, run: Run) -> Result<(), Error> {
        let core = self.core.clone();
        let writer = self.writer();
        writer.space.claim(run, &|at| read_map_page(&core, at))?;
        writer.ensure_len(&core)?;
        self.new_runs.push(run);
        self.widen_view()
    }

    /// Takes an extent out of the state that is being made. `born` is the commit that wrote it; one that the
    /// file cannot know yet is not believed.
    pub fn free_extent(&mut self, run: Run, born: u64) {
        let born = self.core.believed_birth(run.start, born);
        self.dropped_runs.push((run, born));
    }

    /// Makes extents durable that this transaction wrote.
    ///
    /// # Errors
    /// An I/O error, which ends all writing.
    pub fn sync_extents(&mut self) -> Result<(), Error> {
        if self.extents_unsynced {
            let core = &self.core;
            core.file.sync_data().map_err(|e| core.poison(Error::io(core.doing("flushing"), e)))?;
            self.extents_unsynced = false;
        }
        Ok(())
    }

    /// Lets this transaction read pages that the file has got since it began.
    pub(crate) fn widen_view(&mut self) -> Result<(), Error> {
        let page_count = self.writer_ref().space.page_count();
        let needed = page_count * self.core.page_size as u64;
        self.view.map = map_for(&*self.core.file, &self.core.path, &self.view.map, needed)?;
        self.view.page_count = page_count;
        Ok(())
    }

    /// Does everything that could still keep the new state from being published. What publishes behind a
    /// log calls it before the log record is written.
    ///
    /// # Errors
    /// Only where the file's map cannot grow.
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.widen_view()
    }

    /// Makes the new state visible to snapshots that begin from now on. Its durability is the caller's
    /// affair: a log record flushed before, or a checkpoint.
    ///
    /// # Errors
    /// Only where the file's map cannot grow; then nothing changed.
    pub fn publish(mut self) -> Result<(), Error> {
        self.prepare()?;
        let root = self.root;
        self.install(root);
        Ok(())
    }

    /// Replaces the current state by one whose changed pages are frames.
    pub(crate) fn install(&mut self, root: Ref) {
        let core = self.core.clone();
        let commit = self.commit;
        let mut spare = std::mem::take(&mut self.spare_frames);
        spare.sort_unstable();
        for index in std::mem::take(&mut self.new_frames) {
            if spare.binary_search(&index).is_ok() {
                self.writer().give_back_frame(&core, index);
                continue;
            }
            set_birth(self.frame_mut(index), commit);
            if let Some(tag) = core.pool.tag(index) {
                tag.publish(commit);
            }
        }
        self.replace_state(root);
    }

    /// Replaces the current state by one that stands wholly in the file; `frames` are the dirty pages that
    /// were written. Infallible, so that a durable commit cannot fail to show.
    pub(crate) fn install_written(&mut self, root: Ref, frames: impl Iterator<Item = u32>) {
        let core = self.core.clone();
        let past = self.commit + 1;
        for index in frames {
            // Snapshots of this very commit may have begun before the checkpoint and use the frames.
            if core.pool.tag(index).is_some_and(|tag| tag.is_published()) {
                self.writer().retire_frame(&core, index, past);
            }
        }
        self.spare_frames.clear();
        for index in std::mem::take(&mut self.new_frames) {
            self.writer().give_back_frame(&core, index);
        }
        self.replace_state(root);
    }

    fn replace_state(&mut self, root: Ref) {
        let core = self.core.clone();
        let commit = self.commit;
        for index in std::mem::take(&mut self.dropped_frames) {
            self.writer().retire_frame(&core, index, commit);
        }
        for (run, born) in std::mem::take(&mut self.dropped_runs) {
            self.writer().retire_run(run, born, commit);
        }
        self.new_runs.clear();
        let spilled = std::mem::take(&mut self.spilled);
        self.writer().unsynced.append(spilled);
        let state = Arc::new(State {
            commit,
            time: self.time,
            root,
            page_count: self.view.page_count,
            map: self.view.map.clone(),
            aging: Aging::default(),
        });
        core.readers().newest().aging.replaced();
        core.readers().publish(state);
    }

    /// How many frames hold pages of the state that this transaction makes.
    pub(crate) fn frames_kept(&self) -> usize {
        let gone = self.dropped_frames.len() + self.spare_frames.len();
        self.writer_ref().live_frames().saturating_sub(gone)
    }

    /// After the state was published: this transaction is that commit, with nothing changed.
    pub(crate) fn rebase(&mut self) {
        self.base = self.core.readers().newest();
        self.page_count_before = self.writer_ref().space.page_count();
        self.set_back_to_base();
    }

    /// For a checkpoint of what is committed already: this transaction is that commit.
    pub(crate) fn set_back_to_base(&mut self) {
        self.commit = self.base.commit;
        self.time = self.base.time;
    }

    /// Runs that the new state does not hold.
    pub(crate) fn dropped_runs(&self) -> impl Iterator<Item = Run> {
        self.dropped_runs.iter().map(|(run, _)| *run)
    }

    /// Gives frames of this transaction back that are not used any more, for it to use again.
    pub(crate) fn spare(&mut self, frames: impl Iterator<Item = u32>) {
        self.spare_frames.extend(frames);
    }

    fn roll_back(&mut self) {
        let core = self.core.clone();
        let (frames, mut runs) = (std::mem::take(&mut self.new_frames), std::mem::take(&mut self.new_runs));
        runs.extend(self.spilled.runs());
        let page_count = self.page_count_before;
        let Some(writer) = self.writer.as_mut() else { return };
        for index in frames {
            writer.give_back_frame(&core, index);
        }
        if !runs.is_empty() {
            // The map was readable when the runs were taken from it; should it not be now, they stay taken
            // until the next open, which costs space and nothing else.
            let _ = writer.give_back_pages(&core, &runs, page_count);
        }
    }
}

impl Drop for WriteTxn {
    fn drop(&mut self) {
        self.roll_back();
        if let Some(writer) = self.writer.take() {
            self.slot.put(writer);
        }
    }
}

impl PageSource for WriteTxn {
    fn root(&self) -> Ref {
        self.root
    }

    fn page(&self, at: Ref) -> Result<Page<'_>, Error> {
        let Some(index) = at.frame_index() else {
            return self.core.file_page(&self.view, at);
        };
        let bytes = self.core.pool.bytes(&self.writer_ref().key, index);
        bytes
            .map(Page::new)
            .ok_or_else(|| Error::damaged(PageNumber(0), "a reference to no frame", 0, u64::from(index)))
    }

    fn prefetch(&self, at: Ref, offset: usize) {
        match at.frame_index() {
            Some(index) => self.core.pool.prefetch(index, offset),
            None => self.core.prefetch(&self.view, at, offset),
        }
    }

    fn extent(&self, start: PageNumber, len: u64, intact: &dyn Fn(&[u8]) -> bool) -> Result<&[u8], Error> {
        self.core.extent(&self.view, start, len, intact)
    }

    fn extent_unverified(&self, start: PageNumber, len: u64) -> Result<(&[u8], bool), Error> {
        self.core.extent_unverified(&self.view, start, len)
    }

    fn page_size(&self) -> usize {
        self.core.page_size
    }

    fn will_need(&self, refs: &mut dyn Iterator<Item = Ref>, around: u64) {
        self.core.will_need(&self.view, refs, around);
    }
}

impl std::fmt::Debug for WriteTxn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteTxn")
            .field("commit", &self.commit)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}
