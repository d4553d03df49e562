//! Window: a read-only map of a file behind a guest's memory, and the signal of a file that is cut short.
//!
//! Such a file makes the system answer a read of the window by SIGBUS, which the engine does not handle on Linux. A
//! handler of our own takes the page's rights away and lets the read happen again: now it is an ordinary violation, which
//! the engine makes a trap of the guest.
//!
//! Invariants
//! 1. The map lies in the reservation of one memory, and leaves the table of the handler before that is unmapped.
//! 2. The host never reads the window, only guests do: no Rust reference ever points into a file that may change.
//! 3. The handler touches nothing but atomics and system calls, and passes on every signal that is not for a window.
//!
//! Not here: the memory that it lies behind (`memory`).

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::reserve::{ALIGNMENT, Reservation};
use crate::limits::WASM_PAGE;

/// Where a window begins, as an address of the guest.
pub(crate) const WINDOW_START: u64 = 1 << 30;
/// Bytes of a window: what is left below 4 GiB, without its last page.
pub(crate) const WINDOW_BYTES_MAX: u64 = (1 << 32) - WINDOW_START - WASM_PAGE;
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

/// A file that is mapped behind a memory. The reservation unmaps it.
#[derive(Debug)]
pub(super) struct Mapped {
    /// Where it ends, in bytes behind the memory's base.
    end: usize,
    /// Leaves the table when dropped.
    _entry: Entry,
}

impl Mapped {
    /// Maps what was asked for by [`with_window`] into `reservation`, of which the guest has `own` bytes; none where
    /// nothing was.
    pub(super) fn requested(reservation: &Reservation, own: usize) -> io::Result<Option<Self>> {
        let Some(range) = REQUEST.take() else { return Ok(None) };
        if own as u64 > WINDOW_START {
            return Err(io::Error::other("a memory of more than 1 GiB leaves no room for a window"));
        }
        install_handler()?;
        Self::new(reservation, &range).map(Some)
    }

    fn new(reservation: &Reservation, range: &FileRange) -> io::Result<Self> {
        assert!(range.length as u64 <= WINDOW_BYTES_MAX);
        let place = reservation.place(WINDOW_START as usize, range.length);
        // Before the map is there: should this fail, nothing has happened.
        let entry = Entry::new(place.addr().get(), range.length)?;
        let offset = libc::off_t::try_from(range.offset).map_err(io::Error::other)?;
        let (flags, rights) = (libc::MAP_SHARED | libc::MAP_FIXED, libc::PROT_READ);
        // SAFETY: the window lies inside the reservation, as `place` has checked, so the mapping replaces nothing but
        // what is ours, where nobody holds a reference. The file is open.
        let mapped = unsafe {
            libc::mmap(place.as_ptr().cast(), range.length, rights, flags, range.file.as_raw_fd(), offset)
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { end: WINDOW_START as usize + range.length, _entry: entry })
    }

    pub(super) fn end(&self) -> usize {
        self.end
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// Set in the child of the test below.
    const CHILD: &str = "LLMDB_WASM_WINDOW_CHILD";

    #[test]
    fn the_signal_of_another_map_ends_the_process_as_before() {
        if std::env::var_os(CHILD).is_none() {
            let name = "raw::window::tests::the_signal_of_another_map_ends_the_process_as_before";
            let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
            let output =
                child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().expect("a child");
            let words = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{words}");
            assert!(words.contains("the window is open"), "{words}");
            return;
        }
        let file = || {
            let file = tempfile::tempfile().expect("a file");
            file.set_len(8 * 4096).expect("room");
            file
        };
        let reservation = Reservation::take().expect("addresses");
        let range = FileRange { file: Arc::new(file()), offset: 0, length: 8 * 4096 };
        let window = with_window(range, || Mapped::requested(&reservation, 0));
        let _window = window.expect("a window").expect("asked for");
        let own = file();
        // SAFETY: nobody makes a reference to a value that changes; the process is to end at the read.
        let map = unsafe { memmap2::Mmap::map(&own) }.expect("a map");
        own.set_len(0).expect("a file");
        println!("the window is open");
        std::process::exit(i32::from(std::hint::black_box(&map)[4096]));
    }
}
