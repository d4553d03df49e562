//! The scrubber: reads pages in use at a bounded rate, over and over, so that rot shows while a backup
//! still has what it spoilt.
//!
//! ```text
//! pass:   metas and map, then pages by number ──── slice ──── slice ──── slice ──── end
//! slice:  new snapshot; walk the pages that refer to others (cached, few);
//!         take the next pages by number; read, verify, sleep
//! ```
//!
//! Invariants
//! 1. A snapshot is held for a slice only: some seconds, whatever the size of the file.
//! 2. A page that stays where it is for a whole pass is read once in it. One that is written anew meanwhile
//!    was checked by being written, and comes with the next pass at the latest.
//!
//! Not here: comparing the allocation map with what is reachable (`check`); repairing.

use crate::check::{Below, Damage, Item, Work, examine};
use crate::error::Error;
use crate::page::{Page, PageNumber, Ref};
use crate::pager::Pager;
use crate::snapshot::{PageSource as _, Snapshot};
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A slice is what the rate allows in this time.
const SLICE: Duration = Duration::from_secs(10);
/// Pages of a slice, at least and at most.
const SLICE_PAGES: std::ops::RangeInclusive<u64> = 64..=65_536;
/// Bytes that are read between two looks at the rate.
const STEP_SIZE: u64 = 256 << 10;

/// While it waits, the callback is asked at least this often.
const PATIENCE: Duration = Duration::from_millis(100);

/// How to scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubOptions {
    /// Bytes a second, at most, over some seconds.
    pub bytes_per_s: u64,
    /// Where to go on: [`ScrubReport::next`] of a pass that was stopped; page 0 begins a pass.
    pub from: PageNumber,
}

impl ScrubOptions {
    /// A new pass at this rate in bytes a second.
    pub fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, from: PageNumber(0) }
    }

    /// Goes on where a pass was stopped.
    #[must_use]
    pub fn from(mut self, page: PageNumber) -> Self {
        self.from = page;
        self
    }
}

/// What a scrub tells of while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScrubEvent {
    /// Something is wrong.
    Damage(Damage),
    /// All pages below `next` are done.
    Reached {
        /// Where a pass that is stopped now would go on.
        next: PageNumber,
        /// Bytes read so far.
        bytes: u64,
    },
}

/// What a scrub did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Bytes read.
    pub bytes: u64,
    /// How often damage was told of.
    pub damage_count: u64,
    /// Where to go on; `None` where the pass came to its end.
    pub next: Option<PageNumber>,
}

impl Pager {
    /// Reads and checks pages in use, in the file's order, at a bounded rate, on the caller's thread. Tells
    /// `on` of damage and of how far it got; where that answers `Break`, the pass stops and can be gone on
    /// with later, by another process too. Readers and the writer go on; at the pass's beginning the
    /// writer is held while metas and allocation map are read.
    ///
    /// `visit` is as for [`Pager::check`]. An extent is read with the page that refers to it. Bytes that the
    /// system has cached are checked as they are cached.
    ///
    /// # Errors
    /// What stops the scrub itself: an I/O error, or memory that ran out. Damage is no error.
    pub fn scrub<P: Send + Sync>(
        &self,
        options: ScrubOptions,
        visit: &(impl Fn(Page<'_>, Option<&P>) -> Below<P> + Sync),
        on: &mut dyn FnMut(ScrubEvent) -> ControlFlow<()>,
    ) -> Result<ScrubReport, Error> {
        let mut scrub = Scrub { report: ScrubReport::default(), pace: Pace::new(options.bytes_per_s), on };
        let mut next = options.from;
        if next.0 == 0 && scrub.tell_damage(self.check_metas_and_map()?).is_break() {
            return Ok(scrub.stopped(next));
        }
        loop {
            let slice = Slice::collect(self, next, options.bytes_per_s, visit)?;
            if scrub.tell_damage(slice.damage).is_break() {
                return Ok(scrub.stopped(next));
            }
            let mut open = slice.work;
            while !open.is_empty() {
                let behind = open.split_off(step_len(&open, self.page_size() as u64));
                let from = next;
                next = PageNumber(open.last().map_or(next.0, |work| work.start() + 1));
                let done = scrub.step(&slice.snapshot, open, visit, from)?;
                open = behind;
                if done.is_break() {
                    return Ok(scrub.stopped(from));
                }
                if scrub.reached(next).is_break() {
                    return Ok(scrub.stopped(next));
                }
            }
            if slice.is_last {
                return Ok(scrub.report);
            }
        }
    }

    /// Scrubs in a thread of its own, pass after pass with `pause` between them, until the answer is dropped
    /// or stopped. An error ends it too, and comes from [`Scrubber::stop`].
    ///
    /// # Errors
    /// An I/O error where no thread can be made.
    pub fn spawn_scrubber<P: Send + Sync>(
        &self,
        options: ScrubOptions,
        pause: Duration,
        visit: impl Fn(Page<'_>, Option<&P>) -> Below<P> + Send + Sync + 'static,
        mut on: impl FnMut(ScrubEvent) + Send + 'static,
    ) -> Result<Scrubber, Error> {
        let stop = Arc::new(Stop::default());
        let (pager, seen) = (self.clone(), stop.clone());
        let run = move || {
            let mut options = options;
            loop {
                let report = pager.scrub(options, &visit, &mut |event| {
                    on(event);
                    if seen.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })?;
                if report.next.is_some() || seen.wait(pause) {
                    return Ok(report.next);
                }
                options.from = PageNumber(0);
            }
        };
        let thread = std::thread::Builder::new()
            .name("llmdb-scrub".into())
            .spawn(run)
            .map_err(|e| Error::io("starting the scrubber's thread", e))?;
        Ok(Scrubber { stop, thread: Some(thread) })
    }
}

/// A scrubber's thread. Dropping it stops the thread and waits for it: for as long as a read of 256 KiB or
/// of one large value takes.
#[derive(Debug)]
pub struct Scrubber {
    stop: Arc<Stop>,
    thread: Option<std::thread::JoinHandle<Result<Option<PageNumber>, Error>>>,
}

impl Scrubber {
    /// Stops the thread. Answers where to go on; `None` between two passes.
    ///
    /// # Errors
    /// What ended the scrubbing before.
    ///
    /// # Panics
    /// Where the callback panicked.
    pub fn stop(mut self) -> Result<Option<PageNumber>, Error> {
        self.stop.set();
        match self.thread.take().map(std::thread::JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(None),
        }
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // What it answers was asked for by nobody.
            let _ = thread.join();
        }
    }
}

/// A flag that can be waited for.
#[derive(Debug, Default)]
struct Stop {
    is_set: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    fn set(&self) {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_set.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// Waits for the flag, or for so long. Whether it is set.
    fn wait(&self, time: Duration) -> bool {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(held, time, |()| !self.is_set());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.is_set()
    }
}

struct Scrub<'a> {
    report: ScrubReport,
    pace: Pace,
    on: &'a mut dyn FnMut(ScrubEvent) -> ControlFlow<()>,
}

impl Scrub<'_> {
    fn tell_damage(&mut self, damage: Vec<Damage>) -> ControlFlow<()> {
        for damage in damage {
            self.report.damage_count += 1;
            (self.on)(ScrubEvent::Damage(damage))?;
        }
        ControlFlow::Continue(())
    }

    /// Tells how far it got, and waits until the rate allows more, asking now and then whether to go on.
    fn reached(&mut self, next: PageNumber) -> ControlFlow<()> {
        loop {
            (self.on)(ScrubEvent::Reached { next, bytes: self.report.bytes })?;
            let wait = self.pace.wait_for(self.report.bytes);
            if wait.is_zero() {
                return ControlFlow::Continue(());
            }
            std::thread::sleep(wait.min(PATIENCE));
        }
    }

    fn stopped(mut self, next: PageNumber) -> ScrubReport {
        self.report.next = Some(next);
        self.report
    }

    /// Reads some pages, and the extents that they refer to.
    fn step<P: Send + Sync>(
        &mut self,
        snapshot: &Snapshot,
        work: Vec<Work<P>>,
        visit: &(impl Fn(Page<'_>, Option<&P>) -> Below<P> + Sync),
        from: PageNumber,
    ) -> Result<ControlFlow<()>, Error> {
        let mut extents = Vec::new();
        for found in examine(snapshot, work, NonZeroUsize::MIN, visit, &mut |_| {})? {
            self.report.bytes += found.pages * snapshot.page_size() as u64;
            if self.tell_damage(found.damage).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            extents.extend(found.extents.into_iter().map(|(extent, _)| Work::Extent(extent)));
        }
        for extent in extents {
            for found in examine(snapshot, vec![extent], NonZeroUsize::MIN, visit, &mut |_| {})? {
                self.report.bytes += found.extent_bytes;
                if self.tell_damage(found.damage).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if self.reached(from).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Holds a rate.
struct Pace {
    bytes_per_s: u64,
    start: Instant,
}

impl Pace {
    fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), start: Instant::now() }
    }

    /// How long until so many bytes may have been read.
    fn wait_for(&self, bytes: u64) -> Duration {
        let due = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        due.saturating_sub(self.start.elapsed())
    }
}

/// How many works to examine before the rate is looked at.
fn step_len<P>(open: &[Work<P>], page_size: u64) -> usize {
    let first = open.first().map_or(0, Work::start);
    open.iter()
        .take((STEP_SIZE / page_size) as usize)
        .take_while(|work| (work.start() - first) * page_size < 4 * STEP_SIZE)
        .count()
}

/// The next pages of a pass.
struct Slice<P> {
    snapshot: Snapshot,
    /// By page number.
    work: Vec<Work<P>>,
    /// Pages above them that could not be walked.
    damage: Vec<Damage>,
    /// Whether no page in use is behind them.
    is_last: bool,
}

/// A page that is found on the walk, the farthest first.
struct Candidate<P>(Item<P>);

impl<P> Candidate<P> {
    fn number(&self) -> u64 {
        self.0.at.number().0
    }
}

impl<P> PartialEq for Candidate<P> {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl<P> Eq for Candidate<P> {}

impl<P> PartialOrd for Candidate<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Candidate<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.number().cmp(&other.number())
    }
}

impl<P: Send + Sync> Slice<P> {
    /// Walks the pages that refer to others for the next pages from `next` on.
    fn collect(
        pager: &Pager,
        next: PageNumber,
        bytes_per_s: u64,
        visit: &impl Fn(Page<'_>, Option<&P>) -> Below<P>,
    ) -> Result<Self, Error> {
        let snapshot = pager.snapshot();
        let pages = bytes_per_s.saturating_mul(SLICE.as_secs()) / pager.page_size() as u64;
        let limit = pages.clamp(*SLICE_PAGES.start(), *SLICE_PAGES.end()) as usize;
        let (mut damage, mut is_last) = (Vec::new(), true);
        let mut found: BinaryHeap<Candidate<P>> = BinaryHeap::new();
        // A page and the place it was given: once for the walk, once for the list.
        let mut open: Vec<(Ref, Option<P>)> = vec![(snapshot.root(), None)];
        while let Some((at, place)) = open.pop() {
            if at.is_null() {
                continue;
            }
            let page = match snapshot.page(at) {
                Ok(page) => page,
                Err(error @ Error::Damaged { .. }) => {
                    damage.push(Damage { page: at.number(), what: error.to_string() });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let below = visit(page, place.as_ref());
            let mut places = below.places.into_iter();
            let mut keep = |item: Item<P>| {
                if !item.at.is_dirty() && item.at.number() >= next {
                    found.push(Candidate(item));
                    if found.len() > limit {
                        found.pop();
                        is_last = false;
                    }
                }
            };
            keep(Item { at, place, is_last: page.ref_count() == 0 });
            for below_at in page.references() {
                let place = places.next();
                if below.is_last && !below_at.is_dirty() && !below_at.is_null() {
                    keep(Item { at: below_at, place, is_last: true });
                } else {
                    open.push((below_at, place));
                }
            }
        }
        let end = found.peek().filter(|_| !is_last).map_or(u64::MAX, |last| last.number() + 1);
        // The walk meets a damaged page in every slice; it is told of in the one where it belongs.
        damage.retain(|damage| (next.0..end).contains(&damage.page.0));
        damage.retain(|damage| found.iter().all(|candidate| candidate.number() != damage.page.0));
        let work = found.into_sorted_vec().into_iter().map(|candidate| Work::Page(candidate.0)).collect();
        Ok(Self { snapshot, work, damage, is_last })
    }
}
