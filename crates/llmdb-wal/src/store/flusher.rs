//! The thread that flushes the log at intervals, whatever the store's other thread is busy with.
//!
//! Invariants
//! 1. Between two flushes there is the interval and a flush's time, also while a checkpoint is written.
//! 2. It holds the store only while it flushes, so the last handle closes the store without it.
//! 3. A failed flush poisons the database, which whoever commits next is told.

use super::Inner;
use llmdb_pager::Error as PagerError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A shorter interval would be a thread that does nothing else.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Starts the thread, and ends it.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// There was none before the first commit that asked for one.
    thread: Option<JoinHandle<()>>,
    is_ended: bool,
}

impl Flusher {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread, unless it runs: the first interval counts.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn start(self: &Arc<Self>, store: Weak<Inner>, interval: Duration) -> Result<(), PagerError> {
        let mut state = self.state();
        if state.thread.is_some() || state.is_ended {
            return Ok(());
        }
        let flusher = self.clone();
        let thread = thread::Builder::new()
            .name("llmdb-flusher".into())
            .spawn(move || flusher.run(&store, interval.max(INTERVAL_MIN)))
            .map_err(|e| PagerError::io("starting the thread that flushes at intervals", e))?;
        state.thread = Some(thread);
        Ok(())
    }

    fn run(&self, store: &Weak<Inner>, interval: Duration) {
        while self.wait(interval) {
            let Some(store) = store.upgrade() else { return };
            store.flush_at_interval();
        }
    }

    /// Waits for the interval. Whether there is another.
    fn wait(&self, interval: Duration) -> bool {
        let state = self.state();
        let waited = self.changed.wait_timeout_while(state, interval, |state| !state.is_ended);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_ended
    }

    /// Ends the thread, after the flush that runs now.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.is_ended = true;
        let thread = state.thread.take();
        drop(state);
        self.changed.notify_all();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
