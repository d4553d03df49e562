//! Replay: what the log's records did, done again in memory.
//!
//! Invariants
//! 1. Records are replayed in order, all or none: they are published together as the newest commit.
//! 2. What looks free in the data file may be a large value that a later record leads to: nothing is written there
//!    before all are replayed.
//!
//! Not here: when (`recovery`), and what is in a record (`redo`).

use super::options::OnProgress;
use super::range::high_bound;
use super::redo::{Redo, operations, time_of};
use crate::error::Error;
use crate::log::{Record, Tail};
use crate::lsn::Lsn;
use llmdb_btree::{LargeRef, ReadTxn, TreeId, WriteTxn};
use llmdb_pager::Pager;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

/// Progress is told each time so many records were replayed.
const TELL_EACH: usize = 1024;

/// A replay under way.
pub(super) struct Replay<'a> {
    pager: &'a Pager,
    path: &'a Path,
    txn: WriteTxn,
    progress: Option<&'a OnProgress>,
}

/// Large values that unproven records lead to.
#[derive(Debug, Default)]
pub(super) struct Unproven {
    larges: Vec<LargeRef>,
}

impl Unproven {
    /// Writes the values anew, and flushes: the cache may show what a failed flush has forgotten.
    pub(super) fn rewrite(self, pager: &Pager) -> Result<(), Error> {
        if self.larges.is_empty() {
            return Ok(());
        }
        for large in &self.larges {
            pager.rewrite_extent(large.start, large.len)?;
        }
        Ok(pager.sync_extents()?)
    }
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        pager: &'a Pager,
        path: &'a Path,
        progress: Option<&'a OnProgress>,
    ) -> Result<Self, Error> {
        let mut txn = WriteTxn::new(pager.begin_write()?);
        txn.pager().hold_in_memory();
        Ok(Self { pager, path, txn, progress })
    }

    fn damaged(&self, lsn: Lsn, what: &'static str) -> Error {
        Error::LogDamaged { path: self.path.into(), lsn, what }
    }

    /// Looks at the large values that records lead to which are not proven to have been flushed. The tail ends before
    /// the first whose value is not whole: it was written without waiting for it, and a power cut took it.
    pub(super) fn check_unproven(&self, tail: &mut Tail) -> Result<Unproven, Error> {
        let mut unproven = Unproven::default();
        let mut whole = tail.len();
        'records: for (place, record) in tail.records().enumerate() {
            if record.lsn < tail.proven {
                continue;
            }
            for op in operations(&record.payload) {
                let Redo::InsertLarge { value, .. } = op.map_err(|what| self.damaged(record.lsn, what))?
                else {
                    continue;
                };
                let bytes = self.pager.read_extent(value.start, value.len);
                match bytes.is_ok_and(|bytes| value.is_intact(&bytes)) {
                    true => unproven.larges.push(value),
                    // It was whole once: who reads it is told of the damage.
                    false if record.is_backed => {}
                    false => {
                        whole = place;
                        break 'records;
                    }
                }
            }
        }
        tail.truncate(whole);
        Ok(unproven)
    }

    /// Begins to fetch the leaves that the records change. Answers how many pages were asked for.
    pub(super) fn fetch(&self, tail: &Tail) -> Result<u64, Error> {
        let records: Vec<Record<'_>> = tail.records().collect();
        let mut keys: BTreeMap<u32, Vec<&[u8]>> = BTreeMap::new();
        for record in &records {
            for op in operations(&record.payload) {
                match op.map_err(|what| self.damaged(record.lsn, what))? {
                    Redo::Insert { tree, key, .. }
                    | Redo::InsertLarge { tree, key, .. }
                    | Redo::Remove { tree, key } => keys.entry(tree).or_default().push(key),
                    Redo::CreateTree { .. } | Redo::DropTree { .. } | Redo::RemoveRange { .. } => {}
                }
            }
        }
        let reader = ReadTxn::of(self.pager.snapshot());
        let mut asked = 0;
        for (tree, mut keys) in keys {
            let Some(tree) = reader.tree_by_id(TreeId::from_number(tree))? else { continue };
            keys.sort_unstable();
            keys.dedup();
            asked += tree.fetch_leaves(&keys)?;
        }
        Ok(asked)
    }

    /// Replays all records, and publishes. Answers how many commits they were.
    pub(super) fn run(mut self, tail: &Tail) -> Result<u64, Error> {
        let snapshot = self.pager.snapshot();
        let first = snapshot.commit();
        drop(snapshot);
        let mut newest = first;
        for (place, record) in tail.records().enumerate() {
            newest = self.replay(&record, newest)?;
            if let Some(tell) = self.progress.filter(|_| place % TELL_EACH == 0 || place + 1 == tail.len()) {
                tell(place as u64 + 1, tail.len() as u64);
            }
        }
        if newest > first {
            let mut txn = self.txn.finish()?;
            txn.prepare()?;
            txn.publish()?;
        }
        Ok(newest - first)
    }

    /// Does what one record says, behind commit `newest`. Answers its commit.
    fn replay(&mut self, record: &Record<'_>, newest: u64) -> Result<u64, Error> {
        let damaged = |what| Error::LogDamaged { path: self.path.into(), lsn: record.lsn, what };
        let time = time_of(&record.payload).ok_or_else(|| damaged("a record is too short"))?;
        if record.commit != newest + 1 {
            return Err(damaged("commit numbers do not follow each other"));
        }
        let txn = &mut self.txn;
        txn.pager().set_commit(record.commit, time);
        for op in operations(&record.payload) {
            match op.map_err(damaged)? {
                Redo::Insert { tree, key, value } => {
                    txn.insert(TreeId::from_number(tree), key, value)?;
                }
                Redo::InsertLarge { tree, key, value } => {
                    txn.insert_large(TreeId::from_number(tree), key, value)?;
                }
                Redo::Remove { tree, key } => {
                    txn.remove(TreeId::from_number(tree), key)?;
                }
                Redo::CreateTree { tree, name } => txn.enter_tree(name, TreeId::from_number(tree))?,
                Redo::DropTree { name } => {
                    txn.drop_tree(name)?;
                }
                Redo::RemoveRange { tree, low, high } => {
                    let (low, high) = (Bound::Included(low), high_bound(high));
                    txn.remove_range(TreeId::from_number(tree), low, high)?;
                }
            }
        }
        Ok(record.commit)
    }
}
