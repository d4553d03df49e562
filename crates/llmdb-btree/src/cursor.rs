//! Cursors: a place in a tree that can move both ways.
//!
//! Invariants
//! 1. A cursor that stands on a record has the whole path to it, so a move costs O(1) pages on average.
//! 2. After an error it stands nowhere, and an iterator has ended: nothing is skipped silently.

use crate::error::Error;
use crate::node::branch::Branch;
use crate::node::leaf::{Leaf, Record};
use crate::source::{Node, Request, Source};
use crate::value::Stored;
use llmdb_pager::Ref;
use std::ops::Bound;

/// A place in a tree.
#[derive(Clone)]
pub struct Cursor<'t> {
    source: Source<'t>,
    root: Ref,
    /// The branches above the leaf, and which child was taken.
    path: Vec<(Branch<'t>, u8, usize)>,
    leaf: Option<(Leaf<'t>, usize)>,
    /// The key of the record it stands on: the leaf's prefix and the rest.
    key: Vec<u8>,
    /// The value as the leaf holds it; empty where the cursor stands nowhere.
    value: Record<'t>,
    /// Whether the leaf behind this one was asked for.
    is_ahead: bool,
    ahead: Ahead,
}

/// How far ahead of a walk from leaf to leaf pages are asked for: further the longer it goes on.
#[derive(Clone, Copy)]
struct Ahead {
    /// Leaves until the next request.
    steps: usize,
    /// Leaves that it asks for.
    window: usize,
}

impl Ahead {
    const NONE: Self = Self { steps: 0, window: 2 };
    /// A walk that went on for as long as this is taken for a long scan.
    const WINDOW_MAX: usize = 64;
    /// A long scan of a tree that grew in random order needs what stands around its leaves before long.
    const AROUND: u64 = 32;

    /// One leaf further: what to ask for now, if anything.
    fn step(&mut self) -> Option<Request> {
        if self.steps > 0 {
            self.steps -= 1;
            return None;
        }
        let count = self.window;
        let around = if count < Self::WINDOW_MAX { 1 } else { Self::AROUND };
        self.steps = count / 2 - 1;
        self.window = (count * 2).min(Self::WINDOW_MAX);
        Some(Request { count, around })
    }
}

/// Which child or record to take on the way down.
#[derive(Clone, Copy)]
enum Toward<'k> {
    First,
    Last,
    Key(&'k [u8]),
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(source: Source<'t>, root: Ref) -> Self {
        Self {
            source,
            root,
            path: Vec::new(),
            leaf: None,
            key: Vec::new(),
            value: Record::EMPTY,
            is_ahead: false,
            ahead: Ahead::NONE,
        }
    }

    /// Goes to the first record. Whether there is one.
    ///
    /// # Errors
    /// A damaged page.
    pub fn first(&mut self) -> Result<bool, Error> {
        self.restart(Toward::First)?;
        self.settle_forward()
    }

    /// Goes to the last record. Whether there is one.
    ///
    /// # Errors
    /// A damaged page.
    pub fn last(&mut self) -> Result<bool, Error> {
        self.restart(Toward::Last)?;
        self.settle_back()
    }

    /// Goes to the first record whose key is at least `key`. Whether there is one.
    ///
    /// # Errors
    /// A damaged page.
    pub fn seek(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.restart(Toward::Key(key))?;
        self.settle_forward()
    }

    /// Goes to the last record whose key is at most `key`. Whether there is one.
    ///
    /// # Errors
    /// A damaged page.
    pub fn seek_le(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.restart(Toward::Key(key))?;
        if let Some((leaf, index)) = &mut self.leaf {
            match leaf.search(key) {
                Ok(found) => *index = found + 1,
                Err(place) => *index = place,
            }
        }
        self.settle_back()
    }

    /// Goes to the next record. Whether there is one; a cursor that stands nowhere stays there.
    ///
    /// # Errors
    /// A damaged page.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "a cursor lends its key, which an iterator cannot")]
    pub fn next(&mut self) -> Result<bool, Error> {
        let Some((leaf, index)) = &mut self.leaf else { return Ok(false) };
        *index += 1;
        if *index < leaf.len() && self.is_ahead {
            let (leaf, index) = (*leaf, *index);
            self.key.truncate(leaf.prefix_len());
            self.value = leaf.record(index);
            self.key.extend_from_slice(self.value.suffix);
            return Ok(true);
        }
        self.ask_for_next_leaf();
        self.settle_forward()
    }

    /// Goes to the record before. Whether there is one; a cursor that stands nowhere stays there.
    ///
    /// # Errors
    /// A damaged page.
    pub fn prev(&mut self) -> Result<bool, Error> {
        self.settle_back()
    }

    /// The key of the record that it stands on; empty where it stands nowhere.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of the record that it stands on; empty where it stands nowhere.
    ///
    /// # Errors
    /// A damaged large value.
    #[inline]
    pub fn value(&self) -> Result<&'t [u8], Error> {
        self.source.value(self.value.stored())
    }

    /// The record's value as its leaf holds it; `None` where it stands nowhere.
    pub(crate) fn stored(&self) -> Option<Stored<'t>> {
        self.leaf.filter(|_| !self.key.is_empty()).map(|(leaf, index)| leaf.value(index))
    }

    fn restart(&mut self, toward: Toward<'_>) -> Result<(), Error> {
        self.path.clear();
        self.stand_nowhere();
        self.is_ahead = false;
        self.ahead = Ahead::NONE;
        if self.root.is_null() {
            return Ok(());
        }
        self.descend(self.root, None, toward)
    }

    /// Walks down from `at`; the leaf's index is where `toward` is or belongs, `len` for [`Toward::Last`].
    fn descend(&mut self, mut at: Ref, mut above: Option<u8>, toward: Toward<'_>) -> Result<(), Error> {
        loop {
            match self.source.node(at, above)? {
                (Node::Leaf(leaf), _) => {
                    let index = match toward {
                        Toward::First => 0,
                        Toward::Last => leaf.len(),
                        Toward::Key(key) => leaf.search(key).unwrap_or_else(|place| place),
                    };
                    self.leaf = Some((leaf, index));
                    return Ok(());
                }
                (Node::Branch(branch), level) => {
                    let index = match toward {
                        Toward::First => 0,
                        Toward::Last => branch.separators(),
                        Toward::Key(key) => branch.search(key),
                    };
                    at = branch.child(index);
                    self.path.push((branch, level, index));
                    above = Some(level);
                }
            }
        }
    }

    /// Stands on the record at the index, or on the first of a later leaf.
    fn settle_forward(&mut self) -> Result<bool, Error> {
        loop {
            match self.leaf {
                None => return Ok(self.stand_nowhere()),
                Some((leaf, index)) if index < leaf.len() => return Ok(self.stand(leaf, index)),
                Some(_) => self.step_leaf(true)?,
            }
        }
    }

    /// Stands on the record before the index, or on the last of an earlier leaf.
    fn settle_back(&mut self) -> Result<bool, Error> {
        loop {
            match &mut self.leaf {
                None => return Ok(self.stand_nowhere()),
                Some((leaf, index)) if *index > 0 => {
                    *index -= 1;
                    let (leaf, index) = (*leaf, *index);
                    return Ok(self.stand(leaf, index));
                }
                Some(_) => self.step_leaf(false)?,
            }
        }
    }

    fn stand(&mut self, leaf: Leaf<'t>, index: usize) -> bool {
        self.value = leaf.record(index);
        self.key.clear();
        self.key.extend_from_slice(leaf.prefix());
        self.key.extend_from_slice(self.value.suffix);
        true
    }

    fn stand_nowhere(&mut self) -> bool {
        self.leaf = None;
        self.value = Record::EMPTY;
        self.key.clear();
        false
    }

    /// Asks for the leaf behind this one, whole: a scan reads all of it, and its cells stand in the order in
    /// which they came.
    fn ask_for_next_leaf(&mut self) {
        self.is_ahead = true;
        if let Some((branch, 1, index)) = self.path.last()
            && index + 1 < branch.children()
        {
            self.source.prefetch_page(branch.child(index + 1));
        }
    }

    /// Goes to the neighbouring leaf, or nowhere.
    fn step_leaf(&mut self, forward: bool) -> Result<(), Error> {
        self.leaf = None;
        self.is_ahead = false;
        while let Some((branch, level, index)) = self.path.last_mut() {
            let next = if forward { Some(*index + 1) } else { index.checked_sub(1) };
            match next.filter(|next| *next < branch.children()) {
                Some(next) => {
                    *index = next;
                    let (child, level) = (branch.child(next), *level);
                    if level == 1
                        && let Some(request) = self.ahead.step()
                    {
                        self.source.will_need(branch, next, request, forward);
                    }
                    return self.descend(
                        child,
                        Some(level),
                        if forward { Toward::First } else { Toward::Last },
                    );
                }
                None => {
                    self.path.pop();
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A key, and its value borrowed from the snapshot.
pub type Entry<'t> = (Vec<u8>, &'t [u8]);

/// The records between two bounds. After an error it has ended.
#[derive(Debug)]
pub struct Range<'t> {
    cursor: Cursor<'t>,
    low: Option<Bound<Vec<u8>>>,
    high: Bound<Vec<u8>>,
    ended: bool,
}

impl<'t> Range<'t> {
    pub(crate) fn new(cursor: Cursor<'t>, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Self {
        Self { cursor, low: Some(low.map(<[u8]>::to_vec)), high: high.map(<[u8]>::to_vec), ended: false }
    }

    fn step(&mut self) -> Result<Option<Entry<'t>>, Error> {
        let stands = match self.low.take() {
            None => self.cursor.next()?,
            Some(Bound::Unbounded) => self.cursor.first()?,
            Some(Bound::Included(low)) => self.cursor.seek(&low)?,
            Some(Bound::Excluded(low)) => {
                self.cursor.seek(&low)? && (self.cursor.key() != low || self.cursor.next()?)
            }
        };
        let key = self.cursor.key();
        let inside = match &self.high {
            Bound::Unbounded => true,
            Bound::Included(high) => key <= high.as_slice(),
            Bound::Excluded(high) => key < high.as_slice(),
        };
        if !stands || !inside {
            return Ok(None);
        }
        Ok(Some((key.to_vec(), self.cursor.value()?)))
    }
}

impl<'t> Iterator for Range<'t> {
    type Item = Result<Entry<'t>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.step();
        self.ended = !matches!(item, Ok(Some(_)));
        item.transpose()
    }
}
