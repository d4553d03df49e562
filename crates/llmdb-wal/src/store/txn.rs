//! The write transaction of a store: changes trees, records how, and commits through the log.

use super::commit::Finished;
use super::durability::Durability;
use super::redo::{Redo, RedoBuilder};
use super::{CommitSeq, Receipt, Shared};
use crate::error::Error;
use crate::log::RING_SIZE_MIN;
use llmdb_btree::{BulkOptions, LargeRef, Tree, TreeId};
use std::sync::Arc;

/// A place that a transaction can go back to.
#[derive(Debug)]
pub struct Savepoint {
    trees: llmdb_btree::Savepoint,
    redo_len: usize,
}

/// A transaction that changes trees. One at a time; dropping it rolls back.
#[derive(Debug)]
pub struct WriteTxn {
    pub(super) trees: llmdb_btree::WriteTxn,
    pub(super) redo: RedoBuilder,
    time: i64,
    base_time: i64,
    // Last, so that the store closes only after the transaction has let go of the writer.
    inner: Arc<Shared>,
}

impl WriteTxn {
    pub(super) fn begin(inner: Arc<Shared>) -> Result<Self, Error> {
        let pager = inner.pager.begin_write()?;
        // Who closed it may have had the writer before this.
        inner.check_open()?;
        let base_time = pager.base_time();
        let trees = llmdb_btree::WriteTxn::new(pager);
        let redo = RedoBuilder::new(
            std::mem::take(&mut inner.log().redo_memory),
            inner.settings.log_record_max.min(inner.settings.log_capacity.max(RING_SIZE_MIN)),
        );
        let mut txn = Self { trees, redo, time: 0, base_time, inner };
        txn.trees.write_behind(txn.inner.settings.durability == Durability::NoLog);
        let now = (txn.inner.settings.clock)();
        txn.set_time(now);
        Ok(txn)
    }

    /// The number that this commit will get.
    pub fn seq(&self) -> CommitSeq {
        self.trees.pager_ref().commit()
    }

    /// The time that this commit will get: the clock's at begin, or just after the newest commit's.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Asks for another time; the answer is the one that the commit will get: never before, or at, the
    /// newest commit's.
    pub fn set_time(&mut self, wanted: i64) -> i64 {
        self.time = match self.base_time {
            i64::MIN => wanted,
            base => wanted.max(base.saturating_add(1)),
        };
        self.time
    }

    /// The longest possible key, in bytes.
    pub fn max_key_size(&self) -> usize {
        self.trees.max_key_size()
    }

    /// A tree by name, made if there is none.
    ///
    /// # Errors
    /// As [`llmdb_btree::WriteTxn::create_tree`].
    pub fn create_tree(&mut self, name: &str) -> Result<TreeId, Error> {
        if let Some(tree) = self.trees.open_tree(name)? {
            return Ok(tree);
        }
        let tree = self.trees.create_tree(name)?;
        self.redo.push(Redo::CreateTree { tree: tree.number(), name });
        Ok(tree)
    }

    /// A tree by name; `None` where there is none.
    ///
    /// # Errors
    /// A damaged page.
    pub fn open_tree(&self, name: &str) -> Result<Option<TreeId>, Error> {
        Ok(self.trees.open_tree(name)?)
    }

    /// Drops a tree and all its records. Whether there was one.
    ///
    /// # Errors
    /// As [`llmdb_btree::WriteTxn::drop_tree`].
    pub fn drop_tree(&mut self, name: &str) -> Result<bool, Error> {
        let dropped = self.trees.drop_tree(name)?;
        if dropped {
            self.redo.push(Redo::DropTree { name });
        }
        Ok(dropped)
    }

    /// A read view of a tree as this transaction has it.
    ///
    /// # Errors
    /// A damaged page.
    pub fn tree(&self, tree: TreeId) -> Result<Tree<'_>, Error> {
        Ok(self.trees.tree(tree)?)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// A damaged page.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        Ok(self.trees.get(tree, key)?)
    }

    /// Inserts or replaces a record.
    ///
    /// # Errors
    /// As [`llmdb_btree::WriteTxn::insert`].
    pub fn insert(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let large = self.trees.insert(tree, key, value)?;
        note_insert(&mut self.redo, tree, key, value, large);
        self.note_size();
        Ok(())
    }

    /// Adds records that come in order behind the last record of `tree`, which may be empty: as inserting them, and many are
    /// cheaper together. Answers how many there were.
    ///
    /// ```
    /// # use llmdb_wal::StoreOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let store = StoreOptions::new().open(folder.path().join("s.llmdb"))?;
    /// let mut txn = store.begin_write()?;
    /// let tree = txn.create_tree("numbers")?;
    /// let records = (0..1000_u32).map(|n| (n.to_be_bytes(), n.to_le_bytes()));
    /// assert_eq!(txn.append(tree, records)?, 1000);
    /// txn.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`llmdb_btree::WriteTxn::bulk_load`], after each of which the transaction can only be dropped.
    pub fn append<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        tree: TreeId,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64, Error> {
        let mut load = self.trees.begin_bulk_load(tree, BulkOptions::new())?;
        for (key, value) in records {
            let (key, value) = (key.as_ref(), value.as_ref());
            let large = load.push_told(key, value)?;
            note_insert(&mut self.redo, tree, key, value, large);
        }
        let count = load.finish()?;
        self.note_size();
        Ok(count)
    }

    /// Inserts or replaces a record by what is made of the one that stands there. As [`llmdb_btree::WriteTxn::change`], where
    /// there is an example.
    ///
    /// # Errors
    /// As [`WriteTxn::insert`].
    pub fn change(
        &mut self,
        tree: TreeId,
        key: &[u8],
        new: &mut Vec<u8>,
        make: impl FnOnce(Option<&[u8]>, &mut Vec<u8>) -> bool,
    ) -> Result<bool, Error> {
        let is_done = self.trees.change(tree, key, new, make)?;
        if is_done {
            note_insert(&mut self.redo, tree, key, new, None);
            self.note_size();
        }
        Ok(is_done)
    }

    /// Where the record has become too large for the log, the commit writes all pages.
    fn note_size(&mut self) {
        if self.redo.will_be_too_large() {
            self.trees.write_behind(true);
        }
    }

    /// Removes a record. Whether there was one.
    ///
    /// # Errors
    /// As [`llmdb_btree::WriteTxn::remove`].
    pub fn remove(&mut self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        let removed = self.trees.remove(tree, key)?;
        if removed {
            self.redo.push(Redo::Remove { tree: tree.number(), key });
        }
        Ok(removed)
    }

    /// Goes on only where a record is as expected; `None` = there is none. For who has read it in a snapshot before and
    /// wants to change it as if nobody had come between.
    ///
    /// # Errors
    /// [`Error::Conflict`], with the transaction as it was: drop it, read again and decide anew. A damaged page.
    pub fn expect(&self, tree: TreeId, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        if self.get(tree, key)? == value {
            return Ok(());
        }
        Err(Error::Conflict { what: format!("the record \"{}\"", key.escape_ascii()) })
    }

    /// Goes on only where `seq` is the newest commit: nobody has committed anything since a snapshot of that number.
    ///
    /// # Errors
    /// [`Error::Conflict`], with the transaction as it was.
    pub fn expect_newest(&self, seq: CommitSeq) -> Result<(), Error> {
        match self.trees.pager_ref().base_commit() {
            newest if newest == seq => Ok(()),
            newest => Err(Error::Conflict { what: format!("the newest commit, {newest} and not {seq},") }),
        }
    }

    /// Sets a savepoint: [`WriteTxn::go_back_to`] undoes what is changed behind it. Going back to one forgets those
    /// behind it.
    ///
    /// # Errors
    /// As [`llmdb_btree::WriteTxn::savepoint`].
    pub fn savepoint(&mut self) -> Result<Savepoint, Error> {
        Ok(Savepoint { trees: self.trees.savepoint()?, redo_len: self.redo.len() })
    }

    /// Undoes what was changed behind a savepoint, a failed change too.
    ///
    /// # Errors
    /// As [`llmdb_btree::WriteTxn::go_back_to`].
    pub fn go_back_to(&mut self, savepoint: &Savepoint) -> Result<(), Error> {
        self.trees.go_back_to(&savepoint.trees)?;
        self.redo.truncate(savepoint.redo_len);
        Ok(())
    }

    /// Makes the changes durable, then visible, as the database was opened
    /// ([`StoreOptions::durability`](super::StoreOptions::durability)): unless that said otherwise, what
    /// returned `Ok` survives a power cut. The next transaction can begin before the flush; commits that
    /// wait at the same time share one.
    ///
    /// # Errors
    /// [`llmdb_pager::Error::DiskFull`], with nothing committed and the store in order; an I/O error, after which
    /// the commit may or may not have happened and the store must be opened anew.
    pub fn commit(self) -> Result<Receipt, Error> {
        let durability = self.inner.settings.durability;
        self.commit_with(durability)
    }

    /// As [`WriteTxn::commit`], with a durability of its own. One that asks for less than a commit before it, which
    /// still waits for its flush, waits with that.
    ///
    /// # Errors
    /// As [`WriteTxn::commit`].
    pub fn commit_with(self, durability: Durability) -> Result<Receipt, Error> {
        let Self { trees, redo, time, inner, .. } = self;
        if let Durability::Interval(interval) = durability {
            inner.keep_interval(interval)?;
        }
        let mut txn = trees.finish()?;
        let seq = txn.commit();
        txn.set_commit(seq, time);
        inner.commit(Finished { txn, redo, receipt: Receipt { seq, time } }, durability)
    }
}

fn note_insert(redo: &mut RedoBuilder, tree: TreeId, key: &[u8], value: &[u8], large: Option<LargeRef>) {
    let tree = tree.number();
    redo.push(match large {
        None => Redo::Insert { tree, key, value },
        Some(value) => Redo::InsertLarge { tree, key, value },
    });
}
