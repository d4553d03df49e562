//! Checking the structure of a page from the file, whatever its kind.

use crate::forest;
use crate::node::{BRANCH, FOREST, LEAF, branch, leaf};
use llmdb_pager::Page;

/// Checks the structure of any page of this crate, once its checksum is known to be right.
///
/// # Errors
/// The rule that the page breaks.
pub fn validate(page: Page<'_>) -> Result<(), &'static str> {
    match page.kind() {
        LEAF => leaf::validate(page),
        BRANCH => branch::validate(page),
        FOREST => forest::validate(page),
        _ => Err("the page is of no kind that trees know"),
    }
}
