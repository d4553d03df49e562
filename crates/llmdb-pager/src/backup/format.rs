//! The bytes of a backup: a header, frames, and a last frame that says that it is whole.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  magic: "LLMDBBAK"
//!      8     4  format version
//!     12     4  page size in bytes
//!     16    16  identity of the file that it was made of
//!     32     8  commit: number of the newest commit inside, 0 = none
//!     40     8  time: that commit's time, microseconds since 1970, signed
//!     48     8  base: what the commits up to this one wrote is not inside; meaningless in a full backup
//!     56     8  page count of the file
//!     64     8  root: reference to the top page
//!     72     4  1 = only what was written after the base is inside, 0 = a full backup
//!     76    44  zero
//!    120     8  checksum: XXH3-64 of bytes 0..120
//! ```
//!
//! A frame:
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  checksum: XXH3-64 of the rest of the frame, seeded with the checksum of the frame before it;
//!               the first one's with the header's
//!      8     8  sequence number, from 0 on
//!     16     4  kind: 1 = pages, 2 = a piece of a large value, 3 = the end
//!     20     4  length of what follows
//!     24        pages: whole pages, each with its number in its header
//!               large value: page number (8), then bytes of it from the start of that page on
//!               end: pages (8), bytes of large values (8), XXH3-128 of all bytes before this frame (16)
//! ```
//!
//! Invariants
//! 1. A frame that is lost, changed, moved or there twice breaks the chain of checksums; a stream that was
//!    cut off has no end.
//! 2. A frame holds at most a megabyte of pages or values, so that a reader's memory is bounded.
//!
//! Not here: reading and writing streams (`read`, `write`), which pages they hold (`walk`).

use crate::error::Text;
use crate::meta::seed_of;
use crate::page::{PAGE_NUMBER_END, Ref, check_page_size, read_u32, read_u64};
use std::ops::Range;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The newest version of a backup that this crate reads and the one that it writes.
pub const BACKUP_VERSION: u32 = 1;
/// The first bytes of every backup.
pub const BACKUP_MAGIC: [u8; 8] = *b"LLMDBBAK";
/// Bytes of the header.
pub const BACKUP_HEADER_SIZE: usize = 128;
/// Bytes of a frame before what it holds.
pub(super) const FRAME_HEAD: usize = 24;
/// Bytes of pages, or of a large value, that a frame holds at most.
pub(super) const CONTENT_MAX: usize = 1 << 20;
/// Bytes before a piece of a large value.
pub(super) const PIECE_HEAD: usize = 8;
/// Bytes that a frame holds at most.
pub(super) const PAYLOAD_MAX: usize = CONTENT_MAX + PIECE_HEAD;
/// Bytes that the last frame holds.
pub(super) const END_SIZE: usize = 32;

pub(super) const PAGES: u32 = 1;
pub(super) const PIECE: u32 = 2;
pub(super) const END: u32 = 3;

const MAGIC_AT: Range<usize> = 0..8;
const VERSION: Range<usize> = MAGIC_AT.end..12;
const PAGE_SIZE: Range<usize> = VERSION.end..16;
const IDENTITY: Range<usize> = PAGE_SIZE.end..32;
const COMMIT: Range<usize> = IDENTITY.end..40;
const TIME: Range<usize> = COMMIT.end..48;
const BASE: Range<usize> = TIME.end..56;
const PAGE_COUNT: Range<usize> = BASE.end..64;
const ROOT: Range<usize> = PAGE_COUNT.end..72;
const IS_PART: Range<usize> = ROOT.end..76;
const ZERO: Range<usize> = IS_PART.end..120;
const CHECKSUM: Range<usize> = ZERO.end..BACKUP_HEADER_SIZE;

const CHAIN: Range<usize> = 0..8;
const SEQUENCE: Range<usize> = CHAIN.end..16;
const KIND: Range<usize> = SEQUENCE.end..20;
const LEN: Range<usize> = KIND.end..FRAME_HEAD;

/// What a backup says of itself before its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupHeader {
    /// Bytes of a page.
    pub page_size: usize,
    /// Identity of the file that it was made of.
    pub identity: u128,
    /// Number of the newest commit inside; 0 = none.
    pub commit: u64,
    /// That commit's time in microseconds since 1970; `i64::MIN` where there is none.
    pub time: i64,
    /// Only what was written after this commit is inside; `None` for a full backup.
    pub base: Option<u64>,
    /// Pages of the file ended here.
    pub page_count: u64,
    /// The top page.
    pub root: Ref,
}

/// Why bytes are no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) what: &'static str,
    pub(super) expected: Text,
    pub(super) found: Text,
}

impl Flaw {
    pub(super) fn new(what: &'static str, expected: impl Into<Text>, found: impl Into<Text>) -> Self {
        Self { what, expected: expected.into(), found: found.into() }
    }
}

impl BackupHeader {
    pub(super) fn encode(&self) -> [u8; BACKUP_HEADER_SIZE] {
        let mut bytes = [0; BACKUP_HEADER_SIZE];
        bytes[MAGIC_AT].copy_from_slice(&BACKUP_MAGIC);
        bytes[VERSION].copy_from_slice(&BACKUP_VERSION.to_le_bytes());
        bytes[PAGE_SIZE].copy_from_slice(&(self.page_size as u32).to_le_bytes());
        bytes[IDENTITY].copy_from_slice(&self.identity.to_le_bytes());
        bytes[COMMIT].copy_from_slice(&self.commit.to_le_bytes());
        bytes[TIME].copy_from_slice(&self.time.to_le_bytes());
        bytes[BASE].copy_from_slice(&self.base.unwrap_or(0).to_le_bytes());
        bytes[PAGE_COUNT].copy_from_slice(&self.page_count.to_le_bytes());
        bytes[ROOT].copy_from_slice(&self.root.word().to_le_bytes());
        bytes[IS_PART].copy_from_slice(&u32::from(self.base.is_some()).to_le_bytes());
        let checksum = xxh3_64(&bytes[..CHECKSUM.start]);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; BACKUP_HEADER_SIZE]) -> Result<Self, Flaw> {
        if bytes[MAGIC_AT] != BACKUP_MAGIC {
            return Err(Flaw::new("it is not a backup", "the bytes \"LLMDBBAK\"", "others"));
        }
        let version = read_u32(bytes, VERSION.start);
        if version != BACKUP_VERSION {
            let known = u64::from(BACKUP_VERSION);
            return Err(Flaw::new("its format version is not known here", known, u64::from(version)));
        }
        let (expected, found) = (xxh3_64(&bytes[..CHECKSUM.start]), chain_of(bytes));
        if expected != found {
            return Err(Flaw::new("the header's checksum does not fit", expected, found));
        }
        let is_part = read_u32(bytes, IS_PART.start);
        let header = Self {
            page_size: read_u32(bytes, PAGE_SIZE.start) as usize,
            identity: u128::from_le_bytes(bytes[IDENTITY].try_into().expect("sixteen bytes")),
            commit: read_u64(bytes, COMMIT.start),
            time: read_u64(bytes, TIME.start) as i64,
            base: (is_part == 1).then(|| read_u64(bytes, BASE.start)),
            page_count: read_u64(bytes, PAGE_COUNT.start),
            root: Ref::from_word(read_u64(bytes, ROOT.start)),
        };
        header.check(is_part, &bytes[ZERO])?;
        Ok(header)
    }

    /// What a right checksum does not say: a header may have been made to harm.
    fn check(&self, is_part: u32, zero: &[u8]) -> Result<(), Flaw> {
        if check_page_size(self.page_size).is_err() {
            return Err(Flaw::new("the page size", "a power of two from 4096", self.page_size as u64));
        }
        let bytes = self.page_count.checked_mul(self.page_size as u64);
        if self.page_count > PAGE_NUMBER_END || bytes.is_none_or(|bytes| i64::try_from(bytes).is_err()) {
            return Err(Flaw::new("the page count", PAGE_NUMBER_END, self.page_count));
        }
        if self.root.is_dirty() || self.root.number().0 >= self.page_count.max(1) {
            return Err(Flaw::new("the root lies in the file", self.page_count, self.root.word()));
        }
        if self.commit >= 1 << 60 || self.base.is_some_and(|base| base > self.commit) {
            return Err(Flaw::new("the base is not after the commit", self.commit, self.base.unwrap_or(0)));
        }
        if is_part > 1 || zero.iter().any(|byte| *byte != 0) {
            return Err(Flaw::new("reserved bytes", "zero", "others"));
        }
        Ok(())
    }

    /// The word that seeds the checksums of its pages.
    pub(super) fn seed(&self) -> u64 {
        seed_of(self.identity)
    }
}

/// The checksum of a header, with which the chain of frames begins.
pub(super) fn chain_of(header: &[u8; BACKUP_HEADER_SIZE]) -> u64 {
    read_u64(header, CHECKSUM.start)
}

/// The checksum of a frame behind one with checksum `chain`.
pub(super) fn frame_checksum(frame: &[u8], chain: u64) -> u64 {
    xxh3_64_with_seed(&frame[CHAIN.end..], chain)
}

/// Writes the head of a frame whose payload stands behind it, and answers its checksum.
pub(super) fn seal_frame(frame: &mut [u8], sequence: u64, kind: u32, chain: u64) -> u64 {
    let len = (frame.len() - FRAME_HEAD) as u32;
    frame[SEQUENCE].copy_from_slice(&sequence.to_le_bytes());
    frame[KIND].copy_from_slice(&kind.to_le_bytes());
    frame[LEN].copy_from_slice(&len.to_le_bytes());
    let checksum = frame_checksum(frame, chain);
    frame[CHAIN].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// What the head of a frame says, none of it checked but the length's bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHead {
    pub(super) checksum: u64,
    pub(super) sequence: u64,
    pub(super) kind: u32,
    pub(super) len: usize,
}

impl FrameHead {
    pub(super) fn decode(bytes: &[u8; FRAME_HEAD]) -> Result<Self, Flaw> {
        let head = Self {
            checksum: read_u64(bytes, CHAIN.start),
            sequence: read_u64(bytes, SEQUENCE.start),
            kind: read_u32(bytes, KIND.start),
            len: read_u32(bytes, LEN.start) as usize,
        };
        if head.len > PAYLOAD_MAX {
            return Err(Flaw::new("a frame is too long", PAYLOAD_MAX as u64, head.len as u64));
        }
        Ok(head)
    }
}

/// What the last frame holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) pages: u64,
    pub(super) extent_bytes: u64,
    pub(super) hash: u128,
}

impl Totals {
    pub(super) fn encode(&self) -> [u8; END_SIZE] {
        let mut bytes = [0; END_SIZE];
        bytes[0..8].copy_from_slice(&self.pages.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.extent_bytes.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.hash.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; END_SIZE]) -> Self {
        Self {
            pages: read_u64(bytes, 0),
            extent_bytes: read_u64(bytes, 8),
            hash: u128::from_le_bytes(bytes[16..32].try_into().expect("sixteen bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PageNumber;

    fn header() -> BackupHeader {
        BackupHeader {
            page_size: 4096,
            identity: 7 << 70 | 3,
            commit: 9,
            time: -4,
            base: Some(5),
            page_count: 100,
            root: Ref::page(PageNumber(12), 9),
        }
    }

    #[test]
    fn a_header_survives_the_round_trip_and_no_flipped_bit_does() {
        let bytes = header().encode();
        assert_eq!(BackupHeader::decode(&bytes), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(BackupHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_made_to_harm_is_refused() {
        for harm in [
            BackupHeader { page_size: 5000, ..header() },
            BackupHeader { page_count: u64::MAX, ..header() },
            BackupHeader { page_count: PAGE_NUMBER_END, page_size: 65536, ..header() },
            BackupHeader { root: Ref::page(PageNumber(100), 0), ..header() },
            BackupHeader { base: Some(10), ..header() },
            BackupHeader { commit: 1 << 60, ..header() },
        ] {
            assert!(BackupHeader::decode(&harm.encode()).is_err(), "{harm:?}");
        }
    }
}
