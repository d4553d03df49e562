//! The benchmarks of LLMDB: `llmdb-bench list | run | report | ycsb | probe`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
