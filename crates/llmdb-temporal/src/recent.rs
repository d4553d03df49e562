//! The latest break points of a key besides its last one, as they stand in its record.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  the first commit since which they are whole, u64; 0 where the key has no blocks
//!      8     8  base: the least commit that any of them names, u64; missing where n = 0, like all that follows
//!     16    8n  where they lie, i64, rising; of those at one place the earlier comes first
//!      +    wn  since which commit they stood, minus base
//!      +    wn  until which commit they stood, minus base; all bits 1 = they stand
//!      +    wn  which commit asserted the value, minus base; all bits 1 = nothing from here on
//!      +    4n  the place of the operation that asserted it in its commit, u32; 0 for nothing
//! ```
//!
//! n and w stand in the record of the key (see `entry`): how many they are, and bytes of each stored commit: 2, 4 or 8, the
//! least where all distances from base are below 2^8w - 1; 2 where n = 0.
//!
//! Invariants
//! 1. What is read lies inside the record: sizes are checked when it is decoded. Nothing else of it is looked at then, but all of
//!    it before it is changed.
//!
//! Not here: what they mean beside blocks (`entry`, `points`).

use crate::point::{ALIVE, Belief, EntryError, Point};
use crate::types::ValidTime;

const BASE_OFFSET: usize = size_of::<u64>();
const TIMES_OFFSET: usize = BASE_OFFSET + size_of::<u64>();
const _: () = assert!(TIMES_OFFSET == 16);
const TIME_SIZE: usize = size_of::<i64>();
const INDEX_SIZE: usize = size_of::<u32>();

/// Bytes that so many take at most.
pub(crate) const fn size_max(count: usize) -> usize {
    size(count, size_of::<u64>())
}

#[inline]
const fn size(count: usize, width: usize) -> usize {
    if count == 0 { BASE_OFFSET } else { TIMES_OFFSET + count * (TIME_SIZE + 3 * width + INDEX_SIZE) }
}

/// Bytes of stored ones of a shape; `None` for none that there can be.
#[inline]
pub(crate) fn stored_size(shape: [u8; 2]) -> Option<usize> {
    matches!(shape[1], 2 | 4 | 8).then(|| size(usize::from(shape[0]), usize::from(shape[1])))
}

/// Latest break points, stored or to be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Others<'a> {
    /// Since which commit they are whole, and they.
    Given(u64, &'a [Point]),
    Stored(Columns<'a>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    bytes: &'a [u8],
    count: usize,
    width: usize,
}

impl<'a> Others<'a> {
    pub(crate) const NONE: Self = Self::Given(0, &[]);

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Given(_, points) => points.len(),
            Self::Stored(columns) => columns.count,
        }
    }

    /// Since which commit they are whole.
    #[inline]
    pub(crate) fn from(&self) -> u64 {
        match self {
            Self::Given(from, _) => *from,
            Self::Stored(columns) => number::<8>(columns.bytes, 0),
        }
    }

    /// Where the first one lies.
    #[inline]
    pub(crate) fn first_at(&self) -> Option<ValidTime> {
        match self {
            Self::Given(_, points) => points.first().map(|first| first.at),
            Self::Stored(columns) => (columns.count > 0).then(|| columns.at(0)),
        }
    }

    #[inline]
    fn get(&self, index: usize) -> Point {
        match self {
            Self::Given(_, points) => points[index],
            Self::Stored(columns) => columns.get(index),
        }
    }

    pub(crate) fn points(&self) -> impl DoubleEndedIterator<Item = Point> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Those that lie from `from` to `to`, both included.
    pub(crate) fn points_within(&self, from: ValidTime, to: ValidTime) -> impl Iterator<Item = Point> {
        let at = move |index: usize| match self {
            Self::Given(_, points) => points[index].at,
            Self::Stored(columns) => columns.at(index),
        };
        (0..self.len()).filter(move |index| (from..=to).contains(&at(*index))).map(|index| self.get(index))
    }

    /// The last one behind `low` and not behind `at` that stood once `commit` was recorded.
    #[inline]
    pub(crate) fn in_force(&self, low: ValidTime, at: ValidTime, commit: u64) -> Option<Point> {
        match self {
            Self::Given(_, points) => points
                .iter()
                .rfind(|point| low <= point.at && point.at <= at && point.stood_at(commit))
                .copied(),
            Self::Stored(columns) if columns.count == 0 => None,
            Self::Stored(columns) => match columns.width {
                2 => columns.in_force::<2>(low, at, commit),
                4 => columns.in_force::<4>(low, at, commit),
                _ => columns.in_force::<8>(low, at, commit),
            },
        }
    }

    /// Refuses stored ones out of order, and those whose commits are beyond all numbers: they would be written back as others.
    pub(crate) fn check(&self) -> Result<(), EntryError> {
        let Self::Stored(columns) = self else { return Ok(()) };
        let base = if columns.count > 0 { columns.base() } else { 0 };
        if self.points().any(|point| least(&point).min(point.until) < base) {
            return Err(EntryError::Order("a commit of a break point is out of range"));
        }
        if !self.points().is_sorted_by_key(|point| (point.at, point.since)) {
            return Err(EntryError::Order("the latest break points are out of order"));
        }
        Ok(())
    }

    /// How many they are, and bytes of each commit, as the record of the key has it.
    pub(crate) fn shape(&self) -> [u8; 2] {
        let base = self.points().map(|point| least(&point)).min().unwrap_or(0);
        let last = self.points().map(|point| if point.until == ALIVE { point.since } else { point.until });
        let span = last.max().unwrap_or(0).saturating_sub(base);
        let width = [2, 4].into_iter().find(|width| span < none(*width)).unwrap_or(8);
        [self.len() as u8, width as u8]
    }

    /// Appends them; `shape` is theirs.
    pub(crate) fn encode(&self, shape: [u8; 2], out: &mut Vec<u8>) {
        match self {
            Self::Given(from, points) => encode(*from, points, usize::from(shape[1]), out),
            Self::Stored(_) => {
                encode(self.from(), &self.points().collect::<Vec<_>>(), usize::from(shape[1]), out);
            }
        }
    }

    /// The shape with one more behind all of them, which stands; `None` where stored ones would have to be written in
    /// another way.
    #[inline]
    pub(crate) fn shape_with(&self, point: &Point) -> Option<[u8; 2]> {
        match self {
            Self::Stored(columns) if columns.count > 0 => columns.shape_with(point),
            _ if self.len() == 0 => Some(Others::Given(0, &[*point]).shape()),
            _ => None,
        }
    }

    /// Appends them and one more; the shape is [`Self::shape_with`] of it.
    pub(crate) fn encode_with(&self, point: &Point, shape: [u8; 2], out: &mut Vec<u8>) {
        match self {
            Self::Stored(columns) if columns.count > 0 => columns.encode_with(point, out),
            _ => encode(self.from(), &[*point], usize::from(shape[1]), out),
        }
    }

    /// What bytes end with, and what comes before.
    #[inline]
    pub(crate) fn decode(shape: [u8; 2], bytes: &'a [u8]) -> Result<(Self, &'a [u8]), EntryError> {
        let (count, width) = (usize::from(shape[0]), usize::from(shape[1]));
        let size = stored_size(shape).ok_or(EntryError::Kind(shape[1]))?;
        let before = bytes.len().checked_sub(size).ok_or(EntryError::Size(bytes.len()))?;
        let (before, bytes) = bytes.split_at(before);
        Ok((Self::Stored(Columns { bytes, count, width }), before))
    }
}

/// The least commit that is named.
fn least(point: &Point) -> u64 {
    point.belief.map_or(point.since, |belief| belief.asserted.min(point.since))
}

fn encode(from: u64, points: &[Point], width: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&from.to_le_bytes());
    let Some(base) = points.iter().map(least).min() else { return };
    out.extend_from_slice(&base.to_le_bytes());
    let start = out.len();
    out.resize(start + points.len() * (TIME_SIZE + 3 * width + INDEX_SIZE), 0);
    let (times, rest) = out[start..].split_at_mut(points.len() * TIME_SIZE);
    let (commits, indices) = rest.split_at_mut(3 * points.len() * width);
    for (index, point) in points.iter().enumerate() {
        times[index * TIME_SIZE..][..TIME_SIZE].copy_from_slice(&point.at.micros().to_le_bytes());
        // Only in a damaged record, which is compared with what is written here, does it lie before.
        let until = if point.until == ALIVE { ALIVE } else { point.until.wrapping_sub(base) };
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
        ValidTime::from_raw(number::<8>(self.bytes, TIMES_OFFSET + index * TIME_SIZE).cast_signed())
    }

    #[inline]
    fn base(&self) -> u64 {
        number::<8>(self.bytes, BASE_OFFSET)
    }

    fn get(&self, index: usize) -> Point {
        match self.width {
            2 => self.point::<2>(index),
            4 => self.point::<4>(index),
            _ => self.point::<8>(index),
        }
    }

    fn shape_with(&self, point: &Point) -> Option<[u8; 2]> {
        let last = self.get(self.count - 1);
        let is_last = (last.at, last.since) < (point.at, point.since) && point.until == ALIVE;
        let distance = point.since.checked_sub(self.base())?;
        let has_room = least(point) >= self.base() && distance < none(self.width);
        (is_last && has_room && self.count < usize::from(u8::MAX))
            .then_some([self.count as u8 + 1, self.width as u8])
    }

    /// Each column as it is, and one more behind it.
    fn encode_with(&self, point: &Point, out: &mut Vec<u8>) {
        match self.width {
            2 => self.encode_wide_with::<2>(point, out),
            4 => self.encode_wide_with::<4>(point, out),
            _ => self.encode_wide_with::<8>(point, out),
        }
    }

    fn encode_wide_with<const W: usize>(&self, point: &Point, out: &mut Vec<u8>) {
        let (head, mut rest) = self.bytes.split_at(TIMES_OFFSET);
        let start = out.len();
        out.resize(start + size(self.count + 1, W), 0);
        let (new_head, mut new) = out[start..].split_at_mut(TIMES_OFFSET);
        new_head.copy_from_slice(head);
        let base = self.base();
        let belief = point.belief.map_or((u64::MAX, 0), |belief| (belief.asserted - base, belief.index));
        let numbers = [
            (TIME_SIZE, point.at.micros().cast_unsigned()),
            (W, point.since - base),
            (W, u64::MAX),
            (W, belief.0),
            (INDEX_SIZE, u64::from(belief.1)),
        ];
        for (width, number) in numbers {
            let (column, behind) = rest.split_at(self.count * width);
            let (new_column, new_behind) = new.split_at_mut(column.len() + width);
            let (same, more) = new_column.split_at_mut(column.len());
            same.copy_from_slice(column);
            more.copy_from_slice(&number.to_le_bytes()[..width]);
            (rest, new) = (behind, new_behind);
        }
    }

    #[inline]
    fn in_force<const W: usize>(&self, low: ValidTime, at: ValidTime, commit: u64) -> Option<Point> {
        let commit = commit.checked_sub(self.base())?.min(none(W) - 1);
        let since_offset = TIMES_OFFSET + self.count * TIME_SIZE;
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
        let columns = TIMES_OFFSET + self.count * TIME_SIZE;
        let read = |column: usize| number::<W>(self.bytes, columns + column * self.count * W + index * W);
        // Sums of sound records do not wrap; those of others are refused where all of it is checked.
        let commit =
            |distance: u64| if distance == none(W) { u64::MAX } else { self.base().wrapping_add(distance) };
        let index_offset = columns + self.count * 3 * W + index * INDEX_SIZE;
        let belief = (read(2) != none(W)).then(|| Belief {
            asserted: commit(read(2)),
            index: number::<4>(self.bytes, index_offset) as u32,
        });
        Point { at: self.at(index), since: commit(read(0)), until: commit(read(1)), belief }
    }
}

impl PartialEq for Others<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.from() == other.from() && self.points().eq(other.points())
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
        let others = Others::Given(4, &points);
        assert_eq!(others.shape(), [2, 2]);
        others.encode([2, 2], &mut bytes);
        let word = |number: i64| number.to_le_bytes();
        let columns = [2, 0, 3, 0, 4, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 9, 0, 0, 0, 0, 0, 0, 0];
        let want = [&word(4)[..], &word(3), &word(-1), &word(2), &columns].concat();
        assert_eq!(bytes, want);
        let mut none = Vec::new();
        Others::Given(4, &[]).encode([0, 2], &mut none);
        assert_eq!((Others::Given(4, &[]).shape(), none), ([0, 2], word(4).to_vec()));
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
            let mut bytes = b"before".to_vec();
            let given = Others::Given(7, &points);
            given.encode(given.shape(), &mut bytes);
            prop_assert!(bytes.len() <= 6 + size_max(points.len()));
            let (read, before) = Others::decode(given.shape(), &bytes).unwrap();
            prop_assert_eq!((read, before), (given, &b"before"[..]));
            for (low, at, commit) in asked {
                let [low, at] = [low, at].map(ValidTime::from_raw);
                let found = given.in_force(low, at, commit * scale);
                prop_assert_eq!(read.in_force(low, at, commit * scale), found);
            }
        }
    }
}
