//! Many trees in one file: `cargo run --release -p llmdb-btree --example trees -- COUNT`. Says what it takes to make,
//! reopen, find, change and drop them.

use llmdb_btree::Database;
use llmdb_pager::PagerOptions;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u32 = std::env::args().nth(1).map_or(Ok(10_000), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("trees.llmdb");
    let name = |n: u32| format!("tree number {n}");

    let started = Instant::now();
    let db = Database::create(PagerOptions::new(), &path)?;
    let mut txn = db.begin_write()?;
    for n in 0..count {
        let tree = txn.create_tree(&name(n))?;
        txn.insert(tree, b"key", &n.to_be_bytes())?;
    }
    txn.commit()?;
    say(&db, "made, a record each, one commit", started)?;
    drop(db);

    let started = Instant::now();
    let db = Database::open(PagerOptions::new(), &path)?;
    say(&db, "opened", started)?;

    let started = Instant::now();
    let reader = db.begin_read();
    for n in 0..count {
        let tree = reader.tree(&name(n))?.ok_or("a tree is missing")?;
        assert_eq!(tree.get(b"key")?, Some(&n.to_be_bytes()[..]));
    }
    drop(reader);
    say(&db, "each found by name and read", started)?;

    let started = Instant::now();
    let mut txn = db.begin_write()?;
    for n in 0..count {
        let tree = txn.open_tree(&name(n))?.ok_or("a tree is missing")?;
        txn.insert(tree, b"another", b"value")?;
    }
    txn.commit()?;
    say(&db, "each changed, one commit", started)?;

    let started = Instant::now();
    for n in 0..20 {
        let mut txn = db.begin_write()?;
        txn.create_tree(&name(count + n))?;
        txn.commit()?;
    }
    say(&db, "20 more made, a commit each", started)?;

    let started = Instant::now();
    let mut txn = db.begin_write()?;
    for n in 0..count + 20 {
        assert!(txn.drop_tree(&name(n))?);
    }
    txn.commit()?;
    say(&db, "all dropped, one commit", started)
}

fn say(db: &Database, what: &str, started: Instant) -> Result<(), Box<dyn std::error::Error>> {
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let stat = db.pager().stat()?;
    println!("{what}: {ms:.1} ms; {} pages, {} free", stat.page_count, stat.free_pages);
    Ok(())
}
