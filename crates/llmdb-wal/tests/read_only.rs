//! Opening for reading only: nothing is written anywhere, readers share, writers exclude, and what only a writer
//! could recover is refused.

use llmdb_pager::sim::{Op, SimDisk};
use llmdb_wal::{BackupOptions, Error, Store, StoreOptions};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn reading() -> StoreOptions {
    StoreOptions::new().read_only(true).owner("a test that reads")
}

fn make(path: &Path) {
    let store = Store::open(path).unwrap();
    put(&store, b"k", b"v");
    store.close().unwrap();
}

fn put(store: &Store, key: &[u8], value: &[u8]) {
    let mut txn = store.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    txn.insert(tree, key, value).unwrap();
    txn.commit().unwrap();
}

fn value(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let reader = store.begin_read().unwrap();
    let tree = reader.tree("t").unwrap()?;
    tree.get(key).unwrap().map(<[u8]>::to_vec)
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn readers_share_a_database_and_writers_exclude_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.llmdb");
    make(&path);
    let one = reading().open(&path).unwrap();
    let two = reading().open(&path).unwrap();
    assert_eq!(value(&one, b"k").as_deref(), Some(&b"v"[..]));
    assert_eq!(value(&two, b"k").as_deref(), Some(&b"v"[..]));
    let error = Store::open(&path).unwrap_err();
    assert_eq!(error.code(), "LLMDB-P09");
    assert!(error.to_string().contains("open for reading only"), "{error}");
    assert_eq!(names(folder.path()), [&*path], "a refused writer leaves nothing");
    drop(one);
    assert_eq!(Store::open(&path).unwrap_err().code(), "LLMDB-P09", "the other still reads");
    let snapshot = two.begin_read().unwrap();
    two.close().unwrap();
    assert_eq!(Store::open(&path).unwrap_err().code(), "LLMDB-P09", "a snapshot still reads");
    drop(snapshot);

    let writer = StoreOptions::new().owner("a test that writes").open(&path).unwrap();
    let error = reading().open(&path).unwrap_err();
    assert_eq!(error.code(), "LLMDB-P09");
    assert!(error.to_string().contains("(a test that writes)"), "{error}");
    put(&writer, b"more", b"");
    writer.close().unwrap();
    assert_eq!(value(&reading().open(&path).unwrap(), b"more").as_deref(), Some(&b""[..]));
}

#[test]
fn a_read_only_file_in_a_read_only_folder_is_enough_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let path = inside.join("r.llmdb");
    make(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o500)).unwrap();
    let state = |path: &Path| {
        fs::metadata(path).map(|meta| (meta.mtime_nsec(), meta.ctime_nsec(), meta.len())).unwrap()
    };
    let before = (state(&path), state(&inside), fs::read(&path).unwrap());
    {
        let store = reading().open(&path).unwrap();
        assert_eq!(value(&store, b"k").as_deref(), Some(&b"v"[..]));
        assert!(store.check(&mut |_, _| {}).unwrap().is_sound());
        assert_eq!(store.stat().unwrap().pager.page_size, 4096);
        let mut backup = Vec::new();
        store.backup(BackupOptions::new(), &mut backup, &mut |_, _| {}).unwrap();
        assert!(!backup.is_empty());
        for error in [store.begin_write().map(drop).unwrap_err(), store.checkpoint().unwrap_err()] {
            assert_eq!(error.code(), "LLMDB-P19", "{error}");
        }
        assert_eq!(names(&inside), [&*path]);
        store.close().unwrap();
    }
    assert_eq!((state(&path), state(&inside), fs::read(&path).unwrap()), before);
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn reading_asks_the_disk_for_nothing_that_writes() {
    let disk = SimDisk::new(1);
    let path = Path::new("/r.llmdb");
    let options = || StoreOptions::new().storage(Arc::new(disk.clone()));
    let store = options().open(path).unwrap();
    put(&store, b"k", b"v");
    store.close().unwrap();
    let begin = disk.op_count() as usize;
    let store = options().read_only(true).open(path).unwrap();
    assert_eq!(value(&store, b"k").as_deref(), Some(&b"v"[..]));
    assert!(store.check(&mut |_, _| {}).unwrap().is_sound());
    store.stat().unwrap();
    assert!(matches!(options().open(path), Err(error) if error.code() == "LLMDB-P09"));
    let by_the_refused: &[Op] = &[Op::Lock];
    drop(store);
    for entry in &disk.trace()[begin..] {
        let reads = matches!(entry.op, Op::Open | Op::Read | Op::Map);
        assert!(reads || by_the_refused.contains(&entry.op), "{entry:?}");
    }
    options().open(path).unwrap();
}

#[test]
fn a_database_that_was_not_closed_is_refused_until_it_was() {
    let disk = SimDisk::new(2);
    let path = Path::new("/r.llmdb");
    let options = |disk: &SimDisk| StoreOptions::new().storage(Arc::new(disk.clone()));
    let store = options(&disk).open(path).unwrap();
    put(&store, b"k", b"v");
    let after = disk.crash_image(3);
    let error = options(&after).read_only(true).open(path).unwrap_err();
    assert!(matches!(error, Error::NotClosed { .. }), "{error}");
    assert_eq!(error.code(), "LLMDB-L07");
    assert!(error.to_string().contains("open it once for writing"), "{error}");
    options(&after).open(path).unwrap().close().unwrap();
    let store = options(&after).read_only(true).open(path).unwrap();
    assert_eq!(value(&store, b"k").as_deref(), Some(&b"v"[..]));
}

#[test]
fn what_is_missing_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.llmdb");
    assert_eq!(reading().open(&path).unwrap_err().code(), "LLMDB-P01");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn nothing_is_restored_for_reading_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.llmdb");
    make(&path);
    let mut backup = Vec::new();
    reading().open(&path).unwrap().backup(BackupOptions::new(), &mut backup, &mut |_, _| {}).unwrap();
    let to = folder.path().join("to.llmdb");
    let error = llmdb_wal::restore(reading(), &to, &mut [&mut &backup[..]], &mut |_, _| {}).unwrap_err();
    assert_eq!(error.code(), "LLMDB-P19");
    assert_eq!(names(folder.path()), [&*path]);
}
