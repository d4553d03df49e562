//! The commands of `llmdb-bench`, one file each.
//!
//! Exit codes: 0 = all stands, 1 = a benchmark failed its checks, 2 = wrong use or an error before the work,
//! 130 = interrupted.

mod list;
mod probe;
mod report;
mod run;
mod ycsb;

use clap::{Parser, Subcommand};
use llmdb_bench::{Error, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// What prints every figure that LLMDB claims.
#[derive(Debug, Parser)]
#[command(name = "llmdb-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Names workloads and engines, with what they do and their settings.
    List,
    /// Runs workloads on engines, checks every answer and writes the results as JSON.
    Run(Box<run::RunArguments>),
    /// Writes the operations of a YCSB workload as lines of JSON.
    Ycsb(ycsb::YcsbArguments),
    /// Shows the results of a run, and writes its page and summary.
    Report(report::ReportArguments),
    /// Measures the storage without any engine.
    Probe(probe::ProbeArguments),
    /// Does the work of a process that a workload starts.
    #[command(hide = true)]
    Child(llmdb_bench::workload::child::ChildArguments),
}

/// Runs the command that was given.
pub(crate) fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::List => list::run(),
        Command::Run(arguments) => run::run(*arguments),
        Command::Ycsb(arguments) => ycsb::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Probe(arguments) => probe::run(&arguments),
        Command::Child(arguments) => {
            llmdb_bench::workload::child::run(&arguments).map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("llmdb-bench: {error} [{}]", error.code());
        ExitCode::from(if matches!(error, Error::Interrupted) { 130 } else { 2 })
    })
}

/// The folder for data: the one that was named, or the system's for temporary files.
fn folder_or_default(folder: Option<PathBuf>) -> PathBuf {
    folder.unwrap_or_else(std::env::temp_dir)
}

/// Ends with an error of the benchmark's own files.
fn io<T>(doing: &str, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|error| Error::io(doing, error))
}
