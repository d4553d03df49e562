//! `temporal_queries`: what questions about two times cost, beside questions about now and beside peers.
//!
//! Each engine is told the same changes ([`story`]): all keys in turn, round by round, in commits of up to 1,000 changes that
//! are not flushed. Then the same questions are asked of all, in rounds in turn. What TPC-BiH asks stands under its letters:
//!
//! | class | phases |
//! | --- | --- |
//! | T, time travel | gets at depths and shares of history, scans as of, everything as of |
//! | K, audit of a key | timeline as known now, history of an instant |
//! | R, ranges | keys that changed between two commits, sums over timelines of a range of keys, joins of timelines |
//! | B, both axes | any valid time and any commit, timelines as known at a past commit |
//!
//! Invariants
//! 1. Every answer is held against the naive model, by the sum of all bytes of its values and, where there are several, by their
//!    number, order and bounds.
//! 2. Peers keep no more than the changes, and answer from them (`engine::past`).
//!
//! Not here: what peers do (`engine::past`), series of points (`time_series`).

mod ask;
mod case;
mod questions;
mod story;

use super::{Plan, Sizes, Workload, named};
use crate::engine::EngineKind;
use crate::results::Durability;
use ask::Ask;
use case::PastCase;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use story::{KEY_SIZE, Mix, Scale};

/// What an engine may need beside the changes themselves.
const DISK_FACTOR: u64 = 5;
/// Bytes of memory that the model takes for a change.
const MODEL_SIZE: u64 = 32;

const APPEND: Mix = Mix { corrections: 0, futures: 0 };
const TENTH: Mix = Mix { corrections: 10, futures: 0 };
const THIRD: Mix = Mix { corrections: 30, futures: 0 };
const FUTURE: Mix = Mix { corrections: 0, futures: 10 };

/// The workload.
#[derive(Debug)]
pub(super) struct TemporalQueries;

impl Workload for TemporalQueries {
    fn suite(&self) -> &'static str {
        "temporal"
    }

    fn name(&self) -> &'static str {
        "temporal_queries"
    }

    fn about(&self) -> &'static str {
        "gets, scans, timelines, histories, differences and joins as of points of both times, and what telling them cost"
    }

    fn takes(&self, kind: &dyn EngineKind) -> bool {
        kind.keeps_past()
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        let shapes = &sizes.past_shapes;
        let mut plans = Vec::new();
        for (at, &(keys, versions)) in shapes.iter().enumerate() {
            // Every question about the first shape as it is appended to and about the others as they are corrected, of the
            // other mixes those that the mix can matter to.
            let is_first = at == 0;
            let mixes = if is_first { &[APPEND, TENTH, THIRD, FUTURE][..] } else { &[TENTH] };
            for &mix in mixes {
                let scale = Scale { keys, versions, value_size: sizes.past_value_size, mix };
                let asks = if mix == APPEND || !is_first { Ask::all(versions) } else { Ask::some() };
                plans.push(plan(scale, asks, sizes.past_phase));
            }
        }
        plans
    }
}

fn plan(scale: Scale, asks: Vec<Ask>, time: Duration) -> Plan {
    let bytes = scale.keys * scale.versions * (KEY_SIZE + scale.value_size) as u64;
    let phases = asks.iter().map(|ask| ask.phase(&asks, time)).collect();
    // Made by the first case that needs it, and shared by all.
    let story = Arc::new(OnceLock::new());
    Plan {
        parameters: named([
            ("keys", scale.keys.to_string()),
            ("versions", scale.versions.to_string()),
            ("value", scale.value_size.to_string()),
            ("changes", scale.mix.in_words()),
        ]),
        durability: Durability::None,
        disk_bytes: bytes * DISK_FACTOR + (256 << 20),
        one_at_a_time: false,
        memory_bytes: (512 << 20) + scale.keys * scale.versions * MODEL_SIZE,
        phases,
        make: Box::new(move || Box::new(PastCase::new(scale, asks.clone(), story.clone(), bytes))),
    }
}
