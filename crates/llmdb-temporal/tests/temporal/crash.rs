//! Invariant 15: after a power cut at any moment and recovery, the database holds a prefix of the commits that
//! includes every acknowledged one, and every answer is that of the prefix.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::compare::compare;
use crate::oracle::Oracle;
use crate::script::{Transaction, attempt, play, script};
use crate::support::{BLOCK_SIZES, Bench, cases};

/// Disk operations that a whole script takes, counted by playing it without a cut.
fn operation_count(script: &[Transaction], seed: u64) -> u64 {
    let (mut bench, mut oracle) = (Bench::with_blocks(seed, BLOCK_SIZES[0]), Oracle::default());
    let start = bench.disk.op_count();
    script.iter().for_each(|transaction| play(&mut bench, &mut oracle, transaction));
    bench.disk.op_count() - start
}

#[test]
fn after_a_power_cut_and_recovery_the_state_is_a_prefix_of_the_commits() {
    let config = Config { cases: cases(70), failure_persistence: None, ..Config::default() };
    let strategy = (script(1..7), proptest::collection::vec((any::<u32>(), any::<u64>()), 4));
    TestRunner::new(config)
        .run(&strategy, |(script, cuts)| {
            let count = operation_count(&script, 7);
            for (moment, seed) in cuts {
                cut_and_recover(&script, u64::from(moment) % (count + 1), seed);
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

fn cut_and_recover(script: &[Transaction], cut_after: u64, seed: u64) {
    let mut bench = Bench::with_blocks(7, BLOCK_SIZES[0]);
    bench.disk.cut_power_at(bench.disk.op_count() + cut_after);
    let (mut acknowledged, mut attempted) = (Oracle::default(), Oracle::default());
    let mut played = 0;
    for transaction in script {
        let (after, result) = attempt(&mut bench, &acknowledged, transaction);
        // Without power in time to begin, nothing of the transaction can be there.
        let complete = after.times.len() > acknowledged.times.len();
        attempted = if complete { after } else { acknowledged.clone() };
        if result.is_err() {
            break;
        }
        acknowledged = attempted.clone();
        played += 1;
    }
    let after_cut = bench.disk.crash_image(seed);
    bench.continue_on(after_cut).expect("recovery succeeds");
    let read = bench.db().begin_read().unwrap();
    let found = read.newest().map_or(-1, |newest| newest.commit.get() as i64);
    assert!(
        acknowledged.newest() <= found && found <= attempted.newest(),
        "cut {cut_after}, seed {seed}: found commit {found}, acknowledged {}, attempted {}",
        acknowledged.newest(),
        attempted.newest()
    );
    let mut oracle = attempted.as_of(found);
    compare(&read, &oracle);
    drop(read);
    // And it goes on from there.
    for transaction in script.iter().skip(played) {
        play(&mut bench, &mut oracle, transaction);
    }
    compare(&bench.db().begin_read().unwrap(), &oracle);
}
