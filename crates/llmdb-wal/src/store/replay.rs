//! Replay: what the log's records did, done again in memory.
//!
//! Invariants
//! 1. Records are replayed in order, all or none: they are published together as the newest commit.
//! 2. What looks free in the data file may be a large value that a later record leads to: nothing is written there
//!    before all are replayed.
//!
//! Not here: when (`recovery`), which pages are asked for ahead (`ahead`), and what is in a record (`redo`).

use super::ahead::Ahead;
use super::options::OnProgress;
use super::range::high_bound;
use super::redo::{Redo, operations, time_of};
use crate::error::Error;
use crate::log::{Record, Tail};
use crate::lsn::Lsn;
use llmdb_btree::{LargeRef, TreeId, WriteTxn};
use llmdb_pager::Pager;
use std::ops::Bound;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// Progress is told each time so many records were replayed.
const TELL_EACH: usize = 1024;

/// A replay under way.
pub(super) struct Replay<'a> {
    pager: &'a Pager,
    path: &'a Path,
    txn: WriteTxn,
    progress: Option<&'a OnProgress>,
}

/// What a replay did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replayed {
    pub(super) commits: u64,
    /// Pages that were asked for ahead, and how long that took.
    pub(super) pages_fetched: u64,
    pub(super) fetching: Duration,
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

    /// Replays all records. The pages are asked for ahead: by a thread of its own if `beside`, else before the replay.
    pub(super) fn run(&mut self, tail: &Tail, beside: bool) -> Result<Replayed, Error> {
        let snapshot = self.pager.snapshot();
        let first = snapshot.commit();
        drop(snapshot);
        let (ahead, asked) = Ahead::new(self.pager, tail);
        let (newest, fetched) = std::thread::scope(|scope| {
            let ask = move || ahead.ask();
            let builder = std::thread::Builder::new().name("llmdb-fetch".into());
            let beside = if beside { builder.spawn_scoped(scope, ask.clone()).ok() } else { None };
            // With a thread beside, this one keeps nothing that tells: else it would listen for ever to one that ended.
            let fetched = match beside {
                Some(_) => {
                    drop(ask);
                    None
                }
                None => Some(ask()),
            };
            let newest = self.replay_all(tail, first, &asked);
            // What a panic leaves unasked is read when it is needed.
            let fetched = fetched.or_else(|| beside?.join().ok()).unwrap_or_default();
            newest.map(|newest| (newest, fetched))
        })?;
        Ok(Replayed { commits: newest - first, pages_fetched: fetched.0, fetching: fetched.1 })
    }

    /// Makes what was replayed the newest state.
    pub(super) fn publish(self, replayed: &Replayed) -> Result<(), Error> {
        if replayed.commits > 0 {
            let mut txn = self.txn.finish()?;
            txn.prepare()?;
            txn.publish()?;
        }
        Ok(())
    }

    /// Replays all records behind commit `newest`, each after its pages were asked for. Answers the last one's commit.
    fn replay_all(&mut self, tail: &Tail, mut newest: u64, asked: &Receiver<usize>) -> Result<u64, Error> {
        let mut records_asked = 0;
        for (place, record) in tail.records().enumerate() {
            while place >= records_asked {
                // Whatever ends the asking, each page can be read when it is needed.
                records_asked = asked.recv().unwrap_or(usize::MAX);
            }
            newest = self.replay(&record, newest)?;
            if let Some(tell) = self.progress.filter(|_| place % TELL_EACH == 0 || place + 1 == tail.len()) {
                tell(place as u64 + 1, tail.len() as u64);
            }
        }
        Ok(newest)
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
