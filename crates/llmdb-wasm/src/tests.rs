//! Unit tests that need the crate's inside: other body writers, and the fuzz targets.

mod fuel;
mod smoke;
mod vectors;
