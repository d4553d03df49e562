//! Rows: items of one size in a row, as pages in a file are, and what of them goes into a batch.
//!
//! Invariants
//! 1. A row is whole: bytes that do not make one are refused, not dropped.

use crate::input::{COLUMN_ALIGNMENT, Column, columns_size};

/// Rows of one size, one after the other: the pages of a file, the records of a fixed layout.
///
/// ```
/// use llmdb_wasm::Rows;
/// let rows = Rows::new(&[1, 2, 3, 4, 5, 6], 2).expect("three rows");
/// assert_eq!((rows.len(), rows.row_size()), (3, 2));
/// assert!(Rows::new(&[1, 2, 3], 2).is_none());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    bytes: &'a [u8],
    row_size: usize,
}

impl<'a> Rows<'a> {
    /// Rows of `row_size` bytes; none where `bytes` are no multiple of that.
    #[must_use]
    pub fn new(bytes: &'a [u8], row_size: usize) -> Option<Self> {
        (row_size > 0 && bytes.len().is_multiple_of(row_size)).then_some(Self { bytes, row_size })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.row_size
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of one.
    #[must_use]
    pub fn row_size(&self) -> usize {
        self.row_size
    }

    /// The bytes of all.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Those from `from` on, `count` of them, less where they end.
    #[must_use]
    pub fn part(&self, from: usize, count: usize) -> Self {
        let start = from.min(self.len());
        let end = start + count.min(self.len() - start);
        let bytes = self.bytes.get(start * self.row_size..end * self.row_size).unwrap_or_default();
        Self { bytes, row_size: self.row_size }
    }

    /// Gathers `columns` into `out`, of [`columns_size`] bytes: what a guest sees. The columns lie within a row.
    pub(crate) fn gather(&self, columns: &[Column], out: &mut [u8]) {
        debug_assert_eq!(out.len(), columns_size(columns, self.len()));
        let mut at = 0usize;
        for column in columns {
            let from = at.next_multiple_of(COLUMN_ALIGNMENT);
            // Not what an earlier batch left there.
            out.get_mut(at..from).unwrap_or_default().fill(0);
            at = from + column.width as usize * self.len();
            if let Some(out) = out.get_mut(from..at) {
                self.gather_column(*column, out);
            }
        }
    }

    fn gather_column(&self, column: Column, out: &mut [u8]) {
        match column.width {
            4 => self.gather_width::<4>(column.offset as usize, out),
            8 => self.gather_width::<8>(column.offset as usize, out),
            16 => self.gather_width::<16>(column.offset as usize, out),
            32 => self.gather_width::<32>(column.offset as usize, out),
            _ => self.gather_any(column, out),
        }
    }

    /// A width known to the compiler is one move, not a call.
    fn gather_width<const WIDTH: usize>(&self, offset: usize, out: &mut [u8]) {
        let (slots, _) = out.as_chunks_mut::<WIDTH>();
        for (row, slot) in self.bytes.chunks_exact(self.row_size).zip(slots) {
            if let Some(bytes) = row.get(offset..).and_then(<[u8]>::first_chunk) {
                *slot = *bytes;
            }
        }
    }

    fn gather_any(&self, column: Column, out: &mut [u8]) {
        let (offset, width) = (column.offset as usize, column.width as usize);
        for (row, slot) in self.bytes.chunks_exact(self.row_size).zip(out.chunks_exact_mut(width)) {
            if let Some(bytes) = row.get(offset..offset + width) {
                slot.copy_from_slice(bytes);
            }
        }
    }
}
