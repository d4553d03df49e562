//! `ask`: questions in, one answer each out.
//!
//! Invariants
//! 1. Answers come in the order of the questions, one each, and a question that fails does not stop the
//!    rest.
//! 2. One question reads one snapshot.
//! 3. An answer is flushed before the next line is waited for.

use std::io::{BufRead, Write};

use super::reader::Reader;
use super::{Times, answer, question};
use crate::{Database, Error};

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Asked {
    /// Questions answered.
    pub answered: u64,
    /// Lines that were no question.
    pub refused: u64,
    /// Questions that failed.
    pub failed: u64,
}

/// Answers the questions of `input` from `db`, one line to `answers` for each.
///
/// # Errors
/// When a stream fails, or the database can no longer be read. A question that fails is answered with an
/// `error` and counted.
pub fn ask(
    db: &Database,
    input: impl BufRead,
    answers: &mut dyn Write,
    times: Times,
) -> Result<Asked, Error> {
    let mut lines = Reader::new(input);
    let mut asked = Asked::default();
    while let Some((line, bytes)) = lines.next().map_err(Error::stream("read the input"))? {
        let counter = match answer_line(db, (line, bytes), answers, times)? {
            Outcome::Answered => &mut asked.answered,
            Outcome::Refused => &mut asked.refused,
            Outcome::Failed => &mut asked.failed,
        };
        *counter += 1;
        answers.flush().map_err(Error::stream("write an answer"))?;
    }
    Ok(asked)
}

enum Outcome {
    Answered,
    Refused,
    Failed,
}

fn answer_line(
    db: &Database,
    (line, bytes): (u64, &[u8]),
    out: &mut dyn Write,
    times: Times,
) -> Result<Outcome, Error> {
    let written = Error::stream("write an answer");
    let asking = match question::parse(line, bytes, db.now()) {
        Ok(asking) => asking,
        Err(error) => {
            answer::write_error(out, Some(&serde_json::Value::Null), &error.into()).map_err(written)?;
            return Ok(Outcome::Refused);
        }
    };
    let id = asking.id.as_ref();
    let (question, limit) = match asking.question {
        Ok(question) => question,
        Err(error) => {
            answer::write_error(out, id, &error.into()).map_err(written)?;
            return Ok(Outcome::Refused);
        }
    };
    let read = db.begin_read()?;
    let failed = match read.ask(&question, limit) {
        Ok(found) => answer::write(out, id, found, times).map_err(written)?,
        Err(error) => {
            answer::write_error(out, id, &error).map_err(written)?;
            Some(error)
        }
    };
    Ok(if failed.is_some() { Outcome::Failed } else { Outcome::Answered })
}
