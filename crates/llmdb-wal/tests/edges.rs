//! What happens at the edges: full disks, savepoints of others, handles that close while others wait, intervals beside
//! checkpoints, threads that panic.

use llmdb_pager::Error as PagerError;
use llmdb_pager::backup::BackupOptions;
use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_pager::storage::{DiskStorage, File, Lock, LockError, Map, OpenMode, Storage};
use llmdb_wal::log::{BLOCK_SIZE, Log, Position, RECORD_HEADER_SIZE};
use llmdb_wal::{Batch, Durability, Error, Store, StoreOptions, restore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DB: &str = "/s.llmdb";

fn options(disk: &SimDisk) -> StoreOptions {
    StoreOptions::new().storage(Arc::new(disk.clone())).background(false)
}

fn is_full(error: &Error) -> bool {
    matches!(error.pager(), Some(PagerError::DiskFull { .. }))
}

/// Fills a small disk, and takes all of it away again; with logs that cannot grow, and such as fit.
#[test]
fn a_full_disk_takes_deletes() {
    for (log_capacity, checkpoint_bytes) in [(4 << 20, 2 << 20), (256 << 10, 64 << 10), (1 << 20, 200 << 10)]
    {
        let sim =
            SimOptions { file_capacity: 8 << 20, disk_capacity: Some(2 << 20), ..SimOptions::default() };
        let disk = SimDisk::with_options(sim);
        let options = || options(&disk).log_capacity(log_capacity).checkpoint_bytes(checkpoint_bytes);
        let store = options().open(DB).unwrap();
        let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
        let place = |key: u64| (key.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes();
        let put = |key: u64| store.write(|txn| txn.insert(tree, &place(key), &[7; 900]));
        let len = || store.begin_read().unwrap().tree_by_id(tree).unwrap().unwrap().len();
        let full = (0..9000).find_map(|key| put(key).err().map(|error| (key, error)));
        let (count, error) = full.expect("the disk is small");
        assert!(is_full(&error) && count > 300 && len() == count, "{count}: {error}");
        for key in 0..count {
            let removed = store.write(|txn| txn.remove(tree, &place(key)));
            removed.unwrap_or_else(|error| panic!("log {log_capacity}: delete {key} of {count}: {error}"));
        }
        assert_eq!(len(), 0);
        // What they freed is room for others.
        (0..100).for_each(|key| put(key).map(drop).unwrap());
        let after = options().storage(Arc::new(disk.crash_image(1))).open(DB).unwrap();
        assert_eq!(after.begin_read().unwrap().tree_by_id(tree).unwrap().unwrap().len(), 100);
        assert!(after.check(&mut |_, _| {}).unwrap().is_sound());
    }
}

#[test]
fn a_savepoint_of_another_transaction_is_refused() {
    let store = options(&SimDisk::new(1)).open(DB).unwrap();
    let mut first = store.begin_write().unwrap();
    let tree = first.create_tree("t").unwrap();
    let foreign = first.savepoint().unwrap();
    first.insert(tree, b"a", b"1").unwrap();
    first.commit().unwrap();
    let mut second = store.begin_write().unwrap();
    let own = second.savepoint().unwrap();
    second.insert(tree, b"b", b"2").unwrap();
    second.go_back_to(&foreign).unwrap_err();
    second.go_back_to(&own).unwrap();
    second.insert(tree, b"c", b"3").unwrap();
    second.commit().unwrap();
    let reader = store.begin_read().unwrap();
    let keys = reader.tree("t").unwrap().unwrap().iter().map(|record| record.unwrap().0).collect::<Vec<_>>();
    assert_eq!(keys, [b"a", b"c"]);
}

#[test]
fn who_waits_for_the_writer_while_the_store_is_closed_is_told_so() {
    let (mut told, mut came_first) = (0, 0);
    for round in 0..200 {
        let disk = SimDisk::new(round);
        let store = StoreOptions::new().storage(Arc::new(disk.clone())).open(DB).unwrap();
        let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
        let holds = store.begin_write().unwrap();
        let written = std::thread::scope(|scope| {
            let other = store.clone();
            let writes = scope.spawn(move || {
                let result = other.write(|txn| txn.insert(tree, b"late", b"1"));
                // Not the last handle, whose drop would close.
                std::mem::forget(other);
                result.map(|_| ())
            });
            let closes = store.clone();
            let close = scope.spawn(move || {
                std::thread::sleep(Duration::from_micros(200));
                closes.close()
            });
            std::thread::sleep(Duration::from_micros(400));
            drop(holds);
            close.join().unwrap().unwrap();
            writes.join().unwrap()
        });
        assert!(!Storage::exists(&disk, Path::new("/s.llmdb-wal")).unwrap(), "a clean close leaves no log");
        match written {
            Ok(()) => came_first += 1,
            Err(Error::Closed) => told += 1,
            Err(error) => panic!("{error}"),
        }
    }
    println!("{told} were told, {came_first} came first");
}

#[test]
fn a_log_as_large_as_can_be_said_is_recovered() {
    let disk = SimDisk::new(3);
    let store = options(&disk).log_capacity(u64::MAX).open(DB).unwrap();
    store.write(|txn| txn.create_tree("t")).unwrap();
    let after = options(&disk.crash_image(1)).open(DB).unwrap();
    assert!(after.begin_read().unwrap().tree("t").unwrap().is_some());
}

#[test]
fn tickets_tell_why_the_queue_could_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.llmdb");
    let store = Store::open(&path).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    store.close().unwrap();
    let store = StoreOptions::new().read_only(true).open(&path).unwrap();
    let queue = store.queue(4).unwrap();
    let tickets: Vec<_> =
        (0..3).map(|_| queue.submit(Batch::new().insert(tree, "k", "v")).unwrap()).collect();
    for ticket in tickets {
        assert_eq!(ticket.wait().unwrap_err().code(), "LLMDB-P19");
    }
}

#[test]
fn batches_that_fit_into_the_log_go_through_it_also_where_many_wait() {
    let store =
        options(&SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() }));
    let store = store.log_capacity(8 << 20).checkpoint_bytes(4 << 20).open(DB).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    let before = store.stat().unwrap().log_records;
    let queue = store.queue(64).unwrap();
    let holds = store.begin_write().unwrap();
    let batch = |number: u32| {
        let keys = (0..600u32).map(|key| (number * 600 + key).to_be_bytes());
        keys.fold(Batch::new(), |batch, key| batch.insert(tree, key, vec![7; 900]))
    };
    let tickets: Vec<_> = (0..24).map(|number| queue.submit(batch(number)).unwrap()).collect();
    drop(holds);
    let seqs: Vec<_> = tickets.into_iter().map(|ticket| ticket.wait().unwrap().seq).collect();
    let commits = seqs.chunk_by(|one, next| one == next).count() as u64;
    assert_eq!(store.stat().unwrap().log_records - before, commits, "each through the log");
    assert!(commits < 24, "and some together");
}

#[test]
fn what_was_cut_off_a_tail_never_comes_back() {
    let disk = SimDisk::new(5);
    let path = Path::new("/a-wal");
    let log = Log::create(&disk, path, 7, 1 << 20, Position::default()).unwrap();
    // Each fills a block, and nothing says that it was flushed.
    let payload = [7; BLOCK_SIZE as usize - RECORD_HEADER_SIZE];
    for commit in 1..=3 {
        let lsn = log.append(commit, 0, &payload, false).unwrap();
        assert!(lsn.is_multiple_of(BLOCK_SIZE));
        assert!(log.hand_over().unwrap());
    }
    for keep in [2, 0] {
        let log = Log::open(&disk, path, 7, Position::default()).unwrap();
        let unread = log.append(4, 0, &payload, false).unwrap_err();
        assert!(unread.to_string().contains("read its tail"), "{unread}");
        let mut tail = log.read_tail(0).unwrap();
        assert!(tail.len() > keep);
        tail.truncate(keep);
        log.go_on_behind(&tail).unwrap();
        let again = Log::open(&disk, path, 7, Position::default()).unwrap();
        let commits: Vec<u64> = again.read_tail(0).unwrap().records().map(|record| record.commit).collect();
        assert_eq!(commits, (1..=keep as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_restored_chain_holds_nothing_that_only_an_earlier_backup_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let store = Store::open(path("a.llmdb")).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    let secret = b"a secret that shall be gone";
    let all = |value: &[u8]| {
        store
            .write(|txn| (0..400u32).try_for_each(|key| txn.insert(tree, &key.to_be_bytes(), value)))
            .unwrap();
    };
    all(&secret.repeat(9));
    store.checkpoint().unwrap();
    let full = store.backup_to(path("full"), BackupOptions::new(), &mut |_, _| {}).unwrap();
    all(b"nothing");
    assert!(store.wipe().unwrap().is_complete());
    store.backup_to(path("more"), BackupOptions::new().since(full.commit), &mut |_, _| {}).unwrap();
    let mut backups = ["full", "more"].map(|name| std::fs::File::open(path(name)).unwrap());
    let [one, two] = &mut backups;
    restore(StoreOptions::new(), path("b.llmdb"), &mut [one, two], &mut |_, _| {}).unwrap();
    let has =
        |name: &str| std::fs::read(path(name)).unwrap().windows(secret.len()).any(|bytes| bytes == secret);
    assert!(has("full") && !has("b.llmdb"));
    let restored = Store::open(path("b.llmdb")).unwrap();
    assert!(restored.check(&mut |_, _| {}).unwrap().is_sound());
    assert_eq!(restored.begin_read().unwrap().tree("t").unwrap().unwrap().len(), 400);
}

/// The file system, whose writes to the data file take their time, or panic, once that is asked for.
#[derive(Debug, Default)]
struct Slow {
    is_slow: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

#[derive(Debug)]
struct SlowFile {
    inner: Arc<dyn File>,
    is_data: bool,
    is_slow: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

impl Storage for Slow {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let is_data = path.extension().is_some_and(|name| name == "llmdb");
        let (is_slow, panics) = (self.is_slow.clone(), self.panics.clone());
        Ok(Arc::new(SlowFile { inner: DiskStorage.open(path, mode)?, is_data, is_slow, panics }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        DiskStorage.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        DiskStorage.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskStorage.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        DiskStorage.sync_dir(path)
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn Lock>, LockError> {
        DiskStorage.lock(path, owner)
    }
}

impl File for SlowFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        assert!(
            !self.is_data || !self.panics.load(Ordering::Relaxed),
            "the storage panics, as it was asked to"
        );
        if self.is_data && self.is_slow.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(300));
        }
        self.inner.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.inner.map(len)
    }
}

fn flushes(store: &Store) -> u64 {
    store.stat().unwrap().log_flushes
}

/// Waits, for at most some seconds, until the log was flushed once more.
fn is_flushed_behind(store: &Store, before: u64) -> bool {
    let began = Instant::now();
    while flushes(store) == before && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(1));
    }
    flushes(store) > before
}

#[test]
fn an_interval_is_kept_beside_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Slow::default();
    let is_slow = storage.is_slow.clone();
    let interval = Durability::Interval(Duration::from_millis(2));
    let options =
        StoreOptions::new().storage(Arc::new(storage)).durability(interval).checkpoint_bytes(16 << 10);
    let store = options.open(folder.path().join("i.llmdb")).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    store.checkpoint().unwrap();
    is_slow.store(true, Ordering::Relaxed);
    let checkpoint = || store.stat().unwrap().pager.checkpoint;
    let first = checkpoint();
    // The store's own thread begins a checkpoint, whose three writes and more take 0.3 s each.
    store
        .write(|txn| (0..200u32).try_for_each(|key| txn.insert(tree, &key.to_le_bytes(), &[1; 200])))
        .unwrap();
    for key in 0..5u32 {
        let before = flushes(&store);
        let began = Instant::now();
        store.write(|txn| txn.insert(tree, &key.to_be_bytes(), b"small")).unwrap();
        assert!(is_flushed_behind(&store, before));
        assert!(began.elapsed() < Duration::from_millis(250), "{key}: {:?}", began.elapsed());
    }
    assert_eq!(checkpoint(), first, "it was being written all the time");
    let began = Instant::now();
    while checkpoint() == first && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(checkpoint(), first + 1, "there was one");
    is_slow.store(false, Ordering::Relaxed);
}

#[test]
fn a_commit_that_asks_for_an_interval_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("s.llmdb")).unwrap();
    store.write(|txn| txn.create_tree("t")).unwrap();
    let before = flushes(&store);
    let mut txn = store.begin_write().unwrap();
    txn.create_tree("u").unwrap();
    txn.commit_with(Durability::Interval(Duration::from_millis(5))).unwrap();
    assert!(is_flushed_behind(&store, before));
}

#[test]
fn a_panic_in_a_checkpoint_ends_all_writing_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.llmdb");
    let storage = Slow::default();
    let panics = storage.panics.clone();
    let options = StoreOptions::new().storage(Arc::new(storage)).checkpoint_bytes(16 << 10);
    let store = options.open(&path).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    store.checkpoint().unwrap();
    panics.store(true, Ordering::Relaxed);
    let failed = (0..10_000u32).find_map(|key| {
        let result = store.write(|txn| txn.insert(tree, &key.to_be_bytes(), &[1; 200]));
        std::thread::sleep(Duration::from_micros(100));
        result.err().map(|error| (key, error))
    });
    let (key, error) = failed.expect("a checkpoint was due long before");
    assert!(matches!(error.pager(), Some(PagerError::Poisoned { .. })), "{error}");
    store.checkpoint().unwrap_err();
    drop(store);
    // Nothing that was acknowledged is missing.
    panics.store(false, Ordering::Relaxed);
    let store = Store::open(&path).unwrap();
    assert!(store.begin_read().unwrap().tree("t").unwrap().unwrap().len() >= u64::from(key));
}
