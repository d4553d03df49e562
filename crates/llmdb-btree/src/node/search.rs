//! Searching sorted key heads: the first four bytes of a key behind the page's prefix, big-endian, padded
//! with zeros.
//!
//! Heads are counted in groups of [`GROUP`], each with a fixed number of steps and no branch that depends on
//! the data: a wrong guess of the processor costs as much as a cache miss, and stands behind one.
//!
//! Not here: what to do where heads are equal (`leaf`, `branch`).

use super::lanes::{LANES_SIZE, up_to};

/// Heads that are compared at a time.
pub(super) const GROUP: usize = 16;

/// The head of a key behind the prefix.
#[inline]
pub(super) fn head_of(suffix: &[u8]) -> u32 {
    match suffix.first_chunk::<4>() {
        Some(first) => u32::from_be_bytes(*first),
        None => {
            let mut bytes = [0; 4];
            bytes[..suffix.len()].copy_from_slice(suffix);
            u32::from_be_bytes(bytes)
        }
    }
}

/// Bytes that `count` heads take: whole groups, what is over filled with ones.
#[inline]
pub(super) fn heads_size(count: usize) -> usize {
    count.div_ceil(GROUP) * LANES_SIZE
}

/// How many of the rising heads are below `head`. `heads` are whole groups.
#[inline]
pub(super) fn count_below(heads: &[u8], head: u32) -> usize {
    // What fills a group up is never below.
    head.checked_sub(1).map_or(0, |below| count_all(heads, below))
}

/// How many of `len` rising heads are at most `head`. `heads` are whole groups.
#[inline]
pub(super) fn count_up_to(heads: &[u8], len: usize, head: u32) -> usize {
    count_all(heads, head).min(len)
}

/// How many of the rising heads are at most `limit`; what fills groups up counts where `limit` is all ones.
#[inline]
pub(super) fn count_all(heads: &[u8], limit: u32) -> usize {
    let (groups, _) = heads.as_chunks::<LANES_SIZE>();
    groups.iter().map(|group| up_to(group, limit)).sum()
}

/// Binary search for the first of `range` for which `is_below` does not hold.
pub(super) fn partition(mut range: std::ops::Range<usize>, mut is_below: impl FnMut(usize) -> bool) -> usize {
    while !range.is_empty() {
        let middle = range.start + range.len() / 2;
        if is_below(middle) {
            range.start = middle + 1;
        } else {
            range.end = middle;
        }
    }
    range.start
}
