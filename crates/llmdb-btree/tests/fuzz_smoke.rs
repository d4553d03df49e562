//! The fuzz bodies over damage with fixed seeds, on any toolchain.

#[path = "fuzz/body.rs"]
mod body;
#[path = "../../llmdb-pager/tests/support/mutate.rs"]
mod mutate;
#[path = "fuzz/seal_backup.rs"]
mod seal_backup;
#[path = "../../llmdb-pager/tests/support/smoke.rs"]
mod smoke;

use llmdb_btree::Database;
use llmdb_pager::PagerOptions;
use llmdb_pager::backup::BackupOptions;
use llmdb_pager::page::read_u16;
use llmdb_pager::sim::SimDisk;
use mutate::{Rng, mutated_file};
use std::sync::{Arc, Mutex};

/// One test at a time: the largest request and the panic hook are the process's.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A small file with trees of one, two and three levels, long and short separators, large values.
fn valid() -> Vec<u8> {
    let disk = SimDisk::new(1);
    let db = Database::create(PagerOptions::new().storage(Arc::new(disk.clone())), "/v.llmdb").unwrap();
    let mut txn = db.begin_write().unwrap();
    let small = txn.create_tree("small").unwrap();
    for n in 0..20u8 {
        txn.insert(small, &[n], &vec![n; usize::from(n) * 20]).unwrap();
    }
    txn.insert(small, b"large", &[5; 6000]).unwrap();
    let wide = txn.create_tree("wide").unwrap();
    for n in 0..150u32 {
        txn.insert(wide, &n.wrapping_mul(2_654_435_761).to_be_bytes(), &[n as u8; 60]).unwrap();
    }
    let high = txn.create_tree("high").unwrap();
    for n in 0..30u32 {
        txn.insert(high, &[&[b'x'; 900][..], &n.to_be_bytes()].concat(), b"v").unwrap();
    }
    txn.create_tree("empty").unwrap();
    txn.commit().unwrap();
    assert!(db.begin_read().tree("high").unwrap().unwrap().height().unwrap() >= 3);
    disk.read_file("/v.llmdb").unwrap()
}

#[test]
fn changed_files_are_refused_or_read() {
    let _alone = alone();
    let file = valid();
    let mut opened = 0;
    smoke::smoke("changed files", 0..3_000, |seed| {
        opened += u32::from(body::file(&mutated_file(&file, &mut Rng(seed))));
    });
    assert!(opened > 500 && opened < 3_000, "{opened} of 3,000 opened");
}

#[test]
fn changed_files_can_be_edited_or_say_why_not() {
    let _alone = alone();
    let file = valid();
    smoke::smoke("edits of changed files", 0..4_000, |seed| {
        body::edits(&mutated_file(&file, &mut Rng(seed)))
    });
}

/// Leaves in which one cell's value is made to reach over the cells behind it.
#[test]
fn overlapping_cells_do_no_harm() {
    let _alone = alone();
    let file = valid();
    let mut cells = Vec::new();
    for (number, page) in file.chunks_exact(4096).enumerate().skip(2).filter(|(_, page)| page[14] == 16) {
        let (count, prefix) = (usize::from(read_u16(page, 26)), usize::from(read_u16(page, 28)));
        let offsets = 32 + prefix.next_multiple_of(4) + count.next_multiple_of(16) * 4;
        cells.extend(
            (0..count).map(|index| (number * 4096, usize::from(read_u16(page, offsets + index * 2)))),
        );
    }
    assert!(cells.len() > 150, "{}", cells.len());
    smoke::smoke("overlapping cells", 0..cells.len() as u64, |case| {
        let (page, cell) = cells[case as usize];
        let value = cell + 4 + usize::from(read_u16(&file, page + cell));
        let mut bytes = file.clone();
        bytes[page + cell + 2..page + cell + 4].copy_from_slice(&((4096 - value) as u16).to_le_bytes());
        mutate::seal_all(&mut bytes);
        body::file(&bytes);
        body::edits(&bytes);
    });
}

/// A full backup and one since it, of a small database.
fn valid_backups() -> [Vec<u8>; 2] {
    let disk = SimDisk::new(1);
    disk.write_file("/v.llmdb", valid());
    let db = Database::open(PagerOptions::new().storage(Arc::new(disk)), "/v.llmdb").unwrap();
    let back_up = |options| {
        let mut bytes = Vec::new();
        db.backup(options, &mut bytes, &mut |_, _| {}).unwrap();
        bytes
    };
    let full = back_up(BackupOptions::new());
    let mut txn = db.begin_write().unwrap();
    let wide = txn.open_tree("wide").unwrap().unwrap();
    txn.insert(wide, b"more", &[7; 9_000]).unwrap();
    txn.remove(wide, &0_u32.to_be_bytes()).unwrap();
    txn.commit().unwrap();
    [full, back_up(BackupOptions::new().since(1))]
}

#[test]
fn changed_backups_are_refused_or_restored_whole() {
    let _alone = alone();
    let [full, part] = valid_backups();
    assert!(body::backups(&[&full, &part]));
    let mut restored = 0;
    smoke::smoke("changed backups", 0..3_000, |seed| {
        let mut rng = Rng(seed);
        let mut bytes = if seed % 3 == 0 { part.clone() } else { full.clone() };
        // Behind the header and the head of a frame pages stand in blocks of their size.
        let skipped = [0, 152][rng.below(2) as usize];
        mutate::scramble(&mut bytes[skipped..], 4096, &mut rng);
        if rng.below(8) > 0 {
            seal_backup::seal_backup(&mut bytes);
        }
        let chain: &[&[u8]] = if seed % 3 == 0 { &[&full, &bytes] } else { &[&bytes] };
        restored += u32::from(body::backups(chain));
    });
    assert!(restored > 200 && restored < 2_500, "{restored} of 3,000 restored");
}

#[test]
fn operations_agree_with_a_map() {
    let _alone = alone();
    smoke::smoke("operations", 0..150, |seed| {
        let mut rng = Rng(seed);
        let bytes: Vec<u8> =
            (0..rng.below(3_000)).map(|_| rng.next() as u8 & [0xff, 0x3f][rng.below(2) as usize]).collect();
        body::operations(&bytes);
    });
}
