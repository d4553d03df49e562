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
//! Invariants
//! 1. Answers as of the mark and of every later commit stay as they were; `known_from` is not earlier than the mark.
//! 2. What is asked as of an earlier commit is refused, whether the history is gone or not.
//! 3. The mark never goes back.
//! 4. Every value that is believed at the mark or later keeps the record of its operation.
//!
//! Cost: the blocks of all collections and the operations up to the mark are read once; what goes is removed without
//! rewriting anything else. Memory: 16 bytes for each break point of before the mark that stands at it.
//!
//! Not here: reading the mark (`marks`), erasing what stands (`write`).

use std::ops::Bound::{Included, Unbounded};

use llmdb_wal::TreeId;

use crate::catalog;
use crate::entry::Tail;
use crate::error::Error;
use crate::marks;
use crate::ops::{self, Log, LogKey};
use crate::point::Belief;
use crate::points::{Points, placed};
use crate::ranges::damaged;
use crate::types::{CommitStamp, CommitTime, Known};
use crate::write::TemporalWrite;

impl TemporalWrite {
    /// Lets history go that is older than the newest commit at or before a time. What was believed as of that commit, the
    /// mark, and as of every later one stays; as of an earlier one it cannot be asked for any more. Answers the mark,
    /// which may be the one that was set before; `None` where there is none. The commit that is being written is never it.
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
        let mut believed = Vec::new();
        for (name, number) in catalog::all(Some(self.txn.tree(self.system.catalog)?))? {
            let trees = self.open_trees(&name, number)?;
            let gone = look_through(&self.points(trees, None)?, commit, &mut believed)?;
            for key in gone {
                self.txn.remove(trees.past, &key)?;
            }
            self.renew_filter(&name, number)?;
        }
        believed.sort_unstable();
        believed.dedup();
        self.drop_operations(self.system.ops, commit, &believed)?;
        self.txn.insert(marks, marks::KEPT_FROM, &marks::record(commit))?;
        Ok(Some(mark))
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

/// The keys of the blocks that were closed up to a commit. Notes whose values are believed at that commit or later and
/// were asserted up to it.
fn look_through(points: &Points<'_>, mark: u64, believed: &mut Vec<Belief>) -> Result<Vec<Vec<u8>>, Error> {
    let mut note = |belief: Option<Belief>| believed.extend(belief.filter(|belief| belief.asserted <= mark));
    for row in points.now.range(Unbounded, Unbounded) {
        let (prefix, record) = row?;
        let tail = Tail::decode(record).map_err(|what| points.damaged_tail(&prefix, &what))?;
        note(tail.point.belief);
        tail.others.points().filter(|point| point.until > mark).for_each(|point| note(point.belief));
    }
    let mut gone = Vec::new();
    for row in points.past.range(Unbounded, Unbounded) {
        let (key, record) = row?;
        let found = placed(&key, record).and_then(|placed| {
            if placed.until > mark {
                let block = placed.view.block(placed.lo)?;
                let kept = block.points.iter().filter(|point| point.until > mark);
                kept.for_each(|point| note(point.belief));
            }
            Ok(placed.until <= mark)
        });
        if found.map_err(|what| damaged(catalog::past_tree(points.number), &key, &what))? {
            gone.push(key);
        }
    }
    Ok(gone)
}
