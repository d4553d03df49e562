//! `wasm_perf`: functions in WebAssembly over pages, each held against the same loop in Rust in the same run.
//!
//! | plan | what is measured |
//! | --- | --- |
//! | [`pages`] | pages a second of six maps, by the host's gathering or copying and through a window of the file; out of the caches and in them |
//! | [`costs`] | a call, an instance, the meter, compiling, loading, finding compiled code |
//! | `wasmtime`, with the feature `peers-wasm` | the same guests in wasmtime, metered by its own fuel: pages, a call, an instance, the meter, compiling |
//!
//! Only the engine `llmdb` takes part, and only its sandbox: the pages are those of a plain file in the page cache.
//!
//! Invariants
//! 1. Every answer of a guest is held against what the loop in Rust computes, outside of the time that counts.
//! 2. Guests are metered, as they always are; only the cost of the meter is measured against code without one.

mod costs;
mod pages;
#[cfg(feature = "peers-wasm")]
mod wasmtime;

use super::{Bench, Plan, Sizes, Workload};
use crate::error::{Error, Result};
use llmdb_wasm::{Limits, Module, Runtime, guests};

/// Bytes of a page.
const PAGE_SIZE: usize = 4096;

/// The workload.
#[derive(Debug)]
pub(super) struct WasmPerf;

impl Workload for WasmPerf {
    fn suite(&self) -> &'static str {
        "contest"
    }

    fn name(&self) -> &'static str {
        "wasm_perf"
    }

    fn about(&self) -> &'static str {
        "functions in WebAssembly over pages, beside the same loops in Rust; calls, the meter, compiling and loading"
    }

    fn by_name_only(&self) -> bool {
        true
    }

    fn plans(&self, sizes: &Sizes) -> Vec<Plan> {
        vec![
            pages::plan(sizes, pages::Place::Memory),
            pages::plan(sizes, pages::Place::Caches),
            costs::plan(),
            #[cfg(feature = "peers-wasm")]
            wasmtime::plan(sizes.wasm_bytes, "memory"),
            #[cfg(feature = "peers-wasm")]
            wasmtime::plan(sizes.wasm_bytes.min(4 << 20), "caches"),
        ]
    }
}

/// The guest that is measured, with so many pages a call at most; 0 leaves it to the host.
fn module(call: usize) -> Result<Module> {
    let limits = Limits::default();
    // A call may have fewer pages than this: what its buffers hold, and what its fuel pays for.
    let limits = if call == 0 { limits } else { limits.batch_records(call) };
    Runtime::new(limits).compile_named("pages", guests::PAGES.as_bytes()).map_err(failed)
}

fn failed(error: llmdb_wasm::Error) -> Error {
    Error::WrongAnswer(error.to_string())
}

/// Refuses engines that have no sandbox.
fn only_ours(bench: &Bench<'_>) -> Result<()> {
    if bench.kind.name() == "llmdb" {
        return Ok(());
    }
    Err(Error::NotOffered {
        engine: bench.kind.name().to_owned(),
        what: "functions in WebAssembly".to_owned(),
    })
}
