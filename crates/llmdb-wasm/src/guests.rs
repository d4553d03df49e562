//! Guests that come with the crate, as WebAssembly text: examples, and what the demo runs.

/// `count`: how many records, as a little-endian `u64`. The smallest guest there is.
pub const COUNT: &str = include_str!("../guests/count.wat");

/// `offset_stats`: over values that are JSON text with a number `"utc_offset_s"`, four little-endian `i64`:
/// how many had it, the least, the greatest, the sum. Without any, four zeros.
pub const OFFSET_STATS: &str = include_str!("../guests/offset_stats.wat");

/// Maps, a filter and a reduction over pages and columns, for version 2 of the ABI: `key32`, `page_sum`,
/// `page_sum_scalar` and `page_pick` are maps to a little-endian `u64`, `downsample` one of a page of samples to four
/// words, `key_is_even` is a filter, `totals` a reduction. What each does is written in `guests/pages.wat`.
pub const PAGES: &str = include_str!("../guests/pages.wat");

/// Maps and a filter over the values of records, for version 2 of the ABI: `value_size` to a little-endian `u64`, `value`
/// to the bytes themselves, `is_text` keeps JSON strings.
pub const RECORDS: &str = include_str!("../guests/records.wat");
