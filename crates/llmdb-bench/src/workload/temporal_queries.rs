//! `temporal_queries`: what questions about two times cost, beside questions about now and beside peers.
//!
//! Each engine is told the same changes ([`story`]): all keys in turn, round by round, in commits of up to 1,000 changes that
//! are not flushed. A plain tree or table of the same engine is put the same values in the same commits, and keeps the newest of
//! each key: what questions about now are held against. Then the same questions are asked of all, in rounds in turn. What TPC-BiH asks stands under its letters:
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
mod loading;
mod questions;
mod story;

use super::{PastShape, Plan, Sizes, Workload, named};
use crate::engine::EngineKind;
use crate::results::Durability;
use ask::Ask;
use case::PastCase;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use story::{KEY_SIZE, Mix, Scale};

/// What an engine may need beside the changes themselves, with the plain tree that is put the same.
const DISK_FACTOR: u64 = 7;
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
        let mut told: Vec<(Scale, Vec<Ask>)> = Vec::new();
        for (at, &PastShape { keys, versions, mix }) in sizes.past_shapes.iter().enumerate() {
            // Every question about the first shape as it is appended to and about the others as they are corrected, of the
            // other mixes those that the mix can matter to. A mix that is asked for gets every question.
            let given = mix.map(|(corrections, futures)| Mix { corrections, futures });
            let mixes = match (given, at) {
                (Some(mix), _) => vec![mix],
                (None, 0) => vec![APPEND, TENTH, THIRD, FUTURE],
                (None, _) => vec![TENTH],
            };
            for mix in mixes {
                let scale = Scale { keys, versions, value_size: sizes.past_value_size, mix };
                let is_whole = given.is_some() || at > 0 || mix == APPEND;
                let asks = if is_whole { Ask::all(versions) } else { Ask::some() };
                // One that was there already is told once, and asked the more of the two.
                match told.iter_mut().find(|(known, _)| *known == scale) {
                    Some((_, before)) if before.len() < asks.len() => *before = asks,
                    Some(_) => {}
                    None => told.push((scale, asks)),
                }
            }
        }
        told.into_iter().map(|(scale, asks)| plan(scale, asks, sizes.past_phase)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_that_is_asked_for_gets_every_question_and_no_history_is_told_twice() {
        let shape = |keys, versions, mix| PastShape { keys, versions, mix };
        let plans = |past_shapes| TemporalQueries.plans(&Sizes { past_shapes, ..Sizes::tiny() });
        let phases = |plans: &[Plan]| -> Vec<(String, usize)> {
            plans.iter().map(|plan| (plan.parameters["changes"].clone(), plan.phases.len())).collect()
        };
        let (all, some) = (Ask::all(20).len(), Ask::some().len());
        assert!(some < all);
        let found = phases(&plans(vec![shape(100, 20, None), shape(100, 20, Some((30, 0)))]));
        let wanted = [
            ("append only", all),
            ("10 % corrections of the past", some),
            ("30 % corrections of the past", all),
            ("10 % about the future", some),
        ];
        assert_eq!(found, wanted.map(|(words, count)| (words.to_owned(), count)));
        let found = phases(&plans(vec![shape(7, 20, Some((5, 10))), shape(8, 20, Some((0, 0)))]));
        let both = "5 % corrections of the past, 10 % about the future";
        assert_eq!(found, [(both.to_owned(), all), ("append only".to_owned(), all)]);
    }
}
