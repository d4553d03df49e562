//! `cargo fuzz run records` in `crates/llmdb-temporal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| llmdb_temporal_fuzz::bodies::records(data));
