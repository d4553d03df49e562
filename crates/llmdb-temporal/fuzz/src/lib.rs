//! Fuzz targets of `llmdb-temporal`, over the oracle of its tests.

pub mod bodies;
#[path = "../../tests/temporal/compare.rs"]
mod compare;
#[expect(dead_code, reason = "the tests also use it otherwise")]
#[path = "../../tests/temporal/oracle.rs"]
mod oracle;
#[expect(dead_code, reason = "the strategies serve the tests")]
#[path = "../../tests/temporal/script.rs"]
mod script;
#[expect(dead_code, reason = "the tests also use it otherwise")]
#[path = "../../tests/temporal/support.rs"]
mod support;
