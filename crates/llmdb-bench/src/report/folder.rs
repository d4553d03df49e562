//! The folder of a run: raw JSON, HDR log, HTML page and Markdown summary.
//!
//! Invariants
//! 1. No earlier run's folder is written to.
//!
//! Not here: where the folders lie (`cargo xtask bench full` says bench-results).

use super::compare::{RESULT_FILE, newest_earlier};
use super::{html, latency, markdown};
use crate::error::{Error, Result};
use crate::results::RunReport;
use std::fs;
use std::path::{Path, PathBuf};

/// Characters of a commit in a folder's name.
const COMMIT_SIZE: usize = 12;

/// Writes every form of a report into a new folder DATE-COMMIT of `results`, and compares it with the newest
/// earlier run there. Returns the folder.
///
/// # Errors
/// [`Error::Io`].
pub fn write(report: &RunReport, results: &Path) -> Result<PathBuf> {
    let folder = free_folder(report, results);
    fs::create_dir_all(&folder).map_err(|e| Error::io(format!("creating {}", folder.display()), e))?;
    let earlier = newest_earlier(report, results);
    let json = serde_json::to_string_pretty(report)
        .map_err(|e| Error::io("writing the result as JSON", e.into()))?;
    let page = html::render(report, earlier.as_ref())
        .map_err(|e| Error::io("filling the page", std::io::Error::other(e)))?;
    write_file(&folder.join(RESULT_FILE), &json)?;
    write_file(&folder.join("latency.hlog"), &latency::interval_log(report))?;
    write_file(&folder.join("report.html"), &page)?;
    write_file(&folder.join("summary.md"), &markdown::render(report, earlier.as_ref()))?;
    Ok(folder)
}

/// DATE-COMMIT, with a number behind it where that is taken.
fn free_folder(report: &RunReport, results: &Path) -> PathBuf {
    let safe = |text: &str, size: usize| -> String {
        text.chars().take(size).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    };
    let dirty = if report.dirty { "-dirty" } else { "" };
    let name =
        format!("{}-{}{dirty}", safe(&report.date, "2026-01-31".len()), safe(&report.commit, COMMIT_SIZE));
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .map(|name| results.join(name))
        .find(|folder| !folder.exists())
        .unwrap_or_else(|| results.join(&name))
}

/// Reads the run that a file or a folder of results holds.
///
/// # Errors
/// [`Error::Io`], also where it is no run.
pub fn read(path: &Path) -> Result<RunReport> {
    let path = if path.is_dir() { path.join(RESULT_FILE) } else { path.to_owned() };
    let doing = || format!("reading {}", path.display());
    let text = fs::read(&path).map_err(|e| Error::io(doing(), e))?;
    serde_json::from_slice(&text).map_err(|e| Error::io(doing(), e.into()))
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| Error::io(format!("writing {}", path.display()), e))
}
