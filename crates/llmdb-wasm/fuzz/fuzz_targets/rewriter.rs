//! Valid modules, made from the input: what they compute and leave in memory, and what they cost, is the same with the
//! meter, without it, and counted by single instructions.

#![no_main]

#[path = "../made.rs"]
mod made;

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some(module) = made::module(data) else { return Corpus::Reject };
    llmdb_wasm::fuzzing::module_bytes(&module);
    Corpus::Keep
});
