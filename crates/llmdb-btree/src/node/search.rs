//! Searching sorted key heads: the first four bytes of a key behind the page's prefix, big-endian, padded
//! with zeros.
//!
//! Not here: what to do where heads are equal (`leaf`, `branch`).

/// The head of a key behind the prefix.
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

/// How many of the stored heads are below `head`. Written without branches, for the compiler to vectorise.
pub(super) fn count_below(heads: &[u8], head: u32) -> usize {
    heads.as_chunks::<4>().0.iter().map(|stored| u32::from(u32::from_le_bytes(*stored) < head)).sum::<u32>()
        as usize
}

/// How many of the stored heads are at most `head`.
pub(super) fn count_up_to(heads: &[u8], head: u32) -> usize {
    heads.as_chunks::<4>().0.iter().map(|stored| u32::from(u32::from_le_bytes(*stored) <= head)).sum::<u32>()
        as usize
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
