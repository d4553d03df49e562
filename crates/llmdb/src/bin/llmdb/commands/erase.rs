//! `erase` and `retain`: what is let go of.

use std::io::{self, Write};

use llmdb::lines::answer;
use llmdb::{Receipt, json};
use serde_json::Value as Json;

use super::open_to_write;
use crate::args::{Erase, Format, Key, Output, Retain};
use crate::exit::{DONE, Failure, NO};
use crate::output;

pub(crate) fn erase(args: &Erase) -> Result<u8, Failure> {
    let Key { db: path, collection, key } = &args.key;
    let db = open_to_write(path, "erase", false)?;
    let mut write = db.begin_write()?;
    if !write.erase(collection, &key.0, &args.reason)? {
        drop(write);
        db.close()?;
        eprintln!("nothing is known of this key, at any time; nothing was recorded");
        return Ok(NO);
    }
    let receipt = write.commit()?;
    // Nobody else has the database, so nobody keeps pages.
    let wiped = db.wipe()?;
    print(receipt, "wiped", wiped.is_complete().into(), "its bytes are overwritten", &args.output)?;
    db.close()?;
    Ok(DONE)
}

pub(crate) fn retain(args: &Retain) -> Result<u8, Failure> {
    let db = open_to_write(&args.db, "retain", false)?;
    let mut write = db.begin_write()?;
    let kept = write.retain(args.before)?;
    let receipt = write.commit()?;
    let times = args.output.times.times();
    let (kept_from, words) = match kept {
        Some(mark) => {
            let words = format!("all is kept from commit {} on", mark.commit);
            (answer::stamp(mark.commit, mark.at, times), words)
        }
        None => (Json::Null, "nothing is older than that: all is kept".to_owned()),
    };
    print(receipt, "kept_from", kept_from, &words, &args.output)?;
    db.close()?;
    Ok(DONE)
}

/// The commit, and what came of it under a name and in words.
fn print(receipt: Receipt, name: &str, what: Json, words: &str, output: &Output) -> io::Result<()> {
    let times = output.times.times();
    let (commit, at) = (receipt.commit.get(), receipt.at.micros());
    let mut out = io::stdout().lock();
    match output::format(output) {
        Format::Table => writeln!(out, "commit {commit}, known from {} on: {words}", times.text(at, "")),
        Format::Json => {
            let mut line = json!({"commit": commit, "known_at": times.json(at), "ops": 1, "refused": []});
            line[name] = what;
            writeln!(out, "{line}")
        }
    }
}
