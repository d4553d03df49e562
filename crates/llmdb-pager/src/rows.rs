//! Writing pages in rows: neighbours are gathered in one buffer and go to the file in one write.
//!
//! Invariants
//! 1. A page is in the file only after [`RowWriter::finish`], or a later page's flush, answered `Ok`.
//! 2. What was known of a page written before (`forget_checked`) is forgotten before the write.
//! 3. Rows end at multiples of [`ROW_SIZE`] in the file: the system keeps, and maps, a large aligned write
//!    in large pieces.
//!
//! Not here: which pages, and what is in them (`checkpoint`, `spill`).

use crate::error::Error;
use crate::page::PageNumber;
use crate::snapshot::Core;
use crate::storage::write_all_at;

/// The most bytes of one write.
pub(crate) const ROW_SIZE: usize = 8 << 20;

/// How much of a paced row is on its way to the device at once, in bytes: commits beside 256 KiB at a time were
/// seen to wait for 0.1 to 0.2 ms, beside a whole checkpoint for 30 and more.
const PIECE_SIZE: usize = 256 << 10;

/// How much was written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) pages: u64,
    pub(crate) bytes: u64,
    pub(crate) writes: u64,
}

/// Gathers pages in the order given.
pub(crate) struct RowWriter<'a> {
    core: &'a Core,
    /// A row as far as it goes, for the pages from `start` on. It has room for `size` bytes.
    row: Vec<u8>,
    size: usize,
    start: u64,
    is_paced: bool,
    written: Written,
}

impl<'a> RowWriter<'a> {
    /// A writer that expects about `page_count` pages.
    pub(crate) fn new(core: &'a Core, page_count: usize) -> Self {
        let size = page_count.clamp(1, ROW_SIZE / core.page_size) * core.page_size;
        let row = Vec::with_capacity(size);
        Self { core, row, size, start: 0, is_paced: false, written: Written::default() }
    }

    /// Has each row on its way to the device, a piece at a time, before the next: so that no flush beside it
    /// finds more than a piece before it in the device's queue.
    pub(crate) fn paced(mut self) -> Self {
        self.is_paced = true;
        self
    }

    /// Adds a copy of `bytes` as page `number`, and answers it for the last changes.
    ///
    /// # Errors
    /// An I/O error of writing the pages before.
    pub(crate) fn push(&mut self, number: PageNumber, bytes: &[u8]) -> Result<&mut [u8], Error> {
        debug_assert_eq!(bytes.len(), self.core.page_size);
        let next = self.start + (self.row.len() / bytes.len()) as u64;
        let is_row_end = (next * bytes.len() as u64).is_multiple_of(ROW_SIZE as u64);
        if number.0 != next || self.row.len() == self.size || is_row_end {
            self.flush()?;
            self.start = number.0;
        }
        self.core.forget_checked(number);
        self.written.pages += 1;
        let start = self.row.len();
        self.row.extend_from_slice(bytes);
        Ok(&mut self.row[start..])
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.row.is_empty() {
            return Ok(());
        }
        write_all_at(&*self.core.file, &self.row, self.start * self.core.page_size as u64)
            .map_err(|e| Error::io(self.core.doing(&format!("writing page {} of", self.start)), e))?;
        if self.is_paced {
            self.send_on()?;
        }
        self.written.writes += 1;
        self.written.bytes += self.row.len() as u64;
        self.row.clear();
        Ok(())
    }

    fn send_on(&self) -> Result<(), Error> {
        let start = self.start * self.core.page_size as u64;
        for piece in (0..self.row.len()).step_by(PIECE_SIZE) {
            let len = PIECE_SIZE.min(self.row.len() - piece) as u64;
            self.core.file.write_back(start + piece as u64, len).map_err(|e| {
                Error::io(self.core.doing(&format!("sending page {} to the device of", self.start)), e)
            })?;
        }
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// An I/O error.
    pub(crate) fn finish(mut self) -> Result<Written, Error> {
        self.flush()?;
        Ok(self.written)
    }
}
