//! Bars: what a figure of ours must reach as a multiple of a peer's, round by round in the same run.
//!
//! Invariants
//! 1. A bar is held only against an engine whose answers were right.
//! 2. A bar that cannot be held says why; it is neither met nor missed.

use crate::measure::median;
use crate::results::{Better, Figure};

/// Whose figure is the measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// One engine's.
    Engine(&'static str),
    /// The best of all that are not ours.
    Best,
    /// The best of these.
    BestAmong(&'static [&'static str]),
    /// The engine's own, in another phase.
    Own,
}

/// A figure that must be so many times a peer's: at least, where more is better, else at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// The figure.
    pub figure: &'static str,
    /// How many times the peer's.
    pub times: f64,
    /// Whose.
    pub of: Of,
    /// Another phase whose figure is the peer's, and how to call it.
    pub phase: Option<(usize, &'static str)>,
    /// The name of the figure that is the ratio; by default the figure's with `_ratio` behind it.
    pub named: Option<&'static str>,
}

/// One engine's values of a figure, one a round.
#[derive(Clone, Debug)]
pub struct Rounds<'a> {
    /// The engine.
    pub engine: &'a str,
    /// The figure, of which the value does not count.
    pub figure: &'a Figure,
    /// The values.
    pub values: &'a [f64],
}

impl Bar {
    /// A bar against the same phase.
    pub fn new(figure: &'static str, times: f64, of: Of) -> Self {
        Self { figure, times, of, phase: None, named: None }
    }

    /// Against the peer's figure in another phase.
    #[must_use]
    pub fn in_phase(self, phase: usize, called: &'static str) -> Self {
        Self { phase: Some((phase, called)), ..self }
    }

    /// Under another name than the figure's, where a phase has several bars for one figure.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self { named: Some(name), ..self }
    }

    /// The bar in words.
    pub fn in_words(&self, better: Better) -> String {
        let bound = if better == Better::Higher { "at least" } else { "at most" };
        let whose = match self.of {
            Of::Engine(name) => name.to_owned(),
            Of::Best => "the best peer".to_owned(),
            Of::BestAmong(names) => format!("the best of {}", names.join(", ")),
            Of::Own => "its own".to_owned(),
        };
        let what = self.phase.map_or(self.figure, |(_, called)| called);
        format!("{bound} {} x {what} of {whose}", self.times)
    }

    /// Holds ours against the peers' rounds: a figure that is the ratio, with the target.
    ///
    /// # Errors
    /// Why it cannot be held.
    pub fn hold(&self, ours: &Rounds<'_>, peers: &[Rounds<'_>]) -> Result<Figure, String> {
        let better = ours.figure.better;
        let wanted = |name: &str| match self.of {
            Of::Engine(wanted) => name == wanted,
            Of::Best | Of::Own => true,
            Of::BestAmong(names) => names.contains(&name),
        };
        let ahead = |a: &&Rounds<'_>, b: &&Rounds<'_>| {
            let (a, b) = (median(a.values), median(b.values));
            if better == Better::Higher { a.total_cmp(&b) } else { b.total_cmp(&a) }
        };
        let able = peers.iter().filter(|peer| wanted(peer.engine) && median(peer.values) > 0.0);
        let Some(peer) = able.max_by(ahead) else {
            return Err(match self.of {
                Of::Engine(name) => format!("{name} did not take part"),
                Of::Own => "the other phase did not stand".to_owned(),
                _ => "no peer took part".to_owned(),
            });
        };
        let ratio = median(ours.values) / median(peer.values);
        let mut each: Vec<f64> = ours.values.iter().zip(peer.values).map(|(our, its)| our / its).collect();
        each.sort_by(f64::total_cmp);
        let spread = match (each.first(), each.last()) {
            (Some(least), Some(most)) => format!("{least:.2} to {most:.2} in {} rounds", each.len()),
            _ => "no rounds".to_owned(),
        };
        let text = format!("{}; {} here, {spread}", self.in_words(better), peer.engine);
        let name = self.named.map_or_else(|| format!("{}_ratio", self.figure), str::to_owned);
        let figure = match better {
            Better::Higher => Figure::higher(&name, ratio, "x"),
            Better::Lower => Figure::lower(&name, ratio, "x"),
        };
        Ok(figure.target(self.times, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(bar: Bar, better: Better, ours: &[f64], peers: &[(&str, &[f64])]) -> Result<Figure, String> {
        let figure = match better {
            Better::Higher => Figure::higher(bar.figure, 0.0, "1/s"),
            Better::Lower => Figure::lower(bar.figure, 0.0, "us"),
        };
        let peers: Vec<_> =
            peers.iter().map(|&(engine, values)| Rounds { engine, figure: &figure, values }).collect();
        bar.hold(&Rounds { engine: "llmdb", figure: &figure, values: ours }, &peers)
    }

    #[test]
    fn a_bar_is_the_ratio_of_the_medians_with_its_spread() {
        let bar = Bar::new("gets", 3.0, Of::Engine("lmdb"));
        let figure = held(
            bar,
            Better::Higher,
            &[30.0, 45.0, 33.0],
            &[("lmdb", &[10.0, 11.0, 12.0]), ("redb", &[99.0])],
        )
        .unwrap();
        assert_eq!((figure.name.as_str(), figure.value, figure.is_met()), ("gets_ratio", 3.0, Some(true)));
        let text = figure.target.unwrap().text;
        assert!(
            text.contains("at least 3 x gets of lmdb") && text.contains("2.75 to 4.09 in 3 rounds"),
            "{text}"
        );
    }

    #[test]
    fn the_best_peer_is_the_one_that_is_hardest_to_reach() {
        let peers: [(&str, &[f64]); 2] = [("lmdb", &[4.0]), ("fjall", &[2.0])];
        let lower = held(Bar::new("p99", 1.0, Of::Best), Better::Lower, &[3.0], &peers).unwrap();
        assert_eq!((lower.value, lower.is_met()), (1.5, Some(false)));
        let among = Bar::new("gets", 1.2, Of::BestAmong(&["fjall"]));
        let higher = held(among, Better::Higher, &[3.0], &peers).unwrap();
        assert_eq!((higher.value, higher.is_met()), (1.5, Some(true)));
    }

    #[test]
    fn a_bar_without_its_peer_says_so() {
        let bar = Bar::new("gets", 3.0, Of::Engine("lmdb"));
        assert_eq!(
            held(bar, Better::Higher, &[1.0], &[("redb", &[1.0])]).unwrap_err(),
            "lmdb did not take part"
        );
    }
}
