//! `llmdb-bench report`, and the same at the end of `llmdb-bench run`.

use clap::Args;
use llmdb_bench::Result;
use llmdb_bench::report::{folder, terminal};
use llmdb_bench::results::RunReport;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// What `run --json` wrote, or a folder with a result.json.
    result: PathBuf,
    #[command(flatten)]
    shown: Shown,
}

/// What is shown of a run and written about it.
#[derive(Clone, Debug, Args)]
pub(super) struct Shown {
    /// Show figures, histograms, throughput over time and the table of targets.
    #[arg(long)]
    report: bool,
    /// Write result.json, latency.hlog, report.html and summary.md into a new folder DATE-COMMIT of this one,
    /// compared with the newest earlier run there.
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

impl Shown {
    /// Shows and writes what was asked for; returns whether anything was shown.
    pub(super) fn show(&self, report: &RunReport) -> Result<bool> {
        if self.report {
            print!("{}", terminal::render(report));
        }
        if let Some(results) = &self.into {
            let folder = folder::write(report, results)?;
            println!("\nwrote {}", folder.display());
        }
        Ok(self.report)
    }
}

pub(super) fn run(arguments: &ReportArguments) -> Result<ExitCode> {
    let report = folder::read(&arguments.result)?;
    Shown { report: true, ..arguments.shown.clone() }.show(&report)?;
    Ok(ExitCode::SUCCESS)
}
