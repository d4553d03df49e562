//! The gate: what a fixed set of operations costs, counted, and held against the same counts of another build.
//!
//! Two builds are compared, each by its own program, on this machine, in the same run. Counts (instructions,
//! pages, bytes, flushes, allocations) do not depend on how busy the machine is, so [`compare`] holds them at
//! 5 %. Wall clock does, so [`clock`] fails a change only where the confidence interval of the ratio lies wholly
//! beyond 5 %.
//!
//! In reading order: [`error`]; [`counts`] what is compared; [`plant`] slows an operation on purpose;
//! [`operations`] the fixed set; [`image`] the databases that it works on; [`measure`] runs it; [`valgrind`] counts
//! instructions; [`program`] asks the other build's program; [`accept`] the regressions that a commit message
//! allows; [`compare`]; [`clock`]; [`comment`] tells people; [`self_test`] puts the gate itself on trial.
//!
//! Not here: building the two programs (`cargo xtask bench ci`).

pub mod accept;
pub mod clock;
pub mod comment;
pub mod compare;
pub mod counts;
pub mod error;
pub mod image;
pub mod measure;
pub mod operations;
pub mod plant;
pub mod program;
pub mod self_test;
pub mod valgrind;

pub use error::Error;
