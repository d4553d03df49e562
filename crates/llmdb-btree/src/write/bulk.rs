//! Loading records that come in order.

use crate::build::Builder;
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
        let mut load = self.begin_bulk_load(tree, options)?;
        for (key, value) in records {
            match load.push(key.as_ref(), value.as_ref()) {
                Ok(()) => {}
                Err(error) if load.is_going() => {
                    load.finish()?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        load.finish()
    }

    /// As [`WriteTxn::bulk_load_with`], one record at a time: for records that are made one by one, in the same
    /// memory.
    ///
    /// ```
    /// # use llmdb_btree::BulkOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("b.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let tree = txn.create_tree("numbers")?;
    /// let mut load = txn.begin_bulk_load(tree, BulkOptions::new())?;
    /// let mut value = String::new();
    /// for n in 0..10_000u32 {
    ///     value.clear();
    ///     value.extend(n.to_string().chars().rev());
    ///     load.push(&n.to_be_bytes(), value.as_bytes())?;
    /// }
    /// assert_eq!(load.finish()?, 10_000);
    /// txn.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Failed`] after a failed change; a damaged page.
    pub fn begin_bulk_load(&mut self, tree: TreeId, options: BulkOptions) -> Result<BulkLoad<'_>, Error> {
        self.check_failed()?;
        let (last, finished) = (self.last_key(tree)?, edit::Finished::new(&self.pager));
        Ok(BulkLoad { txn: self, tree, options, last, builder: None, finished, count: 0 })
    }

    fn last_key(&self, tree: TreeId) -> Result<Option<Vec<u8>>, Error> {
        let mut cursor = self.tree(tree)?.cursor();
        Ok(if cursor.last()? { Some(cursor.key().to_vec()) } else { None })
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

/// A bulk load on its way ([`WriteTxn::begin_bulk_load`]). Until [`BulkLoad::finish`] its tree is not whole: where
/// it is dropped before, the transaction can only be dropped too.
#[derive(Debug)]
pub struct BulkLoad<'t> {
    txn: &'t mut WriteTxn,
    tree: TreeId,
    options: BulkOptions,
    /// The last key before the builder's first one.
    last: Option<Vec<u8>>,
    /// While there is one the transaction counts as failed.
    builder: Option<Builder>,
    finished: edit::Finished,
    count: u64,
}

impl BulkLoad<'_> {
    /// Adds a record behind the last one of the tree.
    ///
    /// # Errors
    /// [`Error::KeyOrder`], [`Error::KeyEmpty`], [`Error::KeyTooLong`], [`Error::ValueTooLong`]: the record is not
    /// taken, and the load goes on. Others end the transaction.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.push_told(key, value).map(drop)
    }

    /// As [`BulkLoad::push`]; answers where a large value was written.
    ///
    /// # Errors
    /// As [`BulkLoad::push`].
    pub fn push_told(&mut self, key: &[u8], value: &[u8]) -> Result<Option<LargeRef>, Error> {
        self.check(key, value)?;
        if self.builder.is_none()
            && let Some(inserted) = self.open(key, value)?
        {
            return Ok(inserted);
        }
        let added = self.add(key, value);
        if added.is_err() {
            self.builder = None;
        }
        added
    }

    /// Makes the tree whole again. Answers how many records were added.
    ///
    /// # Errors
    /// Those that end the transaction: a full disk, an I/O error, a damaged page; [`Error::Failed`] after one.
    pub fn finish(mut self) -> Result<u64, Error> {
        if let Some(builder) = self.builder.take() {
            let finished = self.finished;
            let closing = |pager: &mut _, root: &mut _, finger: &mut edit::Finger| {
                finger.finish(pager, root, builder, finished)
            };
            self.txn.edit(self.tree, closing)?;
            self.txn.end_load();
        }
        self.txn.check_failed()?;
        Ok(self.count)
    }

    /// Whether it can go on after an error.
    fn is_going(&self) -> bool {
        self.builder.is_some() || self.txn.check_failed().is_ok()
    }

    fn check(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.txn.check_key(key)?;
        check_value_len(value.len() as u64)?;
        if !self.is_going() {
            return Err(Error::Failed);
        }
        let last = self.builder.as_ref().and_then(Builder::last_key).or(self.last.as_deref());
        match last {
            Some(last) if key <= last => Err(Error::KeyOrder { key: key.to_vec(), last: last.to_vec() }),
            _ => Ok(()),
        }
    }

    /// Opens the tree's edge for a first record. Where the record went into the tree another way, what inserting it answered.
    fn open(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Option<LargeRef>>, Error> {
        let root = self.txn.root_of(self.tree)?.unwrap_or(TreeRoot::EMPTY);
        let edge = edit::edge(self.txn.pager_ref(), &root)?;
        if edge.is_some_and(|edge| key < edge.as_slice()) {
            // The leaf at the edge is empty and begins behind the key.
            let inserted = self.txn.insert(self.tree, key, value)?;
            self.last = Some(key.to_vec());
            self.count += 1;
            return Ok(Some(inserted));
        }
        let percent = self.options.fill_percent;
        self.builder = Some(self.txn.begin_load(self.tree, |pager, root, finger| {
            finger.lift();
            edit::open_edge(pager, root, percent)
        })?);
        Ok(None)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<Option<LargeRef>, Error> {
        let Some(builder) = self.builder.as_mut() else { return Err(Error::Failed) };
        let stored = self.txn.store(key, value)?;
        builder.push(&mut self.finished.pages(&mut self.txn.pager), key, &stored)?;
        self.count += 1;
        if self.txn.pager.is_over_budget() {
            let mut held = builder.held();
            self.txn.spill_with(&mut held)?;
            builder.set_held(&held);
        }
        Ok(if let Stored::Large(large) = stored { Some(large) } else { None })
    }
}
