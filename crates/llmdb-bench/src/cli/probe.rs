//! `llmdb-bench probe`.

use super::{folder_or_default, io};
use clap::Args;
use llmdb_bench::Result;
use llmdb_bench::probe::{ProbeSize, probe};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub(crate) struct ProbeArguments {
    /// The folder whose storage is measured; the system's for temporary files, if none.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Megabytes of the file that is written.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    megabytes: u64,
    /// Seconds for each part.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ProbeArguments) -> Result<ExitCode> {
    let size =
        ProbeSize { file_bytes: arguments.megabytes << 20, time: Duration::from_secs(arguments.seconds) };
    let found = probe(&folder_or_default(arguments.dir.clone()), size)?;
    let text = if arguments.json {
        format!("{}\n", serde_json::json!(found))
    } else {
        format!(
            "4 KiB overwrite + fdatasync: p50 {:.1} us, p99 {:.1} us\n\
             sequential write + fdatasync: {:.0} MB/s\n\
             4 KiB read, not cached: p50 {:.1} us, p99 {:.1} us\n",
            found.overwrite_sync_us_p50,
            found.overwrite_sync_us_p99,
            found.sequential_sync_mb_s,
            found.cold_read_us_p50,
            found.cold_read_us_p99
        )
    };
    io("printing", std::io::stdout().write_all(text.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}
