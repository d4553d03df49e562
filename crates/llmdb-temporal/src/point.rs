//! Break points, and why stored ones are refused.
//!
//! Invariants
//! 1. A break point stood for at least one commit: `since < until`.
//!
//! Not here: how they are stored (`entry`, `recent`, `block`).

use crate::encoding::KeyError;
use crate::types::ValidTime;

/// `until` of a break point that still stands; no commit has this number.
pub(crate) const ALIVE: u64 = u64::MAX;

/// A believed value: the operation that asserted it, in whose record it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Belief {
    /// The commit of the operation.
    pub(crate) asserted: u64,
    /// Its place in the commit.
    pub(crate) index: u32,
}

/// A break point with all its times: it stood in `[since, until)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) at: ValidTime,
    pub(crate) since: u64,
    pub(crate) until: u64,
    pub(crate) belief: Option<Belief>,
}

/// Why stored bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the stored bytes are {0}, which does not fit what they say of themselves")]
    Size(usize),
    #[error("the stored bytes are of the unknown kind {0}")]
    Kind(u8),
    #[error("the break point stood from commit {since} to {until}, which is no time at all")]
    Empty { since: u64, until: u64 },
    #[error("the value was asserted by commit {asserted}, after commit {since} since which it stood")]
    Asserted { asserted: u64, since: u64 },
    #[error(
        "nothing changed since commit {settled}, before commit {since} since which the break point stands"
    )]
    Settled { settled: u64, since: u64 },
    #[error("{0}")]
    Order(&'static str),
}

impl Point {
    /// Whether it stood once `commit` was recorded.
    pub(crate) fn stood_at(&self, commit: u64) -> bool {
        self.since <= commit && commit < self.until
    }

    /// Refuses what no break point can be.
    pub(crate) fn checked(self) -> Result<Self, EntryError> {
        let Self { at, since, until, belief } = self;
        if since >= until {
            return Err(EntryError::Empty { since, until });
        }
        if at == ValidTime::POS_INF {
            return Err(EntryError::Order("a break point lies at plus infinity"));
        }
        match belief {
            Some(Belief { asserted, .. }) if asserted > since => {
                Err(EntryError::Asserted { asserted, since })
            }
            _ => Ok(self),
        }
    }
}

/// The little-endian number at the start, and the rest.
pub(crate) fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_le_bytes(*number), rest))
}
