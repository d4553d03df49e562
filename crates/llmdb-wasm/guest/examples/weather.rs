//! Weather stations: rows of 32 bytes, little-endian: time (`i64`, seconds), station (`u32`), flags (`u32`), temperature
//! (`f64`, degrees), and 8 bytes that nobody reads.

#![no_std]

use llmdb_guest::{
    filter_columns, filter_records, guest, map_columns, map_pages, reduce_columns, reduce_records,
};

guest!();

map_columns! {
    /// Degrees Fahrenheit.
    fn fahrenheit(degrees: [u8; 8] at 16) -> [u8; 8] {
        (f64::from_le_bytes(*degrees) * 1.8 + 32.0).to_le_bytes()
    }
}

filter_columns! {
    /// Frost at a station whose flags say that it can be trusted.
    fn frost(flags: [u8; 4] at 12, degrees: [u8; 8] at 16) -> bool {
        flags[0] & 1 == 1 && f64::from_le_bytes(*degrees) < 0.0
    }
}

map_pages! {
    /// The sum of a page's words.
    fn checksum(page: [u8; 4096]) -> [u8; 8] {
        let words = page.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        words.fold(0, u64::wrapping_add).to_le_bytes()
    }
}

reduce_columns! {
    /// A time series made coarse: for each hour of the day how many readings, and the sum of their degrees (an `f64`).
    fn by_hour(state: &mut [u64; 48], time: [u8; 8] at 0, degrees: [u8; 8] at 16) {
        let hour = (i64::from_le_bytes(*time).rem_euclid(86_400) / 3600) as usize;
        if let [count, sum] = &mut state[2 * hour..2 * hour + 2] {
            *count += 1;
            *sum = (f64::from_bits(*sum) + f64::from_le_bytes(*degrees)).to_bits();
        }
    }
}

filter_records! {
    /// Records whose key ends as their value begins.
    fn rhymes(record: Record) -> bool {
        !record.key.is_empty() && record.key.last() == record.value.first()
    }
}

reduce_records! {
    /// How many records, their bytes, and how many hold for ever.
    fn census(state: &mut [u64; 3], record: Record) {
        state[0] += 1;
        state[1] += (record.key.len() + record.value.len()) as u64;
        state[2] += u64::from(record.valid_to == i64::MAX);
    }
}
