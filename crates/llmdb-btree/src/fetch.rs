//! Fetching the leaves of many keys from the device at once, before they are needed: recovery does so.
//!
//! Level by level: all pages of a level that lead to one of the keys are asked for together, and only then read, so
//! that the device works on many at a time. A random read waits for the device about as long as thirty at once.

use crate::error::Error;
use crate::source::{Node, Source};
use crate::tree::Tree;
use llmdb_pager::{PageSource as _, Ref};
use std::ops::Range;

/// So many pages are asked for before the first of them is read.
const AT_ONCE: usize = 4096;

impl Tree<'_> {
    /// Begins to fetch the leaves where `keys`, which rise, stand or would stand. Reads the branches above them.
    /// Answers how many pages were asked for.
    ///
    /// # Errors
    /// A damaged page.
    pub fn fetch_leaves(&self, keys: &[&[u8]]) -> Result<u64, Error> {
        let (source, root) = self.parts();
        if root.root.is_null() || keys.is_empty() {
            return Ok(0);
        }
        let mut level = vec![(root.root, 0..keys.len())];
        let mut above = None;
        let mut asked = 0;
        loop {
            for group in level.chunks(AT_ONCE) {
                ask_for(source, group);
            }
            asked += level.len() as u64;
            let mut below: Vec<(Ref, Range<usize>)> = Vec::new();
            // All pages of a level are of one kind: the first tells.
            let (_, number) = source.node(level[0].0, above)?;
            if number == 0 {
                return Ok(asked);
            }
            for (at, range) in level {
                let (Node::Branch(branch), _) = source.node(at, above)? else { return Ok(asked) };
                for place in range {
                    let child = branch.child(branch.search(keys[place]));
                    match below.last_mut().filter(|(last, _)| *last == child) {
                        Some((_, range)) => range.end = place + 1,
                        None => below.push((child, place..place + 1)),
                    }
                }
            }
            above = Some(number);
            if number == 1 {
                // Leaves are not looked at.
                below.chunks(AT_ONCE).for_each(|group| ask_for(source, group));
                return Ok(asked + below.len() as u64);
            }
            level = below;
        }
    }
}

fn ask_for(source: Source<'_>, pages: &[(Ref, Range<usize>)]) {
    let refs = &mut pages.iter().map(|(at, _)| *at);
    match source {
        Source::Snapshot(snapshot) => snapshot.will_need(refs, 1),
        Source::Write(txn) => txn.will_need(refs, 1),
    }
}
