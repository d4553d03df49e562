//! What a cold file costs: how long opening takes, how much memory the process has after it and one get,
//! how fast single gets, a scan and a check are when nothing of the file is cached.
//!
//! `cargo run --release -p llmdb-btree --example cold -- FILE RECORDS [FILLER]` makes FILE with so many records
//! of 256 bytes under random keys of 16 bytes, and so many values of 4 MiB in a tree of their own, if it is
//! not there, and prints one line per measurement.

use llmdb_btree::Database;
use llmdb_pager::{PagerOptions, beside};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

const TREE: &str = "records";
const VALUE_SIZE: usize = 256;
const BATCH: u64 = 100_000;
const GETS: u64 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(records)) = (args.next(), args.next()) else {
        return Err("usage: cold FILE RECORDS [FILLER]".into());
    };
    let (path, records) = (Path::new(&path), records.parse()?);
    let filler = args.next().map_or(Ok(0), |count| count.parse())?;
    if !path.exists() {
        return load(path, records, filler);
    }
    drop_cache(path)?;
    let before = resident()?;
    let start = Instant::now();
    let db = Database::open(PagerOptions::new(), path)?;
    let opened = start.elapsed();
    get(&db, records, 1)?;
    println!("open_ms={:.3}", opened.as_secs_f64() * 1e3);
    println!("first_get_ms={:.3}", (start.elapsed() - opened).as_secs_f64() * 1e3);
    println!("rss_before_kib={before} rss_after_kib={}", resident()?);
    let mut micros: Vec<f64> = Vec::new();
    let start = Instant::now();
    for index in 0..GETS {
        let one = Instant::now();
        get(&db, records, mix(index ^ 0xdead) % records)?;
        micros.push(one.elapsed().as_secs_f64() * 1e6);
    }
    let rate = GETS as f64 / start.elapsed().as_secs_f64();
    micros.sort_by(f64::total_cmp);
    let at = |part: f64| micros[(part * (micros.len() - 1) as f64) as usize];
    println!("cold_gets_per_s={rate:.0} p50_us={:.0} p99_us={:.0}", at(0.5), at(0.99));
    drop(db);
    scan(path)?;
    check(path)
}

fn load(path: &Path, records: u64, filler: u32) -> Result<(), Box<dyn Error>> {
    let db = Database::create(PagerOptions::new(), path)?;
    for first in (0..records).step_by(BATCH as usize) {
        let mut txn = db.begin_write()?;
        let tree = txn.create_tree(TREE)?;
        for index in first..(first + BATCH).min(records) {
            txn.insert(tree, &key(index), &[index as u8; VALUE_SIZE])?;
        }
        txn.commit()?;
    }
    for index in 0..filler {
        let mut txn = db.begin_write()?;
        let tree = txn.create_tree("filler")?;
        txn.insert(tree, &index.to_be_bytes(), &vec![index as u8; 4 << 20])?;
        txn.commit()?;
    }
    println!("made; run it again to measure");
    Ok(())
}

fn get(db: &Database, records: u64, index: u64) -> Result<(), Box<dyn Error>> {
    let reader = db.begin_read();
    let tree = reader.tree(TREE)?.ok_or("the tree is not there")?;
    let found = tree.get(&key(index % records))?;
    if found.map(<[u8]>::len) != Some(VALUE_SIZE) {
        return Err(format!("record {index} is not there").into());
    }
    Ok(())
}

fn scan(path: &Path) -> Result<(), Box<dyn Error>> {
    drop_cache(path)?;
    let db = Database::open(PagerOptions::new(), path)?;
    let reader = db.begin_read();
    let tree = reader.tree(TREE)?.ok_or("the tree is not there")?;
    let start = Instant::now();
    let (mut rows, mut bytes) = (0u64, 0u64);
    for record in tree.iter().take(4_000_000) {
        let (key, value) = record?;
        rows += 1;
        bytes += (key.len() + value.len()) as u64;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("cold_scan_rows={rows} mb_per_s={:.0}", bytes as f64 / 1e6 / seconds);
    Ok(())
}

fn check(path: &Path) -> Result<(), Box<dyn Error>> {
    drop_cache(path)?;
    let db = Database::open(PagerOptions::new(), path)?;
    let start = Instant::now();
    let report = db.check(&mut |_, _| {})?;
    let seconds = start.elapsed().as_secs_f64();
    if !report.is_sound() {
        return Err(format!("the check found damage: {report:?}").into());
    }
    let bytes = report.pages as f64 * db.pager().page_size() as f64 + report.extent_bytes as f64;
    println!("cold_check_s={seconds:.1} mb_per_s={:.0}", bytes / 1e6 / seconds);
    Ok(())
}

/// Takes a file that nobody has mapped out of the page cache.
fn drop_cache(path: &Path) -> Result<(), Box<dyn Error>> {
    if beside(path, "-lock").exists() {
        return Err("the file is open elsewhere".into());
    }
    let file = std::fs::File::open(path)?;
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// Resident memory of this process, in KiB.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn key(index: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(index).to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// SplitMix64.
fn mix(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
