//! Reserve: addresses for one guest's memory, which its thread uses again for the next.
//!
//! A new reservation costs system calls and then a page fault for each page that is touched, more than all else about a
//! new instance. So a thread keeps some, wiped: the next guest finds zeros, in pages that are there already.
//!
//! Invariants
//! 1. A reservation belongs to one memory or to the pool of one thread. It is unmapped when dropped.
//! 2. Bytes outside the open part cannot be read or written; those of a reservation in a pool are all zero.
//!
//! Not here: what is laid out in it (`memory`, `window`).

use std::cell::RefCell;
use std::io;
use std::ptr::{NonNull, null_mut};

/// Index and offset of an access, 4 GiB each, and the engine's guard.
const RESERVED_BYTES: usize = (8 << 30) + (1 << 16);
/// The system maps large pages where address and offset in the file agree in this.
pub(super) const ALIGNMENT: usize = 2 << 20;
/// Reservations that a thread keeps.
const POOL_COUNT_MAX: usize = 4;
/// Bytes of one that are set to zero and kept; those behind are given back to the system.
const KEPT_BYTES: usize = 256 << 10;

thread_local! {
    static POOL: RefCell<Vec<Reservation>> = const { RefCell::new(Vec::new()) };
}

/// The reservation, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    start: NonNull<u8>,
    /// Bytes from the base on that can be read and written.
    open: usize,
}

// SAFETY: it owns plain memory of the process, which any thread may use and unmap.
unsafe impl Send for Reservation {}
// SAFETY: no method that takes `&self` reads or writes the memory.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// One of this thread's, all zero, or a new one.
    pub(super) fn take() -> io::Result<Self> {
        match POOL.try_with(|pool| pool.borrow_mut().pop()) {
            Ok(Some(reservation)) => Ok(reservation),
            _ => Self::new(),
        }
    }

    fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice touches nothing that exists.
        let start =
            unsafe { libc::mmap(null_mut(), RESERVED_BYTES + ALIGNMENT, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, open: 0 })
    }

    /// The first address at a multiple of the alignment.
    pub(super) fn base(&self) -> NonNull<u8> {
        let skipped = self.start.as_ptr().align_offset(ALIGNMENT);
        // SAFETY: less than the alignment, by which the reservation is longer.
        unsafe { self.start.add(skipped) }
    }

    /// The place `offset` bytes behind the base, of which at least `length` are ours.
    pub(super) fn place(&self, offset: usize, length: usize) -> NonNull<u8> {
        assert!(offset.checked_add(length).is_some_and(|end| end <= RESERVED_BYTES));
        // SAFETY: inside the reservation, as just checked.
        unsafe { self.base().add(offset) }
    }

    /// Lets the guest read and write the first `length` bytes, and no others.
    pub(super) fn open_to(&mut self, length: usize) -> io::Result<()> {
        let (from, to, rights) = if length > self.open {
            (self.open, length, libc::PROT_READ | libc::PROT_WRITE)
        } else {
            (length, self.open, libc::PROT_NONE)
        };
        if from < to {
            let place = self.place(from, to - from);
            // SAFETY: inside the reservation, as `place` has checked, where nobody holds a reference.
            if unsafe { libc::mprotect(place.as_ptr().cast(), to - from, rights) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        self.open = length;
        Ok(())
    }

    /// Sets all that can be written to zero: the first part by hand, for the next guest finds its pages there; the
    /// rest by giving its pages back.
    fn wipe(&mut self) -> io::Result<()> {
        let kept = self.open.min(KEPT_BYTES);
        // SAFETY: the open part can be written, and the guest that used it is gone.
        unsafe { self.place(0, kept).write_bytes(0, kept) };
        let rest = self.open - kept;
        if rest == 0 {
            return Ok(());
        }
        let place = self.place(kept, rest);
        // SAFETY: inside the reservation, as `place` has checked; private pages without a file read as zero afterwards.
        if unsafe { libc::madvise(place.as_ptr().cast(), rest, libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Wipes it and keeps it for the next guest of this thread; drops it where that fails or enough are kept.
    pub(super) fn give_back(mut self) {
        let keep = |pool: &RefCell<Vec<Self>>| {
            let has_room = pool.borrow().len() < POOL_COUNT_MAX;
            if has_room && self.wipe().is_ok() {
                pool.borrow_mut().push(self);
            }
        };
        // While the thread ends there is no pool.
        POOL.try_with(keep).unwrap_or_default();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole, and whoever used it is gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), RESERVED_BYTES + ALIGNMENT) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WASM_PAGE;

    fn bytes(reservation: &Reservation, offset: usize, length: usize) -> &[u8] {
        assert!(offset + length <= reservation.open);
        // SAFETY: the open part can be read, and nobody writes it in these tests.
        unsafe { std::slice::from_raw_parts(reservation.place(offset, length).as_ptr(), length) }
    }

    fn scribble(reservation: &Reservation) {
        let length = reservation.open;
        // SAFETY: the open part can be written, and nobody reads it now.
        unsafe { reservation.place(0, length).write_bytes(0x5a, length) };
    }

    #[test]
    fn what_comes_back_from_the_pool_is_zero_wherever_it_is_opened() {
        for size in [WASM_PAGE as usize, KEPT_BYTES, KEPT_BYTES + WASM_PAGE as usize, 5 << 20] {
            let mut reservation = Reservation::take().unwrap();
            reservation.open_to(size).unwrap();
            scribble(&reservation);
            // What a smaller guest leaves closed, a larger one may open.
            reservation.give_back();
            let mut reservation = Reservation::take().unwrap();
            reservation.open_to(WASM_PAGE as usize).unwrap();
            reservation.give_back();
            let mut reservation = Reservation::take().unwrap();
            reservation.open_to(6 << 20).unwrap();
            assert!(bytes(&reservation, 0, 6 << 20).iter().all(|byte| *byte == 0), "{size}");
            reservation.give_back();
        }
    }

    #[test]
    fn a_thread_keeps_a_few() {
        let all = (0..9).map(|_| Reservation::take().unwrap()).collect::<Vec<_>>();
        all.into_iter().for_each(Reservation::give_back);
        assert_eq!(POOL.with(|pool| pool.borrow().len()), POOL_COUNT_MAX);
    }
}
