//! Guests that come with the crate, as WebAssembly text: examples, and what the demo runs.

/// `count`: how many records, as a little-endian `u64`. The smallest guest there is.
pub const COUNT: &str = include_str!("../guests/count.wat");

/// `offset_stats`: over values that are JSON text with a number `"utc_offset_s"`, four little-endian `i64`:
/// how many had it, the least, the greatest, the sum. Without any, four zeros.
pub const OFFSET_STATS: &str = include_str!("../guests/offset_stats.wat");
