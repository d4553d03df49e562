//! The bodies of this crate's fuzz targets; the smoke tests run them too.

use llmdb_pager::page::{read_u32, read_u64};
use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_wal::log::{Log, Position};
use llmdb_wal::{Store, StoreOptions};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const DB: &str = "/f.llmdb";
const LOG: &str = "/f.llmdb-wal";
const CAPACITY: u64 = 256 << 10;

fn disk() -> SimDisk {
    SimDisk::with_options(SimOptions { file_capacity: 2 << 20, ..SimOptions::default() })
}

fn options(disk: &SimDisk) -> StoreOptions {
    StoreOptions::new()
        .storage(Arc::new(disk.clone()))
        .clock(Arc::new(|| 5))
        .log_capacity(CAPACITY)
        .background(false)
        .create(false)
}

/// Data file and log as a process leaves them that dies after some commits.
pub(crate) fn left_open() -> &'static (Vec<u8>, Vec<u8>) {
    static FILES: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = disk();
        let store = options(&disk).create(true).open(DB).expect("an empty disk");
        for round in 0..8u8 {
            let mut txn = store.begin_write().expect("nothing failed");
            let name = if round % 3 == 0 { "b" } else { "a" };
            let tree = txn.create_tree(name).expect("a good name");
            txn.insert(tree, &[round], &vec![round; usize::from(round) * 60]).expect("a good key");
            txn.insert(tree, b"large", &[round; 5000]).expect("a good key");
            if round == 5 {
                txn.remove(tree, &[4]).expect("a good key");
                txn.drop_tree("b").expect("no damage");
            }
            txn.commit().expect("there is room");
            if round == 1 {
                store.checkpoint().expect("there is room");
            }
        }
        let image = disk.kill_image();
        drop(store);
        (image.read_file(DB).expect("made above"), image.read_file(LOG).expect("made above"))
    })
}

/// Data file and log of [`left_open`] with some bytes changed, four of `data` for each; the log's records get
/// right checksums but for lengths that end in 3.
pub(crate) fn edited(data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut file, mut log) = left_open().clone();
    let (lsn, chain) = (read_u64(&file, 80), read_u64(&file, 88));
    for [which, high, low, byte] in data.as_chunks::<4>().0 {
        let bytes = if which % 2 == 0 { &mut file } else { &mut log };
        let at = usize::from(*which / 2 % 2) << 16 | usize::from(*high) << 8 | usize::from(*low);
        let len = bytes.len();
        bytes[at % len] = *byte;
    }
    if data.len() % 4 != 3 {
        seal_log(&mut log, lsn, chain);
    }
    (file, log)
}

/// Opens a data file and a log of any bytes, reads everything, commits once more, and opens again. Answers
/// whether they opened.
pub(crate) fn store(file: &[u8], log: &[u8]) -> bool {
    let disk = disk();
    disk.write_file(DB, &file[..file.len().min(1 << 20)]);
    disk.write_file(LOG, &log[..log.len().min(1 << 20)]);
    let Ok(store) = options(&disk).open(DB) else { return false };
    read_all(&store);
    let _ = store.check(&mut |_, _| {});
    let Ok(mut txn) = store.begin_write() else { return true };
    let written = txn.create_tree("new").and_then(|tree| txn.insert(tree, b"k", b"v"));
    let Some(receipt) = written.and_then(|()| txn.commit()).ok() else { return true };
    let image = disk.crash_image(1);
    drop(store);
    let store = options(&image).open(DB).expect("what was just committed opens");
    assert_eq!(store.begin_read().expect("it is open").seq(), receipt.seq);
    true
}

fn read_all(store: &Store) {
    let reader = store.begin_read().expect("it is open");
    for name in reader.tree_names().unwrap_or_default().iter().take(100) {
        if let Ok(Some(tree)) = reader.tree(name) {
            tree.iter().take(20_000).take_while(Result::is_ok).for_each(drop);
        }
    }
}

/// Reads any bytes as the ring of a log: the first 24 say where it begins and which checkpoint is newest.
pub(crate) fn tail(bytes: &[u8]) -> u64 {
    let Some((place, ring)) = bytes.split_first_chunk::<24>() else { return 0 };
    let at = Position { lsn: read_u64(place, 0), chain: read_u64(place, 8) };
    let disk = disk();
    disk.write_file(LOG, [&header(), ring].concat());
    let Ok(log) = Log::open(&disk, Path::new(LOG), 7, at) else { return 0 };
    let Ok(tail) = log.read_tail(read_u64(place, 16)) else { return 0 };
    for record in tail.records() {
        assert!(record.lsn >= at.lsn && record.payload.len() <= ring.len());
    }
    tail.len() as u64
}

/// The header block of the log of database 7.
fn header() -> [u8; 4096] {
    let mut block = [0; 4096];
    block[..8].copy_from_slice(b"LLMDBWAL");
    block[8] = 2;
    block[16] = 7;
    block[32..40].copy_from_slice(&CAPACITY.to_le_bytes());
    let checksum = xxh3_64(&block[..40]);
    block[40..48].copy_from_slice(&checksum.to_le_bytes());
    block
}

/// Puts chain and checksum of a log's records right, from the one at `lsn` behind one whose checksum is
/// `chain`, for as long as they follow each other.
pub(crate) fn seal_log(log: &mut [u8], lsn: u64, mut chain: u64) {
    let capacity = read_u64(log, 32).max(4096);
    let seed = read_u64(log, 16) ^ read_u64(log, 24).rotate_left(17);
    let mut at = 4096 + (lsn % capacity) as usize;
    while log.len() >= at + 56 {
        let len = read_u32(log, at + 48) as usize;
        let Some(record) = log.get_mut(at..at + (56 + len).next_multiple_of(8)) else { return };
        if read_u64(record, 40) == 0 {
            return;
        }
        record[16..24].copy_from_slice(&chain.to_le_bytes());
        chain = xxh3_64_with_seed(&record[8..], seed);
        record[..8].copy_from_slice(&chain.to_le_bytes());
        at = (at + record.len()).next_multiple_of(4096);
    }
}
