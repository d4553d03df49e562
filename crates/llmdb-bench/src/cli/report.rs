//! `llmdb-bench report`.

use clap::Args;
use llmdb_bench::Result;
use llmdb_bench::report::{folder, terminal};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// What `run --json` wrote, or a folder with a result.json.
    result: PathBuf,
    /// Also write result.json, latency.hlog, report.html and summary.md into a new folder DATE-COMMIT of this
    /// one, compared with the newest earlier run there.
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

pub(super) fn run(arguments: &ReportArguments) -> Result<ExitCode> {
    let report = folder::read(&arguments.result)?;
    print!("{}", terminal::render(&report));
    if let Some(results) = &arguments.into {
        let folder = folder::write(&report, results)?;
        println!("\nwrote {}", folder.display());
    }
    Ok(ExitCode::SUCCESS)
}
