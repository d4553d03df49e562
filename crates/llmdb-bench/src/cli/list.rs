//! `llmdb-bench list`.

use super::io;
use llmdb_bench::results::Durability;
use llmdb_bench::{Result, engine, workload};
use std::io::Write as _;
use std::process::ExitCode;

pub(super) fn run() -> Result<ExitCode> {
    let mut text = String::from("Workloads (suite / name)\n");
    for workload in workload::registry() {
        text += &format!("  {} / {}: {}\n", workload.suite(), workload.name(), workload.about());
    }
    text += "\nEngines of this build\n";
    for kind in engine::all() {
        text += &format!("  {} {}\n", kind.name(), kind.version());
        for durability in Durability::ALL.into_iter().filter(|&durability| kind.offers(durability)) {
            text += &format!("      {}: {}\n", durability.name(), kind.settings(durability));
        }
    }
    io("printing", std::io::stdout().write_all(text.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}
