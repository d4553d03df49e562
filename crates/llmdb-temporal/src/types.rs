//! The words of both axes: instants and periods of valid time, commit numbers and commit times, and the rows
//! that answers are made of.
//!
//! Invariants
//! 1. A [`Period`] made by [`Period::new`], and every one in an answer, starts no later than it ends.
//! 2. A finite [`ValidTime`] is neither the smallest nor the largest 64-bit number; those are the open ends.
//!
//! Not here: making them from numbers that may be out of range (`checked`), how they are stored (`encoding`, `entry`, `ops`), calendars and text (the layers above).

use std::fmt;

/// An instant of valid time: whole microseconds since 1970-01-01T00:00:00Z, possibly negative, or one of the
/// two open ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValidTime(i64);

impl ValidTime {
    /// Before every finite instant. As the start of a period: open to the past.
    pub const NEG_INF: Self = Self(i64::MIN);
    /// After every finite instant. As the end of a period: open to the future.
    pub const POS_INF: Self = Self(i64::MAX);

    /// Microseconds since 1970; `i64::MIN` and `i64::MAX` for the open ends.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whether this is an instant and not an open end.
    #[must_use]
    pub const fn is_finite(self) -> bool {
        self.0 != i64::MIN && self.0 != i64::MAX
    }

    pub(crate) const fn from_raw(micros: i64) -> Self {
        Self(micros)
    }
}

impl fmt::Display for ValidTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NEG_INF => f.write_str("-inf"),
            Self::POS_INF => f.write_str("+inf"),
            Self(micros) => write!(f, "{micros}"),
        }
    }
}

/// A half-open period of valid time: `from` is inside, `to` is not.
///
/// [`Period::new`] refuses bounds in the wrong order, and so does every operation that is given a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    /// The first instant inside.
    pub from: ValidTime,
    /// The first instant after it, or [`ValidTime::POS_INF`].
    pub to: ValidTime,
}

impl Period {
    /// All of valid time.
    pub const ALL: Self = Self { from: ValidTime::NEG_INF, to: ValidTime::POS_INF };

    /// From an instant on, without end.
    #[must_use]
    pub const fn since(from: ValidTime) -> Self {
        Self { from, to: ValidTime::POS_INF }
    }

    /// Whether no instant lies inside.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.from >= self.to
    }

    /// Whether `at` lies inside. [`ValidTime::POS_INF`] lies inside every non-empty period without end, as
    /// [`ValidTime::NEG_INF`] lies inside every one without start.
    #[must_use]
    pub fn contains(self, at: ValidTime) -> bool {
        self.from <= at && (at < self.to || (self.to == ValidTime::POS_INF && !self.is_empty()))
    }

    /// Whether both share an instant.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.from.max(other.from) < self.to.min(other.to)
    }

    /// What both share; `None` where that is no instant.
    #[must_use]
    pub fn common(self, other: Self) -> Option<Self> {
        let common = Self { from: self.from.max(other.from), to: self.to.min(other.to) };
        (!common.is_empty()).then_some(common)
    }

    /// For bounds that are known to be in order, as those of neighbouring break points are.
    pub(crate) fn between(from: ValidTime, to: ValidTime) -> Self {
        debug_assert!(from <= to, "break points out of order: {from} {to}");
        Self { from, to }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.from, self.to)
    }
}

/// When a commit was recorded: microseconds since 1970, strictly increasing from commit to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitTime(i64);

impl CommitTime {
    /// The latest time that can be wanted for a commit: 2^53 microseconds, some 285 years, are left after it for those to come.
    pub const WANTED_MAX: Self = Self(i64::MAX - (1 << 53));

    /// Microseconds since 1970.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    pub(crate) const fn from_raw(micros: i64) -> Self {
        Self(micros)
    }
}

impl fmt::Display for CommitTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a commit. The first commit of a database is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitNumber(u64);

impl CommitNumber {
    /// A commit number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CommitNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A commit by number and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitStamp {
    /// Its number.
    pub commit: CommitNumber,
    /// Its time.
    pub at: CommitTime,
}

impl fmt::Display for CommitStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit {} at {}", self.commit, self.at)
    }
}

/// The commit that asserted a piece: it stays the same through all later splits.
pub type Asserted = CommitStamp;

/// What a commit returns once it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number that the commit got.
    pub commit: CommitNumber,
    /// The time that it got.
    pub at: CommitTime,
}

/// Whose knowledge answers a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// All that is known in this snapshot.
    Latest,
    /// What was known at a time: everything before the first commit is empty, the future is the newest.
    At(CommitTime),
    /// What was known once a commit was recorded. Negative: before the first one. Beyond the newest: the newest.
    Commit(i64),
}

/// A rectangle of the two axes: one piece of a key's timeline, over the longest run of commits during which
/// exactly that piece (same bounds, same value, same asserting commit) stood in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The key.
    pub key: Vec<u8>,
    /// The believed value.
    pub value: Vec<u8>,
    /// When it is true in the world.
    pub valid: Period,
    /// The commit from which on the piece stood like this.
    pub known_from: CommitStamp,
    /// The commit that ended it; `None` while it still stands.
    pub known_to: Option<CommitStamp>,
    /// The commit that asserted the value. Never later than `known_from`: a cut makes new rectangles of the
    /// leftovers and keeps their asserting commit.
    pub asserted: Asserted,
}

/// That something was erased: when and why, not what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The commit that erased it.
    pub commit: CommitStamp,
    /// The reason that was given.
    pub reason: String,
}

/// Which pieces of a timeline are asked for, by a window of valid time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Those that share an instant with the period, whose end is not in it: SQL's `FROM a TO b`.
    FromTo(Period),
    /// Those that share an instant with the period, its end included: SQL's `BETWEEN a AND b`.
    Between(Period),
    /// Those that lie in the period as a whole: `CONTAINED IN (a, b)`.
    ContainedIn(Period),
    /// All.
    All,
}

/// Which bounds the rows of a window have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// Those of the pieces.
    Stored,
    /// What the pieces have in common with the window.
    Clamped,
}

/// Where two timelines both have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// When: what both pieces and the window have in common.
    pub valid: Period,
    /// The piece of the first timeline, with its stored bounds.
    pub left: Version,
    /// The piece of the second one, with its stored bounds.
    pub right: Version,
}

/// A longest period of valid time over which two states of a key differ in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: Vec<u8>,
    /// Where they differ.
    pub valid: Period,
    /// The value in the first state, or nothing.
    pub before: Option<Vec<u8>>,
    /// The value in the second state, or nothing.
    pub after: Option<Vec<u8>>,
}

/// The kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// The value in that period, whatever was there.
    Put,
    /// The value in that period, only where a value is in force.
    Update,
    /// Nothing in that period.
    Delete,
    /// The value in that period, which had none anywhere.
    Insert,
}

impl Operation {
    /// Its lower-case name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Insert => "insert",
        }
    }
}

/// An operation as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The commit that it is part of.
    pub commit: CommitStamp,
    /// The collection.
    pub collection: String,
    /// The kind.
    pub op: Operation,
    /// The key.
    pub key: Vec<u8>,
    /// The period as it was given.
    pub valid: Period,
    /// The value as it was given; `None` for a delete.
    pub value: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn at(micros: i64) -> ValidTime {
        ValidTime::from_micros(micros).unwrap()
    }

    #[test]
    fn the_two_ends_are_not_finite_times() {
        for micros in [i64::MIN, i64::MAX] {
            assert!(matches!(ValidTime::from_micros(micros), Err(Error::TimeReserved { .. })));
            assert!(matches!(CommitTime::from_micros(micros), Err(Error::TimeReserved { .. })));
        }
        assert!(at(i64::MIN + 1).is_finite() && at(i64::MAX - 1).is_finite());
        assert!(!ValidTime::NEG_INF.is_finite() && !ValidTime::POS_INF.is_finite());
    }

    #[test]
    fn a_reversed_period_is_refused_and_an_empty_one_is_not() {
        let error = Period::new(at(5), at(4)).unwrap_err();
        assert_eq!(error.code(), "LLMDB-T01");
        assert!(error.to_string().contains('5') && error.to_string().contains('4'));
        assert!(Period::new(at(5), at(5)).unwrap().is_empty());
    }

    #[test]
    fn periods_are_half_open_and_open_ends_include_the_infinities() {
        let period = Period::new(at(1), at(3)).unwrap();
        assert!(period.contains(at(1)) && period.contains(at(2)) && !period.contains(at(3)));
        assert!(Period::since(at(1)).contains(ValidTime::POS_INF));
        assert!(!Period::since(ValidTime::POS_INF).contains(ValidTime::POS_INF));
        assert!(Period::ALL.contains(ValidTime::NEG_INF));
        assert!(!period.overlaps(Period::since(at(3))) && period.overlaps(Period::since(at(2))));
        assert!(!period.overlaps(Period::new(at(2), at(2)).unwrap()));
    }
}
