//! Pages of a single data file: mapped for reading, copied on write, checked, and made durable by
//! checkpoints. Snapshots read without locks while one transaction writes.
//!
//! ```
//! use llmdb_pager::{Kind, PageSource as _, PagerOptions, page::HEADER_SIZE};
//!
//! let folder = tempfile::tempdir()?;
//! let pager = PagerOptions::new().create(folder.path().join("pages.llmdb"))?;
//!
//! let mut txn = pager.begin_write()?;
//! let root = txn.allocate(Kind(16), 0)?;
//! txn.page_mut(root)[HEADER_SIZE] = 7;
//! txn.set_root(root);
//! txn.commit_with_checkpoint([0; 64])?; // durable from here
//!
//! let snapshot = pager.snapshot();
//! assert_eq!(snapshot.page(snapshot.root())?.bytes()[HEADER_SIZE], 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it promises: a page that a snapshot or the newest checkpoint can reach is never overwritten; every
//! page is checked against its checksum, its place and its birth before its first use; a full disk is an
//! ordinary error; after a failed write nothing is written until the file is opened anew.
//!
//! What it is not: it knows no keys and no trees (`llmdb-btree`), and no log (`llmdb-wal`).

mod aging;
mod atomic;
mod background;
pub mod backup;
mod bits;
mod build;
mod check;
mod checkpoint;
mod early;
mod error;
mod extent;
mod gather;
mod guard;
mod holes;
mod in_flight;
mod mapping;
mod memory;
pub mod meta;
mod old_readers;
pub mod page;
mod page_number;
mod page_set;
mod pager;
mod plan;
mod raw;
mod readers;
#[cfg(test)]
mod readers_tests;
mod rows;
mod savepoint;
mod scrub;
pub mod sim;
mod snapshot;
mod space;
mod spill;
mod staged;
pub mod storage;
mod stream;
mod tag;
mod trim;
mod verified;
mod wipe;
mod write_txn;
mod writer;

pub use aging::{OldReader, OnSlowReader};
pub use background::{Checkpoint, CheckpointProgress};
pub use build::FileBuilder;
pub use check::{Below, CheckReport, Damage, ExtentUse, Intact, Progress};
pub use error::{Error, Text};
pub use page::{Kind, Page, PageNumber, Ref};
pub use pager::{Pager, PagerOptions, PagerStat, beside};
pub use plan::CheckpointReport;
pub use savepoint::Savepoint;
pub use scrub::{ScrubEvent, ScrubOptions, ScrubReport, Scrubber};
pub use snapshot::{PageSource, Snapshot, Validate};
pub use space::Run;
pub use stream::PageStream;
pub use trim::TrimReport;
pub use verified::{CheckedPages, CheckedPagesOf};
pub use wipe::WipedFree;
pub use write_txn::WriteTxn;
