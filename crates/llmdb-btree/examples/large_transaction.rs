//! One transaction much larger than its memory: `large_transaction FOLDER [MEGABYTES [BUDGET_MB [rising]]]`
//! inserts 256-byte records in random (or rising) key order under a budget for dirty pages, commits, and
//! reads some back. Prints times, the most anonymous memory the process had, and what the file takes.
//! Defaults: 2,000 MB under 64 MB.

use llmdb_btree::{Database, TreeId, WriteTxn};
use llmdb_pager::PagerOptions;
use std::time::Instant;

const RECORD_SIZE: usize = 256;

fn key(n: u64, rising: bool) -> [u8; 16] {
    let first = if rising { n } else { n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn value(n: u64) -> [u8; RECORD_SIZE - 16] {
    let mut value = [n as u8; RECORD_SIZE - 16];
    value[..8].copy_from_slice(&n.to_le_bytes());
    value
}

/// A line of `/proc/self/status` in MB; 0 where the system has none.
fn memory(name: &str) -> u64 {
    amount("/proc/self/status", name)
}

fn amount(file: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(file).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn fill(txn: &mut WriteTxn, tree: TreeId, count: u64, rising: bool) -> Result<u64, llmdb_btree::Error> {
    let mut most = 0;
    for n in 0..count {
        txn.insert(tree, &key(n, rising), &value(n))?;
        if n % 4096 == 0 {
            most = most.max(memory("RssAnon"));
        }
    }
    Ok(most.max(memory("RssAnon")))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("say in which folder to work")?;
    let megabytes: u64 = arguments.next().map_or(Ok(2_000), |text| text.parse())?;
    let budget: u64 = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let rising = arguments.next().is_some_and(|word| word == "rising");
    let count = megabytes * 1_000_000 / RECORD_SIZE as u64;
    let folder = tempfile::tempdir_in(folder)?;
    let options = PagerOptions::new().dirty_budget(budget << 20);
    let db = Database::create(options, folder.path().join("t.llmdb"))?;
    let mut txn = db.begin_write()?;
    let tree = txn.create_tree("t")?;
    let start = Instant::now();
    let most = fill(&mut txn, tree, count, rising)?;
    let spills = txn.pager_ref().spill_count();
    println!(
        "{count} records in {:.1} s, {spills} spills, at most {most} MB of anonymous memory",
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    txn.commit()?;
    println!("commit in {:.2} s, now {} MB", start.elapsed().as_secs_f64(), memory("RssAnon"));
    let reader = db.begin_read();
    let trees = reader.tree("t")?.ok_or("the tree is gone")?;
    for n in (0..count).step_by(1 + count as usize / 100_000) {
        assert_eq!(trees.get(&key(n, rising))?, Some(&value(n)[..]), "record {n}");
    }
    for record in trees.iter() {
        assert_eq!(record?.1.len(), RECORD_SIZE - 16);
    }
    println!(
        "{} MB of the file in memory, {} MB of it mapped in large pieces",
        amount("/proc/self/status", "RssFile"),
        amount("/proc/self/smaps_rollup", "FilePmdMapped")
    );
    drop(reader);
    let stat = db.pager().stat()?;
    println!(
        "{:.2} bytes in use and {:.2} in the file for each user byte",
        (stat.page_count - stat.free_pages) as f64 * stat.page_size as f64
            / (count * RECORD_SIZE as u64) as f64,
        stat.file_bytes as f64 / (count * RECORD_SIZE as u64) as f64
    );
    Ok(())
}
