//! Loads the statements, one transaction for each release.

use std::path::Path;
use std::time::{Duration, Instant};

use llmdb::Database;
use llmdb::lines::{Times, apply};

use super::data;
use crate::commands::open;
use crate::exit::Failure;
use crate::progress::Progress;

/// The loaded database.
pub(crate) struct Loaded {
    pub(crate) db: Database,
    pub(crate) commits: u64,
    pub(crate) time: Duration,
}

/// Makes the file at `path`. The time counts until everything is durable in the data file.
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    let lines = data::lines()?;
    let progress = Progress::bytes("loading", Some(lines.len() as u64));
    let start = Instant::now();
    let db = open(path, "demo", true)?;
    let mut answers = Vec::new();
    let applied = apply(&db, lines.as_bytes(), &mut answers, Times::Micros, &mut |bytes| progress.at(bytes))?;
    db.temporal().store().checkpoint().map_err(llmdb::Error::from)?;
    Ok(Loaded { db, commits: applied.transactions, time: start.elapsed() })
}
