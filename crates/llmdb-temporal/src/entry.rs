//! The stored record of a key: its last break point with the value at hand, and the latest others.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     1  from the last break point on: 0 = nothing, 1 = a value, which follows here, 2 = a value, which stands
//!               in the operations log; 4 more where the key has blocks; 8 more where latest ones follow; 16 more where
//!               the last break point does not lie in the last range
//!      1     8  where the last break point lies, i64. The smallest number and nothing: no break point is left
//!      9     8  the commit since which it stands, u64
//!     17     8  the commit since which nothing from there on changed, u64, not earlier than the one before
//!     25     8  kinds 1 and 2 only: the commit that asserted the value, u64, not later than the one at 9
//!     33     4  kinds 1 and 2 only: the place of the operation that asserted it in that commit, u32
//!      +     2  latest ones only: how many there are beside the last break point, and how they are written (see `recent`)
//!      +     n  kind 1 only: the value, n >= 0 bytes
//!      +     n  latest ones only: those beside the last break point
//! ```
//!
//! The latest break points are all that stood at or behind some valid time at any commit since one; the blocks hold
//! what was before, and what lies before. A key without blocks has all its break points here. Latest ones follow where
//! there are blocks, or another break point than the last.
//!
//! Invariants
//! 1. "Nothing" and an empty value are different things.
//!
//! Not here: the key beside it (`encoding`), all other break points (`block`).

use crate::block::check_order;
use crate::point::{ALIVE, Belief, EntryError, Point, take_number};
use crate::recent::{self, Others};
use crate::types::ValidTime;

const KIND_OFFSET: usize = 0;
const AT_OFFSET: usize = KIND_OFFSET + size_of::<u8>();
const SINCE_OFFSET: usize = AT_OFFSET + size_of::<i64>();
const SETTLED_OFFSET: usize = SINCE_OFFSET + size_of::<u64>();
const ASSERTED_OFFSET: usize = SETTLED_OFFSET + size_of::<u64>();
const INDEX_OFFSET: usize = ASSERTED_OFFSET + size_of::<u64>();
/// Bytes before the value, at most.
pub(crate) const HEAD_SIZE: usize = INDEX_OFFSET + size_of::<u32>() + size_of::<[u8; 2]>();
const _: () = assert!(HEAD_SIZE == 39);

const KIND_NOTHING: u8 = 0;
const KIND_VALUE: u8 = 1;
const KIND_VALUE_IN_LOG: u8 = 2;
const HAS_BLOCKS: u8 = 4;
const HAS_OTHERS: u8 = 8;
const IS_APART: u8 = 16;
const FLAGS: u8 = HAS_BLOCKS | HAS_OTHERS | IS_APART;

/// Bytes that a value may have: a record of the store holds 4 GiB, and the operations log adds its header and
/// a key to the value.
pub(crate) const VALUE_SIZE_MAX: usize = u32::MAX as usize - (1 << 20);

/// What the last break point of a stored record says about `at` once `commit` was recorded: its value, or nothing. `None` where
/// another look at the record is needed: because of what is asked, because the value stands elsewhere, or because the
/// record is damaged.
#[inline]
pub(crate) fn last_value(record: &[u8], at: ValidTime, commit: u64) -> Option<Option<&[u8]>> {
    let head = record.first_chunk::<ASSERTED_OFFSET>()?;
    let (since, settled) = (word(head, SINCE_OFFSET), word(head, SETTLED_OFFSET));
    let last = word(head, AT_OFFSET).cast_signed();
    if last > at.micros() || settled > commit || since > settled {
        return None;
    }
    let kind = head[KIND_OFFSET];
    if kind & !FLAGS != KIND_VALUE {
        return (kind & !FLAGS == KIND_NOTHING && record.len() == ASSERTED_OFFSET).then_some(None);
    }
    let (asserted, rest) = take_number(&record[ASSERTED_OFFSET..])?;
    if asserted > since {
        return None;
    }
    let rest = rest.get(size_of::<u32>()..)?;
    if kind & HAS_OTHERS == 0 {
        return (kind & FLAGS == 0).then_some(Some(rest));
    }
    let (shape, rest) = rest.split_first_chunk()?;
    rest.get(..rest.len().checked_sub(recent::stored_size(*shape)?)?).map(Some)
}

/// The first commit since which the latest break points of a stored record are whole, where the key has blocks.
#[inline]
pub(crate) fn blocks_until(record: &[u8]) -> Option<u64> {
    let kind = *record.first()?;
    if kind & (HAS_BLOCKS | HAS_OTHERS) != HAS_BLOCKS | HAS_OTHERS {
        return None;
    }
    let head_size =
        if kind & !FLAGS == KIND_NOTHING { ASSERTED_OFFSET } else { INDEX_OFFSET + size_of::<u32>() };
    let shape = record.get(head_size..)?.first_chunk()?;
    let latest = record.get(record.len().checked_sub(recent::stored_size(*shape)?)?..)?;
    take_number(latest).map(|(from, _)| from)
}

/// The record of a key, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail<'a> {
    /// The last break point.
    pub(crate) point: Point,
    /// Since when nothing at or behind it changed.
    pub(crate) settled: u64,
    pub(crate) has_blocks: bool,
    /// Whether the last break point lies before the last range, which then has none that stands.
    pub(crate) is_apart: bool,
    /// The latest ones besides.
    pub(crate) others: Others<'a>,
    /// The value, where it is at hand.
    pub(crate) value: Option<&'a [u8]>,
}

impl<'a> Tail<'a> {
    /// Whether the key has no break point any more: "nothing" is never the first one.
    #[inline]
    pub(crate) fn is_none_left(&self) -> bool {
        self.point.belief.is_none() && self.point.at == ValidTime::NEG_INF
    }

    /// Whether the key ever had another break point.
    pub(crate) fn has_history(&self) -> bool {
        self.has_blocks || self.others.len() > 0
    }

    /// The first commit since which the latest ones are whole.
    #[inline]
    pub(crate) fn from(&self) -> u64 {
        self.others.from()
    }

    /// From which valid time on the latest ones are whole.
    #[inline]
    pub(crate) fn lo(&self) -> ValidTime {
        if !self.has_blocks {
            return ValidTime::NEG_INF;
        }
        let own = if self.is_recent() { self.point.at } else { ValidTime::POS_INF };
        self.others.first_at().map_or(own, |first| first.min(own))
    }

    /// Whether the last break point is one of the latest.
    #[inline]
    fn is_recent(&self) -> bool {
        !self.is_apart && !self.is_none_left()
    }

    /// The last of the latest break points at or before `at` that stood once `commit` was recorded.
    #[inline]
    pub(crate) fn in_force(&self, at: ValidTime, commit: u64) -> Option<Point> {
        if self.is_recent() && self.point.at <= at && self.point.since <= commit {
            // Nothing behind it stands now; what stood then comes after it.
            return Some(self.others.in_force(self.point.at, at, commit).unwrap_or(self.point));
        }
        self.others.in_force(ValidTime::NEG_INF, at, commit)
    }

    /// The first of the latest break points after `at` that stood once `commit` was recorded.
    pub(crate) fn next_after(&self, at: ValidTime, commit: u64) -> Option<Point> {
        self.recent().into_iter().find(|point| point.at > at && point.stood_at(commit))
    }

    /// The latest break points, by valid time, then by commit.
    pub(crate) fn recent(&self) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::with_capacity(self.others.len() + 3);
        self.recent_into(&mut points);
        points
    }

    /// As [`Self::recent`], into a list that is empty.
    pub(crate) fn recent_into(&self, points: &mut Vec<Point>) {
        points.extend(self.others.points());
        self.complete(points, self.is_recent());
    }

    /// As [`Self::recent`], those that lie from `from` to `to`, both included.
    pub(crate) fn recent_within(&self, from: ValidTime, to: ValidTime) -> Vec<Point> {
        let mut points: Vec<Point> = self.others.points_within(from, to).collect();
        self.complete(&mut points, self.is_recent() && (from..=to).contains(&self.point.at));
        points
    }

    /// Adds the last break point to some of the others, if `with_last`.
    fn complete(&self, points: &mut Vec<Point>, with_last: bool) {
        if !points.is_sorted_by_key(|point| point.at) {
            // A damaged record: what follows relies on their order.
            points.sort_by_key(|point| (point.at, point.since));
        }
        if with_last {
            let place =
                points.partition_point(|point| (point.at, point.since) < (self.point.at, self.point.since));
            points.insert(place, self.point);
        }
    }

    /// All break points of the range of the open block `block`, which is the last one, with the latest ones.
    pub(crate) fn merged(&self, block: Vec<Point>) -> Vec<Point> {
        self.merged_with(block, self.recent())
    }

    /// As [`Self::merged`], those that lie from `from` to `to`: what becomes of one hangs on those at its place alone.
    pub(crate) fn merged_within(&self, block: Vec<Point>, from: ValidTime, to: ValidTime) -> Vec<Point> {
        self.merged_with(block, self.recent_within(from, to))
    }

    fn merged_with(&self, block: Vec<Point>, recent: Vec<Point>) -> Vec<Point> {
        if block.is_empty() {
            return recent;
        }
        let (lo, from) = (self.lo(), self.from());
        let mut points = Vec::with_capacity(block.len() + recent.len());
        for mut point in block {
            if point.at >= lo {
                let place = (point.at, point.since);
                if point.since >= from || recent.iter().any(|recent| (recent.at, recent.since) == place) {
                    continue;
                }
                // All that stood longer are among the latest.
                point.until = point.until.min(from);
            }
            points.push(point);
        }
        points.extend(recent);
        points.sort_by_key(|point| (point.at, point.since));
        points
    }

    /// Appends what is stored.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let has_others = self.has_others();
        let shape = self.others.shape();
        self.encode_head(has_others.then_some(shape), out);
        if has_others {
            self.others.encode(shape, out);
        }
    }

    /// Appends what comes before the latest ones, of which there are some where they have a shape.
    #[inline]
    fn encode_head(&self, shape: Option<[u8; 2]>, out: &mut Vec<u8>) {
        let kind = match (self.point.belief, self.value) {
            (None, _) => KIND_NOTHING,
            (Some(_), Some(_)) => KIND_VALUE,
            (Some(_), None) => KIND_VALUE_IN_LOG,
        };
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.has_blocks, HAS_BLOCKS)
            | flag(shape.is_some(), HAS_OTHERS)
            | flag(self.is_apart, IS_APART);
        let mut head = [0; HEAD_SIZE];
        head[KIND_OFFSET] = kind | flags;
        head[AT_OFFSET..SINCE_OFFSET].copy_from_slice(&self.point.at.micros().to_le_bytes());
        head[SINCE_OFFSET..SETTLED_OFFSET].copy_from_slice(&self.point.since.to_le_bytes());
        head[SETTLED_OFFSET..ASSERTED_OFFSET].copy_from_slice(&self.settled.to_le_bytes());
        let mut size = ASSERTED_OFFSET;
        if let Some(belief) = self.point.belief {
            head[ASSERTED_OFFSET..INDEX_OFFSET].copy_from_slice(&belief.asserted.to_le_bytes());
            size = INDEX_OFFSET + size_of::<u32>();
            head[INDEX_OFFSET..size].copy_from_slice(&belief.index.to_le_bytes());
        }
        if let Some(shape) = shape {
            head[size..size + shape.len()].copy_from_slice(&shape);
            size += shape.len();
        }
        let value = self.value.unwrap_or_default();
        out.reserve(size + value.len() + shape.and_then(recent::stored_size).unwrap_or(0));
        out.extend_from_slice(&head[..size]);
        out.extend_from_slice(value);
    }

    /// Appends what is stored once a value holds from `point` on, behind the last break point, which becomes one of the
    /// others: no other break point changes. Whether that was possible, which it is not where more is to be written anew than
    /// one line of each column; nothing is appended then.
    pub(crate) fn encode_with(&self, point: Point, value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        if !self.is_recent() || self.point.at >= point.at {
            return false;
        }
        let Some(shape) = self.others.shape_with(&self.point) else { return false };
        Tail { point, settled: point.since, value, ..*self }.encode_head(Some(shape), out);
        self.others.encode_with(&self.point, shape, out);
        true
    }

    /// The record of a key with one break point.
    pub(crate) fn first(point: Point, value: Option<&'a [u8]>) -> Self {
        let others = Others::NONE;
        Self { point, settled: point.since, has_blocks: false, is_apart: false, others, value }
    }

    fn has_others(&self) -> bool {
        self.has_blocks || self.others.len() > 0
    }

    #[inline]
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let size = || EntryError::Size(bytes.len());
        let (head, mut rest) = bytes.split_first_chunk::<ASSERTED_OFFSET>().ok_or_else(size)?;
        let (kind, flags) = (head[KIND_OFFSET] & !FLAGS, head[KIND_OFFSET] & FLAGS);
        if kind > KIND_VALUE_IN_LOG {
            return Err(EntryError::Kind(head[KIND_OFFSET]));
        }
        let mut belief = None;
        if kind != KIND_NOTHING {
            let (asserted, index);
            (asserted, rest) = take_number(rest).ok_or_else(size)?;
            (index, rest) = rest.split_first_chunk().ok_or_else(size)?;
            belief = Some(Belief { asserted, index: u32::from_le_bytes(*index) });
        }
        let mut others = Others::NONE;
        if flags & HAS_OTHERS != 0 {
            let shape: &[u8; 2];
            (shape, rest) = rest.split_first_chunk().ok_or_else(size)?;
            (others, rest) = Others::decode(*shape, rest)?;
        }
        if kind != KIND_VALUE && !rest.is_empty() {
            return Err(size());
        }
        let at = ValidTime::from_raw(word(head, AT_OFFSET).cast_signed());
        let (since, settled) = (word(head, SINCE_OFFSET), word(head, SETTLED_OFFSET));
        if settled < since {
            return Err(EntryError::Settled { settled, since });
        }
        let point = Point { at, since, until: ALIVE, belief }.checked()?;
        let tail = Self {
            point,
            settled,
            has_blocks: flags & HAS_BLOCKS != 0,
            is_apart: flags & IS_APART != 0,
            others,
            value: (kind == KIND_VALUE).then_some(rest),
        };
        if tail.has_others() != (flags & HAS_OTHERS != 0) || (!tail.has_blocks && tail.is_apart) {
            return Err(EntryError::Order("what is said to follow the last break point does not"));
        }
        Ok(tail)
    }

    /// Refuses latest ones that cannot be, of which `recent` is the list: what is made out of them would be written as if it
    /// were sound.
    pub(crate) fn check_latest(&self, recent: &[Point]) -> Result<(), EntryError> {
        self.others.check()?;
        check_order(recent, self.lo())
    }

    /// As [`Self::decode`]; refuses bytes that are not exactly what would be written, or latest ones that cannot be.
    pub(crate) fn decode_exact(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let tail = Self::decode(bytes)?;
        let mut again = Vec::with_capacity(bytes.len());
        tail.encode(&mut again);
        if again != bytes || (!tail.has_blocks && tail.from() > 0) {
            return Err(EntryError::Order("the record of a key is not written as it should be"));
        }
        tail.check_latest(&tail.recent())?;
        Ok(tail)
    }
}

/// The little-endian number at an offset that lies inside.
fn word(bytes: &[u8; ASSERTED_OFFSET], offset: usize) -> u64 {
    let mut number = [0; size_of::<u64>()];
    number.copy_from_slice(&bytes[offset..offset + size_of::<u64>()]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail(belief: Option<(u64, u32)>, value: Option<&[u8]>) -> Tail<'_> {
        let belief = belief.map(|(asserted, index)| Belief { asserted, index });
        let point = Point { at: ValidTime::from_raw(-1), since: 258, until: ALIVE, belief };
        Tail { point, settled: 259, has_blocks: false, is_apart: false, others: Others::NONE, value }
    }

    fn encoded(tail: &Tail<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        tail.encode(&mut out);
        out
    }

    #[test]
    fn the_byte_table_is_what_is_written() {
        let head = [&[0xff; 8][..], &[2, 1, 0, 0, 0, 0, 0, 0], &[3, 1, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(encoded(&tail(None, None)), [&[0][..], &head].concat());
        let belief = [2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        assert_eq!(encoded(&tail(Some((2, 7)), Some(b"v"))), [&[1][..], &head, &belief, b"v"].concat());
        assert_eq!(encoded(&tail(Some((2, 7)), None)), [&[2][..], &head, &belief].concat());
        let others = Others::Given(6, &[]);
        let with_blocks = Tail { has_blocks: true, others, ..tail(Some((2, 7)), Some(b"v")) };
        let none = [6, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(encoded(&with_blocks), [&[13][..], &head, &belief, &[0, 2], b"v", &none].concat());
        let apart = Tail { is_apart: true, ..with_blocks };
        assert_eq!(encoded(&apart)[0], 29);
    }

    #[test]
    fn nothing_and_an_empty_value_differ() {
        let empty = encoded(&tail(Some((1, 0)), Some(b"")));
        assert_ne!(empty, encoded(&tail(None, None)));
        assert_eq!(Tail::decode(&empty).unwrap().value, Some(&b""[..]));
        let point = Point { at: ValidTime::NEG_INF, ..tail(None, None).point };
        assert!(!tail(None, None).is_none_left() && Tail { point, ..tail(None, None) }.is_none_left());
    }

    #[test]
    fn times_that_contradict_each_other_are_refused() {
        let decode = |tail: Tail<'_>| Tail::decode(&encoded(&tail)).map(|_| ()).unwrap_err();
        let late = tail(Some((259, 0)), None);
        assert_eq!(decode(late), EntryError::Asserted { asserted: 259, since: 258 });
        let early = Tail { settled: 257, ..tail(None, None) };
        assert_eq!(decode(early), EntryError::Settled { settled: 257, since: 258 });
        let point = Point { at: ValidTime::POS_INF, ..tail(None, None).point };
        assert!(matches!(decode(Tail { point, ..tail(None, None) }), EntryError::Order(_)));
        let point = Point { since: 4, until: 4, ..point };
        assert_eq!(point.checked(), Err(EntryError::Empty { since: 4, until: 4 }));
        assert!(matches!(decode(Tail { is_apart: true, ..tail(None, None) }), EntryError::Order(_)));
    }

    #[test]
    fn the_latest_ones_answer_with_the_last_and_over_what_a_block_has_of_them() {
        let point = |at, since, until| Point { at: ValidTime::from_raw(at), since, until, belief: None };
        let (gone, between) = (point(-1, 100, 258), point(-5, 120, 270));
        let others = [between, gone, point(3, 261, 265)];
        let tail = Tail { has_blocks: true, others: Others::Given(110, &others), ..tail(None, None) };
        let at = |at, commit| tail.in_force(ValidTime::from_raw(at), commit).map(|point| point.at.micros());
        assert_eq!(
            [at(-2, 130), at(-1, 130), at(5, 262), at(5, 270)],
            [Some(-5), Some(-1), Some(3), Some(-1)]
        );
        assert_eq!([at(-2, 270), at(-6, 130)], [None, None]);
        assert_eq!(tail.lo(), ValidTime::from_raw(-5));
        // Of what a block has there, older ones went by the commit since which the latest are whole.
        let block = vec![point(-9, 1, ALIVE), point(-3, 1, ALIVE), point(-1, 100, ALIVE)];
        let want = [point(-9, 1, ALIVE), between, point(-3, 1, 110), gone, tail.point, others[2]];
        assert_eq!(tail.merged(block), want);
    }

    /// Break points of one key in order, each after the one before in both times; some are gone.
    fn rising() -> impl Strategy<Value = Vec<Point>> {
        let step = prop_oneof![9 => 1..40u64, 1 => 60_000..70_000u64, 1 => 1u64 << 33..1 << 34];
        let one = (0..3i64, step, prop_oneof![3 => Just(0u64), 1 => 1..5u64], 0..3u64, 0..4u32);
        proptest::collection::vec(one, 2..9).prop_map(|all| {
            let (mut at, mut commit) = (0, 3);
            let each = all.into_iter().map(|(further, step, length, back, index)| {
                (at, commit) = (at + further, commit + step);
                let belief = (index > 0).then(|| Belief { asserted: commit - back, index });
                let until = if length == 0 { ALIVE } else { commit + length };
                Point { at: ValidTime::from_raw(at), since: commit, until, belief }
            });
            each.collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_record_written_from_the_one_before_is_the_one_that_is_made_of_all_break_points(
            mut points in rising(),
            (has_blocks, is_apart, from) in (any::<bool>(), any::<bool>(), 0..3u64),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
        ) {
            let new = Point { until: ALIVE, ..points.pop().unwrap() };
            let last = Point { until: ALIVE, ..points.pop().unwrap() };
            let from = if has_blocks { from } else { 0 };
            let others = Others::Given(from, &points);
            let before = Tail {
                point: last, settled: last.since, has_blocks, is_apart: has_blocks && is_apart, others, value: None,
            };
            let before = encoded(&before);
            let before = Tail::decode(&before).unwrap();
            let mut straight = Vec::new();
            let is_written = before.encode_with(new, value.as_deref(), &mut straight);
            if !is_written {
                prop_assert!(straight.is_empty());
                // The reasons for it.
                let shape = before.others.shape();
                let together = [&points[..], &[last]].concat();
                let is_wider = Others::Given(from, &together).shape()[1] != shape[1] && !points.is_empty();
                let is_below = last.belief.is_some_and(|belief| points.iter().all(|point| {
                    point.belief.map_or(point.since, |belief| belief.asserted) > belief.asserted
                }));
                prop_assert!(is_wider || is_below || before.is_apart || new.at == last.at);
                return Ok(());
            }
            points.push(last);
            let value = value.as_deref();
            let others = Others::Given(from, &points);
            let all = Tail { point: new, settled: new.since, has_blocks, is_apart: false, others, value };
            prop_assert_eq!(straight, encoded(&all));
        }

        #[test]
        fn hostile_bytes_are_an_error_or_a_tail_that_encodes_to_them(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..50),
                proptest::collection::vec(prop_oneof![9 => Just(0u8), 1 => 0u8..8], 20..90),
            ],
            kind in 0u8..32,
            at: i64,
            commit: u64,
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(tail) = Tail::decode(&bytes) {
                let point = Point { at: ValidTime::from_raw(at), since: commit, until: ALIVE, belief: None };
                tail.encode_with(point, None, &mut Vec::new());
                tail.in_force(ValidTime::from_raw(at), commit);
                tail.next_after(ValidTime::from_raw(at), commit);
                prop_assert_eq!(blocks_until(&bytes), tail.has_blocks.then(|| tail.from()));
                if let Some(value) = last_value(&bytes, ValidTime::from_raw(at), commit) {
                    prop_assert!(tail.point.at.micros() <= at && tail.settled <= commit);
                    prop_assert_eq!((value, value.is_some()), (tail.value, tail.point.belief.is_some()));
                }
                if let Ok(tail) = Tail::decode_exact(&bytes) {
                    prop_assert_eq!(encoded(&tail), bytes);
                }
            }
        }
    }

    #[test]
    fn latest_ones_that_wrap_or_are_out_of_order_are_refused_where_they_would_be_written_back() {
        let point = |at: i64, since: u64, until: u64| {
            let belief = Some(Belief { asserted: since, index: 0 });
            Point { at: ValidTime::from_raw(at), since, until, belief }
        };
        let stored = |points: &[Point]| {
            let last =
                Point { at: ValidTime::from_raw(9), since: 258, until: ALIVE, belief: points[0].belief };
            let sound =
                Tail { point: last, others: Others::Given(0, points), ..tail(Some((1, 0)), Some(b"v")) };
            let mut out = Vec::new();
            sound.encode(&mut out);
            out
        };
        let is_refused = |bytes: &[u8]| {
            let tail = Tail::decode(bytes).expect("a read looks at no more than it needs");
            let to_change = tail.check_latest(&tail.recent());
            assert_eq!(to_change.is_err(), Tail::decode_exact(bytes).is_err());
            to_change.is_err()
        };
        let sound = stored(&[point(1, 5, 7), point(2, 5, 9)]);
        assert!(!is_refused(&sound));
        // Where the latest ones name their base: so late that what is added to it goes around.
        let base = sound.len() - recent::stored_size([2, 2]).unwrap() + 8;
        for forged_base in [u64::MAX, u64::MAX - 1, u64::MAX - 3] {
            let mut forged = sound.clone();
            forged[base..base + 8].copy_from_slice(&forged_base.to_le_bytes());
            assert!(is_refused(&forged));
        }
        for wrong in [&[point(2, 5, 9), point(1, 5, 7)][..], &[point(1, 5, 8), point(1, 7, 9)]] {
            assert!(is_refused(&stored(wrong)));
        }
    }
}
