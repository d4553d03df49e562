//! Parallel: one map or filter over many rows, or over a range of the pages of a file, on several threads.
//!
//! ```text
//!   items  | chunk 0 | chunk 1 | chunk 2 | ...      each thread has an instance of its own
//!   sink   <- output of chunk 0, then of chunk 1, then ...
//! ```
//!
//! Invariants
//! 1. What the sink sees, and which error ends it, is the same for any number of threads, as long as the guest's
//!    answers depend on nothing but the items.
//!
//! Not here: order and back-pressure (`ordered`).

use std::ops::{ControlFlow, Range};
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
#[cfg(unix)]
use crate::window::{Window, WindowStage};

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

/// What takes the answers of a parallel run, chunk by chunk in their order, and may end it. Any closure of that form is
/// one.
pub trait Sink: FnMut(Part<'_>) -> ControlFlow<()> {}

impl<F: FnMut(Part<'_>) -> ControlFlow<()>> Sink for F {}

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
    /// Index of the first row of the chunk, or of its first page in the window.
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
    pub fn map(&self, module: &Module, name: &str, rows: Rows<'_>, sink: impl Sink) -> Result<Stats> {
        self.rows((module, name, Role::Map), rows, sink)
    }

    /// As [`map`](Self::map), for a filter.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn filter(&self, module: &Module, name: &str, rows: Rows<'_>, sink: impl Sink) -> Result<Stats> {
        self.rows((module, name, Role::Filter), rows, sink)
    }

    /// Runs a map over a range of the pages of `window`, by their index in it, which each thread maps for itself. As
    /// [`Module::map_trusted`], only for functions that may read every byte of the window.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use llmdb_wasm::{Parallel, Runtime, Window, guests};
    /// # let mut file = tempfile::tempfile()?;
    /// # std::io::Write::write_all(&mut file, &[1; 64 * 4096])?;
    /// let window = Window::new(file, 0, 64 * 4096).expect("neither empty nor too large");
    /// let module = Runtime::default().compile_named("pages", guests::PAGES.as_bytes())?;
    /// let mut sums = Vec::new();
    /// Parallel::new(2).chunk_rows(8).map_trusted(&module, "page_sum", &window, 10..50, |part| {
    ///     assert_eq!(part.first, 10 + sums.len());
    ///     sums.extend(part.output.iter().map(<[u8]>::to_vec));
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(sums.len(), 40);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Module::map_trusted`] and [`WindowStage::pages`]; [`Error::Cancelled`] as for [`map`](Self::map).
    #[cfg(unix)]
    pub fn map_trusted(
        &self,
        module: &Module,
        name: &str,
        window: &Window,
        pages: Range<usize>,
        sink: impl Sink,
    ) -> Result<Stats> {
        let make = || module.map_trusted(name, window);
        let work = |stage: &mut WindowStage, pages: Range<usize>, output: &mut Output, is_over: &Look<'_>| {
            stage.answer(pages.start as u64..pages.end as u64, output, is_over)
        };
        let kind = Kind { make, output: WindowStage::output, work, stats: WindowStage::stats };
        self.run((module, name, Role::Map), pages, kind, sink)
    }

    fn rows(&self, function: Function<'_>, rows: Rows<'_>, sink: impl Sink) -> Result<Stats> {
        let (module, name, role) = function;
        let work = |stage: &mut Stage, chunk: Range<usize>, output: &mut Output, is_over: &Look<'_>| {
            stage.rows_into(rows.part(chunk.start, chunk.len()), output, is_over)
        };
        let make = || Stage::new(&module.loaded, name, role);
        let kind = Kind { make, output: Stage::output, work, stats: Stage::stats };
        self.run(function, 0..rows.len(), kind, sink)
    }

    fn run<S, M, W>(
        &self,
        (module, name, role): Function<'_>,
        items: Range<usize>,
        kind: Kind<S, M, W>,
        mut sink: impl Sink,
    ) -> Result<Stats>
    where
        M: Fn() -> Result<S> + Sync,
        W: Fn(&mut S, Range<usize>, &mut Output, &Look<'_>) -> Result<()> + Sync,
    {
        let sum = Mutex::new(Stats::default());
        let cancelled = || Error::Cancelled { module: module.name().to_owned(), function: role.export(name) };
        let chunk = |number: usize| {
            let start = items.start + number * self.chunk_rows;
            start..items.end.min(start.saturating_add(self.chunk_rows))
        };
        let plan = Plan {
            count: items.len().div_ceil(self.chunk_rows),
            threads: self.threads,
            ahead: self.chunks_ahead,
        };
        let worker = || Worker { stage: None, stats: kind.stats, sum: &sum };
        let work = |worker: &mut Worker<'_, S>, number: usize, is_over: &AtomicBool| {
            let is_over = || is_over.load(Ordering::Relaxed) || self.cancel.is_cancelled();
            let mut stage = worker.stage.take().map_or_else(&kind.make, Ok)?;
            let mut output = (kind.output)(&stage);
            (kind.work)(&mut stage, chunk(number), &mut output, &is_over)?;
            worker.stage = Some(stage);
            Ok(output)
        };
        let total = items.len();
        let sink = |number: usize, output: Output| {
            let first = chunk(number).start;
            let done = first - items.start + output.len();
            let flow = sink(Part { first, output: &output, done, total });
            if flow.is_break() || (self.cancel.is_cancelled() && done < total) {
                return Err(cancelled());
            }
            Ok(())
        };
        ordered::run(plan, worker, work, sink, || failed(module.name(), "its threads ended early"))?;
        Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which function of which module, and what it is.
type Function<'a> = (&'a Module, &'a str, Role);

/// Whether everything is over.
type Look<'a> = dyn Fn() -> bool + 'a;

/// A kind of stage: how one is made, what answers it has, how it takes a chunk of the items, what it has taken.
struct Kind<S, M, W> {
    make: M,
    output: fn(&S) -> Output,
    work: W,
    stats: fn(&S) -> Stats,
}

/// One thread's share.
struct Worker<'a, S> {
    /// Made with the first chunk, and anew after an error.
    stage: Option<S>,
    stats: fn(&S) -> Stats,
    sum: &'a Mutex<Stats>,
}

impl<S> Drop for Worker<'_, S> {
    fn drop(&mut self) {
        let Some(stage) = &self.stage else { return };
        *self.sum.lock().unwrap_or_else(PoisonError::into_inner) += (self.stats)(stage);
    }
}
