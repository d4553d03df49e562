//! Where two states differ.
//!
//! Invariants
//! 1. Applying the rows of `diff(a, b)` to the state at `a` gives the state at `b`.
//! 2. Rows of one key do not overlap; touching rows differ in a value. Values count, not who asserted them.
//! 3. Only keys with a recorded operation between the two commits are looked at, and of their timelines the part from where
//!    the first of the operations' periods starts to where the last one ends: the rest is as it was.
//!
//! Cost: the operations between the two are read and the distinct keys among them are held in memory; of each key
//! the blocks of that part that hold at the two commits are read, and values where the pieces are not the same ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map};
use std::fmt;
use std::ops::{Bound, RangeBounds};

use super::Collection;
use crate::encoding;
use crate::error::Error;
use crate::ops::Log;
use crate::point::Belief;
use crate::points::{Piece, pieces_of};
use crate::types::{Difference, Known, Period, ValidTime};

/// The rows of [`TemporalRead::diff`](super::TemporalRead::diff).
pub struct Differences<'t> {
    open: Option<Open<'t>>,
}

struct Open<'t> {
    collection: Collection<'t>,
    from: Option<u64>,
    to: Option<u64>,
    /// The keys that operations were about, and the least period that all of these are in.
    keys: btree_map::IntoIter<&'t [u8], Period>,
    rows: VecDeque<Difference>,
}

impl<'t> Collection<'t> {
    /// See [`TemporalRead::diff`](super::TemporalRead::diff).
    ///
    /// # Errors
    /// As there.
    pub fn diff(
        &self,
        from: Known,
        to: Known,
        keys: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> Result<Differences<'t>, Error> {
        let [from, to] = [self.resolve(from)?, self.resolve(to)?];
        let keys = self.touched(from.min(to), from.max(to), keys)?.into_iter();
        Ok(Differences { open: Some(Open { collection: *self, from, to, keys, rows: VecDeque::new() }) })
    }

    fn resolve(&self, known: Known) -> Result<Option<u64>, Error> {
        let commit = self.commits.resolve(known)?.map(|stamp| stamp.commit.get());
        super::check_kept(&self.commits, self.kept_from, known, None, commit)?;
        Ok(commit)
    }

    /// The keys in a range with an operation in the commits after `after` and up to `up_to`, and where these took place.
    fn touched(
        &self,
        after: Option<u64>,
        up_to: Option<u64>,
        keys: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> Result<BTreeMap<&'t [u8], Period>, Error> {
        let mut found: BTreeMap<&[u8], Period> = BTreeMap::new();
        let Some(last) = up_to.filter(|_| after != up_to) else { return Ok(found) };
        for row in Log::between(self.ops, after, last) {
            let (_, _, recorded) = row?;
            if recorded.collection == self.number && RangeBounds::<[u8]>::contains(&keys, recorded.key) {
                let Period { from, to } = recorded.valid;
                let part = found.entry(recorded.key).or_insert(recorded.valid);
                *part = Period::between(part.from.min(from), part.to.max(to));
            }
        }
        Ok(found)
    }

    /// The pieces of a key with a value in a part of its timeline, as far as they lie in it, once `commit` was recorded.
    fn pieces_at(&self, prefix: &[u8], part: Period, commit: Option<u64>) -> Result<Vec<Piece>, Error> {
        let Some(commit) = commit else { return Ok(Vec::new()) };
        let mut points = self.points.standing(prefix, part.from, part.to, commit)?;
        if points.first().is_none_or(|first| first.at > part.from) {
            points.splice(..0, self.points.in_force(prefix, part.from, commit)?).for_each(drop);
        }
        points.retain(|point| point.at < part.to);
        let clipped = pieces_of(&points).map(|mut piece| {
            piece.valid = Period::between(piece.valid.from.max(part.from), piece.valid.to.min(part.to));
            piece
        });
        Ok(clipped.collect())
    }
}

impl Differences<'_> {
    pub(super) fn empty() -> Self {
        Self { open: None }
    }
}

impl Open<'_> {
    fn next(&mut self) -> Result<Option<Difference>, Error> {
        while self.rows.is_empty() {
            let Some((key, part)) = self.keys.next() else { return Ok(None) };
            let prefix = encoding::prefix(key);
            let before = self.collection.pieces_at(&prefix, part, self.from)?;
            let after = self.collection.pieces_at(&prefix, part, self.to)?;
            self.rows = self.collection.differences(&prefix, key, &before, &after)?;
        }
        Ok(self.rows.pop_front())
    }
}

impl Collection<'_> {
    /// Compares two timelines cell by cell, joining touching cells that differ in the same way.
    fn differences(
        &self,
        prefix: &[u8],
        key: &[u8],
        before: &[Piece],
        after: &[Piece],
    ) -> Result<VecDeque<Difference>, Error> {
        let cuts: BTreeSet<ValidTime> =
            before.iter().chain(after).flat_map(|piece| [piece.valid.from, piece.valid.to]).collect();
        let cuts: Vec<ValidTime> = cuts.into_iter().collect();
        let (mut before, mut after) = (Walk(before), Walk(after));
        let mut rows: VecDeque<Difference> = VecDeque::new();
        let value = |belief: Option<Belief>| belief.map(|belief| self.value(prefix, belief)).transpose();
        for cell in cuts.windows(2).map(|ends| Period::between(ends[0], ends[1])) {
            let (old, new) = (before.belief(cell), after.belief(cell));
            if old == new {
                continue;
            }
            let (old, new) = (value(old)?, value(new)?);
            if old == new {
                continue;
            }
            match rows.back_mut() {
                Some(last)
                    if last.valid.to == cell.from
                        && last.before.as_deref() == old
                        && last.after.as_deref() == new =>
                {
                    last.valid = Period::between(last.valid.from, cell.to);
                }
                _ => rows.push_back(Difference {
                    key: key.to_vec(),
                    valid: cell,
                    before: old.map(<[u8]>::to_vec),
                    after: new.map(<[u8]>::to_vec),
                }),
            }
        }
        Ok(rows)
    }
}

/// The pieces that are not passed yet.
struct Walk<'a>(&'a [Piece]);

impl Walk<'_> {
    /// What is believed in a cell, which lies in one piece or in none, and after all cells asked for before.
    fn belief(&mut self, cell: Period) -> Option<Belief> {
        while let [first, rest @ ..] = self.0 {
            if first.valid.to > cell.from {
                return first.start.belief.filter(|_| first.valid.overlaps(cell));
            }
            self.0 = rest;
        }
        None
    }
}

impl Iterator for Differences<'_> {
    type Item = Result<Difference, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.open.as_mut()?.next().transpose();
        if !matches!(row, Some(Ok(_))) {
            self.open = None;
        }
        row
    }
}

impl fmt::Debug for Differences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Differences").field("ended", &self.open.is_none()).finish_non_exhaustive()
    }
}
