//! Values that are written and read piece by piece.

use llmdb_btree::{Database, Error};
use llmdb_pager::PagerOptions;
use llmdb_pager::sim::{SimDisk, SimOptions};
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

const DB: &str = "/s.llmdb";

fn disk() -> SimDisk {
    SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() })
}

fn options(disk: &SimDisk) -> PagerOptions {
    PagerOptions::new().storage(Arc::new(disk.clone()))
}

fn content(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Gives a few bytes at a time, as pipes do.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = buffer.len().min(1 + self.0.len() % 4_093);
        self.0.read(&mut buffer[..size])
    }
}

#[test]
fn values_of_any_length_come_back_as_they_went_in() {
    let disk = disk();
    let db = Database::create(options(&disk), DB).unwrap();
    let lengths = [0, 1, 1_024, 1_025, 4_096, 300_000, (1 << 20) + 1, 5_000_001];
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    for len in lengths {
        let value = content(len);
        txn.insert_reader(tree, &len.to_be_bytes(), len as u64, Trickle(&value)).unwrap();
        assert_eq!(txn.get(tree, &len.to_be_bytes()).unwrap(), Some(value.as_slice()), "{len}");
    }
    txn.commit().unwrap();
    drop(db);
    let db = Database::open(options(&disk), DB).unwrap();
    let reader = db.begin_read();
    let tree = reader.tree("t").unwrap().unwrap();
    for len in lengths {
        let value = content(len);
        let mut found = Vec::new();
        let mut stream = tree.value_reader(&len.to_be_bytes()).unwrap().unwrap();
        assert_eq!((stream.len(), stream.is_empty()), (len as u64, len == 0));
        stream.read_to_end(&mut found).unwrap();
        assert!(found == value, "{len}");
        stream.seek(SeekFrom::End(-(len.min(10) as i64))).unwrap();
        let mut end = Vec::new();
        stream.read_to_end(&mut end).unwrap();
        assert!(value.ends_with(&end) && end.len() == len.min(10), "{len}");
        assert!(stream.seek(SeekFrom::Current(-(len as i64) - 1)).is_err());
        stream.verify().unwrap();
    }
    assert!(tree.value_reader(b"absent").unwrap().is_none());
    assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_source_that_ends_early_or_fails_changes_nothing() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the cable is out"))
        }
    }
    let disk = disk();
    let db = Database::create(options(&disk), DB).unwrap();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    txn.insert(tree, b"key", b"before").unwrap();
    for len in [100, 2_000_000] {
        let short = txn.insert_reader(tree, b"key", len, &content(99)[..]).unwrap_err();
        assert!(matches!(short, Error::ValueShort { expected, found: 99 } if expected == len), "{short}");
        let failed = txn.insert_reader(tree, b"key", len, Fails).unwrap_err();
        assert!(failed.to_string().contains("the cable is out"), "{failed}");
    }
    assert_eq!(txn.get(tree, b"key").unwrap(), Some(&b"before"[..]));
    txn.insert_reader(tree, b"key", 2_000_000, std::io::repeat(1)).unwrap();
    txn.commit().unwrap();
    let before = db.pager().stat().unwrap();
    assert!(before.page_count - before.free_pages < 2_000_000 / 4096 + 30, "{before:?}");
    assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn damage_shows_before_the_end_of_a_stream() {
    let disk = disk();
    let db = Database::create(options(&disk), DB).unwrap();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    let large = txn.insert_reader(tree, b"key", 3 << 20, &content(3 << 20)[..]).unwrap().unwrap();
    txn.commit().unwrap();
    drop(db);
    let mut file = disk.read_file(DB).unwrap();
    file[large.start.0 as usize * 4096 + 1_000_000] ^= 1;
    disk.write_file(DB, &file);
    let db = Database::open(options(&disk), DB).unwrap();
    let reader = db.begin_read();
    let tree = reader.tree("t").unwrap().unwrap();
    let mut stream = tree.value_reader(b"key").unwrap().unwrap();
    let mut found = Vec::new();
    for _ in 0..2 {
        let error = stream.read_to_end(&mut found).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        assert!(found.len() < 3 << 20, "the last piece was handed out");
    }
    assert!(stream.verify().is_err());
    assert!(tree.get(b"key").is_err());
}
