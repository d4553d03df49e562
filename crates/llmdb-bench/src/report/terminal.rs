//! A run in the terminal: histogram, graph over time, figures, and the table of targets.
//!
//! Not here: colours and progress; what stands here can be piped.

use super::contest::{Contest, contests, not_offered};
use super::targets::{self, Outcome};
use super::{latency, words};
use crate::results::{Better, RunReport, SuiteResult};
use std::fmt::Write as _;

/// Columns of bars.
const BAR_WIDTH: usize = 40;
/// Columns and rows of the graph over time.
const GRAPH: (usize, usize) = (60, 8);
/// Pictures of each kind at most, so that a quick look stays one.
const PICTURES: usize = 2;

/// The whole text.
pub fn render(report: &RunReport) -> String {
    let mut text = head(report);
    let contests = contests(report);
    for contest in &contests {
        figures(&mut text, contest);
    }
    pictures(&mut text, &contests);
    target_table(&mut text, report);
    failures(&mut text, report);
    text
}

fn head(report: &RunReport) -> String {
    let mut text = format!("{}\n{}\n", words::source(report), words::machine(&report.machine));
    for line in words::probe(&report.machine).into_iter().chain(words::probe_spread(&report.machine)) {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(text, "{}", words::flushes(&report.machine));
    if report.partial {
        text.push_str("PARTIAL: the run was interrupted; what is missing here was not measured\n");
    }
    text
}

fn figures(text: &mut String, contest: &Contest<'_>) {
    if contest.figure_names().is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{} / {}", contest.suite, contest.title());
    for name in contest.main_figure_names() {
        let values: Vec<_> = contest
            .results
            .iter()
            .filter(|result| result.error.is_none())
            .filter_map(|result| result.figure(name).map(|figure| (*result, figure)))
            .collect();
        let Some((_, first)) = values.first() else { continue };
        let arrow = if first.better == Better::Lower { "v" } else { "^" };
        for (result, figure) in &values {
            let mut line = format!(
                "  {name:<22} {arrow} {:<14} {:>12}",
                result.engine,
                words::amount(figure.value, &figure.unit)
            );
            if let Some(ratio) = contest.ratio_to_ours(result, name) {
                let ours = contest.ours().map_or("", |ours| ours.engine.as_str());
                let _ = write!(line, "   {}", words::ratio(ours, ratio));
            }
            if let Some((base, ratio)) = &figure.ratio_to {
                let _ = write!(line, "   {}", words::ratio(base, *ratio));
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
}

fn pictures(text: &mut String, contests: &[Contest<'_>]) {
    text.push_str("\n(^ higher is better, v lower is better)\n");
    let ours: Vec<(&Contest<'_>, &SuiteResult)> =
        contests.iter().filter_map(|contest| contest.ours().map(|ours| (contest, ours))).collect();
    let latencies = different(&ours, |result| result.latency.is_some());
    for (contest, result) in latencies {
        let Some(latency) = &result.latency else { continue };
        let _ = writeln!(text, "\nlatency of {}, {} / {}", latency.operation, result.engine, contest.title());
        text.push_str(&latency::draw(latency, BAR_WIDTH));
    }
    for (contest, result) in different(&ours, |result| result.throughput.len() > 1) {
        let _ = writeln!(text, "\nthroughput over time, {} / {}", result.engine, contest.title());
        text.push_str(&graph(&result.throughput, "1/s"));
    }
    for contest in contests {
        for (first, lines) in contest.series() {
            for (engine, series) in lines {
                let better = words::better(first.better);
                let _ = writeln!(text, "\n{}, {better}, {engine} / {}", series.name, contest.title());
                text.push_str(&graph(&series.points, &series.unit));
            }
        }
    }
}

/// The first result that fits, and the first of another workload.
fn different<'a>(
    ours: &[(&'a Contest<'a>, &'a SuiteResult)],
    fits: impl Fn(&SuiteResult) -> bool,
) -> Vec<(&'a Contest<'a>, &'a SuiteResult)> {
    let mut chosen: Vec<(&Contest<'_>, &SuiteResult)> = Vec::new();
    for (contest, result) in ours.iter().filter(|(_, result)| fits(result)) {
        if chosen.len() < PICTURES && chosen.iter().all(|(other, _)| other.workload != contest.workload) {
            chosen.push((contest, result));
        }
    }
    chosen
}

/// Something over seconds, as columns of eighths.
pub fn graph(points: &[(f64, f64)], unit: &str) -> String {
    const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (width, height) = GRAPH;
    let columns = columns(points, width);
    let most = columns.iter().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return "  (nothing was done)\n".to_owned();
    }
    let mut text = String::new();
    for row in (0..height).rev() {
        let label = match row {
            row if row == height - 1 => words::amount(most, unit),
            0 => "0".to_owned(),
            _ => String::new(),
        };
        let _ = write!(text, "  {label:>10} |");
        for column in &columns {
            let eighths = (column / most * (height * 8) as f64).round() as usize;
            text.push(EIGHTHS[eighths.saturating_sub(row * 8).min(8)]);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let seconds = points.last().map_or(0.0, |point| point.0);
    let end = words::amount(seconds, "s");
    let _ = writeln!(text, "  {:>10} +{}", "", "-".repeat(columns.len()));
    let _ = writeln!(
        text,
        "  {:>10}  0{end:>width$}",
        "",
        width = columns.len().saturating_sub(1).max(end.len() + 1)
    );
    text
}

/// The mean of the points that fall into each column, or the point that it is a part of.
fn columns(points: &[(f64, f64)], width: usize) -> Vec<f64> {
    (0..width)
        .map(|column| {
            let from = column * points.len() / width;
            let to = ((column + 1) * points.len() / width).max(from + 1).min(points.len());
            let part = &points[from.min(to)..to];
            part.iter().map(|point| point.1).sum::<f64>() / part.len().max(1) as f64
        })
        .collect()
}

fn target_table(text: &mut String, report: &RunReport) {
    let rows = targets::rows(report);
    let _ = writeln!(text, "\ntargets: {}", targets::summary(&rows));
    for row in rows {
        let _ = write!(text, "  {:<20} {:<44} {:>10}", row.outcome.word(), row.promise, row.measured);
        let _ = match &row.outcome {
            Outcome::NotMeasured(why) => writeln!(text, "  ({why})"),
            Outcome::Met | Outcome::Missed => writeln!(text, "  {}", row.place),
        };
    }
}

fn failures(text: &mut String, report: &RunReport) {
    let skipped = not_offered(report);
    if !skipped.is_empty() {
        text.push('\n');
    }
    for skipped in skipped {
        let _ = writeln!(text, "{skipped}");
    }
    let failed: Vec<_> = report
        .results
        .iter()
        .filter(|result| !result.is_not_offered())
        .filter_map(|result| Some((result, result.error.as_ref()?)))
        .collect();
    if !failed.is_empty() {
        text.push_str("\nFAILED: no figure of these stands\n");
    }
    for (result, error) in failed {
        let _ = writeln!(text, "  {}: {error}", result.key());
    }
}
