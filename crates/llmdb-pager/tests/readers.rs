//! Readers that stay: what they keep, what they are told, how they end, and what outlives them.

use llmdb_pager::page::HEADER_SIZE;
use llmdb_pager::{Error, Kind, OldReader, PageSource as _, Pager, PagerOptions, Ref};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KIND: Kind = Kind(16);
const PAGES: usize = 40;

fn pager(options: PagerOptions) -> (Pager, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let pager = options.create(folder.path().join("pages.llmdb")).unwrap();
    let mut txn = pager.begin_write().unwrap();
    let root = txn.allocate(KIND, 1).unwrap();
    for index in 0..PAGES {
        let page = txn.allocate(KIND, 0).unwrap();
        llmdb_pager::page::set_ref_count(txn.page_mut(root), index + 1);
        llmdb_pager::page::set_reference(txn.page_mut(root), index, page);
    }
    txn.set_root(root);
    txn.commit_with_checkpoint([0; 64]).unwrap();
    (pager, folder)
}

/// Changes every page, and says so durably.
fn change_all(pager: &Pager, to: u8) {
    let mut txn = pager.begin_write().unwrap();
    let root = txn.make_mut(txn.root()).unwrap();
    for index in 0..PAGES {
        let child = txn.page(root).unwrap().reference(index);
        let own = txn.make_mut(child).unwrap();
        txn.page_mut(own)[HEADER_SIZE] = to;
        llmdb_pager::page::set_reference(txn.page_mut(root), index, own);
    }
    txn.set_root(root);
    txn.commit_with_checkpoint([0; 64]).unwrap();
}

fn first_child(pager: &Pager) -> (llmdb_pager::Snapshot, Ref) {
    let snapshot = pager.snapshot();
    let child = snapshot.page(snapshot.root()).unwrap().reference(0);
    (snapshot, child)
}

#[test]
fn one_old_reader_keeps_what_it_sees_and_the_file_stops_growing() {
    let (pager, _folder) = pager(PagerOptions::new());
    change_all(&pager, 1);
    let (reader, child) = first_child(&pager);
    let sizes: Vec<u64> = (0..60)
        .map(|round| {
            change_all(&pager, round as u8);
            pager.stat().unwrap().page_count
        })
        .collect();
    // The reader's pages, the newest checkpoint's, the one's before, and the maps'.
    assert!(sizes[59] <= 4 * (PAGES as u64 + 8), "{sizes:?}");
    assert_eq!(sizes[10], sizes[59], "no growth while the reader stays: {sizes:?}");
    assert_eq!(reader.page(child).unwrap().bytes()[HEADER_SIZE], 1);
}

#[test]
fn a_slow_reader_is_told_of() {
    let told: Arc<Mutex<Vec<OldReader>>> = Arc::default();
    let list = told.clone();
    let tell = Arc::new(move |old| list.lock().unwrap().push(old));
    let (pager, _folder) = pager(PagerOptions::new().on_slow_reader(Duration::from_millis(20), tell));
    let (reader, _) = first_child(&pager);
    for round in 0..5 {
        change_all(&pager, round);
    }
    assert_eq!(pager.oldest_reader().unwrap().commit, reader.commit());
    std::thread::sleep(Duration::from_millis(30));
    change_all(&pager, 9);
    let seen = told.lock().unwrap().clone();
    assert_eq!(seen.last().map(|old| old.commit), Some(reader.commit()), "{seen:?}");
    assert!(seen.last().unwrap().age >= Duration::from_millis(20));
    drop(reader);
    assert_eq!(pager.oldest_reader(), None);
}

#[test]
fn an_ended_reader_gets_an_error_and_keeps_what_it_borrowed() {
    let limit = Duration::from_millis(20);
    let (pager, _folder) = pager(PagerOptions::new().max_reader_age(limit));
    change_all(&pager, 7);
    let (reader, child) = first_child(&pager);
    let borrowed = reader.page(child).unwrap().bytes();
    change_all(&pager, 8);
    std::thread::sleep(Duration::from_millis(30));
    for round in 9..15 {
        change_all(&pager, round);
    }
    let Err(error) = reader.page(child) else { panic!("an old snapshot is ended") };
    assert!(matches!(error, Error::SnapshotEnded { .. }), "{error}");
    assert_eq!(error.code(), "LLMDB-P15");
    assert!(error.to_string().contains("begin a new one"), "{error}");
    assert_eq!(borrowed[HEADER_SIZE], 7, "what was borrowed stays");
    let (fresh, child) = first_child(&pager);
    assert_eq!(fresh.page(child).unwrap().bytes()[HEADER_SIZE], 14);
}

#[test]
fn owned_bytes_outlive_their_snapshot_and_cross_threads() {
    let (pager, _folder) = pager(PagerOptions::new());
    change_all(&pager, 3);
    let (reader, child) = first_child(&pager);
    let bytes = reader.page_bytes(child, HEADER_SIZE..HEADER_SIZE + 4).unwrap();
    let outside = reader.page_bytes(child, 4090..4100).unwrap_err();
    assert!(outside.to_string().contains("outside the page: expected 10, found 0"), "{outside}");
    drop(reader);
    for round in 4..30 {
        change_all(&pager, round);
    }
    assert_eq!(pager.stat().unwrap().open_snapshots, 1, "the bytes hold one");
    let seen = std::thread::spawn(move || bytes[0]).join().unwrap();
    assert_eq!(seen, 3);
    assert_eq!(pager.stat().unwrap().open_snapshots, 0);
}

#[test]
fn a_snapshot_outlives_its_pager_and_keeps_the_lock() {
    let (pager, folder) = pager(PagerOptions::new());
    let path = folder.path().join("pages.llmdb");
    let (reader, child) = first_child(&pager);
    drop(pager);
    let copy = reader.clone();
    drop(reader);
    assert_eq!(copy.page(child).unwrap().kind(), KIND);
    assert!(matches!(PagerOptions::new().open(&path), Err(Error::Locked { .. })));
    drop(copy);
    PagerOptions::new().open(&path).unwrap();
}

#[test]
fn ten_thousand_readers_are_kept_apart() {
    let (pager, _folder) = pager(PagerOptions::new());
    let readers: Vec<_> = (0..10_000).map(|_| pager.snapshot()).collect();
    change_all(&pager, 1);
    let stat = pager.stat().unwrap();
    assert_eq!((stat.open_snapshots, stat.oldest_snapshot), (10_000, 1));
    drop(readers);
    let stat = pager.stat().unwrap();
    assert_eq!((stat.open_snapshots, stat.oldest_snapshot), (0, 2));
}
