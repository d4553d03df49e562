//! What the fuzz targets do with their bytes. The crate's tests call the same functions.

use llmdb_temporal::encoding::{self, BlockKey, RangeKey};
use llmdb_temporal::{Operation, ValidTime};

use crate::compare::compare;
use crate::oracle::Oracle;
use crate::script::{COLLECTIONS, KEYS, Step, Transaction, play};
use crate::support::{BLOCK_SIZES, Bench};

/// Bytes that each operation takes.
const STEP_SIZE: usize = 5;
/// Operations beyond this make the comparison slow without showing more.
const STEP_COUNT_MAX: usize = 24;

/// Any bytes: refused, or exactly what encoding gives. Their halves as keys: order is kept.
pub fn key_codec(data: &[u8]) {
    if let Ok(RangeKey { prefix, at }) = encoding::split_range(data) {
        assert_eq!(encoding::range_key(prefix, at), data);
        if let Ok(key) = encoding::user_key(prefix) {
            assert_eq!(encoding::prefix(&key), prefix);
        }
    }
    if let Ok(BlockKey { prefix, at, until }) = encoding::split_block(data) {
        assert_eq!(encoding::block_key(prefix, at, until), data);
    }
    let (one, other) = data.split_at(data.len() / 2);
    let (first, second) = (encoding::prefix(one), encoding::prefix(other));
    assert_eq!(first.cmp(&second), one.cmp(other));
    assert_eq!(second.starts_with(&first), one == other);
    assert_eq!(encoding::after(&first) < second, one < other);
    if !one.is_empty() {
        assert_eq!(encoding::user_key(&first).as_deref(), Ok(one));
    }
}

/// Bytes as a history: played against database and oracle, then every read is compared.
pub fn operations(data: &[u8]) {
    let size = BLOCK_SIZES[usize::from(data.last().copied().unwrap_or(0)) % BLOCK_SIZES.len()];
    let (mut bench, mut oracle) = (Bench::with_blocks(3, size), Oracle::default());
    let mut transaction = None;
    for bytes in data.chunks_exact(STEP_SIZE).take(STEP_COUNT_MAX) {
        let open = transaction.get_or_insert_with(|| begin(bytes[0]));
        open.steps.push(step(bytes));
        if bytes[0] & 1 == 0 {
            play(&mut bench, &mut oracle, open);
            transaction = None;
        }
    }
    if let Some(last) = transaction {
        play(&mut bench, &mut oracle, &last);
    }
    let read = bench.db().begin_read().expect("a snapshot");
    compare(&read, &oracle);
}

fn begin(control: u8) -> Transaction {
    Transaction {
        steps: Vec::new(),
        wanted: (control & 0x10 != 0).then(|| i64::from(control)),
        clock: i64::from(control & 0x0f),
        reopen_before: control & 0xe0 == 0x20,
        roll_back: control & 0xe0 == 0x40,
    }
}

fn step(bytes: &[u8]) -> Step {
    let op = match bytes[1] % 6 {
        0..3 => Operation::Put,
        3 => Operation::Update,
        4 => Operation::Delete,
        _ => Operation::Insert,
    };
    let [one, other] = [instant(bytes[2]), instant(bytes[3])];
    Step {
        collection: usize::from(bytes[1] >> 6 == 0) % COLLECTIONS.len(),
        key: usize::from(bytes[4] >> 4) % KEYS.len(),
        op,
        from: one.min(other),
        to: one.max(other),
        value: vec![b'v'; usize::from(bytes[4] & 3)],
    }
}

fn instant(byte: u8) -> ValidTime {
    match byte % 20 {
        0 => ValidTime::NEG_INF,
        19 => ValidTime::POS_INF,
        small => ValidTime::from_micros(i64::from(small) - 10).expect("a finite time"),
    }
}
