//! Unit tests that need the crate's inside: other body writers, the fuzz targets, the ABI's document.

mod document;
mod fuel;
mod fuzz_smoke;
mod vectors;
