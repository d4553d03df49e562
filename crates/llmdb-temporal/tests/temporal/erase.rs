//! Erasing a key: no question finds it any more, others are as they were, and a dense copy has no byte of it.

use std::ops::Bound::Unbounded;
use std::path::Path;
use std::sync::Arc;

use llmdb_pager::sim::SimDisk;
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

/// A key that is long enough to be found.
const ADA: &[u8] = b"ada lovelace, whose key is long enough to be found";

/// What was said about her: short values, and some that stand in pages of their own.
fn secret(number: u8) -> Vec<u8> {
    let mut value = format!("a secret of hers, number {number:03}").into_bytes();
    value.extend(vec![number; 200 * usize::from(number)]);
    value
}

const SECRETS: u8 = 40;

/// Tells secrets, with neighbours of the key on both sides and among them, so that it is a separator's too.
fn tell(db: &Temporal) -> Result<(), Error> {
    for number in 0..SECRETS {
        let mut tx = db.begin_write()?;
        for other in 0..30u16 {
            let letter = b'a' + (other % 26) as u8;
            let place = u16::from(number) * 100 + other;
            let name = [&b"ada "[..], &[letter], &place.to_le_bytes()].concat();
            tx.put("people", &name, Period::ALL, &[7; 90])?;
        }
        tx.put("people", ADA, Period::since(at(i64::from(number) % 9)), &secret(number))?;
        tx.commit()?;
    }
    Ok(())
}

fn erase_ada(db: &Temporal) -> Result<(), Error> {
    let mut tx = db.begin_write()?;
    assert!(tx.erase("people", ADA, "a request")?);
    tx.commit()?;
    Ok(())
}

/// Whether bytes hold the key, or the beginning of any of the values.
fn holds_any(content: &[u8]) -> bool {
    let begins: Vec<Vec<u8>> = (0..SECRETS).map(|number| secret(number)[..28].to_vec()).collect();
    let key = &ADA[..16];
    let at = |place: usize| &content[place..];
    let places = (0..content.len()).filter(|place| content[*place] == b'a');
    places.clone().any(|place| at(place).starts_with(key))
        || places.clone().any(|place| begins.iter().any(|begin| at(place).starts_with(begin)))
}

fn file_holds_any(path: &Path) -> bool {
    holds_any(&std::fs::read(path).unwrap())
}

#[test]
fn a_dense_copy_and_its_backup_hold_no_byte_of_what_was_erased() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.llmdb");
    let store = StoreOptions::new().open(&path).unwrap();
    let db = Temporal::open(store.clone()).unwrap().with_block_size_max(BLOCK_SIZES[1]);
    tell(&db).unwrap();
    store.checkpoint().unwrap();
    let content = std::fs::read(&path).unwrap();
    let found = |needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
    assert!(found(ADA) && (0..SECRETS).all(|number| found(&secret(number)[..28])), "the scan finds");
    erase_ada(&db).unwrap();
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
    assert!(!file_holds_any(&copy) && !file_holds_any(&backup));
}

#[test]
fn after_a_wipe_no_file_holds_a_byte_of_what_was_erased() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.llmdb");
    let log = llmdb_pager::beside(&path, "-wal");
    // So little memory that transactions spill, so small a log that its ring turns.
    let options = || StoreOptions::new().dirty_bytes(256 << 10).log_capacity(1 << 20);
    let store = options().open(&path).unwrap();
    let db = Temporal::open(store.clone()).unwrap().with_block_size_max(BLOCK_SIZES[1]);
    tell(&db).unwrap();
    erase_ada(&db).unwrap();
    assert!(file_holds_any(&path) && file_holds_any(&log), "the erasure alone leaves bytes");
    assert_eq!(db.wipe_owed().unwrap().map(llmdb_temporal::CommitNumber::get), Some(u64::from(SECRETS)));

    // A reader from before keeps pages: then it is owed all the same.
    let reader = db.begin_read().unwrap();
    let mut tx = db.begin_write().unwrap();
    tx.put("people", b"bob", Period::ALL, b"new").unwrap();
    tx.commit().unwrap();
    let wiped = db.wipe().unwrap();
    assert!(!wiped.is_complete() && wiped.oldest_snapshot.is_some(), "{wiped:?}");
    assert!(db.wipe_owed().unwrap().is_some());
    drop(reader);

    let newest = || store.begin_read().unwrap().time();
    let before = newest();
    assert!(db.wipe().unwrap().is_complete());
    assert_eq!(db.wipe_owed().unwrap(), None);
    assert!(newest() <= before + 2, "a wipe takes no time away from the commits behind it");
    assert!(!file_holds_any(&path) && !file_holds_any(&log));
    assert!(store.checkpoint().is_ok() && store.rests().unwrap().free_bytes < 64 << 10);
    let backup = folder.path().join("people.backup");
    store.backup_to(&backup, BackupOptions::new(), &mut |_, _| {}).unwrap();
    assert!(!file_holds_any(&backup));
    let read = db.begin_read().unwrap();
    assert_eq!(read.scan("people", Unbounded, Unbounded, at(0), Known::Latest).unwrap().count(), 1201);
    assert_eq!(read.erasures().unwrap().len(), 1);
    read.check(&mut |_, _| {}).unwrap();
    drop(read);
    drop(db);
    store.close().unwrap();
    assert!(!file_holds_any(&path));
    // What goes on being written brings nothing back.
    let db = Temporal::open(options().open(&path).unwrap()).unwrap();
    for number in 0..50 {
        let mut tx = db.begin_write().unwrap();
        tx.put("people", b"eve", Period::since(at(number)), &[1; 700]).unwrap();
        tx.commit().unwrap();
    }
    drop(db);
    assert!(!file_holds_any(&path));
}

/// Erases and wipes until the power fails at an operation after the erasure; `None` where it came to its end before.
fn wipe_until(operation: u64) -> Option<SimDisk> {
    let disk = SimDisk::new(operation);
    let store = simulated(&disk);
    let db = Temporal::open(store).unwrap().with_block_size_max(BLOCK_SIZES[1]);
    for number in 0..6 {
        let mut tx = db.begin_write().unwrap();
        tx.put("people", ADA, Period::since(at(i64::from(number))), &secret(number)).unwrap();
        tx.put("people", b"bob", Period::since(at(i64::from(number))), &[number; 90]).unwrap();
        tx.commit().unwrap();
    }
    erase_ada(&db).unwrap();
    disk.cut_power_at(disk.op_count() + operation);
    db.wipe().is_err().then_some(disk)
}

fn simulated(disk: &SimDisk) -> Store {
    let options = StoreOptions::new().storage(Arc::new(disk.clone())).clock(Arc::new(|| 1_000_000));
    options.background(false).log_capacity(256 << 10).open("/e.llmdb").unwrap()
}

#[test]
fn a_wipe_that_a_power_cut_ends_is_owed_and_done_again() {
    let (mut operation, mut owed) = (0, 0);
    while let Some(cut) = wipe_until(operation) {
        for image in 0..2 {
            let disk = cut.crash_image(operation * 7 + image);
            let db = Temporal::open(simulated(&disk)).unwrap();
            let holds = || {
                ["/e.llmdb", "/e.llmdb-wal"]
                    .iter()
                    .any(|file| holds_any(&disk.read_file(file).unwrap_or_default()))
            };
            let is_owed = db.wipe_owed().unwrap().is_some();
            assert!(is_owed || !holds(), "cut at {operation}: bytes are left, and nobody knows");
            owed += u64::from(is_owed);
            assert!(db.wipe().unwrap().is_complete());
            assert!(!holds() && db.wipe_owed().unwrap().is_none(), "cut at {operation}");
            let read = db.begin_read().unwrap();
            read.check(&mut |_, _| {}).unwrap();
            assert_eq!(read.get_value("people", b"bob", at(9), Known::Latest).unwrap().unwrap()[0], 5);
        }
        operation += 1;
    }
    assert!(operation > 10 && owed > 10, "{operation} operations, {owed} owed");
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
