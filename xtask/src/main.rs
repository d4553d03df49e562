//! Development tasks: `cargo xtask TASK`.
//!
//! Invariants
//! 1. A task that fails ends with exit code 1 and one line that says why; a wrong call ends with 2.
//! 2. xtask drives cargo and knows none of the crates it checks.
//!
//! The rooms, from the lowest up: `failure`, `shell` (running programs), `tree` (the checkout's files),
//! `rust_text` (code without comments), `readme` (its two commands), then the tasks `tidy`, `fuzz`, `miri`,
//! `asan`, `soak`, `bench`, and `ci`, which runs the first ones.

mod asan;
mod bench;
mod ci;
mod failure;
mod fuzz;
mod miri;
mod readme;
mod rust_text;
mod shell;
mod soak;
mod tidy;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use failure::{Failed, Result};

const HELP: &str = "\
Development tasks.

Usage: cargo xtask TASK [--help]

  ci     everything that must hold before a change is kept
  tidy   the house rules that neither the compiler nor clippy holds
  fuzz   the fuzz targets; --smoke for a quick look on stable Rust
  miri   the tests around unsafe code under Miri
  asan   tests around unsafe code that Miri cannot run, under AddressSanitizer
  soak   the simulator's long tests
  bench  figures (quick, full) and the gate that holds a change against its base (ci)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, arguments)) = arguments.split_first() else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let Some(help) = help(task) else {
        eprintln!("there is no task `{task}`\n\n{HELP}");
        return ExitCode::from(2);
    };
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{help}");
        return ExitCode::SUCCESS;
    }
    match run(task, arguments) {
        Ok(note) => {
            println!("{task}: {note}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn help(task: &str) -> Option<String> {
    Some(match task {
        "ci" => ci::help(),
        "tidy" => tidy::HELP.to_owned(),
        "fuzz" => fuzz::HELP.to_owned(),
        "miri" => miri::HELP.to_owned(),
        "asan" => asan::HELP.to_owned(),
        "soak" => soak::HELP.to_owned(),
        "bench" => bench::HELP.to_owned(),
        "help" | "--help" | "-h" => HELP.to_owned(),
        _ => return None,
    })
}

fn run(task: &str, arguments: &[String]) -> Result<String> {
    let root = checkout_root();
    match (task, arguments) {
        ("ci", names) => ci::run(&root, names),
        ("fuzz", arguments) => fuzz::run(&root, arguments),
        ("soak", arguments) => soak::run(&root, arguments),
        ("bench", arguments) => bench::run(&root, arguments),
        ("asan", []) => asan::run(&root),
        ("tidy", []) => tidy::run(&root),
        ("miri", []) => miri::run(&root).map(|outcome| match outcome {
            miri::Outcome::Passed(note) | miri::Outcome::Missing(note) => note,
        }),
        (task, [unknown, ..]) => {
            Err(Failed::new(format!("{task} does not know `{unknown}`: see cargo xtask {task} --help")))
        }
        (task, []) => Err(Failed::new(format!("there is no task `{task}`: see cargo xtask --help"))),
    }
}

/// The folder above this package, where the workspace's manifest lies.
fn checkout_root() -> PathBuf {
    // At run time cargo says where the package is; the path it was compiled in may have moved since.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().map_or(package.clone(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_explains_itself() {
        for line in HELP.lines().filter_map(|line| line.strip_prefix("  ")) {
            let task = line.split_whitespace().next().unwrap();
            let help = help(task).unwrap_or_else(|| panic!("no help for {task}"));
            assert!(help.contains(&format!("Usage: cargo xtask {task}")), "{task}: {help}");
        }
        assert!(help("tydi").is_none());
    }

    #[test]
    fn an_argument_that_no_task_knows_is_named() {
        for task in ["tidy", "miri", "asan", "fuzz", "soak", "bench"] {
            let error = run(task, &["--bogus".to_owned()]).unwrap_err().to_string();
            assert!(error.contains("`--bogus`") && error.contains("--help"), "{task}: {error}");
        }
        assert!(run("ci", &["bogus".to_owned()]).is_err());
    }

    #[test]
    fn the_root_holds_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(checkout_root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }
}
