//! A record changed by what is made of the old one, against a look and an insert of its own.

use llmdb_btree::{Database, TreeId, WriteTxn};
use llmdb_pager::PagerOptions;
use llmdb_pager::sim::SimDisk;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Step {
    /// Appends so many bytes to what stands there, or says no.
    Change {
        key: u16,
        more: usize,
        says_no: bool,
    },
    Insert {
        key: u16,
        len: usize,
    },
    Remove {
        key: u16,
    },
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![8 => 0..300usize, 1 => 900..1_100usize, 1 => 3_000..6_000usize];
    prop_oneof![
        8 => (0..200u16, len.clone(), prop::bool::weighted(0.1))
            .prop_map(|(key, more, says_no)| Step::Change { key, more, says_no }),
        4 => (0..200u16, len).prop_map(|(key, len)| Step::Insert { key, len }),
        2 => (0..200u16).prop_map(|key| Step::Remove { key }),
        1 => Just(Step::Commit),
    ]
}

fn key(number: u16) -> [u8; 4] {
    [b'k', (number >> 8) as u8, number as u8, b'!']
}

/// Whether the change was made.
fn change(txn: &mut WriteTxn, tree: TreeId, number: u16, more: usize, says_no: bool) -> bool {
    let mut new = b"rests of another record".to_vec();
    let make = |old: Option<&[u8]>, new: &mut Vec<u8>| {
        new.extend_from_slice(old.unwrap_or_default());
        new.resize(new.len() + more, number as u8);
        !says_no
    };
    txn.change(tree, &key(number), &mut new, make).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_change_is_a_look_and_an_insert(steps in prop::collection::vec(step(), 1..300)) {
        let options = PagerOptions::new().storage(Arc::new(SimDisk::new(3)));
        let db = Database::create(options, "/change.llmdb").unwrap();
        let mut model: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        for step in steps {
            match step {
                Step::Change { key, more, says_no } => {
                    let mut new = model.get(&key).cloned().unwrap_or_default();
                    // Large values do not stand in a leaf, nor does a tree without records have one.
                    let is_old_large = new.len() > 1024;
                    new.resize(new.len() + more, key as u8);
                    let is_done = change(&mut txn, tree, key, more, says_no);
                    let is_possible = !says_no && !is_old_large && new.len() <= 1024;
                    prop_assert!(is_done == is_possible || model.is_empty() && !is_done);
                    if is_done {
                        model.insert(key, new);
                    }
                }
                Step::Insert { key: number, len } => {
                    txn.insert(tree, &key(number), &vec![7; len]).unwrap();
                    model.insert(number, vec![7; len]);
                }
                Step::Remove { key: number } => {
                    prop_assert_eq!(txn.remove(tree, &key(number)).unwrap(), model.remove(&number).is_some());
                }
                Step::Commit => {
                    txn.commit().unwrap();
                    txn = db.begin_write().unwrap();
                }
            }
        }
        txn.commit().unwrap();
        let reader = db.begin_read();
        let tree = reader.tree("t").unwrap().unwrap();
        let found = tree.iter().map(|record| record.map(|(key, value)| (key, value.to_vec())).unwrap());
        let wanted = model.into_iter().map(|(number, value)| (key(number).to_vec(), value));
        prop_assert!(found.eq(wanted));
        let report = db.check(&mut |_, _| {}).unwrap();
        prop_assert!(report.damage.is_empty());
    }
}
