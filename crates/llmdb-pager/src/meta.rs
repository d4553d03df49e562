//! The meta pages: where the newest checkpoint's database begins.
//!
//! Two copies stand in different 4 KiB blocks at the start of the file, whatever the page size. A
//! checkpoint writes one, flushes, then writes the other: so at any moment one of them is whole, and after
//! a finished checkpoint both say the same, so that a rotten one loses nothing.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  magic: "LLMDB" 0x00 0x0d 0x0a
//!      8     4  format version
//!     12     4  page size in bytes
//!     16    16  file identity: random, made with the file
//!     32     8  checkpoint: counts up by one
//!     40     8  commit: number of the newest commit inside, 0 = none yet
//!     48     8  time: that commit's time, microseconds since 1970, signed
//!     56     8  page count: the file's pages in use end here
//!     64     8  root: reference to the top page
//!     72     8  space root: reference to the top of the allocation map
//!     80    64  owner area: the layer above keeps its own here (llmdb-wal: where the log begins)
//!    144     8  file length: bytes of the file that were durable when the checkpoint was written
//!    152  3936  zero
//!   4088     8  checksum: XXH3-64 of bytes 0..4088
//! ```
//!
//! Invariants
//! 1. Everything reachable from a whole meta is durable.
//! 2. A copy is never overwritten unless the other is whole and durable.

use crate::error::Error;
use crate::page::{PageNumber, Ref, check_page_size, read_u32, read_u64};
use crate::storage::{File, read_exact_at};
use std::ops::Range;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// The newest format version that this crate reads and the one that it writes.
pub const FORMAT_VERSION: u32 = 1;
/// The first bytes of every data file. The line ending shows a transfer in text mode.
pub const MAGIC: [u8; 8] = *b"LLMDB\x00\r\n";
/// Bytes of the owner area.
pub const OWNER_AREA_SIZE: usize = 64;

const MAGIC_AT: Range<usize> = 0..8;
const VERSION: Range<usize> = MAGIC_AT.end..12;
const PAGE_SIZE: Range<usize> = VERSION.end..16;
const IDENTITY: Range<usize> = PAGE_SIZE.end..32;
const CHECKPOINT: Range<usize> = IDENTITY.end..40;
const COMMIT: Range<usize> = CHECKPOINT.end..48;
const TIME: Range<usize> = COMMIT.end..56;
const PAGE_COUNT: Range<usize> = TIME.end..64;
const ROOT: Range<usize> = PAGE_COUNT.end..72;
const SPACE_ROOT: Range<usize> = ROOT.end..80;
const OWNER_AREA: Range<usize> = SPACE_ROOT.end..80 + OWNER_AREA_SIZE;
const FILE_LEN: Range<usize> = OWNER_AREA.end..152;
const ZERO: Range<usize> = FILE_LEN.end..META_SIZE - 8;
const CHECKSUM: Range<usize> = ZERO.end..META_SIZE;

/// Bytes of a meta: a whole block, so that a flipped bit anywhere in it shows.
pub const META_SIZE: usize = 4096;
/// Where the two copies stand, in bytes: each in a 4 KiB block of its own.
pub const META_OFFSETS: [u64; 2] = [0, 4096];
/// Bytes at the file's start that hold no page.
pub const META_AREA_SIZE: u64 = 8192;

/// The number of the first page behind the metas.
pub(crate) fn first_page(page_size: usize) -> u64 {
    META_AREA_SIZE.div_ceil(page_size as u64)
}

/// Bytes before the first page, beyond the metas, that must be zero.
pub(crate) fn padding(page_size: usize) -> std::ops::Range<u64> {
    META_AREA_SIZE..first_page(page_size) * page_size as u64
}

/// A decoded meta page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Bytes of a page.
    pub page_size: usize,
    /// Random, made with the file.
    pub identity: u128,
    /// Counts checkpoints.
    pub checkpoint: u64,
    /// Number of the newest commit inside; 0 = none yet.
    pub commit: u64,
    /// That commit's time in microseconds since 1970.
    pub time: i64,
    /// Pages in use end here.
    pub page_count: u64,
    /// The top page.
    pub root: Ref,
    /// The top of the allocation map.
    pub space_root: Ref,
    /// What the layer above keeps here.
    pub owner_area: [u8; OWNER_AREA_SIZE],
    /// Bytes of the file that were durable when the checkpoint was written. A file that is longer now was
    /// grown by a process that did not finish.
    pub file_len: u64,
}

impl Meta {
    pub(crate) fn encode(&self) -> [u8; META_SIZE] {
        let mut bytes = [0; META_SIZE];
        bytes[MAGIC_AT].copy_from_slice(&MAGIC);
        bytes[VERSION].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[PAGE_SIZE].copy_from_slice(&(self.page_size as u32).to_le_bytes());
        bytes[IDENTITY].copy_from_slice(&self.identity.to_le_bytes());
        bytes[CHECKPOINT].copy_from_slice(&self.checkpoint.to_le_bytes());
        bytes[COMMIT].copy_from_slice(&self.commit.to_le_bytes());
        bytes[TIME].copy_from_slice(&self.time.to_le_bytes());
        bytes[PAGE_COUNT].copy_from_slice(&self.page_count.to_le_bytes());
        bytes[ROOT].copy_from_slice(&self.root.word().to_le_bytes());
        bytes[SPACE_ROOT].copy_from_slice(&self.space_root.word().to_le_bytes());
        bytes[OWNER_AREA].copy_from_slice(&self.owner_area);
        bytes[FILE_LEN].copy_from_slice(&self.file_len.to_le_bytes());
        let checksum = xxh3_64(&bytes[..CHECKSUM.start]);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes one copy; the reason where it is not whole.
    fn decode(bytes: &[u8; META_SIZE]) -> Result<Self, Flaw> {
        if bytes[MAGIC_AT] != MAGIC {
            return Err(Flaw::Magic);
        }
        let version = read_u32(bytes, VERSION.start);
        let expected = xxh3_64(&bytes[..CHECKSUM.start]);
        let whole = read_u64(bytes, CHECKSUM.start) == expected;
        if version != FORMAT_VERSION {
            return Err(Flaw::Version { version, whole });
        }
        if !whole {
            return Err(Flaw::Checksum);
        }
        let meta = Self {
            page_size: read_u32(bytes, PAGE_SIZE.start) as usize,
            identity: u128::from_le_bytes(bytes[IDENTITY].try_into().expect("sixteen bytes")),
            checkpoint: read_u64(bytes, CHECKPOINT.start),
            commit: read_u64(bytes, COMMIT.start),
            time: read_u64(bytes, TIME.start) as i64,
            page_count: read_u64(bytes, PAGE_COUNT.start),
            root: Ref::from_word(read_u64(bytes, ROOT.start)),
            space_root: Ref::from_word(read_u64(bytes, SPACE_ROOT.start)),
            owner_area: bytes[OWNER_AREA].try_into().expect("the area's size"),
            file_len: read_u64(bytes, FILE_LEN.start),
        };
        meta.check(&bytes[ZERO]).map_err(Flaw::Rule)?;
        Ok(meta)
    }

    /// What a right checksum does not say: a meta may have been made to harm.
    fn check(&self, zero: &[u8]) -> Result<(), &'static str> {
        if check_page_size(self.page_size).is_err() {
            return Err("the page size is not supported");
        }
        if self.page_count < first_page(self.page_size)
            || self.page_count > crate::page::PAGE_NUMBER_END
            || self.page_count.checked_mul(self.page_size as u64).is_none()
        {
            return Err("the page count is out of range");
        }
        // A slot of the reader table keeps a commit number beside a tag of three bits.
        if self.checkpoint.max(self.commit) >= 1 << 60 {
            return Err("a number is out of range");
        }
        for root in [self.root, self.space_root] {
            if root.is_dirty() || root.number().0 >= self.page_count {
                return Err("a root is out of range");
            }
        }
        if zero.iter().any(|byte| *byte != 0) {
            return Err("reserved bytes are not zero");
        }
        Ok(())
    }

    /// The file identity folded to the word that seeds checksums.
    pub fn seed(&self) -> u64 {
        seed_of(self.identity)
    }
}

/// A file identity folded to the word that seeds checksums.
pub(crate) fn seed_of(identity: u128) -> u64 {
    (identity as u64) ^ ((identity >> 64) as u64).rotate_left(29)
}

/// Why a copy is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Magic,
    Checksum,
    /// Another version; `whole` where the checksum says that this was meant.
    Version {
        version: u32,
        whole: bool,
    },
    Rule(&'static str),
}

/// Both copies as found in a file.
#[derive(Debug)]
pub(crate) struct Metas {
    /// The newest whole one.
    pub(crate) newest: Meta,
    /// In which slot it stands.
    pub(crate) slot: usize,
    /// For each slot, whether it is damaged.
    pub(crate) damaged: [bool; 2],
}

/// Reads both copies and picks the newest whole one.
///
/// # Errors
/// What the file is instead: empty, truncated, foreign, of a newer format, or damaged.
pub(crate) fn read_metas(file: &dyn File, path: &Path) -> Result<Metas, Error> {
    let doing = || format!("reading {}", path.display());
    let found = file.len().map_err(|e| Error::io(doing(), e))?;
    if found == 0 {
        return Err(Error::EmptyFile { path: path.into() });
    }
    let mut decoded = [Err(Flaw::Magic), Err(Flaw::Magic)];
    for (slot, offset) in META_OFFSETS.into_iter().enumerate() {
        let mut bytes = [0; META_SIZE];
        if offset + META_SIZE as u64 <= found {
            read_exact_at(file, &mut bytes, offset).map_err(|e| Error::io(doing(), e))?;
            decoded[slot] = Meta::decode(&bytes);
        } else if offset == 0 {
            let mut start = vec![0; (found as usize).min(MAGIC.len())];
            read_exact_at(file, &mut start, 0).map_err(|e| Error::io(doing(), e))?;
            if start.len() == MAGIC.len() && start == MAGIC {
                return Err(Error::Truncated { path: path.into(), expected: META_AREA_SIZE, found });
            }
        }
    }
    choose(decoded, path).and_then(|metas| {
        let expected = metas.newest.page_count * metas.newest.page_size as u64;
        if found < expected {
            return Err(Error::Truncated { path: path.into(), expected, found });
        }
        Ok(metas)
    })
}

fn choose(decoded: [Result<Meta, Flaw>; 2], path: &Path) -> Result<Metas, Error> {
    let damaged = [decoded[0].is_err(), decoded[1].is_err()];
    for flaw in decoded.iter().filter_map(|meta| meta.as_ref().err()) {
        // A version that no checksum vouches for may be rot, where the other copy is whole.
        if let Flaw::Version { version: found, whole } = *flaw
            && (whole || (damaged[0] && damaged[1]))
        {
            return Err(Error::NewerVersion { path: path.into(), found, known: FORMAT_VERSION });
        }
    }
    match decoded {
        [Err(Flaw::Magic), Err(Flaw::Magic)] => Err(Error::Foreign { path: path.into() }),
        [Err(first), Err(second)] => {
            Err(Error::MetaDamaged { path: path.into(), reason: format!("{first:?}, {second:?}") })
        }
        [Ok(first), Ok(second)] if first.identity != second.identity => {
            Err(Error::MetaDamaged { path: path.into(), reason: "they belong to different files".into() })
        }
        [Ok(first), Ok(second)] => {
            let slot = usize::from(second.checkpoint > first.checkpoint);
            // A checkpoint ends with both alike: an older copy is a lost write, or a crash in between.
            let mut damaged = [false; 2];
            damaged[1 - slot] = first != second;
            let newest = if slot == 0 { first } else { second };
            Ok(Metas { newest, slot, damaged })
        }
        [Ok(newest), Err(_)] => Ok(Metas { newest, slot: 0, damaged }),
        [Err(_), Ok(newest)] => Ok(Metas { newest, slot: 1, damaged }),
    }
}

/// A fresh file's meta.
pub(crate) fn first_meta(page_size: usize, identity: u128, owner_area: [u8; OWNER_AREA_SIZE]) -> Meta {
    Meta {
        page_size,
        identity,
        checkpoint: 1,
        commit: 0,
        time: i64::MIN,
        page_count: first_page(page_size),
        root: Ref::NULL,
        space_root: Ref::NULL,
        owner_area,
        file_len: first_page(page_size) * page_size as u64,
    }
}

/// The page in which a meta slot stands, for reports.
pub(crate) fn page_of_slot(slot: usize, page_size: usize) -> PageNumber {
    PageNumber(META_OFFSETS[slot] / page_size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_survives_the_round_trip_and_no_flipped_bit_does() {
        let mut meta = first_meta(4096, 7 << 70 | 9, [3; OWNER_AREA_SIZE]);
        meta.time = -5;
        meta.root = Ref::page(PageNumber(1), 12);
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes).unwrap(), meta);
        for bit in 0..META_SIZE * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_meta_made_to_harm_is_refused() {
        let mut meta = first_meta(4096, 1, [0; OWNER_AREA_SIZE]);
        meta.page_count = u64::MAX;
        assert!(matches!(Meta::decode(&meta.encode()), Err(Flaw::Rule(_))));
        let mut meta = first_meta(4096, 1, [0; OWNER_AREA_SIZE]);
        meta.root = Ref::page(PageNumber(99), 0);
        assert!(matches!(Meta::decode(&meta.encode()), Err(Flaw::Rule(_))));
        let mut meta = first_meta(4096, 1, [0; OWNER_AREA_SIZE]);
        meta.page_size = 5000;
        assert!(matches!(Meta::decode(&meta.encode()), Err(Flaw::Rule(_))));
    }
}
