//! Bulk loads in a tree that is there: its right edge is opened, and closed behind the new records.
//!
//! Invariants
//! 1. Between the two the tree has no root; whoever opens the edge closes it, or drops the transaction.
//!
//! Not here: building (`build`).

use super::path::{Fence, Step, check_between};
use super::range::settle;
use crate::build::{Builder, Pages};
use crate::error::Error;
use crate::source::{Node, Source};
use crate::tree::TreeRoot;
use llmdb_pager::{PageSource as _, PageStream, Ref, WriteTxn};

/// Opens the right edge of a tree, which may be empty. Pages there become lists, and the tree has no root.
pub(crate) fn open_edge(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    fill_percent: usize,
) -> Result<Builder, Error> {
    let mut builder = Builder::new(txn.page_size(), fill_percent);
    let root = std::mem::replace(&mut tree.root, Ref::NULL);
    let (mut at, mut above, mut low) = (root, None, None);
    while !at.is_null() {
        if !at.is_dirty() {
            check_between(txn, at, low.as_deref(), None)?;
        }
        let below = match Source::Write(txn).node(at, above)? {
            (Node::Leaf(leaf), _) => {
                builder.open_leaf(leaf, low.take());
                Ref::NULL
            }
            (Node::Branch(branch), level) => {
                low = builder.open_branch(branch, low);
                above = Some(level);
                branch.child(branch.children() - 1)
            }
        };
        txn.free(at)?;
        at = below;
    }
    Ok(builder)
}

/// Where the leaf at the right edge of a tree begins; `None` for a tree of one leaf.
pub(crate) fn edge(txn: &WriteTxn, tree: &TreeRoot) -> Result<Fence, Error> {
    let (mut at, mut above, mut low) = (tree.root, None, None);
    while !at.is_null() {
        let (Node::Branch(branch), level) = Source::Write(txn).node(at, above)? else { break };
        let last = branch.separators();
        if last > 0 {
            low = Some(branch.separator(last - 1));
        }
        (at, above) = (branch.child(last), Some(level));
    }
    Ok(low)
}

/// Closes the edge behind what `builder` added: `tree` is whole again.
pub(super) fn close_edge(
    txn: &mut WriteTxn,
    tree: &mut TreeRoot,
    mut builder: Builder,
    mut finished: Finished,
    steps: &mut Vec<Step>,
) -> Result<(), Error> {
    debug_assert!(builder.added() > 0, "an edge is opened for a record");
    let last = builder.last_key().map(<[u8]>::to_vec).unwrap_or_default();
    // What is closed now is at the edge, and changes soon.
    finished.kept = usize::MAX;
    tree.root = builder.close(&mut finished.pages(txn))?;
    tree.len += builder.added();
    if let Some(stream) = finished.stream {
        stream.end(txn)?;
    }
    settle(txn, tree, steps, &last)
}

/// Where the pages of a bulk load go: the first into memory, the others straight to the file.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How many may still go into memory.
    kept: usize,
    stream: Option<PageStream>,
}

impl Finished {
    pub(crate) fn new(txn: &WriteTxn) -> Self {
        Self { kept: txn.pages_worth_keeping(), stream: None }
    }

    /// With the transaction that takes them.
    pub(crate) fn pages<'f>(&'f mut self, txn: &'f mut WriteTxn) -> FinishedPages<'f> {
        FinishedPages { txn, finished: self }
    }
}

/// The pages of a bulk load, on their way.
pub(crate) struct FinishedPages<'f> {
    txn: &'f mut WriteTxn,
    finished: &'f mut Finished,
}

impl Pages for FinishedPages<'_> {
    type Error = Error;

    fn put(&mut self, is_above_dirty: bool, make: impl FnOnce(&mut [u8])) -> Result<Ref, Error> {
        let Finished { kept, stream } = &mut *self.finished;
        if *kept == 0 && stream.is_none() {
            *stream = PageStream::begin(self.txn);
        }
        match stream.as_mut().filter(|_| *kept == 0 && !is_above_dirty) {
            Some(stream) => Ok(stream.put(self.txn, make)?),
            None => {
                let at = self.txn.allocate_unwritten()?;
                make(self.txn.page_mut(at));
                *kept = kept.saturating_sub(1);
                Ok(at)
            }
        }
    }
}
