//! The trees of the database: their names, and which collection lives in which.
//!
//! ```text
//! TREE                   KEY                                   RECORD
//! temporal/5/catalog     name of a collection, UTF-8           its number, u32 little-endian, from 0
//! temporal/5/commits     commit, u64 big-endian                commit time, i64 little-endian
//! temporal/5/times       commit time, i64 with flipped sign    commit, u64 little-endian
//!                        bit, big-endian
//! temporal/5/ops         commit and place (see `ops`)          an operation (see `ops`)
//! temporal/5/marks       "kept from"                           the oldest commit that can be asked about, u64
//!                                                              little-endian; there once history was let go
//!                        "wipe owed"                           the newest commit with an erasure, u64 little-endian; there
//!                                                              until its bytes were overwritten
//! temporal/5/erased      commit and place (see `erase`)         why something was erased; there once it was
//! temporal/5/filters     collection and kind (see `filter`)    which keys there may be; there once it was asked for
//! temporal/5/now/N       key (see `encoding`)                  its last break point, with the value, and the latest
//!                                                              others (see `entry`)
//! temporal/5/past/N      key, range, closing commit            a block of its break points there (see `block`)
//! temporal/5/ranges/N    key, range                            which ranges there are, if several (see `ranges`)
//!                        key, plus infinity, commit            which of them was the last one when (see `fronts`)
//! temporal/5/starts/N    valid time, key (see `starts`)        nothing; there once it was asked for
//! ```
//!
//! Invariants
//! 1. Collections are numbered densely in the order in which they appeared and are never removed.
//! 2. A collection has its three trees from its first operation on.
//!
//! Not here: the content of the trees.

use llmdb_wal::Tree;

use crate::error::Error;

/// What the names of all our trees start with, in all versions.
pub(crate) const FAMILY: &str = "temporal/";
/// What the names of all trees of this version start with.
pub(crate) const VERSION: &str = "temporal/5/";
pub(crate) const CATALOG: &str = "temporal/5/catalog";
pub(crate) const COMMITS: &str = "temporal/5/commits";
pub(crate) const TIMES: &str = "temporal/5/times";
pub(crate) const OPS: &str = "temporal/5/ops";
pub(crate) const ERASED: &str = "temporal/5/erased";
pub(crate) const MARKS: &str = "temporal/5/marks";
pub(crate) const FILTERS: &str = "temporal/5/filters";

const NAME_SIZE_MAX: usize = 255;

/// The tree of the keys of a collection, each with its last break point.
pub(crate) fn now_tree(number: u32) -> String {
    format!("{VERSION}now/{number}")
}

/// The tree of the blocks of a collection.
pub(crate) fn past_tree(number: u32) -> String {
    format!("{VERSION}past/{number}")
}

/// The tree of the ranges of a collection.
pub(crate) fn ranges_tree(number: u32) -> String {
    format!("{VERSION}ranges/{number}")
}

/// The tree of where facts of a collection began.
pub(crate) fn starts_tree(number: u32) -> String {
    format!("{VERSION}starts/{number}")
}

/// Refuses a name that no collection can have.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    match name.len() {
        1..=NAME_SIZE_MAX => Ok(()),
        length => Err(Error::CollectionName { length }),
    }
}

/// The number of a collection, if it exists.
pub(crate) fn number(catalog: Option<Tree<'_>>, name: &str) -> Result<Option<u32>, Error> {
    check_name(name)?;
    let Some(catalog) = catalog else { return Ok(None) };
    catalog.get(name.as_bytes())?.map(|record| parse(name.as_bytes(), record)).transpose()
}

/// All collections as (name, number), by name.
pub(crate) fn all(catalog: Option<Tree<'_>>) -> Result<Vec<(String, u32)>, Error> {
    use std::ops::Bound::Unbounded;
    let Some(catalog) = catalog else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for row in catalog.range(Unbounded, Unbounded) {
        let (name, record) = row?;
        let number = parse(&name, record)?;
        let name = String::from_utf8(name)
            .map_err(|error| damaged(error.as_bytes(), "the name of a collection is not UTF-8"))?;
        found.push((name, number));
    }
    Ok(found)
}

fn parse(name: &[u8], record: &[u8]) -> Result<u32, Error> {
    let bytes =
        record.try_into().map_err(|_| damaged(name, "the number of the collection has not four bytes"))?;
    Ok(u32::from_le_bytes(bytes))
}

fn damaged(name: &[u8], what: &str) -> Error {
    Error::Damaged { place: format!("tree {CATALOG}"), key: name.to_vec(), commit: None, what: what.into() }
}
