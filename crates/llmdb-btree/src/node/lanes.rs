//! What the processor does to many bytes at once: comparing sixteen rising heads with one, and asking for
//! cache lines before they are needed.
//!
//! Single gets are compiled twice for x86-64: for every such processor, and for those of the last ten years, which
//! compare sixteen heads in 8 instructions instead of 21. Which one runs is asked of the processor.
//!
//! Not here: what heads are (`search`).
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "vector instructions are unsafe to call"))]

/// Bytes of sixteen heads.
pub(super) const LANES_SIZE: usize = 64;

/// A kind of instructions that compare heads.
pub(crate) trait Lanes {
    /// How many of sixteen rising little-endian words are at most `limit`.
    fn up_to(words: &[u8; LANES_SIZE], limit: u32) -> usize;

    /// How many of sixteen rising little-endian words are below `limit`.
    fn below(words: &[u8; LANES_SIZE], limit: u32) -> usize;
}

/// Work that is compiled for each kind of lanes. `run` should be inlined.
pub(crate) trait Task {
    type Output;

    fn run<L: Lanes>(self) -> Self::Output;
}

/// Does the work with the best lanes of this processor.
#[inline(always)]
pub(crate) fn with_lanes<T: Task>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    if wide::are_there() {
        // SAFETY: the processor was asked for everything that the function is compiled for.
        return unsafe { wide::run(task) };
    }
    run_plain(task)
}

/// A function of its own, as there is one for each kind of lanes.
#[inline(never)]
fn run_plain<T: Task>(task: T) -> T::Output {
    task.run::<Plain>()
}

/// What every processor of this build has.
pub(crate) struct Plain;

impl Lanes for Plain {
    #[inline(always)]
    fn up_to(words: &[u8; LANES_SIZE], limit: u32) -> usize {
        up_to(words, limit)
    }

    #[inline(always)]
    fn below(words: &[u8; LANES_SIZE], limit: u32) -> usize {
        limit.checked_sub(1).map_or(0, |below| up_to(words, below))
    }
}

/// Lanes of 256 bits, and what came with them.
#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{LANES_SIZE, Lanes, Task};
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi32, _mm256_loadu_si256, _mm256_max_epu32, _mm256_min_epu32,
        _mm256_movemask_epi8, _mm256_packs_epi32, _mm256_set1_epi32,
    };
    use std::sync::atomic::{AtomicU8, Ordering};

    const UNKNOWN: u8 = 0;
    const MISSING: u8 = 1;
    const THERE: u8 = 2;

    /// Whether this processor has them, once it was asked.
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);

    #[inline(always)]
    pub(super) fn are_there() -> bool {
        let answer = ANSWER.load(Ordering::Relaxed);
        answer == THERE || answer == UNKNOWN && ask()
    }

    #[cold]
    fn ask() -> bool {
        let is_there = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("movbe")
            && is_x86_feature_detected!("popcnt");
        ANSWER.store(if is_there { THERE } else { MISSING }, Ordering::Relaxed);
        is_there
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,movbe,popcnt")]
    pub(super) fn run<T: Task>(task: T) -> T::Output {
        task.run::<Wide>()
    }

    /// Only [`run`] names it.
    struct Wide;

    impl Lanes for Wide {
        #[inline(always)]
        fn up_to(words: &[u8; LANES_SIZE], limit: u32) -> usize {
            // SAFETY: only what runs inside `run` comes here.
            unsafe { count(words, limit, |words, limit| _mm256_max_epu32(words, limit)) }
        }

        #[inline(always)]
        fn below(words: &[u8; LANES_SIZE], limit: u32) -> usize {
            // SAFETY: as above.
            16 - unsafe { count(words, limit, |words, limit| _mm256_min_epu32(words, limit)) }
        }
    }

    /// How many of the words `choose` turns into the limit, of a word and the limit.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,movbe,popcnt")]
    fn count(words: &[u8; LANES_SIZE], limit: u32, choose: impl Fn(__m256i, __m256i) -> __m256i) -> usize {
        let limit = _mm256_set1_epi32(limit as i32);
        let hits = |at: usize| {
            // SAFETY: 32 bytes from byte 0 or 32 of 64.
            let eight = unsafe { _mm256_loadu_si256(words.as_ptr().add(at).cast()) };
            _mm256_cmpeq_epi32(choose(eight, limit), limit)
        };
        // Two bytes a word, all ones for a hit.
        let mask = _mm256_movemask_epi8(_mm256_packs_epi32(hits(0), hits(LANES_SIZE / 2)));
        mask.count_ones() as usize / 2
    }
}

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

/// Asks the processor for the cache line at `at`, which may lie behind the bytes: then in vain.
#[inline(always)]
pub(crate) fn prefetch_line(bytes: &[u8], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that could be seen and never faults, wherever it points; every x86-64
        // processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(at).cast()) };
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
                let count = up_to_portable(&words, limit);
                assert_eq!(up_to(&words, limit), count, "{step} {limit}");
                let below =
                    words.as_chunks::<4>().0.iter().filter(|word| u32::from_le_bytes(**word) < limit).count();
                assert_eq!(with_lanes(Count(&words, limit)), (count, below), "{step} {limit}");
                assert_eq!(Count(&words, limit).run::<Plain>(), (count, below), "{step} {limit}");
            }
        }
    }

    struct Count<'a>(&'a [u8; LANES_SIZE], u32);

    impl Task for Count<'_> {
        type Output = (usize, usize);

        fn run<L: Lanes>(self) -> Self::Output {
            (L::up_to(self.0, self.1), L::below(self.0, self.1))
        }
    }
}
