//! What a peer's client must do itself: make a timeline out of changes.
//!
//! Invariants
//! 1. Changes come newest first; each gets what no newer one has taken.

use super::PieceBody;
use crate::error::Result;

/// A timeline being made within a window.
pub(super) struct Resolving {
    /// What no change has taken yet.
    gaps: Vec<(i64, i64)>,
    pieces: Vec<(i64, i64, Vec<u8>)>,
}

impl Resolving {
    pub(super) fn new(window: (i64, i64)) -> Self {
        Self { gaps: vec![window], pieces: Vec::new() }
    }

    /// The next older change.
    pub(super) fn take(&mut self, from: i64, to: i64, value: &[u8]) {
        let mut left = Vec::with_capacity(self.gaps.len() + 1);
        for &(start, end) in &self.gaps {
            let (first, last) = (start.max(from), end.min(to));
            if first >= last {
                left.push((start, end));
                continue;
            }
            self.pieces.push((first, last, value.to_vec()));
            left.extend([(start, first), (last, end)].into_iter().filter(|gap| gap.0 < gap.1));
        }
        self.gaps = left;
    }

    /// Whether older changes can add nothing.
    pub(super) fn is_full(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Gives the pieces in order.
    pub(super) fn give(mut self, each: PieceBody<'_>) -> Result<()> {
        self.pieces.sort_by_key(|piece| piece.0);
        self.pieces.iter().try_for_each(|(from, to, value)| each(*from, *to, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_changes_cut_older_ones() {
        let mut resolving = Resolving::new((0, 10));
        resolving.take(3, 5, b"new");
        assert!(!resolving.is_full());
        resolving.take(-5, 20, b"old");
        assert!(resolving.is_full());
        let mut found = Vec::new();
        resolving
            .give(&mut |from, to, value| {
                found.push((from, to, value.to_vec()));
                Ok(())
            })
            .unwrap();
        assert_eq!(found, [(0, 3, b"old".to_vec()), (3, 5, b"new".to_vec()), (5, 10, b"old".to_vec())]);
    }
}
