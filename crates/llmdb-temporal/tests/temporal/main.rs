//! The tests of the layer through its public face.
//!
//! Contents: `oracle` the naive model, `script` random histories, `model` all reads against the oracle,
//! `invariants` what holds between answers, `claims` single rules, `crash` power cuts, `damage` what `check`
//! finds, `reference` real data with outside answers, `fuzz_smoke` the bodies of the fuzz targets.

mod claims;
mod crash;
mod damage;
#[path = "../../fuzz/src/bodies.rs"]
mod fuzz_bodies;
mod fuzz_smoke;
mod invariants;
mod model;
mod oracle;
mod reference;
mod script;
mod support;
