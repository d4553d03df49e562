//! Instructions, counted by valgrind's callgrind.
//!
//! Invariants
//! 1. Counting begins and ends with the function that holds the measured rounds, so starting the program,
//!    copying databases and warming up are not in it.
//! 2. Only instructions of the process count; what the kernel does for it does not.

use super::Error;
use super::operations::Operation;
use super::plant::{self, Plant};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The function whose inside is counted (`measure`), as callgrind's pattern.
const MEASURED: &str = "*llmdb_gate_measured*";

/// Whether valgrind can be started.
pub fn is_here() -> bool {
    let status =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Instructions of one round: runs `program run OPERATION` under callgrind.
///
/// # Errors
/// [`Error::ValgrindMissing`], [`Error::Program`], [`Error::Malformed`].
pub fn instructions(
    program: &Path,
    operation: &Operation,
    image: &Path,
    work: &Path,
    plant: Option<Plant>,
) -> Result<f64, Error> {
    if !is_here() {
        return Err(Error::ValgrindMissing);
    }
    let out = work.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect={MEASURED}"));
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(program).args(["run", operation.name, "--image"]).arg(image);
    command.env(plant::VARIABLE, plant.map_or("", Plant::name)).stdin(Stdio::null());
    super::program::output(&mut command)?;
    let text = fs::read_to_string(&out).map_err(Error::io("reading", &out))?;
    let total = total(&text).filter(|total| *total > 0).ok_or_else(|| Error::Malformed {
        origin: out.display().to_string(),
        what: format!("it counted nothing inside {MEASURED}"),
    })?;
    Ok(total as f64 / operation.counted_rounds as f64)
}

/// The sum in callgrind's file.
fn total(text: &str) -> Option<u64> {
    let mut sums = text.lines().filter_map(|line| {
        line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:"))?.trim().parse().ok()
    });
    sums.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_read_from_callgrinds_file() {
        assert_eq!(total("version: 1\nevents: Ir\nfn=(1) a\n1 5\n\ntotals: 12345\n"), Some(12345));
        assert_eq!(total("summary: 7\n"), Some(7));
        assert_eq!(total("events: Ir\n"), None);
    }
}
