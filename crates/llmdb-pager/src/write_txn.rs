//! The write transaction: copies what it changes into frames, then stages or publishes a new root.
//!
//! Invariants
//! 1. A page of the file, or a frame that a snapshot can see, is never changed: the transaction changes
//!    frames that it made itself.
//! 2. Dropping a transaction leaves everything as it was.
//!
//! Not here: making it durable (`checkpoint`, `background`), writing what does not fit into memory (`spill`), going
//! back to a savepoint (`savepoint`), what is kept from transaction to transaction (`writer`).

use crate::aging::Aging;
use crate::early::Unsent;
use crate::error::Error;
use crate::gather::Gathered;
use crate::mapping::map_for;
use crate::page::{Kind, Page, PageNumber, Ref, set_birth, set_reference, write_header};
use crate::page_set::PageSet;
use crate::snapshot::{Core, PageSource, Snapshot, State};
use crate::space::Run;
use crate::writer::{Writer, WriterSlot, read_map_page};
use std::sync::Arc;

const WRITER_HERE: &str = "a transaction has the writer until it is dropped";
const OWN_FRAME: &str = "the transaction's own frames are not published";

/// The write transaction. One at a time; dropping it rolls back.
pub struct WriteTxn {
    pub(crate) core: Arc<Core>,
    slot: Arc<WriterSlot>,
    /// Present until the drop.
    writer: Option<Box<Writer>>,
    pub(crate) base: Arc<State>,
    /// A state of our own for reading pages of the file that this transaction added.
    view: State,
    pub(crate) root: Ref,
    commit: u64,
    time: i64,
    /// Frames made by this transaction, the spare ones among them.
    pub(crate) new_frames: Vec<u32>,
    pub(crate) spare_frames: Vec<u32>,
    /// What this transaction took out of the newest state.
    pub(crate) dropped_frames: Vec<u32>,
    pub(crate) dropped_runs: Vec<(Run, u64)>,
    /// Extents that it wrote.
    pub(crate) new_runs: Vec<Run>,
    extents_unsynced: bool,
    pub(crate) unsent: Unsent,
    pub(crate) gathered: Gathered,
    /// Pages of the file where it put pages of its own that did not fit into memory.
    pub(crate) spilled: PageSet,
    /// With this many frames of its own it spills; `spill` says when next.
    pub(crate) spill_at: usize,
    pub(crate) spill_count: u64,
    /// How many frames were taken, spare ones too.
    clock: u32,
    /// How many pages the file had when it began.
    pub(crate) page_count_before: u64,
    /// How many savepoints were set: frames taken before the last are frozen.
    pub(crate) depth: u32,
    pub(crate) savepoints: Vec<u64>,
    /// Own frames that were frozen when they were replaced, and own pages of the file that were freed behind a
    /// savepoint: both are needed until no savepoint can be gone back to.
    pub(crate) superseded_frames: Vec<u32>,
    pub(crate) superseded_pages: Vec<PageNumber>,
    /// Whether it refers to the file where the state before referred to frames whose pages stand there.
    leaves_written: bool,
}

impl WriteTxn {
    pub(crate) fn begin(core: Arc<Core>, slot: Arc<WriterSlot>) -> Result<Self, Error> {
        let mut writer = slot.take();
        writer.settle_if_ended(&core);
        let base = writer.tip.clone();
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
            unsent: Unsent::default(),
            gathered: Gathered::default(),
            spilled: PageSet::default(),
            spill_at: 0,
            spill_count: 0,
            clock: 0,
            page_count_before,
            depth: 0,
            savepoints: Vec::new(),
            superseded_frames: Vec::new(),
            superseded_pages: Vec::new(),
            leaves_written: false,
        };
        txn.core.check_poison()?;
        let core = txn.core.clone();
        txn.writer().reclaim_if_worth(&core)?;
        txn.spill_at = txn.frame_limit();
        if txn.writer_ref().has_written() {
            txn.leave_written_frames()?;
        }
        Ok(txn)
    }

    /// Refers to the file where the newest state refers to frames whose pages stand there, so that those frames
    /// can be used again. Only branches that were changed since are copied: nothing but a changed page leads
    /// to a changed page.
    fn leave_written_frames(&mut self) -> Result<(), Error> {
        self.widen_view()?;
        self.root = self.left_written(self.root)?;
        self.leaves_written = true;
        Ok(())
    }

    /// The page at `at` with all references below it as they are in the file, where there is such a page.
    fn left_written(&mut self, at: Ref) -> Result<Ref, Error> {
        let Some(index) = at.frame_index() else { return Ok(at) };
        let home = self.writer_ref().homes[index as usize];
        if !home.is_null() {
            return Ok(home);
        }
        if self.writer_ref().is_leaf(index) {
            return Ok(at);
        }
        let page = self.page(at)?;
        let below: Vec<(usize, Ref)> =
            page.references().enumerate().filter(|(_, at)| at.is_dirty()).collect();
        let mut copy = at;
        for (slot, below) in below {
            let left = self.left_written(below)?;
            if left != below {
                copy = self.make_mut(copy)?;
                set_reference(self.page_mut(copy), slot, left);
            }
        }
        Ok(copy)
    }

    /// Takes back what beginning has changed, for one who only wants the writer.
    pub(crate) fn change_nothing(&mut self) {
        self.roll_back();
        self.spare_frames.clear();
        self.dropped_frames.clear();
        self.dropped_runs.clear();
        self.root = self.base.root;
        self.leaves_written = false;
    }

    pub(crate) fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect(WRITER_HERE)
    }

    pub(crate) fn slot(&self) -> Arc<WriterSlot> {
        self.slot.clone()
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
    ///
    /// # Errors
    /// Where the file's map cannot grow.
    pub(crate) fn pin_checkpoint(&mut self) -> Result<Snapshot, Error> {
        let core = self.core.clone();
        let base = self.base.clone();
        let meta = &self.writer().meta;
        let (commit, time, root, page_count) = (meta.commit, meta.time, meta.root, meta.page_count);
        if base.commit == commit && base.root == root {
            return Ok(Snapshot::new(&core));
        }
        let map = map_for(&*core.file, &core.path, &base.map, page_count * core.page_size as u64)?;
        let state = Arc::new(State { commit, time, root, page_count, map, aging: Aging::default() });
        // No run that the checkpoint reaches has been given back: each waits for the next checkpoint.
        Ok(Snapshot::of(&core, state))
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

    /// How many pages the new state has that are in no checkpoint, nor in the one that is being written.
    pub fn dirty_pages(&self) -> u64 {
        let writer = self.writer_ref();
        let is_dirty =
            |index: &&u32| self.core.pool.tag(**index).is_some_and(|tag| tag.born() > writer.planned_at);
        let dropped = self.dropped_frames.iter().filter(is_dirty).count();
        let made = self.new_frames.len() - self.spare_frames.len();
        (writer.dirty + made as u64).saturating_sub(dropped as u64)
    }

    /// Whether it wrote extents that are not durable yet.
    pub fn has_unsynced_extents(&self) -> bool {
        self.extents_unsynced
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
        let depth = self.depth;
        self.writer().depths[index as usize] = depth;
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
        at.frame_index().is_some_and(|index| {
            self.is_own(index) && (self.depth == 0 || self.writer_ref().depths[index as usize] == self.depth)
        })
    }

    /// Whether this transaction made the page in a frame, frozen by a savepoint or not.
    fn is_own(&self, index: u32) -> bool {
        self.core.pool.tag(index).is_some_and(|tag| !tag.is_published())
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
            Some(index) if self.is_own(index) => self.superseded_frames.push(index),
            Some(index) => self.dropped_frames.push(index),
            None if self.spilled.remove(at.number()) => {
                if self.depth > 0 {
                    self.superseded_pages.push(at.number());
                    return Ok(());
                }
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
        core.forget_run(run);
        self.extents_unsynced = true;
        self.put_value(run.start, bytes)?;
        self.widen_view()?;
        Ok(run)
    }

    /// Notes a write to the file that the commit will flush.
    pub(crate) fn note_write(&mut self, start: u64, len: u64) {
        let slack = self.core.page_size as u64;
        if self.sends_early()
            && let Some(range) = self.unsent.note(start..start + len, slack)
        {
            self.core.begin_to_send(&range);
        }
    }

    /// Whether large writes are to set out at once.
    pub(crate) fn sends_early(&self) -> bool {
        self.writer_ref().sends_early
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
            self.write_gathered()?;
            self.core.flush()?;
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

    /// Sees to it that the file has room for a checkpoint of all dirty pages: so a full disk is an error of the commit that
    /// needs the room, before anything of it is promised, and what was promised before can always be written. Answers
    /// [`WriteTxn::dirty_pages`]. Costs little beside counting these; now and then a sum over the regions of the file, each
    /// 128 MB at 4 KiB.
    ///
    /// # Errors
    /// [`Error::DiskFull`]; a damaged allocation map.
    pub fn reserve_room(&mut self) -> Result<u64, Error> {
        let (core, pages) = (self.core.clone(), self.dirty_pages());
        self.writer().reserve_room(&core, pages)?;
        Ok(pages)
    }

    /// Does everything that could still keep the new state from being published. What publishes behind a
    /// log calls it before the log record is written.
    ///
    /// # Errors
    /// Where the file's map cannot grow; a damaged allocation map.
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.forget_savepoints()?;
        self.widen_view()
    }

    /// Makes the new state visible to snapshots that begin from now on. Its durability is the caller's
    /// affair: a log record flushed before, or a checkpoint.
    ///
    /// # Errors
    /// Only where the file's map cannot grow; then nothing changed.
    pub fn publish(self) -> Result<(), Error> {
        let (core, commit) = (self.core.clone(), self.commit);
        self.stage()?;
        core.publish(commit);
        Ok(())
    }

    /// Makes the new state the one that the next transaction builds upon, visible to no snapshot before
    /// [`Pager::publish`](crate::Pager::publish).
    ///
    /// # Errors
    /// Only where the file's map cannot grow; then nothing changed.
    pub fn stage(mut self) -> Result<(), Error> {
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
        let made = (self.new_frames.len() - spare.len()) as u64;
        self.writer().dirty += made;
        for index in std::mem::take(&mut self.new_frames) {
            if spare.binary_search(&index).is_ok() {
                self.writer().give_back_frame(&core, index);
                continue;
            }
            let bytes = self.frame_mut(index);
            set_birth(bytes, commit);
            let is_leaf = Page::new(bytes).ref_count() == 0;
            self.writer().is_leaf[index as usize] = is_leaf;
            if let Some(tag) = core.pool.tag(index) {
                tag.publish(commit);
            }
        }
        self.replace_state(root);
        if self.leaves_written {
            self.writer().leave_written(&core, commit);
        }
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
        self.writer().leave_written(&core, past);
        let commit = self.commit;
        (self.writer().dirty, self.writer().planned_at) = (0, commit);
        core.publish(self.commit);
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
        self.writer().tip = state.clone();
        core.stage(state);
    }

    /// How many frames hold pages of the state that this transaction makes.
    pub(crate) fn frames_kept(&self) -> usize {
        let gone = self.dropped_frames.len() + self.spare_frames.len();
        self.writer_ref().live_frames().saturating_sub(gone)
    }

    /// After the state was published: this transaction is that commit, with nothing changed.
    pub(crate) fn rebase(&mut self) {
        self.base = self.writer_ref().tip.clone();
        self.page_count_before = self.writer_ref().space.page_count();
        self.set_back_to_base();
    }

    /// For a checkpoint of what is committed already: this transaction is that commit.
    pub(crate) fn set_back_to_base(&mut self) {
        self.change_nothing();
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
        runs.extend(self.superseded_pages.drain(..).map(Run::one));
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
        match self.gathered.value(start, len, self.core.page_size) {
            // What is asked for may be what a damaged page says of a place that was free until now.
            Some(value) if intact(value) => Ok(value),
            Some(_) => Err(Error::other_hash(start)),
            None => self.core.extent(&self.view, start, len, intact),
        }
    }

    fn extent_unverified(&self, start: PageNumber, len: u64) -> Result<(&[u8], bool), Error> {
        match self.gathered.value(start, len, self.core.page_size) {
            Some(value) => Ok((value, false)),
            None => self.core.extent_unverified(&self.view, start, len),
        }
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
