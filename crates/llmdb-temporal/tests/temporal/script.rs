//! Random histories: what a proptest shrinks, and how it is played against database and oracle at once.

use llmdb_temporal::{Error, Operation, Period, TemporalWrite, ValidTime};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::oracle::{Op, Oracle};
use crate::support::{Bench, time};

/// Keys that are likely to be taken for each other by a careless encoding.
pub(crate) const KEYS: [&[u8]; 6] = [b"a", b"a\0", b"a\0\x01", b"a\x01", b"\0", b"\xff\xff"];
pub(crate) const COLLECTIONS: [&str; 2] = ["main", "größe"];

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) collection: usize,
    pub(crate) key: usize,
    pub(crate) op: Operation,
    pub(crate) from: ValidTime,
    pub(crate) to: ValidTime,
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) steps: Vec<Step>,
    /// The commit time to ask for; may lie before the last one, and is refused then.
    pub(crate) wanted: Option<i64>,
    /// Where the clock stands.
    pub(crate) clock: i64,
    pub(crate) reopen_before: bool,
    pub(crate) roll_back: bool,
}

pub(crate) fn script(
    transactions: impl Into<proptest::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Transaction>> {
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
pub(crate) fn play(bench: &mut Bench, oracle: &mut Oracle, transaction: &Transaction) {
    let (after, result) = attempt(bench, oracle, transaction);
    result.expect("nothing fails in the store");
    *oracle = after;
}

/// Plays one transaction on the database. Also gives the model of what holds if it became durable, which it may
/// have done even where an error is returned.
pub(crate) fn attempt(
    bench: &mut Bench,
    oracle: &Oracle,
    transaction: &Transaction,
) -> (Oracle, Result<(), Error>) {
    let mut after = oracle.clone();
    let result = perform(bench, &mut after, transaction);
    if transaction.roll_back { (oracle.clone(), result) } else { (after, result) }
}

fn perform(bench: &mut Bench, oracle: &mut Oracle, transaction: &Transaction) -> Result<(), Error> {
    if transaction.reopen_before {
        bench.reopen()?;
    }
    bench.set_clock(transaction.clock);
    let mut tx = bench.db().begin_write()?;
    let last = oracle.times.last().copied();
    let later = |time: i64| last.map_or(time, |last| time.max(last + 1));
    let mut expected = later(transaction.clock);
    match transaction.wanted {
        // Refused, and the clock's goes on.
        Some(wanted) if last.is_some_and(|last| wanted < last) => match tx.set_time(time(wanted)) {
            Err(Error::CommitTimeBefore { wanted: told, newest }) => {
                assert_eq!((told, newest), (time(wanted), oracle.stamp(oracle.newest())));
            }
            other => panic!("{wanted} after {last:?}: {other:?}"),
        },
        Some(wanted) => {
            expected = later(wanted);
            assert_eq!(tx.set_time(time(wanted))?, time(expected));
        }
        None => {}
    }
    assert_eq!(tx.time().micros(), expected, "commit time is max(wanted or clock's, last + 1)");
    oracle.times.push(expected);
    for step in &transaction.steps {
        play_step(&mut tx, oracle, step)?;
    }
    if transaction.roll_back {
        return Ok(());
    }
    let receipt = tx.commit()?;
    let newest = oracle.stamp(oracle.newest());
    assert_eq!((receipt.commit, receipt.at), (newest.commit, newest.at), "numbers are dense from 0");
    Ok(())
}

fn play_step(tx: &mut TemporalWrite, oracle: &mut Oracle, step: &Step) -> Result<(), Error> {
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
        (Err(error @ (Error::Store(_) | Error::TransactionFailed)), _) => return Err(error),
        (outcome, in_the_way) => panic!("{step:?}: {outcome:?}, but in the way is {in_the_way:?}"),
    }
    Ok(())
}
