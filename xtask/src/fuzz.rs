//! `cargo xtask fuzz`: the fuzz targets of each crate, in earnest or as a quick look on stable Rust.
//!
//! Invariants
//! 1. A crate with a `fuzz/` folder has a `fuzz_smoke.rs` among its tests: it drives the same targets with seeded input and
//!    without nightly, so the targets cannot rot between real runs.
//! 2. A target lives in `crates/NAME/fuzz/fuzz_targets/TARGET.rs`.
//!
//! Not here: what a target does with its input (each crate's `fuzz/`).

use std::path::Path;

use crate::failure::{Failed, Result};
use crate::shell;
use crate::tree::Tree;

/// What `cargo xtask fuzz --help` prints.
pub(crate) const HELP: &str = "\
Runs the fuzz targets in crates/*/fuzz.

Usage: cargo xtask fuzz [--list] [--smoke] [--seconds N] [TARGET]

  TARGET       only this target (with --smoke: only the crate that has it)
  --list       prints each crate and target, runs nothing
  --smoke      runs each crate's fuzz_smoke tests on the stable toolchain; no nightly, no cargo-fuzz
  --seconds N  time for each target, 60 unless told (not with --smoke)

Without --smoke it needs a nightly toolchain and cargo-fuzz. A crash is kept under
crates/NAME/fuzz/artifacts; make it a test before it is fixed.
";

const SECONDS_DEFAULT: u64 = 60;

/// A fuzz target and the crate it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    package: String,
    name: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    list: bool,
    smoke: bool,
    seconds: Option<u64>,
    target: Option<String>,
}

/// Does what the arguments ask for.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<String> {
    let options = parse(arguments)?;
    let targets = chosen(targets(&Tree::read(root)?)?, options.target.as_deref())?;
    if options.list {
        targets.iter().for_each(|target| println!("{} {}", target.package, target.name));
        return Ok(format!("{} target(s)", targets.len()));
    }
    if targets.is_empty() {
        return Ok("no crate has a fuzz/ folder: nothing was run".to_owned());
    }
    if options.smoke {
        smoke(root, &targets, options.target.is_some())
    } else {
        in_earnest(root, &targets, options.seconds.unwrap_or(SECONDS_DEFAULT))
    }
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => options.list = true,
            "--smoke" => options.smoke = true,
            "--seconds" => {
                let number =
                    arguments.next().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
                let asked =
                    || Failed::new("--seconds needs a whole number above 0: see cargo xtask fuzz --help");
                options.seconds = Some(number.ok_or_else(asked)?);
            }
            name if !name.starts_with('-') && options.target.is_none() => {
                options.target = Some(name.to_owned())
            }
            other => {
                return Err(Failed::new(format!(
                    "fuzz does not know `{other}`: see cargo xtask fuzz --help"
                )));
            }
        }
    }
    if options.smoke && options.seconds.is_some() {
        return Err(Failed::new("--seconds does not go with --smoke, whose tests have a fixed length"));
    }
    Ok(options)
}

/// All targets; an error where a crate lacks its smoke test.
fn targets(tree: &Tree) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for manifest in tree.ending("/fuzz/Cargo.toml") {
        let Some(package) =
            manifest.strip_prefix("crates/").and_then(|rest| rest.strip_suffix("/fuzz/Cargo.toml"))
        else {
            continue;
        };
        let of_crate = format!("crates/{package}/");
        let fuzz = format!("crates/{package}/fuzz/");
        let is_smoke_test = |path: &str| path.starts_with(&of_crate) && !path.starts_with(&fuzz);
        if !tree.ending("/fuzz_smoke.rs").any(is_smoke_test) {
            let test = format!("crates/{package}/tests/fuzz_smoke.rs");
            return Err(Failed::new(format!("{package} has a fuzz/ folder but no {test}: write that test")));
        }
        let folder = format!("crates/{package}/fuzz/fuzz_targets/");
        let names = tree.files().filter_map(|path| path.strip_prefix(&folder)?.strip_suffix(".rs"));
        targets.extend(names.map(|name| Target { package: package.to_owned(), name: name.to_owned() }));
    }
    Ok(targets)
}

fn chosen(targets: Vec<Target>, wanted: Option<&str>) -> Result<Vec<Target>> {
    let Some(wanted) = wanted else { return Ok(targets) };
    let all: Vec<_> = targets.iter().map(|target| target.name.clone()).collect();
    let chosen: Vec<_> = targets.into_iter().filter(|target| target.name == wanted).collect();
    if chosen.is_empty() {
        return Err(Failed::new(format!(
            "there is no fuzz target `{wanted}`; there are: {}",
            all.join(", ")
        )));
    }
    Ok(chosen)
}

fn smoke(root: &Path, targets: &[Target], only_these: bool) -> Result<String> {
    // The whole workspace at once, as the tests are built: other features would compile everything anew.
    let mut packages = Vec::new();
    if only_these {
        targets.iter().for_each(|target| packages.extend(["-p", target.package.as_str()]));
    } else {
        packages.push("--workspace");
    }
    let has_program =
        |target: &Target| root.join("crates").join(&target.package).join("tests/fuzz_smoke.rs").exists();
    // Test programs of that name, then modules of that name in other test programs.
    let mut runs = vec![&["--lib", "--tests", "fuzz_smoke"][..]];
    if targets.iter().any(has_program) {
        runs.push(&["--test", "fuzz_smoke"]);
    }
    let (mut notes, mut passed) = (Vec::new(), 0);
    for which in runs {
        let arguments = ["test", "--locked"].iter().chain(&packages).chain(which).copied();
        let totals = shell::run_tests(&mut shell::cargo(root, arguments))?;
        passed += totals.passed;
        notes.push(totals.to_string());
    }
    if passed == 0 {
        return Err(Failed::new("the smoke tests hold no test: nothing was tried"));
    }
    Ok(notes.join("; "))
}

fn in_earnest(root: &Path, targets: &[Target], seconds: u64) -> Result<String> {
    if !shell::succeeds(&mut shell::cargo(root, ["+nightly", "fuzz", "--version"])) {
        return Err(Failed::new(
            "fuzzing needs a nightly toolchain and cargo-fuzz: run `rustup toolchain install nightly` and \
             `cargo install cargo-fuzz`, or look quickly with `cargo xtask fuzz --smoke`",
        ));
    }
    for Target { package, name } in targets {
        let folder = root.join("crates").join(package);
        let limit = format!("-max_total_time={seconds}");
        shell::run(&mut shell::cargo(&folder, ["+nightly", "fuzz", "run", name, "--", &limit]))?;
    }
    Ok(format!("{} target(s), {seconds} s each", targets.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixture::checkout;

    fn parsed(arguments: &[&str]) -> Result<Options> {
        parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_and_wrong_ones_are_named() {
        let options = parsed(&["decode", "--seconds", "9"]).unwrap();
        assert_eq!(
            options,
            Options { seconds: Some(9), target: Some("decode".into()), ..Options::default() }
        );
        assert!(parsed(&["--smoke"]).unwrap().smoke);
        for wrong in [
            &["--seconds"][..],
            &["--seconds", "0"],
            &["--smok"],
            &["a", "b"],
            &["--smoke", "--seconds", "1"],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn targets_are_found_by_crate_and_chosen_by_name() {
        let fixture = checkout(&[
            ("crates/a/fuzz/Cargo.toml", ""),
            ("crates/a/fuzz/fuzz_targets/decode.rs", ""),
            ("crates/a/fuzz/fuzz_targets/model.rs", ""),
            ("crates/a/tests/fuzz_smoke.rs", ""),
            ("crates/b/Cargo.toml", ""),
        ]);
        let all = targets(&fixture.tree).unwrap();
        assert_eq!(all.iter().map(|target| target.name.as_str()).collect::<Vec<_>>(), ["decode", "model"]);
        assert_eq!(chosen(all.clone(), Some("model")).unwrap(), all[1..]);
        let error = chosen(all, Some("modle")).unwrap_err().to_string();
        assert!(error.contains("modle") && error.contains("decode, model"), "{error}");
    }

    #[test]
    fn a_fuzz_folder_without_a_smoke_test_is_an_error() {
        let fixture = checkout(&[("crates/a/fuzz/Cargo.toml", "")]);
        let error = targets(&fixture.tree).unwrap_err().to_string();
        assert!(error.contains("crates/a/tests/fuzz_smoke.rs"), "{error}");
    }
}
