//! `llmdb demo`: real data, real answers, measured.
//!
//! Reading order: `data` (what is loaded), `file` (whose file it is), `load`, `story` (what is shown), `past`
//! (corrections), `figures` (times), `questions` (the check), `report` (how it is printed).
//!
//! Invariants
//! 1. A file that the demo did not make is not changed, not even by opening it.
//! 2. Every figure is measured in this run, and what was read for it is compared with a naive search.

mod data;
mod figures;
mod file;
mod load;
mod past;
mod questions;
#[cfg(feature = "wasm")]
mod reduction;
mod report;
mod story;

use std::io;

use crate::args::{Demo, Format};
use crate::exit::{DONE, Failure, NO};

use report::Report;

pub(crate) fn run(args: &Demo) -> Result<u8, Failure> {
    file::make_way(&args.path)?;
    let statements = data::statements()?;
    let loaded = load::load(&args.path)?;
    let db = &loaded.db;
    let read = db.begin_read()?;
    let today = data::within(db.now())?;
    let report = Report {
        path: args.path.display().to_string(),
        size: std::fs::metadata(&args.path).map(|metadata| metadata.len()).map_err(reading)?,
        statement_count: statements.len(),
        load_time: loaded.time,
        commits: loaded.commits,
        beliefs: story::beliefs(&read)?,
        past: past::corrections(&read)?,
        #[cfg(feature = "wasm")]
        reduction: reduction::run(&read, today)?,
        figures: figures::measure(&read, today, &statements)?,
        check: questions::check(&read)?,
    };
    drop(read);
    loaded.db.close()?;
    let mut out = io::stdout().lock();
    match args.format.unwrap_or(Format::Table) {
        Format::Table => report.print(&mut out)?,
        Format::Json => report.print_json(&mut out)?,
    }
    Ok(if report.all_right() { DONE } else { NO })
}

fn reading(source: io::Error) -> Failure {
    llmdb::Error::Stream { action: "read the demo's files", source }.into()
}

/// The data that comes with the program is checked by a test, so this is a broken build.
fn broken(what: &str) -> Failure {
    Failure::Refused(format!("the demo's own data is broken ({what}); build the program again"))
}
