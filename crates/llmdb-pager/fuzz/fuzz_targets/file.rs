//! `cargo fuzz run file` in `crates/llmdb-pager`: any bytes as a data file; whole pages get right checksums.
#![no_main]

#[path = "../../tests/fuzz/body.rs"]
mod body;
#[path = "../../tests/support/mutate.rs"]
#[expect(dead_code, reason = "the fuzzer makes the changes here")]
mod mutate;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    if data.len().is_multiple_of(4096) {
        mutate::seal_all(&mut bytes);
    }
    body::file(&bytes);
});
