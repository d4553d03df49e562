//! YCSB's core workloads A to F: generators, mixes, records and traces, as YCSB at d9faaac defines them.
//!
//! Not here: running them against an engine (`workload::ycsb`).

pub mod core;
pub mod generators;
pub mod trace;
