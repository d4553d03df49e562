//! How many records, or children, one page holds.
//!
//! Invariants
//! 1. A page is measured with the prefix that its own fences share, so what is packed fits whatever the keys.
//!
//! Not here: making the pages (`build`, `edit/pack`).

use crate::node::branch;
use crate::node::leaf::{self, Carried};
use crate::node::{separator, shared_prefix};

/// How many of the records, at most `count`, fit into a leaf that begins at `low`, and where it ends. Keys behind
/// them are at least `high`, which is the end if all of them fit.
pub(crate) fn leaf_part(
    records: &[Carried<'_>],
    count: usize,
    low: Option<&[u8]>,
    high: Option<&[u8]>,
    room: usize,
) -> (usize, Option<Vec<u8>>) {
    for part in (2..=count).rev() {
        let end = leaf_end(records, part, high);
        let prefix = shared_prefix(low, end.as_deref());
        if leaf::records_use(prefix.len(), &records[..part]) <= room {
            return (part, end);
        }
    }
    // A record alone fits into any leaf.
    (count.min(1), leaf_end(records, count.min(1), high))
}

/// The fence behind the first `part` records.
fn leaf_end(records: &[Carried<'_>], part: usize, high: Option<&[u8]>) -> Option<Vec<u8>> {
    if part == records.len() {
        return high.map(<[u8]>::to_vec);
    }
    Some(separator(&records[part - 1].key(), &records[part].key()).to_vec())
}

/// How many of the children fit into a branch that begins at `low`. The branch ends at the separator behind
/// them, or at `high` if all of them fit.
pub(crate) fn branch_part(
    separators: &[&[u8]],
    low: Option<&[u8]>,
    high: Option<&[u8]>,
    room: usize,
) -> usize {
    for part in (2..=separators.len() + 1).rev() {
        let prefix = shared_prefix(low, separators.get(part - 1).copied().or(high));
        if fits(room, room, prefix, &separators[..part - 1]) {
            return part;
        }
    }
    1
}

/// Whether a branch of these separators fits into `room` bytes of a page.
pub(crate) fn fits(page_size: usize, room: usize, prefix: &[u8], separators: &[&[u8]]) -> bool {
    let suffixes = separators.iter().map(|separator| &separator[prefix.len()..]);
    branch::page_use(page_size, prefix.len(), suffixes) <= room
}
