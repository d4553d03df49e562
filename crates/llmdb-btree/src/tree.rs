//! Reading a tree.

use crate::cursor::{Cursor, Range};
use crate::error::Error;
use crate::find::{Miss, Quick};
use crate::find_many::find_many;
use crate::get_many::{BATCH, get_batch};
use crate::node::leaf::Leaf;
use crate::source::Source;
use crate::value::Stored;
use bytes::Bytes;
use llmdb_pager::{CheckedPages, Ref};
use std::ops::Bound;

/// The form of an ordinary tree: keys to values.
pub const FORM_TREE: u8 = 1;

/// Where a tree begins, and how much is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeRoot {
    /// The top page; null while the tree is empty.
    pub root: Ref,
    /// How many records.
    pub len: u64,
    /// Which kind of tree; [`FORM_TREE`] is the one that this version knows.
    pub form: u8,
}

impl TreeRoot {
    /// An empty tree.
    pub const EMPTY: Self = Self { root: Ref::NULL, len: 0, form: FORM_TREE };
}

/// A read view of one tree. Values are borrowed from the snapshot without a copy.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'t> {
    source: Source<'t>,
    root: TreeRoot,
    quick: Quick<'t>,
}

impl<'t> Tree<'t> {
    /// A view of the tree at `root`.
    #[inline]
    pub fn new(source: Source<'t>, root: TreeRoot) -> Self {
        Self { source, root, quick: Quick::new(source, root.root) }
    }

    /// A view of the tree at `root` of a snapshot whose checked pages are at hand.
    #[inline]
    pub(crate) fn of_pages(source: Source<'t>, pages: CheckedPages<'t>, root: TreeRoot) -> Self {
        Self { source, root, quick: Quick::of_pages(source, pages, root.root) }
    }

    /// Where its pages are read from, and where it begins.
    pub(crate) fn parts(&self) -> (Source<'t>, TreeRoot) {
        (self.source, self.root)
    }

    /// The leaf in which `key` belongs, the quick way where that can be gone. The tree is not empty.
    #[inline]
    pub(crate) fn leaf_for(&self, key: &[u8]) -> Result<Leaf<'t>, Error> {
        match self.quick.leaf(key) {
            Ok(leaf) => Ok(leaf),
            Err(_) => Ok(self.source.leaf_of(self.root.root, key)?.1),
        }
    }

    /// How many records it has. O(1).
    pub fn len(&self) -> u64 {
        self.root.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.root.len == 0
    }

    /// The value of `key`. One descent: O(log n) pages.
    ///
    /// # Errors
    /// A damaged page.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Result<Option<&'t [u8]>, Error> {
        match self.quick.find(key) {
            Ok(value) => Ok(Some(value)),
            Err(Miss::Absent) => Ok(None),
            Err(Miss::Unusual) => self.get_unusual(key),
        }
    }

    /// As [`Tree::get`], the general way.
    #[inline(never)]
    fn get_unusual(&self, key: &[u8]) -> Result<Option<&'t [u8]>, Error> {
        self.get_stored(key)?.map(|stored| self.source.value(stored)).transpose()
    }

    /// The value of `key` as its leaf holds it: a large one is not read.
    ///
    /// # Errors
    /// A damaged page.
    #[inline]
    pub fn get_stored(&self, key: &[u8]) -> Result<Option<Stored<'t>>, Error> {
        if self.root.root.is_null() {
            return Ok(None);
        }
        let (_, leaf) = self.source.leaf_of(self.root.root, key)?;
        Ok(leaf.find(key))
    }

    /// The value of `key` as bytes that own their snapshot: they cross threads, and live as long as they are
    /// held. What they stand in is kept from being used again for as long. Inside a write transaction, a copy.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("trees.llmdb"))?;
    /// # let mut txn = db.begin_write()?;
    /// # let tree = txn.create_tree("fruit")?;
    /// # txn.insert(tree, b"lemon", b"yellow")?;
    /// # txn.commit()?;
    /// let lemon = db.begin_read().tree("fruit")?.expect("made above").get_bytes(b"lemon")?;
    /// let seen = std::thread::spawn(move || lemon.map(|bytes| bytes.len())).join().unwrap();
    /// assert_eq!(seen, Some(6));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A damaged page.
    pub fn get_bytes(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if self.root.root.is_null() {
            return Ok(None);
        }
        let (at, leaf) = self.source.leaf_of(self.root.root, key)?;
        leaf.find(key).map(|stored| self.source.owned_value(at, stored)).transpose()
    }

    /// The values of many keys: `visit` is told each key's place in `keys` and its value, in order. With keys
    /// that are spread over a large tree this takes about half of the time of as many single gets,
    /// for the descents wait for memory together. The values live as long as the snapshot.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("trees.llmdb"))?;
    /// # let mut txn = db.begin_write()?;
    /// # let tree = txn.create_tree("fruit")?;
    /// # txn.insert(tree, b"apple", b"red")?;
    /// # txn.commit()?;
    /// # let reader = db.begin_read();
    /// # let fruit = reader.tree("fruit")?.expect("made above");
    /// let mut found = Vec::new();
    /// fruit.get_many(&["apple", "pear"], |index, value| found.push((index, value)))?;
    /// assert_eq!(found, [(0, Some(&b"red"[..])), (1, None)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A damaged page, after which `visit` has been told of some of the keys.
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        mut visit: impl FnMut(usize, Option<&'t [u8]>),
    ) -> Result<(), Error> {
        for (batch, keys) in keys.chunks(BATCH).enumerate() {
            let mut values = [None; BATCH];
            if self.root.root.is_null() || find_many(&self.quick, keys, &mut values).is_ok() {
                for (index, value) in values.into_iter().take(keys.len()).enumerate() {
                    visit(batch * BATCH + index, value);
                }
                continue;
            }
            let mut values = [None; BATCH];
            get_batch(self.source, self.root.root, keys, &mut values)?;
            for (index, stored) in values.into_iter().take(keys.len()).enumerate() {
                let value = stored.map(|stored| self.source.value(stored)).transpose()?;
                visit(batch * BATCH + index, value);
            }
        }
        Ok(())
    }

    /// A cursor that stands nowhere yet.
    pub fn cursor(&self) -> Cursor<'t> {
        Cursor::new(self.source, self.root.root)
    }

    /// The records between two bounds, in key order.
    pub fn range(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Range<'t> {
        Range::new(self.cursor(), low, high)
    }

    /// All records, in key order.
    pub fn iter(&self) -> Range<'t> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// How many levels of pages it has.
    ///
    /// # Errors
    /// A damaged page.
    pub fn height(&self) -> Result<u8, Error> {
        if self.root.root.is_null() {
            return Ok(0);
        }
        Ok(self.source.page(self.root.root)?.level() + 1)
    }
}
