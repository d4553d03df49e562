//! Memory for dirty pages, shared between one writer and any number of readers without a lock.
//!
//! Invariants
//! 1. A frame's memory never moves. It is given back, with that of the frames beside it, only while none of
//!    them is published; a frame has memory when the writer takes it.
//! 2. A frame's tag says in which snapshots it is: the writer sets it before it publishes, and takes the
//!    frame back only when no snapshot inside the tag is open (`writer`, reuse).
//! 3. Only whoever holds the pool's one [`WriterKey`] writes, and only frames that are not published; so a
//!    shared borrow of the key freezes all frames, and a published frame is frozen for everybody.
//! 4. The first slabs take memory page by page, as it is used: who writes little has little. The others ask for
//!    large pages: one fault for hundreds of frames, and far fewer misses on the way to each.
//!
//! Not here: which frame is whose (`writer`).
#![expect(unsafe_code, reason = "frames are written and read by different threads at different times")]

use crate::tag::Tag;
use memmap2::{Advice, MmapMut, MmapRaw};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Frames are made this many at a time: a large page of the system, where pages are the smallest.
pub(crate) const SLAB_FRAMES: usize = 512;
/// Slabs without large pages.
const SMALL_SLABS: usize = 2;
/// Bytes of a large page of the system.
const LARGE_PAGE: usize = 2 << 20;
/// Slabs are found through so many tables of so many.
const TABLES: usize = 256;
const FAN: usize = 128;
/// How many frames a pool can hold.
pub(crate) const FRAMES_MAX: usize = TABLES * FAN * SLAB_FRAMES;

/// A table of slabs, made when its first slab is.
type SlabTable = Box<[OnceLock<Box<Slab>>; FAN]>;

/// A growing pool of page-sized, page-aligned buffers.
pub(crate) struct FramePool {
    page_size: usize,
    tables: Box<[OnceLock<SlabTable>; TABLES]>,
}

struct Slab {
    /// Where its memory is; null while it has none.
    address: AtomicPtr<u8>,
    /// The memory, mapped by itself so that the system has it back at once. Locked by the writer alone.
    memory: Mutex<Option<MmapRaw>>,
    tags: [Tag; SLAB_FRAMES],
}

impl Slab {
    fn new() -> Self {
        let address = AtomicPtr::new(ptr::null_mut());
        Self { address, memory: Mutex::new(None), tags: std::array::from_fn(|_| Tag::new()) }
    }

    /// Gives it memory, which begins `offset` bytes into its mapping; or takes it away.
    fn set_memory(&self, memory: Option<(MmapRaw, usize)>) {
        let start = |(memory, offset): &(MmapRaw, usize)| memory.as_mut_ptr().wrapping_add(*offset);
        self.address.store(memory.as_ref().map_or(ptr::null_mut(), start), Ordering::Release);
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = memory.map(|(memory, _)| memory);
    }
}

/// Memory of `size` bytes, zeros, and where in its mapping it begins.
fn map_slab(size: usize, is_large: bool) -> io::Result<(MmapRaw, usize)> {
    // The model of a machine that Miri is has no advice.
    if !is_large || cfg!(miri) {
        return Ok((MmapMut::map_anon(size)?.into(), 0));
    }
    // Addresses, not memory: systems that do not align a mapping themselves give what can be aligned.
    let memory = MmapMut::map_anon(size + LARGE_PAGE)?;
    let offset = memory.as_ptr().align_offset(LARGE_PAGE).min(LARGE_PAGE);
    // Only advice: a refusal costs time and nothing else.
    let _ = memory.advise_range(Advice::HugePage, offset, size);
    Ok((memory.into(), offset))
}

impl FramePool {
    /// An empty pool, and the one key to write in it.
    pub(crate) fn new(page_size: usize) -> (Self, WriterKey) {
        (Self { page_size, tables: Box::new([const { OnceLock::new() }; TABLES]) }, WriterKey(()))
    }

    /// Makes sure that frame `index` has memory. Whether it was made now, for all frames of its slab.
    ///
    /// # Errors
    /// The system has no memory.
    pub(crate) fn ensure(&self, _key: &mut WriterKey, index: u32) -> io::Result<bool> {
        let number = index as usize / SLAB_FRAMES;
        let table = self.tables[number / FAN].get_or_init(|| Box::new([const { OnceLock::new() }; FAN]));
        let slab = table[number % FAN].get_or_init(|| Box::new(Slab::new()));
        if !slab.address.load(Ordering::Relaxed).is_null() {
            return Ok(false);
        }
        slab.set_memory(Some(map_slab(self.page_size * SLAB_FRAMES, number >= SMALL_SLABS)?));
        Ok(true)
    }

    /// Gives the memory of slab `number` back to the system. Whether that could be done: it has memory, and
    /// none of its frames is published. What was in them is lost.
    pub(crate) fn release(&self, _key: &mut WriterKey, number: usize) -> bool {
        let Some(slab) = self.slab((number * SLAB_FRAMES) as u32) else { return false };
        let is_used =
            slab.address.load(Ordering::Relaxed).is_null() || slab.tags.iter().any(Tag::is_published);
        if !is_used {
            // Nobody looks at it: readers see published frames only, and the writer's key is here.
            slab.set_memory(None);
        }
        !is_used
    }

    #[inline]
    fn slab(&self, index: u32) -> Option<&Slab> {
        let slab = index as usize / SLAB_FRAMES;
        self.tables.get(slab / FAN)?.get()?[slab % FAN].get().map(Box::as_ref)
    }

    /// A frame's tag; `None` where there was never such a frame.
    #[inline]
    pub(crate) fn tag(&self, index: u32) -> Option<&Tag> {
        Some(&self.slab(index)?.tags[index as usize % SLAB_FRAMES])
    }

    #[inline]
    fn address(&self, index: u32) -> Option<*mut u8> {
        let address = self.slab(index)?.address.load(Ordering::Acquire);
        if address.is_null() {
            return None;
        }
        // SAFETY: the remainder is below SLAB_FRAMES, so this stays inside the slab's mapping.
        Some(unsafe { address.add(index as usize % SLAB_FRAMES * self.page_size) })
    }

    /// Asks the processor for a cache line of a frame, and for its tag. Nothing happens where there is no such
    /// place.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        if let (Some(tag), Some(address)) = (self.tag(index), self.address(index))
            && offset < self.page_size
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: both addresses are inside what they point to; a prefetch reads nothing that could be seen
            // and never faults.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(address.add(offset).cast_const().cast());
                _mm_prefetch::<_MM_HINT_T0>(ptr::from_ref(tag).cast());
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (index, offset);
    }

    /// A frame as the open snapshot numbered `commit` sees it; `None` where it does not. The caller holds
    /// that snapshot open for as long as it borrows the pool.
    #[inline]
    pub(crate) fn seen_by(&self, commit: u64, index: u32) -> Option<&[u8]> {
        if !self.tag(index)?.is_seen_by(commit) {
            return None;
        }
        let address = self.address(index)?;
        // SAFETY: `page_size` initialised bytes of a slab whose memory stays while a frame of it is published
        // (invariant 1). The frame is published, so not written any more (invariant 3), and not taken back
        // while the snapshot is open (invariant 2).
        Some(unsafe { std::slice::from_raw_parts(address, self.page_size) })
    }

    /// Any frame, for the writer to read.
    pub(crate) fn bytes<'a>(&'a self, _key: &'a WriterKey, index: u32) -> Option<&'a [u8]> {
        let address = self.address(index)?;
        // SAFETY: as above; while the key is borrowed nobody writes any frame or gives memory back
        // (invariant 3).
        Some(unsafe { std::slice::from_raw_parts(address, self.page_size) })
    }

    /// A frame that is not published, for the writer to change.
    pub(crate) fn bytes_mut<'a>(&'a self, _key: &'a mut WriterKey, index: u32) -> Option<&'a mut [u8]> {
        if self.tag(index)?.is_published() {
            return None;
        }
        let address = self.address(index)?;
        // SAFETY: `page_size` initialised bytes of a slab's memory, which only the key's holder gives back. No
        // snapshot sees an unpublished frame, and the key's exclusive borrow keeps every other access of the
        // writer away.
        Some(unsafe { std::slice::from_raw_parts_mut(address, self.page_size) })
    }

    /// Copies one frame into another that is not published. Whether that could be done.
    pub(crate) fn copy(&self, _key: &mut WriterKey, from: u32, to: u32) -> bool {
        let free = from != to && self.tag(to).is_some_and(|tag| !tag.is_published());
        let (Some(source), Some(target), true) = (self.address(from), self.address(to), free) else {
            return false;
        };
        // SAFETY: two different frames of `page_size` bytes each; `to` is ours to write, `from` is written by
        // nobody while the key is ours.
        unsafe { std::ptr::copy_nonoverlapping(source, target, self.page_size) };
        true
    }
}

/// The right to write frames of a pool. There is one a pool.
#[derive(Debug)]
pub(crate) struct WriterKey(());

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
        let (pool, mut key) = FramePool::new(4096);
        for index in [0, 1, 511, 512, 40_000] {
            pool.ensure(&mut key, index).unwrap();
            pool.bytes_mut(&mut key, index).unwrap().fill(index as u8 ^ 0x5a);
        }
        assert!(pool.copy(&mut key, 512, 511));
        for index in [0, 1, 512, 40_000] {
            assert!(pool.bytes(&key, index).unwrap().iter().all(|byte| *byte == index as u8 ^ 0x5a));
        }
        assert_eq!(pool.bytes(&key, 511), pool.bytes(&key, 512));
        assert!(pool.bytes(&key, 9_999).is_none(), "a frame that was never made");
    }

    #[test]
    fn a_published_frame_is_seen_by_its_snapshots_only_and_cannot_be_written() {
        let (pool, mut key) = FramePool::new(4096);
        pool.ensure(&mut key, 3).unwrap();
        assert!(pool.seen_by(5, 3).is_none());
        pool.tag(3).unwrap().publish(5);
        assert!(pool.bytes_mut(&mut key, 3).is_none());
        assert!(!pool.copy(&mut key, 3, 3));
        pool.tag(3).unwrap().retire(7);
        let seen: Vec<u64> = (0..10).filter(|commit| pool.seen_by(*commit, 3).is_some()).collect();
        assert_eq!(seen, [5, 6]);
        pool.tag(3).unwrap().reset();
        assert!(pool.bytes_mut(&mut key, 3).is_some());
    }

    #[test]
    fn memory_of_frames_that_nobody_can_see_is_given_back_and_made_anew() {
        // With small pages, and with large ones.
        check_give_back(1);
        check_give_back(SMALL_SLABS + 1);
    }

    fn check_give_back(slab: usize) {
        let (pool, mut key) = FramePool::new(4096);
        let (first, second) = ((slab * SLAB_FRAMES + 6) as u32, (slab * SLAB_FRAMES + 7) as u32);
        assert!(pool.ensure(&mut key, first).unwrap());
        assert!(!pool.ensure(&mut key, second).unwrap(), "its slab has memory");
        pool.bytes_mut(&mut key, first).unwrap().fill(9);
        pool.tag(second).unwrap().publish(5);
        assert!(!pool.release(&mut key, slab), "a snapshot may see the other frame");
        assert!(pool.seen_by(5, second).is_some());
        pool.tag(second).unwrap().reset();
        assert!(pool.release(&mut key, slab));
        assert!(!pool.release(&mut key, slab), "there is nothing to give back");
        assert!(pool.bytes(&key, first).is_none() && pool.bytes_mut(&mut key, first).is_none());
        assert!(!pool.copy(&mut key, first, second));
        assert!(pool.seen_by(5, second).is_none());
        assert!(pool.ensure(&mut key, first).unwrap());
        assert!(pool.bytes(&key, first).unwrap().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_reader_on_another_thread_sees_what_was_published() {
        let (pool, mut key) = FramePool::new(4096);
        pool.ensure(&mut key, 3).unwrap();
        std::thread::scope(|scope| {
            pool.bytes_mut(&mut key, 3).unwrap().fill(7);
            pool.tag(3).unwrap().publish(1);
            let reader = scope.spawn(|| pool.seen_by(1, 3).unwrap().iter().all(|byte| *byte == 7));
            pool.bytes_mut(&mut key, 4).unwrap().fill(8);
            assert!(reader.join().unwrap());
        });
    }
}
