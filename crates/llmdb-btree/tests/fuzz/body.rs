//! The bodies of this crate's fuzz targets; the smoke tests run them too.

use llmdb_btree::{Database, Error, Tree, TreeId, WriteTxn};
use llmdb_pager::PagerOptions;
use llmdb_pager::sim::{SimDisk, SimOptions};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

const DB: &str = "/f.llmdb";
const FILE_MAX: usize = 1 << 20;
/// A damaged tree may lead to one page over and over: a body looks at no more records than this.
const RECORDS_MAX: usize = 20_000;

fn options(disk: &SimDisk) -> PagerOptions {
    PagerOptions::new().storage(Arc::new(disk.clone()))
}

fn disk() -> SimDisk {
    SimDisk::with_options(SimOptions { file_capacity: 4 * FILE_MAX, ..SimOptions::default() })
}

fn read_all(tree: &Tree<'_>) -> Vec<Vec<u8>> {
    let keys: Vec<Vec<u8>> =
        tree.iter().take(RECORDS_MAX).map_while(Result::ok).map(|(key, _)| key).collect();
    let mut cursor = tree.cursor();
    let mut stands = cursor.last();
    for _ in 0..RECORDS_MAX {
        if !stands.is_ok_and(|stands| stands) {
            break;
        }
        let _ = cursor.value();
        stands = cursor.prev();
    }
    for key in keys.iter().take(200) {
        let _ = tree.get(key);
        let _ = cursor.seek_le(key);
        let _ = cursor.seek(&key[1..]);
    }
    let _ = (tree.height(), tree.stats());
    for key in keys.iter().take(20) {
        if let Ok(Some(mut value)) = tree.value_reader(key) {
            let _ = std::io::copy(&mut value, &mut std::io::sink());
        }
    }
    keys
}

/// Opens any bytes as a file of trees, reads and checks all of it. Answers whether it opened.
pub(crate) fn file(bytes: &[u8]) -> bool {
    let disk = disk();
    disk.write_file(DB, &bytes[..bytes.len().min(FILE_MAX)]);
    let Ok(db) = Database::open(options(&disk), DB) else { return false };
    let reader = db.begin_read();
    for name in reader.tree_names().unwrap_or_default().iter().take(100) {
        if let Ok(Some(tree)) = reader.tree(name) {
            read_all(&tree);
        }
    }
    drop(reader);
    let _ = db.check(&mut |_, _| {});
    true
}

/// Restores any bytes as backups, the full one first. What is restored is whole; what is not leaves nothing behind.
/// Answers whether it was.
pub(crate) fn backups(backups: &[&[u8]]) -> bool {
    let disk = disk();
    let mut readers = backups.to_vec();
    let mut streams: Vec<&mut dyn std::io::Read> =
        readers.iter_mut().map(|reader| reader as &mut dyn std::io::Read).collect();
    if llmdb_btree::restore(options(&disk), DB, &mut streams, &mut |_, _| {}).is_err() {
        assert!(disk.files().is_empty(), "{:?}", disk.files());
        return false;
    }
    let db = Database::open(options(&disk), DB).expect("what was restored opens");
    assert!(db.check(&mut |_, _| {}).expect("what was restored can be read").is_sound());
    let reader = db.begin_read();
    for name in reader.tree_names().expect("what was restored is whole").iter().take(100) {
        if let Ok(Some(tree)) = reader.tree(name) {
            read_all(&tree);
        }
    }
    true
}

/// As [`file`], then changes every tree of it; what commits can be opened again.
pub(crate) fn edits(bytes: &[u8]) {
    let disk = disk();
    disk.write_file(DB, &bytes[..bytes.len().min(FILE_MAX)]);
    let Ok(db) = Database::open(options(&disk), DB) else { return };
    let reader = db.begin_read();
    let names = reader.tree_names().unwrap_or_default();
    for (round, name) in names.iter().take(20).enumerate() {
        let keys = reader.tree(name).ok().flatten().map(|tree| read_all(&tree)).unwrap_or_default();
        let Ok(mut txn) = db.begin_write() else { return };
        let Ok(Some(tree)) = txn.open_tree(name) else { continue };
        for (index, key) in keys.iter().take(300).enumerate() {
            let changed = match index % 4 {
                0 => txn.remove(tree, key).map(|_| ()),
                1 => txn.insert(tree, key, &[7; 400]).map(|_| ()),
                2 => txn.insert(tree, &[key.as_slice(), b"+"].concat(), &[8; 90]).map(|_| ()),
                _ => txn.insert(tree, &key[..1], &[9; 3000]).map(|_| ()),
            };
            let goes_on = matches!(
                &changed,
                Ok(()) | Err(llmdb_btree::Error::KeyTooLong { .. } | llmdb_btree::Error::KeyEmpty)
            );
            if !goes_on {
                break;
            }
        }
        let _ = edit_widely(&mut txn, tree, &keys, round);
        if round % 3 == 2 {
            let _ = txn.drop_tree(name);
        }
        let _ = txn.commit();
    }
    drop(reader);
    drop(db);
    Database::open(options(&disk), DB).expect("it opened before");
}

/// Changes of many records at once.
fn edit_widely(txn: &mut WriteTxn, tree: TreeId, keys: &[Vec<u8>], round: usize) -> Result<(), Error> {
    let at = |part: usize| keys.get(keys.len() * part / 8).map_or(&b"k"[..], Vec::as_slice);
    txn.remove_range(tree, Bound::Included(at(round % 3)), Bound::Excluded(at(round % 3 + 1)))?;
    let mut cursor = txn.cursor_mut(tree);
    let mut stands = cursor.seek(at(4))?;
    for step in 0..40 {
        if !stands {
            break;
        }
        match step % 4 {
            0 => cursor.remove().map(|_| ())?,
            1 => cursor.replace(&[6; 700]).map(|_| ())?,
            _ => {}
        }
        stands = if step % 7 == 6 { cursor.prev()? } else { cursor.next()? };
    }
    let behind = [keys.last().map_or(&[][..], |last| &last[..1]), &[0xff; 20]].concat();
    txn.bulk_load(tree, (0..60u8).map(|n| ([behind.as_slice(), &[n]].concat(), [n; 100])))?;
    txn.insert_reader(tree, at(5), 9_000, std::io::repeat(3))?;
    txn.remove_prefix(tree, &at(6)[..1])?;
    txn.remove_range(tree, Bound::Excluded(at(2)), Bound::Unbounded).map(|_| ())
}

/// Changes as the bytes say, in a tree and in a map: both are the same at every commit.
pub(crate) fn operations(bytes: &[u8]) {
    let disk = disk();
    let mut db = Database::create(options(&disk), DB).expect("an empty disk");
    let mut committed: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut model = committed.clone();
        let mut txn = db.begin_write().expect("nothing failed");
        let tree = txn.create_tree("t").expect("a good name");
        let mut keep = true;
        while let [op, len, salt, behind @ ..] = rest {
            rest = behind;
            if *op >= 250 {
                keep = *op < 254;
                break;
            }
            let (suffix, behind) = rest.split_at((usize::from(*op) % 5).min(rest.len()));
            rest = behind;
            let key = [&vec![b'k'; [1, 2, 40, 600][usize::from(*op) / 5 % 4]], suffix].concat();
            if op % 16 == 5 {
                let prefix = &key[..key.len().min(usize::from(*len))];
                let before = model.len();
                model.retain(|key, _| !key.starts_with(prefix));
                let gone = txn.remove_prefix(tree, prefix).expect("a good tree");
                assert_eq!(gone, (before - model.len()) as u64);
            } else if op % 16 == 6 {
                let high = [key.as_slice(), &[*salt]].concat();
                model.retain(|other, _| *other < key || *other >= high);
                txn.remove_range(tree, Bound::Included(&key), Bound::Excluded(&high)).expect("a good tree");
            } else if op % 16 == 7 {
                let mut cursor = txn.cursor_mut(tree);
                let mut stands = cursor.seek(&key).expect("a good tree");
                for step in 0..*len {
                    if !stands {
                        break;
                    }
                    if step & *salt == 0 {
                        model.remove(cursor.key());
                        cursor.remove().expect("a good tree");
                    }
                    stands = cursor.next().expect("a good tree");
                }
            } else if op % 16 == 8 {
                let last = model.last_key_value().map_or(Vec::new(), |(last, _)| last.clone());
                let new = |n: u8| ([&last[..last.len().min(1_200)], &[0xff, n]].concat(), vec![n; 50]);
                let new: Vec<_> = (0..*len).map(new).filter(|(key, _)| *key > last).collect();
                txn.bulk_load(tree, new.clone()).expect("they rise");
                model.extend(new);
            } else if op % 3 == 0 {
                assert_eq!(txn.remove(tree, &key).expect("a good key"), model.remove(&key).is_some());
            } else {
                let value = vec![*salt; usize::from(*len) * [1, 1, 4, 40][usize::from(*op) / 20 % 4]];
                txn.insert(tree, &key, &value).expect("a good key");
                model.insert(key, value);
            }
        }
        if rest.len() < 3 {
            rest = &[];
        }
        let found: BTreeMap<Vec<u8>, Vec<u8>> = txn
            .tree(tree)
            .expect("made above")
            .iter()
            .map(|record| record.map(|(key, value)| (key, value.to_vec())).expect("no damage"))
            .collect();
        assert!(found == model, "the tree is not the map");
        if keep {
            txn.commit().expect("there is room");
            committed = model;
        } else {
            drop(txn);
        }
    }
    drop(db);
    db = Database::open(options(&disk), DB).expect("just closed");
    let reader = db.begin_read();
    let count = reader.tree("t").expect("no damage").map_or(0, |tree| tree.len());
    assert_eq!(count, committed.len() as u64);
    drop(reader);
    assert!(db.check(&mut |_, _| {}).expect("a whole file").is_sound());
}
