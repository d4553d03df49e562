//! What threads sleep on that wait for a flush: a word for each of the two groups that can be waited for at once,
//! the one in flight and the one that follows it.
//!
//! Invariants
//! 1. Who looks at a word under the log's lock and then waits is woken by any change since the look.
//!
//! Two words, because with one everybody is woken by each flush: with 32 committing threads that halved the rate.

use std::sync::atomic::{AtomicU32, Ordering};

/// A word for groups of even numbers, and one for the others.
#[derive(Debug, Default)]
pub(super) struct Words([Word; 2]);

impl Words {
    pub(super) fn of(&self, group: u32) -> &Word {
        &self.0[group as usize % 2]
    }
}

/// Counts what happened.
#[derive(Debug, Default)]
pub(super) struct Word(AtomicU32);

impl Word {
    pub(super) fn look(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Sleeps until the word has changed since `seen`; may wake for no reason.
    pub(super) fn wait(&self, seen: u32) {
        atomic_wait::wait(&self.0, seen);
    }

    pub(super) fn wake_all(&self) {
        self.0.fetch_add(1, Ordering::Release);
        atomic_wait::wake_all(&self.0);
    }

    pub(super) fn wake_one(&self) {
        self.0.fetch_add(1, Ordering::Release);
        atomic_wait::wake_one(&self.0);
    }
}
