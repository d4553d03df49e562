//! `put` and `delete`.

use std::io::{self, Read, Write};

use llmdb::{Database, Receipt, Value, WriteTxn, json};

use super::open_to_write;
use crate::args::{Delete, Format, Key, Output, PeriodArgs, Put};
use crate::exit::{DONE, Failure};
use crate::output;

pub(crate) fn put(args: &Put) -> Result<u8, Failure> {
    let value = value(&args.value)?;
    let db = open_to_write(&args.key.db, "put", true)?;
    let (write, period) = begin(&db, &args.period)?;
    let Key { collection, key, .. } = &args.key;
    commit(db, write, &args.output, |write| write.put(collection, &key.0, period, value))
}

pub(crate) fn delete(args: &Delete) -> Result<u8, Failure> {
    let db = open_to_write(&args.key.db, "delete", false)?;
    let (write, period) = begin(&db, &args.period)?;
    let Key { collection, key, .. } = &args.key;
    commit(db, write, &args.output, |write| write.delete(collection, &key.0, period))
}

fn begin(db: &Database, period: &PeriodArgs) -> Result<(WriteTxn, llmdb::Period), Failure> {
    let write = db.begin_write()?;
    let period = period.period(write.time())?;
    Ok((write, period))
}

fn commit(
    db: Database,
    mut write: WriteTxn,
    output: &Output,
    operation: impl FnOnce(&mut WriteTxn) -> Result<(), llmdb::Error>,
) -> Result<u8, Failure> {
    operation(&mut write)?;
    let receipt = write.commit()?;
    print(receipt, output)?;
    db.close()?;
    Ok(DONE)
}

fn print(receipt: Receipt, output: &Output) -> io::Result<()> {
    let times = output.times.times();
    let (commit, at) = (receipt.commit.get(), receipt.at.micros());
    let mut out = io::stdout().lock();
    match output::format(output) {
        Format::Table => writeln!(out, "commit {commit}, known from {} on", times.text(at, "")),
        Format::Json => {
            let line = json!({"commit": commit, "known_at": times.json(at), "ops": 1, "refused": []});
            writeln!(out, "{line}")
        }
    }
}

fn value(argument: &str) -> Result<Value, Failure> {
    let mut text = String::new();
    if argument == "-" {
        io::stdin().lock().read_to_string(&mut text).map_err(|error| {
            Failure::Refused(format!("cannot read the value from standard input: {error}"))
        })?;
    } else {
        text.push_str(argument);
    }
    let refused = |why: String| Err(Failure::Refused(format!("value: {why}")));
    match serde_json::from_str(&text) {
        Ok(json) => Ok(Value::Json(json)),
        Err(error) => refused(format!("not JSON ({error}); text needs quotes of its own, as '\"Oslo\"'")),
    }
}
