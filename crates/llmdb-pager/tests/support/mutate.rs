//! Damage made to be believed: changes of a data file's bytes whose checksums are put right again, so that
//! what checks structure is reached. Shared by the smoke tests of the storage crates.

use llmdb_pager::page::{read_u32, read_u64};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A small generator, so that a seed says all.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Puts the checksums of both metas and of every page right, where the first meta's page size allows.
pub(crate) fn seal_all(file: &mut [u8]) {
    for meta in file.chunks_exact_mut(4096).take(2) {
        seal_meta(meta);
    }
    let Some(meta) = file.get(..4096) else { return };
    let page_size = read_u32(meta, 12) as usize;
    let halves = [read_u64(meta, 16), read_u64(meta, 24)];
    if !page_size.is_power_of_two() || !(4096..=65536).contains(&page_size) {
        return;
    }
    let identity = halves[0] ^ halves[1].rotate_left(29);
    let first = 8192usize.div_ceil(page_size);
    for (number, page) in file.chunks_exact_mut(page_size).enumerate().skip(first) {
        seal_page(page, identity, number as u64);
    }
}

/// Puts a meta's checksum right.
pub(crate) fn seal_meta(meta: &mut [u8]) {
    let checksum = xxh3_64(&meta[..4088]);
    meta[4088..4096].copy_from_slice(&checksum.to_le_bytes());
}

/// Puts a page's number and checksum right.
pub(crate) fn seal_page(page: &mut [u8], identity: u64, number: u64) {
    page[8..14].copy_from_slice(&number.to_le_bytes()[..6]);
    let birth = read_u64(page, 16);
    let seed = identity
        ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ birth.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(32);
    let checksum = xxh3_64_with_seed(&page[8..], seed);
    page[..8].copy_from_slice(&checksum.to_le_bytes());
}

/// Changes some bytes: bits, words that are small, large or zero, stretches copied or zeroed. Half of the
/// changes hit the first bytes of a block, where headers and counts are.
pub(crate) fn scramble(bytes: &mut [u8], block: usize, rng: &mut Rng) {
    for _ in 0..1 + rng.below(4) {
        let len = bytes.len() as u64;
        let at = match rng.below(4) {
            0 => rng.below(len),
            1 => (rng.below(len) / block as u64 * block as u64 + rng.below(2) * 80 + rng.below(64))
                .min(len - 1),
            _ => (rng.below(len) / block as u64 * block as u64 + 14 + rng.below(40)).min(len - 1),
        } as usize;
        match rng.below(7) {
            0 | 1 => bytes[at] ^= 1 << rng.below(8),
            2 => bytes[at] = rng.next() as u8,
            3 => {
                let word = [0, 1, 2, 0x7fff, 0xffff, 0x1000, 300][rng.below(7) as usize] as u16;
                put(bytes, at, &word.to_le_bytes());
            }
            4 => {
                let word =
                    [0, 1, u64::MAX, 1 << 63, 1 << 47, rng.below(64), rng.next()][rng.below(7) as usize];
                put(bytes, at / 8 * 8, &word.to_le_bytes());
            }
            5 => {
                let from = rng.below(len) as usize;
                let taken = bytes[from..(from + rng.below(64) as usize).min(bytes.len())].to_vec();
                put(bytes, at, &taken);
            }
            _ => put(bytes, at, &vec![0; rng.below(200) as usize]),
        }
    }
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    let room = new.len().min(bytes.len() - at);
    bytes[at..at + room].copy_from_slice(&new[..room]);
}

/// A changed data file: cut or longer now and then, and mostly with all checksums right.
pub(crate) fn mutated_file(valid: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    scramble(&mut bytes, 4096, rng);
    if rng.below(4) > 0 {
        seal_all(&mut bytes);
    }
    match rng.below(30) {
        0 => bytes.truncate(rng.below(valid.len() as u64 + 1) as usize),
        1 => bytes.resize(valid.len() + rng.below(9000) as usize, rng.next() as u8),
        _ => {}
    }
    bytes
}
