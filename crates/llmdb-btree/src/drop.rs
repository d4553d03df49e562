//! Taking a whole tree out: all its pages and large values.

use crate::error::Error;
use crate::source::{Node, Source};
use crate::value::{LargeRef, Stored};
use llmdb_pager::{Error as PagerError, PageSource as _, Ref, WriteTxn};

/// Frees every page from `root` down. Answers how many records there were.
pub(crate) fn free_pages(txn: &mut WriteTxn, root: Ref) -> Result<u64, Error> {
    let mut count = 0;
    let mut open = vec![(root, None)];
    while let Some((at, above)) = open.pop() {
        if at.is_null() {
            continue;
        }
        let mut larges = Vec::new();
        match Source::Write(txn).node(at, above)? {
            (Node::Branch(branch), level) => {
                open.extend((0..branch.children()).map(|index| (branch.child(index), Some(level))));
            }
            (Node::Leaf(leaf), _) => {
                count += leaf.len() as u64;
                for index in 0..leaf.len() {
                    if let Stored::Large(large) = leaf.value(index) {
                        larges.push(large);
                    }
                }
            }
        }
        for large in larges {
            free_large(txn, large)?;
        }
        txn.free(at)?;
    }
    Ok(count)
}

/// Frees a large value's pages. A reference that leads outside the file was made to harm.
pub(crate) fn free_large(txn: &mut WriteTxn, large: LargeRef) -> Result<(), Error> {
    let run = large.run(txn.page_size());
    if !txn.holds(run) {
        let what = "a large value lies outside the file";
        return Err(PagerError::damaged(run.start, what, "a run inside", "one outside").into());
    }
    txn.free_extent(run, large.born);
    Ok(())
}
