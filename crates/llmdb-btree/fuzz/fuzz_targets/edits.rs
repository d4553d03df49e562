//! `cargo fuzz run edits` in `crates/llmdb-btree`: any bytes as a file of trees, changed; whole pages get right checksums.
#![no_main]

#[path = "../../tests/fuzz/body.rs"]
#[expect(dead_code, reason = "the other targets run the other bodies")]
mod body;
#[path = "../../../llmdb-pager/tests/support/mutate.rs"]
#[expect(dead_code, reason = "the fuzzer makes the changes here")]
mod mutate;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    if data.len().is_multiple_of(4096) {
        mutate::seal_all(&mut bytes);
    }
    body::edits(&bytes);
});
