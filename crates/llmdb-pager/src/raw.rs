//! Memory for dirty pages, shared between one writer and any number of readers without a lock.
//!
//! Invariants
//! 1. A frame's memory never moves and is not given back while the pool lives.
//! 2. [`FramePool::bytes`] is called only for frames that no one writes during the borrow: published ones,
//!    or the writer's own through a shared borrow of the writer.
//! 3. [`FramePool::bytes_mut`] is called only by the writer, through an exclusive borrow of its state, for
//!    a frame that no published page refers to.
//! 4. A frame's tag says in which snapshots it is: the writer sets it before it publishes, and takes the
//!    frame back only when no snapshot inside the tag is open.
//!
//! Not here: which frame is whose (`frame`).
#![expect(unsafe_code, reason = "frames are written and read by different threads at different times")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Frames are made this many at a time.
pub(crate) const SLAB_FRAMES: usize = 64;
/// Slabs are found through two tables of this size.
const FAN: usize = 512;
/// How many frames a pool can hold.
pub(crate) const FRAMES_MAX: usize = FAN * FAN * SLAB_FRAMES;

/// A table of slabs, made when its first slab is.
type SlabTable = Box<[OnceLock<Slab>; FAN]>;

/// A growing pool of page-sized, page-aligned buffers.
pub(crate) struct FramePool {
    page_size: usize,
    tables: Box<[OnceLock<SlabTable>; FAN]>,
}

struct Slab {
    address: *mut u8,
    layout: Layout,
    tags: [Tag; SLAB_FRAMES],
}

/// In which snapshots a frame is: those numbered `born..retired`.
#[derive(Debug)]
pub(crate) struct Tag {
    born: AtomicU64,
    retired: AtomicU64,
}

/// The birth of a frame that no snapshot can see yet.
const UNPUBLISHED: u64 = u64::MAX;

impl Tag {
    const NEW: Self = Self { born: AtomicU64::new(UNPUBLISHED), retired: AtomicU64::new(u64::MAX) };

    /// Whether the snapshot numbered `commit` sees the frame.
    pub(crate) fn is_seen_by(&self, commit: u64) -> bool {
        self.born.load(Ordering::Acquire) <= commit && commit < self.retired.load(Ordering::Acquire)
    }

    pub(crate) fn is_published(&self) -> bool {
        self.born.load(Ordering::Relaxed) != UNPUBLISHED
    }

    pub(crate) fn born(&self) -> u64 {
        self.born.load(Ordering::Relaxed)
    }

    pub(crate) fn publish(&self, commit: u64) {
        self.born.store(commit, Ordering::Release);
    }

    pub(crate) fn retire(&self, commit: u64) {
        self.retired.store(commit, Ordering::Release);
    }

    /// The frame is the writer's again. Invisible first, so that no reader sees half a change.
    pub(crate) fn reset(&self) {
        self.born.store(UNPUBLISHED, Ordering::Release);
        self.retired.store(u64::MAX, Ordering::Release);
    }
}

// SAFETY: a slab is plain memory; who may touch which frame when is `bytes` and `bytes_mut`'s contract.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    fn new(page_size: usize) -> Self {
        let layout = Layout::from_size_align(page_size * SLAB_FRAMES, 4096).expect("a page size is small");
        // SAFETY: the layout's size is not zero.
        let address = unsafe { alloc_zeroed(layout) };
        if address.is_null() {
            handle_alloc_error(layout);
        }
        Self { address, layout, tags: [const { Tag::NEW }; SLAB_FRAMES] }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and dropped once.
        unsafe { dealloc(self.address, self.layout) };
    }
}

impl FramePool {
    pub(crate) fn new(page_size: usize) -> Self {
        Self { page_size, tables: Box::new([const { OnceLock::new() }; FAN]) }
    }

    /// Makes sure that frame `index` has memory.
    pub(crate) fn ensure(&self, index: u32) {
        let slab = index as usize / SLAB_FRAMES;
        let table = self.tables[slab / FAN].get_or_init(|| Box::new([const { OnceLock::new() }; FAN]));
        table[slab % FAN].get_or_init(|| Slab::new(self.page_size));
    }

    fn slab(&self, index: u32) -> Option<&Slab> {
        let slab = index as usize / SLAB_FRAMES;
        self.tables.get(slab / FAN)?.get()?[slab % FAN].get()
    }

    /// A frame's tag; `None` where there was never such a frame.
    pub(crate) fn tag(&self, index: u32) -> Option<&Tag> {
        Some(&self.slab(index)?.tags[index as usize % SLAB_FRAMES])
    }

    fn address(&self, index: u32) -> *mut u8 {
        let slab = self.slab(index).expect("the frame was made by `ensure`");
        // SAFETY: the remainder is below SLAB_FRAMES, so this stays inside the slab's allocation.
        unsafe { slab.address.add(index as usize % SLAB_FRAMES * self.page_size) }
    }

    /// A frame's page.
    ///
    /// # Safety
    /// No one writes the frame while the borrow lives (invariant 2).
    pub(crate) unsafe fn bytes(&self, index: u32) -> &[u8] {
        // SAFETY: `page_size` initialised bytes inside a slab that lives as long as `self`; unwritten by
        // the caller's word.
        unsafe { std::slice::from_raw_parts(self.address(index), self.page_size) }
    }

    /// A frame's page, to be changed.
    ///
    /// # Safety
    /// No other borrow of this frame lives (invariant 3).
    #[expect(clippy::mut_from_ref, reason = "exclusive by the caller's word, as the contract says")]
    pub(crate) unsafe fn bytes_mut(&self, index: u32) -> &mut [u8] {
        // SAFETY: as in `bytes`; exclusive by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.address(index), self.page_size) }
    }
}

impl std::fmt::Debug for FramePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FramePool").field("page_size", &self.page_size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_own_bytes_across_slabs() {
        let pool = FramePool::new(4096);
        for index in [0, 1, 63, 64, 40_000] {
            pool.ensure(index);
            // SAFETY: one thread, one borrow at a time.
            unsafe { pool.bytes_mut(index) }.fill(index as u8 ^ 0x5a);
        }
        for index in [0, 1, 63, 64, 40_000] {
            // SAFETY: nothing writes any more.
            assert!(unsafe { pool.bytes(index) }.iter().all(|byte| *byte == index as u8 ^ 0x5a));
        }
    }

    #[test]
    fn a_reader_on_another_thread_sees_what_was_published() {
        let pool = std::sync::Arc::new(FramePool::new(4096));
        pool.ensure(3);
        // SAFETY: nobody else knows the frame yet.
        unsafe { pool.bytes_mut(3) }.fill(7);
        let reader = {
            let pool = pool.clone();
            std::thread::spawn(move || {
                // SAFETY: frame 3 is not written after the thread was made.
                unsafe { pool.bytes(3) }.iter().all(|byte| *byte == 7)
            })
        };
        // SAFETY: frame 4 is only ours.
        unsafe { pool.bytes_mut(4) }.fill(8);
        assert!(reader.join().unwrap());
    }
}
