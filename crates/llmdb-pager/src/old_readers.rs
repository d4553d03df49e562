//! Readers that hold what newer commits have replaced: how old they are, who is told, and how they end.
//!
//! A snapshot's age counts from the moment it stopped being the newest: until then it keeps nothing that
//! would otherwise be free. So beginning a snapshot needs no clock.
//!
//! Invariants
//! 1. An ended snapshot answers every further read with an error. What was borrowed from it before stays as
//!    it is: its pages are used again only when it is dropped.
//!
//! Not here: which pages wait for whom (`writer`).

use crate::pager::Pager;
use crate::readers::Owner as _;
use crate::snapshot::{Core, State};
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The oldest snapshot that somebody holds, where it is not the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldReader {
    /// The commit that it sees.
    pub commit: u64,
    /// How long ago a newer commit took its place.
    pub age: Duration,
}

/// Is told of a reader that holds old pages for long. Runs in the thread that writes: it should be short.
pub type OnSlowReader = Arc<dyn Fn(OldReader) + Send + Sync>;

/// What a database does about old readers.
#[derive(Clone, Default)]
pub(crate) struct ReaderRules {
    pub(crate) tell: Option<(Duration, OnSlowReader)>,
    pub(crate) limit: Option<Duration>,
}

impl fmt::Debug for ReaderRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderRules").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// When a state was replaced, and whether its readers are ended.
#[derive(Debug, Default)]
pub(crate) struct Aging {
    replaced: Mutex<Option<Instant>>,
    is_ended: AtomicBool,
}

impl Aging {
    /// A newer state takes this one's place now.
    pub(crate) fn replaced(&self) {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    fn age(&self) -> Option<Duration> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    #[inline]
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
    }
}

fn old(state: &State) -> Option<OldReader> {
    state.aging.age().map(|age| OldReader { commit: state.commit, age })
}

/// Tells of the oldest reader where it is slow, and ends those that are over the limit. The writer calls it
/// when it looks for pages to use again; `told` is when it last told.
pub(crate) fn look(core: &Core, told: &mut Option<Instant>) {
    let rules = &core.reader_rules;
    if rules.tell.is_none() && rules.limit.is_none() {
        return;
    }
    if let Some(limit) = rules.limit {
        core.readers().held(|state| {
            if state.aging.age().is_some_and(|age| age > limit) {
                state.aging.is_ended.store(true, Ordering::Relaxed);
            }
        });
    }
    if let Some((after, tell)) = &rules.tell
        && told.is_none_or(|told| told.elapsed() >= *after)
        && let Some(oldest) = oldest(core)
        && oldest.age >= *after
    {
        *told = Some(Instant::now());
        tell(oldest);
    }
}

fn oldest(core: &Core) -> Option<OldReader> {
    core.readers().held(old).into_iter().flatten().next()
}

impl Pager {
    /// The oldest snapshot that is held though a newer commit has taken its place; `None` where there is
    /// none. What only it can see cannot be used again.
    ///
    /// ```
    /// # use llmdb_pager::{Kind, PagerOptions};
    /// # let folder = tempfile::tempdir()?;
    /// # let pager = PagerOptions::new().create(folder.path().join("pages.llmdb"))?;
    /// let reader = pager.snapshot();
    /// assert_eq!(pager.oldest_reader(), None, "it sees the newest state");
    /// let mut txn = pager.begin_write()?;
    /// let root = txn.allocate(Kind(16), 0)?;
    /// txn.set_root(root);
    /// txn.commit_with_checkpoint([0; 64])?;
    /// assert_eq!(pager.oldest_reader().map(|old| old.commit), Some(0));
    /// # drop(reader);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn oldest_reader(&self) -> Option<OldReader> {
        oldest(&self.core)
    }
}
