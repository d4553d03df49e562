//! Any bytes as a module: never a panic, never unbounded, and the meter changes no result.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    llmdb_wasm::fuzzing::module_bytes(data);
});
