//! Criterion benches of the micro level: single operations on small databases, in wall-clock time.
//!
//! `cargo bench -p llmdb-bench`, with `--features peers` side by side with the peers. The sizes are tiny so
//! that a look takes a minute; `llmdb-bench run` measures properly and checks whole databases. Here too
//! every answer is checked.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use llmdb_bench::check::{KeyOrder, fill_key, fill_value, version_of};
use llmdb_bench::engine::{self, Engine, EngineKind, OpenOptions};
use llmdb_bench::results::Durability;
use llmdb_bench::rng::Rng;
use std::time::Duration;

const RECORDS: u64 = 10_000;
const VALUE_SIZE: usize = 256;
const KEY_SIZE: usize = 16;
const SCAN: usize = 100;

fn record(number: u64) -> ([u8; KEY_SIZE], [u8; VALUE_SIZE]) {
    let (mut key, mut value) = ([0; KEY_SIZE], [0; VALUE_SIZE]);
    fill_key(&mut key, number, KeyOrder::Random);
    fill_value(&mut value, number, 0);
    (key, value)
}

fn key_of(number: u64) -> [u8; KEY_SIZE] {
    let mut key = [0; KEY_SIZE];
    fill_key(&mut key, number, KeyOrder::Random);
    key
}

fn put(engine: &dyn Engine, numbers: std::ops::Range<u64>) {
    let done = engine.write(&mut |txn| {
        numbers.clone().try_for_each(|number| {
            let (key, value) = record(number);
            txn.put(&key, &value)
        })
    });
    done.expect("a benchmark's engine writes");
}

fn durability_of(kind: &dyn EngineKind) -> Durability {
    if kind.offers(Durability::Sync) { Durability::Sync } else { Durability::NoLog }
}

/// Gives each engine of this build, with [`RECORDS`] in it, to `measure`.
fn on_each_engine(mut measure: impl FnMut(&str, &dyn Engine)) {
    for kind in engine::all() {
        let folder = tempfile::tempdir().expect("a folder for a database");
        let options = OpenOptions { durability: durability_of(&*kind), bytes_max: 1 << 30 };
        let engine = kind.open(folder.path(), &options).expect("a benchmark's engine opens");
        put(&*engine, 0..RECORDS);
        engine.settle().expect("a benchmark's engine settles");
        measure(kind.name(), &*engine);
    }
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    on_each_engine(|name, engine| {
        let mut rng = Rng::new(1);
        group.bench_function(format!("get/{name}"), |bencher| {
            let done = engine.read(&mut |txn| {
                bencher.iter_batched(
                    || rng.below(RECORDS),
                    |number| {
                        let key = key_of(number);
                        let value = txn.get(&key).expect("a get");
                        assert_eq!(value.and_then(|value| version_of(value, number)), Some(0));
                    },
                    BatchSize::SmallInput,
                );
                Ok(())
            });
            done.expect("a read transaction");
        });
        group.bench_function(format!("get_with_transaction/{name}"), |bencher| {
            bencher.iter(|| {
                let number = rng.below(RECORDS);
                let key = key_of(number);
                let done = engine.read(&mut |txn| {
                    let value = txn.get(&key)?;
                    assert_eq!(value.and_then(|value| version_of(value, number)), Some(0));
                    Ok(())
                });
                done.expect("a get");
            });
        });
        group.bench_function(format!("scan_{SCAN}/{name}"), |bencher| {
            bencher.iter(|| {
                // From the lower half, so that there is always enough ahead.
                let from = (rng.next_u64() >> 1).to_be_bytes();
                let done = engine.read(&mut |txn| {
                    let mut bytes = 0;
                    let count = txn.scan(&from, SCAN, &mut |_, value| {
                        bytes += value.len();
                        Ok(())
                    })?;
                    assert_eq!((count, bytes), (SCAN, SCAN * VALUE_SIZE));
                    Ok(())
                });
                done.expect("a scan");
            });
        });
    });
    group.finish();
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    on_each_engine(|name, engine| {
        let mut next = RECORDS;
        for count in [1, 100] {
            group.bench_function(format!("{count}_records/{name}"), |bencher| {
                bencher.iter(|| {
                    put(engine, next..next + count);
                    next += count;
                });
            });
        }
        let mut found = 0;
        let done = engine.read(&mut |txn| {
            found = txn.scan(&[0], usize::MAX, &mut |_, _| Ok(()))?;
            Ok(())
        });
        done.expect("a scan");
        assert_eq!(found as u64, next, "every committed record is there");
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
}

criterion_group! { name = micro; config = short(); targets = reads, commits }
criterion_main!(micro);
