//! Page numbers.

use std::fmt;

/// Where a page stands in the file: its offset divided by the page size. At most 48 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PageNumber(pub u64);

/// One more than the largest page number that a reference can hold.
pub const PAGE_NUMBER_END: u64 = 1 << 48;

impl fmt::Display for PageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
