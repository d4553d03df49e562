//! A read-only view of a file's bytes that stays at one address while the file grows.
//!
//! Invariants
//! 1. The address is valid until the `Map` is dropped.
//! 2. Bytes are borrowed only through [`Map::bytes`], whose caller vouches that they lie inside the file
//!    and that nobody writes them while the borrow lives (no reachable page is ever overwritten).
#![expect(unsafe_code, reason = "the one place that turns a mapping's address into bytes")]

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A mapped range of a file, from its first byte. Cheap to clone; the mapping ends with the last clone.
#[derive(Clone)]
pub struct Map {
    address: *const u8,
    len: usize,
    /// What is behind the first part, where one map could not hold it all.
    far: Option<Arc<Far>>,
    _owner: Arc<dyn Any + Send + Sync>,
}

/// A file in parts that stand apart, each of `stride` bytes and some of the next one's.
#[derive(Debug)]
struct Far {
    stride: u64,
    /// From the second on.
    parts: Vec<Map>,
    len: u64,
}

// SAFETY: the address points into memory that `_owner` (itself Send + Sync) keeps mapped; a `Map` only
// reads through it, under the contract of `bytes`.
unsafe impl Send for Map {}
// SAFETY: as above; shared reads of memory that is not written during a borrow.
unsafe impl Sync for Map {}

impl Map {
    /// A map of `len` bytes at `address`, kept alive by `owner`.
    ///
    /// # Safety
    /// The range must stay mapped and readable at least up to the file's length while `owner` lives.
    pub unsafe fn new(address: *const u8, len: usize, owner: Arc<dyn Any + Send + Sync>) -> Self {
        Self { address, len, far: None, _owner: owner }
    }

    /// One map of maps: part number i begins at byte `i * stride` of the file and reaches into the next part,
    /// so that a range that begins in it and is no longer than what they share is found whole. `None` without
    /// a part.
    pub fn of_parts(parts: Vec<Self>, stride: u64) -> Option<Self> {
        let mut parts = parts.into_iter();
        let first = parts.next()?;
        let parts: Vec<Self> = parts.collect();
        let len = parts.last().map_or(first.len(), |last| parts.len() as u64 * stride + last.len());
        Some(Self { far: Some(Arc::new(Far { stride, parts, len })), ..first })
    }

    /// How many bytes of the file it covers; the file may be shorter.
    pub fn len(&self) -> u64 {
        self.far.as_ref().map_or(self.len as u64, |far| far.len)
    }

    /// Whether it covers nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Borrows `len` bytes at `offset`; `None` where that leaves the map.
    ///
    /// # Safety
    /// The range must lie inside the file (a shorter file is a SIGBUS), and no one may write it while the
    /// borrow lives.
    #[inline]
    pub unsafe fn bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        if start.checked_add(len).is_none_or(|end| end > self.len) {
            // SAFETY: the caller's word is passed on.
            return unsafe { self.far_bytes(offset, len) };
        }
        // SAFETY: in bounds of the mapping (checked above), readable and unwritten by the caller's word.
        Some(unsafe { std::slice::from_raw_parts(self.address.add(start), len) })
    }

    /// As [`Map::bytes`], behind the first part.
    ///
    /// # Safety
    /// As [`Map::bytes`].
    #[cold]
    unsafe fn far_bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let far = self.far.as_deref()?;
        let part = usize::try_from((offset / far.stride).checked_sub(1)?).ok()?;
        // SAFETY: the part begins at that multiple of the stride in the same file; the caller vouches for the
        // range.
        unsafe { far.parts.get(part)?.bytes(offset % far.stride, len) }
    }
}

impl Map {
    /// Borrows bytes of pages that an open snapshot, or the writer, can reach.
    ///
    /// Safe inside this crate by its invariants: the caller has checked the range against a page count that
    /// the file holds (`meta` at open, `writer` as it grows), the file is never cut while mapped, and a page
    /// that can be reached is not written (`snapshot`, invariant 2).
    #[inline]
    pub(crate) fn reachable_bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        // SAFETY: as said above; the callers are `snapshot` alone.
        unsafe { self.bytes(offset, len) }
    }
}

impl Map {
    /// Where its first part stands, and how many bytes that has; all there is, as a rule.
    #[inline]
    pub(crate) fn first_part(&self) -> (*const u8, usize) {
        (self.address, self.len)
    }

    /// Asks the processor for the cache line at `offset`. A place that is not mapped, or behind the file's
    /// end, is asked for in vain.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        if offset < self.len as u64 {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: the address is inside the map; a prefetch reads nothing that could be seen and never
            // faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.address.add(offset as usize).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// As [`Map::prefetch`], all lines of a range.
    #[inline]
    pub(crate) fn prefetch_range(&self, offset: u64, len: usize) {
        #[cfg(target_arch = "x86_64")]
        if offset.checked_add(len as u64).is_some_and(|end| end <= self.len as u64) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for line in (0..len).step_by(64) {
                // SAFETY: as above, for the whole range is inside.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(self.address.add(offset as usize + line).cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (offset, len);
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_in_the_part_where_it_begins() {
        let file: Vec<u8> = (0..24).collect();
        let part = |range: std::ops::Range<usize>| {
            let bytes = Arc::new(file[range].to_vec());
            // SAFETY: the owner keeps the bytes where they are.
            unsafe { Map::new(bytes.as_ptr(), bytes.len(), bytes) }
        };
        let map = Map::of_parts(vec![part(0..14), part(10..24), part(20..24)], 10).unwrap();
        assert_eq!(map.len(), 24);
        for start in 0..24usize {
            for len in 0..=4usize.min(24 - start) {
                // SAFETY: nobody writes the parts.
                let found = unsafe { map.bytes(start as u64, len) };
                assert_eq!(found, Some(&file[start..start + len]), "{len} bytes at {start}");
            }
        }
        // SAFETY: as above.
        unsafe {
            assert_eq!(map.bytes(12, 13), None, "longer than what two parts share");
            assert_eq!(map.bytes(21, 4), None, "beyond the end");
            assert_eq!(map.bytes(40, 1), None);
        }
        assert!(Map::of_parts(Vec::new(), 10).is_none());
    }
}
