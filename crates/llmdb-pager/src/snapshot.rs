//! Snapshots: what a reader sees, unchanged for as long as it looks.
//!
//! Invariants
//! 1. A published state never changes; a new one takes its place.
//! 2. Bytes borrowed from a snapshot stay as they are until the borrow ends: a page or frame that an open
//!    snapshot can see is neither written nor given back (`writer`, reuse).
//! 3. A page of the file is checked (checksum, place, birth, structure) before its first use.
//!
//! Not here: how states come to be (`writer`, `checkpoint`).

use crate::aging::{Aging, ReaderRules};
use crate::error::Error;
use crate::page::{Page, PageNumber, Ref, verify};
use crate::raw::{FramePool, WriterKey};
use crate::readers::{Numbered, Owner, Pinned, Readers};
use crate::space::Run;
use crate::staged::Staged;
use crate::storage::{File, Lock, Map};
use crate::verified::{CheckedPages, Verified};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Checks the structure of a page whose checksum is right; run once a page, at its first use. The answer
/// names the broken rule.
pub type Validate = fn(Page<'_>) -> Result<(), &'static str>;

/// Extents of this many bytes are fetched ahead at each use, shorter ones at the first only: the map is
/// advised for random reads, which would fetch page after page.
const ADVISE_SIZE_MIN: u64 = 128 << 10;

/// A published state of the database.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) commit: u64,
    pub(crate) time: i64,
    pub(crate) root: Ref,
    pub(crate) page_count: u64,
    pub(crate) map: Map,
    pub(crate) aging: Aging,
}

/// What the file held when it was opened: nothing in it is newer than its newest commit.
struct Found {
    commit: u64,
    page_count: u64,
    /// Pages of it that this process has written since.
    replaced: Verified,
}

impl Found {
    /// The newest birth that what stands at a page can have.
    fn birth_max(&self, page: PageNumber) -> u64 {
        let is_found = page.0 < self.page_count && self.replaced.has_room(page);
        if is_found && !self.replaced.contains(page) { self.commit } else { u64::MAX }
    }
}

/// What readers and the writer share.
pub(crate) struct Core {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) page_size: usize,
    pub(crate) identity: u128,
    /// `identity` as the word that seeds checksums.
    pub(crate) seed: u64,
    pub(crate) pool: FramePool,
    /// Pages that were checked as pages.
    pub(crate) verified: Verified,
    /// First pages of extents that were checked as extents: a file may refer to a place as both.
    pub(crate) verified_extents: Verified,
    /// What the file held when it was opened.
    found: Found,
    pub(crate) validate: Validate,
    pub(crate) poison: OnceLock<String>,
    /// Held by whoever flushes.
    flushing: Mutex<()>,
    readers: Readers<State>,
    /// Commits that are applied and not visible yet.
    staged: Staged<State>,
    pub(crate) reader_rules: ReaderRules,
    /// Page numbers below this are the metas'.
    first_page: u64,
    /// The page size as a power of two.
    page_shift: u32,
    /// Held for as long as anything may look at the file.
    _lock: Box<dyn Lock>,
}

impl Core {
    #[expect(clippy::too_many_arguments, reason = "called once, with the fields by name at hand")]
    pub(crate) fn new(
        path: PathBuf,
        file: Arc<dyn File>,
        page_size: usize,
        identity: u128,
        seed: u64,
        validate: Validate,
        reader_rules: ReaderRules,
        first: Arc<State>,
        lock: Box<dyn Lock>,
    ) -> (Self, WriterKey) {
        let (pool, key) = FramePool::new(page_size);
        let pages = first.map.len() / page_size as u64;
        let found = Found {
            commit: first.commit,
            page_count: first.page_count,
            replaced: Verified::new(first.page_count),
        };
        let core = Self {
            path,
            file,
            page_size,
            identity,
            seed,
            pool,
            verified: Verified::new(pages),
            verified_extents: Verified::new(pages),
            found,
            validate,
            poison: OnceLock::new(),
            flushing: Mutex::new(()),
            readers: Readers::new(first),
            staged: Staged::default(),
            reader_rules,
            first_page: crate::meta::first_page(page_size),
            page_shift: page_size.trailing_zeros(),
            _lock: lock,
        };
        (core, key)
    }

    /// A place in the file is written anew: what was known of it is not so any more.
    pub(crate) fn forget_checked(&self, page: PageNumber) {
        self.verified.remove(page);
        self.verified_extents.remove(page);
        self.found.replaced.insert(page);
    }

    /// As [`Core::forget_checked`], all pages of a run: none of them is a page of a tree any more.
    pub(crate) fn forget_run(&self, run: Run) {
        self.forget_checked(run.start);
        (run.start.0 + 1..run.end()).for_each(|page| self.verified.remove(PageNumber(page)));
    }

    /// The birth of what begins at a page, as far as it is to be believed: who trusts one that is too new
    /// uses the place again while an old snapshot reads it.
    pub(crate) fn believed_birth(&self, start: PageNumber, birth: u64) -> u64 {
        birth.min(self.found.birth_max(start))
    }

    /// Checks that what stands at a page can have its birth.
    fn check_birth(&self, number: PageNumber, birth: u64) -> Result<(), Error> {
        let newest = self.found.birth_max(number);
        if birth <= newest {
            Ok(())
        } else {
            Err(Error::damaged(number, "it is newer than the newest commit in the file", newest, birth))
        }
    }

    /// Adds a state that snapshots may see once it is published.
    pub(crate) fn stage(&self, state: Arc<State>) {
        self.staged.push(state);
    }

    /// Makes staged commits up to this one visible.
    pub(crate) fn publish(&self, commit: u64) {
        self.staged.publish(&self.readers, commit, |state| state.aging.replaced());
    }

    /// The numbers of all states that a snapshot sees or may still come to see, in order.
    pub(crate) fn open_numbers(&self) -> Vec<u64> {
        self.staged.open_numbers(&self.readers)
    }

    /// The error of a database whose writing failed once.
    pub(crate) fn check_poison(&self) -> Result<(), Error> {
        match self.poison.get() {
            Some(reason) => Err(Error::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Remembers the first failure and passes it on.
    pub(crate) fn poison(&self, error: Error) -> Error {
        let _ = self.poison.set(error.to_string());
        error
    }

    /// Flushes the file. The system tells a failed write once to each that has the file open, so one that two threads
    /// flush is flushed in turns: who comes next is told of a failure that the one before has met.
    ///
    /// # Errors
    /// [`Error::Poisoned`] after a failure; an I/O error, which is remembered.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.in_turn("flushing", || self.file.sync_data())
    }

    /// Sends a range of the file to the device and waits for it; a flush has less left to do.
    ///
    /// # Errors
    /// As [`Core::flush`].
    pub(crate) fn send_on(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.in_turn("sending pages to the device of", || self.file.write_back(offset, len))
    }

    fn in_turn(&self, what: &str, work: impl FnOnce() -> io::Result<()>) -> Result<(), Error> {
        let _turn = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_poison()?;
        work().map_err(|e| self.poison(Error::io(self.doing(what), e)))
    }

    pub(crate) fn doing(&self, what: &str) -> String {
        format!("{what} {}", self.path.display())
    }

    /// A page of the file, checked at its first use.
    #[inline(always)]
    pub(crate) fn file_page<'a>(&self, state: &'a State, at: Ref) -> Result<Page<'a>, Error> {
        let number = at.number();
        if self.verified.contains(number)
            && number.0 < state.page_count
            && let Some(bytes) = state.map.reachable_bytes(number.0 << self.page_shift, self.page_size)
            && at.fits_birth(Page::new(bytes).birth())
        {
            return Ok(Page::new(bytes));
        }
        self.unseen_file_page(state, at)
    }

    /// Asks the processor for a cache line of a page of the file.
    #[inline]
    pub(crate) fn prefetch(&self, state: &State, at: Ref, offset: usize) {
        if !at.is_dirty() {
            state.map.prefetch((at.number().0 << self.page_shift) + offset as u64);
        }
    }

    /// As [`Core::prefetch`], the whole page.
    #[inline]
    fn prefetch_page(&self, state: &State, at: Ref) {
        if !at.is_dirty() {
            state.map.prefetch_range(at.number().0 << self.page_shift, self.page_size);
        }
    }

    /// A page that was not looked at before, or is wrong.
    #[cold]
    #[inline(never)]
    fn unseen_file_page<'a>(&self, state: &'a State, at: Ref) -> Result<Page<'a>, Error> {
        let number = at.number();
        let bytes = self.file_bytes(state, number, self.page_size as u64)?;
        let page = Page::new(bytes);
        if !self.verified.contains(number) {
            verify(bytes, self.seed, number)?;
            self.check_birth(number, page.birth())?;
            (self.validate)(page)
                .map_err(|rule| Error::damaged(number, rule, "a sound page", "a broken one"))?;
            for reference in page.references() {
                if reference.is_dirty() || reference.number().0 >= state.page_count {
                    return Err(Error::damaged(
                        number,
                        "it refers to a page outside the file",
                        state.page_count,
                        reference.word(),
                    ));
                }
            }
            self.verified.insert(number);
        }
        if !at.fits_birth(page.birth()) {
            return Err(Error::lost_write(number, at.word() >> 48, page.birth()));
        }
        Ok(page)
    }

    /// `len` bytes of the file from the start of page `number`.
    fn file_bytes<'a>(&self, state: &'a State, number: PageNumber, len: u64) -> Result<&'a [u8], Error> {
        let pages = len.div_ceil(self.page_size as u64);
        let inside = number.0 >= self.first_page
            && number.0.checked_add(pages).is_some_and(|end| end <= state.page_count);
        if !inside {
            return Err(Error::damaged(
                number,
                "a reference leads outside the file",
                state.page_count,
                number.0.saturating_add(pages),
            ));
        }
        let bytes = state.map.reachable_bytes(number.0 << self.page_shift, len as usize);
        bytes.ok_or_else(|| Error::damaged(number, "the file's map ends before it", state.map.len(), len))
    }

    /// An extent of the file as it stands there, and whether it was found intact before.
    pub(crate) fn extent_unverified<'a>(
        &self,
        state: &'a State,
        start: PageNumber,
        len: u64,
    ) -> Result<(&'a [u8], bool), Error> {
        Ok((self.file_bytes(state, start, len)?, self.verified_extents.contains(start)))
    }

    /// Begins to fetch the blocks of `around` pages of the file in which those of `refs` lie that were not
    /// read since the open, neighbours together.
    pub(crate) fn will_need(&self, state: &State, refs: &mut dyn Iterator<Item = Ref>, around: u64) {
        let around = around.max(1);
        let is_new = |at: &Ref| {
            let number = at.number();
            !at.is_dirty() && number.0 < state.page_count && !self.verified.contains(number)
        };
        let mut blocks: Vec<u64> = refs.filter(is_new).map(|at| at.number().0 / around).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let size = around * self.page_size as u64;
        for run in blocks.chunk_by(|before, after| before + 1 == *after) {
            self.file.will_need(run[0] * size, run.len() as u64 * size);
        }
    }

    /// Whether a page's bytes, read from the file, are the ones that a reference means.
    pub(crate) fn verify_ref(&self, bytes: &[u8], at: Ref) -> Result<(), Error> {
        let number = at.number();
        verify(bytes, self.seed, number)?;
        let birth = Page::new(bytes).birth();
        self.check_birth(number, birth)?;
        if at.fits_birth(birth) { Ok(()) } else { Err(Error::lost_write(number, at.word() >> 48, birth)) }
    }

    /// An extent of the file; `intact` is asked at its first use.
    pub(crate) fn extent<'a>(
        &self,
        state: &'a State,
        start: PageNumber,
        len: u64,
        intact: &dyn Fn(&[u8]) -> bool,
    ) -> Result<&'a [u8], Error> {
        let bytes = self.file_bytes(state, start, len)?;
        let fresh = !self.verified_extents.contains(start);
        if len > self.page_size as u64 && (fresh || len >= ADVISE_SIZE_MIN) {
            self.file.will_need(start.0 * self.page_size as u64, len);
        }
        if fresh {
            if !intact(bytes) {
                return Err(Error::other_hash(start));
            }
            self.verified_extents.insert(start);
        }
        Ok(bytes)
    }
}

impl Numbered for State {
    fn number(&self) -> u64 {
        self.commit
    }
}

impl Owner for Core {
    type State = State;

    #[inline]
    fn readers(&self) -> &Readers<State> {
        &self.readers
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("path", &self.path)
            .field("page_size", &self.page_size)
            .finish_non_exhaustive()
    }
}

/// Where pages are read from: a snapshot, or the writer's own view.
pub trait PageSource {
    /// The top page's reference; null in an empty database.
    fn root(&self) -> Ref;

    /// The page that `at` refers to.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the page is not what its reference, place and checksum say.
    fn page(&self, at: Ref) -> Result<Page<'_>, Error>;

    /// Asks the processor for the cache line at `offset` of the page that `at` refers to, before it is read.
    /// Nothing is checked, and nothing happens where there is no such place.
    fn prefetch(&self, at: Ref, offset: usize);

    /// As [`PageSource::prefetch`], all lines of the page.
    fn prefetch_page(&self, at: Ref) {
        (0..self.page_size()).step_by(64).for_each(|line| self.prefetch(at, line));
    }

    /// `len` bytes of an extent from page `start`; `intact` is asked at the extent's first use.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it leaves the file or `intact` says no.
    fn extent(&self, start: PageNumber, len: u64, intact: &dyn Fn(&[u8]) -> bool) -> Result<&[u8], Error>;

    /// As [`PageSource::extent`], but nothing is asked: for one who checks while reading. The second answer is
    /// whether it was found intact before.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it leaves the file.
    fn extent_unverified(&self, start: PageNumber, len: u64) -> Result<(&[u8], bool), Error>;

    /// Bytes of a page.
    fn page_size(&self) -> usize;

    /// Says that these pages will be read soon, so that those of the file that were not read since it was
    /// opened are fetched meanwhile, many at a time, and with each the aligned block of `around` pages that
    /// it lies in (1 = the page alone). A hint, for scans: it costs a look at a bit a page, and a system
    /// call for each run of pages that are new.
    fn will_need(&self, refs: &mut dyn Iterator<Item = Ref>, around: u64) {
        let _ = (refs, around);
    }
}

/// An open snapshot. Cheap to clone; what it sees is kept until the last clone is dropped. Beginning and
/// ending take no lock and share no counter with other readers; nor does cloning, while the reader table has
/// an idle place behind its own.
#[derive(Clone, Debug)]
pub struct Snapshot {
    held: Pinned<Core>,
}

impl Snapshot {
    #[inline]
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self { held: Pinned::newest(core) }
    }

    /// A snapshot of another state than the newest one, which the writer vouches for.
    pub(crate) fn of(core: &Arc<Core>, state: Arc<State>) -> Self {
        Self { held: Pinned::of(core, state) }
    }

    pub(crate) fn core(&self) -> &Core {
        self.held.owner()
    }

    /// Asks `intact` of an extent, whatever was checked before.
    pub(crate) fn extent_anew(
        &self,
        start: PageNumber,
        len: u64,
        intact: &dyn Fn(&[u8]) -> bool,
    ) -> Result<(), Error> {
        let core = self.core();
        let bytes = core.file_bytes(self.held.state(), start, len)?;
        core.file.will_need(start.0 * core.page_size as u64, len);
        if intact(bytes) { Ok(()) } else { Err(Error::other_hash(start)) }
    }

    /// The number of the newest commit that it sees; 0 = none.
    #[inline]
    pub fn commit(&self) -> u64 {
        self.held.state().commit
    }

    /// Pages of the file that it may see end here.
    pub(crate) fn page_count(&self) -> u64 {
        self.held.state().page_count
    }

    /// That commit's time in microseconds since 1970; `i64::MIN` where there is none.
    pub fn time(&self) -> i64 {
        self.held.state().time
    }

    /// The pages of the file that were checked before, to be found quickly.
    ///
    /// ```
    /// # use llmdb_pager::{Kind, PageSource, PagerOptions};
    /// # let folder = tempfile::tempdir()?;
    /// # let pager = PagerOptions::new().create(folder.path().join("pages.llmdb"))?;
    /// # let mut txn = pager.begin_write()?;
    /// # let root = txn.allocate(Kind(16), 0)?;
    /// # txn.set_root(root);
    /// # txn.commit_with_checkpoint([0; 64])?;
    /// let snapshot = pager.snapshot();
    /// let pages = snapshot.checked_pages();
    /// let pages = pages.of_size::<4096>().expect("that is the size of a page");
    /// assert!(pages.get(snapshot.root()).is_none(), "nobody looked at it so far");
    /// let page = snapshot.page(snapshot.root())?;
    /// assert_eq!(pages.get(snapshot.root()).map(|bytes| &bytes[..]), Some(page.bytes()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn checked_pages(&self) -> CheckedPages<'_> {
        let (core, state) = (self.held.owner(), self.held.state());
        let is_ended = state.aging.ended_flag();
        CheckedPages::new(&core.verified, &state.map, state.page_count, core.page_size, is_ended)
    }

    #[inline(always)]
    fn check_not_ended(&self) -> Result<(), Error> {
        if self.held.state().aging.is_ended() { Err(self.ended()) } else { Ok(()) }
    }

    /// A page, whether the snapshot is ended or not.
    #[inline(always)]
    pub(crate) fn page_of(&self, at: Ref) -> Result<Page<'_>, Error> {
        match at.frame_index() {
            None => self.held.owner().file_page(self.held.state(), at),
            Some(index) => self.frame(index),
        }
    }

    #[cold]
    fn ended(&self) -> Error {
        let limit = self.held.owner().reader_rules.limit.unwrap_or_default();
        Error::SnapshotEnded { commit: self.commit(), limit }
    }

    /// An extent, whether the snapshot is ended or not.
    pub(crate) fn extent_of(
        &self,
        start: PageNumber,
        len: u64,
        intact: &dyn Fn(&[u8]) -> bool,
    ) -> Result<&[u8], Error> {
        self.held.owner().extent(self.held.state(), start, len, intact)
    }

    #[inline]
    fn frame(&self, index: u32) -> Result<Page<'_>, Error> {
        let commit = self.commit();
        self.held.owner().pool.seen_by(commit, index).map(Page::new).ok_or_else(|| {
            Error::damaged(
                PageNumber(0),
                "a reference to a frame of another snapshot",
                commit,
                u64::from(index),
            )
        })
    }
}

impl PageSource for Snapshot {
    #[inline]
    fn root(&self) -> Ref {
        self.held.state().root
    }

    #[inline(always)]
    fn page(&self, at: Ref) -> Result<Page<'_>, Error> {
        self.check_not_ended()?;
        self.page_of(at)
    }

    #[inline]
    fn prefetch(&self, at: Ref, offset: usize) {
        self.held.owner().prefetch(self.held.state(), at, offset);
    }

    #[inline]
    fn prefetch_page(&self, at: Ref) {
        self.held.owner().prefetch_page(self.held.state(), at);
    }

    fn extent(&self, start: PageNumber, len: u64, intact: &dyn Fn(&[u8]) -> bool) -> Result<&[u8], Error> {
        self.check_not_ended()?;
        self.extent_of(start, len, intact)
    }

    fn extent_unverified(&self, start: PageNumber, len: u64) -> Result<(&[u8], bool), Error> {
        self.held.owner().extent_unverified(self.held.state(), start, len)
    }

    #[inline]
    fn page_size(&self) -> usize {
        self.held.owner().page_size
    }

    fn will_need(&self, refs: &mut dyn Iterator<Item = Ref>, around: u64) {
        self.held.owner().will_need(self.held.state(), refs, around);
    }
}
