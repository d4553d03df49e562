//! What stands in a tree's pages.
//!
//! Invariants
//! 1. Every page read from the file passed `validate` once; after it, views may index without fear.
//! 2. Keys of a page share its prefix, which follows from the fences (the separators around it in its
//!    ancestors), so a key that is routed to a page has the page's prefix.

pub(crate) mod branch;
pub(crate) mod lanes;
pub(crate) mod leaf;
mod search;

use llmdb_pager::Kind;

/// A page of records.
pub const LEAF: Kind = Kind(16);
/// A page of separators and children.
pub const BRANCH: Kind = Kind(17);
/// A page of tree roots.
pub const FOREST: Kind = Kind(18);

/// The shortest key that is greater than `left` and at most `right`.
pub(crate) fn separator<'a>(left: &[u8], right: &'a [u8]) -> &'a [u8] {
    debug_assert!(left < right);
    let common = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    &right[..(common + 1).min(right.len())]
}

/// How many bytes two fences share; none where one of them is open.
pub(crate) fn shared_prefix<'a>(low: Option<&'a [u8]>, high: Option<&[u8]>) -> &'a [u8] {
    match (low, high) {
        (Some(low), Some(high)) => {
            let common = low.iter().zip(high).take_while(|(a, b)| a == b).count();
            &low[..common]
        }
        _ => &[],
    }
}

/// Whether any byte is not zero.
pub(crate) fn is_any_set(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte != 0)
}

/// Whether any byte of a range is not zero that lies in none of the spans, which are in order.
pub(crate) fn is_any_set_between(
    bytes: &[u8],
    range: std::ops::Range<usize>,
    spans: &[(usize, usize)],
) -> bool {
    let mut at = range.start;
    for &(start, end) in spans {
        // Spans of damaged pages may overlap.
        if at < start && is_any_set(&bytes[at..start]) {
            return true;
        }
        at = at.max(end);
    }
    at < range.end && is_any_set(&bytes[at..range.end])
}
