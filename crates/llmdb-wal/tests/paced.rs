//! How much of a checkpoint is on its way to the device at once, beside which commits flush the log.

use llmdb_pager::storage::{DiskStorage, File, Lock, LockError, Map, OpenMode, Storage};
use llmdb_wal::StoreOptions;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What was sent and not waited for, by place; the most bytes of it at once; and how many rows set out.
#[derive(Debug, Default)]
struct UnderWay {
    sent: BTreeMap<u64, u64>,
    most: u64,
    rows: u64,
}

impl UnderWay {
    fn note(&mut self, besides: u64) {
        self.most = self.most.max(self.sent.values().sum::<u64>() + besides);
    }
}

/// The file system, watched while it sends the data file on.
#[derive(Debug, Default)]
struct Watched(Arc<Mutex<UnderWay>>);

#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn File>,
    /// Unset for the log.
    under_way: Option<Arc<Mutex<UnderWay>>>,
}

impl Storage for Watched {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let is_data = path.extension().is_some_and(|name| name == "llmdb");
        let inner = DiskStorage.open(path, mode)?;
        Ok(Arc::new(WatchedFile { inner, under_way: is_data.then(|| self.0.clone()) }))
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

impl File for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.inner.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        if let Some(under_way) = &self.under_way {
            let mut under_way = under_way.lock().unwrap();
            let was_sent = under_way.sent.remove(&offset).is_some();
            under_way.note(len);
            under_way.rows += u64::from(!was_sent);
        }
        self.inner.write_back(offset, len)
    }

    fn begin_write_back(&self, offset: u64, len: u64) {
        if let Some(under_way) = &self.under_way {
            let mut under_way = under_way.lock().unwrap();
            under_way.sent.insert(offset, len);
            under_way.note(0);
            under_way.rows += 1;
        }
        self.inner.begin_write_back(offset, len);
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

#[test]
fn short_rows_of_a_checkpoint_go_together_and_not_too_many_of_them() {
    const COUNT: u32 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let under_way = Arc::new(Mutex::new(UnderWay::default()));
    let options = StoreOptions::new().storage(Arc::new(Watched(under_way.clone()))).background(false);
    let store = options.open(folder.path().join("paced.llmdb")).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    let put = |takes: &dyn Fn(u32) -> bool| {
        let mut numbers = (0..COUNT).filter(|number| takes(*number));
        store
            .write(|txn| numbers.try_for_each(|number| txn.insert(tree, &number.to_be_bytes(), &[7; 200])))
            .unwrap();
        *under_way.lock().unwrap() = UnderWay::default();
        store.checkpoint().unwrap();
    };
    put(&|_| true);
    // Each time a part of the leaves, so that what is free lies in single pages all over the file.
    for round in 0..8 {
        put(&|number| number / 16 % 3 == round % 3);
        let seen = under_way.lock().unwrap();
        assert!(seen.most <= 256 << 10, "{} bytes under way", seen.most);
        println!("{} rows, {} bytes at once", seen.rows, seen.most);
        if round > 2 {
            assert!(seen.rows > 100 && seen.most > 64 << 10, "{} rows, {} bytes", seen.rows, seen.most);
        }
    }
}

#[test]
fn a_checkpoint_that_nobody_waits_for_leaves_the_device_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let under_way = Arc::new(Mutex::new(UnderWay::default()));
    let options =
        StoreOptions::new().storage(Arc::new(Watched(under_way.clone()))).checkpoint_bytes(64 << 10);
    let store = options.open(folder.path().join("gentle.llmdb")).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    for round in 0..6 {
        *under_way.lock().unwrap() = UnderWay::default();
        let mut numbers = (0..20_000u32).filter(|number| round == 0 || number / 16 % 3 == round % 3);
        store
            .write(|txn| numbers.try_for_each(|number| txn.insert(tree, &number.to_be_bytes(), &[7; 200])))
            .unwrap();
        let began = std::time::Instant::now();
        while store.stat().unwrap().log_bytes > 0 {
            assert!(began.elapsed().as_secs() < 60, "the store's own thread writes no checkpoint");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let seen = under_way.lock().unwrap();
        assert!(seen.rows > 0 && seen.most <= 64 << 10, "{} rows, {} bytes under way", seen.rows, seen.most);
    }
}
