//! `get`, `history` and `timeline`.

use std::io::{self, Write};

use llmdb::lines::answer;
use llmdb::{Answer, Database, Error, Question, ValidTime};

use super::open_to_read;
use crate::args::{Format, Get, History, Key, Output, Timeline, period};
use crate::exit::{DONE, Failure, NO};
use crate::output;

pub(crate) fn get(args: &Get) -> Result<u8, Failure> {
    let db = open_to_read(&args.key.db, "get")?;
    let question = Question::Get {
        collection: args.key.collection.clone(),
        key: args.key.key.0.clone(),
        valid_at: instant(&db, args.valid_at),
        known: args.known.known(),
    };
    show(db, &question, &args.output)
}

pub(crate) fn history(args: &History) -> Result<u8, Failure> {
    let db = open_to_read(&args.key.db, "history")?;
    let question = Question::History {
        collection: args.key.collection.clone(),
        key: args.key.key.0.clone(),
        valid_at: instant(&db, args.valid_at),
        known: args.known.known(),
    };
    show(db, &question, &args.output)
}

pub(crate) fn timeline(args: &Timeline) -> Result<u8, Failure> {
    let Key { db, key, collection } = &args.key;
    let (from, to) = match args.valid_at {
        // The piece that covers an instant is the one that overlaps the microsecond from there on.
        Some(at) => (Some(at), Some(at + 1).filter(|to| *to != i64::MAX)),
        None => (args.valid_from, args.valid_to),
    };
    let window = period(from, to).map_err(Error::from)?;
    let db = open_to_read(db, "timeline")?;
    let question = Question::Timeline {
        collection: collection.clone(),
        key: key.0.clone(),
        window,
        clamp: args.clamp,
        known: args.known.known(),
    };
    show(db, &question, &args.output)
}

fn instant(db: &Database, valid_at: Option<i64>) -> ValidTime {
    valid_at.and_then(|micros| ValidTime::from_micros(micros).ok()).unwrap_or_else(|| db.now())
}

/// Asks and prints. Only `get` can find nothing; an empty list of rows is an answer.
fn show(db: Database, question: &Question, output: &Output) -> Result<u8, Failure> {
    let read = db.begin_read()?;
    let times = output.times.times();
    let mut out = io::stdout().lock();
    let answer = read.ask(question, None)?;
    let code = if matches!(answer, Answer::Fact(None)) { NO } else { DONE };
    match (output::format(output), answer) {
        (Format::Json, answer) => {
            if let Some(damage) = answer::write(&mut out, None, answer, times)? {
                return Err(damage.into());
            }
        }
        (Format::Table, Answer::Fact(None)) => writeln!(out, "nothing is in force")?,
        (Format::Table, Answer::Fact(Some(fact))) => output::fact(&fact, times, &mut out)?,
        (Format::Table, Answer::Rows(rows)) => output::facts(rows, times, &mut out)?,
        (Format::Table, _) => (),
    }
    drop(read);
    db.close()?;
    Ok(code)
}
