//! `cargo xtask soak`: the simulator for hours instead of seconds.
//!
//! Invariants
//! 1. Only tests named `soak_...` run, optimised; they read `LLMDB_SOAK` and `LLMDB_SIM_CASES` and print the
//!    seed of what fails.
//! 2. A soak that runs no test is a failure.
//!
//! Not here: the tests themselves (each crate's `tests/`), which also run short in `cargo test`.

use std::path::Path;

use crate::failure::{Failed, Result};
use crate::shell;

/// What `cargo xtask soak --help` prints.
pub(crate) const HELP: &str = "\
Runs the tests named soak_... in release mode with LLMDB_SOAK=1, which multiplies their crash points.

Usage: cargo xtask soak [-p CRATE] [--cases N] [FILTER]

  -p CRATE   only this crate's tests; all crates unless told
  --cases N  sets LLMDB_SIM_CASES: how many simulated cases each test runs
  FILTER     only tests whose name contains this; `soak_` unless told
";

#[derive(Debug, PartialEq, Eq)]
struct Options {
    package: Option<String>,
    cases: Option<u64>,
    filter: String,
}

/// Does what the arguments ask for.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<String> {
    let options = parse(arguments)?;
    let mut command = shell::cargo(root, ["test", "--locked", "--release", "--no-fail-fast"]);
    match &options.package {
        Some(package) => command.args(["-p", package]),
        None => command.arg("--workspace"),
    };
    command.args(["--lib", "--bins", "--tests", "--", "--nocapture", &options.filter]).env("LLMDB_SOAK", "1");
    if let Some(cases) = options.cases {
        command.env("LLMDB_SIM_CASES", cases.to_string());
    }
    let totals = shell::run_tests(&mut command)?;
    if totals.passed == 0 {
        return Err(Failed::new(format!("no test's name contains `{}`: nothing was soaked", options.filter)));
    }
    Ok(totals.to_string())
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { package: None, cases: None, filter: "soak_".to_owned() };
    let mut arguments = arguments.iter();
    let asked = |what: &str| Failed::new(format!("{what}: see cargo xtask soak --help"));
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-p" => {
                options.package = Some(arguments.next().ok_or_else(|| asked("-p needs a crate"))?.clone())
            }
            "--cases" => {
                let number = arguments.next().and_then(|text| text.parse().ok()).filter(|cases| *cases > 0);
                options.cases = Some(number.ok_or_else(|| asked("--cases needs a whole number above 0"))?);
            }
            filter if !filter.starts_with('-') => options.filter = filter.to_owned(),
            other => return Err(asked(&format!("soak does not know `{other}`"))),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Options> {
        parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_and_wrong_ones_are_named() {
        let all = parsed(&["-p", "llmdb-wal", "--cases", "1000", "soak_cut"]).unwrap();
        let expected =
            Options { package: Some("llmdb-wal".into()), cases: Some(1000), filter: "soak_cut".into() };
        assert_eq!(all, expected);
        assert_eq!(parsed(&[]).unwrap().filter, "soak_");
        for wrong in [&["-p"][..], &["--cases"], &["--cases", "many"], &["--cases", "0"], &["--fast"]] {
            assert!(parsed(wrong).unwrap_err().to_string().contains("--help"), "{wrong:?}");
        }
    }
}
