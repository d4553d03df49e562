//! `cargo fuzz run store` in `crates/llmdb-wal`: single bytes changed in a data file and its log, which are opened.
#![no_main]

#[path = "../../tests/fuzz/body.rs"]
#[expect(dead_code, reason = "the other targets run the other bodies")]
mod body;
#[path = "../../../llmdb-pager/tests/support/mutate.rs"]
#[expect(dead_code, reason = "the fuzzer makes the changes here")]
mod mutate;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (mut file, log) = body::edited(data);
    if data.len().is_multiple_of(2) {
        mutate::seal_all(&mut file);
    }
    body::store(&file, &log);
});
