//! Large values: a reference in the leaf to pages of their own.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  first page
//!      8     8  length in bytes
//!     16     8  birth: the commit that wrote it
//!     24    16  hash: XXH3-128 of the value
//! ```

use llmdb_pager::page::{PAGE_NUMBER_END, read_u64};
use llmdb_pager::{PageNumber, Run};
use xxhash_rust::xxh3::xxh3_128;

/// Bytes of a reference to a large value.
pub const LARGE_REF_SIZE: usize = 40;

/// Where a large value stands, and what its bytes must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeRef {
    /// Its first page.
    pub start: PageNumber,
    /// Its length in bytes.
    pub len: u64,
    /// The commit that wrote it.
    pub born: u64,
    /// XXH3-128 of its bytes.
    pub hash: u128,
}

impl LargeRef {
    /// The reference to `bytes` at `start`.
    pub fn of(bytes: &[u8], start: PageNumber, born: u64) -> Self {
        Self { start, len: bytes.len() as u64, born, hash: xxh3_128(bytes) }
    }

    /// The pages that it takes.
    pub fn run(&self, page_size: usize) -> Run {
        Run { start: self.start, count: self.len.div_ceil(page_size as u64).max(1) }
    }

    /// Whether these are its bytes.
    pub fn is_intact(&self, bytes: &[u8]) -> bool {
        xxh3_128(bytes) == self.hash
    }

    /// As stored in a leaf, and in the log.
    pub fn encode(&self) -> [u8; LARGE_REF_SIZE] {
        let mut bytes = [0; LARGE_REF_SIZE];
        bytes[0..8].copy_from_slice(&self.start.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.born.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.hash.to_le_bytes());
        bytes
    }

    /// Decodes a stored reference; `None` where it cannot be one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LARGE_REF_SIZE] = bytes.try_into().ok()?;
        let found = Self {
            start: PageNumber(read_u64(bytes, 0)),
            len: read_u64(bytes, 8),
            born: read_u64(bytes, 16),
            hash: u128::from_le_bytes(bytes[24..40].try_into().ok()?),
        };
        (found.start.0 < PAGE_NUMBER_END && found.len <= crate::limits::VALUE_SIZE_MAX).then_some(found)
    }
}

/// A value as a leaf holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// Its bytes stand in the leaf.
    Inline(&'a [u8]),
    /// Its bytes stand in pages of their own.
    Large(LargeRef),
}
