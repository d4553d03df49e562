//! Random histories, compared with the naive model as a whole. `LLMDB_SOAK=20` plays twenty times as many.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::test_runner::{Config, TestRunner};

use crate::compare::compare;
use crate::oracle::Oracle;
use crate::script::{play, script};
use crate::support::{BLOCK_SIZES, Bench, cases};

/// (key, instant, commit) triples to compare in one run of the tests.
const CELL_COUNT_MIN: u64 = 300_000;

#[test]
fn every_read_equals_the_naive_log_at_every_key_cell_and_commit() {
    let cells = AtomicU64::new(0);
    let config = Config { cases: cases(640), failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(script(1..16), 0..BLOCK_SIZES.len()), |(script, size)| {
            let (mut bench, mut oracle) = (Bench::with_blocks(1, BLOCK_SIZES[size]), Oracle::default());
            for transaction in &script {
                play(&mut bench, &mut oracle, transaction);
            }
            let read = bench.db().begin_read().unwrap();
            cells.fetch_add(compare(&read, &oracle), Ordering::Relaxed);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    let cells = cells.into_inner();
    println!("{cells} cells");
    assert!(cells >= CELL_COUNT_MIN, "only {cells} cells were compared");
}

#[test]
fn every_read_between_two_commits_equals_the_naive_log() {
    let config = Config { cases: cases(25), failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(script(2..9), 0..BLOCK_SIZES.len()), |(script, size)| {
            let (mut bench, mut oracle) = (Bench::with_blocks(2, BLOCK_SIZES[size]), Oracle::default());
            for transaction in &script {
                // A snapshot taken before a commit does not see it.
                let (read, before) = (bench.db().begin_read().unwrap(), oracle.clone());
                if !transaction.reopen_before {
                    play(&mut bench, &mut oracle, transaction);
                }
                compare(&read, &before);
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
