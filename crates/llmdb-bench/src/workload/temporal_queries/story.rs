//! What is told to every engine, and what must be believed: the naive model.
//!
//! ```text
//! round 0: every key once, round 1: every key once, in another order, ...     change n is made at instant n
//! change n  append      [n, forever)
//!           correction  [a, b), a some instant before n
//!           future      [a, forever), a some instant after n
//! ```
//!
//! Invariants
//! 1. The model is the list of changes: what is believed about an instant once a commit was recorded is the newest change of
//!    the key up to that commit whose period holds the instant. It knows nothing else.
//! 2. No key is changed twice in a commit.
//! 3. Every value is of one change alone, so a value says which change is believed.

use crate::rng::{Rng, mix};
use crate::workload::read_path::sum_of;
use std::collections::BTreeSet;
use std::ops::Range;

pub(super) use crate::engine::past::OPEN;

/// Bytes of a key.
pub(super) const KEY_SIZE: usize = 16;
/// Changes of a commit, where there are so many keys.
const PER_COMMIT: u64 = 1_000;

/// How many of a hundred changes are what; the others go on from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mix {
    /// Bounded changes of the past.
    pub(super) corrections: u64,
    /// Changes that begin later.
    pub(super) futures: u64,
}

impl Mix {
    /// In words.
    pub(super) fn in_words(self) -> String {
        match self {
            Self { corrections: 0, futures: 0 } => "append only".to_owned(),
            Self { corrections, futures: 0 } => format!("{corrections} % corrections of the past"),
            Self { corrections: 0, futures } => format!("{futures} % about the future"),
            Self { corrections, futures } => {
                format!("{corrections} % corrections of the past, {futures} % about the future")
            }
        }
    }
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) keys: u64,
    pub(super) versions: u64,
    pub(super) value_size: usize,
    pub(super) mix: Mix,
}

/// A change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) number: u32,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// All changes.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) scale: Scale,
    seed: u64,
    per_commit: u64,
    /// By key, in the order in which they were made.
    history: Vec<Vec<Told>>,
    /// The numbers of the keys in the order of the keys.
    in_order: Vec<u32>,
    /// The place of each key in that order.
    ranks: Vec<u32>,
}

/// The bytes of a key.
pub(super) fn key(number: u32) -> [u8; KEY_SIZE] {
    let mut key = [0; KEY_SIZE];
    key[..8].copy_from_slice(&mix(u64::from(number)).to_be_bytes());
    key[8..].copy_from_slice(&u64::from(number).to_be_bytes());
    key
}

impl Story {
    pub(super) fn new(scale: Scale, seed: u64) -> Self {
        let keys = scale.keys;
        let per_commit = if keys.is_multiple_of(PER_COMMIT) { PER_COMMIT } else { keys };
        let mut in_order: Vec<u32> = (0..keys as u32).collect();
        in_order.sort_by_key(|&number| key(number));
        let mut ranks = vec![0; keys as usize];
        for (rank, &number) in in_order.iter().enumerate() {
            ranks[number as usize] = rank as u32;
        }
        let mut story = Self { scale, seed, per_commit, history: Vec::new(), in_order, ranks };
        let mut history = vec![Vec::with_capacity(scale.versions as usize); keys as usize];
        for number in 0..story.changes() {
            let (key, told) = story.change(number);
            history[key as usize].push(told);
        }
        story.history = history;
        story
    }

    /// Changes of all commits.
    pub(super) fn changes(&self) -> u64 {
        self.scale.keys * self.scale.versions
    }

    /// How many commits there are.
    pub(super) fn commits(&self) -> u32 {
        self.changes().div_ceil(self.per_commit) as u32
    }

    /// Bytes of keys and values.
    pub(super) fn user_bytes(&self) -> u64 {
        self.changes() * (KEY_SIZE + self.scale.value_size) as u64
    }

    /// The changes of a commit, in order.
    pub(super) fn commit(&self, commit: u32) -> impl Iterator<Item = (u32, Told)> + '_ {
        self.numbers(commit).map(|number| self.change(number))
    }

    /// The numbers of its changes.
    pub(super) fn numbers(&self, commit: u32) -> Range<u64> {
        let from = u64::from(commit) * self.per_commit;
        from..(from + self.per_commit).min(self.changes())
    }

    fn change(&self, number: u64) -> (u32, Told) {
        let (keys, mix_of) = (self.scale.keys, self.scale.mix);
        let key = (number % keys + mix(self.seed ^ (number / keys)) % keys) % keys;
        let mut dice = Rng::stream(self.seed, number);
        let (kind, now) = (dice.below(100), number as i64);
        let (from, to) = match kind {
            // The first change of a key is one from now on: every key has a value ever after.
            _ if number < keys => (now, OPEN),
            kind if kind < mix_of.corrections => {
                let from = dice.below(number) as i64;
                (from, from + 1 + dice.below(keys * 3) as i64)
            }
            kind if kind < mix_of.corrections + mix_of.futures => {
                (now + 1 + dice.below(keys * 3) as i64, OPEN)
            }
            _ => (now, OPEN),
        };
        (key as u32, Told { number: number as u32, from, to })
    }

    /// Puts the value of a change into `value`.
    pub(super) fn value(&self, number: u32, value: &mut Vec<u8>) {
        value.clear();
        let mut dice = Rng::stream(!self.seed, u64::from(number));
        while value.len() < self.scale.value_size {
            let left = self.scale.value_size - value.len();
            value.extend_from_slice(&dice.next_u64().to_le_bytes()[..left.min(8)]);
        }
    }

    /// What the bytes of a change's value add up to.
    pub(super) fn sum(&self, number: u32) -> u64 {
        let mut value = Vec::with_capacity(self.scale.value_size);
        self.value(number, &mut value);
        sum_of(&value)
    }

    /// The instant at which a commit's last change is made: what is in force then was told by then, unless it is about later.
    pub(super) fn instant_of(&self, commit: u32) -> i64 {
        ((u64::from(commit) + 1) * self.per_commit).min(self.changes()) as i64 - 1
    }

    /// The commit after which every key was changed `depth` times more.
    pub(super) fn versions_ago(&self, depth: u64) -> u32 {
        (u64::from(self.commits() - 1)).saturating_sub(depth * self.scale.keys / self.per_commit) as u32
    }

    /// The changes of a key that count once a commit is recorded.
    fn known(&self, key: u32, commit: u32) -> &[Told] {
        let end = (u64::from(commit) + 1) * self.per_commit;
        let history = &self.history[key as usize];
        &history[..history.partition_point(|told| u64::from(told.number) < end)]
    }

    /// The change that is believed.
    pub(super) fn believed(&self, key: u32, at: i64, commit: u32) -> Option<u32> {
        let known = self.known(key, commit).iter().rev();
        known.clone().find(|told| told.from <= at && at < told.to).map(|told| told.number)
    }

    /// The pieces of a timeline in a window: from, to, change.
    pub(super) fn pieces(&self, key: u32, window: (i64, i64), commit: u32) -> Vec<(i64, i64, u32)> {
        let bounds = self.known(key, commit).iter().flat_map(|told| [told.from, told.to]);
        let inside = bounds.filter(|&at| window.0 < at && at < window.1);
        let cuts: BTreeSet<i64> = inside.chain([window.0, window.1]).collect();
        let cuts: Vec<i64> = cuts.into_iter().collect();
        let mut pieces: Vec<(i64, i64, u32)> = Vec::new();
        for cell in cuts.windows(2) {
            let Some(number) = self.believed(key, cell[0], commit) else { continue };
            match pieces.last_mut() {
                Some(last) if last.1 == cell[0] && last.2 == number => last.1 = cell[1],
                _ => pieces.push((cell[0], cell[1], number)),
            }
        }
        pieces
    }

    /// The newest change of a key, whatever it is about.
    pub(super) fn newest(&self, key: u32) -> Option<u32> {
        self.history[key as usize].last().map(|told| told.number)
    }

    /// The key that comes before all others.
    pub(super) fn first_key(&self) -> u32 {
        self.in_order[0]
    }

    /// All changes that were ever believed about an instant, oldest first.
    pub(super) fn beliefs(&self, key: u32, at: i64) -> Vec<u32> {
        let all = self.history[key as usize].iter();
        all.filter(|told| told.from <= at && at < told.to).map(|told| told.number).collect()
    }

    /// How many keys were changed in the commits after one and up to another.
    pub(super) fn changed_keys(&self, after: u32, up_to: u32) -> u64 {
        let changed = (after + 1..=up_to).flat_map(|commit| self.commit(commit).map(|(key, _)| key));
        changed.collect::<BTreeSet<u32>>().len() as u64
    }

    /// The keys in order from one on.
    pub(super) fn keys_from(&self, key: u32) -> impl Iterator<Item = u32> + '_ {
        self.in_order[self.ranks[key as usize] as usize..].iter().copied()
    }

    /// What a scan of at most `limit` gives: how many rows, and what their values add up to.
    pub(super) fn rows(&self, from: u32, limit: usize, at: i64, commit: u32) -> (usize, u64) {
        let rows = self.keys_from(from).filter_map(|key| self.believed(key, at, commit)).take(limit);
        rows.fold((0, 0_u64), |(count, sum), number| (count + 1, sum.wrapping_add(self.sum(number))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_changed_once_a_round_and_once_a_commit_at_most() {
        let mix = Mix { corrections: 30, futures: 10 };
        let story = Story::new(Scale { keys: 40, versions: 7, value_size: 20, mix }, 5);
        assert_eq!((story.commits(), story.changes()), (7, 280));
        for commit in 0..story.commits() {
            let keys: BTreeSet<u32> = story.commit(commit).map(|(key, _)| key).collect();
            assert_eq!(keys.len(), 40);
        }
        let all = || story.history.iter().flatten();
        assert!(all().any(|told| told.to < OPEN) && all().any(|told| told.from > i64::from(told.number)));
        assert!(all().all(|told| told.from < told.to));
    }

    #[test]
    fn pieces_and_beliefs_agree_with_single_instants() {
        let mix = Mix { corrections: 40, futures: 20 };
        let story = Story::new(Scale { keys: 6, versions: 9, value_size: 8, mix }, 1);
        for (key, commit) in (0..6).flat_map(|key| [0, 3, 8].map(|commit| (key, commit))) {
            let pieces = story.pieces(key, (0, 60), commit);
            for at in 0..60 {
                let piece = pieces.iter().find(|piece| piece.0 <= at && at < piece.1);
                assert_eq!(piece.map(|piece| piece.2), story.believed(key, at, commit), "{key} {at}");
            }
            assert_eq!(story.beliefs(key, 30).last().copied(), story.believed(key, 30, 8));
        }
    }
}
