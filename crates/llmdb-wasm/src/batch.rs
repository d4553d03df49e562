//! Batch: records as a guest sees them. The layout is part of the ABI, since version 1.
//!
//! ```text
//! OFFSET        SIZE  DESCRIPTION (little-endian; all offsets count from the start of the batch)
//!      0           4  count of records
//!      4           4  size of an entry: 32, or 48 with known times; step by this
//!      8           8  zero, reserved
//!     16           -  entries
//!   then           -  the bytes of keys and values
//!
//! entry
//!      0           4  key offset
//!      4           4  key length
//!      8           4  value offset
//!     12           4  value length
//!     16           8  valid from, signed microseconds since 1970; the least i64 is "since ever"
//!     24           8  valid to, the same; the greatest i64 is "for ever"
//!     32           8  known from, the same (only in entries of 48)
//!     40           8  known to, the same (only in entries of 48)
//! ```

use crate::input::Fields;

/// Bytes before the first entry.
pub const HEADER_SIZE: usize = 16;
/// Bytes of one entry.
pub const ENTRY_SIZE: usize = 32;

/// Bytes of one entry for functions that declare the known times.
pub const ENTRY_SIZE_KNOWN: usize = 48;

const _: () = assert!(ENTRY_SIZE == 4 * size_of::<u32>() + 2 * size_of::<i64>());
const _: () = assert!(ENTRY_SIZE_KNOWN == ENTRY_SIZE + 2 * size_of::<i64>());

/// One record, borrowed: any bytes, with the period in which they are true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Start of the period, microseconds since 1970; `i64::MIN` where it has none.
    pub valid_from: i64,
    /// End of the period, not in it; `i64::MAX` where it has none.
    pub valid_to: i64,
    /// Since when this was known, microseconds since 1970; `i64::MIN` where nobody says.
    pub known_from: i64,
    /// When it stopped being what is known, not included; `i64::MAX` while it still is.
    pub known_to: i64,
}

impl<'a> Record<'a> {
    /// A record that is true at all times, and was always known.
    #[must_use]
    pub fn new(key: &'a [u8], value: &'a [u8]) -> Self {
        let (from, to) = (i64::MIN, i64::MAX);
        Self { key, value, valid_from: from, valid_to: to, known_from: from, known_to: to }
    }

    /// What a function that declares `fields` sees of it.
    pub(crate) fn only(self, fields: Fields) -> Self {
        let mut seen = Self::new(b"", b"");
        if fields.key {
            seen.key = self.key;
        }
        if fields.value {
            seen.value = self.value;
        }
        if fields.valid {
            (seen.valid_from, seen.valid_to) = (self.valid_from, self.valid_to);
        }
        if fields.known {
            (seen.known_from, seen.known_to) = (self.known_from, self.known_to);
        }
        seen
    }

    pub(crate) fn byte_count(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Records gathered for one call, in two parts that are contiguous in the guest.
#[derive(Debug, Clone, Default)]
pub struct RecordBatch {
    entries: Vec<Entry>,
    data: Vec<u8>,
    has_known: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key_length: usize,
    value_length: usize,
    /// Valid from and to, known from and to.
    times: [i64; 4],
}

impl RecordBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch whose entries have the known times.
    #[must_use]
    pub fn with_known() -> Self {
        Self { has_known: true, ..Self::default() }
    }

    fn entry_size(&self) -> usize {
        if self.has_known { ENTRY_SIZE_KNOWN } else { ENTRY_SIZE }
    }

    /// Records in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that the batch takes in a guest.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        HEADER_SIZE + self.entries.len() * self.entry_size() + self.data.len()
    }

    /// Appends a copy of `record`.
    pub fn push(&mut self, record: Record<'_>) {
        self.data.extend_from_slice(record.key);
        self.data.extend_from_slice(record.value);
        self.entries.push(Entry {
            key_length: record.key.len(),
            value_length: record.value.len(),
            times: [record.valid_from, record.valid_to, record.known_from, record.known_to],
        });
    }

    /// Empties the batch and keeps its buffers.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.data.clear();
    }

    /// The batch as a guest sees it.
    ///
    /// ```
    /// use llmdb_wasm::{Record, RecordBatch};
    /// let mut batch = RecordBatch::new();
    /// batch.push(Record::new(b"key", b"value"));
    /// let bytes = batch.to_bytes();
    /// assert_eq!(bytes[..4], 1u32.to_le_bytes());
    /// assert_eq!(&bytes[48..], b"keyvalue");
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(&self.data);
        bytes
    }

    /// Header and entries. A batch stays below 4 GiB by the memory limit, so the offsets fit.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEADER_SIZE + self.entries.len() * self.entry_size());
        head.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        head.extend_from_slice(&(self.entry_size() as u32).to_le_bytes());
        head.extend_from_slice(&[0; 8]);
        let mut offset = self.byte_count() - self.data.len();
        for entry in &self.entries {
            let value_offset = offset + entry.key_length;
            for number in [offset, entry.key_length, value_offset, entry.value_length] {
                head.extend_from_slice(&(number as u32).to_le_bytes());
            }
            let times = if self.has_known { &entry.times[..] } else { &entry.times[..2] };
            times.iter().for_each(|time| head.extend_from_slice(&time.to_le_bytes()));
            offset = value_offset + entry.value_length;
        }
        head
    }

    /// The bytes of keys and values, which follow the head.
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }
}
