//! `ask`: questions in, one answer each out.
//!
//! Invariants
//! 1. Answers come in the order of the questions, one each, and a question that fails does not stop the
//!    rest.
//! 2. One question reads one snapshot.
//! 3. An answer is flushed before the next line is waited for.

use std::io::{BufRead, Write};

use super::op::blame;
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
    match read.ask(&question, limit) {
        Ok(found) => {
            let failed = answer::write(out, id, found, times).map_err(written)?;
            Ok(if failed.is_some() { Outcome::Failed } else { Outcome::Answered })
        }
        Err(error) => {
            let error = blame(line, error);
            answer::write_error(out, id, &error).map_err(written)?;
            Ok(if matches!(error, Error::Line(_)) { Outcome::Refused } else { Outcome::Failed })
        }
    }
}

#[cfg(test)]
mod tests {
    use llmdb_temporal::Period;
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn damage_among_rows_ends_a_line_that_is_still_json_and_the_next_question_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open(directory.path().join("test.llmdb")).unwrap();
        let mut write = db.temporal().begin_write().unwrap();
        for (key, stored) in [("a", &b"\x021"[..]), ("b", b"\x02{not json"), ("c", b"\x021")] {
            write.put("main", key.as_bytes(), Period::ALL, stored).unwrap();
        }
        write.commit().unwrap();
        let input = br#"{"id":1,"op":"scan"}
            {"id":2,"op":"get","key":"b"}
            {"id":3,"op":"get","key":"c"}"#;
        let mut out = Vec::new();
        let asked = ask(&db, &input[..], &mut out, Times::Micros).unwrap();
        assert_eq!(asked, Asked { answered: 1, refused: 0, failed: 2 });
        let answers: Vec<Json> = out
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(answers[0]["rows"].as_array().unwrap().len(), 1);
        assert_eq!(answers[0]["error"]["code"], "LLMDB-Q03");
        assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!(2), &json!("LLMDB-Q03")));
        assert_eq!((&answers[2]["id"], &answers[2]["value"]), (&json!(3), &json!(1)));
    }
}
