//! `read_path`: the bars of the read path, each held against a peer in the same run.
//!
//! Records of 256 bytes under random keys of 16. Two kinds of cases: reads of a database that was loaded in
//! random order, and loads into an empty one without flushes. Engines take turns round by round, and a bar is
//! the median of a round's figure over that of the peer: an engine that was read just before finds a part of
//! its data in the processor's caches and looks up to 40 % faster.
//!
//! Every byte of each value that is read is added up, and the sum must be that of the record. Gets come in
//! blocks that are timed as a whole, so that no clock stands between them; one block of [`TIMED_EVERY`] has
//! each get timed, for the percentiles.
//!
//! Invariants
//! 1. An answer is right if its bytes add up to what the record's bytes do: the sums are computed from the
//!    records, not read from an engine.
//! 2. The whole database is checked record by record afterwards (`load::check_all`).

mod keys;
mod loads;
mod reads;

use super::{Plan, Sizes, Workload};
use crate::check::KeyOrder;
use crate::workload::load::Shape;
use keys::Keys;
pub(super) use keys::sum_of;
use std::sync::{Arc, OnceLock};

/// What records look like.
const SHAPE: Shape = Shape { key_size: keys::KEY_SIZE, value_size: 256, order: KeyOrder::Random };
/// Records of one transaction of a load.
const PER_TRANSACTION: u64 = 100_000;
/// What an engine may need beside the records themselves.
const DISK_FACTOR: u64 = 5;
/// Of so many blocks of gets, one has each of its gets timed.
const TIMED_EVERY: u64 = 16;

/// The workload.
#[derive(Debug)]
pub(super) struct ReadPath;

impl Workload for ReadPath {
    fn suite(&self) -> &'static str {
        "contest"
    }

    fn name(&self) -> &'static str {
        "read_path"
    }

    fn about(&self) -> &'static str {
        "2 M records of 256 B: gets, many gets, scans, ranges, cold gets and loads, with their bars against peers"
    }

    fn by_name_only(&self) -> bool {
        true
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let records = sizes.contest_records;
        // Made by the first case that needs it, and shared by all.
        let keys: Arc<OnceLock<Keys>> = Arc::default();
        let mut plans = vec![reads::plan(sizes, records, keys)];
        plans.extend([loads::Order::Sorted, loads::Order::Random].map(|order| loads::plan(records, order)));
        plans
    }
}
