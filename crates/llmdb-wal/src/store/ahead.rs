//! The pages that a replay will need, asked for before it comes to them: a random read waits for the device about as
//! long as thirty at once.
//!
//! ```text
//! asking      | group 0 | group 1 | group 2 | ...
//! replaying             | group 0 | group 1 | ...      each begins when the one after it was asked for
//! ```
//!
//! Invariants
//! 1. Nothing depends on it but time: a page that was not asked for is read when it is needed.
//!
//! Not here: how leaves are found (`llmdb_btree`).

use super::redo::{Redo, operations};
use crate::log::{Record, Tail};
use llmdb_btree::{ReadTxn, TreeId};
use llmdb_pager::Pager;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Keys of one group: more than any device takes at once.
const GROUP_SIZE: usize = 2048;

/// Who asks.
#[derive(Clone)]
pub(super) struct Ahead<'a> {
    pager: &'a Pager,
    tail: &'a Tail,
    /// Is told below which record all pages are on their way.
    tell: Sender<usize>,
}

impl<'a> Ahead<'a> {
    /// Asks for the pages of `tail`; the other end hears of it.
    pub(super) fn new(pager: &'a Pager, tail: &'a Tail) -> (Self, Receiver<usize>) {
        let (tell, asked) = channel();
        (Self { pager, tail, tell }, asked)
    }

    /// Asks for all. Answers for how many pages, and how long it took.
    pub(super) fn ask(self) -> (u64, Duration) {
        let began = Instant::now();
        let reader = ReadTxn::of(self.pager.snapshot());
        let records: Vec<Record<'_>> = self.tail.records().collect();
        let (mut pages, mut group, mut before) = (0, Group::default(), 0);
        for (place, record) in records.iter().enumerate() {
            group.add(&record.payload);
            if group.len >= GROUP_SIZE {
                pages += group.ask(&reader);
                group = Group::default();
                // The one before this is with the device, or was. Who listens may have met an error.
                let _ = self.tell.send(std::mem::replace(&mut before, place + 1));
            }
        }
        pages += group.ask(&reader);
        let _ = self.tell.send(usize::MAX);
        (pages, began.elapsed())
    }
}

/// Keys by their trees.
#[derive(Default)]
struct Group<'a> {
    keys: BTreeMap<u32, Vec<&'a [u8]>>,
    len: usize,
}

impl<'a> Group<'a> {
    fn add(&mut self, payload: &'a [u8]) {
        // A damaged one ends the replay.
        for op in operations(payload).map_while(Result::ok) {
            if let Redo::Insert { tree, key, .. }
            | Redo::InsertLarge { tree, key, .. }
            | Redo::Remove { tree, key } = op
            {
                self.keys.entry(tree).or_default().push(key);
                self.len += 1;
            }
        }
    }

    fn ask(self, reader: &ReadTxn) -> u64 {
        let mut pages = 0;
        for (tree, mut keys) in self.keys {
            // The replay says what is wrong with it.
            let Ok(Some(tree)) = reader.tree_by_id(TreeId::from_number(tree)) else { continue };
            keys.sort_unstable();
            keys.dedup();
            pages += tree.fetch_leaves(&keys).unwrap_or(0);
        }
        pages
    }
}
