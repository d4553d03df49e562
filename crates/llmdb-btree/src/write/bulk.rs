//! Loading records that come in order.

use crate::database::{WriteTxn, check_value_len};
use crate::edit;
use crate::error::Error;
use crate::forest::TreeId;
use crate::limits::is_inline;
use crate::tree::TreeRoot;
use crate::value::{LargeRef, Stored};
use llmdb_pager::PageSource as _;

/// How a bulk load fills pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkOptions {
    fill_percent: usize,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self { fill_percent: 100 }
    }
}

impl BulkOptions {
    /// Full pages.
    pub fn new() -> Self {
        Self::default()
    }

    /// How full pages are made, in hundredths: 50 to 100, else the nearest of the two; 100 unless set. Less
    /// than 100 leaves room for records that come in between later.
    pub fn fill_percent(mut self, percent: usize) -> Self {
        self.fill_percent = percent.clamp(50, 100);
        self
    }
}

impl WriteTxn {
    /// Adds records that come in order behind the last record of `tree`, which may be empty. Leaves are
    /// built full, and branches above them as it goes: no search, no split. Answers how many there were.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("b.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let tree = txn.create_tree("numbers")?;
    /// let records = (0..10_000u32).map(|n| (n.to_be_bytes(), n.to_string()));
    /// assert_eq!(txn.bulk_load(tree, records)?, 10_000);
    /// assert_eq!(txn.get(tree, &77u32.to_be_bytes())?, Some(&b"77"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::KeyOrder`] for a key that is not above the one before it, [`Error::KeyEmpty`],
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`]: the records before that one are in the tree then, and
    /// the transaction goes on. Others end it.
    pub fn bulk_load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        tree: TreeId,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64, Error> {
        self.bulk_load_with(tree, BulkOptions::new(), records)
    }

    /// As [`WriteTxn::bulk_load`], with options.
    ///
    /// # Errors
    /// As [`WriteTxn::bulk_load`].
    pub fn bulk_load_with<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        tree: TreeId,
        options: BulkOptions,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64, Error> {
        let mut load = Load { last: self.last_key(tree)?, builder: None, count: 0 };
        let refused = self.guard(|txn| {
            for (key, value) in records {
                let (key, value) = (key.as_ref(), value.as_ref());
                if let Err(error) = load.check(txn, key, value) {
                    txn.finish_load(tree, load.builder.take())?;
                    return Ok(Some(error));
                }
                txn.load(tree, &mut load, options, key, value)?;
                txn.spill_load(&mut load)?;
            }
            txn.finish_load(tree, load.builder.take())?;
            Ok(None)
        })?;
        refused.map_or(Ok(load.count), Err)
    }

    fn last_key(&self, tree: TreeId) -> Result<Option<Vec<u8>>, Error> {
        let mut cursor = self.tree(tree)?.cursor();
        Ok(if cursor.last()? { Some(cursor.key().to_vec()) } else { None })
    }

    fn load(
        &mut self,
        tree: TreeId,
        load: &mut Load,
        options: BulkOptions,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        let stored = self.store(key, value)?;
        load.count += 1;
        if load.builder.is_none() {
            let root = self.root_of(tree)?.unwrap_or(TreeRoot::EMPTY);
            let edge = edit::Builder::edge(&self.pager, &root)?;
            if edge.is_some_and(|edge| key < edge.as_slice()) {
                // The leaf at the edge is empty and begins behind the key.
                load.last = Some(key.to_vec());
                return self.insert_stored(tree, key, &stored);
            }
            load.builder = Some(self.edit(tree, |pager, root, finger| {
                finger.lift();
                edit::Builder::open(pager, root, options.fill_percent)
            })?);
        }
        match load.builder.as_mut() {
            Some(builder) => builder.push(&mut self.pager, key, &stored),
            None => Ok(()),
        }
    }

    /// Writes pages to the file if they are too many for memory, those that the builder holds among them.
    fn spill_load(&mut self, load: &mut Load) -> Result<(), Error> {
        let Some(builder) = load.builder.as_mut().filter(|_| self.pager.is_over_budget()) else {
            return Ok(());
        };
        let mut held = builder.held();
        self.spill_with(&mut held)?;
        builder.set_held(&held);
        Ok(())
    }

    fn finish_load(&mut self, tree: TreeId, builder: Option<edit::Builder>) -> Result<(), Error> {
        let Some(builder) = builder else { return Ok(()) };
        self.edit(tree, |pager, root, finger| finger.finish(pager, root, builder))
    }

    /// A value as a leaf will hold it; a large one is written to the file.
    pub(crate) fn store<'v>(&mut self, key: &[u8], value: &'v [u8]) -> Result<Stored<'v>, Error> {
        if is_inline(self.pager.page_size(), key.len(), value.len() as u64) {
            return Ok(Stored::Inline(value));
        }
        let run = self.pager.write_extent(value)?;
        Ok(Stored::Large(LargeRef::of(value, run.start, self.pager.commit())))
    }
}

/// A load on its way.
struct Load {
    /// The last key before the builder's first one.
    last: Option<Vec<u8>>,
    builder: Option<edit::Builder>,
    count: u64,
}

impl Load {
    fn check(&self, txn: &WriteTxn, key: &[u8], value: &[u8]) -> Result<(), Error> {
        txn.check_key(key)?;
        check_value_len(value.len() as u64)?;
        let last = self.builder.as_ref().and_then(edit::Builder::last_key).or(self.last.as_deref());
        match last {
            Some(last) if key <= last => Err(Error::KeyOrder { key: key.to_vec(), last: last.to_vec() }),
            _ => Ok(()),
        }
    }
}
