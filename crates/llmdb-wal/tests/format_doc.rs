//! `docs/format.md` is true of logs, and `docs/tuning.md` of flushes: tables are those of the source, logs made
//! through the public API decode by hand at the offsets given, and the simulated disk counts what a commit costs.

use llmdb_pager::sim::{Op, SimDisk};
use llmdb_wal::log::{BLOCK_SIZE, LOG_FORMAT_VERSION, RECORD_HEADER_SIZE};
use llmdb_wal::{Store, StoreOptions};
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

const DOC: &str = include_str!("../../../docs/format.md");
const TUNING: &str = include_str!("../../../docs/tuning.md");
/// The tables that this crate owns, and the files whose head they stand in.
const TABLES: &[(&str, &str)] = &[
    ("wal/log", include_str!("../src/log/format.rs")),
    ("wal/owner-area", include_str!("../src/store/options.rs")),
    ("wal/redo", include_str!("../src/store/redo.rs")),
];

#[test]
fn each_table_of_the_document_is_the_one_in_the_source() {
    for (name, source) in TABLES {
        let table = table_of(DOC, name).unwrap_or_else(|| panic!("docs/format.md has no table {name}"));
        let found = tables_in(source).contains(&table);
        assert!(found, "the table {name} in docs/format.md is not the one in the source:\n{table}");
    }
    assert_eq!(named_tables("wal/"), TABLES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn the_documented_numbers_are_those_of_the_code() {
    assert_row(DOC, &format!("| format version of the log | {LOG_FORMAT_VERSION} |"));
    assert_row(DOC, &format!("| bytes of a block | {BLOCK_SIZE} |"));
    assert_row(DOC, &format!("| bytes of a record's header | {RECORD_HEADER_SIZE} |"));
}

#[test]
fn the_defaults_in_tuning_md_are_those_of_the_code() {
    let source = include_str!("../src/store/options.rs");
    for (setting, constant, mebibytes) in
        [("checkpoint_bytes", "CHECKPOINT_BYTES", 32), ("dirty_bytes", "DIRTY_BYTES", 256)]
    {
        assert_row(source, &format!("const {constant}: u64 = {mebibytes} << 20;"));
        let row = format!("| `{setting}` | {mebibytes} MiB |");
        assert!(TUNING.contains(&row), "docs/tuning.md has no row `{row} ..`");
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("defaults.llmdb")).unwrap();
    let stat = store.stat().unwrap();
    assert!(TUNING.contains(&format!("| `log_capacity` | {} MiB |", stat.log_capacity >> 20)));
    assert!(TUNING.contains(&format!("| `page_size` | {} KiB |", stat.pager.page_size >> 10)));
}

#[test]
fn a_log_decodes_by_hand() {
    let disk = SimDisk::new(1);
    let store = options(&disk).open("/s").unwrap();
    let identity = identity_of(&disk);
    let mut txn = store.begin_write().unwrap();
    txn.set_time(-77);
    let tree = txn.create_tree("näme").unwrap();
    txn.insert(tree, b"key", &[5; 300]).unwrap();
    txn.insert(tree, b"big", &[9; 5000]).unwrap();
    txn.commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    txn.set_time(-70);
    txn.remove(tree, b"key").unwrap();
    txn.drop_tree("näme").unwrap();
    txn.commit().unwrap();

    let log = disk.read_file("/s-wal").unwrap();
    assert_eq!(&log[0..8], b"LLMDBWAL");
    assert_eq!(word(&log, 8), u64::from(LOG_FORMAT_VERSION), "version, and zero");
    assert_eq!(log[16..32], identity);
    assert_eq!(word(&log, 32), 256 << 10, "capacity");
    assert_eq!(word(&log, 40), xxh3_64(&log[..40]), "checksum of the header");

    let (start, chain, needed) = owner_area(&disk);
    assert_eq!((start, chain, needed), (0, 0, 1));
    let first = record_at(&log, &identity, 0).expect("the first record");
    let (lsn, flushed, checkpoint) = (word(&first, 8), word(&first, 24), word(&first, 32));
    assert_eq!((lsn, word(&first, 16), flushed, checkpoint, word(&first, 40)), (0, 0, 0, 1, 1));
    let mut payload = Payload(&first[56..56 + len_of(&first)]);
    assert_eq!(payload.take(8), (-77_i64).to_le_bytes());
    assert_eq!(payload.take(2), [4, 1], "create tree, form 1");
    let tree = payload.number();
    assert_eq!(payload.text(), "näme".as_bytes());
    assert_eq!((payload.take(2), payload.number(), payload.text()), (&[1, 1][..], tree, &b"key"[..]));
    assert_eq!(payload.text(), [5; 300]);
    assert_eq!((payload.take(2), payload.number(), payload.text()), (&[2, 1][..], tree, &b"big"[..]));
    let large = payload.take(40);
    assert_eq!((word(large, 8), word(large, 16)), (5000, 1), "length and birth");
    let file = disk.read_file("/s").unwrap();
    let value = &file[word(large, 0) as usize * 4096..][..5000];
    assert_eq!(value, [9; 5000], "the value was in the data file before its record");
    assert_eq!(large[24..40], xxh3_128(value).to_le_bytes());
    assert!(payload.0.is_empty());

    // One commit is one group here, so the second begins at the next block.
    let second = record_at(&log, &identity, 4096).expect("the second record");
    assert_eq!(word(&second, 16), word(&first, 0), "chain");
    assert_eq!((word(&second, 24), word(&second, 40)), (4096, 2), "flushed and commit");
    let mut payload = Payload(&second[56..56 + len_of(&second)]);
    assert_eq!(payload.take(8), (-70_i64).to_le_bytes());
    assert_eq!((payload.take(2), payload.number(), payload.text()), (&[3, 1][..], tree, &b"key"[..]));
    assert_eq!((payload.take(2), payload.number(), payload.text()), (&[5, 1][..], 0, "näme".as_bytes()));
    assert!(payload.0.is_empty());
}

#[test]
fn the_tail_of_a_ring_that_has_turned_is_found_by_the_documented_steps() {
    let disk = SimDisk::new(2);
    let store = options(&disk).checkpoint_bytes(100 << 10).open("/s").unwrap();
    let identity = identity_of(&disk);
    for number in 1..=100_u64 {
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        for part in 0..1 + number % 9 {
            txn.insert(tree, &number.to_be_bytes(), &vec![part as u8; 900]).unwrap();
        }
        txn.commit().unwrap();
        let log = disk.read_file("/s-wal").unwrap();
        let commits = tail(&log, &identity, owner_area(&disk));
        let first = word(newest_meta(&disk).as_slice(), 40) + 1;
        assert_eq!(commits, (first..=number).collect::<Vec<_>>(), "after commit {number}");
    }
    let (start, _, _) = owner_area(&disk);
    assert!(start > 256 << 10, "the ring turned: recovery begins at {start}");
    // Recovery changes nothing: the next record goes behind the tail.
    let log = disk.read_file("/s-wal").unwrap();
    let (area, end) = (owner_area(&disk), tail_end(&log, &identity, owner_area(&disk)));
    let image = disk.kill_image();
    let recovered = options(&image).open("/s").unwrap();
    assert_eq!(owner_area(&image), area);
    commit(&recovered, 101);
    let log = image.read_file("/s-wal").unwrap();
    assert_eq!(record_at(&log, &identity, end).map(|record| word(&record, 40)), Some(101));
    drop(recovered);
}

#[test]
fn a_clean_close_leaves_the_data_file_alone_and_lsns_go_on() {
    let disk = SimDisk::new(3);
    let store = options(&disk).open("/s").unwrap();
    commit(&store, 1);
    commit(&store, 2);
    assert!(disk.read_file("/s-wal").is_some());
    store.close().unwrap();
    assert!(disk.read_file("/s-wal").is_none());
    let (lsn, chain, needed) = owner_area(&disk);
    assert_eq!((lsn, needed), (8192, 0));
    let store = options(&disk).open("/s").unwrap();
    assert!(disk.read_file("/s-wal").is_none(), "a log is made by the first commit");
    commit(&store, 3);
    assert_eq!(owner_area(&disk), (8192, chain, 1));
    let log = disk.read_file("/s-wal").unwrap();
    assert_eq!(tail(&log, &identity_of(&disk), (8192, chain, 1)), [3]);
}

#[test]
fn a_step_costs_the_flushes_that_tuning_md_says() {
    let disk = SimDisk::new(4);
    let store = options(&disk).open("/s").unwrap();
    let mut costs = Vec::new();
    let mut counted = |name: &'static str, step: &mut dyn FnMut()| {
        let before = disk.op_count() as usize;
        step();
        costs.push((name, cost(&disk.trace()[before..])));
    };
    counted("the first commit after an open", &mut || commit(&store, 1));
    counted("a commit", &mut || commit(&store, 2));
    counted("a commit with large values", &mut || {
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        txn.insert(tree, b"big", &[1; 9000]).unwrap();
        txn.insert(tree, b"bigger", &[1; 90_000]).unwrap();
        txn.commit().unwrap();
    });
    counted("a checkpoint", &mut || store.checkpoint().unwrap());
    commit(&store, 4);
    let crashed = disk.kill_image();
    let mut store = Some(store);
    counted("a close", &mut || store.take().unwrap().close().unwrap());
    counted("an open after a clean close", &mut || store = Some(options(&disk).open("/s").unwrap()));
    let before = crashed.op_count() as usize;
    let recovered = options(&crashed).open("/s").unwrap();
    assert_eq!(recovered.recovery().commits, 1);
    costs.push(("an open after a crash", cost(&crashed.trace()[before..])));
    let rows =
        costs.iter().map(|(name, (data, log, folder))| format!("| {name} | {data} | {log} | {folder} |"));
    let missing: Vec<String> = rows.filter(|row| !TUNING.lines().any(|line| line == row)).collect();
    assert!(missing.is_empty(), "docs/tuning.md does not have these rows:\n{}", missing.join("\n"));
}

/// Flushes of the data file, the log and the folder.
fn cost(trace: &[llmdb_pager::sim::TraceEntry]) -> (usize, usize, usize) {
    let syncs = |path: &str| {
        trace.iter().filter(|entry| entry.op == Op::Sync && &*entry.path == Path::new(path)).count()
    };
    let folder = trace.iter().filter(|entry| entry.op == Op::SyncDir).count();
    (syncs("/s"), syncs("/s-wal"), folder)
}

fn options(disk: &SimDisk) -> StoreOptions {
    let storage = Arc::new(disk.clone());
    let options = StoreOptions::new().storage(storage).background(false);
    options.clock(Arc::new(|| -1_000)).log_capacity(256 << 10)
}

fn commit(store: &Store, number: u64) {
    let mut txn = store.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    txn.insert(tree, &number.to_be_bytes(), b"value").unwrap();
    assert_eq!(txn.commit().unwrap().seq, number);
}

/// The meta with the greater checkpoint, the first of equals.
fn newest_meta(disk: &SimDisk) -> Vec<u8> {
    let file = disk.read_file("/s").unwrap();
    let at = if word(&file, 4096 + 32) > word(&file, 32) { 4096 } else { 0 };
    file[at..at + 4096].to_vec()
}

fn identity_of(disk: &SimDisk) -> [u8; 16] {
    newest_meta(disk)[16..32].try_into().unwrap()
}

/// LSN, chain, and whether the log is needed.
fn owner_area(disk: &SimDisk) -> (u64, u64, u8) {
    let meta = newest_meta(disk);
    let area = &meta[80..144];
    assert!(area[17..].iter().all(|byte| *byte == 0));
    (word(area, 0), word(area, 8), area[16])
}

/// `len` bytes from `lsn` on, across the ring's turn; `None` where they were never written.
fn ring_bytes(log: &[u8], lsn: u64, len: usize) -> Option<Vec<u8>> {
    let capacity = word(log, 32);
    let ring = &log[4096..];
    (lsn..lsn + len as u64).map(|place| ring.get((place % capacity) as usize).copied()).collect()
}

/// The whole record at `lsn`, if one is there.
fn record_at(log: &[u8], identity: &[u8; 16], lsn: u64) -> Option<Vec<u8>> {
    let header = ring_bytes(log, lsn, 56)?;
    let size = (56 + len_of(&header)).next_multiple_of(8);
    if word(&header, 8) != lsn || size as u64 > word(log, 32) {
        return None;
    }
    let record = ring_bytes(log, lsn, size)?;
    let seed = word(identity, 0) ^ word(identity, 8).rotate_left(17);
    let zeros_behind = record[56 + len_of(&record)..].iter().all(|byte| *byte == 0);
    let is_whole = word(&record, 0) == xxh3_64_with_seed(&record[8..], seed);
    (is_whole && zeros_behind && record[52..56] == [1, 0, 0, 0]).then_some(record)
}

/// The commits of the tail, by the steps of the document.
fn tail(log: &[u8], identity: &[u8; 16], (start, chain, needed): (u64, u64, u8)) -> Vec<u64> {
    assert_eq!(needed, 1);
    let (mut lsn, mut chain, mut commits) = (start, chain, Vec::new());
    while lsn - start < word(log, 32) {
        match record_at(log, identity, lsn).filter(|record| word(record, 16) == chain) {
            Some(record) => {
                commits.push(word(&record, 40));
                (lsn, chain) = (lsn + record.len() as u64, word(&record, 0));
            }
            None if lsn % 4096 == 0 => break,
            None => lsn = lsn.next_multiple_of(4096),
        }
    }
    commits
}

/// Where the tail's last group ends.
fn tail_end(log: &[u8], identity: &[u8; 16], (start, chain, _): (u64, u64, u8)) -> u64 {
    let (mut lsn, mut chain) = (start, chain);
    while let Some(record) = record_at(log, identity, lsn).filter(|record| word(record, 16) == chain) {
        chain = word(&record, 0);
        lsn = (lsn + record.len() as u64).next_multiple_of(4096);
    }
    lsn
}

fn len_of(record: &[u8]) -> usize {
    u32::from_le_bytes(record[48..52].try_into().unwrap()) as usize
}

/// A redo payload, read from its front.
struct Payload<'a>(&'a [u8]);

impl<'a> Payload<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let byte = self.take(1)[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    fn text(&mut self) -> &'a [u8] {
        let len = self.number();
        self.take(len as usize)
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn assert_row(doc: &str, row: &str) {
    assert!(doc.lines().any(|line| line == row), "the document has no row `{row}`");
}

/// The names of the document's tables that begin with `owner`.
fn named_tables(owner: &str) -> Vec<&'static str> {
    let marks = DOC.lines().filter_map(|line| line.strip_prefix("<!-- table: ")?.strip_suffix(" -->"));
    marks.filter(|name| name.starts_with(owner)).collect()
}

/// The lines of a named table of the document.
fn table_of(doc: &str, name: &str) -> Option<String> {
    let (_, rest) = doc.split_once(&format!("<!-- table: {name} -->\n```text\n"))?;
    Some(rest.split_once("\n```\n")?.0.to_owned())
}

/// The fenced tables at the head of a source file, without their comment signs.
fn tables_in(source: &str) -> Vec<String> {
    let head = source.lines().map_while(|line| line.strip_prefix("//!"));
    let head: Vec<&str> = head.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    let head = head.join("\n");
    let blocks = head.split("```text\n").skip(1);
    blocks.filter_map(|block| Some(block.split_once("\n```")?.0.to_owned())).collect()
}
