//! The store's own thread: writes checkpoints beside transactions, and prepares space in the log.
//!
//! Invariants
//! 1. It holds the store only while it works, so the last handle closes the store without it.
//! 2. A failure poisons the database, which whoever commits next is told, a panic (of a storage, or of a function that the
//!    program gave) as well; nobody waits for the thread's answer.
//!
//! Not here: what is done (`checkpoints`), flushes at intervals (`flusher`).

use super::Inner;
use llmdb_pager::Error as PagerError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

/// Wakes the thread, and ends it.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    wish: Mutex<Wish>,
    changed: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Wish {
    checkpoint: bool,
    log_space: bool,
    stop: bool,
}

/// What there is to do.
#[derive(Clone, Copy, Debug)]
enum Task {
    LogSpace,
    Checkpoint,
}

impl Keeper {
    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a checkpoint.
    pub(super) fn ask_for_checkpoint(&self) {
        let mut wish = self.wish();
        if !wish.checkpoint {
            wish.checkpoint = true;
            self.changed.notify_all();
        }
    }

    /// Asks for more space in the log's ring.
    pub(super) fn ask_for_log_space(&self) {
        let mut wish = self.wish();
        if !wish.log_space {
            wish.log_space = true;
            self.changed.notify_all();
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn start(self: &Arc<Self>, store: Weak<Inner>) -> Result<(), PagerError> {
        let keeper = self.clone();
        let thread = thread::Builder::new()
            .name("llmdb-keeper".into())
            .spawn(move || keeper.run(&store))
            .map_err(|e| PagerError::io("starting the thread that writes checkpoints", e))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    fn run(&self, store: &Weak<Inner>) {
        while let Some(task) = self.next() {
            let Some(store) = store.upgrade() else { return };
            let work = || match task {
                Task::LogSpace => store.grow_log(),
                Task::Checkpoint => store.checkpoint_in_background(true),
            };
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                store.pager.poison("the thread that writes checkpoints panicked");
            }
        }
    }

    /// Waits for something to do. `None` = the end.
    fn next(&self) -> Option<Task> {
        let mut wish = self.wish();
        loop {
            if wish.stop {
                return None;
            }
            if std::mem::take(&mut wish.log_space) {
                return Some(Task::LogSpace);
            }
            if std::mem::take(&mut wish.checkpoint) {
                return Some(Task::Checkpoint);
            }
            wish = self.changed.wait(wish).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the thread, after what it is doing now.
    pub(super) fn stop(&self) {
        self.wish().stop = true;
        self.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // It panics nowhere that we know of, and has nothing to say.
            let _ = thread.join();
        }
    }
}
