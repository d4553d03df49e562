//! A store looks after itself while it is open.

use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_pager::{ScrubEvent, ScrubOptions};
use llmdb_wal::{Store, StoreOptions};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

const DB: &str = "/m.llmdb";

/// The bounds of a range of keys.
type KeyRange<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

fn store() -> (SimDisk, Store) {
    let disk = SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() });
    let store = StoreOptions::new().storage(Arc::new(disk.clone())).open(DB).unwrap();
    let mut txn = store.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    for key in 0..4_000_u32 {
        txn.insert(tree, &key.wrapping_mul(2_654_435_761).to_be_bytes(), &[key as u8; 200]).unwrap();
    }
    txn.insert(tree, b"large value", &[7; 300_000]).unwrap();
    txn.commit().unwrap();
    (disk, store)
}

#[test]
fn a_dense_copy_is_a_closed_database_with_the_same_records() {
    let (disk, store) = store();
    let report = store.compact_to("/copy.llmdb", &mut |_, _| {}).unwrap();
    assert!(report.records >= 4_001, "{report:?}");
    let copy = StoreOptions::new().storage(Arc::new(disk)).read_only(true).open("/copy.llmdb").unwrap();
    let (ours, theirs) = (store.begin_read().unwrap(), copy.begin_read().unwrap());
    let (ours, theirs) = (ours.tree("t").unwrap().unwrap(), theirs.tree("t").unwrap().unwrap());
    assert!(ours.iter().map(Result::unwrap).eq(theirs.iter().map(Result::unwrap)));
    assert!(copy.check(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn trim_gives_back_what_a_checkpoint_freed() {
    let (_, store) = store();
    let mut txn = store.begin_write().unwrap();
    assert!(txn.drop_tree("t").unwrap());
    txn.commit().unwrap();
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    let mut txn = store.begin_write().unwrap();
    txn.create_tree("u").unwrap();
    txn.commit().unwrap();
    store.checkpoint().unwrap();
    let before = store.stat().unwrap().pager.allocated_bytes;
    let report = store.trim().unwrap();
    assert!(report.freed_bytes > 250_000, "{report:?}");
    assert_eq!(store.stat().unwrap().pager.allocated_bytes, before - report.freed_bytes);
    assert!(store.check(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_scrub_finds_rot() {
    let (disk, store) = store();
    store.checkpoint().unwrap();
    let scrub = || {
        let mut pages = Vec::new();
        let report = store.scrub(ScrubOptions::new(1 << 40), &mut |event| {
            if let ScrubEvent::Damage(damage) = event {
                pages.push(damage.page.0);
            }
            ControlFlow::Continue(())
        });
        assert_eq!(report.unwrap().damage_count, pages.len() as u64);
        pages
    };
    assert!(scrub().is_empty());
    // The large value stands before it; its map does not see what rots below.
    disk.flip_bit(DB, 120 * 4096 + 100, 1);
    assert_eq!(scrub(), [120]);
}

#[test]
fn ranges_and_prefixes_are_removed_as_from_a_map_and_replayed_from_the_log() {
    let disk = SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() });
    let open = |disk: &SimDisk| StoreOptions::new().storage(Arc::new(disk.clone())).open(DB).unwrap();
    let store = open(&disk);
    let mut model = BTreeMap::new();
    let mut txn = store.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    for key in 0..3_000_u16 {
        let key = [&[0xff; 2][..usize::from(key % 3)], &key.to_be_bytes()].concat();
        txn.insert(tree, &key, &[1; 40]).unwrap();
        model.insert(key, vec![1; 40]);
    }
    txn.commit().unwrap();
    let ranges: &[KeyRange<'_>] = &[
        (Bound::Included(&[0, 9]), Bound::Excluded(&[0, 200])),
        (Bound::Excluded(&[3, 1]), Bound::Included(&[3, 9])),
        (Bound::Unbounded, Bound::Excluded(&[0, 3])),
        (Bound::Unbounded, Bound::Excluded(&[])),
        (Bound::Included(&[5]), Bound::Included(&[5])),
        (Bound::Included(&[7, 9]), Bound::Excluded(&[7, 1])),
        (Bound::Excluded(&[0xff, 0xff, 9]), Bound::Unbounded),
    ];
    let prefixes: &[&[u8]] = &[&[4], &[0xff, 2], &[0xff, 0xff], &[0xff], b"none"];
    for (low, high) in ranges {
        let mut txn = store.begin_write().unwrap();
        let before = model.len();
        model.retain(|key, _| !inside(key, *low, *high));
        assert_eq!(
            txn.remove_range(tree, *low, *high).unwrap(),
            (before - model.len()) as u64,
            "{low:?}, {high:?}"
        );
        txn.commit().unwrap();
    }
    for prefix in prefixes {
        let mut txn = store.begin_write().unwrap();
        let before = model.len();
        model.retain(|key, _| !key.starts_with(prefix));
        assert_eq!(txn.remove_prefix(tree, prefix).unwrap(), (before - model.len()) as u64, "{prefix:?}");
        txn.commit().unwrap();
    }
    assert!(model.len() > 500);
    let content = |store: &Store| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let reader = store.begin_read().unwrap();
        let tree = reader.tree("t").unwrap().unwrap();
        tree.iter().map(Result::unwrap).map(|(key, value)| (key, value.to_vec())).collect()
    };
    assert!(content(&store) == model);
    let recovered = open(&disk.crash_image(4));
    assert_eq!(recovered.recovery().commits, 1 + ranges.len() as u64 + prefixes.len() as u64);
    assert!(content(&recovered) == model);
    let mut txn = recovered.begin_write().unwrap();
    assert_eq!(txn.remove_prefix(tree, b"").unwrap(), model.len() as u64);
    txn.commit().unwrap();
    assert!(content(&recovered).is_empty());
}

fn inside(key: &[u8], low: Bound<&[u8]>, high: Bound<&[u8]>) -> bool {
    let is_behind = match low {
        Bound::Included(low) => key >= low,
        Bound::Excluded(low) => key > low,
        Bound::Unbounded => true,
    };
    is_behind
        && match high {
            Bound::Included(high) => key <= high,
            Bound::Excluded(high) => key < high,
            Bound::Unbounded => true,
        }
}
