//! A write-ahead log, and over it durable transactions on B+trees.
//!
//! ```
//! use llmdb_wal::Store;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("notes.llmdb");
//! let store = Store::open(&path)?;
//!
//! let mut txn = store.begin_write()?;
//! let notes = txn.create_tree("notes")?;
//! txn.insert(notes, b"monday", b"call Beirut at noon")?;
//! let receipt = txn.commit()?; // one log flush; it survives a power cut from here
//! assert_eq!(receipt.seq, 1);
//!
//! let reader = store.begin_read()?;
//! let notes = reader.tree("notes")?.expect("made above");
//! assert_eq!(notes.get(b"monday")?, Some(&b"call Beirut at noon"[..]));
//! drop(reader);
//! store.close()?; // now the data file alone is the database
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`log`] can be used alone; [`store`] is the log, the trees and their recovery together. A commit costs
//! one write and one device flush; reads cost what `llmdb-btree`'s do.
//!
//! What it is not: it knows no time but a commit's stamp, and no types (`llmdb-temporal`, `llmdb-query`).

mod error;
pub mod log;
mod lsn;
pub mod store;

pub use error::Error;
pub use llmdb_btree::{Cursor, Range, ReadTxn, Tree, TreeId};
pub use llmdb_pager::backup::{BackupHeader, BackupOptions, BackupReport, RestoreReport};
pub use store::{
    Batch, Change, Clock, CommitSeq, Committed, Durability, OnProgress, Receipt, Recovery, RunningCheckpoint,
    Savepoint, Stat, Store, StoreOptions, Ticket, Wiped, WriteQueue, WriteTxn, restore,
};
