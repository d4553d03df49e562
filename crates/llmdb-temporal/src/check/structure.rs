//! Whether blocks, ranges and the record of a key hold exactly what they should, given its break points.
//!
//! Invariants verified
//! 1. The blocks of a range follow each other without a gap up to now, from the commit since which it is there, or from
//!    one before the mark from which on history is kept.
//! 2. A block holds exactly the break points of its range that stood at a commit for which it is whole. The open block of
//!    the last range knows until when it is whole without the latest ones.
//! 3. The ranges of a key are those that have blocks, as is which of them was the last one when; one alone is not recorded.
//! 4. The record of a key is its last break point, says truly since when nothing behind it changed, whether there
//!    are blocks, and since when and from where on the latest ones beside it are whole.
//! 5. No block and no range belongs to a key without a record.
//! 6. Where there is an index of where facts begin, each break point with a value has an entry, and each entry a key.
//!
//! Not here: whether the break points are the right ones (`check`).

use std::collections::BTreeMap;
use std::ops::Bound::Unbounded;

use llmdb_wal::Tree;

use crate::block::Block;
use crate::entry::Tail;
use crate::error::Error;
use crate::fronts::fronts_of;
use crate::point::{ALIVE, Point};
use crate::points::settled;
use crate::ranges::RangeRow;
use crate::read::Collection;
use crate::starts;
use crate::types::{CommitNumber, ValidTime};

/// What is wrong with a key.
pub(super) enum Finding {
    Wrong(Option<u64>, &'static str),
    Error(Error),
}

impl Finding {
    pub(super) fn into_error(self, place: &str, key: &[u8]) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Wrong(commit, what) => Error::Damaged {
                place: place.to_owned(),
                key: key.to_vec(),
                commit: commit.map(CommitNumber::new),
                what: what.to_owned(),
            },
        }
    }
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The blocks of a key: of each range, by the commit at which they were closed.
type Blocks = BTreeMap<ValidTime, BTreeMap<u64, Block>>;

/// Compares what is stored of a key with its break points. Answers how many blocks it has.
pub(super) fn check_key(
    collection: &Collection<'_>,
    prefix: &[u8],
    tail: &Tail<'_>,
    all: &[Point],
) -> Result<u64, Finding> {
    let mut blocks = Blocks::new();
    collection.points().each_block(prefix, |placed, block| {
        blocks.entry(placed.lo).or_default().insert(placed.until, block);
        Ok(())
    })?;
    let mark = collection.mark();
    let record = collection.points().now.get(prefix).map_err(Error::from)?.unwrap_or_default();
    Tail::decode_exact(record).map_err(|what| collection.points().damaged_tail(prefix, &what))?;
    check_tail(tail, all, &blocks, mark)?;
    let ranges = check_spans(&blocks, mark)?;
    let recorded = collection.points().ranges.all(prefix)?;
    if recorded != if ranges.len() > 1 { ranges.clone() } else { Vec::new() } {
        return Err(Finding::Wrong(None, "its recorded ranges are not those that have blocks"));
    }
    if collection.points().ranges.fronts(prefix)? != fronts_of(&recorded) {
        return Err(Finding::Wrong(None, "it is not recorded truly which range was the last one when"));
    }
    for (lo, of_range) in &blocks {
        for (until, block) in of_range {
            if block.through == ALIVE {
                check_content(*lo, *until, block, &ranges, all)?;
                continue;
            }
            // Before the latest ones it is whole for good, from there on until they are.
            let is_before = |point: &&Point| point.at < tail.lo();
            let part = |is_before: &dyn Fn(&&Point) -> bool, of: &[Point]| -> Vec<Point> {
                of.iter().filter(|point| is_before(point)).copied().collect()
            };
            let near = Block { points: part(&is_before, &block.points), ..block.clone() };
            check_content(*lo, ALIVE, &near, &ranges, &part(&is_before, all))?;
            let is_behind = |point: &&Point| !is_before(point);
            let far = Block { points: part(&is_behind, &block.points), ..block.clone() };
            check_content(*lo, block.through, &far, &ranges, &part(&is_behind, all))?;
        }
    }
    Ok(blocks.values().map(|of_range| of_range.len() as u64).sum())
}

fn check_tail(tail: &Tail<'_>, all: &[Point], blocks: &Blocks, mark: u64) -> Result<(), Finding> {
    let has_blocks = !blocks.is_empty();
    let last = all.iter().rev().find(|point| point.until == ALIVE).copied();
    let point = (!tail.is_none_left()).then_some(tail.point);
    let commit = Some(tail.settled);
    if tail.has_blocks != has_blocks {
        return Err(Finding::Wrong(commit, "its record is wrong about whether it has blocks"));
    }
    if point != last {
        return Err(Finding::Wrong(commit, "its record is not its last break point"));
    }
    let last_range = blocks.last_key_value().map(|(lo, of_range)| (*lo, of_range.get(&ALIVE)));
    let is_apart = last.zip(last_range).is_some_and(|(last, (lo, _))| last.at < lo);
    if tail.is_apart != is_apart
        || tail.others.first_at().zip(last_range).is_some_and(|(at, (lo, _))| at < lo)
    {
        return Err(Finding::Wrong(commit, "its latest break points do not lie in its last range"));
    }
    for (lo, of_range) in blocks {
        for (until, block) in of_range {
            let is_last = last_range.is_some_and(|(last, _)| last == *lo) && *until == ALIVE;
            if block.through != if is_last { tail.from() } else { ALIVE } {
                let what = "a block is wrong about since when the latest break points are not in it";
                return Err(Finding::Wrong(Some(block.from), what));
            }
        }
    }
    // What changed before the mark may be gone.
    if tail.settled.max(mark) != settled(all, last).max(mark)
        || (point.is_none() && tail.point.since != tail.settled)
    {
        return Err(Finding::Wrong(commit, "its record is wrong about since when nothing more changed"));
    }
    Ok(())
}

/// The ranges that have blocks.
fn check_spans(blocks: &Blocks, mark: u64) -> Result<Vec<RangeRow>, Finding> {
    let mut ranges = Vec::new();
    for (lo, of_range) in blocks {
        let begin = of_range.values().next().map_or(0, |first| first.begin);
        // Blocks that were closed up to the mark may be gone, and no others.
        let mut from =
            of_range.values().next().map(|first| first.from).filter(|from| *from <= mark).unwrap_or(begin);
        for (until, block) in of_range {
            if (block.begin, block.from) != (begin, from) || block.from >= *until {
                let what = "the blocks of a range do not follow each other from its beginning on";
                return Err(Finding::Wrong(Some(block.from), what));
            }
            from = *until;
        }
        if from != ALIVE {
            return Err(Finding::Wrong(Some(from), "a range has no open block"));
        }
        ranges.push(RangeRow { lo: *lo, begin });
    }
    if ranges.first().is_some_and(|first| first.lo != ValidTime::NEG_INF) {
        return Err(Finding::Wrong(None, "its first range does not start at minus infinity"));
    }
    Ok(ranges)
}

fn check_content(
    lo: ValidTime,
    until: u64,
    block: &Block,
    ranges: &[RangeRow],
    all: &[Point],
) -> Result<(), Finding> {
    let belongs = |point: &&Point| {
        let first = point.since.max(block.from);
        let is_cut_off = |range: &&RangeRow| lo < range.lo && range.lo <= point.at && range.begin <= first;
        point.at >= lo && first < point.until.min(until) && !ranges.iter().any(|range| is_cut_off(&range))
    };
    let mut wanted = all.iter().filter(belongs);
    for point in &block.points {
        let is_same = |wanted: &Point| {
            let ends_alike = wanted.until == point.until || (point.until == ALIVE && wanted.until >= until);
            ends_alike && Point { until: wanted.until, ..*point } == *wanted
        };
        if !wanted.next().is_some_and(is_same) {
            return Err(Finding::Wrong(
                Some(point.since),
                "a block differs from the break points of its range",
            ));
        }
    }
    match wanted.next() {
        Some(missing) => Err(Finding::Wrong(Some(missing.since), "a block lacks a break point of its range")),
        None => Ok(()),
    }
}

/// Compares the index of where facts begin with the break points of a key.
pub(super) fn check_starts(starts: Option<Tree<'_>>, prefix: &[u8], all: &[Point]) -> Result<(), Finding> {
    let Some(starts) = starts else { return Ok(()) };
    for point in all.iter().filter(|point| point.belief.is_some()) {
        if starts.get(&starts::entry(point.at, prefix)).map_err(Error::from)?.is_none() {
            let what = "the index of where facts begin lacks a break point";
            return Err(Finding::Wrong(Some(point.since), what));
        }
    }
    Ok(())
}

/// Refuses an index of where facts begin that has an entry of no key.
pub(super) fn check_entries(collection: &Collection<'_>, starts: Option<Tree<'_>>) -> Result<(), Error> {
    for row in starts.iter().flat_map(|starts| starts.iter()) {
        let (entry, record) = row?;
        let prefix = starts::parse(&entry).map(|(_, prefix)| prefix).filter(|_| record.is_empty());
        if prefix.map_or(Ok(None), |prefix| collection.points().now.get(prefix))?.is_none() {
            return Err(collection.damaged_start(&entry));
        }
    }
    Ok(())
}

/// How many blocks and records of ranges there are.
#[derive(Default)]
pub(super) struct Counts {
    blocks: u64,
    ranges: u64,
}

/// Those of one key.
pub(super) fn counts(collection: &Collection<'_>, prefix: &[u8]) -> Result<Counts, Error> {
    let points = collection.points();
    let count = |tree: llmdb_wal::Tree<'_>| {
        let mut cursor = tree.cursor();
        let (mut found, mut count) = (cursor.seek(prefix)?, 0);
        while found && cursor.key().starts_with(prefix) {
            (found, count) = (cursor.next()?, count + 1);
        }
        Ok::<u64, Error>(count)
    };
    Ok(Counts { blocks: count(points.past)?, ranges: count(points.ranges.tree)? })
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.ranges += other.ranges;
    }

    /// The first stored key with blocks or ranges and no record, if these are fewer than all.
    pub(super) fn stranger(&self, collection: &Collection<'_>) -> Result<Option<Vec<u8>>, Error> {
        let points = collection.points();
        let trees = [(points.past, self.blocks, &[16][..]), (points.ranges.tree, self.ranges, &[8, 16])];
        let Some((tree, _, sizes)) = trees.into_iter().find(|(tree, count, _)| tree.len() != *count) else {
            return Ok(None);
        };
        for row in tree.range(Unbounded, Unbounded) {
            let (key, _) = row?;
            let mut is_known = false;
            for behind in sizes {
                let prefix = &key[..key.len().saturating_sub(*behind)];
                is_known |= !prefix.is_empty() && points.now.get(prefix)?.is_some();
            }
            if !is_known {
                return Ok(Some(key[..key.len().saturating_sub(sizes[0])].to_vec()));
            }
        }
        Ok(Some(Vec::new()))
    }
}
