//! The latest break points of a key besides its last one, as they stand in its record.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     1  n, how many
//!      1     1  w, bytes of each stored commit: 2, 4 or 8; 2 where n = 0
//!      2     8  the first commit since which they are whole, u64; 0 where the key has no blocks
//!     10     8  base: the least commit that any of them names, u64; missing where n = 0, like all that follows
//!     18    8n  where they lie, i64, rising; of those at one place the earlier comes first
//!      +    wn  since which commit they stood, minus base
//!      +    wn  until which commit they stood, minus base; all bits 1 = they stand
//!      +    wn  which commit asserted the value, minus base; all bits 1 = nothing from here on
//!      +    4n  the place of the operation that asserted it in its commit, u32; 0 for nothing
//! ```
//!
//! w is the least where all distances from base are below 2^8w - 1.
//!
//! Invariants
//! 1. What is read lies inside the record: sizes are checked when it is decoded.
//!
//! Not here: what they mean beside blocks (`entry`, `points`).

use crate::entry::{ALIVE, Belief, EntryError, Point};
use crate::types::ValidTime;

const FROM_OFFSET: usize = 2;
const BASE_OFFSET: usize = FROM_OFFSET + size_of::<u64>();
const TIMES_OFFSET: usize = BASE_OFFSET + size_of::<u64>();
const _: () = assert!(TIMES_OFFSET == 18);
const TIME_SIZE: usize = size_of::<i64>();
const INDEX_SIZE: usize = size_of::<u32>();

/// Bytes that so many take at most.
pub(crate) const fn size_max(count: usize) -> usize {
    TIMES_OFFSET + count * (TIME_SIZE + 3 * size_of::<u64>() + INDEX_SIZE)
}

/// Latest break points, stored or to be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Others<'a> {
    /// Since which commit they are whole.
    pub(crate) from: u64,
    points: Points<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Points<'a> {
    Given(&'a [Point]),
    Stored(Columns<'a>),
}

#[derive(Clone, Copy, Debug)]
struct Columns<'a> {
    /// What stands behind the base.
    bytes: &'a [u8],
    count: usize,
    width: usize,
    base: u64,
}

impl<'a> Others<'a> {
    pub(crate) const NONE: Self = Self { from: 0, points: Points::Given(&[]) };

    /// Of break points in order.
    pub(crate) fn of(from: u64, points: &'a [Point]) -> Self {
        Self { from, points: Points::Given(points) }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self.points {
            Points::Given(points) => points.len(),
            Points::Stored(columns) => columns.count,
        }
    }

    /// Where the first one lies.
    #[inline]
    pub(crate) fn first_at(&self) -> Option<ValidTime> {
        match self.points {
            Points::Given(points) => points.first().map(|first| first.at),
            Points::Stored(columns) => (columns.count > 0).then(|| columns.at(0)),
        }
    }

    #[inline]
    fn get(&self, index: usize) -> Point {
        match self.points {
            Points::Given(points) => points[index],
            Points::Stored(columns) => columns.get(index),
        }
    }

    pub(crate) fn points(&self) -> impl DoubleEndedIterator<Item = Point> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The last one behind `low` and not behind `at` that stood once `commit` was recorded.
    #[inline]
    pub(crate) fn in_force(&self, low: ValidTime, at: ValidTime, commit: u64) -> Option<Point> {
        match self.points {
            Points::Given(points) => points
                .iter()
                .rfind(|point| low <= point.at && point.at <= at && point.stood_at(commit))
                .copied(),
            Points::Stored(columns) => match columns.width {
                2 => columns.in_force::<2>(low, at, commit),
                4 => columns.in_force::<4>(low, at, commit),
                _ => columns.in_force::<8>(low, at, commit),
            },
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self.points {
            Points::Given(points) => encode(self.from, points, out),
            Points::Stored(_) => encode(self.from, &self.points().collect::<Vec<_>>(), out),
        }
    }

    /// What the bytes begin with, and the rest.
    #[inline]
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), EntryError> {
        let size = || EntryError::Size(bytes.len());
        let (head, rest) = bytes.split_first_chunk::<BASE_OFFSET>().ok_or_else(size)?;
        let (count, width) = (usize::from(head[0]), usize::from(head[1]));
        if !matches!(width, 2 | 4 | 8) {
            return Err(EntryError::Kind(head[1]));
        }
        let from = number::<8>(head, FROM_OFFSET);
        if count == 0 {
            return Ok((Self { from, points: Points::Given(&[]) }, rest));
        }
        let (base, rest) = rest.split_first_chunk().ok_or_else(size)?;
        let columns = count * (TIME_SIZE + 3 * width + INDEX_SIZE);
        let (bytes, rest) = rest.split_at_checked(columns).ok_or_else(size)?;
        let columns = Columns { bytes, count, width, base: u64::from_le_bytes(*base) };
        if (1..count).any(|index| columns.at(index - 1) > columns.at(index)) {
            return Err(EntryError::Order("the latest break points are out of order"));
        }
        Ok((Self { from, points: Points::Stored(columns) }, rest))
    }
}

fn encode(from: u64, points: &[Point], out: &mut Vec<u8>) {
    let (mut base, mut last) = (u64::MAX, 0);
    for point in points {
        base = base.min(point.belief.map_or(point.since, |belief| belief.asserted.min(point.since)));
        last = last.max(if point.until == ALIVE { point.since } else { point.until });
    }
    let width = [2, 4].into_iter().find(|width| last.saturating_sub(base) < none(*width)).unwrap_or(8);
    out.extend_from_slice(&[points.len() as u8, width as u8]);
    out.extend_from_slice(&from.to_le_bytes());
    if points.is_empty() {
        return;
    }
    out.extend_from_slice(&base.to_le_bytes());
    let start = out.len();
    out.resize(start + points.len() * (TIME_SIZE + 3 * width + INDEX_SIZE), 0);
    let (times, rest) = out[start..].split_at_mut(points.len() * TIME_SIZE);
    let (commits, indices) = rest.split_at_mut(3 * points.len() * width);
    for (index, point) in points.iter().enumerate() {
        times[index * TIME_SIZE..][..TIME_SIZE].copy_from_slice(&point.at.micros().to_le_bytes());
        let until = if point.until == ALIVE { ALIVE } else { point.until - base };
        let asserted = point.belief.map_or(u64::MAX, |belief| belief.asserted - base);
        for (column, number) in [point.since - base, until, asserted].into_iter().enumerate() {
            let offset = (column * points.len() + index) * width;
            // The least bytes of it.
            for (to, from) in commits[offset..offset + width].iter_mut().zip(number.to_le_bytes()) {
                *to = from;
            }
        }
        let place = point.belief.map_or(0, |belief| belief.index);
        indices[index * INDEX_SIZE..][..INDEX_SIZE].copy_from_slice(&place.to_le_bytes());
    }
}

impl Columns<'_> {
    #[inline]
    fn at(&self, index: usize) -> ValidTime {
        ValidTime::from_raw(number::<8>(self.bytes, index * TIME_SIZE).cast_signed())
    }

    fn get(&self, index: usize) -> Point {
        match self.width {
            2 => self.point::<2>(index),
            4 => self.point::<4>(index),
            _ => self.point::<8>(index),
        }
    }

    #[inline]
    fn in_force<const W: usize>(&self, low: ValidTime, at: ValidTime, commit: u64) -> Option<Point> {
        let commit = commit.checked_sub(self.base)?.min(none(W) - 1);
        let since_offset = self.count * TIME_SIZE;
        let until_offset = since_offset + self.count * W;
        for index in (0..self.count).rev() {
            let place = self.at(index);
            if place > at {
                continue;
            }
            if place < low {
                return None;
            }
            if number::<W>(self.bytes, since_offset + index * W) <= commit
                && commit < number::<W>(self.bytes, until_offset + index * W)
            {
                return Some(self.point::<W>(index));
            }
        }
        None
    }

    fn point<const W: usize>(&self, index: usize) -> Point {
        let read = |column: usize| {
            number::<W>(self.bytes, self.count * TIME_SIZE + column * self.count * W + index * W)
        };
        // Sums of sound records do not wrap; those of others are refused where all of it is checked.
        let commit =
            |distance: u64| if distance == none(W) { u64::MAX } else { self.base.wrapping_add(distance) };
        let index_offset = self.count * (TIME_SIZE + 3 * W) + index * INDEX_SIZE;
        let belief = (read(2) != none(W)).then(|| Belief {
            asserted: commit(read(2)),
            index: number::<4>(self.bytes, index_offset) as u32,
        });
        Point { at: self.at(index), since: commit(read(0)), until: commit(read(1)), belief }
    }
}

impl PartialEq for Others<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.from == other.from && self.points().eq(other.points())
    }
}

impl Eq for Others<'_> {}

/// All bits of a stored commit: none.
#[inline]
const fn none(width: usize) -> u64 {
    u64::MAX >> (64 - 8 * width)
}

/// The number of `W` bytes at an offset that lies inside.
#[inline]
fn number<const W: usize>(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    number[..W].copy_from_slice(&bytes[offset..offset + W]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point((at, since, length, asserted, index): (i64, u64, u64, u64, u32)) -> Point {
        let until = if length == 0 { ALIVE } else { since + length };
        let belief = (index > 0).then(|| Belief { asserted: since.saturating_sub(asserted), index });
        Point { at: ValidTime::from_raw(at), since, until, belief }
    }

    #[test]
    fn the_byte_table_is_what_is_written() {
        let points = [point((-1, 5, 2, 2, 9)), point((2, 6, 0, 0, 0))];
        let mut bytes = Vec::new();
        Others::of(4, &points).encode(&mut bytes);
        let word = |number: i64| number.to_le_bytes();
        let columns = [2, 0, 3, 0, 4, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 9, 0, 0, 0, 0, 0, 0, 0];
        let want = [&[2, 2][..], &word(4), &word(3), &word(-1), &word(2), &columns].concat();
        assert_eq!(bytes, want);
        let mut none = Vec::new();
        Others::of(4, &[]).encode(&mut none);
        assert_eq!(none, [&[0, 2][..], &word(4)].concat());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_and_found(
            rows in proptest::collection::vec(
                (-9..9i64, 0..9u64, 0..4u64, 0..3u64, 0..3u32), 0..9
            ),
            scale in prop_oneof![Just(1u64), Just(9_000), Just(1 << 33)],
            asked in proptest::collection::vec((-10..10i64, -10..10i64, 0..14u64), 20),
        ) {
            let rows = rows.into_iter().map(|(at, since, length, asserted, index)| {
                point((at, since * scale, length * scale, asserted * scale, index))
            });
            let mut points: Vec<Point> = rows.collect();
            points.sort_by_key(|point| (point.at, point.since));
            let mut bytes = Vec::new();
            Others::of(7, &points).encode(&mut bytes);
            prop_assert!(bytes.len() <= size_max(points.len()));
            bytes.extend_from_slice(b"rest");
            let (read, rest) = Others::decode(&bytes).unwrap();
            prop_assert_eq!((read, rest), (Others::of(7, &points), &b"rest"[..]));
            for (low, at, commit) in asked {
                let [low, at] = [low, at].map(ValidTime::from_raw);
                let found = Others::of(7, &points).in_force(low, at, commit * scale);
                prop_assert_eq!(read.in_force(low, at, commit * scale), found);
            }
        }
    }
}
