//! Writing pages in rows: neighbours are gathered in one buffer and go to the file in one write.
//!
//! Invariants
//! 1. A page is in the file only after [`RowWriter::finish`] or [`Row::flush`], or a later page's flush, answered
//!    `Ok`.
//! 2. What was known of a page written before (`forget_checked`) is forgotten before the write.
//! 3. Rows end at multiples of their size in the file: the system keeps, and maps, a large aligned write in
//!    large pieces.
//!
//! Not here: which pages, and what is in them (`checkpoint`, `spill`, `stream`).

use crate::early::STRETCH_SIZE;
use crate::error::Error;
use crate::page::PageNumber;
use crate::snapshot::Core;
use crate::storage::write_all_at;
use std::ops::Range;

/// The most bytes of one write.
pub(crate) const ROW_SIZE: usize = 8 << 20;

/// How many bytes of a paced writer are on their way to the device at once, in one row or in many: commits beside 256 KiB
/// at a time were seen to wait for 0.1 to 0.2 ms, beside a whole checkpoint for 30 and more. A page waited for by itself
/// takes 0.12 ms, and where trees changed all over most rows are one page.
const PIECE_SIZE: usize = 256 << 10;
/// The same where nobody waits for the end.
const GENTLE_SIZE: usize = 64 << 10;

/// How much was written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) pages: u64,
    pub(crate) bytes: u64,
    pub(crate) writes: u64,
}

/// When rows go to the device.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// When the system likes, or at the flush.
    System,
    /// Large ones set out as soon as they are written.
    AtOnce,
    /// The next ones begin when they are there.
    Awaited,
}

/// A row in the making.
#[derive(Debug)]
pub(crate) struct Row {
    page_size: usize,
    /// Bytes at whose multiples in the file a row ends.
    step: usize,
    /// Room for the pages from `start` on, of which `len` bytes are taken.
    bytes: Vec<u8>,
    len: usize,
    start: u64,
    pace: Pace,
    /// The most bytes of a paced writer that are on their way.
    piece: usize,
    /// Short rows of a paced writer that set out and were not waited for.
    sent: Vec<Range<u64>>,
    written: Written,
}

impl Row {
    /// An empty row of at most `page_count` pages, which ends at multiples of `step` bytes.
    pub(crate) fn new(page_size: usize, step: usize, page_count: usize) -> Self {
        let size = page_count.clamp(1, step / page_size) * page_size;
        let (bytes, written) = (vec![0; size], Written::default());
        Self {
            page_size,
            step,
            bytes,
            len: 0,
            start: 0,
            pace: Pace::System,
            piece: PIECE_SIZE,
            sent: Vec::new(),
            written,
        }
    }

    /// Room for page `number`; what stands there is another page or zeros.
    ///
    /// # Errors
    /// An I/O error of writing the pages before.
    pub(crate) fn page(&mut self, core: &Core, number: PageNumber) -> Result<&mut [u8], Error> {
        let next = self.start + (self.len / self.page_size) as u64;
        let is_row_end = (next * self.page_size as u64).is_multiple_of(self.step as u64);
        if number.0 != next || self.len == self.bytes.len() || is_row_end {
            self.flush(core)?;
            self.start = number.0;
        }
        core.forget_checked(number);
        self.written.pages += 1;
        let place = self.len..self.len + self.page_size;
        self.len = place.end;
        Ok(&mut self.bytes[place])
    }

    /// Writes what there is.
    ///
    /// # Errors
    /// An I/O error.
    pub(crate) fn flush(&mut self, core: &Core) -> Result<(), Error> {
        if self.len == 0 {
            return Ok(());
        }
        write_all_at(&*core.file, &self.bytes[..self.len], self.start * self.page_size as u64)
            .map_err(|e| Error::io(core.doing(&format!("writing page {} of", self.start)), e))?;
        match self.pace {
            Pace::System => {}
            Pace::AtOnce if self.len as u64 >= STRETCH_SIZE => core.begin_to_send(&self.place()),
            Pace::AtOnce => {}
            Pace::Awaited => self.send_on(core)?,
        }
        self.written.writes += 1;
        self.written.bytes += self.len as u64;
        self.len = 0;
        Ok(())
    }

    /// Has each large row set out for the device as soon as it is written, if `yes`.
    pub(crate) fn sent_early(mut self, yes: bool) -> Self {
        self.pace = if yes { Pace::AtOnce } else { Pace::System };
        self
    }

    /// Where it goes, in bytes of the file.
    fn place(&self) -> Range<u64> {
        let start = self.start * self.page_size as u64;
        start..start + self.len as u64
    }

    /// Sends the row on: a short one sets out and is waited for with others, a long one piece by piece.
    fn send_on(&mut self, core: &Core) -> Result<(), Error> {
        let place = self.place();
        let under_way: u64 = self.sent.iter().map(|sent| sent.end - sent.start).sum();
        if under_way + place.end - place.start > self.piece as u64 {
            self.await_sent(core)?;
        }
        if self.len < self.piece {
            core.begin_to_send(&place);
            self.sent.push(place);
            return Ok(());
        }
        for piece in place.clone().step_by(self.piece) {
            core.send_on(piece, (self.piece as u64).min(place.end - piece))?;
        }
        Ok(())
    }

    /// Waits for the short rows that set out.
    fn await_sent(&mut self, core: &Core) -> Result<(), Error> {
        self.sent.drain(..).try_for_each(|sent| core.send_on(sent.start, sent.end - sent.start))
    }
}

/// Gathers copies of pages in the order given.
pub(crate) struct RowWriter<'a> {
    core: &'a Core,
    row: Row,
}

impl<'a> RowWriter<'a> {
    /// A writer that expects about `page_count` pages.
    pub(crate) fn new(core: &'a Core, page_count: usize) -> Self {
        Self { core, row: Row::new(core.page_size, ROW_SIZE, page_count) }
    }

    /// Has rows on their way to the device, no more than a piece at a time: so that no flush beside it finds more than that
    /// before it in the device's queue.
    pub(crate) fn paced(mut self) -> Self {
        self.row.pace = Pace::Awaited;
        self
    }

    /// Has pieces of a paced writer small, or not, from now on.
    pub(crate) fn be_gentle(&mut self, yes: bool) {
        self.row.piece = if yes { GENTLE_SIZE } else { PIECE_SIZE };
    }

    /// Has each large row set out for the device as soon as it is written, if `yes`.
    pub(crate) fn sent_early(mut self, yes: bool) -> Self {
        self.row = self.row.sent_early(yes);
        self
    }

    /// Adds a copy of `bytes` as page `number`, and answers it for the last changes.
    ///
    /// # Errors
    /// An I/O error of writing the pages before.
    pub(crate) fn push(&mut self, number: PageNumber, bytes: &[u8]) -> Result<&mut [u8], Error> {
        let page = self.row.page(self.core, number)?;
        page.copy_from_slice(bytes);
        Ok(page)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// An I/O error.
    pub(crate) fn finish(mut self) -> Result<Written, Error> {
        self.row.flush(self.core)?;
        Ok(self.row.written)
    }
}
