//! Which facts began in a window of valid time, across keys.
//!
//! Invariants
//! 1. The rows are the pieces of the timelines of all keys that start in the window, by start, then by key.
//!
//! Cost: with the index of starts, that of a `get` for each break point that ever lay in the window; without it, that of a
//! `timeline` over the window for each key of the collection. Memory grows with the result.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::Collection;
use super::keys::Keys;
use crate::catalog;
use crate::encoding::{self, ordered};
use crate::error::Error;
use crate::starts;
use crate::types::{Known, Period, Version};

impl Collection<'_> {
    /// The facts that began in a window, which excludes its end, as believed once `known` was recorded: the pieces of
    /// timelines that start there, by where they start, then by key. With an index
    /// ([`TemporalWrite::index_starts`](crate::TemporalWrite::index_starts)) only what lies in the window is read, else
    /// something of every key.
    ///
    /// # Errors
    /// [`Error::PeriodReversed`]; [`Error::NotKept`]; the store's errors.
    pub fn began(&self, window: Period, known: Known) -> Result<Vec<Version>, Error> {
        let window = window.checked()?;
        let Some(commit) = self.commit_of(known, None)? else { return Ok(Vec::new()) };
        if window.is_empty() {
            return Ok(Vec::new());
        }
        match self.starts {
            Some(_) => self.began_by_index(window, commit),
            None => self.began_by_keys(window, commit),
        }
    }

    /// Whether there is an index of where facts begin.
    #[must_use]
    pub fn has_starts(&self) -> bool {
        self.starts.is_some()
    }

    fn began_by_index(&self, window: Period, commit: u64) -> Result<Vec<Version>, Error> {
        let starts = self.starts.map_or(Ok(None), |starts| self.txn.tree_by_id(starts))?;
        let (from, to) = (ordered(window.from.micros()), ordered(window.to.micros()));
        let mut found = Vec::new();
        for row in starts.iter().flat_map(|starts| starts.range(Included(&from), Excluded(&to))) {
            let (entry, _) = row?;
            let Some((at, prefix)) = starts::parse(&entry) else { return Err(self.damaged_start(&entry)) };
            let key = encoding::user_key(prefix).map_err(|_| self.damaged_start(&entry))?;
            let start = self.points.in_force(prefix, at, commit)?.filter(|start| start.at == at);
            let version = start.map_or(Ok(None), |start| self.version_from(prefix, &key, start, commit))?;
            found.extend(version);
        }
        Ok(found)
    }

    fn began_by_keys(&self, window: Period, commit: u64) -> Result<Vec<Version>, Error> {
        let mut found = Vec::new();
        let mut keys = Keys::between(self, Unbounded, Unbounded);
        while let Some((prefix, _)) = keys.next()? {
            let key =
                encoding::user_key(prefix).map_err(|what| self.points.damaged_tail(prefix, &what.into()))?;
            for piece in self.points.pieces(prefix, window, commit)? {
                if window.contains(piece.valid.from) {
                    found.extend(self.version_from(prefix, &key, piece.start, commit)?);
                }
            }
        }
        found.sort_by(|one, other| (one.valid.from, &one.key).cmp(&(other.valid.from, &other.key)));
        Ok(found)
    }

    pub(crate) fn damaged_start(&self, entry: &[u8]) -> Error {
        Error::Damaged {
            place: format!("tree {}", catalog::starts_tree(self.number)),
            key: entry.to_vec(),
            commit: None,
            what: "the entry is no valid time and key".to_owned(),
        }
    }
}
