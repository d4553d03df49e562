//! A user function in WebAssembly over the records of a scan.
//!
//! The guest sees each belief in force as one record: the key, the value without its tag (JSON as text), and
//! the period in which it holds.
//!
//! Invariants
//! 1. Memory does not grow with the scan: records go to the guest in batches.
//! 2. Whatever the guest does wrong is an error of this call; the snapshot and the database go on.
//!
//! Not here: limits and the ABI (`llmdb-wasm`).

use llmdb_temporal::{Known, TemporalRead, ValidTime};
use llmdb_wasm::{Module, Stats};

use crate::functions::record;
use crate::{Error, KeyRange};

/// The answer of a guest, and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reduced {
    /// The bytes that the guest answered.
    pub output: Vec<u8>,
    /// Records, fuel and time.
    pub stats: Stats,
}

/// Runs `function` of `module` over the facts of a key range, at one instant of the world, as known at `known`.
///
/// ```
/// use llmdb_query::{KeyRange, Value, reduce, temporal::{Known, Period, Temporal, ValidTime}};
/// use llmdb_wasm::{Runtime, guests};
/// # let dir = tempfile::tempdir()?;
/// # let store = llmdb_wal::store::StoreOptions::new().open(dir.path().join("x.llmdb"))?;
/// let db = Temporal::open(store)?;
/// let mut write = db.begin_write()?;
/// for key in ["a", "b"] {
///     write.put("main", key.as_bytes(), Period::ALL, &Value::from("x").encode())?;
/// }
/// write.commit()?;
/// let count = Runtime::default().compile(guests::COUNT.as_bytes())?;
/// let (read, now) = (db.begin_read()?, ValidTime::from_micros(0)?);
/// let reduced = reduce(&read, "main", &KeyRange::ALL, now, Known::Latest, &count, "count")?;
/// assert_eq!(reduced.output, 2u64.to_le_bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the guest fails or goes over a limit, and when damage is found.
pub fn reduce(
    read: &TemporalRead,
    collection: &str,
    keys: &KeyRange,
    valid_at: ValidTime,
    known: Known,
    module: &Module,
    function: &str,
) -> Result<Reduced, Error> {
    let mut reducer = module.reducer(function)?;
    if !keys.is_empty() {
        let (from, to) = keys.bounds();
        for version in read.scan(collection, from, to, valid_at, known)? {
            let version = version?;
            reducer.push(record(&version)?)?;
        }
    }
    let output = reducer.finish()?;
    Ok(Reduced { output, stats: reducer.stats() })
}
