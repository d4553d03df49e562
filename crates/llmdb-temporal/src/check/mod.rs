//! Verification: the recorded operations, replayed, against the stored break points.
//!
//! Contents: here the replay, `structure` whether blocks, ranges and records of keys hold what they should.
//!
//! The replay does not share the algorithm of `write`: it keeps each timeline as a list of pieces, where that
//! works on break points. For each key and commit, the break points that came, went or stand in the touched part
//! of the timeline must be those between the pieces; outside of it none may have come or gone.
//!
//! Invariants verified
//! 1. Commit numbers and times rise together; both trees agree.
//! 2. Every operation belongs to a known commit and collection, and every entry to a key with operations.
//! 3. Each break point decodes, stood for at least one commit, and ended at or before the newest.
//! 4. At each commit, the standing break points of a key are exactly the ends of its pieces: strictly increasing,
//!    "nothing" neither first nor after "nothing", with value and asserting commit as asserted.
//!
//! Where history was let go, what stood at the mark is taken as it is, and the replay goes on from there.
//!
//! Cost: operations are grouped by key in memory, [`PASS_SIZE`] at a time, without their values; each group is
//! another pass over the log and the trees.
//!
//! Not here: pages and checksums (`llmdb_wal::Store::check`).

mod structure;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound::{Excluded, Included, Unbounded};

use crate::catalog;
use crate::commits::Commits;
use crate::encoding;
use crate::entry::Tail;
use crate::error::Error;
use crate::ops::{Log, Recorded};
use crate::point::{ALIVE, Belief, Point};
use crate::ranges::damaged;
use crate::read::{Keys, TemporalRead};
use crate::types::{CommitNumber, Operation, Period, ValidTime};

/// Operations that are grouped by key at a time, about 100 bytes each.
const PASS_SIZE: u64 = 1 << 20;

/// What a check looked at, all of it sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemporalCheck {
    /// Collections.
    pub collections: u64,
    /// Commits.
    pub commits: u64,
    /// Recorded operations, all replayed.
    pub operations: u64,
    /// Distinct keys, counted per collection.
    pub keys: u64,
    /// Distinct break points of all times, all compared.
    pub break_points: u64,
    /// Blocks of break points, all compared.
    pub blocks: u64,
}

impl TemporalRead {
    /// Replays every recorded operation and compares the outcome with the stored break points at every commit.
    /// `progress` is told the operations read so far and their number, over all passes.
    ///
    /// # Errors
    /// [`Error::Damaged`] for the first difference, with key and commit; the store's errors.
    pub fn check(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<TemporalCheck, Error> {
        self.check_in_passes_of(PASS_SIZE, progress)
    }

    fn check_in_passes_of(
        &self,
        pass_size: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<TemporalCheck, Error> {
        let commits = check_commits(Commits::of(self.txn())?)?;
        let names = catalog::all(self.txn().tree(catalog::CATALOG)?)?;
        let operations = self.txn().tree(catalog::OPS)?.map_or(0, |log| log.len());
        let mut checker = Checker {
            read: self,
            names,
            newest: self.newest().map(|stamp| stamp.commit.get()),
            pass_count: operations.div_ceil(pass_size).max(1),
            report: TemporalCheck { commits, ..TemporalCheck::default() },
        };
        checker.report.collections = checker.names.len() as u64;
        let total = operations * checker.pass_count;
        for pass in 0..checker.pass_count {
            checker.run(pass, &mut |done| progress(pass * operations + done, total))?;
        }
        checker.report.operations = operations;
        progress(total, total);
        Ok(checker.report)
    }
}

fn check_commits(commits: Commits<'_>) -> Result<u64, Error> {
    let mut count = 0;
    for stamp in commits.verified() {
        stamp?;
        count += 1;
    }
    if count != commits.count() || count != commits.times_count() {
        return Err(Error::Damaged {
            place: format!("tree {}", catalog::TIMES),
            key: Vec::new(),
            commit: None,
            what: format!("it holds {} times for {count} commits", commits.times_count()),
        });
    }
    Ok(count)
}

struct Checker<'r> {
    read: &'r TemporalRead,
    names: Vec<(String, u32)>,
    newest: Option<u64>,
    pass_count: u64,
    report: TemporalCheck,
}

/// The operations of the keys of one pass, by collection and key, in order.
type Grouped<'t> = HashMap<u32, BTreeMap<&'t [u8], Vec<(u64, u32, Recorded<'t>)>>>;

impl<'r> Checker<'r> {
    fn run(&mut self, pass: u64, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let mut grouped = self.group(pass, progress)?;
        for (name, number) in self.names.clone() {
            let operations = grouped.remove(&number).unwrap_or_default();
            self.check_collection(&name, number, operations, pass)?;
        }
        Ok(())
    }

    fn group(&self, pass: u64, progress: &mut dyn FnMut(u64)) -> Result<Grouped<'r>, Error> {
        let mut grouped = Grouped::new();
        let known: BTreeSet<u32> = self.names.iter().map(|(_, number)| *number).collect();
        let commits = Commits::of(self.read.txn())?;
        let mut commit_before = None;
        for (done, row) in Log::between(self.read.txn().tree(catalog::OPS)?, None, u64::MAX).enumerate() {
            let (commit, index, recorded) = row?;
            if commit_before.replace(commit) != Some(commit) {
                commits.stamp(commit)?;
            }
            if !known.contains(&recorded.collection) {
                let what = format!("the operation is in collection number {}, unknown", recorded.collection);
                return Err(difference(catalog::OPS, recorded.key, Some(commit), what));
            }
            if self.pass_of(recorded.key) == pass {
                let keys = grouped.entry(recorded.collection).or_default();
                keys.entry(recorded.key).or_default().push((commit, index, recorded));
            }
            if done.is_multiple_of(1024) {
                progress(done as u64);
            }
        }
        Ok(grouped)
    }

    fn pass_of(&self, key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish() % self.pass_count
    }

    fn check_collection(
        &mut self,
        name: &str,
        number: u32,
        mut operations: BTreeMap<&'r [u8], Vec<(u64, u32, Recorded<'r>)>>,
        pass: u64,
    ) -> Result<(), Error> {
        let place = format!("collection {name:?}");
        let collection = self.read.numbered(number)?;
        let mut keys = Keys::between(&collection, Unbounded, Unbounded);
        let mark = Some(collection.mark()).filter(|mark| *mark > 0);
        let mut found = structure::Counts::default();
        let starts = self.read.txn().tree(&catalog::starts_tree(number))?;
        structure::check_entries(&collection, starts)?;
        let filter = self.read.kept_filter(number)?.map(|_| self.read.filter(name)).transpose()?;
        while let Some((prefix, tail)) = keys.next()? {
            let key = encoding::user_key(prefix)
                .map_err(|what| damaged(catalog::now_tree(number), prefix, &what.into()))?;
            found.add(&structure::counts(&collection, prefix)?);
            if self.pass_of(&key) != pass {
                continue;
            }
            let operations = operations.remove(&key[..]).unwrap_or_default();
            if operations.is_empty() && mark.is_none() {
                let what = "it has break points and no operation was recorded".to_owned();
                return Err(difference(&place, &key, None, what));
            }
            let points = collection.points().all(prefix)?;
            self.report.keys += 1;
            self.report.break_points += points.len() as u64;
            let blocks = structure::check_key(&collection, prefix, &tail, &points)
                .map_err(|what| what.into_error(&place, &key))?;
            self.report.blocks += blocks;
            if let Some(filter) = &filter
                && (!filter.may_exist(&key) || (tail.has_history() && !filter.may_have_history(&key)))
            {
                return Err(difference(&place, &key, None, "the filter of keys denies it".to_owned()));
            }
            structure::check_starts(starts, prefix, &points).map_err(|what| what.into_error(&place, &key))?;
            check_key(&operations, &points, self.newest, mark)
                .and_then(|()| check_beliefs(&operations, &points, mark))
                .and_then(|()| check_value(&operations, &tail))
                .map_err(|(commit, what)| difference(&place, &key, Some(commit), what))?;
        }
        if let Some(prefix) = found.stranger(&collection)? {
            let key = encoding::user_key(&prefix).unwrap_or(prefix);
            let what = "it has blocks or ranges, and no record of its last break point".to_owned();
            return Err(difference(&place, &key, None, what));
        }
        // Keys without entries: their operations must have had no effect.
        for (key, operations) in operations {
            self.report.keys += 1;
            check_key(&operations, &[], self.newest, mark)
                .map_err(|(commit, what)| difference(&place, key, Some(commit), what))?;
        }
        Ok(())
    }
}

fn difference(place: &str, key: &[u8], commit: Option<u64>, what: String) -> Error {
    Error::Damaged { place: place.to_owned(), key: key.to_vec(), commit: commit.map(CommitNumber::new), what }
}

/// The commit of a difference, and what it is.
type Finding = (u64, String);

/// Replays the operations of one key against all its break points.
fn check_key(
    operations: &[(u64, u32, Recorded<'_>)],
    points: &[Point],
    newest: Option<u64>,
    mark: Option<u64>,
) -> Result<(), Finding> {
    let mut stored = Stored::new(points, newest, mark)?;
    let mut replayed = Replayed::beginning_with(&stored.standing);
    let operations = &operations[operations.partition_point(|(commit, ..)| Some(*commit) <= mark)..];
    for group in operations.chunk_by(|(one, ..), (next, ..)| one == next) {
        let commit = group[0].0;
        let mut touched = group[0].2.valid;
        for (_, index, recorded) in group {
            replayed
                .apply(Belief { asserted: commit, index: *index }, recorded)
                .map_err(|what| (commit, what))?;
            touched = hull(touched, recorded.valid);
        }
        stored.advance(commit, touched)?;
        compare(&stored.standing, &replayed, touched).map_err(|what| (commit, what))?;
    }
    stored.finish()
}

/// Each value that is believed at a commit that is kept must have its operation.
fn check_beliefs(
    operations: &[(u64, u32, Recorded<'_>)],
    points: &[Point],
    mark: Option<u64>,
) -> Result<(), Finding> {
    for point in points.iter().filter(|point| mark.is_none_or(|mark| point.until > mark)) {
        let Some(belief) = point.belief else { continue };
        let place = (belief.asserted, belief.index);
        let found = operations.binary_search_by_key(&place, |(commit, index, _)| (*commit, *index));
        if found.ok().and_then(|found| operations[found].2.outcome()).is_none() {
            let what = format!("operation {} of the commit asserted a value, and is missing", belief.index);
            return Err((belief.asserted, what));
        }
    }
    Ok(())
}

/// The value beside the last break point must be the one that its operation asserted.
fn check_value(operations: &[(u64, u32, Recorded<'_>)], tail: &Tail<'_>) -> Result<(), Finding> {
    let Some(belief) = tail.point.belief else { return Ok(()) };
    let place = (belief.asserted, belief.index);
    let asserted = operations.iter().find(|(commit, index, _)| (*commit, *index) == place);
    match (asserted, tail.value) {
        (Some((_, _, recorded)), Some(value)) if recorded.outcome() != Some(value) => {
            Err((belief.asserted, "the value at hand is not the one that the operation asserted".to_owned()))
        }
        (None, _) => {
            Err((belief.asserted, "the operation that asserted its last value is missing".to_owned()))
        }
        _ => Ok(()),
    }
}

fn hull(one: Period, other: Period) -> Period {
    Period::between(one.from.min(other.from), one.to.max(other.to))
}

/// The break points that stand, and those that have yet to come or go.
struct Stored<'a> {
    standing: BTreeMap<ValidTime, &'a Point>,
    /// Comings and goings by commit, latest first; goings before comings.
    events: Vec<(u64, bool, &'a Point)>,
}

impl<'a> Stored<'a> {
    fn new(points: &'a [Point], newest: Option<u64>, mark: Option<u64>) -> Result<Self, Finding> {
        let (mut events, mut standing) = (Vec::new(), BTreeMap::new());
        for point in points {
            if Some(point.since) > mark {
                events.push((point.since, true, point));
            } else if Some(point.until) > mark {
                // What stood at the mark is taken as it is.
                standing.insert(point.at, point);
            }
            if point.until != ALIVE && Some(point.until) > mark {
                events.push((point.until, false, point));
            }
        }
        events.sort_by_key(|(commit, comes, point)| (*commit, *comes, point.at));
        if let Some((commit, _, point)) = events.last().filter(|(commit, _, _)| Some(*commit) > newest) {
            let what = format!("the break point at {} names a commit that was never recorded", point.at);
            return Err((*commit, what));
        }
        events.reverse();
        Ok(Self { standing, events })
    }

    /// Applies what came and went at `commit`, which may only be in the touched part or at its end.
    fn advance(&mut self, commit: u64, touched: Period) -> Result<(), Finding> {
        while let Some((when, comes, point)) = self.events.pop_if(|(when, _, _)| *when <= commit) {
            if when < commit || point.at < touched.from || point.at > touched.to {
                return Err((when, unexplained(point, comes)));
            }
            let before =
                if comes { self.standing.insert(point.at, point) } else { self.standing.remove(&point.at) };
            if before.is_some() == comes {
                let what = format!("two break points at {} stood at the same time", point.at);
                return Err((when, what));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Finding> {
        self.events.last().map_or(Ok(()), |(when, comes, point)| Err((*when, unexplained(point, *comes))))
    }
}

fn unexplained(point: &Point, comes: bool) -> String {
    let verb = if comes { "came" } else { "went" };
    format!("the break point at {} {verb}, and no recorded operation explains it", point.at)
}

/// A timeline as pieces with a value, by their start; they never overlap.
#[derive(Default)]
struct Replayed {
    pieces: BTreeMap<ValidTime, (ValidTime, Belief)>,
}

impl Replayed {
    /// The pieces between break points.
    fn beginning_with(standing: &BTreeMap<ValidTime, &Point>) -> Self {
        let mut pieces = BTreeMap::new();
        let mut points = standing.values().peekable();
        while let Some(point) = points.next() {
            let to = points.peek().map_or(ValidTime::POS_INF, |next| next.at);
            if let Some(belief) = point.belief {
                pieces.insert(point.at, (to, belief));
            }
        }
        Self { pieces }
    }

    fn apply(&mut self, belief: Belief, recorded: &Recorded<'_>) -> Result<(), String> {
        let (from, to) = (recorded.valid.from, recorded.valid.to);
        self.cut(from);
        self.cut(to);
        let inside: Vec<(ValidTime, ValidTime)> =
            self.pieces.range(from..to).map(|(start, (end, _))| (*start, *end)).collect();
        match recorded.op {
            Operation::Insert if !inside.is_empty() => {
                return Err(format!(
                    "an insert for {} was recorded where a value was in force",
                    recorded.valid
                ));
            }
            Operation::Put | Operation::Insert => {
                self.remove(&inside);
                self.pieces.insert(from, (to, belief));
            }
            Operation::Update => {
                for (start, end) in inside {
                    self.pieces.insert(start, (end, belief));
                }
            }
            Operation::Delete => self.remove(&inside),
        }
        Ok(())
    }

    fn remove(&mut self, pieces: &[(ValidTime, ValidTime)]) {
        for (start, _) in pieces {
            self.pieces.remove(start);
        }
    }

    /// Makes sure that no piece reaches across `at`.
    fn cut(&mut self, at: ValidTime) {
        if let Some((_, (end, belief))) = self.pieces.range_mut(..at).next_back()
            && *end > at
        {
            let rest = (std::mem::replace(end, at), *belief);
            self.pieces.insert(at, rest);
        }
    }

    /// What is in force at `at`, and whether a piece starts or ends there.
    fn break_at(&self, at: ValidTime) -> Option<Option<Belief>> {
        if let Some((_, belief)) = self.pieces.get(&at) {
            return Some(Some(*belief));
        }
        let (_, (end, _)) = self.pieces.range(..at).next_back()?;
        (*end == at).then_some(None)
    }
}

/// The break points that stand in the touched part must be the ends of the pieces there.
fn compare(
    standing: &BTreeMap<ValidTime, &Point>,
    replayed: &Replayed,
    touched: Period,
) -> Result<(), String> {
    let part = (Included(touched.from), Included(touched.to));
    let mut places: BTreeSet<ValidTime> = standing.range(part).map(|(at, _)| *at).collect();
    for (start, (end, _)) in replayed.pieces.range(part) {
        places.extend([*start, *end].into_iter().filter(|at| *at <= touched.to));
    }
    if let Some((_, (end, _))) = replayed.pieces.range((Unbounded, Excluded(touched.from))).next_back() {
        places.extend((*end >= touched.from && *end <= touched.to).then_some(*end));
    }
    places.remove(&ValidTime::POS_INF);
    for at in places {
        let found = standing.get(&at).map(|point| point.belief);
        let wanted = replayed.break_at(at);
        if found != wanted {
            return Err(format!(
                "from {at} the stored timeline has {}, and the recorded operations give {}",
                Shown(found),
                Shown(wanted)
            ));
        }
    }
    Ok(())
}

/// A break point for people.
struct Shown(Option<Option<Belief>>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("no break point"),
            Some(None) => f.write_str("nothing"),
            Some(Some(belief)) => {
                write!(f, "the value of operation {} of commit {}", belief.index, belief.asserted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Period, Temporal};
    use std::sync::Arc;

    #[test]
    fn several_passes_look_at_the_same_as_one_and_progress_rises_to_the_end() {
        let disk = Arc::new(llmdb_pager::sim::SimDisk::new(1));
        let store = llmdb_wal::StoreOptions::new().storage(disk).open("check.llmdb").unwrap();
        let db = Temporal::open(store).unwrap();
        for round in 0..3u8 {
            let mut tx = db.begin_write().unwrap();
            for key in 0..40u8 {
                let from = ValidTime::from_micros(i64::from(round)).unwrap();
                tx.put(["one", "two"][usize::from(key % 2)], &[key], Period::since(from), &[round]).unwrap();
            }
            tx.commit().unwrap();
        }
        let read = db.begin_read().unwrap();
        let whole = read.check(&mut |_, _| {}).unwrap();
        assert_eq!((whole.collections, whole.operations, whole.keys), (2, 120, 40));
        let mut seen = Vec::new();
        let parts = read.check_in_passes_of(7, &mut |done, total| seen.push((done, total))).unwrap();
        assert_eq!(parts, whole);
        assert!(seen.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 == pair[1].1));
        assert!(seen.last().is_some_and(|(done, total)| done == total));
    }
}
