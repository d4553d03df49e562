//! `space_path`: what readers and size cost, and that space comes back.
//!
//! | plan | what |
//! | --- | --- |
//! | [`readers`] | commits while nobody reads, and while thousands of readers are open |
//! | [`held`] | a reader held while a fixed set of keys is rewritten at full speed: the files' size over time |
//! | [`opens`] | opening a small and a large database, cold: the time, and the memory of one get |
//! | [`halves`] | half of the records deleted, and a dense copy of the rest |
//!
//! Invariants
//! 1. A held reader is asked at its end: it must see what was there when it began, record by record.
//! 2. The whole database is checked afterwards, read from its files.

mod halves;
mod held;
mod opens;
mod readers;

use super::{Plan, Sizes, Workload};
use crate::check::KeyOrder;
use crate::results::Durability;
use crate::workload::load::Shape;

/// What records look like.
const SHAPE: Shape = Shape { key_size: 16, value_size: 256, order: KeyOrder::Random };
/// What an engine may need beside the records themselves.
const DISK_FACTOR: u64 = 4;
/// A log that is preallocated, and the like.
const DISK_ROOM: u64 = 512 << 20;
/// With a log and without: peers have one mode each, which stands under the first.
const DURABLE: [Durability; 2] = [Durability::Sync, Durability::NoLog];

/// The workload.
#[derive(Debug)]
pub(super) struct SpacePath;

impl Workload for SpacePath {
    fn suite(&self) -> &'static str {
        "contest"
    }

    fn name(&self) -> &'static str {
        "space_path"
    }

    fn about(&self) -> &'static str {
        "thousands of open readers, a reader held under updates, opening small and large databases, space after deletes"
    }

    fn by_name_only(&self) -> bool {
        true
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let sizes = sizes.space;
        let each = |plan: fn(_, _) -> Plan| DURABLE.map(|durability| plan(sizes, durability));
        let mut plans = Vec::new();
        plans.extend(each(readers::plan));
        plans.extend(each(held::plan));
        plans.extend(each(halves::plan));
        plans.extend(each(opens::plan));
        plans
    }
}
