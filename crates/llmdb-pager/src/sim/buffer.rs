//! The bytes of a simulated file at one address, written while maps of them are alive.
//!
//! Invariants
//! 1. A buffer never moves or shrinks; it is freed when its [`Cache`] and the last [`Map`] of it are gone.
//! 2. Only the one `Cache` that owns a buffer writes it, through `&mut self`. A `Map` reads it under the
//!    contract of [`Map::bytes`]: nobody writes a borrowed range.
//! 3. Bytes from `high` on are zero, here and in the pool.
//!
//! Memory comes zeroed from the system, so that untouched pages cost nothing. It is aligned by hand, as a
//! real map is: the allocator would write all the zeros itself to satisfy a large alignment.
#![expect(unsafe_code, reason = "shares memory between a file that is written and the maps that read it")]

use crate::storage::Map;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const ALIGN: usize = 4096;
/// A buffer that was used beyond this is given back to the system: zeroing it would cost more.
const POOLED_SIZE_MAX: usize = 2 << 20;
const POOLED_COUNT_MAX: usize = 32;

/// Buffers kept for the next disk or image: a fresh one costs a page fault per page.
static POOL: Mutex<Vec<Raw>> = Mutex::new(Vec::new());

/// The cached bytes of one file. Zero wherever nothing was written.
#[derive(Debug)]
pub(super) struct Cache {
    buffer: Arc<Buffer>,
}

impl Cache {
    /// A cache of at least `capacity` bytes that starts with `bytes`.
    pub(super) fn new(capacity: usize, bytes: &[u8]) -> Self {
        let capacity = capacity.max(bytes.len());
        let mut raw = Raw::pooled(capacity).unwrap_or_else(|| Raw::new(capacity));
        raw.clear_from(bytes.len());
        let buffer = Buffer { high: AtomicUsize::new(raw.high), raw };
        let mut cache = Self { buffer: Arc::new(buffer) };
        cache.write(0, bytes);
        cache
    }

    pub(super) fn capacity(&self) -> usize {
        self.buffer.raw.capacity
    }

    /// The bytes of `range`.
    ///
    /// # Panics
    /// When the range leaves the buffer.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.capacity());
        // SAFETY: in bounds (checked above), initialised (zeroed memory), and unwritten while the borrow of
        // `self` lives, as writing takes `&mut self` (invariant 2).
        unsafe { std::slice::from_raw_parts(self.buffer.raw.start().add(range.start), range.len()) }
    }

    /// Puts `bytes` at `offset`.
    ///
    /// # Panics
    /// When they leave the buffer.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.capacity());
        assert!(bytes.len() <= self.capacity() - offset);
        let to = self.buffer.raw.start().wrapping_add(offset);
        // SAFETY: in bounds (checked above). `&mut self` shuts out other writers and `Cache::bytes`; a map's
        // borrower vouched that no one writes his range, so `bytes` does not overlap it either.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        self.buffer.high.fetch_max(offset + bytes.len(), Ordering::Relaxed);
    }

    /// Makes `range` zero.
    pub(super) fn zero(&mut self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.capacity());
        let to = self.buffer.raw.start().wrapping_add(range.start);
        // SAFETY: as in `write`.
        unsafe { std::ptr::write_bytes(to, 0, range.len()) };
    }

    /// Lets later changes go unseen by the maps that exist, which keep the first `len` bytes as they are.
    pub(super) fn detach(&mut self, len: usize) {
        // Unlike a look at the count, this also waits for the reads of a map that has just been dropped.
        if Arc::get_mut(&mut self.buffer).is_none() {
            *self = Self::new(self.capacity(), self.bytes(0..len));
        }
    }

    /// A map of `len` bytes, which may be more than the file's and even the buffer's.
    pub(super) fn map(&self, len: usize) -> Map {
        let owner: Arc<Buffer> = Arc::clone(&self.buffer);
        // SAFETY: the buffer is readable up to its capacity, which the file's length never exceeds, and
        // lives as long as the owner.
        unsafe { Map::new(self.buffer.raw.start(), len, owner) }
    }
}

#[derive(Debug)]
struct Buffer {
    raw: Raw,
    /// How far it was written.
    high: AtomicUsize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.raw.high = *self.high.get_mut();
        std::mem::replace(&mut self.raw, Raw::EMPTY).keep();
    }
}

/// An allocation.
#[derive(Debug)]
struct Raw {
    base: NonNull<u8>,
    skip: usize,
    capacity: usize,
    high: usize,
}

// SAFETY: owns its memory, which has no tie to a thread.
unsafe impl Send for Raw {}
// SAFETY: through `&Raw` nothing but the address can be had; the module's invariant 2 rules its use.
unsafe impl Sync for Raw {}

impl Raw {
    /// Owns nothing.
    const EMPTY: Self = Self { base: NonNull::dangling(), skip: 0, capacity: 0, high: 0 };

    fn new(capacity: usize) -> Self {
        if capacity == 0 {
            return Self::EMPTY;
        }
        let layout = Self::layout(capacity);
        // SAFETY: the layout is not of size zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        let skip = base.addr().get().next_multiple_of(ALIGN) - base.addr().get();
        Self { base, skip, capacity, high: 0 }
    }

    fn pooled(capacity: usize) -> Option<Self> {
        let mut free = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let index = free.iter().rposition(|raw| raw.capacity == capacity)?;
        Some(free.swap_remove(index))
    }

    /// Into the pool, if it is worth it.
    fn keep(self) {
        let mut free = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if self.high <= POOLED_SIZE_MAX && free.len() < POOLED_COUNT_MAX {
            free.push(self);
        }
    }

    fn layout(capacity: usize) -> Layout {
        Layout::array::<u8>(capacity.saturating_add(ALIGN)).expect("a file capacity fits the address space")
    }

    fn start(&self) -> *mut u8 {
        self.base.as_ptr().wrapping_add(self.skip)
    }

    /// Zeroes what an earlier use left behind the first `keep` bytes.
    fn clear_from(&mut self, keep: usize) {
        if let Some(count) = self.high.checked_sub(keep) {
            // SAFETY: `keep..high` is in bounds, and `&mut self` is the only way to this memory.
            unsafe { std::ptr::write_bytes(self.start().add(keep), 0, count) };
            self.high = keep;
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if self.capacity > 0 {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.base.as_ptr(), Self::layout(self.capacity)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_sees_writes_beside_a_borrow_and_outlives_the_cache() {
        let mut cache = Cache::new(10_000, b"first");
        let map = cache.map(1 << 40);
        assert_eq!(map.len(), 1 << 40);
        // SAFETY: `0..5` is inside the file and not written below.
        let borrowed = unsafe { map.bytes(0, 5) }.unwrap();
        assert_eq!(borrowed.as_ptr().addr() % ALIGN, 0);
        cache.write(5, b"second");
        cache.write(9_000, b"far");
        // SAFETY: inside the file, not written any more.
        assert_eq!(unsafe { map.bytes(5, 6) }.unwrap(), b"second");
        drop(cache);
        assert_eq!(borrowed, b"first");
        // SAFETY: as above.
        assert_eq!(unsafe { map.bytes(9_000, 3) }.unwrap(), b"far");
    }

    #[test]
    fn detached_cache_leaves_maps_as_they_are() {
        let mut cache = Cache::new(8192, b"before");
        let map = cache.map(8192);
        // SAFETY: inside the file; the write below goes to another buffer.
        let borrowed = unsafe { map.bytes(0, 6) }.unwrap();
        cache.detach(6);
        cache.write(0, b"after!");
        assert_eq!(borrowed, b"before");
        assert_eq!(cache.bytes(0..6), b"after!");
    }

    #[test]
    fn detach_without_maps_keeps_the_buffer() {
        let mut cache = Cache::new(8192, b"x");
        let address = cache.bytes(0..1).as_ptr();
        cache.detach(1);
        assert_eq!(cache.bytes(0..1).as_ptr(), address);
    }

    #[test]
    fn pooled_buffer_comes_back_zeroed() {
        // No other test has this capacity, and so takes the buffer away.
        let mut cache = Cache::new(8200, &[1; 5000]);
        cache.write(7000, &[2; 100]);
        let address = cache.bytes(0..1).as_ptr();
        drop(cache);
        let cache = Cache::new(8200, &[3; 10]);
        assert_eq!(cache.bytes(0..1).as_ptr(), address, "not taken from the pool");
        assert_eq!(cache.bytes(0..10), [3; 10]);
        assert!(cache.bytes(10..8200).iter().all(|&byte| byte == 0));
    }

    #[test]
    fn empty_capacity_holds_nothing() {
        let mut cache = Cache::new(0, b"");
        cache.write(0, b"");
        assert_eq!(cache.bytes(0..0), b"");
    }
}
