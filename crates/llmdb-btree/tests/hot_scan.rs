//! How often a scan asks the system to fetch pages: only for pages that it meets for the first time.

use llmdb_btree::Database;
use llmdb_pager::PagerOptions;
use llmdb_pager::storage::{DiskStorage, File, Lock, LockError, Map, OpenMode, Storage};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file system, with a count of the requests for pages that will be needed.
#[derive(Debug, Default)]
struct Asked(Arc<AtomicU64>);

#[derive(Debug)]
struct AskedFile {
    inner: Arc<dyn File>,
    asked: Arc<AtomicU64>,
}

impl Storage for Asked {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(AskedFile { inner: DiskStorage.open(path, mode)?, asked: self.0.clone() }))
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

impl File for AskedFile {
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

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.inner.map(len)
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.inner.will_need(offset, len);
    }
}

#[test]
fn a_scan_of_pages_that_were_read_before_asks_for_none() {
    const COUNT: u32 = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.llmdb");
    let asked = Arc::new(AtomicU64::new(0));
    let options = || PagerOptions::new().storage(Arc::new(Asked(asked.clone())));
    let db = Database::create(options(), &path).unwrap();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    for n in 0..COUNT {
        // In no order, so that leaves that follow each other stand all over the file.
        let key = n.wrapping_mul(2_654_435_761).to_be_bytes();
        txn.insert(tree, &key, &[7; 100]).unwrap();
    }
    txn.commit().unwrap();
    drop(db);

    let db = Database::open(options(), &path).unwrap();
    let reader = db.begin_read();
    let tree = reader.tree("t").unwrap().unwrap();
    let scan = || {
        let before = asked.load(Ordering::Relaxed);
        let (mut forward, mut back) = (tree.cursor(), tree.cursor());
        let (mut more, mut count) = (forward.first().unwrap(), 0);
        while more {
            count += 1;
            more = forward.next().unwrap();
        }
        assert_eq!(count, COUNT);
        more = back.last().unwrap();
        while more {
            count -= 1;
            more = back.prev().unwrap();
        }
        assert_eq!(count, 0);
        asked.load(Ordering::Relaxed) - before
    };
    let pages = std::fs::metadata(&path).unwrap().len() / 4096;
    let cold = scan();
    assert!(cold > 0 && cold < pages, "{cold} requests for {pages} pages");
    println!("{cold} requests for {pages} pages at first");
    assert_eq!(scan(), 0, "what was read before is not asked for");
}
