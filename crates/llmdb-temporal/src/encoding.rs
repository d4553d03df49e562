//! The stored key: one user key; for its blocks of break points also where they start, and until when they hold.
//!
//! ```text
//! SIZE   DESCRIPTION (big-endian, so that byte order is the order of the parts)
//! n+z    the user key, n bytes; each of its z zero bytes 00 is written 00 FF
//! 2      terminator 00 01
//! 8      only in the trees of blocks and of ranges: where the range of valid time starts, i64 with its sign bit
//!        flipped (all bits 0 = minus infinity; all bits 1 = plus infinity, where no range starts)
//! 8      only in the tree of blocks: the commit at which the block was closed, u64; all bits 1 = it is open;
//!        and in the tree of ranges, behind plus infinity: a commit, u64
//! ```
//!
//! Invariants
//! 1. The order of stored keys is the order of (user key as bytes, valid time, closing commit).
//! 2. No encoded user key is a prefix of another, so the entries of one key lie together and nothing else
//!    lies between them.
//! 3. Every pair of key and time has exactly one encoding; any other bytes are refused when decoded.
//!
//! Not here: what stands behind a key (`entry`).

use crate::types::ValidTime;

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const TERMINATOR: u8 = 0x01;
/// One more than the terminator and less than an escaped zero: the place just after all entries of a key.
const AFTER_TERMINATOR: u8 = 0x02;
const TERMINATOR_SIZE: usize = 2;
const TIME_SIZE: usize = size_of::<u64>();
const COMMIT_SIZE: usize = size_of::<u64>();

/// Bytes that the longest stored key takes on top of the user key with its zero bytes counted twice.
pub const OVERHEAD: usize = TERMINATOR_SIZE + TIME_SIZE + COMMIT_SIZE;
const _: () = assert!(OVERHEAD == 18);

/// Bytes of a block's key behind the encoded user key.
pub(crate) const BLOCK_KEY_SIZE: usize = TIME_SIZE + COMMIT_SIZE;

/// Why bytes are not a stored key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Fewer bytes than the fixed parts take.
    #[error("the stored key is shorter than its fixed parts")]
    Short,
    /// A zero byte that is neither escaped nor the terminator, or a terminator at the wrong place.
    #[error("the stored key breaks the rule for zero bytes at byte {offset}")]
    Escape {
        /// Where.
        offset: usize,
    },
    /// A user key of no bytes.
    #[error("the stored key holds an empty user key")]
    Empty,
    /// Plus infinity as the start of a range.
    #[error("the stored key holds a range that starts at plus infinity")]
    Infinite,
}

/// A stored key of a range of valid time, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeKey<'a> {
    /// The encoded user key, terminator included: what all entries of the key start with.
    pub prefix: &'a [u8],
    /// Where the range starts.
    pub at: ValidTime,
}

/// A stored key of a block, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockKey<'a> {
    /// The encoded user key, terminator included.
    pub prefix: &'a [u8],
    /// Where its range starts.
    pub at: ValidTime,
    /// The commit at which it was closed; the largest number while it is open.
    pub until: u64,
}

/// Bytes of the user key with each zero byte counted twice.
#[must_use]
pub fn escaped_size(key: &[u8]) -> usize {
    key.len() + key.iter().filter(|&&byte| byte == ESCAPE).count()
}

/// A stored key, on the stack where it is short.
#[derive(Clone)]
pub(crate) struct KeyBuf {
    size: usize,
    /// The key, if it fits.
    bytes: [u8; SHORT],
    /// Else it is here.
    long: Vec<u8>,
}

/// Bytes of a short stored key.
const SHORT: usize = 88;

impl KeyBuf {
    const EMPTY: Self = Self { size: 0, bytes: [0; SHORT], long: Vec::new() };

    #[inline]
    fn push(&mut self, part: &[u8]) {
        let size = self.size + part.len();
        if size <= SHORT {
            self.bytes[self.size..size].copy_from_slice(part);
        } else {
            self.push_long(part);
        }
        self.size = size;
    }

    #[cold]
    fn push_long(&mut self, part: &[u8]) {
        if self.size <= SHORT {
            self.long.extend_from_slice(&self.bytes[..self.size]);
        }
        self.long.extend_from_slice(part);
    }
}

impl std::ops::Deref for KeyBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if self.size <= SHORT { &self.bytes[..self.size] } else { &self.long }
    }
}

impl AsRef<[u8]> for KeyBuf {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The encoded user key with its terminator.
#[inline]
pub(crate) fn encoded(key: &[u8]) -> KeyBuf {
    let mut out = KeyBuf::EMPTY;
    if 2 * key.len() + TERMINATOR_SIZE > SHORT {
        push_escaped(&mut out, key);
        out.push(&[ESCAPE, TERMINATOR]);
        return out;
    }
    let mut size = 0;
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        if !has_zero(*word) {
            out.bytes[size..size + 8].copy_from_slice(word);
            size += 8;
            continue;
        }
        // A small number, most significant byte first.
        let mut rest = &word[..];
        if word[..4] == [0; 4] {
            out.bytes[size..size + 8].copy_from_slice(&ZEROS);
            size += 8;
            rest = &word[4..];
        }
        size = escape(&mut out.bytes, size, rest);
    }
    size = escape(&mut out.bytes, size, rest);
    out.bytes[size..size + TERMINATOR_SIZE].copy_from_slice(&[ESCAPE, TERMINATOR]);
    out.size = size + TERMINATOR_SIZE;
    out
}

/// Four zero bytes, escaped.
const ZEROS: [u8; 8] =
    [ESCAPE, ESCAPED_ZERO, ESCAPE, ESCAPED_ZERO, ESCAPE, ESCAPED_ZERO, ESCAPE, ESCAPED_ZERO];

/// Whether one of eight bytes is zero.
#[inline]
const fn has_zero(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_ne_bytes(word);
    word.wrapping_sub(ONES) & !word & (ONES << 7) != 0
}

/// Writes bytes of a key at a place; the place behind them.
#[inline]
fn escape(out: &mut [u8; SHORT], mut size: usize, bytes: &[u8]) -> usize {
    for byte in bytes {
        out[size] = *byte;
        // Where there is no zero, the next byte stands here instead.
        out[size + 1] = ESCAPED_ZERO;
        size += 1 + usize::from(*byte == ESCAPE);
    }
    size
}

fn push_escaped(out: &mut KeyBuf, key: &[u8]) {
    for part in key.split_inclusive(|byte| *byte == ESCAPE) {
        out.push(part);
        if part.last() == Some(&ESCAPE) {
            out.push(&[ESCAPED_ZERO]);
        }
    }
}

/// As [`block_key`].
#[inline]
pub(crate) fn block_place(prefix: &[u8], at: ValidTime, until: u64) -> KeyBuf {
    let mut out = KeyBuf::EMPTY;
    out.push(prefix);
    let time = u128::from(at.micros().cast_unsigned() ^ (1 << 63));
    out.push(&(time << 64 | u128::from(until)).to_be_bytes());
    out
}

/// The encoded user key with its terminator.
#[must_use]
pub fn prefix(key: &[u8]) -> Vec<u8> {
    encoded(key).to_vec()
}

/// The least bytes above every stored key with this prefix; no other key lies between.
#[must_use]
pub fn after(prefix: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    if let Some(last) = out.last_mut() {
        *last = AFTER_TERMINATOR;
    }
    out
}

/// The stored key of a range of valid time.
#[must_use]
pub fn range_key(prefix: &[u8], at: ValidTime) -> Vec<u8> {
    let mut out = Vec::with_capacity(prefix.len() + TIME_SIZE);
    out.extend_from_slice(prefix);
    out.extend_from_slice(&ordered(at.micros()));
    out
}

/// The stored key of a block.
#[must_use]
pub fn block_key(prefix: &[u8], at: ValidTime, until: u64) -> Vec<u8> {
    block_place(prefix, at, until).to_vec()
}

/// Takes the stored key of a range apart.
///
/// # Errors
/// [`KeyError`] where the bytes are no such key. The zero bytes of the user key are checked by [`user_key`].
pub fn split_range(bytes: &[u8]) -> Result<RangeKey<'_>, KeyError> {
    let (prefix, time) = bytes.split_last_chunk::<TIME_SIZE>().ok_or(KeyError::Short)?;
    check_ending(prefix)?;
    Ok(RangeKey { prefix, at: break_point(*time)? })
}

/// Takes the stored key of a block apart.
///
/// # Errors
/// As [`split_range`].
pub fn split_block(bytes: &[u8]) -> Result<BlockKey<'_>, KeyError> {
    let (rest, until) = bytes.split_last_chunk::<COMMIT_SIZE>().ok_or(KeyError::Short)?;
    let RangeKey { prefix, at } = split_range(rest)?;
    Ok(BlockKey { prefix, at, until: u64::from_be_bytes(*until) })
}

/// The user key of a prefix.
///
/// # Errors
/// [`KeyError`] where a zero byte is not written as the rule says, or no byte is left.
pub fn user_key(prefix: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut key = Vec::new();
    user_key_into(prefix, &mut key)?;
    Ok(key)
}

/// As [`user_key`], behind what `key` holds already.
#[inline]
pub(crate) fn user_key_into(prefix: &[u8], key: &mut Vec<u8>) -> Result<(), KeyError> {
    check_ending(prefix)?;
    let escaped = &prefix[..prefix.len() - TERMINATOR_SIZE];
    if escaped.is_empty() {
        return Err(KeyError::Empty);
    }
    key.reserve(escaped.len());
    let mut offset = 0;
    while let Some(word) = escaped[offset..].first_chunk::<8>() {
        if !has_zero(*word) {
            key.extend_from_slice(word);
        } else if *word == ZEROS {
            key.extend_from_slice(&[0; 4]);
        } else {
            break;
        }
        offset += word.len();
    }
    unescape(escaped, offset, key)
}

/// The bytes of an escaped key from an offset on.
fn unescape(escaped: &[u8], mut offset: usize, key: &mut Vec<u8>) -> Result<(), KeyError> {
    while let Some(&byte) = escaped.get(offset) {
        key.push(byte);
        offset += 1;
        if byte == ESCAPE {
            if escaped.get(offset) != Some(&ESCAPED_ZERO) {
                return Err(KeyError::Escape { offset });
            }
            offset += 1;
        }
    }
    Ok(())
}

/// Eight bytes whose order is the order of the signed number.
pub(crate) fn ordered(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The number behind [`ordered`] bytes.
pub(crate) fn unordered(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()
}

fn check_ending(prefix: &[u8]) -> Result<(), KeyError> {
    match prefix.last_chunk() {
        Some(&[ESCAPE, TERMINATOR]) => Ok(()),
        Some(_) => Err(KeyError::Escape { offset: prefix.len() - TERMINATOR_SIZE }),
        None => Err(KeyError::Short),
    }
}

fn break_point(time: [u8; 8]) -> Result<ValidTime, KeyError> {
    match ValidTime::from_raw(unordered(time)) {
        ValidTime::POS_INF => Err(KeyError::Infinite),
        at => Ok(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Keys in which zero bytes, 0x01 and 0xff, the bytes that could confuse, are common.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(0xff), any::<u8>()], 1..12),
            vec(prop_oneof![6 => Just(0u8), 1 => Just(0xff), 4 => 1..=0xffu8], 8..60),
        ]
    }

    #[test]
    fn long_keys_are_written_as_short_ones_are() {
        for size in (1..4 * SHORT).chain([1200]) {
            let key: Vec<u8> = (0..size).map(|n| (n % 7) as u8).collect();
            let stored = prefix(&key);
            assert_eq!(stored.len(), escaped_size(&key) + 2);
            assert_eq!(user_key(&stored), Ok(key));
            let at = ValidTime::from_raw(5);
            assert_eq!(
                block_key(&stored, at, 9),
                [range_key(&stored, at), 9u64.to_be_bytes().to_vec()].concat()
            );
        }
    }

    fn time() -> impl Strategy<Value = ValidTime> {
        prop_oneof![Just(i64::MIN), -3..3i64, any::<i64>()].prop_filter_map("plus infinity", |micros| {
            (micros != i64::MAX).then(|| ValidTime::from_raw(micros))
        })
    }

    #[test]
    fn the_byte_table_is_what_is_written() {
        let at = ValidTime::from_micros(1).unwrap();
        assert_eq!(prefix(b"a\0b"), b"a\0\xffb\0\x01");
        assert_eq!(range_key(&prefix(b"a"), at), b"a\0\x01\x80\0\0\0\0\0\0\x01");
        assert_eq!(range_key(&prefix(b"a"), ValidTime::NEG_INF), b"a\0\x01\0\0\0\0\0\0\0\0");
        assert_eq!(
            block_key(&prefix(b"a"), ValidTime::from_micros(-1).unwrap(), 258),
            b"a\0\x01\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\x01\x02"
        );
    }

    #[test]
    fn plus_infinity_and_an_empty_key_are_not_stored_keys() {
        assert_eq!(split_range(&range_key(&prefix(b"a"), ValidTime::POS_INF)), Err(KeyError::Infinite));
        assert_eq!(user_key(&prefix(b"")), Err(KeyError::Empty));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn order_is_preserved(a in key(), b in key(), s in time(), t in time(), c: u64, d: u64) {
            prop_assert_eq!(range_key(&prefix(&a), s).cmp(&range_key(&prefix(&b), t)), (&a, s).cmp(&(&b, t)));
            prop_assert_eq!(
                block_key(&prefix(&a), s, c).cmp(&block_key(&prefix(&b), t, d)),
                (&a, s, c).cmp(&(&b, t, d))
            );
            prop_assert_eq!(ordered(s.micros()).cmp(&ordered(t.micros())), s.cmp(&t));
        }

        #[test]
        fn no_key_is_a_prefix_trap(a in key(), b in key(), t in time()) {
            // Extensions of a key are the likeliest traps.
            for other in [b.clone(), [a.clone(), b].concat()] {
                let stored = range_key(&prefix(&other), t);
                prop_assert_eq!(stored.starts_with(&prefix(&a)), a == other);
                if a != other {
                    prop_assert_eq!(stored > after(&prefix(&a)), other > a);
                    prop_assert_eq!(stored < prefix(&a), other < a);
                } else {
                    prop_assert!(stored < after(&prefix(&a)));
                }
            }
        }

        #[test]
        fn decoding_gives_back_what_was_encoded(a in key(), t in time(), c: u64) {
            let start = prefix(&a);
            let live = range_key(&start, t);
            prop_assert_eq!(split_range(&live).unwrap(), RangeKey { prefix: &start, at: t });
            let dead = block_key(&start, t, c);
            prop_assert_eq!(split_block(&dead).unwrap(), BlockKey { prefix: &start, at: t, until: c });
            prop_assert_eq!(dead.len(), escaped_size(&a) + OVERHEAD);
            prop_assert_eq!(user_key(&start).unwrap(), a);
        }

        #[test]
        fn hostile_bytes_are_an_error_or_a_key_that_encodes_to_them(
            bytes in vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..40)
        ) {
            if let Ok(RangeKey { prefix: start, at }) = split_range(&bytes) {
                prop_assert_eq!(&range_key(start, at), &bytes);
                if let Ok(key) = user_key(start) {
                    prop_assert_eq!(prefix(&key), start);
                }
            }
            if let Ok(BlockKey { prefix: start, at, until }) = split_block(&bytes) {
                prop_assert_eq!(&block_key(start, at, until), &bytes);
            }
        }
    }
}
