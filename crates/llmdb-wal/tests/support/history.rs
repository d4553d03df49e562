//! Seeded changes to a store, and the model that says what must be there after each of them.

use llmdb_wal::{Error, Store, StoreOptions, WriteTxn};
use std::collections::BTreeMap;

/// What each tree holds.
pub(crate) type Model = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// A small generator, so that a seed says all.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Small limits, so that a short history has checkpoints and turns of the log's ring in it.
pub(crate) fn small(options: StoreOptions) -> StoreOptions {
    let options = options.clock(std::sync::Arc::new(|| 1_000_000)).background(false);
    options.checkpoint_bytes(60 << 10).log_capacity(256 << 10)
}

/// One transaction's changes, made in the store and in the model; not committed.
pub(crate) fn change(store: &Store, rng: &mut Rng, model: &mut Model) -> Result<WriteTxn, Error> {
    let mut txn = store.begin_write()?;
    let name = ["a", "b", "c"][rng.below(3) as usize];
    if rng.below(40) == 0 {
        let dropped = txn.drop_tree(name)?;
        assert_eq!(dropped, model.remove(name).is_some());
        return Ok(txn);
    }
    let tree = txn.create_tree(name)?;
    let records = model.entry(name.into()).or_default();
    for _ in 0..1 + rng.below(8) {
        let key = rng.below(60).to_be_bytes()[rng.below(4) as usize * 2..].to_vec();
        if rng.below(4) == 0 {
            let removed = txn.remove(tree, &key)?;
            assert_eq!(removed, records.remove(&key).is_some());
            continue;
        }
        let len = match rng.below(30) {
            0 | 1 => 3_000 + rng.below(9_000),
            2..6 => 900,
            _ => rng.below(120),
        };
        let salt = rng.next() as u8;
        let value: Vec<u8> = (0..len).map(|place| (place as u8).wrapping_mul(31) ^ salt).collect();
        txn.insert(tree, &key, &value)?;
        records.insert(key, value);
    }
    Ok(txn)
}

/// The newest commit's number, and all that is in the store.
pub(crate) fn state_of(store: &Store) -> Result<(usize, Model), Error> {
    let reader = store.begin_read()?;
    let mut model = Model::new();
    for name in reader.tree_names()? {
        let Some(tree) = reader.tree(&name)? else { continue };
        let records = tree.iter().map(|record| record.map(|(key, value)| (key, value.to_vec())));
        model.insert(name, records.collect::<Result<_, _>>()?);
    }
    Ok((reader.seq() as usize, model))
}
