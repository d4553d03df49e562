//! Memory: what a guest reads and writes, and what lies behind it.
//!
//! ```text
//!   0            own size          memory limit        1 GiB                 + window         8 GiB + 64 KiB
//!   | read, write | nothing, grown into | nothing       | a file, read only    | nothing          |
//! ```
//!
//! All of it is reserved from the start, so that no address that a guest can compute lies outside. `memory.size` and
//! `memory.grow` know the guest's own part only. Most memories have no window.
//!
//! Invariants
//! 1. A reservation that had a window is never used again.
//! 2. What is used again is wiped first (`reserve`).
//!
//! Not here: the window and its signal (`window`). Globals, tables and dropped segments need no wiping: each instance has
//! new ones.

use std::io;
use std::ptr::NonNull;

use wasmer::sys::vm::{LinearMemory, MemoryError, MemoryStyle, Trap, TrapCode, VMMemory, VMMemoryDefinition};
use wasmer::{MemoryType, Pages};

use super::reserve::Reservation;
use super::window::{Mapped, WINDOW_START};
use crate::limits::WASM_PAGE;

/// The memory that the engine asks for, with the window that this thread has asked for.
///
/// # Safety
/// `definition` must be valid for as long as the memory lives, and nobody else may use it now.
pub(super) unsafe fn make(
    ty: MemoryType,
    definition: NonNull<VMMemoryDefinition>,
) -> Result<VMMemory, MemoryError> {
    // SAFETY: the caller's promise, passed on.
    let memory = unsafe { GuestMemory::new(ty, definition) };
    let memory = memory.map_err(|error| MemoryError::Region(error.to_string()))?;
    Ok(VMMemory(Box::new(memory)))
}

/// One guest's memory.
#[derive(Debug)]
struct GuestMemory {
    // Field order is drop order: the window leaves the handler's table before the reservation goes.
    window: Option<Mapped>,
    /// Some until it is dropped.
    reservation: Option<Reservation>,
    ty: MemoryType,
    pages: u32,
    pages_max: u32,
    definition: NonNull<VMMemoryDefinition>,
}

// SAFETY: the reservation is plain memory of the process, and the definition lies in the instance that owns this memory
// and goes where it goes.
unsafe impl Send for GuestMemory {}
// SAFETY: no method that takes `&self` changes anything, but for `initialize_with_data`, which the engine calls before
// the instance is anybody's.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    /// # Safety
    /// `definition` must be valid for as long as the memory lives, and nobody else may use it now.
    unsafe fn new(ty: MemoryType, mut definition: NonNull<VMMemoryDefinition>) -> io::Result<Self> {
        let mut reservation = Reservation::take()?;
        let pages = ty.minimum.0;
        let own = pages as usize * WASM_PAGE as usize;
        reservation.open_to(own)?;
        let window = Mapped::requested(&reservation, own)?;
        let cap = match window {
            Some(_) => (WINDOW_START / WASM_PAGE) as u32,
            None => Pages::max_value().0,
        };
        let pages_max = ty.maximum.map_or(cap, |maximum| maximum.0.min(cap));
        // SAFETY: the caller promised that it is valid and that nobody else uses it.
        let written = unsafe { definition.as_mut() };
        written.base = reservation.base().as_ptr();
        // Bulk instructions are held against this, and may read a window; the pages' rights do the rest.
        written.current_length = window.as_ref().map_or(own, Mapped::end);
        Ok(Self { window, reservation: Some(reservation), ty, pages, pages_max, definition })
    }
}

impl LinearMemory for GuestMemory {
    fn ty(&self) -> MemoryType {
        MemoryType { minimum: Pages(self.pages), ..self.ty }
    }

    fn size(&self) -> Pages {
        Pages(self.pages)
    }

    fn style(&self) -> MemoryStyle {
        MemoryStyle::Static
    }

    fn grow(&mut self, delta: Pages) -> Result<Pages, MemoryError> {
        let before = Pages(self.pages);
        let refused = MemoryError::CouldNotGrow { current: before, attempted_delta: delta };
        let after = self.pages.checked_add(delta.0).filter(|after| *after <= self.pages_max);
        let (Some(after), Some(reservation)) = (after, &mut self.reservation) else { return Err(refused) };
        let own = after as usize * WASM_PAGE as usize;
        reservation.open_to(own).map_err(|error| MemoryError::Region(error.to_string()))?;
        self.pages = after;
        if self.window.is_none() {
            // SAFETY: it was valid and ours alone when this memory was made, and the engine calls `grow` while no
            // code of the guest runs.
            unsafe { self.definition.as_mut() }.current_length = own;
        }
        Ok(before)
    }

    fn vmmemory(&self) -> NonNull<VMMemoryDefinition> {
        self.definition
    }

    fn try_clone(&self) -> Result<Box<dyn LinearMemory + Send + Sync + 'static>, MemoryError> {
        Err(MemoryError::MemoryNotShared)
    }

    /// Held against the guest's own part: the engine would write into the gap behind it, on the host's stack.
    ///
    /// # Safety
    /// As the trait demands.
    unsafe fn initialize_with_data(&self, start: usize, data: &[u8]) -> Result<(), Trap> {
        let own = self.pages as usize * WASM_PAGE as usize;
        let fits = start.checked_add(data.len()).is_some_and(|end| end <= own);
        let (true, Some(reservation)) = (fits, &self.reservation) else {
            return Err(Trap::lib(TrapCode::HeapAccessOutOfBounds));
        };
        let place = reservation.place(start, data.len());
        // SAFETY: inside the guest's own part, as just checked, which can be written; the host's data lies elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), place.as_ptr(), data.len()) };
        Ok(())
    }

    fn copy(&self) -> Result<Box<dyn LinearMemory + Send + Sync + 'static>, MemoryError> {
        Err(MemoryError::MemoryNotShared)
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        if let (None, Some(reservation)) = (&self.window, self.reservation.take()) {
            reservation.give_back();
        }
    }
}
