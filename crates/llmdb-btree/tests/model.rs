//! Trees against a `BTreeMap`: random histories with snapshots, rollbacks, reopening, power cuts, and commits
//! that are not durable at once, with much memory and with almost none.

use llmdb_btree::{BulkOptions, Database, Error, ReadTxn, Tree, TreeId, WriteTxn};
use llmdb_pager::PagerOptions;
use llmdb_pager::sim::{SimDisk, SimOptions};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<u8>, usize),
    Remove(Vec<u8>),
    RemoveRange(Bound<Vec<u8>>, Bound<Vec<u8>>),
    RemovePrefix(Vec<u8>),
    /// Records from this key on upward: how many, how long their values are.
    InsertRun(Vec<u8>, u16, usize),
    /// Records behind the last one.
    BulkLoad(u16, usize, usize),
    /// A walk with a cursor: from this key, forward or back, and what to do with each record.
    Walk(Vec<u8>, bool, Vec<Step>),
    /// Sets a savepoint.
    Mark,
    /// Goes back to the savepoint of this number from the end, if there is one.
    GoBack(usize),
    Commit,
    CommitUnsynced,
    Sync,
    PowerCut,
    RollBack,
    Reopen,
    Snapshot,
}

/// Keys that collide, share prefixes, end in zeros and reach the limit.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(255)], 1..7),
        4 => (0u32..400).prop_map(|n| n.to_be_bytes().to_vec()),
        4 => (0u32..200).prop_map(|n| [&[b'x'; 900][..], &n.to_be_bytes()].concat()),
        1 => (0u8..6).prop_map(|n| vec![n; 1280]),
    ]
}

/// What a cursor does with the record that it stands on.
#[derive(Clone, Debug)]
enum Step {
    Pass,
    Turn,
    Remove,
    Replace(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Pass),
        1 => Just(Step::Turn),
        6 => Just(Step::Remove),
        2 => prop_oneof![0usize..300, 3000usize..9000].prop_map(Step::Replace),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        3 => key().prop_map(Bound::Included),
        3 => key().prop_map(Bound::Excluded),
        1 => Just(Bound::Unbounded),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        60 => (key(), prop_oneof![8 => 0usize..300, 2 => 900usize..1200, 1 => 3000usize..9000]).prop_map(|(k, n)| Op::Insert(k, n)),
        30 => key().prop_map(Op::Remove),
        2 => (bound(), bound()).prop_map(|(low, high)| Op::RemoveRange(low, high)),
        1 => key().prop_map(|mut key| { key.truncate(2); Op::RemovePrefix(key) }),
        3 => (key(), 1u16..120, 0usize..200).prop_map(|(key, count, len)| Op::InsertRun(key, count, len)),
        2 => (1u16..150, 0usize..1500, 50usize..101).prop_map(|(count, len, fill)| Op::BulkLoad(count, len, fill)),
        3 => (key(), any::<bool>(), prop::collection::vec(step(), 1..90))
            .prop_map(|(key, forward, steps)| Op::Walk(key, forward, steps)),
        4 => Just(Op::Mark),
        3 => (0usize..3).prop_map(Op::GoBack),
        3 => Just(Op::Commit),
        3 => Just(Op::CommitUnsynced),
        1 => Just(Op::Sync),
        1 => Just(Op::PowerCut),
        1 => Just(Op::RollBack),
        1 => Just(Op::Reopen),
        2 => Just(Op::Snapshot),
    ]
}

fn value(key: &[u8], len: usize) -> Vec<u8> {
    key.iter().cycle().zip(0..len).map(|(byte, place)| byte.wrapping_add(place as u8)).collect()
}

fn same(tree: Option<Tree<'_>>, model: &Model) {
    let Some(tree) = tree else {
        assert!(model.is_empty());
        return;
    };
    assert_eq!(tree.len(), model.len() as u64);
    let found: Vec<_> = tree.iter().map(|record| record.unwrap()).collect();
    assert_eq!(found.len(), model.len());
    for ((key, value), (model_key, model_value)) in found.iter().zip(model) {
        assert_eq!((key, *value), (model_key, model_value.as_slice()));
        assert_eq!(tree.get(key).unwrap(), Some(model_value.as_slice()));
    }
    let mut cursor = tree.cursor();
    let mut stands = cursor.last().unwrap();
    for (key, value) in model.iter().rev() {
        assert!(stands);
        assert_eq!((cursor.key(), cursor.value().unwrap()), (key.as_slice(), value.as_slice()));
        stands = cursor.prev().unwrap();
    }
    assert!(!stands);
}

fn seeks_agree(tree: &Tree<'_>, model: &Model, probe: &[u8]) {
    let mut cursor = tree.cursor();
    let at_least = model.range::<[u8], _>((Bound::Included(probe), Bound::Unbounded)).next();
    assert_eq!(
        cursor.seek(probe).unwrap().then(|| cursor.key().to_vec()),
        at_least.map(|(key, _)| key.clone())
    );
    let at_most = model.range::<[u8], _>((Bound::Unbounded, Bound::Included(probe))).next_back();
    assert_eq!(
        cursor.seek_le(probe).unwrap().then(|| cursor.key().to_vec()),
        at_most.map(|(key, _)| key.clone())
    );
    assert_eq!(tree.get(probe).unwrap(), model.get(probe).map(Vec::as_slice));
}

/// Walks with a cursor over the tree and by keys over the model.
fn walk(txn: &mut WriteTxn, tree: TreeId, model: &mut Model, from: &[u8], mut forward: bool, steps: &[Step]) {
    let mut cursor = txn.cursor_mut(tree);
    let mut place = model.range(from.to_vec()..).next().map(|(key, _)| key.clone());
    assert_eq!(cursor.seek(from).unwrap(), place.is_some());
    for step in steps {
        let Some(key) = place else {
            assert_eq!(cursor.key(), b"");
            return;
        };
        assert_eq!(cursor.key(), key);
        assert_eq!(cursor.value().unwrap(), model[&key]);
        match step {
            Step::Pass => {}
            Step::Turn => forward = !forward,
            Step::Remove => {
                assert!(cursor.remove().unwrap());
                assert!(!cursor.remove().unwrap());
                model.remove(&key);
            }
            Step::Replace(len) => {
                let value = value(&key, *len);
                cursor.replace(&value).unwrap();
                assert_eq!((cursor.key(), cursor.value().unwrap()), (key.as_slice(), value.as_slice()));
                model.insert(key.clone(), value);
            }
        }
        place = if forward {
            let behind = (Bound::Excluded(key), Bound::Unbounded);
            model.range(behind).next().map(|(key, _)| key.clone())
        } else {
            model.range(..key).next_back().map(|(key, _)| key.clone())
        };
        let stands = if forward { cursor.next() } else { cursor.prev() };
        assert_eq!(stands.unwrap(), place.is_some());
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn keys_between(model: &Model, low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> BTreeSet<Vec<u8>> {
    // The map panics at bounds that are crossed; a tree has nothing between them.
    let above = |key: &[u8]| match low {
        Bound::Included(low) => key >= low.as_slice(),
        Bound::Excluded(low) => key > low.as_slice(),
        Bound::Unbounded => true,
    };
    let below = |key: &[u8]| match high {
        Bound::Included(high) => key <= high.as_slice(),
        Bound::Excluded(high) => key < high.as_slice(),
        Bound::Unbounded => true,
    };
    model.keys().filter(|key| above(key) && below(key)).cloned().collect()
}

fn run(ops: Vec<Op>, page_size: usize, budget: u64) {
    let mut disk = SimDisk::new(7);
    let options = |disk: &SimDisk| {
        PagerOptions::new().storage(Arc::new(disk.clone())).page_size(page_size).dirty_budget(budget)
    };
    let mut db = Database::create(options(&disk), "/t.llmdb").unwrap();
    let (mut committed, mut durable) = (Model::new(), Model::new());
    let mut snapshots: Vec<(ReadTxn, Model)> = Vec::new();
    let mut queue = ops.into_iter().peekable();
    while queue.peek().is_some() {
        let mut model = committed.clone();
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        let mut end = Op::Commit;
        let mut marks = Vec::new();
        for op in queue.by_ref() {
            match op {
                Op::Insert(key, len) => {
                    let value = value(&key, len);
                    txn.insert(tree, &key, &value).unwrap();
                    model.insert(key, value);
                }
                Op::Remove(key) => {
                    assert_eq!(txn.remove(tree, &key).unwrap(), model.remove(&key).is_some());
                    seeks_agree(&txn.tree(tree).unwrap(), &model, &key);
                }
                Op::RemoveRange(low, high) => {
                    let gone = keys_between(&model, &low, &high);
                    let count = txn.remove_range(tree, as_slice(&low), as_slice(&high)).unwrap();
                    assert_eq!(count, gone.len() as u64);
                    model.retain(|key, _| !gone.contains(key));
                    assert_eq!(txn.tree(tree).unwrap().len(), model.len() as u64);
                }
                Op::RemovePrefix(prefix) => {
                    let before = model.len();
                    model.retain(|key, _| !key.starts_with(&prefix));
                    let count = txn.remove_prefix(tree, &prefix).unwrap();
                    assert_eq!(count, (before - model.len()) as u64);
                }
                Op::InsertRun(start, count, len) => {
                    for n in 0..count {
                        let mut key = [start.as_slice(), &n.to_be_bytes()].concat();
                        key.drain(..key.len().saturating_sub(1280));
                        let value = value(&key, len);
                        txn.insert(tree, &key, &value).unwrap();
                        model.insert(key, value);
                    }
                }
                Op::BulkLoad(count, len, fill) => {
                    let last = model.last_key_value().map_or(&b""[..], |(key, _)| key);
                    let start = [&last[..last.len().min(1270)], b"\xff\xff"].concat();
                    let start = if start.as_slice() > last { start } else { continue };
                    let record = |n: u16| {
                        let key = [start.as_slice(), &n.to_be_bytes()].concat();
                        let value = value(&key, len / usize::from(n % 7 + 1));
                        (key, value)
                    };
                    let options = BulkOptions::new().fill_percent(fill);
                    let done = txn.bulk_load_with(tree, options, (0..count).map(record)).unwrap();
                    assert_eq!(done, u64::from(count));
                    model.extend((0..count).map(record));
                }
                Op::Walk(from, forward, steps) => {
                    walk(&mut txn, tree, &mut model, &from, forward, &steps);
                }
                Op::Mark => marks.push((txn.savepoint().unwrap(), model.clone())),
                Op::GoBack(back) => {
                    let Some(place) = marks.len().checked_sub(back + 1) else { continue };
                    let (mark, then) = &marks[place];
                    txn.go_back_to(mark).unwrap();
                    model.clone_from(then);
                    same(Some(txn.tree(tree).unwrap()), &model);
                    // One that was forgotten is refused, and nothing is changed by asking.
                    for (gone, _) in marks.split_off(place + 1) {
                        assert!(matches!(txn.go_back_to(&gone), Err(Error::Savepoint)));
                    }
                }
                other => {
                    end = other;
                    break;
                }
            }
        }
        same(Some(txn.tree(tree).unwrap()), &model);
        match end {
            Op::RollBack => drop(txn),
            Op::Commit | Op::Reopen => {
                txn.commit().unwrap();
                (committed, durable) = (model.clone(), model);
            }
            _ => {
                txn.commit_unsynced().unwrap();
                committed = model;
            }
        }
        same(db.begin_read().tree("t").unwrap(), &committed);
        match end {
            Op::Reopen => {
                snapshots.clear();
                drop(db);
                db = Database::open(options(&disk), "/t.llmdb").unwrap();
                same(db.begin_read().tree("t").unwrap(), &committed);
            }
            Op::Sync => {
                db.sync().unwrap();
                durable = committed.clone();
            }
            Op::PowerCut => {
                snapshots.clear();
                disk = disk.crash_image(committed.len() as u64);
                db = Database::open(options(&disk), "/t.llmdb").unwrap();
                same(db.begin_read().tree("t").unwrap(), &durable);
                committed = durable.clone();
            }
            Op::Snapshot => snapshots.push((db.begin_read(), committed.clone())),
            _ => {}
        }
        for (snapshot, model) in &snapshots {
            same(snapshot.tree("t").unwrap(), model);
        }
        if snapshots.len() > 3 {
            snapshots.remove(0);
        }
    }
    drop(snapshots);
    let report = db.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    drop(db);
    let db = Database::open(options(&disk), "/t.llmdb").unwrap();
    same(db.begin_read().tree("t").unwrap(), &committed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn trees_behave_as_sorted_maps_under_snapshots(ops in prop::collection::vec(op(), 1..900)) {
        run(ops, 4096, 128 << 20);
    }

    #[test]
    fn trees_behave_the_same_with_almost_no_memory(ops in prop::collection::vec(op(), 1..900)) {
        run(ops, 4096, 0);
    }

    #[test]
    fn large_pages_behave_the_same(ops in prop::collection::vec(op(), 1..500), size in prop_oneof![Just(8192usize), Just(65536)]) {
        run(ops, size, 0);
    }
}

#[test]
fn rising_keys_fill_their_leaves() {
    let disk = Arc::new(SimDisk::new(1));
    let db = Database::create(PagerOptions::new().storage(disk), "/t.llmdb").unwrap();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    for n in 0..20_000u32 {
        txn.insert(tree, &n.to_be_bytes(), &[7; 100]).unwrap();
    }
    txn.commit().unwrap();
    let stat = db.pager().stat().unwrap();
    let user = 20_000 * 104;
    let used = (stat.page_count - stat.free_pages) * 4096;
    assert!(used < user * 115 / 100, "{used} bytes for {user}");
}

#[test]
fn limits_are_named() {
    let disk = Arc::new(SimDisk::new(1));
    let db = Database::create(PagerOptions::new().storage(disk), "/t.llmdb").unwrap();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    assert!(matches!(txn.insert(tree, b"", b""), Err(Error::KeyEmpty)));
    assert!(matches!(txn.insert(tree, &[1; 1281], b""), Err(Error::KeyTooLong { len: 1281, max: 1280 })));
    assert!(matches!(txn.create_tree(""), Err(Error::TreeName { .. })));
    assert!(matches!(txn.create_tree(&"x".repeat(256)), Err(Error::TreeName { .. })));
    txn.insert(tree, &[1; 1280], b"longest").unwrap();
    txn.commit().unwrap();
    assert_eq!(db.begin_read().tree("t").unwrap().unwrap().get(&[1; 1280]).unwrap(), Some(&b"longest"[..]));
}

#[test]
fn thousands_of_trees_live_in_one_file() {
    let roomy = SimOptions { file_capacity: 128 << 20, ..SimOptions::default() };
    let disk = Arc::new(SimDisk::with_options(roomy));
    let db = Database::create(PagerOptions::new().storage(disk.clone()), "/t.llmdb").unwrap();
    for round in 0..3 {
        let mut txn = db.begin_write().unwrap();
        for n in 0..4_000 {
            let tree = txn.create_tree(&format!("tree {n}")).unwrap();
            txn.insert(tree, b"round", format!("{round} {n}").as_bytes()).unwrap();
        }
        txn.commit().unwrap();
    }
    let mut txn = db.begin_write().unwrap();
    assert!(txn.drop_tree("tree 17").unwrap());
    assert!(!txn.drop_tree("tree 17").unwrap());
    let again = txn.create_tree("another").unwrap();
    txn.insert(again, b"a", b"b").unwrap();
    txn.commit().unwrap();
    drop(db);
    let db = Database::open(PagerOptions::new().storage(disk), "/t.llmdb").unwrap();
    let reader = db.begin_read();
    assert_eq!(reader.tree_names().unwrap().len(), 4_000);
    assert!(reader.tree("tree 17").unwrap().is_none());
    for n in [0, 16, 18, 168, 169, 170, 3_999] {
        let tree = reader.tree(&format!("tree {n}")).unwrap().unwrap();
        assert_eq!(tree.get(b"round").unwrap(), Some(format!("2 {n}").as_bytes()));
    }
    drop(reader);
    let report = db.check(&mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn numbers_of_dropped_trees_go_to_one_new_tree_each() {
    let disk = Arc::new(SimDisk::new(1));
    let db = Database::create(PagerOptions::new().storage(disk), "/t.llmdb").unwrap();
    let fill = |names: std::ops::Range<u32>| {
        let mut txn = db.begin_write().unwrap();
        for n in names {
            let tree = txn.create_tree(&n.to_string()).unwrap();
            txn.insert(tree, b"name", &n.to_be_bytes()).unwrap();
        }
        txn.commit().unwrap();
    };
    fill(0..400);
    let mut txn = db.begin_write().unwrap();
    for n in (0..400).step_by(3) {
        assert!(txn.drop_tree(&n.to_string()).unwrap());
    }
    txn.commit().unwrap();
    fill(1_000..1_300);
    let reader = db.begin_read();
    for n in (0..400).filter(|n| n % 3 != 0).chain(1_000..1_300) {
        let tree = reader.tree(&n.to_string()).unwrap().unwrap();
        assert_eq!((tree.len(), tree.get(b"name").unwrap()), (1, Some(&u32::to_be_bytes(n)[..])), "{n}");
    }
}

#[test]
fn space_of_churned_records_is_used_again() {
    let disk = Arc::new(SimDisk::new(1));
    let db = Database::create(PagerOptions::new().storage(disk), "/t.llmdb").unwrap();
    let mut sizes = Vec::new();
    for round in 0..60u32 {
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        for n in 0..500u32 {
            let scattered = n.wrapping_mul(2_654_435_761);
            txn.insert(tree, &scattered.to_be_bytes(), &[round as u8; 200]).unwrap();
        }
        txn.commit().unwrap();
        sizes.push(db.pager().stat().unwrap().page_count);
    }
    assert!(sizes[59] <= sizes[5], "{sizes:?}");
}

#[test]
fn emptied_stretches_take_keys_of_any_prefix_again() {
    let disk = Arc::new(SimDisk::new(1));
    let db = Database::create(PagerOptions::new().storage(disk), "/t.llmdb").unwrap();
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    let mut model = Model::new();
    let key = |group: u8, n: u32| [&[group; 40][..], &n.to_be_bytes()].concat();
    for round in 0..6u8 {
        for group in 1..60u8 {
            for n in 0..40 {
                txn.insert(tree, &key(group, n), &[round; 90]).unwrap();
                model.insert(key(group, n), vec![round; 90]);
            }
        }
        for group in (1..60u8).filter(|group| group % 6 != round) {
            for n in 0..40 {
                assert!(txn.remove(tree, &key(group, n)).unwrap());
                model.remove(&key(group, n));
            }
        }
        same(Some(txn.tree(tree).unwrap()), &model);
    }
}
