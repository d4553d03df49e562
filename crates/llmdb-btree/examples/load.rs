//! Loads records and says how fast it went and how full the pages are:
//! `cargo run --release -p llmdb-btree --example load -- ORDER COUNT`, where ORDER is `random`, `rising`,
//! `falling`, `runs` (rising runs between random places) or `bulk`. Nothing is flushed: the transaction is dropped.

use llmdb_btree::{Database, WriteTxn};
use llmdb_pager::PagerOptions;
use std::time::Instant;

const VALUE_SIZE: usize = 256;

/// SplitMix64, so that the keys are the same in every run.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn key(order: &str, n: u64) -> [u8; 16] {
    let (high, low) = match order {
        "random" => (mix(n), mix(n ^ 1 << 40)),
        "falling" => (u64::MAX - n, 0),
        "runs" => (mix(n / 1_000), n),
        _ => (n, 0),
    };
    let mut key = [0; 16];
    key[..8].copy_from_slice(&high.to_be_bytes());
    key[8..].copy_from_slice(&low.to_be_bytes());
    key
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let order = args.next().unwrap_or_else(|| "random".to_owned());
    let count: u64 = args.next().map_or(Ok(200_000), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    let db = Database::create(PagerOptions::new(), folder.path().join("load.llmdb"))?;
    let mut txn = db.begin_write()?;
    let tree = txn.create_tree("load")?;
    let started = Instant::now();
    if order == "bulk" {
        txn.bulk_load(tree, (0..count).map(|n| (key(&order, n), [n as u8; VALUE_SIZE])))?;
    } else {
        for n in 0..count {
            txn.insert(tree, &key(&order, n), &[n as u8; VALUE_SIZE])?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    report(&txn, &order, count, seconds);
    Ok(())
}

fn report(txn: &WriteTxn, order: &str, count: u64, seconds: f64) {
    let user = count * (16 + VALUE_SIZE as u64);
    let dirty = txn.pager_ref().dirty_bytes();
    println!(
        "{order}: {count} records in {seconds:.3} s, {:.0} records/s, {:.0} MB/s",
        count as f64 / seconds,
        user as f64 / seconds / 1e6
    );
    println!("pages: {} bytes, {:.3} times the user's", dirty, dirty as f64 / user as f64);
}
