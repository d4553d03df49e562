//! `cargo fuzz run operations` in `crates/llmdb-btree`: changes of a tree against a map.
#![no_main]

#[path = "../../tests/fuzz/body.rs"]
#[expect(dead_code, reason = "the other targets run the other bodies")]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::operations(data));
