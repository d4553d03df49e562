//! Letting history go that is older than a commit.
//!
//! ```text
//!   commits ^ |  block 3   |  block 4        kept: it holds at the mark or later
//!      mark-+-+------------+---------
//!           | |  block 2   |                 kept: closed after the mark
//!           | |------------+---------
//!           | |  block 1                     goes, whole: closed at or before the mark
//! ```
//!
//! A key of which nothing is believed any more, since the mark or earlier, goes as a whole: with its record, blocks, ranges and
//! entries in the index of where facts begin. All its break points ended at the commit since which nothing of it changed, or
//! earlier, so that no answer as of the mark or later has anything of it.
//!
//! Invariants
//! 1. Answers as of the mark and of every later commit stay as they were; `known_from` is not earlier than the mark.
//! 2. What is asked as of an earlier commit is refused, whether the history is gone or not.
//! 3. The mark never goes back.
//! 4. Every value that is believed at the mark or later keeps the record of its operation.
//!
//! Cost: the records and blocks of all collections and the operations up to the mark are read once, and where keys go the index
//! of where facts begin; what goes is removed without rewriting anything else. Memory: up to 32 bytes for each value of before
//! the mark that is believed at it or later, 16 for each key that goes, and 48 for each run of operations that go.
//!
//! Not here: reading the mark (`marks`), erasing what stands (`write`).

use std::collections::HashSet;
use std::ops::Bound::{Excluded, Included, Unbounded};

use llmdb_wal::TreeId;
use xxhash_rust::xxh3::xxh3_64;

use crate::catalog;
use crate::error::Error;
use crate::marks;
use crate::ops::{self, Log, LogKey};
use crate::point::Belief;
use crate::points::{Points, placed};
use crate::ranges::damaged;
use crate::starts;
use crate::trees::CollectionTrees;
use crate::types::{CommitStamp, CommitTime, Known};
use crate::write::TemporalWrite;

/// As many keys or blocks are looked for before they are removed.
const PIECE: usize = 4096;

/// Values that stay, each once, though it may be believed in many blocks.
#[derive(Default)]
struct Believed {
    mark: u64,
    list: Vec<Belief>,
    /// When the list has as many it is looked through for those that it has twice.
    tidied_at: usize,
}

impl Believed {
    fn note(&mut self, belief: Option<Belief>) {
        let Some(belief) = belief.filter(|belief| belief.asserted <= self.mark) else { return };
        if self.list.len() >= self.tidied_at {
            self.tidy();
            self.tidied_at = (2 * self.list.len()).max(1 << 16);
        }
        self.list.push(belief);
    }

    fn tidy(&mut self) {
        self.list.sort_unstable();
        self.list.dedup();
    }
}

impl TemporalWrite {
    /// Lets history go that is older than the newest commit at or before a time. What was believed as of that commit, the
    /// mark, and as of every later one stays; as of an earlier one it cannot be asked for any more. Answers the mark,
    /// which may be the one that was set before; `None` where there is none. The commit that is being written is never it.
    ///
    /// A key of which nothing is believed any more, since the mark or earlier, is as if it had never been:
    /// [`Collection::was_ever`](crate::Collection::was_ever) and `has_history` say no, as filters of keys may, and
    /// [`Self::erase`] finds nothing to erase. Bytes of what is let go are not overwritten: erase a key whose bytes must go before,
    /// or call [`Temporal::wipe`](crate::Temporal::wipe).
    ///
    /// The space is free for other use from the next checkpoint on.
    ///
    /// ```
    /// use llmdb_temporal::{Error, Known, Period, Temporal, ValidTime};
    /// # use llmdb_wal::StoreOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("prices.llmdb"))?)?;
    /// let day = ValidTime::from_micros(0)?;
    /// let mut marks = Vec::new();
    /// for price in [b"3", b"4", b"5"] {
    ///     let mut tx = db.begin_write()?;
    ///     tx.put("prices", b"tea", Period::ALL, price)?;
    ///     marks.push(tx.commit()?);
    /// }
    /// let mut tx = db.begin_write()?;
    /// assert_eq!(tx.retain(marks[1].at)?.map(|mark| mark.commit), Some(marks[1].commit));
    /// tx.commit()?;
    /// let read = db.begin_read()?;
    /// let then = read.get_value("prices", b"tea", day, Known::At(marks[1].at))?;
    /// assert_eq!(then.as_deref(), Some(&b"4"[..]));
    /// let gone = read.get_value("prices", b"tea", day, Known::At(marks[0].at));
    /// assert!(matches!(gone, Err(Error::NotKept { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TransactionFailed`]; the store's errors, and [`Error::Damaged`], after which the transaction can only be
    /// dropped.
    pub fn retain(&mut self, before: CommitTime) -> Result<Option<CommitStamp>, Error> {
        if self.failed {
            return Err(Error::TransactionFailed);
        }
        let result = self.let_go(before);
        self.failed = result.is_err();
        result
    }

    fn let_go(&mut self, before: CommitTime) -> Result<Option<CommitStamp>, Error> {
        self.apply_pending()?;
        let marks = self.txn.create_tree(catalog::MARKS)?;
        let old = marks::kept_from(Some(self.txn.tree(marks)?))?;
        let commits = self.commits()?;
        let old_stamp = (old > 0).then(|| commits.stamp(old)).transpose()?;
        let Some(mark) = commits.resolve(Known::At(before))?.filter(|mark| mark.commit.get() > old) else {
            return Ok(old_stamp);
        };
        let commit = mark.commit.get();
        let mut believed = Believed { mark: commit, ..Believed::default() };
        for (name, number) in catalog::all(Some(self.txn.tree(self.system.catalog)?))? {
            let trees = self.open_trees(&name, number)?;
            self.drop_keys(trees, &mut believed)?;
            self.drop_blocks(trees, &mut believed)?;
            self.renew_filter(&name, number)?;
        }
        believed.tidy();
        self.drop_operations(self.system.ops, commit, &believed.list)?;
        self.txn.insert(marks, marks::KEPT_FROM, &marks::record(commit))?;
        Ok(Some(mark))
    }

    /// Removes the keys of which nothing is left, and notes what the records of the others believe.
    fn drop_keys(&mut self, trees: CollectionTrees, believed: &mut Believed) -> Result<(), Error> {
        let mut gone = HashSet::new();
        let mut last = None;
        loop {
            let dead = dead_keys(&self.points(trees, None)?, last.as_deref(), believed)?;
            for prefix in &dead {
                self.txn.remove(trees.now, prefix)?;
                self.txn.remove_prefix(trees.past, prefix)?;
                self.txn.remove_prefix(trees.ranges, prefix)?;
                gone.insert(xxh3_64(prefix));
            }
            if dead.len() < PIECE {
                break;
            }
            last = dead.into_iter().next_back();
        }
        match trees.starts {
            Some(starts) if !gone.is_empty() => self.drop_starts_of(trees.now, starts, &gone),
            _ => Ok(()),
        }
    }

    /// Removes the entries of keys that have no record any more, which are among those with one of these hashes.
    fn drop_starts_of(&mut self, now: TreeId, starts: TreeId, gone: &HashSet<u64>) -> Result<(), Error> {
        let mut last: Option<Vec<u8>> = None;
        loop {
            let mut entries = Vec::new();
            let (tree, records) = (self.txn.tree(starts)?, self.txn.tree(now)?);
            for row in tree.range(last.as_deref().map_or(Unbounded, Excluded), Unbounded) {
                let (entry, _) = row?;
                let Some((_, prefix)) = starts::parse(&entry) else { continue };
                if gone.contains(&xxh3_64(prefix)) && records.get(prefix)?.is_none() {
                    entries.push(entry);
                }
                if entries.len() >= PIECE {
                    break;
                }
            }
            for entry in &entries {
                self.txn.remove(starts, entry)?;
            }
            if entries.len() < PIECE {
                return Ok(());
            }
            last = entries.pop();
        }
    }

    /// Removes the blocks that were closed up to the mark, and notes what the others believe.
    fn drop_blocks(&mut self, trees: CollectionTrees, believed: &mut Believed) -> Result<(), Error> {
        let mut last = None;
        loop {
            let closed = closed_blocks(&self.points(trees, None)?, last.as_deref(), believed)?;
            for key in &closed {
                self.txn.remove(trees.past, key)?;
            }
            if closed.len() < PIECE {
                return Ok(());
            }
            last = closed.into_iter().next_back();
        }
    }

    /// Removes the operations up to a commit but for those whose values are believed, in runs.
    fn drop_operations(&mut self, ops: TreeId, mark: u64, believed: &[Belief]) -> Result<(), Error> {
        let mut runs: Vec<(LogKey, LogKey)> = Vec::new();
        let mut is_run = false;
        for row in Log::between(Some(self.txn.tree(ops)?), None, mark) {
            let (asserted, index, _) = row?;
            let goes = believed.binary_search(&Belief { asserted, index }).is_err();
            let key = ops::log_key(asserted, index);
            match runs.last_mut() {
                Some((_, last)) if goes && is_run => *last = key,
                _ if goes => runs.push((key, key)),
                _ => {}
            }
            is_run = goes;
        }
        for (first, last) in runs {
            self.txn.remove_range(ops, Included(&first), Included(&last))?;
        }
        Ok(())
    }
}

/// The next keys behind one of which nothing is believed any more, since the mark or earlier. Notes what the others believe.
fn dead_keys(
    points: &Points<'_>,
    behind: Option<&[u8]>,
    believed: &mut Believed,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut dead = Vec::new();
    for row in points.now.range(behind.map_or(Unbounded, Excluded), Unbounded) {
        let (prefix, record) = row?;
        let tail = points.decoded(&prefix, record)?;
        if tail.is_none_left() && tail.settled <= believed.mark {
            dead.push(prefix);
            if dead.len() >= PIECE {
                break;
            }
            continue;
        }
        believed.note(tail.point.belief);
        for point in tail.others.points() {
            believed.note(point.belief.filter(|_| point.until > believed.mark));
        }
    }
    Ok(dead)
}

/// The keys of the next blocks behind one that were closed up to the mark. Notes what the others believe.
fn closed_blocks(
    points: &Points<'_>,
    behind: Option<&[u8]>,
    believed: &mut Believed,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut closed = Vec::new();
    for row in points.past.range(behind.map_or(Unbounded, Excluded), Unbounded) {
        let (key, record) = row?;
        let found = placed(&key, record).and_then(|placed| {
            if placed.until > believed.mark {
                let block = placed.view.block(placed.lo)?;
                for point in &block.points {
                    believed.note(point.belief.filter(|_| point.until > believed.mark));
                }
            }
            Ok(placed.until <= believed.mark)
        });
        if found.map_err(|what| damaged(catalog::past_tree(points.number), &key, &what))? {
            closed.push(key);
            if closed.len() >= PIECE {
                break;
            }
        }
    }
    Ok(closed)
}
