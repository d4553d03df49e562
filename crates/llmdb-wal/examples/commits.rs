//! What commits cost:
//! `commits FOLDER [single | unsynced | threads | queue | batches | random | sorted | values] [SECONDS [THREADS]]`.
//!
//! `single`: one record a commit, one thread, into 100,000 that are there. `unsynced`: the same, not flushed.
//! `threads`: the same from 1 to 64 threads, or with so many. `queue`: as `threads`, handed to a write queue. `batches`: 1,000 records in random order a commit.
//! `random`: 16 MB of them. `sorted`: 16 MB of records of 256 bytes in order. `values`: 16 MB of values of 4 KiB. Records
//! of more than 8 MiB go past the log.

use llmdb_wal::{Batch, Durability, Error, Store, StoreOptions, TreeId, WriteQueue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: commits FOLDER [WHAT [SECONDS [THREADS]]]")?;
    let what = arguments.next().unwrap_or_else(|| "single".to_owned());
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let threads = arguments.next().map(|text| text.parse()).transpose()?;
    let folder = tempfile::tempdir_in(folder)?;
    let durability = if what == "unsynced" { Durability::None } else { Durability::Sync };
    let options = StoreOptions::new().log_record_max(8 << 20).durability(durability);
    let store = options.open(folder.path().join("commits.llmdb"))?;
    let tree = store.write(|txn| txn.create_tree("t"))?.0;
    let next = AtomicU64::new(1);
    let for_long = Duration::from_secs(seconds);
    match what.as_str() {
        "single" | "unsynced" => {
            commit(&store, tree, &next, Shape { records: 100_000, ..Shape::RANDOM })?;
            report(&store, "1 thread", run(&store, tree, &next, for_long, 1, Shape::RANDOM));
        }
        "threads" | "queue" => {
            commit(&store, tree, &next, Shape { records: 100_000, ..Shape::RANDOM })?;
            let queue = store.queue(1024)?;
            for threads in threads.map_or(vec![1, 2, 4, 8, 16, 32, 64], |one: usize| vec![one]) {
                let done = match what.as_str() {
                    "queue" => run_each(for_long, threads, Shape::RANDOM, || {
                        hand_in(&queue, tree, &next).expect("the disk has room");
                    }),
                    _ => run(&store, tree, &next, for_long, threads, Shape::RANDOM),
                };
                report(&store, &format!("{threads} threads"), done);
            }
        }
        "batches" => {
            let shape = Shape { records: 1_000, ..Shape::RANDOM };
            report(&store, "batches", run(&store, tree, &next, for_long, 1, shape));
        }
        "random" => {
            let shape = Shape { records: 61_680, ..Shape::RANDOM };
            report(&store, "random", run(&store, tree, &next, for_long, 1, shape));
        }
        "sorted" => {
            let shape = Shape { records: 61_680, value: 256, is_sorted: true };
            report(&store, "sorted", run(&store, tree, &next, for_long, 1, shape));
        }
        "values" => {
            let shape = Shape { records: 4_080, value: 4_096, is_sorted: false };
            report(&store, "values", run(&store, tree, &next, for_long, 1, shape));
        }
        other => return Err(format!("there is no `{other}`").into()),
    }
    store.close()?;
    Ok(())
}

#[derive(Clone, Copy)]
struct Shape {
    records: u64,
    value: usize,
    is_sorted: bool,
}

impl Shape {
    const RANDOM: Self = Self { records: 1, value: 256, is_sorted: false };
}

/// What was done: how many commits, bytes of keys and values, and how long each commit took.
struct Done {
    bytes: u64,
    took: Duration,
    waits: Vec<Duration>,
}

fn run(store: &Store, tree: TreeId, next: &AtomicU64, limit: Duration, threads: usize, shape: Shape) -> Done {
    run_each(limit, threads, shape, || commit(store, tree, next, shape).expect("the disk has room"))
}

fn run_each(limit: Duration, threads: usize, shape: Shape, commit: impl Fn() + Sync) -> Done {
    let began = Instant::now();
    let waits: Vec<Vec<Duration>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut waits = Vec::new();
                    while began.elapsed() < limit {
                        let from = Instant::now();
                        commit();
                        waits.push(from.elapsed());
                    }
                    waits
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let waits: Vec<Duration> = waits.into_iter().flatten().collect();
    let bytes = waits.len() as u64 * shape.records * (16 + shape.value as u64);
    Done { bytes, took: began.elapsed(), waits }
}

fn commit(store: &Store, tree: TreeId, next: &AtomicU64, shape: Shape) -> Result<(), Error> {
    let value = vec![7; shape.value];
    let mut txn = store.begin_write()?;
    let first = next.fetch_add(shape.records, Ordering::Relaxed);
    for number in first..first + shape.records {
        let head = if shape.is_sorted { number } else { number.wrapping_mul(MIX) };
        txn.insert(tree, &key(head, number), &value)?;
    }
    txn.commit().map(|_| ())
}

/// The same, one record, by a queue.
fn hand_in(queue: &WriteQueue, tree: TreeId, next: &AtomicU64) -> Result<(), Arc<Error>> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    let batch =
        Batch::new().insert(tree, key(number.wrapping_mul(MIX), number), vec![7; Shape::RANDOM.value]);
    queue.submit(batch)?.wait().map(|_| ())
}

fn key(head: u64, number: u64) -> [u8; 16] {
    (u128::from(head) << 64 | u128::from(number)).to_be_bytes()
}

fn report(store: &Store, what: &str, mut done: Done) {
    done.waits.sort_unstable();
    let at = |share: f64| done.waits[((done.waits.len() - 1) as f64 * share) as usize];
    let seconds = done.took.as_secs_f64();
    println!(
        "{what}: {:.0} commits/s, {:.1} MB/s; a commit takes {:?}, 99 % {:?}, 99.9 % {:?}",
        done.waits.len() as f64 / seconds,
        done.bytes as f64 / seconds / 1e6,
        at(0.5),
        at(0.99),
        at(0.999),
    );
    let stat = store.stat().expect("it is open");
    println!("  {} records, {} flushes of the log", stat.log_records, stat.log_flushes);
}
