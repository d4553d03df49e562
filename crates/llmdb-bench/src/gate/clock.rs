//! Wall clock: two builds take turns on the same machine, and only a difference that chance does not explain
//! counts.
//!
//! Invariants
//! 1. The builds alternate, and who begins alternates too, so a machine that becomes slower or faster meets both.
//! 2. A change fails only where the whole confidence interval of the ratio lies beyond the limit: noise widens
//!    the interval, and can hide a regression but not make one up.
//! 3. What looks slower is measured once more from the beginning, and only the second time counts: what chance
//!    makes once in a hundred it makes twice in ten thousand.
//! 4. The bootstrap draws from a fixed seed: the same times give the same verdict.
//!
//! Not here: what is done meanwhile (`operations`).

use super::Error;
use super::counts::Times;
use super::program::Program;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By how much an operation may be slower.
pub const LIMIT: f64 = 1.05;
/// How sure the interval is.
pub const CONFIDENCE: f64 = 0.99;
/// Fewer rounds than this are no ground for a verdict.
pub const ROUNDS_MIN: usize = 8;
const RESAMPLES: usize = 2_000;

/// The times of both builds in one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// The base's.
    pub base: Times,
    /// The new build's.
    pub new: Times,
}

/// What the clock says about an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockRow {
    /// The operation.
    pub operation: String,
    /// Median of the base, nanoseconds.
    pub base_ns: f64,
    /// Median of the new build, nanoseconds.
    pub new_ns: f64,
    /// New over base: the ratio and its confidence interval.
    pub ratio: Interval,
    /// Rounds behind it.
    pub rounds: usize,
}

impl ClockRow {
    /// Whether the new build is slower beyond doubt.
    pub fn is_slower(&self) -> bool {
        self.rounds >= ROUNDS_MIN && self.ratio.low > LIMIT
    }

    /// Whether it is faster beyond doubt.
    pub fn is_faster(&self) -> bool {
        self.rounds >= ROUNDS_MIN && self.ratio.high < 1.0 / LIMIT
    }
}

/// A ratio with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The ratio of the medians.
    pub ratio: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Times both builds; what looks slower is timed again, and the second time counts.
///
/// # Errors
/// [`Error::Program`], [`Error::Malformed`].
pub fn compare(
    base: &Program,
    new: &Program,
    rounds: u32,
    progress: &mut dyn FnMut(&str, u32),
) -> Result<Vec<ClockRow>, Error> {
    let mut all = rows(&take_turns(base, new, rounds, &mut |round| progress("wall clock", round))?);
    let slower: Vec<String> =
        all.iter().filter(|row| row.is_slower()).map(|row| row.operation.clone()).collect();
    if slower.is_empty() {
        return Ok(all);
    }
    let what = format!("wall clock of {} again", slower.join(", "));
    let (base, new) = (base.only(&slower), new.only(&slower));
    for again in rows(&take_turns(&base, &new, rounds, &mut |round| progress(&what, round))?) {
        all.iter_mut().filter(|row| row.operation == again.operation).for_each(|row| *row = again.clone());
    }
    Ok(all)
}

/// Lets two builds take turns.
///
/// # Errors
/// [`Error::Program`], [`Error::Malformed`].
pub fn take_turns(
    base: &Program,
    new: &Program,
    rounds: u32,
    progress: &mut dyn FnMut(u32),
) -> Result<Vec<Round>, Error> {
    let mut taken = Vec::new();
    for round in 0..rounds {
        progress(round);
        let (base, new) = if round % 2 == 0 {
            let base = base.times()?;
            (base, new.times()?)
        } else {
            let new = new.times()?;
            (base.times()?, new)
        };
        taken.push(Round { base, new });
    }
    Ok(taken)
}

/// One row for each operation that both builds have.
pub fn rows(rounds: &[Round]) -> Vec<ClockRow> {
    let mut pairs: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for round in rounds {
        for (operation, base) in &round.base {
            if let Some(new) = round.new.get(operation) {
                pairs.entry(operation).or_default().push((*base, *new));
            }
        }
    }
    pairs
        .into_iter()
        .map(|(operation, pairs)| ClockRow {
            operation: operation.to_owned(),
            base_ns: median(&mut pairs.iter().map(|pair| pair.0).collect::<Vec<_>>()),
            new_ns: median(&mut pairs.iter().map(|pair| pair.1).collect::<Vec<_>>()),
            ratio: ratio(&pairs),
            rounds: pairs.len(),
        })
        .collect()
}

/// The ratio of the medians of (base, new), with the interval in which [`CONFIDENCE`] of the bootstrap's
/// resampled rounds lie.
pub fn ratio(pairs: &[(f64, f64)]) -> Interval {
    let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let sample = (0..pairs.len()).map(|_| pairs[draw.below(pairs.len())]).collect::<Vec<_>>();
            ratio_of_medians(&sample)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * (ratios.len() - 1) as f64).round() as usize;
        ratios.get(index).copied().unwrap_or(1.0)
    };
    let outside = (1.0 - CONFIDENCE) / 2.0;
    Interval { ratio: ratio_of_medians(pairs), low: at(outside), high: at(1.0 - outside) }
}

/// The middle of the values, which it sorts; 0 where there are none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (len, middle) if len % 2 == 1 => values[middle],
        (_, middle) => (values[middle - 1] + values[middle]) / 2.0,
    }
}

fn ratio_of_medians(pairs: &[(f64, f64)]) -> f64 {
    let base = median(&mut pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let new = median(&mut pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
    if base > 0.0 { new / base } else { 1.0 }
}

/// Xorshift: good enough to draw rounds, and the same everywhere.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds with noise of the given width around `base` and `base * factor`.
    fn noisy(factor: f64, width: f64, rounds: usize, seed: u64) -> Vec<(f64, f64)> {
        let mut draw = Draw(seed | 1);
        let mut noise = || 1.0 + width * (draw.below(2_001) as f64 / 1_000.0 - 1.0);
        (0..rounds).map(|_| (100.0 * noise(), 100.0 * factor * noise())).collect()
    }

    fn row(pairs: &[(f64, f64)]) -> ClockRow {
        let ratio = ratio(pairs);
        ClockRow { operation: "get".into(), base_ns: 1.0, new_ns: 1.0, ratio, rounds: pairs.len() }
    }

    #[test]
    fn a_few_rounds_are_no_ground_for_a_verdict() {
        let few = row(&noisy(2.0, 0.01, ROUNDS_MIN - 1, 1));
        assert!(!few.is_slower() && !row(&noisy(0.5, 0.01, 1, 1)).is_faster(), "{few:?}");
        assert!(row(&noisy(2.0, 0.01, ROUNDS_MIN, 1)).is_slower());
    }

    #[test]
    fn the_same_build_is_neither_slower_nor_faster_however_noisy_the_machine() {
        for seed in 0..200 {
            for width in [0.01, 0.1, 0.5] {
                let row = row(&noisy(1.0, width, 15, seed * 2 + 1));
                assert!(width > 0.1 || !(row.is_slower() || row.is_faster()), "{row:?}");
            }
        }
    }

    #[test]
    fn a_slower_build_is_seen_through_noise_that_is_smaller_than_it() {
        for seed in 0..200 {
            let slower = row(&noisy(1.2, 0.03, 15, seed * 2 + 1));
            assert!(slower.is_slower() && slower.ratio.low < slower.ratio.high, "{slower:?}");
            assert!(row(&noisy(0.8, 0.03, 15, seed * 2 + 1)).is_faster());
        }
    }

    #[test]
    fn noise_as_large_as_the_difference_widens_the_interval_instead_of_failing() {
        let row = row(&noisy(1.06, 0.3, 15, 7));
        assert!(!row.is_slower() && row.ratio.high > 1.0, "{row:?}");
    }

    #[test]
    fn one_round_that_was_disturbed_changes_nothing() {
        let mut pairs = noisy(1.0, 0.01, 15, 3);
        pairs[4].1 *= 50.0;
        assert!(!row(&pairs).is_slower());
    }

    #[test]
    fn rows_are_made_of_operations_that_both_builds_have() {
        let times = |pairs: &[(&str, f64)]| pairs.iter().map(|(name, ns)| ((*name).into(), *ns)).collect();
        let round = Round { base: times(&[("get", 2.0), ("gone", 1.0)]), new: times(&[("get", 3.0)]) };
        let rows = rows(&[round]);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].base_ns, rows[0].new_ns, rows[0].ratio.ratio), (2.0, 3.0, 1.5));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }
}
