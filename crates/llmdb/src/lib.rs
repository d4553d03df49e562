//! LLMDB: an embedded, single-file database that never forgets what it knew.
//!
//! Every belief has two times: when it is true in the world (*valid time*), and when the database knew it
//! (*commit time*). A correction replaces nothing: both beliefs stay, and both can be asked for.
//!
//! ```
//! use llmdb::{Database, Known, Period, json};
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("agent.llmdb");
//! let db = Database::open(&path)?;
//! let mut write = db.begin_write()?;
//! write.put("main", "home of Ada", Period::ALL, json!("Paris"))?;
//! let first = write.commit()?;
//! let mut write = db.begin_write()?;
//! write.put("main", "home of Ada", Period::ALL, json!("Oslo"))?; // we were wrong: it was Oslo all along
//! write.commit()?;
//! let read = db.begin_read()?;
//! let today = read.get("main", "home of Ada", db.now(), Known::Latest)?;
//! let back_then = read.get("main", "home of Ada", db.now(), Known::At(first.at))?;
//! assert_eq!(today.map(|fact| fact.value), Some(json!("Oslo").into()));
//! assert_eq!(back_then.map(|fact| fact.value), Some(json!("Paris").into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Reading order: [`database`] (open, read, write), [`error`], with the feature `cli` `lines` (JSON
//! lines in and out, which the binary `llmdb` speaks), with the feature `wasm` `modules` (functions kept in the
//! database).
//!
//! Not here: how time is stored (`llmdb-temporal`), how questions are answered (`llmdb-query`), files and
//! logs (`llmdb-wal` and below).

pub mod database;
pub mod error;
#[cfg(feature = "cli")]
mod line_error;
#[cfg(feature = "cli")]
pub mod lines;
#[cfg(feature = "wasm")]
pub mod modules;

pub use database::{Database, Options, ReadTxn, WriteTxn};
pub use error::Error;
pub use llmdb_query::{Answer, ChangeRow, DiffRow, Fact, KeyRange, Question, Row, Rows, Value};
#[cfg(feature = "wasm")]
pub use llmdb_query::{FactScan, Reduced, filter, map, reduce};
pub use llmdb_temporal::{
    Asserted, CommitNumber, CommitStamp, CommitTime, Known, Period, Receipt, ValidTime,
};
pub use llmdb_wal::{BackupHeader, BackupOptions, BackupReport, RestoreReport, Wiped};
#[cfg(feature = "wasm")]
pub use llmdb_wasm as wasm;
#[cfg(feature = "wasm")]
pub use modules::StoredModules;
pub use serde_json::json;

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
