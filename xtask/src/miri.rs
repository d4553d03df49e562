//! `cargo xtask miri`: the unsafe code under an interpreter that sees undefined behaviour.
//!
//! Invariants
//! 1. Each filter of `RUNS` must fit at least one test: a renamed module cannot slip away unseen.
//! 2. Where Miri cannot be had, the task says so; it fails if `LLMDB_MIRI=require`, as CI sets it.
//!
//! Not here: tests that map files, which Miri cannot do; they go through the in-memory storage.

use std::path::Path;

use crate::failure::{Failed, Result};
use crate::shell;

/// What `cargo xtask miri --help` prints.
pub(crate) const HELP: &str = "\
Runs the tests around unsafe code under Miri, on the nightly toolchain.

Usage: cargo xtask miri

Installs the components miri and rust-src of the nightly toolchain where they are missing. If that does not
work, it says so and goes on; with LLMDB_MIRI=require in the environment it fails instead.
Which tests run stands in RUNS in xtask/src/miri.rs.
";

/// What to run: a crate, and a part of the names of its unit tests.
const RUNS: &[(&str, &str)] = &[
    ("llmdb-pager", "raw::tests"),
    ("llmdb-pager", "readers_tests"),
    ("llmdb-pager", "sim::buffer::tests"),
    ("llmdb-pager", "verified::tests"),
];

/// Isolation off: tests ask for the time and for temporary folders.
const FLAGS: &str = "-Zmiri-disable-isolation";

/// How a run ended that did not fail.
pub(crate) enum Outcome {
    /// Tests ran and passed.
    Passed(String),
    /// Miri is not here and nobody insists.
    Missing(String),
}

/// Runs everything in `RUNS`.
pub(crate) fn run(root: &Path) -> Result<Outcome> {
    if let Err(reason) = install(root) {
        let required = std::env::var_os("LLMDB_MIRI").is_some_and(|value| value == "require");
        let message = format!("Miri cannot be had: {reason}");
        return if required { Err(Failed::new(message)) } else { Ok(Outcome::Missing(message)) };
    }
    let mut passed = 0;
    for (package, filter) in RUNS {
        let arguments = ["+nightly", "miri", "test", "--locked", "-p", package, "--lib", "--", filter];
        let totals = shell::run_tests(shell::cargo(root, arguments).env("MIRIFLAGS", FLAGS))?;
        if totals.passed == 0 {
            return Err(Failed::new(format!(
                "no test of {package} fits `{filter}`: put RUNS in xtask/src/miri.rs right"
            )));
        }
        passed += totals.passed;
    }
    Ok(Outcome::Passed(format!("{passed} test(s) under Miri")))
}

fn install(root: &Path) -> Result<()> {
    let is_here = || shell::succeeds(&mut shell::cargo(root, ["+nightly", "miri", "--version"]));
    if is_here() {
        return Ok(());
    }
    let mut rustup = std::process::Command::new("rustup");
    rustup.args(["toolchain", "install", "nightly", "--profile", "minimal", "--no-self-update"]);
    rustup.args(["--component", "miri", "--component", "rust-src"]);
    // A nightly that is here already is not replaced by a newer one, which may lack Miri.
    let has_nightly = shell::succeeds(&mut shell::cargo(root, ["+nightly", "--version"]));
    if has_nightly {
        rustup = std::process::Command::new("rustup");
        rustup.args(["component", "add", "miri", "rust-src", "--toolchain", "nightly"]);
    }
    shell::run(&mut rustup)?;
    if is_here() {
        Ok(())
    } else {
        Err(Failed::new("rustup succeeded, but `cargo +nightly miri` does not run"))
    }
}
