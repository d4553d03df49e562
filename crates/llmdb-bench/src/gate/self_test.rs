//! The gate on trial: the same build against itself must pass every time, and every planted slowdown must be
//! caught every time.
//!
//! Invariants
//! 1. Each trial is a gate of its own, with counts and times measured anew.
//! 2. A plant counts as caught only where the very count fails that it raises.

use super::Error;
use super::clock;
use super::compare::Comparison;
use super::operations::OPERATIONS;
use super::plant::Plant;
use super::program::Program;
use super::valgrind;
use std::path::Path;

/// How a trial runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How often each trial is done.
    pub times: u32,
    /// Rounds of wall clock in each gate.
    pub rounds: u32,
    /// Whether instructions are counted.
    pub with_instructions: bool,
}

/// Puts the gate on trial; `false` where a gate gave the wrong answer.
///
/// # Errors
/// [`Error::ValgrindMissing`], [`Error::Program`], [`Error::Malformed`].
pub fn run(
    program: &Path,
    folder: &Path,
    options: Options,
    say: &mut dyn FnMut(String),
) -> Result<bool, Error> {
    if options.with_instructions && !valgrind::is_here() {
        return Err(Error::ValgrindMissing);
    }
    let mut all_right = same(program, folder, options, say)?;
    for plant in Plant::ALL {
        if !options.with_instructions && plant.count() == super::counts::INSTRUCTIONS {
            say(format!("{}: left out, only instructions show it", plant.name()));
            continue;
        }
        all_right &= planted(program, folder, options, plant, say)?;
    }
    Ok(all_right)
}

/// The same build against itself, all operations: every gate must pass.
fn same(program: &Path, folder: &Path, options: Options, say: &mut dyn FnMut(String)) -> Result<bool, Error> {
    let base = Program::prepare(program, &folder.join("base"), &[], None)?;
    let new = Program::prepare(program, &folder.join("new"), &[], None)?;
    let mut right = 0;
    for time in 1..=options.times {
        let failures = gate(&base, &new, options)?.failures();
        let passed = failures.is_empty();
        right += u32::from(passed);
        let outcome = if passed { "passed".to_owned() } else { format!("FAILED: {}", failures.join(", ")) };
        say(format!("same build, gate {time} of {}: {outcome}", options.times));
    }
    say(format!("same build: {right} of {} passed, {} operations each", options.times, OPERATIONS.len()));
    Ok(right == options.times)
}

/// A build against itself with a slowdown: every gate must name the count that rose.
fn planted(
    program: &Path,
    folder: &Path,
    options: Options,
    plant: Plant,
    say: &mut dyn FnMut(String),
) -> Result<bool, Error> {
    let operations = [plant.operation().to_owned()];
    let base = Program::prepare(program, &folder.join("base"), &operations, None)?;
    let new = Program::prepare(program, &folder.join("new"), &operations, Some(plant))?;
    let wanted = format!("{}/{}", plant.operation(), plant.count());
    let mut right = 0;
    for time in 1..=options.times {
        let failures = gate(&base, &new, Options { rounds: 0, ..options })?.failures();
        let caught = failures.contains(&wanted);
        right += u32::from(caught);
        let outcome = if caught { "caught" } else { "MISSED" };
        say(format!(
            "{}, gate {time} of {}: {outcome} ({})",
            plant.name(),
            options.times,
            failures.join(", ")
        ));
    }
    say(format!("{}: {right} of {} caught by {wanted}", plant.name(), options.times));
    Ok(right == options.times)
}

fn gate(base: &Program, new: &Program, options: Options) -> Result<Comparison, Error> {
    let base_counts = base.counts(options.with_instructions)?;
    let new_counts = new.counts(options.with_instructions)?;
    let clocks = clock::compare(base, new, options.rounds, &mut |_, _| {})?;
    Ok(Comparison::new(("base", &base_counts), ("new", &new_counts), clocks, ""))
}
