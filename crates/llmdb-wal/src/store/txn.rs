//! The write transaction of a store: changes trees, records how, and commits through the log.

use super::options::owner_area;
use super::redo::{Redo, RedoBuilder};
use super::{CommitSeq, Inner, LogState, Receipt};
use crate::error::Error;
use crate::log::Log;
use llmdb_btree::{Tree, TreeId};
use std::sync::Arc;

/// A transaction that changes trees. One at a time; dropping it rolls back.
#[derive(Debug)]
pub struct WriteTxn {
    pub(super) trees: llmdb_btree::WriteTxn,
    pub(super) redo: RedoBuilder,
    time: i64,
    base_time: i64,
    // Last, so that the store closes only after the transaction has let go of the writer.
    inner: Arc<Inner>,
}

impl WriteTxn {
    pub(super) fn begin(inner: Arc<Inner>) -> Result<Self, Error> {
        let pager = inner.pager.begin_write()?;
        let base_time = pager.base_time();
        let trees = llmdb_btree::WriteTxn::new(pager);
        let mut txn = Self { trees, redo: RedoBuilder::new(), time: 0, base_time, inner };
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

    /// Bytes of dirty pages in memory.
    pub(super) fn dirty_bytes(&self) -> u64 {
        self.trees.pager_ref().dirty_bytes()
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
        let number = tree.number();
        match self.trees.insert(tree, key, value)? {
            None => self.redo.push(Redo::Insert { tree: number, key, value }),
            Some(value) => self.redo.push(Redo::InsertLarge { tree: number, key, value }),
        }
        Ok(())
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

    /// Makes the changes durable, then visible. When it returns `Ok` they survive a power cut.
    ///
    /// # Errors
    /// [`llmdb_pager::Error::DiskFull`], with nothing committed and the store in order; an I/O error, after which
    /// the commit may or may not have happened and the store must be opened anew.
    pub fn commit(self) -> Result<Receipt, Error> {
        let Self { trees, mut redo, time, inner, .. } = self;
        let payload = redo.payload(time);
        let mut txn = trees.finish()?;
        let seq = txn.commit();
        txn.set_commit(seq, time);
        txn.sync_extents()?;
        txn.prepare()?;
        let mut state = inner.log();
        let Some(log) = inner.ready_log(&mut state, &mut txn, payload.len())? else {
            // Too large for the log: a checkpoint of the new state makes it durable by itself.
            let at = state.log.as_ref().map_or(state.next, Log::end);
            txn.commit_with_checkpoint(owner_area(at, state.marked))?;
            if let Some(log) = state.log.as_mut() {
                log.release(at.lsn);
            }
            return Ok(Receipt { seq, time });
        };
        let checkpoint = txn.durable_checkpoint();
        log.append(seq, checkpoint, payload)?;
        if let Err(error) = log.flush() {
            inner.pager.poison(&error.to_string());
            return Err(error);
        }
        drop(state);
        txn.publish()?;
        Ok(Receipt { seq, time })
    }
}

impl Inner {
    /// The log, made and named in the meta if this is the first commit. `None` where the payload does not
    /// fit into it now.
    fn ready_log<'s>(
        &self,
        state: &'s mut LogState,
        txn: &mut llmdb_pager::WriteTxn,
        payload: usize,
    ) -> Result<Option<&'s mut Log>, Error> {
        if state.log.is_none() {
            let (identity, capacity) = (self.pager.identity(), self.settings.log_capacity);
            state.log = Some(Log::create(&*self.storage, &state.path, identity, capacity, state.next)?);
        }
        if !state.marked {
            let area = owner_area(state.next, true);
            txn.rewrite_owner_area(area)?;
            state.marked = true;
        }
        Ok(state.log.as_mut().filter(|log| log.has_room(payload)))
    }
}
