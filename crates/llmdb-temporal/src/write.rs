//! Recording: what an operation may be, and the transaction that holds operations until they are applied.
//!
//! ```text
//!   operation -> `pending` -> (`apply`, many at once, key by key) -> blocks, ranges, records of keys -> trees
//!                                                                 -> the operations log
//! ```
//!
//! Invariants
//! 1. A refused operation changes nothing; an operation that fails in the store dooms its transaction.
//! 2. Whatever reads the trees of the transaction applies first what is pending.
//!
//! Not here: reading (`read`), what an operation does to a key (`apply`, `edit`), bytes (`entry`, `block`, `ranges`,
//! `encoding`, `ops`).

use std::collections::HashMap;
use std::fmt;

use llmdb_wal::{Store, WriteTxn};

use crate::catalog;
use crate::commits::{self, Commits};
use crate::encoding;
use crate::entry::{Tail, VALUE_SIZE_MAX};
use crate::error::Error;
use crate::ops::Recorded;
use crate::pending::{Pending, Room};
use crate::points::{NOW, Points};
use crate::ranges::Ranges;
use crate::trees::{CollectionTrees, SystemTrees};
use crate::types::{CommitNumber, CommitStamp, CommitTime, Operation, Period, Receipt};

/// A transaction that records operations. Dropping it rolls back.
///
/// Operations apply in order; each sees what those before it did. The store has one writer at a time.
pub struct TemporalWrite {
    pub(crate) txn: WriteTxn,
    pub(crate) system: SystemTrees,
    pub(crate) collections: HashMap<String, CollectionTrees>,
    /// The collection that was asked for last.
    last: Option<(String, CollectionTrees)>,
    pub(crate) operation_count: u64,
    pub(crate) failed: bool,
    pub(crate) pending: Pending,
    pub(crate) block_size_max: usize,
    room: Room,
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

impl TemporalWrite {
    pub(crate) fn begin(store: &Store, block_size_max: usize, room: Room) -> Result<Self, Error> {
        let mut txn = store.begin_write()?;
        let system = SystemTrees {
            catalog: txn.create_tree(catalog::CATALOG)?,
            commits: txn.create_tree(catalog::COMMITS)?,
            times: txn.create_tree(catalog::TIMES)?,
            ops: txn.create_tree(catalog::OPS)?,
        };
        Ok(Self {
            txn,
            system,
            collections: HashMap::new(),
            last: None,
            operation_count: 0,
            failed: false,
            pending: room.take(),
            block_size_max,
            room,
        })
    }

    /// Asks for a commit time instead of the clock's, and says which one the commit will get: the one that is wanted, or, where
    /// that is the time of the newest commit, the one just behind it, a microsecond later. (So it is where commits that are not
    /// ours took later times, as those of [`Temporal::wipe`](crate::Temporal::wipe) do, a microsecond each.)
    ///
    /// ```
    /// use llmdb_temporal::{CommitTime, Error, Temporal};
    /// # use llmdb_wal::StoreOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("prices.llmdb"))?)?;
    /// let time = CommitTime::from_micros;
    /// let mut tx = db.begin_write()?;
    /// tx.set_time(time(500)?)?;
    /// tx.commit()?;
    /// let mut tx = db.begin_write()?;
    /// let error = tx.set_time(time(499)?).unwrap_err();
    /// assert!(matches!(error, Error::CommitTimeBefore { newest, .. } if newest.commit.get() == 0));
    /// assert_eq!(tx.set_time(time(500)?)?, time(501)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::CommitTimeBefore`] where it lies before the newest commit, which is named; [`Error::CommitTimeTooLate`] behind
    /// [`CommitTime::WANTED_MAX`]. After both the transaction is as before and can go on. The store's errors, and
    /// [`Error::Damaged`].
    pub fn set_time(&mut self, wanted: CommitTime) -> Result<CommitTime, Error> {
        if wanted > CommitTime::WANTED_MAX {
            return Err(Error::CommitTimeTooLate { wanted, latest: CommitTime::WANTED_MAX });
        }
        if let Some(newest) = self.commits()?.newest()?.filter(|newest| wanted < newest.at) {
            return Err(Error::CommitTimeBefore { wanted, newest });
        }
        Ok(CommitTime::from_raw(self.txn.set_time(wanted.micros())))
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
    /// A collection name, key or value that does not fit; [`Error::PeriodReversed`] for a period that was made by hand; the
    /// store's errors.
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

    /// Makes the transaction durable, also when it has no operation.
    ///
    /// # Errors
    /// [`Error::TransactionFailed`] after an operation that failed in the store; the store's errors.
    pub fn commit(mut self) -> Result<Receipt, Error> {
        if self.failed {
            return Err(Error::TransactionFailed);
        }
        self.apply_pending()?;
        let (commit, time) = (self.number().get(), self.time());
        let SystemTrees { commits, times, .. } = self.system;
        self.txn.insert(commits, &commits::commit_key(commit), &commits::commit_record(time))?;
        self.txn.insert(times, &commits::time_key(time), &commits::time_record(commit))?;
        let receipt = self.txn.commit()?;
        self.room.keep(self.pending);
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
        let is_reversed = |error: Error| error.of_key(request.key).of_collection(request.collection);
        request.period.checked().map_err(is_reversed)?;
        if request.value.len() > VALUE_SIZE_MAX {
            return Err(Error::ValueTooLong { length: request.value.len(), limit: VALUE_SIZE_MAX });
        }
        if request.period.is_empty() {
            return Ok(());
        }
        let result = self.hold(request);
        self.failed = result.as_ref().is_err_and(|error| !error.is_refusal());
        result
    }

    fn hold(&mut self, request: Request<'_>) -> Result<(), Error> {
        if request.op == Operation::Insert {
            self.refuse_overlap(request)?;
        }
        let trees = self.open_or_create(request.collection)?;
        let index = self.next_index()?;
        let Request { op, key, period: valid, value, .. } = request;
        self.pending.push(index, trees, &Recorded { op, collection: trees.number, valid, key, value });
        self.operation_count += 1;
        if self.pending.is_full() { self.apply_pending() } else { Ok(()) }
    }

    pub(crate) fn next_index(&self) -> Result<u32, Error> {
        u32::try_from(self.operation_count)
            .map_err(|_| Error::TooManyOperations { limit: u64::from(u32::MAX) + 1 })
    }

    fn refuse_overlap(&mut self, request: Request<'_>) -> Result<(), Error> {
        let Some(trees) = self.open(request.collection)? else { return Ok(()) };
        if self.pending.has(trees.number, request.key) {
            self.apply_pending()?;
        }
        let prefix = encoding::encoded(request.key);
        let pieces = self.points(trees, None)?.pieces(&prefix, request.period, NOW)?;
        let Some((first, belief)) = pieces.first().and_then(|first| Some((first, first.start.belief?)))
        else {
            return Ok(());
        };
        Err(Error::Overlap {
            collection: request.collection.to_owned(),
            key: request.key.to_vec(),
            period: request.period,
            in_the_way: first.valid,
            asserted: self.stamp(belief.asserted)?,
        })
    }

    /// The commit of an entry, which may be the one that is being written.
    fn stamp(&self, commit: u64) -> Result<CommitStamp, Error> {
        if commit == self.number().get() {
            return Ok(CommitStamp { commit: self.number(), at: self.time() });
        }
        self.commits()?.stamp(commit)
    }

    /// The commits before this transaction.
    pub(crate) fn commits(&self) -> Result<Commits<'_>, Error> {
        let SystemTrees { commits, times, .. } = self.system;
        Ok(Commits::over(self.txn.tree(commits)?, self.txn.tree(times)?))
    }

    pub(crate) fn check_key(&self, key: &[u8]) -> Result<(), Error> {
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

    pub(crate) fn open(&mut self, name: &str) -> Result<Option<CollectionTrees>, Error> {
        if let Some(trees) = self.collections.get(name) {
            return Ok(Some(*trees));
        }
        let catalog = self.txn.tree(self.system.catalog)?;
        let Some(number) = catalog::number(Some(catalog), name)? else { return Ok(None) };
        self.open_trees(name, number).map(Some)
    }

    pub(crate) fn open_or_create(&mut self, name: &str) -> Result<CollectionTrees, Error> {
        if let Some((_, trees)) = self.last.as_ref().filter(|(last, _)| last == name) {
            return Ok(*trees);
        }
        let trees = self.find_or_create(name)?;
        self.last = Some((name.to_owned(), trees));
        Ok(trees)
    }

    fn find_or_create(&mut self, name: &str) -> Result<CollectionTrees, Error> {
        if let Some(trees) = self.open(name)? {
            return Ok(trees);
        }
        let number = self.txn.tree(self.system.catalog)?.len() as u32;
        self.txn.insert(self.system.catalog, name.as_bytes(), &number.to_le_bytes())?;
        self.open_trees(name, number)
    }

    /// Looks for the trees of a collection anew when it is asked for next.
    pub(crate) fn forget(&mut self, name: &str) {
        self.collections.remove(name);
        self.last = None;
    }

    pub(crate) fn open_trees(&mut self, name: &str, number: u32) -> Result<CollectionTrees, Error> {
        let now = self.txn.create_tree(&catalog::now_tree(number))?;
        let past = self.txn.create_tree(&catalog::past_tree(number))?;
        let ranges = self.txn.create_tree(&catalog::ranges_tree(number))?;
        let starts = self.txn.open_tree(&catalog::starts_tree(number))?;
        let trees = CollectionTrees { number, now, past, ranges, starts };
        self.collections.insert(name.to_owned(), trees);
        Ok(trees)
    }

    /// What the trees hold; `held` is the record of the key that is asked about, if it is not stored yet.
    pub(crate) fn points<'t>(
        &'t self,
        trees: CollectionTrees,
        held: Option<Tail<'t>>,
    ) -> Result<Points<'t>, Error> {
        let CollectionTrees { number, now, past, ranges, .. } = trees;
        let ranges = Ranges { tree: self.txn.tree(ranges)?, number };
        Ok(Points { now: self.txn.tree(now)?, past: self.txn.tree(past)?, ranges, number, held })
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

/// The public number of a commit: the store counts from 1, where 0 stands for "nothing committed yet".
fn number_of(seq: llmdb_wal::CommitSeq) -> u64 {
    seq.saturating_sub(1)
}
