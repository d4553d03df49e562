//! Engines do what a workload asks of them, and the wrong ones fail their runs.

use super::*;
use crate::check::{KeyOrder, fill_key, fill_value};

/// What every adapter must do, whatever is behind it.
fn check_adapter(kind: &dyn EngineKind, durability: Durability) {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { durability, bytes_max: 1 << 20 };
    let record = |number: u64, version: u64| {
        let (mut key, mut value) = (vec![0; 16], vec![0; 100]);
        fill_key(&mut key, number, KeyOrder::Sequential);
        fill_value(&mut value, number, version);
        (key, value)
    };
    let engine = kind.open(folder.path(), &options).unwrap();
    engine
        .write(&mut |txn| {
            for number in 0..100 {
                let (key, value) = record(number, 0);
                txn.put(&key, &value)?;
            }
            let mut value = Vec::new();
            assert!(txn.get(&record(5, 0).0, &mut value)?, "a transaction sees its own writes");
            assert_eq!(value, record(5, 0).1);
            assert!(!txn.get(b"nothing!", &mut value)?);
            let (key, value) = record(7, 1);
            txn.put(&key, &value)?;
            assert!(txn.remove(&record(50, 0).0)?);
            assert!(!txn.remove(&record(50, 0).0)?);
            Ok(())
        })
        .unwrap();
    let refused = engine.write(&mut |txn| {
        txn.put(&record(200, 0).0, b"rolled back")?;
        Err(Error::Interrupted)
    });
    assert!(refused.is_err());
    engine.settle().unwrap();
    drop(engine);
    let engine = kind.open(folder.path(), &options).unwrap();
    engine
        .read(&mut |txn| {
            assert_eq!(txn.get(&record(7, 0).0)?, Some(&record(7, 1).1[..]));
            assert_eq!(txn.get(&record(50, 0).0)?, None);
            assert_eq!(txn.get(&record(200, 0).0)?, None, "what was rolled back is not there");
            let keys = [record(3, 0).0, record(50, 0).0, record(4, 0).0];
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let mut found = Vec::new();
            txn.get_many(&keys, &mut |at, value| {
                found.push((at, value.map(<[u8]>::to_vec)));
                Ok(())
            })?;
            found.sort();
            assert_eq!(found, [(0, Some(record(3, 0).1)), (1, None), (2, Some(record(4, 0).1))]);
            let mut scanned = Vec::new();
            let count = txn.scan(&record(48, 0).0, 3, &mut |key, value| {
                scanned.push((key.to_vec(), value.to_vec()));
                Ok(())
            })?;
            assert_eq!(count, 3);
            assert_eq!(scanned, [record(48, 0), record(49, 0), record(51, 0)]);
            assert_eq!(txn.scan(&record(98, 0).0, 10, &mut |_, _| Ok(()))?, 2, "the end is the end");
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_adapter_reads_what_it_wrote_in_each_durability_it_offers() {
    for kind in all() {
        for durability in Durability::ALL {
            if kind.offers(durability) && durability != Durability::ReadOnly {
                assert!(!kind.settings(durability).is_empty());
                check_adapter(&*kind, durability);
            }
        }
    }
}

#[test]
fn every_adapter_appends_what_comes_in_order_and_begins_reads() {
    for kind in all() {
        let durabilities = [Durability::None, Durability::Sync, Durability::NoLog];
        let durability = durabilities.into_iter().find(|&durability| kind.offers(durability)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let engine = kind.open(folder.path(), &OpenOptions { durability, bytes_max: 1 << 20 }).unwrap();
        // More than one transaction, and the last one not full.
        let mut next = 0_u64;
        let appended = engine.append(40, &mut |key, value| {
            key.resize(16, 0);
            value.resize(100, 0);
            fill_key(key, next, KeyOrder::Sequential);
            fill_value(value, next, 0);
            next += 1;
            next <= 100
        });
        appended.unwrap();
        engine.begin_and_end_read().unwrap();
        let mut numbers = Vec::new();
        engine
            .read(&mut |txn| {
                txn.scan(&[0], 1_000, &mut |_, value| {
                    numbers.push(crate::check::identity_of(value));
                    Ok(())
                })?;
                Ok(())
            })
            .unwrap();
        assert!(numbers.iter().copied().eq((0..100).map(|number| Some((number, 0)))), "{}", kind.name());
    }
}

#[test]
fn our_engines_count_their_flushes() {
    for (name, durability) in [("llmdb", Durability::Sync), ("llmdb-no-log", Durability::NoLog)] {
        let folder = tempfile::tempdir().unwrap();
        let kind = chosen(&[name.to_owned()]).unwrap().remove(0);
        let engine = kind.open(folder.path(), &OpenOptions { durability, bytes_max: 1 << 20 }).unwrap();
        let before = engine.counts();
        for _ in 0..10 {
            engine.write(&mut |txn| txn.put(b"key-0001", b"value")).unwrap();
        }
        let after = engine.counts();
        assert!(after.flushes.unwrap() >= before.flushes.unwrap() + 10, "{name}");
        assert!(after.bytes_written > before.bytes_written, "{name}");
        assert_eq!(after.pages_per_get, Some(1), "{name}");
    }
}

#[test]
fn an_unknown_engine_lists_the_known_ones() {
    let Err(error) = chosen(&["oracle".to_owned()]) else { panic!("there is no such engine") };
    assert_eq!(error.code(), "LLMDB-M02");
    assert!(error.to_string().contains("llmdb, llmdb-no-log"), "{error}");
}
