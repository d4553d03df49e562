//! Reading and examining many pages at a time, on several threads.
//!
//! Invariants
//! 1. The answer is in the order of page numbers, whichever thread was first.
//! 2. Whoever calls holds a snapshot that keeps every page asked for.

use super::{Below, Damage, ExtentUse};
use crate::error::Error;
use crate::page::{Page, PageNumber, Ref};
use crate::snapshot::Snapshot;
use crate::storage::read_exact_at;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

/// Pages are read together, up to this many bytes.
const READ_SIZE: u64 = 1 << 20;
/// Two pages this many bytes apart are read together: a seek costs more.
const GAP_MAX: u64 = 64 << 10;
/// A batch ends when its pages, and those that are expected below them, are this many.
const BATCH_COST: u64 = 1 << 21;
/// How many pages are expected below a page that refers to others.
const FAN: u64 = 512;
/// A thread more is worth its while from this many bytes on.
const THREAD_BYTES: u64 = 4 << 20;

/// A page to examine.
pub(crate) struct Item<P> {
    pub(crate) at: Ref,
    pub(crate) place: Option<P>,
    pub(crate) is_last: bool,
}

/// A page or an extent to examine.
pub(crate) enum Work<P> {
    Page(Item<P>),
    Extent(ExtentUse),
}

impl<P> Work<P> {
    pub(crate) fn start(&self) -> u64 {
        match self {
            Self::Page(item) => item.at.number().0,
            Self::Extent(extent) => extent.run.start.0,
        }
    }

    pub(crate) fn pages(&self) -> u64 {
        match self {
            Self::Page(_) => 1,
            Self::Extent(extent) => extent.run.count,
        }
    }
}

/// What pages that were read together turned out to be.
pub(crate) struct Found<P> {
    pub(crate) pages: u64,
    pub(crate) extent_bytes: u64,
    pub(crate) damage: Vec<Damage>,
    pub(crate) below: Vec<Item<P>>,
    /// Extents, and the page that refers to each.
    pub(crate) extents: Vec<(ExtentUse, PageNumber)>,
}

impl<P> Found<P> {
    fn new() -> Self {
        Self { pages: 0, extent_bytes: 0, damage: Vec::new(), below: Vec::new(), extents: Vec::new() }
    }

    fn add(&mut self, page: PageNumber, what: impl Into<String>) {
        self.damage.push(Damage { page, what: what.into() });
    }
}

/// The last works of a list, as many as memory is meant for.
pub(crate) fn take_batch<P>(open: &mut Vec<Work<P>>) -> Vec<Work<P>> {
    let mut cost = 0;
    let first = open.iter().rposition(|work| {
        cost += match work {
            Work::Page(item) if !item.is_last => FAN,
            _ => 1,
        };
        cost >= BATCH_COST
    });
    open.split_off(first.unwrap_or(0))
}

/// Examines works, in the order of page numbers. `done` is told how many pages are done so far.
///
/// # Errors
/// What stops the reading; of several failures the one with the lowest page.
pub(crate) fn examine<P: Send + Sync>(
    snapshot: &Snapshot,
    mut batch: Vec<Work<P>>,
    threads: NonZeroUsize,
    visit: &(impl Fn(Page<'_>, Option<&P>) -> Below<P> + Sync),
    done: &mut dyn FnMut(u64),
) -> Result<Vec<Found<P>>, Error> {
    batch.sort_by_key(Work::start);
    let page_size = snapshot.core().page_size as u64;
    let groups: Vec<&[Work<P>]> = groups(&batch, page_size);
    let bytes: u64 = batch.iter().map(|work| work.pages() * page_size).sum();
    let wanted = (bytes / THREAD_BYTES).clamp(1, threads.get() as u64) as usize;
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = |sender: &Sender<(usize, Result<Found<P>, Error>)>| {
        let mut buffer = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(group) = groups.get(index) else { break };
            let found = examine_group(snapshot, group, visit, &mut buffer);
            if found.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            if sender.send((index, found)).is_err() {
                break;
            }
        }
    };
    let mut results: Vec<Option<Result<Found<P>, Error>>> = (0..groups.len()).map(|_| None).collect();
    let mut pages_done = 0;
    let mut take = |index: usize, found: Result<Found<P>, Error>| {
        pages_done += groups[index].iter().map(Work::pages).sum::<u64>();
        done(pages_done);
        results[index] = Some(found);
    };
    if wanted == 1 {
        let mut buffer = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            let found = examine_group(snapshot, group, visit, &mut buffer);
            let failed = found.is_err();
            take(index, found);
            if failed {
                break;
            }
        }
    } else {
        std::thread::scope(|scope| {
            let (sender, receiver) = channel();
            for _ in 0..wanted {
                let (sender, work) = (sender.clone(), &work);
                scope.spawn(move || work(&sender));
            }
            drop(sender);
            receiver.iter().for_each(|(index, found)| take(index, found));
        });
    }
    results.into_iter().flatten().collect()
}

/// Neighbours in the file, to be read together. An extent is read by itself.
fn groups<P>(batch: &[Work<P>], page_size: u64) -> Vec<&[Work<P>]> {
    let mut groups = Vec::new();
    let mut rest = batch;
    while let Some(first) = rest.first() {
        let mut len = 1;
        if matches!(first, Work::Page(_)) {
            let joins = |pair: &[Work<P>]| {
                matches!(pair[1], Work::Page(_))
                    && (pair[1].start() - pair[0].start()) * page_size <= GAP_MAX
                    && (pair[1].start() + 1 - first.start()) * page_size <= READ_SIZE
            };
            len += rest.windows(2).take_while(|pair| joins(pair)).count();
        }
        let (group, behind) = rest.split_at(len);
        groups.push(group);
        rest = behind;
    }
    groups
}

fn examine_group<P>(
    snapshot: &Snapshot,
    group: &[Work<P>],
    visit: &impl Fn(Page<'_>, Option<&P>) -> Below<P>,
    buffer: &mut Vec<u8>,
) -> Result<Found<P>, Error> {
    let mut found = Found::new();
    let first = group[0].start();
    let page_size = snapshot.core().page_size;
    let span = (group[group.len() - 1].start() + 1 - first) as usize;
    if matches!(group[0], Work::Page(_)) {
        buffer.resize(span * page_size, 0);
        let core = snapshot.core();
        read_exact_at(&*core.file, buffer, first * page_size as u64)
            .map_err(|e| Error::io(core.doing(&format!("reading {span} pages from page {first} of")), e))?;
    }
    for work in group {
        match work {
            Work::Extent(extent) => examine_extent(snapshot, extent, &mut found)?,
            Work::Page(item) => {
                let at = (item.at.number().0 - first) as usize * page_size;
                examine_page(snapshot, item, &buffer[at..at + page_size], visit, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn examine_page<P>(
    snapshot: &Snapshot,
    item: &Item<P>,
    bytes: &[u8],
    visit: &impl Fn(Page<'_>, Option<&P>) -> Below<P>,
    found: &mut Found<P>,
) -> Result<(), Error> {
    let number = item.at.number();
    found.pages += 1;
    match snapshot.core().verify_ref(bytes, item.at) {
        Ok(()) => {}
        Err(error @ Error::Damaged { .. }) => {
            found.add(number, error.to_string());
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let page = Page::new(bytes);
    if let Err(rule) = (snapshot.core().validate)(page) {
        found.add(number, rule);
        return Ok(());
    }
    let below = visit(page, item.place.as_ref());
    below.flaws.into_iter().for_each(|flaw| found.add(number, flaw));
    found.extents.extend(below.extents.into_iter().map(|extent| (extent, number)));
    let mut places = below.places.into_iter();
    for at in page.references() {
        let place = places.next();
        if !at.is_null() {
            found.below.push(Item { at, place, is_last: below.is_last });
        }
    }
    Ok(())
}

fn examine_extent<P>(snapshot: &Snapshot, extent: &ExtentUse, found: &mut Found<P>) -> Result<(), Error> {
    found.extent_bytes += extent.len;
    match snapshot.extent_anew(extent.run.start, extent.len, &*extent.intact) {
        Ok(()) => Ok(()),
        Err(error @ Error::Damaged { .. }) => {
            found.add(extent.run.start, error.to_string());
            Ok(())
        }
        Err(error) => Err(error),
    }
}
