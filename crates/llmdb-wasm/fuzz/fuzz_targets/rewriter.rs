//! Valid modules, made from the input: what they compute and leave in memory, and what they cost, is the same with the
//! meter, without it, and counted by single instructions.
//!
//! Some of these modules are kept in `seeds`, for the smoke test: a build of the crate itself with wasm-smith would compile
//! the engine once more, for another feature of a crate that both use.

#![no_main]

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::{Corpus, fuzz_target};
use wasm_smith::{Config, Module};

/// None where the bytes are too few.
fn module(data: &[u8]) -> Option<Vec<u8>> {
    let (kind, data) = data.split_first()?;
    let config = Config {
        // Most of them without, so that calls come to their end.
        disallow_traps: kind % 4 != 0,
        // Likewise: only functions of plain numbers can be called from outside.
        simd_enabled: kind & 4 != 0,
        reference_types_enabled: kind & 8 != 0,
        allow_start_export: kind % 7 == 0,
        min_funcs: 1,
        max_funcs: 12,
        max_instructions: 400,
        max_imports: 0,
        export_everything: true,
        min_memories: 1,
        max_memories: 1,
        max_memory32_bytes: 8 << 16,
        max_tables: 4,
        max_table_elements: 100,
        // What `check` refuses.
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        ..Config::default()
    };
    Some(Module::new(config, &mut Unstructured::new(data)).ok()?.to_bytes())
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some(module) = module(data) else { return Corpus::Reject };
    llmdb_wasm::fuzzing::module_bytes(&module);
    Corpus::Keep
});
