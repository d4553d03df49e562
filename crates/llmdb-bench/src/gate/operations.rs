//! The fixed set of operations whose cost is held.
//!
//! Invariants
//! 1. Every operation checks its answer; a wrong one ends the run.
//! 2. Only what stands inside [`Bench::measure`] is measured: opening, copying and checking afterwards are not,
//!    unless they are the operation.
//! 3. A name never changes its meaning: an operation that is changed gets a new name.
//!
//! Not here: what is counted meanwhile (`measure`).

use super::Error;
use super::image::{
    self, COLLECTION, Image, LOGGED_COMMITS, RECORDS, TEMPORAL_KEYS, TREE, VERSIONS, key, scattered, value,
};
use super::measure::Bench;
use super::plant::Plant;
use llmdb_btree::{ReadTxn, Tree, WriteTxn, validate};
use llmdb_pager::meta::OWNER_AREA_SIZE;
use llmdb_pager::storage::{OpenMode, Storage as _};
use llmdb_pager::{Page, Pager, PagerOptions};
use llmdb_temporal::{Collection, Known, Temporal, TemporalRead};
use llmdb_wal::{Store, StoreOptions};
use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

/// A round of reading.
pub type Read = fn(&Tree<'_>, u64) -> Result<(), Error>;

/// An operation of the fixed set.
pub struct Operation {
    /// Its name in every report.
    pub name: &'static str,
    /// What it does, for people.
    pub what: &'static str,
    /// Rounds before the first that is measured.
    pub warm_rounds: u64,
    /// Rounds that are counted.
    pub counted_rounds: u64,
    /// Rounds that are timed.
    pub timed_rounds: u64,
    /// Rounds that are timed as one, so that reading the clock weighs nothing.
    pub block: u64,
    /// Does it, round by round.
    pub run: fn(&mut Bench<'_>) -> Result<(), Error>,
    /// What it does as the first thing after an open, when its pages are counted.
    pub cold: Cold,
}

/// An operation as the first thing after an open.
#[derive(Clone, Copy, Debug)]
pub enum Cold {
    /// Reads the tree.
    Read(Read),
    /// Commits so many new records.
    Commit(u64),
    /// Writes a checkpoint of so many new records.
    Checkpoint(u64),
    /// Opens a store of its own, and tells how many pages were checked since.
    Store(fn(&Image, &Path, u64) -> Result<u64, Error>),
}

/// Fresh opens over which the pages of reads are counted, and of commits, which need a fresh copy each.
const COLD_READS: u64 = 64;
const COLD_COMMITS: u64 = 8;

/// The fixed set, in the order of reports.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "get",
        what: "one value of 256 bytes by its key, the tree at hand",
        warm_rounds: 1_000,
        counted_rounds: 2_000,
        timed_rounds: 20_000,
        block: 1_000,
        run: |bench| reads(bench, get),
        cold: Cold::Read(get),
    },
    Operation {
        name: "get_many_64",
        what: "64 values by their keys, one after the other",
        warm_rounds: 20,
        counted_rounds: 50,
        timed_rounds: 400,
        block: 20,
        run: |bench| reads(bench, get_many),
        cold: Cold::Read(get_many),
    },
    Operation {
        name: "scan_1000",
        what: "1,000 records in key order from a key on",
        warm_rounds: 5,
        counted_rounds: 20,
        timed_rounds: 200,
        block: 10,
        run: |bench| reads(bench, scan),
        cold: Cold::Read(scan),
    },
    Operation {
        name: "commit_1",
        what: "insert one record of 256 bytes and commit",
        warm_rounds: 10,
        counted_rounds: 200,
        timed_rounds: 100,
        block: 10,
        run: |bench| commits(bench, 1),
        cold: Cold::Commit(1),
    },
    Operation {
        name: "commit_1000",
        what: "insert 1,000 records of 256 bytes and commit",
        warm_rounds: 1,
        counted_rounds: 5,
        timed_rounds: 10,
        block: 1,
        run: |bench| commits(bench, 1_000),
        cold: Cold::Commit(1_000),
    },
    Operation {
        name: "checkpoint_1000",
        what: "write a checkpoint after 1,000 inserts",
        warm_rounds: 1,
        counted_rounds: 5,
        timed_rounds: 10,
        block: 1,
        run: checkpoint,
        cold: Cold::Checkpoint(1_000),
    },
    Operation {
        name: "open",
        what: "open a database that was closed, and close it",
        warm_rounds: 2,
        counted_rounds: 10,
        timed_rounds: 50,
        block: 5,
        run: open,
        cold: Cold::Read(ask),
    },
    Operation {
        name: "recovery",
        what: "open a database that was not closed, with 200 commits in its log",
        warm_rounds: 1,
        counted_rounds: 3,
        timed_rounds: 8,
        block: 1,
        run: recovery,
        cold: Cold::Store(recovered_pages),
    },
    Operation {
        name: "as_of_get",
        what: "one value as it was known at one of the last 20 commits",
        warm_rounds: 10_000,
        counted_rounds: 1_000,
        timed_rounds: 10_000,
        block: 500,
        run: as_of_get,
        cold: Cold::Store(as_of_pages),
    },
];

/// The operation of a name.
///
/// # Errors
/// [`Error::UnknownOperation`].
pub fn named(name: &str) -> Result<&'static Operation, Error> {
    OPERATIONS.iter().find(|operation| operation.name == name).ok_or_else(|| Error::UnknownOperation {
        name: name.to_owned(),
        known: OPERATIONS.iter().map(|operation| operation.name).collect(),
    })
}

/// Pages that a round reads and checks as the first thing after an open: the mean of some opens.
///
/// # Errors
/// [`Error::WrongAnswer`], [`Error::Io`], the store's errors.
pub fn cold_pages(image: &Image, work: &Path, operation: &Operation) -> Result<f64, Error> {
    let (rounds, is_changed) = match operation.cold {
        Cold::Read(_) => (COLD_READS, false),
        Cold::Commit(_) | Cold::Checkpoint(_) | Cold::Store(_) => (COLD_COMMITS, true),
    };
    let mut path = image.copy_plain(work)?;
    let mut pages = 0;
    for round in 0..rounds {
        if is_changed {
            path = image.copy_plain(work)?;
        }
        pages += match operation.cold {
            Cold::Store(open) => open(image, work, round)?,
            cold => pages_of(&path, cold, round)?,
        };
    }
    Ok(pages as f64 / rounds as f64)
}

/// Pages that are checked by one round without a log, on a database that nobody has opened before.
fn pages_of(path: &Path, cold: Cold, round: u64) -> Result<u64, Error> {
    let mut before = CHECKED_PAGES.get();
    let pager = PagerOptions::new().validate(counting_validate).open(path)?;
    match cold {
        Cold::Read(read) => read(&tree(&ReadTxn::of(pager.snapshot()))?, round)?,
        Cold::Commit(records) => {
            insert_without_log(&pager, round, records)?.commit()?;
        }
        Cold::Checkpoint(records) => {
            insert_without_log(&pager, round, records)?.commit_unsynced()?;
            before = CHECKED_PAGES.get();
            pager.begin_write()?.checkpoint([0; OWNER_AREA_SIZE])?;
        }
        Cold::Store(_) => {}
    }
    Ok(CHECKED_PAGES.get() - before)
}

fn recovered_pages(image: &Image, work: &Path, round: u64) -> Result<u64, Error> {
    let store = image::options().open(image.copy_unclosed(work)?)?;
    if store.recovery().commits != LOGGED_COMMITS {
        return Err(wrong("recovery", round, "it did not recover all commits"));
    }
    Ok(store.stat()?.pager.checked_pages)
}

fn as_of_pages(image: &Image, work: &Path, round: u64) -> Result<u64, Error> {
    let store = image::options().open(image.copy_temporal(work)?)?;
    let read = Temporal::open(store.clone())?.begin_read()?;
    ask_as_of(&collection(&read)?, round)?;
    Ok(store.stat()?.pager.checked_pages)
}

/// A transaction that has put new records into the tree.
fn insert_without_log(pager: &Pager, round: u64, records: u64) -> Result<WriteTxn, Error> {
    let mut txn = WriteTxn::new(pager.begin_write()?);
    let tree = txn.create_tree(TREE)?;
    let first = RECORDS + round * records;
    for number in first..first + records {
        txn.insert(tree, &key(number), &value(number))?;
    }
    Ok(txn)
}

thread_local! {
    static CHECKED_PAGES: Cell<u64> = const { Cell::new(0) };
}

/// The pager asks this once for each page, at its first use.
fn counting_validate(page: Page<'_>) -> Result<(), &'static str> {
    CHECKED_PAGES.set(CHECKED_PAGES.get() + 1);
    validate(page)
}

fn tree(reader: &ReadTxn) -> Result<Tree<'_>, Error> {
    reader.tree(TREE)?.ok_or_else(|| Error::Malformed {
        origin: "the gate's database".into(),
        what: format!("it has no tree `{TREE}`"),
    })
}

fn wrong(operation: &'static str, round: u64, what: impl Into<String>) -> Error {
    Error::WrongAnswer { operation, round, what: what.into() }
}

fn reads(bench: &mut Bench<'_>, read: Read) -> Result<(), Error> {
    let path = bench.image().copy_plain(bench.work())?;
    let store = options(bench).open(path)?;
    let reader = store.begin_read()?;
    let tree = tree(&reader)?;
    touch_all(&tree)?;
    let allocates = bench.plant() == Some(Plant::Alloc);
    for block in bench.blocks() {
        bench.measure(block, &mut |round| {
            if allocates {
                black_box(Box::new(round));
            }
            read(&tree, round)
        })?;
    }
    Ok(())
}

/// Reads everything once: pages are checked at their first use, and that is no part of a warm read.
fn touch_all(tree: &Tree<'_>) -> Result<(), Error> {
    let mut count = 0;
    for record in tree.iter() {
        record?;
        count += 1;
    }
    if count == RECORDS { Ok(()) } else { Err(wrong("get", 0, format!("{count} records to begin with"))) }
}

fn get(tree: &Tree<'_>, round: u64) -> Result<(), Error> {
    let number = scattered(round) % RECORDS;
    match tree.get(&key(number))? {
        Some(found) if is_value(found, number) => Ok(()),
        found => Err(wrong("get", round, described(number, found))),
    }
}

/// What a program asks first: how many records there are, and one of them.
fn ask(tree: &Tree<'_>, round: u64) -> Result<(), Error> {
    if tree.len() == RECORDS { get(tree, round) } else { Err(wrong("open", round, "records are missing")) }
}

fn get_many(tree: &Tree<'_>, round: u64) -> Result<(), Error> {
    (0..64).try_for_each(|place| get(tree, round * 64 + place))
}

fn scan(tree: &Tree<'_>, round: u64) -> Result<(), Error> {
    // From the lower half of the keys on, so that 1,000 records always follow.
    let from = (scattered(round) >> 1).to_be_bytes();
    let mut cursor = tree.cursor();
    let (mut count, mut last) = (0, 0_u64);
    let mut stands = cursor.seek(&from)?;
    while stands && count < 1_000 {
        let (ordered, number) = numbers_of(cursor.key());
        let value = cursor.value()?;
        if ordered < last || !is_value(value, number) {
            return Err(wrong("scan_1000", round, described(number, Some(value))));
        }
        (last, count) = (ordered, count + 1);
        stands = cursor.next()?;
    }
    if count == 1_000 { Ok(()) } else { Err(wrong("scan_1000", round, format!("only {count} records"))) }
}

/// The two halves of a key: where it stands in the order, and the record's number.
fn numbers_of(key: &[u8]) -> (u64, u64) {
    let half = |at: usize| {
        key.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(u64::MAX, u64::from_be_bytes)
    };
    (half(0), half(8))
}

/// Whether these are the bytes of the record `number`, judged by length, first and last word.
fn is_value(found: &[u8], number: u64) -> bool {
    let wanted_last = scattered(number.wrapping_add(image::VALUE_SIZE as u64 / 8 - 1)).to_le_bytes();
    found.len() == image::VALUE_SIZE
        && found.starts_with(&scattered(number).to_le_bytes())
        && found.ends_with(&wanted_last)
}

fn described(number: u64, found: Option<&[u8]>) -> String {
    match found {
        Some(found) => format!("record {number} has another value, of {} bytes", found.len()),
        None => format!("record {number} is missing"),
    }
}

fn commits(bench: &mut Bench<'_>, records: u64) -> Result<(), Error> {
    let path = bench.image().copy_plain(bench.work())?;
    let store = options(bench).open(&path)?;
    let extra = match bench.plant() {
        Some(Plant::Flush) if records == 1 => {
            Some(bench.storage().open(&path, OpenMode::Read).map_err(Error::io("opening", &path))?)
        }
        _ => None,
    };
    let mut last = RECORDS;
    let mut count = RECORDS;
    for block in bench.blocks() {
        bench.measure(block, &mut |round| {
            let first = RECORDS + round * records;
            (last, count) = (first + records - 1, count + records);
            image::insert(&store, first..first + records)?;
            match &extra {
                Some(file) => file.sync_data().map_err(Error::io("flushing", &path)),
                None => Ok(()),
            }
        })?;
    }
    expect_records("commit", &store, count, last)
}

fn checkpoint(bench: &mut Bench<'_>) -> Result<(), Error> {
    let path = bench.image().copy_plain(bench.work())?;
    let store = options(bench).open(path)?;
    for block in bench.blocks() {
        let first = RECORDS + block.start * 1_000;
        image::insert(&store, first..first + 1_000)?;
        bench.measure(block, &mut |_| Ok(store.checkpoint()?))?;
        expect_records("checkpoint_1000", &store, first + 1_000, first + 999)?;
    }
    Ok(())
}

fn open(bench: &mut Bench<'_>) -> Result<(), Error> {
    let path = bench.image().copy_plain(bench.work())?;
    for block in bench.blocks() {
        let storage = Arc::new(bench.storage().clone());
        bench.measure(block, &mut |_| {
            let store = image::options().storage(storage.clone()).open(&path)?;
            expect_records("open", &store, RECORDS, RECORDS - 1)?;
            Ok(store.close()?)
        })?;
    }
    Ok(())
}

fn recovery(bench: &mut Bench<'_>) -> Result<(), Error> {
    for block in bench.blocks() {
        let path = bench.image().copy_unclosed(bench.work())?;
        let storage = Arc::new(bench.storage().clone());
        let mut opened = None;
        let round = block.start;
        bench.measure(block, &mut |_| {
            // A plant may come here twice: the first store is closed before the second is opened.
            drop(opened.take());
            opened = Some(image::options().storage(storage.clone()).open(&path)?);
            Ok(())
        })?;
        let Some(store) = opened else { continue };
        if store.recovery().commits != LOGGED_COMMITS {
            let commits = store.recovery().commits;
            return Err(wrong("recovery", round, format!("it recovered {commits} commits")));
        }
        let count = RECORDS + LOGGED_COMMITS;
        expect_records("recovery", &store, count, count - 1)?;
    }
    Ok(())
}

fn as_of_get(bench: &mut Bench<'_>) -> Result<(), Error> {
    let path = bench.image().copy_temporal(bench.work())?;
    let db = Temporal::open(options(bench).open(path)?)?;
    let read = db.begin_read()?;
    let collection = collection(&read)?;
    for block in bench.blocks() {
        bench.measure(block, &mut |round| ask_as_of(&collection, round))?;
    }
    Ok(())
}

fn collection(read: &TemporalRead) -> Result<Collection<'_>, Error> {
    read.collection(COLLECTION)?.ok_or_else(|| Error::Malformed {
        origin: "the gate's database".into(),
        what: format!("it has no collection `{COLLECTION}`"),
    })
}

/// One value as it was known at one of the last commits.
fn ask_as_of(collection: &Collection<'_>, round: u64) -> Result<(), Error> {
    // At this instant every version is in force once it is known.
    let instant = image::valid_time(0)?;
    let number = scattered(round) % TEMPORAL_KEYS;
    let version = scattered(round + 1) % VERSIONS;
    let known = Known::At(image::known_time(version)?);
    let found = collection.get_value(&key(number), instant, known)?;
    match found {
        Some(found) if found[..] == image::version_value(number, version) => Ok(()),
        found => Err(wrong("as_of_get", round, described(number, found.as_deref()))),
    }
}

fn options(bench: &Bench<'_>) -> StoreOptions {
    image::options().storage(Arc::new(bench.storage().clone()))
}

/// Whether the tree has `count` records, and the record `last` is right.
fn expect_records(operation: &'static str, store: &Store, count: u64, last: u64) -> Result<(), Error> {
    let reader = store.begin_read()?;
    let tree = tree(&reader)?;
    if tree.len() != count {
        return Err(wrong(operation, 0, format!("{} records instead of {count}", tree.len())));
    }
    match tree.get(&key(last))? {
        Some(found) if found == value(last) => Ok(()),
        found => Err(wrong(operation, 0, described(last, found))),
    }
}
