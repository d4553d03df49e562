//! The bodies of the fuzz targets over fixed pseudo-random bytes, on the stable compiler.

use crate::fuzz_bodies;
use crate::support::cases;

/// SplitMix64: the same bytes in every run.
fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..size).map(|_| (next() >> 32) as u8).collect()
}

#[test]
fn the_key_codec_holds_on_random_and_on_zero_heavy_bytes() {
    for seed in 0..4000 {
        let mut data = bytes(seed, (seed % 40) as usize);
        fuzz_bodies::key_codec(&data);
        data.iter_mut().for_each(|byte| *byte = [0, 1, 2, 0xff][usize::from(*byte % 4)]);
        fuzz_bodies::key_codec(&data);
    }
}

#[test]
fn operations_from_random_bytes_agree_with_the_oracle() {
    for seed in 0..40 {
        fuzz_bodies::operations(&bytes(seed, 5 + 3 * seed as usize));
    }
}

#[test]
fn forged_records_are_errors_or_answers_and_never_panics() {
    for seed in 0..u64::from(cases(600)) {
        fuzz_bodies::records(&bytes(seed, 6 + 5 * (seed % 4) as usize));
    }
}
