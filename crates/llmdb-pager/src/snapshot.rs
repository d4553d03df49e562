//! Snapshots: what a reader sees, unchanged for as long as it looks.
//!
//! Invariants
//! 1. A published state never changes; a new one takes its place.
//! 2. Bytes borrowed from a snapshot stay as they are until the borrow ends: a page or frame that an open
//!    snapshot can see is neither written nor given back (`writer`, reuse).
//! 3. A page of the file is checked (checksum, place, birth, structure) before its first use.
//!
//! Not here: how states come to be (`writer`, `checkpoint`).

use crate::error::Error;
use crate::page::{Page, PageNumber, Ref, verify};
use crate::raw::{FramePool, WriterKey};
use crate::storage::{File, Lock, Map};
use crate::verified::Verified;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Checks the structure of a page whose checksum is right; run once a page, at its first use. The answer
/// names the broken rule.
pub type Validate = fn(Page<'_>) -> Result<(), &'static str>;

/// A published state of the database.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) commit: u64,
    pub(crate) time: i64,
    pub(crate) root: Ref,
    pub(crate) page_count: u64,
    pub(crate) map: Map,
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
    pub(crate) verified: Verified,
    pub(crate) validate: Validate,
    pub(crate) poison: OnceLock<String>,
    current: RwLock<Arc<State>>,
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
        first: Arc<State>,
        lock: Box<dyn Lock>,
    ) -> (Self, WriterKey) {
        let (pool, key) = FramePool::new(page_size);
        let core = Self {
            path,
            file,
            page_size,
            identity,
            seed,
            pool,
            verified: Verified::new(),
            validate,
            poison: OnceLock::new(),
            current: RwLock::new(first),
            _lock: lock,
        };
        (core, key)
    }

    pub(crate) fn current(&self) -> Arc<State> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn publish(&self, state: Arc<State>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = state;
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

    pub(crate) fn doing(&self, what: &str) -> String {
        format!("{what} {}", self.path.display())
    }

    /// A page of the file, checked at its first use.
    pub(crate) fn file_page<'a>(&self, state: &'a State, at: Ref) -> Result<Page<'a>, Error> {
        let number = at.number();
        let bytes = self.file_bytes(state, number, self.page_size as u64)?;
        let page = Page::new(bytes);
        if !self.verified.contains(number) {
            verify(bytes, self.seed, number)?;
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
            return Err(Error::damaged(
                number,
                "an older or newer version of the page is here (a lost write)",
                at.word() >> 48,
                page.birth(),
            ));
        }
        Ok(page)
    }

    /// `len` bytes of the file from the start of page `number`.
    fn file_bytes<'a>(&self, state: &'a State, number: PageNumber, len: u64) -> Result<&'a [u8], Error> {
        let page_size = self.page_size as u64;
        let pages = len.div_ceil(page_size);
        let inside = number.0 >= crate::meta::first_page(self.page_size)
            && number.0.checked_add(pages).is_some_and(|end| end <= state.page_count);
        if !inside {
            return Err(Error::damaged(
                number,
                "a reference leads outside the file",
                state.page_count,
                number.0.saturating_add(pages),
            ));
        }
        let bytes = state.map.reachable_bytes(number.0 * page_size, len as usize);
        bytes.ok_or_else(|| Error::damaged(number, "the file's map ends before it", state.map.len(), len))
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
        if !self.verified.contains(start) {
            if !intact(bytes) {
                return Err(Error::damaged(
                    start,
                    "a large value's hash does not fit",
                    "its hash",
                    "another",
                ));
            }
            self.verified.insert(start);
        }
        Ok(bytes)
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

    /// `len` bytes of an extent from page `start`; `intact` is asked at the extent's first use.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it leaves the file or `intact` says no.
    fn extent(&self, start: PageNumber, len: u64, intact: &dyn Fn(&[u8]) -> bool) -> Result<&[u8], Error>;

    /// Bytes of a page.
    fn page_size(&self) -> usize;
}

/// An open snapshot. Cheap to clone; what it sees is kept until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Snapshot {
    core: Arc<Core>,
    state: Arc<State>,
}

impl Snapshot {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let state = core.current();
        Self { core, state }
    }

    /// The number of the newest commit that it sees; 0 = none.
    pub fn commit(&self) -> u64 {
        self.state.commit
    }

    /// That commit's time in microseconds since 1970; `i64::MIN` where there is none.
    pub fn time(&self) -> i64 {
        self.state.time
    }
}

impl PageSource for Snapshot {
    fn root(&self) -> Ref {
        self.state.root
    }

    fn page(&self, at: Ref) -> Result<Page<'_>, Error> {
        let Some(index) = at.frame_index() else {
            return self.core.file_page(&self.state, at);
        };
        self.core.pool.seen_by(self.state.commit, index).map(Page::new).ok_or_else(|| {
            Error::damaged(
                PageNumber(0),
                "a reference to a frame of another snapshot",
                self.state.commit,
                u64::from(index),
            )
        })
    }

    fn extent(&self, start: PageNumber, len: u64, intact: &dyn Fn(&[u8]) -> bool) -> Result<&[u8], Error> {
        self.core.extent(&self.state, start, len, intact)
    }

    fn page_size(&self) -> usize {
        self.core.page_size
    }
}
