//! The bodies of this crate's fuzz targets; the smoke tests run them too.

use llmdb_pager::page::HEADER_SIZE;
use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_pager::{Kind, PageSource as _, PagerOptions};
use std::collections::HashSet;
use std::sync::Arc;

const DB: &str = "/f.llmdb";
const FILE_MAX: usize = 1 << 20;

/// Opens any bytes as a data file, reads and checks all of it, writes to it, and opens it again. Answers
/// whether it opened.
pub(crate) fn file(bytes: &[u8]) -> bool {
    let bytes = &bytes[..bytes.len().min(FILE_MAX)];
    let disk = SimDisk::with_options(SimOptions { file_capacity: 2 * FILE_MAX, ..SimOptions::default() });
    disk.write_file(DB, bytes);
    let options = || PagerOptions::new().storage(Arc::new(disk.clone()));
    let Ok(pager) = options().open(DB) else {
        assert!(disk.read_file(DB).as_deref() == Some(bytes), "what does not open is unchanged");
        return false;
    };
    let snapshot = pager.snapshot();
    let mut seen = HashSet::new();
    let mut open = vec![snapshot.root()];
    while let Some(at) = open.pop() {
        if !at.is_null()
            && seen.insert(at.word())
            && let Ok(page) = snapshot.page(at)
        {
            open.extend(page.references());
        }
    }
    let _ = snapshot.extent(llmdb_pager::PageNumber(2), 10_000, &|bytes| bytes[0] == 1);
    let _ = pager.check(&|_, _: Option<&()>| llmdb_pager::Below::default(), &mut |_, _| {});
    let _ = pager.stat();
    drop(snapshot);
    assert!(disk.read_file(DB).as_deref() == Some(bytes), "reading changes nothing");
    let Ok(mut txn) = pager.begin_write() else { return true };
    if !txn.root().is_null() {
        let root = txn.root();
        let _ = txn.make_mut(root).map(|own| txn.set_root(own));
    }
    let written = txn.allocate(Kind(20), 0).and_then(|page| {
        txn.page_mut(page)[HEADER_SIZE] = 1;
        if txn.root().is_null() {
            txn.set_root(page);
        }
        txn.write_extent(&[3; 9000])
    });
    if written.is_ok() && txn.commit_with_checkpoint([1; 64]).is_ok() {
        drop(pager);
        let pager = options().open(DB).expect("what was just committed opens");
        assert_eq!(pager.owner_area(), [1; 64]);
    }
    true
}
