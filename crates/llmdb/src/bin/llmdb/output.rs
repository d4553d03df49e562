//! What is printed: tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use llmdb::lines::{Times, answer, key};
use llmdb::{Fact, Period, Row, Rows};

use crate::args::{Format, Output};
use crate::exit::Failure;

/// The format that was asked for, or the one that suits where output goes.
pub(crate) fn format(output: &Output) -> Format {
    let fitting = if io::stdout().is_terminal() { Format::Table } else { Format::Json };
    output.format.unwrap_or(fitting)
}

/// An empty table with a header.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().copied());
    table
}

/// Prints facts as a table, a row at a time into the table.
pub(crate) fn facts(rows: Rows<'_>, times: Times, out: &mut dyn Write) -> Result<(), Failure> {
    let mut table = table(&["key", "value", "valid", "known", "said by"]);
    for row in rows {
        if let Row::Fact(fact) = row.map_err(llmdb::Error::from)? {
            table.add_row(cells(&fact, times));
        }
    }
    if table.is_empty() {
        return Ok(writeln!(out, "nothing is known")?);
    }
    Ok(writeln!(out, "{table}")?)
}

/// Prints one fact as a table.
pub(crate) fn fact(fact: &Fact, times: Times, out: &mut dyn Write) -> Result<(), Failure> {
    let mut table = table(&["key", "value", "valid", "known", "said by"]);
    table.add_row(cells(fact, times));
    Ok(writeln!(out, "{table}")?)
}

fn cells(fact: &Fact, times: Times) -> [String; 5] {
    let still = fact.known_to.map_or_else(|| "still".into(), |ended| to(ended.at.micros(), times, ""));
    let asserted = fact.asserted;
    [
        key::to_text(&fact.key),
        answer::value(&fact.value).to_string(),
        period(fact.valid, times),
        format!("{}\n  {still}", times.text(fact.known_from.at.micros(), "")),
        format!("commit {}\n{}", asserted.commit.get(), times.text(asserted.at.micros(), "")),
    ]
}

fn period(period: Period, times: Times) -> String {
    let from = times.text(period.from.micros(), "since ever");
    format!("{from}\n  {}", to(period.to.micros(), times, "without end"))
}

/// `to T`, or what an open end is called.
fn to(micros: i64, times: Times, open: &str) -> String {
    match times.text(micros, "") {
        end if end.is_empty() => open.to_owned(),
        end => format!("to {end}"),
    }
}
