//! User functions in WebAssembly beside the data: sandboxed, metered, over any byte slices.
//!
//! A guest is a core WebAssembly module without imports: no clock, no files, no randomness. It gets records in
//! batches, in memory of its own, and answers bytes. Each call has fuel, one for each instruction, and memory is
//! capped; a guest that loops for ever, traps or asks for 4 GiB ends in an [`Error`] of that call.
//!
//! ```
//! use llmdb_wasm::{Error, Record, Runtime, Value, guests};
//!
//! let runtime = Runtime::default();
//! let module = runtime.compile_named("count", guests::COUNT.as_bytes())?;
//! let reduction = module.reduce("count", [Record::new(b"key", b"value")])?;
//! assert_eq!(reduction.output, 1u64.to_le_bytes());
//!
//! let endless = runtime.compile(b"(module (func (export \"spin\") (loop br 0)))")?;
//! let error = endless.instantiate()?.call("spin", &[]).unwrap_err();
//! assert!(matches!(error, Error::OutOfFuel { .. }));
//! # Ok::<(), Error>(())
//! ```
//!
//! The ABI is in `docs/wasm-abi.md`.
//!
//! Invariants
//! 1. Bytes are checked (`check`), then rewritten (`rewrite`, `meter`), then compiled (`engine`); no other way
//!    leads to running code, but for artifacts that carry the user's own seal (`artifacts`, `seal`).
//! 2. No guest sees memory of the host or of another guest; what is exchanged is copied, with checked ranges. Only a
//!    function that its caller trusts reads a file where it is (`window`).
//! 3. Equal input gives equal output and equal fuel: NaNs are canonical, relaxed instructions are refused.
//!
//! Not here: trees, time, query.

// Compiles the example in the ABI's document.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/wasm-abi.md")]
struct AbiDocument;

mod artifacts;
mod batch;
mod bulk;
mod cache;
mod check;
mod compiled;
mod engine;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod guest;
pub mod guests;
mod input;
mod instance;
mod limits;
mod meter;
mod module;
mod modules;
mod ordered;
mod output;
mod parallel;
#[expect(unsafe_code, reason = "the one module with unsafe code; it says what proves each piece")]
mod raw;
mod reducer;
mod rewrite;
mod rows;
mod runs;
mod runtime;
mod seal;
mod stage;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod twins;
mod watch;
#[cfg(unix)]
mod window;
// The tests write their modules as text.
#[cfg(all(test, feature = "wat"))]
mod tests;

pub use artifacts::ArtifactCache;
pub use batch::{ENTRY_SIZE, ENTRY_SIZE_KNOWN, HEADER_SIZE, Record, RecordBatch};
pub use compiled::ModuleHash;
pub use error::{Error, Result, Trap};
pub use guest::{ABI_VERSION, Stats};
pub use input::{Column, Fields, Input};
pub use instance::{Instance, Value};
pub use limits::Limits;
pub use module::{Description, Export, Module};
pub use modules::{ByteMap, MapResult, Modules, StoredModule};
pub use output::Output;
pub use parallel::{Cancel, Parallel, Part, Sink};
pub use reducer::{Reducer, Reduction};
pub use rows::Rows;
pub use runtime::Runtime;
pub use stage::Stage;
#[cfg(unix)]
pub use window::{Window, WindowStage};
