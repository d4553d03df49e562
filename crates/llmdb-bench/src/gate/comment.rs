//! The gate's outcome as Markdown: what a pull request is told.
//!
//! Invariants
//! 1. The first line says pass or fail; everything that failed stands above everything else.
//! 2. Every acceptance is shown with its reason.

use super::accept::WALL_CLOCK;
use super::clock::{CONFIDENCE, ClockRow};
use super::compare::{Comparison, CountRow, LIMIT, Verdict};
use super::operations::OPERATIONS;
use crate::report::words::grouped;
use std::fmt::Write as _;

/// A mark by which a comment of an earlier run is found and replaced.
pub const MARK: &str = "<!-- llmdb-bench-gate -->";

/// The whole comment.
pub fn markdown(comparison: &Comparison) -> String {
    let failures = comparison.failures();
    let mut text = format!("{MARK}\n## Benchmark gate: {}\n\n", headline(failures.len()));
    let _ = writeln!(text, "`{}` against its base `{}`.\n", comparison.new, comparison.base);
    changed(&mut text, comparison);
    for note in &comparison.notes {
        let _ = writeln!(text, "- {note}");
    }
    if !comparison.notes.is_empty() {
        text.push('\n');
    }
    if !comparison.counts.is_empty() {
        all_counts(&mut text, &comparison.counts);
    }
    if !comparison.clocks.is_empty() {
        all_clocks(&mut text, &comparison.clocks);
    }
    text.push_str(&legend());
    text
}

/// The comment of a run that had nothing to compare with.
pub fn nothing_compared(why: &str) -> String {
    format!("{MARK}\n## Benchmark gate: nothing compared\n\n{why}\n")
}

fn headline(failures: usize) -> String {
    match failures {
        0 => "passed".to_owned(),
        1 => "FAILED, 1 regression".to_owned(),
        more => format!("FAILED, {more} regressions"),
    }
}

fn changed(text: &mut String, comparison: &Comparison) {
    let mut rows: Vec<(u8, String)> = Vec::new();
    for row in &comparison.counts {
        let change = change(row.base, row.new);
        let name = format!("{}/{}", row.operation, row.count);
        rows.extend(changed_row(&name, number(row.base), number(row.new), &change, &row.verdict));
    }
    for (row, verdict) in &comparison.clocks {
        let change = format!("{} ({})", percent(row.ratio.ratio), interval(row));
        let name = format!("{}/{WALL_CLOCK}", row.operation);
        rows.extend(changed_row(&name, time(row.base_ns), time(row.new_ns), &change, verdict));
    }
    if rows.is_empty() {
        text.push_str("Nothing changed by more than 5 %.\n\n");
        return;
    }
    rows.sort();
    text.push_str("| operation/count | base | new | change | |\n| --- | ---: | ---: | ---: | --- |\n");
    rows.iter().for_each(|(_, row)| text.push_str(row));
    text.push('\n');
}

fn changed_row(
    name: &str,
    base: String,
    new: String,
    change: &str,
    verdict: &Verdict,
) -> Option<(u8, String)> {
    let (order, word) = match verdict {
        Verdict::Worse => (0, "**worse**".to_owned()),
        Verdict::Accepted(reason) => (1, format!("worse, accepted: {}", cell(reason))),
        Verdict::Better => (2, "better".to_owned()),
        Verdict::Same | Verdict::New | Verdict::Gone => return None,
    };
    Some((order, format!("| `{name}` | {base} | {new} | {change} | {word} |\n")))
}

fn all_counts(text: &mut String, rows: &[CountRow]) {
    text.push_str("<details><summary>All counts, per operation; lower is better</summary>\n\n");
    text.push_str("| operation | count | base | new | change |\n| --- | --- | ---: | ---: | ---: |\n");
    for row in rows {
        let (base, new, change) = (number(row.base), number(row.new), change(row.base, row.new));
        let _ = writeln!(text, "| {} | {} | {base} | {new} | {change} |", row.operation, row.count);
    }
    text.push_str("\n</details>\n\n");
}

fn all_clocks(text: &mut String, rows: &[(ClockRow, Verdict)]) {
    text.push_str("<details><summary>Wall clock, per operation; lower is better</summary>\n\n");
    let _ = writeln!(
        text,
        "| operation | base | new | change | {:.0} % interval | |\n| --- | ---: | ---: | ---: | --- | --- |",
        CONFIDENCE * 100.0
    );
    for (row, verdict) in rows {
        let word = match verdict {
            Verdict::Worse | Verdict::Accepted(_) => "slower",
            Verdict::Better => "faster",
            Verdict::Same | Verdict::New | Verdict::Gone => "no difference shown",
        };
        let (base, new, change) = (time(row.base_ns), time(row.new_ns), percent(row.ratio.ratio));
        let _ =
            writeln!(text, "| {} | {base} | {new} | {change} | {} | {word} |", row.operation, interval(row));
    }
    text.push_str("\n</details>\n\n");
}

fn legend() -> String {
    let mut text = format!(
        "Counts fail at {:.0} % more. Wall clock fails only where its whole interval lies beyond that: it was \
         measured on this machine, the two builds taking turns.\n\n<details><summary>The operations</summary>\n\n",
        (LIMIT - 1.0) * 100.0
    );
    for operation in OPERATIONS {
        let _ = writeln!(text, "- `{}`: {}", operation.name, operation.what);
    }
    text + "\n</details>\n"
}

fn change(base: Option<f64>, new: Option<f64>) -> String {
    match (base, new) {
        (Some(base), Some(new)) if base == new => "=".to_owned(),
        (Some(base), Some(new)) if base > 0.0 => percent(new / base),
        (Some(_), Some(_)) => "from nothing".to_owned(),
        _ => "-".to_owned(),
    }
}

fn percent(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

fn interval(row: &ClockRow) -> String {
    format!("{} to {}", percent(row.ratio.low), percent(row.ratio.high))
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.fract() == 0.0 || value >= 1_000.0 => grouped(value.round() as u64),
        Some(value) => format!("{value:.2}"),
    }
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::clock::Interval;
    use crate::gate::counts::{Counts, GateCounts};

    fn counts(pages: f64) -> GateCounts {
        let mut counts = GateCounts::new();
        let of_get = Counts::from([("pages".to_owned(), pages), ("allocations".to_owned(), 0.0)]);
        counts.operations.insert("get".into(), of_get);
        counts
    }

    fn clock(low: f64, high: f64) -> ClockRow {
        let ratio = Interval { ratio: (low + high) / 2.0, low, high };
        ClockRow { operation: "get".into(), base_ns: 400.0, new_ns: 520.0, ratio, rounds: 15 }
    }

    fn comment(new_pages: f64, row: ClockRow, messages: &str) -> String {
        let (base, new) = (counts(3.0), counts(new_pages));
        markdown(&Comparison::new(("aaa", &base), ("bbb", &new), vec![row], messages))
    }

    #[test]
    fn a_pass_says_so_and_names_both_builds() {
        let text = comment(3.0, clock(0.9, 1.1), "");
        assert!(text.starts_with(MARK) && text.contains("gate: passed"), "{text}");
        assert!(text.contains("`bbb` against its base `aaa`") && text.contains("Nothing changed"), "{text}");
        assert!(text.contains("no difference shown"), "{text}");
    }

    #[test]
    fn regressions_stand_first_with_their_size() {
        let text = comment(4.0, clock(1.2, 1.4), "");
        assert!(text.contains("FAILED, 2 regressions"), "{text}");
        assert!(text.contains("| `get/pages` | 3 | 4 | +33.3 % | **worse** |"), "{text}");
        let row = "| `get/wall_clock` | 400 ns | 520 ns | +30.0 % (+20.0 % to +40.0 %) | **worse** |";
        assert!(text.contains(row), "{text}");
        assert!(text.find("**worse**") < text.find("All counts"), "{text}");
    }

    #[test]
    fn an_accepted_regression_is_shown_with_its_reason_and_passes() {
        let text = comment(4.0, clock(0.9, 1.1), "bench-accept: get/pages one|more level");
        assert!(text.contains("gate: passed"), "{text}");
        assert!(text.contains("worse, accepted: one\\|more level"), "{text}");
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(number(Some(1_234_567.0)), "1,234,567");
        assert_eq!(number(Some(2.5)), "2.50");
        assert_eq!(change(Some(0.0), Some(2.0)), "from nothing");
        assert_eq!(
            (time(12.0), time(1_500.0), time(2.5e6)),
            ("12 ns".into(), "1.50 us".into(), "2.50 ms".into())
        );
    }
}
