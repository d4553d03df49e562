//! Branches: separators and the children between them.
//!
//! ```text
//! OFFSET        SIZE  DESCRIPTION (little-endian)
//!     24           2  child count c
//!     26           2  separator count s = c - 1
//!     28           2  prefix length p
//!     30           2  1 = separators have tails
//!     32         8*c  children
//!      h  4*s', s' = s rounded up to 16: heads of the separators behind the prefix; filled with ones
//!         4*s'/16     every 16th head
//!      o         2*s  with tails only: where each separator stands: length (2), bytes behind the prefix
//!    ...              free space
//!                     separators
//!  end-p          p   prefix
//! ```
//!
//! Child i holds the keys from separator i-1 (inside) to separator i (outside). Without tails a separator
//! is its head without the zeros at its end: it has at most four bytes behind the prefix and does not end
//! in a zero, so it is the least key with that head and equal heads need no further look.
//!
//! Children and separators are changed in place where there is room; else a branch is built anew, which
//! closes the holes.

use super::search::{self, count_below, count_up_to, head_of, partition};
use llmdb_pager::page::{
    HEADER_SIZE, REF_SIZE, read_u16, read_u32, set_ref_count, set_reference, write_header,
};
use llmdb_pager::{Page, Ref};

const COUNT: usize = 26;
const PREFIX_LEN: usize = 28;
const TAILS: usize = 30;
const HEAD_SIZE: usize = 4;
const OFFSET_SIZE: usize = 2;
const LEN_SIZE: usize = 2;
/// Heads are searched in blocks of this many; the first of each stands in the summary.
const BLOCK: usize = search::GROUP;

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
        &bytes[bytes.len() - usize::from(read_u16(bytes, PREFIX_LEN))..]
    }

    #[inline]
    fn has_tails(self) -> bool {
        read_u16(self.0.bytes(), TAILS) != 0
    }

    #[inline]
    fn heads_start(self) -> usize {
        HEADER_SIZE + self.0.ref_count() * REF_SIZE
    }

    #[inline]
    fn head(self, index: usize) -> u32 {
        read_u32(self.0.bytes(), self.heads_start() + index * HEAD_SIZE)
    }

    fn tail(self, index: usize) -> &'a [u8] {
        let bytes = self.0.bytes();
        let offsets = offsets_start(self.heads_start(), self.separators());
        let at = usize::from(read_u16(bytes, offsets + index * OFFSET_SIZE));
        let len = usize::from(read_u16(bytes, at));
        &bytes[at + LEN_SIZE..at + LEN_SIZE + len]
    }

    /// Where the separators' tails begin, holes among them counted; the prefix where there is none.
    fn heap_start(self) -> usize {
        let bytes = self.0.bytes();
        let end = bytes.len() - usize::from(read_u16(bytes, PREFIX_LEN));
        if !self.has_tails() {
            return end;
        }
        let offsets = offsets_start(self.heads_start(), self.separators());
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
        let Some(suffix) = key.get(usize::from(read_u16(self.0.bytes(), PREFIX_LEN))..) else {
            // Only a damaged tree routes such a key here.
            return 0;
        };
        let (count, head) = (self.separators(), head_of(suffix));
        let end = self.count(count, head, count_up_to);
        if !self.has_tails() {
            return end;
        }
        self.search_tails(suffix, self.count(count, head, count_below), end)
    }

    /// The child that holds a key whose head the separators `first..end` share.
    fn search_tails(self, suffix: &[u8], first: usize, end: usize) -> usize {
        partition(first..end, |index| self.tail(index) <= suffix)
    }

    /// How many of the heads are below (or up to) `head`, by way of the summary.
    #[inline]
    fn count(self, count: usize, head: u32, count_in: fn(&[u8], usize, usize, u32) -> usize) -> usize {
        let start = self.heads_start();
        let blocks = count.div_ceil(BLOCK);
        let bytes = self.0.bytes();
        // The block before the first one whose first head is too great holds the answer.
        let block = count_in(bytes, start + blocks * BLOCK * HEAD_SIZE, blocks, head).saturating_sub(1);
        let before = block * BLOCK;
        before + count_in(bytes, start + before * HEAD_SIZE, (count - before).min(BLOCK), head)
    }
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
    pub(crate) fn use_with(&self, more: &[u8], prefix_len: usize) -> usize {
        let count = self.ends.len() + 1;
        let longest = self.longest.max(more.len()) - prefix_len;
        let has_tails = longest > HEAD_SIZE || self.ends_in_zero || more.last() == Some(&0);
        let tails = self.bytes.len() + more.len() + count * (LEN_SIZE + OFFSET_SIZE) - count * prefix_len;
        offsets_start(HEADER_SIZE + (count + 1) * REF_SIZE, count)
            + if has_tails { tails } else { 0 }
            + prefix_len
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

fn offsets_start(heads_start: usize, separators: usize) -> usize {
    let padded = separators.next_multiple_of(BLOCK);
    heads_start + padded * HEAD_SIZE + padded / BLOCK * HEAD_SIZE
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
    if page.references().any(Ref::is_null) {
        return Err("a branch refers to nothing");
    }
    let prefix_len = usize::from(read_u16(bytes, PREFIX_LEN));
    let offsets = offsets_start(branch.heads_start(), count);
    let offsets_end = offsets + if branch.has_tails() { count * OFFSET_SIZE } else { 0 };
    if offsets_end + prefix_len > bytes.len() {
        return Err("a branch's arrays reach past its end");
    }
    for index in 0..count {
        if branch.has_tails() {
            let at = usize::from(read_u16(bytes, offsets + index * OFFSET_SIZE));
            if at < offsets_end
                || at + LEN_SIZE > bytes.len()
                || at + LEN_SIZE + usize::from(read_u16(bytes, at)) > bytes.len() - prefix_len
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
    let padded = count.next_multiple_of(BLOCK);
    if (count..padded).any(|index| branch.head(index) != u32::MAX) {
        return Err("a branch's unused heads are not all ones");
    }
    if (0..padded / BLOCK).any(|block| branch.head(padded + block) != branch.head(block * BLOCK)) {
        return Err("a branch's summary does not fit its heads");
    }
    Ok(())
}

/// Enters a child behind child `index` and `separator` (whole) before it, in place. Whether that could be
/// done: not where there is no room between arrays and separators, or where this is the first tail.
pub(crate) fn insert_child(bytes: &mut [u8], index: usize, separator: &[u8], child: Ref) -> bool {
    let branch = Branch(Page::new(bytes));
    let (count, heads, has_tails) = (branch.separators(), branch.heads_start(), branch.has_tails());
    let suffix = &separator[branch.prefix().len()..];
    let (moved, offsets) = (heads + REF_SIZE, offsets_start(heads, count));
    let moved_offsets = offsets_start(moved, count + 1);
    let heap = branch.heap_start();
    let needed = if has_tails { LEN_SIZE + suffix.len() + (count + 1) * OFFSET_SIZE } else { 0 };
    if !(has_tails || is_short(suffix)) || moved_offsets + needed > heap {
        return false;
    }
    if has_tails {
        let at = heap - LEN_SIZE - suffix.len();
        put_tail(bytes, at, suffix);
        bytes.copy_within(
            offsets + index * OFFSET_SIZE..offsets + count * OFFSET_SIZE,
            moved_offsets + (index + 1) * OFFSET_SIZE,
        );
        bytes.copy_within(offsets..offsets + index * OFFSET_SIZE, moved_offsets);
        put_u16(bytes, moved_offsets + index * OFFSET_SIZE, at);
    }
    bytes.copy_within(heads + index * HEAD_SIZE..heads + count * HEAD_SIZE, moved + (index + 1) * HEAD_SIZE);
    bytes.copy_within(heads..heads + index * HEAD_SIZE, moved);
    let place = HEADER_SIZE + (index + 1) * REF_SIZE;
    bytes.copy_within(place..heads, place + REF_SIZE);
    set_reference(bytes, index + 1, child);
    set_ref_count(bytes, count + 2);
    put_u16(bytes, COUNT, count + 1);
    put_head(bytes, moved + index * HEAD_SIZE, head_of(suffix));
    fill_heads(bytes, moved, count + 1);
    true
}

/// Takes out child `index + 1` and the separator before it, in place. A tail leaves a hole.
pub(crate) fn remove_child(bytes: &mut [u8], index: usize) {
    let branch = Branch(Page::new(bytes));
    let (count, heads, has_tails) = (branch.separators(), branch.heads_start(), branch.has_tails());
    let (moved, offsets) = (heads - REF_SIZE, offsets_start(heads, count));
    let place = HEADER_SIZE + (index + 1) * REF_SIZE;
    bytes.copy_within(place + REF_SIZE..heads, place);
    bytes.copy_within(heads..heads + index * HEAD_SIZE, moved);
    bytes.copy_within(heads + (index + 1) * HEAD_SIZE..heads + count * HEAD_SIZE, moved + index * HEAD_SIZE);
    set_ref_count(bytes, count);
    put_u16(bytes, COUNT, count - 1);
    fill_heads(bytes, moved, count - 1);
    if has_tails {
        let moved_offsets = offsets_start(moved, count - 1);
        bytes.copy_within(offsets..offsets + index * OFFSET_SIZE, moved_offsets);
        bytes.copy_within(
            offsets + (index + 1) * OFFSET_SIZE..offsets + count * OFFSET_SIZE,
            moved_offsets + index * OFFSET_SIZE,
        );
    }
}

/// Sets a separator (whole) in place. Whether that could be done: as [`insert_child`].
pub(crate) fn set_separator(bytes: &mut [u8], index: usize, separator: &[u8]) -> bool {
    let branch = Branch(Page::new(bytes));
    let (count, heads, has_tails) = (branch.separators(), branch.heads_start(), branch.has_tails());
    let suffix = &separator[branch.prefix().len()..];
    if has_tails {
        let offsets = offsets_start(heads, count);
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
    put_head(bytes, heads + index * HEAD_SIZE, head_of(suffix));
    fill_heads(bytes, heads, count);
    true
}

fn put_tail(bytes: &mut [u8], at: usize, suffix: &[u8]) {
    put_u16(bytes, at, suffix.len());
    bytes[at + LEN_SIZE..at + LEN_SIZE + suffix.len()].copy_from_slice(suffix);
}

/// Writes what follows from the heads: the filling behind them, and the summary.
fn fill_heads(bytes: &mut [u8], heads: usize, count: usize) {
    let padded = count.next_multiple_of(BLOCK);
    bytes[heads + count * HEAD_SIZE..heads + padded * HEAD_SIZE].fill(0xff);
    for block in 0..padded / BLOCK {
        let first = heads + block * BLOCK * HEAD_SIZE;
        bytes.copy_within(first..first + HEAD_SIZE, heads + (padded + block) * HEAD_SIZE);
    }
}

/// Bytes that a branch of these separators (behind a prefix of `prefix_len`) would take.
pub(crate) fn page_use<'a>(prefix_len: usize, suffixes: impl Iterator<Item = &'a [u8]>) -> usize {
    let (mut count, mut tails, mut has_tails) = (0, 0, false);
    for suffix in suffixes {
        count += 1;
        tails += LEN_SIZE + suffix.len() + OFFSET_SIZE;
        has_tails |= !is_short(suffix);
    }
    offsets_start(HEADER_SIZE + (count + 1) * REF_SIZE, count)
        + if has_tails { tails } else { 0 }
        + prefix_len
}

/// Bytes that a branch takes, holes not counted.
pub(crate) fn used(branch: Branch<'_>) -> usize {
    let count = branch.separators();
    let tails = (0..count).map(|index| branch.suffix(index).bytes().len() + LEN_SIZE + OFFSET_SIZE);
    offsets_start(branch.heads_start(), count)
        + if branch.has_tails() { tails.sum() } else { 0 }
        + branch.prefix().len()
}

/// Builds a branch. `separators` are whole; each begins with `prefix`.
///
/// # Panics
/// Where they do not fit; [`page_use`] tells.
pub(crate) fn build(bytes: &mut [u8], level: u8, prefix: &[u8], separators: &[&[u8]], children: &[Ref]) {
    assert_eq!(children.len(), separators.len() + 1);
    write_header(bytes, super::BRANCH, level);
    set_ref_count(bytes, children.len());
    for (index, child) in children.iter().enumerate() {
        set_reference(bytes, index, *child);
    }
    let (count, end) = (separators.len(), bytes.len());
    put_u16(bytes, COUNT, count);
    put_u16(bytes, PREFIX_LEN, prefix.len());
    bytes[end - prefix.len()..].copy_from_slice(prefix);
    let suffixes = separators.iter().map(|separator| &separator[prefix.len()..]);
    let heads = HEADER_SIZE + children.len() * REF_SIZE;
    for (index, suffix) in suffixes.clone().enumerate() {
        put_head(bytes, heads + index * HEAD_SIZE, head_of(suffix));
    }
    fill_heads(bytes, heads, count);
    let offsets = offsets_start(heads, count);
    let mut heap = end - prefix.len();
    if suffixes.clone().all(is_short) {
        bytes[offsets..heap].fill(0);
        return;
    }
    put_u16(bytes, TAILS, 1);
    for (index, suffix) in suffixes.enumerate() {
        heap -= LEN_SIZE + suffix.len();
        assert!(heap >= offsets + count * OFFSET_SIZE, "a branch's separators were measured before");
        put_tail(bytes, heap, suffix);
        put_u16(bytes, offsets + index * OFFSET_SIZE, heap);
    }
    bytes[offsets + count * OFFSET_SIZE..heap].fill(0);
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
