//! `cargo fuzz run backup` in `crates/llmdb-btree`: any bytes as a full backup, restored; checksums are put right where
//! the first byte says so.
#![no_main]

#[path = "../../tests/fuzz/body.rs"]
#[expect(dead_code, reason = "the other targets run the other bodies")]
mod body;
#[path = "../../../llmdb-pager/tests/support/mutate.rs"]
#[expect(dead_code, reason = "the fuzzer makes the changes here")]
mod mutate;
#[path = "../../tests/fuzz/seal_backup.rs"]
mod seal_backup;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if choice % 2 == 0 {
        seal_backup::seal_backup(&mut bytes);
    }
    body::backups(&[&bytes]);
});
