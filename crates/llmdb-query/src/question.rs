//! What can be asked, typed.
//!
//! Invariants
//! 1. Two clocks, never a bare "as of": `valid_at` is about the world, `known` about the database.
//! 2. A filter that a question does not have a meaning for has no field here, so it cannot be dropped.
//!
//! Not here: how a question is written down (JSON lines, SQL), and its answer (`exec`).

use std::ops::Bound;

use llmdb_temporal::{Known, Period, ValidTime};

/// A range of keys, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it starts.
    pub from: Bound<Vec<u8>>,
    /// Where it ends.
    pub to: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub const ALL: Self = Self { from: Bound::Unbounded, to: Bound::Unbounded };

    /// One key alone.
    pub fn only(key: &[u8]) -> Self {
        Self { from: Bound::Included(key.to_vec()), to: Bound::Included(key.to_vec()) }
    }

    /// `from` is inside, `to` is not; `None` is an open end.
    ///
    /// ```
    /// use llmdb_query::KeyRange;
    /// let range = KeyRange::half_open(Some(b"a".to_vec()), Some(b"c".to_vec()));
    /// assert!(range.contains(b"b") && !range.contains(b"c"));
    /// ```
    pub fn half_open(from: Option<Vec<u8>>, to: Option<Vec<u8>>) -> Self {
        Self {
            from: from.map_or(Bound::Unbounded, Bound::Included),
            to: to.map_or(Bound::Unbounded, Bound::Excluded),
        }
    }

    /// The keys that start with `prefix`.
    ///
    /// ```
    /// use llmdb_query::KeyRange;
    /// assert!(KeyRange::prefix(b"tz:").contains(b"tz:Asia/Beirut"));
    /// assert!(!KeyRange::prefix(b"tz:").contains(b"tz;"));
    /// assert!(KeyRange::prefix(b"\xff").contains(b"\xff\xff"));
    /// ```
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        let to = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        Self { from: Bound::Included(prefix.to_vec()), to }
    }

    /// Whether `key` is inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        use std::ops::RangeBounds;
        RangeBounds::<[u8]>::contains(&self.bounds(), key)
    }

    /// Whether no key can be inside, as in a range that ends before it starts.
    pub fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Unbounded, Bound::Excluded(to)) => to.is_empty(),
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
                from >= to
            }
        }
    }

    /// The bounds, borrowed.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (borrowed(&self.from), borrowed(&self.to))
    }
}

/// A question to one snapshot of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question {
    /// What is believed about one key, at one instant of the world.
    Get {
        /// The collection.
        collection: String,
        /// The key.
        key: Vec<u8>,
        /// When in the world.
        valid_at: ValidTime,
        /// As known when.
        known: Known,
    },
    /// The same for a range of keys; rows by key.
    Scan {
        /// The collection.
        collection: String,
        /// The keys.
        keys: KeyRange,
        /// When in the world.
        valid_at: ValidTime,
        /// As known when.
        known: Known,
    },
    /// What is believed about one key over valid time; rows by valid time.
    Timeline {
        /// The collection.
        collection: String,
        /// The key.
        key: Vec<u8>,
        /// Only pieces that overlap this.
        window: Period,
        /// Cut the pieces to the window; otherwise their bounds are as stored.
        clamp: bool,
        /// As known when.
        known: Known,
    },
    /// What was believed about one key and one instant of the world, when; rows by known time.
    History {
        /// The collection.
        collection: String,
        /// The key.
        key: Vec<u8>,
        /// When in the world.
        valid_at: ValidTime,
        /// As this history looked when.
        known: Known,
    },
    /// Every rectangle of one key; rows by known time, then valid time.
    Versions {
        /// The collection.
        collection: String,
        /// The key.
        key: Vec<u8>,
        /// Only rectangles that cover this instant of the world.
        valid_at: Option<ValidTime>,
        /// As they looked when.
        known: Known,
    },
    /// Where two states of knowledge differ; rows by key, then valid time.
    Diff {
        /// The collection.
        collection: String,
        /// The keys.
        keys: KeyRange,
        /// The earlier state.
        from: Known,
        /// The later state.
        to: Known,
        /// Only pieces that cover this instant of the world.
        valid_at: Option<ValidTime>,
    },
    /// The operations as recorded, after one state of knowledge up to and including another.
    Changes {
        /// The collection; all when `None`.
        collection: Option<String>,
        /// The keys.
        keys: KeyRange,
        /// Commits after this one,
        after: Known,
        /// up to and including this one.
        up_to: Known,
        /// Only operations whose period covers this instant of the world.
        valid_at: Option<ValidTime>,
    },
}

fn borrowed(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_range_holds_exactly_the_keys_with_the_prefix(
            prefix in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff)], 0..4),
            key in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff)], 0..6),
        ) {
            prop_assert_eq!(KeyRange::prefix(&prefix).contains(&key), key.starts_with(&prefix));
        }

        #[test]
        fn a_range_that_says_it_is_empty_holds_no_key(
            from in prop::option::of(prop::collection::vec(0u8..3, 0..3)),
            to in prop::option::of(prop::collection::vec(0u8..3, 0..3)),
            key in prop::collection::vec(0u8..3, 0..3),
        ) {
            let range = KeyRange::half_open(from, to);
            prop_assert!(!(range.is_empty() && range.contains(&key)));
        }
    }
}
