//! `cargo xtask ci`: everything that must hold before a change is kept, one step after the other.
//!
//! Invariants
//! 1. The first step that fails ends the run, and the last lines name it.
//! 2. A step that was skipped says so, and why, in the summary.
//! 3. README's two commands run as they are printed there; what the demo leaves behind is removed again, and
//!    nothing that was there before is touched.
//!
//! Not here: installing toolchains (`.ci/run`).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::failure::{Failed, Result};
use crate::{fuzz, miri, readme, shell, tidy};

/// What `cargo xtask ci --help` prints, before the list of steps.
const HELP: &str = "\
Runs the checks below in this order, prints the time of each, and stops at the first that fails.

Usage: cargo xtask ci [STEP..]

  STEP  only these steps

Steps
";

/// Longest time that a whole run should take on two cores.
const BUDGET: Duration = Duration::from_secs(45 * 60);

/// What the demo leaves in the folder it runs in.
const DEMO_FILE: &str = "demo.llmdb";
const DEMO_COMPANIONS: &[&str] = &["demo.llmdb-wal", "demo.llmdb-lock"];

/// The summary's word for a step that did not run.
const SKIPPED: &str = "SKIPPED";

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Path) -> Result<Outcome>,
}

/// How a step ended that did not fail, with a note for the summary.
enum Outcome {
    Passed(String),
    Skipped(String),
}

const STEPS: &[Step] = &[
    Step { name: "fmt", what: "the code is formatted", run: fmt },
    Step {
        name: "clippy",
        what: "no warning from the compiler or clippy, tests and benches included",
        run: clippy,
    },
    Step { name: "tidy", what: "the house rules (cargo xtask tidy)", run: tidy_step },
    Step { name: "test", what: "all tests, doc tests included, by README's command", run: test },
    Step {
        name: "fuzz-smoke",
        what: "fuzz targets with seeded input (cargo xtask fuzz --smoke)",
        run: fuzz_smoke,
    },
    Step { name: "doc", what: "the API documentation builds without a warning", run: doc },
    Step { name: "miri", what: "unsafe code under Miri (cargo xtask miri)", run: miri_step },
    Step { name: "demo", what: "the demo, by README's command", run: demo },
    Step { name: "deny", what: "licences and advisories, where cargo-deny is installed", run: deny },
];

/// What `cargo xtask ci --help` prints.
pub(crate) fn help() -> String {
    let steps: String = STEPS.iter().map(|step| format!("  {:<11} {}\n", step.name, step.what)).collect();
    format!("{HELP}{steps}")
}

/// Runs all steps, or those that are named.
pub(crate) fn run(root: &Path, names: &[String]) -> Result<String> {
    let steps = chosen(STEPS, names)?;
    let start = Instant::now();
    let mut summary = Vec::new();
    let result = steps.iter().try_for_each(|step| run_step(root, step, &mut summary));
    println!("\n== summary");
    summary.iter().for_each(|line| println!("{line}"));
    let total = start.elapsed();
    if total > BUDGET {
        println!("slower than the budget of {} minutes: make it faster", BUDGET.as_secs() / 60);
    }
    let skipped = summary.iter().filter(|line| line.contains(SKIPPED)).count();
    result.map(|()| format!("{} passed, {skipped} skipped, in {}", steps.len() - skipped, shown(total)))
}

fn run_step(root: &Path, step: &Step, summary: &mut Vec<String>) -> Result<()> {
    println!("\n== {}: {}", step.name, step.what);
    let start = Instant::now();
    let outcome = (step.run)(root);
    let time = shown(start.elapsed());
    let (word, note) = match &outcome {
        Ok(Outcome::Passed(note)) => ("ok", note.clone()),
        Ok(Outcome::Skipped(note)) => (SKIPPED, note.clone()),
        Err(error) => ("FAILED", error.to_string()),
    };
    println!("== {}: {word} after {time}", step.name);
    summary.push(format!("{:<11} {word:<7} {time:>12}  {note}", step.name).trim_end().to_owned());
    match outcome {
        Ok(_) => Ok(()),
        Err(error) => Err(Failed::new(format!("ci failed at step `{}`: {error}", step.name))),
    }
}

fn chosen<'a>(steps: &'a [Step], names: &[String]) -> Result<Vec<&'a Step>> {
    if let Some(unknown) = names.iter().find(|name| steps.iter().all(|step| step.name != **name)) {
        return Err(Failed::new(format!("ci has no step `{unknown}`: see cargo xtask ci --help")));
    }
    Ok(steps.iter().filter(|step| names.is_empty() || names.iter().any(|name| name == step.name)).collect())
}

fn shown(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

fn passed(command: &mut Command) -> Result<Outcome> {
    shell::run(command).map(|()| Outcome::Passed(String::new()))
}

fn fmt(root: &Path) -> Result<Outcome> {
    passed(&mut shell::cargo(root, ["fmt", "--all", "--check"]))
}

fn clippy(root: &Path) -> Result<Outcome> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    passed(&mut shell::cargo(root, arguments))
}

fn tidy_step(root: &Path) -> Result<Outcome> {
    tidy::run(root).map(Outcome::Passed)
}

fn test(root: &Path) -> Result<Outcome> {
    let command = readme::test_command(root)?;
    let totals = shell::run_tests(&mut as_printed(root, &command))?;
    if totals.passed == 0 {
        return Err(Failed::new(format!("`{command}` ran no test")));
    }
    Ok(Outcome::Passed(totals.to_string()))
}

fn fuzz_smoke(root: &Path) -> Result<Outcome> {
    fuzz::run(root, &["--smoke".to_owned()]).map(Outcome::Passed)
}

fn doc(root: &Path) -> Result<Outcome> {
    let mut command = shell::cargo(root, ["doc", "--no-deps", "--workspace", "--locked"]);
    passed(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn miri_step(root: &Path) -> Result<Outcome> {
    Ok(match miri::run(root)? {
        miri::Outcome::Passed(note) => Outcome::Passed(note),
        miri::Outcome::Missing(note) => Outcome::Skipped(note),
    })
}

fn demo(root: &Path) -> Result<Outcome> {
    run_demo(root, &readme::demo_command(root)?)
}

fn run_demo(root: &Path, command: &str) -> Result<Outcome> {
    let files = || [DEMO_FILE].iter().chain(DEMO_COMPANIONS).map(|name| root.join(name));
    if let Some(there) = files().find(|path| path.exists()) {
        let path = there.display();
        return Err(Failed::new(format!(
            "{path} is here already, and ci removes only what it made: move it away"
        )));
    }
    let ran = passed(&mut as_printed(root, command));
    let made = root.join(DEMO_FILE).exists();
    for path in files().filter(|path| path.exists()) {
        std::fs::remove_file(&path).map_err(|error| Failed::io("remove", &path, &error))?;
    }
    let outcome = ran?;
    if made { Ok(outcome) } else { Err(Failed::new(format!("`{command}` made no ./{DEMO_FILE}"))) }
}

fn deny(root: &Path) -> Result<Outcome> {
    if !shell::succeeds(&mut shell::cargo(root, ["deny", "--version"])) {
        return Ok(Outcome::Skipped("cargo-deny is not installed".to_owned()));
    }
    passed(&mut shell::cargo(root, ["deny", "check"]))
}

/// A line of README, run by a shell in the checkout's root as a reader would.
fn as_printed(root: &Path, line: &str) -> Command {
    let mut command = Command::new("sh");
    command.current_dir(root).args(["-c", line]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixture::checkout;

    const GOOD: Step = Step { name: "good", what: "", run: |_| Ok(Outcome::Passed("fine".into())) };
    const BAD: Step = Step { name: "bad", what: "", run: |_| Err(Failed::new("broken")) };

    #[test]
    fn a_failing_step_is_named_with_its_reason_and_stands_in_the_summary() {
        let mut summary = Vec::new();
        run_step(Path::new("."), &GOOD, &mut summary).unwrap();
        let error = run_step(Path::new("."), &BAD, &mut summary).unwrap_err().to_string();
        assert_eq!(error, "ci failed at step `bad`: broken");
        assert!(summary[0].contains("ok") && summary[0].ends_with("fine"), "{summary:?}");
        assert!(summary[1].contains("FAILED") && summary[1].ends_with("broken"), "{summary:?}");
    }

    #[test]
    fn steps_are_chosen_by_name_in_their_own_order() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let chosen_names = |wanted: &[&str]| -> Vec<_> {
            chosen(STEPS, &names(wanted)).unwrap().iter().map(|step| step.name).collect()
        };
        assert_eq!(chosen_names(&["test", "fmt"]), ["fmt", "test"]);
        assert_eq!(chosen_names(&[]).len(), STEPS.len());
        let error = chosen(STEPS, &names(&["tset"])).err().unwrap().to_string();
        assert!(error.contains("`tset`"), "{error}");
    }

    #[test]
    fn what_the_demo_made_is_removed_also_when_it_fails() {
        for (command, works) in [
            ("touch demo.llmdb demo.llmdb-lock", true),
            ("touch demo.llmdb demo.llmdb-wal; exit 1", false),
            ("true", false),
        ] {
            let fixture = checkout(&[("keep.txt", "")]);
            assert_eq!(run_demo(fixture.tree.root(), command).is_ok(), works, "{command}");
            let left: Vec<_> = std::fs::read_dir(fixture.tree.root()).unwrap().flatten().collect();
            assert_eq!(left.len(), 1, "{command}: {left:?}");
        }
    }

    #[test]
    fn a_demo_file_that_was_there_before_is_left_alone() {
        for name in [DEMO_FILE, "demo.llmdb-wal"] {
            let fixture = checkout(&[(name, "mine")]);
            let error = run_demo(fixture.tree.root(), "rm demo.*").err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
            assert_eq!(fixture.tree.text(name).unwrap(), "mine");
        }
    }

    #[test]
    fn times_are_shown_in_the_unit_that_suits() {
        assert_eq!(shown(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(shown(Duration::from_secs(125)), "2 min 5 s");
    }
}
