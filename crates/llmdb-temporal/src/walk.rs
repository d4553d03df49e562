//! The nearest blocks at places that rise from key to key: neighbours are a step away, others a descent.
//!
//! Invariants
//! 1. What is found is what `Tree::floor` finds.

use llmdb_wal::{Cursor, Tree};

use crate::error::Error;

/// Steps that are tried before a descent.
const STEPS_MAX: usize = 4;

/// Of a block: what stands in its key behind the key that it belongs to, and its record.
pub(crate) type Near<'t> = ([u8; 16], &'t [u8]);

/// A walk over the tree of blocks.
pub(crate) struct Walk<'t> {
    tree: Tree<'t>,
    /// Behind the last record found.
    cursor: Cursor<'t>,
    is_placed: bool,
    /// The record found last; none where the key is empty.
    key: Vec<u8>,
    record: &'t [u8],
}

impl<'t> Walk<'t> {
    pub(crate) fn over(tree: Tree<'t>) -> Self {
        Self { tree, cursor: tree.cursor(), is_placed: false, key: Vec::new(), record: &[] }
    }

    /// The last record at or before `place`, if its key is the prefix and sixteen bytes: these, and the record.
    #[inline]
    pub(crate) fn floor(&mut self, prefix: &[u8], place: &[u8]) -> Result<Option<Near<'t>>, Error> {
        if self.is_placed && self.key.as_slice() > place {
            let Some(near) = self.tree.floor(place)? else { return Ok(None) };
            return near.key_behind(prefix).map(|behind| Ok((behind, near.value()?))).transpose();
        }
        for _ in 0..STEPS_MAX {
            if !self.is_placed || self.cursor.key() > place || self.cursor.key().is_empty() {
                break;
            }
            self.step()?;
        }
        if !self.is_placed || (self.cursor.key() <= place && !self.cursor.key().is_empty()) {
            self.is_placed = true;
            if self.cursor.seek_le(place)? {
                self.step()?;
            } else {
                self.key.clear();
                self.cursor.first()?;
            }
        }
        let behind = self.key.strip_prefix(prefix).and_then(|behind| behind.try_into().ok());
        Ok(behind.map(|behind| (behind, self.record)))
    }

    /// Takes the record that the cursor stands on, and goes on.
    fn step(&mut self) -> Result<(), Error> {
        self.key.clear();
        self.key.extend_from_slice(self.cursor.key());
        self.record = self.cursor.value()?;
        self.cursor.next()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmdb_wal::StoreOptions;
    use std::sync::Arc;

    #[test]
    fn a_walk_finds_what_a_descent_finds() {
        let disk = Arc::new(llmdb_pager::sim::SimDisk::new(1));
        let store = StoreOptions::new().storage(disk).open("walk.llmdb").unwrap();
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        let key = |number: u32| [&b"a key/"[..], &number.to_be_bytes(), &[7; 12]].concat();
        for number in (0..3000u32).filter(|number| number % 7 != 0 || number % 64 < 20) {
            txn.insert(tree, &key(number * 2), &number.to_le_bytes()).unwrap();
        }
        txn.commit().unwrap();
        let read = store.begin_read().unwrap();
        let tree = read.tree_by_id(tree).unwrap().unwrap();
        for stride in [1, 3, 4, 5, 40, 900] {
            let mut walk = Walk::over(tree);
            for number in (0..6100u32).step_by(stride) {
                // Now and then a step back.
                for number in [number, number.saturating_sub(number % 3 * 2)] {
                    let near = tree.floor(&key(number)).unwrap();
                    let prefix = &key(number)[..6];
                    let wanted =
                        near.map(|near| (near.key_behind::<16>(prefix).unwrap(), near.value().unwrap()));
                    assert_eq!(walk.floor(prefix, &key(number)).unwrap(), wanted, "{number} by {stride}");
                }
            }
            assert_eq!(walk.floor(b"other", &key(9000)).unwrap(), None);
        }
        assert_eq!(Walk::over(tree).floor(b"", b"a").unwrap(), None);
    }
}
