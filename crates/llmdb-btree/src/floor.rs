//! The nearest record to a key, on either side: one descent, without a cursor's path and copies.
//!
//! Invariants
//! 1. What is found is what a [`Cursor`](crate::Cursor) stands on after `seek_le` or `seek`.

use crate::cursor::Cursor;
use crate::error::Error;
use crate::node::leaf::Leaf;
use crate::source::Source;
use crate::tree::Tree;
use crate::value::Stored;

/// A record that was found near a key, borrowed from the snapshot.
#[derive(Clone, Debug)]
pub struct Near<'t> {
    source: Source<'t>,
    key: Key<'t>,
    stored: Stored<'t>,
}

#[derive(Clone, Debug)]
enum Key<'t> {
    /// What all keys of the leaf begin with, and the rest.
    InLeaf(&'t [u8], &'t [u8]),
    /// From a neighbouring leaf.
    Copied(Vec<u8>),
}

impl<'t> Near<'t> {
    #[inline]
    fn in_leaf(source: Source<'t>, leaf: Leaf<'t>, index: usize) -> Self {
        let record = leaf.record(index);
        Self { source, key: Key::InLeaf(leaf.prefix(), record.suffix), stored: record.stored() }
    }

    fn copied(source: Source<'t>, cursor: &Cursor<'t>) -> Option<Self> {
        let stored = cursor.stored()?;
        Some(Self { source, key: Key::Copied(cursor.key().to_vec()), stored })
    }

    /// Bytes of its key.
    #[inline]
    #[must_use]
    pub fn key_len(&self) -> usize {
        match &self.key {
            Key::InLeaf(prefix, suffix) => prefix.len() + suffix.len(),
            Key::Copied(key) => key.len(),
        }
    }

    /// A copy of its key.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        match &self.key {
            Key::InLeaf(prefix, suffix) => [*prefix, *suffix].concat(),
            Key::Copied(key) => key.clone(),
        }
    }

    /// The last `N` bytes of its key, if it is exactly `start` and these.
    #[inline]
    #[must_use]
    pub fn key_behind<const N: usize>(&self, start: &[u8]) -> Option<[u8; N]> {
        if self.key_len() != start.len() + N {
            return None;
        }
        match &self.key {
            Key::Copied(key) => key.strip_prefix(start)?.try_into().ok(),
            Key::InLeaf(prefix, suffix) if prefix.len() <= start.len() => {
                suffix.strip_prefix(start.strip_prefix(*prefix)?)?.try_into().ok()
            }
            Key::InLeaf(prefix, suffix) => {
                let mut behind = [0; N];
                let rest = prefix.strip_prefix(start)?;
                let (first, last) = behind.split_at_mut_checked(rest.len())?;
                first.copy_from_slice(rest);
                last.copy_from_slice(suffix);
                Some(behind)
            }
        }
    }

    /// Its value.
    ///
    /// # Errors
    /// A damaged large value.
    #[inline]
    pub fn value(&self) -> Result<&'t [u8], Error> {
        self.source.value(self.stored)
    }
}

impl<'t> Tree<'t> {
    /// The last record whose key is at most `key`. One descent, and a neighbouring leaf where `key` is below all of
    /// its own.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("trees.llmdb"))?;
    /// # let mut txn = db.begin_write()?;
    /// # let tree = txn.create_tree("fruit")?;
    /// # txn.insert(tree, b"lemon", b"yellow")?;
    /// # txn.commit()?;
    /// # let reader = db.begin_read();
    /// # let fruit = reader.tree("fruit")?.expect("made above");
    /// let near = fruit.floor(b"melon")?.expect("lemon comes before it");
    /// assert_eq!((near.key(), near.value()?), (b"lemon".to_vec(), &b"yellow"[..]));
    /// assert!(fruit.floor(b"apple")?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A damaged page.
    #[inline]
    pub fn floor(&self, key: &[u8]) -> Result<Option<Near<'t>>, Error> {
        let (source, root) = self.parts();
        if root.root.is_null() {
            return Ok(None);
        }
        let leaf = self.leaf_for(key)?;
        if let Some(index) = leaf.count_up_to(key).checked_sub(1) {
            return Ok(Some(Near::in_leaf(source, leaf, index)));
        }
        let mut cursor = self.cursor();
        Ok(if cursor.seek_le(key)? { Near::copied(source, &cursor) } else { None })
    }

    /// The first record whose key is at least `key`. As [`Tree::floor`].
    ///
    /// # Errors
    /// A damaged page.
    #[inline]
    pub fn ceiling(&self, key: &[u8]) -> Result<Option<Near<'t>>, Error> {
        let (source, root) = self.parts();
        if root.root.is_null() {
            return Ok(None);
        }
        let leaf = self.leaf_for(key)?;
        let index = leaf.search(key).unwrap_or_else(|place| place);
        if index < leaf.len() {
            return Ok(Some(Near::in_leaf(source, leaf, index)));
        }
        let mut cursor = self.cursor();
        Ok(if cursor.seek(key)? { Near::copied(source, &cursor) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use crate::Database;
    use llmdb_pager::PagerOptions;
    use llmdb_pager::sim::SimDisk;
    use std::sync::Arc;

    #[test]
    fn the_nearest_records_are_those_that_a_cursor_finds() {
        let options = PagerOptions::new().storage(Arc::new(SimDisk::new(7)));
        let db = Database::create(options, "/floor.llmdb").unwrap();
        let mut txn = db.begin_write().unwrap();
        let id = txn.create_tree("t").unwrap();
        let count = if cfg!(miri) { 40u32 } else { 4_000 };
        let key =
            |n: u32| [b"all begin so/", &n.wrapping_mul(0x9e37_79b9).to_be_bytes()[..], b"/end"].concat();
        for n in 0..count {
            txn.insert(id, &key(n), &vec![n as u8; (n % 70) as usize]).unwrap();
        }
        txn.insert(id, &key(count), &[7; 9_000]).unwrap();
        txn.commit().unwrap();
        let reader = db.begin_read();
        let tree = reader.tree_by_id(id).unwrap().unwrap();
        let mut cursor = tree.cursor();
        for n in 0..count + 50 {
            for asked in
                [key(n), [&key(n)[..], b"x"].concat(), key(n)[..15].to_vec(), b"all".to_vec(), b"b".to_vec()]
            {
                let floor = tree.floor(&asked).unwrap().map(|near| (near.key(), near.value().unwrap()));
                let stands = cursor.seek_le(&asked).unwrap();
                assert_eq!(floor, stands.then(|| (cursor.key().to_vec(), cursor.value().unwrap())));
                let ceiling = tree.ceiling(&asked).unwrap();
                let stands = cursor.seek(&asked).unwrap();
                let wanted = stands.then(|| (cursor.key().to_vec(), cursor.value().unwrap()));
                assert_eq!(ceiling.as_ref().map(|near| (near.key(), near.value().unwrap())), wanted);
                let Some(near) = ceiling else { continue };
                for start in [0, 5, 13, 15, 17, near.key_len()] {
                    let key = near.key();
                    assert_eq!(
                        near.key_behind::<4>(&key[..key.len() - 4]).map(|end| end.to_vec()),
                        Some(key[key.len() - 4..].to_vec())
                    );
                    assert_eq!(near.key_behind::<8>(&key[..start]).is_some(), key.len() == start + 8);
                }
                assert_eq!(near.key_behind::<4>(b"all begin xx/1234"), None);
            }
        }
    }
}
