//! Erasing a key: no question finds it any more, others are as they were, and a dense copy has no byte of it.

use std::ops::Bound::Unbounded;
use std::path::Path;

use llmdb_temporal::{Error, Known, Period, Temporal};
use llmdb_wal::{BackupOptions, Store, StoreOptions};
use proptest::test_runner::{Config, TestRunner};

use crate::compare::compare;
use crate::oracle::Oracle;
use crate::script::{COLLECTIONS, KEYS, play, script};
use crate::support::{BLOCK_SIZES, Bench, at, cases, span};

#[test]
fn after_erasing_everything_is_as_if_the_key_had_never_been() {
    let config = Config { cases: cases(60), failure_persistence: None, ..Config::default() };
    let strategy = (script(1..9), script(0..5), 0..BLOCK_SIZES.len(), 0..3usize);
    TestRunner::new(config)
        .run(&strategy, |(first, second, size, key)| {
            let (mut bench, mut oracle) = (Bench::with_blocks(8, BLOCK_SIZES[size]), Oracle::default());
            first.iter().for_each(|transaction| play(&mut bench, &mut oracle, transaction));
            let (collection, key) = (COLLECTIONS[0], KEYS[key]);
            let was_there = oracle.ops.iter().any(|op| op.collection == collection && op.key == key);
            let collection_is_there = oracle.ops.iter().any(|op| op.collection == collection);
            let mut tx = bench.db().begin_write().unwrap();
            // What the same transaction said of it before goes too.
            if was_there {
                tx.put(collection, key, span(0, 3), b"said and erased").unwrap();
            }
            oracle.times.push(tx.time().micros());
            assert_eq!(tx.erase(collection, key, "because").unwrap(), was_there);
            assert!(!tx.erase(collection, key, "again").unwrap(), "there is nothing left");
            tx.commit().unwrap();
            oracle.ops.retain(|op| op.collection != collection || op.key != key);
            let is_left = oracle.ops.iter().any(|op| op.collection == collection);
            // The collection itself stays, which the model does not know of.
            if is_left || !collection_is_there {
                compare(&bench.db().begin_read().unwrap(), &oracle);
            }
            let read = bench.db().begin_read().unwrap();
            let reasons: Vec<_> = read.erasures().unwrap().into_iter().map(|found| found.reason).collect();
            assert_eq!(reasons, if was_there { vec!["because"] } else { vec![] });
            drop(read);
            second.iter().for_each(|transaction| play(&mut bench, &mut oracle, transaction));
            if oracle.ops.iter().any(|op| op.collection == collection) || !collection_is_there {
                compare(&bench.db().begin_read().unwrap(), &oracle);
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// Whether bytes stand anywhere in a file.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let content = std::fs::read(path).unwrap();
    content.windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn a_dense_copy_and_its_backup_hold_no_byte_of_what_was_erased() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.llmdb");
    let store = StoreOptions::new().open(&path).unwrap();
    let db = Temporal::open(store.clone()).unwrap().with_block_size_max(BLOCK_SIZES[1]);
    let key = b"ada lovelace, whose key is long enough to be found";
    let values: Vec<Vec<u8>> = (0..40u8)
        .map(|n| {
            [format!("a secret of hers, number {n:03}").as_bytes(), &vec![n; 200 * usize::from(n)]].concat()
        })
        .collect();
    // Neighbours on both sides and among them, so that the key is a separator's too.
    for (number, value) in values.iter().enumerate() {
        let mut tx = db.begin_write().unwrap();
        for other in 0..30 {
            let name =
                [&b"ada "[..], &[b'a' + (other % 26) as u8], &(number * 100 + other).to_le_bytes()].concat();
            tx.put("people", &name, Period::ALL, &[7; 90]).unwrap();
        }
        tx.put("people", key, Period::since(at(number as i64 % 9)), value).unwrap();
        tx.commit().unwrap();
    }
    store.checkpoint().unwrap();
    assert!(
        holds(&path, key) && values.iter().all(|value| holds(&path, &value[..28])),
        "the scan finds what is there"
    );
    let mut tx = db.begin_write().unwrap();
    assert!(tx.erase("people", key, "a request").unwrap());
    tx.commit().unwrap();
    db.begin_read().unwrap().check(&mut |_, _| {}).unwrap();

    let copy = folder.path().join("copy.llmdb");
    store.compact_to(&copy, &mut |_, _| {}).unwrap();
    let copied = Store::open(&copy).unwrap();
    let backup = folder.path().join("copy.backup");
    copied.backup_to(&backup, BackupOptions::new(), &mut |_, _| {}).unwrap();
    let copied = Temporal::open(copied).unwrap();
    let read = copied.begin_read().unwrap();
    assert_eq!(read.erasures().unwrap().len(), 1);
    assert_eq!(read.scan("people", Unbounded, Unbounded, at(0), Known::Latest).unwrap().count(), 1200);
    read.check(&mut |_, _| {}).unwrap();
    for file in [&copy, &backup] {
        assert!(!holds(file, &key[..16]), "{} holds the key", file.display());
        for value in &values {
            assert!(!holds(file, &value[..28]), "{} holds a value", file.display());
        }
    }
}

#[test]
fn what_cannot_be_erased_is_refused_or_was_never_there() {
    let bench = Bench::new(1);
    let mut tx = bench.db().begin_write().unwrap();
    assert!(!tx.erase("nowhere", b"k", "").unwrap());
    assert!(matches!(tx.erase("c", b"", ""), Err(Error::KeyEmpty)));
    assert!(matches!(tx.erase("", b"k", ""), Err(Error::CollectionName { .. })));
    assert!(matches!(tx.erase("c", b"k", &"x".repeat(70_000)), Err(Error::ValueTooLong { .. })));
    tx.put("c", b"k", Period::ALL, b"v").unwrap();
    tx.commit().unwrap();
    let read = bench.db().begin_read().unwrap();
    assert!(read.erasures().unwrap().is_empty());
    assert!(read.get("c", b"k", at(0), Known::Latest).unwrap().is_some());
}
