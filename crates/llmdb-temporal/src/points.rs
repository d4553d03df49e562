//! Moving over the break points of one key: the living in one tree, the dead in another.
//!
//! ```text
//!   valid time ->   -inf        3          7            +inf
//!   living                      |- "a" ----|- nothing ------
//!   pieces                      [  "a"     )
//! ```
//! A piece runs from a break point with a value to the next break point that stands at the same commit.
//!
//! Invariants
//! 1. The periods `[since, until)` of break points at one valid time of one key never overlap, so at any commit
//!    at most one of them stands.
//!
//! Costs, for a key whose entries in question number `n`: the living answer about now in one descent. About an
//! older commit, [`Live`] walks over living break points that are younger than it, and [`Dead`] takes two
//! descents for each distinct valid time that has no entry standing then. That is the price of this structure.
//!
//! Not here: rectangles (`read::sweep`), changes (`write`).

use llmdb_wal::{Cursor, Tree};

use crate::catalog;
use crate::encoding::{self, DeadKey, LiveKey, dead_key, live_key};
use crate::entry::{ALIVE, Belief, BreakPoint, EntryError};
use crate::error::Error;
use crate::types::{Period, ValidTime};

/// The live break points of a collection.
#[derive(Clone, Copy)]
pub(crate) struct Live<'t> {
    pub(crate) tree: Tree<'t>,
    /// The number of the collection.
    pub(crate) number: u32,
}

/// The dead break points of a collection.
#[derive(Clone, Copy)]
pub(crate) struct Dead<'t> {
    pub(crate) tree: Tree<'t>,
    /// The number of the collection.
    pub(crate) number: u32,
}

/// A value in force over a period, with the bounds of its break points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'t> {
    pub(crate) valid: Period,
    pub(crate) belief: Belief<'t>,
}

impl<'t> Live<'t> {
    /// The break point that is in force at `at`: the last one there or before. One descent.
    pub(crate) fn in_force(&self, prefix: &[u8], at: ValidTime) -> Result<Option<BreakPoint<'t>>, Error> {
        let mut cursor = self.tree.cursor();
        let found = cursor.seek_le(&live_key(prefix, at))?;
        self.read(&cursor, prefix, found)
    }

    /// The break point that is in force just before `at`.
    pub(crate) fn before(&self, prefix: &[u8], at: ValidTime) -> Result<Option<BreakPoint<'t>>, Error> {
        let mut cursor = self.tree.cursor();
        let bound = live_key(prefix, at);
        let mut found = cursor.seek_le(&bound)?;
        if found && cursor.key() == bound {
            found = cursor.prev()?;
        }
        self.read(&cursor, prefix, found)
    }

    /// The break point in force at `at` once `commit` was recorded, among those that still live.
    pub(crate) fn in_force_at(
        &self,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<BreakPoint<'t>>, Error> {
        let mut cursor = self.tree.cursor();
        let mut found = cursor.seek_le(&live_key(prefix, at))?;
        while let Some(point) = self.read(&cursor, prefix, found)? {
            if point.since <= commit {
                return Ok(Some(point));
            }
            found = cursor.prev()?;
        }
        Ok(None)
    }

    /// The first break point after `at` that stood once `commit` was recorded, among those that still live.
    pub(crate) fn next_at(
        &self,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<BreakPoint<'t>>, Error> {
        let mut cursor = self.tree.cursor();
        let mut found = cursor.seek(&live_key(prefix, at))?;
        while let Some(point) = self.read(&cursor, prefix, found)? {
            if point.at > at && point.since <= commit {
                return Ok(Some(point));
            }
            found = cursor.next()?;
        }
        Ok(None)
    }

    /// All break points from `from` to `to`, both included.
    pub(crate) fn between(
        &self,
        prefix: &[u8],
        from: ValidTime,
        to: ValidTime,
    ) -> Result<Vec<BreakPoint<'t>>, Error> {
        let mut cursor = self.tree.cursor();
        let mut found = cursor.seek(&live_key(prefix, from))?;
        let mut points = Vec::new();
        while let Some(point) = self.read(&cursor, prefix, found)?.filter(|point| point.at <= to) {
            points.push(point);
            found = cursor.next()?;
        }
        Ok(points)
    }

    /// The pieces with a value that overlap a period, with their stored bounds, in order.
    pub(crate) fn pieces(&self, prefix: &[u8], period: Period) -> Result<Vec<Piece<'t>>, Error> {
        let mut points: Vec<_> = self.in_force(prefix, period.from)?.into_iter().collect();
        let inside = self.between(prefix, period.from, period.to)?;
        points.extend(inside.into_iter().filter(|point| point.at > period.from));
        if points.last().is_some_and(|last| last.at < period.to)
            && let Some(end) = self.next_at(prefix, period.to, ALIVE)?
        {
            points.push(end);
        }
        Ok(pieces_of(&points).filter(|piece| piece.valid.overlaps(period)).collect())
    }

    fn read(&self, cursor: &Cursor<'t>, prefix: &[u8], found: bool) -> Result<Option<BreakPoint<'t>>, Error> {
        if !found || !cursor.key().starts_with(prefix) {
            return Ok(None);
        }
        match BreakPoint::live(cursor.key(), cursor.value()?) {
            Ok((_, point)) => Ok(Some(point)),
            Err(what) => Err(damaged(catalog::now_tree(self.number), cursor.key(), &what)),
        }
    }
}

impl<'t> Dead<'t> {
    /// The break point in force at `at` once `commit` was recorded, among the dead that lie after `floor`.
    pub(crate) fn in_force_at(
        &self,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
        floor: Option<ValidTime>,
    ) -> Result<Option<BreakPoint<'t>>, Error> {
        let mut cursor = self.tree.cursor();
        let mut bound = dead_key(prefix, at, u64::MAX);
        loop {
            let found = cursor.seek_le(&bound)?;
            let Some(last) = self.read(&cursor, prefix, found)? else { return Ok(None) };
            if floor.is_some_and(|floor| last.at <= floor) {
                return Ok(None);
            }
            if let Some(point) = self.standing(&mut cursor, prefix, last.at, commit)? {
                return Ok(Some(point));
            }
            // No entry ends at commit 0, so this lies before all entries of that valid time.
            bound = dead_key(prefix, last.at, 0);
        }
    }

    /// The first break point after `at` that stood once `commit` was recorded, among the dead before `ceiling`.
    pub(crate) fn next_at(
        &self,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
        ceiling: ValidTime,
    ) -> Result<Option<BreakPoint<'t>>, Error> {
        let mut cursor = self.tree.cursor();
        let mut bound = dead_key(prefix, at, u64::MAX);
        loop {
            let found = cursor.seek(&bound)?;
            let Some(first) = self.read(&cursor, prefix, found)? else { return Ok(None) };
            if first.at >= ceiling {
                return Ok(None);
            }
            if let Some(point) = self.standing(&mut cursor, prefix, first.at, commit)? {
                return Ok(Some(point));
            }
            bound = dead_key(prefix, first.at, u64::MAX);
        }
    }

    /// All break points from `from` to `to`, both included, by valid time and then by their end.
    pub(crate) fn between(
        &self,
        prefix: &[u8],
        from: ValidTime,
        to: ValidTime,
    ) -> Result<Vec<BreakPoint<'t>>, Error> {
        let mut cursor = self.tree.cursor();
        let mut found = cursor.seek(&dead_key(prefix, from, 0))?;
        let mut points = Vec::new();
        while let Some(point) = self.read(&cursor, prefix, found)?.filter(|point| point.at <= to) {
            points.push(point);
            found = cursor.next()?;
        }
        Ok(points)
    }

    /// The one entry at exactly `at` that stood at `commit`: the first that ended later, if it had begun.
    fn standing(
        &self,
        cursor: &mut Cursor<'t>,
        prefix: &[u8],
        at: ValidTime,
        commit: u64,
    ) -> Result<Option<BreakPoint<'t>>, Error> {
        let found = cursor.seek(&dead_key(prefix, at, commit.saturating_add(1)))?;
        let point = self.read(cursor, prefix, found)?;
        Ok(point.filter(|point| point.at == at && point.stood_at(commit)))
    }

    fn read(&self, cursor: &Cursor<'t>, prefix: &[u8], found: bool) -> Result<Option<BreakPoint<'t>>, Error> {
        if !found || !cursor.key().starts_with(prefix) {
            return Ok(None);
        }
        match BreakPoint::dead(cursor.key(), cursor.value()?) {
            Ok((_, point)) => Ok(Some(point)),
            Err(what) => Err(damaged(catalog::past_tree(self.number), cursor.key(), &what)),
        }
    }
}

/// The pieces with a value between neighbouring break points, the last one without end.
pub(crate) fn pieces_of<'a, 't>(points: &'a [BreakPoint<'t>]) -> impl Iterator<Item = Piece<'t>> + 'a {
    points.iter().enumerate().filter_map(|(index, point)| {
        let to = points.get(index + 1).map_or(ValidTime::POS_INF, |next| next.at);
        point.belief.map(|belief| Piece { valid: Period::between(point.at, to), belief })
    })
}

/// The error for a stored entry that cannot be read. Names the user key where it can be made out.
pub(crate) fn damaged(tree: String, stored: &[u8], what: &EntryError) -> Error {
    let prefix = encoding::split_live(stored)
        .or_else(|_| encoding::split_dead(stored).map(|DeadKey { prefix, at, .. }| LiveKey { prefix, at }))
        .map(|key| key.prefix);
    let key = prefix.and_then(encoding::user_key).unwrap_or_else(|_| stored.to_vec());
    Error::Damaged { place: format!("tree {tree}"), key, commit: None, what: what.to_string() }
}
