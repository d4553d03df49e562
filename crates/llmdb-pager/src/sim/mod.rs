//! The simulated disk: files in memory that fail the way real ones do, all by a seed.
//!
//! ```text
//!   write_at ──> cache ──(what reads and maps see)
//!                  │
//!                  └──> per 512-byte sector: durable version, pending versions ..., newest
//!   sync_data ───────────────────────────────^ the newest becomes durable
//!
//!   crash_image: each pending sector, length and name independently old, in between or new
//!   kill_image:  the cache as it is; what was pending stays pending
//! ```
//!
//! Invariants
//! 1. What [`crate::storage::File::sync_data`] acknowledged is in every later [`SimDisk::crash_image`];
//!    names once [`crate::storage::Storage::sync_dir`] acknowledged them.
//! 2. What was not synced may be lost, torn between sectors (and within the sectors of the last write),
//!    reordered, or there: never anything but bytes that some write put there, zeros or, in a range that
//!    the file had not durably grown to, garbage.
//! 3. The same seed and the same operations give the same faults, trace and images; nothing asks a clock.
//! 4. A map sees writes at once, and borrowed bytes change only by a write to them. Damage that happens
//!    below the cache (a sync that reverts, [`SimDisk::flip_bit`], [`SimDisk::drop_caches`]) is seen by
//!    reads and later maps; a map made before keeps the bytes that it had.
//!
//! Operations are numbered from 0 ([`SimDisk::op_count`]): all of `Storage` and `File` except `exists`
//! `len` and the lock of a file, which change nothing and are never made to fail (but do when the power is off). A test runs
//! its workload once to count them and then once per number, with a cut or a [`Fault`] there.
//!
//! Not here: real files (`storage`), what the bytes mean, oracles.
//!
//! ```
//! use llmdb_pager::sim::SimDisk;
//! use llmdb_pager::storage::{OpenMode, Storage, read_exact_at, write_all_at};
//! use std::path::Path;
//!
//! # fn main() -> std::io::Result<()> {
//! let disk = SimDisk::new(7);
//! let path = Path::new("db");
//! let file = disk.open(path, OpenMode::CreateNew)?;
//! write_all_at(&*file, b"synced", 0)?;
//! file.sync_data()?;
//! disk.sync_dir(path)?;
//! write_all_at(&*file, b"UNSAFE", 0)?;
//!
//! // The process sees its write; so does the next one, if only the process dies.
//! assert_eq!(disk.kill_image().read_file(path).as_deref(), Some(&b"UNSAFE"[..]));
//! // After a power cut the sector is old or new or, being in flight, a mix: some seed shows each.
//! let found: std::collections::BTreeSet<_> =
//!     (0..200).map(|seed| disk.crash_image(seed).read_file(path).unwrap()).collect();
//! assert!(found.contains(&b"synced"[..]));
//! assert!(found.contains(&b"UNSAFE"[..]));
//! // Two outcomes if sectors are atomic, and here they are.
//! assert_eq!(disk.crash_images_exhaustive().map(Iterator::count), Some(2));
//!
//! // Stop the program at any operation; a machine that starts again opens an image.
//! disk.cut_power_at(disk.op_count());
//! assert!(file.sync_data().is_err());
//! let after = disk.crash_image(1);
//! let file = after.open(path, OpenMode::Read)?;
//! read_exact_at(&*file, &mut [0; 6], 0)?;
//! # Ok(())
//! # }
//! ```

mod buffer;
mod crash;
mod disk;
mod fault;
mod file;
mod inode;
mod names;
mod rng;
mod state;
mod trace;

pub use crash::CrashPolicy;
pub use disk::{SimDisk, SimOptions, WriteWatch};
pub use fault::{Fault, FaultKind, SyncFailure, When};
pub use trace::{Op, SimStats, TraceEntry};
