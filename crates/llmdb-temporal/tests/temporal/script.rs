//! Random histories: what a proptest shrinks, and how it is played against database and oracle at once.

use llmdb_temporal::{Error, Operation, Period, TemporalWrite, ValidTime};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::oracle::{Op, Oracle};
use crate::support::{Bench, time};

/// Keys that are likely to be taken for each other by a careless encoding.
pub const KEYS: [&[u8]; 6] = [b"a", b"a\0", b"a\0\x01", b"a\x01", b"\0", b"\xff\xff"];
pub const COLLECTIONS: [&str; 2] = ["main", "größe"];

#[derive(Clone, Debug)]
pub struct Step {
    pub collection: usize,
    pub key: usize,
    pub op: Operation,
    pub from: ValidTime,
    pub to: ValidTime,
    pub value: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Transaction {
    pub steps: Vec<Step>,
    /// The commit time to ask for; may lie before the last one.
    pub wanted: Option<i64>,
    /// Where the clock stands.
    pub clock: i64,
    pub reopen_before: bool,
    pub roll_back: bool,
}

pub fn script(transactions: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Transaction>> {
    vec(transaction(), transactions)
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let steps = vec(step(), 0..6);
    let wanted = proptest::option::weighted(0.3, -20..200i64);
    (steps, wanted, -20..200i64, prop::bool::weighted(0.15), prop::bool::weighted(0.1)).prop_map(
        |(steps, wanted, clock, reopen_before, roll_back)| Transaction {
            steps,
            wanted,
            clock,
            reopen_before,
            roll_back,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        5 => Just(Operation::Put),
        2 => Just(Operation::Update),
        2 => Just(Operation::Delete),
        2 => Just(Operation::Insert),
    ];
    let value = prop_oneof![Just(vec![]), vec(b'a'..b'd', 1), vec(any::<u8>(), 0..9)];
    // Two keys get most of the operations, so that they meet.
    let key = prop_oneof![6 => 0..2usize, 1 => 2..KEYS.len()];
    let collection = prop_oneof![9 => Just(0usize), 1 => Just(1usize)];
    (collection, key, op, instant(), instant(), value).prop_map(|(collection, key, op, one, other, value)| {
        let (from, to) = (one.min(other), one.max(other));
        Step { collection, key, op, from, to, value }
    })
}

fn instant() -> impl Strategy<Value = ValidTime> {
    let finite = |micros: i64| ValidTime::from_micros(micros).unwrap();
    prop_oneof![
        12 => (-8..8i64).prop_map(finite),
        2 => Just(ValidTime::NEG_INF),
        3 => Just(ValidTime::POS_INF),
        1 => prop_oneof![Just(i64::MIN + 1), Just(i64::MAX - 1)].prop_map(finite),
    ]
}

/// Plays one transaction on both. What a refused insert says is compared on the way.
pub fn play(bench: &mut Bench, oracle: &mut Oracle, transaction: &Transaction) {
    if transaction.reopen_before {
        bench.reopen();
    }
    bench.set_clock(transaction.clock);
    let mut tx = bench.db().begin_write().unwrap();
    if let Some(wanted) = transaction.wanted {
        tx.set_time(time(wanted));
    }
    let last = oracle.times.last().copied();
    let wanted = transaction.wanted.unwrap_or(transaction.clock);
    let expected = last.map_or(wanted, |last| wanted.max(last + 1));
    assert_eq!(tx.time().micros(), expected, "commit time is max(wanted, last + 1)");
    let mut after = oracle.clone();
    after.times.push(expected);
    for step in &transaction.steps {
        play_step(&mut tx, &mut after, step);
    }
    if transaction.roll_back {
        return drop(tx);
    }
    let receipt = tx.commit().unwrap();
    *oracle = after;
    let newest = oracle.stamp(oracle.newest());
    assert_eq!((receipt.commit, receipt.at), (newest.commit, newest.at), "numbers are dense from 0");
}

fn play_step(tx: &mut TemporalWrite, oracle: &mut Oracle, step: &Step) {
    let (collection, key) = (COLLECTIONS[step.collection], KEYS[step.key]);
    let period = Period::new(step.from, step.to).unwrap();
    let outcome = match step.op {
        Operation::Put => tx.put(collection, key, period, &step.value),
        Operation::Update => tx.update(collection, key, period, &step.value),
        Operation::Insert => tx.insert(collection, key, period, &step.value),
        _ => tx.delete(collection, key, period),
    };
    let commit = oracle.newest();
    let in_the_way = oracle
        .pieces(collection, key, commit)
        .into_iter()
        .find(|piece| step.op == Operation::Insert && piece.valid.overlaps(period));
    match (outcome, in_the_way) {
        (Ok(()), None) if period.is_empty() => {}
        (Ok(()), None) => oracle.ops.push(Op {
            commit,
            collection: collection.to_owned(),
            key: key.to_vec(),
            op: step.op,
            valid: period,
            value: if step.op == Operation::Delete { Vec::new() } else { step.value.clone() },
        }),
        (Err(Error::Overlap { collection: c, key: k, period: p, in_the_way, asserted }), Some(piece)) => {
            assert_eq!((&c[..], &k[..], p), (collection, key, period));
            assert_eq!((in_the_way, asserted), (piece.valid, oracle.stamp(piece.asserted)));
        }
        (outcome, in_the_way) => panic!("{step:?}: {outcome:?}, but in the way is {in_the_way:?}"),
    }
}
