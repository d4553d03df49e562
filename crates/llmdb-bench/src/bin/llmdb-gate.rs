//! `llmdb-gate`: counts what a fixed set of operations costs, and compares two builds.
//!
//! `cargo xtask bench ci` builds it twice, from a change and from its base, and lets the change's compare both.
//! The commands `protocol`, `prepare`, `counts` and `times` are what one build asks of another.

use clap::{Args, Parser, Subcommand};
use llmdb_bench::gate::counts::{GateCounts, INSTRUCTIONS, PROTOCOL, Times};
use llmdb_bench::gate::image::Image;
use llmdb_bench::gate::measure::{self, Allocated, Place};
use llmdb_bench::gate::operations::{self, OPERATIONS, Operation};
use llmdb_bench::gate::plant::Plant;
use llmdb_bench::gate::program::Program;
use llmdb_bench::gate::{Error, compare::Comparison, valgrind};
use llmdb_bench::gate::{clock, comment, self_test};
use serde::Serialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Parser)]
#[command(about = "Counts what a fixed set of operations costs, and compares two builds")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the operations
    Operations,
    /// Prints which questions this program answers
    Protocol,
    /// Makes the databases that the operations work on
    Prepare {
        /// Folder for them; what is there is replaced
        #[arg(long)]
        image: PathBuf,
    },
    /// Prints the counts of each operation as JSON
    Counts {
        #[command(flatten)]
        what: What,
        /// Count everything but instructions, which need valgrind
        #[arg(long)]
        without_instructions: bool,
    },
    /// Prints the nanoseconds of each operation as JSON
    Times {
        #[command(flatten)]
        what: What,
    },
    /// Does the counted rounds of one operation, for valgrind to look on
    Run {
        /// The operation
        operation: String,
        /// Folder that `prepare` filled
        #[arg(long)]
        image: PathBuf,
    },
    /// Compares a base's program with another; exit code 1 if something became worse
    Compare(Compare),
    /// Shows that the gate holds: N times the same build against itself, and against each planted slowdown
    SelfTest {
        /// How often
        #[arg(default_value_t = 20)]
        times: u32,
        /// Folder for databases
        #[arg(long)]
        folder: PathBuf,
        /// Rounds of wall clock in each gate
        #[arg(long, default_value_t = 10)]
        rounds: u32,
        /// Leave out instructions, and the plants that only they show
        #[arg(long)]
        without_instructions: bool,
    },
}

#[derive(Args)]
struct What {
    /// Folder that `prepare` filled
    #[arg(long)]
    image: PathBuf,
    /// Only these operations
    #[arg(long = "operation")]
    operations: Vec<String>,
}

#[derive(Args)]
struct Compare {
    /// The base's llmdb-gate
    #[arg(long)]
    base: PathBuf,
    /// The llmdb-gate to judge; this one unless told
    #[arg(long)]
    new: Option<PathBuf>,
    /// What to call the base
    #[arg(long, default_value = "base")]
    base_name: String,
    /// What to call the new build
    #[arg(long, default_value = "new")]
    new_name: String,
    /// Folder for databases
    #[arg(long)]
    folder: PathBuf,
    /// File with the commit messages between both
    #[arg(long)]
    messages: Option<PathBuf>,
    /// Where to write the Markdown
    #[arg(long)]
    comment: Option<PathBuf>,
    /// Where to write the outcome as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Rounds of wall clock; 0 leaves it out
    #[arg(long, default_value_t = 15)]
    rounds: u32,
    /// Leave out instructions, which need valgrind
    #[arg(long)]
    without_instructions: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", error.code());
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool, Error> {
    match command {
        Command::Operations => {
            OPERATIONS.iter().for_each(|operation| println!("{:<16} {}", operation.name, operation.what));
        }
        Command::Protocol => print_json(&PROTOCOL)?,
        Command::Prepare { image } => drop(Image::make(&image)?),
        Command::Counts { what, without_instructions } => print_json(&counts(&what, without_instructions)?)?,
        Command::Times { what } => print_json(&times(&what)?)?,
        Command::Run { operation, image } => {
            let work = Work::beside(&image, &operation)?;
            let image = Image::at(&image);
            let place = Place { image: &image, work: &work.0, plant: Plant::from_environment()? };
            measure::run_counted(operations::named(&operation)?, place)?;
        }
        Command::Compare(arguments) => return compare(&arguments),
        Command::SelfTest { times, folder, rounds, without_instructions } => {
            let program = this_program()?;
            let options = self_test::Options { times, rounds, with_instructions: !without_instructions };
            return self_test::run(&program, &folder, options, &mut |line| println!("{line}"));
        }
    }
    Ok(true)
}

fn counts(what: &What, without_instructions: bool) -> Result<GateCounts, Error> {
    let plant = Plant::from_environment()?;
    let mut all = GateCounts::new();
    for operation in chosen(what)? {
        let work = Work::beside(&what.image, "counts")?;
        let image = Image::at(&what.image);
        let place = Place { image: &image, work: &work.0, plant };
        let mut counts = measure::count(operation, place, allocated)?;
        if !without_instructions {
            let program = this_program()?;
            let count = valgrind::instructions(&program, operation, &what.image, &work.0, plant)?;
            counts.insert(INSTRUCTIONS.to_owned(), count);
        }
        all.operations.insert(operation.name.to_owned(), counts);
    }
    Ok(all)
}

fn times(what: &What) -> Result<Times, Error> {
    let plant = Plant::from_environment()?;
    let mut times = Times::new();
    for operation in chosen(what)? {
        let work = Work::beside(&what.image, "times")?;
        let image = Image::at(&what.image);
        let time = measure::time(operation, Place { image: &image, work: &work.0, plant })?;
        times.insert(operation.name.to_owned(), time);
    }
    Ok(times)
}

fn compare(arguments: &Compare) -> Result<bool, Error> {
    let with_instructions = !arguments.without_instructions;
    if with_instructions && !valgrind::is_here() {
        return Err(Error::ValgrindMissing);
    }
    let new = match &arguments.new {
        Some(path) => path.clone(),
        None => this_program()?,
    };
    println!("making the databases of both builds");
    let base = match Program::prepare(&arguments.base, &arguments.folder.join("base"), &[], None) {
        Err(error @ Error::Protocol { .. }) => return nothing_compared(arguments, &error),
        other => other?,
    };
    let new = Program::prepare(&new, &arguments.folder.join("new"), &[], None)?;
    println!("counting {} operations of each build", OPERATIONS.len());
    let (base_counts, new_counts) = (base.counts(with_instructions)?, new.counts(with_instructions)?);
    let clocks = clock::compare(&base, &new, arguments.rounds, &mut |what, round| {
        println!("{what}, round {} of {}", round + 1, arguments.rounds);
    })?;
    let messages = match &arguments.messages {
        Some(path) => fs::read_to_string(path).map_err(Error::io("reading", path))?,
        None => String::new(),
    };
    let comparison = Comparison::new(
        (&arguments.base_name, &base_counts),
        (&arguments.new_name, &new_counts),
        clocks,
        &messages,
    );
    tell(arguments, &comparison)?;
    Ok(comparison.passes())
}

/// A base of another protocol is no regression.
fn nothing_compared(arguments: &Compare, error: &Error) -> Result<bool, Error> {
    let text = comment::nothing_compared(&error.to_string());
    println!("\n{text}");
    if let Some(path) = &arguments.comment {
        write(path, &text)?;
    }
    Ok(true)
}

fn tell(arguments: &Compare, comparison: &Comparison) -> Result<(), Error> {
    let text = comment::markdown(comparison);
    println!("\n{text}");
    if let Some(path) = &arguments.comment {
        write(path, &text)?;
    }
    if let Some(path) = &arguments.json {
        write(path, &json(comparison)?)?;
    }
    Ok(())
}

fn chosen(what: &What) -> Result<Vec<&'static Operation>, Error> {
    if what.operations.is_empty() {
        return Ok(OPERATIONS.iter().collect());
    }
    what.operations.iter().map(|name| operations::named(name)).collect()
}

/// A folder for copies, beside the image so that it lies on the same device; removed when dropped.
struct Work(PathBuf);

impl Work {
    fn beside(image: &Path, name: &str) -> Result<Self, Error> {
        let folder = image.with_extension(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(Error::io("creating", &folder))?;
        Ok(Self(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // A leftover costs a few megabytes below the build folder, nothing else.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn allocated() -> Allocated {
    let stats = ALLOCATOR.stats();
    Allocated { calls: (stats.allocations + stats.reallocations) as u64, bytes: stats.bytes_allocated as u64 }
}

fn this_program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(Error::io("finding", Path::new("this program")))
}

fn print_json(value: &impl Serialize) -> Result<(), Error> {
    println!("{}", json(value)?);
    Ok(())
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::Malformed { origin: "the outcome".into(), what: error.to_string() })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io("creating", folder))?;
    }
    fs::write(path, text).map_err(Error::io("writing", path))
}
