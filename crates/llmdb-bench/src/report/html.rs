//! A run as one HTML file that needs nothing else: no script, no font, no picture from elsewhere.
//!
//! Invariants
//! 1. Text of a result reaches the page escaped; only our own plots are put in as they are.
//! 2. Which engine, which machine, durable or not, and which way is better can be read without a legend.
//!
//! Not here: the page's form (`page.html`).

use super::compare::Earlier;
use super::contest::{Contest, OURS, contests, not_offered};
use super::targets::{self, Outcome};
use super::{latency, plot, words};
use crate::results::{Durability, Figure, RunReport, SuiteResult};
use minijinja::{AutoEscape, Environment, Value, context};

/// Changes that are listed at most.
const CHANGES_MAX: usize = 100;

/// The whole page.
///
/// # Errors
/// None for the template that is compiled in; its own mistakes would show here.
pub fn render(report: &RunReport, earlier: Option<&Earlier>) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page", include_str!("page.html"))?;
    let contests = contests(report);
    let mut suite = "";
    let contests: Vec<Value> = contests
        .iter()
        .map(|contest| {
            let first = contest.suite != std::mem::replace(&mut suite, contest.suite);
            contest_value(contest, first)
        })
        .collect();
    environment.get_template("page")?.render(context! {
        commit => &report.commit,
        partial => report.partial,
        source => words::source(report),
        machine => words::machine(&report.machine),
        probe => words::probe(&report.machine),
        probe_spread => words::probe_spread(&report.machine),
        flushes => words::flushes(&report.machine),
        target_summary => targets::summary(&targets::rows(report)),
        targets => target_values(report),
        contests => contests,
        settings => settings(report),
        not_offered => not_offered(report).into_iter().map(str::to_owned).collect::<Vec<_>>(),
        earlier => earlier.map(earlier_value),
    })
}

fn target_values(report: &RunReport) -> Vec<Value> {
    let value = |row: targets::TargetRow| {
        let class = match &row.outcome {
            Outcome::Met => "met",
            Outcome::Missed => "missed",
            Outcome::NotMeasured(_) => "",
        };
        let place = match &row.outcome {
            Outcome::NotMeasured(why) => why.clone(),
            Outcome::Met | Outcome::Missed => row.place.clone(),
        };
        let word = row.outcome.word();
        context! { class, word, place, promise => row.promise, measured => row.measured }
    };
    targets::rows(report).into_iter().map(value).collect()
}

fn contest_value(contest: &Contest<'_>, first_of_suite: bool) -> Value {
    let durable = contest.results.first().map_or(Durability::ReadOnly, |result| result.durable);
    let (durable_word, durable_sentence) = words::durability(durable);
    let durable_class = match durable {
        Durability::ReadOnly => "",
        durable if durable.is_durable() => "durable",
        _ => "loses",
    };
    let standing = || contest.results.iter().copied().filter(|result| result.error.is_none());
    let histograms: Vec<_> = standing()
        .filter_map(|result| Some((result.engine.as_str(), latency::histogram(result.latency.as_ref()?)?)))
        .collect();
    let lines: Vec<_> =
        standing().map(|result| (result.engine.as_str(), result.throughput.clone())).collect();
    let operation =
        standing().find_map(|result| result.latency.as_ref()).map(|latency| latency.operation.as_str());
    context! {
        first_of_suite,
        suite => contest.suite,
        workload => contest.workload,
        parameters => &contest.parameters,
        durable_word,
        durable_sentence,
        durable_class,
        main => contest.main_figure_names().into_iter().map(|name| bars(contest, name)).collect::<Vec<_>>(),
        errors => errors(contest),
        operation,
        latency_svg => plot::latency(&histograms),
        throughput_svg => plot::throughput(&lines),
        series => series(contest),
        rest => all_figures(contest),
    }
}

/// Plots of what else was watched over time.
fn series(contest: &Contest<'_>) -> Vec<Value> {
    let plots = contest.series().into_iter().filter_map(|(first, lines)| {
        let lines: Vec<_> =
            lines.into_iter().map(|(engine, series)| (engine, series.points.clone())).collect();
        let better = words::better(first.better);
        let svg = plot::over_time(&lines, &first.unit, &format!("{}, {better}", first.unit))?;
        Some(context! { name => &first.name, better, svg })
    });
    plots.collect()
}

fn bars(contest: &Contest<'_>, name: &str) -> Value {
    let figures: Vec<(&SuiteResult, &Figure)> = contest
        .results
        .iter()
        .filter(|result| result.error.is_none())
        .filter_map(|result| Some((*result, result.figure(name)?)))
        .collect();
    let most = figures.iter().map(|(_, figure)| figure.value).fold(0.0, f64::max);
    let bar = |(result, figure): &(&SuiteResult, &Figure)| {
        let percent = if most > 0.0 { figure.value.max(0.0) / most * 100.0 } else { 0.0 };
        context! {
            engine => &result.engine,
            ours => result.engine.starts_with(OURS),
            percent => format!("{percent:.1}"),
            value => words::amount(figure.value, &figure.unit),
            ratio => ratios(contest, result, figure),
        }
    };
    let target =
        figures.iter().find_map(|(_, figure)| figure.target.as_ref()).map(|target| target.text.as_str());
    let better = figures.first().map_or("", |(_, figure)| words::better(figure.better));
    let name = words::figure(name);
    context! { name, better, target, storage => storage_of(&figures), bars => figures.iter().map(bar).collect::<Vec<_>>() }
}

/// What stands for the storage in a figure's ratios, if anything does.
fn storage_of<'a>(figures: &[(&SuiteResult, &'a Figure)]) -> Option<&'a str> {
    let mut bases =
        figures.iter().filter_map(|(_, figure)| figure.ratio_to.as_ref().map(|(base, _)| base.as_str()));
    bases.find(|base| is_storage(base))
}

fn is_storage(base: &str) -> bool {
    base.contains("storage") || base.contains("overwrite")
}

/// The ratio to our engine and to what the figure itself names, which its table says once if it is the storage.
fn ratios(contest: &Contest<'_>, result: &SuiteResult, figure: &Figure) -> String {
    let ours = contest.ours().map_or("", |ours| ours.engine.as_str());
    let to_ours = contest.ratio_to_ours(result, &figure.name).map(|ratio| words::ratio(ours, ratio));
    let short = |base: &str| if is_storage(base) { "the storage".to_owned() } else { base.to_owned() };
    let to_named = figure.ratio_to.as_ref().map(|(base, ratio)| words::ratio(&short(base), *ratio));
    to_ours.into_iter().chain(to_named).collect::<Vec<_>>().join(", ")
}

fn errors(contest: &Contest<'_>) -> Vec<Value> {
    let failed = contest.results.iter().filter_map(|result| Some((result, result.error.as_deref()?)));
    failed.map(|(result, text)| context! { engine => &result.engine, text }).collect()
}

fn all_figures(contest: &Contest<'_>) -> Vec<Value> {
    let standing = contest.results.iter().filter(|result| result.error.is_none());
    standing
        .flat_map(|result| result.figures.iter().map(move |figure| (result, figure)))
        .map(|(result, figure)| {
            context! {
                name => words::figure(&figure.name),
                engine => &result.engine,
                value => words::amount(figure.value, &figure.unit),
                ratio => ratios(contest, result, figure),
                better => words::better(figure.better),
            }
        })
        .collect()
}

fn settings(report: &RunReport) -> Vec<Value> {
    let mut seen = Vec::new();
    let mut rows = Vec::new();
    for result in report.results.iter().filter(|result| !result.is_not_offered()) {
        let key = (&result.engine, &result.engine_version, result.durable, &result.settings);
        if !seen.contains(&key) {
            seen.push(key);
            rows.push(context! {
                engine => &result.engine,
                version => &result.engine_version,
                durable => words::durability(result.durable).0,
                settings => &result.settings,
            });
        }
    }
    rows
}

fn earlier_value(earlier: &Earlier) -> Value {
    let rows: Vec<Value> = earlier
        .changes
        .iter()
        .take(CHANGES_MAX)
        .map(|change| {
            context! {
                name => format!("{} {}", change.key, change.figure),
                before => words::amount(change.before, &change.unit),
                now => words::amount(change.now, &change.unit),
                better => words::plain(change.improvement),
            }
        })
        .collect();
    let summary = format!(
        "{} of {} figures differ by more than 5 % from commit {} of {}. Two runs differ by chance too: the gate judges.",
        earlier.changes.len(),
        earlier.figures,
        earlier.commit,
        earlier.date
    );
    context! { summary, rows }
}
