//! How full trees are after inserts and deletes of one kind or another.

use llmdb_btree::{BulkOptions, Database, Error, TreeId, TreeStats, WriteTxn};
use llmdb_pager::PagerOptions;
use llmdb_pager::sim::{SimDisk, SimOptions};
use std::ops::Bound;
use std::sync::Arc;

const COUNT: u64 = 30_000;
const VALUE: [u8; 256] = [7; 256];
/// Bytes of a record.
const RECORD: u64 = 16 + 256;

fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn key(high: u64, low: u64) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

fn random(n: u64) -> [u8; 16] {
    key(mix(n), mix(n ^ 1 << 40))
}

fn database() -> Database {
    let disk = SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() });
    Database::create(PagerOptions::new().storage(Arc::new(disk)), "/t.llmdb").unwrap()
}

/// Inserts records with these keys in a fresh tree, looks at it, changes it, checks the file.
fn grown(
    keys: impl Iterator<Item = [u8; 16]>,
    mut change: impl FnMut(&mut WriteTxn, TreeId),
) -> (TreeStats, TreeStats) {
    let db = database();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    for key in keys {
        txn.insert(tree, &key, &VALUE).unwrap();
    }
    let first = txn.tree(tree).unwrap().stats().unwrap();
    change(&mut txn, tree);
    let second = txn.tree(tree).unwrap().stats().unwrap();
    assert_eq!(txn.tree(tree).unwrap().len(), second.records);
    txn.commit().unwrap();
    assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
    (first, second)
}

/// Bytes of pages over bytes of records.
fn cost(stats: &TreeStats) -> f64 {
    (stats.pages() * stats.page_size) as f64 / (stats.records * RECORD) as f64
}

#[test]
fn random_inserts_leave_pages_four_fifths_full() {
    let (stats, _) = grown((0..COUNT).map(random), |_, _| {});
    assert_eq!(stats.records, COUNT);
    assert!(cost(&stats) < 1.33, "{} {stats:?}", cost(&stats));
    assert!(stats.leaf_fill() > 0.8, "{}", stats.leaf_fill());
}

#[test]
fn rising_and_falling_inserts_leave_full_pages() {
    let (rising, _) = grown((0..COUNT).map(|n| key(n, 0)), |_, _| {});
    let (falling, _) = grown((0..COUNT).map(|n| key(u64::MAX - n, 0)), |_, _| {});
    for stats in [rising, falling] {
        assert!(cost(&stats) < 1.11, "{} {stats:?}", cost(&stats));
    }
}

#[test]
fn runs_in_the_middle_leave_full_pages() {
    for falls in [false, true] {
        let in_run = |n: u64| if falls { u64::MAX - n } else { n };
        let (stats, _) = grown((0..COUNT).map(|n| key(mix(n / 1_000), in_run(n))), |_, _| {});
        assert!(cost(&stats) < 1.25, "falls {falls}: {} {stats:?}", cost(&stats));
    }
}

#[test]
fn a_short_run_leaves_no_page_nearly_empty() {
    for (place, run) in (4..40).map(|n| (n * 700 % COUNT, n % 19)) {
        let rising = (0..COUNT / 10).map(|n| key(n * 10, 0));
        let run = (0..run).map(|n| key(place / 10 * 10, n + 1));
        let db = database();
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        for key in rising.chain(run) {
            txn.insert(tree, &key, &VALUE).unwrap();
        }
        let before = txn.tree(tree).unwrap().stats().unwrap().levels[0].pages;
        assert!(before <= COUNT / 10 / 14 + 5, "{before} leaves at {place}");
    }
}

#[test]
fn deletes_keep_pages_half_full() {
    for part in [2u64, 5] {
        let (_, stats) = grown((0..COUNT).map(random), |txn, tree| {
            for n in (0..COUNT).filter(|n| !mix(n ^ 77).is_multiple_of(part)) {
                assert!(txn.remove(tree, &random(n)).unwrap());
            }
        });
        assert!(stats.leaf_fill() > 0.6, "1 of {part} left: {}", stats.leaf_fill());
        let branches = stats.levels[1];
        let fill = branches.used_bytes as f64 / (branches.pages * stats.page_size) as f64;
        assert!(stats.height() < 3 || fill > 0.4, "1 of {part} left, branches: {fill}");
    }
}

#[test]
fn a_tree_emptied_in_any_order_frees_its_pages() {
    for order in 0..3 {
        let (_, stats) = grown((0..3_000).map(random), |txn, tree| {
            let mut keys: Vec<_> = (0..3_000).map(random).collect();
            match order {
                0 => keys.sort_unstable(),
                1 => keys.sort_unstable_by(|a, b| b.cmp(a)),
                _ => {}
            }
            for key in keys {
                assert!(txn.remove(tree, &key).unwrap());
            }
        });
        assert_eq!((stats.height(), stats.pages()), (0, 0), "order {order}");
    }
}

#[test]
fn range_deletes_free_what_they_cover() {
    let sorted = || {
        let mut keys: Vec<_> = (0..COUNT).map(random).collect();
        keys.sort_unstable();
        keys
    };
    for (start, end) in
        [(0, 30_000), (0, 29_999), (1, 30_000), (10, 29_990), (15_000, 15_003), (3_000, 27_000)]
    {
        let keys = sorted();
        let (_, stats) = grown((0..COUNT).map(random), |txn, tree| {
            let high = keys.get(end).map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
            let count = txn.remove_range(tree, Bound::Included(&keys[start]), high).unwrap();
            assert_eq!(count, (end - start) as u64);
            let again = txn.remove_range(tree, Bound::Included(&keys[start]), high).unwrap();
            assert_eq!(again, 0);
        });
        let left = COUNT - (end - start) as u64;
        assert_eq!(stats.records, left);
        assert!(stats.pages() <= left / 10 + 3, "{start}..{end}: {stats:?}");
    }
}

#[test]
fn bulk_loads_fill_as_asked() {
    for (percent, most) in [(100, 1.10), (80, 1.4), (50, 2.2), (7, 2.2)] {
        let db = database();
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        let options = BulkOptions::new().fill_percent(percent);
        // In two halves: the second is behind the first.
        let records = |part: u64| (part * 10_000..(part + 1) * 10_000).map(|n| (key(n, 0), VALUE));
        for part in 0..2 {
            assert_eq!(txn.bulk_load_with(tree, options, records(part)).unwrap(), 10_000);
        }
        let stats = txn.tree(tree).unwrap().stats().unwrap();
        assert!(cost(&stats) < most, "{percent} %: {}", cost(&stats));
        txn.commit().unwrap();
        assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
    }
}

#[test]
fn bulk_loads_and_range_deletes_need_little_memory() {
    let disk = SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() });
    let options = PagerOptions::new().storage(Arc::new(disk)).dirty_budget(1 << 20);
    let db = Database::create(options, "/t.llmdb").unwrap();
    let mut txn = db.begin_write().unwrap();
    let (other, tree) = (txn.create_tree("other").unwrap(), txn.create_tree("t").unwrap());
    txn.insert(other, b"key", b"value").unwrap();
    for part in 0..3 {
        let records = (part * COUNT..(part + 1) * COUNT).map(|n| (key(n, 0), VALUE));
        txn.bulk_load(tree, records).unwrap();
        assert!(txn.pager_ref().dirty_bytes() < 4 << 20, "{}", txn.pager_ref().dirty_bytes());
    }
    let (low, high) = (key(100, 0), key(3 * COUNT - 100, 0));
    let gone = txn.remove_range(tree, Bound::Included(&low), Bound::Excluded(&high)).unwrap();
    assert_eq!(gone, 3 * COUNT - 200);
    assert_eq!(txn.get(other, b"key").unwrap(), Some(&b"value"[..]));
    txn.commit().unwrap();
    assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
    let reader = db.begin_read();
    let keys: Vec<_> = reader.tree("t").unwrap().unwrap().iter().map(|r| r.unwrap().0).collect();
    let left: Vec<_> = (0..100).chain(3 * COUNT - 100..3 * COUNT).map(|n| key(n, 0).to_vec()).collect();
    assert!(keys == left);
}

#[test]
fn a_bulk_load_out_of_order_names_the_key_and_keeps_what_came_before() {
    let db = database();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    let keys: [&[u8]; 5] = [b"a", b"b", b"d", b"c\n", b"e"];
    let error = txn.bulk_load(tree, keys.map(|key| (key, b"v"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "key \"c\\n\" does not come behind \"d\", the one before it; a bulk load needs keys that rise"
    );
    assert!(matches!(txn.bulk_load(tree, [(b"d", b"v")]), Err(Error::KeyOrder { .. })));
    assert!(matches!(txn.bulk_load(tree, [(b"", b"v")]), Err(Error::KeyEmpty)));
    assert!(matches!(txn.bulk_load(tree, [([9; 1281], b"v")]), Err(Error::KeyTooLong { .. })));
    assert_eq!(txn.bulk_load(tree, Vec::<([u8; 1], [u8; 1])>::new()).unwrap(), 0);
    assert_eq!(txn.bulk_load(tree, [(b"e", b"v"), (b"f", b"v")]).unwrap(), 2);
    txn.commit().unwrap();
    let reader = db.begin_read();
    let found: Vec<_> = reader.tree("t").unwrap().unwrap().iter().map(|r| r.unwrap().0).collect();
    assert_eq!(found, [b"a", b"b", b"d", b"e", b"f"]);
}

#[test]
fn a_bulk_load_writes_each_page_once_and_keeps_few() {
    let disk = SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() });
    let options = PagerOptions::new().storage(Arc::new(disk.clone()));
    let db = Database::create(options, "/t.llmdb").unwrap();
    let before = disk.stats().bytes_written;
    for part in 0..4 {
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        let mut load = txn.begin_bulk_load(tree, BulkOptions::new()).unwrap();
        for n in part * COUNT..(part + 1) * COUNT {
            load.push(&key(n, 0), &VALUE).unwrap();
        }
        assert_eq!(load.finish().unwrap(), COUNT);
        txn.commit_unsynced().unwrap();
    }
    let dirty = db.pager().stat().unwrap().dirty_bytes;
    assert!(dirty < 4 * 400 * 4096, "{dirty} bytes wait for the sync");
    db.sync().unwrap();
    let pages = db.begin_read().tree("t").unwrap().unwrap().stats().unwrap().pages();
    let stat = db.pager().stat().unwrap();
    let written = disk.stats().bytes_written - before;
    assert!(written < (pages + 100) * 4096, "{written} bytes of {pages} pages");
    assert!(stat.page_count < pages + 100, "{stat:?}");
    assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_bulk_load_that_does_not_finish_leaves_nothing_behind() {
    let db = database();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    txn.bulk_load(tree, (0..5_000).map(|n| (key(n, 0), VALUE))).unwrap();
    txn.commit().unwrap();
    let before = db.pager().stat().unwrap();
    for finishes in [false, true] {
        let mut txn = db.begin_write().unwrap();
        let mut load = txn.begin_bulk_load(tree, BulkOptions::new()).unwrap();
        for n in 5_000..25_000 {
            load.push(&key(n, 0), &VALUE).unwrap();
        }
        assert!(matches!(load.push(&key(7, 0), &VALUE), Err(Error::KeyOrder { .. })), "and it goes on");
        if finishes {
            assert_eq!(load.finish().unwrap(), 20_000);
            assert_eq!(txn.get(tree, &key(24_999, 0)).unwrap(), Some(&VALUE[..]));
        } else {
            drop(load);
            assert!(matches!(txn.insert(tree, b"k", b"v"), Err(Error::Failed)));
            assert!(matches!(txn.commit_unsynced(), Err(Error::Failed)));
            continue;
        }
        drop(txn);
    }
    let after = db.pager().stat().unwrap();
    assert_eq!((after.page_count, after.dirty_bytes), (before.page_count, 0));
    assert_eq!(after.free_pages + after.retired_pages, before.free_pages + before.retired_pages);
    assert_eq!(db.begin_read().tree("t").unwrap().unwrap().len(), 5_000);
    assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
}
