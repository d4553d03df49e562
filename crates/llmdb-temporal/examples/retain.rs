//! What opening a long history reads, and what letting half of it go takes and frees:
//! `cargo run --release -p llmdb-temporal --example retain -- KEYS VERSIONS [VALUE_SIZE]`. Every put replaces what was believed, in
//! transactions of 1,000. What should become free is what a dense copy of the rest has less than one of all.

use std::path::Path;
use std::time::Instant;

use llmdb_temporal::{Known, Period, Temporal, ValidTime};
use llmdb_wal::{Durability, Store, StoreOptions};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PER_COMMIT: u64 = 1000;

fn in_use(store: &Store) -> Result<u64> {
    let pager = store.stat()?.pager;
    Ok(pager.page_count - pager.free_pages - pager.retired_pages)
}

/// A dense copy, and its pages.
fn dense(store: &Store, path: &Path) -> Result<(Store, u64)> {
    store.compact_to(path, &mut |_, _| {})?;
    let copy = StoreOptions::new().open(path)?;
    let pages = in_use(&copy)?;
    Ok((copy, pages))
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut number = |usual: u64| args.next().map_or(Ok(usual), |text| text.parse::<u64>());
    let (keys, versions, value_size) = (number(1_000)?, number(100)?, number(256)?);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("history.llmdb");
    let options = || StoreOptions::new().dirty_bytes(1 << 30).durability(Durability::None);
    let store = options().open(&path)?;
    let db = Temporal::open(store.clone())?;
    let count = keys * versions;
    let mut middle = None;
    for first in (0..count).step_by(PER_COMMIT as usize) {
        let mut tx = db.begin_write()?;
        for number in first..(first + PER_COMMIT).min(count) {
            let mut value = vec![number as u8; value_size as usize];
            value[..8].copy_from_slice(&number.to_le_bytes());
            tx.put("c", &(number % keys).to_be_bytes(), Period::ALL, &value)?;
        }
        let receipt = tx.commit()?;
        if first < count / 2 {
            middle = Some((receipt, first + PER_COMMIT));
        }
    }
    let (mark, told) = middle.ok_or("there is a commit")?;
    store.checkpoint()?;
    let before = in_use(&store)?;
    println!("{count} versions: {before} pages in use");
    let all = dense(&store, &folder.path().join("all.llmdb"))?.1;
    drop((db, store));

    let start = Instant::now();
    let store = options().open(&path)?;
    let db = Temporal::open(store.clone())?;
    let read = db.begin_read()?;
    let collection = read.collection("c")?.ok_or("it was made")?;
    let opened = (start.elapsed(), store.stat()?.pager.checked_pages);
    let key = (keys / 3).to_be_bytes();
    let found = collection.get_value(&key, ValidTime::from_micros(0)?, Known::Commit(0))?;
    assert_eq!(found.is_some(), keys / 3 < PER_COMMIT);
    println!(
        "opened in {:?}, {} pages read; {} after a get",
        opened.0,
        opened.1,
        store.stat()?.pager.checked_pages
    );
    drop(read);

    let start = Instant::now();
    let mut tx = db.begin_write()?;
    tx.retain(mark.at)?.ok_or("there is history before it")?;
    tx.commit()?;
    let took = start.elapsed();
    store.checkpoint()?;
    let after = in_use(&store)?;
    let (copy, rest) = dense(&store, &folder.path().join("rest.llmdb"))?;
    println!(
        "retain: {told} versions let go in {took:?}, {:.0} ns each; {before} -> {after} pages, dense copies have {all} and {rest}: \
         {:.1} % of that",
        took.as_nanos() as f64 / told as f64,
        100.0 * (before - after) as f64 / (all - rest) as f64
    );
    let db = Temporal::open(copy)?;
    let read = db.begin_read()?;
    for key in (0..keys).step_by((keys / 100).max(1) as usize) {
        let found =
            read.get_value("c", &key.to_be_bytes(), ValidTime::from_micros(0)?, Known::At(mark.at))?;
        let number = (told - 1) / keys * keys + key;
        let number = if number < told { number } else { number - keys };
        assert_eq!(found.as_deref().map(|value| &value[..8]), Some(&number.to_le_bytes()[..]), "key {key}");
    }
    Ok(())
}
