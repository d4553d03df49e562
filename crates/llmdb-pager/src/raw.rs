//! Memory for dirty pages, shared between one writer and any number of readers without a lock.
//!
//! Invariants
//! 1. A frame's memory never moves. It is given back, with that of the frames beside it, only while none of
//!    them is published; a frame has memory when the writer takes it.
//! 2. A frame's tag says in which snapshots it is: the writer sets it before it publishes, and takes the
//!    frame back only when no snapshot inside the tag is open (`writer`, reuse).
//! 3. Only whoever holds the pool's one [`WriterKey`] writes, and only frames that are not published; so a
//!    shared borrow of the key freezes all frames, and a published frame is frozen for everybody.
//!
//! Not here: which frame is whose (`writer`).
#![expect(unsafe_code, reason = "frames are written and read by different threads at different times")]

use crate::tag::Tag;
use memmap2::{MmapMut, MmapRaw};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

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

    fn set_memory(&self, memory: Option<MmapRaw>) {
        let address = memory.as_ref().map_or(ptr::null_mut(), MmapRaw::as_mut_ptr);
        self.address.store(address, Ordering::Release);
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = memory;
    }
}

impl FramePool {
    /// An empty pool, and the one key to write in it.
    pub(crate) fn new(page_size: usize) -> (Self, WriterKey) {
        (Self { page_size, tables: Box::new([const { OnceLock::new() }; FAN]) }, WriterKey(()))
    }

    /// Makes sure that frame `index` has memory. Whether it was made now, for all frames of its slab.
    ///
    /// # Errors
    /// The system has no memory.
    pub(crate) fn ensure(&self, _key: &mut WriterKey, index: u32) -> io::Result<bool> {
        let slab = index as usize / SLAB_FRAMES;
        let table = self.tables[slab / FAN].get_or_init(|| Box::new([const { OnceLock::new() }; FAN]));
        let slab = table[slab % FAN].get_or_init(Slab::new);
        if !slab.address.load(Ordering::Relaxed).is_null() {
            return Ok(false);
        }
        slab.set_memory(Some(MmapMut::map_anon(self.page_size * SLAB_FRAMES)?.into()));
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
        self.tables.get(slab / FAN)?.get()?[slab % FAN].get()
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
        for index in [0, 1, 63, 64, 40_000] {
            pool.ensure(&mut key, index).unwrap();
            pool.bytes_mut(&mut key, index).unwrap().fill(index as u8 ^ 0x5a);
        }
        assert!(pool.copy(&mut key, 64, 63));
        for index in [0, 1, 64, 40_000] {
            assert!(pool.bytes(&key, index).unwrap().iter().all(|byte| *byte == index as u8 ^ 0x5a));
        }
        assert_eq!(pool.bytes(&key, 63), pool.bytes(&key, 64));
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
        let (pool, mut key) = FramePool::new(4096);
        assert!(pool.ensure(&mut key, 70).unwrap());
        assert!(!pool.ensure(&mut key, 71).unwrap(), "its slab has memory");
        pool.bytes_mut(&mut key, 70).unwrap().fill(9);
        pool.tag(71).unwrap().publish(5);
        assert!(!pool.release(&mut key, 1), "a snapshot may see frame 71");
        assert!(pool.seen_by(5, 71).is_some());
        pool.tag(71).unwrap().reset();
        assert!(pool.release(&mut key, 1));
        assert!(!pool.release(&mut key, 1), "there is nothing to give back");
        assert!(pool.bytes(&key, 70).is_none() && pool.bytes_mut(&mut key, 70).is_none());
        assert!(!pool.copy(&mut key, 70, 71));
        assert!(pool.seen_by(5, 71).is_none());
        assert!(pool.ensure(&mut key, 70).unwrap());
        assert!(pool.bytes(&key, 70).unwrap().iter().all(|byte| *byte == 0));
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
