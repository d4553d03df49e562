//! Applying what a transaction holds: key by key, in the order of keys.
//!
//! ```text
//!   pending -> operations log, in one run
//!           -> for each key: its record -> (`edit`) -> latest break points -> the record, written once
//!                                                   -> too many of them, or a change before them: into blocks
//! ```
//!
//! Invariants
//! 1. The record of a key is its last break point, and the latest ones; its blocks hold all that these do not.
//! 2. What lies before the latest ones is changed in blocks alone. What reaches across is changed in blocks, and the
//!    latest ones begin anew there.
//!
//! Cost of an operation: two tree writes, its record in the log and the record of the key; of so many latest break points
//! as there is room for one more, the block; and one more where it is a change of the past. A period over several
//! blocks changes them all. The value is stored in the operations log, and again where it is the last of its key and
//! not large.
//!
//! Not here: what becomes of a timeline (`edit`), bytes (`entry`, `recent`, `block`, `ranges`).

use llmdb_wal::TreeId;

use crate::block::Block;
use crate::edit::{self, Part, Timeline};
use crate::encoding::{self, KeyBuf, block_place, range_key};
use crate::entry::{self, Tail};
use crate::error::Error;
use crate::fronts::front_place;
use crate::ops;
use crate::pending::{Held, Pending};
use crate::point::{ALIVE, Belief, Point};
use crate::points::{self, NOW, Points};
use crate::ranges::{self, RangeRow};
use crate::recent::{self, Others};
use crate::starts;
use crate::trees::CollectionTrees;
use crate::types::{Operation, Period, ValidTime};
use crate::write::TemporalWrite;

/// Bytes for the frame of a record, of which four are to fit a page.
const RECORD_ROOM: usize = 64;
/// Records of keys that are looked up together.
const BATCH: usize = 64;
/// Break points that stand in the record of a key besides its last one. More of them make scans of what is believed
/// now longer, fewer make puts write blocks more often.
pub(crate) const OTHERS_MAX: usize = 6;
/// As many may come in one transaction before they go into blocks.
const OTHERS_HELD_MAX: usize = 40;

/// Lists that are made once for many keys.
#[derive(Default)]
struct Room {
    recent: Vec<Point>,
    others: Vec<Point>,
    record: Vec<u8>,
    /// Entries for the index of where facts begin.
    starts: Vec<Vec<u8>>,
}

/// A key while operations are applied to it.
struct Key<'a> {
    trees: CollectionTrees,
    prefix: &'a [u8],
    /// Its record as it was.
    stored: Option<Tail<'a>>,
    has_blocks: bool,
    /// The last break point; `None` where none is left.
    last: Option<Point>,
    /// Whether that lies before the last range.
    is_apart: bool,
    /// From which valid time, and since which commit, the latest ones are whole.
    lo: ValidTime,
    from: u64,
    recent: Vec<Point>,
    is_changed: bool,
    /// Where values began, if there is an index of that.
    born: Vec<ValidTime>,
}

impl<'a> Key<'a> {
    fn new(
        trees: CollectionTrees,
        prefix: &'a [u8],
        stored: Option<Tail<'a>>,
        mut recent: Vec<Point>,
    ) -> Self {
        let last = stored.filter(|tail| !tail.is_none_left()).map(|tail| tail.point);
        recent.clear();
        if let Some(tail) = &stored {
            tail.recent_into(&mut recent);
        }
        Self {
            trees,
            prefix,
            stored,
            has_blocks: stored.is_some_and(|tail| tail.has_blocks),
            last,
            is_apart: stored.is_some_and(|tail| tail.is_apart),
            lo: stored.map_or(ValidTime::NEG_INF, |tail| tail.lo()),
            from: stored.map_or(0, |tail| tail.from()),
            recent,
            is_changed: false,
            born: Vec::new(),
        }
    }

    /// Whether only the latest break points matter to a change.
    fn takes(&self, period: Period, is_value: bool) -> bool {
        !self.has_blocks || period.from > self.lo || (period.from == self.lo && is_value)
    }

    /// The record to be stored.
    fn encode(&self, settled: u64, value: Option<&[u8]>, others: &mut Vec<Point>, out: &mut Vec<u8>) {
        let none_left = Point { at: ValidTime::NEG_INF, since: settled, until: ALIVE, belief: None };
        let is_other =
            |point: &&Point| self.last.is_none_or(|last| point.until != ALIVE || point.at != last.at);
        others.clear();
        others.extend(self.recent.iter().filter(is_other));
        let tail = Tail {
            point: self.last.unwrap_or(none_left),
            settled,
            has_blocks: self.has_blocks,
            is_apart: self.is_apart,
            others: Others::Given(self.from, others),
            value,
        };
        tail.encode(out);
    }

    /// Since when nothing from the last break point on changed; `None` where all of the key has to be looked at:
    /// an earlier break point has become the last one again, and what was behind it left no trace here.
    fn settled(&self, commit: u64) -> Option<u64> {
        match (self.last, &self.stored) {
            (Some(last), _) if last.since == commit => Some(commit),
            (Some(last), Some(stored)) if stored.point == last => Some(stored.settled),
            (last, _) => {
                let is_behind = |point: &&Point| last.is_none_or(|last| point.at > last.at);
                let went_now = self.recent.iter().filter(is_behind).any(|point| point.until == commit);
                went_now.then_some(commit)
            }
        }
    }
}

impl TemporalWrite {
    /// Applies what is pending.
    pub(crate) fn apply_pending(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        let result = self.apply_all(&pending);
        self.failed = result.is_err();
        pending.clear();
        self.pending = pending;
        result
    }

    fn apply_all(&mut self, pending: &Pending) -> Result<(), Error> {
        let commit = self.number().get();
        let records = pending.records().map(|(index, record)| (ops::log_key(commit, index), record));
        self.txn.append(self.system.ops, records)?;
        let ordered = pending.ordered();
        let mut room = Room::default();
        let of_collections = ordered.chunk_by(|one, other| one.trees.number == other.trees.number);
        for of_collection in of_collections {
            let of_keys = of_collection.chunk_by(|one, other| pending.is_same_key(one, other));
            let of_keys: Vec<&[&Held]> = of_keys.collect();
            for batch in of_keys.chunks(BATCH) {
                // Those that the general way is left with.
                let mut others = Vec::with_capacity(BATCH);
                for of_key in batch {
                    if !self.append(pending, of_key, &mut room)? {
                        others.push(*of_key);
                    }
                }
                if !others.is_empty() {
                    self.apply_batch(pending, &others, &mut room)?;
                }
            }
            if let Some(starts) = of_collection[0].trees.starts {
                room.starts.sort_unstable();
                for entry in room.starts.drain(..) {
                    self.txn.insert(starts, &entry, &[])?;
                }
            }
        }
        Ok(())
    }

    fn apply_batch(&mut self, pending: &Pending, batch: &[&[&Held]], room: &mut Room) -> Result<(), Error> {
        let trees = batch[0][0].trees;
        let prefixes: Vec<KeyBuf> =
            batch.iter().map(|of_key| encoding::encoded(pending.key(of_key[0]))).collect();
        let mut bytes = Vec::with_capacity(batch.len() * 512);
        let mut records = Vec::with_capacity(batch.len());
        self.txn.tree(trees.now)?.get_many(&prefixes, |_, record| {
            let start = bytes.len();
            bytes.extend_from_slice(record.unwrap_or_default());
            records.push(record.map(|_| start..bytes.len()));
        })?;
        for ((of_key, prefix), record) in batch.iter().zip(&prefixes).zip(records) {
            let stored = record.map(|record| Tail::decode(&bytes[record])).transpose();
            let damaged = |what| Points::damaged_record(trees.number, prefix, &what);
            let mut key = Key::new(trees, prefix, stored.map_err(damaged)?, std::mem::take(&mut room.recent));
            key.stored.map_or(Ok(()), |stored| stored.check_latest(&key.recent)).map_err(damaged)?;
            self.apply_to_key(&mut key, of_key)?;
            if key.is_changed {
                self.store_key(&key, pending, of_key, room)?;
            }
            if let Some(starts) = trees.starts {
                self.note_starts(starts, &key, room)?;
            }
            room.recent = key.recent;
        }
        Ok(())
    }

    /// Most changes are a value from now on, behind all that is there: the record of the key is written straight from the one
    /// before, where that stands. Whether that was done; what comes out is what the general way makes.
    fn append(&mut self, pending: &Pending, of_key: &[&Held], room: &mut Room) -> Result<bool, Error> {
        let [held] = of_key else { return Ok(false) };
        let is_put = matches!(held.op, Operation::Put | Operation::Insert);
        if !is_put || held.period.to != ValidTime::POS_INF {
            return Ok(false);
        }
        let (commit, trees) = (self.number().get(), held.trees);
        let belief = Some(Belief { asserted: commit, index: held.index });
        let point = Point { at: held.period.from, since: commit, until: ALIVE, belief };
        let prefix = encoding::encoded(pending.key(held));
        let (value, size_max) = (pending.value(held), self.inline_size_max(prefix.len()));
        let others_max = self.others_max();
        let make = |stored: Option<&[u8]>, record: &mut Vec<u8>| {
            let Some(stored) = stored else {
                Tail::first(point, at_hand(value, size_max, 1)).encode(record);
                return true;
            };
            // What cannot be read is told of by the general way.
            let tail = Tail::decode(stored).ok().filter(|tail| tail.others.len() < others_max);
            tail.is_some_and(|tail| {
                tail.encode_with(point, at_hand(value, size_max, tail.others.len() + 2), record)
            })
        };
        let is_done = self.txn.change(trees.now, &prefix, &mut room.record, make)?;
        if is_done && trees.starts.is_some() {
            room.starts.push(starts::entry(point.at, &prefix));
        }
        Ok(is_done)
    }

    fn others_max(&self) -> usize {
        OTHERS_MAX.min(self.block_size_max / 64).max(1)
    }

    fn apply_to_key(&mut self, key: &mut Key<'_>, of_key: &[&Held]) -> Result<(), Error> {
        let asserted = self.number().get();
        for held in of_key {
            let belief = Belief { asserted, index: held.index };
            match held.op {
                Operation::Put | Operation::Insert => self.assign(key, held.period, Some(belief))?,
                Operation::Delete => self.assign(key, held.period, None)?,
                Operation::Update => {
                    for part in self.parts_with_a_value(key, held.period)? {
                        self.assign(key, part, Some(belief))?;
                    }
                }
            }
        }
        if key.is_changed && key.recent.len() > 1 + self.others_max() {
            self.move_to_blocks(key)?;
        }
        Ok(())
    }

    /// The heart of it: makes a value, or nothing, hold in `period` and only there.
    fn assign(&mut self, key: &mut Key<'_>, period: Period, belief: Option<Belief>) -> Result<(), Error> {
        if !key.takes(period, belief.is_some()) {
            return self.assign_in_blocks(key, period, belief);
        }
        let block =
            Block { begin: 0, from: key.from, through: ALIVE, points: std::mem::take(&mut key.recent) };
        let mut parts = [Part { lo: key.lo, block, is_changed: false, is_last: true }];
        let born = key.trees.starts.map(|_| &mut key.born);
        let mut timeline = Timeline { parts: &mut parts, commit: self.number().get(), born };
        timeline.assign(period, belief);
        key.last = timeline.standing().next_back();
        let [part] = parts;
        key.is_changed |= part.is_changed;
        key.recent = part.block.points;
        if key.recent.len() > OTHERS_HELD_MAX { self.move_to_blocks(key) } else { Ok(()) }
    }

    fn assign_in_blocks(
        &mut self,
        key: &mut Key<'_>,
        period: Period,
        belief: Option<Belief>,
    ) -> Result<(), Error> {
        let mut parts = self.with_held(key, |points| load_blocks(points, key.prefix, period))?;
        let born = key.trees.starts.map(|_| &mut key.born);
        let mut timeline = Timeline { parts: &mut parts, commit: self.number().get(), born };
        let sees_last = key.last.is_none_or(|last| timeline.standing().any(|point| point.at == last.at));
        timeline.assign(period, belief);
        if sees_last {
            key.last = timeline.standing().next_back();
            key.is_apart = key.recent.is_empty() && key.last.is_some();
        }
        for part in parts.into_iter().filter(|part| part.is_changed) {
            key.is_changed = true;
            self.store(key, part)?;
        }
        Ok(())
    }

    /// Moves the latest break points into the last open block, but for the last one.
    fn move_to_blocks(&mut self, key: &mut Key<'_>) -> Result<(), Error> {
        let (lo, block) = if key.has_blocks {
            self.with_held(key, |points| {
                let last = points.open_block(key.prefix, ValidTime::POS_INF)?;
                let last = last.ok_or_else(|| points.lost(key.prefix, key.lo))?;
                Ok((last.lo, points.block(key.prefix, &last)?))
            })?
        } else {
            let begin = key.recent.iter().map(|point| point.since).min().unwrap_or(0);
            let points = std::mem::take(&mut key.recent);
            (ValidTime::NEG_INF, Block { begin, from: begin, through: ALIVE, points })
        };
        self.store(key, Part { lo, block, is_changed: true, is_last: true })
    }

    /// Stores an open block, in parts where it has become too large. With the last one the latest break points begin
    /// anew.
    fn store(&mut self, key: &mut Key<'_>, part: Part) -> Result<(), Error> {
        let (commit, trees, prefix) = (self.number().get(), key.trees, key.prefix);
        let size_max = self.inline_size_max(prefix.len() + encoding::BLOCK_KEY_SIZE).min(self.block_size_max);
        let first_begin = part.block.begin;
        let new = if part.is_last && key.has_blocks { key.from } else { commit };
        let parted = edit::part(part.lo, part.block, new, commit, size_max);
        if let Some(closed) = parted.closed {
            let closed = Block { through: ALIVE, ..closed };
            self.txn.insert(trees.past, &block_place(prefix, part.lo, commit), &closed.encode())?;
        }
        let last_lo = parted.open.last().map_or(part.lo, |(lo, _)| *lo);
        let recent = key.last.filter(|last| part.is_last && last.at >= last_lo);
        for (index, (lo, mut block)) in parted.open.into_iter().enumerate() {
            block.through = ALIVE;
            if part.is_last && lo == last_lo {
                block.through = commit;
                // No question about an earlier commit meets it here, and those about later ones find it elsewhere.
                let from = block.from;
                block.points.retain(|point| point.since.max(from) < commit || Some(*point) != recent);
            }
            self.txn.insert(trees.past, &block_place(prefix, lo, ALIVE), &block.encode())?;
            if index > 0 {
                let new = RangeRow { lo, begin: block.begin };
                for rows in self.points(trees, None)?.ranges.with(prefix, new, first_begin, size_max)? {
                    let key = range_key(prefix, rows[0].lo);
                    self.txn.insert(trees.ranges, &key, &ranges::encode(&rows))?;
                }
                if part.is_last {
                    let ranges = self.points(trees, None)?.ranges;
                    let rows = ranges.with_front(prefix, new, first_begin, size_max)?;
                    let key = front_place(prefix, rows[0].begin);
                    self.txn.insert(trees.ranges, &key, &ranges::encode(&rows))?;
                }
            }
        }
        if part.is_last {
            key.has_blocks = true;
            key.from = commit;
            key.is_apart = key.last.is_some() && recent.is_none();
            key.lo = recent.map_or(ValidTime::POS_INF, |recent| recent.at);
            key.recent = recent.into_iter().collect();
            key.is_changed = true;
        }
        Ok(())
    }

    /// Notes where values began for the index. A key without blocks has all its break points at hand: what came in this very
    /// transaction and went again has no entry then, also where an earlier part of the transaction made one, so that a key
    /// that is gone without a trace leaves none.
    fn note_starts(&mut self, starts: TreeId, key: &Key<'_>, room: &mut Room) -> Result<(), Error> {
        let (commit, prefix) = (self.number().get(), key.prefix);
        let is_there = |at: ValidTime| {
            key.has_blocks || key.recent.iter().any(|point| point.at == at && point.belief.is_some())
        };
        let born = key.born.iter().filter(|at| is_there(**at));
        room.starts.extend(born.map(|at| starts::entry(*at, prefix)));
        let Some(stored) = key.stored.filter(|_| !key.has_blocks) else { return Ok(()) };
        let before = stored.recent();
        let came_now = before.iter().filter(|point| point.since == commit && point.belief.is_some());
        for point in came_now.filter(|point| !is_there(point.at)) {
            self.txn.remove(starts, &starts::entry(point.at, prefix))?;
        }
        Ok(())
    }

    fn store_key(
        &mut self,
        key: &Key<'_>,
        pending: &Pending,
        of_key: &[&Held],
        room: &mut Room,
    ) -> Result<(), Error> {
        if !key.has_blocks && key.recent.is_empty() {
            // Whatever there was came in this very transaction.
            self.txn.remove(key.trees.now, key.prefix)?;
            return Ok(());
        }
        let commit = self.number().get();
        let settled = match key.settled(commit) {
            Some(settled) => settled,
            None => self.with_held(key, |points| Ok(points::settled(&points.all(key.prefix)?, key.last)))?,
        };
        room.record.clear();
        let value = match key.last.and_then(|last| last.belief) {
            None => None,
            Some(belief) => Some(self.value_of(key, belief, pending, of_key)?),
        };
        let size_max = self.inline_size_max(key.prefix.len());
        let value = value.and_then(|value| at_hand(value, size_max, key.recent.len()));
        key.encode(settled, value, &mut room.others, &mut room.record);
        Ok(self.txn.insert(key.trees.now, key.prefix, &room.record)?)
    }

    /// The value behind the last break point.
    fn value_of<'v>(
        &'v self,
        key: &Key<'v>,
        belief: Belief,
        pending: &'v Pending,
        of_key: &[&Held],
    ) -> Result<&'v [u8], Error> {
        if belief.asserted == self.number().get()
            && let Some(held) = of_key.iter().find(|held| held.index == belief.index)
        {
            return Ok(pending.value(held));
        }
        if let Some(Tail { point, value: Some(value), .. }) = key.stored
            && point.belief == Some(belief)
        {
            return Ok(value);
        }
        ops::value_of(Some(self.txn.tree(self.system.ops)?), belief, key.prefix)
    }

    fn parts_with_a_value(&self, key: &Key<'_>, period: Period) -> Result<Vec<Period>, Error> {
        if key.stored.is_none() && key.recent.is_empty() && !key.has_blocks {
            return Ok(Vec::new());
        }
        let pieces = self.with_held(key, |points| points.pieces(key.prefix, period, NOW))?;
        let clip = |valid: Period| Period::between(valid.from.max(period.from), valid.to.min(period.to));
        Ok(pieces.into_iter().map(|piece| clip(piece.valid)).collect())
    }

    /// Asks the trees and the record of a key as it is now.
    fn with_held<T>(
        &self,
        key: &Key<'_>,
        ask: impl FnOnce(&Points<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut record = Vec::new();
        let settled = key.last.map_or(0, |last| last.since);
        key.encode(settled, None, &mut Vec::new(), &mut record);
        let tail = Tail::decode(&record)
            .map_err(|what| Points::damaged_record(key.trees.number, key.prefix, &what))?;
        ask(&self.points(key.trees, Some(tail))?)
    }

    /// Bytes of a record that stand beside a key of some bytes and leave room for more such on the page.
    fn inline_size_max(&self, key_size: usize) -> usize {
        let page_size = self.txn.max_key_size() / 5 * 16;
        (page_size / 4 - RECORD_ROOM).min((page_size / 2 - 2 * RECORD_ROOM).saturating_sub(key_size))
    }
}

/// A value that is to stand in a record of so many bytes with so many latest break points, if it is not too large for that.
fn at_hand(value: &[u8], size_max: usize, recent: usize) -> Option<&[u8]> {
    let beside = entry::HEAD_SIZE + recent::size_max(recent);
    (value.len() <= size_max.saturating_sub(beside)).then_some(value)
}

/// The open blocks that an operation on a period may change, and those before it up to one with a break point that
/// stands before the period.
fn load_blocks(points: &Points<'_>, prefix: &[u8], period: Period) -> Result<Vec<Part>, Error> {
    let part = |open: &points::Placed<'_>| {
        let block = points.block(prefix, open)?;
        Ok::<_, Error>(Part { lo: open.lo, block, is_changed: false, is_last: open.is_last() })
    };
    let mut parts = Vec::new();
    let mut place = points::before(period.from).unwrap_or(period.from);
    loop {
        let open = points.open_block(prefix, place)?.ok_or_else(|| points.lost(prefix, place))?;
        let loaded = part(&open)?;
        let is_before = |point: &Point| point.until == ALIVE && point.at < period.from;
        let has_before = loaded.block.points.iter().any(is_before);
        parts.push(loaded);
        match points::before(open.lo).filter(|_| !has_before) {
            Some(before) => place = before,
            None => break,
        }
    }
    parts.reverse();
    let mut last = parts.last().map_or(ValidTime::NEG_INF, |part| part.lo);
    while let Some(open) = points.open_behind(prefix, last)?.filter(|open| open.lo <= period.to) {
        last = open.lo;
        parts.push(part(&open)?);
    }
    Ok(parts)
}
