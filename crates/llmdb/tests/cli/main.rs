//! End to end: the built binary, as a user runs it.

mod backup;
mod bad_input;
mod commands;
mod common;
mod demo;
mod docs;
mod erase;
mod kill;
mod lines;
mod reference;
#[cfg(feature = "wasm")]
mod wasm;
