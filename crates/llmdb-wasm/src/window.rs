//! Window: whole pages of a file, read by a guest where they are.
//!
//! Invariants
//! 1. Only for functions that are trusted with every byte of the range: pages of other tables, free pages, pages that
//!    are being written. All others get columns or copies (`stage`).
//! 2. A guest can read the window and no more: writing to it traps.
//!
//! Not here: the mapping and its signal (`raw::window`).

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use crate::compiled::Loaded;
use crate::error::Result;
use crate::guest::{Guest, Role, Stats};
use crate::input::Input;
use crate::output::Output;
use crate::raw::vm::Map;
use crate::raw::window::{FileRange, WINDOW_BYTES_MAX};
use crate::stage::call;

/// A range of a file that trusted functions may read, through a map. Clones are one.
///
/// The file may grow and change meanwhile; what a guest reads of a page that is being written is anything. If the file is
/// cut short, reads of what is gone trap.
#[derive(Debug, Clone)]
pub struct Window {
    range: FileRange,
}

impl Window {
    /// Bytes of the largest window: 3 GiB less 64 KiB.
    pub const BYTES_MAX: u64 = WINDOW_BYTES_MAX;

    /// The range of `file` from `offset`, a multiple of the system's page size; of 2 MiB it is faster. None if it is
    /// empty or larger than [`BYTES_MAX`](Self::BYTES_MAX).
    #[must_use]
    pub fn new(file: File, offset: u64, length: u64) -> Option<Self> {
        let fits = length > 0 && length <= WINDOW_BYTES_MAX;
        let length = usize::try_from(length).ok().filter(|_| fits)?;
        Some(Self { range: FileRange { file: Arc::new(file), offset, length } })
    }

    /// Bytes of it.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.range.length as u64
    }
}

/// A map over the pages of a [`Window`], without a copy. Bound to its thread.
///
/// ```
/// use llmdb_wasm::{Runtime, Window, guests};
/// let mut file = tempfile::tempfile()?;
/// std::io::Write::write_all(&mut file, &[1; 8 * 4096])?;
/// let window = Window::new(file, 0, 8 * 4096).expect("neither empty nor too large");
/// let module = Runtime::default().compile_named("pages", guests::PAGES.as_bytes())?;
/// let output = module.map_trusted("page_sum", &window)?.pages(2..5)?;
/// assert_eq!(output.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WindowStage {
    guest: Guest,
    callee: Map,
    page_size: u64,
    page_count: u64,
}

impl std::fmt::Debug for WindowStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowStage").field("guest", &self.guest).finish_non_exhaustive()
    }
}

impl WindowStage {
    pub(crate) fn new(module: &Loaded, name: &str, window: &Window) -> Result<Self> {
        let guest = Guest::with_window(module, name, Role::Map, window.range.clone())?;
        let callee = guest.instance.find_map(&guest.function)?;
        let Input::Pages(page_size) = guest.declaration.input else {
            let reason = "only a function that declares pages can read a window".to_owned();
            return Err(guest.input_error(reason));
        };
        let page_size = u64::from(page_size);
        Ok(Self { guest, callee, page_size, page_count: window.length() / page_size })
    }

    /// Whole pages in the window.
    #[must_use]
    pub fn page_count(&self) -> u64 {
        self.page_count
    }

    /// What it has taken so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.guest.stats()
    }

    /// An empty output for this map's answers.
    #[must_use]
    pub fn output(&self) -> Output {
        Output::new(self.guest.declaration.width as usize)
    }

    /// The answers to these pages, by their index in the window.
    ///
    /// # Errors
    /// As [`Stage::rows`](crate::Stage::rows); pages beyond the window, which change nothing.
    pub fn pages(&mut self, pages: Range<u64>) -> Result<Output> {
        let mut output = self.output();
        self.pages_into(pages, &mut output)?;
        Ok(output)
    }

    /// As [`pages`](Self::pages), added to `output`.
    ///
    /// # Errors
    /// As [`pages`](Self::pages). The output then holds the answers of the batches before.
    pub fn pages_into(&mut self, pages: Range<u64>, output: &mut Output) -> Result<()> {
        self.answer(pages, output, || false)
    }

    /// As [`pages_into`](Self::pages_into); before each batch `is_over` is asked whether to end.
    pub(crate) fn answer(
        &mut self,
        pages: Range<u64>,
        output: &mut Output,
        is_over: impl Fn() -> bool,
    ) -> Result<()> {
        if pages.end > self.page_count {
            let reason = format!("page {} is asked for, the window has {}", pages.end, self.page_count);
            return Err(self.guest.input_error(reason));
        }
        let (callee, page_size, mut at) = (&self.callee, self.page_size, pages.start);
        while at < pages.end {
            if is_over() {
                return Err(self.guest.cancelled());
            }
            let count = (pages.end - at).min(self.guest.target() as u64);
            self.guest.or_dead(|guest| {
                let given = guest.give_window(at * page_size, count as usize);
                call(guest, callee, Role::Map, given, output)
            })?;
            at += count;
        }
        Ok(())
    }
}
