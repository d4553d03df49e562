//! Leaves: sorted records.
//!
//! ```text
//! OFFSET        SIZE  DESCRIPTION (little-endian)
//!     26           2  record count n
//!     28           2  prefix length p
//!     30           2  heap size: bytes from the page's end down that cells take, holes included
//!     32           p  prefix that all keys share; zeros up to a multiple of 4
//!      h  4*n', n' = n rounded up to 16: heads, big-endian values of the next four key bytes; filled with ones
//!      o         2*n  where each record's cell begins
//!    ...              free space
//!                     cells: key length behind the prefix (2), value length (2; 65535 = large value),
//!                     key behind the prefix, value or reference to it
//! ```
//!
//! Invariants
//! 1. Keys rise strictly.
//! 2. Cells lie between the end of the cell offsets and the page's end and do not overlap.
//!
//! Not here: which leaf a key belongs to (`edit`, `tree`).

use super::lanes::{LANES_SIZE, Lanes, prefetch, prefetch_line};
use super::search::{GROUP, count_below, count_up_to, head_behind, head_of, heads_size, is_same, partition};
use crate::value::{LARGE_REF_SIZE, LargeRef, Stored};
use llmdb_pager::page::{HEADER_SIZE, read_u16, read_u32, read_u64, write_header};
use llmdb_pager::{Page, PageSource, Ref};

const COUNT: usize = 26;
const PREFIX_LEN: usize = 28;
const HEAP_SIZE: usize = 30;
const HEAD_SIZE: usize = 4;
const OFFSET_SIZE: usize = 2;
pub(crate) const CELL_HEADER_SIZE: usize = 4;
const LARGE: u16 = u16::MAX;

const _: () = assert!(COUNT == llmdb_pager::page::OWN.start);
const _: () = assert!(HEAP_SIZE + 2 == HEADER_SIZE);

#[inline]
fn heads_start(prefix_len: usize) -> usize {
    HEADER_SIZE + ((prefix_len + HEAD_SIZE - 1) & !(HEAD_SIZE - 1))
}

/// Bytes that a record's cell takes.
pub(crate) fn cell_size(suffix_len: usize, value: &Stored<'_>) -> usize {
    CELL_HEADER_SIZE
        + suffix_len
        + match value {
            Stored::Inline(bytes) => bytes.len(),
            Stored::Large(_) => LARGE_REF_SIZE,
        }
}

/// A record on its way from one leaf to another: its key is `front` and, behind it, `back`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried<'a> {
    pub(crate) front: &'a [u8],
    pub(crate) back: &'a [u8],
    /// The value's length as a cell says it; [`LARGE`] for a reference.
    pub(crate) tag: u16,
    /// The value as a cell holds it.
    pub(crate) value: &'a [u8],
}

impl<'a> Carried<'a> {
    /// A record from outside; `room` takes a large value's reference.
    pub(crate) fn new(key: &'a [u8], value: &Stored<'a>, room: &'a mut [u8; LARGE_REF_SIZE]) -> Self {
        let (tag, value) = match value {
            Stored::Inline(bytes) => (bytes.len() as u16, *bytes),
            Stored::Large(large) => {
                *room = large.encode();
                (LARGE, &room[..])
            }
        };
        Self { front: &[], back: key, tag, value }
    }

    pub(crate) fn key_len(&self) -> usize {
        self.front.len() + self.back.len()
    }

    pub(crate) fn key(&self) -> Vec<u8> {
        [self.front, self.back].concat()
    }

    /// Bytes of its cell behind a prefix of `prefix_len`.
    pub(crate) fn cell_size(&self, prefix_len: usize) -> usize {
        CELL_HEADER_SIZE + self.key_len() - prefix_len + self.value.len()
    }

    /// Bytes that it adds to a leaf whose prefix is `prefix_len` long.
    pub(crate) fn cost(&self, prefix_len: usize) -> usize {
        self.cell_size(prefix_len) + HEAD_SIZE + OFFSET_SIZE
    }

    /// The key behind a prefix, in two parts.
    fn parts(&self, prefix_len: usize) -> (&'a [u8], &'a [u8]) {
        match self.front.get(prefix_len..) {
            Some(front) => (front, self.back),
            None => (&[], &self.back[prefix_len - self.front.len()..]),
        }
    }
}

/// Bytes that a leaf of these records would take.
pub(crate) fn records_use(prefix_len: usize, records: &[Carried<'_>]) -> usize {
    page_use(prefix_len, records.len(), records.iter().map(|record| record.cell_size(prefix_len)).sum())
}

/// Bytes that a leaf of these cells would take.
pub(crate) fn page_use(prefix_len: usize, count: usize, cells: usize) -> usize {
    heads_start(prefix_len) + heads_size(count) + count * OFFSET_SIZE + cells
}

/// Where in a leaf a key may stand.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    index: usize,
    cell: usize,
    prefix_len: usize,
}

/// A read view of a leaf.
#[derive(Clone, Copy)]
pub(crate) struct Leaf<'a>(&'a [u8]);

impl<'a> Leaf<'a> {
    #[inline]
    pub(crate) fn new(page: Page<'a>) -> Self {
        debug_assert!(page.kind() == super::LEAF);
        Self(page.bytes())
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        usize::from(read_u16(self.0, COUNT))
    }

    #[inline]
    pub(crate) fn prefix(self) -> &'a [u8] {
        &self.0[HEADER_SIZE..HEADER_SIZE + usize::from(read_u16(self.0, PREFIX_LEN))]
    }

    #[inline]
    fn heads_start(self) -> usize {
        heads_start(usize::from(read_u16(self.0, PREFIX_LEN)))
    }

    #[inline]
    fn cell(self, index: usize) -> usize {
        let offsets = self.heads_start() + heads_size(self.len());
        usize::from(read_u16(self.0, offsets + index * OFFSET_SIZE))
    }

    /// How many bytes of its keys stand in the prefix.
    #[inline]
    pub(crate) fn prefix_len(self) -> usize {
        usize::from(read_u16(self.0, PREFIX_LEN))
    }

    /// A whole record, with one look at where it is.
    #[inline]
    pub(crate) fn record(self, index: usize) -> Record<'a> {
        record_at(&self.0[self.cell(index)..])
    }

    /// How many keys are at most `key`. The lines of the last of these are asked for.
    #[inline]
    pub(crate) fn count_up_to(self, key: &[u8]) -> usize {
        let prefix_len = usize::from(read_u16(self.0, PREFIX_LEN));
        // Only a damaged tree routes such a key here.
        let Some(suffix) = key.get(prefix_len..) else { return 0 };
        let (count, head) = (self.len(), head_of(suffix));
        let heads = &self.0[heads_start(prefix_len)..][..heads_size(count)];
        let end = count_up_to(heads, count, head);
        let Some(last) = end.checked_sub(1) else { return 0 };
        self.prefetch_record(last);
        if self.head(last) != head || self.suffix(last) <= suffix {
            return end;
        }
        partition(count_below(heads, head)..last, |index| self.suffix(index) <= suffix)
    }

    /// Asks for the lines of a record.
    #[inline]
    fn prefetch_record(self, index: usize) {
        let cell = self.cell(index);
        // At 4 KiB, records of two lines at least.
        let lines = if self.len() <= self.0.len() / 128 { 5 } else { 1 };
        for line in 0..lines {
            prefetch_line(self.0, cell + line * LANES_SIZE);
        }
    }

    /// A key, behind the prefix.
    #[inline]
    pub(crate) fn suffix(self, index: usize) -> &'a [u8] {
        let cell = self.cell(index);
        let len = usize::from(read_u16(self.0, cell));
        &self.0[cell + CELL_HEADER_SIZE..cell + CELL_HEADER_SIZE + len]
    }

    #[inline]
    pub(crate) fn value(self, index: usize) -> Stored<'a> {
        let cell = &self.0[self.cell(index)..];
        value_of(cell, usize::from(read_u16(cell, 0)))
    }

    /// Asks for the cache lines that a search looks at first, in a page that is not read yet.
    #[inline]
    pub(crate) fn prefetch_page<S: PageSource>(source: &S, at: Ref) {
        for line in [0, 64, 128] {
            source.prefetch(at, line);
        }
    }

    /// A record, to be carried elsewhere.
    pub(crate) fn carry(self, index: usize) -> Carried<'a> {
        self.carry_at(self.prefix(), self.cell(index))
    }

    /// All records, in order.
    pub(crate) fn carry_all(self) -> impl ExactSizeIterator<Item = Carried<'a>> {
        let prefix = self.prefix();
        let cells = self.cells().iter();
        cells.map(move |cell| self.carry_at(prefix, usize::from(u16::from_le_bytes(*cell))))
    }

    fn carry_at(self, prefix: &'a [u8], cell: usize) -> Carried<'a> {
        let (key_len, tag) = (usize::from(read_u16(self.0, cell)), read_u16(self.0, cell + 2));
        let (key, value) = self.0[cell + CELL_HEADER_SIZE..].split_at(key_len);
        Carried { front: prefix, back: key, tag, value: &value[..value_size(tag)] }
    }

    /// Where each record's cell begins.
    fn cells(self) -> &'a [[u8; OFFSET_SIZE]] {
        let count = self.len();
        let offsets = self.heads_start() + heads_size(count);
        self.0[offsets..offsets + count * OFFSET_SIZE].as_chunks::<OFFSET_SIZE>().0
    }

    /// Asks for the cache lines that a search looks at first.
    #[inline]
    pub(crate) fn prefetch(self) {
        prefetch(self.0, 64);
        prefetch(self.0, 128);
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn find(self, key: &[u8]) -> Option<Stored<'a>> {
        self.find_at(key, self.place_of(key)?)
    }

    /// The first record whose head is the key's, and where its cell begins.
    #[inline]
    pub(crate) fn place_of(self, key: &[u8]) -> Option<Place> {
        let prefix_len = usize::from(read_u16(self.0, PREFIX_LEN));
        let suffix = key.get(prefix_len..)?;
        let (count, head) = (self.len(), head_of(suffix));
        let heads = &self.0[heads_start(prefix_len)..];
        let index = count_below(&heads[..heads_size(count)], head);
        if index >= count || read_u32(heads, index * HEAD_SIZE) != head {
            return None;
        }
        let cell = usize::from(read_u16(&heads[heads_size(count)..], index * OFFSET_SIZE));
        Some(Place { index, cell, prefix_len })
    }

    /// Asks for the cache lines of a record.
    #[inline]
    pub(crate) fn prefetch_cell(self, place: Place) {
        for line in 0..5 {
            prefetch(self.0, place.cell + line * 64);
        }
    }

    /// The value of `key`, whose head the record at `place` is the first to have.
    #[inline]
    pub(crate) fn find_at(self, key: &[u8], place: Place) -> Option<Stored<'a>> {
        let suffix = &key[place.prefix_len..];
        let cell = &self.0[place.cell..];
        let len = usize::from(read_u16(cell, 0));
        if cell[CELL_HEADER_SIZE..CELL_HEADER_SIZE + len] == *suffix {
            return Some(value_of(cell, len));
        }
        self.search_equal_heads(suffix, place.index).ok().map(|index| self.value(index))
    }

    /// Where `key` is (`Ok`) or belongs (`Err`).
    #[inline]
    pub(crate) fn search(self, key: &[u8]) -> Result<usize, usize> {
        let prefix_len = usize::from(read_u16(self.0, PREFIX_LEN));
        let Some(suffix) = key.get(prefix_len..) else {
            // Only a damaged tree routes such a key here; it is not among the leaf's.
            return Err(0);
        };
        let (count, head) = (self.len(), head_of(suffix));
        let heads = &self.0[heads_start(prefix_len)..];
        let first = count_below(&heads[..heads_size(count)], head);
        if first == count || self.head(first) != head {
            return Err(first);
        }
        if self.suffix(first) == suffix {
            return Ok(first);
        }
        self.search_equal_heads(suffix, first)
    }

    /// As [`Leaf::search`] behind the prefix, where `first` is the first record with the same head, and
    /// another one.
    fn search_equal_heads(self, suffix: &[u8], first: usize) -> Result<usize, usize> {
        let (start, count) = (self.heads_start(), self.len());
        let end = count_up_to(&self.0[start..start + heads_size(count)], count, head_of(suffix));
        let at = partition(first..end, |index| self.suffix(index) < suffix);
        if at < end && self.suffix(at) == suffix { Ok(at) } else { Err(at) }
    }

    #[inline]
    fn head(self, index: usize) -> u32 {
        read_u32(self.0, self.heads_start() + index * HEAD_SIZE)
    }

    /// Bytes in use, holes not counted.
    pub(crate) fn used(self) -> usize {
        page_use(self.prefix().len(), self.len(), self.cells_size())
    }

    /// Bytes in use, holes counted. O(1).
    pub(crate) fn used_at_most(self) -> usize {
        page_use(self.prefix().len(), self.len(), usize::from(read_u16(self.0, HEAP_SIZE)))
    }

    /// Bytes of all cells.
    fn cells_size(self) -> usize {
        let cells = self.cells().iter();
        cells.map(|cell| self.cell_size_at(usize::from(u16::from_le_bytes(*cell)))).sum()
    }

    fn cell_size_at(self, cell: usize) -> usize {
        CELL_HEADER_SIZE + usize::from(read_u16(self.0, cell)) + value_size(read_u16(self.0, cell + 2))
    }
}

/// Whether something stands where nothing does that the leaf holds: in holes, or in free space.
pub(crate) fn has_rests(leaf: Leaf<'_>) -> bool {
    let bytes = leaf.0;
    let prefix_end = HEADER_SIZE + leaf.prefix_len();
    let mut spans: Vec<(usize, usize)> = leaf
        .cells()
        .iter()
        .map(|cell| usize::from(u16::from_le_bytes(*cell)))
        .map(|cell| (cell, cell + leaf.cell_size_at(cell)))
        .collect();
    spans.sort_unstable();
    let arrays_end = page_use(leaf.prefix_len(), leaf.len(), 0);
    super::is_any_set(&bytes[prefix_end..leaf.heads_start()])
        || super::is_any_set_between(bytes, arrays_end..bytes.len(), &spans)
}

/// As [`Leaf::find`], in a leaf of `N` bytes, quickly: few bounds are checked, and the lines of the value are asked
/// for before the key before it is compared.
#[inline(always)]
pub(crate) fn find_in<'a, const N: usize, L: Lanes>(bytes: &'a [u8; N], key: &[u8]) -> Option<Record<'a>> {
    record_of(bytes, key, place_in::<N, L>(bytes, key)?)
}

/// As [`Leaf::place_of`], in a leaf of `N` bytes, quickly; the lines of the record are asked for.
#[inline(always)]
pub(crate) fn place_in<const N: usize, L: Lanes>(bytes: &[u8; N], key: &[u8]) -> Option<Place> {
    let counts = read_u64(bytes, COUNT - 2);
    let (count, prefix_len) = (usize::from((counts >> 16) as u16), usize::from((counts >> 32) as u16));
    let (head, heads) = (head_behind(key, prefix_len)?, heads_start(prefix_len));
    let first = bytes.get(heads..heads + LANES_SIZE)?;
    let mut index = L::below(first.first_chunk()?, head);
    let mut offsets = heads + LANES_SIZE;
    if count > GROUP {
        offsets = heads + heads_size(count);
        let further = bytes.get(heads + LANES_SIZE..offsets)?.as_chunks().0.iter();
        index += further.map(|group| L::below(group, head)).sum::<usize>();
    }
    // The masks change nothing in a page that was validated; they stand for bounds checks.
    let words = bytes.as_chunks::<HEAD_SIZE>().0;
    if index >= count || u32::from_le_bytes(words[(heads / HEAD_SIZE + index) & (N / HEAD_SIZE - 1)]) != head
    {
        return None;
    }
    let cells = bytes.as_chunks::<OFFSET_SIZE>().0;
    let cell =
        usize::from(u16::from_le_bytes(cells[(offsets / OFFSET_SIZE + index) & (N / OFFSET_SIZE - 1)]));
    prefetch_line(bytes, cell);
    prefetch_value(bytes, cell, count);
    Some(Place { index, cell, prefix_len })
}

/// The record of `key`, whose head the one at `place` is the first to have.
#[inline(always)]
pub(crate) fn record_of<'a, const N: usize>(
    bytes: &'a [u8; N],
    key: &[u8],
    place: Place,
) -> Option<Record<'a>> {
    let (record, suffix) = (record_at(&bytes[place.cell..]), &key[place.prefix_len..]);
    if is_same(record.suffix, suffix) {
        return Some(record);
    }
    find_further(bytes, suffix, place.index)
}

/// As [`find_in`], where the record at `index` is the first with the key's head, and another one.
#[cold]
#[inline(never)]
fn find_further<'a>(bytes: &'a [u8], suffix: &[u8], index: usize) -> Option<Record<'a>> {
    let leaf = Leaf(bytes);
    leaf.search_equal_heads(suffix, index).ok().map(|index| leaf.record(index))
}

/// Asks for the lines behind a cell's first one, where records of a leaf of `count` are that long. What a value
/// spans is known only when its cell's first line has come.
#[inline(always)]
fn prefetch_value<const N: usize>(bytes: &[u8; N], cell: usize, count: usize) {
    // At 4 KiB: records of half a line at least, and of two.
    let (some, many) = (N / 32, N / 128);
    if count <= some {
        prefetch_line(bytes, cell + LANES_SIZE);
    }
    if count <= many {
        for line in 2..=4 {
            prefetch_line(bytes, cell + line * LANES_SIZE);
        }
    }
}

/// The record whose cell `cell` begins with.
#[inline(always)]
fn record_at(cell: &[u8]) -> Record<'_> {
    let (lens, rest) = cell.split_first_chunk::<CELL_HEADER_SIZE>().expect("a cell lies inside its leaf");
    let lens = u32::from_le_bytes(*lens);
    let (key_len, value_len) = (usize::from(lens as u16), (lens >> 16) as u16);
    let (suffix, value) = rest.split_at(key_len);
    let is_large = value_len == LARGE;
    let value = &value[..if is_large { LARGE_REF_SIZE } else { usize::from(value_len) }];
    Record { suffix, value, is_large }
}

/// A record as its leaf holds it.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    /// The key behind the leaf's prefix.
    pub(crate) suffix: &'a [u8],
    value: &'a [u8],
    is_large: bool,
}

impl<'a> Record<'a> {
    /// The value, where it stands in the leaf.
    #[inline(always)]
    pub(crate) fn inline(self) -> Option<&'a [u8]> {
        (!self.is_large).then_some(self.value)
    }

    /// No record.
    pub(crate) const EMPTY: Self = Self { suffix: &[], value: &[], is_large: false };

    #[inline]
    pub(crate) fn stored(self) -> Stored<'a> {
        if self.is_large {
            Stored::Large(LargeRef::decode(self.value).expect("validated when the page was first used"))
        } else {
            Stored::Inline(self.value)
        }
    }
}

/// The value in a cell whose key has `key_len` bytes behind the prefix.
#[inline]
fn value_of(cell: &[u8], key_len: usize) -> Stored<'_> {
    let value = &cell[CELL_HEADER_SIZE + key_len..];
    match read_u16(cell, 2) {
        LARGE => {
            let bytes = &value[..LARGE_REF_SIZE];
            Stored::Large(LargeRef::decode(bytes).expect("validated when the page was first used"))
        }
        len => Stored::Inline(&value[..usize::from(len)]),
    }
}

/// Checks a leaf from the file; the error names the broken rule.
pub(crate) fn validate(page: Page<'_>) -> Result<(), &'static str> {
    let bytes = page.bytes();
    let leaf = Leaf(bytes);
    let (count, prefix_len) = (leaf.len(), usize::from(read_u16(bytes, PREFIX_LEN)));
    let heap = usize::from(read_u16(bytes, HEAP_SIZE));
    if page.level() != 0 || page.ref_count() != 0 {
        return Err("a leaf has a level or references");
    }
    let arrays_end = page_use(prefix_len, count, 0);
    if arrays_end + heap > bytes.len() {
        return Err("a leaf's arrays and cells overlap");
    }
    let heap_start = bytes.len() - heap;
    // Of each cell the first and the last byte, both in one number: a page has 64 KiB at most.
    let mut spans: Vec<u32> = Vec::with_capacity(count);
    let mut before: Option<(u32, &[u8])> = None;
    for (index, cell) in leaf.cells().iter().enumerate() {
        let cell = usize::from(u16::from_le_bytes(*cell));
        if cell < heap_start || cell + CELL_HEADER_SIZE > bytes.len() {
            return Err("a cell lies outside a leaf's heap");
        }
        let (key_start, tag) = (cell + CELL_HEADER_SIZE, read_u16(bytes, cell + 2));
        let key_end = key_start + usize::from(read_u16(bytes, cell));
        let end = key_end + value_size(tag);
        if end > bytes.len() {
            return Err("a cell reaches past its leaf's end");
        }
        spans.push((cell as u32) << 16 | (end - 1) as u32);
        if tag == LARGE && LargeRef::decode(&bytes[key_end..end]).is_none() {
            return Err("a large value's reference is out of range");
        }
        let suffix = &bytes[key_start..key_end];
        let head = leaf.head(index);
        if head != head_of(suffix) {
            return Err("a key's head does not fit the key");
        }
        // Heads that rise are of keys that rise.
        if before.is_some_and(|(last, key)| last > head || (last == head && key >= suffix)) {
            return Err("keys do not rise in a leaf");
        }
        before = Some((head, suffix));
    }
    spans.sort_unstable();
    if spans.windows(2).any(|pair| pair[0] & 0xffff >= pair[1] >> 16) {
        return Err("cells overlap in a leaf");
    }
    let heads = leaf.heads_start();
    if bytes[heads + count * HEAD_SIZE..heads + heads_size(count)].iter().any(|byte| *byte != 0xff) {
        return Err("a leaf's unused heads are not all ones");
    }
    if count > 0 && prefix_len + leaf.suffix(0).len() == 0 {
        return Err("an empty key stands in a leaf");
    }
    Ok(())
}

/// Makes an empty leaf of `bytes`.
pub(crate) fn init(bytes: &mut [u8], prefix: &[u8]) {
    write_header(bytes, super::LEAF, 0);
    bytes[HEADER_SIZE..].fill(0);
    put_u16(bytes, PREFIX_LEN, prefix.len());
    bytes[HEADER_SIZE..HEADER_SIZE + prefix.len()].copy_from_slice(prefix);
}

/// Fills a leaf with records whose keys rise and begin with `prefix`.
///
/// # Panics
/// Where they do not fit; [`records_use`] tells.
pub(crate) fn build(bytes: &mut [u8], prefix: &[u8], records: &[Carried<'_>]) {
    write_header(bytes, super::LEAF, 0);
    put_u16(bytes, PREFIX_LEN, prefix.len());
    let (count, heads) = (records.len(), heads_start(prefix.len()));
    let prefix_end = HEADER_SIZE + prefix.len();
    bytes[HEADER_SIZE..prefix_end].copy_from_slice(prefix);
    bytes[prefix_end..heads].fill(0);
    let offsets = heads + heads_size(count);
    let arrays_end = offsets + count * OFFSET_SIZE;
    put_u16(bytes, COUNT, count);
    bytes[heads + count * HEAD_SIZE..offsets].fill(0xff);
    let mut heap = bytes.len();
    for (index, record) in records.iter().enumerate() {
        heap -= record.cell_size(prefix.len());
        assert!(heap >= arrays_end, "a leaf's records were measured before");
        let head = write_record(&mut bytes[heap..], record, prefix.len());
        bytes[heads + index * HEAD_SIZE..][..HEAD_SIZE].copy_from_slice(&head.to_le_bytes());
        put_u16(bytes, offsets + index * OFFSET_SIZE, heap);
    }
    bytes[arrays_end..heap].fill(0);
    put_u16(bytes, HEAP_SIZE, bytes.len() - heap);
}

/// Writes a record's cell. Answers its key's head.
fn write_record(at: &mut [u8], record: &Carried<'_>, prefix_len: usize) -> u32 {
    let (front, back) = record.parts(prefix_len);
    let (middle, key_end) = (CELL_HEADER_SIZE + front.len(), CELL_HEADER_SIZE + front.len() + back.len());
    put_u16(at, 0, front.len() + back.len());
    put_u16(at, 2, usize::from(record.tag));
    at[CELL_HEADER_SIZE..middle].copy_from_slice(front);
    at[middle..key_end].copy_from_slice(back);
    at[key_end..key_end + record.value.len()].copy_from_slice(record.value);
    head_of(&at[CELL_HEADER_SIZE..key_end])
}

/// How many bytes a value takes whose cell has this tag.
fn value_size(tag: u16) -> usize {
    if tag == LARGE { LARGE_REF_SIZE } else { usize::from(tag) }
}

fn write_cell(at: &mut [u8], suffix: &[u8], value: &Stored<'_>) {
    put_u16(at, 0, suffix.len());
    let value_at = CELL_HEADER_SIZE + suffix.len();
    at[CELL_HEADER_SIZE..value_at].copy_from_slice(suffix);
    match value {
        Stored::Inline(bytes) => {
            put_u16(at, 2, bytes.len());
            at[value_at..value_at + bytes.len()].copy_from_slice(bytes);
        }
        Stored::Large(large) => {
            put_u16(at, 2, usize::from(LARGE));
            at[value_at..value_at + LARGE_REF_SIZE].copy_from_slice(&large.encode());
        }
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

/// Inserts a record at `index`. Whether there was room; without it nothing changed.
pub(crate) fn insert(bytes: &mut [u8], index: usize, key: &[u8], value: &Stored<'_>) -> bool {
    let leaf = Leaf(bytes);
    let (count, prefix_len) = (leaf.len(), leaf.prefix().len());
    let suffix = &key[prefix_len..];
    let size = cell_size(suffix.len(), value);
    let heap = usize::from(read_u16(bytes, HEAP_SIZE));
    if page_use(prefix_len, count + 1, heap + size) > bytes.len() {
        if page_use(prefix_len, count + 1, leaf.cells_size() + size) > bytes.len() {
            return false;
        }
        compact(bytes);
    }
    let heap = usize::from(read_u16(bytes, HEAP_SIZE)) + size;
    let cell = bytes.len() - heap;
    write_cell(&mut bytes[cell..], suffix, value);
    put_u16(bytes, HEAP_SIZE, heap);
    insert_slot(bytes, prefix_len, count, index, head_of(suffix), cell);
    true
}

/// Opens a place in both arrays.
fn insert_slot(bytes: &mut [u8], prefix_len: usize, count: usize, index: usize, head: u32, cell: usize) {
    let heads = heads_start(prefix_len);
    let (old_offsets, new_offsets) = (heads + heads_size(count), heads + heads_size(count + 1));
    // The offsets move up first when the heads grow by a group; then each array opens at `index`.
    bytes.copy_within(
        old_offsets + index * OFFSET_SIZE..old_offsets + count * OFFSET_SIZE,
        new_offsets + (index + 1) * OFFSET_SIZE,
    );
    if new_offsets != old_offsets {
        bytes.copy_within(old_offsets..old_offsets + index * OFFSET_SIZE, new_offsets);
        bytes[old_offsets..new_offsets].fill(0xff);
    }
    bytes.copy_within(heads + index * HEAD_SIZE..heads + count * HEAD_SIZE, heads + (index + 1) * HEAD_SIZE);
    bytes[heads + index * HEAD_SIZE..][..HEAD_SIZE].copy_from_slice(&head.to_le_bytes());
    put_u16(bytes, new_offsets + index * OFFSET_SIZE, cell);
    put_u16(bytes, COUNT, count + 1);
}

/// Removes the record at `index`; its cell becomes a hole.
pub(crate) fn remove(bytes: &mut [u8], index: usize) {
    let leaf = Leaf(bytes);
    let (count, prefix_len) = (leaf.len(), leaf.prefix().len());
    let (cell, size) = (leaf.cell(index), cell_size(leaf.suffix(index).len(), &leaf.value(index)));
    let heads = heads_start(prefix_len);
    let (old_offsets, new_offsets) = (heads + heads_size(count), heads + heads_size(count - 1));
    bytes.copy_within(heads + (index + 1) * HEAD_SIZE..heads + count * HEAD_SIZE, heads + index * HEAD_SIZE);
    if new_offsets != old_offsets {
        bytes.copy_within(old_offsets..old_offsets + index * OFFSET_SIZE, new_offsets);
    } else {
        bytes[heads + (count - 1) * HEAD_SIZE..heads + count * HEAD_SIZE].fill(0xff);
    }
    bytes.copy_within(
        old_offsets + (index + 1) * OFFSET_SIZE..old_offsets + count * OFFSET_SIZE,
        new_offsets + index * OFFSET_SIZE,
    );
    let heap = usize::from(read_u16(bytes, HEAP_SIZE));
    if cell == bytes.len() - heap {
        put_u16(bytes, HEAP_SIZE, heap - size);
    }
    put_u16(bytes, COUNT, count - 1);
}

/// Replaces the value at `index`. Whether there was room; without it the record is gone and the caller
/// inserts it anew.
pub(crate) fn replace(bytes: &mut [u8], index: usize, key: &[u8], value: &Stored<'_>) -> bool {
    let leaf = Leaf(bytes);
    let (cell, prefix_len) = (leaf.cell(index), leaf.prefix_len());
    let (old, new) = (leaf.cell_size_at(cell), cell_size(key.len() - prefix_len, value));
    match resize(bytes, cell, old, new) {
        Some(cell) => {
            write_cell(&mut bytes[cell..], &key[prefix_len..], value);
            true
        }
        None => {
            remove(bytes, index);
            insert(bytes, index, key, value)
        }
    }
}

/// Gives a cell another size: it ends where it ended, and those before it make room or close up. Where it begins then;
/// `None` where there is no room, unless holes are closed. No hole comes from it.
fn resize(bytes: &mut [u8], cell: usize, old: usize, new: usize) -> Option<usize> {
    if old == new {
        return Some(cell);
    }
    let leaf = Leaf(bytes);
    let (count, prefix_len, heap) = (leaf.len(), leaf.prefix_len(), usize::from(read_u16(bytes, HEAP_SIZE)));
    let new_heap = heap - old + new;
    if page_use(prefix_len, count, new_heap) > bytes.len() {
        return None;
    }
    let start = bytes.len() - heap;
    bytes.copy_within(start..cell, bytes.len() - new_heap);
    put_u16(bytes, HEAP_SIZE, new_heap);
    let offsets = heads_start(prefix_len) + heads_size(count);
    // Down where it grows: as numbers that wrap.
    let shift = (old as u16).wrapping_sub(new as u16);
    for offset in bytes[offsets..offsets + count * OFFSET_SIZE].as_chunks_mut::<OFFSET_SIZE>().0 {
        let at = u16::from_le_bytes(*offset);
        let moved = if usize::from(at) <= cell { at.wrapping_add(shift) } else { at };
        *offset = moved.to_le_bytes();
    }
    Some(cell + old - new)
}

/// Closes the holes, and leaves zeros wherever nothing stands.
pub(crate) fn compact(bytes: &mut [u8]) {
    let copy = bytes.to_vec();
    let leaf = Leaf(&copy);
    let records: Vec<Carried<'_>> = leaf.carry_all().collect();
    build(bytes, leaf.prefix(), &records);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_leaf_behaves_as_a_sorted_map(
            ops in prop::collection::vec((any::<bool>(), prop::collection::vec(0u8..4, 1..9), prop::collection::vec(any::<u8>(), 0..300)), 1..120)
        ) {
            let mut page = vec![0; 4096];
            init(&mut page, b"pre");
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for (put, suffix, value) in ops {
                let key = [b"pre", suffix.as_slice()].concat();
                let at = Leaf(&page).search(&key);
                prop_assert_eq!(at.is_ok(), model.contains_key(&key));
                let stored = Stored::Inline(&value);
                let stays = match (put, at) {
                    (true, Ok(index)) => replace(&mut page, index, &key, &stored),
                    (true, Err(index)) => insert(&mut page, index, &key, &stored),
                    (false, Ok(index)) => { remove(&mut page, index); false }
                    (false, Err(_)) => continue,
                };
                if stays { model.insert(key, value); } else if at.is_ok() { model.remove(&key); }
                super::validate(Page::new(&page)).map_err(TestCaseError::fail)?;
                let leaf = Leaf(&page);
                prop_assert_eq!(leaf.len(), model.len());
                for (index, (key, value)) in model.iter().enumerate() {
                    prop_assert_eq!(&[b"pre", leaf.suffix(index)].concat(), key);
                    prop_assert_eq!(leaf.value(index), Stored::Inline(value));
                }
            }
        }
    }
}
