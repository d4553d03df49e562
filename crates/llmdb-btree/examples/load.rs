//! Loads records without flushes and says how fast it went, how full the pages are and what stands on the disk:
//! `cargo run --release -p llmdb-btree --example load -- ORDER COUNT [PER_TRANSACTION]`, where ORDER is `random`,
//! `rising`, `falling`, `runs` (rising runs between random places) or `bulk`. With PER_TRANSACTION each transaction
//! commits without a flush, and a sync comes last; without, all is one transaction, which is dropped.

use llmdb_btree::{Database, TreeId, WriteTxn};
use llmdb_pager::PagerOptions;
use llmdb_pager::storage::{DiskStorage, File, Lock, LockError, Map, OpenMode, Storage};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const KEY_SIZE: usize = 16;
const VALUE_SIZE: usize = 256;
/// Memory for dirty pages, as in `llmdb-bench`.
const BUDGET: u64 = 1 << 30;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// SplitMix64, so that the keys are the same in every run.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn key(order: &str, n: u64) -> [u8; KEY_SIZE] {
    let (high, low) = match order {
        "random" => (mix(n), mix(n ^ 1 << 40)),
        "falling" => (u64::MAX - n, 0),
        "runs" => (mix(n / 1_000), n),
        _ => (n, 0),
    };
    let mut key = [0; KEY_SIZE];
    key[..8].copy_from_slice(&high.to_be_bytes());
    key[8..].copy_from_slice(&low.to_be_bytes());
    key
}

fn load(txn: &mut WriteTxn, tree: TreeId, order: &str, numbers: Range<u64>) -> Result<()> {
    if order == "bulk" {
        txn.bulk_load(tree, numbers.map(|n| (key(order, n), [n as u8; VALUE_SIZE])))?;
        return Ok(());
    }
    for n in numbers {
        txn.insert(tree, &key(order, n), &[n as u8; VALUE_SIZE])?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let order = args.next().unwrap_or_else(|| "random".to_owned());
    let mut number = || args.next().map(|count| count.parse::<u64>()).transpose();
    let count = number()?.unwrap_or(200_000);
    let per_transaction = number()?;
    let folder = tempfile::tempdir_in(".")?;
    let path = folder.path().join("load.llmdb");
    let options = PagerOptions::new().storage(Arc::new(NoFlush(DiskStorage))).dirty_budget(BUDGET);
    let db = Database::create(options, &path)?;
    let mut txn = db.begin_write()?;
    let tree = txn.create_tree("load")?;
    let Some(per_transaction) = per_transaction else {
        let started = Instant::now();
        load(&mut txn, tree, &order, 0..count)?;
        say(&order, count, started.elapsed().as_secs_f64());
        say_bytes("pages", txn.pager_ref().dirty_bytes(), count);
        return Ok(());
    };
    txn.commit()?;
    let started = Instant::now();
    let (mut loading, mut committing) = (0.0, 0.0);
    for first in (0..count).step_by(per_transaction.max(1) as usize) {
        let begun = Instant::now();
        let mut txn = db.begin_write()?;
        load(&mut txn, tree, &order, first..count.min(first + per_transaction))?;
        loading += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        txn.commit_unsynced()?;
        committing += begun.elapsed().as_secs_f64();
    }
    let begun = Instant::now();
    db.sync()?;
    let syncing = begun.elapsed().as_secs_f64();
    say(&order, count, started.elapsed().as_secs_f64());
    println!("inserting {loading:.3} s, committing {committing:.3} s, writing at the end {syncing:.3} s");
    say_processor();
    let stat = db.pager().stat()?;
    println!("pager: {stat:?}");
    say_bytes("tree", tree_bytes(&db)?, count);
    let meta = std::fs::metadata(&path)?;
    say_bytes("file", meta.len(), count);
    say_bytes("blocks", meta.blocks() * 512, count);
    Ok(())
}

/// What the processor did for this process, which other processes' work disturbs less than the clock.
fn say_processor() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = |field: usize| stat.rsplit(") ").next()?.split(' ').nth(field)?.parse::<f64>().ok();
    if let (Some(own), Some(system)) = (ticks(11), ticks(12)) {
        println!("processor: {:.2} s own, {:.2} s system", own / 100.0, system / 100.0);
    }
}

fn tree_bytes(db: &Database) -> Result<u64> {
    let read = db.begin_read();
    let stats = read.tree("load")?.ok_or("the tree is missing")?.stats()?;
    println!("leaves are {:.3} full", stats.leaf_fill());
    Ok(stats.pages() * stats.page_size)
}

fn say(order: &str, count: u64, seconds: f64) {
    println!(
        "{order}: {count} records in {seconds:.3} s, {:.0} records/s, {:.0} MB/s",
        count as f64 / seconds,
        user_bytes(count) as f64 / seconds / 1e6
    );
}

fn say_bytes(what: &str, bytes: u64, count: u64) {
    println!("{what}: {bytes} bytes, {:.3} times the user's", bytes as f64 / user_bytes(count) as f64);
}

fn user_bytes(count: u64) -> u64 {
    count * (KEY_SIZE + VALUE_SIZE) as u64
}

/// A storage that leaves flushes out.
#[derive(Debug)]
struct NoFlush(DiskStorage);

impl Storage for NoFlush {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(NoFlushFile(self.0.open(path, mode)?)))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path, owner: &str) -> std::result::Result<Box<dyn Lock>, LockError> {
        self.0.lock(path, owner)
    }
}

#[derive(Debug)]
struct NoFlushFile(Arc<dyn File>);

impl File for NoFlushFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.0.map(len)
    }
}
