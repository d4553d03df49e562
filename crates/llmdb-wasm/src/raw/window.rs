//! Window: guest memory with a read-only map of a file behind it.
//!
//! ```text
//!   0            own size          memory limit        1 GiB                 + window         8 GiB + 64 KiB
//!   | read, write | nothing, grown into | nothing       | the file, read only  | nothing          |
//! ```
//!
//! All of it is reserved from the start, so that no address that a guest can compute lies outside. `memory.size` and
//! `memory.grow` know the guest's own part only.
//!
//! A file that is cut short behind our back makes the system answer a read of the window by SIGBUS, which the engine
//! does not handle on Linux. A handler of our own takes the page's rights away and lets the read happen again: now it
//! is an ordinary violation, which the engine makes a trap of the guest.
//!
//! Invariants
//! 1. The reservation belongs to one memory, which unmaps it when it is dropped, after its window left the table of the
//!    handler.
//! 2. The host never reads the window, only guests do: no Rust reference ever points into a file that may change.
//! 3. The handler touches nothing but atomics and system calls, and passes on every signal that is not for a window.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use wasmer::sys::vm::{LinearMemory, MemoryError, MemoryStyle, Trap, TrapCode, VMMemory, VMMemoryDefinition};
use wasmer::{MemoryType, Pages};

use crate::limits::WASM_PAGE;

/// Where a window begins, as an address of the guest.
pub(crate) const WINDOW_START: u64 = 1 << 30;
/// Bytes of a window: what is left below 4 GiB, without its last page.
pub(crate) const WINDOW_BYTES_MAX: u64 = (1 << 32) - WINDOW_START - WASM_PAGE;
/// Index and offset of an access, 4 GiB each, and the engine's guard.
const RESERVED_BYTES: usize = (8 << 30) + (1 << 16);
/// The system maps large pages where address and offset in the file agree in this.
const ALIGNMENT: usize = 2 << 20;
/// Windows of a process at a time.
const WINDOW_COUNT_MAX: usize = 256;

/// A range of a file. Pages of the system in length and offset.
#[derive(Debug, Clone)]
pub(crate) struct FileRange {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

thread_local! {
    /// What the memory that is made next on this thread has behind it, and why it could not be had.
    static REQUEST: RefCell<Option<FileRange>> = const { RefCell::new(None) };
}

/// Runs `make`, in which this thread makes an instance, whose memory gets `range` behind it.
pub(crate) fn with_window<T>(range: FileRange, make: impl FnOnce() -> T) -> T {
    /// No later instance gets the window, even if this one has no memory or `make` panics.
    struct Withdraw;
    impl Drop for Withdraw {
        fn drop(&mut self) {
            REQUEST.set(None);
        }
    }
    REQUEST.set(Some(range));
    let _withdraw = Withdraw;
    make()
}

/// The memory that was asked for by [`with_window`]; none where none was.
///
/// # Safety
/// `definition` must be valid for as long as the memory lives, and nobody else may use it now.
pub(crate) unsafe fn requested(
    ty: &MemoryType,
    definition: NonNull<VMMemoryDefinition>,
) -> Option<Result<VMMemory, MemoryError>> {
    let range = REQUEST.take()?;
    // SAFETY: the caller's promise, passed on.
    let memory = unsafe { WindowMemory::new(*ty, &range, definition) };
    let memory = memory.map_err(|error| MemoryError::Region(error.to_string()));
    Some(memory.map(|memory| VMMemory(Box::new(memory))))
}

/// The reservation, unmapped when dropped.
#[derive(Debug)]
struct Reservation(NonNull<u8>);

impl Reservation {
    fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice touches nothing that exists.
        let start =
            unsafe { libc::mmap(null_mut(), RESERVED_BYTES + ALIGNMENT, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).map(Self).ok_or_else(io::Error::last_os_error)
    }

    /// The first address at a multiple of the alignment.
    fn base(&self) -> NonNull<u8> {
        let skipped = self.0.as_ptr().align_offset(ALIGNMENT);
        // SAFETY: less than the alignment, by which the reservation is longer.
        unsafe { self.0.add(skipped) }
    }

    /// Lets the guest read and write `length` bytes at `offset`.
    fn open(&self, offset: usize, length: usize) -> io::Result<()> {
        assert!(offset + length <= RESERVED_BYTES);
        // SAFETY: inside the reservation, as just checked, where nobody holds a reference.
        let status = unsafe {
            libc::mprotect(
                self.base().add(offset).as_ptr().cast(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Maps `range` at the window's place.
    fn map(&self, range: &FileRange) -> io::Result<()> {
        assert!(range.length as u64 <= WINDOW_BYTES_MAX);
        let offset = libc::off_t::try_from(range.offset).map_err(io::Error::other)?;
        let (flags, rights) = (libc::MAP_SHARED | libc::MAP_FIXED, libc::PROT_READ);
        // SAFETY: the window lies inside the reservation, by the assertion, so the mapping replaces nothing but what is
        // ours, where nobody holds a reference. The file is open.
        let mapped = unsafe {
            let place = self.base().add(WINDOW_START as usize).as_ptr().cast();
            libc::mmap(place, range.length, rights, flags, range.file.as_raw_fd(), offset)
        };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole, and its memory is gone with the instance that used it.
        unsafe { libc::munmap(self.0.as_ptr().cast(), RESERVED_BYTES + ALIGNMENT) };
    }
}

/// A memory with a window.
#[derive(Debug)]
struct WindowMemory {
    // Field order is drop order: the entry goes before the reservation.
    _entry: Entry,
    reservation: Reservation,
    ty: MemoryType,
    pages: u32,
    definition: NonNull<VMMemoryDefinition>,
}

// SAFETY: the reservation is plain memory of the process, and the definition lies in the instance that owns this memory
// and goes where it goes.
unsafe impl Send for WindowMemory {}
// SAFETY: no method that takes `&self` changes anything.
unsafe impl Sync for WindowMemory {}

impl WindowMemory {
    /// # Safety
    /// `definition` must be valid for as long as the memory lives, and nobody else may use it now.
    unsafe fn new(
        ty: MemoryType,
        range: &FileRange,
        mut definition: NonNull<VMMemoryDefinition>,
    ) -> io::Result<Self> {
        install_handler()?;
        let reservation = Reservation::new()?;
        let pages = ty.minimum.0;
        let own = pages as usize * WASM_PAGE as usize;
        if own as u64 > WINDOW_START {
            return Err(io::Error::other("a memory of more than 1 GiB leaves no room for a window"));
        }
        reservation.open(0, own)?;
        reservation.map(range)?;
        let base = reservation.base();
        let start = base.addr().get() + WINDOW_START as usize;
        let entry = Entry::new(start, range.length)?;
        // SAFETY: the caller promised that it is valid and that nobody else uses it.
        let written = unsafe { definition.as_mut() };
        written.base = base.as_ptr();
        // Bulk instructions are held against this, and may read the window; the page's rights do the rest.
        written.current_length = WINDOW_START as usize + range.length;
        Ok(Self { _entry: entry, reservation, ty, pages, definition })
    }
}

impl LinearMemory for WindowMemory {
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
        let cap = (WINDOW_START / WASM_PAGE) as u32;
        let maximum = self.ty.maximum.map_or(cap, |maximum| maximum.0.min(cap));
        let after = self.pages.checked_add(delta.0).filter(|after| *after <= maximum).ok_or(refused)?;
        let page = WASM_PAGE as usize;
        if delta.0 > 0 {
            let opened = self.reservation.open(self.pages as usize * page, delta.0 as usize * page);
            opened.map_err(|error| MemoryError::Region(error.to_string()))?;
        }
        self.pages = after;
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
        if start.checked_add(data.len()).is_none_or(|end| end > own) {
            return Err(Trap::lib(TrapCode::HeapAccessOutOfBounds));
        }
        // SAFETY: inside the guest's own part, as just checked, which is open for writing; the host's data lies elsewhere.
        unsafe {
            let place = self.reservation.base().add(start);
            std::ptr::copy_nonoverlapping(data.as_ptr(), place.as_ptr(), data.len());
        }
        Ok(())
    }

    fn copy(&self) -> Result<Box<dyn LinearMemory + Send + Sync + 'static>, MemoryError> {
        Err(MemoryError::MemoryNotShared)
    }
}

/// The windows, for the handler, each in one word so that it is seen whole: start in units of [`ALIGNMENT`], then bytes in
/// units of [`WINDOW_UNIT`]. 0 is a free place.
static WINDOWS: [AtomicU64; WINDOW_COUNT_MAX] = [const { AtomicU64::new(0) }; WINDOW_COUNT_MAX];
const WINDOW_UNIT: usize = 4096;
const WINDOW_UNITS_BITS: u32 = 20;
const _: () = assert!(WINDOW_BYTES_MAX < (WINDOW_UNIT as u64) << WINDOW_UNITS_BITS);

/// A place in the table, given back when dropped.
#[derive(Debug)]
struct Entry(usize);

impl Entry {
    fn new(start: usize, length: usize) -> io::Result<Self> {
        assert!(start.is_multiple_of(ALIGNMENT));
        let units = length.div_ceil(WINDOW_UNIT) as u64;
        let window = ((start / ALIGNMENT) as u64) << WINDOW_UNITS_BITS | units;
        for (index, place) in WINDOWS.iter().enumerate() {
            if place.compare_exchange(0, window, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return Ok(Self(index));
            }
        }
        Err(io::Error::other(format!("{WINDOW_COUNT_MAX} windows are open, no more can be watched")))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(place) = WINDOWS.get(self.0) {
            place.store(0, Ordering::SeqCst);
        }
    }
}

fn is_in_window(address: usize) -> bool {
    WINDOWS.iter().any(|place| {
        let window = place.load(Ordering::SeqCst);
        let start = (window >> WINDOW_UNITS_BITS) as usize * ALIGNMENT;
        let length = (window & ((1 << WINDOW_UNITS_BITS) - 1)) as usize * WINDOW_UNIT;
        (start..start + length).contains(&address)
    })
}

/// What SIGBUS did before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

fn install_handler() -> io::Result<()> {
    static OUTCOME: OnceLock<Option<i32>> = OnceLock::new();
    let outcome = OUTCOME.get_or_init(|| {
        let mut previous = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: asks only; the place is large enough.
        if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), previous.as_mut_ptr()) } != 0 {
            return io::Error::last_os_error().raw_os_error();
        }
        // SAFETY: the call above has filled it.
        PREVIOUS.get_or_init(|| unsafe { previous.assume_init() });
        // SAFETY: all zeros is a valid value of this struct of numbers, and means no flags and an empty mask.
        let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
        action.sa_sigaction = on_sigbus as *const () as usize;
        // On the alternate stack, as guests run on small ones.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: the handler has the signature that SA_SIGINFO asks for, keeps to what a handler may do (invariant 3),
        // and lives as long as the program.
        if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, null_mut()) } != 0 {
            return io::Error::last_os_error().raw_os_error();
        }
        None
    });
    outcome.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system gives a valid `siginfo_t` to a handler with SA_SIGINFO, and SIGBUS fills in the address.
    let address = unsafe { (*info).si_addr() } as usize;
    if is_in_window(address) {
        // SAFETY: asks for a number.
        let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let page = address & !(page_size - 1);
        // SAFETY: one page of a window, which is mapped while it stands in the table; only guests read it.
        if unsafe { libc::mprotect(page as *mut libc::c_void, page_size, libc::PROT_NONE) } == 0 {
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Does what would have been done without us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.get();
    match previous {
        Some(previous)
            if previous.sa_sigaction > libc::SIG_IGN && previous.sa_flags & libc::SA_SIGINFO != 0 =>
        {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: a handler that was installed with SA_SIGINFO has this signature.
            let handler =
                unsafe { std::mem::transmute::<*const (), Handler>(previous.sa_sigaction as *const ()) };
            handler(signal, info, context);
        }
        Some(previous) if previous.sa_sigaction > libc::SIG_IGN => {
            type Handler = extern "C" fn(libc::c_int);
            // SAFETY: one that was installed without SA_SIGINFO has this one.
            let handler =
                unsafe { std::mem::transmute::<*const (), Handler>(previous.sa_sigaction as *const ()) };
            handler(signal);
        }
        // By default the process ends: the access happens again, now without a handler.
        _ => {
            // SAFETY: setting the default has no preconditions.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}
