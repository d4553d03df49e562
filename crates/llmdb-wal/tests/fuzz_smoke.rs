//! The fuzz bodies over damage with fixed seeds, on any toolchain.

#[path = "fuzz/body.rs"]
mod body;
#[path = "../../llmdb-pager/tests/support/mutate.rs"]
mod mutate;
#[path = "../../llmdb-pager/tests/support/smoke.rs"]
mod smoke;

use llmdb_btree::LargeRef;
use llmdb_pager::PageNumber;
use llmdb_pager::page::{read_u32, read_u64};
use mutate::{Rng, mutated_file, scramble};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: the largest request and the panic hook are the process's.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the log begins, as the first meta says: LSN and the checksum before it.
fn start(file: &[u8]) -> (u64, u64) {
    (read_u64(file, 80), read_u64(file, 88))
}

/// Where the log's records stand in the file, one a block, and their payloads' lengths.
fn records(file: &[u8], log: &[u8]) -> Vec<(usize, usize)> {
    let mut at = 4096 + (start(file).0 % read_u64(log, 32)) as usize;
    let mut found = Vec::new();
    while read_u64(log, at + 40) != 0 {
        let len = read_u32(log, at + 48) as usize;
        found.push((at, len));
        at = (at + 56 + len).next_multiple_of(4096);
    }
    found
}

#[test]
fn changed_logs_are_refused_or_replayed() {
    let _alone = alone();
    let (file, log) = body::left_open();
    let records = records(file, log);
    assert!(records.len() >= 6 && body::store(file, log));
    let mut opened = 0;
    smoke::smoke("changed logs", 0..3_000, |seed| {
        let mut rng = Rng(seed);
        let mut bad = log.clone();
        for _ in 0..1 + rng.below(3) {
            let (at, len) = records[rng.below(records.len() as u64) as usize];
            scramble(&mut bad[at..at + 56 + len], 56 + len, &mut rng);
        }
        if seed % 4 > 0 {
            let (lsn, chain) = start(file);
            body::seal_log(&mut bad, lsn, chain);
        }
        opened += u32::from(body::store(file, &bad));
    });
    assert!(opened > 300 && opened < 2_990, "{opened} of 3,000 opened");
}

#[test]
fn changed_files_with_a_log_are_refused_or_recovered() {
    let _alone = alone();
    let (file, log) = body::left_open();
    let mut opened = 0;
    smoke::smoke("changed files with a log", 0..2_000, |seed| {
        opened += u32::from(body::store(&mutated_file(file, &mut Rng(seed)), log));
    });
    assert!(opened > 300 && opened < 2_000, "{opened} of 2,000 opened");
}

#[test]
fn single_bytes_changed_in_both_files_are_refused_or_recovered() {
    let _alone = alone();
    let mut opened = 0;
    smoke::smoke("edits", 0..1_000, |seed| {
        let mut rng = Rng(seed);
        let data: Vec<u8> = (0..rng.below(24)).map(|_| rng.next() as u8).collect();
        let (mut file, log) = body::edited(&data);
        mutate::seal_all(&mut file);
        opened += u32::from(body::store(&file, &log));
    });
    assert!(opened > 100, "{opened} of 1,000 opened");
}

#[test]
fn any_ring_is_read_to_some_end() {
    let _alone = alone();
    let mut read = 0;
    smoke::smoke("any ring", 0..2_000, |seed| {
        let mut rng = Rng(seed);
        let lsn = [0, 4096, 1 << 40, rng.next(), u64::MAX, u64::MAX - 4095, 1 << 62][rng.below(7) as usize];
        let mut ring = vec![0; 4096 + rng.below(8) as usize * 4096];
        for block in ring.chunks_exact_mut(4096).skip(1) {
            let at = lsn / 4096 * 4096;
            block[8..16].copy_from_slice(&at.wrapping_add(rng.below(4) * 4096).to_le_bytes());
            block[24..32].copy_from_slice(&rng.next().to_le_bytes());
            block[40] = 1;
            block[48..50].copy_from_slice(&(rng.below(4000) as u16).to_le_bytes());
        }
        if seed % 3 == 0 {
            scramble(&mut ring, 4096, &mut rng);
        }
        ring[16] = 7;
        ring[32..40].copy_from_slice(&(256u64 << 10).to_le_bytes());
        body::seal_log(&mut ring, lsn, 9);
        let place = [lsn.to_le_bytes(), 9u64.to_le_bytes(), rng.below(3).to_le_bytes()].concat();
        read += body::tail(&[place.as_slice(), &ring[4096..]].concat());
    });
    assert!(read > 100, "{read} records");
}

/// A record whose checksum is right and whose reference to a large value leads anywhere.
#[test]
fn a_record_that_refers_far_outside_is_refused_without_growing_the_file() {
    let _alone = alone();
    let (file, log) = body::left_open();
    let (lsn, chain) = start(file);
    let (at, len) = records(file, log)[0];
    let payload = at + 56..at + 56 + len;
    let key = log[payload.clone()]
        .windows(5)
        .position(|window| window == b"large")
        .expect("it inserts a large value");
    let reference = payload.start + key + 5;
    let whole = LargeRef::decode(&log[reference..reference + 40]).expect("a reference stands behind the key");
    assert_eq!(whole.len, 5000);
    let starts = [1 << 47, (1 << 48) - 1, (file.len() / 4096) as u64 + 100_000, 0, 1];
    let lens = [5000, 4 << 30, 0];
    smoke::smoke("far references", 0..(starts.len() * lens.len()) as u64, |case| {
        let start = PageNumber(starts[case as usize % starts.len()]);
        let bad = LargeRef { start, len: lens[case as usize / starts.len()], ..whole };
        let mut log = log.clone();
        log[reference..reference + 40].copy_from_slice(&bad.encode());
        body::seal_log(&mut log, lsn, chain);
        assert!(!body::store(file, &log), "{bad:?} is refused");
    });
}

/// Metas whose numbers are at their ends.
#[test]
fn numbers_at_their_ends_are_no_overflow() {
    let _alone = alone();
    let (file, log) = body::left_open();
    let values = [u64::MAX, u64::MAX - 4095, 1 << 63, (1 << 63) - 1, 4095, 1];
    let fields = [32, 40, 48, 80, 88];
    smoke::smoke("metas", 0..(fields.len() * values.len()) as u64, |case| {
        let (at, value) = (fields[case as usize / values.len()], values[case as usize % values.len()]);
        let mut bytes = file.clone();
        for slot in [0, 4096] {
            bytes[slot + at..slot + at + 8].copy_from_slice(&value.to_le_bytes());
        }
        mutate::seal_all(&mut bytes);
        body::store(&bytes, log);
        body::store(&bytes, &[]);
    });
}
