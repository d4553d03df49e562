//! Searching sorted key heads: the first four bytes of a key behind the page's prefix, big-endian, padded
//! with zeros.
//!
//! Heads are counted in groups of [`GROUP`], each with a fixed number of steps and no branch that depends on
//! the data: a wrong guess of the processor costs as much as a cache miss, and stands behind one.
//!
//! Not here: what to do where heads are equal (`leaf`, `branch`).

/// Heads that are compared at a time.
pub(super) const GROUP: usize = 16;
const HEAD_SIZE: usize = 4;

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

/// How many of the `count` heads at `start` of `page` are below `head`.
#[inline]
pub(super) fn count_below(page: &[u8], start: usize, count: usize, head: u32) -> usize {
    count_where(page, start, count, |stored| stored < head)
}

/// How many of the `count` heads at `start` of `page` are at most `head`.
#[inline]
pub(super) fn count_up_to(page: &[u8], start: usize, count: usize, head: u32) -> usize {
    count_where(page, start, count, |stored| stored <= head)
}

/// Counts in whole groups: what stands behind the last head is read and left out.
#[inline]
fn count_where(page: &[u8], start: usize, count: usize, is_counted: impl Fn(u32) -> bool) -> usize {
    let groups = count.div_ceil(GROUP);
    let Some(bytes) = page.get(start..start + groups * GROUP * HEAD_SIZE) else {
        return count_at_end(page, start, count, is_counted);
    };
    let mut total = 0;
    for (index, group) in bytes.as_chunks::<{ GROUP * HEAD_SIZE }>().0.iter().enumerate() {
        let inside = (count - index * GROUP) as u32;
        let mut counted = 0;
        for (place, stored) in group.as_chunks::<HEAD_SIZE>().0.iter().enumerate() {
            counted +=
                u32::from(is_counted(u32::from_le_bytes(*stored))) & u32::from((place as u32) < inside);
        }
        total += counted as usize;
    }
    total
}

/// As [`count_where`], for heads so near the page's end that no whole group can be read.
#[cold]
fn count_at_end(page: &[u8], start: usize, count: usize, is_counted: impl Fn(u32) -> bool) -> usize {
    let heads = &page[start..start + count * HEAD_SIZE];
    heads.as_chunks::<HEAD_SIZE>().0.iter().filter(|stored| is_counted(u32::from_le_bytes(**stored))).count()
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
