//! Copy-on-write B+trees over `llmdb-pager` pages: several named trees in one file, snapshots that read
//! without locks and without copies, one writer.
//!
//! ```
//! use llmdb_btree::Database;
//! use llmdb_pager::PagerOptions;
//!
//! let folder = tempfile::tempdir()?;
//! let db = Database::create(PagerOptions::new(), folder.path().join("trees.llmdb"))?;
//!
//! let mut txn = db.begin_write()?;
//! let fruit = txn.create_tree("fruit")?;
//! txn.insert(fruit, b"apple", b"red")?;
//! txn.insert(fruit, b"lemon", b"yellow")?;
//! txn.commit()?; // durable and visible
//!
//! let reader = db.begin_read();
//! let fruit = reader.tree("fruit")?.expect("made above");
//! assert_eq!(fruit.get(b"lemon")?, Some(&b"yellow"[..])); // borrowed from the snapshot
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Used this way, with no log, each commit is a checkpoint of its own: a few flushes. `llmdb-wal` puts a log
//! in front, with one flush a commit.
//!
//! Many records at once: [`WriteTxn::bulk_load`], [`WriteTxn::remove_range`], [`WriteTxn::cursor_mut`]. Values that
//! memory does not hold: [`WriteTxn::insert_reader`], [`Tree::value_reader`]. What a tree looks like inside:
//! [`Tree::stats`].
//!
//! Limits: keys of 1 byte to five sixteenths of a page (1,280 bytes at 4 KiB), values to 4 GiB. A get is
//! one descent; the tree is as high as the logarithm of its records to the base of about 300.
//!
//! What it is not: it knows no time and no types.

mod backup;
mod build;
mod check;
mod compact;
mod cursor;
mod database;
mod drop;
mod edit;
mod error;
mod fetch;
mod find;
mod find_many;
mod floor;
mod forest;
mod get_many;
mod limits;
mod node;
mod pack;
mod savepoint;
mod scrub;
mod source;
mod stats;
mod sync;
mod tidy;
mod tree;
mod validate;
mod value;
mod value_reader;
mod write;

pub use backup::{backup, restore};
pub use check::check;
pub use compact::{CompactReport, compact_to};
pub use cursor::{Cursor, Entry, Range};
pub use database::{Database, ReadTxn, WriteTxn};
pub use error::Error;
pub use floor::Near;
pub use forest::TreeId;
pub use limits::{VALUE_SIZE_MAX, key_size_max};
pub use node::{BRANCH, FOREST, LEAF};
pub use savepoint::Savepoint;
pub use scrub::{scrub, spawn_scrubber};
pub use source::Source;
pub use stats::{LevelStats, TreeStats};
pub use tidy::{Tidied, TidyFrom};
pub use tree::{FORM_TREE, Tree, TreeRoot};
pub use validate::validate;
pub use value::{LARGE_REF_SIZE, LargeRef, Stored};
pub use value_reader::ValueReader;
pub use write::bulk::{BulkLoad, BulkOptions};
pub use write::cursor::CursorMut;
