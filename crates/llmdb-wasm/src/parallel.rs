//! Parallel: one map or filter over many rows, on several threads.
//!
//! ```text
//!   rows  | chunk 0 | chunk 1 | chunk 2 | ...      each thread has an instance of its own
//!   sink  <- output of chunk 0, then of chunk 1, then ...
//! ```
//!
//! Invariants
//! 1. What the sink sees, and which error ends it, is the same for any number of threads, as long as the guest's
//!    answers depend on nothing but the rows.
//!
//! Not here: order and back-pressure (`ordered`).

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::failed;
use crate::error::{Error, Result};
use crate::guest::{Role, Stats};
use crate::module::Module;
use crate::ordered::{self, Plan};
use crate::output::Output;
use crate::rows::Rows;
use crate::stage::Stage;

/// Ends a parallel map from anywhere. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// One that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end. It comes after the batches that run.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How to run over many rows: a builder.
///
/// ```
/// use std::ops::ControlFlow;
/// use llmdb_wasm::{Parallel, Rows, Runtime, guests};
///
/// let module = Runtime::default().compile_named("pages", guests::PAGES.as_bytes())?;
/// let pages = vec![1u8; 100 * 4096];
/// let rows = Rows::new(&pages, 4096).expect("whole pages");
/// let mut done = 0;
/// let stats = Parallel::new(2).chunk_rows(16).map(&module, "key32", rows, |part| {
///     assert_eq!(part.first, done);
///     done += part.output.len();
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!((done, stats.records), (100, 100));
/// # Ok::<(), llmdb_wasm::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Parallel {
    threads: usize,
    chunk_rows: usize,
    chunks_ahead: usize,
    cancel: Cancel,
}

/// One chunk's answers, and how far the whole is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Part<'a> {
    /// Index of the first row of the chunk.
    pub first: usize,
    /// The answers, one for each row of the chunk.
    pub output: &'a Output,
    /// Rows answered so far, those of this chunk included.
    pub done: usize,
    /// Rows of all.
    pub total: usize,
}

impl Parallel {
    /// On `threads` threads, at least 1; the caller's own only waits and takes the answers.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        Self { threads, chunk_rows: 4096, chunks_ahead: threads * 4, cancel: Cancel::new() }
    }

    /// Rows that a thread takes at a time. Default 4,096, at least 1. Of pages that are copied whole some hundred are
    /// enough.
    #[must_use]
    pub fn chunk_rows(mut self, count: usize) -> Self {
        self.chunk_rows = count.max(1);
        self
    }

    /// Chunks that may be begun before the answers of the first of them were taken: it bounds the memory. Default 4
    /// for each thread, at least 1.
    #[must_use]
    pub fn chunks_ahead(mut self, count: usize) -> Self {
        self.chunks_ahead = count.max(1);
        self
    }

    /// What ends it early, with [`Error::Cancelled`].
    #[must_use]
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Runs a map over `rows`; `sink` takes the answers chunk by chunk, in order, and may end it.
    ///
    /// # Errors
    /// As [`Module::map`] and [`Stage::rows`]; [`Error::Cancelled`] by `sink` or [`cancel`](Self::cancel).
    pub fn map(
        &self,
        module: &Module,
        name: &str,
        rows: Rows<'_>,
        sink: impl FnMut(Part<'_>) -> ControlFlow<()>,
    ) -> Result<Stats> {
        self.run(module, name, Role::Map, rows, sink)
    }

    /// As [`map`](Self::map), for a filter.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn filter(
        &self,
        module: &Module,
        name: &str,
        rows: Rows<'_>,
        sink: impl FnMut(Part<'_>) -> ControlFlow<()>,
    ) -> Result<Stats> {
        self.run(module, name, Role::Filter, rows, sink)
    }

    fn run(
        &self,
        module: &Module,
        name: &str,
        role: Role,
        rows: Rows<'_>,
        mut sink: impl FnMut(Part<'_>) -> ControlFlow<()>,
    ) -> Result<Stats> {
        let total = Mutex::new(Stats::default());
        let cancelled = || Error::Cancelled { module: module.name().to_owned(), function: role.export(name) };
        let chunk = |number: usize| rows.part(number * self.chunk_rows, self.chunk_rows);
        let count = rows.len().div_ceil(self.chunk_rows);
        let plan = Plan { count, threads: self.threads, ahead: self.chunks_ahead };
        let worker = || Worker { stage: None, total: &total };
        let work = |worker: &mut Worker<'_>, number: usize, is_over: &AtomicBool| {
            let is_over = || is_over.load(Ordering::Relaxed) || self.cancel.is_cancelled();
            worker.work(module, name, role, chunk(number), is_over)
        };
        let sink = |number: usize, output: Output| {
            let (first, total) = (number * self.chunk_rows, rows.len());
            let done = first + output.len();
            let flow = sink(Part { first, output: &output, done, total });
            if flow.is_break() || (self.cancel.is_cancelled() && done < total) {
                return Err(cancelled());
            }
            Ok(())
        };
        ordered::run(plan, worker, work, sink, || failed(module.name(), "its threads ended early"))?;
        Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One thread's share.
struct Worker<'a> {
    /// Made with the first chunk, and anew after an error.
    stage: Option<Stage>,
    total: &'a Mutex<Stats>,
}

impl Worker<'_> {
    fn work(
        &mut self,
        module: &Module,
        name: &str,
        role: Role,
        rows: Rows<'_>,
        is_over: impl FnMut() -> bool,
    ) -> Result<Output> {
        let mut stage = match self.stage.take() {
            Some(stage) => stage,
            None => Stage::new(&module.loaded, name, role)?,
        };
        let mut output = stage.output();
        stage.rows_into(rows, &mut output, is_over)?;
        self.stage = Some(stage);
        Ok(output)
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        let Some(stage) = &self.stage else { return };
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        *total += stage.stats();
    }
}
