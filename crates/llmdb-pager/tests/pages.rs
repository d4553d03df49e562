//! Allocation and reuse of pages, the allocation map over many regions, all page sizes, damaged metas, a
//! full disk.

use llmdb_pager::page::{HEADER_SIZE, REF_SIZE, set_ref_count, set_reference};
use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_pager::storage::{DiskStorage, File, Lock, LockError, Map, OpenMode, Storage};
use llmdb_pager::{
    Below, CheckReport, Error, ExtentUse, Kind, Page, PageNumber, PageSource, Pager, PagerOptions, Ref, Run,
    Snapshot, WriteTxn,
};
use std::io;
use std::path::Path;
use std::sync::Arc;

const DB: &str = "/p.llmdb";
const TOP: Kind = Kind(16);
const CHILD: Kind = Kind(17);
const AREA: [u8; 64] = [0; 64];

fn roomy() -> SimDisk {
    SimDisk::with_options(SimOptions { file_capacity: 8 << 20, ..SimOptions::default() })
}

fn options(storage: impl Storage + 'static) -> PagerOptions {
    PagerOptions::new().storage(Arc::new(storage))
}

/// A top page with `count` children, each marked with `mark`.
fn build(txn: &mut WriteTxn, count: usize, mark: u8) -> Ref {
    let top = txn.allocate(TOP, 1).unwrap();
    for index in 0..count {
        let child = txn.allocate(CHILD, 0).unwrap();
        txn.page_mut(child)[HEADER_SIZE..].fill(mark);
        set_ref_count(txn.page_mut(top), index + 1);
        set_reference(txn.page_mut(top), index, child);
    }
    txn.set_root(top);
    top
}

/// Marks some children of the top page anew.
fn remark(txn: &mut WriteTxn, children: impl Iterator<Item = usize>, mark: u8) {
    let top = txn.make_mut(txn.root()).unwrap();
    txn.set_root(top);
    for index in children {
        let child = txn.make_mut(txn.page(top).unwrap().reference(index)).unwrap();
        txn.page_mut(child)[HEADER_SIZE..].fill(mark);
        set_reference(txn.page_mut(top), index, child);
    }
}

/// Child `index`'s mark, and that it is in all of its bytes.
fn mark_of(source: &impl PageSource, index: usize) -> u8 {
    let child = source.page(source.page(source.root()).unwrap().reference(index)).unwrap();
    let bytes = &child.bytes()[HEADER_SIZE..];
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "one mark in a page");
    bytes[0]
}

fn check(pager: &Pager) -> CheckReport {
    pager.check(&|_, _: Option<&()>| Below::default(), &mut |_, _| {}).unwrap()
}

#[test]
fn an_old_snapshot_pins_only_what_it_saw() {
    for holds in [false, true] {
        let pager = options(roomy()).create(DB).unwrap();
        let mut txn = pager.begin_write().unwrap();
        build(&mut txn, 100, 0);
        txn.commit_with_checkpoint(AREA).unwrap();
        let old: Option<Snapshot> = holds.then(|| pager.snapshot());
        let mut counts = Vec::new();
        for round in 1..=200u8 {
            let mut txn = pager.begin_write().unwrap();
            remark(&mut txn, 0..100, round);
            txn.commit_with_checkpoint(AREA).unwrap();
            counts.push(pager.stat().unwrap().page_count);
        }
        assert_eq!(counts[10], counts[199], "the file does not grow, held: {holds}");
        let versions = if holds { 3 } else { 2 };
        assert!(counts[199] < 104 * versions + 40, "{versions} versions at most: {}", counts[199]);
        if let Some(old) = &old {
            assert!((0..100).all(|index| mark_of(old, index) == 0), "the snapshot is as it was");
        }
        assert!((0..100).all(|index| mark_of(&pager.snapshot(), index) == 200));
        drop(old);
        let mut txn = pager.begin_write().unwrap();
        remark(&mut txn, 0..1, 201);
        txn.commit_with_checkpoint(AREA).unwrap();
        assert!(check(&pager).is_sound(), "{:?}", check(&pager));
    }
}

#[test]
fn snapshots_between_commits_keep_theirs_and_frames_are_used_again() {
    let pager = options(roomy()).create(DB).unwrap();
    let mut txn = pager.begin_write().unwrap();
    build(&mut txn, 40, 0);
    txn.publish().unwrap();
    let mut held: Vec<(u8, Snapshot)> = Vec::new();
    let mut memory = Vec::new();
    for round in 1..=240u8 {
        let mut txn = pager.begin_write().unwrap();
        remark(&mut txn, 0..40, round);
        if round % 7 == 0 {
            drop(txn);
            continue;
        }
        txn.publish().unwrap();
        if round % 11 == 0 {
            pager.begin_write().unwrap().checkpoint(AREA).unwrap();
        }
        if round % 30 == 1 {
            held.push((round, pager.snapshot()));
        }
        if held.len() > 2 {
            held.remove(0);
        }
        for (mark, snapshot) in &held {
            assert!(
                (0..40).all(|index| mark_of(snapshot, index) == *mark),
                "snapshot {mark} in round {round}"
            );
        }
        memory.push(pager.stat().unwrap().dirty_bytes);
    }
    let generations = memory.iter().max().unwrap() / (41 * 4096);
    assert!(generations <= 12, "frames are used again, at the latest at a checkpoint: {generations}");
    drop(held);
    pager.begin_write().unwrap().checkpoint(AREA).unwrap();
    assert!(check(&pager).is_sound());
}

#[test]
fn every_page_size_keeps_pages_and_extents() {
    for page_size in [4, 8, 16, 32, 64].map(|kib| kib << 10) {
        let disk = roomy();
        let pager = options(disk.clone()).page_size(page_size).create(DB).unwrap();
        assert_eq!(pager.page_size(), page_size);
        let value: Vec<u8> = (0..3 * page_size + 17).map(|at| (at * 7) as u8).collect();
        let mut txn = pager.begin_write().unwrap();
        build(&mut txn, 30, 5);
        let run = txn.write_extent(&value).unwrap();
        assert_eq!(run.count, 4);
        txn.sync_extents().unwrap();
        txn.commit_with_checkpoint(AREA).unwrap();
        drop(pager);
        let pager = options(disk.clone()).page_size(4096).open(DB).unwrap();
        assert_eq!(pager.page_size(), page_size, "a file keeps its own");
        let snapshot = pager.snapshot();
        assert!((0..30).all(|index| mark_of(&snapshot, index) == 5));
        let intact = |bytes: &[u8]| bytes == value;
        assert_eq!(snapshot.extent(run.start, value.len() as u64, &intact).unwrap(), value);
        let with_extent = |page: Page<'_>, _: Option<&()>| {
            let whole = value.clone();
            let extent = ExtentUse {
                run,
                len: value.len() as u64,
                born: 1,
                intact: Box::new(move |bytes| bytes == whole),
            };
            let extents = if page.kind() == TOP { vec![extent] } else { Vec::new() };
            Below { extents, ..Below::default() }
        };
        let report = pager.check(&with_extent, &mut |_, _| {}).unwrap();
        assert!(report.is_sound(), "{page_size}: {report:?}");
        let report = check(&pager);
        assert_eq!(
            (report.damage.len(), report.leaked_pages),
            (0, 4),
            "{page_size}: an extent that nothing refers to"
        );
        drop(snapshot);
        drop(pager);
        disk.flip_bit(DB, run.start.0 * page_size as u64 + 3, 1);
        let pager = options(disk).open(DB).unwrap();
        let error = pager.snapshot().extent(run.start, value.len() as u64, &intact).unwrap_err();
        assert!(matches!(error, Error::Damaged { page, .. } if page == run.start), "{error}");
    }
}

/// Files of the real disk that grow as holes, so that a file of many regions costs next to nothing.
#[derive(Debug)]
struct Sparse;

#[derive(Debug)]
struct SparseFile(Arc<dyn File>);

impl Storage for Sparse {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SparseFile(DiskStorage.open(path, mode)?)))
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

impl File for SparseFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.set_len(self.0.len()?.max(offset + len))
    }

    fn allocated(&self) -> io::Result<u64> {
        self.0.allocated()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.0.map(len)
    }
}

/// Takes one page far behind the file's end, so that all before it is free.
fn claim_far(pager: &Pager, page: u64) {
    let mut txn = pager.begin_write().unwrap();
    txn.claim_extent(Run::one(PageNumber(page))).unwrap();
    let top = build(&mut txn, 3, page as u8);
    txn.set_root(top);
    txn.commit_with_checkpoint(AREA).unwrap();
}

/// The report of a check that knows of extents of one page each.
fn check_with(pager: &Pager, extents: &[u64]) -> CheckReport {
    let visit = |page: Page<'_>, _: Option<&()>| {
        let of = |page: &u64| ExtentUse {
            run: Run::one(PageNumber(*page)),
            len: 1,
            born: 1,
            intact: Box::new(|_| true),
        };
        let extents = if page.kind() == TOP { extents.iter().map(of).collect() } else { Vec::new() };
        Below { extents, ..Below::default() }
    };
    pager.check(&visit, &mut |_, _| {}).unwrap()
}

#[test]
fn the_allocation_map_crosses_regions_and_levels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.llmdb");
    let region = (4096 - HEADER_SIZE as u64) * 8;
    let fan = (4096 - HEADER_SIZE as u64) / (REF_SIZE as u64 + 4);
    // The last page of a region, the first of another, a second region of an index page, and one that
    // needs a second level of index pages.
    let far = [region - 1, region, 5 * region + 9, fan * region - 1, fan * region + 70];
    drop(options(Sparse).create(&path).unwrap());
    // A file longer than its pages, as a failed growth may leave it: all of it can be claimed.
    let long = std::fs::File::options().write(true).open(&path).unwrap();
    long.set_len((fan + 6) * region * 4096).unwrap();
    let pager = options(Sparse).open(&path).unwrap();
    for (index, page) in far.into_iter().enumerate() {
        claim_far(&pager, page);
        // The trees before were replaced, not freed: a check counts their four pages each, and no more.
        let report = check_with(&pager, &far[..=index]);
        assert_eq!(
            (report.damage.len(), report.leaked_pages),
            (0, 4 * index as u64),
            "page {page}: {report:?}"
        );
    }
    let free = pager.stat().unwrap().free_pages;
    let count = pager.stat().unwrap().page_count;
    assert!(count > fan * region + 70 && free > count - 2_000, "{free} of {count}");
    drop(pager);

    let pager = options(Sparse).open(&path).unwrap();
    let stat = pager.stat().unwrap();
    assert_eq!(stat.page_count, count);
    assert!(stat.free_pages >= free, "{} then {free}: what waited is free now", stat.free_pages);
    assert!(stat.map_memory < 1 << 20, "opening reads the index, not the regions: {}", stat.map_memory);
    let mut txn = pager.begin_write().unwrap();
    remark(&mut txn, 0..3, 9);
    let report = txn.commit_with_checkpoint(AREA).unwrap();
    assert!(report.pages_written < 16, "a small change writes few pages of the map: {report:?}");
    let report = check_with(&pager, &far);
    assert_eq!((report.damage.len(), report.leaked_pages), (0, 16), "{report:?}");
    assert!((0..3).all(|index| mark_of(&pager.snapshot(), index) == 9));
    assert_eq!(pager.stat().unwrap().page_count, count, "there is room inside the file");

    // A run longer than a region goes to the end; it is free again when the transaction is dropped.
    let before = pager.stat().unwrap();
    let mut txn = pager.begin_write().unwrap();
    txn.claim_extent(Run { start: PageNumber(count), count: 3 * region }).unwrap();
    drop(txn);
    let after = pager.stat().unwrap();
    assert_eq!(after.free_pages - before.free_pages, after.page_count - before.page_count);
}

/// A folder whose file system holds a sparse file of so many bytes, and how many it holds at least: tmpfs
/// goes beyond 128 TB, ext4 to 16.
fn folder_for(bytes: u64) -> (tempfile::TempDir, u64) {
    for (parent, bytes) in [
        ("/dev/shm".into(), bytes),
        (std::env::temp_dir(), bytes),
        (std::env::temp_dir(), 15_000_000_000_000),
    ] {
        let Ok(folder) = tempfile::tempdir_in(&parent) else { continue };
        let probe = std::fs::File::create(folder.path().join("probe")).unwrap();
        if probe.set_len(bytes).is_ok() {
            return (folder, bytes);
        }
    }
    panic!("no file system here holds a sparse file of 15 TB")
}

#[test]
fn a_file_of_128_tb_is_written_reopened_read_and_checked() {
    for page_size in [4096u64, 65536] {
        let (folder, bytes) = folder_for(128_000_000_000_000);
        let path = folder.path().join("far.llmdb");
        let open = || options(Sparse).open(&path).unwrap();
        let pager = options(Sparse).page_size(page_size as usize).create(&path).unwrap();
        let end = bytes / page_size;
        let start = pager.stat().unwrap().page_count;
        // A value that takes all but the last pages; the pages after it stand near the end.
        let gap = Run { start: PageNumber(start), count: end - start - 4_000 };
        let mut txn = pager.begin_write().unwrap();
        txn.claim_extent(gap).unwrap();
        let top = build(&mut txn, 3, 1);
        txn.set_root(top);
        txn.commit_with_checkpoint(AREA).unwrap();
        drop(pager);

        let pager = open();
        let snapshot = pager.snapshot();
        let children: Vec<Ref> = snapshot.page(snapshot.root()).unwrap().references().collect();
        assert!(children.iter().all(|child| child.number().0 >= gap.end()), "{children:?}");
        assert!((0..3).all(|index| mark_of(&snapshot, index) == 1));
        drop(snapshot);
        let mut txn = pager.begin_write().unwrap();
        txn.free_extent(gap, 1);
        remark(&mut txn, 0..1, 2);
        txn.commit_with_checkpoint(AREA).unwrap();
        let mut txn = pager.begin_write().unwrap();
        remark(&mut txn, 1..2, 3);
        txn.commit_with_checkpoint(AREA).unwrap();
        let mut txn = pager.begin_write().unwrap();
        remark(&mut txn, 0..1, 4);
        txn.commit_with_checkpoint(AREA).unwrap();
        let report = check(&pager);
        assert!(report.is_sound(), "{report:?}");
        let stat = pager.stat().unwrap();
        assert!(stat.free_pages > gap.count - 100, "{stat:?}");
        // 24 bytes a region of 133 MB: 23 MB at 4 KiB pages.
        assert!(stat.map_memory < 25 << 20, "{stat:?}");
        assert!(
            stat.allocated_bytes < 64 << 20,
            "the map speaks of regions without a page for each: {stat:?}"
        );
        if page_size == 4096 {
            let value = vec![7; 140 << 20];
            let mut txn = pager.begin_write().unwrap();
            let run = txn.write_extent(&value).unwrap();
            assert!(run.end() < gap.end(), "free regions make one run: {run:?}");
            txn.free_extent(run, txn.commit());
            txn.commit_with_checkpoint(AREA).unwrap();
        }
        drop(pager);
        let pager = open();
        let snapshot = pager.snapshot();
        let marks: Vec<u8> = (0..3).map(|index| mark_of(&snapshot, index)).collect();
        assert_eq!(marks, [4, 3, 1]);
        let last = snapshot.page(snapshot.root()).unwrap().reference(2).number();
        assert!(last.0 >= gap.end(), "{last}");
        let mut txn = pager.begin_write().unwrap();
        remark(&mut txn, 2..3, 5);
        txn.commit_with_checkpoint(AREA).unwrap();
        assert!(pager.stat().unwrap().page_count >= gap.end());
        let report = check(&pager);
        assert!(report.is_sound(), "{report:?}");
    }
}

#[test]
fn a_page_of_a_region_that_was_not_looked_at_can_be_freed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.llmdb");
    let pager = options(Sparse).create(&path).unwrap();
    let start = pager.stat().unwrap().page_count;
    let gap = Run { start: PageNumber(start), count: 2 * (4096 - HEADER_SIZE as u64) * 8 + 100 };
    let mut txn = pager.begin_write().unwrap();
    txn.claim_extent(gap).unwrap();
    let top = build(&mut txn, 3, 1);
    txn.set_root(top);
    txn.commit_with_checkpoint(AREA).unwrap();
    for round in 0..3 {
        let mut txn = pager.begin_write().unwrap();
        if round == 0 {
            txn.free_extent(gap, 1);
        }
        remark(&mut txn, 0..1, 2);
        txn.commit_with_checkpoint(AREA).unwrap();
    }
    drop(pager);
    // New pages go to the free pages in front; what they replace stands in the last region.
    let pager = options(Sparse).open(&path).unwrap();
    let mut txn = pager.begin_write().unwrap();
    remark(&mut txn, 1..3, 3);
    txn.commit_with_checkpoint(AREA).unwrap();
    let report = check(&pager);
    assert!(report.is_sound(), "{report:?}");
}

/// Opening reads nothing of the map, nor does a commit behind a log that gives pages back: the next checkpoint
/// must know of them all the same, though what it writes goes to another region.
#[test]
fn what_is_freed_before_the_map_is_read_is_free_in_the_next_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.llmdb");
    let pager = options(Sparse).create(&path).unwrap();
    let start = pager.stat().unwrap().page_count;
    let freed = Run { start: PageNumber(start), count: 98 };
    let kept = Run { start: PageNumber(freed.end()), count: (4096 - HEADER_SIZE as u64) * 8 };
    let mut txn = pager.begin_write().unwrap();
    txn.claim_extent(freed).unwrap();
    txn.claim_extent(kept).unwrap();
    build(&mut txn, 3, 1);
    txn.commit_with_checkpoint(AREA).unwrap();
    drop(pager);

    let pager = options(Sparse).open(&path).unwrap();
    let mut txn = pager.begin_write().unwrap();
    txn.free_extent(freed, 1);
    txn.publish().unwrap();
    let mut txn = pager.begin_write().unwrap();
    remark(&mut txn, 0..1, 2);
    txn.commit_with_checkpoint(AREA).unwrap();
    let report = check(&pager);
    assert!(report.damage.is_empty(), "{report:?}");
    // This check knows of no extents: the one that is kept is all that it misses.
    assert_eq!(report.leaked_pages, kept.count);
    drop(pager);
    let free = options(Sparse).open(&path).unwrap().stat().unwrap().free_pages;
    assert!(free >= freed.count, "{free}");
}

#[test]
fn a_damaged_meta_is_named_until_it_is_healed() {
    for slot in [0, 1] {
        let disk = roomy();
        let pager = options(disk.clone()).create(DB).unwrap();
        let mut txn = pager.begin_write().unwrap();
        build(&mut txn, 5, 3);
        txn.commit_with_checkpoint([7; 64]).unwrap();
        drop(pager);
        assert!(disk.flip_bit(DB, slot * 4096 + 1000, 3));
        let damaged = disk.read_file(DB).unwrap();
        let pager = options(disk.clone()).open(DB).unwrap();
        assert!(disk.read_file(DB).unwrap() == damaged, "opening changes nothing");
        assert_eq!(pager.damaged_metas(), [slot == 0, slot == 1]);
        assert_eq!(pager.owner_area(), [7; 64]);
        assert!((0..5).all(|index| mark_of(&pager.snapshot(), index) == 3));
        let report = check(&pager);
        assert_eq!(report.damage.iter().map(|damage| damage.page.0).collect::<Vec<_>>(), [slot]);
        pager.heal_metas().unwrap();
        assert_eq!(pager.damaged_metas(), [false; 2]);
        assert!(check(&pager).is_sound());
        drop(pager);
        let pager = options(disk.crash_image(0)).open(DB).unwrap();
        assert_eq!((pager.damaged_metas(), pager.owner_area()), ([false; 2], [7; 64]));
    }
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    let sim = SimOptions { file_capacity: 8 << 20, disk_capacity: Some(1 << 20), ..SimOptions::default() };
    let disk = SimDisk::with_options(sim);
    let pager = options(disk.clone()).create(DB).unwrap();
    let mut txn = pager.begin_write().unwrap();
    build(&mut txn, 20, 1);
    txn.commit_with_checkpoint(AREA).unwrap();
    let before = pager.stat().unwrap();
    let file = disk.read_file(DB).unwrap();

    // Too large a value.
    let mut txn = pager.begin_write().unwrap();
    assert!(matches!(txn.write_extent(&vec![1; 2 << 20]), Err(Error::DiskFull { .. })));
    let small = txn.write_extent(&[2; 5000]).unwrap();
    assert_eq!(small.count, 2, "the transaction goes on");
    drop(txn);
    // Too many pages for a checkpoint.
    let mut txn = pager.begin_write().unwrap();
    build(&mut txn, 400, 2);
    assert!(matches!(txn.commit_with_checkpoint(AREA), Err(Error::DiskFull { .. })));
    let after = pager.stat().unwrap();
    assert_eq!((after.checkpoint, after.checkpoint_commit), (before.checkpoint, before.checkpoint_commit));
    assert_eq!(after.dirty_bytes, before.dirty_bytes, "no frame is lost");
    assert!((0..20).all(|index| mark_of(&pager.snapshot(), index) == 1));
    let now = disk.read_file(DB).unwrap();
    assert!(now[..8192] == file[..8192], "the metas are as they were");

    // And it goes on: small transactions until many rounds later, in the space that there is.
    for round in 2..40 {
        let mut txn = pager.begin_write().unwrap();
        remark(&mut txn, 0..20, round);
        txn.commit_with_checkpoint(AREA).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    assert!(check(&pager).is_sound(), "{:?}", check(&pager));
    drop(pager);
    let pager = options(disk.crash_image(3)).open(DB).unwrap();
    assert!((0..20).all(|index| mark_of(&pager.snapshot(), index) == 39));
}

#[test]
fn a_poisoned_pager_reads_and_refuses_to_write() {
    let pager = options(roomy()).create(DB).unwrap();
    let mut txn = pager.begin_write().unwrap();
    build(&mut txn, 3, 1);
    txn.commit_with_checkpoint(AREA).unwrap();
    pager.poison("the test says so");
    assert!((0..3).all(|index| mark_of(&pager.snapshot(), index) == 1));
    for error in [
        pager.begin_write().unwrap_err(),
        pager.stat().unwrap_err(),
        pager.heal_metas().err().unwrap_or(Error::PageSize(0)),
    ] {
        let refused = matches!(&error, Error::Poisoned { reason } if reason == "the test says so");
        assert!(refused || matches!(error, Error::PageSize(0)), "{error}");
    }
}
