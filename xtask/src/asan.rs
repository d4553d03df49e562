//! `cargo xtask asan`: unsafe code that Miri cannot run (maps, signals, compiled guests) under AddressSanitizer.
//!
//! Invariants
//! 1. Each filter of `RUNS` must fit at least one test: a renamed test cannot slip away unseen.
//! 2. Where the nightly toolchain is missing, the task says so; it fails if `LLMDB_MIRI=require`, as CI sets it.
//!
//! Not in `ci`: building the engine once more takes minutes.

use std::path::Path;

use crate::failure::{Failed, Result};
use crate::shell;

/// What `cargo xtask asan --help` prints.
pub(crate) const HELP: &str = "\
Runs tests of unsafe code that Miri cannot run under AddressSanitizer, on the nightly toolchain.

Usage: cargo xtask asan

Builds in target/asan, which takes minutes at first. Which tests run stands in RUNS in xtask/src/asan.rs.
";

/// What to run: a crate, the arguments that choose test programs, and names to run in them.
const RUNS: &[(&str, &[&str], &str)] = &[
    ("llmdb-wasm", &["--lib"], "raw::"),
    ("llmdb-wasm", &["--test", "window"], ""),
    // Not those that weigh the process: the sanitizer keeps what was freed for a while.
    ("llmdb-wasm", &["--test", "leaks"], "nothing"),
    ("llmdb-wasm", &["--test", "budget"], "clock"),
];

/// Heap and statics are watched, stacks are not: the engine leaves frames of ours behind when a guest traps, and puts
/// frames onto a guest's stack, which the sanitizer takes for overflows.
const FLAGS: &str = "-Zsanitizer=address -Cllvm-args=-asan-stack=0";

/// Only code for this system is built with the sanitizer, not build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Compiled guests run on stacks of their own, which the sanitizer's second stack knows nothing of; their violations are
/// the engine's to handle; what the process keeps until its end is no leak.
const OPTIONS: &str =
    "detect_stack_use_after_return=0:allow_user_segv_handler=1:handle_sigbus=0:detect_leaks=0";

/// Runs everything in `RUNS`.
pub(crate) fn run(root: &Path) -> Result<String> {
    if !shell::succeeds(&mut shell::cargo(root, ["+nightly", "--version"])) {
        let message = "AddressSanitizer cannot be had: there is no nightly toolchain".to_owned();
        let required = std::env::var_os("LLMDB_MIRI").is_some_and(|value| value == "require");
        return if required { Err(Failed::new(message)) } else { Ok(message) };
    }
    let mut passed = 0;
    for (package, programs, filter) in RUNS {
        let mut command = shell::cargo(root, ["+nightly", "test", "--locked", "-p", package]);
        command
            .args(["--target", TARGET, "--target-dir", "target/asan"])
            .args(*programs)
            .args(["--", filter]);
        command.env("RUSTFLAGS", FLAGS).env("ASAN_OPTIONS", OPTIONS);
        let totals = shell::run_tests(&mut command)?;
        if totals.passed == 0 {
            return Err(Failed::new(format!(
                "no test of {package} {programs:?} fits `{filter}`: put RUNS in xtask/src/asan.rs right"
            )));
        }
        passed += totals.passed;
    }
    Ok(format!("{passed} test(s) under AddressSanitizer"))
}
