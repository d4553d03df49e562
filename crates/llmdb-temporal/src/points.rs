//! Finding the break points of one key: the latest ones are in its record, all others in blocks.
//!
//! ```text
//!   past      one block for each range of valid time and span of commits, whole in itself:
//!
//!   commits ^ |                   |  b. 4 | latest: the record of the key
//!           | |  block 3 (open)   |  open +-----      an answer about (instant, commit) comes out of the
//!           | |-------------------|-------------      one block whose rectangle holds that point
//!           | |  block 1 (closed at the split)
//!           | |---------------------------------
//!               valid time ->
//! ```
//!
//! Invariants
//! 1. The periods `[since, until)` of break points at one valid time of one key never overlap, so at any commit
//!    at most one of them stands.
//! 2. Where a key has no blocks, its record holds all break points that it ever had.
//! 3. The latest break points are all of the last range that lie at or behind some valid time and stood at any commit
//!    since one. The open block of that range is right about every earlier commit, and about what lies before.
//!
//! Costs: what is in force is one exact look-up where it is among the latest, and else one descent (the open block of
//! the range), two (a closed one of it) or three (of a range that it was cut off from since), however deep the
//! history is; and a look at the break points of one block, 38 at most at 4 KiB.
//!
//! Not here: rectangles (`read::sweep`, `read::life`), changes (`edit`).

use std::collections::BTreeMap;

use llmdb_wal::Tree;

use crate::block::{Block, View};
use crate::catalog;
use crate::encoding::{BlockKey, block_key, block_place, split_block};
use crate::entry::{self, Tail};
use crate::error::Error;
use crate::point::{ALIVE, EntryError, Point};
use crate::ranges::{Ranges, damaged};
use crate::types::{Period, ValidTime};
use crate::walk::{Near, Walk};

/// The commit of questions about now: one below [`ALIVE`], so that all break points that stand do so at it.
pub(crate) const NOW: u64 = u64::MAX - 1;

/// The break points of a collection.
#[derive(Clone, Copy)]
pub(crate) struct Points<'t> {
    pub(crate) now: Tree<'t>,
    pub(crate) past: Tree<'t>,
    pub(crate) ranges: Ranges<'t>,
    /// The number of the collection.
    pub(crate) number: u32,
    /// The record of the one key that is asked about, where it is not in the tree yet.
    pub(crate) held: Option<Tail<'t>>,
}

/// A block and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'t> {
    /// Where its range starts.
    pub(crate) lo: ValidTime,
    /// The commit at which it was closed.
    pub(crate) until: u64,
    pub(crate) view: View<'t>,
    /// The record of the key, where this is the open block of its last range, or stands for one that has none.
    pub(crate) tail: Option<Tail<'t>>,
}

/// What was in force.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'t> {
    /// The last break point, and its value where that is at hand.
    Last(Point, Option<&'t [u8]>),
    /// Another one.
    Point(Point),
}

impl Placed<'_> {
    pub(crate) fn is_last(&self) -> bool {
        self.until == ALIVE && self.view.through != ALIVE
    }

    /// The first break point of the range after `at` that stood once `commit` was recorded.
    fn next_after(&self, at: ValidTime, commit: u64) -> Option<Point> {
        let Some(tail) = self.tail.as_ref().filter(|tail| commit >= tail.from()) else {
            return self.view.next_after(at, commit);
        };
        let lo = tail.lo();
        let near = (at < lo).then(|| self.view.next_after(at, commit)).flatten();
        near.filter(|point| point.at < lo).or_else(|| tail.next_after(at, commit))
    }
}

/// All break points in a part of a timeline that stood in a span of commits, and perhaps others.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// The first commit of the span.
    pub(crate) from: u64,
    /// The commit after the span.
    pub(crate) until: u64,
    /// By valid time, then by commit. What still stood at the end of the span may have ended there or later.
    pub(crate) points: Vec<Point>,
}

/// A value in force over a period, with the bounds of its break points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) valid: Period,
    pub(crate) start: Point,
}

impl<'t> Points<'t> {
    /// The record of a key.
    #[inline]
    pub(crate) fn tail(&self, prefix: &[u8]) -> Result<Option<Tail<'t>>, Error> {
        if self.held.is_some() {
            return Ok(self.held);
        }
        let Some(record) = self.now.get(prefix)? else { return Ok(None) };
        self.decoded(prefix, record).map(Some)
    }

    /// The stored record of a key, taken apart.
    #[inline]
    pub(crate) fn decoded(&self, prefix: &[u8], record: &'t [u8]) -> Result<Tail<'t>, Error> {
        Tail::decode(record).map_err(|what| self.damaged_tail(prefix, &what))
    }

    /// The break point in force at `at` once `commit` was recorded.
    pub(crate) fn in_force(&self, prefix: &[u8], at: ValidTime, commit: u64) -> Result<Option<Point>, Error> {
        Ok(self.find(prefix, at, commit, false)?.map(|found| match found {
            Found::Last(point, _) | Found::Point(point) => point,
        }))
    }

    /// As [`Self::in_force`]. `is_old` is a guess that the last range of that time answers, and is not that of today.
    #[inline]
    pub(crate) fn find(
        &self,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
        is_old: bool,
    ) -> Result<Option<Found<'t>>, Error> {
        if is_old && let Some(point) = self.find_in_front(prefix, at, commit)? {
            return Ok(Some(Found::Point(point)));
        }
        self.find_in_blocks(prefix, at, commit, None)
    }

    /// What was in force, where the range answers that was the last one then.
    #[inline(never)]
    fn find_in_front(&self, prefix: &[u8], at: ValidTime, commit: u64) -> Result<Option<Point>, Error> {
        let Some(lo) = self.ranges.front(prefix, commit)?.filter(|lo| *lo <= at) else { return Ok(None) };
        let near = self.past.ceiling(&block_place(prefix, lo, commit.saturating_add(1)))?;
        let found = near.as_ref().and_then(|near| Some((near.key_behind::<16>(prefix)?, near.value())));
        let Some((behind, record)) = found else { return Ok(None) };
        let Placed { lo: start, view, .. } = self.place(prefix, behind, record?)?;
        let is_whole = start == lo && view.from <= commit && commit < view.through;
        Ok(view.in_force(at, commit).filter(|_| is_whole))
    }

    /// As [`Self::find`], where the record of the key is at hand.
    #[inline]
    pub(crate) fn find_behind(
        &self,
        prefix: &[u8],
        tail: Tail<'t>,
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<Found<'t>>, Error> {
        match Self::find_in_record(&tail, at, commit) {
            Some(found) => Ok(found),
            None => self.find_in_blocks(prefix, at, commit, Some(tail)),
        }
    }

    /// As [`Self::find_behind`], with the record of the key as it is stored, for keys that rise from call to call.
    #[inline]
    pub(crate) fn find_walking(
        &self,
        prefix: &[u8],
        record: &'t [u8],
        at: ValidTime,
        commit: u64,
        walk: &mut Walk<'t>,
    ) -> Result<Option<Found<'t>>, Error> {
        if entry::blocks_until(record).is_some_and(|until| commit < until) {
            let near = walk.floor(prefix, &block_place(prefix, at, ALIVE))?;
            if let Some(point) = near.and_then(|near| in_open_block(near, at, commit)) {
                return Ok(Some(Found::Point(point)));
            }
        }
        let tail = self.decoded(prefix, record)?;
        if let Some(found) = Self::find_in_record(&tail, at, commit) {
            return Ok(found);
        }
        let near = walk.floor(prefix, &block_place(prefix, at, ALIVE))?;
        self.find_by(prefix, at, commit, Some(tail), near, |place| walk.floor(prefix, place))
    }

    /// What was in force, where the record of the key knows.
    #[inline]
    fn find_in_record(tail: &Tail<'t>, at: ValidTime, commit: u64) -> Option<Option<Found<'t>>> {
        if tail.point.at <= at && tail.settled <= commit {
            return Some(Some(Found::Last(tail.point, tail.value)));
        }
        if at >= tail.lo() && commit >= tail.from() {
            if let Some(point) = tail.in_force(at, commit) {
                return Some(Some(found(tail, point)));
            }
            if !tail.has_blocks {
                return Some(None);
            }
        }
        None
    }

    #[inline(never)]
    fn find_in_blocks(
        &self,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
        known: Option<Tail<'t>>,
    ) -> Result<Option<Found<'t>>, Error> {
        let floor = |place: &[u8]| {
            let Some(near) = self.past.floor(place)? else { return Ok(None) };
            near.key_behind(prefix).map(|behind| Ok((behind, near.value()?))).transpose()
        };
        let near = floor(&block_place(prefix, at, ALIVE))?;
        match near.and_then(|near| in_open_block(near, at, commit)) {
            Some(point) => Ok(Some(Found::Point(point))),
            None => self.find_by(prefix, at, commit, known, near, floor),
        }
    }

    /// Where `floor` finds the nearest block of the key at or before a place; the one at or before `at` is `near`.
    #[inline(never)]
    fn find_by(
        &self,
        prefix: &[u8],
        mut at: ValidTime,
        commit: u64,
        mut known: Option<Tail<'t>>,
        mut near: Option<Near<'t>>,
        mut floor: impl FnMut(&[u8]) -> Result<Option<Near<'t>>, Error>,
    ) -> Result<Option<Found<'t>>, Error> {
        loop {
            let mut open = None;
            if let Some((behind, record)) = near {
                let placed = self.place(prefix, behind, record)?;
                if placed.until != ALIVE {
                    return Err(self.lost(prefix, placed.lo));
                }
                open = Some(placed);
            }
            // The block alone is right about commits before the latest break points.
            if open.is_none_or(|open| open.view.through <= commit) {
                let tail = if known.is_some() { known } else { self.tail(prefix)? };
                let Some(tail) = tail else { return Ok(None) };
                known = Some(tail);
                let lo = tail.lo();
                if at >= lo && (open.is_some() || !tail.has_blocks) {
                    if let Some(point) = tail.in_force(at, commit) {
                        return Ok(Some(found(&tail, point)));
                    }
                    let Some(before) = before(lo) else { return Ok(None) };
                    at = before;
                    if open.is_some_and(|open| open.lo > at) {
                        near = floor(&block_place(prefix, at, ALIVE))?;
                        continue;
                    }
                }
            }
            let Some(open) = open else { return Err(self.lost(prefix, at)) };
            let Some(placed) = self.as_of(prefix, open, commit)? else { return Ok(None) };
            if let Some(point) = placed.view.in_force(at, commit) {
                return Ok(Some(Found::Point(point)));
            }
            let Some(before) = before(placed.lo) else { return Ok(None) };
            at = before;
            near = floor(&block_place(prefix, at, ALIVE))?;
        }
    }

    /// The first break point after `at` that stood once `commit` was recorded.
    pub(crate) fn next_after(
        &self,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<Point>, Error> {
        let Some(open) = self.open_block(prefix, at)? else { return Ok(None) };
        let Some(mut placed) = self.as_of(prefix, open, commit)? else { return Ok(None) };
        loop {
            if let Some(point) = placed.next_after(at, commit) {
                return Ok(Some(point));
            }
            let Some(lo) = self.ranges.following(prefix, placed.lo, commit)? else { return Ok(None) };
            placed = self.block_of(prefix, lo, commit)?;
        }
    }

    /// The break points from `from` to `to`, both included, that stood once `commit` was recorded.
    pub(crate) fn standing(
        &self,
        prefix: &[u8],
        from: ValidTime,
        to: ValidTime,
        commit: u64,
    ) -> Result<Vec<Point>, Error> {
        let Some(window) = self.window(prefix, from, to, commit)? else { return Ok(Vec::new()) };
        self.rising(prefix, window.points.into_iter().filter(|point| point.stood_at(commit)).collect())
    }

    /// Refuses break points that stood together and do not rise, which those of sound blocks and ranges do.
    fn rising(&self, prefix: &[u8], points: Vec<Point>) -> Result<Vec<Point>, Error> {
        if points.is_sorted_by(|one, next| one.at < next.at) {
            return Ok(points);
        }
        let what = EntryError::Order("break points that stood together do not rise from block to block");
        Err(damaged(catalog::past_tree(self.number), prefix, &what))
    }

    /// The blocks that cover a part of the timeline at a commit; `None` where the key was not there yet.
    pub(crate) fn window(
        &self,
        prefix: &[u8],
        from: ValidTime,
        to: ValidTime,
        commit: u64,
    ) -> Result<Option<Window>, Error> {
        let Some(open) = self.open_block(prefix, from)? else { return Ok(None) };
        let Some(mut placed) = self.as_of(prefix, open, commit)? else { return Ok(None) };
        let behind = self.ranges.behind(prefix, placed.lo, to)?;
        // A range that is cut off later leaves blocks that hold less from then on.
        let cut_off = behind.iter().map(|range| range.begin).filter(|begin| *begin > commit).min();
        let mut window = Window { from: 0, until: cut_off.unwrap_or(ALIVE), points: Vec::new() };
        let mut others = behind.iter().filter(|range| range.begin <= commit).map(|range| range.lo);
        loop {
            window.from = window.from.max(placed.view.from);
            window.until = window.until.min(placed.until);
            let next = others.next();
            let points = self.points_within(prefix, &placed, from, to)?;
            if next.is_none() && window.points.is_empty() {
                window.points = points;
                return Ok(Some(window));
            }
            // Dead ones may lie behind the next range's start; they are in blocks that hold at their time.
            window.points.extend(points.into_iter().filter(|point| next.is_none_or(|next| point.at < next)));
            let Some(lo) = next else { return Ok(Some(window)) };
            placed = self.block_of(prefix, lo, commit)?;
        }
    }

    /// All break points that a key ever had, by valid time, then by commit.
    pub(crate) fn all(&self, prefix: &[u8]) -> Result<Vec<Point>, Error> {
        let mut all: BTreeMap<(ValidTime, u64), Point> = BTreeMap::new();
        let tail = self.tail(prefix)?;
        if let Some(tail) = tail.filter(|tail| !tail.has_blocks) {
            return Ok(tail.recent());
        }
        self.each_block(prefix, |placed, block| {
            let points = match &tail {
                Some(tail) if placed.is_last() => tail.merged(block.points),
                _ => block.points,
            };
            for mut point in points {
                // What a closed block has standing stood until then, and a later block says how long.
                point.until = if point.until == ALIVE { placed.until } else { point.until };
                let known = all.entry((point.at, point.since)).or_insert(point);
                if known.belief != point.belief {
                    return Err(EntryError::Order("two blocks differ in a break point"));
                }
                known.until = known.until.max(point.until);
            }
            Ok(())
        })?;
        Ok(all.into_values().collect())
    }

    /// Tells of every block of a key as it is stored: range by range, the closed ones in order and then the open one.
    pub(crate) fn each_block(
        &self,
        prefix: &[u8],
        mut visit: impl FnMut(&Placed<'t>, Block) -> Result<(), EntryError>,
    ) -> Result<(), Error> {
        let mut cursor = self.past.cursor();
        let mut found = cursor.seek(prefix)?;
        while found && cursor.key().starts_with(prefix) {
            let placed = placed(cursor.key(), cursor.value()?);
            let visited = placed.and_then(|placed| visit(&placed, placed.view.exact_block(placed.lo)?));
            visited.map_err(|what| damaged(catalog::past_tree(self.number), cursor.key(), &what))?;
            found = cursor.next()?;
        }
        Ok(())
    }

    /// The pieces with a value that overlap a period, which is not empty, once `commit` was recorded: with their stored
    /// bounds, in order.
    pub(crate) fn pieces(&self, prefix: &[u8], period: Period, commit: u64) -> Result<Vec<Piece>, Error> {
        let Some(mut points) = self.standing_around(prefix, period, commit)? else { return Ok(Vec::new()) };
        // What is in force at the start may stand in a range before, and what ends the last piece in one behind.
        match points.partition_point(|point| point.at <= period.from).checked_sub(1) {
            Some(first) => drop(points.drain(..first)),
            None => points.splice(..0, self.in_force(prefix, period.from, commit)?).for_each(drop),
        }
        let is_open = points.last().is_some_and(|last| last.at < period.to && last.belief.is_some());
        if is_open && period.to != ValidTime::POS_INF {
            points.extend(self.next_after(prefix, period.to, commit)?);
        }
        let points = self.rising(prefix, points)?;
        Ok(pieces_of(&points).filter(|piece| piece.valid.overlaps(period)).collect())
    }

    /// The break points of a period that stood once `commit` was recorded, and their neighbours as far as they stand in
    /// the same blocks; `None` where the key was not there yet.
    fn standing_around(
        &self,
        prefix: &[u8],
        period: Period,
        commit: u64,
    ) -> Result<Option<Vec<Point>>, Error> {
        let Some(open) = self.open_block(prefix, period.from)? else { return Ok(None) };
        let Some(mut placed) = self.as_of(prefix, open, commit)? else { return Ok(None) };
        let mut others = self.ranges.behind(prefix, placed.lo, period.to)?;
        others.retain(|range| range.begin <= commit);
        let mut points = Vec::new();
        for next in others.iter().map(|range| Some(range.lo)).chain([None]) {
            // What died may lie behind the next range's start.
            let is_inside = |point: &Point| point.stood_at(commit) && next.is_none_or(|next| point.at < next);
            points.extend(self.block(prefix, &placed)?.points.into_iter().filter(is_inside));
            if let Some(lo) = next {
                placed = self.block_of(prefix, lo, commit)?;
            }
        }
        Ok(Some(points))
    }

    /// The whole content of a block, the latest break points included.
    pub(crate) fn block(&self, prefix: &[u8], placed: &Placed<'t>) -> Result<Block, Error> {
        if let Some(tail) = placed.tail.filter(|tail| !tail.has_blocks) {
            return Ok(Block { begin: 0, from: 0, through: ALIVE, points: tail.recent() });
        }
        let mut block = placed.view.block(placed.lo).map_err(|what| {
            let key = block_key(prefix, placed.lo, placed.until);
            damaged(catalog::past_tree(self.number), &key, &what)
        })?;
        if let Some(tail) = placed.tail {
            block.points = tail.merged(block.points);
        }
        Ok(block)
    }

    /// Of the whole content of a block the break points from `from` to `to`, both included.
    fn points_within(
        &self,
        prefix: &[u8],
        placed: &Placed<'t>,
        from: ValidTime,
        to: ValidTime,
    ) -> Result<Vec<Point>, Error> {
        if let Some(tail) = placed.tail.filter(|tail| !tail.has_blocks) {
            return Ok(tail.recent_within(from, to));
        }
        let points = placed.view.points_within(placed.lo, from, to).map_err(|what| {
            let key = block_key(prefix, placed.lo, placed.until);
            damaged(catalog::past_tree(self.number), &key, &what)
        })?;
        Ok(match placed.tail {
            Some(tail) => tail.merged_within(points, from, to),
            None => points,
        })
    }

    /// The open block of today's range that covers `at`, or what stands for it where the key has none; `None` where
    /// there is no key.
    pub(crate) fn open_block(&self, prefix: &[u8], at: ValidTime) -> Result<Option<Placed<'t>>, Error> {
        let near = self.past.floor(&block_place(prefix, at, ALIVE))?;
        let near = near.as_ref().and_then(|near| Some((near.key_behind::<16>(prefix)?, near)));
        let Some((behind, near)) = near else {
            let tail = self.tail(prefix)?.filter(|tail| !tail.has_blocks);
            return Ok(tail.map(|tail| Placed {
                lo: ValidTime::NEG_INF,
                until: ALIVE,
                view: View::NONE,
                tail: Some(tail),
            }));
        };
        let placed = self.with_tail(prefix, self.place(prefix, behind, near.value()?)?)?;
        if placed.until == ALIVE { Ok(Some(placed)) } else { Err(self.lost(prefix, placed.lo)) }
    }

    /// A block with the record of the key, where that belongs to it.
    fn with_tail(&self, prefix: &[u8], mut placed: Placed<'t>) -> Result<Placed<'t>, Error> {
        if placed.is_last() {
            placed.tail = self.tail(prefix)?;
        }
        Ok(placed)
    }

    /// The open block of the next range behind the one that starts at `lo`.
    pub(crate) fn open_behind(&self, prefix: &[u8], lo: ValidTime) -> Result<Option<Placed<'t>>, Error> {
        let mut behind = block_key(prefix, lo, ALIVE);
        behind.push(0);
        let Some(near) = self.past.ceiling(&behind)? else { return Ok(None) };
        let Some(behind) = near.key_behind::<16>(prefix) else { return Ok(None) };
        let (lo, _) = split_block_behind(behind)
            .map_err(|what| damaged(catalog::past_tree(self.number), &near.key(), &what))?;
        self.open_block(prefix, lo)
    }

    /// Where a range of today is open, the block that covered the same instants once `commit` was recorded: its own
    /// or that of the range from which it was cut off since.
    #[inline]
    fn as_of(&self, prefix: &[u8], open: Placed<'t>, commit: u64) -> Result<Option<Placed<'t>>, Error> {
        if commit >= open.view.from {
            return Ok(Some(open));
        }
        if commit >= open.view.begin {
            return self.block_of(prefix, open.lo, commit).map(Some);
        }
        let lo = self.ranges.covering(prefix, open.lo, commit)?;
        lo.map(|lo| self.block_of(prefix, lo, commit)).transpose()
    }

    /// The block of a range that holds at a commit.
    fn block_of(&self, prefix: &[u8], lo: ValidTime, commit: u64) -> Result<Placed<'t>, Error> {
        let near = self.past.ceiling(&block_place(prefix, lo, commit.saturating_add(1)))?;
        let found = near.as_ref().and_then(|near| Some((near.key_behind::<16>(prefix)?, near.value())));
        let Some((behind, record)) = found else { return Err(self.lost(prefix, lo)) };
        let placed = self.place(prefix, behind, record?)?;
        if placed.lo != lo || commit < placed.view.from {
            return Err(self.lost(prefix, lo));
        }
        self.with_tail(prefix, placed)
    }

    #[inline]
    fn place(&self, prefix: &[u8], behind: [u8; 16], record: &'t [u8]) -> Result<Placed<'t>, Error> {
        let placed = split_block_behind(behind)
            .and_then(|(lo, until)| Ok(Placed { lo, until, view: View::parse(record)?, tail: None }));
        placed.map_err(|what| damaged(catalog::past_tree(self.number), &[prefix, &behind].concat(), &what))
    }

    pub(crate) fn damaged_tail(&self, prefix: &[u8], what: &EntryError) -> Error {
        Self::damaged_record(self.number, prefix, what)
    }

    /// The error for the record of a key in the collection with this number.
    pub(crate) fn damaged_record(number: u32, prefix: &[u8], what: &EntryError) -> Error {
        damaged(catalog::now_tree(number), prefix, what)
    }

    pub(crate) fn lost(&self, prefix: &[u8], lo: ValidTime) -> Error {
        let what = EntryError::Order("the block that covers an instant at a commit is missing");
        damaged(catalog::past_tree(self.number), &block_key(prefix, lo, ALIVE), &what)
    }
}

/// What was in force, where an open block alone is right about a commit and has it. Anything out of the ordinary is left to
/// the general way.
#[inline]
fn in_open_block((behind, record): Near<'_>, at: ValidTime, commit: u64) -> Option<Point> {
    let is_open = u128::from_be_bytes(behind) as u64 == ALIVE;
    let view =
        View::parse(record).ok().filter(|view| is_open && view.from <= commit && commit < view.through)?;
    view.in_force(at, commit)
}

/// Since when nothing from the last break point on changed, given all break points that a key ever had; without one,
/// since when there is none.
pub(crate) fn settled(all: &[Point], tail: Option<Point>) -> u64 {
    let behind = |point: &&Point| point.until != ALIVE && tail.is_none_or(|tail| point.at > tail.at);
    let last = all.iter().filter(behind).map(|point| point.until).max().unwrap_or(0);
    last.max(tail.map_or(0, |tail| tail.since))
}

/// The instant just before a finite start of a range.
pub(crate) fn before(lo: ValidTime) -> Option<ValidTime> {
    lo.micros().checked_sub(1).map(ValidTime::from_raw)
}

/// The pieces with a value between neighbouring break points, the last one without end.
pub(crate) fn pieces_of(points: &[Point]) -> impl Iterator<Item = Piece> + '_ {
    points.iter().enumerate().filter(|(_, point)| point.belief.is_some()).map(|(index, point)| {
        let to = points.get(index + 1).map_or(ValidTime::POS_INF, |next| next.at);
        Piece { valid: Period::between(point.at, to), start: *point }
    })
}

/// A block by its key and record.
pub(crate) fn placed<'t>(key: &[u8], record: &'t [u8]) -> Result<Placed<'t>, EntryError> {
    let BlockKey { at, until, .. } = split_block(key)?;
    Ok(Placed { lo: at, until, view: View::parse(record)?, tail: None })
}

fn found<'t>(tail: &Tail<'t>, point: Point) -> Found<'t> {
    if point == tail.point { Found::Last(point, tail.value) } else { Found::Point(point) }
}

fn split_block_behind(behind: [u8; 16]) -> Result<(ValidTime, u64), EntryError> {
    let both = u128::from_be_bytes(behind);
    let lo = ValidTime::from_raw((((both >> 64) as u64) ^ (1 << 63)).cast_signed());
    if lo == ValidTime::POS_INF {
        return Err(crate::encoding::KeyError::Infinite.into());
    }
    Ok((lo, both as u64))
}
