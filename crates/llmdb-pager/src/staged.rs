//! Staged states: commits that the writer has applied and built upon, and that no snapshot can see yet.
//!
//! A log that flushes several commits at once applies each as it comes, and publishes the last of them when the
//! flush is done. Those between are never seen by anybody.
//!
//! Invariants
//! 1. Staged states stand in the order of their commits, all behind the newest published one.
//! 2. What the writer asks about open snapshots counts staged states too: each of them may still be published.
//! 3. Publishing and that question exclude each other, so that a state is found staged or published, never
//!    neither.
//!
//! Not here: what makes a commit durable (a layer above), and the states' pages (`snapshot`).

use crate::readers::{Numbered, Readers};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// States that wait to be published.
#[derive(Debug)]
pub(crate) struct Staged<S> {
    states: Mutex<VecDeque<Arc<S>>>,
}

impl<S> Default for Staged<S> {
    fn default() -> Self {
        Self { states: Mutex::new(VecDeque::new()) }
    }
}

impl<S: Numbered> Staged<S> {
    fn states(&self) -> MutexGuard<'_, VecDeque<Arc<S>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the newest state. The writer calls it.
    pub(crate) fn push(&self, state: Arc<S>) {
        self.states().push_back(state);
    }

    /// Makes the newest staged state visible whose commit is at most `commit`, and forgets those before it. The state
    /// whose place it takes is shown to `replaced` before.
    pub(crate) fn publish(&self, readers: &Readers<S>, commit: u64, replaced: impl Fn(&S)) {
        let mut states = self.states();
        let ready = states.partition_point(|state| state.number() <= commit);
        if let Some(newest) = states.drain(..ready).next_back() {
            replaced(&readers.newest());
            readers.publish(newest);
        }
    }

    /// The numbers of all states that a snapshot sees or may still come to see, in order.
    pub(crate) fn open_numbers(&self, readers: &Readers<S>) -> Vec<u64> {
        let states = self.states();
        let mut numbers = readers.open_numbers();
        numbers.extend(states.iter().map(|state| state.number()));
        numbers
    }
}
