//! A run as a Markdown summary.

use super::compare::Earlier;
use super::contest::{Contest, contests, not_offered};
use super::targets::{self, Outcome};
use super::words;
use crate::results::RunReport;
use std::fmt::Write as _;

/// Changes that are listed at most.
const CHANGES_MAX: usize = 40;

/// The whole summary.
pub fn render(report: &RunReport, earlier: Option<&Earlier>) -> String {
    let mut text = format!("# Benchmarks of {}\n\n", short(&report.commit));
    let _ = writeln!(text, "- {}\n- {}", words::source(report), words::machine(&report.machine));
    for line in words::probe(&report.machine).into_iter().chain(words::probe_spread(&report.machine)) {
        let _ = writeln!(text, "- {line}");
    }
    let _ = writeln!(text, "- {}", words::flushes(&report.machine));
    if report.partial {
        text.push_str("- **partial**: the run was interrupted; what is missing was not measured\n");
    }
    target_table(&mut text, report);
    for contest in contests(report) {
        contest_table(&mut text, &contest);
    }
    settings(&mut text, report);
    for skipped in not_offered(report) {
        let _ = writeln!(text, "- {skipped}");
    }
    compared(&mut text, earlier);
    text
}

fn target_table(text: &mut String, report: &RunReport) {
    let rows = targets::rows(report);
    let _ = write!(text, "\n## Targets\n\n{}\n", targets::summary(&rows));
    text.push_str("\n| | target | measured | where |\n| --- | --- | ---: | --- |\n");
    for row in rows {
        let place = match &row.outcome {
            Outcome::NotMeasured(why) => why,
            Outcome::Met | Outcome::Missed => &row.place,
        };
        let _ = writeln!(text, "| {} | {} | {} | {place} |", row.outcome.word(), row.promise, row.measured);
    }
}

fn contest_table(text: &mut String, contest: &Contest<'_>) {
    let _ = writeln!(text, "\n## {} / {}\n", contest.suite, contest.title());
    let names = contest.figure_names();
    if !names.is_empty() {
        let _ = write!(text, "| engine |");
        for name in &names {
            let better =
                contest.results.iter().find_map(|result| result.figure(name)).map(|figure| figure.better);
            let _ = write!(text, " {name} ({}) |", better.map_or("", words::better));
        }
        let _ = writeln!(text, "\n| --- |{}", " ---: |".repeat(names.len()));
    }
    for result in contest.results.iter().filter(|result| result.error.is_none()) {
        let _ = write!(text, "| {} {} |", result.engine, result.engine_version);
        for name in &names {
            let cell = result.figure(name).map_or_else(
                || "-".to_owned(),
                |figure| match contest.ratio_to_ours(result, name) {
                    Some(ratio) => {
                        format!("{} ({}x)", words::amount(figure.value, &figure.unit), words::plain(ratio))
                    }
                    None => words::amount(figure.value, &figure.unit),
                },
            );
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    for result in &contest.results {
        if let Some(error) = &result.error {
            let _ = writeln!(text, "\n{}: **FAILED**: {error}", result.engine);
        }
    }
}

fn settings(text: &mut String, report: &RunReport) {
    text.push_str("\n## Settings\n\n");
    let mut lines: Vec<String> = Vec::new();
    for result in report.results.iter().filter(|result| !result.is_not_offered()) {
        let (word, sentence) = words::durability(result.durable);
        let line = format!(
            "- {} {}, {word} ({sentence}): {}",
            result.engine, result.engine_version, result.settings
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
}

fn compared(text: &mut String, earlier: Option<&Earlier>) {
    text.push_str("\n## Against the run before\n\n");
    let Some(earlier) = earlier else {
        text.push_str("There is no earlier whole run of this profile on a machine of this class.\n");
        return;
    };
    let _ = writeln!(
        text,
        "{} of {} figures differ by more than 5 % from {} ({}). Two runs differ by chance too: the gate judges.\n",
        earlier.changes.len(),
        earlier.figures,
        short(&earlier.commit),
        earlier.date
    );
    if earlier.changes.is_empty() {
        return;
    }
    text.push_str("| figure | before | now | times better |\n| --- | ---: | ---: | ---: |\n");
    for change in earlier.changes.iter().take(CHANGES_MAX) {
        let (before, now) =
            (words::amount(change.before, &change.unit), words::amount(change.now, &change.unit));
        let better = words::plain(change.improvement);
        let _ = writeln!(text, "| {} {} | {before} | {now} | {better} |", change.key, change.figure);
    }
    if earlier.changes.len() > CHANGES_MAX {
        let _ = writeln!(text, "\nand {} more", earlier.changes.len() - CHANGES_MAX);
    }
}

fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}
