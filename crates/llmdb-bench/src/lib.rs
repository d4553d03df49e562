//! Workloads, peers and reports: what prints every figure that LLMDB claims.
//!
//! ```
//! use llmdb_bench::runner::{Run, RunOptions};
//! use llmdb_bench::workload::Sizes;
//!
//! let mut options = RunOptions::quick();
//! options.workloads = vec!["read_latency".into()];
//! options.engines = vec!["llmdb".into()];
//! options.sizes = Sizes::tiny(); // a look, no measurement
//! let report = Run::new(options)?.execute(&mut |_| {})?;
//! assert!(!report.has_failures());
//! assert!(report.results.iter().all(|result| result.verified.is_ok()));
//! # Ok::<(), llmdb_bench::Error>(())
//! ```
//!
//! A workload is a set of cases; a case sets up, runs in rounds, and checks what it read. An engine is a
//! small trait with one adapter a file. The runner takes every case to every engine, round by round in
//! turn, and leaves a [`results::RunReport`], which is all that reports and the gate know.
//!
//! What it is not: part of the product. Nothing depends on it but `cargo xtask bench`.

pub mod check;
pub mod disk;
pub mod engine;
mod error;
pub mod gate;
pub mod machine;
pub mod measure;
pub mod probe;
pub mod report;
pub mod results;
pub mod rng;
pub mod runner;
pub mod workload;
pub mod ycsb;

pub use error::{Error, Result};
