//! Many gets at once: all of them go down level by level, and each asks for the cache lines of its next step
//! before any takes it, so that they wait for memory together and not one after the other.
//!
//! Not here: what stands in a page (`node`).

use crate::error::Error;
use crate::node::leaf::{Leaf, Place};
use crate::node::{BRANCH, LEAF, branch::Branch};
use crate::source::{Source, wrong_kind, wrong_level};
use crate::value::Stored;
use llmdb_pager::{Error as PagerError, Page, PageSource, Ref};

/// Keys that go down together.
pub(crate) const BATCH: usize = 64;

/// The values of up to [`BATCH`] keys below `root`, in the order of the keys.
pub(crate) fn get_batch<'t, K: AsRef<[u8]>>(
    source: Source<'t>,
    root: Ref,
    keys: &[K],
    values: &mut [Option<Stored<'t>>; BATCH],
) -> Result<(), Error> {
    match source {
        Source::Snapshot(snapshot) => Ok(descend(snapshot, root, keys, values)?),
        Source::Write(txn) => Ok(descend(txn, root, keys, values)?),
    }
}

fn descend<'t, S: PageSource, K: AsRef<[u8]>>(
    source: &'t S,
    root: Ref,
    keys: &[K],
    values: &mut [Option<Stored<'t>>; BATCH],
) -> Result<(), PagerError> {
    let top = source.page(root)?;
    let mut level = top.level();
    let mut pages: [Page<'t>; BATCH] = [top; BATCH];
    let mut children = [root; BATCH];
    while level > 0 {
        let mut blocks = [0; BATCH];
        for ((page, block), key) in pages.iter().zip(&mut blocks).zip(keys) {
            let branch = Branch::new(*page);
            *block = branch.block_of(key.as_ref());
            branch.prefetch_block(*block);
        }
        level -= 1;
        for (((page, child), block), key) in pages.iter().zip(&mut children).zip(blocks).zip(keys) {
            let branch = Branch::new(*page);
            *child = branch.child(branch.search_block(key.as_ref(), block));
            if level > 0 {
                Branch::prefetch(source, *child);
            } else {
                Leaf::prefetch_page(source, *child);
            }
        }
        let kind = if level > 0 { BRANCH } else { LEAF };
        for ((page, child), _) in pages.iter_mut().zip(children).zip(keys) {
            *page = source.page(child)?;
            if page.level() != level {
                return Err(wrong_level(child, level, page.level()));
            }
            if page.kind() != kind {
                return Err(wrong_kind(child, page.kind()));
            }
        }
    }
    if top.level() == 0 && top.kind() != LEAF {
        return Err(wrong_kind(root, top.kind()));
    }
    let mut places: [Option<Place>; BATCH] = [None; BATCH];
    for ((page, place), key) in pages.iter().zip(&mut places).zip(keys) {
        let leaf = Leaf::new(*page);
        *place = leaf.place_of(key.as_ref());
        if let Some(place) = *place {
            leaf.prefetch_cell(place);
        }
    }
    for (((page, place), value), key) in pages.iter().zip(places).zip(values).zip(keys) {
        *value = place.and_then(|place| Leaf::new(*page).find_at(key.as_ref(), place));
    }
    Ok(())
}
