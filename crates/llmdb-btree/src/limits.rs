//! How large keys and values may be.

/// The longest value, in bytes: 4 GiB.
pub const VALUE_SIZE_MAX: u64 = 4 << 30;

/// The longest key at a page size, in bytes: five sixteenths of a page, so that a branch holds at least
/// three children whatever the keys (1,280 bytes at 4 KiB).
pub fn key_size_max(page_size: usize) -> usize {
    page_size / 16 * 5
}

/// Whether a value of `value_len` bytes stands in the leaf beside its key. Values over a quarter page do
/// not, nor any that would let a cell take half a leaf.
pub(crate) fn is_inline(page_size: usize, key_len: usize, value_len: u64) -> bool {
    value_len <= page_size as u64 / 4 && key_len as u64 + value_len + 128 <= page_size as u64 / 2
}
