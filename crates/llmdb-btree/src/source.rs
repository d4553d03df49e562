//! Where a tree's pages are read from: an open snapshot, or a write transaction's own view.

use crate::error::Error;
use crate::node::branch::Branch;
use crate::node::leaf::Leaf;
use crate::node::{BRANCH, LEAF};
use crate::value::{LargeRef, Stored};
use bytes::Bytes;
use llmdb_pager::{Error as PagerError, Kind, Page, PageSource, Ref, Snapshot, WriteTxn};

/// A borrowed page source.
#[derive(Clone, Copy, Debug)]
pub enum Source<'t> {
    /// Committed pages.
    Snapshot(&'t Snapshot),
    /// Committed pages and the transaction's own.
    Write(&'t WriteTxn),
}

/// How much to fetch ahead: so many children, each with the aligned block of pages around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) count: usize,
    pub(crate) around: u64,
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
    #[inline]
    pub fn page(self, at: Ref) -> Result<Page<'t>, PagerError> {
        match self {
            Self::Snapshot(snapshot) => snapshot.page(at),
            Self::Write(txn) => txn.page(at),
        }
    }

    /// The top page's reference.
    #[inline]
    pub(crate) fn root(self) -> Ref {
        match self {
            Self::Snapshot(snapshot) => snapshot.root(),
            Self::Write(txn) => txn.root(),
        }
    }

    /// As [`PageSource::prefetch_page`].
    #[inline]
    pub(crate) fn prefetch_page(self, at: Ref) {
        match self {
            Self::Snapshot(snapshot) => snapshot.prefetch_page(at),
            Self::Write(txn) => txn.prefetch_page(at),
        }
    }

    #[inline]
    pub(crate) fn page_size(self) -> usize {
        match self {
            Self::Snapshot(snapshot) => snapshot.page_size(),
            Self::Write(txn) => txn.page_size(),
        }
    }

    /// Begins to fetch children of a branch from number `from` on, or back from there.
    pub(crate) fn will_need(self, branch: &Branch<'_>, from: usize, ahead: Request, forward: bool) {
        let Request { count, around } = ahead;
        let range = if forward {
            from..(from + count).min(branch.children())
        } else {
            (from + 1).saturating_sub(count)..from + 1
        };
        let refs = &mut range.map(|index| branch.child(index));
        match self {
            Self::Snapshot(snapshot) => snapshot.will_need(refs, around),
            Self::Write(txn) => txn.will_need(refs, around),
        }
    }

    /// Begins to fetch a page with the aligned block of `around` pages that it lies in, if it was not read so far.
    pub(crate) fn will_need_around(self, at: Ref, around: u64) {
        let refs = &mut std::iter::once(at);
        match self {
            Self::Snapshot(snapshot) => snapshot.will_need(refs, around),
            Self::Write(txn) => txn.will_need(refs, around),
        }
    }

    /// A page of a tree, one level below `above` (any level at the root): levels fall strictly, so a
    /// descent ends.
    pub(crate) fn node(self, at: Ref, above: Option<u8>) -> Result<(Node<'t>, u8), PagerError> {
        let page = self.page(at)?;
        let level = page.level();
        if above.is_some_and(|above| above != level + 1) {
            return Err(wrong_level(at, above.unwrap_or(0).wrapping_sub(1), level));
        }
        match page.kind() {
            LEAF => Ok((Node::Leaf(Leaf::new(page)), level)),
            BRANCH => Ok((Node::Branch(Branch::new(page)), level)),
            other => Err(wrong_kind(at, other)),
        }
    }

    /// The leaf that holds `key`, below the root `at`, and what refers to it.
    #[inline]
    pub(crate) fn leaf_of(self, at: Ref, key: &[u8]) -> Result<(Ref, Leaf<'t>), PagerError> {
        match self {
            Self::Snapshot(snapshot) => leaf_of(snapshot, at, key),
            Self::Write(txn) => leaf_of(txn, at, key),
        }
    }

    /// A value with a snapshot of its own; a copy inside a write transaction.
    pub(crate) fn owned_value(self, leaf: Ref, stored: Stored<'t>) -> Result<Bytes, Error> {
        let Self::Snapshot(snapshot) = self else {
            return Ok(Bytes::copy_from_slice(self.value(stored)?));
        };
        match stored {
            Stored::Inline(bytes) => {
                let page = snapshot.page(leaf)?;
                let start = bytes.as_ptr().addr() - page.bytes().as_ptr().addr();
                Ok(snapshot.page_bytes(leaf, start..start + bytes.len())?)
            }
            Stored::Large(large) => {
                Ok(snapshot.extent_bytes(large.start, large.len, &|bytes| large.is_intact(bytes))?)
            }
        }
    }

    /// A value's bytes, wherever they stand.
    #[inline]
    pub(crate) fn value(self, stored: Stored<'t>) -> Result<&'t [u8], Error> {
        match stored {
            Stored::Inline(bytes) => Ok(bytes),
            Stored::Large(large) => self.large(large),
        }
    }

    /// A large value as it stands in the file, and whether it was found intact before.
    pub(crate) fn large_unverified(self, large: LargeRef) -> Result<(&'t [u8], bool), Error> {
        Ok(match self {
            Self::Snapshot(snapshot) => snapshot.extent_unverified(large.start, large.len)?,
            Self::Write(txn) => txn.extent_unverified(large.start, large.len)?,
        })
    }

    /// Notes that a large value was read wholly and is intact.
    pub(crate) fn note_intact(self, large: LargeRef) -> Result<(), Error> {
        let intact = |_: &[u8]| true;
        match self {
            Self::Snapshot(snapshot) => snapshot.extent(large.start, large.len, &intact)?,
            Self::Write(txn) => txn.extent(large.start, large.len, &intact)?,
        };
        Ok(())
    }

    /// A large value, checked against its hash at its first use.
    pub(crate) fn large(self, large: LargeRef) -> Result<&'t [u8], Error> {
        let intact = |bytes: &[u8]| large.is_intact(bytes);
        Ok(match self {
            Self::Snapshot(snapshot) => snapshot.extent(large.start, large.len, &intact)?,
            Self::Write(txn) => txn.extent(large.start, large.len, &intact)?,
        })
    }
}

/// The leaf that holds `key`, below the root `at`, and what refers to it.
#[inline]
fn leaf_of<'t, S: PageSource>(source: &'t S, mut at: Ref, key: &[u8]) -> Result<(Ref, Leaf<'t>), PagerError> {
    let mut page = source.page(at)?;
    let mut level = page.level();
    while level > 0 {
        if page.kind() != BRANCH {
            return Err(wrong_kind(at, page.kind()));
        }
        let branch = Branch::new(page);
        at = branch.child(branch.search(key));
        level -= 1;
        page = source.page(at)?;
        if page.level() != level {
            return Err(wrong_level(at, level, page.level()));
        }
    }
    if page.kind() != LEAF {
        return Err(wrong_kind(at, page.kind()));
    }
    let leaf = Leaf::new(page);
    leaf.prefetch();
    Ok((at, leaf))
}

#[cold]
pub(crate) fn wrong_level(at: Ref, expected: u8, found: u8) -> PagerError {
    PagerError::damaged(at.number(), "levels of a tree do not fall", u64::from(expected), u64::from(found))
}

#[cold]
pub(crate) fn wrong_kind(at: Ref, found: Kind) -> PagerError {
    PagerError::damaged(at.number(), "not a page of a tree", u64::from(LEAF.0), u64::from(found.0))
}
