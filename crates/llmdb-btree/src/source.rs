//! Where a tree's pages are read from: an open snapshot, or a write transaction's own view.

use crate::error::Error;
use crate::node::branch::Branch;
use crate::node::leaf::Leaf;
use crate::node::{BRANCH, LEAF};
use crate::value::{LargeRef, Stored};
use llmdb_pager::{Error as PagerError, Page, PageSource, Ref, Snapshot, WriteTxn};

/// A borrowed page source.
#[derive(Clone, Copy, Debug)]
pub enum Source<'t> {
    /// Committed pages.
    Snapshot(&'t Snapshot),
    /// Committed pages and the transaction's own.
    Write(&'t WriteTxn),
}

/// A page of a tree.
pub(crate) enum Node<'t> {
    Leaf(Leaf<'t>),
    Branch(Branch<'t>),
}

impl<'t> Source<'t> {
    /// The page that `at` refers to.
    ///
    /// # Errors
    /// [`PagerError::Damaged`].
    pub fn page(self, at: Ref) -> Result<Page<'t>, PagerError> {
        match self {
            Self::Snapshot(snapshot) => snapshot.page(at),
            Self::Write(txn) => txn.page(at),
        }
    }

    /// The top page's reference.
    pub(crate) fn root(self) -> Ref {
        match self {
            Self::Snapshot(snapshot) => snapshot.root(),
            Self::Write(txn) => txn.root(),
        }
    }

    pub(crate) fn page_size(self) -> usize {
        match self {
            Self::Snapshot(snapshot) => snapshot.page_size(),
            Self::Write(txn) => txn.page_size(),
        }
    }

    /// A page of a tree, one level below `above` (any level at the root): levels fall strictly, so a
    /// descent ends.
    pub(crate) fn node(self, at: Ref, above: Option<u8>) -> Result<(Node<'t>, u8), PagerError> {
        let page = self.page(at)?;
        let level = page.level();
        if above.is_some_and(|above| above != level + 1) {
            let expected = u64::from(above.unwrap_or(0)).wrapping_sub(1);
            return Err(PagerError::damaged(
                at.number(),
                "levels of a tree do not fall",
                expected,
                u64::from(level),
            ));
        }
        match page.kind() {
            LEAF => Ok((Node::Leaf(Leaf::new(page)), level)),
            BRANCH => Ok((Node::Branch(Branch::new(page)), level)),
            other => Err(PagerError::damaged(
                at.number(),
                "not a page of a tree",
                u64::from(LEAF.0),
                u64::from(other.0),
            )),
        }
    }

    /// A value's bytes, wherever they stand.
    pub(crate) fn value(self, stored: Stored<'t>) -> Result<&'t [u8], Error> {
        match stored {
            Stored::Inline(bytes) => Ok(bytes),
            Stored::Large(large) => self.large(large),
        }
    }

    fn large(self, large: LargeRef) -> Result<&'t [u8], Error> {
        let intact = |bytes: &[u8]| large.is_intact(bytes);
        Ok(match self {
            Self::Snapshot(snapshot) => snapshot.extent(large.start, large.len, &intact)?,
            Self::Write(txn) => txn.extent(large.start, large.len, &intact)?,
        })
    }
}
