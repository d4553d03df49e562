//! A cursor that changes the tree while it moves.
//!
//! Invariants
//! 1. Nobody else changes the tree while the cursor lives: it has the transaction for itself.
//! 2. A place inside a leaf is dropped by every change; the next move finds it again by its key.

use crate::database::WriteTxn;
use crate::error::Error;
use crate::forest::TreeId;
use crate::node::leaf::Leaf;
use crate::source::{Node, Source};
use crate::value::LargeRef;
use llmdb_pager::{PageSource as _, Ref};

/// A place in a tree, to look at records, remove them and replace their values on the way.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let db = llmdb_btree::Database::create(Default::default(), folder.path().join("c.llmdb"))?;
/// let mut txn = db.begin_write()?;
/// let tree = txn.create_tree("numbers")?;
/// for n in 0..1_000u32 {
///     txn.insert(tree, &n.to_be_bytes(), b"x")?;
/// }
/// let mut cursor = txn.cursor_mut(tree);
/// while cursor.next()? {
///     let odd = cursor.key()[3] % 2 == 1;
///     if odd {
///         cursor.remove()?;
///     } else {
///         cursor.replace(b"even")?;
///     }
/// }
/// assert_eq!(txn.tree(tree)?.len(), 500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CursorMut<'t> {
    txn: &'t mut WriteTxn,
    tree: TreeId,
    place: Place,
    /// The key of the record that it stands on, or of the one that it removed.
    key: Vec<u8>,
    /// Where in which leaf that record is, while that is known.
    at: Option<(Ref, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    End,
    On,
    /// Between the neighbours of a removed record.
    Gap,
}

/// Which record is looked for.
#[derive(Clone, Copy)]
enum Goal<'k> {
    First,
    Last,
    AtLeast(&'k [u8]),
    Above(&'k [u8]),
    Below(&'k [u8]),
}

impl WriteTxn {
    /// A cursor over `tree` that can change it. It stands before the first record.
    pub fn cursor_mut(&mut self, tree: TreeId) -> CursorMut<'_> {
        CursorMut { txn: self, tree, place: Place::Start, key: Vec::new(), at: None }
    }
}

impl CursorMut<'_> {
    /// Goes to the first record. Whether there is one.
    ///
    /// # Errors
    /// A damaged page.
    pub fn first(&mut self) -> Result<bool, Error> {
        self.go(Goal::First)
    }

    /// Goes to the last record. Whether there is one.
    ///
    /// # Errors
    /// A damaged page.
    pub fn last(&mut self) -> Result<bool, Error> {
        self.go(Goal::Last)
    }

    /// Goes to the first record whose key is at least `key`; behind the last one where there is none. Whether
    /// there is one.
    ///
    /// # Errors
    /// A damaged page.
    pub fn seek(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.go(Goal::AtLeast(key))
    }

    /// Goes to the next record; after a removal that is the one behind the removed. Whether there is one.
    ///
    /// # Errors
    /// A damaged page.
    #[expect(clippy::should_implement_trait, reason = "a cursor lends its key, which an iterator cannot")]
    pub fn next(&mut self) -> Result<bool, Error> {
        match self.place {
            Place::Start => self.go(Goal::First),
            Place::End => Ok(false),
            Place::On | Place::Gap => {
                if let Some((leaf, index)) = self.at
                    && self.stand_in(leaf, index + 1)?
                {
                    return Ok(true);
                }
                let key = std::mem::take(&mut self.key);
                self.go(Goal::Above(&key))
            }
        }
    }

    /// Goes to the record before; after a removal that is the one before the removed. Whether there is one.
    ///
    /// # Errors
    /// A damaged page.
    pub fn prev(&mut self) -> Result<bool, Error> {
        match self.place {
            Place::Start => Ok(false),
            Place::End => self.go(Goal::Last),
            Place::On | Place::Gap => {
                if let Some((leaf, index)) = self.at.filter(|(_, index)| *index > 0)
                    && self.stand_in(leaf, index - 1)?
                {
                    return Ok(true);
                }
                let key = std::mem::take(&mut self.key);
                self.go(Goal::Below(&key))
            }
        }
    }

    /// The key of the record that it stands on; empty where it stands on none.
    pub fn key(&self) -> &[u8] {
        if self.place == Place::On { &self.key } else { &[] }
    }

    /// The value of the record that it stands on; empty where it stands on none.
    ///
    /// # Errors
    /// A damaged page or large value.
    pub fn value(&self) -> Result<&[u8], Error> {
        match (self.place, self.at) {
            (Place::On, Some((leaf, index))) => {
                let source = Source::Write(&self.txn.pager);
                source.value(Leaf::new(source.page(leaf)?).value(index))
            }
            (Place::On, None) => Ok(self.txn.get(self.tree, &self.key)?.unwrap_or_default()),
            _ => Ok(&[]),
        }
    }

    /// Removes the record that it stands on; the cursor stands between the neighbours then. Whether it stood
    /// on one.
    ///
    /// # Errors
    /// As [`WriteTxn::remove`].
    pub fn remove(&mut self) -> Result<bool, Error> {
        if self.place != Place::On {
            return Ok(false);
        }
        self.at = None;
        self.place = Place::Gap;
        self.txn.remove(self.tree, &self.key)
    }

    /// Replaces the value of the record that it stands on, and stays there. Answers where a large value was
    /// written, as [`WriteTxn::insert`] does; nothing happens where it stands on no record.
    ///
    /// # Errors
    /// As [`WriteTxn::insert`].
    pub fn replace(&mut self, value: &[u8]) -> Result<Option<LargeRef>, Error> {
        if self.place != Place::On {
            return Ok(None);
        }
        self.at = None;
        self.txn.insert(self.tree, &self.key, value)
    }

    /// Finds a record from the root and stands on it; without one, beyond the end that it looked towards.
    fn go(&mut self, goal: Goal<'_>) -> Result<bool, Error> {
        self.at = None;
        self.key.clear();
        let back = matches!(goal, Goal::Last | Goal::Below(_));
        self.place = if back { Place::Start } else { Place::End };
        let mut fence;
        let mut goal = goal;
        loop {
            let (leaf, index, beyond) = match self.descend(goal)? {
                None => return Ok(false),
                Some(found) => found,
            };
            if let Some(index) = index
                && self.stand_in(leaf, index)?
            {
                return Ok(true);
            }
            // Nothing in this leaf; the search goes on beyond its fence.
            match beyond {
                None => return Ok(false),
                Some(next) => fence = next,
            }
            goal = if back { Goal::Below(&fence) } else { Goal::AtLeast(&fence) };
        }
    }

    /// Goes down to the leaf where `goal` would be. Answers the leaf, the place in it, and the leaf's fence on
    /// the side that the search looks towards.
    #[expect(clippy::type_complexity, reason = "three answers of one search, taken apart at once")]
    fn descend(&self, goal: Goal<'_>) -> Result<Option<(Ref, Option<usize>, Option<Vec<u8>>)>, Error> {
        let source = Source::Write(&self.txn.pager);
        let Some(root) = self.txn.root_of(self.tree)?.filter(|root| !root.root.is_null()) else {
            return Ok(None);
        };
        let (mut at, mut above, mut beyond) = (root.root, None, None);
        loop {
            match source.node(at, above)? {
                (Node::Leaf(leaf), _) => {
                    let index = match goal {
                        Goal::First => Some(0),
                        Goal::Last => leaf.len().checked_sub(1),
                        Goal::AtLeast(key) => Some(leaf.search(key).unwrap_or_else(|place| place)),
                        Goal::Above(key) => {
                            Some(leaf.search(key).map_or_else(|place| place, |found| found + 1))
                        }
                        Goal::Below(key) => leaf.search(key).unwrap_or_else(|place| place).checked_sub(1),
                    };
                    return Ok(Some((at, index, beyond)));
                }
                (Node::Branch(branch), level) => {
                    let index = match goal {
                        Goal::First => 0,
                        Goal::Last => branch.separators(),
                        Goal::AtLeast(key) | Goal::Above(key) => branch.search(key),
                        Goal::Below(key) => {
                            let index = branch.search(key);
                            let begins_here = index > 0 && branch.separator(index - 1) == key;
                            index - usize::from(begins_here)
                        }
                    };
                    match goal {
                        Goal::Last | Goal::Below(_) if index > 0 => {
                            beyond = Some(branch.separator(index - 1))
                        }
                        Goal::Last | Goal::Below(_) => {}
                        _ if index < branch.separators() => beyond = Some(branch.separator(index)),
                        _ => {}
                    }
                    (at, above) = (branch.child(index), Some(level));
                }
            }
        }
    }

    /// Stands on a record of a leaf. Whether there is one at that place.
    fn stand_in(&mut self, leaf: Ref, index: usize) -> Result<bool, Error> {
        let page = Leaf::new(self.txn.pager.page(leaf)?);
        if index >= page.len() {
            return Ok(false);
        }
        self.key.clear();
        self.key.extend_from_slice(page.prefix());
        self.key.extend_from_slice(page.suffix(index));
        self.at = Some((leaf, index));
        self.place = Place::On;
        Ok(true)
    }
}
