//! `commit_path`: the bars of the commit path, each held against a peer or the storage in the same run.
//!
//! New records of 256 bytes under random keys of 16, unless said otherwise:
//!
//! | plan | what is committed |
//! | --- | --- |
//! | [`commits`] | single records, flushed, by 1, 8, 32 and 64 threads; the same without flushes; the longest waits of a long run |
//! | [`batches`] | batches of 1,000 over a growing set; values of 4 KB and 1 MB, and sorted records, 16 MB a transaction; random records with all files in memory |
//! | [`beside`] | single records, beside a reader |
//!
//! Invariants
//! 1. A commit that returned is seen by all, which other threads check (`workload::writing`).
//! 2. The whole database is checked record by record afterwards, read from its files: all that were committed
//!    and no others (`load::check_new`).
//! 3. Flushes are counted: fewer than the commits need fail the run.

mod batches;
mod beside;
mod commits;

use super::{Plan, Sizes, Workload};
use crate::check::KeyOrder;
use crate::results::Durability;
use crate::workload::load::Shape;

/// What records look like.
const SHAPE: Shape = Shape { key_size: 16, value_size: 256, order: KeyOrder::Random };
/// What an engine may need beside the records themselves.
const DISK_FACTOR: u64 = 3;

/// The workload.
#[derive(Debug)]
pub(super) struct CommitPath;

impl Workload for CommitPath {
    fn suite(&self) -> &'static str {
        "contest"
    }

    fn name(&self) -> &'static str {
        "commit_path"
    }

    fn about(&self) -> &'static str {
        "commits by 1 to 64 threads, batches, large values, sorted records, long waits, reads beside a writer, with their bars"
    }

    fn by_name_only(&self) -> bool {
        true
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let sizes = sizes.commit;
        let mut plans = vec![commits::crowds(sizes), commits::alone(sizes, Durability::None)];
        plans.push(commits::long(sizes));
        plans.extend(batches::plans(sizes));
        plans.push(beside::plan(sizes));
        plans
    }
}
