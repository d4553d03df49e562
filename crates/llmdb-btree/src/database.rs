//! Several named trees in one file: transactions over them, and, with no log, a working embedded database
//! whose commits cost two flushes and a third that doubles the meta, or none until the next sync.

use crate::edit;
use crate::error::Error;
use crate::forest::{self, NAME_SIZE_MAX, TreeId};
use crate::limits::{VALUE_SIZE_MAX, key_size_max};
use crate::source::Source;
use crate::sync::{NO_OWNER_AREA, Open};
use crate::tree::{FORM_TREE, Tree, TreeRoot};
use crate::validate::validate;
use crate::value::{LargeRef, Stored};
use llmdb_pager::{Error as PagerError, PageSource as _, Pager, PagerOptions, Ref, Snapshot};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

/// A run writes the leaves that it has left behind when they are so many bytes: the largest piece in which the system
/// keeps a file.
const BEHIND_SIZE: usize = 2 << 20;

/// Named trees in one file, without a log: every durable commit is a checkpoint. Clones share it; when the
/// last one and its last transaction go, commits that are not durable yet are made so, as far as that works.
#[derive(Clone, Debug)]
pub struct Database {
    open: Arc<Open>,
}

impl Database {
    /// Creates a file of trees.
    ///
    /// # Errors
    /// As [`PagerOptions::create`].
    pub fn create(options: PagerOptions, path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self::of(options.validate(validate).create(path)?))
    }

    /// Opens a file of trees.
    ///
    /// # Errors
    /// As [`PagerOptions::open`].
    pub fn open(options: PagerOptions, path: impl AsRef<Path>) -> Result<Self, Error> {
        let pager = options.validate(validate).open(path)?;
        // With no log every commit writes both metas: copies that differ are a crash between the two.
        pager.heal_metas()?;
        Ok(Self::of(pager))
    }

    fn of(pager: Pager) -> Self {
        Self { open: Arc::new(Open::new(pager)) }
    }

    /// The pages below.
    pub fn pager(&self) -> &Pager {
        &self.open.pager
    }

    /// Begins to read.
    #[inline]
    pub fn begin_read(&self) -> ReadTxn {
        ReadTxn { snapshot: self.open.pager.snapshot() }
    }

    /// Begins to write, after the writer before has finished.
    ///
    /// # Errors
    /// [`llmdb_pager::Error::Poisoned`] after a failed write.
    pub fn begin_write(&self) -> Result<WriteTxn, Error> {
        let mut txn = WriteTxn::new(self.open.pager.begin_write()?);
        txn.open = Some(self.open.clone());
        Ok(txn)
    }

    /// Makes every commit durable, after the writer before has finished. Answers the newest one's number.
    /// Costs nothing where all are.
    ///
    /// # Errors
    /// [`llmdb_pager::Error::DiskFull`] with nothing changed; an I/O error, after which the database must be
    /// reopened.
    pub fn sync(&self) -> Result<u64, Error> {
        self.open.sync()
    }
}

/// A snapshot of all trees. `Send`, `Sync`, and cheap to clone.
#[derive(Clone, Debug)]
pub struct ReadTxn {
    snapshot: Snapshot,
}

impl ReadTxn {
    /// All trees of a snapshot.
    #[inline]
    pub fn of(snapshot: Snapshot) -> Self {
        Self { snapshot }
    }

    /// The number of the newest commit that it sees; 0 = none.
    pub fn seq(&self) -> u64 {
        self.snapshot.commit()
    }

    /// That commit's time in microseconds since 1970; `i64::MIN` where there is none.
    pub fn time(&self) -> i64 {
        self.snapshot.time()
    }

    /// A tree by name; `None` where there is none.
    ///
    /// # Errors
    /// A damaged page.
    pub fn tree(&self, name: &str) -> Result<Option<Tree<'_>>, Error> {
        let source = Source::Snapshot(&self.snapshot);
        let Some(tree) = number_of(source, None, name)? else { return Ok(None) };
        Ok(forest::root_of(source, tree)?.map(|root| Tree::new(source, root)))
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source::Snapshot(&self.snapshot)
    }

    /// Records of all trees together, the names among them.
    pub(crate) fn record_count(&self) -> Result<u64, Error> {
        forest::record_count(self.source())
    }

    /// A tree's number by its name.
    pub(crate) fn number_of(&self, name: &str) -> Result<Option<TreeId>, Error> {
        number_of(Source::Snapshot(&self.snapshot), None, name)
    }

    /// A tree's number by its name, for [`ReadTxn::tree_by_id`]; `None` where there is none.
    ///
    /// # Errors
    /// A damaged page.
    pub fn tree_id(&self, name: &str) -> Result<Option<TreeId>, Error> {
        number_of(Source::Snapshot(&self.snapshot), None, name)
    }

    /// A tree by its number: without the look at the names that [`ReadTxn::tree`] costs. `None` where there is
    /// none now. A dropped tree's number may be given to a new one.
    ///
    /// # Errors
    /// A damaged page.
    #[inline]
    pub fn tree_by_id(&self, tree: TreeId) -> Result<Option<Tree<'_>>, Error> {
        let source = Source::Snapshot(&self.snapshot);
        let pages = self.snapshot.checked_pages();
        if let Some(root) = forest::quick_root_of(pages, source.root(), tree) {
            return Ok(Some(Tree::of_pages(source, pages, root)));
        }
        Ok(forest::root_of(source, tree)?.map(|root| Tree::new(source, root)))
    }

    /// The names of all trees, in order.
    ///
    /// # Errors
    /// A damaged page.
    pub fn tree_names(&self) -> Result<Vec<String>, Error> {
        let source = Source::Snapshot(&self.snapshot);
        let Some(names) = forest::root_of(source, TreeId::NAMES)? else { return Ok(Vec::new()) };
        Tree::new(source, names)
            .iter()
            .map(|record| record.map(|(name, _)| String::from_utf8_lossy(&name).into_owned()))
            .collect()
    }
}

/// A tree's number by its name; `names` is the names tree where the source's forest is behind.
fn number_of(source: Source<'_>, names: Option<TreeRoot>, name: &str) -> Result<Option<TreeId>, Error> {
    let names = match names {
        Some(names) => Some(names),
        None => forest::root_of(source, TreeId::NAMES)?,
    };
    let Some(names) = names else { return Ok(None) };
    Tree::new(source, names).get(name.as_bytes())?.map(forest::named).transpose()
}

/// A transaction that changes trees. Dropping it rolls back.
#[derive(Debug)]
pub struct WriteTxn {
    pub(crate) pager: llmdb_pager::WriteTxn,
    /// Trees that this transaction opened or changed; `None` = dropped. Written back at the end.
    pub(crate) roots: BTreeMap<TreeId, Option<TreeRoot>>,
    pub(crate) finger: edit::Finger,
    /// No tree below this number is free, but for those that this transaction dropped.
    pub(crate) next_number: TreeId,
    pub(crate) changed: bool,
    pub(crate) failed: bool,
    /// Whether finished pages set out for the file before the commit.
    is_written_behind: bool,
    // Last, so that the database closes only after the transaction has let go of the writer.
    open: Option<Arc<Open>>,
}

impl WriteTxn {
    /// Changes trees in `pager`.
    pub fn new(pager: llmdb_pager::WriteTxn) -> Self {
        Self {
            pager,
            roots: BTreeMap::new(),
            finger: edit::Finger::default(),
            next_number: TreeId(1),
            changed: false,
            failed: false,
            is_written_behind: false,
            open: None,
        }
    }

    /// With `yes`, full leaves that a run of neighbouring inserts leaves behind are written to the file while the
    /// transaction goes on, two megabytes at a time: for one whose commit will write all its pages and wait for them.
    /// The device works beside the processor then. For others it only writes earlier what might change again. What is
    /// inserted in random order leaves nothing behind, and stays in memory as before.
    ///
    /// ```
    /// use llmdb_btree::Database;
    /// use llmdb_pager::PagerOptions;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let db = Database::create(PagerOptions::new(), folder.path().join("series"))?;
    /// let mut txn = db.begin_write()?;
    /// let tree = txn.create_tree("points")?;
    /// txn.write_behind(true);
    /// for second in 0..100_000_u32 {
    ///     txn.insert(tree, &second.to_be_bytes(), b"a point of a series, in order")?;
    /// }
    /// assert!(txn.pager_ref().spill_count() > 0); // most of it is in the file, and nobody can see it yet
    /// txn.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_behind(&mut self, yes: bool) {
        self.is_written_behind = yes;
    }

    /// The pager's transaction.
    pub fn pager(&mut self) -> &mut llmdb_pager::WriteTxn {
        self.finger.lift();
        &mut self.pager
    }

    /// The pager's transaction, to look at.
    pub fn pager_ref(&self) -> &llmdb_pager::WriteTxn {
        &self.pager
    }

    /// The longest possible key, in bytes.
    pub fn max_key_size(&self) -> usize {
        key_size_max(self.pager.page_size())
    }

    /// A tree by name, made if there is none.
    ///
    /// # Errors
    /// [`Error::TreeName`]; a damaged page.
    pub fn create_tree(&mut self, name: &str) -> Result<TreeId, Error> {
        if let Some(tree) = self.open_tree(name)? {
            return Ok(tree);
        }
        let mut tree = forest::free_number(Source::Write(&self.pager), self.next_number)?;
        while self.roots.get(&tree).is_some_and(Option::is_some) {
            tree = forest::free_number(Source::Write(&self.pager), TreeId(tree.0 + 1))?;
        }
        self.enter_tree(name, tree)?;
        self.next_number = TreeId(tree.0 + 1);
        Ok(tree)
    }

    /// Enters a new tree with this number (recovery).
    ///
    /// # Errors
    /// As [`WriteTxn::create_tree`].
    pub fn enter_tree(&mut self, name: &str, tree: TreeId) -> Result<(), Error> {
        check_name(name)?;
        self.guard(|txn| {
            let record = forest::name_record(tree, FORM_TREE);
            txn.edit(TreeId::NAMES, |pager, names, finger| {
                edit::insert(pager, names, finger, name.as_bytes(), &Stored::Inline(&record))
            })?;
            txn.roots.insert(tree, Some(TreeRoot::EMPTY));
            Ok(())
        })
    }

    /// A tree by name; `None` where there is none.
    ///
    /// # Errors
    /// A damaged page.
    pub fn open_tree(&self, name: &str) -> Result<Option<TreeId>, Error> {
        check_name(name)?;
        number_of(Source::Write(&self.pager), self.root_of(TreeId::NAMES)?, name)
    }

    /// Drops a tree and all its records. Whether there was one. O(its pages).
    ///
    /// # Errors
    /// A damaged page.
    pub fn drop_tree(&mut self, name: &str) -> Result<bool, Error> {
        let Some(tree) = self.open_tree(name)? else { return Ok(false) };
        self.guard(|txn| {
            let root = txn.root_of(tree)?.unwrap_or(TreeRoot::EMPTY);
            crate::drop::free_pages(&mut txn.pager, root.root)?;
            txn.finger.lift();
            txn.edit(TreeId::NAMES, |pager, names, finger| {
                edit::remove(pager, names, finger, name.as_bytes())
            })?;
            txn.roots.insert(tree, None);
            Ok(())
        })?;
        Ok(true)
    }

    /// Where a tree begins in this transaction.
    pub(crate) fn root_of(&self, tree: TreeId) -> Result<Option<TreeRoot>, Error> {
        match self.roots.get(&tree) {
            Some(root) => Ok(*root),
            None => forest::root_of(Source::Write(&self.pager), tree),
        }
    }

    /// A read view of a tree as this transaction has it. A tree that is not there looks empty.
    ///
    /// # Errors
    /// A damaged page.
    pub fn tree(&self, tree: TreeId) -> Result<Tree<'_>, Error> {
        Ok(Tree::new(Source::Write(&self.pager), self.root_of(tree)?.unwrap_or(TreeRoot::EMPTY)))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// A damaged page.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        self.tree(tree)?.get(key)
    }

    /// Inserts or replaces a record. A large value is written to the file at once; the answer says where.
    ///
    /// # Errors
    /// [`Error::KeyEmpty`], [`Error::KeyTooLong`], [`Error::ValueTooLong`], after which the transaction goes
    /// on unchanged; others end it.
    pub fn insert(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<Option<LargeRef>, Error> {
        self.check_key(key)?;
        check_value_len(value.len() as u64)?;
        self.check_failed()?;
        let stored = self.store(key, value)?;
        self.insert_stored(tree, key, &stored)?;
        Ok(if let Stored::Large(large) = stored { Some(large) } else { None })
    }

    /// Inserts or replaces a record by what `make` makes of the value that stands there: one descent for the look and the
    /// change. `make` appends the new value to `new`, which is emptied before, and says whether it is to be
    /// stored. Whether it was: not where `make` said no, where the tree is empty, and where the old value or the new one is
    /// too large to stand in a leaf. The record is as before then, for [`WriteTxn::get`] and [`WriteTxn::insert`].
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("c.llmdb"))?;
    /// let mut txn = db.begin_write()?;
    /// let tree = txn.create_tree("counts")?;
    /// txn.insert(tree, b"tea", b"1")?;
    /// let more = |old: Option<&[u8]>, new: &mut Vec<u8>| {
    ///     new.extend_from_slice(old.unwrap_or(b"none"));
    ///     new.push(b'+');
    ///     true
    /// };
    /// let mut new = Vec::new();
    /// assert!(txn.change(tree, b"tea", &mut new, more)? && txn.change(tree, b"milk", &mut new, more)?);
    /// assert_eq!((txn.get(tree, b"tea")?, txn.get(tree, b"milk")?), (Some(&b"1+"[..]), Some(&b"none+"[..])));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        self.check_key(key)?;
        self.guard(|txn| {
            txn.edit(tree, |pager, root, finger| edit::change(pager, root, finger, key, new, make))
        })
    }

    /// Inserts or replaces a record whose large value stands in the file already (recovery).
    ///
    /// # Errors
    /// As [`WriteTxn::insert`].
    pub fn insert_large(&mut self, tree: TreeId, key: &[u8], large: LargeRef) -> Result<(), Error> {
        self.check_key(key)?;
        let run = large.run(self.pager.page_size());
        if !self.pager.holds(run) {
            let what = "a large value lies outside the file";
            return Err(PagerError::damaged(run.start, what, "a run inside", "one outside").into());
        }
        self.guard(|txn| Ok(txn.pager.claim_extent(run)?))?;
        self.insert_stored(tree, key, &Stored::Large(large))
    }

    pub(crate) fn insert_stored(
        &mut self,
        tree: TreeId,
        key: &[u8],
        value: &Stored<'_>,
    ) -> Result<(), Error> {
        self.guard(|txn| {
            let replaced =
                txn.edit(tree, |pager, root, finger| edit::insert(pager, root, finger, key, value))?;
            txn.free_large(replaced)
        })
    }

    /// Removes a record. Whether there was one.
    ///
    /// # Errors
    /// [`Error::KeyEmpty`], [`Error::KeyTooLong`], after which the transaction goes on unchanged; others end
    /// it.
    pub fn remove(&mut self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        self.check_key(key)?;
        self.guard(|txn| {
            if !txn.has_tree(tree)? {
                return Ok(false);
            }
            let removed =
                match txn.edit(tree, |pager, root, finger| edit::remove(pager, root, finger, key))? {
                    edit::Removed::Nothing => return Ok(false),
                    edit::Removed::Inline => None,
                    edit::Removed::Large(large) => Some(large),
                };
            txn.free_large(removed)?;
            Ok(true)
        })
    }

    /// Whether there is such a tree.
    pub(crate) fn has_tree(&self, tree: TreeId) -> Result<bool, Error> {
        match self.roots.get(&tree) {
            Some(root) => Ok(root.is_some()),
            None => Ok(self.root_of(tree)?.is_some()),
        }
    }

    /// Changes a tree where it begins, which is remembered; one that is not there begins empty.
    pub(crate) fn edit<T>(
        &mut self,
        tree: TreeId,
        change: impl FnOnce(&mut llmdb_pager::WriteTxn, &mut TreeRoot, &mut edit::Finger) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let root = match self.roots.entry(tree) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(forest::root_of(Source::Write(&self.pager), tree)?),
        };
        self.finger.turn_to(tree);
        change(&mut self.pager, root.get_or_insert(TreeRoot::EMPTY), &mut self.finger)
    }

    pub(crate) fn free_large(&mut self, large: Option<LargeRef>) -> Result<(), Error> {
        large.map_or(Ok(()), |large| crate::drop::free_large(&mut self.pager, large))
    }

    pub(crate) fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        match key.len() {
            0 => Err(Error::KeyEmpty),
            len if len > self.max_key_size() => Err(Error::KeyTooLong { len, max: self.max_key_size() }),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_failed(&self) -> Result<(), Error> {
        if self.failed { Err(Error::Failed) } else { Ok(()) }
    }

    /// Runs a change; one that fails ends the transaction, whose trees may be half changed. What did not fit
    /// into memory is written to the file before it: should that fail, nothing has changed.
    pub(crate) fn guard<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check_failed()?;
        if self.pager.is_over_budget() {
            self.spill()?;
        } else if self.is_written_behind && self.finger.has_left_behind(BEHIND_SIZE / self.pager.page_size())
        {
            self.spill_finished()?;
        }
        self.changed = true;
        let result = change(self);
        self.failed = result.is_err();
        result
    }

    /// Begins a bulk load: until [`WriteTxn::end_load`] the transaction counts as failed, for the tree has no root.
    pub(crate) fn begin_load<T>(
        &mut self,
        tree: TreeId,
        open: impl FnOnce(&mut llmdb_pager::WriteTxn, &mut TreeRoot, &mut edit::Finger) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.guard(|txn| txn.edit(tree, open)).inspect(|_| self.failed = true)
    }

    /// Ends a bulk load: its tree is whole again.
    pub(crate) fn end_load(&mut self) {
        self.failed = false;
    }

    /// Writes pages of this transaction to the file. References to dirty pages lead elsewhere afterwards.
    fn spill(&mut self) -> Result<(), Error> {
        self.spill_with(&mut [])
    }

    fn spill_finished(&mut self) -> Result<(), Error> {
        self.spill_by(&mut [], llmdb_pager::WriteTxn::spill_finished)
    }

    /// As `spill`, where `more` refers to pages that no root leads to yet; it follows.
    pub(crate) fn spill_with(&mut self, more: &mut [Ref]) -> Result<(), Error> {
        self.spill_by(more, llmdb_pager::WriteTxn::spill)
    }

    fn spill_by(
        &mut self,
        more: &mut [Ref],
        spill: impl FnOnce(&mut llmdb_pager::WriteTxn, &mut [Ref]) -> Result<(), llmdb_pager::Error>,
    ) -> Result<(), Error> {
        self.finger.lift();
        let mut roots: Vec<_> = self.roots.values().flatten().map(|root| root.root).collect();
        let count = roots.len();
        roots.extend_from_slice(more);
        spill(&mut self.pager, &mut roots)?;
        more.copy_from_slice(&roots[count..]);
        for (tree, root) in self.roots.values_mut().flatten().zip(roots) {
            tree.root = root;
        }
        Ok(())
    }

    /// Writes the trees' beginnings back and answers the pager's transaction, ready to be published.
    ///
    /// # Errors
    /// [`Error::Failed`] after a failed change; a damaged page.
    pub fn finish(mut self) -> Result<llmdb_pager::WriteTxn, Error> {
        self.write_roots()?;
        Ok(self.pager)
    }

    fn write_roots(&mut self) -> Result<(), Error> {
        self.check_failed()?;
        for (tree, root) in std::mem::take(&mut self.roots) {
            if self.changed && forest::root_of(Source::Write(&self.pager), tree)? != root {
                forest::set_root(&mut self.pager, tree, root)?;
            }
        }
        Ok(())
    }

    /// Makes the changes durable and visible, with no log; commits before that were not durable yet are so
    /// with it.
    ///
    /// # Errors
    /// As [`llmdb_pager::WriteTxn::commit_with_checkpoint`]; [`Error::Failed`].
    pub fn commit(mut self) -> Result<u64, Error> {
        self.write_roots()?;
        let commit = self.pager.commit();
        self.pager.commit_with_checkpoint(NO_OWNER_AREA)?;
        Ok(commit)
    }

    /// Makes the changes visible, and durable only with the next [`Database::sync`], durable commit or
    /// close. After a crash before that the file shows the last durable state, whole. No flush; dirty pages
    /// stay in memory as far as their budget goes ([`llmdb_pager::PagerOptions::dirty_budget`]). Space of
    /// large values that are removed is used again after the next sync.
    ///
    /// # Errors
    /// As [`llmdb_pager::WriteTxn::publish_unsynced`]; [`Error::Failed`].
    pub fn commit_unsynced(mut self) -> Result<u64, Error> {
        self.write_roots()?;
        let commit = self.pager.commit();
        self.pager.publish_unsynced()?;
        if let Some(open) = &self.open {
            open.note_unsynced();
        }
        Ok(commit)
    }
}

pub(crate) fn check_value_len(len: u64) -> Result<(), Error> {
    if len > VALUE_SIZE_MAX {
        return Err(Error::ValueTooLong { len, max: VALUE_SIZE_MAX });
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Error> {
    match name.len() {
        1..=NAME_SIZE_MAX => Ok(()),
        len => Err(Error::TreeName { len, max: NAME_SIZE_MAX }),
    }
}
