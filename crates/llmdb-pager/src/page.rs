//! Pages: numbers, references, the header that every page carries, and its checksum.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  checksum: XXH3-64 of the rest, seeded with file identity, page number and birth
//!      8     6  page number
//!     14     1  kind
//!     15     1  level: 0 for what refers to no page of its own kind, its children's + 1 above
//!     16     8  birth: number of the commit that last changed the page
//!     24     2  reference count: how many references stand directly behind the header
//!     26     6  the owner's own (counts and lengths of the kind)
//!     32   8*n  references
//! ```
//!
//! A reference is a word of 64 bits: on disk, bits 0-47 are the page number and bits 48-62 the low bits of
//! that page's birth, so that a lost write (an old page with a good checksum) shows. In memory bit 63 says
//! that the low 32 bits are a frame index: a dirty page that is not in the file yet. Zero refers to nothing.
//!
//! Invariants
//! 1. No page in the file holds a frame reference.
//! 2. A page's references stand where the header says, so that checkpoints and checks can follow them
//!    without knowing what the page is for.
//!
//! Not here: what a kind's pages mean (`space`, and the crates above).

use crate::error::Error;
pub use crate::page_number::{PAGE_NUMBER_END, PageNumber};
use std::fmt;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The smallest page size, in bytes.
pub const PAGE_SIZE_MIN: usize = 4 << 10;
/// The largest page size, in bytes.
pub const PAGE_SIZE_MAX: usize = 64 << 10;
/// The page size of a new file unless another is asked for.
pub const PAGE_SIZE_DEFAULT: usize = 4 << 10;

const CHECKSUM: Range<usize> = 0..8;
const NUMBER: Range<usize> = 8..14;
/// Where a page's kind stands, one byte.
pub const KIND: usize = 14;
/// Where a page's level stands, one byte.
pub const LEVEL: usize = 15;
const BIRTH: Range<usize> = 16..24;
const REF_COUNT: Range<usize> = 24..26;
/// The six header bytes that the page's owner uses as it likes.
pub const OWN: Range<usize> = 26..32;
/// Bytes before the references.
pub const HEADER_SIZE: usize = 32;
/// Bytes of one reference.
pub const REF_SIZE: usize = 8;

const _: () = assert!(CHECKSUM.end == NUMBER.start);
const _: () = assert!(LEVEL + 1 == BIRTH.start);
const _: () = assert!(BIRTH.end == REF_COUNT.start);
const _: () = assert!(REF_COUNT.end == OWN.start);
const _: () = assert!(OWN.end == HEADER_SIZE);

/// Checks a page size that a caller or a file names.
///
/// # Errors
/// [`Error::PageSize`] unless it is a power of two from 4 to 64 KiB.
pub fn check_page_size(size: usize) -> Result<(), Error> {
    if size.is_power_of_two() && (PAGE_SIZE_MIN..=PAGE_SIZE_MAX).contains(&size) {
        Ok(())
    } else {
        Err(Error::PageSize(size))
    }
}

/// A reference to a page: in the file, or dirty in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ref(u64);

const FRAME_BIT: u64 = 1 << 63;
const TAG_MASK: u64 = (1 << 15) - 1;

impl Ref {
    /// Refers to nothing.
    pub const NULL: Self = Self(0);

    /// Refers to a page of the file that was born at `birth`.
    pub fn page(number: PageNumber, birth: u64) -> Self {
        debug_assert!(number.0 < PAGE_NUMBER_END);
        Self(number.0 | (birth & TAG_MASK) << 48)
    }

    /// Refers to a dirty page in memory.
    pub(crate) fn frame(index: u32) -> Self {
        Self(FRAME_BIT | u64::from(index))
    }

    /// The word as stored.
    #[inline]
    pub fn word(self) -> u64 {
        self.0
    }

    /// A reference from a stored word.
    #[inline]
    pub fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Whether it refers to nothing.
    #[inline]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Whether the page is dirty in memory.
    #[inline]
    pub fn is_dirty(self) -> bool {
        self.0 & FRAME_BIT != 0
    }

    /// The frame's index, for a dirty page.
    #[inline]
    pub(crate) fn frame_index(self) -> Option<u32> {
        self.is_dirty().then_some(self.0 as u32)
    }

    /// The page's number; meaningless for a dirty page.
    #[inline]
    pub fn number(self) -> PageNumber {
        PageNumber(self.0 & (PAGE_NUMBER_END - 1))
    }

    /// Whether the page meant may be born in `first..=last`, as far as the low bits of its birth say.
    pub(crate) fn may_be_born_in(self, first: u64, last: u64) -> bool {
        match last.checked_sub(first) {
            Some(span) => span >= TAG_MASK || (self.0 >> 48).wrapping_sub(first) & TAG_MASK <= span,
            None => false,
        }
    }

    /// Whether it refers to a page of the file born at `birth`.
    #[inline]
    pub(crate) fn is_of_file_and_fits(self, birth: u64) -> bool {
        self.0 >> 48 == birth & TAG_MASK
    }

    /// Whether a page born at `birth` is the one meant.
    #[inline]
    pub(crate) fn fits_birth(self, birth: u64) -> bool {
        (self.0 >> 48 ^ birth) & TAG_MASK == 0
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frame_index() {
            Some(index) => write!(f, "Ref(frame {index})"),
            None if self.is_null() => f.write_str("Ref(null)"),
            None => write!(f, "Ref(page {})", self.number()),
        }
    }
}

/// What a page is for. The pager owns `Space*`; every other value belongs to the crates above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(pub u8);

impl Kind {
    /// A page of the allocation map: one bit for each page of a region.
    pub const SPACE: Self = Self(1);
    /// An index over pages of the allocation map.
    pub const SPACE_INDEX: Self = Self(2);
    /// The first kind that a crate above may use.
    pub const FIRST_FREE: u8 = 16;
}

/// A read view of a page.
#[derive(Clone, Copy)]
pub struct Page<'a>(&'a [u8]);

impl<'a> Page<'a> {
    /// A view of a whole page's bytes.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        debug_assert!(bytes.len() >= PAGE_SIZE_MIN);
        Self(bytes)
    }

    /// All bytes of the page.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// What the page is for.
    #[inline]
    pub fn kind(self) -> Kind {
        Kind(self.0[KIND])
    }

    /// Its height above the pages that refer to none of their own kind.
    #[inline]
    pub fn level(self) -> u8 {
        self.0[LEVEL]
    }

    /// The commit that last changed it.
    #[inline]
    pub fn birth(self) -> u64 {
        read_u64(self.0, BIRTH.start)
    }

    /// The page number that the page says it has; meaningless while it is dirty.
    #[inline]
    pub fn number(self) -> PageNumber {
        PageNumber(read_u64(self.0, NUMBER.start) & (PAGE_NUMBER_END - 1))
    }

    /// How many references it holds.
    #[inline]
    pub fn ref_count(self) -> usize {
        usize::from(read_u16(self.0, REF_COUNT.start))
    }

    /// Its reference number `index`.
    ///
    /// # Panics
    /// Where `index` is past the page's end; [`Page::ref_count`] bounds it.
    #[inline]
    pub fn reference(self, index: usize) -> Ref {
        Ref::from_word(read_u64(self.0, HEADER_SIZE + index * REF_SIZE))
    }

    /// All its references.
    pub fn references(self) -> impl Iterator<Item = Ref> + use<'a> {
        (0..self.ref_count()).map(move |index| self.reference(index))
    }
}

/// Writes a fresh header into `bytes`; everything else is left as it is.
pub fn write_header(bytes: &mut [u8], kind: Kind, level: u8) {
    bytes[..HEADER_SIZE].fill(0);
    bytes[KIND] = kind.0;
    bytes[LEVEL] = level;
}

/// Sets how many references stand behind the header.
pub fn set_ref_count(bytes: &mut [u8], count: usize) {
    debug_assert!(HEADER_SIZE + count * REF_SIZE <= bytes.len());
    bytes[REF_COUNT].copy_from_slice(&(count as u16).to_le_bytes());
}

/// Sets reference number `index`.
pub fn set_reference(bytes: &mut [u8], index: usize, to: Ref) {
    let at = HEADER_SIZE + index * REF_SIZE;
    bytes[at..at + REF_SIZE].copy_from_slice(&to.word().to_le_bytes());
}

pub(crate) fn set_birth(bytes: &mut [u8], birth: u64) {
    bytes[BIRTH].copy_from_slice(&birth.to_le_bytes());
}

/// Gives a page its number and checksum, ready to be written there.
pub(crate) fn seal(bytes: &mut [u8], identity: u64, number: PageNumber) {
    bytes[NUMBER].copy_from_slice(&number.0.to_le_bytes()[..6]);
    let checksum = checksum(bytes, identity, number);
    bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
}

/// Checks that `bytes` are what was sealed for page `number`: content, place and file.
pub(crate) fn verify(bytes: &[u8], identity: u64, number: PageNumber) -> Result<(), Error> {
    let found = read_u64(bytes, CHECKSUM.start);
    let expected = checksum(bytes, identity, number);
    if found != expected {
        let claimed = Page::new(bytes).number();
        if claimed != number && found == checksum(bytes, identity, claimed) {
            return Err(Error::damaged(number, "another page's content is here", number.0, claimed.0));
        }
        return Err(Error::damaged(number, "the checksum does not fit", expected, found));
    }
    let count = Page::new(bytes).ref_count();
    if HEADER_SIZE + count * REF_SIZE > bytes.len() {
        return Err(Error::damaged(number, "more references than fit", bytes.len() as u64, count as u64));
    }
    Ok(())
}

fn checksum(bytes: &[u8], identity: u64, number: PageNumber) -> u64 {
    let birth = read_u64(bytes, BIRTH.start);
    let seed = identity
        ^ number.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ birth.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(32);
    xxh3_64_with_seed(&bytes[CHECKSUM.end..], seed)
}

/// Reads a little-endian word at `at`.
///
/// # Panics
/// Where the bytes end first.
#[inline]
pub fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Reads a little-endian half word at `at`.
///
/// # Panics
/// Where the bytes end first.
#[inline]
pub fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Reads a little-endian quarter word at `at`.
///
/// # Panics
/// Where the bytes end first.
#[inline]
pub fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(number: u64) -> Vec<u8> {
        let mut bytes = vec![0; PAGE_SIZE_MIN];
        write_header(&mut bytes, Kind(20), 3);
        set_birth(&mut bytes, 77);
        bytes[100] = 9;
        seal(&mut bytes, 42, PageNumber(number));
        bytes
    }

    #[test]
    fn every_flipped_bit_of_a_page_is_found() {
        let good = sealed(5);
        verify(&good, 42, PageNumber(5)).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&bad, 42, PageNumber(5)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_page_in_the_wrong_place_or_file_is_found() {
        let error = verify(&sealed(5), 42, PageNumber(6)).unwrap_err();
        assert!(error.to_string().contains("another page's content"), "{error}");
        assert!(verify(&sealed(5), 43, PageNumber(5)).is_err());
    }

    #[test]
    fn references_keep_number_and_birth_tag() {
        let r = Ref::page(PageNumber(PAGE_NUMBER_END - 1), 0x1_ffff);
        assert_eq!(r.number(), PageNumber(PAGE_NUMBER_END - 1));
        assert!(r.fits_birth(0x1_ffff));
        assert!(!r.fits_birth(0x1_fffe));
        assert!(!r.is_dirty());
        assert_eq!(Ref::frame(7).frame_index(), Some(7));
    }

    #[test]
    fn a_reference_says_whether_its_page_may_be_born_in_a_span() {
        let at = |birth| Ref::page(PageNumber(9), birth);
        for birth in [0, 1, 99, 100, 32_767, 32_768, 100_000] {
            assert!(at(birth).may_be_born_in(birth, birth));
            assert!(at(birth).may_be_born_in(0, u64::MAX));
            assert!(at(birth).may_be_born_in(birth.saturating_sub(5), birth + 5));
            assert!(!at(birth).may_be_born_in(birth + 1, birth + 32_767), "{birth}");
            assert!(at(birth).may_be_born_in(birth + 1, birth + 32_768), "it may be born there too");
            assert!(!at(birth).may_be_born_in(birth + 1, birth), "an empty span");
        }
    }

    #[test]
    fn odd_page_sizes_are_refused() {
        for size in [0, 1, 2048, 4095, 4097, 12288, 131072] {
            assert!(check_page_size(size).is_err(), "{size}");
        }
        for size in [4096, 8192, 16384, 32768, 65536] {
            check_page_size(size).unwrap();
        }
    }
}
