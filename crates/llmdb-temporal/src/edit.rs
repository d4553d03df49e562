//! Changing the timeline of one key, in memory: which break points go and come, and how full blocks part.
//!
//! ```text
//!   before   |------- "a" -------------|           put [3, 7) "b":
//!   after    |- "a" -|- "b" -|-- "a" --|           7: "a" again, asserted as before; 3: "b"
//!                    3       7
//!
//!   a full block   its new last break points begin a range of their own, where they rise and little in it is dead;
//!                  else it is closed, and what stands goes on in one block, or in two if it is still much
//! ```
//!
//! Invariants
//! 1. After every operation the break points of a key that stand are strictly increasing in valid time, and "nothing"
//!    is neither the first nor follows "nothing".
//! 2. A break point that goes in the commit in which it came vanishes: nothing of zero width is ever stored.
//! 3. Break points outside `[from, to]` of an operation are untouched.
//! 4. An open block holds every break point of its range that stood at any commit since it is whole.
//! 5. The range of a break point is that with the greatest start not after it.
//!
//! Not here: loading and storing blocks (`write`).

use crate::block::Block;
use crate::point::{ALIVE, Belief, Point};
use crate::types::{Period, ValidTime};

/// The neighbouring open blocks of a key that an operation may change, rising.
#[derive(Debug)]
pub(crate) struct Timeline<'p> {
    pub(crate) parts: &'p mut [Part],
    pub(crate) commit: u64,
    /// Where values begin that did not before, if that is asked for.
    pub(crate) born: Option<&'p mut Vec<ValidTime>>,
}

/// An open block with its place.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) lo: ValidTime,
    pub(crate) block: Block,
    pub(crate) is_changed: bool,
    /// Whether its range is the last one of the key.
    pub(crate) is_last: bool,
}

/// What becomes of a block.
#[derive(Debug, Default)]
pub(crate) struct Parted {
    /// To be stored as closed at this commit.
    pub(crate) closed: Option<Block>,
    /// The open blocks; all but the first begin new ranges.
    pub(crate) open: Vec<(ValidTime, Block)>,
}

impl Timeline<'_> {
    /// The break points that stand, in order.
    pub(crate) fn standing(&self) -> impl DoubleEndedIterator<Item = Point> + '_ {
        let points = self.parts.iter().flat_map(|part| &part.block.points);
        points.filter(|point| point.until == ALIVE).copied()
    }

    /// Makes `belief`, or nothing, hold in `period` and only there. The least valid time at which something changed,
    /// if anything did.
    pub(crate) fn assign(&mut self, period: Period, belief: Option<Belief>) {
        let Period { from, to } = period;
        let before = self.standing().rfind(|point| point.at < from);
        let cut_off = self.standing().rfind(|point| point.at < to).and_then(|point| point.belief);
        let at_end = self.standing().find(|point| point.at == to);
        self.kill(from, to);
        match at_end {
            // It would repeat the nothing that now comes before it.
            Some(end) if belief.is_none() && end.belief.is_none() => self.kill_at(to),
            Some(_) => {}
            None if to == ValidTime::POS_INF => {}
            // What was in force at the end is cut off from its start, so it starts anew there.
            None if cut_off.is_some() || belief.is_some() => self.give_birth(to, cut_off),
            None => {}
        }
        if belief.is_some() || before.is_some_and(|before| before.belief.is_some()) {
            self.give_birth(from, belief);
        }
    }

    fn kill(&mut self, from: ValidTime, to: ValidTime) {
        self.kill_where(|at| from <= at && at < to);
    }

    fn kill_at(&mut self, place: ValidTime) {
        self.kill_where(|at| at == place);
    }

    fn kill_where(&mut self, is_meant: impl Fn(ValidTime) -> bool) {
        let commit = self.commit;
        for part in &mut *self.parts {
            let from = part.block.from;
            let mut is_changed = false;
            part.block.points.retain_mut(|point| {
                if point.until != ALIVE || !is_meant(point.at) {
                    return true;
                }
                is_changed = true;
                point.until = commit;
                // One that stood before is in the closed block, if this one is whole only from now on.
                point.since < commit && from < commit
            });
            part.is_changed |= is_changed;
        }
    }

    fn give_birth(&mut self, at: ValidTime, belief: Option<Belief>) {
        if let Some(born) = self.born.as_mut().filter(|_| belief.is_some()) {
            born.push(at);
        }
        let place = self.parts.partition_point(|part| part.lo <= at).saturating_sub(1);
        let part = &mut self.parts[place];
        let points = &mut part.block.points;
        let index = points.partition_point(|point| point.at <= at);
        points.insert(index, Point { at, since: self.commit, until: ALIVE, belief });
        part.is_changed = true;
    }
}

/// Parts an open block that has become larger than `size_max` bytes, so that no part is. `new` is the first commit
/// whose break points are new in it.
pub(crate) fn part(lo: ValidTime, mut block: Block, new: u64, commit: u64, size_max: usize) -> Parted {
    if block.size() <= size_max {
        return Parted { closed: None, open: vec![(lo, block)] };
    }
    if let Some(index) = rising(&block, new) {
        let behind = block.points.split_off(index);
        if block.size() <= size_max {
            let next = behind[0].at;
            let behind = Block { begin: new, from: new, through: ALIVE, points: behind };
            let mut parted = Parted { closed: None, open: vec![(lo, block)] };
            parted.open.extend(halves(next, behind, new, size_max));
            return parted;
        }
        block.points.extend(behind);
    }
    let mut closed = None;
    if block.from < commit {
        let points = block.points.iter().filter(|point| point.since < commit).copied().collect();
        closed = Some(Block { points, ..block });
        block.points.retain(|point| point.until == ALIVE);
        block.from = commit;
    }
    // A block that is nearly full again would be closed again soon.
    let room_kept = size_max / 10 * 7;
    Parted { closed, open: halves(lo, block, commit, room_kept) }
}

/// Where the new break points begin, if all others lie before them, and few of those are dead.
fn rising(block: &Block, new: u64) -> Option<usize> {
    let points = &block.points;
    let index = points.iter().rposition(|point| point.since < new || point.until != ALIVE)? + 1;
    let dead_count = points[..index].iter().filter(|point| point.until != ALIVE).count();
    let (last, first) = (points[index - 1], points.get(index)?);
    // One that was replaced since then belongs to what comes behind, too.
    let is_apart = last.at < first.at || last.until <= new;
    (is_apart && dead_count * 3 <= index).then_some(index)
}

/// A block whose break points all stand, in as many equal parts as keep below a size.
fn halves(lo: ValidTime, block: Block, commit: u64, size_max: usize) -> Vec<(ValidTime, Block)> {
    let count = block.points.len();
    let part_count = block.size().div_ceil(size_max).clamp(1, count.max(1));
    let length = count.div_ceil(part_count).max(1);
    let mut open = Vec::with_capacity(part_count);
    let Block { begin, from, through, mut points } = block;
    let rest = points.split_off(length.min(count));
    open.push((lo, Block { begin, from, through, points }));
    for points in rest.chunks(length) {
        let behind = Block { begin: commit, from: commit, through, points: points.to_vec() };
        open.push((points[0].at, behind));
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::narrow_size;

    fn point(at: i64, since: u64, until: u64) -> Point {
        let belief = Some(Belief { asserted: since, index: 0 });
        Point { at: ValidTime::from_raw(at), since, until, belief }
    }

    fn parted(points: Vec<Point>, from: u64, count_max: usize) -> (Option<usize>, Vec<(i64, usize, u64)>) {
        let block = Block { begin: 1, from, through: ALIVE, points };
        let parted = part(ValidTime::from_raw(-100), block, 9, 9, narrow_size(count_max));
        let open = parted.open.iter().map(|(lo, block)| (lo.micros(), block.points.len(), block.begin));
        (parted.closed.map(|block| block.points.len()), open.collect())
    }

    #[test]
    fn a_block_that_fits_stays_and_rising_break_points_begin_a_range() {
        let rising: Vec<Point> =
            (0..8).map(|n| point(n, n as u64 + 1, ALIVE)).chain([point(8, 9, ALIVE)]).collect();
        assert_eq!(parted(rising.clone(), 1, 9), (None, vec![(-100, 9, 1)]));
        assert_eq!(parted(rising.clone(), 1, 8), (None, vec![(-100, 8, 1), (8, 1, 9)]));
        // Break points that are new since an earlier commit begin a range since that one.
        let block = Block { begin: 1, from: 1, through: ALIVE, points: rising };
        let new = part(ValidTime::from_raw(-100), block, 7, 9, narrow_size(8)).open;
        let of_range =
            |(lo, block): &(ValidTime, Block)| (lo.micros(), block.points.len(), block.begin, block.from);
        assert_eq!(new.iter().map(of_range).collect::<Vec<_>>(), [(-100, 6, 1, 1), (6, 3, 7, 7)]);
    }

    #[test]
    fn a_block_with_much_dead_is_closed_and_what_stands_goes_on() {
        let mut points: Vec<Point> =
            (0..8).map(|n| point(n, 1, if n % 4 == 3 { ALIVE } else { 9 })).collect();
        points.push(point(8, 9, ALIVE));
        assert_eq!(parted(points, 1, 8), (Some(8), vec![(-100, 3, 1)]));
    }

    #[test]
    fn a_block_that_still_stands_for_the_most_part_is_closed_and_parted() {
        let mut points: Vec<Point> = (0..8).map(|n| point(n, 1, ALIVE)).collect();
        points.insert(4, Point { at: ValidTime::from_raw(3), ..point(3, 9, ALIVE) });
        points[3].until = 9;
        assert_eq!(parted(points.clone(), 1, 8), (Some(8), vec![(-100, 4, 1), (4, 4, 9)]));
        // Within the commit since which it is whole there is nothing to close.
        points.remove(3);
        points.push(point(3, 9, ALIVE));
        points.sort_by_key(|point| point.at);
        points.iter_mut().for_each(|point| point.since = 1);
        points.dedup_by_key(|point| point.at);
        assert_eq!(parted(points, 9, 5), (None, vec![(-100, 3, 1), (3, 3, 9), (6, 2, 9)]));
    }
}
