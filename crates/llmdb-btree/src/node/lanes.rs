//! What the processor does to many bytes at once: comparing sixteen rising heads with one, and asking for
//! cache lines before they are needed.
//!
//! Not here: what heads are (`search`).
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "vector instructions are unsafe to call"))]

/// Bytes of sixteen heads.
pub(super) const LANES_SIZE: usize = 64;

/// How many of sixteen rising little-endian words stand before the first one above `limit`.
#[inline]
pub(super) fn up_to(words: &[u8; LANES_SIZE], limit: u32) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2.
    return unsafe { up_to_sse2(words, limit) };
    #[cfg(not(target_arch = "x86_64"))]
    up_to_portable(words, limit)
}

/// Asks the processor for the cache line at `at`, if the bytes reach that far.
#[inline]
pub(super) fn prefetch(bytes: &[u8], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(byte) = bytes.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that could be seen; every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, at);
}

/// As [`up_to`], in four comparisons of four words each.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn up_to_sse2(words: &[u8; LANES_SIZE], limit: u32) -> usize {
    use std::arch::x86_64::{
        _mm_cmpgt_epi32, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set_epi64x, _mm_set1_epi32,
        _mm_xor_si128,
    };
    // The comparison is of signed numbers: both sides have their sign flipped.
    let sign = _mm_set1_epi32(i32::MIN);
    let limit = _mm_set1_epi32((limit ^ 1 << 31) as i32);
    let (words, _) = words.as_chunks::<8>();
    let above = |first: usize| {
        let [low, high] = [words[first], words[first + 1]].map(i64::from_le_bytes);
        _mm_cmpgt_epi32(_mm_xor_si128(_mm_set_epi64x(high, low), sign), limit)
    };
    let first = _mm_packs_epi32(above(0), above(2));
    let second = _mm_packs_epi32(above(4), above(6));
    let mask = _mm_movemask_epi8(_mm_packs_epi16(first, second)) | 1 << 16;
    mask.trailing_zeros() as usize
}

/// As [`up_to`], for any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn up_to_portable(words: &[u8; LANES_SIZE], limit: u32) -> usize {
    words.as_chunks::<4>().0.iter().filter(|word| u32::from_le_bytes(**word) <= limit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_and_both_signs_are_told_apart() {
        for step in [1, 1000, u32::MAX / 16] {
            let mut words = [0; LANES_SIZE];
            for (index, word) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *word = (index as u32 * step + 1).to_le_bytes();
            }
            for limit in (0..18).flat_map(|index: u32| {
                let at = index.wrapping_mul(step);
                [at.wrapping_sub(1), at, at.wrapping_add(1), at.wrapping_add(2), u32::MAX]
            }) {
                assert_eq!(up_to(&words, limit), up_to_portable(&words, limit), "{step} {limit}");
            }
        }
    }
}
