//! Rectangles out of break points: a sweep over the commits at which break points of a key came or went.
//!
//! Invariants
//! 1. At each commit, the open rectangles are the pieces between neighbouring break points that stand.
//! 2. A piece that stays the same in bounds, value and asserting commit is one rectangle, even where the break
//!    point that ends it was replaced by another at the same valid time.
//!
//! Cost: O(n log n) for n break points.
//!
//! Not here: finding the break points (`points`).

use std::collections::{BTreeMap, BTreeSet};

use crate::point::{ALIVE, Belief, Point};
use crate::types::{Period, ValidTime};

/// A piece of the timeline over the commits during which it stood like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rectangle {
    pub(crate) valid: Period,
    pub(crate) belief: Belief,
    pub(crate) known_from: u64,
    pub(crate) known_to: Option<u64>,
}

/// All rectangles, by the commit from which they were known and then by valid time.
pub(crate) fn sweep(points: &[Point]) -> Vec<Rectangle> {
    let mut state = State::default();
    let events = events(points);
    for group in events.chunk_by(|one, next| one.commit == next.commit) {
        state.advance(group, points);
    }
    state.finish()
}

/// A break point that goes (first, so that another may come in its place) or comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    commit: u64,
    comes: bool,
    point_index: usize,
}

fn events(points: &[Point]) -> Vec<Event> {
    let mut events = Vec::with_capacity(2 * points.len());
    for (point_index, point) in points.iter().enumerate() {
        events.push(Event { commit: point.since, comes: true, point_index });
        if point.until != ALIVE {
            events.push(Event { commit: point.until, comes: false, point_index });
        }
    }
    events.sort_unstable();
    events
}

#[derive(Default)]
struct State {
    standing: BTreeMap<ValidTime, Option<Belief>>,
    open: BTreeMap<ValidTime, Rectangle>,
    closed: Vec<Rectangle>,
}

impl State {
    /// Applies what came and went at one commit, then renews the pieces that start at a place of change or end
    /// there.
    fn advance(&mut self, group: &[Event], points: &[Point]) {
        let mut changed = BTreeSet::new();
        for event in group {
            let point = &points[event.point_index];
            changed.insert(point.at);
            if event.comes {
                self.standing.insert(point.at, point.belief);
            } else {
                self.standing.remove(&point.at);
            }
        }
        let commit = group[0].commit;
        for at in changed {
            if let Some((&start, _)) = self.standing.range(..at).next_back() {
                self.renew(start, commit);
            }
            self.renew(at, commit);
        }
    }

    fn renew(&mut self, start: ValidTime, commit: u64) {
        let piece = self.piece(start);
        let open = self.open.get(&start).map(|open| (open.valid, open.belief));
        if piece == open {
            return;
        }
        if let Some(mut ended) = self.open.remove(&start) {
            ended.known_to = Some(commit);
            self.closed.push(ended);
        }
        if let Some((valid, belief)) = piece {
            self.open.insert(start, Rectangle { valid, belief, known_from: commit, known_to: None });
        }
    }

    fn piece(&self, start: ValidTime) -> Option<(Period, Belief)> {
        let mut from_start = self.standing.range(start..);
        let (_, belief) = from_start.next().filter(|(at, _)| **at == start)?;
        let to = from_start.next().map_or(ValidTime::POS_INF, |(at, _)| *at);
        belief.map(|belief| (Period::between(start, to), belief))
    }

    fn finish(self) -> Vec<Rectangle> {
        let mut all = self.closed;
        all.extend(self.open.into_values());
        all.sort_by_key(|found| (found.known_from, found.valid));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> ValidTime {
        ValidTime::from_micros(micros).unwrap()
    }

    fn point(micros: i64, since: u64, until: u64, value: Option<(u64, u32)>) -> Point {
        let belief = value.map(|(asserted, index)| Belief { asserted, index });
        Point { at: at(micros), since, until, belief }
    }

    fn rows(points: &[Point]) -> Vec<(i64, i64, u64, Option<u64>, u64)> {
        let row = |found: Rectangle| {
            let bounds = (found.valid.from.micros(), found.valid.to.micros());
            (bounds.0, bounds.1, found.known_from, found.known_to, found.belief.asserted)
        };
        sweep(points).into_iter().map(row).collect()
    }

    #[test]
    fn a_correction_in_the_middle_ends_one_rectangle_and_starts_three() {
        let points = [
            point(0, 0, ALIVE, Some((0, 0))),
            point(3, 1, ALIVE, Some((1, 1))),
            point(7, 1, ALIVE, Some((0, 0))),
        ];
        let end = i64::MAX;
        let want = [(0, end, 0, Some(1), 0), (0, 3, 1, None, 0), (3, 7, 1, None, 1), (7, end, 1, None, 0)];
        assert_eq!(rows(&points), want);
    }

    #[test]
    fn replacing_the_end_by_another_at_the_same_time_does_not_end_a_rectangle() {
        let points = [
            point(0, 0, ALIVE, Some((0, 0))),
            point(5, 0, 2, None),
            point(5, 2, 4, Some((2, 1))),
            point(5, 4, ALIVE, None),
        ];
        assert_eq!(rows(&points), [(0, 5, 0, None, 0), (5, i64::MAX, 2, Some(4), 2)]);
    }
}
