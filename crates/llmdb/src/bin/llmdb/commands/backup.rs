//! `backup` and `restore`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use llmdb::{BackupHeader, BackupOptions, Error, Options, json};
use serde_json::Value as Json;

use super::whole::print_to;
use super::{open_to_read, open_to_write};
use crate::args::{Backup, Output, Restore};
use crate::exit::{DONE, Failure};
use crate::output;
use crate::progress::Progress;

/// Bytes read or written together.
const BUFFER_SIZE: usize = 1 << 20;

pub(crate) fn backup(args: &Backup) -> Result<u8, Failure> {
    let options = since(args.since.as_deref())?;
    let mut db = open_to_read(&args.db, "backup")?;
    if db.wipe_owed()?.is_some() {
        // A crash came between an erasure and the overwriting of its bytes: no backup shall have them.
        db.close()?;
        db = open_to_write(&args.db, "backup", false)?;
    }
    let progress = Progress::count("pages");
    let mut told = |done, of| progress.at_of(done, of);
    let to_pipe = args.to == Path::new("-");
    let report = if to_pipe {
        let mut out = BufWriter::with_capacity(BUFFER_SIZE, io::stdout());
        let report = db.temporal().store().backup(options, &mut out, &mut told).map_err(Error::from)?;
        out.flush()?;
        report
    } else {
        db.backup_to(&args.to, options, &mut told)?
    };
    drop(progress);
    let figures = json!({
        "commit": user_commit(report.commit),
        "known_at": known_at(report.commit, report.time, &args.output),
        "since": report.base.map_or(Json::Null, user_commit),
        "full": report.base.is_none(),
        "pages": report.pages,
        "large_value_bytes": report.extent_bytes,
        "bytes": report.bytes,
    });
    let out: &mut dyn Write = if to_pipe { &mut io::stderr() } else { &mut io::stdout() };
    print_to(&figures, output::format(&args.output), out)?;
    db.close()?;
    Ok(DONE)
}

pub(crate) fn restore(args: &Restore) -> Result<u8, Failure> {
    let mut inputs = Vec::new();
    for path in &args.from {
        let input: Box<dyn Read> = match path {
            path if path == Path::new("-") => Box::new(io::stdin()),
            path => Box::new(open_backup(path)?),
        };
        inputs.push(input);
    }
    let mut streams: Vec<&mut dyn Read> =
        inputs.iter_mut().map(|input| &mut **input as &mut dyn Read).collect();
    let progress = Progress::count("pages");
    let report = Options::new().owner("llmdb restore").restore(&args.to, &mut streams, &mut |done, of| {
        progress.at_of(done, of);
    })?;
    drop(progress);
    let figures = json!({
        "commit": user_commit(report.commit),
        "known_at": known_at(report.commit, report.time, &args.output),
        "backups": report.backups,
        "pages": report.pages,
        "large_value_bytes": report.extent_bytes,
        "file_bytes": report.file_bytes,
    });
    print_to(&figures, output::format(&args.output), &mut io::stdout())?;
    Ok(DONE)
}

/// What `--since` means: a commit, or the backup that ended with one.
fn since(earlier: Option<&str>) -> Result<BackupOptions, Failure> {
    let options = BackupOptions::new();
    let Some(earlier) = earlier else { return Ok(options) };
    if let Ok(commit) = earlier.parse::<u64>() {
        // Commits that users see are counted from 0.
        return Ok(options.since(commit.saturating_add(1)));
    }
    let mut file = open_backup(Path::new(earlier))?;
    let header =
        BackupHeader::read(&mut file).map_err(|error| Failure::Refused(format!("{earlier}: {error}")))?;
    Ok(options.since_backup(&header))
}

fn open_backup(path: &Path) -> Result<BufReader<File>, Failure> {
    let file = File::open(path)
        .map_err(|error| Failure::Refused(format!("cannot read the backup {}: {error}", path.display())))?;
    Ok(BufReader::with_capacity(BUFFER_SIZE, file))
}

/// A commit as users count it, from 0; null where there is none.
fn user_commit(commit: u64) -> Json {
    commit.checked_sub(1).map_or(Json::Null, Json::from)
}

fn known_at(commit: u64, time: i64, output: &Output) -> Json {
    if commit == 0 { Json::Null } else { output.times.times().json(time) }
}
