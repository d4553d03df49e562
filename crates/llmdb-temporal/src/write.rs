//! Recording: operations on valid time, resolved into break points when they are written.
//!
//! ```text
//!   operation -> open blocks that its period touches -> (`edit`) -> blocks, closed blocks, ranges -> trees
//!                                                               -> the last break point, with its value
//! ```
//!
//! Invariants
//! 1. A refused operation changes nothing; an operation that fails in the store dooms its transaction.
//! 2. The record of a key is its last break point; its blocks hold all of them, unless it ever had only one.
//!
//! Cost of an operation: one descent and three tree writes: its record with the value, the block, and the last
//! break point where that changes; two for the first one of a key. A period over several blocks changes them all.
//! The value is stored in the operations log, and again where it is the last of its key and not large.
//!
//! Not here: reading (`read`), what becomes of a timeline (`edit`), bytes (`entry`, `block`, `ranges`, `encoding`, `ops`).

use std::collections::HashMap;
use std::fmt;

use llmdb_wal::{Store, TreeId, WriteTxn};

use crate::block::Block;
use crate::catalog;
use crate::commits::{self, Commits};
use crate::edit::{self, Part, Timeline};
use crate::encoding::{self, block_key, range_key};
use crate::entry::{self, ALIVE, Belief, Point, Tail, VALUE_SIZE_MAX};
use crate::error::Error;
use crate::ops::{self, Recorded};
use crate::points::{self, NOW, Points};
use crate::ranges::{self, RangeRow, Ranges};
use crate::types::{CommitNumber, CommitStamp, CommitTime, Operation, Period, Receipt, ValidTime};

/// Bytes for the frame of a record, of which four are to fit a page.
const RECORD_ROOM: usize = 64;

/// A transaction that records operations. Dropping it rolls back.
///
/// Operations apply in order; each sees what those before it did. The store has one writer at a time.
pub struct TemporalWrite {
    pub(crate) txn: WriteTxn,
    pub(crate) system: SystemTrees,
    collections: HashMap<String, CollectionTrees>,
    pub(crate) operation_count: u64,
    pub(crate) failed: bool,
    block_size_max: usize,
}

/// The trees that all collections share.
#[derive(Clone, Copy)]
pub(crate) struct SystemTrees {
    pub(crate) catalog: TreeId,
    pub(crate) commits: TreeId,
    pub(crate) times: TreeId,
    pub(crate) ops: TreeId,
}

/// The trees of one collection.
#[derive(Clone, Copy)]
pub(crate) struct CollectionTrees {
    pub(crate) number: u32,
    pub(crate) now: TreeId,
    pub(crate) past: TreeId,
    pub(crate) ranges: TreeId,
}

/// One operation as it was asked for.
#[derive(Clone, Copy)]
struct Request<'a> {
    op: Operation,
    collection: &'a str,
    key: &'a [u8],
    period: Period,
    /// Empty for a delete.
    value: &'a [u8],
}

/// The record of a key, copied out of the tree so that the tree can be changed.
struct OldTail {
    /// `None` where no break point is left.
    point: Option<Point>,
    settled: u64,
    has_blocks: bool,
}

impl TemporalWrite {
    pub(crate) fn begin(store: &Store, block_size_max: usize) -> Result<Self, Error> {
        let mut txn = store.begin_write()?;
        let system = SystemTrees {
            catalog: txn.create_tree(catalog::CATALOG)?,
            commits: txn.create_tree(catalog::COMMITS)?,
            times: txn.create_tree(catalog::TIMES)?,
            ops: txn.create_tree(catalog::OPS)?,
        };
        Ok(Self {
            txn,
            system,
            collections: HashMap::new(),
            operation_count: 0,
            failed: false,
            block_size_max,
        })
    }

    /// Asks for a commit time instead of the clock's. The commit gets it, or one microsecond after the last
    /// commit if that is later; the time it will get is returned.
    pub fn set_time(&mut self, wanted: CommitTime) -> CommitTime {
        CommitTime::from_raw(self.txn.set_time(wanted.micros()))
    }

    /// The time that the commit will get.
    #[must_use]
    pub fn time(&self) -> CommitTime {
        CommitTime::from_raw(self.txn.time())
    }

    /// The number that the commit will get.
    #[must_use]
    pub fn number(&self) -> CommitNumber {
        CommitNumber::new(number_of(self.txn.seq()))
    }

    /// From now on, `key` has `value` in `period`; what overlapped is split, the rest of the timeline stays.
    ///
    /// # Errors
    /// A collection name, key or value that does not fit; the store's errors.
    pub fn put(&mut self, collection: &str, key: &[u8], period: Period, value: &[u8]) -> Result<(), Error> {
        self.apply(Request { op: Operation::Put, collection, key, period, value })
    }

    /// As [`Self::put`], but only in those parts of `period` where a value is in force. The pieces there keep
    /// their bounds.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn update(
        &mut self,
        collection: &str,
        key: &[u8],
        period: Period,
        value: &[u8],
    ) -> Result<(), Error> {
        self.apply(Request { op: Operation::Update, collection, key, period, value })
    }

    /// As [`Self::put`], but refused whole if a value is in force in any part of `period`.
    ///
    /// # Errors
    /// [`Error::Overlap`], after which the transaction is as before and can go on; and as [`Self::put`].
    pub fn insert(
        &mut self,
        collection: &str,
        key: &[u8],
        period: Period,
        value: &[u8],
    ) -> Result<(), Error> {
        self.apply(Request { op: Operation::Insert, collection, key, period, value })
    }

    /// From now on, `key` has nothing in `period`; the rest of the timeline stays.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn delete(&mut self, collection: &str, key: &[u8], period: Period) -> Result<(), Error> {
        self.apply(Request { op: Operation::Delete, collection, key, period, value: &[] })
    }

    /// Makes the transaction durable, also when it has no operation.
    ///
    /// # Errors
    /// [`Error::TransactionFailed`] after an operation that failed in the store; the store's errors.
    pub fn commit(mut self) -> Result<Receipt, Error> {
        if self.failed {
            return Err(Error::TransactionFailed);
        }
        let (commit, time) = (self.number().get(), self.time());
        let SystemTrees { commits, times, .. } = self.system;
        self.txn.insert(commits, &commits::commit_key(commit), &commits::commit_record(time))?;
        self.txn.insert(times, &commits::time_key(time), &commits::time_record(commit))?;
        let receipt = self.txn.commit()?;
        Ok(Receipt {
            commit: CommitNumber::new(number_of(receipt.seq)),
            at: CommitTime::from_raw(receipt.time),
        })
    }

    fn apply(&mut self, request: Request<'_>) -> Result<(), Error> {
        if self.failed {
            return Err(Error::TransactionFailed);
        }
        catalog::check_name(request.collection)?;
        self.check_key(request.key)?;
        Period::new(request.period.from, request.period.to)?;
        if request.value.len() > VALUE_SIZE_MAX {
            return Err(Error::ValueTooLong { length: request.value.len(), limit: VALUE_SIZE_MAX });
        }
        if request.period.is_empty() {
            return Ok(());
        }
        let result = self.perform(request);
        self.failed = result.as_ref().is_err_and(|error| !error.is_refusal());
        result
    }

    fn perform(&mut self, request: Request<'_>) -> Result<(), Error> {
        let prefix = encoding::prefix(request.key);
        if request.op == Operation::Insert {
            self.refuse_overlap(request, &prefix)?;
        }
        let trees = self.open_or_create(request.collection)?;
        let belief = Belief { asserted: self.number().get(), index: self.next_index()? };
        self.record(trees.number, request)?;
        match request.op {
            Operation::Put | Operation::Insert => {
                self.assign(trees, &prefix, request.period, Some((belief, request.value)))
            }
            Operation::Delete => self.assign(trees, &prefix, request.period, None),
            Operation::Update => {
                for part in self.parts_with_a_value(trees, request, &prefix)? {
                    self.assign(trees, &prefix, part, Some((belief, request.value)))?;
                }
                Ok(())
            }
        }
    }

    /// The heart of it: makes a value, or nothing, hold in `period` and only there.
    fn assign(
        &mut self,
        trees: CollectionTrees,
        prefix: &[u8],
        period: Period,
        value: Option<(Belief, &[u8])>,
    ) -> Result<(), Error> {
        let old = self.points(trees)?.tail(prefix)?.map(|tail| OldTail::from(&tail));
        let had_blocks = old.as_ref().is_some_and(|old| old.has_blocks);
        let mut timeline = self.load(trees, prefix, period, old.as_ref())?;
        let old_point = old.as_ref().and_then(|old| old.point);
        let sees_tail = old_point.is_none_or(|old| timeline.standing().any(|point| point.at == old.at));
        timeline.assign(period, value.map(|(belief, _)| belief));
        let tail = if sees_tail { timeline.standing().next_back() } else { old_point };
        let point_count = timeline.parts.iter().map(|part| part.block.points.len()).sum::<usize>();
        if !had_blocks && point_count == 0 {
            // Whatever there was came in this very transaction.
            self.txn.remove(trees.now, prefix)?;
            return Ok(());
        }
        let has_blocks = had_blocks || point_count > 1 || tail.is_none();
        if has_blocks {
            let stored = timeline.parts.into_iter().filter(|part| part.is_changed || !had_blocks);
            stored.into_iter().try_for_each(|part| self.store(trees, prefix, part))?;
        }
        let is_same = old.as_ref().is_some_and(|old| old.point == tail && old.has_blocks == has_blocks);
        if is_same { Ok(()) } else { self.store_tail(trees, prefix, old, tail, has_blocks, value) }
    }

    /// The open blocks that an operation on a period may change, and those before it up to one with a break point
    /// that stands before the period.
    fn load(
        &self,
        trees: CollectionTrees,
        prefix: &[u8],
        period: Period,
        old: Option<&OldTail>,
    ) -> Result<Timeline, Error> {
        let commit = self.number().get();
        let points = match old {
            Some(OldTail { has_blocks: true, .. }) => {
                let parts = load_blocks(&self.points(trees)?, prefix, period)?;
                return Ok(Timeline { parts, commit });
            }
            Some(OldTail { point, .. }) => point.iter().copied().collect::<Vec<_>>(),
            None => Vec::new(),
        };
        let begin = points.first().map_or(commit, |point| point.since);
        let block = Block { begin, from: begin, points };
        let parts = vec![Part { lo: ValidTime::NEG_INF, block, is_changed: false }];
        Ok(Timeline { parts, commit })
    }

    /// Stores an open block, in parts where it has become too large.
    fn store(&mut self, trees: CollectionTrees, prefix: &[u8], part: Part) -> Result<(), Error> {
        let commit = self.number().get();
        let size_max = self.inline_size_max(prefix.len() + encoding::BLOCK_KEY_SIZE).min(self.block_size_max);
        let first_begin = part.block.begin;
        let parted = edit::part(part.lo, part.block, commit, size_max);
        if let Some(closed) = parted.closed {
            self.txn.insert(trees.past, &block_key(prefix, part.lo, commit), &closed.encode())?;
        }
        for (index, (lo, block)) in parted.open.into_iter().enumerate() {
            self.txn.insert(trees.past, &block_key(prefix, lo, ALIVE), &block.encode())?;
            if index > 0 {
                let new = RangeRow { lo, begin: block.begin };
                for rows in self.points(trees)?.ranges.with(prefix, new, first_begin, size_max)? {
                    let key = range_key(prefix, rows[0].lo);
                    self.txn.insert(trees.ranges, &key, &ranges::encode(&rows))?;
                }
            }
        }
        Ok(())
    }

    /// Stores the record of a key whose last break point changed, or that has blocks now.
    fn store_tail(
        &mut self,
        trees: CollectionTrees,
        prefix: &[u8],
        old: Option<OldTail>,
        tail: Option<Point>,
        has_blocks: bool,
        value: Option<(Belief, &[u8])>,
    ) -> Result<(), Error> {
        let commit = self.number().get();
        let Some(point) = tail else {
            let settled = self.settled(trees, prefix, None)?;
            self.txn.insert(trees.now, prefix, &Tail::none_left(settled).encode())?;
            return Ok(());
        };
        let settled = match old {
            Some(old) if old.point == tail => old.settled,
            _ if point.since == commit => commit,
            _ => self.settled(trees, prefix, tail)?,
        };
        let size_max = self.inline_size_max(prefix.len()).saturating_sub(entry::VALUE_OFFSET);
        let record = {
            let value = match (point.belief, value) {
                (None, _) => None,
                (Some(belief), Some((new, value))) if belief == new => Some(value),
                (Some(belief), _) => {
                    Some(ops::value_of(Some(self.txn.tree(self.system.ops)?), belief, prefix)?)
                }
            };
            let value = value.filter(|value| value.len() <= size_max);
            Tail { point, settled, has_blocks, value }.encode()
        };
        Ok(self.txn.insert(trees.now, prefix, &record)?)
    }

    /// Since when nothing from a break point on changed, found by looking at all blocks of the key: an earlier break
    /// point has become the last one again.
    fn settled(&self, trees: CollectionTrees, prefix: &[u8], tail: Option<Point>) -> Result<u64, Error> {
        Ok(points::settled(&self.points(trees)?.all(prefix)?, tail))
    }

    /// Bytes of a record that stand beside a key of some bytes and leave room for more such on the page.
    fn inline_size_max(&self, key_size: usize) -> usize {
        let page_size = self.txn.max_key_size() / 5 * 16;
        (page_size / 4 - RECORD_ROOM).min((page_size / 2 - 2 * RECORD_ROOM).saturating_sub(key_size))
    }

    pub(crate) fn next_index(&self) -> Result<u32, Error> {
        u32::try_from(self.operation_count)
            .map_err(|_| Error::TooManyOperations { limit: u64::from(u32::MAX) + 1 })
    }

    fn parts_with_a_value(
        &self,
        trees: CollectionTrees,
        request: Request<'_>,
        prefix: &[u8],
    ) -> Result<Vec<Period>, Error> {
        let pieces = self.points(trees)?.pieces(prefix, request.period, NOW)?;
        let clip = |valid: Period| {
            let from = valid.from.max(request.period.from);
            Period::between(from, valid.to.min(request.period.to))
        };
        Ok(pieces.into_iter().map(|piece| clip(piece.valid)).collect())
    }

    fn refuse_overlap(&mut self, request: Request<'_>, prefix: &[u8]) -> Result<(), Error> {
        let Some(trees) = self.open(request.collection)? else { return Ok(()) };
        let pieces = self.points(trees)?.pieces(prefix, request.period, NOW)?;
        let Some((first, belief)) = pieces.first().and_then(|first| Some((first, first.start.belief?)))
        else {
            return Ok(());
        };
        Err(Error::Overlap {
            collection: request.collection.to_owned(),
            key: request.key.to_vec(),
            period: request.period,
            in_the_way: first.valid,
            asserted: self.stamp(belief.asserted)?,
        })
    }

    /// The commit of an entry, which may be the one that is being written.
    fn stamp(&self, commit: u64) -> Result<CommitStamp, Error> {
        if commit == self.number().get() {
            return Ok(CommitStamp { commit: self.number(), at: self.time() });
        }
        let SystemTrees { commits, times, .. } = self.system;
        Commits::over(self.txn.tree(commits)?, self.txn.tree(times)?).stamp(commit)
    }

    fn record(&mut self, collection: u32, request: Request<'_>) -> Result<(), Error> {
        let Request { op, key, period: valid, value, .. } = request;
        let record = Recorded { op, collection, valid, key, value }.encode();
        let log_key = ops::log_key(self.number().get(), self.operation_count);
        self.txn.insert(self.system.ops, &log_key, &record)?;
        self.operation_count += 1;
        Ok(())
    }

    pub(crate) fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        if key.is_empty() {
            return Err(Error::KeyEmpty);
        }
        let stored = encoding::escaped_size(key);
        let limit = self.txn.max_key_size().saturating_sub(encoding::OVERHEAD);
        if stored > limit {
            return Err(Error::KeyTooLong { length: key.len(), stored, limit });
        }
        Ok(())
    }

    pub(crate) fn open(&mut self, name: &str) -> Result<Option<CollectionTrees>, Error> {
        if let Some(trees) = self.collections.get(name) {
            return Ok(Some(*trees));
        }
        let catalog = self.txn.tree(self.system.catalog)?;
        let Some(number) = catalog::number(Some(catalog), name)? else { return Ok(None) };
        self.open_trees(name, number).map(Some)
    }

    fn open_or_create(&mut self, name: &str) -> Result<CollectionTrees, Error> {
        if let Some(trees) = self.open(name)? {
            return Ok(trees);
        }
        let number = self.txn.tree(self.system.catalog)?.len() as u32;
        self.txn.insert(self.system.catalog, name.as_bytes(), &number.to_le_bytes())?;
        self.open_trees(name, number)
    }

    pub(crate) fn open_trees(&mut self, name: &str, number: u32) -> Result<CollectionTrees, Error> {
        let now = self.txn.create_tree(&catalog::now_tree(number))?;
        let past = self.txn.create_tree(&catalog::past_tree(number))?;
        let ranges = self.txn.create_tree(&catalog::ranges_tree(number))?;
        let trees = CollectionTrees { number, now, past, ranges };
        self.collections.insert(name.to_owned(), trees);
        Ok(trees)
    }

    pub(crate) fn points(&self, trees: CollectionTrees) -> Result<Points<'_>, Error> {
        let CollectionTrees { number, now, past, ranges } = trees;
        let ranges = Ranges { tree: self.txn.tree(ranges)?, number };
        Ok(Points { now: self.txn.tree(now)?, past: self.txn.tree(past)?, ranges, number })
    }
}

/// See [`TemporalWrite::load`].
fn load_blocks(points: &Points<'_>, prefix: &[u8], period: Period) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let mut place = points::before(period.from).unwrap_or(period.from);
    loop {
        let open = points.open_block(prefix, place)?.ok_or_else(|| points.lost(prefix, place))?;
        let block = points.block(prefix, &open)?;
        let is_before = |point: &Point| point.until == ALIVE && point.at < period.from;
        let has_before = block.points.iter().any(is_before);
        parts.push(Part { lo: open.lo, block, is_changed: false });
        match points::before(open.lo).filter(|_| !has_before) {
            Some(before) => place = before,
            None => break,
        }
    }
    parts.reverse();
    let mut last = parts.last().map_or(ValidTime::NEG_INF, |part| part.lo);
    while let Some(open) = points.open_behind(prefix, last)?.filter(|open| open.lo <= period.to) {
        last = open.lo;
        parts.push(Part { lo: last, block: points.block(prefix, &open)?, is_changed: false });
    }
    Ok(parts)
}

impl fmt::Debug for TemporalWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporalWrite")
            .field("number", &self.number())
            .field("time", &self.time())
            .field("operation_count", &self.operation_count)
            .finish_non_exhaustive()
    }
}

impl From<&Tail<'_>> for OldTail {
    fn from(tail: &Tail<'_>) -> Self {
        let point = (!tail.is_none_left()).then_some(tail.point);
        Self { point, settled: tail.settled, has_blocks: tail.has_blocks }
    }
}

/// The public number of a commit: the store counts from 1, where 0 stands for "nothing committed yet".
fn number_of(seq: llmdb_wal::CommitSeq) -> u64 {
    seq.saturating_sub(1)
}
