//! The fuzz bodies over damage with fixed seeds, on any toolchain.

#[path = "fuzz/body.rs"]
mod body;
#[path = "support/mutate.rs"]
mod mutate;
#[path = "support/smoke.rs"]
mod smoke;

use llmdb_pager::page::{set_ref_count, set_reference};
use llmdb_pager::sim::SimDisk;
use llmdb_pager::{Kind, PageSource as _, PagerOptions};
use mutate::{Rng, mutated_file, scramble};
use std::sync::{Arc, Mutex};

/// One test at a time: the largest request and the panic hook are the process's.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A file of some levels of pages, with free ones among them.
fn valid(page_size: usize) -> Vec<u8> {
    let disk = SimDisk::new(1);
    let options = PagerOptions::new().storage(Arc::new(disk.clone())).page_size(page_size);
    let pager = options.create("/v.llmdb").unwrap();
    for round in 0..4u8 {
        let mut txn = pager.begin_write().unwrap();
        let top = txn.allocate(Kind(16), 2).unwrap();
        for index in 0..3 {
            let child = txn.allocate(Kind(16), 1).unwrap();
            let leaf = txn.allocate(Kind(17), 0).unwrap();
            txn.page_mut(leaf)[40..].fill(round);
            set_ref_count(txn.page_mut(child), 1);
            set_reference(txn.page_mut(child), 0, leaf);
            set_ref_count(txn.page_mut(top), index + 1);
            set_reference(txn.page_mut(top), index, child);
        }
        txn.set_root(top);
        let run = txn.write_extent(&[round; 9000]).unwrap();
        if round % 2 == 0 {
            txn.free_extent(run, txn.commit());
        }
        txn.commit_with_checkpoint([0; 64]).unwrap();
    }
    disk.read_file("/v.llmdb").unwrap()
}

#[test]
fn changed_files_are_refused_or_read() {
    let _alone = alone();
    let files = [valid(4096), valid(16384)];
    let mut opened = 0;
    smoke::smoke("changed files", 0..3_000, |seed| {
        let mut rng = Rng(seed);
        let bytes = mutated_file(&files[usize::from(seed % 8 == 0)], &mut rng);
        opened += u32::from(body::file(&bytes));
    });
    assert!(opened > 500 && opened < 3_000, "{opened} of 3,000 opened");
}

#[test]
fn any_bytes_are_refused_or_read() {
    let _alone = alone();
    smoke::smoke("any bytes", 0..2_000, |seed| {
        let mut rng = Rng(seed);
        let mut bytes: Vec<u8> = (0..rng.below(20_000)).map(|_| rng.next() as u8).collect();
        if seed % 2 == 0 && bytes.len() > 8 {
            bytes[..8].copy_from_slice(b"LLMDB\0\r\n");
            scramble(&mut bytes, 4096, &mut rng);
            mutate::seal_all(&mut bytes);
        }
        body::file(&bytes);
    });
}

/// A file whose numbers are at their ends opens with an error, or works.
#[test]
fn numbers_at_their_ends_are_no_overflow() {
    let _alone = alone();
    let file = valid(4096);
    let fields = [
        ("checkpoint", 32),
        ("commit", 40),
        ("time", 48),
        ("page count", 56),
        ("root", 64),
        ("space root", 72),
        ("log", 80),
    ];
    let values = [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 1 << 48, (1 << 48) - 1, 0];
    smoke::smoke("metas", 0..(fields.len() * values.len()) as u64, |case| {
        let (at, value) = (fields[case as usize / values.len()].1, values[case as usize % values.len()]);
        let mut bytes = file.clone();
        for slot in [0, 4096] {
            bytes[slot + at..slot + at + 8].copy_from_slice(&value.to_le_bytes());
        }
        mutate::seal_all(&mut bytes);
        body::file(&bytes);
    });
}

/// An index of the allocation map whose pages all refer to the same page below, level by level: few pages
/// that speak of ever so many.
#[test]
fn a_map_index_that_repeats_itself_is_refused_without_being_unfolded() {
    let _alone = alone();
    let file = valid(4096);
    smoke::smoke("repeating index", 2..4, |levels| {
        let mut bytes = file.clone();
        let first = (bytes.len() / 4096) as u64;
        let region = llmdb_pager::page::read_u64(&bytes, 72);
        let birth = region >> 48;
        for level in 1..=levels {
            let below = if level == 1 { region } else { (first + level - 2) | birth << 48 };
            let mut page = vec![0; 4096];
            page[14] = 2;
            page[15] = level as u8;
            page[16..24].copy_from_slice(&birth.to_le_bytes());
            set_ref_count(&mut page, 338);
            for index in 0..338 {
                page[32 + index * 8..40 + index * 8].copy_from_slice(&below.to_le_bytes());
            }
            bytes.extend(page);
        }
        let root = (first + levels - 1) | birth << 48;
        let count = first + levels;
        for slot in [0, 4096] {
            bytes[slot + 56..slot + 64].copy_from_slice(&count.to_le_bytes());
            bytes[slot + 72..slot + 80].copy_from_slice(&root.to_le_bytes());
        }
        mutate::seal_all(&mut bytes);
        assert!(body::file(&bytes), "the metas are in order");
    });
}

/// A page that says it is newer than the file's newest commit would be used again, once replaced, while a
/// snapshot still reads it: it is damage at its first use, however many commits later that is.
#[test]
fn a_page_from_the_future_is_refused() {
    let _alone = alone();
    let mut bytes = valid(4096);
    for meta in [0, 4096] {
        // The pages are of the commits up to 4; the metas say that there is only the first.
        bytes[meta + 40..meta + 48].copy_from_slice(&1u64.to_le_bytes());
        mutate::seal_meta(&mut bytes[meta..meta + 4096]);
    }
    for commits in 0..5 {
        let disk = SimDisk::new(1);
        disk.write_file("/t.llmdb", &bytes);
        let pager = PagerOptions::new().storage(Arc::new(disk)).open("/t.llmdb").unwrap();
        for _ in 0..commits {
            pager.begin_write().unwrap().publish().unwrap();
        }
        let snapshot = pager.snapshot();
        assert_eq!(snapshot.commit(), 1 + commits);
        let error = snapshot.page(snapshot.root()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("newer than the newest commit in the file"), "{error}");
        let mut txn = pager.begin_write().unwrap();
        let root = txn.root();
        assert!(txn.make_mut(root).is_err() && txn.free(root).is_err());
        drop(txn);
        let report = pager.check(&|_, _: Option<&()>| llmdb_pager::Below::default(), &mut |_, _| {});
        assert!(!report.is_ok_and(|report| report.is_sound()));
    }
}
