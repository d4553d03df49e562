//! `cargo fuzz run tail` in `crates/llmdb-wal`: any bytes as the ring of a log.
#![no_main]

#[path = "../../tests/fuzz/body.rs"]
#[expect(dead_code, reason = "the other targets run the other bodies")]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::tail(data);
});
