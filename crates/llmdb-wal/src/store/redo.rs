//! Redo records: what a transaction did, as the log keeps it.
//!
//! ```text
//! payload:  time (8 bytes), then operations
//! operation: tag (1), form of the tree (1), then
//!   1 insert        tree, key length, key, value length, value
//!   2 insert large  tree, key length, key, reference (40 bytes, as in a leaf)
//!   3 remove        tree, key length, key
//!   4 create tree   tree, name length, name
//!   5 drop tree     tree (0), name length, name
//!   6 remove range  tree, low length, low, high length, high: keys from low on and before high; empty = no bound
//! ```
//! Trees and lengths are numbers of 7 bits a byte, least first, the high bit on all but the last.
//!
//! Invariants
//! 1. Replaying a transaction's operations in order on the state before it gives the state after it.

use llmdb_btree::{FORM_TREE, LARGE_REF_SIZE, LargeRef};

const INSERT: u8 = 1;
const INSERT_LARGE: u8 = 2;
const REMOVE: u8 = 3;
const CREATE_TREE: u8 = 4;
const DROP_TREE: u8 = 5;
const REMOVE_RANGE: u8 = 6;
/// Bytes of the time before the operations.
const TIME_SIZE: usize = 8;
/// Memory that is kept for the next transaction is no larger than this.
const MEMORY_MAX: usize = 1 << 20;

/// One operation, borrowed from a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redo<'a> {
    Insert { tree: u32, key: &'a [u8], value: &'a [u8] },
    InsertLarge { tree: u32, key: &'a [u8], value: LargeRef },
    Remove { tree: u32, key: &'a [u8] },
    CreateTree { tree: u32, name: &'a str },
    DropTree { name: &'a str },
    RemoveRange { tree: u32, low: &'a [u8], high: &'a [u8] },
}

/// A transaction's payload in the making. One that has become too large for a record is forgotten, for good: a savepoint
/// before that does not bring it back.
#[derive(Debug)]
pub(crate) struct RedoBuilder {
    bytes: Vec<u8>,
    size_max: u64,
    is_too_large: bool,
    /// Operations that were pushed, also those that were forgotten since.
    count: u64,
    /// Whether any of them was no removal.
    adds: bool,
}

impl RedoBuilder {
    /// An empty one, of `size_max` bytes at most, in memory that an earlier one had.
    pub(crate) fn new(mut memory: Vec<u8>, size_max: u64) -> Self {
        memory.clear();
        memory.resize(TIME_SIZE, 0);
        Self { bytes: memory, size_max, is_too_large: false, count: 0, adds: false }
    }

    /// Its memory, for the next one, where it is not much.
    pub(crate) fn into_memory(self) -> Option<Vec<u8>> {
        Some(self.bytes).filter(|bytes| (TIME_SIZE..=MEMORY_MAX).contains(&bytes.capacity()))
    }

    pub(crate) fn push(&mut self, op: Redo<'_>) {
        self.count += 1;
        self.adds |= !matches!(op, Redo::Remove { .. } | Redo::RemoveRange { .. } | Redo::DropTree { .. });
        if self.is_too_large {
            return;
        }
        let (tag, tree, text) = match op {
            Redo::Insert { tree, key, .. } => (INSERT, tree, key),
            Redo::InsertLarge { tree, key, .. } => (INSERT_LARGE, tree, key),
            Redo::Remove { tree, key } => (REMOVE, tree, key),
            Redo::CreateTree { tree, name } => (CREATE_TREE, tree, name.as_bytes()),
            Redo::DropTree { name } => (DROP_TREE, 0, name.as_bytes()),
            Redo::RemoveRange { tree, low, .. } => (REMOVE_RANGE, tree, low),
        };
        self.bytes.extend_from_slice(&[tag, FORM_TREE]);
        self.number(u64::from(tree));
        self.text(text);
        match op {
            Redo::Insert { value, .. } => self.text(value),
            Redo::RemoveRange { high, .. } => self.text(high),
            Redo::InsertLarge { value, .. } => self.bytes.extend_from_slice(&value.encode()),
            _ => {}
        }
        if self.bytes.len() as u64 > self.size_max {
            (self.bytes, self.is_too_large) = (Vec::new(), true);
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// Whether it is too large, or on its way to it: a quarter of the size is reached.
    pub(crate) fn will_be_too_large(&self) -> bool {
        self.is_too_large || self.bytes.len() as u64 > self.size_max / 4
    }

    /// Whether anything was pushed but removals.
    pub(crate) fn adds(&self) -> bool {
        self.adds
    }

    /// How many operations were pushed.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How long it is.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what was pushed since it was `len` long.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// The payload of a commit at `time`; `None` where it is too large.
    pub(crate) fn payload(&mut self, time: i64) -> Option<&[u8]> {
        let stamp = self.bytes.get_mut(..TIME_SIZE).filter(|_| !self.is_too_large)?;
        stamp.copy_from_slice(&time.to_le_bytes());
        Some(&self.bytes)
    }
}

/// The time of a payload; `None` where it is too short.
pub(crate) fn time_of(payload: &[u8]) -> Option<i64> {
    payload.first_chunk().map(|bytes| i64::from_le_bytes(*bytes))
}

/// The operations of a payload. The iterator ends with an error where it cannot be read on.
pub(crate) fn operations(payload: &[u8]) -> Operations<'_> {
    Operations { rest: payload.get(TIME_SIZE..).unwrap_or_default() }
}

pub(crate) struct Operations<'a> {
    rest: &'a [u8],
}

impl<'a> Operations<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }

    fn operation(&mut self) -> Option<Redo<'a>> {
        let [tag, form] = *self.take(2)?.first_chunk()?;
        let tree = u32::try_from(self.number()?).ok()?;
        let text = self.text()?;
        if form != FORM_TREE {
            return None;
        }
        Some(match tag {
            INSERT => Redo::Insert { tree, key: text, value: self.text()? },
            INSERT_LARGE => {
                Redo::InsertLarge { tree, key: text, value: LargeRef::decode(self.take(LARGE_REF_SIZE)?)? }
            }
            REMOVE => Redo::Remove { tree, key: text },
            CREATE_TREE => Redo::CreateTree { tree, name: std::str::from_utf8(text).ok()? },
            DROP_TREE => Redo::DropTree { name: std::str::from_utf8(text).ok()? },
            REMOVE_RANGE => Redo::RemoveRange { tree, low: text, high: self.text()? },
            _ => return None,
        })
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Redo<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let op = self.operation().ok_or("an operation in a record cannot be read");
        if op.is_err() {
            self.rest = &[];
        }
        Some(op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmdb_pager::PageNumber;

    #[test]
    fn operations_survive_the_round_trip() {
        let large = LargeRef { start: PageNumber(9), len: 70_000, born: 3, hash: 1 << 100 };
        let ops = [
            Redo::CreateTree { tree: 300, name: "näme" },
            Redo::Insert { tree: 300, key: b"k", value: &[5; 300] },
            Redo::InsertLarge { tree: 1, key: &[0; 1000], value: large },
            Redo::Remove { tree: 0, key: b"\0" },
            Redo::DropTree { name: "x" },
            Redo::RemoveRange { tree: 2, low: b"", high: b"m" },
        ];
        let mut builder = RedoBuilder::new(Vec::new(), u64::MAX);
        for op in ops {
            builder.push(op);
        }
        let payload = builder.payload(-77).unwrap().to_vec();
        assert_eq!(time_of(&payload), Some(-77));
        assert_eq!(operations(&payload).collect::<Result<Vec<_>, _>>().unwrap(), ops);
        for cut in TIME_SIZE..payload.len() {
            let read: Vec<_> = operations(&payload[..cut]).collect();
            assert!(read.len() <= ops.len() && read.iter().filter(|op| op.is_err()).count() <= 1);
        }
    }
}
