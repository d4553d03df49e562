//! A block: break points of one key in a range of valid time, whole for a span of commits.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     1  w, bytes of each stored commit: 4 or 8
//!      1     1  zero
//!      2     2  n, how many break points
//!      4     8  the commit since which the range is one of its own, u64
//!     12     8  the first commit for which the block is whole, u64
//!     20     8  the first commit for which the record of the key has more in this range, if it is the last one, u64;
//!               all bits 1 = the range is not the last one, or the block is closed
//!     28     8  base: the least commit that any of the break points names, u64; the one at 12 where n = 0
//!     36    8n  where they lie, i64, rising; of those at one place the earlier comes first
//!      +    wn  since which commit they stood, minus base
//!      +    wn  until which commit they stood, minus base; all bits 1 = when the block was closed, or now
//!      +    wn  which commit asserted the value, minus base; all bits 1 = nothing from here on
//!      +    4n  the place of the operation that asserted it in its commit, u32; 0 for nothing
//! ```
//!
//! w is 4 where all distances from base are below 2^32 - 1, else 8.
//!
//! Invariants
//! 1. Every break point of the range that stood at any commit from the first to the closing one is there; in the open
//!    block of the last range, at any commit before the one at 20, and later ones that lie before the latest ones in the
//!    record of the key (see `entry`).
//! 2. Those at one place stood one after the other.
//! 3. A closed block never changes.
//!
//! Not here: the key, the range's start and the closing commit (`encoding`), values (`ops`).

use crate::point::{ALIVE, Belief, EntryError, Point};
use crate::types::ValidTime;

const COUNT_OFFSET: usize = 2;
const BEGIN_OFFSET: usize = 4;
const FROM_OFFSET: usize = BEGIN_OFFSET + size_of::<u64>();
const THROUGH_OFFSET: usize = FROM_OFFSET + size_of::<u64>();
const BASE_OFFSET: usize = THROUGH_OFFSET + size_of::<u64>();
const TIMES_OFFSET: usize = BASE_OFFSET + size_of::<u64>();
const _: () = assert!(TIMES_OFFSET == 36);

const TIME_SIZE: usize = size_of::<i64>();
const INDEX_SIZE: usize = size_of::<u32>();
const NARROW: usize = size_of::<u32>();
const WIDE: usize = size_of::<u64>();

/// A block in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Since which commit the range is one of its own.
    pub(crate) begin: u64,
    /// The first commit for which it is whole.
    pub(crate) from: u64,
    /// The first commit for which it is not, but with the latest break points; [`ALIVE`] where there is none.
    pub(crate) through: u64,
    pub(crate) points: Vec<Point>,
}

/// A block as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'t> {
    bytes: &'t [u8],
    is_wide: bool,
    count: usize,
    base: u64,
    pub(crate) begin: u64,
    pub(crate) from: u64,
    pub(crate) through: u64,
}

/// Bytes of a block of so many break points with narrow commits.
#[cfg(test)]
pub(crate) const fn narrow_size(count: usize) -> usize {
    size_of_width(count, NARROW)
}

const fn size_of_width(count: usize, width: usize) -> usize {
    TIMES_OFFSET + count * (TIME_SIZE + 3 * width + INDEX_SIZE)
}

impl Block {
    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        size_of_width(self.points.len(), self.layout().1)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (base, width) = self.layout();
        let mut out = vec![0; size_of_width(self.points.len(), width)];
        out[0] = width as u8;
        out[COUNT_OFFSET..BEGIN_OFFSET].copy_from_slice(&(self.points.len() as u16).to_le_bytes());
        let words = [self.begin, self.from, self.through, base];
        for (at, number) in out[BEGIN_OFFSET..TIMES_OFFSET].as_chunks_mut::<WIDE>().0.iter_mut().zip(words) {
            *at = number.to_le_bytes();
        }
        let (times, rest) = out[TIMES_OFFSET..].split_at_mut(self.points.len() * TIME_SIZE);
        for (time, point) in times.as_chunks_mut().0.iter_mut().zip(&self.points) {
            *time = point.at.micros().to_le_bytes();
        }
        if width == NARROW {
            self.fill::<NARROW>(base, rest)
        } else {
            self.fill::<WIDE>(base, rest)
        }
        out
    }

    /// Writes the columns behind the first.
    fn fill<const W: usize>(&self, base: u64, out: &mut [u8]) {
        let count = self.points.len();
        let (columns, indices) = out.split_at_mut(3 * count * W);
        let (since, rest) = columns.as_chunks_mut::<W>().0.split_at_mut(count);
        let (until, asserted) = rest.split_at_mut(count);
        let commits = since.iter_mut().zip(until).zip(asserted);
        let indices = indices.as_chunks_mut::<INDEX_SIZE>().0;
        for ((point, ((since, until), asserted)), index) in self.points.iter().zip(commits).zip(indices) {
            let belief = point.belief.unwrap_or(Belief { asserted: base.wrapping_sub(1), index: 0 });
            *since = least_bytes(point.since - base);
            *until = least_bytes(if point.until == ALIVE { ALIVE } else { point.until - base });
            *asserted = least_bytes(belief.asserted.wrapping_sub(base));
            *index = belief.index.to_le_bytes();
        }
    }

    /// The least commit that is named, and how wide the distances from it are.
    fn layout(&self) -> (u64, usize) {
        let asserted = |point: &Point| point.belief.map_or(point.since, |belief| belief.asserted);
        let base = self.points.iter().map(asserted).min().unwrap_or(self.from);
        let last = |point: &Point| if point.until == ALIVE { point.since } else { point.until };
        let last = self.points.iter().map(last).max().unwrap_or(base);
        (base, if last - base < u64::from(u32::MAX) { NARROW } else { WIDE })
    }
}

impl<'t> View<'t> {
    /// A block with nothing in it, for keys that have none: the latest break points are all.
    pub(crate) const NONE: Self =
        Self { bytes: &[], is_wide: false, count: 0, base: 0, begin: 0, from: 0, through: 0 };

    /// Looks at the head only; [`View::block`] looks at everything.
    #[inline]
    pub(crate) fn parse(bytes: &'t [u8]) -> Result<Self, EntryError> {
        let size = || EntryError::Size(bytes.len());
        let head = bytes.first_chunk::<TIMES_OFFSET>().ok_or_else(size)?;
        let width = usize::from(head[0]);
        if (width != NARROW && width != WIDE) || head[1] != 0 {
            return Err(EntryError::Kind(head[0]));
        }
        let count = usize::from(u16::from_le_bytes([head[COUNT_OFFSET], head[COUNT_OFFSET + 1]]));
        if bytes.len() != size_of_width(count, width) {
            return Err(size());
        }
        let word = |offset| number::<WIDE>(head, offset);
        Ok(Self {
            bytes,
            is_wide: width == WIDE,
            count,
            base: word(BASE_OFFSET),
            begin: word(BEGIN_OFFSET),
            from: word(FROM_OFFSET),
            through: word(THROUGH_OFFSET),
        })
    }

    /// The last break point at or before `at` that stood once `commit` was recorded.
    #[inline]
    pub(crate) fn in_force(&self, at: ValidTime, commit: u64) -> Option<Point> {
        if self.is_wide {
            self.in_force_of::<WIDE>(at, commit)
        } else {
            self.in_force_of::<NARROW>(at, commit)
        }
    }

    /// The first break point after `at` that stood once `commit` was recorded.
    pub(crate) fn next_after(&self, at: ValidTime, commit: u64) -> Option<Point> {
        let mut after = (self.place_after(at)..self.count).map(|index| self.point(index));
        // Where times do not rise, in a damaged block, not all of these lie behind.
        after.find(|point| point.stood_at(commit) && point.at > at)
    }

    /// All of it, checked. `lo` is where its range starts.
    pub(crate) fn block(&self, lo: ValidTime) -> Result<Block, EntryError> {
        let mut points: Vec<Point> = Vec::with_capacity(self.count + 2);
        for index in 0..self.count {
            points.push(self.plausible(index)?);
        }
        check_order(&points, lo)?;
        self.check_head()?;
        Ok(Block { begin: self.begin, from: self.from, through: self.through, points })
    }

    /// The break points that lie from `from` to `to`, both included, checked. `lo` is where the range starts.
    pub(crate) fn points_within(
        &self,
        lo: ValidTime,
        from: ValidTime,
        to: ValidTime,
    ) -> Result<Vec<Point>, EntryError> {
        let first =
            from.micros().checked_sub(1).map_or(0, |before| self.place_after(ValidTime::from_raw(before)));
        let end = self.place_after(to);
        let mut points: Vec<Point> = Vec::with_capacity(end.saturating_sub(first) + 2);
        for index in first..end {
            points.push(self.plausible(index)?);
        }
        check_order(&points, lo.max(from))?;
        self.check_head()?;
        Ok(points)
    }

    fn check_head(&self) -> Result<(), EntryError> {
        if self.begin > self.from {
            return Err(EntryError::Order("a block is whole for commits before its range was there"));
        }
        Ok(())
    }

    /// As [`View::block`]; refuses bytes that are not exactly what would be written.
    pub(crate) fn exact_block(&self, lo: ValidTime) -> Result<Block, EntryError> {
        let block = self.block(lo)?;
        if block.encode() != self.bytes {
            return Err(EntryError::Order("a block is not written as it should be"));
        }
        Ok(block)
    }

    #[inline]
    fn in_force_of<const W: usize>(&self, at: ValidTime, commit: u64) -> Option<Point> {
        let none = none::<W>();
        // Whatever still stands has all bits set, and every distance is smaller.
        let commit = commit.checked_sub(self.base)?.min(none - 1);
        // As long as `parse` found it.
        let (times, rest) = self.bytes[TIMES_OFFSET..].split_at(self.count * TIME_SIZE);
        let (times, (columns, _)) = (times.as_chunks::<TIME_SIZE>().0, rest.as_chunks::<W>());
        let (since, until) = columns.get(..2 * self.count)?.split_at(self.count);
        let after = times.partition_point(|time| i64::from_le_bytes(*time) <= at.micros());
        let both = since.get(..after)?.iter().zip(until.get(..after)?);
        let stood = |(since, until): (&[u8; W], &[u8; W])| small(since) <= commit && commit < small(until);
        both.rev().position(stood).map(|back| self.point_of::<W>(after - 1 - back))
    }

    /// How many break points lie at or before `at`.
    #[inline]
    fn place_after(&self, at: ValidTime) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = (low + high) / 2;
            if self.time(middle) <= at.micros() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    #[inline]
    fn time(&self, index: usize) -> i64 {
        number::<WIDE>(self.bytes, TIMES_OFFSET + index * TIME_SIZE).cast_signed()
    }

    #[inline]
    fn point(&self, index: usize) -> Point {
        if self.is_wide { self.point_of::<WIDE>(index) } else { self.point_of::<NARROW>(index) }
    }

    #[inline]
    fn point_of<const W: usize>(&self, index: usize) -> Point {
        let since_offset = TIMES_OFFSET + self.count * TIME_SIZE;
        let column = self.count * W;
        let read = |place: usize| number::<W>(self.bytes, since_offset + place * column + index * W);
        let none = none::<W>();
        // Sums of sound blocks do not wrap; those of others are refused where all of a block is read.
        let commit =
            |distance: u64| if distance == none { u64::MAX } else { self.base.wrapping_add(distance) };
        let index_offset = since_offset + 3 * column + index * INDEX_SIZE;
        let belief = (read(2) != none).then(|| Belief {
            asserted: commit(read(2)),
            index: number::<NARROW>(self.bytes, index_offset) as u32,
        });
        Point {
            at: ValidTime::from_raw(self.time(index)),
            since: commit(read(0)),
            until: commit(read(1)),
            belief,
        }
    }

    fn plausible(&self, index: usize) -> Result<Point, EntryError> {
        let point = self.point(index);
        let least = point.belief.map_or(point.since, |belief| belief.asserted).min(point.since);
        if least < self.base || point.until < self.base {
            return Err(EntryError::Order("a commit of a break point is out of range"));
        }
        Ok(point)
    }
}

/// Refuses break points of a range from `lo` on that cannot be, are out of order, or stood together at one place.
pub(crate) fn check_order(points: &[Point], lo: ValidTime) -> Result<(), EntryError> {
    for (index, point) in points.iter().enumerate() {
        point.checked()?;
        if let Some(last) = index.checked_sub(1).map(|before| &points[before])
            && (last.at, last.until) > (point.at, point.since)
        {
            return Err(EntryError::Order("break points are out of order, or stood together"));
        }
    }
    if points.first().is_some_and(|first| first.at < lo) {
        return Err(EntryError::Order("a break point lies before its range"));
    }
    Ok(())
}

/// All bits of a stored commit: none.
#[inline]
const fn none<const W: usize>() -> u64 {
    if W == WIDE { u64::MAX } else { u32::MAX as u64 }
}

/// The least few bytes of a number.
#[inline]
fn least_bytes<const W: usize>(number: u64) -> [u8; W] {
    let mut bytes = [0; W];
    bytes.copy_from_slice(&number.to_le_bytes()[..W]);
    bytes
}

/// The number of a few bytes.
#[inline]
fn small<const W: usize>(bytes: &[u8; W]) -> u64 {
    let mut number = [0; WIDE];
    number[..W].copy_from_slice(bytes);
    u64::from_le_bytes(number)
}

/// The number of `W` bytes at an offset that lies inside.
#[inline]
fn number<const W: usize>(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; WIDE];
    number[..W].copy_from_slice(&bytes[offset..offset + W]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn block(points: Vec<Point>) -> Block {
        Block { begin: 1, from: 2, through: 9, points }
    }

    fn point(at: i64, since: u64, until: u64, belief: Option<(u64, u32)>) -> Point {
        let belief = belief.map(|(asserted, index)| Belief { asserted, index });
        Point { at: ValidTime::from_raw(at), since, until, belief }
    }

    #[test]
    fn the_byte_table_is_what_is_written() {
        let bytes = block(vec![point(-1, 5, 7, Some((3, 9))), point(2, 6, ALIVE, None)]).encode();
        let words = |numbers: &[i64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let halves = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let columns = halves(&[2, 3, 4, u32::MAX, 0, u32::MAX, 9, 0]);
        let want = [&[4, 0, 2, 0][..], &words(&[1, 2, 9, 3]), &words(&[-1, 2]), &columns].concat();
        assert_eq!(bytes, want);
        assert_eq!(bytes.len(), narrow_size(2));
        assert_eq!(block(vec![]).encode().len(), TIMES_OFFSET);
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let refused =
            |points| View::parse(&block(points).encode()).unwrap().block(ValidTime::from_raw(0)).is_err();
        assert!(!refused(vec![point(0, 1, 2, None), point(0, 2, 3, None), point(1, 1, ALIVE, None)]));
        assert!(refused(vec![point(0, 1, 3, None), point(0, 2, 4, None)]));
        assert!(refused(vec![point(1, 1, 2, None), point(0, 1, 2, None)]));
        assert!(refused(vec![point(-1, 1, 2, None)]));
        let reversed = Block { begin: 3, from: 2, through: ALIVE, points: vec![] }.encode();
        assert!(View::parse(&reversed).unwrap().block(ValidTime::NEG_INF).is_err());
    }

    fn points() -> impl Strategy<Value = Vec<Point>> {
        let far = prop_oneof![9 => Just(0u64), 1 => Just(1u64 << 40)];
        let one = (-5..5i64, 0..20u64, 1..9u64, proptest::option::of((0..9u64, any::<u32>())), far);
        vec(one, 0..30).prop_map(|all| {
            let mut points: Vec<Point> = Vec::new();
            for (at, since, length, belief, far) in all {
                let since = since + far;
                let until = if length == 8 { ALIVE } else { since + length };
                let belief = belief.map(|(back, index)| (since.saturating_sub(back), index));
                let new = point(at, since, until, belief);
                if !points
                    .iter()
                    .any(|old| old.at == new.at && old.since < new.until && new.since < old.until)
                {
                    points.push(new);
                }
            }
            points.sort_by_key(|point| (point.at, point.since));
            points
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_stored_block_answers_as_its_points_do(points in points()) {
            let bytes = block(points.clone()).encode();
            let view = View::parse(&bytes).unwrap();
            prop_assert_eq!(view.exact_block(ValidTime::NEG_INF).unwrap().points, points.clone());
            for at in -6..6 {
                let at = ValidTime::from_raw(at);
                for commit in (0..30).chain([1 << 40, (1 << 40) + 9, u64::MAX - 1]) {
                    let standing = || points.iter().filter(|point| point.stood_at(commit));
                    prop_assert_eq!(view.in_force(at, commit), standing().rfind(|point| point.at <= at).copied());
                    prop_assert_eq!(view.next_after(at, commit), standing().find(|point| point.at > at).copied());
                }
            }
        }

        #[test]
        fn hostile_bytes_never_panic(
            bytes in vec(prop_oneof![6 => Just(0u8), 1 => any::<u8>()], 35..120),
            width in prop_oneof![Just(4u8), Just(8)],
            at: i64,
            commit: u64,
        ) {
            let mut bytes = bytes;
            bytes[0] = width;
            let count = (bytes.len() - 35) / 36;
            bytes[2] = count as u8;
            bytes.truncate(size_of_width(count, usize::from(width)));
            if let Ok(view) = View::parse(&bytes) {
                view.in_force(ValidTime::from_raw(at), commit);
                view.next_after(ValidTime::from_raw(at), commit);
                if let Ok(block) = view.exact_block(ValidTime::NEG_INF) {
                    prop_assert_eq!(block.encode(), bytes);
                }
            }
        }
    }
}
