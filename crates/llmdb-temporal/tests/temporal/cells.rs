//! Long histories of few keys, cell by cell: the naive log as a table of what each elementary cell of valid time holds
//! after each commit, against `get` at every one of them. Blocks part, close and part again many times.

use std::collections::BTreeSet;
use std::ops::Bound::Unbounded;

use llmdb_temporal::{Known, Operation, Period, TemporalRead, ValidTime};

use crate::support::{BLOCK_SIZES, Bench, at, cases};

/// (key, cell, commit) triples to compare in one run of the tests.
const CELL_COUNT_MIN: u64 = 1_000_000;

const KEYS: [&[u8]; 3] = [b"a", b"a\0", b"b"];
const C: &str = "main";
/// Finite instants of all histories: 0..END.
const END: i64 = 260;

struct Op {
    commit: usize,
    key: usize,
    op: Operation,
    period: Period,
    value: Vec<u8>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as i64
    }
}

/// What kinds of change a history is made of, in percent; the rest goes on from now.
#[derive(Clone, Copy)]
struct Mix {
    corrections: i64,
    deletes: i64,
    future: i64,
}

const MIXES: [Mix; 5] = [
    Mix { corrections: 0, deletes: 0, future: 0 },
    Mix { corrections: 10, deletes: 2, future: 2 },
    Mix { corrections: 30, deletes: 5, future: 5 },
    Mix { corrections: 60, deletes: 30, future: 10 },
    // All of it at one instant, and backwards.
    Mix { corrections: 100, deletes: 0, future: 0 },
];

fn operation(random: &mut Random, mix: Mix, commit: usize, commit_count: usize) -> Op {
    let now = commit as i64 * END / commit_count as i64;
    let key = if random.below(3) < 2 { 0 } else { random.below(KEYS.len() as i64) as usize };
    let dice = random.below(100);
    let (op, period) = if dice < mix.deletes {
        let from = random.below(END);
        (Operation::Delete, Period { from: at(from), to: at((from + 1 + random.below(40)).min(END)) })
    } else if dice < mix.deletes + mix.future {
        (Operation::Put, Period::since(at((now + random.below(30)).min(END - 1))))
    } else if dice < mix.deletes + mix.future + mix.corrections {
        let from = if mix.corrections == 100 { END - 1 - now } else { random.below(now.max(1)) };
        let to = from + 1 + random.below(12);
        let op = if random.below(4) == 0 { Operation::Update } else { Operation::Put };
        let from = if random.below(20) == 0 { ValidTime::NEG_INF } else { at(from) };
        (op, Period { from, to: at(to.min(END)) })
    } else {
        (Operation::Put, Period::since(at(now)))
    };
    Op { commit, key, op, period, value: vec![commit as u8, random.below(256) as u8, 7] }
}

/// For each cell of valid time what it holds after each commit: the naive log, one operation after the other.
fn table(ops: &[Op], key: usize, starts: &[ValidTime], commit_count: usize) -> Vec<Vec<Option<usize>>> {
    let mut state: Vec<Option<usize>> = vec![None; starts.len()];
    let mut states = Vec::new();
    for commit in 0..commit_count {
        for (index, op) in ops.iter().enumerate().filter(|(_, op)| op.commit == commit && op.key == key) {
            for (cell, _) in starts.iter().enumerate().filter(|(_, start)| op.period.contains(**start)) {
                state[cell] = match op.op {
                    Operation::Delete => None,
                    Operation::Update => state[cell].map(|_| index),
                    _ => Some(index),
                };
            }
        }
        states.push(state.clone());
    }
    states
}

/// Plays a history and compares every cell after every commit; how many there were.
fn compare(seed: u64, mix: Mix, block_size_max: usize, commit_count: usize) -> u64 {
    let mut random = Random(seed);
    let mut bench = Bench::with_blocks(seed, block_size_max);
    let mut ops = Vec::new();
    for commit in 0..commit_count {
        if random.below(40) == 0 {
            bench.reopen().unwrap();
        }
        if random.below(60) == 0 {
            let image = bench.disk.crash_image(seed);
            bench.continue_on(image).unwrap();
        }
        let mut tx = bench.db().begin_write().unwrap();
        for _ in 0..1 + random.below(3) {
            let op = operation(&mut random, mix, commit, commit_count);
            match op.op {
                Operation::Put => tx.put(C, KEYS[op.key], op.period, &op.value).unwrap(),
                Operation::Update => tx.update(C, KEYS[op.key], op.period, &op.value).unwrap(),
                _ => tx.delete(C, KEYS[op.key], op.period).unwrap(),
            }
            ops.push(op);
        }
        assert_eq!(tx.commit().unwrap().commit.get(), commit as u64);
    }
    let read = bench.db().begin_read().unwrap();
    let cells = (0..KEYS.len()).map(|key| compare_key(&read, &ops, key, commit_count, seed)).sum();
    let report = read.check(&mut |_, _| {}).unwrap();
    assert_eq!(report.operations, ops.len() as u64);
    cells
}

fn compare_key(read: &TemporalRead, ops: &[Op], key: usize, commit_count: usize, seed: u64) -> u64 {
    let bounds = ops.iter().filter(|op| op.key == key).flat_map(|op| [op.period.from, op.period.to]);
    let mut starts: BTreeSet<ValidTime> = bounds.collect();
    starts.insert(ValidTime::NEG_INF);
    starts.remove(&ValidTime::POS_INF);
    let starts: Vec<ValidTime> = starts.into_iter().collect();
    let states = table(ops, key, &starts, commit_count);
    let collection = read.collection(C).unwrap().unwrap();
    for (commit, state) in states.iter().enumerate() {
        let known = Known::Commit(commit as i64);
        for (start, holds) in starts.iter().zip(state) {
            let wanted = holds.map(|index| &ops[index].value[..]);
            let found = collection.get_value(KEYS[key], *start, known).unwrap();
            assert_eq!(found.as_deref(), wanted, "seed {seed}: {:?} at {start} known {commit}", KEYS[key]);
        }
    }
    compare_rectangles(read, key, &starts, commit_count);
    states.len() as u64 * starts.len() as u64
}

/// The rectangles that `get`, `timeline`, `history` and `scan` find outward from a point are those of the sweep over
/// everything, which the small histories of `compare` hold against the naive log.
fn compare_rectangles(read: &TemporalRead, key: usize, starts: &[ValidTime], commit_count: usize) {
    let versions = read.versions(C, KEYS[key]).unwrap();
    let stood = |commit: u64| {
        let mut rows: Vec<_> = versions
            .iter()
            .filter(|row| {
                row.known_from.commit.get() <= commit
                    && row.known_to.is_none_or(|to| commit < to.commit.get())
            })
            .cloned()
            .collect();
        rows.sort_by_key(|row| row.valid);
        rows
    };
    for commit in (0..commit_count as u64).step_by(7) {
        let known = Known::Commit(commit as i64);
        let rows = stood(commit);
        assert_eq!(read.timeline(C, KEYS[key], Period::ALL, known).unwrap(), rows, "known {commit}");
        for start in starts.iter().step_by(5) {
            let row = rows.iter().find(|row| row.valid.contains(*start)).cloned();
            assert_eq!(read.get(C, KEYS[key], *start, known).unwrap(), row, "at {start} known {commit}");
            let scanned = read.scan(C, Unbounded, Unbounded, *start, known).unwrap();
            let scanned = scanned.map(Result::unwrap).find(|row| row.key == KEYS[key]);
            assert_eq!(scanned, row, "at {start} known {commit}");
        }
    }
}

#[test]
fn a_million_cells_of_long_histories_equal_the_naive_log() {
    let mut cells = 0;
    for round in 0..u64::from(cases(1)) {
        for (index, mix) in MIXES.into_iter().enumerate() {
            for (place, size) in BLOCK_SIZES.into_iter().enumerate() {
                let seed = round * 1000 + index as u64 * 10 + place as u64;
                cells += compare(seed, mix, size, if size == usize::MAX { 260 } else { 140 });
            }
        }
    }
    println!("{cells} cells");
    assert!(cells >= CELL_COUNT_MIN, "only {cells} cells were compared");
}
