//! Running other programs, with what they print in sight.
//!
//! Invariants
//! 1. A program that is run for its effect is announced (`+ cargo ...`) before it starts, so that a log says
//!    what to type to see the same thing again.
//! 2. A program's standard input is empty: nothing here may wait for a person.
//!
//! Not here: which programs are run, and in which order (`ci`, `fuzz`, `miri`, `soak`).

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Failed, Result};

/// `cargo` in the checkout's root. Taken from `PATH`, not from `$CARGO`: only rustup's front end understands
/// `+nightly`.
pub(crate) fn cargo<I, S>(root: &Path, arguments: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new("cargo");
    command.current_dir(root).args(arguments);
    command
}

/// Runs a command that prints for itself.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = announce(command);
    let status = command.stdin(Stdio::null()).status().map_err(|error| cannot_start(&shown, &error))?;
    if status.success() { Ok(()) } else { Err(Failed::new(format!("`{shown}` ended with {status}"))) }
}

/// Runs test binaries: passes on what they print and adds up their closing lines.
pub(crate) fn run_tests(command: &mut Command) -> Result<TestTotals> {
    announce(command);
    run_tests_to(command, &mut std::io::stdout())
}

fn run_tests_to(command: &mut Command, to: &mut impl Write) -> Result<TestTotals> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(&shown, &error))?;
    let mut totals = TestTotals::default();
    if let Some(stdout) = child.stdout.take() {
        totals = pass_on(BufReader::new(stdout), to)
            .map_err(|error| Failed::new(format!("cannot read what `{shown}` prints: {error}")))?;
    }
    let status = child.wait().map_err(|error| cannot_start(&shown, &error))?;
    if status.success() {
        Ok(totals)
    } else {
        Err(Failed::new(format!("`{shown}` ended with {status} after {totals}")))
    }
}

/// Whether a command can be started and succeeds; it prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What a command prints on its standard output; its errors stay on the screen.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| cannot_start(&shown, &error))?;
    if !output.status.success() {
        return Err(Failed::new(format!("`{shown}` ended with {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The sum of the lines `test result: ...` that test binaries end with.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TestTotals {
    /// Test binaries and doc test runs that printed a closing line.
    pub(crate) runs: u64,
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests that were not run because they are marked so.
    pub(crate) ignored: u64,
}

impl TestTotals {
    /// Adds one line of a runner's output; lines that are no closing line count for nothing.
    fn add_line(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        self.runs += 1;
        for part in counts.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for TestTotals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runs, passed, failed, ignored } = self;
        write!(f, "{passed} passed, {failed} failed, {ignored} ignored in {runs} test runs")
    }
}

/// Copies lines as bytes (a test may print anything), adding up the closing ones.
fn pass_on(mut from: impl BufRead, to: &mut impl Write) -> std::io::Result<TestTotals> {
    let mut totals = TestTotals::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        totals.add_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(totals)
}

fn announce(command: &Command) -> String {
    let shown = shown(command);
    println!("+ {shown}");
    shown
}

fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={:?}", name.to_string_lossy(), value.to_string_lossy()));
        }
    }
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

fn cannot_start(shown: &str, error: &std::io::Error) -> Failed {
    Failed::new(format!("cannot run `{shown}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up_and_all_output_is_passed_on() {
        let printed = b"running 3 tests\n\xff\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.01s\n\
            test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 7.00s";
        let mut seen = Vec::new();
        let totals = pass_on(&printed[..], &mut seen).unwrap();
        assert_eq!(totals, TestTotals { runs: 2, passed: 7, failed: 2, ignored: 1 });
        assert_eq!(seen, printed);
    }

    #[test]
    fn a_program_that_fails_is_named_with_its_arguments_and_status() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.contains("`sh -c exit 3`") && error.contains('3'), "{error}");
        assert!(run(Command::new("sh").args(["-c", "exit 0"])).is_ok());
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = run(&mut Command::new("no-such-program-here")).unwrap_err().to_string();
        assert!(error.contains("cannot run `no-such-program-here`"), "{error}");
        assert!(!succeeds(&mut Command::new("no-such-program-here")));
    }

    #[test]
    fn test_totals_survive_a_failing_runner() {
        let script = "echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured'; exit 101";
        let error = run_tests_to(Command::new("sh").args(["-c", script]), &mut Vec::new()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("1 passed, 1 failed"), "{error}");
    }
}
