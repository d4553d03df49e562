//! Recording: operations on valid time, resolved into break points when they are written.
//!
//! ```text
//!   before   |------- "a" -------------|           put [3, 7) "b":
//!   after    |- "a" -|- "b" -|-- "a" --|           7: "a" again, asserted as before; 3: "b"
//!                    3       7
//! ```
//!
//! Invariants
//! 1. After every operation the live break points of a key are strictly increasing in valid time, and "nothing"
//!    is neither the first nor follows "nothing".
//! 2. A break point that an operation ends goes to the dead, unless it was born in the same transaction: then
//!    it vanishes, so nothing of zero width is ever stored.
//! 3. Break points outside `[from, to]` of an operation are untouched.
//! 4. A refused operation changes nothing; an operation that fails in the store dooms its transaction.
//!
//! Cost of an operation: one descent, and a few tree writes for each break point inside its period. A value that
//! is cut in two is stored twice. The operations log holds each value once more.
//!
//! Not here: reading (`read`), bytes (`entry`, `encoding`, `ops`).

use std::collections::HashMap;
use std::fmt;

use llmdb_wal::{Store, TreeId, WriteTxn};

use crate::catalog;
use crate::commits::{self, Commits};
use crate::encoding::{self, dead_key, live_key};
use crate::entry::{Belief, BreakPoint, Entry, VALUE_SIZE_MAX};
use crate::error::Error;
use crate::ops::{self, Recorded};
use crate::points::Live;
use crate::types::{CommitNumber, CommitStamp, CommitTime, Operation, Period, Receipt, ValidTime};

/// A transaction that records operations. Dropping it rolls back.
///
/// Operations apply in order; each sees what those before it did. The store has one writer at a time.
pub struct TemporalWrite {
    txn: WriteTxn,
    system: SystemTrees,
    collections: HashMap<String, CollectionTrees>,
    operation_count: u64,
    failed: bool,
}

/// The trees that all collections share.
#[derive(Clone, Copy)]
struct SystemTrees {
    catalog: TreeId,
    commits: TreeId,
    times: TreeId,
    ops: TreeId,
}

/// The trees of one collection.
#[derive(Clone, Copy)]
struct CollectionTrees {
    number: u32,
    now: TreeId,
    past: TreeId,
}

/// One operation as it was asked for.
#[derive(Clone, Copy)]
struct Request<'a> {
    op: Operation,
    collection: &'a str,
    key: &'a [u8],
    period: Period,
    /// Empty for a delete.
    value: &'a [u8],
}

/// A live break point, copied out of the tree so that the tree can be changed.
struct Stored {
    at: ValidTime,
    since: u64,
    /// The asserting commit and the value.
    belief: Option<(u64, Vec<u8>)>,
}

/// The live break points that an assignment to a period meets.
struct Met {
    /// In force just before the period.
    before: Option<Stored>,
    /// In the period, ascending.
    inside: Vec<Stored>,
    /// Exactly at the end of the period.
    at_end: Option<Stored>,
}

impl TemporalWrite {
    pub(crate) fn begin(store: &Store) -> Result<Self, Error> {
        let mut txn = store.begin_write()?;
        let system = SystemTrees {
            catalog: txn.create_tree(catalog::CATALOG)?,
            commits: txn.create_tree(catalog::COMMITS)?,
            times: txn.create_tree(catalog::TIMES)?,
            ops: txn.create_tree(catalog::OPS)?,
        };
        Ok(Self { txn, system, collections: HashMap::new(), operation_count: 0, failed: false })
    }

    /// Asks for a commit time instead of the clock's. The commit gets it, or one microsecond after the last
    /// commit if that is later; the time it will get is returned.
    pub fn set_time(&mut self, wanted: CommitTime) -> CommitTime {
        CommitTime::from_raw(self.txn.set_time(wanted.micros()))
    }

    /// The time that the commit will get.
    #[must_use]
    pub fn time(&self) -> CommitTime {
        CommitTime::from_raw(self.txn.time())
    }

    /// The number that the commit will get.
    #[must_use]
    pub fn number(&self) -> CommitNumber {
        CommitNumber::new(number_of(self.txn.seq()))
    }

    /// From now on, `key` has `value` in `period`; what overlapped is split, the rest of the timeline stays.
    ///
    /// # Errors
    /// A collection name, key or value that does not fit; the store's errors.
    pub fn put(&mut self, collection: &str, key: &[u8], period: Period, value: &[u8]) -> Result<(), Error> {
        self.apply(Request { op: Operation::Put, collection, key, period, value })
    }

    /// As [`Self::put`], but only in those parts of `period` where a value is in force. The pieces there keep
    /// their bounds.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn update(
        &mut self,
        collection: &str,
        key: &[u8],
        period: Period,
        value: &[u8],
    ) -> Result<(), Error> {
        self.apply(Request { op: Operation::Update, collection, key, period, value })
    }

    /// As [`Self::put`], but refused whole if a value is in force in any part of `period`.
    ///
    /// # Errors
    /// [`Error::Overlap`], after which the transaction is as before and can go on; and as [`Self::put`].
    pub fn insert(
        &mut self,
        collection: &str,
        key: &[u8],
        period: Period,
        value: &[u8],
    ) -> Result<(), Error> {
        self.apply(Request { op: Operation::Insert, collection, key, period, value })
    }

    /// From now on, `key` has nothing in `period`; the rest of the timeline stays.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn delete(&mut self, collection: &str, key: &[u8], period: Period) -> Result<(), Error> {
        self.apply(Request { op: Operation::Delete, collection, key, period, value: &[] })
    }

    /// Removes every trace of a key at all times. Not available yet.
    ///
    /// # Errors
    /// [`Error::NotYet`].
    pub fn erase(&mut self, collection: &str, key: &[u8]) -> Result<(), Error> {
        catalog::check_name(collection)?;
        self.check_key(key)?;
        Err(Error::NotYet { what: "erase" })
    }

    /// Lets history older than a commit go. Not available yet.
    ///
    /// # Errors
    /// [`Error::NotYet`].
    pub fn retain(&mut self, _before: CommitTime) -> Result<(), Error> {
        Err(Error::NotYet { what: "retain" })
    }

    /// Makes the transaction durable, also when it has no operation.
    ///
    /// # Errors
    /// [`Error::TransactionFailed`] after an operation that failed in the store; the store's errors.
    pub fn commit(mut self) -> Result<Receipt, Error> {
        if self.failed {
            return Err(Error::TransactionFailed);
        }
        let (commit, time) = (self.number().get(), self.time());
        let SystemTrees { commits, times, .. } = self.system;
        self.txn.insert(commits, &commits::commit_key(commit), &commits::commit_record(time))?;
        self.txn.insert(times, &commits::time_key(time), &commits::time_record(commit))?;
        let receipt = self.txn.commit()?;
        Ok(Receipt {
            commit: CommitNumber::new(number_of(receipt.seq)),
            at: CommitTime::from_raw(receipt.time),
        })
    }

    fn apply(&mut self, request: Request<'_>) -> Result<(), Error> {
        if self.failed {
            return Err(Error::TransactionFailed);
        }
        catalog::check_name(request.collection)?;
        self.check_key(request.key)?;
        Period::new(request.period.from, request.period.to)?;
        if request.value.len() > VALUE_SIZE_MAX {
            return Err(Error::ValueTooLong { length: request.value.len(), limit: VALUE_SIZE_MAX });
        }
        if request.period.is_empty() {
            return Ok(());
        }
        let result = self.perform(request);
        self.failed = result.as_ref().is_err_and(|error| !error.is_refusal());
        result
    }

    fn perform(&mut self, request: Request<'_>) -> Result<(), Error> {
        let prefix = encoding::prefix(request.key);
        if request.op == Operation::Insert {
            self.refuse_overlap(request, &prefix)?;
        }
        let trees = self.open_or_create(request.collection)?;
        match request.op {
            Operation::Put | Operation::Insert => {
                self.assign(trees, &prefix, request.period, Some(request.value))?;
            }
            Operation::Delete => self.assign(trees, &prefix, request.period, None)?,
            Operation::Update => {
                for part in self.parts_with_a_value(trees, request, &prefix)? {
                    self.assign(trees, &prefix, part, Some(request.value))?;
                }
            }
        }
        self.record(trees.number, request)
    }

    /// The heart of it: makes `value`, or nothing, hold in `period` and only there.
    fn assign(
        &mut self,
        trees: CollectionTrees,
        prefix: &[u8],
        period: Period,
        value: Option<&[u8]>,
    ) -> Result<(), Error> {
        let met = self.meet(trees, prefix, period)?;
        let commit = self.number().get();
        for point in &met.inside {
            self.kill(trees, prefix, point)?;
        }
        match &met.at_end {
            // It would repeat the nothing that now comes before it.
            Some(end) if value.is_none() && end.belief.is_none() => self.kill(trees, prefix, end)?,
            Some(_) => {}
            None if period.to == ValidTime::POS_INF => {}
            // What was in force at the end is cut off from its start, so it starts anew there.
            None => {
                let cut_off = met.inside.last().or(met.before.as_ref()).and_then(Stored::belief);
                if cut_off.is_some() || value.is_some() {
                    self.give_birth(trees, prefix, period.to, cut_off)?;
                }
            }
        }
        if value.is_some() || met.before.as_ref().is_some_and(|before| before.belief.is_some()) {
            let belief = value.map(|value| Belief { asserted: commit, value });
            self.give_birth(trees, prefix, period.from, belief)?;
        }
        Ok(())
    }

    fn meet(&self, trees: CollectionTrees, prefix: &[u8], period: Period) -> Result<Met, Error> {
        let live = self.live(trees)?;
        let before = live.before(prefix, period.from)?.map(Stored::from);
        let mut inside: Vec<Stored> =
            live.between(prefix, period.from, period.to)?.into_iter().map(Stored::from).collect();
        let at_end = inside.pop_if(|last| last.at == period.to);
        Ok(Met { before, inside, at_end })
    }

    fn kill(&mut self, trees: CollectionTrees, prefix: &[u8], point: &Stored) -> Result<(), Error> {
        let commit = self.number().get();
        self.txn.remove(trees.now, &live_key(prefix, point.at))?;
        if point.since < commit {
            let record = Entry { since: point.since, belief: point.belief() }.encode();
            self.txn.insert(trees.past, &dead_key(prefix, point.at, commit), &record)?;
        }
        Ok(())
    }

    fn give_birth(
        &mut self,
        trees: CollectionTrees,
        prefix: &[u8],
        at: ValidTime,
        belief: Option<Belief<'_>>,
    ) -> Result<(), Error> {
        let record = Entry { since: self.number().get(), belief }.encode();
        Ok(self.txn.insert(trees.now, &live_key(prefix, at), &record)?)
    }

    fn parts_with_a_value(
        &self,
        trees: CollectionTrees,
        request: Request<'_>,
        prefix: &[u8],
    ) -> Result<Vec<Period>, Error> {
        let pieces = self.live(trees)?.pieces(prefix, request.period)?;
        let clip = |valid: Period| {
            let from = valid.from.max(request.period.from);
            Period::between(from, valid.to.min(request.period.to))
        };
        Ok(pieces.into_iter().map(|piece| clip(piece.valid)).collect())
    }

    fn refuse_overlap(&mut self, request: Request<'_>, prefix: &[u8]) -> Result<(), Error> {
        let Some(trees) = self.open(request.collection)? else { return Ok(()) };
        let pieces = self.live(trees)?.pieces(prefix, request.period)?;
        let Some(first) = pieces.first() else { return Ok(()) };
        Err(Error::Overlap {
            collection: request.collection.to_owned(),
            key: request.key.to_vec(),
            period: request.period,
            in_the_way: first.valid,
            asserted: self.stamp(first.belief.asserted)?,
        })
    }

    /// The commit of an entry, which may be the one that is being written.
    fn stamp(&self, commit: u64) -> Result<CommitStamp, Error> {
        if commit == self.number().get() {
            return Ok(CommitStamp { commit: self.number(), at: self.time() });
        }
        let SystemTrees { commits, times, .. } = self.system;
        Commits::over(self.txn.tree(commits)?, self.txn.tree(times)?).stamp(commit)
    }

    fn record(&mut self, collection: u32, request: Request<'_>) -> Result<(), Error> {
        let Request { op, key, period: valid, value, .. } = request;
        let record = Recorded { op, collection, valid, key, value }.encode();
        let log_key = ops::log_key(self.number().get(), self.operation_count);
        self.txn.insert(self.system.ops, &log_key, &record)?;
        self.operation_count += 1;
        Ok(())
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        if key.is_empty() {
            return Err(Error::KeyEmpty);
        }
        let stored = encoding::escaped_size(key);
        let limit = self.txn.max_key_size().saturating_sub(encoding::OVERHEAD);
        if stored > limit {
            return Err(Error::KeyTooLong { length: key.len(), stored, limit });
        }
        Ok(())
    }

    fn open(&mut self, name: &str) -> Result<Option<CollectionTrees>, Error> {
        if let Some(trees) = self.collections.get(name) {
            return Ok(Some(*trees));
        }
        let catalog = self.txn.tree(self.system.catalog)?;
        let Some(number) = catalog::number(Some(catalog), name)? else { return Ok(None) };
        self.open_trees(name, number).map(Some)
    }

    fn open_or_create(&mut self, name: &str) -> Result<CollectionTrees, Error> {
        if let Some(trees) = self.open(name)? {
            return Ok(trees);
        }
        let number = self.txn.tree(self.system.catalog)?.len() as u32;
        self.txn.insert(self.system.catalog, name.as_bytes(), &number.to_le_bytes())?;
        self.open_trees(name, number)
    }

    fn open_trees(&mut self, name: &str, number: u32) -> Result<CollectionTrees, Error> {
        let now = self.txn.create_tree(&catalog::now_tree(number))?;
        let past = self.txn.create_tree(&catalog::past_tree(number))?;
        let trees = CollectionTrees { number, now, past };
        self.collections.insert(name.to_owned(), trees);
        Ok(trees)
    }

    fn live(&self, trees: CollectionTrees) -> Result<Live<'_>, Error> {
        Ok(Live { tree: self.txn.tree(trees.now)?, number: trees.number })
    }
}

impl fmt::Debug for TemporalWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporalWrite")
            .field("number", &self.number())
            .field("time", &self.time())
            .field("operation_count", &self.operation_count)
            .finish_non_exhaustive()
    }
}

impl Stored {
    fn belief(&self) -> Option<Belief<'_>> {
        self.belief.as_ref().map(|(asserted, value)| Belief { asserted: *asserted, value })
    }
}

impl From<BreakPoint<'_>> for Stored {
    fn from(point: BreakPoint<'_>) -> Self {
        let belief = point.belief.map(|belief| (belief.asserted, belief.value.to_vec()));
        Self { at: point.at, since: point.since, belief }
    }
}

/// The public number of a commit: the store counts from 1, where 0 stands for "nothing committed yet".
fn number_of(seq: llmdb_wal::CommitSeq) -> u64 {
    seq.saturating_sub(1)
}
