//! Maps and filters in WebAssembly over the facts of a scan.
//!
//! The guest sees each belief in force as one record, as a reduction does (`reduce`). What it answers is handed on with
//! the fact, in the order of the keys.
//!
//! Invariants
//! 1. Memory does not grow with the scan: facts are held for one chunk at a time.
//! 2. Whatever the guest does wrong is an error of this call; the facts before it have been handed on.
//!
//! Not here: limits and the ABI (`llmdb-wasm`).

use std::ops::ControlFlow;

use llmdb_temporal::{Known, TemporalRead, ValidTime, Version};
use llmdb_wasm::{Module, Record, Stage, Stats};

use crate::value::payload;
use crate::{Error, Fact, KeyRange};

/// Facts that are held at a time.
const CHUNK_FACTS: usize = 1024;
/// Bytes of keys and values at which a chunk is closed.
const CHUNK_BYTES: usize = 1 << 20;

/// Which facts a function is run over: those in force at one instant of the world, as known at `known`.
#[derive(Debug, Clone)]
pub struct FactScan<'a> {
    /// The collection.
    pub collection: &'a str,
    /// The keys.
    pub keys: &'a KeyRange,
    /// The instant of the world.
    pub valid_at: ValidTime,
    /// Whose knowledge.
    pub known: Known,
}

/// Runs the map `function` of `module`. `each` gets every fact with the guest's answer to it, and may end the scan.
///
/// ```
/// use std::ops::ControlFlow;
/// use llmdb_query::{FactScan, KeyRange, Value, map, temporal::{Known, Period, Temporal, ValidTime}};
/// use llmdb_wasm::{Runtime, guests};
/// # let dir = tempfile::tempdir()?;
/// # let store = llmdb_wal::store::StoreOptions::new().open(dir.path().join("x.llmdb"))?;
/// let db = Temporal::open(store)?;
/// let mut write = db.begin_write()?;
/// write.put("main", b"a", Period::ALL, &Value::from("four").encode())?;
/// write.commit()?;
/// let module = Runtime::default().compile(guests::RECORDS.as_bytes())?;
/// let (read, now) = (db.begin_read()?, ValidTime::from_micros(0)?);
/// let scan = FactScan { collection: "main", keys: &KeyRange::ALL, valid_at: now, known: Known::Latest };
/// let mut lengths = Vec::new();
/// map(&read, &scan, &module, "value_size", |fact, answer| {
///     lengths.push((fact.key, answer.to_vec()));
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(lengths, [(b"a".to_vec(), 6u64.to_le_bytes().to_vec())]); // JSON text, with its quotes
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the guest fails or goes over a limit, and when damage is found.
pub fn map(
    read: &TemporalRead,
    scan: &FactScan<'_>,
    module: &Module,
    function: &str,
    mut each: impl FnMut(Fact, &[u8]) -> ControlFlow<()>,
) -> Result<Stats, Error> {
    run(read, scan, module.map(function)?, |version, answer| Ok(each(Fact::from_version(version)?, answer)))
}

/// Runs the filter `function` of `module`. `each` gets the facts that the guest keeps, and may end the scan.
///
/// # Errors
/// As of [`map`].
pub fn filter(
    read: &TemporalRead,
    scan: &FactScan<'_>,
    module: &Module,
    function: &str,
    mut each: impl FnMut(Fact) -> ControlFlow<()>,
) -> Result<Stats, Error> {
    run(read, scan, module.filter(function)?, |version, answer| match answer {
        [0] => Ok(ControlFlow::Continue(())),
        _ => Ok(each(Fact::from_version(version)?)),
    })
}

fn run(
    read: &TemporalRead,
    scan: &FactScan<'_>,
    mut stage: Stage,
    mut each: impl FnMut(Version, &[u8]) -> Result<ControlFlow<()>, Error>,
) -> Result<Stats, Error> {
    if scan.keys.is_empty() {
        return Ok(stage.stats());
    }
    let (from, to) = scan.keys.bounds();
    let mut versions = read.scan(scan.collection, from, to, scan.valid_at, scan.known)?;
    loop {
        let chunk = next_chunk(&mut versions)?;
        if chunk.is_empty() {
            return Ok(stage.stats());
        }
        let records = chunk.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let output = stage.records(records)?;
        for (version, answer) in chunk.into_iter().zip(output.iter()) {
            if each(version, answer)?.is_break() {
                return Ok(stage.stats());
            }
        }
    }
}

fn next_chunk(
    versions: &mut impl Iterator<Item = Result<Version, llmdb_temporal::Error>>,
) -> Result<Vec<Version>, Error> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < CHUNK_FACTS && bytes < CHUNK_BYTES {
        let Some(version) = versions.next().transpose()? else { break };
        bytes += version.key.len() + version.value.len();
        chunk.push(version);
    }
    Ok(chunk)
}

/// What a guest sees of a version.
pub(crate) fn record(version: &Version) -> Result<Record<'_>, Error> {
    Ok(Record {
        key: &version.key,
        value: payload(&version.value)?,
        valid_from: version.valid.from.micros(),
        valid_to: version.valid.to.micros(),
        known_from: version.known_from.at.micros(),
        known_to: version.known_to.map_or(i64::MAX, |stamp| stamp.at.micros()),
    })
}
