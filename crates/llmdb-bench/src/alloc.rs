//! An allocator that counts, for programs that report allocations per operation.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: llmdb_bench::alloc::Counting = llmdb_bench::alloc::Counting::new();
//!
//! let before = ALLOCATOR.allocations();
//! let text = String::from("counted");
//! assert!(ALLOCATOR.allocations().count > before.count);
//! # drop(text);
//! ```
//!
//! Invariants
//! 1. It hands every request to the system's allocator unchanged.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, counted.
#[derive(Debug, Default)]
pub struct Counting {
    allocations: AtomicU64,
    bytes: AtomicU64,
}

/// What was allocated up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// Requests for new or larger memory.
    pub count: u64,
    /// Bytes that they asked for.
    pub bytes: u64,
}

impl Counting {
    /// Nothing counted yet.
    pub const fn new() -> Self {
        Self { allocations: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// The counts of all threads.
    pub fn allocations(&self) -> Allocations {
        Allocations {
            count: self.allocations.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn count(&self, bytes: usize) {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "the trait of allocators is unsafe; everything is handed on unchanged")]
// SAFETY: each method forwards its arguments to `System`, which keeps the trait's contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: `address` came from `System` with this layout.
        unsafe { System.dealloc(address, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size);
        // SAFETY: `address` came from `System` with this layout; the caller keeps the rest.
        unsafe { System.realloc(address, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "calls the allocator by hand")]
    fn allocations_are_counted_and_usable() {
        let counting = Counting::new();
        let layout = Layout::from_size_align(100, 8).unwrap();
        // SAFETY: the layout is not empty, and what is freed is what was allocated.
        unsafe {
            let address = counting.alloc(layout);
            address.write_bytes(7, 100);
            let address = counting.realloc(address, layout, 200);
            assert_eq!(address.add(99).read(), 7);
            counting.dealloc(address, Layout::from_size_align(200, 8).unwrap());
        }
        assert_eq!(counting.allocations(), Allocations { count: 2, bytes: 300 });
    }
}
