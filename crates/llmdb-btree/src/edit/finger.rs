//! The finger: where the transaction changed a tree last. The next change nearby needs no descent, and a run
//! of neighbouring inserts shows.
//!
//! Invariants
//! 1. While `is_valid`, the steps and the leaf are the transaction's own pages and lie on one path of the
//!    tree's present shape; whatever changes the shape lifts the finger.
//! 2. `fences` are those of the leaf, or not looked at yet.

use super::bulk::{Finished, close_edge};
use super::path::{Fence, Step, fences, own_path};
use crate::build::Builder;
use crate::error::Error;
use crate::forest::TreeId;
use crate::tree::TreeRoot;
use llmdb_pager::{Ref, WriteTxn};

/// From this many neighbouring inserts on they count as a run.
const RUN_MIN: i32 = 3;

/// Where the last change was.
#[derive(Debug, Default)]
pub(crate) struct Finger {
    tree: Option<TreeId>,
    is_valid: bool,
    pub(super) steps: Vec<Step>,
    pub(super) leaf: Ref,
    fences: Option<(Fence, Fence)>,
    /// Where in the leaf the last insert went.
    last: usize,
    /// How many inserts in a row went behind the one before (or, below zero, in front of it).
    run: i32,
    /// How many full leaves the run has left behind since it was asked last.
    left_behind: usize,
}

/// Which way the latest inserts went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Rising,
    Falling,
    None,
}

impl Finger {
    /// Forgets the path: the tree changes its shape, or pages change without the finger's knowing.
    pub(crate) fn lift(&mut self) {
        self.is_valid = false;
    }

    /// Goes to another tree.
    pub(crate) fn turn_to(&mut self, tree: TreeId) {
        if self.tree != Some(tree) {
            *self = Self { tree: Some(tree), steps: std::mem::take(&mut self.steps), ..Self::default() };
        }
    }

    /// Whether the finger is on the leaf that holds `key`, if such a record is there.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.is_valid
            && self.fences.as_ref().is_some_and(|(low, high)| {
                low.as_ref().is_none_or(|low| low.as_slice() <= key)
                    && high.as_ref().is_none_or(|high| key < high.as_slice())
            })
    }

    /// Puts the finger on `key`'s leaf, copying the path; `root` follows.
    pub(super) fn put(&mut self, txn: &mut WriteTxn, root: &mut Ref, key: &[u8]) -> Result<(), Error> {
        if self.holds(key) {
            return Ok(());
        }
        self.is_valid = false;
        let leaf = own_path(txn, root, key, &mut self.steps)?;
        // Fences cost a look at every level: only a second change of the same leaf pays for them.
        self.fences = if leaf == self.leaf { Some(fences(txn, &self.steps)?) } else { None };
        if leaf != self.leaf {
            self.run = 0;
        }
        self.leaf = leaf;
        self.is_valid = true;
        Ok(())
    }

    /// Remembers an insert at `index` of the leaf.
    pub(super) fn inserted(&mut self, index: usize) {
        self.run = match self.run {
            run if index == self.last + 1 => run.max(0) + 1,
            run if index == self.last => run.min(0) - 1,
            _ => 0,
        };
        self.last = index;
    }

    /// After a split: the last insert went to `index` of `leaf`.
    pub(super) fn moved(&mut self, leaf: Ref, index: usize) {
        self.lift();
        self.leaf = leaf;
        self.last = index;
        self.left_behind += 1;
    }

    /// Whether a run has left so many full leaves behind; it begins to count anew then.
    pub(crate) fn has_left_behind(&mut self, leaves: usize) -> bool {
        let has = self.left_behind >= leaves;
        if has {
            self.left_behind = 0;
        }
        has
    }

    /// Closes a bulk load's open edge.
    pub(crate) fn finish(
        &mut self,
        txn: &mut WriteTxn,
        tree: &mut TreeRoot,
        builder: Builder,
        finished: Finished,
    ) -> Result<(), Error> {
        self.lift();
        close_edge(txn, tree, builder, finished, &mut self.steps)
    }

    /// Ends the run: the leaf's records were spread.
    pub(super) fn rest(&mut self) {
        self.lift();
        self.leaf = Ref::NULL;
        self.run = 0;
        self.left_behind = 0;
    }

    /// Which way the inserts go.
    pub(super) fn run(&self) -> Run {
        match self.run {
            run if run >= RUN_MIN => Run::Rising,
            run if run <= -RUN_MIN => Run::Falling,
            _ => Run::None,
        }
    }
}
