//! Tags: in which snapshots a frame is.
//!
//! ```text
//! born      MAX ....... 5 .................. MAX ........ 9        MAX = no snapshot can see it
//! retired   MAX ................. 7 ............. MAX .....
//!           writer's |  published | retired |  writer's  | published
//! ```
//!
//! One writer changes a tag, any number of readers look. A reader whose snapshot is in the tag is open, and the
//! writer takes no such frame back; so what the tag must hold up against is a reader whose snapshot is not
//! in it (a wrong reference), which looks while the frame is taken back and used anew.
//!
//! Invariants
//! 1. A reader sees a frame only if its snapshot is in `born..retired` of one and the same use of the frame:
//!    it reads the birth again after the retirement, and no two uses have the same birth.
//! 2. Whoever sees a frame sees all that was written into it before it was published.
//!
//! Not here: the frames (`raw`). Every order of the steps is tried by `tests/loom_tags.rs`.

// A door, so that the model can put its own atomics behind it.
use crate::atomic::{AtomicU64, Ordering};

/// In which snapshots a frame is: those numbered `born..retired`.
#[derive(Debug)]
pub(crate) struct Tag {
    born: AtomicU64,
    retired: AtomicU64,
}

/// The birth of a frame that no snapshot can see, and the end of one that is in the newest.
const NEVER: u64 = u64::MAX;

impl Tag {
    pub(crate) fn new() -> Self {
        Self { born: AtomicU64::new(NEVER), retired: AtomicU64::new(NEVER) }
    }

    /// Whether the snapshot numbered `commit` sees the frame.
    #[inline]
    pub(crate) fn is_seen_by(&self, commit: u64) -> bool {
        let born = self.born.load(Ordering::Acquire);
        if born > commit {
            return false;
        }
        // A frame that was taken back meanwhile looks as if it were never retired. Whoever sees that sees
        // the birth gone as well, for it goes first.
        commit < self.retired.load(Ordering::Acquire) && self.born.load(Ordering::Relaxed) == born
    }

    /// Whether a snapshot may see the frame. The writer's question.
    pub(crate) fn is_published(&self) -> bool {
        self.born.load(Ordering::Relaxed) != NEVER
    }

    /// The first snapshot that sees the frame. The writer's question.
    pub(crate) fn born(&self) -> u64 {
        self.born.load(Ordering::Relaxed)
    }

    /// The first snapshot that does not see the frame any more; `None` where the newest does. The writer's question.
    pub(crate) fn retired(&self) -> Option<u64> {
        Some(self.retired.load(Ordering::Relaxed)).filter(|retired| *retired != NEVER)
    }

    /// Snapshots from `commit` on see the frame and what is in it.
    pub(crate) fn publish(&self, commit: u64) {
        self.born.store(commit, Ordering::Release);
    }

    /// Snapshots from `commit` on do not see the frame any more.
    pub(crate) fn retire(&self, commit: u64) {
        self.retired.store(commit, Ordering::Release);
    }

    /// The frame is the writer's again. Invisible first, so that no reader sees half a change.
    pub(crate) fn reset(&self) {
        self.born.store(NEVER, Ordering::Release);
        self.retired.store(NEVER, Ordering::Release);
    }
}
