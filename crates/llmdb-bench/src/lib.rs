//! Workloads, peers and reports: what prints every figure that LLMDB claims.
pub mod results;
