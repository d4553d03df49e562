//! Bitemporal collections: when a fact was true, and when we knew it.
//!
//! A collection maps keys (bytes) to values (bytes), and every fact carries two times. *Valid time* says when it
//! is true in the world; the caller gives it. *Known time* says since when the database knew it; the commit gives
//! it, and it never changes. A correction of the past therefore replaces nothing: what was believed before it
//! can still be asked for.
//!
//! ```
//! use llmdb_temporal::{Known, Period, Temporal, ValidTime};
//! use llmdb_wal::StoreOptions;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("prices.llmdb");
//! let db = Temporal::open(StoreOptions::new().open(&path)?)?;
//! let day = |n: i64| ValidTime::from_micros(n * 86_400_000_000);
//!
//! // On commit 0 we record: from day 10 on the price is 5.
//! let mut tx = db.begin_write()?;
//! tx.put("prices", b"tea", Period::since(day(10)?), b"5")?;
//! let first = tx.commit()?;
//!
//! // Later we learn that on days 12 and 13 it had been 4.
//! let mut tx = db.begin_write()?;
//! tx.put("prices", b"tea", Period::new(day(12)?, day(14)?)?, b"4")?;
//! tx.commit()?;
//!
//! let read = db.begin_read()?;
//! // What do we believe now about day 12?
//! let now = read.get("prices", b"tea", day(12)?, Known::Latest)?.ok_or("nothing in force")?;
//! assert_eq!(now.value, b"4");
//! // What did we believe about day 12 when the first commit was recorded?
//! let then = read.get("prices", b"tea", day(12)?, Known::At(first.at))?.ok_or("nothing in force")?;
//! assert_eq!(then.value, b"5");
//! assert_eq!(then.known_to, Some(now.known_from));
//! // From day 14 on it is 5 again, and we have known so since commit 0, although the piece was cut off.
//! let after = read.get("prices", b"tea", day(14)?, Known::Latest)?.ok_or("nothing in force")?;
//! assert_eq!((after.value.as_slice(), after.asserted.commit), (&b"5"[..], first.commit));
//! # Ok(())
//! # }
//! ```
//!
//! # Semantics
//!
//! **Axes.** Valid time is whole microseconds since 1970, positive or negative, with two open ends. Periods are
//! half-open. Commits are numbered from 0 on; the time of a commit is the clock's, but always at least a microsecond after
//! the commit before, or the one asked for with [`TemporalWrite::set_time`], which must not be earlier than that commit's.
//! Numbers rise by one from commit to commit, but for those that other commits of the store take: each [`Temporal::wipe`] takes
//! some, and so do trees of others in the same store. As of such a number what is known is what was known before it.
//!
//! **Belief.** Once a commit is recorded, what is believed about a key is a step function of valid time: at each
//! instant a value or nothing. An empty value is a value. Pieces are bounded by the operations that made them;
//! touching pieces with equal values stay two.
//!
//! **Operations** on a key and a period, in the order given, each seeing those before it:
//!
//! | operation | in the period | elsewhere |
//! | --- | --- | --- |
//! | `put` | the value, whatever was there | unchanged |
//! | `update` | the value where one is in force, piece by piece; nothing where nothing is | unchanged |
//! | `delete` | nothing | unchanged |
//! | `insert` | the value if nothing is in force in any part, else refused whole | unchanged |
//!
//! A period that ends where it starts has no effect and is not recorded; a reversed one cannot be made. A piece
//! that is cut keeps its value and the commit that *asserted* it on both sides. A transaction becomes visible
//! whole; what its own later operations replaced never shows.
//!
//! **Known.** [`Known::Latest`] is the newest commit of the snapshot; [`Known::At`] and [`Known::Commit`] mean the
//! newest one not later than that: before the first commit everything is empty, beyond the newest it is the newest.
//!
//! **Rectangles.** A [`Version`] is one piece of a timeline over the longest run of commits during which exactly
//! that piece (bounds, value, asserting commit) stood in it. A change that cuts a piece ends its rectangle and
//! starts one for each part that is left. At every commit the rectangles of a key do not overlap in valid time.
//!
//! **Answers for a commit never change** once it is recorded. [`TemporalWrite::retain`] lets old ones go: what is asked as
//! of a commit before its mark is refused.
//! [`TemporalWrite::erase`] takes a key out of all of time, and [`Temporal::wipe`] its bytes out of the files.
//!
//! # Costs
//!
//! Supersession is resolved when written, never when read. The record of a key holds its latest break points, with the value
//! of the last one: the latest value is one exact look-up. Older break points stand in blocks, each whole in itself for
//! a range of valid time and a span of commits: a value as of an older commit is one to three descents however deep the
//! history is, a look into one block, and the look-up of the value, which stands once, with the operation that asserted
//! it. A [`Version`] besides looks outward for its bounds, block by block; `history` and `versions` read all blocks of
//! the key. A scan takes one step for each key whose last break point answers; for others a scan of values takes a step in the
//! blocks and looks up many values at a time, and one of versions takes what a get takes.
//!
//! A transaction holds its operations and applies them together, at the latest when it commits.
//!
//! Not here: JSON, text forms of times, queries over values (the layers above); durability (`llmdb-wal`).

mod apply;
mod block;
mod catalog;
mod check;
mod checked;
mod commits;
mod database;
mod edit;
pub mod encoding;
mod entry;
mod erase;
mod error;
mod filter;
mod fronts;
mod index;
mod marks;
mod ops;
mod pending;
mod point;
mod points;
mod ranges;
mod read;
mod recent;
mod retain;
mod starts;
mod trees;
mod types;
mod walk;
mod wipe;
mod write;

pub use check::TemporalCheck;
pub use database::Temporal;
pub use error::Error;
pub use filter::KeyFilter;
pub use read::{Changes, Collection, Differences, LentRow, Scan, ScanValues, TemporalRead};
pub use types::{
    Asserted, Bounds, Change, CommitNumber, CommitStamp, CommitTime, Difference, Erasure, Known, Meeting,
    Operation, Period, Receipt, ValidTime, Version, Window,
};
pub use write::TemporalWrite;
