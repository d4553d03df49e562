//! Many threads at once: commits that share flushes, checkpoints beside them, the queue, and what each durability
//! loses when the process dies or the power fails, on the simulated disk.
//!
//! The order of threads is the system's, so a seed does not say all; the oracle holds for every order.

use llmdb_pager::sim::{SimDisk, SimOptions};
use llmdb_wal::{Batch, Change, Durability, Error, Store, StoreOptions};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const DB: &str = "/s.llmdb";

fn disk(seed: u64) -> SimDisk {
    SimDisk::with_options(SimOptions { seed, file_capacity: 8 << 20, ..SimOptions::default() })
}

fn options(disk: &SimDisk) -> StoreOptions {
    StoreOptions::new()
        .storage(Arc::new(disk.clone()))
        .clock(Arc::new(|| 1_000_000))
        .checkpoint_bytes(64 << 10)
        .dirty_bytes(1 << 20)
        .log_capacity(512 << 10)
}

/// Commits one record: its key is its number.
fn put(store: &Store, key: u64, durability: Durability) -> Result<u64, Error> {
    let mut txn = store.begin_write()?;
    let tree = txn.create_tree("t")?;
    let len = if key.is_multiple_of(97) { 5_000 } else { 20 + key % 200 };
    txn.insert(tree, &key.to_be_bytes(), &vec![key as u8; len as usize])?;
    Ok(txn.commit_with(durability)?.seq)
}

fn keys(store: &Store) -> BTreeSet<u64> {
    let reader = store.begin_read().unwrap();
    let Some(tree) = reader.tree("t").unwrap() else { return BTreeSet::new() };
    tree.iter()
        .map(|record| {
            let (key, value) = record.unwrap();
            let key = u64::from_be_bytes(key.try_into().unwrap());
            assert!(value.iter().all(|byte| *byte == key as u8), "the value of {key}");
            key
        })
        .collect()
}

/// Threads commit until the power fails at a random operation, with checkpoints beside them. What was acknowledged is
/// there, on several disks that a machine might find; and it is the state after some commit.
#[test]
fn threads_that_commit_together_lose_nothing_acknowledged() {
    let cuts: u64 =
        std::env::var("LLMDB_SIM_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000) / 500;
    let mut shared = 0;
    for seed in 0..cuts.max(20) {
        let disk = disk(seed);
        let store = options(&disk).background(seed % 2 == 0).open(DB).unwrap();
        disk.cut_power_at(300 + seed * 37 % 900);
        let next = AtomicU64::new(0);
        let acknowledged: Vec<Vec<(u64, u64)>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|_| {
                    scope.spawn(|| {
                        let mut done = Vec::new();
                        loop {
                            let key = next.fetch_add(1, Ordering::Relaxed);
                            match put(&store, key, Durability::Sync) {
                                Ok(seq) => done.push((seq, key)),
                                Err(_) => return done,
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut acknowledged: Vec<(u64, u64)> = acknowledged.into_iter().flatten().collect();
        acknowledged.sort_unstable();
        assert!(acknowledged.windows(2).all(|pair| pair[0].0 < pair[1].0), "numbers are given once");
        let flushes = disk.trace().iter().filter(|entry| entry.op == llmdb_pager::sim::Op::Sync).count();
        shared += u64::from(flushes < acknowledged.len());
        for image in 0..4 {
            let image = disk.crash_image(seed * 16 + image);
            let store = options(&image).background(false).create(false).open(DB).unwrap();
            let (found, newest) = (keys(&store), store.begin_read().unwrap().seq());
            for (seq, key) in &acknowledged {
                assert!(found.contains(key), "seed {seed}: commit {seq} with {key} is lost");
            }
            assert_eq!(found.len() as u64, newest, "seed {seed}: one record a commit, none half there");
            assert!(store.check(&mut |_, _| {}).unwrap().is_sound(), "seed {seed}");
        }
    }
    assert!(shared > 0, "some flush was shared");
}

/// What the table of `Durability` says, for a process that dies and for a power cut.
#[test]
fn each_durability_loses_what_its_table_says_and_no_more() {
    for (durability, kept_at_cut) in [
        (Durability::Sync, 200),
        (Durability::NoLog, 200),
        (Durability::None, 0),
        (Durability::Interval(Duration::from_secs(3600)), 0),
    ] {
        for seed in 0..6 {
            let disk = disk(seed);
            let store = options(&disk).durability(durability).checkpoint_bytes(1 << 30).open(DB).unwrap();
            for key in 0..200 {
                put(&store, key, durability).unwrap();
                assert!(store.begin_read().unwrap().seq() == key + 1, "{durability:?}: visible at once");
            }
            let killed = options(&disk.kill_image()).open(DB).unwrap();
            assert_eq!(keys(&killed), (0..200).collect(), "{durability:?}: a killed process loses nothing");
            let cut = options(&disk.crash_image(seed)).open(DB).unwrap();
            let found = keys(&cut);
            assert_eq!(
                found,
                (0..found.len() as u64).collect(),
                "{durability:?}: the first commits are left"
            );
            assert!(found.len() >= kept_at_cut, "{durability:?}: {} of {kept_at_cut} are left", found.len());
            store.sync().unwrap();
            let synced = options(&disk.crash_image(seed)).open(DB).unwrap();
            assert_eq!(keys(&synced), (0..200).collect(), "{durability:?}: durable after a sync");
        }
    }
}

#[test]
fn an_interval_makes_commits_durable_by_itself() {
    let disk = disk(3);
    let store = options(&disk).durability(Durability::Interval(Duration::from_millis(2))).open(DB).unwrap();
    put(&store, 1, Durability::Interval(Duration::from_millis(2))).unwrap();
    for _ in 0..1_000 {
        std::thread::sleep(Duration::from_millis(2));
        if options(&disk.crash_image_by(llmdb_pager::sim::CrashPolicy::Nothing, 0))
            .open(DB)
            .is_ok_and(|store| keys(&store).contains(&1))
        {
            return;
        }
    }
    panic!("the commit was never flushed");
}

/// A commit that need not be durable does not show, nor return, before one that must be and came first.
#[test]
fn a_lesser_commit_does_not_overtake_one_that_waits() {
    let disk = disk(4);
    let store = options(&disk).open(DB).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..200 {
                    let durability = if thread % 2 == 0 { Durability::Sync } else { Durability::None };
                    let seq = put(store, thread << 32 | round, durability).unwrap();
                    assert!(store.begin_read().unwrap().seq() >= seq, "what returned is visible");
                }
            });
        }
    });
    assert_eq!(keys(&store).len(), 800);
    store.close().unwrap();
    assert_eq!(keys(&options(&disk).open(DB).unwrap()).len(), 800);
}

#[test]
fn a_failed_flush_is_everybodys_error_and_nothing_of_it_shows() {
    use llmdb_pager::sim::{Fault, FaultKind, SyncFailure, When};
    for at in 0..12 {
        let disk = disk(at);
        let store = options(&disk).background(false).open(DB).unwrap();
        put(&store, 0, Durability::Sync).unwrap();
        let ops = disk.op_count();
        let kind = FaultKind::SyncFails([SyncFailure::Forgets, SyncFailure::Reverts][at as usize % 2]);
        disk.inject(Fault::new(kind, When::NextFrom(ops + at * 5)).on("/s.llmdb-wal"));
        let acknowledged = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=4u64)
                .map(|thread| {
                    let store = &store;
                    scope.spawn(move || {
                        let keys = (0..50).map(|round| thread << 8 | round);
                        keys.take_while(|key| put(store, *key, Durability::Sync).is_ok()).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<BTreeSet<_>>()
        });
        let shown = keys(&store);
        assert!(acknowledged.is_subset(&shown), "reads of durable data go on");
        assert_eq!(shown.len(), acknowledged.len() + 1, "what failed does not show");
        let error = put(&store, 9, Durability::Sync).unwrap_err();
        assert_eq!(error.code(), "LLMDB-P12", "{error}");
    }
}

#[test]
fn the_queue_commits_batches_whole_and_tells_each_what_became_of_it() {
    let disk = disk(5);
    let store = options(&disk).open(DB).unwrap();
    let tree = store.write(|txn| txn.create_tree("t")).unwrap().0;
    let queue = store.queue(8).unwrap();
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u8)
            .map(|thread| {
                let queue = queue.clone();
                scope.spawn(move || {
                    (0..100u8)
                        .filter(|round| {
                            // Each round one thread wins, and only its second record is there.
                            let batch = Batch::new()
                                .insert(tree, [*round, 100 + thread], [thread])
                                .expect(tree, [*round], None)
                                .insert(tree, [*round], [thread]);
                            match queue.submit(batch).unwrap().wait() {
                                Ok(receipt) => receipt.seq > 1,
                                Err(error) => {
                                    assert_eq!(error.code(), "LLMDB-L06", "{error}");
                                    false
                                }
                            }
                        })
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(won, 100);
    let ticket = queue.submit(Batch::new().remove(tree, [0])).unwrap();
    drop(queue);
    ticket.wait().unwrap();
    let reader = store.begin_read().unwrap();
    assert_eq!(reader.tree("t").unwrap().unwrap().len(), 199);
}

#[test]
fn the_feed_tells_every_durable_commit_once_and_in_order() {
    let disk = disk(6);
    let store = options(&disk).open(DB).unwrap();
    let mut next = 1;
    let mut told = Vec::new();
    for round in 0..120 {
        put(&store, round, if round % 3 == 0 { Durability::None } else { Durability::Sync }).unwrap();
        if round % 7 == 0 {
            for commit in store.changes(next, 3).unwrap() {
                assert_eq!(commit.receipt.seq, next);
                next += 1;
                told.push(commit);
            }
        }
        if round == 60 {
            store.checkpoint().unwrap();
        }
    }
    told.extend(store.changes(next, usize::MAX).unwrap());
    assert_eq!(told.len(), 120 - usize::from(119 % 3 == 0));
    let inserted = told.iter().flat_map(|commit| &commit.changes).filter_map(|change| match change {
        Change::Insert { key, .. } | Change::InsertLarge { key, .. } => Some(key.clone()),
        _ => None,
    });
    assert_eq!(inserted.collect::<Vec<_>>(), (0..120u64).map(|key| key.to_be_bytes()).collect::<Vec<_>>());
    // After a crash the feed goes on with what the log still held.
    let image = disk.kill_image();
    let again = options(&image).open(DB).unwrap();
    let oldest = again.oldest_change().unwrap();
    assert!(oldest > 1);
    assert_eq!(again.changes(oldest, 1).unwrap()[0].receipt.seq, oldest);
    assert_eq!(again.changes(1, 1).unwrap_err().code(), "LLMDB-L05");
}

#[test]
fn a_ring_that_has_turned_tells_which_commit_is_the_oldest() {
    let disk = disk(7);
    let store = options(&disk).log_capacity(256 << 10).open(DB).unwrap();
    for key in 0..400 {
        put(&store, key, Durability::Sync).unwrap();
    }
    let oldest = store.oldest_change().unwrap();
    assert!(oldest > 300, "64 blocks hold so many commits: {oldest}");
    let told = store.changes(oldest, usize::MAX).unwrap();
    let numbers: Vec<u64> = told.iter().map(|commit| commit.receipt.seq).collect();
    assert_eq!(numbers, (oldest..=400).collect::<Vec<_>>());
}

#[test]
fn a_commit_past_the_log_is_a_gap_that_the_feed_names() {
    let disk = disk(9);
    let store = options(&disk).log_capacity(256 << 10).open(DB).unwrap();
    put(&store, 1, Durability::Sync).unwrap();
    let large = store.write(|txn| {
        let tree = txn.create_tree("t")?;
        (0..900u64).try_for_each(|key| txn.insert(tree, &(key << 20).to_be_bytes(), &[7; 500]))
    });
    assert_eq!(large.unwrap().1.seq, 2);
    assert!(store.changes(3, 9).unwrap().is_empty());
    put(&store, 3, Durability::Sync).unwrap();
    for gone in [1, 2] {
        assert_eq!(store.changes(gone, 9).unwrap_err().code(), "LLMDB-L05");
    }
    assert_eq!(store.changes(3, 9).unwrap().len(), 1);
}

/// Random records over a tree much larger than the limit, as fast as they go: whenever the power fails, recovery has
/// no more pages to change than the limit and the last transactions brought.
#[test]
fn recovery_stays_within_its_pages_beside_a_writer_at_full_speed() {
    const LIMIT: u64 = 200;
    const RECORDS: u64 = 20;
    let size = SimOptions { seed: 12, file_capacity: 64 << 20, ..SimOptions::default() };
    let disk = SimDisk::with_options(size);
    let limited = || options(&disk).recovery_pages(LIMIT).checkpoint_bytes(8 << 20).log_capacity(8 << 20);
    let store = limited().open(DB).unwrap();
    let mut most = 0;
    for round in 0..400_u64 {
        let written = store.write(|txn| {
            let tree = txn.create_tree("t")?;
            for record in 0..RECORDS {
                let key = (round * RECORDS + record + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                txn.insert(tree, &key.to_be_bytes(), &[7; 400])?;
            }
            Ok(())
        });
        written.unwrap();
        if round % 20 == 19 {
            let image = disk.crash_image(round);
            let after = options(&image).background(false).open(DB).unwrap();
            assert_eq!(after.begin_read().unwrap().tree("t").unwrap().unwrap().len(), (round + 1) * RECORDS);
            most = most.max(after.recovery().pages_changed);
        }
    }
    // A record changes a leaf, and half as many pages again are branches and halves of full leaves.
    let allowed = LIMIT + 2 * RECORDS * 3 / 2;
    assert!(most > LIMIT / 4 && most <= allowed, "{most} pages, {allowed} allowed");
}

#[test]
fn a_record_over_the_limit_goes_past_the_log_and_is_durable() {
    let disk = disk(10);
    let store = options(&disk).log_record_max(10_000).open(DB).unwrap();
    put(&store, 1, Durability::Sync).unwrap();
    let records = store.stat().unwrap().log_records;
    for round in [0_u64, 1] {
        let mut txn = store.begin_write().unwrap();
        let tree = txn.create_tree("t").unwrap();
        txn.insert(tree, &round.to_be_bytes(), b"kept").unwrap();
        let savepoint = txn.savepoint().unwrap();
        (0..900u64).try_for_each(|key| txn.insert(tree, &(key << 20 | 9).to_be_bytes(), &[7; 500])).unwrap();
        // What was too large once stays past the log, whatever is left of it.
        if round == 1 {
            txn.go_back_to(&savepoint).unwrap();
        }
        txn.commit().unwrap();
        let stat = store.stat().unwrap();
        assert_eq!((stat.log_records, stat.log_bytes), (records, 0));
        let after = options(&disk.crash_image(round)).open(DB).unwrap();
        let reader = after.begin_read().unwrap();
        let tree = reader.tree("t").unwrap().unwrap();
        assert_eq!(tree.get(&round.to_be_bytes()).unwrap(), Some(&b"kept"[..]));
        assert_eq!(tree.get(&(899_u64 << 20 | 9).to_be_bytes()).unwrap().map(<[u8]>::len), Some(500));
    }
    assert_eq!(store.changes(2, 9).unwrap_err().code(), "LLMDB-L05");
    put(&store, 4, Durability::Sync).unwrap();
    assert_eq!(store.stat().unwrap().log_records, records + 1);
}

#[test]
fn expectations_and_savepoints_undo_what_they_should() {
    let disk = disk(8);
    let store = options(&disk).open(DB).unwrap();
    let (tree, receipt) = store.write(|txn| txn.create_tree("t")).unwrap();
    let mut txn = store.begin_write().unwrap();
    txn.expect_newest(receipt.seq).unwrap();
    assert_eq!(txn.expect_newest(0).unwrap_err().code(), "LLMDB-L06");
    txn.insert(tree, b"a", b"1").unwrap();
    txn.expect(tree, b"a", Some(b"1")).unwrap();
    assert!(txn.expect(tree, b"a", None).unwrap_err().to_string().contains("\"a\""));
    let savepoint = txn.savepoint().unwrap();
    txn.insert(tree, b"b", &[7; 9_000]).unwrap();
    txn.insert(tree, &[1; 5_000], b"too long").unwrap_err();
    txn.go_back_to(&savepoint).unwrap();
    txn.insert(tree, b"c", b"3").unwrap();
    txn.commit().unwrap();
    let found = |store: &Store| {
        let reader = store.begin_read().unwrap();
        let tree = reader.tree("t").unwrap().unwrap();
        tree.iter().map(|record| record.unwrap().0.to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(found(&store), [b"a", b"c"]);
    // The log knows nothing of what was undone.
    assert_eq!(found(&options(&disk.crash_image(1)).open(DB).unwrap()), [b"a", b"c"]);
    assert!(store.check(&mut |_, _| {}).unwrap().is_sound());
}
