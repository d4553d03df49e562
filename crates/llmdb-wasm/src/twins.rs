//! Twins: what the maps of `guests/pages.wat` compute, in Rust, and a large module; for benchmarks.
//!
//! Not part of the public interface: no promise about it is made.

use std::hint::black_box;

/// A map of a page: appends its answer.
pub type Twin = fn(&[u8], &mut Vec<u8>);

/// The maps by name, with their twins. All but `key32` read the whole page, of 4,096 bytes.
pub const MAPS: [(&str, Twin); 6] = [
    ("key32", |page, out| out.extend(key32(page).to_le_bytes())),
    ("page_key", |page, out| out.extend(key32(page).to_le_bytes())),
    ("page_sum", |page, out| out.extend(page_sum(page).to_le_bytes())),
    ("page_sum_scalar", |page, out| out.extend(page_sum(page).to_le_bytes())),
    ("page_pick", |page, out| out.extend(page_pick(page).to_le_bytes())),
    ("downsample", downsample),
];

/// The twin of a map.
#[must_use]
pub fn twin(name: &str) -> Option<Twin> {
    MAPS.iter().find(|(known, _)| *known == name).map(|(_, twin)| *twin)
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// The sum of the first four words.
#[must_use]
pub fn key32(page: &[u8]) -> u64 {
    let words = page.as_chunks().0.iter().take(4);
    words.fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// The sum of all words.
#[must_use]
pub fn page_sum(page: &[u8]) -> u64 {
    page.as_chunks().0.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// Of records of 64 bytes, the second words of those whose first byte is below 26, added.
#[must_use]
pub fn page_pick(page: &[u8]) -> u64 {
    let mut sum = 0u64;
    for record in page.as_chunks::<64>().0 {
        // As the guest does it: a branch.
        if black_box(record[0]) < 26 {
            sum = sum.wrapping_add(word(&record[8..]));
        }
    }
    sum
}

/// Of samples of 16 bytes, time and number: the first time, the least number, the greatest, the mean.
pub fn downsample(page: &[u8], out: &mut Vec<u8>) {
    let (mut least, mut greatest, mut sum) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
    for sample in page.as_chunks::<16>().0 {
        let number = f64::from_bits(word(&sample[8..]));
        sum += number;
        least = if number < least { number } else { least };
        greatest = if number > greatest { number } else { greatest };
    }
    out.extend(word(page).to_le_bytes());
    for number in [least, greatest, sum / 256.0] {
        out.extend(number.to_le_bytes());
    }
}

/// Pages of samples with numbers that are no NaN, one a second, random numbers in them.
#[must_use]
pub fn pages(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut bytes = Vec::with_capacity(count * 4096);
    for sample in 0..count as u64 * 256 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend((sample.wrapping_mul(1_000_000) ^ state).to_le_bytes());
        bytes.extend(((state >> 12) as f64 / 1e9 - 2e6).to_le_bytes());
    }
    bytes
}

/// A module of some 100 KB as text: 220 exported functions `f0` and on, of an `i32` to an `i32`, that compute with their
/// arguments, with branches and loops.
#[must_use]
pub fn large_module() -> String {
    let function = |index: usize| {
        let steps = (0..18).map(|step| {
            let number = index * 31 + step * 7 + 1;
            format!(
                "(local.set 1 (i32.add (i32.mul (local.get 1) (i32.const {number}))
                    (i32.xor (local.get 0) (i32.const {step}))))
                 (if (i32.lt_u (local.get 1) (i32.const {number}))
                    (then (local.set 0 (i32.rotl (local.get 0) (i32.const 3)))))"
            )
        });
        let steps = steps.collect::<String>();
        format!(
            "(func $f{index} (export \"f{index}\") (param i32) (result i32) (local i32)
             (loop {steps} (br_if 0 (i32.and (local.tee 0 (i32.shr_u (local.get 0) (i32.const 1)))
                (i32.const 0xff))))
             (local.get 1))"
        )
    };
    let functions = (0..220).map(function).collect::<String>();
    format!("(module (memory (export \"memory\") 1) {functions})")
}
