//! `apply`: operations in, one answer per transaction out.
//!
//! ```text
//!   line ──> same group as the open transaction? ──yes──> add to it
//!                     │no
//!                     └──> commit the open one, answer, flush ──> open the next
//! ```
//!
//! Invariants
//! 1. An answer is printed and flushed only after its transaction is durable.
//! 2. A transaction with a bad line is refused whole, and nothing behind it is read. A line that cannot be
//!    read at all may belong to the open transaction, so that is refused with it.
//! 3. Where it erases, its answer comes when the bytes are overwritten, or says that they are not yet.
//! 4. A transaction ends as early as it can be known: a line without `commit` and `tx` at its end, others
//!    at the next line of another group, or at the end of input.

use std::io::{BufRead, Write};

use llmdb_temporal::CommitTime;
use serde_json::{Value as Json, json};

use super::fields::Fields;
use super::op::{Op, blame};
use super::reader::Reader;
use super::{Fault, LineError, Times, key};
use crate::{Database, Error, WriteTxn};

/// What was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Applied {
    /// Transactions committed.
    pub transactions: u64,
    /// Operations recorded.
    pub operations: u64,
    /// Inserts refused.
    pub refused: u64,
}

/// Applies the operations of `input` to `db`, and prints one line to `answers` for each transaction when it
/// is durable. `progress` hears how many bytes of input are done.
///
/// # Errors
/// At the first line that is wrong, and when the database or a stream fails. Transactions that were
/// answered stay; the one at fault is not there at all.
pub fn apply(
    db: &Database,
    input: impl BufRead,
    answers: &mut dyn Write,
    times: Times,
    progress: &mut dyn FnMut(u64),
) -> Result<Applied, Error> {
    let mut lines = Reader::new(input);
    let mut open: Option<Pending<'_>> = None;
    let mut applied = Applied::default();
    while let Some((line, bytes)) = lines.next().map_err(Error::stream("read the input"))? {
        let mut fields = Fields::parse(line, bytes)?;
        let (group, tx) = Group::take(&mut fields)?;
        if let Some(done) = open.take_if(|pending| pending.group != group || group == Group::Alone) {
            done.commit(answers, times, &mut applied)?;
        }
        progress(lines.bytes());
        let tx = tx?;
        let op = Op::parse(fields)?;
        let mut pending = match open.take() {
            Some(pending) => pending.joined(line, tx)?,
            None => Pending::begin(db, line, group, tx)?,
        };
        pending.add(&op)?;
        match group {
            Group::Alone => pending.commit(answers, times, &mut applied)?,
            _ => open = Some(pending),
        }
    }
    if let Some(pending) = open {
        pending.commit(answers, times, &mut applied)?;
    }
    progress(lines.bytes());
    Ok(applied)
}

/// What makes lines in a row one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Commit(i64),
    Tx(CommitTime),
    Alone,
}

type Tx = Option<CommitTime>;

impl Group {
    /// Takes `commit` and `tx`. With a `commit` the group is known even when `tx` is wrong.
    fn take(fields: &mut Fields) -> Result<(Self, Result<Tx, LineError>), LineError> {
        let commit = fields.whole("commit")?;
        match (commit, fields.commit_time("tx")) {
            (Some(commit), tx) => Ok((Self::Commit(commit), tx)),
            (None, Ok(Some(tx))) => Ok((Self::Tx(tx), Ok(Some(tx)))),
            (None, Ok(None)) => Ok((Self::Alone, Ok(None))),
            (None, Err(error)) => Err(error),
        }
    }
}

/// The transaction that lines are added to.
struct Pending<'d> {
    db: &'d Database,
    group: Group,
    tx: Tx,
    write: WriteTxn,
    erases: bool,
    operations: u64,
    refused: Vec<Json>,
}

impl<'d> Pending<'d> {
    fn begin(db: &'d Database, line: u64, group: Group, tx: Tx) -> Result<Self, Error> {
        let mut write = db.begin_write()?;
        if let Some(tx) = tx {
            write.set_time(tx).map_err(|error| blame(line, error))?;
        }
        Ok(Self { db, group, tx, write, erases: false, operations: 0, refused: Vec::new() })
    }

    /// Another line of the same group; its `tx` may be missing, but not another.
    fn joined(self, line: u64, tx: Tx) -> Result<Self, LineError> {
        if tx.is_some() && tx != self.tx {
            let message =
                "differs from the lines before it with the same `commit`; a transaction has one time";
            return Err(LineError::new(line, Some("tx"), Fault::FieldConflict, message));
        }
        Ok(self)
    }

    fn add(&mut self, op: &Op) -> Result<(), Error> {
        match op.apply(&mut self.write)? {
            Ok(recorded) => {
                self.operations += u64::from(recorded);
                self.erases |= recorded && op.erases();
            }
            Err(refusal) => self.refused.push(json!({
                "line": op.line,
                "key": key::to_json(&op.key),
                "code": refusal.code(),
                "message": refusal.to_string(),
            })),
        }
        Ok(())
    }

    fn commit(self, answers: &mut dyn Write, times: Times, applied: &mut Applied) -> Result<(), Error> {
        let receipt = self.write.commit()?;
        applied.transactions += 1;
        applied.operations += self.operations;
        applied.refused += self.refused.len() as u64;
        let mut answer = json!({
            "commit": receipt.commit.get(),
            "known_at": times.json(receipt.at.micros()),
            "ops": self.operations,
            "refused": self.refused,
        });
        if self.erases {
            // The answer says that the bytes are gone, so it waits until they are.
            answer["wiped"] = self.db.wipe()?.is_complete().into();
        }
        writeln!(answers, "{answer}").and_then(|()| answers.flush()).map_err(Error::stream("write an answer"))
    }
}
