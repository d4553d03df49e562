//! Keys at the limit, with long shared prefixes and of awkward lengths, at every page size.

use llmdb_btree::{Database, Error, key_size_max};
use llmdb_pager::PagerOptions;
use llmdb_pager::sim::{SimDisk, SimOptions};
use std::collections::BTreeMap;
use std::sync::Arc;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % end
    }
}

/// Inserts `keys` in a shuffled order, removes most of them again, and compares at every stage.
fn check(page_size: usize, keys: &[Vec<u8>]) {
    let disk = SimDisk::with_options(SimOptions { file_capacity: 64 << 20, ..SimOptions::default() });
    let options = PagerOptions::new().storage(Arc::new(disk)).page_size(page_size);
    let db = Database::create(options, "/k.llmdb").unwrap();
    let mut model = Model::new();
    let mut rng = Rng(page_size as u64);
    let mut order: Vec<&Vec<u8>> = keys.iter().collect();
    for round in 0..3 {
        for place in (1..order.len()).rev() {
            order.swap(place, rng.below(place + 1));
        }
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        for key in &order {
            let value = vec![key.len() as u8; rng.below(page_size / 5)];
            txn.insert(tree, key, &value).unwrap();
            model.insert(key.to_vec(), value);
        }
        let same = |tree: llmdb_btree::Tree<'_>, model: &Model| {
            let found: Model = tree.iter().map(|r| r.map(|(k, v)| (k, v.to_vec())).unwrap()).collect();
            assert!(&found == model, "page size {page_size}, round {round}");
            assert!(model.iter().all(|(key, value)| tree.get(key).unwrap() == Some(value.as_slice())));
        };
        same(txn.tree(tree).unwrap(), &model);
        for (index, key) in order.iter().enumerate() {
            if index % 8 != round {
                assert!(txn.remove(tree, key).unwrap());
                model.remove(*key);
            }
        }
        same(txn.tree(tree).unwrap(), &model);
        txn.commit().unwrap();
        assert!(db.check(&mut |_, _| {}).unwrap().is_sound());
    }
}

fn page_sizes() -> impl Iterator<Item = usize> {
    (12..=16).map(|power| 1 << power)
}

#[test]
fn a_kilobyte_is_no_long_key_at_any_page_size() {
    assert!(key_size_max(4096) >= 1_024);
    for page_size in page_sizes() {
        assert!(key_size_max(page_size) >= page_size / 4);
        let disk = Arc::new(SimDisk::new(1));
        let db =
            Database::create(PagerOptions::new().storage(disk).page_size(page_size), "/k.llmdb").unwrap();
        let mut txn = db.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        let max = txn.max_key_size();
        assert_eq!(max, key_size_max(page_size));
        txn.insert(tree, &vec![1; max], b"").unwrap();
        let error = txn.insert(tree, &vec![1; max + 1], b"").unwrap_err();
        assert!(matches!(error, Error::KeyTooLong { len, .. } if len == max + 1), "{error}");
    }
}

#[test]
fn keys_at_the_limit_live_in_trees() {
    for page_size in page_sizes() {
        let max = key_size_max(page_size);
        let keys: Vec<Vec<u8>> = (0..90u32)
            .map(|n| {
                let mut key = n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec();
                key.resize(max, n as u8);
                key
            })
            .collect();
        check(page_size, &keys);
    }
}

#[test]
fn keys_may_share_nearly_all_their_bytes() {
    for page_size in page_sizes() {
        let max = key_size_max(page_size);
        let keys: Vec<Vec<u8>> = (0..300u32)
            .map(|n| [vec![b'p'; max - 4].as_slice(), &n.wrapping_mul(2_654_435_761).to_be_bytes()].concat())
            .collect();
        check(page_size, &keys);
    }
}

#[test]
fn each_key_may_be_the_start_of_the_next() {
    for page_size in page_sizes() {
        let max = key_size_max(page_size);
        let step = max / 200;
        let keys: Vec<Vec<u8>> = (0..200).map(|n| vec![0; 1 + n * step]).collect();
        check(page_size, &keys);
    }
}

#[test]
fn short_and_long_keys_mix() {
    for page_size in page_sizes() {
        let max = key_size_max(page_size);
        let mut rng = Rng(3);
        let keys: Model = (0..400)
            .map(|_| {
                let len = [1, 2, 5, 9, max / 2, max - 1, max][rng.below(7)];
                let mut key: Vec<u8> = (0..len.min(9)).map(|_| [0, 1, 254, 255][rng.below(4)]).collect();
                key.resize(len, [0, 255][rng.below(2)]);
                (key, Vec::new())
            })
            .collect();
        check(page_size, &keys.into_keys().collect::<Vec<_>>());
    }
}
