//! The tests of the layer through its public face.
//!
//! Contents: `oracle` the naive model, `script` random histories, `compare` all reads against the oracle, `model`
//! random histories through it, `cells` long ones cell by cell, `invariants` what holds between answers, `claims` single rules, `crash` power
//! cuts, `erase` keys taken out, `faults` a failing disk, `filters` what filters of keys deny, `damage` what `check` finds, `retain` letting history go, `reference` real data with outside answers, `fuzz_smoke` the bodies of the
//! fuzz targets, `windows` pieces by a window and
//! meetings of two timelines, `support` databases for all of them.

mod cells;
mod claims;
mod compare;
mod crash;
mod damage;
mod erase;
mod faults;
mod filters;
#[expect(unreachable_pub, reason = "the fuzz targets call them from another crate")]
#[path = "../../fuzz/src/bodies.rs"]
mod fuzz_bodies;
mod fuzz_smoke;
mod invariants;
mod model;
mod oracle;
mod reference;
mod retain;
mod script;
mod support;
mod windows;
