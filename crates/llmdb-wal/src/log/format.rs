//! The log's bytes.
//!
//! ```text
//! header block
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  magic: "LLMDBWAL"
//!      8     4  format version
//!     12     4  zero
//!     16    16  identity of the database that it belongs to
//!     32     8  capacity: bytes of the ring behind the header block
//!     40     8  checksum: XXH3-64 of bytes 0..40
//!
//! record
//!      0     8  checksum: XXH3-64 of the rest, seeded with the identity
//!      8     8  LSN: where the record begins, counted from the log's first byte ever
//!     16     8  chain: checksum of the record before
//!     24     8  flushed: the log was flushed up to this LSN when the record was written
//!     32     8  checkpoint: the newest durable checkpoint when the record was written
//!     40     8  commit number
//!     48     4  payload length
//!     52     4  flags: 1 = what it leads to in the data file was flushed before it was written
//!     56     n  payload, then zeros up to a multiple of 8
//! ```
//!
//! LSN l stands at byte 4096 + l mod capacity of the file. What is flushed together is a group: its first
//! record begins at a multiple of 4096, so no flush touches a block of an earlier one.
//!
//! Invariants
//! 1. A record is never mistaken for one of an earlier round of the ring: its LSN would differ.
//! 2. Nor for one that a crash cut off: its chain would.

use super::blocks::Blocks;
use crate::lsn::Lsn;
use llmdb_pager::page::{read_u32, read_u64};
use std::ops::Range;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The version that this crate reads and writes.
pub const LOG_FORMAT_VERSION: u32 = 2;
/// Groups begin at multiples of this.
pub const BLOCK_SIZE: u64 = 4096;
/// Bytes of the largest ring: all of it is read into memory after a crash.
pub(crate) const CAPACITY_MAX: u64 = 8 << 30;
/// Bytes before a record's payload.
pub const RECORD_HEADER_SIZE: usize = 56;
/// Bytes of a log's header, the first of its header block.
pub(super) const LOG_HEADER_SIZE: usize = 48;
const MAGIC: [u8; 8] = *b"LLMDBWAL";

const CHECKSUM: Range<usize> = 0..8;
const LSN: Range<usize> = 8..16;
const CHAIN: Range<usize> = 16..24;
const FLUSHED: Range<usize> = 24..32;
const CHECKPOINT: Range<usize> = 32..40;
const COMMIT: Range<usize> = 40..48;
const LEN: Range<usize> = 48..52;
const FLAGS: Range<usize> = 52..56;
const _: () = assert!(FLAGS.end == RECORD_HEADER_SIZE);
/// What the record leads to in the data file was flushed before it was written.
const IS_BACKED: u32 = 1;

/// The log's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogHeader {
    pub(crate) identity: u128,
    pub(crate) capacity: u64,
}

impl LogHeader {
    pub(crate) fn encode(&self) -> [u8; LOG_HEADER_SIZE] {
        let mut bytes = [0; LOG_HEADER_SIZE];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&LOG_FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.identity.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.capacity.to_le_bytes());
        let checksum = xxh3_64(&bytes[..40]);
        bytes[40..48].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; LOG_HEADER_SIZE]) -> Result<Self, &'static str> {
        if bytes[0..8] != MAGIC {
            return Err("it does not begin with the bytes \"LLMDBWAL\"");
        }
        if read_u64(bytes, 40) != xxh3_64(&bytes[..40]) {
            return Err("its header's checksum does not fit");
        }
        if read_u32(bytes, 8) != LOG_FORMAT_VERSION {
            return Err("it has another format version");
        }
        let identity = u128::from_le_bytes(bytes[16..32].try_into().map_err(|_| "it is too short")?);
        let capacity = read_u64(bytes, 32);
        if capacity == 0 || !capacity.is_multiple_of(BLOCK_SIZE) || capacity > CAPACITY_MAX {
            return Err("its capacity is out of range");
        }
        Ok(Self { identity, capacity })
    }
}

/// A record's fields but for its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) checksum: u64,
    pub(crate) lsn: Lsn,
    pub(crate) chain: u64,
    pub(crate) flushed: Lsn,
    pub(crate) checkpoint: u64,
    pub(crate) commit: u64,
    pub(crate) len: u32,
    /// What it leads to in the data file was flushed before it was written.
    pub(crate) is_backed: bool,
}

impl RecordHeader {
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self {
            checksum: read_u64(bytes, CHECKSUM.start),
            lsn: read_u64(bytes, LSN.start),
            chain: read_u64(bytes, CHAIN.start),
            flushed: read_u64(bytes, FLUSHED.start),
            checkpoint: read_u64(bytes, CHECKPOINT.start),
            commit: read_u64(bytes, COMMIT.start),
            len: read_u32(bytes, LEN.start),
            is_backed: read_u32(bytes, FLAGS.start) & IS_BACKED != 0,
        }
    }

    /// Bytes of the whole record, up to the next one.
    pub(crate) fn size(&self) -> u64 {
        record_size(self.len as usize)
    }
}

/// Bytes that a record with such a payload takes.
pub(crate) fn record_size(payload: usize) -> u64 {
    (RECORD_HEADER_SIZE + payload).next_multiple_of(8) as u64
}

/// Appends a record to `buffer`, all but what [`seal_record`] adds.
pub(super) fn begin_record(buffer: &mut Blocks, lsn: Lsn, checkpoint: u64, commit: u64, payload: &[u8]) {
    let start = buffer.len();
    let size = record_size(payload.len()) as usize;
    buffer.reserve(size);
    buffer.resize(start + RECORD_HEADER_SIZE);
    let bytes = &mut buffer[start..];
    bytes[LSN].copy_from_slice(&lsn.to_le_bytes());
    bytes[CHECKPOINT].copy_from_slice(&checkpoint.to_le_bytes());
    bytes[COMMIT].copy_from_slice(&commit.to_le_bytes());
    bytes[LEN].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    buffer.extend(payload);
    buffer.resize(start + size);
}

/// Completes the record that `bytes` begin with; answers its checksum and its size.
pub(crate) fn seal_record(
    bytes: &mut [u8],
    seed: u64,
    chain: u64,
    flushed: Lsn,
    is_backed: bool,
) -> (u64, usize) {
    bytes[CHAIN].copy_from_slice(&chain.to_le_bytes());
    bytes[FLUSHED].copy_from_slice(&flushed.to_le_bytes());
    bytes[FLAGS].copy_from_slice(&(if is_backed { IS_BACKED } else { 0 }).to_le_bytes());
    let size = record_size(read_u32(bytes, LEN.start) as usize) as usize;
    let checksum = record_checksum(&bytes[..size], seed);
    bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    (checksum, size)
}

/// The checksum that a whole record, its zeros included, must carry.
pub(crate) fn record_checksum(record: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(&record[CHECKSUM.end..], seed)
}

/// The identity as the word that seeds checksums.
pub(crate) fn seed_of(identity: u128) -> u64 {
    (identity as u64) ^ ((identity >> 64) as u64).rotate_left(17)
}
