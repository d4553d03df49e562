//! Reading a tree.

use crate::cursor::{Cursor, Range};
use crate::error::Error;
use crate::source::Source;
use crate::value::Stored;
use llmdb_pager::Ref;
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
}

impl<'t> Tree<'t> {
    /// A view of the tree at `root`.
    pub fn new(source: Source<'t>, root: TreeRoot) -> Self {
        Self { source, root }
    }

    /// Where its pages are read from, and where it begins.
    pub(crate) fn parts(&self) -> (Source<'t>, TreeRoot) {
        (self.source, self.root)
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
        match self.get_stored(key)? {
            Some(stored) => self.source.value(stored).map(Some),
            None => Ok(None),
        }
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
        let leaf = self.source.leaf_of(self.root.root, key)?;
        Ok(leaf.search(key).ok().map(|index| leaf.value(index)))
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
