//! Large values in one transaction: written together where they are small and neighbours, and read, replaced, removed and
//! rolled back before that as after it.

use llmdb_btree::{Database, TreeId, WriteTxn};
use llmdb_pager::PagerOptions;
use llmdb_pager::sim::{SimDisk, SimOptions};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const DB: &str = "/v.llmdb";

fn disk() -> SimDisk {
    SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() })
}

fn create(disk: &SimDisk) -> Database {
    Database::create(PagerOptions::new().storage(Arc::new(disk.clone())), DB).unwrap()
}

fn value(len: usize, mark: u8) -> Vec<u8> {
    (0..len).map(|n| mark.wrapping_add((n / 251) as u8)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize, u8),
    Stream(u8, usize, u8),
    Remove(u8),
    Read(u8),
    Savepoint,
    GoBack,
    Commit,
    Drop,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![
        3 => 4_000..4_200_usize,
        3 => 1_100..20_000_usize,
        1 => 60_000..70_000_usize,
        1 => 0..300_usize,
        1 => 200_000..1_200_000_usize,
    ];
    prop_oneof![
        8 => (0..24_u8, len.clone(), any::<u8>()).prop_map(|(key, len, mark)| Step::Put(key, len, mark)),
        1 => (0..24_u8, len, any::<u8>()).prop_map(|(key, len, mark)| Step::Stream(key, len, mark)),
        2 => (0..24_u8).prop_map(Step::Remove),
        3 => (0..24_u8).prop_map(Step::Read),
        1 => Just(Step::Savepoint),
        1 => Just(Step::GoBack),
        1 => Just(Step::Commit),
        1 => Just(Step::Drop),
    ]
}

type Model = BTreeMap<u8, Vec<u8>>;

fn begin(db: &Database) -> (WriteTxn, TreeId) {
    let mut txn = db.begin_write().unwrap();
    let tree = txn.create_tree("t").unwrap();
    (txn, tree)
}

fn assert_holds(db: &Database, model: &Model) {
    let reader = db.begin_read();
    if let Some(tree) = reader.tree("t").unwrap() {
        let found: Model =
            tree.iter().map(|record| record.map(|(key, value)| (key[0], value.to_vec())).unwrap()).collect();
        assert!(found == *model);
    } else {
        assert!(model.is_empty());
    }
    assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn values_of_all_lengths_are_as_the_model_says(steps in prop::collection::vec(step(), 1..80)) {
        let disk = disk();
        let db = create(&disk);
        let mut durable = Model::new();
        let mut model = Model::new();
        let (mut txn, mut tree) = begin(&db);
        let mut savepoint = None;
        for step in steps {
            match step {
                Step::Put(key, len, mark) => {
                    txn.insert(tree, &[key], &value(len, mark)).unwrap();
                    model.insert(key, value(len, mark));
                }
                Step::Stream(key, len, mark) => {
                    let bytes = value(len, mark);
                    txn.insert_reader(tree, &[key], len as u64, bytes.as_slice()).unwrap();
                    model.insert(key, bytes);
                }
                Step::Remove(key) => {
                    prop_assert_eq!(txn.remove(tree, &[key]).unwrap(), model.remove(&key).is_some());
                }
                Step::Read(key) => {
                    prop_assert!(txn.get(tree, &[key]).unwrap() == model.get(&key).map(Vec::as_slice));
                }
                Step::Savepoint => savepoint = Some((txn.savepoint().unwrap(), model.clone())),
                Step::GoBack => {
                    if let Some((place, then)) = &savepoint {
                        txn.go_back_to(place).unwrap();
                        model.clone_from(then);
                    }
                }
                Step::Commit | Step::Drop => {
                    if matches!(step, Step::Commit) {
                        txn.commit().unwrap();
                        durable.clone_from(&model);
                    } else {
                        drop(txn);
                        model.clone_from(&durable);
                    }
                    savepoint = None;
                    assert_holds(&db, &durable);
                    (txn, tree) = begin(&db);
                }
            }
        }
        drop(txn);
        drop(db);
        let image = disk.crash_image(1);
        assert_holds(&Database::open(PagerOptions::new().storage(Arc::new(image)), DB).unwrap(), &durable);
    }
}

#[test]
fn neighbouring_values_go_to_the_file_in_one_write() {
    let disk = disk();
    let db = create(&disk);
    let (mut txn, tree) = begin(&db);
    let writes = disk.stats().writes;
    for n in 0..1_000_u32 {
        txn.insert(tree, &n.to_be_bytes(), &value(4_096, n as u8)).unwrap();
    }
    for n in (0..1_000_u32).rev() {
        assert_eq!(txn.get(tree, &n.to_be_bytes()).unwrap(), Some(&value(4_096, n as u8)[..]));
    }
    let written = disk.stats().writes - writes;
    assert!((3..8).contains(&written), "{written} writes of 4 MB");
    txn.commit().unwrap();
}
