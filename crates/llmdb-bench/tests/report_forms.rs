//! Every form of a report shows a newcomer what was measured, on what, how durable, and which way is better.

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use llmdb_bench::report::{compare, folder, html, latency, markdown, targets, terminal};
use llmdb_bench::results::{
    Better, Durability, Figure, LatencySummary, Machine, NOT_OFFERED, Probe, ProbeSpread, RunReport, SCHEMA,
    Series, SuiteResult, Verified,
};
use std::collections::BTreeMap;

fn summary() -> LatencySummary {
    let mut histogram: Histogram<u64> = Histogram::new(3).unwrap();
    for value in 1..=1_000_u64 {
        histogram.record(200 + value * value / 100).unwrap();
    }
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
    let at = |quantile| histogram.value_at_quantile(quantile);
    LatencySummary {
        operation: "get".into(),
        count: histogram.len(),
        min: histogram.min(),
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max(),
        hdr: base64::engine::general_purpose::STANDARD.encode(bytes),
    }
}

fn result(workload: &str, engine: &str, durable: Durability, figures: Vec<Figure>) -> SuiteResult {
    SuiteResult {
        suite: "micro".into(),
        workload: workload.into(),
        engine: engine.into(),
        engine_version: "1.2".into(),
        settings: format!("settings of {engine}"),
        durable,
        parameters: BTreeMap::from([("value".into(), "256".into())]),
        figures,
        latency: Some(summary()),
        throughput: (1..=50).map(|at| (f64::from(at) / 10.0, 1e6 + f64::from(at))).collect(),
        series: Vec::new(),
        probe: None,
        verified: Verified { expected_count: 1, count: 1, checksum_ok: true, flushes: None },
        unmeasurable: Vec::new(),
        error: None,
    }
}

fn report() -> RunReport {
    let read = |engine, p99: f64| {
        let p99 = Figure::lower("get_p99", p99, "us").target(60.0, "under 60 us");
        result("read_latency", engine, Durability::ReadOnly, vec![Figure::higher("gets", 2e6, "1/s"), p99])
    };
    let write = |engine: &str, durable, rate: f64| {
        let user_data = Figure::higher("user_data", rate, "MB/s");
        result(
            "write_throughput",
            engine,
            durable,
            vec![user_data.ratio("the storage's sequential rate", 500.0)],
        )
    };
    let mut watched = write("llmdb", Durability::Sync, 200.0);
    watched.series.push(Series {
        name: "bytes on disk".into(),
        unit: "MB".into(),
        better: Better::Lower,
        points: (1..=50).map(|at| (f64::from(at), 100.0 + f64::from(at))).collect(),
    });
    let mut failed = read("redb", 1.0);
    failed.error = Some("wrong answer: a <key> is missing".into());
    let mut skipped = write("lmdb", Durability::Interval, 1.0);
    skipped.error = Some(format!("{NOT_OFFERED} by lmdb: flushing now and then"));
    RunReport {
        schema: SCHEMA,
        commit: "0123456789abcdef".into(),
        dirty: false,
        date: "2026-11-23T02:00:00Z".into(),
        machine: Machine {
            cpu: "Some CPU <7>".into(),
            cores: 2,
            memory_bytes: 24 << 30,
            kernel: "6.18".into(),
            filesystem: "ext4".into(),
            class: "some-cpu-2c".into(),
            counts_flushes: true,
            probe_spread: Some(ProbeSpread {
                count: 9,
                overwrite_sync_us_p50: (110.0, 140.0),
                sequential_sync_mb_s: (450.0, 520.0),
            }),
            probe: Some(Probe {
                overwrite_sync_us_p50: 120.0,
                overwrite_sync_us_p99: 900.0,
                sequential_sync_mb_s: 500.0,
                cold_read_us_p50: 80.0,
                cold_read_us_p99: 300.0,
            }),
        },
        profile: "full".into(),
        seed: 7,
        partial: false,
        results: vec![
            read("lmdb", 3.0),
            read("llmdb", 2.0),
            failed,
            watched,
            write("sqlite", Durability::None, 400.0),
            skipped,
        ],
    }
}

/// What every form must say.
fn check_says_everything(text: &str) {
    for wanted in [
        "llmdb",
        "lmdb",
        "2 cores",
        "24 GiB",
        "ext4",
        "6.18",
        "durable",
        "NOT durable",
        "reads only",
        "1.50x llmdb",
        "0.400x the storage",
        "500 MB/s",
        "medians of 9 probes",
        "110 us to 140 us",
        "0123456789ab",
        "not measurable here",
        "128 TB",
        "MISSED",
        "not offered by lmdb",
    ] {
        let markdown = wanted.replace("1.50x llmdb", "(1.50x)");
        assert!(text.contains(wanted) || text.contains(&markdown), "{wanted:?} is not in:\n{text}");
    }
}

#[test]
fn the_terminal_shows_histogram_graph_figures_and_targets() {
    let text = terminal::render(&report());
    check_says_everything(&text);
    assert!(text.contains("latency of get, llmdb") && text.contains("p99.9"), "{text}");
    assert!(text.contains("throughput over time, llmdb") && text.contains("█"), "{text}");
    assert!(text.contains("bytes on disk, lower is better, llmdb") && text.contains("150 MB"), "{text}");
    assert!(text.contains("higher is better") && text.contains("lower is better"), "{text}");
    assert!(text.contains("FAILED") && text.contains("a <key> is missing"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_escapes_what_it_is_given() {
    let page = html::render(&report(), None).unwrap();
    check_says_everything(&page.replace("&#x2f;", "/"));
    for foreign in ["<script", "<link", "<img", "src=", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign} is in the page");
    }
    assert!(page.contains("Some CPU &lt;7&gt;") && page.contains("a &lt;key&gt; is missing"));
    assert!(page.contains("settings of sqlite"));
    assert!(page.contains("higher is better") && page.contains("lower is better"));
    assert!(page.contains("a power cut loses nothing") || page.contains("A power cut loses nothing"));
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    // Latency and throughput of three contests, the skipped one aside, and one series.
    assert_eq!(page.matches("<svg").count(), 7);
    assert!(page.contains("Bytes on disk</b>, lower is better"));
    assert_eq!(page.matches("<table").count(), page.matches("</table>").count());
    assert_eq!(page.matches("<details").count(), page.matches("</details>").count());
}

#[test]
fn a_result_with_an_error_shows_the_error_and_no_figure() {
    let mut run = RunReport { commit: "abc".into(), ..report() };
    run.results.retain(|result| result.engine == "redb");
    run.results[0].figures[0].value = 7_770_000.0;
    for text in [terminal::render(&run), html::render(&run, None).unwrap(), markdown::render(&run, None)] {
        assert!(text.contains("is missing") && !text.contains("7.77"), "{text}");
    }
}

#[test]
fn an_interrupted_run_is_marked_in_every_form() {
    let run = RunReport { partial: true, ..report() };
    assert!(terminal::render(&run).contains("PARTIAL"));
    assert!(html::render(&run, None).unwrap().contains("interrupted"));
    assert!(markdown::render(&run, None).contains("**partial**"));
}

#[test]
fn promises_are_met_missed_or_named_with_the_reason() {
    let rows = targets::rows(&report());
    let outcome = |part: &str| {
        let row =
            rows.iter().find(|row| row.promise.contains(part)).unwrap_or_else(|| panic!("{part}: {rows:?}"));
        row.outcome.word()
    };
    assert_eq!(outcome("under 60 us"), "met");
    assert_eq!(outcome("250 MB/s"), "MISSED");
    for part in ["5 MB of memory", "within 1 s", "WebAssembly", "128 TB"] {
        assert_eq!(outcome(part), "not measurable here");
    }
    // Others' figures are no promise of ours, and a covered promise is not listed twice.
    assert_eq!(rows.iter().filter(|row| row.promise.contains("60 us")).count(), 1, "{rows:?}");
    assert_eq!(rows.iter().filter(|row| row.promise.contains("250 MB/s")).count(), 1, "{rows:?}");
}

#[test]
fn the_log_of_histograms_can_be_read_back() {
    let log = latency::interval_log(&report());
    let entries = IntervalLogIterator::new(log.as_bytes()).map(|entry| entry.unwrap());
    let tags: Vec<_> = entries
        .filter_map(|entry| match entry {
            LogEntry::Interval(interval) => Some(interval.tag().unwrap().as_str().to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(tags.len(), 4, "{log}");
    assert!(tags.contains(&"micro/write_throughput/llmdb/sync/value=256".to_owned()), "{tags:?}");
    let histogram = latency::histogram(&summary()).unwrap();
    assert_eq!((histogram.len(), histogram.value_at_quantile(0.5)), (1_000, summary().p50));
}

#[test]
fn a_run_is_compared_with_the_newest_earlier_one_of_its_class() {
    let results = tempfile::tempdir().unwrap();
    let keep = |date: &str, class: &str, p99: f64, partial: bool| {
        let mut run = report();
        run.date = format!("{date}T00:00:00Z");
        run.machine.class = class.into();
        run.partial = partial;
        run.results[1].figures[1].value = p99;
        folder::write(&run, results.path()).unwrap()
    };
    let class = report().machine.class;
    keep("2026-11-01", &class, 9.0, false);
    let newest = keep("2026-11-02", &class, 4.0, false);
    keep("2026-11-03", "other", 5.0, false);
    keep("2026-11-04", &class, 6.0, true);
    keep("2026-12-01", &class, 7.0, false);

    let earlier = compare::newest_earlier(&report(), results.path()).unwrap();
    assert_eq!(earlier.path, newest.join(compare::RESULT_FILE));
    let [change] = &earlier.changes[..] else { panic!("{:?}", earlier.changes) };
    assert_eq!(
        (change.figure.as_str(), change.before, change.now, change.improvement),
        ("get_p99", 4.0, 2.0, 2.0)
    );
    let page = html::render(&report(), Some(&earlier)).unwrap();
    assert!(page.contains("2026-11-02") && page.contains("4.00 us") && page.contains("the gate judges"));
    assert!(markdown::render(&report(), Some(&earlier)).contains("| 4.00 us | 2.00 us | 2.00 |"));
}

#[test]
fn a_folder_holds_every_form_and_no_earlier_one_is_overwritten() {
    let results = tempfile::tempdir().unwrap();
    let first = folder::write(&report(), results.path()).unwrap();
    let second = folder::write(&report(), results.path()).unwrap();
    assert_eq!(first, results.path().join("2026-11-23-0123456789ab"));
    assert_eq!(second, results.path().join("2026-11-23-0123456789ab-2"));
    for name in ["result.json", "latency.hlog", "report.html", "summary.md"] {
        assert!(first.join(name).metadata().unwrap().len() > 0, "{name}");
    }
    assert_eq!(folder::read(&first).unwrap(), report());
    let error = folder::read(&results.path().join("nothing.json")).unwrap_err().to_string();
    assert!(error.contains("nothing.json"), "{error}");
}

#[test]
fn an_empty_run_makes_a_report_all_the_same() {
    let run = RunReport { results: Vec::new(), ..report() };
    assert!(terminal::render(&run).contains("targets"));
    assert!(html::render(&run, None).unwrap().contains("</html>"));
    assert!(latency::interval_log(&run).starts_with('#'));
}
