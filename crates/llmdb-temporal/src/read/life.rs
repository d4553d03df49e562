//! How long a piece of a timeline stood just as it is: outward from a commit, block by block.
//!
//! ```text
//!   commits ^           |      |
//!           |   - - - - |~~~~~~| - - -   known_to: its start or end goes, or a break point comes inside
//!           |           | piece|
//!           |   - - - - |~~~~~~| - - -   known_from
//! ```
//!
//! Invariants
//! 1. The answer is the rectangle that a sweep over all break points of the key would give (`sweep`).
//!
//! Cost: the blocks of the piece's part of the timeline over the commits during which it stood.

use super::Collection;
use super::sweep::Rectangle;
use crate::error::Error;
use crate::point::{ALIVE, Point};
use crate::points::{NOW, Piece, Window};
use crate::types::{Period, ValidTime};

impl Collection<'_> {
    /// The rectangle of a piece that stood once `commit` was recorded.
    pub(super) fn rectangle(
        &self,
        prefix: &[u8],
        piece: &Piece,
        commit: u64,
    ) -> Result<Option<Rectangle>, Error> {
        let Some(belief) = piece.start.belief else { return Ok(None) };
        // As a rule one look tells both.
        let window = self.around(prefix, piece.valid, commit)?;
        let known_from = self.known_from(prefix, piece, commit, window.as_ref())?;
        let known_to = self.known_to(prefix, piece, commit, window.as_ref())?;
        let known_to = (known_to != ALIVE).then_some(known_to);
        Ok(Some(Rectangle {
            valid: piece.valid,
            belief,
            known_from: known_from.max(self.kept_from),
            known_to,
        }))
    }

    /// `window` is what is around the piece at `commit`.
    fn known_from(
        &self,
        prefix: &[u8],
        piece: &Piece,
        commit: u64,
        window: Option<&Window>,
    ) -> Result<u64, Error> {
        let (mut at, mut window, mut earlier) = (commit, window, None::<Window>);
        loop {
            let found = window.or(earlier.as_ref());
            let Some((around, first)) = found.and_then(|found| Some((found, intact_from(found, piece, at)?)))
            else {
                return Ok(at.saturating_add(1));
            };
            if first > around.from || first <= piece.start.since || around.from <= self.kept_from {
                return Ok(first.max(piece.start.since));
            }
            at = around.from - 1;
            (window, earlier) = (None, self.around(prefix, piece.valid, at)?);
        }
    }

    /// `window` is what is around the piece at `commit`.
    fn known_to(
        &self,
        prefix: &[u8],
        piece: &Piece,
        commit: u64,
        window: Option<&Window>,
    ) -> Result<u64, Error> {
        let (mut at, mut window, mut later) = (commit, window, None::<Window>);
        loop {
            let found = window.or(later.as_ref());
            let Some((around, end)) = found.and_then(|found| Some((found, intact_until(found, piece, at)?)))
            else {
                return Ok(at);
            };
            if end < around.until || end == ALIVE {
                return Ok(end);
            }
            at = around.until;
            (window, later) = (None, self.around(prefix, piece.valid, at)?);
        }
    }

    fn around(&self, prefix: &[u8], valid: Period, commit: u64) -> Result<Option<Window>, Error> {
        self.points.window(prefix, valid.from, valid.to, commit.min(NOW))
    }
}

/// The first commit of the window from which on, up to `commit`, the piece stood; `None` if it did not at `commit`.
fn intact_from(window: &Window, piece: &Piece, commit: u64) -> Option<u64> {
    let mut first = window.from.max(start_of(window, piece, commit)?.since);
    for point in inside(window, piece) {
        if point.stood_at(commit) {
            return None;
        }
        if point.since <= commit {
            first = first.max(point.until);
        }
    }
    if piece.valid.to != ValidTime::POS_INF {
        let mut since = end_at(window, piece, commit)?.since;
        while since > first
            && let Some(earlier) = end_at(window, piece, since - 1)
        {
            since = earlier.since;
        }
        first = first.max(since);
    }
    Some(first)
}

/// The commit until which the piece stood from `commit` on, or the end of the window.
fn intact_until(window: &Window, piece: &Piece, commit: u64) -> Option<u64> {
    let mut end = window.until.min(start_of(window, piece, commit)?.until);
    for point in inside(window, piece) {
        if point.stood_at(commit) {
            return None;
        }
        if point.since > commit {
            end = end.min(point.since);
        }
    }
    if piece.valid.to != ValidTime::POS_INF {
        let mut until = end_at(window, piece, commit)?.until;
        while until < end
            && let Some(later) = end_at(window, piece, until)
        {
            until = later.until;
        }
        end = end.min(until);
    }
    Some(end)
}

fn start_of<'w>(window: &'w Window, piece: &Piece, commit: u64) -> Option<&'w Point> {
    let is_start = |point: &&Point| point.at == piece.valid.from && point.belief == piece.start.belief;
    window.points.iter().find(|point| is_start(point) && point.stood_at(commit))
}

fn inside<'w>(window: &'w Window, piece: &Piece) -> impl Iterator<Item = &'w Point> {
    let Period { from, to } = piece.valid;
    window.points.iter().filter(move |point| from < point.at && point.at < to)
}

fn end_at<'w>(window: &'w Window, piece: &Piece, commit: u64) -> Option<&'w Point> {
    window.points.iter().find(|point| point.at == piece.valid.to && point.stood_at(commit))
}
