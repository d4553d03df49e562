//! Taking a whole tree out: all its pages and large values.

use crate::error::Error;
use crate::source::{Node, Source};
use crate::value::Stored;
use llmdb_pager::{PageSource as _, Ref, WriteTxn};

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
            let run = large.run(txn.page_size());
            txn.free_extent(run, large.born);
        }
        txn.free(at)?;
    }
    Ok(count)
}
