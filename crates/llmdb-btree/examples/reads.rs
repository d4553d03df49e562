//! How fast hot records are read: `cargo run --release -p llmdb-btree --example reads -- RECORDS [SECONDS]`.
//!
//! Loads so many records of 256 bytes under random keys of 16, then gets them in random order: one by one from a
//! snapshot, and 64 at once (`get_many`). Prints nanoseconds a get; each value is looked at.

use llmdb_btree::{Database, Tree};
use llmdb_pager::PagerOptions;
use std::time::{Duration, Instant};

const BATCH: u64 = 100_000;
const MANY: usize = 64;
const VALUE_SIZE: usize = 256;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// SplitMix64, so that the keys are the same in every run.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn key(n: u64) -> [u8; 16] {
    ((u128::from(mix(n)) << 64) | u128::from(n)).to_be_bytes()
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let records: u64 = arguments.next().ok_or("usage: reads RECORDS [SECONDS]")?.parse()?;
    let seconds = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let db = Database::create(PagerOptions::new().dirty_budget(1 << 30), folder.path().join("reads.llmdb"))?;
    for first in (0..records).step_by(BATCH as usize) {
        let mut txn = db.begin_write()?;
        let tree = txn.create_tree("t")?;
        for n in first..(first + BATCH).min(records) {
            txn.insert(tree, &key(n), &[n as u8; VALUE_SIZE])?;
        }
        txn.commit_unsynced()?;
    }
    db.sync()?;
    let reader = db.begin_read();
    let tree = reader.tree("t")?.ok_or("it was made")?;
    // Each page is checked at its first touch.
    tree.iter().try_for_each(|record| record.map(|_| ()))?;
    for round in 0..3 {
        say("get", run(Duration::from_secs(seconds), round, records, |keys| single(&tree, keys))?);
        say("get_many", run(Duration::from_secs(seconds), round, records, |keys| many(&tree, keys))?);
    }
    Ok(())
}

fn say(what: &str, (gets, took): (u64, Duration)) {
    println!("{what}: {:.0} ns", took.as_nanos() as f64 / gets as f64);
}

fn run(
    limit: Duration,
    seed: u64,
    records: u64,
    mut get: impl FnMut(&[u64; MANY]) -> Result<()>,
) -> Result<(u64, Duration)> {
    let (began, mut gets, mut at) = (Instant::now(), 0, mix(seed));
    while began.elapsed() < limit {
        for _ in 0..100 {
            let numbers = std::array::from_fn(|step| mix(at + step as u64) % records);
            at += MANY as u64;
            get(&numbers)?;
            gets += MANY as u64;
        }
    }
    Ok((gets, began.elapsed()))
}

fn single(tree: &Tree<'_>, numbers: &[u64; MANY]) -> Result<()> {
    for n in numbers {
        let value = tree.get(&key(*n))?.ok_or("a record is missing")?;
        is_right(value, *n)?;
    }
    Ok(())
}

fn many(tree: &Tree<'_>, numbers: &[u64; MANY]) -> Result<()> {
    let keys = numbers.map(key);
    let mut right = 0;
    tree.get_many(&keys, |at, value| {
        right += usize::from(value.is_some_and(|value| is_right(value, numbers[at]).is_ok()))
    })?;
    if right == MANY { Ok(()) } else { Err("records are missing".into()) }
}

/// Looks at a byte of each line of the value.
fn is_right(value: &[u8], n: u64) -> Result<()> {
    let same = value.len() == VALUE_SIZE && value.iter().step_by(64).all(|byte| *byte == n as u8);
    if same { Ok(()) } else { Err("a value is another's".into()) }
}
