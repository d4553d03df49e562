//! `stat` and `check`: the whole database.

use std::io::{self, Write};

use llmdb::lines::{Times, answer};
use llmdb::{Database, Error, KeyRange, Known, Question, json};
use llmdb_pager::CheckReport;
use llmdb_temporal::TemporalCheck;
use serde_json::Value as Json;

use super::{open, open_to_read, prove};
use crate::args::{Check, Format, Output, Whole};
use crate::exit::{DONE, Failure, NO, damaged_page};
use crate::output;
use crate::progress::Progress;

pub(crate) fn stat(args: &Whole) -> Result<u8, Failure> {
    let db = open_to_read(&args.db, "stat")?;
    let figures = figures(&db, args.output.times.times())?;
    print(&figures, &args.output)?;
    db.close()?;
    Ok(DONE)
}

pub(crate) fn check(args: &Check) -> Result<u8, Failure> {
    let Whole { db: path, output } = &args.whole;
    let needles = prove::needles(args)?;
    // The proof looks at free room, which only the writer knows.
    let opened = if args.prove_erased { open(path, "check", false) } else { open_to_read(path, "check") };
    let db = match opened {
        Err(Failure::Database(error)) if damaged_page(&error).is_some() => {
            // So near to the root that the database does not open: a finding all the same.
            print(&json!({"sound": false, "damage": [finding(&error)]}), output)?;
            return Ok(NO);
        }
        opened => opened?,
    };
    let progress = Progress::count("pages");
    let pages = db.temporal().store().check(&mut |done, of| progress.at_of(done, of)).map_err(Error::from)?;
    drop(progress);
    // Damaged pages would only be found again.
    let history = if pages.is_sound() { Some(check_history(&db)) } else { None };
    let (mut findings, mut sound) = findings(&pages, history.as_ref());
    if args.prove_erased {
        let (proof, is_gone) = prove::prove(&db, &needles, &args.also, output.times.times())?;
        findings["erased"] = proof;
        sound &= is_gone;
    }
    print(&findings, output)?;
    db.close()?;
    Ok(if sound { DONE } else { NO })
}

fn figures(db: &Database, times: Times) -> Result<Json, Failure> {
    let stat = db.temporal().store().stat().map_err(Error::from)?;
    let read = db.begin_read()?;
    let newest = read.newest();
    let progress = Progress::unknown("counting");
    let mut collections = Vec::new();
    for name in read.collections()? {
        collections.push(json!({"name": name, "keys_in_force": keys_in_force(db, &name, &progress)?}));
    }
    Ok(json!({
        "path": db.temporal().store().path().display().to_string(),
        "file_bytes": stat.pager.file_bytes,
        "disk_bytes": stat.pager.allocated_bytes,
        "reserved_address_bytes": stat.pager.reserved_bytes,
        "log_bytes": stat.log_bytes,
        "page_bytes": stat.pager.page_size,
        "pages": stat.pager.page_count,
        "free_pages": stat.pager.free_pages,
        "commits": newest.map_or(0, |newest| newest.commit.get() + 1),
        "newest": newest.map(|newest| answer::stamp(newest.commit, newest.at, times)),
        "collections": collections,
    }))
}

/// How many keys of a collection have a value now.
fn keys_in_force(db: &Database, collection: &str, progress: &Progress) -> Result<u64, Failure> {
    let question = Question::Scan {
        collection: collection.into(),
        keys: KeyRange::ALL,
        valid_at: db.now(),
        known: Known::Latest,
    };
    let read = db.begin_read()?;
    let mut count = 0;
    if let llmdb::Answer::Rows(rows) = read.ask(&question, None)? {
        for row in rows {
            row.map_err(Error::from)?;
            count += 1;
            progress.at(count);
        }
    }
    Ok(count)
}

fn check_history(db: &Database) -> Result<TemporalCheck, Error> {
    let progress = Progress::count("operations");
    Ok(db.begin_read()?.temporal().check(&mut |done, of| progress.at_of(done, of))?)
}

/// What was found, and whether all of it is sound.
fn findings(pages: &CheckReport, history: Option<&Result<TemporalCheck, Error>>) -> (Json, bool) {
    let mut damage: Vec<Json> =
        pages.damage.iter().map(|found| json!({"page": found.page.0, "message": found.what})).collect();
    let mut report = json!({
        "sound": true, "pages": pages.pages, "large_value_bytes": pages.extent_bytes, "leaked_pages": pages.leaked_pages,
    });
    match history {
        Some(Ok(found)) => {
            report["collections"] = found.collections.into();
            report["commits"] = found.commits.into();
            report["operations"] = found.operations.into();
            report["keys"] = found.keys.into();
            report["break_points"] = found.break_points.into();
        }
        Some(Err(error)) => damage.push(finding(error)),
        None => (),
    }
    let sound = damage.is_empty() && pages.is_sound();
    report["sound"] = sound.into();
    report["damage"] = damage.into();
    (report, sound)
}

/// A failure as damage, with its page where it has one.
fn finding(error: &Error) -> Json {
    match damaged_page(error) {
        Some(page) => json!({"page": page, "message": error.to_string()}),
        None => answer::error(error),
    }
}

fn print(figures: &Json, output: &Output) -> io::Result<()> {
    print_to(figures, output::format(output), &mut io::stdout().lock())
}

/// One row for each figure, or the figures as they are.
pub(super) fn print_to(figures: &Json, format: Format, out: &mut dyn Write) -> io::Result<()> {
    if format == Format::Json {
        return writeln!(out, "{figures}");
    }
    let mut table = output::table(&["what", "is"]);
    for (name, value) in figures.as_object().into_iter().flatten() {
        table.add_row([name.replace('_', " "), cell(value)]);
    }
    writeln!(out, "{table}")
}

/// A list has a line for each of its elements.
fn cell(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(list) if list.is_empty() => "none".into(),
        Json::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join("\n"),
        Json::Object(fields) => {
            let words =
                fields.iter().map(|(name, value)| format!("{} {}", name.replace('_', " "), cell(value)));
            words.collect::<Vec<_>>().join(", ")
        }
        Json::Null => "none".into(),
        other => other.to_string(),
    }
}
