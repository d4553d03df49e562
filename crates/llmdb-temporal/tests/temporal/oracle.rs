//! The naive model: a list of operations. Every answer is found by going through the whole list for one instant.
//!
//! It knows no break points. A cell is an instant between two neighbouring bounds of any operation on the key; all
//! instants of a cell are alike. What an operation gives a cell is remembered as the cell's *paint*: touching cells
//! with the same paint are one piece.

use std::collections::BTreeSet;

use llmdb_temporal::{
    Change, CommitNumber, CommitStamp, CommitTime, Difference, Operation, Period, ValidTime, Version,
};

/// An operation that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) commit: i64,
    pub(crate) collection: String,
    pub(crate) key: Vec<u8>,
    pub(crate) op: Operation,
    pub(crate) valid: Period,
    pub(crate) value: Vec<u8>,
}

/// All accepted operations in order, and the time of each commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) ops: Vec<Op>,
    pub(crate) times: Vec<i64>,
}

/// What is believed about an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Belief {
    pub(crate) value: Vec<u8>,
    pub(crate) asserted: i64,
    paint: Vec<usize>,
}

/// A run of touching cells with the same paint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) valid: Period,
    pub(crate) value: Vec<u8>,
    pub(crate) asserted: i64,
}

impl Oracle {
    /// What is believed about an instant once `commit` is recorded.
    pub(crate) fn believed(
        &self,
        collection: &str,
        key: &[u8],
        at: ValidTime,
        commit: i64,
    ) -> Option<Belief> {
        let mut belief: Option<Belief> = None;
        for (index, op) in self.ops.iter().enumerate() {
            if op.commit > commit || op.collection != collection || op.key != key || !covers(op.valid, at) {
                continue;
            }
            let fresh = |paint| Some(Belief { value: op.value.clone(), asserted: op.commit, paint });
            belief = match (op.op, belief) {
                (Operation::Put | Operation::Insert, _) => fresh(vec![index]),
                (Operation::Update, Some(old)) => fresh([old.paint, vec![index]].concat()),
                _ => None,
            };
        }
        belief
    }

    /// The bounds of all operations on a key and both ends, ascending: the starts of all cells.
    pub(crate) fn cell_starts(&self, collection: &str, key: &[u8]) -> Vec<ValidTime> {
        let mut starts = BTreeSet::from([ValidTime::NEG_INF]);
        for op in self.of_key(collection, key) {
            starts.extend([op.valid.from, op.valid.to]);
        }
        starts.remove(&ValidTime::POS_INF);
        starts.into_iter().collect()
    }

    /// Instants that show every cell of a key: its start, its end, one beside each, and both ends of time.
    pub(crate) fn instants(&self, collection: &str, key: &[u8]) -> Vec<ValidTime> {
        let mut instants = BTreeSet::from([ValidTime::NEG_INF, ValidTime::POS_INF]);
        for start in self.cell_starts(collection, key) {
            instants.insert(start);
            let beside = [start.micros().saturating_sub(1), start.micros().saturating_add(1)];
            instants.extend(beside.into_iter().filter_map(|micros| ValidTime::from_micros(micros).ok()));
        }
        instants.into_iter().collect()
    }

    /// The pieces of a key once `commit` is recorded.
    pub(crate) fn pieces(&self, collection: &str, key: &[u8], commit: i64) -> Vec<Piece> {
        let starts = self.cell_starts(collection, key);
        let mut pieces: Vec<(Belief, Period)> = Vec::new();
        for (index, &start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(ValidTime::POS_INF);
            let Some(belief) = self.believed(collection, key, start, commit) else { continue };
            match pieces.last_mut() {
                Some((last, valid)) if valid.to == start && *last == belief => valid.to = end,
                _ => pieces.push((belief, Period::new(start, end).unwrap())),
            }
        }
        let piece = |(belief, valid): (Belief, Period)| Piece {
            valid,
            value: belief.value,
            asserted: belief.asserted,
        };
        pieces.into_iter().map(piece).collect()
    }

    /// Every rectangle of a key, by known time and then valid time.
    pub(crate) fn versions(&self, collection: &str, key: &[u8]) -> Vec<Version> {
        let (mut open, mut all): (Vec<(i64, Piece)>, Vec<Version>) = (Vec::new(), Vec::new());
        for commit in 0..=self.newest() {
            let pieces = self.pieces(collection, key, commit);
            for (since, piece) in &open {
                if !pieces.contains(piece) {
                    all.push(self.version(key, piece, *since, Some(commit)));
                }
            }
            open.retain(|(_, piece)| pieces.contains(piece));
            for piece in pieces {
                if !open.iter().any(|(_, other)| *other == piece) {
                    open.push((commit, piece));
                }
            }
        }
        all.extend(open.iter().map(|(since, piece)| self.version(key, piece, *since, None)));
        all.sort_by_key(|found| (found.known_from, found.valid));
        all
    }

    /// Where two commits differ, by asking both about every cell.
    pub(crate) fn diff(&self, collection: &str, key: &[u8], from: i64, to: i64) -> Vec<Difference> {
        let starts = self.cell_starts(collection, key);
        let mut rows: Vec<Difference> = Vec::new();
        for (index, &start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(ValidTime::POS_INF);
            let value = |commit| self.believed(collection, key, start, commit).map(|belief| belief.value);
            let (before, after) = (value(from), value(to));
            if before == after {
                continue;
            }
            match rows.last_mut() {
                Some(last) if last.valid.to == start && last.before == before && last.after == after => {
                    last.valid.to = end;
                }
                _ => rows.push(Difference {
                    key: key.to_vec(),
                    valid: Period::new(start, end).unwrap(),
                    before,
                    after,
                }),
            }
        }
        rows
    }

    /// The operations of the commits after `after` and up to `up_to`.
    pub(crate) fn changes(&self, collection: Option<&str>, after: i64, up_to: i64) -> Vec<Change> {
        let wanted = |op: &&Op| {
            after < op.commit && op.commit <= up_to && collection.is_none_or(|name| name == op.collection)
        };
        let change = |op: &Op| Change {
            commit: self.stamp(op.commit),
            collection: op.collection.clone(),
            op: op.op,
            key: op.key.clone(),
            valid: op.valid,
            value: (op.op != Operation::Delete).then(|| op.value.clone()),
        };
        self.ops.iter().filter(wanted).map(change).collect()
    }

    /// All keys that occur, ascending.
    pub(crate) fn keys(&self, collection: &str) -> Vec<Vec<u8>> {
        let keys: BTreeSet<_> =
            self.ops.iter().filter(|op| op.collection == collection).map(|op| op.key.clone()).collect();
        keys.into_iter().collect()
    }

    /// The newest commit, -1 before the first.
    pub(crate) fn newest(&self) -> i64 {
        self.times.len() as i64 - 1
    }

    pub(crate) fn stamp(&self, commit: i64) -> CommitStamp {
        let at = CommitTime::from_micros(self.times[commit as usize]).unwrap();
        CommitStamp { commit: CommitNumber::new(commit as u64), at }
    }

    /// The model as it was once `commit` was recorded.
    pub(crate) fn as_of(&self, commit: i64) -> Self {
        let ops = self.ops.iter().filter(|op| op.commit <= commit).cloned().collect();
        Self { ops, times: self.times[..(commit + 1) as usize].to_vec() }
    }

    fn of_key<'a>(&'a self, collection: &'a str, key: &'a [u8]) -> impl Iterator<Item = &'a Op> {
        self.ops.iter().filter(move |op| op.collection == collection && op.key == key)
    }

    fn version(&self, key: &[u8], piece: &Piece, since: i64, until: Option<i64>) -> Version {
        Version {
            key: key.to_vec(),
            value: piece.value.clone(),
            valid: piece.valid,
            known_from: self.stamp(since),
            known_to: until.map(|commit| self.stamp(commit)),
            asserted: self.stamp(piece.asserted),
        }
    }
}

/// Half-open, but a period without end also covers the end of time.
fn covers(period: Period, at: ValidTime) -> bool {
    period.from <= at && (at < period.to || period.to == ValidTime::POS_INF)
}
