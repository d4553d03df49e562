//! `llmdb-bench ycsb`.

use super::io;
use clap::Args;
use llmdb_bench::Result;
use llmdb_bench::ycsb::core::Mix;
use llmdb_bench::ycsb::trace;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `ycsb`.
#[derive(Debug, Args)]
pub(crate) struct YcsbArguments {
    /// The workload: a, b, c, d, e or f.
    #[arg(long, default_value = "a")]
    workload: String,
    /// Records at the beginning.
    #[arg(long, default_value_t = 1_000)]
    records: u64,
    /// Operations.
    #[arg(long, default_value_t = 1_000)]
    operations: u64,
    /// The seed of all choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the lines of JSON go; "-" = standard output.
    #[arg(long)]
    trace: PathBuf,
}

pub(super) fn run(arguments: &YcsbArguments) -> Result<ExitCode> {
    let mix = Mix::of(&arguments.workload)?;
    let mut out: BufWriter<Box<dyn std::io::Write>> = BufWriter::new(if arguments.trace.as_os_str() == "-" {
        Box::new(std::io::stdout())
    } else {
        Box::new(io(&format!("making {}", arguments.trace.display()), File::create(&arguments.trace))?)
    });
    trace::write(&mut out, mix, arguments.records, arguments.operations, arguments.seed)?;
    io("writing the trace", out.flush())?;
    Ok(ExitCode::SUCCESS)
}
