//! Runs a fuzz body many times with fixed seeds and sees that it neither panics, nor hangs, nor asks for
//! much memory at once.
#![expect(unsafe_code, reason = "an allocator that counts is the only way to see a single large request")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The most that one request may ask for: a simulated disk's file, and some.
const REQUEST_MAX: usize = 64 << 20;
/// The longest that one run may take.
const TIME_MAX: Duration = Duration::from_secs(5);

static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct Watched;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

// SAFETY: passes every call on to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(address, layout, size) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(address, layout) }
    }
}

/// Runs `body` for each seed; all seeds at fault are named together.
pub(crate) fn smoke(what: &str, seeds: std::ops::Range<u64>, mut body: impl FnMut(u64)) {
    let mut faults = Vec::new();
    std::panic::set_hook(Box::new(|_| {}));
    for seed in seeds.clone() {
        let begun = Instant::now();
        LARGEST.store(0, Ordering::Relaxed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(seed))) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            faults.push(format!("seed {seed}: {}", text.unwrap_or_default()));
        }
        let largest = LARGEST.load(Ordering::Relaxed);
        if begun.elapsed() > TIME_MAX || largest > REQUEST_MAX {
            faults.push(format!("seed {seed}: {:?}, {largest} bytes at once", begun.elapsed()));
        }
    }
    let _ = std::panic::take_hook();
    assert!(faults.is_empty(), "{what}: {} of {seeds:?} at fault:\n{}", faults.len(), faults.join("\n"));
}
