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

/// The head of `key` behind a prefix of `prefix_len`; `None` where the key is shorter than that.
#[inline(always)]
pub(super) fn head_behind(key: &[u8], prefix_len: usize) -> Option<u32> {
    match key.get(prefix_len..prefix_len + 4) {
        Some(four) => four.first_chunk().map(|four| u32::from_be_bytes(*four)),
        None => short_head(key, prefix_len),
    }
}

#[cold]
#[inline(never)]
fn short_head(key: &[u8], prefix_len: usize) -> Option<u32> {
    key.get(prefix_len..).map(head_of)
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

/// Whether two keys are the same: those of 8 to 16 bytes without a call.
#[inline(always)]
pub(super) fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    match (left.first_chunk::<8>(), left.last_chunk(), right.first_chunk::<8>(), right.last_chunk()) {
        // The two words overlap, or meet.
        (Some(first), Some(last), Some(other_first), Some(other_last)) if left.len() <= 16 => {
            let differ =
                |left: &[u8; 8], right: &[u8; 8]| u64::from_ne_bytes(*left) ^ u64::from_ne_bytes(*right);
            differ(first, other_first) | differ(last, other_last) == 0
        }
        _ => left == right,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_only_if_every_byte_is() {
        let key: Vec<u8> = (1..40).collect();
        for len in 0..key.len() {
            assert!(is_same(&key[..len], &key[..len]));
            assert!(!is_same(&key[..len], &key[..len + 1]) && !is_same(&key[..len + 1], &key[..len]));
            for at in 0..len {
                let mut other = key[..len].to_vec();
                other[at] ^= 0x80;
                assert!(!is_same(&key[..len], &other), "byte {at} of {len}");
            }
        }
    }
}
