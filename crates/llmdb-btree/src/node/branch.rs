//! Branches: separators and the children between them.
//!
//! ```text
//! OFFSET        SIZE  DESCRIPTION (little-endian), with e = page size and m = e/64
//!     24           2  child count c
//!     26           2  separator count s = c - 1
//!     28           2  prefix length p
//!     30           2  1 = separators have tails
//!     32         8*c  children
//! 32+8*c         2*s  with tails only: where each separator stands: length (2), bytes behind the prefix
//!    ...              free space
//!                     with tails only: separators
//!    h-p           p  prefix; h = e-m-64*b, with b = s/16 rounded up
//!      h        64*b  heads of the separators behind the prefix in blocks of 16, the last block first;
//!                     filled with ones
//!    e-m           m  the first head of each block; filled with ones
//! ```
//!
//! Where a head, a block's first head or a child stands does not follow from the counts, so a search waits
//! for three cache lines of the page and no more: the first and the last ones together, a block, a child.
//!
//! Child i holds the keys from separator i-1 (inside) to separator i (outside). Without tails a separator
//! is its head without the zeros at its end: it has at most four bytes behind the prefix and does not end
//! in a zero, so it is the least key with that head and equal heads need no further look.
//!
//! Children and separators are changed in place where there is room; else a branch is built anew, which
//! closes the holes.

use super::lanes::{LANES_SIZE, Lanes, prefetch, prefetch_line, up_to};
use super::search::{self, count_all, head_behind, head_of, heads_size, partition};
use llmdb_pager::page::{
    HEADER_SIZE, REF_SIZE, read_u16, read_u32, read_u64, set_ref_count, set_reference, write_header,
};
use llmdb_pager::{Page, PageSource, Ref};

const CHILD_COUNT: usize = 24;
const COUNT: usize = 26;
const PREFIX_LEN: usize = 28;
const TAILS: usize = 30;
const HEAD_SIZE: usize = 4;
const OFFSET_SIZE: usize = 2;
const LEN_SIZE: usize = 2;
/// Heads are searched in blocks of this many; the first of each stands at the page's end as well.
const BLOCK: usize = search::GROUP;

const _: () = assert!(CHILD_COUNT + 8 == HEADER_SIZE);
const _: () = assert!(CHILD_COUNT + 2 == COUNT && COUNT + 2 == PREFIX_LEN && PREFIX_LEN + 2 == TAILS);

/// A read view of a branch.
#[derive(Clone, Copy)]
pub(crate) struct Branch<'a>(Page<'a>);

impl<'a> Branch<'a> {
    #[inline]
    pub(crate) fn new(page: Page<'a>) -> Self {
        debug_assert!(page.kind() == super::BRANCH);
        Self(page)
    }

    /// How many separators it has: one less than children.
    #[inline]
    pub(crate) fn separators(self) -> usize {
        usize::from(read_u16(self.0.bytes(), COUNT))
    }

    #[inline]
    pub(crate) fn children(self) -> usize {
        self.0.ref_count()
    }

    #[inline]
    pub(crate) fn child(self, index: usize) -> Ref {
        self.0.reference(index)
    }

    pub(crate) fn prefix(self) -> &'a [u8] {
        let bytes = self.0.bytes();
        let end = heads_start(bytes.len(), self.separators());
        &bytes[end - usize::from(read_u16(bytes, PREFIX_LEN))..end]
    }

    #[inline]
    fn has_tails(self) -> bool {
        read_u16(self.0.bytes(), TAILS) != 0
    }

    #[inline]
    fn head(self, index: usize) -> u32 {
        read_u32(self.0.bytes(), head_at(self.0.bytes().len(), index))
    }

    fn tail(self, index: usize) -> &'a [u8] {
        let bytes = self.0.bytes();
        let offsets = HEADER_SIZE + self.children() * REF_SIZE;
        let at = usize::from(read_u16(bytes, offsets + index * OFFSET_SIZE));
        let len = usize::from(read_u16(bytes, at));
        &bytes[at + LEN_SIZE..at + LEN_SIZE + len]
    }

    /// Where the separators' tails begin, holes among them counted; the prefix where there is none.
    fn heap_start(self) -> usize {
        let bytes = self.0.bytes();
        let end = heads_start(bytes.len(), self.separators()) - usize::from(read_u16(bytes, PREFIX_LEN));
        if !self.has_tails() {
            return end;
        }
        let offsets = HEADER_SIZE + self.children() * REF_SIZE;
        let offsets = &bytes[offsets..offsets + self.separators() * OFFSET_SIZE];
        let starts = offsets.as_chunks::<OFFSET_SIZE>().0.iter();
        starts.map(|at| u16::from_le_bytes(*at)).min().map_or(end, |lowest| end.min(usize::from(lowest)))
    }

    /// A separator, behind the prefix.
    pub(crate) fn suffix(self, index: usize) -> Suffix<'a> {
        if self.has_tails() {
            return Suffix::Bytes(self.tail(index));
        }
        let head = self.head(index).to_be_bytes();
        let len = head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Suffix::Head(head, len)
    }

    /// A whole separator.
    pub(crate) fn separator(self, index: usize) -> Vec<u8> {
        [self.prefix(), self.suffix(index).bytes()].concat()
    }

    /// The child that holds `key`.
    #[inline]
    pub(crate) fn search(self, key: &[u8]) -> usize {
        let (counts, Some(suffix)) = self.behind_prefix(key) else {
            // Only a damaged tree routes such a key here.
            return 0;
        };
        let head = head_of(suffix);
        self.search_in(counts, suffix, head, self.block_with(head))
    }

    /// The first separator of the block in which the search for `key` ends.
    #[inline]
    pub(crate) fn block_of(self, key: &[u8]) -> usize {
        let (_, suffix) = self.behind_prefix(key);
        suffix.map_or(0, |suffix| self.block_with(head_of(suffix)))
    }

    /// The header's counts in one word, and the key without the prefix.
    #[inline]
    fn behind_prefix(self, key: &[u8]) -> (u64, Option<&[u8]>) {
        let counts = read_u64(self.0.bytes(), CHILD_COUNT);
        (counts, key.get(usize::from((counts >> 32) as u16)..))
    }

    /// The last block whose first head is not above `head`.
    #[inline]
    fn block_with(self, head: u32) -> usize {
        let bytes = self.0.bytes();
        let summary = &bytes[bytes.len() - summary_size(bytes.len())..];
        count_all(summary, head).saturating_sub(1) * BLOCK
    }

    #[inline]
    fn search_in(self, counts: u64, suffix: &[u8], head: u32, before: usize) -> usize {
        let bytes = self.0.bytes();
        let blocks_end = bytes.len() - summary_size(bytes.len()) - before * HEAD_SIZE;
        let block = bytes[..blocks_end].last_chunk().map_or(0, |block| up_to(block, head));
        let count = usize::from((counts >> 16) as u16);
        let end = (before + block).min(count);
        if counts >> 48 == 0 { end } else { self.search_tails(suffix, end) }
    }

    /// Asks for the cache lines that [`Branch::block_of`] will look at, in a page that is not read yet.
    #[inline]
    pub(crate) fn prefetch<S: PageSource>(source: &S, at: Ref) {
        source.prefetch(at, 0);
        let size = source.page_size();
        for line in (size - summary_size(size)..size).step_by(64) {
            source.prefetch(at, line);
        }
    }

    /// Asks for the cache lines that [`Branch::search_block`] will look at.
    #[inline]
    pub(crate) fn prefetch_block(self, before: usize) {
        let bytes = self.0.bytes();
        prefetch(bytes, head_at(bytes.len(), before));
        prefetch(bytes, HEADER_SIZE + before * REF_SIZE);
        prefetch(bytes, HEADER_SIZE + (before + BLOCK) * REF_SIZE);
    }

    /// As [`Branch::search`], in the block that begins with separator `before`.
    #[inline]
    pub(crate) fn search_block(self, key: &[u8], before: usize) -> usize {
        let (counts, Some(suffix)) = self.behind_prefix(key) else { return 0 };
        self.search_in(counts, suffix, head_of(suffix), before)
    }

    /// As [`Branch::search`] behind the prefix, where `end` separators have a head up to the key's.
    fn search_tails(self, suffix: &[u8], end: usize) -> usize {
        let head = head_of(suffix);
        let first = partition(0..end, |index| self.head(index) < head);
        partition(first..end, |index| self.tail(index) <= suffix)
    }
}

/// As [`Branch::child`] of [`Branch::search`], in a branch of `N` bytes, quickly: no bound is checked. With `ask` the
/// children that may be meant are asked for together with the separators between them: in a branch that is seldom
/// read, where neither is at hand.
#[inline(always)]
pub(crate) fn child_of<const N: usize, L: Lanes>(bytes: &[u8; N], key: &[u8], ask: bool) -> Ref {
    let Some(block) = block_in::<N, L>(bytes, key) else { return with_tails(bytes, key) };
    if ask {
        prefetch_children(bytes, block);
    }
    child_in::<N, L>(bytes, block)
}

/// Where in a branch a key leads: behind the separators before a block of sixteen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BlockOf {
    head: u32,
    block: usize,
}

/// The block in which the search for `key` ends; `None` where separators have tails, or only a damaged tree routes the
/// key here.
#[inline(always)]
pub(crate) fn block_in<const N: usize, L: Lanes>(bytes: &[u8; N], key: &[u8]) -> Option<BlockOf> {
    let counts = read_u64(bytes, CHILD_COUNT);
    if counts >> 48 != 0 {
        return None;
    }
    let head = head_behind(key, (counts >> 32) as u32 as usize)?;
    let summary = N / LANES_SIZE - N / LANES_SIZE / LANES_SIZE;
    let lines = bytes.as_chunks::<LANES_SIZE>().0;
    let blocks: usize = lines[summary..].iter().map(|line| L::up_to(line, head)).sum();
    Some(BlockOf { head, block: blocks.saturating_sub(1) })
}

/// Asks for the lines with the children of a block.
#[inline(always)]
pub(crate) fn prefetch_children<const N: usize>(bytes: &[u8; N], BlockOf { block, .. }: BlockOf) {
    for line in 0..3 {
        prefetch_line(bytes, block * BLOCK * REF_SIZE + line * LANES_SIZE);
    }
}

/// Asks for the line with the separators of a block.
#[inline(always)]
pub(crate) fn prefetch_separators<const N: usize>(bytes: &[u8; N], BlockOf { block, .. }: BlockOf) {
    let summary = N / LANES_SIZE - N / LANES_SIZE / LANES_SIZE;
    prefetch_line(bytes, summary.wrapping_sub(block + 1).wrapping_mul(LANES_SIZE));
}

/// The child behind the separators of a block.
#[inline(always)]
pub(crate) fn child_in<const N: usize, L: Lanes>(
    bytes: &[u8; N],
    BlockOf { head, block: before }: BlockOf,
) -> Ref {
    let (lines, words) = (bytes.as_chunks::<LANES_SIZE>().0, bytes.as_chunks::<REF_SIZE>().0);
    let summary = N / LANES_SIZE - N / LANES_SIZE / LANES_SIZE;
    // The mask changes nothing in a page that was validated.
    let block = &lines[summary.wrapping_sub(before + 1) & (N / LANES_SIZE - 1)];
    let count = usize::from(read_u16(bytes, CHILD_COUNT + 2));
    let index = (before * BLOCK + L::up_to(block, head)).min(count);
    Ref::from_word(u64::from_le_bytes(words[(HEADER_SIZE / REF_SIZE + index) & (N / REF_SIZE - 1)]))
}

/// As [`child_of`], where separators have tails, or only a damaged tree routes the key here.
#[inline(never)]
pub(crate) fn with_tails(bytes: &[u8], key: &[u8]) -> Ref {
    let branch = Branch::new(Page::new(bytes));
    branch.child(branch.search(key))
}

/// Whole separators, one behind the other in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Separators {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    longest: usize,
    ends_in_zero: bool,
}

impl Separators {
    pub(crate) fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        let start = self.ends.last().copied().unwrap_or(0);
        self.longest = self.longest.max(self.bytes.len() - start);
        self.ends_in_zero |= self.bytes.last() == Some(&0);
        self.ends.push(self.bytes.len());
    }

    /// Adds all separators of a branch.
    pub(crate) fn extend(&mut self, branch: Branch<'_>) {
        let prefix = branch.prefix();
        for index in 0..branch.separators() {
            self.push(&[prefix, branch.suffix(index).bytes()]);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes that a branch of these separators and one more would take, behind a prefix that all share.
    pub(crate) fn use_with(&self, page_size: usize, more: &[u8], prefix_len: usize) -> usize {
        let count = self.ends.len() + 1;
        let longest = self.longest.max(more.len()) - prefix_len;
        let has_tails = longest > HEAD_SIZE || self.ends_in_zero || more.last() == Some(&0);
        let tails = self.bytes.len() + more.len() + count * (LEN_SIZE + OFFSET_SIZE) - count * prefix_len;
        let heads = heads_use(page_size, count);
        HEADER_SIZE + (count + 1) * REF_SIZE + if has_tails { tails } else { 0 } + prefix_len + heads
    }

    /// All of them, in order.
    pub(crate) fn slices(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end]).collect()
    }
}

/// A separator behind its page's prefix.
pub(crate) enum Suffix<'a> {
    Bytes(&'a [u8]),
    Head([u8; 4], usize),
}

impl Suffix<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Head(head, len) => &head[..*len],
        }
    }
}

/// The most separators that a branch has: one block of the page's summary for each.
fn count_max(page_size: usize) -> usize {
    page_size / BLOCK
}

/// Bytes that the heads of so many separators take, summary included; more than any page has where there
/// are more than a branch can have.
fn heads_use(page_size: usize, count: usize) -> usize {
    if count > count_max(page_size) { page_size } else { heads_size(count) + summary_size(page_size) }
}

/// Bytes of the blocks' first heads, at a page's end: a cache line at 4 KiB.
#[inline]
fn summary_size(page_size: usize) -> usize {
    page_size / BLOCK / HEAD_SIZE
}

/// Where the heads of so many separators begin.
fn heads_start(page_size: usize, separators: usize) -> usize {
    page_size - summary_size(page_size) - heads_size(separators)
}

/// Where a head stands.
#[inline]
fn head_at(page_size: usize, index: usize) -> usize {
    let block = page_size - summary_size(page_size) - (index / BLOCK + 1) * BLOCK * HEAD_SIZE;
    block + index % BLOCK * HEAD_SIZE
}

/// Whether a separator behind the prefix is told by its head alone.
fn is_short(suffix: &[u8]) -> bool {
    suffix.len() <= HEAD_SIZE && suffix.last() != Some(&0)
}

/// Checks a branch from the file; the error names the broken rule.
pub(crate) fn validate(page: Page<'_>) -> Result<(), &'static str> {
    let bytes = page.bytes();
    let branch = Branch(page);
    let (count, children) = (branch.separators(), page.ref_count());
    if page.level() == 0 || children != count + 1 {
        return Err("a branch has no level, or not one child more than separators");
    }
    if count > count_max(bytes.len()) {
        return Err("a branch has more separators than its summary has room for");
    }
    if page.references().any(Ref::is_null) {
        return Err("a branch refers to nothing");
    }
    let prefix_len = usize::from(read_u16(bytes, PREFIX_LEN));
    let offsets = HEADER_SIZE + children * REF_SIZE;
    let offsets_end = offsets + if branch.has_tails() { count * OFFSET_SIZE } else { 0 };
    let heads = summary_size(bytes.len()) + heads_size(count);
    if offsets_end + prefix_len + heads > bytes.len() {
        return Err("a branch's arrays reach past its end");
    }
    let heap_end = bytes.len() - heads - prefix_len;
    for index in 0..count {
        if branch.has_tails() {
            let at = usize::from(read_u16(bytes, offsets + index * OFFSET_SIZE));
            if at < offsets_end
                || at + LEN_SIZE > heap_end
                || at + LEN_SIZE + usize::from(read_u16(bytes, at)) > heap_end
            {
                return Err("a separator lies outside a branch's heap");
            }
            if branch.head(index) != head_of(branch.tail(index)) {
                return Err("a separator's head does not fit it");
            }
        }
        if index > 0 && branch.suffix(index - 1).bytes() >= branch.suffix(index).bytes() {
            return Err("separators do not rise in a branch");
        }
    }
    validate_fill(branch, count)
}

/// The summary and the unused heads must be as `build` makes them: searches rely on both.
fn validate_fill(branch: Branch<'_>, count: usize) -> Result<(), &'static str> {
    let bytes = branch.0.bytes();
    if (count..count.next_multiple_of(BLOCK)).any(|index| branch.head(index) != u32::MAX) {
        return Err("a branch's unused heads are not all ones");
    }
    let summary = &bytes[bytes.len() - summary_size(bytes.len())..];
    for (block, first) in summary.as_chunks::<HEAD_SIZE>().0.iter().enumerate() {
        let expected = if block * BLOCK < count { branch.head(block * BLOCK) } else { u32::MAX };
        if u32::from_le_bytes(*first) != expected {
            return Err("a branch's summary does not fit its heads");
        }
    }
    Ok(())
}

/// Enters a child behind child `index` and `separator` (whole) before it, in place. Whether that could be
/// done: not where there is no room between arrays and separators, or where this is the first tail.
pub(crate) fn insert_child(bytes: &mut [u8], index: usize, separator: &[u8], child: Ref) -> bool {
    let branch = Branch(Page::new(bytes));
    let (count, has_tails, heap) = (branch.separators(), branch.has_tails(), branch.heap_start());
    let suffix = &separator[branch.prefix().len()..];
    let (offsets, head) = (HEADER_SIZE + branch.children() * REF_SIZE, head_of(suffix));
    // A new block of heads pushes the prefix down, and would push tails.
    let block = heads_size(count + 1) - heads_size(count);
    let needed = if has_tails { LEN_SIZE + suffix.len() + (count + 1) * OFFSET_SIZE } else { 0 };
    if count == count_max(bytes.len()) {
        return false;
    }
    if (if has_tails { block > 0 } else { !is_short(suffix) }) || offsets + REF_SIZE + needed + block > heap {
        return false;
    }
    if has_tails {
        let (at, moved) = (heap - LEN_SIZE - suffix.len(), offsets + REF_SIZE);
        put_tail(bytes, at, suffix);
        bytes.copy_within(
            offsets + index * OFFSET_SIZE..offsets + count * OFFSET_SIZE,
            moved + (index + 1) * OFFSET_SIZE,
        );
        bytes.copy_within(offsets..offsets + index * OFFSET_SIZE, moved);
        put_u16(bytes, moved + index * OFFSET_SIZE, at);
    }
    let place = HEADER_SIZE + (index + 1) * REF_SIZE;
    bytes.copy_within(place..offsets, place + REF_SIZE);
    set_reference(bytes, index + 1, child);
    set_ref_count(bytes, count + 2);
    put_u16(bytes, COUNT, count + 1);
    if block > 0 {
        let heads = heads_start(bytes.len(), count);
        bytes.copy_within(heap..heads, heap - block);
    }
    open_head(bytes, index, count);
    put_head(bytes, head_at(bytes.len(), index), head);
    fill_heads(bytes, count + 1);
    true
}

/// Takes out child `index + 1` and the separator before it, in place. A tail leaves a hole.
pub(crate) fn remove_child(bytes: &mut [u8], index: usize) {
    let branch = Branch(Page::new(bytes));
    let (count, has_tails, prefix_len) = (branch.separators(), branch.has_tails(), branch.prefix().len());
    let offsets = HEADER_SIZE + branch.children() * REF_SIZE;
    let place = HEADER_SIZE + (index + 1) * REF_SIZE;
    bytes.copy_within(place + REF_SIZE..offsets, place);
    if has_tails {
        let moved = offsets - REF_SIZE;
        bytes.copy_within(offsets..offsets + index * OFFSET_SIZE, moved);
        bytes.copy_within(
            offsets + (index + 1) * OFFSET_SIZE..offsets + count * OFFSET_SIZE,
            moved + index * OFFSET_SIZE,
        );
    }
    set_ref_count(bytes, count);
    put_u16(bytes, COUNT, count - 1);
    close_head(bytes, index, count);
    let block = heads_size(count) - heads_size(count - 1);
    if block > 0 {
        let heads = heads_start(bytes.len(), count);
        bytes.copy_within(heads - prefix_len..heads, heads - prefix_len + block);
    }
    fill_heads(bytes, count - 1);
}

/// Sets a separator (whole) in place. Whether that could be done: as [`insert_child`].
pub(crate) fn set_separator(bytes: &mut [u8], index: usize, separator: &[u8]) -> bool {
    let branch = Branch(Page::new(bytes));
    let (count, has_tails) = (branch.separators(), branch.has_tails());
    let suffix = &separator[branch.prefix().len()..];
    if has_tails {
        let offsets = HEADER_SIZE + branch.children() * REF_SIZE;
        let mut at = usize::from(read_u16(bytes, offsets + index * OFFSET_SIZE));
        if branch.tail(index).len() < suffix.len() {
            let heap = branch.heap_start();
            if offsets + count * OFFSET_SIZE + LEN_SIZE + suffix.len() > heap {
                return false;
            }
            at = heap - LEN_SIZE - suffix.len();
        }
        put_tail(bytes, at, suffix);
        put_u16(bytes, offsets + index * OFFSET_SIZE, at);
    } else if !is_short(suffix) {
        return false;
    }
    put_head(bytes, head_at(bytes.len(), index), head_of(suffix));
    fill_heads(bytes, count);
    true
}

fn put_tail(bytes: &mut [u8], at: usize, suffix: &[u8]) {
    put_u16(bytes, at, suffix.len());
    bytes[at + LEN_SIZE..at + LEN_SIZE + suffix.len()].copy_from_slice(suffix);
}

/// Moves the heads from `index` up by one place, block by block from the last one.
fn open_head(bytes: &mut [u8], index: usize, count: usize) {
    let size = bytes.len();
    for block in (index / BLOCK..=count / BLOCK).rev() {
        let first = block * BLOCK;
        let (start, end) = (index.max(first), count.min(first + BLOCK - 1));
        if count > end {
            let from = head_at(size, end);
            bytes.copy_within(from..from + HEAD_SIZE, head_at(size, end + 1));
        }
        let from = head_at(size, start);
        bytes.copy_within(from..from + (end - start) * HEAD_SIZE, from + HEAD_SIZE);
    }
}

/// Moves the heads behind `index` down by one place, block by block.
fn close_head(bytes: &mut [u8], index: usize, count: usize) {
    let size = bytes.len();
    for block in index / BLOCK..=(count - 1) / BLOCK {
        let first = block * BLOCK;
        let (start, end) = (index.max(first), (count - 1).min(first + BLOCK - 1));
        let from = head_at(size, start) + HEAD_SIZE;
        bytes.copy_within(from..from + (end - start) * HEAD_SIZE, from - HEAD_SIZE);
        if end + 1 < count {
            let next = head_at(size, end + 1);
            bytes.copy_within(next..next + HEAD_SIZE, head_at(size, end));
        }
    }
}

/// Writes what follows from the heads: the filling behind them, and the summary.
fn fill_heads(bytes: &mut [u8], count: usize) {
    let size = bytes.len();
    if !count.is_multiple_of(BLOCK) {
        let from = head_at(size, count);
        bytes[from..from + (BLOCK - count % BLOCK) * HEAD_SIZE].fill(0xff);
    }
    let summary = size - summary_size(size);
    let blocks = count.div_ceil(BLOCK);
    for block in 0..blocks {
        let first = head_at(size, block * BLOCK);
        bytes.copy_within(first..first + HEAD_SIZE, summary + block * HEAD_SIZE);
    }
    bytes[summary + blocks * HEAD_SIZE..].fill(0xff);
}

/// Whether something stands where nothing does that the branch holds: in holes, or in free space.
pub(crate) fn has_rests(branch: Branch<'_>) -> bool {
    let bytes = branch.0.bytes();
    let (count, has_tails) = (branch.separators(), branch.has_tails());
    let offsets = HEADER_SIZE + branch.children() * REF_SIZE;
    let start = offsets + if has_tails { count * OFFSET_SIZE } else { 0 };
    let end = heads_start(bytes.len(), count) - branch.prefix().len();
    let tail = |index: usize| {
        let at = usize::from(read_u16(bytes, offsets + index * OFFSET_SIZE));
        (at, at + LEN_SIZE + usize::from(read_u16(bytes, at)))
    };
    let mut spans: Vec<_> = if has_tails { (0..count).map(tail).collect() } else { Vec::new() };
    spans.sort_unstable();
    super::is_any_set_between(bytes, start..end, &spans)
}

/// Builds a branch anew in its place, with these separators (whole), which are its own or beginnings of them, and zeros
/// wherever nothing stands. Whether that could be done: not where they are not as many, have not the branch's prefix,
/// or need more room than there is.
#[must_use]
pub(crate) fn rebuild(bytes: &mut [u8], separators: &[Vec<u8>]) -> bool {
    let copy = bytes.to_vec();
    let branch = Branch(Page::new(&copy));
    let children: Vec<Ref> = branch.0.references().collect();
    let prefix = branch.prefix();
    let slices: Vec<&[u8]> = separators.iter().map(Vec::as_slice).collect();
    if slices.len() != branch.separators() || !slices.iter().all(|separator| separator.starts_with(prefix)) {
        return false;
    }
    let suffixes = slices.iter().map(|separator| &separator[prefix.len()..]);
    if page_use(bytes.len(), prefix.len(), suffixes) > bytes.len() {
        return false;
    }
    build(bytes, branch.0.level(), prefix, &slices, &children);
    true
}

/// Bytes that a branch takes, holes not counted.
pub(crate) fn used(branch: Branch<'_>) -> usize {
    let bytes = branch.0.bytes();
    let count = branch.separators();
    let tails = (0..count).map(|index| branch.suffix(index).bytes().len() + LEN_SIZE + OFFSET_SIZE);
    let tails = if branch.has_tails() { tails.sum() } else { 0 };
    let heads = heads_size(count) + summary_size(bytes.len());
    HEADER_SIZE + branch.children() * REF_SIZE + tails + branch.prefix().len() + heads
}

/// Bytes that a branch of these separators (behind a prefix of `prefix_len`) would take.
pub(crate) fn page_use<'a>(
    page_size: usize,
    prefix_len: usize,
    suffixes: impl Iterator<Item = &'a [u8]>,
) -> usize {
    let (mut count, mut tails, mut has_tails) = (0, 0, false);
    for suffix in suffixes {
        count += 1;
        tails += LEN_SIZE + suffix.len() + OFFSET_SIZE;
        has_tails |= !is_short(suffix);
    }
    let heads = heads_use(page_size, count);
    HEADER_SIZE + (count + 1) * REF_SIZE + if has_tails { tails } else { 0 } + prefix_len + heads
}

/// Builds a branch. `separators` are whole; each begins with `prefix`.
///
/// # Panics
/// Where they do not fit; [`page_use`] tells.
pub(crate) fn build(bytes: &mut [u8], level: u8, prefix: &[u8], separators: &[&[u8]], children: &[Ref]) {
    assert_eq!(children.len(), separators.len() + 1);
    write_header(bytes, super::BRANCH, level);
    bytes[HEADER_SIZE..].fill(0);
    set_ref_count(bytes, children.len());
    for (index, child) in children.iter().enumerate() {
        set_reference(bytes, index, *child);
    }
    let (count, end) = (separators.len(), bytes.len());
    put_u16(bytes, COUNT, count);
    put_u16(bytes, PREFIX_LEN, prefix.len());
    let suffixes = separators.iter().map(|separator| &separator[prefix.len()..]);
    let heads = heads_start(end, count);
    let mut heap = heads - prefix.len();
    bytes[heap..heads].copy_from_slice(prefix);
    bytes[heads..].fill(0xff);
    let summary = end - summary_size(end);
    for (index, suffix) in suffixes.clone().enumerate() {
        let head = head_of(suffix);
        put_head(bytes, head_at(end, index), head);
        if index % BLOCK == 0 {
            put_head(bytes, summary + index / BLOCK * HEAD_SIZE, head);
        }
    }
    if suffixes.clone().all(is_short) {
        return;
    }
    put_u16(bytes, TAILS, 1);
    let offsets = HEADER_SIZE + children.len() * REF_SIZE;
    for (index, suffix) in suffixes.enumerate() {
        heap -= LEN_SIZE + suffix.len();
        assert!(heap >= offsets + count * OFFSET_SIZE, "a branch's separators were measured before");
        put_tail(bytes, heap, suffix);
        put_u16(bytes, offsets + index * OFFSET_SIZE, heap);
    }
}

fn put_head(bytes: &mut [u8], at: usize, head: u32) {
    bytes[at..at + HEAD_SIZE].copy_from_slice(&head.to_le_bytes());
}

fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmdb_pager::PageNumber;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_branch_routes_as_a_sorted_list_does(
            separators in prop::collection::btree_set(prop::collection::vec(0u8..3, 1..7), 0..90),
            keys in prop::collection::vec(prop::collection::vec(0u8..3, 1..9), 1..60),
        ) {
            check(&separators, &keys, b"")?;
            check(&separators, &keys, b"same")?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn changes_in_place_are_those_of_a_list(
            ops in prop::collection::vec((0u8..3, any::<prop::sample::Index>(), prop::collection::vec(0u8..4, 1..60)), 1..150),
            long in any::<bool>(),
        ) {
            let prefix = b"pre";
            let mut bytes = vec![0; 4096];
            let mut list: Vec<Vec<u8>> = vec![[&prefix[..], if long { b"zzzzzz" } else { b"zz" }].concat()];
            let mut children = vec![Ref::page(PageNumber(1), 0), Ref::page(PageNumber(2), 0)];
            let slices: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
            build(&mut bytes, 1, prefix, &slices, &children);
            for (number, (op, index, suffix)) in ops.into_iter().enumerate() {
                let separator = [&prefix[..], &suffix].concat();
                let Err(place) = list.binary_search(&separator) else { continue };
                let child = Ref::page(PageNumber(number as u64 + 3), 0);
                match op {
                    0 if insert_child(&mut bytes, place, &separator, child) => {
                        list.insert(place, separator);
                        children.insert(place + 1, child);
                    }
                    1 if list.len() > 1 => {
                        let place = index.index(list.len());
                        remove_child(&mut bytes, place);
                        list.remove(place);
                        children.remove(place + 1);
                    }
                    2 if place < list.len() && set_separator(&mut bytes, place, &separator) => {
                        list[place] = separator;
                    }
                    _ => {}
                }
                let page = Page::new(&bytes);
                validate(page).map_err(TestCaseError::fail)?;
                prop_assert_eq!(page.references().collect::<Vec<_>>(), children.clone());
                for (index, separator) in list.iter().enumerate() {
                    prop_assert_eq!(&Branch(page).separator(index), separator);
                    prop_assert_eq!(Branch(page).search(separator), index + 1);
                }
            }
        }
    }

    fn check(separators: &BTreeSet<Vec<u8>>, keys: &[Vec<u8>], prefix: &[u8]) -> Result<(), TestCaseError> {
        let whole: Vec<Vec<u8>> = separators.iter().map(|s| [prefix, s.as_slice()].concat()).collect();
        let slices: Vec<&[u8]> = whole.iter().map(Vec::as_slice).collect();
        let children: Vec<Ref> = (0..=slices.len()).map(|i| Ref::page(PageNumber(i as u64 + 1), 0)).collect();
        let mut bytes = vec![0; 4096];
        build(&mut bytes, 1, prefix, &slices, &children);
        let page = Page::new(&bytes);
        validate(page).map_err(TestCaseError::fail)?;
        for key in keys.iter().map(|key| [prefix, key.as_slice()].concat()).chain(whole.iter().cloned()) {
            let expected = slices.iter().filter(|separator| **separator <= key.as_slice()).count();
            prop_assert_eq!(Branch(page).search(&key), expected, "key {:?}", key);
        }
        for (index, separator) in whole.iter().enumerate() {
            prop_assert_eq!(&Branch(page).separator(index), separator);
        }
        Ok(())
    }
}
