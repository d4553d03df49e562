//! Many gets in a snapshot at once, the quick way: as `get_many`, over pages as in `find`.
//!
//! Each step is done for all keys before the next, and asks for the cache lines of that: so that sixty-four descents wait
//! for memory together. What is out of the ordinary for one key is left to the general way for all of them.
//!
//! Invariants
//! 1. What is found or missed here is so by `get_many`.
//!
//! Not here: single gets (`find`), and the errors (`get_many`, `source`).

use crate::find::{Miss, Quick, check, page_of};
use crate::get_many::BATCH;
use crate::node::lanes::{Lanes, Task, with_lanes};
use crate::node::leaf::Place;
use crate::node::{BRANCH, LEAF, branch, leaf};
use llmdb_pager::page::LEVEL;
use llmdb_pager::{CheckedPagesOf, Ref};

/// Values of a batch, in the order of the keys.
pub(crate) type Values<'t> = [Option<&'t [u8]>; BATCH];

/// The values of up to [`BATCH`] keys.
pub(crate) fn find_many<'t, K: AsRef<[u8]>>(
    quick: &Quick<'t>,
    keys: &[K],
    values: &mut Values<'t>,
) -> Result<(), Miss> {
    macro_rules! of_size {
        ($($size:expr),*) => {
            $(if let Some(pages) = quick.pages().of_size::<{ $size }>() {
                return with_lanes(FindMany { quick, pages, keys, values });
            })*
        };
    }
    of_size!(4096, 8 << 10, 16 << 10, 32 << 10, 64 << 10);
    Err(Miss::Unusual)
}

/// A batch of gets, in pages of `N` bytes.
struct FindMany<'q, 't, 'k, K, const N: usize> {
    quick: &'q Quick<'t>,
    pages: CheckedPagesOf<'q, 't, N>,
    keys: &'k [K],
    values: &'k mut Values<'t>,
}

impl<K: AsRef<[u8]>, const N: usize> Task for FindMany<'_, '_, '_, K, N> {
    type Output = Result<(), Miss>;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Self::Output {
        let Self { quick, pages, keys, values } = self;
        let top = page_of(quick, pages, quick.root(), u8::MAX, None)?;
        let mut level = top[LEVEL];
        let mut found = [top; BATCH];
        let mut children = [Ref::NULL; BATCH];
        while level > 0 {
            let mut blocks = [None; BATCH];
            for ((page, block), key) in found.iter().zip(&mut blocks).zip(keys) {
                check(page, BRANCH, level)?;
                *block = branch::block_in::<N, L>(page, key.as_ref());
                if let Some(block) = *block {
                    branch::prefetch_separators(page, block);
                    branch::prefetch_children(page, block);
                }
            }
            level -= 1;
            for (((page, child), block), key) in found.iter().zip(&mut children).zip(blocks).zip(keys) {
                *child = match block {
                    Some(block) => branch::child_in::<N, L>(page, block),
                    None => branch::with_tails(*page, key.as_ref()),
                };
                if level == 0 {
                    (0..3).for_each(|line| pages.prefetch(*child, line * 64));
                } else {
                    // The header, and the summary of the blocks at the end.
                    pages.prefetch(*child, 0);
                    (N - N / 64..N).step_by(64).for_each(|line| pages.prefetch(*child, line));
                }
            }
            for ((page, child), _) in found.iter_mut().zip(children).zip(keys) {
                *page = page_of(quick, pages, child, level, Some(page))?;
            }
        }
        let mut places: [Option<Place>; BATCH] = [None; BATCH];
        for ((page, place), key) in found.iter().zip(&mut places).zip(keys) {
            check(page, LEAF, 0)?;
            *place = leaf::place_in::<N, L>(page, key.as_ref());
        }
        for (((page, place), value), key) in found.iter().zip(places).zip(values).zip(keys) {
            let record = place.and_then(|place| leaf::record_of(page, key.as_ref(), place));
            *value = record.map(|record| record.inline().ok_or(Miss::Unusual)).transpose()?;
        }
        Ok(())
    }
}
