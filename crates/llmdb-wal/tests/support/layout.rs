//! What the pages of a data file are for, found by decoding its bytes by the documented format and not by
//! the code under test.

use llmdb_btree::LargeRef;
use llmdb_pager::page::{HEADER_SIZE, Page, read_u16, read_u32, read_u64};
use llmdb_pager::{Kind, Ref};
use std::collections::BTreeMap;

/// What a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Meta,
    Tree,
    Space,
    /// Part of a large value that begins at `start`; `used` bytes of this page are its.
    Large {
        start: u64,
        used: usize,
    },
}

/// The pages that the newest whole meta of a file reaches. Empty where there is none.
pub(crate) fn pages_in_use(file: &[u8]) -> BTreeMap<u64, Use> {
    let mut pages = BTreeMap::new();
    let Some(meta) = newest_meta(file) else { return pages };
    let page_size = read_u32(meta, 12) as usize;
    for page in 0..8192usize.div_ceil(page_size) as u64 {
        pages.insert(page, Use::Meta);
    }
    walk(file, page_size, read_u64(meta, 64), Use::Tree, &mut pages);
    walk(file, page_size, read_u64(meta, 72), Use::Space, &mut pages);
    pages
}

/// The newest of the two metas whose checksum fits.
pub(crate) fn newest_meta(file: &[u8]) -> Option<&[u8]> {
    let metas = [file.get(..4096)?, file.get(4096..8192)?];
    let whole = metas
        .into_iter()
        .filter(|meta| meta[..5] == *b"LLMDB" && meta_checksum(meta) == read_u64(meta, 4088));
    whole.max_by_key(|meta| read_u64(meta, 32))
}

/// The checksum that a meta must carry.
pub(crate) fn meta_checksum(meta: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&meta[..4088])
}

fn walk(file: &[u8], page_size: usize, root: u64, purpose: Use, pages: &mut BTreeMap<u64, Use>) {
    let mut open = vec![Ref::from_word(root)];
    while let Some(at) = open.pop().filter(|at| !at.is_null() || !open.is_empty()) {
        if at.is_null() {
            continue;
        }
        let number = at.number().0;
        let Some(bytes) = file.get(number as usize * page_size..(number as usize + 1) * page_size) else {
            continue;
        };
        pages.insert(number, purpose);
        let page = Page::new(bytes);
        open.extend(page.references());
        if page.kind() == Kind(16) {
            for large in large_values(bytes) {
                let run = large.run(page_size);
                for index in 0..run.count {
                    let rest = (large.len - index * page_size as u64).min(page_size as u64);
                    let part = Use::Large { start: run.start.0, used: rest as usize };
                    pages.insert(run.start.0 + index, part);
                }
            }
        }
    }
}

/// The references to large values in a leaf.
fn large_values(leaf: &[u8]) -> Vec<LargeRef> {
    let (count, prefix) = (usize::from(read_u16(leaf, 26)), usize::from(read_u16(leaf, 28)));
    let offsets = HEADER_SIZE + prefix.next_multiple_of(4) + count.next_multiple_of(16) * 4;
    let mut found = Vec::new();
    for index in 0..count {
        let cell = usize::from(read_u16(leaf, offsets + index * 2));
        let value = cell + 4 + usize::from(read_u16(leaf, cell));
        if read_u16(leaf, cell + 2) == u16::MAX {
            found.extend(LargeRef::decode(&leaf[value..value + llmdb_btree::LARGE_REF_SIZE]));
        }
    }
    found
}
