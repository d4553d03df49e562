//! What the simulated disk promises of its maps.

use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_pager::storage::{File, OpenMode, Storage, write_all_at};
use std::path::Path;
use std::sync::Arc;

const SECTOR: usize = 512;

fn db() -> &'static Path {
    Path::new("db")
}

/// A disk with a durable file of this many sectors of `old`, and a handle to it.
fn disk_with(sectors: usize, old: u8) -> (SimDisk, Arc<dyn File>) {
    let disk =
        SimDisk::with_options(SimOptions { seed: 1, file_capacity: 64 << 10, ..SimOptions::default() });
    disk.write_file(db(), vec![old; sectors * SECTOR]);
    let file = disk.open(db(), OpenMode::ReadWrite).unwrap();
    (disk, file)
}

fn write_sector(file: &dyn File, sector: usize, byte: u8) {
    write_all_at(file, &[byte; SECTOR], (sector * SECTOR) as u64).unwrap();
}

#[test]
#[expect(unsafe_code, reason = "borrows from a map")]
fn map_sees_writes_at_once_and_as_the_file_grows() {
    let (disk, file) = disk_with(1, b'a');
    let map = file.map(1 << 30).unwrap();
    assert_eq!(map.len(), 1 << 30);
    // SAFETY: the range is inside the file and not written while it is borrowed.
    let first = unsafe { map.bytes(0, SECTOR) }.unwrap();
    assert_eq!(first.as_ptr().addr() % 4096, 0, "aligned as a real map");
    write_sector(&*file, 7, b'b');
    // SAFETY: as above.
    assert_eq!(unsafe { map.bytes(7 * SECTOR as u64, SECTOR) }.unwrap(), [b'b'; SECTOR]);
    // SAFETY: as above; the hole before the write is zeros.
    assert_eq!(unsafe { map.bytes(SECTOR as u64, 6 * SECTOR) }.unwrap(), [0; 6 * SECTOR]);
    assert_eq!(first, [b'a'; SECTOR]);
    // Damage below the cache does not change what is borrowed.
    assert!(disk.flip_bit(db(), 0, 0));
    assert_eq!(first, [b'a'; SECTOR]);
    let later = file.map(4096).unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { later.bytes(0, 2) }.unwrap(), [b'a' ^ 1, b'a']);
    drop((disk, file));
    assert_eq!(first, [b'a'; SECTOR]);
}
