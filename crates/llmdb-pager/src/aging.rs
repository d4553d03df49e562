//! How old a replaced state is, whether its readers are ended, and what a database does about old readers.
//!
//! A snapshot's age counts from the moment it stopped being the newest: until then it keeps nothing that
//! would otherwise be free. So beginning a snapshot needs no clock.
//!
//! Not here: who looks at the ages, and when (`old_readers`).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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

    /// How long ago a newer state took its place; `None` for the newest one.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    #[inline]
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
    }

    /// What [`Aging::is_ended`] looks at.
    #[inline]
    pub(crate) fn ended_flag(&self) -> &AtomicBool {
        &self.is_ended
    }

    /// Ends its readers.
    pub(crate) fn end(&self) {
        self.is_ended.store(true, Ordering::Relaxed);
    }
}
