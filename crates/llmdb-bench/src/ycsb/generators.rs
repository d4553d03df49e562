//! YCSB's generators: which record is asked for, and how long a scan is.
//!
//! Invariants
//! 1. [`ScrambledZipfian`] draws from ten billion items and folds them by hash, whatever the number of
//!    records, as YCSB does: its constant `zetan` is YCSB's.
//! 2. A generator draws from its [`Rng`] only, so a seed gives the same trace forever.

use crate::rng::Rng;

/// YCSB's skew.
pub const THETA: f64 = 0.99;
/// Items that the scrambled generator draws from.
pub const SCRAMBLED_ITEMS: u64 = 10_000_000_001;
/// The sum of `1 / i^0.99` over them, as YCSB has it.
pub const SCRAMBLED_ZETAN: f64 = 26.469_028_201_783_02;

const FNV_OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 1_099_511_628_211;

/// YCSB's hash of a key number: FNV-1a over its 8 octets, the sign dropped.
pub fn fnv_hash_64(number: u64) -> u64 {
    let mixed = number
        .to_le_bytes()
        .iter()
        .fold(FNV_OFFSET_BASIS, |hash, &octet| (hash ^ u64::from(octet)).wrapping_mul(FNV_PRIME));
    mixed.cast_signed().unsigned_abs()
}

/// The record's key: "user" and the hash of its number.
pub fn key_name(number: u64) -> String {
    format!("user{}", fnv_hash_64(number))
}

/// Gray's generator of zipfian numbers, as YCSB uses it.
#[derive(Clone, Debug)]
pub struct Zipfian {
    items: u64,
    zetan: f64,
    alpha: f64,
    eta: f64,
}

impl Zipfian {
    /// Over `items` items, of which there is at least one.
    pub fn new(items: u64) -> Self {
        Self::with_zetan(items, zeta(0, items, 0.0))
    }

    /// The same with the sum known.
    pub fn with_zetan(items: u64, zetan: f64) -> Self {
        let mut zipfian = Self { items, zetan, alpha: 1.0 / (1.0 - THETA), eta: 0.0 };
        zipfian.set_eta();
        zipfian
    }

    fn set_eta(&mut self) {
        let zeta_2 = zeta(0, 2, 0.0);
        self.eta = (1.0 - (2.0 / self.items as f64).powf(1.0 - THETA)) / (1.0 - zeta_2 / self.zetan);
    }

    /// Grows to `items` items by adding to the sum.
    pub fn grow(&mut self, items: u64) {
        if items > self.items {
            self.zetan = zeta(self.items, items, self.zetan);
            self.items = items;
            self.set_eta();
        }
    }

    /// The sum of `1 / i^theta` over its items.
    pub fn zetan(&self) -> f64 {
        self.zetan
    }

    /// An item; the lower, the more often.
    pub fn next(&self, rng: &mut Rng) -> u64 {
        let drawn = rng.next_f64();
        let scaled = drawn * self.zetan;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.items - 1);
        }
        let item = self.items as f64 * (self.eta * drawn - self.eta + 1.0).powf(self.alpha);
        (item as u64).min(self.items - 1)
    }
}

/// Adds `1 / i^theta` for i over `from..to` (counted from 1) to `sum`.
fn zeta(from: u64, to: u64, sum: f64) -> f64 {
    (from..to).fold(sum, |sum, item| sum + 1.0 / ((item + 1) as f64).powf(THETA))
}

/// A zipfian whose hot items lie anywhere: ten billion items folded over `keyspace` by hash.
#[derive(Clone, Debug)]
pub struct ScrambledZipfian {
    inner: Zipfian,
    keyspace: u64,
}

impl ScrambledZipfian {
    /// Over `keyspace` key numbers.
    pub fn new(keyspace: u64) -> Self {
        Self { inner: Zipfian::with_zetan(SCRAMBLED_ITEMS, SCRAMBLED_ZETAN), keyspace }
    }

    /// A key number.
    pub fn next(&self, rng: &mut Rng) -> u64 {
        fnv_hash_64(self.inner.next(rng)) % self.keyspace
    }
}

/// The newest records most often.
#[derive(Clone, Debug)]
pub struct Latest {
    inner: Zipfian,
}

impl Latest {
    /// With the newest record's number, to begin with. As in YCSB there are as many items as that number,
    /// so the oldest record, 0, is never drawn (but where it is the only one).
    pub fn new(newest: u64) -> Self {
        Self { inner: Zipfian::new(newest.max(1)) }
    }

    /// A key number, where `newest` is the newest record's number now.
    pub fn next(&mut self, rng: &mut Rng, newest: u64) -> u64 {
        self.inner.grow(newest);
        newest - self.inner.next(rng).min(newest)
    }

    /// The sum of `1 / i^theta` over its items.
    pub fn zetan(&self) -> f64 {
        self.inner.zetan()
    }
}

/// A number of `low..=high`, each as often.
pub fn uniform(rng: &mut Rng, low: u64, high: u64) -> u64 {
    low + rng.below(high - low + 1)
}

#[cfg(test)]
mod tests;
