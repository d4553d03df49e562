//! What the fuzz targets do with their bytes. The crate's tests call the same functions.

use std::ops::Bound::Unbounded;

use llmdb_temporal::encoding::{self, BlockKey, RangeKey};
use llmdb_temporal::{CommitTime, Error, Known, Operation, Period, TemporalRead, TemporalWrite, ValidTime};

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

/// Bytes as forgeries in the stored records of a key: reads, changes and the check of it end with an answer or an error.
pub fn records(data: &[u8]) {
    let Some((control, forgeries)) = data.split_first() else { return };
    let bench = Bench::with_blocks(7, BLOCK_SIZES[usize::from(control & 3)]);
    for number in 0..5 {
        let mut tx = bench.db().begin_write().expect("a transaction");
        let (early, late) = (at(number % 3), at(9 + number));
        tx.put(COLLECTIONS[0], KEYS[0], Period::new(early, late).expect("in order"), b"v").expect("a put");
        tx.put(COLLECTIONS[0], KEYS[1], Period::since(early), b"v").expect("a put");
        tx.commit().expect("a commit");
    }
    for forgery in forgeries.chunks_exact(FORGERY_SIZE).take(4) {
        forge(&bench, forgery);
        let read = bench.db().begin_read().expect("a snapshot");
        ask_all(&read);
        change_all(&bench);
    }
}

/// Bytes that each forgery takes: which tree and record, where in it, how, and a byte.
const FORGERY_SIZE: usize = 5;

/// Changes a record below the layer.
fn forge(bench: &Bench, how: &[u8]) {
    let name = ["temporal/5/now/0", "temporal/5/past/0", "temporal/5/ranges/0"][usize::from(how[0]) % 3];
    let mut txn = bench.db().store().begin_write().expect("a transaction");
    let tree = txn.create_tree(name).expect("a tree");
    let records: Vec<(Vec<u8>, Vec<u8>)> = txn
        .tree(tree)
        .expect("a tree")
        .iter()
        .map(|row| row.map(|(key, record)| (key, record.to_vec())).expect("a sound page"))
        .collect();
    let Some((key, record)) = records.get(usize::from(how[1]) % records.len().max(1)) else { return };
    let mut record = record.clone();
    let place = usize::from(how[2]) % record.len().max(1);
    let value = how[4];
    let word = match how[3] % 6 {
        0 => vec![value],
        1 => u64::from(value).to_le_bytes().to_vec(),
        2 => (u64::MAX - u64::from(value)).to_le_bytes().to_vec(),
        3 => u64::from(value).to_be_bytes().to_vec(),
        4 => {
            record.truncate(place);
            Vec::new()
        }
        _ => {
            record.extend(vec![value; place]);
            Vec::new()
        }
    };
    let end = (place + word.len()).min(record.len());
    record[place.min(end)..end].copy_from_slice(&word[..end.saturating_sub(place)]);
    txn.insert(tree, key, &record).expect("an insert");
    txn.commit().expect("a commit");
}

/// Asks about everything; what is said of damage is another test's business.
fn ask_all(read: &TemporalRead) {
    let name = COLLECTIONS[0];
    for key in [KEYS[0], KEYS[1]] {
        drop((read.versions(name, key), read.history(name, key, at(3))));
        for commit in [0, 2, 4, 9] {
            let known = Known::Commit(commit);
            drop((read.timeline(name, key, Period::ALL, known), read.covers(name, key, Period::ALL, known)));
            for instant in [ValidTime::NEG_INF, at(1), at(10), ValidTime::POS_INF] {
                drop((read.get(name, key, instant, known), read.get_value(name, key, instant, known)));
            }
        }
    }
    for commit in [1, 9] {
        let scan = read.scan(name, Unbounded, Unbounded, at(4), Known::Commit(commit));
        drop(scan.map(|rows| rows.take(9).count()));
        let diff = read.diff(name, Known::Commit(commit), Known::Latest, (Unbounded, Unbounded));
        drop(diff.map(|rows| rows.take(99).count()));
    }
    drop((read.check(&mut |_, _| {}), read.filter(name), read.began(name, Period::ALL, Known::Latest)));
}

/// What is done to a key in a transaction.
type Change<'c> = dyn Fn(&mut TemporalWrite, &[u8]) -> Result<(), Error> + 'c;

/// Changes the keys in every way; each is another transaction, so that one that is refused stops no other.
fn change_all(bench: &Bench) {
    let (name, now) = (COLLECTIONS[0], at(6));
    let changes: [&Change<'_>; 6] = [
        &|tx, key| tx.put(name, key, Period::since(at(20)), b"new"),
        &|tx, key| tx.update(name, key, Period::since(now), b"new"),
        &|tx, key| tx.put(name, key, Period::new(at(2), now)?, b"new"),
        &|tx, key| tx.insert(name, key, Period::new(at(1), now)?, b"new"),
        &|tx, key| tx.delete(name, key, Period::ALL),
        &|tx, _| tx.retain(CommitTime::from_micros(i64::MAX - 1)?).map(drop),
    ];
    for change in changes {
        for key in [KEYS[0], KEYS[1]] {
            let mut tx = bench.db().begin_write().expect("a transaction");
            if change(&mut tx, key).is_ok() {
                drop(tx.commit());
            }
        }
    }
}

fn at(micros: i64) -> ValidTime {
    ValidTime::from_micros(micros).expect("a finite time")
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
